"""What is said to have disturbed a measurement, and which samples it touched."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from harness.analysis import noise
from harness.records import DeviceSeries, Profile, Yardstick
from harness.statistics import latency
from tests.builders.device_records import series
from tests.builders.process_records import process, profile

POWER_CAP, IDLE = 0x4, 0x1


@pytest.mark.parametrize(
    ("counters", "verdict", "says"),
    [
        ({"wall_ns": 10**9, "steal_ns": 0, "other_load_ns": 10**8}, "quiet", None),
        ({"wall_ns": 10**9, "steal_ns": 4 * 10**7, "other_load_ns": 0}, "disturbed", "took 4.0%"),
        ({"wall_ns": 10**9, "steal_ns": 0, "other_load_ns": 9 * 10**8}, "disturbed", "used 90%"),
        # One step of the counter says nothing about a pass as short as two.
        ({"wall_ns": 2 * 10**7, "steal_ns": 10**7, "other_load_ns": 10**7}, "quiet", None),
        (
            {"wall_ns": 10**9, "steal_ns": 0, "other_load_ns": 0, "cgroup_throttled_periods": 3},
            "disturbed",
            "throttled 3 periods",
        ),
        ({"wall_ns": 10**9, "steal_ns": None, "other_load_ns": 0}, "unknown", "steal_ns: not rea"),
        # Other CPUs than ours were busy: it need not have touched us, waiting has.
        ({"wall_ns": 10**9, "steal_ns": 0, "other_load_ns": 5 * 10**9}, "disturbed", "used 500%"),
        ({"wall_ns": 10**9, "steal_ns": 0, "cpu_wait_ns": 5 * 10**7}, "disturbed", "waited 5.0%"),
        ({"wall_ns": 10**9, "steal_ns": 0, "cpu_wait_ns": 2 * 10**8}, "unusable", "waited 20.0%"),
        ({"wall_ns": 10**9, "steal_ns": 10**8 + 10**7, "other_load_ns": 0}, "unusable", "11.0%"),
        ({}, "unknown", "no host counters were read around a timed pass"),
    ],
)
def test_counters_around_the_passes(
    counters: dict[str, int | None], verdict: str, says: str | None
) -> None:
    found = noise.judge(profile(process([1], noise=counters)))
    assert found.verdict == verdict
    assert len(found.causes) == (says is not None) + bool(found.unusable)
    assert says is None or says in found.causes[0]


def test_noise_is_judged_over_all_processes_together() -> None:
    disturbed = {"wall_ns": 10**9, "steal_ns": 0, "other_load_ns": 5 * 10**8}
    calm = {"wall_ns": 10**9, "steal_ns": 0, "other_load_ns": 0}
    assert noise.judge(profile(process([1], noise=disturbed))).verdict == "disturbed"
    ten = [process([1], noise=disturbed), *(process([1], noise=calm) for _ in range(9))]
    assert noise.judge(profile(*ten)).verdict == "quiet"


def sampling(device: str, cpu_ns: int, process: int = 0) -> tuple[DeviceSeries, DeviceSeries]:
    """What a sampling thread stores of itself after a second."""
    return (
        series(device, "lateness_ns", [(5, 0), (10**9 + 5, 0)], process=process),
        series(device, "cpu_time_ns", [(10**9 + 5, cpu_ns)], process=process),
    )


def test_our_own_sampling_counts_as_a_disturbance() -> None:
    calm = profile(process([100] * 10, noise=CALM))
    assert noise.judge(calm).sampler is None
    little = dataclasses.replace(
        calm, devices=(*sampling("sampler", 4 * 10**6), *sampling("sampler_gpu0", 5 * 10**6))
    )
    assert noise.judge(little).sampler == pytest.approx(0.009)
    assert noise.judge(little).verdict == "quiet"
    # What an energy counter took that was read a hundred times a second.
    much = dataclasses.replace(
        calm, devices=(*sampling("sampler", 4 * 10**6), *sampling("sampler_gpu0", 33 * 10**7))
    )
    found = noise.judge(much)
    assert (found.verdict, found.unusable) == ("disturbed", ())
    assert found.causes == ("our own sampling of devices used 33.4% of a CPU",)


CALM = {"wall_ns": 10**9, "steal_ns": 0, "other_load_ns": 0}


@pytest.mark.parametrize(
    ("values", "share"),
    [([2 * 10**6, 7 * 10**8], 0.002), ([-5, 0], 0), ([2**63 - 1, 0], 2**63 / 1e9)],
)
def test_sampling_counts_where_both_of_its_series_are(values: list[int], share: float) -> None:
    # The second process left no ticks: it ended before the first one was due.
    ticks, spent = sampling("sampler", 0)
    spent = dataclasses.replace(
        spent,
        process=np.array([0, 1], np.int32),
        time_ns=np.array([5, 6], np.int64),
        value=np.array(values, np.int64),
        changed=np.ones(2, np.int8),
    )
    measured = dataclasses.replace(profile(process([100], noise=CALM)), devices=(ticks, spent))
    assert noise.sampler_share(measured) == pytest.approx(share)


def throttled() -> Profile:
    # Two processes of ten samples of 100 ns; in the first the clock was held back from 250 to
    # 450 and once more from 900 on, in the second never.
    mask = [(0, IDLE), (250, POWER_CAP), (450, 0), (600, IDLE), (900, POWER_CAP | IDLE)]
    return profile(
        process([100] * 10, 0, CALM),
        process([100] * 10, 1, CALM, start_ns=5000),
        devices=(
            series("gpu0", "clock_reasons_mask", mask),
            series("gpu0", "clock_reasons_mask", [(5000, 0), (5500, IDLE)], process=1),
        ),
    )


def test_samples_under_throttling_are_marked_and_can_be_left_out() -> None:
    found = noise.throttled_samples(throttled())
    assert [np.flatnonzero(each).tolist() for each in found] == [[2, 3, 4, 9], []]
    verdict = noise.judge(throttled())
    assert (verdict.verdict, verdict.throttled, verdict.touched, verdict.samples) == (
        "disturbed", 4, 4, 20,
    )  # fmt: skip
    assert verdict.causes == (
        "20.0% of the samples were taken while the GPU was throttled (sw_power_cap)",
    )
    kept = noise.without_throttled(throttled())
    assert latency.latency(kept.processes).samples == 16
    assert noise.judge(kept).throttled == 0


def test_a_profile_of_throttling_is_unusable() -> None:
    mask = series("gpu0", "clock_reasons_mask", [(0, POWER_CAP)])
    assert noise.judge(profile(process([100] * 10, 0, CALM), devices=(mask,))).verdict == "unusable"


def test_samples_while_the_hypervisor_took_a_cpu_are_counted() -> None:
    # The counter grew between the readings at 200 and 400: those from 200 to 400 were touched.
    steal = series("cpu0", "steal_ns", [(0, 70), (200, 70), (400, 90), (600, 90)])
    other = series("cpu0", "steal_ns", [(5000, 500), (5500, 500)], process=1)
    both = profile(
        process([100] * 10, 0, CALM),
        process([100] * 10, 1, CALM, start_ns=5000),
        devices=(steal, other),
    )
    found = noise.stolen_samples(both)
    assert [np.flatnonzero(each).tolist() for each in found] == [[2, 3], []]
    assert (noise.judge(both).touched, noise.judge(both).verdict) == (2, "quiet")


@pytest.mark.parametrize(
    ("readings", "says"),
    [
        ([(0, 3_000_000_000), (500, 2_970_000_000)], None),
        ([(0, 3_000_000_000), (500, 2_400_000_000)], "between 2.40 and 3.00 GHz (cpu1)"),
        ([(-500, 800_000_000), (0, 3_000_000_000), (1500, 800_000_000)], None),
    ],
    ids=["steady", "fell", "outside of the pass"],
)
def test_changing_clocks_are_named(readings: list[tuple[int, int]], says: str | None) -> None:
    clocks = (series("cpu1", "frequency_hz", readings), series("cpu0", "frequency_hz", []))
    found = noise.judge(profile(process([100] * 10, 0, CALM), devices=clocks))
    assert len(found.causes) == (says is not None)
    assert says is None or says in found.causes[0]


@pytest.mark.parametrize(("first", "strange"), [(0, False), (40, True)])
def test_use_of_the_gpu_before_there_was_a_session_is_anothers(first: int, strange: bool) -> None:
    used = series("gpu0", "utilization_gpu_percent", [(-900, first), (0, 99), (500, 99)])
    found = noise.judge(profile(process([100] * 10, 0, CALM), devices=(used,)))
    assert any("another program used gpu0 (40 %" in cause for cause in found.causes) is strange


def test_a_machine_that_the_yardstick_finds_slower_beside_some_processes_is_named() -> None:
    def beside(*times_ns: tuple[int, int, int]) -> Profile:
        records = []
        for index, (compute, cache, memory) in enumerate(times_ns):
            parts = [np.full(4, one, np.int64) for one in (compute, cache, memory)]
            measured = Yardstick(np.arange(4), *parts)
            record = process([100] * 10, index, CALM)
            records.append(dataclasses.replace(record, yardstick=measured))
        return profile(*records)

    quiet = noise.judge(beside((500, 1000, 300), (505, 1010, 340)))
    assert quiet.verdict == "quiet"
    assert [one.part for one in quiet.yardstick] == ["compute", "cache", "memory"]
    assert quiet.yardstick[1].time_ns == pytest.approx(1005, rel=1e-3)
    assert quiet.yardstick[2].spread == pytest.approx(40 / 300)
    slower = noise.judge(beside((500, 1000, 300), (620, 1010, 340)))
    assert slower.verdict == "disturbed"
    assert "yardstick: compute 24%" in slower.causes[0]
    much = noise.judge(beside((500, 1000, 300), (620, 2500, 340)))
    assert (much.verdict, "cold start" in much.unusable) == ("disturbed", True)
    untimed = noise.judge(profile(process([100] * 10, 0, CALM)))
    assert (untimed.verdict, untimed.yardstick) == ("quiet", ())


def test_a_meter_in_steps_says_nothing_of_passes_that_are_shorter() -> None:
    short = {"wall_ns": 10**6, "steal_ns": 10**7, "other_load_ns": 17 * 10**6, "cpu_wait_ns": 10**7}
    found = noise.judge(profile(*(process([1], number, short) for number in range(4))))
    assert found.waited is None
    assert found.verdict == "unknown"
    (cause,) = found.causes
    assert cause.startswith("timed passes of 1 ms are shorter than the 10 ms steps")


def test_nothing_is_more_than_can_be() -> None:
    counters = {"wall_ns": 10**8, "steal_ns": 0, "other_load_ns": 10**9, "cpu_wait_ns": 3 * 10**8}
    busy = profile(process([1], noise=counters), config='{"affinity": "0-1"}')
    found = noise.judge(busy)
    assert found.waited == 1
    assert "the timing thread waited 100.0% of the time for a CPU" in found.causes
    assert "other processes used 200% of a CPU meanwhile" in found.causes


def test_unusable_is_what_the_cause_reaches() -> None:
    waiting = {"wall_ns": 10**9, "steal_ns": 0, "cpu_wait_ns": 3 * 10**8}
    agreed = noise.judge(profile(*(process([1000] * 5, k, waiting) for k in range(3))))
    assert agreed.verdict == "disturbed"
    assert "median" not in agreed.unusable
    assert "p99" in agreed.unusable
    assert agreed.causes[-1].endswith("medians agree to 0.0%, so the median is usable")
    apart = noise.judge(profile(*(process([1000 + 50 * k] * 5, k, waiting) for k in range(3))))
    assert apart.verdict == "unusable"
    assert "median" in apart.unusable
    assert apart.causes[-1] == "unusable: median, mean, p90, p99, throughput, cold start"
