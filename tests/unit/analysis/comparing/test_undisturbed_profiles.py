"""Undisturbed latencies of profiles: equal looks, busy machines, what is shown beside them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from harness.analysis import noise
from harness.analysis.comparing import undisturbed
from harness.analysis.comparing.profiles import compare_profiles, compare_sides
from harness.records import LatencySeries, ProcessRecord, Profile, Reading, Yardstick
from harness.reporters.scripts.comparison import comparison
from harness.reporters.terminal.comparison import print_comparison
from harness.statistics.verdicts import Verdict
from tests.builders.process_records import process, profile


def one(
    values_ns: np.ndarray, index: int, seed: int, told: tuple[tuple[str, int], ...] = ()
) -> ProcessRecord:
    """A process of these durations in a row, beside a yardstick that shows a steady machine."""
    duration_ns = np.asarray(values_ns, np.int64)
    start_ns = np.append(0, np.cumsum(duration_ns)[:-1]) + 10**6 * index + seed
    random = np.random.default_rng(1000 * seed + index)
    part = np.round(1e6 * np.exp(np.abs(random.normal(0, 0.001, 4)))).astype(np.int64)
    return dataclasses.replace(
        process(list(duration_ns), index),
        pid=100 * seed + index,
        steady=LatencySeries(start_ns, duration_ns),
        yardstick=Yardstick(np.arange(4), part, part + 7, part + 9),
        noise=tuple(Reading(name, value, "ns") for name, value in told),
    )


#: Of a pass long enough for the counters, that waited for no CPU.
CALM = (("wall_ns", 10**9), ("cpu_wait_ns", 0))


def taken(
    median_ns: float, seed: int, *, count: int = 10, slow: int = 0, tail: float = 0.0
) -> Profile:
    """Processes of 400 samples, some of them half as slow again, a share of samples three times."""
    random = np.random.default_rng(seed)
    processes = []
    for index in range(count):
        values = median_ns * np.exp(random.normal(0, 0.002) + random.normal(0, 0.01, 400))
        values *= np.where(random.random(400) < tail, 3, 1)
        processes.append(one(values * (1.5 if index < slow else 1), index, seed, CALM))
    return profile(*processes)


def test_a_longer_look_is_cut_to_the_shorter_one() -> None:
    """A level that rises within the pass would make the longer look slower."""
    rising = [np.linspace(1e4, 1.2e4, 600) * (1 + 0.001 * k) for k in range(10)]
    long = profile(*(one(each, k, 1) for k, each in enumerate(rising)))
    short = profile(*(one(each[:300] * 1.001, k, 2) for k, each in enumerate(rising)))
    assert undisturbed.look_ns([long, short]) < undisturbed.look_ns([long]) / 1.8
    found = compare_profiles(long, [short]).candidates[0].latency.comparison
    assert found.ratio == pytest.approx(1, abs=0.002)


def test_a_look_never_cuts_everything() -> None:
    series = LatencySeries(np.array([5, 10]), np.array([5, 5]))
    assert len(undisturbed.cut(series, 0.0)) == 1
    empty = LatencySeries(np.empty(0, np.int64), np.empty(0, np.int64))
    assert len(undisturbed.cut(empty, 1.0)) == 0


@pytest.mark.parametrize(("every", "busy"), [(1, True), (20, False)])
def test_waiting_counts_where_it_reached_the_faster_inferences(every: int, busy: bool) -> None:
    """Half of the time is waited: in every inference, or all of it in one of twenty."""
    durations = np.full(400, 20_000.0 if every == 1 else 10_000)
    if every > 1:
        durations[::every] += 10_000 * every
    durations += np.arange(400) % 7
    wall = int(durations.sum()) * 1000  # long enough for the counters
    told = (("wall_ns", wall), ("cpu_wait_ns", wall // 2))
    found = profile(*(one(durations + k, k, 3, told) for k in range(6)))
    reason = undisturbed.busy(found, noise.judge(found), 1e12)
    assert bool(reason) is busy, reason


@pytest.mark.parametrize(
    ("weights", "cache", "counts"),
    [(10, 20, False), (30, 20, True), (None, 20, True), (10, None, True)],
)
def test_the_memory_part_counts_where_weights_exceed_the_cache(
    weights: int | None, cache: int | None, counts: bool
) -> None:
    facts = (Reading("weights_bytes", weights), Reading("cache_l2_bytes", cache))
    found = dataclasses.replace(taken(1e4, 1), environment=facts)
    assert undisturbed.uses_memory([found]) is counts


def test_more_slow_processes_are_told_although_the_undisturbed_latency_is_the_same(
    capsys: pytest.CaptureFixture[str],
) -> None:
    report = compare_profiles(taken(1e4, 1), [taken(1e4, 2, slow=8, count=16)], margin=0.05)
    (compared,) = report.candidates
    assert compared.latency.comparison.verdict is Verdict.SAME
    assert [each.name for each in compared.beside] == ["slow_processes"]
    print_comparison(report, 0)
    shown = capsys.readouterr().out
    assert "but SLOWER in slow processes" in shown
    assert "0 of 10 in the base and 8 of 16 in the candidate" in shown
    told = comparison(report)
    assert told["figure"] == "undisturbed_latency_ns"
    assert told["beside"] == ["slow_processes"]
    assert told["quantities"]["slow_processes"]["candidate"] == pytest.approx(0.5)


def test_a_change_of_the_tail_alone_is_told() -> None:
    compared = compare_profiles(
        taken(1e4, 1), [taken(1e4, 2, tail=0.2)], margin=0.05
    ).candidates[0]  # fmt: skip
    assert compared.latency.comparison.verdict is Verdict.SAME
    assert "latency_p90_ns" in [each.name for each in compared.beside]


def test_several_profiles_a_side() -> None:
    bases = [taken(1e4, seed) for seed in (1, 2, 3)]
    slower = [taken(1.02e4, seed) for seed in (4, 5, 6)]
    report = compare_sides(bases, slower)
    (compared,) = report.candidates
    assert compared.latency.comparison.verdict is Verdict.SLOWER
    assert (len(report.also), len(compared.also)) == (2, 2)
    named = {each.name: each for each in compared.quantities}
    assert "30 in the base" in named["slow_processes"].comparison.reason
    again = compare_sides([bases[0], bases[0]], slower).candidates[0].latency.comparison
    assert "the very same measurement" in again.reason


def test_a_device_is_not_what_the_yardstick_timed() -> None:
    on_gpu = [dataclasses.replace(taken(1e4, seed), provider="cuda") for seed in (1, 2)]
    found = compare_profiles(on_gpu[0], on_gpu[1:]).candidates[0].latency.comparison
    assert undisturbed.HOST_ONLY in found.reason
    on_cpu = compare_profiles(taken(1e4, 1), [taken(1e4, 2)]).candidates[0].latency.comparison
    assert undisturbed.HOST_ONLY not in on_cpu.reason
