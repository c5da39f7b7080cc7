"""The device's times without the cost of knowing whose they are.

Naming the node of each kernel takes ORT's profiler and the records of all CUDA calls, and both slow
down the host: the device then waits between kernels for launches that otherwise come in time. But
an inference launches the same work in the same order each time. So one pass learns which launch
belongs to which node (``learn``), and another one records kernels, copies and memsets alone; its
n-th launch is the n-th of the first (``place``). Both passes are refused if an inference differs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from harness.records import (
    GpuTimeline,
    Int64Array,
    KernelEvents,
    Launches,
    LaunchTimes,
    TimelineInferences,
)
from harness.tracing.kernels import join

if TYPE_CHECKING:
    from harness.native import cupti

#: Values of a correlation id, which CUPTI counts up with each CUDA call: it may wrap around.
_CORRELATIONS = 1 << 32


class Turn(NamedTuple):
    """Some inferences in a row, with CUPTI or without.

    Attributes:
        start_ns, enqueue_ns, duration_ns: int64[n], as in TimelineInferences.
        columns: the decoded records; None where CUPTI was off.
        recording: the source of the records; None likewise.
        names: kernel names by address.
    """

    start_ns: Int64Array
    enqueue_ns: Int64Array
    duration_ns: Int64Array
    columns: cupti.CuptiColumns | None = None
    recording: cupti.CuptiRecording | None = None
    names: Mapping[int, str] = {}


def learn(columns: cupti.CuptiColumns, events: KernelEvents) -> Launches:
    """What an inference launches, in that order, with the node of each launch.

    Args:
        columns: the decoded records of a pass with node marks.
        events: what ``join.join`` made of them.

    Raises:
        ValueError: the inferences differ, or work was lost; the message says how.
    """
    if events.dropped:
        raise ValueError(f"{events.dropped} of CUPTI's records of the pass with nodes were lost")
    work = join.timed_work(columns)
    rows = _by_launch(work, events.inference)
    what = list(zip(events.kind, events.name, strict=True))
    first = rows[0]
    for number, others in enumerate(rows):
        _require_same(
            [what[row] for row in first], [what[row] for row in others], f"inference {number}"
        )
        apart = np.flatnonzero(events.node[first] != events.node[others])
        if len(apart):
            raise ValueError(
                f"launch {apart[0]} of an inference belongs to another node in inference {number} "
                "than in the first"
            )
    return Launches(
        process=events.process[first],
        kind=tuple(events.kind[row] for row in first),
        name=tuple(events.name[row] for row in first),
        node=events.node[first],
        stream=events.stream[first],
        grid=events.grid[first],
        block=events.block[first],
        registers=events.registers[first],
        shared_bytes=events.shared_bytes[first],
        bytes=events.bytes[first],
    )


def place(launches: Launches, turns: Sequence[Turn], *, replayed: bool = False) -> GpuTimeline:
    """The times of each launch in each inference, joined by position.

    Args:
        launches: of an inference of the same session, not empty.
        turns: of one process, in order; at least one with CUPTI.
        replayed: whether the inferences replay these launches as a graph, in which one follows the
            other.

    Raises:
        ValueError: an inference did not launch exactly this, or records were lost.
    """
    wanted = list(zip(launches.kind, launches.name, strict=True))
    first = np.cumsum([0, *(len(turn.start_ns) for turn in turns)])
    times = [
        _times(turn, turn.columns, turn.recording, wanted, int(number), replayed=replayed)
        for turn, number in zip(turns, first, strict=False)
        if turn.columns is not None and turn.recording is not None
    ]
    if not times:
        raise ValueError("CUPTI recorded nothing")
    return GpuTimeline(
        launches,
        _inferences(turns, int(launches.process[0])),
        LaunchTimes(
            launch=np.concatenate([each.launch for each in times]),
            inference=np.concatenate([each.inference for each in times]),
            start_ns=np.concatenate([each.start_ns for each in times]),
            duration_ns=np.concatenate([each.duration_ns for each in times]),
        ),
    )


def whole(turns: Sequence[Turn], process: int) -> GpuTimeline:
    """The times of the inferences alone, where what they launch is not known.

    Args:
        turns: of one process, in order.
        process: ProcessRecord.index.
    """
    narrow, wide = np.empty(0, np.int32), np.empty(0, np.int64)
    axes = np.empty((0, 3), np.int32)
    return GpuTimeline(
        Launches(narrow, (), (), narrow, narrow, axes, axes, narrow, wide, wide),
        _inferences(turns, process),
        LaunchTimes(narrow, narrow, wide, wide),
    )


def _inferences(turns: Sequence[Turn], process: int) -> TimelineInferences:
    recorded = [np.full(len(turn.start_ns), turn.columns is not None) for turn in turns]
    told = np.concatenate(recorded).astype(np.int32)
    return TimelineInferences(
        process=np.full(len(told), process, np.int32),
        recorded=told,
        start_ns=np.concatenate([turn.start_ns for turn in turns]),
        enqueue_ns=np.concatenate([turn.enqueue_ns for turn in turns]),
        duration_ns=np.concatenate([turn.duration_ns for turn in turns]),
    )


def _times(
    turn: Turn,
    columns: cupti.CuptiColumns,
    recording: cupti.CuptiRecording,
    wanted: Sequence[tuple[str, str]],
    first: int,
    *,
    replayed: bool,
) -> LaunchTimes:
    """The times of a turn's launches; its first inference has this number."""
    lost = join.lost(columns, recording)
    if lost:
        raise ValueError(f"{lost} of CUPTI's records were lost")
    work = join.timed_work(columns)
    start_ns = work["start_ns"] - recording.offset_ns
    inference = join.inference_at(start_ns, turn.start_ns, turn.duration_ns)
    rows = _by_launch(work, inference, len(turn.start_ns), replayed=replayed)
    what = list(zip(join.kinds_of(work), join.names_of(work, turn.names), strict=True))
    for number, mine in enumerate(rows):
        found = [what[row] for row in mine]
        if replayed:
            found = _as_launched(wanted, found)
        _require_same(wanted, found, f"inference {first + number}")
    row = np.concatenate(rows)
    return LaunchTimes(
        launch=np.tile(np.arange(len(wanted), dtype=np.int32), len(rows)),
        inference=first + inference[row],
        start_ns=start_ns[row],
        duration_ns=(work["end_ns"] - work["start_ns"])[row],
    )


def _as_launched(
    wanted: Sequence[tuple[str, str]], found: Sequence[tuple[str, str]]
) -> list[tuple[str, str]]:
    """What a graph does, a copy or a setting of memory as what it was launched as.

    Of these a graph makes kernels with names such as memset32 and memcpy32_post, where CUPTI tells
    of its nodes (seen by others: forums.developer.nvidia.com/t/380013).
    """
    launched = list(found)
    for position, (one, (kind, name)) in enumerate(zip(wanted, found, strict=False)):
        if kind == "kernel" and one[0] != kind and name.startswith(one[0]):
            launched[position] = one
    return launched


def _by_launch(
    work: npt.NDArray[np.void],
    inference: npt.NDArray[np.int32],
    count: int | None = None,
    *,
    replayed: bool = False,
) -> list[npt.NDArray[np.intp]]:
    """Rows of the work of each inference, as the host launched it.

    Args:
        work: by start.
        inference: of each; -1 for none.
        count: how many inferences there are; None for as many as there are numbers.
        replayed: whether a graph was replayed: then they stay in the order of their starts. They
            share one id, which is wrong in all recordings but the first (release notes of CUPTI
            13.1 update 1).

    Raises:
        ValueError: none of it is within an inference.
    """
    if not (inference >= 0).any():
        raise ValueError("the device did nothing in any inference, by CUPTI's clock")
    # On several streams a later launch may start earlier. Ids are compared with one among them,
    # so that a wrap-around does not matter. Work of the same id is in the order of its starts.
    correlation = work["correlation"].astype(np.int64) * (not replayed)
    half = _CORRELATIONS // 2
    launched = (correlation - correlation[0] + half) % _CORRELATIONS
    order = np.lexsort((launched, inference))
    numbers = np.arange((int(inference.max()) + 1 if count is None else count) + 1)
    return np.split(order, np.searchsorted(inference[order], numbers))[1:-1]


def _require_same(
    wanted: Sequence[tuple[str, str]], found: Sequence[tuple[str, str]], where: str
) -> None:
    if len(wanted) != len(found):
        raise ValueError(
            "the device does not do the same in each inference: "
            f"{len(found)} launches in {where}, {len(wanted)} in the first"
        )
    for position, (one, other) in enumerate(zip(wanted, found, strict=True)):
        if one != other:
            raise ValueError(
                "the device does not do the same in each inference: launch "
                f"{position} is {' '.join(other)} in {where}, {' '.join(one)} in the first"
            )
