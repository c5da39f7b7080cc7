"""Errors planted into the device's times of a GPU's recorded work; their sum stays as it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from harness.analysis.device_checks import TRUSTED_WORK
from harness.analysis.device_time import DeviceAccounts, DeviceTime, device_time
from harness.records import Int64Array, Profile
from tests.builders.device_records import timeline
from tests.builders.process_records import process, profile
from tests.builders.recordings import PROFILES, replayed, undoubted

#: (start, duration) of each launch, int64[inferences, launches]: changed in place.
Plant = Callable[[Int64Array, Int64Array], None]


def accounts(of: Profile) -> DeviceAccounts:
    told = device_time(of)
    assert isinstance(told, DeviceTime), told.reason
    return told.accounts


def clean(name: str) -> Profile:
    return undoubted(replayed(name))


def planted(whole: Profile, plant: Plant) -> Profile:
    made = whole.timeline
    assert made is not None
    shape = -1, len(made.launches)
    start_ns, work_ns = (
        column.copy().reshape(shape) for column in (made.times.start_ns, made.times.duration_ns)
    )
    plant(start_ns, work_ns)
    times = dataclasses.replace(
        made.times, start_ns=start_ns.reshape(-1), duration_ns=work_ns.reshape(-1)
    )
    return dataclasses.replace(whole, timeline=dataclasses.replace(made, times=times))


def gaps(start_ns: Int64Array, work_ns: Int64Array) -> Int64Array:
    """int64[launches - 1]: the shortest idle time after each launch."""
    least: Int64Array = (start_ns[:, 1:] - (start_ns + work_ns)[:, :-1]).min(axis=0)
    return least


def a_kernel_longer(start_ns: Int64Array, work_ns: Int64Array) -> None:
    """The idle time behind it counts as its work."""
    at = int(gaps(start_ns, work_ns).argmax())
    work_ns[:, at] += gaps(start_ns, work_ns)[at]


def a_kernel_moved(start_ns: Int64Array, work_ns: Int64Array) -> None:
    """The time of the longest kernel goes to the one after it, so that their sum stays."""
    at = int(work_ns[:, :-1].sum(axis=0).argmax())
    moved = work_ns[:, at] // 2
    work_ns[:, at] -= moved
    start_ns[:, at + 1] -= moved
    work_ns[:, at + 1] += moved


def a_gap_moved(start_ns: Int64Array, work_ns: Int64Array) -> None:
    """A third of the launches begin late: what the one behind them waits for counts as theirs."""
    free = gaps(start_ns, work_ns)
    for at in range(1, start_ns.shape[1] - 1):
        if at % 3 == 1:
            start_ns[:, at] += free[at]


def a_start_too_early(start_ns: Int64Array, work_ns: Int64Array) -> None:
    """Work begins while the work before it in its stream still runs: busy is too short."""
    at = int(work_ns[:, :-1].sum(axis=0).argmax())
    start_ns[:, at + 1] = start_ns[:, at]


PLANTED: dict[str, tuple[Plant, str]] = {
    "a kernel longer": (a_kernel_longer, "differs from the pass with node marks"),
    "a kernel moved": (a_kernel_moved, "differs from the pass with node marks"),
    "a gap moved": (a_gap_moved, "idle for"),
    "a start too early": (a_start_too_early, ""),
}


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("what", PLANTED)
def test_a_wrong_split_is_found_though_the_residual_stays(name: str, what: str) -> None:
    plant, doubt = PLANTED[what]
    right, wrong = accounts(clean(name)), accounts(planted(clean(name), plant))
    assert right.doubt == ""
    assert wrong.residual == pytest.approx(right.residual)
    assert wrong.told_ns == pytest.approx(right.told_ns)
    assert doubt in wrong.doubt
    assert wrong.checks.doubt == wrong.doubt


@pytest.mark.parametrize("name", PROFILES)
def test_kernels_of_other_inferences_of_a_gpu_are_near_enough(name: str) -> None:
    whole = clean(name)
    assert whole.kernels is not None

    def of_the_first(start_ns: Int64Array, work_ns: Int64Array) -> None:
        work_ns[:] = work_ns[0]

    others = dataclasses.replace(
        whole.kernels, inference=np.where(whole.kernels.inference == 0, -1, whole.kernels.inference)
    )
    checked = accounts(planted(dataclasses.replace(whole, kernels=others), of_the_first)).checks
    assert checked.apart is not None
    assert 0 < checked.apart < TRUSTED_WORK
    assert checked.launches_apart == 0


def one_kernel(recorded: list[tuple[int, int, list[tuple[int, int]]]], bare: list[int]) -> Profile:
    timed = dataclasses.replace(process(bare), enqueue_ns=np.array(bare, np.int64))
    made = timeline([("gemm", -1)], recorded, bare)
    return dataclasses.replace(profile(timed), provider="cuda", timeline=made)


def test_more_than_cupti_can_add_to_a_launch_is_doubted() -> None:
    took_ns, alone_ns = 100_000, 89_000
    made = one_kernel([(0, took_ns, [(50_000, 40_000)])], [alone_ns])
    seen = accounts(made)
    # The residual is 0: what CUPTI adds is taken out, whatever it is.
    assert seen.residual == pytest.approx(0)
    assert seen.checks.recorder_launch_ns == 11_000
    assert "CUPTI adds 11,000 ns a launch, where it may be up to 3,000 ns" in seen.doubt
    likely = accounts(one_kernel([(0, took_ns, [(50_000, 40_000)])], [took_ns - 1000]))
    assert (likely.checks.recorder_launch_ns, likely.doubt) == (1000, "")
    negative = accounts(one_kernel([(0, took_ns, [(50_000, 40_000)])], [took_ns + 9000]))
    assert "CUPTI adds -9,000 ns a launch" in negative.doubt


def test_idle_time_of_nodes_that_the_table_lacks_is_doubted() -> None:
    whole = clean("mlp")
    assert whole.nodes is not None
    seen = accounts(dataclasses.replace(whole, nodes=None))
    assert seen.checks.untold_idle_ns > 1000
    assert "ns of the idle time belong to nodes that are not in the table" in seen.doubt


def test_idle_times_of_several_streams_are_not_compared() -> None:
    whole = clean("mlp")
    assert whole.timeline is not None
    launches = whole.timeline.launches
    stream = launches.stream.copy()
    stream[3] += 1
    apart = dataclasses.replace(launches, stream=stream)
    seen = accounts(
        dataclasses.replace(whole, timeline=dataclasses.replace(whole.timeline, launches=apart))
    )
    assert seen.checks.apart == pytest.approx(0)
    assert seen.checks.idle_beyond_ns is None
    assert seen.checks.reason == "idle times: work is on several streams"


def test_without_another_recording_it_says_why_and_checks_the_rest() -> None:
    alone = accounts(dataclasses.replace(clean("mlp"), kernels=None))
    assert alone.checks.apart is None
    assert alone.checks.idle_beyond_ns is None
    assert alone.checks.reason == "there is no pass with node marks"
    assert alone.doubt == ""
    whole = clean("mlp")
    assert whole.kernels is not None
    others = dataclasses.replace(whole.kernels, name=("other",) * len(whole.kernels))
    fewer = dataclasses.replace(
        whole.kernels, inference=np.where(np.arange(len(whole.kernels)) == 3, -1, 0)
    )
    elsewhere = dataclasses.replace(whole.kernels, process=whole.kernels.process + 1)
    for kernels, reason in (
        (others, "recorded other launches"),
        (fewer, "did not record as many launches"),
        (elsewhere, "recorded nothing of process 0"),
    ):
        seen = accounts(dataclasses.replace(whole, kernels=kernels))
        assert reason in seen.checks.reason
        assert seen.checks.apart is None


@pytest.mark.parametrize("name", PROFILES)
def test_a_recording_agrees_with_itself(name: str) -> None:
    checked = accounts(clean(name)).checks
    assert checked.reason == ""
    assert checked.apart is not None
    assert checked.idle_beyond_ns is not None
    # The replay makes the timeline of the very records that it is held against.
    assert checked.apart == pytest.approx(0)
    assert checked.idle_beyond_ns == 0
    assert checked.overlap_ns == 0
    assert checked.recorder_launch_ns == 0
    assert checked.untold_idle_ns == pytest.approx(0, abs=1)
    assert checked.doubt == ""
