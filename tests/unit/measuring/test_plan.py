from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

import numpy as np
import pytest

from harness.analysis.energy import EDGE_PERIODS, MIN_PERIODS
from harness.config.profile import MAX_SAMPLES_PER_PROCESS, ProfileConfig
from harness.config.session import SessionConfig
from harness.measuring import plan as planning
from harness.tracing.probes.turns import SETTLING_S

CONFIG = ProfileConfig("model.onnx")
QUICK = ProfileConfig("model.onnx", quick=True)
SESSION_NS = 10**7
NODES = 100


@pytest.mark.parametrize("processes", [None, 1, 2, 3, 10])
@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("latency_ns", [27_000, 349_000, 1_758_000, 400_000_000])
def test_timed_passes_hold_fifty_updates_of_a_meter_where_energy_is_asked_for(
    processes: int | None, quick: bool, latency_ns: int
) -> None:
    config = ProfileConfig("model.onnx", processes=processes, quick=quick, energy=True)
    plan = planning.divide_time(config, latency_ns, SESSION_NS, NODES, latency_ns)
    # As on an H200, whose counter is updated every 100 ms; two may be missed at the ends.
    periods = plan.processes * plan.timed_s / 0.1
    assert periods >= MIN_PERIODS + EDGE_PERIODS
    # It is in the forecast: a process takes its timed pass, and a quarter of it as warm-up.
    assert plan.expected_s > plan.processes * plan.timed_s


def test_default_timed_passes_hold_fifty_updates_of_a_meter_without_energy_too() -> None:
    # The models that were measured on an H200, with and without CUDA graphs.
    for latency_ns in (27_000, 66_000, 349_000, 735_000, 1_758_000, 1_960_000):
        plan = planning.divide_time(CONFIG, latency_ns, SESSION_NS, NODES, latency_ns)
        assert plan.processes * plan.timed_s / 0.1 >= 3 * MIN_PERIODS


@pytest.mark.parametrize("config", [CONFIG, QUICK])
@pytest.mark.parametrize(
    "latency_ns", [200, 2_300, 50_000, 6_000_000, 80_000_000, 110_000_000, 4_000_000_000]
)
def test_timed_pass_is_as_long_as_asked_within_bounds(
    config: ProfileConfig, latency_ns: int
) -> None:
    plan = planning.divide_time(config, latency_ns, SESSION_NS, NODES, latency_ns)
    samples = plan.steady_chunks * plan.chunk_inferences
    assert plan.timed_s == pytest.approx(samples * latency_ns * 1e-9)
    assert plan.steady_chunks >= planning.MIN_CHUNKS
    assert plan.warmup_chunks >= 1
    assert samples <= MAX_SAMPLES_PER_PROCESS
    if samples == planning.MIN_CHUNKS:  # a slow model
        assert plan.timed_s >= config.timed_s / 2
    elif samples < MAX_SAMPLES_PER_PROCESS - planning.MIN_CHUNKS:
        # As near as whole inferences come.
        assert abs(plan.timed_s - config.timed_s) <= max(
            planning.ROUNDED_OFF * config.timed_s, latency_ns * 1e-9
        )


def test_a_slow_model_gets_few_chunks() -> None:
    fast, slow, slower = (
        planning.divide_time(CONFIG, n, SESSION_NS, NODES, n) for n in (10**6, 4 * 10**8, 10**10)
    )
    assert fast.steady_chunks == planning.COMPARISON_CHUNKS
    assert slow.steady_chunks == 5
    assert slower.steady_chunks == planning.MIN_CHUNKS
    assert slower.chunk_inferences == 1


@pytest.mark.parametrize(("one", "other"), [(100_000, 130_000), (130_000, 100_000)])
def test_sides_that_are_alike_take_the_same_number_of_samples(one: int, other: int) -> None:
    plans = planning.equal_looks(
        *(planning.divide_time(CONFIG, n, SESSION_NS, NODES, n) for n in (one, other))
    )
    assert len({(plan.steady_chunks, plan.chunk_inferences) for plan in plans}) == 1
    samples = plans[0].steady_chunks * plans[0].chunk_inferences
    assert samples * math.sqrt(one * other) * 1e-9 == pytest.approx(CONFIG.timed_s, rel=0.05)


@pytest.mark.parametrize("latencies_ns", [(100_000, 450_000), (2_000, 9_000_000)])
def test_sides_that_are_not_are_timed_equally_long(latencies_ns: tuple[int, int]) -> None:
    one, other = planning.equal_looks(
        *(planning.divide_time(CONFIG, n, SESSION_NS, NODES, n) for n in latencies_ns)
    )
    assert one.timed_s == pytest.approx(other.timed_s, rel=0.1)
    assert one.chunk_inferences > other.chunk_inferences


@pytest.mark.parametrize("duration_s", [0.05, 0.5, 2.0])
def test_sides_with_few_inferences_are_timed_equally_long_too(duration_s: float) -> None:
    """Three inferences of 0.4 s are not compared with five of 0.1 s, but with twelve."""
    config = dataclasses.replace(CONFIG, duration_s=duration_s)
    latencies_ns = [int(10 ** (4 + 0.13 * k)) for k in range(48)]
    for one, other in itertools.combinations(latencies_ns, 2):
        if other < 1.5 * one:
            continue
        plans = planning.equal_looks(
            *(planning.divide_time(config, n, SESSION_NS, NODES, n) for n in (one, other))
        )
        faster, slower = (plan.steady_chunks * plan.chunk_inferences for plan in plans)
        assert slower >= planning.MIN_CHUNKS
        if faster < 0.9 * MAX_SAMPLES_PER_PROCESS:
            assert plans[0].timed_s == pytest.approx(plans[1].timed_s, rel=0.25)


def test_a_long_look_takes_no_more_samples_than_a_process_may() -> None:
    plans = planning.equal_looks(
        *(planning.divide_time(CONFIG, n, SESSION_NS, NODES, n) for n in (1_000, 10**11))
    )
    assert plans[0].steady_chunks * plans[0].chunk_inferences <= 1.1 * MAX_SAMPLES_PER_PROCESS


def test_traced_passes_stay_in_their_budget() -> None:
    fast, slow, slower = (
        planning.divide_time(CONFIG, n, SESSION_NS, NODES, n) for n in (10**4, 65 * 10**6, 10**10)
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
    # A session that takes a second to create does so once in every process, and again for
    # each graph that a process traces.
    assert expected_s(session_ns=10**9) - expected_s(session_ns=0) > 20
    assert expected_s(trace=()) < expected_s()
    # Three inferences of a minute in each process cannot be had faster.
    assert expected_s(latency_ns=60 * 10**9) > 10 * 3 * 60


def test_several_threads_settle_between_graphs_with_probes() -> None:
    single = dataclasses.replace(CONFIG, session=SessionConfig(intra_threads=1))
    plans = [planning.divide_time(one, 10**6, 0, NODES, 10**6) for one in (CONFIG, single)]
    # Three graphs that wait three times each, a fourth that does so twice, and fewer turns.
    waited_s = 11 * SETTLING_S
    assert 0.8 * waited_s < plans[0].probed_s - plans[1].probed_s < 1.1 * waited_s
    # Without a graph there is nothing to put probes into.
    assert planning.divide_time(CONFIG, 10**6, 0, 0, 0).probed_s == 0


@pytest.mark.parametrize("processes", [1, 2, 3, 4, 5, 10, 37])
def test_the_processes_that_trace_are_spread_evenly(processes: int) -> None:
    config = dataclasses.replace(CONFIG, processes=processes)
    plan = planning.divide_time(config, 10**6, SESSION_NS, NODES, 10**6)
    assert len(plan.traced) == min(planning.TRACED_PROCESSES, processes)
    assert len(plan.profiled) == min(planning.PROFILED_PROCESSES, processes)
    assert plan.profiled <= plan.traced <= set(range(processes))
    # An interrupted profile has traces as soon as it has a process.
    assert 0 in plan.profiled
    gaps = np.diff([*sorted(plan.traced), processes])
    assert gaps.max() - gaps.min() <= 1


def test_without_probes_the_profiler_times_the_operators() -> None:
    plan = planning.divide_time(CONFIG, 10**6, SESSION_NS, NODES, 10**6, insertable=False)
    assert plan.profiled == plan.traced
    assert len(plan.traced) == planning.TRACED_PROCESSES
    assert plan.probed_s == 0 < plan.profiled_s


@pytest.mark.parametrize("processes", [1, 3, 10])
def test_the_expected_time_counts_each_pass_as_often_as_it_is_made(processes: int) -> None:
    config = dataclasses.replace(CONFIG, processes=processes)
    plan = planning.divide_time(config, 10**6, SESSION_NS, NODES, 10**6)
    traced_s = len(plan.traced) * plan.probed_s + len(plan.profiled) * plan.profiled_s
    assert plan.expected_s == pytest.approx(processes * plan.timed_process_s + traced_s)
    halves = range(processes // 2), range(processes // 2, processes)
    assert sum(map(plan.expected_of, halves)) == pytest.approx(plan.expected_s)


def test_the_passes_of_a_gpu_are_planned() -> None:
    on_gpu = dataclasses.replace(CONFIG, session=SessionConfig(provider="cuda"))
    without = dataclasses.replace(on_gpu, trace=("probe", "ort"))
    told, less, host = (
        planning.divide_time(one, 10**6, 0, NODES, 10**6) for one in (on_gpu, without, CONFIG)
    )
    # A pass with marks, and eight turns that take times, each settled: of milliseconds. Then the
    # same turns of replays.
    turns = 8 * (told.trace_inferences + 5)
    inferences = told.trace_inferences + planning.TRACED_WARMUP + turns
    replays = planning.TRACED_WARMUP + turns
    assert told.profiled_s - less.profiled_s == pytest.approx((inferences + replays) * 1e-3)
    assert less.profiled_s == host.profiled_s


def test_a_quick_look_replays_a_graph_only_if_it_was_asked_for() -> None:
    def replays(option: str = "0", **options: Any) -> bool:
        session = SessionConfig(
            provider=options.pop("provider", "cuda"),
            provider_options={"enable_cuda_graph": option} if option != "0" else {},
        )
        return planning.replays(dataclasses.replace(CONFIG, session=session, **options))

    assert replays()
    assert not replays(quick=True)
    assert replays("1", quick=True)
    assert not replays(provider="cpu")


def test_a_session_of_the_executed_graph_takes_less() -> None:
    told = planning.divide_time(CONFIG, 10**6, 10**9, NODES, 10**6, executed_session_ns=10**8)
    assert 5 * 0.1 < told.probed_s + told.profiled_s < 5 * 0.1 + 2
    assert told.timed_process_s > 1


def test_a_session_that_was_not_timed_is_assumed_and_told() -> None:
    timed = planning.divide_time(CONFIG, 10**6, 10**9, NODES, 10**6, executed_session_ns=10**9)
    assumed = planning.divide_time(CONFIG, 10**6, 10**9, NODES, 10**6)
    assert timed.assumed_s == 0
    assert assumed.expected_s == timed.expected_s
    # Four probed graphs in each of four processes, ORT's profiler in two of them: a second each.
    assert assumed.assumed_s == pytest.approx(4 * 4 + 2)
    none = planning.divide_time(dataclasses.replace(CONFIG, trace=()), 10**6, 10**9, 0, 0)
    assert none.assumed_s == 0


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
    assert plan.timed_s == pytest.approx(0.6)
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
