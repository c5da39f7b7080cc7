"""Where the time of an inference goes on the device, and which nodes it waits for."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from harness.analysis.device_checks import (
    TRUSTED_NS,
    DeviceChecks,
    Recorded,
    checks,
    idle_before,
    overlap,
)
from harness.analysis.occupancy import capacity, too_few
from harness.analysis.operators.accounts import TRUSTED_RESIDUAL
from harness.ort import providers
from harness.records import GpuTimeline, Int64Array, Profile, RepeatedTexts
from harness.statistics.figures import Figure, Float64Array
from harness.statistics.intervals import typical


@dataclasses.dataclass(frozen=True, slots=True)
class NodeWork:
    """Means over the inferences, by row of the NodeTable.

    Attributes:
        kernel_ns: float64[nodes], duration of the node's work on the GPU.
        launches: float64[nodes], pieces of work: kernels, copies and memsets.
        copies: float64[nodes], those that are copies and memsets.
        small_ns: float64[nodes], the part of kernel_ns in kernels of too few blocks to fill the
            device (``occupancy.too_few``); None if its size is not known.
        idle_ns: float64[nodes], how long the GPU was idle just before the node's work, since
            the inference's previous work had ended: it waited for these launches. None where
            only a pass under ORT's profiler recorded it, which lengthens the gaps.
    """

    kernel_ns: Float64Array
    launches: Float64Array
    copies: Float64Array
    small_ns: Float64Array | None
    idle_ns: Float64Array | None


@dataclasses.dataclass(frozen=True, slots=True)
class DeviceAccounts:
    """Where the time of an inference went, seen from the device.

    The four parts are measured, each between two stamps; none is what the others leave over. All
    are means over the middle half of the recorded inferences by duration, and over the processes.

    Attributes:
        before_ns: from the call until the device begins its first work.
        busy_ns: time in which the device does any work.
        idle_ns: time between, in which it does none.
        after_ns: from the end of the last work until the host has seen it.
        recorder_ns: what CUPTI adds: such inferences with CUPTI less those without, taken by
            turns; noise may make it negative. It is taken out of before_ns and idle_ns already:
            CUPTI delays launches, not kernels.
        launches: kernels, copies and memsets of an inference.
        unjoined: number of these that belong to no node.
        unjoined_ns: their time on the device.
        unjoined_idle_ns: idle time just before them.
        told_ns: sum of the four parts, geometric mean over the processes with a timed pass.
        clean_ns: the same processes' timed pass, resident on the device: geometric mean of
            their medians; None if there is none to compare with.
        residual: told_ns / clean_ns - 1; None likewise. It tells whether inferences as they were
            recorded, CUPTI's part taken out, last as long as the timed pass. How they are split
            into the four parts it cannot tell, whose sum is the inference in any case.
        checks: what tells whether they are split rightly.
        inferences: recorded ones, over all processes.
        processes: that recorded them.
        replayed: whether these inferences replay a captured graph, as the timed pass then does.
        doubt: why the parts should not be trusted; empty if there is no reason.
    """

    before_ns: float
    busy_ns: float
    idle_ns: float
    after_ns: float
    recorder_ns: float
    launches: float
    unjoined: float
    unjoined_ns: float
    unjoined_idle_ns: float
    told_ns: float
    clean_ns: float | None
    residual: float | None
    checks: DeviceChecks
    inferences: int
    processes: int
    replayed: bool
    doubt: str


@dataclasses.dataclass(frozen=True, slots=True)
class DeviceTime:
    """The accounts of the device, and the part of each node.

    Attributes:
        accounts: of an inference.
        nodes: by row of the NodeTable. Its ``idle_ns`` and ``accounts.unjoined_idle_ns`` sum to
            ``accounts.idle_ns``.
    """

    accounts: DeviceAccounts
    nodes: NodeWork


class _Rows(NamedTuple):
    """Which rows of a timeline are of one process, in rising order.

    Attributes:
        process: ProcessRecord.index.
        launches, inferences: rows of these tables.
        times: rows of LaunchTimes, those in its inferences.
    """

    process: int
    launches: npt.NDArray[np.intp]
    inferences: npt.NDArray[np.intp]
    times: npt.NDArray[np.intp]


@dataclasses.dataclass(frozen=True, slots=True)
class _OfProcess:
    """The inferences of one process: means over the middle half by duration.

    Attributes:
        index: ProcessRecord.index.
        node: row in the NodeTable of each launch; -1 for none.
        copies: float64[launches], 1 for a copy or a memset, 0 for a kernel.
        work_ns: float64[launches], duration on the device.
        small_ns: float64[launches], the same for kernels of few blocks, 0 for all others.
        idle_ns: float64[launches], idle time just before it, CUPTI's part taken out.
        before_ns, busy_ns, after_ns, recorder_ns: as in DeviceAccounts.
        untaken_ns: the part of recorder_ns for which there was not enough idle time.
        earliest_ns: by how much work of these inferences began before them at most; 0 if none did.
        latest_ns: by how much it ended after them at most; 0 if none did.
        inferences: how many were recorded.
        seen: the same times as they were recorded.
    """

    index: int
    node: npt.NDArray[np.int32]
    copies: Float64Array
    work_ns: Float64Array
    small_ns: Float64Array
    idle_ns: Float64Array
    before_ns: float
    busy_ns: float
    after_ns: float
    recorder_ns: float
    untaken_ns: float
    earliest_ns: int
    latest_ns: int
    inferences: int
    seen: Recorded

    @property
    def told_ns(self) -> float:
        return self.before_ns + self.busy_ns + float(self.idle_ns.sum()) + self.after_ns


def device_time(profile: Profile) -> DeviceTime | Figure:
    """Where the device's time goes, or why that is not known.

    Where the timed pass replays a captured graph, from a pass that replays it, too, if CUPTI told
    its kernels there; else from one that launches each of them, which is then in doubt.
    """
    replay = profile.replay if _captured(profile) else None
    replayed = replay is not None and len(replay.launches) > 0
    timeline = replay if replayed else profile.timeline
    if timeline is None:
        return Figure(None, _why_absent(profile))
    if not len(timeline.launches):
        return Figure(None, "the device launched nothing")
    size = capacity(profile)
    small = np.zeros(len(timeline.launches), bool)
    if size is not None:
        small = too_few(timeline.launches, size)
    each: list[_OfProcess] = []
    for rows in _by_process(timeline):
        one = _of_process(timeline, rows, small)
        if isinstance(one, Figure):
            return one
        each.append(one)
    nodes = _nodes(each, 0 if profile.nodes is None else len(profile.nodes))
    if size is None:
        nodes = dataclasses.replace(nodes, small_ns=None)
    return DeviceTime(_accounts(profile, each, nodes, replayed=replayed), nodes)


def _captured(profile: Profile) -> bool:
    """Whether the timed pass replays a captured graph."""
    provider = providers.known(profile.provider)
    return provider is not None and provider.captures(profile.asked.provider_options)


def _why_absent(profile: Profile) -> str:
    reasons = [why for what, why in profile.absent if what in ("trace/timeline", "trace/kernels")]
    if reasons:
        return "; ".join(reasons)
    provider = providers.known(profile.provider)
    if provider is not None and not provider.on_device:
        return f"the provider is {profile.provider}, which uses no GPU"
    return "recorded without a pass for the device's times alone: profile again"


def _accounts(
    profile: Profile, each: list[_OfProcess], nodes: NodeWork, *, replayed: bool
) -> DeviceAccounts:
    def mean(name: str) -> float:
        return float(np.mean([getattr(one, name) for one in each]))

    def of_unjoined(name: str) -> float:
        return float(np.mean([getattr(one, name)[one.node < 0].sum() for one in each]))

    timed, why = _resident(profile, replayed=replayed)
    compared = [one for one in each if one.index in timed]
    told_ns = typical(np.array([one.told_ns for one in compared or each]))
    clean_ns = typical(np.array([timed[one.index] for one in compared])) if compared else None
    residual = told_ns / clean_ns - 1 if clean_ns else None
    idle_ns = float(np.mean([one.idle_ns.sum() for one in each]))
    unjoined_idle_ns = of_unjoined("idle_ns")
    caused_ns = 0.0 if nodes.idle_ns is None else float(nodes.idle_ns.sum())
    checked = checks(
        profile.kernels,
        [one.seen for one in each],
        idle_ns - caused_ns - unjoined_idle_ns,
        replayed=replayed,
    )
    return DeviceAccounts(
        before_ns=mean("before_ns"),
        busy_ns=mean("busy_ns"),
        idle_ns=idle_ns,
        after_ns=mean("after_ns"),
        recorder_ns=mean("recorder_ns"),
        launches=float(np.mean([len(one.node) for one in each])),
        unjoined=float(np.mean([np.count_nonzero(one.node < 0) for one in each])),
        unjoined_ns=of_unjoined("work_ns"),
        unjoined_idle_ns=unjoined_idle_ns,
        told_ns=told_ns,
        clean_ns=clean_ns,
        residual=residual,
        checks=checked,
        inferences=sum(one.inferences for one in each),
        processes=len(each),
        replayed=replayed,
        doubt=_doubt(each, told_ns, clean_ns, why) or checked.doubt,
    )


def _resident(profile: Profile, *, replayed: bool) -> tuple[dict[int, float], str]:
    """(median of each timed pass that can be compared with, by process; why there is none)."""
    if _captured(profile) and not replayed:
        return {}, "the timed pass replays a CUDA graph, and these inferences do not"
    timed = {
        one.index: float(np.median(one.steady.duration_ns))
        for one in profile.processes
        # Only a pass that waits for the device has the time until the call returned besides.
        if len(one.steady) and len(one.enqueue_ns)
    }
    return timed, "" if timed else "there is no timed pass, resident on the device, to compare with"


def _doubt(each: list[_OfProcess], told_ns: float, clean_ns: float | None, why: str) -> str:
    """Why the accounts should not be trusted, in one sentence."""
    for beyond_ns, where in (
        (max(one.earliest_ns for one in each), "starts up to {:,} ns before"),
        (max(one.latest_ns for one in each), "ends up to {:,} ns after"),
    ):
        if beyond_ns:
            return (
                f"work {where.format(beyond_ns)} its inference: the device's clock is not in step "
                "with the host's"
            )
    if clean_ns is None:
        return why or "these processes have no timed pass to compare with"
    apart_ns = told_ns - clean_ns
    if abs(apart_ns) > max(TRUSTED_NS, TRUSTED_RESIDUAL * clean_ns):
        return (
            f"they miss the timed pass by {apart_ns / clean_ns:+.0%}: the machine changed in "
            "between, or the pass changed the model's speed"
        )
    untaken_ns = max(one.untaken_ns for one in each)
    if untaken_ns > TRUSTED_NS:
        return f"CUPTI adds {untaken_ns:,.0f} ns more than the device is idle: it slows kernels"
    return ""


def _nodes(each: list[_OfProcess], rows: int) -> NodeWork:
    def summed(name: str) -> Float64Array:
        sums = []
        for one in each:
            mine = (one.node >= 0) & (one.node < rows)
            weights = None if name == "node" else getattr(one, name)[mine]
            sums.append(np.bincount(one.node[mine], weights, rows).astype(np.float64))
        mean: Float64Array = np.mean(sums, axis=0)
        return mean

    return NodeWork(
        kernel_ns=summed("work_ns"),
        launches=summed("node"),
        copies=summed("copies"),
        small_ns=summed("small_ns"),
        idle_ns=summed("idle_ns"),
    )


def copies(kind: Sequence[str]) -> Float64Array:
    """float64[n]: 1 for a copy or a memset, 0 for a kernel."""
    kinds = RepeatedTexts.of(kind)
    return kinds.each(each != "kernel" for each in kinds.distinct).astype(np.float64)


def _by_process(timeline: GpuTimeline) -> list[_Rows]:
    """The rows of each process that launched work: grouped once, as there are many times."""

    def grouped(process: npt.NDArray[np.int32]) -> dict[int, npt.NDArray[np.intp]]:
        order = np.argsort(process, kind="stable")
        indices, first = np.unique(process[order], return_index=True)
        ends = [*first[1:].tolist(), len(order)]
        return {
            index: order[start:end]
            for index, start, end in zip(indices.tolist(), first.tolist(), ends, strict=False)
        }

    launches, inferences = timeline.launches.process, timeline.inferences.process
    timed, times = grouped(inferences), grouped(inferences[timeline.times.inference])
    none = np.empty(0, np.intp)
    return [
        _Rows(process, rows, timed.get(process, none), times.get(process, none))
        for process, rows in grouped(launches).items()
    ]


def _of_process(
    timeline: GpuTimeline, rows: _Rows, small: npt.NDArray[np.bool_]
) -> _OfProcess | Figure:
    launches, inferences = timeline.launches, timeline.inferences
    process, mine = rows.process, rows.launches
    with_cupti = inferences.recorded[rows.inferences] != 0
    recorded = rows.inferences[with_cupti]
    bare_ns = inferences.duration_ns[rows.inferences[~with_cupti]]
    if not len(recorded) or not len(bare_ns):
        return Figure(None, f"process {process} has no inferences with CUPTI, or none without")
    times = _matrices(timeline, mine, recorded, rows.times)
    if times is None:
        return Figure(None, f"process {process}: not every inference has a time for each launch")
    start_ns, work_ns = times
    took_ns = inferences.duration_ns[recorded]
    began_ns = inferences.start_ns[recorded]
    idle_ns, until_ns = idle_before(start_ns, work_ns)
    first_ns = start_ns.min(axis=1)
    after_ns = began_ns + took_ns - until_ns
    busy_ns = until_ns - first_ns - idle_ns.sum(axis=1)

    middle = _middle(took_ns)
    recorder_ns = float(took_ns[middle].mean() - bare_ns[_middle(bare_ns)].mean())
    work = work_ns[middle].mean(axis=0)
    idle = idle_ns[middle].mean(axis=0)
    before_ns = float((first_ns - began_ns)[middle].mean())
    taken = taken_out(np.append(idle, before_ns), recorder_ns)
    return _OfProcess(
        index=process,
        node=launches.node[mine],
        copies=copies(launches.kind)[mine],
        work_ns=work,
        small_ns=np.where(small[mine], work, 0.0),
        idle_ns=idle - taken[:-1],
        before_ns=before_ns - float(taken[-1]),
        busy_ns=float(busy_ns[middle].mean()),
        after_ns=float(after_ns[middle].mean()),
        recorder_ns=recorder_ns,
        untaken_ns=max(recorder_ns - float(taken.sum()), 0.0),
        earliest_ns=max(int((began_ns - first_ns)[middle].max()), 0),
        latest_ns=max(-int(after_ns[middle].min()), 0),
        inferences=len(recorded),
        seen=Recorded(
            process=process,
            work=[(launches.kind[row], launches.name[row]) for row in mine.tolist()],
            stream=launches.stream[mine],
            work_ns=work,
            gap_ns=np.median(idle_ns[middle], axis=0),
            overlap_ns=float(overlap(start_ns, work_ns, launches.stream[mine])[middle].mean()),
            took_ns=float(took_ns[middle].mean()),
            recorder_ns=recorder_ns,
        ),
    )


def _matrices(
    timeline: GpuTimeline,
    mine: npt.NDArray[np.intp],
    recorded: npt.NDArray[np.intp],
    here: npt.NDArray[np.intp],
) -> tuple[Int64Array, Int64Array] | None:
    """(start, duration) as int64[inferences, launches]; None unless each is there once."""
    times = timeline.times
    at_row = _position(recorded, times.inference[here])
    at_column = _position(mine, times.launch[here])
    shape = len(recorded), len(mine)
    if len(here) != shape[0] * shape[1] or min(at_row.min(), at_column.min()) < 0:
        return None
    place = at_row * shape[1] + at_column
    if len(np.unique(place)) != len(place):
        return None
    columns = []
    for values in (times.start_ns, times.duration_ns):
        filled = np.empty(len(place), np.int64)
        filled[place] = values[here]
        columns.append(filled.reshape(shape))
    return columns[0], columns[1]


def _position(rows: npt.NDArray[np.intp], wanted: npt.NDArray[np.int32]) -> npt.NDArray[np.intp]:
    """Where each of wanted is in rows, at least one and rising; -1 where it is not."""
    at = np.minimum(np.searchsorted(rows, wanted), len(rows) - 1)
    return np.where(rows[at] == wanted, at, -1)


def _middle(duration_ns: Int64Array) -> npt.NDArray[np.bool_]:
    """The middle half: samples, not values interpolated between them."""
    low = np.percentile(duration_ns, 25, method="lower")
    high = np.percentile(duration_ns, 75, method="higher")
    kept: npt.NDArray[np.bool_] = (duration_ns >= low) & (duration_ns <= high)
    return kept


def taken_out(gaps_ns: Float64Array, cost_ns: float) -> Float64Array:
    """How much of each gap is CUPTI's cost: the same of each, but no more than the gap is long.

    The host pays about the same for each launch. Where launches come ahead of the device there is
    no gap, and the cost is hidden behind the work before.

    Args:
        gaps_ns: float64[n], before each launch; of a negative one, which is doubtful, nothing.
        cost_ns: what is to be taken out of them together; negative adds to those that are not 0.

    Returns:
        float64[n], whose sum is cost_ns, or that of the gaps if it is smaller.
    """
    there = np.sort(gaps_ns[gaps_ns > 0])
    if not len(there) or cost_ns >= there.sum():
        return np.maximum(gaps_ns, 0)
    # Gaps below the level go whole; the rest of the cost is shared by the others.
    left = cost_ns - np.concatenate([[0.0], np.cumsum(there)[:-1]])
    levels = left / np.arange(len(there), 0, -1)
    level = levels[np.argmax(levels <= there)]
    return np.where(gaps_ns > 0, np.minimum(gaps_ns, level), 0.0)
