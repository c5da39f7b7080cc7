"""Whether the device's time is split rightly between work and waiting, by a second recording.

The four parts of the accounts make up the inference whatever the split between them, so their
residual cannot tell a wrong one. The pass with node marks recorded the same kernels in other
inferences: their durations must be the same, and as ORT's profiler slowed the host down there, no
launch can have come earlier. Both passes are CUPTI's: an error that it makes in each is not found.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from harness.analysis.operators.accounts import TRUSTED_RESIDUAL
from harness.records import Int64Array, KernelEvents
from harness.statistics.figures import Float64Array

#: A residual of so many ns is no reason for doubt, however short the inference.
TRUSTED_NS = 3000

#: By what share of their time, and by how many ns, kernels of two recordings may differ. On an H200
#: means over five inferences are apart by 0.3 to 3.1 %, a single inference by up to 6.4 %
#: (mlp, bert-small, resnet50, batch 1 and 32). No two pieces of work of a stream overlapped there.
TRUSTED_WORK, TRUSTED_WORK_NS = 0.10, 1000

#: The same of one launch. There, those that were more than 1 us apart were so by 9 % at most, of a
#: single inference by 20 %.
TRUSTED_LAUNCH = 0.30

#: The most that CUPTI adds to a launch: three times the 0.9 to 1.1 us measured once, on one host.
MOST_OF_A_LAUNCH_NS = 3000


@dataclasses.dataclass(frozen=True, slots=True)
class DeviceChecks:
    """What must hold if the split of the accounts is right. Each is of the process with the most.

    Attributes:
        apart_ns: by how much the launches' durations differ from those in the pass with node
            marks, all differences added up without their signs.
        apart: the same as a share of the durations there.
        launches_apart: launches whose own differs by more than TRUSTED_LAUNCH and TRUSTED_WORK_NS.
        idle_beyond_ns: by how much the device was idle before launches for longer than there,
            where the host was slower (medians), added up; None where work is on several streams.
        reason: why those of these that are None could not be compared; empty otherwise.
        overlap_ns: time in which two pieces of work of one stream ran at once.
        recorder_launch_ns: what CUPTI adds to a launch; None where a captured graph is replayed.
        untold_idle_ns: idle time less what the nodes cause, and what work of no node does.
        doubt: which of them does not hold; empty if all do.
    """

    apart_ns: float | None
    apart: float | None
    launches_apart: int | None
    idle_beyond_ns: float | None
    reason: str
    overlap_ns: float
    recorder_launch_ns: float | None
    untold_idle_ns: float
    doubt: str


class Recorded(NamedTuple):
    """The device's times of one process, CUPTI's part not taken out; means over inferences.

    Attributes:
        process: ProcessRecord.index.
        work: (kind, name) of each launch, in the order of the launches.
        stream: int32[launches], number of the CUDA stream.
        work_ns: float64[launches], duration on the device.
        gap_ns: float64[launches], idle time just before it, median.
        overlap_ns: as in DeviceChecks.
        took_ns: duration of the inference.
        recorder_ns: what CUPTI adds to it.
    """

    process: int
    work: list[tuple[str, str]]
    stream: npt.NDArray[np.int32]
    work_ns: Float64Array
    gap_ns: Float64Array
    overlap_ns: float
    took_ns: float
    recorder_ns: float


def checks(
    kernels: KernelEvents | None,
    each: Sequence[Recorded],
    untold_idle_ns: float,
    *,
    replayed: bool,
) -> DeviceChecks:
    """Holds the device's times against the pass with node marks, and against what can be.

    Args:
        kernels: of the pass with node marks.
        each: of the processes, at least one.
        untold_idle_ns: as in DeviceChecks.
        replayed: whether these inferences replay a captured graph.
    """
    reason = ""
    apart: list[float] = []
    apart_ns: list[float] = []
    launches: list[int] = []
    beyond_ns: list[float] = []
    doubts: list[str] = []
    for one in each:
        again = _again(kernels, one)
        if isinstance(again, str):
            reason = reason or again
            continue
        work_ns, gap_ns = again
        differ_ns = np.abs(one.work_ns - work_ns)
        apart_ns.append(float(differ_ns.sum()))
        apart.append(apart_ns[-1] / max(float(work_ns.sum()), 1.0))
        launches.append(
            int(np.count_nonzero(differ_ns > np.maximum(TRUSTED_WORK_NS, TRUSTED_LAUNCH * work_ns)))
        )
        if launches[-1] or apart_ns[-1] > max(TRUSTED_WORK_NS, TRUSTED_WORK * work_ns.sum()):
            worst = int(differ_ns.argmax())
            doubts.append(
                f"the device's work differs from the pass with node marks by {apart[-1]:.0%}, most "
                f"in launch {worst + 1}: {one.work_ns[worst]:,.0f} ns, there "
                f"{work_ns[worst]:,.0f} ns"
            )
        if len(np.unique(one.stream)) > 1:
            reason = reason or "idle times: work is on several streams"
            continue
        longer_ns = np.maximum(one.gap_ns - gap_ns, 0)
        beyond_ns.append(float(longer_ns.sum()))
        if beyond_ns[-1] > max(TRUSTED_NS, TRUSTED_RESIDUAL * one.took_ns):
            worst = int(longer_ns.argmax())
            doubts.append(
                f"the device is idle for {beyond_ns[-1]:,.0f} ns that it was not in the pass with "
                f"node marks, in which the host is slower, most before launch {worst + 1}"
            )
    for one in each:
        doubts += _impossible(one, replayed=replayed)
    if abs(untold_idle_ns) > 1:
        doubts.append(
            f"{untold_idle_ns:,.0f} ns of the idle time belong to nodes that are not in the table"
        )
    shares_ns = [one.recorder_ns / len(one.work) for one in each]
    return DeviceChecks(
        apart_ns=max(apart_ns, default=None),
        apart=max(apart, default=None),
        launches_apart=max(launches, default=None),
        idle_beyond_ns=max(beyond_ns, default=None),
        reason=reason,
        overlap_ns=max(one.overlap_ns for one in each),
        recorder_launch_ns=None if replayed else max(shares_ns, key=abs),
        untold_idle_ns=untold_idle_ns,
        doubt=doubts[0] if doubts else "",
    )


def _impossible(one: Recorded, *, replayed: bool) -> list[str]:
    """Doubts that need no other recording."""
    doubts = []
    if one.overlap_ns > TRUSTED_WORK_NS:
        doubts.append(
            f"works of one stream overlap for {one.overlap_ns:,.0f} ns, though one follows another"
        )
    noise_ns = max(TRUSTED_NS, TRUSTED_RESIDUAL * one.took_ns)
    most_ns = MOST_OF_A_LAUNCH_NS * len(one.work) + noise_ns
    # What it adds to a graph's launch, which is one for all kernels, was never measured.
    if not replayed and not -noise_ns <= one.recorder_ns <= most_ns:
        doubts.append(
            f"CUPTI adds {one.recorder_ns / len(one.work):,.0f} ns a launch, where it may be up to "
            f"{MOST_OF_A_LAUNCH_NS:,} ns: the inferences without it are not the same"
        )
    return doubts


def _again(kernels: KernelEvents | None, one: Recorded) -> tuple[Float64Array, Float64Array] | str:
    """(duration, idle time before) of each launch in the pass with node marks, or why not."""
    if kernels is None:
        return "there is no pass with node marks"
    rows = np.flatnonzero((kernels.process == one.process) & (kernels.inference >= 0))
    if not len(rows):
        return f"the pass with node marks recorded nothing of process {one.process}"
    launched_ns = kernels.launch_ns[rows]
    # On one stream work starts in the order of the launches.
    when_ns = launched_ns if (launched_ns >= 0).all() else kernels.start_ns[rows]
    rows = rows[np.lexsort((when_ns, kernels.inference[rows]))]
    numbers, counts = np.unique(kernels.inference[rows], return_counts=True)
    if (counts != len(one.work)).any():
        return "the pass with node marks did not record as many launches"
    each = rows.reshape(len(numbers), -1)
    first = each[0].tolist()
    if [(kernels.kind[row], kernels.name[row]) for row in first] != one.work:
        return "the pass with node marks recorded other launches"
    work_ns = kernels.duration_ns[each]
    gaps_ns, _ = idle_before(kernels.start_ns[each], work_ns)
    # One slow launch among a few inferences would leave room for anything.
    return work_ns.mean(axis=0), np.median(gaps_ns, axis=0)


def idle_before(start_ns: Int64Array, work_ns: Int64Array) -> tuple[Int64Array, Int64Array]:
    """How long the device was idle just before each launch, and until when it worked.

    Args:
        start_ns: int64[inferences, launches], when the work began.
        work_ns: the same shape, its duration.

    Returns:
        int64[inferences, launches], 0 for the first to begin; int64[inferences].
    """
    order = np.argsort(start_ns, axis=1, kind="stable")
    starts = np.take_along_axis(start_ns, order, 1)
    until = np.maximum.accumulate(starts + np.take_along_axis(work_ns, order, 1), axis=1)
    gaps = np.zeros_like(starts)
    gaps[:, 1:] = np.maximum(starts[:, 1:] - until[:, :-1], 0)
    idle_ns = np.empty_like(gaps)
    np.put_along_axis(idle_ns, order, gaps, 1)
    return idle_ns, until[:, -1]


def overlap(
    start_ns: Int64Array, work_ns: Int64Array, stream: npt.NDArray[np.int32]
) -> Float64Array:
    """Time in which work began before the work launched before it into its stream had ended.

    Args:
        start_ns: int64[inferences, launches], when the work began, in the order of the launches.
        work_ns: the same shape, its duration.
        stream: int32[launches].

    Returns:
        float64[inferences].
    """
    total = np.zeros(len(start_ns))
    for number in np.unique(stream).tolist():
        mine = stream == number
        starts = start_ns[:, mine]
        ends = np.maximum.accumulate(starts + work_ns[:, mine], axis=1)
        total += np.maximum(ends[:, :-1] - starts[:, 1:], 0).sum(axis=1)
    return total
