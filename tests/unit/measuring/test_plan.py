from __future__ import annotations

import dataclasses
import math

import pytest

from harness.config.profile import MAX_SAMPLES_PER_PROCESS, ProfileConfig
from harness.config.session import SessionConfig
from harness.measuring import plan as planning
from harness.measuring.plan import Plan

CONFIG = ProfileConfig("model.onnx")
QUICK = ProfileConfig("model.onnx", quick=True)
SESSION_NS = 10**7
NODES = 100


def chunk_inferences(plan: Plan, latency_ns: int) -> int:
    """What pyperf's calibration comes to: it doubles until a chunk is long enough."""
    return 2 ** max(0, math.ceil(math.log2(plan.min_chunk_s / (latency_ns * 1e-9))))


@pytest.mark.parametrize("config", [CONFIG, QUICK])
@pytest.mark.parametrize("latency_ns", [200, 2_300, 50_000, 6_000_000, 80_000_000, 4_000_000_000])
def test_timed_pass_is_as_long_as_asked_within_bounds(
    config: ProfileConfig, latency_ns: int
) -> None:
    plan = planning.divide_time(config, latency_ns, SESSION_NS, NODES, latency_ns)
    samples = plan.steady_chunks * chunk_inferences(plan, latency_ns)
    timed_s = samples * latency_ns * 1e-9
    assert plan.steady_chunks >= planning.MIN_CHUNKS
    assert plan.warmup_chunks >= 1
    assert samples <= MAX_SAMPLES_PER_PROCESS
    if samples == plan.steady_chunks:  # a slow model: as few inferences as there are chunks
        assert timed_s < config.timed_s + planning.MIN_CHUNKS * latency_ns * 1e-9
    elif samples > MAX_SAMPLES_PER_PROCESS / 2:
        assert timed_s < 2 * config.timed_s
    else:
        assert config.timed_s <= timed_s < 2 * config.timed_s


def test_a_slow_model_gets_few_chunks() -> None:
    fast, slow, slower = (
        planning.divide_time(CONFIG, n, SESSION_NS, NODES, n) for n in (10**6, 4 * 10**8, 10**10)
    )
    assert fast.steady_chunks == planning.COMPARISON_CHUNKS
    assert slow.steady_chunks == 5
    assert slower.steady_chunks == planning.MIN_CHUNKS
    assert chunk_inferences(slower, 10**10) == 1


def test_traced_passes_stay_in_their_budget() -> None:
    fast, slow, slower = (
        planning.divide_time(CONFIG, n, SESSION_NS, NODES, n) for n in (10**4, 10**8, 10**10)
    )
    assert fast.trace_inferences == CONFIG.trace_inferences
    assert 1 < slow.trace_inferences < CONFIG.trace_inferences
    assert slower.trace_inferences == 1
    assert fast.probe_inferences == planning.MAX_PROBE_INFERENCES
    assert planning.MIN_PROBE_INFERENCES < slow.probe_inferences < fast.probe_inferences
    assert slower.probe_inferences == planning.MIN_PROBE_INFERENCES
    # Of a graph with many nodes each inference leaves many events.
    large = planning.divide_time(CONFIG, 10**4, SESSION_NS, 2_000, 10**4)
    assert large.probe_inferences * 2_000 <= planning.TRACE_EVENTS
    # Nothing is known of the graph where no trace is wanted.
    untraced = dataclasses.replace(CONFIG, trace=())
    assert planning.divide_time(untraced, 10**10, SESSION_NS, 0, 0).expected_s > 0


def test_expected_time_follows_from_what_will_be_done() -> None:
    def expected_s(
        latency_ns: int = 10**6, session_ns: int = SESSION_NS, **options: object
    ) -> float:
        config = dataclasses.replace(CONFIG, **options)  # type: ignore[arg-type]
        return planning.divide_time(config, latency_ns, session_ns, NODES, latency_ns).expected_s

    # Ten processes of two seconds each, and what surrounds them: under a minute.
    assert 20 < expected_s() < 60
    assert expected_s(processes=20) == pytest.approx(2 * expected_s(), rel=0.1)
    assert expected_s(duration_s=4) > expected_s() + 20 - 1
    assert expected_s(quick=True) < 10
    # A session that takes a second to create does so once in every process, and once more
    # for its trace.
    assert expected_s(session_ns=10**9) - expected_s(session_ns=0) > 20
    assert expected_s(trace=()) < expected_s()
    # Three inferences of a minute in each process cannot be had faster.
    assert expected_s(latency_ns=60 * 10**9) > 10 * 3 * 60


@pytest.mark.parametrize("latency_ns", [10**6, 3 * 10**6, 7 * 10**7, 99 * 10**6, 101 * 10**6])
def test_a_latency_near_a_power_of_two_is_not_for_chance_to_decide(latency_ns: int) -> None:
    plan = planning.divide_time(CONFIG, latency_ns, SESSION_NS, NODES, latency_ns)
    planned = chunk_inferences(plan, latency_ns)
    for met_ns in (0.85 * latency_ns, 1.2 * latency_ns):
        assert chunk_inferences(plan, round(met_ns)) == planned


def test_several_threads_settle_between_graphs_with_probes() -> None:
    single = dataclasses.replace(CONFIG, session=SessionConfig(intra_threads=1))
    plans = [planning.divide_time(one, 10**6, 0, NODES, 10**6) for one in (CONFIG, single)]
    # Three graphs that wait 0.1 s three times each, and fewer turns.
    assert 0.8 < plans[0].traced_s - plans[1].traced_s < 1
    # Without a graph there is nothing to put probes into.
    assert planning.divide_time(CONFIG, 10**6, 0, 0, 0).traced_s < 0.1


def test_a_session_of_the_executed_graph_takes_less() -> None:
    told = planning.divide_time(CONFIG, 10**6, 10**9, NODES, 10**6, executed_session_ns=10**8)
    assert 4 * 0.1 < told.traced_s < 4 * 0.1 + 2
    assert told.calibration_s > 1


def test_processes_are_added_where_their_number_was_not_fixed() -> None:
    def budget_s(**options: object) -> float | None:
        config = dataclasses.replace(CONFIG, **options)  # type: ignore[arg-type]
        return planning.divide_time(config, 10**6, 0, NODES, 10**6).budget_s

    assert budget_s() == CONFIG.budget_s
    assert budget_s(processes=4) is None
    assert budget_s(quick=True) is None


def test_what_was_asked_for_is_planned() -> None:
    config = ProfileConfig("model.onnx", processes=4, duration_s=0.6, quick=True)
    plan = planning.divide_time(config, 10**6, SESSION_NS, NODES, 10**6)
    assert plan.processes == 4
    assert 0.6 <= plan.steady_chunks * chunk_inferences(plan, 10**6) * 1e-3 < 1.2
    # A model too fast for the clock is no reason to divide by nothing.
    assert planning.divide_time(config, 0, 0, 0, 0).expected_s > 0


def test_a_profiler_that_slows_the_model_and_long_loops_get_few_inferences() -> None:
    taxed = planning.divide_time(CONFIG, 10**6, SESSION_NS, NODES, 10**8)
    assert taxed.trace_inferences < CONFIG.trace_inferences
    looped = planning.divide_time(CONFIG, 10**6, SESSION_NS, 10**6, 10**6)
    assert looped.trace_inferences == 1
    assert looped.probe_inferences == planning.MIN_PROBE_INFERENCES
    plain = planning.divide_time(CONFIG, 10**6, SESSION_NS, NODES, 10**6)
    assert looped.expected_s > plain.expected_s
