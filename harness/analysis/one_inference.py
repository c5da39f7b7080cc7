"""One inference out of many: a typical one of a traced pass, and one of a device on two clocks."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from harness.records import (
    GpuTimeline,
    Int64Array,
    KernelEvents,
    NodeEvents,
    NodeTable,
    Profile,
)
from harness.statistics.figures import Figure

Indices = npt.NDArray[np.intp]


class TracedInference(NamedTuple):
    """A traced inference.

    Attributes:
        process: its process.
        number: its number there.
        start_ns: CLOCK_MONOTONIC.
        duration_ns: as the tracer reports it.
        events: all events from its first to its last one.
        rows: rows of ``events`` that belong to it, by start time.
    """

    process: int
    number: int
    start_ns: int
    duration_ns: int
    events: NodeEvents
    rows: Indices


def typical(events: NodeEvents, process: int | None = None) -> TracedInference | None:
    """The completely recorded inference with the median duration.

    Args:
        events: of a traced pass.
        process: the one to take it from; None for any.
    """
    whole = events.inference_duration_ns >= 0
    if process is not None:
        whole = whole & (events.inference_process == process)
    row = _median_of(np.flatnonzero(whole), events.inference_duration_ns)
    if row is None:
        return None
    process, number = int(events.inference_process[row]), int(events.inference_number[row])
    mine = np.flatnonzero((events.process == process) & (events.inference == number))
    # An inference is a small part of the columns: read no more of them.
    first = int(mine.min(initial=len(events)))
    events, mine = events.part(slice(first, int(mine.max(initial=-1)) + 1)), mine - first
    return TracedInference(
        process,
        number,
        int(events.inference_start_ns[row]),
        int(events.inference_duration_ns[row]),
        events,
        mine[np.argsort(events.start_ns[mine], kind="stable")],
    )


@dataclasses.dataclass(frozen=True, slots=True)
class DeviceWork:
    """What the device does in an inference; columns of equal length n, by start time.

    Attributes:
        kind, name, node, stream: as in KernelEvents; node is -1 where it is no row.
        start_ns: int64[n], CLOCK_MONOTONIC.
        duration_ns: int64[n].
        launch_ns: int64[n], CLOCK_MONOTONIC when the host began to launch it; -1 where not known.
        idle_ns: int64[n], how long the device did nothing just before it; 0 for the first.
    """

    kind: tuple[str, ...]
    name: tuple[str, ...]
    node: npt.NDArray[np.int32]
    stream: npt.NDArray[np.int32]
    start_ns: Int64Array
    duration_ns: Int64Array
    launch_ns: Int64Array
    idle_ns: Int64Array

    def __len__(self) -> int:
        return len(self.name)

    @property
    def end_ns(self) -> int:
        """When the last of it ends."""
        return int((self.start_ns + self.duration_ns).max())


@dataclasses.dataclass(frozen=True, slots=True)
class HostNodes:
    """When the host dealt with each node of an inference; columns of equal length n, by start time.

    Attributes:
        node: int32[n], row in the NodeTable; -1 for launches of no node.
        start_ns: int64[n], CLOCK_MONOTONIC of the inference that it is drawn with.
        duration_ns: int64[n].
        self_ns: int64[n], without the nodes of its subgraphs.
        source: ``probe``: these are times of another inference, shifted so that both calls begin at
            the same time. ``launches``: from the first to the last launch for each node, in the
            same inference. Empty if there are none.
        process, number: of the inference they are from.
        taken_ns: how long the call of that inference took; of launches, 0.
    """

    node: npt.NDArray[np.int32]
    start_ns: Int64Array
    duration_ns: Int64Array
    self_ns: Int64Array
    source: str
    process: int
    number: int
    taken_ns: int

    def __len__(self) -> int:
        return len(self.node)


class Arrows(NamedTuple):
    """What leads from the host to the device; columns of equal length n.

    Attributes:
        host: row of HostNodes.
        work: row of DeviceWork.
        at_ns: CLOCK_MONOTONIC on the host: of the launch if it was recorded, else where the host
            begins with the node, which is before it launches its first work.
    """

    host: Indices
    work: Indices
    at_ns: Int64Array


@dataclasses.dataclass(frozen=True, slots=True)
class DeviceInference:
    """One inference on both clocks.

    Attributes:
        process: ProcessRecord.index.
        number: of the inference among those of its process in that pass, from 0.
        among: how many inferences it is the median of, by duration.
        alone: whether nothing but the device's times was recorded. Else it is of a pass under ORT's
            profiler, which slows the host down: its kernels are true, the gaps between are not.
        start_ns: CLOCK_MONOTONIC of the call; of the first launch where that is not known.
        enqueue_ns: until the call returned; None where not known.
        duration_ns: until the device had done the work, as the host saw it; else until the last
            of it ended.
        work: of the device.
        host: of the host.
        arrows: from the host to the device.
    """

    process: int
    number: int
    among: int
    alone: bool
    start_ns: int
    enqueue_ns: int | None
    duration_ns: int
    work: DeviceWork
    host: HostNodes
    arrows: Arrows


def device_inference(profile: Profile, process: int | None = None) -> DeviceInference | Figure:
    """The median inference of the device, or why there is none.

    From the pass that takes the device's times alone; where there is none, from that under ORT's
    profiler.

    Args:
        profile: of a device.
        process: ProcessRecord.index of the one to take it from; None for any.
    """
    nodes = profile.nodes
    rows = 0 if nodes is None else len(nodes)
    if profile.timeline is not None:
        found = _alone(profile, profile.timeline, rows, process)
        if found is not None:
            return found
    if profile.kernels is not None:
        found = _profiled(profile.kernels, rows, process)
        if found is not None:
            return found
    reasons = [why for what, why in profile.absent if what in {"trace/timeline", "trace/kernels"}]
    return Figure(None, "; ".join(reasons) or "no work of a device was recorded")


def _alone(
    profile: Profile, timeline: GpuTimeline, rows: int, process: int | None
) -> DeviceInference | None:
    launches, inferences, times = timeline.launches, timeline.inferences, timeline.times
    recorded = inferences.recorded != 0
    if process is not None:
        recorded = recorded & (inferences.process == process)
    among = np.flatnonzero(recorded)
    row = _median_of(among, inferences.duration_ns)
    if row is None:
        return None
    mine = np.flatnonzero(times.inference == row)
    if not len(mine):
        return None
    launch = times.launch[mine]
    work = _work(
        rows,
        kind=[launches.kind[one] for one in launch.tolist()],
        name=[launches.name[one] for one in launch.tolist()],
        node=launches.node[launch],
        stream=launches.stream[launch],
        start_ns=times.start_ns[mine],
        duration_ns=times.duration_ns[mine],
        launch_ns=np.full(len(mine), -1, np.int64),
    )
    of_process, start_ns = int(inferences.process[row]), int(inferences.start_ns[row])
    host = _probed(profile, of_process, start_ns)
    first = int(np.flatnonzero(inferences.process == of_process)[0])
    return DeviceInference(
        process=of_process,
        number=row - first,
        among=len(among),
        alone=True,
        start_ns=start_ns,
        enqueue_ns=int(inferences.enqueue_ns[row]),
        duration_ns=int(inferences.duration_ns[row]),
        work=work,
        host=host,
        arrows=_to_first_work(host, work, profile.nodes),
    )


def _profiled(kernels: KernelEvents, rows: int, process: int | None) -> DeviceInference | None:
    inside = kernels.inference >= 0
    if process is not None:
        inside = inside & (kernels.process == process)
    mine = np.flatnonzero(inside)
    if not len(mine):
        return None
    numbers = np.column_stack([kernels.process[mine], kernels.inference[mine]])
    groups, of_group = np.unique(numbers, axis=0, return_inverse=True)
    of_group = of_group.reshape(-1)
    launch_ns, start_ns = kernels.launch_ns[mine], kernels.start_ns[mine]
    begin_ns = np.full(len(groups), np.iinfo(np.int64).max)
    end_ns = np.full(len(groups), np.iinfo(np.int64).min)
    np.minimum.at(begin_ns, of_group, np.where(launch_ns >= 0, launch_ns, start_ns))
    np.minimum.at(begin_ns, of_group, start_ns)
    np.maximum.at(end_ns, of_group, start_ns + kernels.duration_ns[mine])
    group = _median_of(np.arange(len(groups)), end_ns - begin_ns)
    assert group is not None
    mine = mine[of_group == group]
    work = _work(
        rows,
        kind=[kernels.kind[one] for one in mine.tolist()],
        name=[kernels.name[one] for one in mine.tolist()],
        node=kernels.node[mine],
        stream=kernels.stream[mine],
        start_ns=kernels.start_ns[mine],
        duration_ns=kernels.duration_ns[mine],
        launch_ns=kernels.launch_ns[mine],
    )
    of_process, number = groups[group].tolist()
    host, arrows = _launched(work, of_process, number)
    return DeviceInference(
        process=of_process,
        number=number,
        among=len(groups),
        alone=False,
        start_ns=int(begin_ns[group]),
        enqueue_ns=None,
        duration_ns=int(end_ns[group] - begin_ns[group]),
        work=work,
        host=host,
        arrows=arrows,
    )


def _work(
    rows: int,
    *,
    kind: list[str],
    name: list[str],
    node: npt.NDArray[np.int32],
    stream: npt.NDArray[np.int32],
    start_ns: Int64Array,
    duration_ns: Int64Array,
    launch_ns: Int64Array,
) -> DeviceWork:
    """The columns by start time, with the gaps before each; nodes that are no row are none."""
    order = np.argsort(start_ns, kind="stable")
    starts, takes = start_ns[order], duration_ns[order]
    until = np.maximum.accumulate(starts + takes)
    idle_ns = np.zeros(len(order), np.int64)
    idle_ns[1:] = np.maximum(starts[1:] - until[:-1], 0)
    return DeviceWork(
        kind=tuple(kind[one] for one in order.tolist()),
        name=tuple(name[one] for one in order.tolist()),
        node=np.where(node < rows, node, -1)[order],
        stream=stream[order],
        start_ns=starts,
        duration_ns=takes,
        launch_ns=launch_ns[order],
        idle_ns=idle_ns,
    )


def _probed(profile: Profile, process: int, start_ns: int) -> HostNodes:
    """The nodes as probes timed them: in the same process if it has such a pass."""
    events = profile.traces.get("probe")
    chosen = None if events is None else typical(events, process) or typical(events)
    if chosen is None:
        return _no_host()
    shift_ns, rows, events = start_ns - chosen.start_ns, chosen.rows, chosen.events
    return HostNodes(
        node=events.node[rows],
        start_ns=events.start_ns[rows] + shift_ns,
        duration_ns=events.duration_ns[rows],
        self_ns=events.self_ns[rows],
        source="probe",
        process=chosen.process,
        number=chosen.number,
        taken_ns=chosen.duration_ns,
    )


def _no_host() -> HostNodes:
    none = np.empty(0, np.int64)
    return HostNodes(np.empty(0, np.int32), none, none, none, "", -1, -1, 0)


def _launched(work: DeviceWork, process: int, number: int) -> tuple[HostNodes, Arrows]:
    """From the first to the last launch of each node: all that the host side recorded of it."""
    known = np.flatnonzero(work.launch_ns >= 0)
    known = known[np.argsort(work.launch_ns[known], kind="stable")]
    if not len(known):
        return _no_host(), _no_arrows()
    new = np.append(True, np.diff(work.node[known]) != 0)
    first = np.flatnonzero(new)
    last = np.append(first[1:], len(known)) - 1
    at_ns = work.launch_ns[known]
    took_ns = at_ns[last] - at_ns[first]
    host = HostNodes(
        work.node[known[first]], at_ns[first], took_ns, took_ns, "launches", process, number, 0
    )
    return host, Arrows(np.cumsum(new) - 1, known, at_ns)


def _no_arrows() -> Arrows:
    none = np.empty(0, np.intp)
    return Arrows(none, none, np.empty(0, np.int64))


def _to_first_work(host: HostNodes, work: DeviceWork, nodes: NodeTable | None) -> Arrows:
    """From each node that ran once on the host to the first that the device does for it."""
    if nodes is None or not len(host):
        return _no_arrows()
    # Nodes without a probe of their own are in the time of the one that carries them.
    carrier = np.where(nodes.carrier >= 0, nodes.carrier, -1)
    timed_by = np.where(work.node >= 0, carrier[work.node], -1)
    served, first = np.unique(timed_by, return_index=True)
    ran, at, times = np.unique(host.node, return_index=True, return_counts=True)
    once = dict(zip(ran[times == 1].tolist(), at[times == 1].tolist(), strict=True))
    pairs = [
        (once[node], row)
        for node, row in zip(served.tolist(), first.tolist(), strict=True)
        if node in once
    ]
    if not pairs:
        return _no_arrows()
    rows, works = np.array(pairs, np.intp).T
    return Arrows(rows, works, host.start_ns[rows])


def _median_of(rows: Indices, values: Int64Array) -> int | None:
    """The one of some rows with the median value; of an even number, the upper one."""
    if not len(rows):
        return None
    order = rows[np.argsort(values[rows], kind="stable")]
    return int(order[len(order) // 2])
