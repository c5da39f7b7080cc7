"""The accounts of the device: hand-made timelines, and a GPU's recorded work."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from harness.analysis import device_time as times
from harness.analysis import gpu_work
from harness.analysis.device_time import DeviceTime
from harness.records import GpuTimeline, ProcessRecord, Profile
from harness.statistics.figures import Figure
from harness.storage.assembly import merge_timelines
from tests.builders.device_records import timeline
from tests.builders.node_tables import table
from tests.builders.process_records import process, profile
from tests.builders.recordings import PROFILES, recorded, replayed

#: gemm waits 10 in each inference, relu 20 and 30, the copy that belongs to no node 0: it starts
#: while relu still runs.
LAUNCHES = [("softmax", 1), ("gemm", 0), ("relu", 1), ("DtoH", -1)]
RECORDED = [
    (1000, 200, [(1030, 40), (1080, 20), (1120, 30), (1140, 20)]),
    (2000, 220, [(2040, 40), (2090, 20), (2140, 30), (2160, 30)]),
]


def resident(durations_ns: list[int], index: int = 0) -> ProcessRecord:
    """A process whose timed pass waited for the device."""
    enqueue_ns = np.array(durations_ns, np.int64) // 2
    return dataclasses.replace(process(durations_ns, index), enqueue_ns=enqueue_ns)


def measured(
    work: GpuTimeline | None, *processes: ProcessRecord, provider: str = "cuda", config: str = "{}"
) -> Profile:
    nodes = table([-1, -1], name=("fc", ""), op_type=("Gemm", "Relu"))
    return dataclasses.replace(
        profile(*processes), nodes=nodes, timeline=work, provider=provider, config=config
    )


def found(profile: Profile) -> DeviceTime:
    seen = times.device_time(profile)
    assert isinstance(seen, DeviceTime), seen.reason
    return seen


def test_each_part_is_measured_and_they_make_up_the_inference() -> None:
    seen = found(measured(timeline(LAUNCHES, RECORDED, [210]), resident([210]))).accounts
    assert seen.before_ns == (30 + 40) / 2
    assert seen.busy_ns == (40 + 20 + 40 + 40 + 20 + 50) / 2
    assert seen.idle_ns == (10 + 20 + 10 + 30) / 2
    assert seen.after_ns == (40 + 30) / 2
    assert seen.recorder_ns == 0
    assert (seen.told_ns, seen.clean_ns, seen.residual) == (210, pytest.approx(210), 0)
    assert (seen.launches, seen.inferences, seen.processes) == (4, 2, 1)
    assert seen.doubt == ""


def test_the_idle_times_that_nodes_cause_add_up() -> None:
    seen = found(measured(timeline(LAUNCHES, RECORDED, [210]), resident([210])))
    assert seen.nodes.idle_ns is not None
    # gemm's own gap; relu's. Node 1 launches the first kernel, too, before which there is no gap.
    assert seen.nodes.idle_ns.tolist() == [10, 25]
    assert seen.nodes.kernel_ns.tolist() == [20, 70]
    assert seen.nodes.launches.tolist() == [1, 2]
    assert (seen.accounts.unjoined, seen.accounts.unjoined_ns) == (1, 25)
    assert seen.accounts.unjoined_idle_ns == 0


def test_what_cupti_costs_is_taken_out_of_idle_and_not_of_kernels() -> None:
    plain = found(measured(timeline(LAUNCHES, RECORDED, [210]), resident([210])))
    seen = found(measured(timeline(LAUNCHES, RECORDED, [195]), resident([195])))
    assert seen.accounts.recorder_ns == 15
    # 5 each before the first launch and in the two gaps.
    assert seen.accounts.before_ns == plain.accounts.before_ns - 5
    assert seen.accounts.idle_ns == plain.accounts.idle_ns - 10
    assert seen.accounts.busy_ns == plain.accounts.busy_ns
    assert seen.accounts.told_ns == 195
    assert seen.nodes.idle_ns is not None
    assert seen.nodes.idle_ns.tolist() == [5, 20]
    assert seen.nodes.kernel_ns.tolist() == plain.nodes.kernel_ns.tolist()


def test_a_cost_above_the_idle_time_is_not_taken_out_of_anything_else() -> None:
    work = [("gemm", 0), ("relu", 1)]
    busy = [(0, 60_000, [(10, 30_000), (30_020, 20_000)])]
    seen = found(measured(timeline(work, busy, [50_000]), resident([58_000]))).accounts
    assert (seen.before_ns, seen.idle_ns, seen.busy_ns) == (0, 0, 50_000)
    assert seen.recorder_ns == 10_000
    assert "CUPTI adds 9,980 ns more than the device is idle" in seen.doubt


@pytest.mark.parametrize(
    ("gaps", "cost", "taken"),
    [
        ([0, 10, 10], 10, [0, 5, 5]),
        ([0, 1, 10, 100], 21, [0, 1, 10, 10]),
        ([0, 1, 10, 100], 200, [0, 1, 10, 100]),
        ([0, 10, 10], -4, [0, -2, -2]),
        ([0, 0], 5, [0, 0]),
        ([3, 3, 3], 0, [0, 0, 0]),
        ([-5, 10], 20, [0, 10]),
        ([-5, 10], 4, [0, 4]),
        ([-5], 4, [0]),
    ],
)
def test_each_launch_costs_the_same_but_no_more_than_its_gap(
    gaps: list[float], cost: float, taken: list[float]
) -> None:
    assert times.taken_out(np.array(gaps, float), cost).tolist() == taken


def test_a_later_launch_on_another_stream_may_start_first() -> None:
    work = timeline([("gemm", 0), ("relu", 1)], [(0, 100, [(50, 20), (10, 20)])], [100])
    seen = found(measured(work, resident([100])))
    assert (seen.accounts.before_ns, seen.accounts.busy_ns, seen.accounts.idle_ns) == (10, 40, 20)
    assert seen.nodes.idle_ns is not None
    assert seen.nodes.idle_ns.tolist() == [20, 0]


def test_processes_are_held_against_their_own_timed_pass() -> None:
    one = timeline([("gemm", 0)], [(0, 100, [(10, 50)])], [100])
    other = timeline([("gemm", 0)], [(0, 200, [(10, 50)])], [200], process=1)
    both = merge_timelines([one, other])
    seen = found(measured(both, resident([100]), resident([200], 1))).accounts
    assert (seen.processes, seen.inferences) == (2, 2)
    assert seen.residual == pytest.approx(0)
    assert seen.after_ns == (40 + 140) / 2


def test_accounts_that_miss_the_timed_pass_are_doubted() -> None:
    long = [(0, 100_000, [(10, 20_000)])]
    seen = found(measured(timeline([("gemm", 0)], long, [100_000]), resident([80_000]))).accounts
    assert seen.residual == pytest.approx(0.25)
    assert "they miss the timed pass by +25%" in seen.doubt
    # Three microseconds are no reason.
    short = found(measured(timeline(LAUNCHES, RECORDED, [210]), resident([150]))).accounts
    assert (short.residual, short.doubt) == (pytest.approx(0.4), "")


def test_work_that_ends_after_its_inference_is_doubted() -> None:
    late = timeline([("gemm", 0)], [(0, 100, [(10, 95)])], [100])
    seen = found(measured(late, resident([100]))).accounts
    assert (seen.after_ns, seen.told_ns) == (-5, 100)
    assert "work ends up to 5 ns after its inference" in seen.doubt


def test_work_that_starts_before_its_inference_is_doubted() -> None:
    early = timeline([("gemm", 0)], [(100, 100, [(93, 50)])], [80])
    seen = found(measured(early, resident([100]))).accounts
    # Nothing is taken out of a time that is not there.
    assert (seen.before_ns, seen.recorder_ns) == (-7, 20)
    assert "work starts up to 7 ns before its inference" in seen.doubt


def test_times_are_those_of_their_process_in_whatever_order() -> None:
    one = timeline(LAUNCHES, RECORDED, [210])
    other = timeline([("gemm", 0)], [(0, 200, [(10, 50)])], [200], process=1)
    both = merge_timelines([one, other])
    assert both is not None
    held = {name: getattr(both.times, name)[::-1] for name in both.times.__slots__}
    turned = dataclasses.replace(both, times=dataclasses.replace(both.times, **held))
    processes = resident([210]), resident([200], 1)
    assert (
        found(measured(turned, *processes)).accounts == found(measured(both, *processes)).accounts
    )


def test_a_captured_graph_is_not_held_against_launches() -> None:
    asked = json.dumps({"session": {"provider_options": {"enable_cuda_graph": "1"}}})
    seen = found(measured(timeline(LAUNCHES, RECORDED, [210]), resident([80]), config=asked))
    assert (seen.accounts.clean_ns, seen.accounts.residual) == (None, None)
    assert "replays a CUDA graph" in seen.accounts.doubt
    alone = found(measured(timeline(LAUNCHES, RECORDED, [210]), process([210]))).accounts
    assert (alone.clean_ns, alone.told_ns) == (None, 210)
    assert "no timed pass, resident" in alone.doubt


def test_why_there_are_none() -> None:
    assert times.device_time(measured(None, resident([1]), provider="cpu")) == Figure(
        None, "the provider is cpu, which uses no GPU"
    )
    refused = dataclasses.replace(measured(None), absent=(("trace/timeline", "it differs"),))
    assert times.device_time(refused) == Figure(None, "it differs")
    for bare, with_cupti in (([], RECORDED), ([5], [])):
        seen = times.device_time(measured(timeline(LAUNCHES, with_cupti, bare)))
        assert isinstance(seen, Figure)
        assert "no inferences with CUPTI, or none without" in seen.reason


@pytest.mark.parametrize("wrong", ["missing", "twice", "bare"])
def test_a_file_with_other_times_than_it_should_have_is_no_timeline(wrong: str) -> None:
    work = timeline(LAUNCHES, RECORDED, [210])
    held = work.times
    if wrong == "missing":
        held = dataclasses.replace(
            held, **{name: getattr(held, name)[1:] for name in held.__slots__}
        )
    elif wrong == "twice":
        held = dataclasses.replace(held, launch=np.array([0, 1, 2, 2, 0, 1, 2, 3], np.int32))
    else:
        held = dataclasses.replace(held, inference=np.array([2] * 8, np.int32))
    seen = times.device_time(measured(dataclasses.replace(work, times=held), resident([210])))
    assert isinstance(seen, Figure)
    assert "not every inference has a time for each launch" in seen.reason


@pytest.mark.parametrize("name", PROFILES)
def test_a_recorded_profile_has_kernel_times_and_says_why_no_idle_times(name: str) -> None:
    seen = times.device_time(recorded(name))
    assert isinstance(seen, Figure)
    assert seen.reason == "recorded without a pass for the device's times alone: profile again"
    work = gpu_work.node_work(recorded(name))
    assert work is not None
    assert work.idle_ns is None
    assert work.kernel_ns.sum() > 0


@pytest.mark.parametrize("name", PROFILES)
def test_a_gpus_work_replayed_as_a_timeline_closes(name: str) -> None:
    profile = replayed(name)
    assert profile.timeline is not None
    whole = profile.timeline.inferences.duration_ns
    seen = found(profile)
    told = seen.accounts
    assert told.launches == {"mlp": 9, "bert-small": 132, "resnet50": 229}[name]
    assert told.after_ns == 2000
    assert told.before_ns > 1000
    parts = told.before_ns + told.busy_ns + told.idle_ns + told.after_ns
    assert parts == pytest.approx(told.told_ns)
    assert whole.min() <= parts <= whole.max()
    assert seen.nodes.idle_ns is not None
    assert seen.nodes.idle_ns.sum() + told.unjoined_idle_ns == pytest.approx(told.idle_ns)
    assert seen.nodes.kernel_ns.sum() + told.unjoined_ns == pytest.approx(told.busy_ns, rel=0.01)
    assert seen.nodes.launches.sum() + told.unjoined == told.launches
    # It was recorded under ORT's profiler, and that is noticed.
    assert "they miss the timed pass" in told.doubt


CAPTURED = json.dumps({"session": {"provider_options": {"enable_cuda_graph": "1"}}})


def test_what_a_captured_timed_pass_does_is_told_by_a_pass_that_replays_it_too() -> None:
    launched = measured(timeline(LAUNCHES, RECORDED, [210]), resident([90]), config=CAPTURED)
    replay = timeline(LAUNCHES[:2], [(500, 90, [(510, 40), (555, 30)])], [90])
    seen = found(dataclasses.replace(launched, replay=replay)).accounts
    assert seen.replayed
    assert (seen.before_ns, seen.busy_ns, seen.idle_ns, seen.after_ns) == (10, 70, 5, 5)
    assert (seen.residual, seen.doubt) == (0, "")
    # Where CUPTI told no kernel of it, those of inferences without it are all there is, in doubt.
    for without in (None, timeline([], [], [90])):
        accounts = found(dataclasses.replace(launched, replay=without)).accounts
        assert not accounts.replayed
        assert accounts.told_ns == 210
        assert "replays a CUDA graph, and these inferences do not" in accounts.doubt


def test_a_replay_beside_a_pass_that_launches_changes_none_of_its_accounts() -> None:
    plain = measured(timeline(LAUNCHES, RECORDED, [210]), resident([210]))
    beside = dataclasses.replace(plain, replay=timeline(LAUNCHES[:1], [(5, 9, [(6, 2)])], [9]))
    assert found(beside).accounts == found(plain).accounts
