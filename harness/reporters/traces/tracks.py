"""A profile as tracks on one time axis: what every trace format writes, in batches of columns.

Each worker process is a group of tracks: cold start, warm-up, timed pass, each traced pass and the
streams of the GPU. Callers side by side have a track each, below one of their windows. In traced
passes, nodes are nested in their inference and in the control-flow node that ran them. The pass
that takes a GPU's times alone has its calls, its streams, and the gaps by the node that they wait
for; with its median inference are drawn the nodes on the host as probes timed them in another one.
Device readings are a separate group of counters.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from harness.analysis.one_inference import DeviceInference, device_inference
from harness.analysis.operators.labels import node_label
from harness.records import BETWEEN_SOURCES
from harness.reporters.names import clipped

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from harness.records import (
        DeviceSeries,
        GpuTimeline,
        Instances,
        Int64Array,
        KernelEvents,
        LatencySeries,
        NodeEvents,
        NodeTable,
        ProcessRecord,
        Profile,
    )

Indices: TypeAlias = npt.NDArray[np.intp]

#: Events per batch: as many as a writer holds as text at a time.
BATCH: Final = 16_384

#: Events of a traced pass that are sorted at a time, unless a single inference has more.
_EVENTS_AT_A_TIME: Final = 4 * BATCH

#: In place of a number that an event lacks and others of its batch have.
ABSENT: Final = int(np.iinfo(np.int64).min)

_NEVER: Final = int(np.iinfo(np.int64).max)

#: In place of the row of a node: an inference; nothing.
_INFERENCE, _NOTHING = -1, -2


@dataclasses.dataclass(frozen=True, slots=True)
class Group:
    """Tracks that belong together.

    Attributes:
        number: position among the groups, from 0.
        pid: process id of the worker; for the devices, one that no worker has.
        name: as shown.
        is_process: whether it is a worker process.
    """

    number: int
    pid: int
    name: str
    is_process: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Track:
    """A row of the trace; no interval in it outlasts one that it begins in.

    Attributes:
        group: the group it belongs to.
        number: position in the group, from 1.
        name: as shown.
    """

    group: Group
    number: int
    name: str


@dataclasses.dataclass(frozen=True, slots=True)
class Texts:
    """A column with few distinct texts; index is -1 where there is none."""

    texts: tuple[str, ...]
    index: Indices

    @classmethod
    def same(cls, text: str, count: int) -> Texts:
        """One text, ``count`` times."""
        return cls((text,), np.zeros(count, np.intp))

    @classmethod
    def of(cls, texts: Sequence[str]) -> Texts:
        """Any texts."""
        places: dict[str, int] = {}
        index = np.array([places.setdefault(clipped(one), len(places)) for one in texts], np.intp)
        return cls(tuple(places), index)


Column: TypeAlias = "Texts | Int64Array"


@dataclasses.dataclass(frozen=True, slots=True)
class Flows:
    """One side of arrows between intervals: where they start, or where they point.

    Attributes:
        first: int64[n], row in flow of the first end at each interval.
        count: int64[n], number of ends at each interval.
        flow: int64[m], number of the arrow, from 1.
        time_ns: int64[m], CLOCK_MONOTONIC of the end, within its interval.
        arrives: True where the arrows point here, False where they start here.
    """

    first: Int64Array
    count: Int64Array
    flow: Int64Array
    time_ns: Int64Array
    arrives: bool

    def ends(self) -> tuple[Indices, Int64Array]:
        """(row of the interval, row in flow) of every end."""
        row = np.repeat(np.arange(len(self.count)), self.count)
        within = np.arange(len(row)) - np.repeat(np.cumsum(self.count) - self.count, self.count)
        return row, self.first[row] + within


@dataclasses.dataclass(frozen=True, slots=True)
class Intervals:
    """Intervals of a track, by start time, enclosing ones first; columns of equal length.

    Attributes:
        track: the track they lie on.
        name: name of each.
        category: category of each.
        start_ns: int64[n], CLOCK_MONOTONIC.
        duration_ns: int64[n].
        facts: further columns by name; a number is ABSENT where an interval lacks it.
        flows: arrows that begin or end here; None for none.
    """

    track: Track
    name: Texts
    category: Texts
    start_ns: Int64Array
    duration_ns: Int64Array
    facts: Mapping[str, Column]
    flows: Flows | None = None

    def __len__(self) -> int:
        return len(self.start_ns)

    def facts_present(self) -> Iterator[tuple[Indices, tuple[str, ...]]]:
        """Each set of rows that have the same facts, with the names of these facts."""
        bits = np.zeros(len(self), np.int64)
        for place, column in enumerate(self.facts.values()):
            there = column.index >= 0 if isinstance(column, Texts) else column != ABSENT
            bits |= there.astype(np.int64) << place
        for pattern in np.unique(bits).tolist():
            names = tuple(name for place, name in enumerate(self.facts) if pattern >> place & 1)
            yield np.flatnonzero(bits == pattern), names


@dataclasses.dataclass(frozen=True, slots=True)
class Readings:
    """Values of a counter, by time.

    Attributes:
        track: the track of the counter.
        unit: unit of the values.
        time_ns: int64[n], CLOCK_MONOTONIC.
        value: int64[n].
    """

    track: Track
    unit: str
    time_ns: Int64Array
    value: Int64Array


class _Tracks:
    """The tracks of a group, numbered in the order in which they are asked for."""

    def __init__(self, group: Group) -> None:
        self.group = group
        self._by_name: dict[str, Track] = {}

    def named(self, name: str) -> Track:
        name = clipped(name)
        track = Track(self.group, len(self._by_name) + 1, name)
        return self._by_name.setdefault(name, track)


def first_ns(profile: Profile) -> int:
    """The earliest timestamp of a profile, 0 where it has none."""
    firsts = [cold_start_ns(profile, process)[0] for process in profile.processes]
    columns = [events.inference_start_ns for events in profile.node_traces.values()]
    columns += [events.part(slice(1)).start_ns for events in profile.node_traces.values()]
    columns += [series.time_ns for series in profile.devices]
    if profile.kernels is not None:
        launch_ns = profile.kernels.launch_ns
        columns += [profile.kernels.start_ns, launch_ns[launch_ns >= 0]]
    if profile.timeline is not None:
        columns += [profile.timeline.inferences.start_ns, profile.timeline.times.start_ns]
    if profile.instances is not None:
        columns.append(profile.instances.begin_ns)
    firsts += [int(column.min()) for column in columns if len(column)]
    return min((first for first in firsts if first), default=0)


def batches(profile: Profile) -> Iterator[Intervals | Readings]:
    """All events of the trace, in non-empty batches of at most BATCH.

    The batches of a track are in time order. A profile has no timestamps of the cold start, only
    the durations of its parts: they are drawn back to back before the first warm-up inference, or
    window of callers side by side. Where a tracer's clock is coarse, no node is drawn to end
    later than what encloses it. Intervals that overlap without nesting, as nodes in ORT's
    parallel mode do, go on separate tracks.
    """
    nodes = None if profile.nodes is None else _clipped(profile.nodes)
    for number, process in enumerate(profile.processes):
        of_what = "group of callers" if len(process.caller) else "worker process"
        group = Group(number, process.pid, f"{of_what} {process.index}", is_process=True)
        tracks = _Tracks(group)
        yield from _cold_start(tracks.named("cold start"), profile, process)
        yield from _samples(tracks.named("warm-up"), "warm-up", process.warmup)
        if len(process.caller):
            yield from _callers(tracks, profile.instances, process)
        else:
            yield from _samples(tracks.named("timed pass"), "timed", process.steady)
        for name, events in profile.node_traces.items():
            yield from _traced(tracks, name, nodes, events, process.index)
        if profile.kernels is not None:
            yield from _kernels(tracks, nodes, profile.kernels, process.index)
        if profile.timeline is not None:
            yield from _device_pass(tracks, nodes, profile, profile.timeline, process.index)
    free_pid = max((process.pid for process in profile.processes), default=0) + 1
    devices = _Tracks(Group(len(profile.processes), free_pid, "devices", is_process=False))
    for series in profile.devices:
        yield from _readings(devices, series)


def cold_start_ns(
    profile: Profile, process: ProcessRecord
) -> tuple[int, tuple[tuple[str, int], ...]]:
    """Time at which the cold start is drawn (0 if it is not), and its parts."""
    provider = (("load provider", process.provider_ns),) if process.provider_ns > 0 else ()
    parts = (
        ("open library", process.library_ns),
        *provider,
        ("create session", process.session_ns),
        ("first inference", process.first_inference_ns),
    )
    took_ns = sum(duration for _, duration in parts)
    rows = profile.instances
    if rows is not None and (rows.process == process.index).any():
        return int(rows.begin_ns[rows.process == process.index].min()) - took_ns, parts
    for series in (process.warmup, process.steady):
        if len(series):
            return int(series.start_ns[0]) - took_ns, parts
    return 0, ()


def _cold_start(track: Track, profile: Profile, process: ProcessRecord) -> Iterator[Intervals]:
    start_ns, parts = cold_start_ns(profile, process)
    if not parts:
        return
    duration_ns = np.array([duration for _, duration in parts], np.int64)
    before = "window" if len(process.caller) else "warm-up inference"
    place = f"drawn before the first {before}; only its duration is recorded"
    yield Intervals(
        track,
        Texts.of([name for name, _ in parts]),
        Texts.same("cold start", len(parts)),
        start_ns + np.cumsum(duration_ns) - duration_ns,
        duration_ns,
        {"place": Texts.same(place, len(parts))},
    )


def _samples(track: Track, category: str, series: LatencySeries) -> Iterator[Intervals]:
    number = 0
    for part in series.parts():
        for first in range(0, len(part), BATCH):
            start_ns = part.start_ns[first : first + BATCH]
            count = len(start_ns)
            yield Intervals(
                track,
                Texts.same("inference", count),
                Texts.same(category, count),
                start_ns,
                part.duration_ns[first : first + BATCH],
                {"inference": np.arange(number, number + count)},
            )
            number += count


def _callers(
    tracks: _Tracks, rows: Instances | None, process: ProcessRecord
) -> Iterator[Intervals]:
    """The windows of a group, and the inferences of each caller on a track of its own."""
    names: dict[int, str] = {}
    if rows is not None:
        yield from _windows(tracks.named("windows"), rows, process.index)
        names = _caller_names(rows)
    steady = process.steady
    order = np.argsort(process.caller, kind="stable")
    callers, firsts = np.unique(process.caller[order], return_index=True)
    count = len(steady)
    number = np.empty(count, np.int64)
    for caller, mine in zip(callers.tolist(), np.split(order, firsts[1:]), strict=True):
        number[mine] = np.arange(len(mine))
        track = tracks.named(f"timed pass: {names.get(caller, f'caller {caller}')}")
        yield from _chunks(
            track, Texts.same("inference", count), Texts.same("timed", count),
            steady.start_ns, steady.duration_ns, {"inference": number}, mine,
        )  # fmt: skip


def _windows(track: Track, rows: Instances, process: int) -> Iterator[Intervals]:
    """The common window of a group and that of the one that was measured alone."""
    mine = np.flatnonzero(rows.process == process)
    begins, first = np.unique(rows.begin_ns[mine], return_index=True)
    chosen = mine[first]
    alone = rows.alone[chosen] == 1
    names = ("common window", "window of one alone")
    yield Intervals(
        track,
        Texts(names, alone.astype(np.intp)),
        Texts.same("window", len(begins)),
        begins,
        rows.end_ns[chosen] - begins,
        {"instance": np.where(alone, rows.instance[chosen].astype(np.int64), ABSENT)},
    )


def _caller_names(rows: Instances) -> dict[int, str]:
    """What each calling thread is called: by its instance where each of these has one."""
    callers, first = np.unique(rows.caller, return_index=True)
    instances = rows.instance[first].tolist()
    several = len(set(instances))
    return {
        caller: f"caller {caller}"
        if several == 1
        else f"instance {instance}"
        if several == len(callers)
        else f"instance {instance}, caller {caller}"
        for caller, instance in zip(callers.tolist(), instances, strict=True)
    }


def _traced(
    tracks: _Tracks, trace: str, nodes: NodeTable | None, events: NodeEvents, process: int
) -> Iterator[Intervals]:
    """The inferences of a traced pass with their nodes, some inferences at a time."""
    whole = np.flatnonzero(
        (events.inference_process == process) & (events.inference_duration_ns >= 0)
    )
    whole = whole[np.argsort(events.inference_start_ns[whole], kind="stable")]
    mine = np.flatnonzero(events.process == process)
    if nodes is None or not len(mine):
        mine = mine[:0]
    else:
        # Events are grouped by process: only this one's part of the other columns is read.
        first, last = int(mine[0]), int(mine[-1])
        events, mine = events.part(slice(first, last + 1)), mine - first
    # Cut at the first inference that begins after each multiple of _EVENTS_AT_A_TIME events.
    begins = np.searchsorted(events.start_ns[mine], events.inference_start_ns[whole])
    cut = np.flatnonzero(np.diff(begins // _EVENTS_AT_A_TIME) > 0) + 1
    for some, theirs in zip(np.split(whole, cut), np.split(mine, begins[cut]), strict=True):
        yield from _inferences(tracks, trace, nodes, events, process, some, theirs)


def _inferences(
    tracks: _Tracks,
    trace: str,
    nodes: NodeTable | None,
    events: NodeEvents,
    process: int,
    whole: Indices,
    mine: Indices,
) -> Iterator[Intervals]:
    """These inferences of a traced pass, with their nodes."""
    if nodes is None:
        rows, drawn_ns, depth, parent = mine, mine, mine, mine
    else:
        rows = events.node[mine].astype(np.intp)
        drawn_ns = _drawn_ns(nodes, events, mine, process)
        depth, parent = nodes.depth[rows], nodes.parent[rows]

    def joined(of_inferences: Any, of_nodes: Any) -> Any:
        before = np.broadcast_to(of_inferences, len(whole))
        return np.concatenate((before, of_nodes))[order]

    order = np.arange(len(whole) + len(mine))
    start_ns = joined(events.inference_start_ns[whole], events.start_ns[mine])
    order = np.lexsort((joined(-1, depth), start_ns))
    start_ns = start_ns[order]
    duration_ns = joined(events.inference_duration_ns[whole], drawn_ns)
    row = joined(_INFERENCE, rows)
    lane = _lanes(
        start_ns, start_ns + duration_ns, row, joined(_NOTHING, parent), joined(-1, depth)
    )

    labels: tuple[str, ...] = ("inference",)
    facts: dict[str, Column] = {}
    if nodes is not None:
        labels += _labels(nodes)
        facts = {
            "op_type": Texts(nodes.op_type, row),
            "node": Texts(nodes.name, row),
            **({"source": Texts(nodes.sources, row)} if any(nodes.sources) else {}),
            "provider": Texts(nodes.provider, row),
        }
    facts["inference"] = joined(events.inference_number[whole], events.inference[mine])
    facts["self_ns"] = joined(ABSENT, events.self_ns[mine])
    name = Texts(labels, row + 1)
    category = Texts((f"traced: {trace}", trace), (row >= 0).astype(np.intp))
    for number in range(int(lane.max(initial=-1)) + 1):
        title = f"traced pass: {trace}" + (f" ({number + 1})" if number else "")
        of_lane = np.flatnonzero(lane == number)
        yield from _chunks(
            tracks.named(title), name, category, start_ns, duration_ns, facts, of_lane
        )


def _kernels(
    tracks: _Tracks, nodes: NodeTable | None, kernels: KernelEvents, process: int
) -> Iterator[Intervals]:
    """The launches for each node on the host, and the resulting work on each stream."""
    mine = np.flatnonzero(kernels.process == process)
    if not len(mine):
        return
    node = kernels.node[mine].astype(np.intp)
    labels = (*(_labels(nodes) if nodes is not None else ()), "no node")
    node = np.where((node >= 0) & (node < len(labels) - 1), node, len(labels) - 1)
    inference = _known(kernels.inference[mine])
    start_ns, launch_ns = kernels.start_ns[mine], kernels.launch_ns[mine]
    arrow = mine + 1

    launched = np.flatnonzero(launch_ns >= 0)
    launched = launched[np.argsort(launch_ns[launched], kind="stable")]
    if len(launched):
        yield from _launches(
            tracks.named("traced pass: kernels, launches by node"),
            Texts(labels, node[launched]),
            inference[launched],
            launch_ns[launched],
            arrow[launched],
        )

    facts: dict[str, Column] = {
        "kind": Texts.of([kernels.kind[row] for row in mine.tolist()]),
        "node": Texts(labels, node),
        "inference": inference,
        "grid": _sizes(kernels.grid[mine]),
        "block": _sizes(kernels.block[mine]),
        "registers": _known(kernels.registers[mine]),
        "shared_bytes": _known(kernels.shared_bytes[mine]),
        "bytes": _known(kernels.bytes[mine]),
    }
    name = Texts.of([kernels.name[row] or "(no name)" for row in mine.tolist()])
    category = Texts.same("kernels", len(mine))
    flows = Flows(
        first=np.arange(len(mine)),
        count=(launch_ns >= 0).astype(np.int64),
        flow=arrow,
        time_ns=start_ns,
        arrives=True,
    )
    stream = kernels.stream[mine]
    duration_ns = kernels.duration_ns[mine]
    for number in np.unique(stream).tolist():
        rows = np.flatnonzero(stream == number)
        rows = rows[np.argsort(start_ns[rows], kind="stable")]
        yield from _beside(
            tracks, f"GPU stream {number}", name, category, start_ns, duration_ns, facts, rows,
            flows,
        )  # fmt: skip


def _launches(
    track: Track, node: Texts, inference: Int64Array, launch_ns: Int64Array, arrow: Int64Array
) -> Iterator[Intervals]:
    """From the first to the last launch of a node, which is all that the host side records of it.

    The columns hold launches, by time.
    """
    new = np.append(True, (np.diff(node.index) != 0) | (np.diff(inference) != 0))
    first = np.flatnonzero(new)
    last = np.append(first[1:], len(new)) - 1
    yield from _chunks(
        track,
        Texts(node.texts, node.index[first]),
        Texts.same("launches", len(first)),
        launch_ns[first],
        launch_ns[last] - launch_ns[first],
        {"inference": inference[first], "launches": last - first + 1},
        np.arange(len(first)),
        Flows(first, last - first + 1, arrow, launch_ns, arrives=False),
    )


def _device_pass(
    tracks: _Tracks,
    nodes: NodeTable | None,
    profile: Profile,
    timeline: GpuTimeline,
    process: int,
) -> Iterator[Intervals]:
    """The pass that takes the device's times alone: calls, host nodes, streams and gaps."""
    inferences = timeline.inferences
    mine = np.flatnonzero(inferences.process == process)
    if not len(mine):
        return
    yield from _calls(tracks.named("device pass: calls"), timeline, mine)
    chosen = device_inference(profile, process)
    if not isinstance(chosen, DeviceInference) or not chosen.alone:
        return  # nothing was recorded
    labels = (*(_labels(nodes) if nodes is not None else ()), "no node")
    # Those of the kernels recorded under ORT's profiler are counted up to their number.
    arrow = np.arange(len(chosen.arrows.at_ns)) + 1 + int(mine[0]) * len(timeline.launches)
    arrow += 0 if profile.kernels is None else len(profile.kernels)
    yield from _host_nodes(tracks, labels, nodes, chosen, arrow)

    times = timeline.times
    rows = np.flatnonzero(inferences.process[times.inference] == process)
    rows = rows[np.lexsort((times.start_ns[rows], times.inference[rows]))]
    inference = times.inference[rows].astype(np.int64)
    start_ns, duration_ns = times.start_ns[rows], times.duration_ns[rows]
    launch = times.launch[rows]
    node = timeline.launches.node[launch].astype(np.intp)
    node = np.where((node >= 0) & (node < len(labels) - 1), node, len(labels) - 1)
    number = inference - int(mine[0])
    shown = int(np.searchsorted(number, chosen.number))
    arrives = np.zeros(len(rows), np.int64)
    flow = np.zeros(len(rows), np.int64)
    arrives[shown + chosen.arrows.work] = 1
    flow[shown + chosen.arrows.work] = arrow
    yield from _streams(
        tracks, timeline, launch, Texts(labels, node), number, start_ns, duration_ns,
        Flows(np.arange(len(rows)), arrives, flow, start_ns, arrives=True),
    )  # fmt: skip
    yield from _gaps(
        tracks.named("device pass: GPU idle, by the node it waits for"),
        timeline, Texts(labels, node), inference, int(mine[0]), start_ns, start_ns + duration_ns,
    )  # fmt: skip


def _calls(track: Track, timeline: GpuTimeline, mine: Indices) -> Iterator[Intervals]:
    """Each inference with its two parts: until the call returned, and until the device was done."""
    inferences = timeline.inferences
    count = len(mine)
    start_ns, took_ns = inferences.start_ns[mine], inferences.duration_ns[mine]
    call_ns = np.minimum(inferences.enqueue_ns[mine], took_ns)
    starts = np.column_stack([start_ns, start_ns, start_ns + call_ns]).reshape(-1)
    durations = np.column_stack([took_ns, call_ns, took_ns - call_ns]).reshape(-1)
    kind = np.tile(np.arange(3), count)
    recorded = np.repeat(inferences.recorded[mine].astype(np.int64), 3)
    yield from _chunks(
        track,
        Texts(("inference", "call", "the host waits for the device"), kind),
        Texts.same("device pass", 3 * count),
        starts,
        durations,
        {"inference": np.repeat(np.arange(count), 3), "recorded_by_cupti": recorded},
        np.arange(3 * count),
    )


def _host_nodes(
    tracks: _Tracks,
    labels: tuple[str, ...],
    nodes: NodeTable | None,
    chosen: DeviceInference,
    arrow: Int64Array,
) -> Iterator[Intervals]:
    """The nodes of the graph itself as probes timed them, with the arrows to the device's work."""
    host, arrows = chosen.host, chosen.arrows
    if nodes is None or not len(host):
        return
    node = np.where((host.node >= 0) & (host.node < len(nodes)), host.node, len(nodes))
    rows = np.flatnonzero((node < len(nodes)) & (np.append(nodes.depth, 0)[node] == 0))
    order = np.argsort(arrows.host, kind="stable")
    count = np.bincount(arrows.host, minlength=len(host)).astype(np.int64)
    flows = Flows(
        first=np.cumsum(count) - count,
        count=count,
        flow=arrow[order],
        time_ns=arrows.at_ns[order],
        arrives=False,
    )
    of = f"inference {host.number} of process {host.process} under probes, from its call on"
    yield from _beside(
        tracks, "device pass: host nodes of the median inference, by probes in another one",
        Texts(labels, node), Texts.same("device pass", len(host)),
        host.start_ns, host.duration_ns,
        {"inference": np.full(len(host), chosen.number), "timed_in": Texts.same(of, len(host))},
        rows, flows,
    )  # fmt: skip


def _streams(
    tracks: _Tracks,
    timeline: GpuTimeline,
    launch: npt.NDArray[np.int32],
    node: Texts,
    number: Int64Array,
    start_ns: Int64Array,
    duration_ns: Int64Array,
    flows: Flows,
) -> Iterator[Intervals]:
    """What the device did in each recorded inference, by stream."""
    launches = timeline.launches
    facts: dict[str, Column] = {
        "kind": _launched(launches.kind, launch),
        "node": node,
        "inference": number,
        "grid": _sizes(launches.grid[launch]),
        "block": _sizes(launches.block[launch]),
        "registers": _known(launches.registers[launch]),
        "shared_bytes": _known(launches.shared_bytes[launch]),
        "bytes": _known(launches.bytes[launch]),
    }
    stream = launches.stream[launch]
    for one in np.unique(stream).tolist():
        rows = np.flatnonzero(stream == one)
        yield from _beside(
            tracks, f"device pass: GPU stream {one}",
            _launched([name or "(no name)" for name in launches.name], launch),
            Texts.same("device pass", len(launch)), start_ns, duration_ns, facts,
            rows[np.argsort(start_ns[rows], kind="stable")], flows,
        )  # fmt: skip


def _gaps(
    track: Track,
    timeline: GpuTimeline,
    node: Texts,
    inference: Int64Array,
    first: int,
    start_ns: Int64Array,
    end_ns: Int64Array,
) -> Iterator[Intervals]:
    """When the device did nothing: before its first work, between, and after its last."""
    inferences = timeline.inferences
    begins = np.flatnonzero(np.append(True, np.diff(inference) != 0))
    since_ns = np.empty(len(start_ns), np.int64)
    last_ns = np.empty(len(begins), np.int64)
    for place, rows in enumerate(np.split(np.arange(len(start_ns)), begins[1:])):
        until_ns = np.maximum.accumulate(end_ns[rows])
        since_ns[rows[1:]] = until_ns[:-1]
        last_ns[place] = until_ns[-1]
    of = inference[begins]
    since_ns[begins] = inferences.start_ns[of]
    done_ns = (inferences.start_ns + inferences.duration_ns)[of]
    # Of each gap: where it begins, how long it is, whose it is, and in which inference.
    from_ns = np.concatenate([since_ns, last_ns])
    took_ns = np.concatenate([start_ns - since_ns, done_ns - last_ns])
    first_work = np.zeros(len(start_ns), np.intp)
    first_work[begins] = 1
    kind = np.concatenate([first_work, np.full(len(of), 2)])
    whose = np.concatenate([node.index, np.full(len(of), -1)])
    number = np.concatenate([inference, of]) - first
    rows = np.flatnonzero(took_ns > 0)
    rows = rows[np.argsort(from_ns[rows], kind="stable")]
    between = ("idle before its first work", "after its last work")
    name = np.where(kind == 0, whose, len(node.texts) + kind - 1)
    yield from _chunks(
        track,
        Texts((*node.texts, *between), name),
        Texts.same("device pass: idle", len(name)),
        from_ns,
        took_ns,
        {"waits_for": Texts(node.texts, whose), "inference": number},
        rows,
    )


def _launched(texts: Sequence[str], launch: npt.NDArray[np.int32]) -> Texts:
    """A text of each launch, at each time of one."""
    each = Texts.of(texts)
    return Texts(each.texts, each.index[launch])


def _beside(
    tracks: _Tracks,
    title: str,
    name: Texts,
    category: Texts,
    start_ns: Int64Array,
    duration_ns: Int64Array,
    facts: Mapping[str, Column],
    rows: Indices,
    flows: Flows,
) -> Iterator[Intervals]:
    """These rows, by start time, on as many tracks as it takes for none to overlap another."""
    nothing = np.full(len(rows), _NOTHING)
    begin_ns, end_ns = start_ns[rows], start_ns[rows] + duration_ns[rows]
    lane = _lanes(begin_ns, end_ns, nothing, nothing, np.zeros(len(rows), np.int64))
    for beside in range(int(lane.max(initial=-1)) + 1):
        track = tracks.named(title + (f" ({beside + 1})" if beside else ""))
        of_lane = rows[lane == beside]
        yield from _chunks(track, name, category, start_ns, duration_ns, facts, of_lane, flows)


def _readings(tracks: _Tracks, series: DeviceSeries) -> Iterator[Readings]:
    """Readings that differ from the previous one, and the last one of each process."""
    last = np.append(np.diff(series.process) != 0, True)[: len(series)]
    told = np.flatnonzero((series.changed != 0) | last)
    if not len(told):
        return
    name = f"{series.device} {series.quantity}" + (" (test double)" if series.double else "")
    track = tracks.named(name)
    for first in range(0, len(told), BATCH):
        rows = told[first : first + BATCH]
        yield Readings(track, clipped(series.unit), series.time_ns[rows], series.value[rows])


def _chunks(
    track: Track,
    name: Texts,
    category: Texts,
    start_ns: Int64Array,
    duration_ns: Int64Array,
    facts: Mapping[str, Column],
    rows: Indices,
    flows: Flows | None = None,
) -> Iterator[Intervals]:
    """These rows of the columns, a batch at a time."""
    for first in range(0, len(rows), BATCH):
        part = rows[first : first + BATCH]
        yield Intervals(
            track,
            Texts(name.texts, name.index[part]),
            Texts(category.texts, category.index[part]),
            start_ns[part],
            duration_ns[part],
            {key: _rows(column, part) for key, column in facts.items()},
            None
            if flows is None
            else dataclasses.replace(flows, first=flows.first[part], count=flows.count[part]),
        )


def _rows(column: Column, rows: Indices) -> Column:
    if isinstance(column, Texts):
        return Texts(column.texts, column.index[rows])
    return column[rows]


def _clipped(nodes: NodeTable) -> NodeTable:
    """The nodes with the texts that a viewer can show: a trace repeats them at each event."""
    return dataclasses.replace(
        nodes,
        name=tuple(map(clipped, nodes.name)),
        op_type=tuple(map(clipped, nodes.op_type)),
        provider=tuple(map(clipped, nodes.provider)),
        sources=tuple(
            clipped(BETWEEN_SOURCES.join(map(clipped, each.split(BETWEEN_SOURCES))))
            for each in nodes.sources
        ),
    )


def _labels(nodes: NodeTable) -> tuple[str, ...]:
    return tuple(
        node_label(nodes, row) if sources or name else op
        for row, (sources, name, op) in enumerate(
            zip(nodes.sources, nodes.name, nodes.op_type, strict=True)
        )
    )


def _known(values: npt.NDArray[Any]) -> Int64Array:
    """A record's column with ABSENT for -1, which means "not known"."""
    return np.where(values < 0, ABSENT, values.astype(np.int64))


def _sizes(sizes: npt.NDArray[np.int32]) -> Texts:
    """Three numbers as one text, ``8x2x1``."""
    distinct, index = np.unique(sizes, axis=0, return_inverse=True)
    texts = tuple("x".join(map(str, size)) for size in distinct.tolist())
    known = (sizes >= 0).all(axis=1)
    return Texts(texts, np.where(known, index.reshape(-1), -1))


def _drawn_ns(nodes: NodeTable, events: NodeEvents, mine: Indices, process: int) -> Int64Array:
    """Durations cut to end no later than the inference and node that enclose them.

    Start and duration are each rounded down to the tracer's clock, so a node may seem to
    outlast what ran it by a tick or two; viewers then refuse to nest it.
    """
    node, start_ns = events.node[mine], events.start_ns[mine]
    end_ns = start_ns + events.duration_ns[mine]

    listed = (events.inference_process == process) & (events.inference_duration_ns >= 0)
    numbers = events.inference_number[listed]
    last_ns = np.full(
        max(numbers.max(initial=0), events.inference[mine].max(initial=0)) + 1, _NEVER
    )
    last_ns[numbers] = (events.inference_start_ns + events.inference_duration_ns)[listed]
    end_ns = np.minimum(end_ns, last_ns[events.inference[mine]])

    depth = nodes.depth[node]
    # Executions sorted by row, then time: to find the execution of the parent that began last.
    count = len(mine)
    place = node.astype(np.int64) * count + np.arange(count)
    by_row = np.argsort(place)
    began = np.searchsorted(start_ns, start_ns, side="right") - 1
    for level in range(1, int(depth.max(initial=0)) + 1):
        inner = np.flatnonzero(depth == level)
        parent = nodes.parent[node[inner]]
        wanted = parent * count + began[inner]
        around = by_row[np.searchsorted(place[by_row], wanted, side="right") - 1]
        ran_it = node[around] == parent
        inner, around = inner[ran_it], around[ran_it]
        end_ns[inner] = np.minimum(end_ns[inner], end_ns[around])
    drawn_ns: Int64Array = np.maximum(end_ns - start_ns, 0)
    return drawn_ns


def _lanes(
    start_ns: Int64Array, end_ns: Int64Array, row: Indices, parent: Indices, depth: Int64Array
) -> Indices:
    """A lane for each interval, such that within a lane it is nested only in what ran it.

    Args:
        start_ns: start of each interval, ascending, enclosing ones first.
        end_ns: its end.
        row: row of its node, _INFERENCE for an inference.
        parent: row of the enclosing node, -1 (an inference) in the main graph.
        depth: -1 for an inference, 0 in the main graph, …
    """
    lane = np.zeros(len(start_ns), np.intp)
    if not any(
        _overlap(start_ns[depth == level], end_ns[depth == level])
        for level in range(-1, int(depth.max(initial=-1)) + 1)
    ):
        return lane
    # Only parallel execution gets here. Each lane is a stack of (end, row).
    lanes: list[list[tuple[int, int]]] = []
    places: list[int] = []
    for start, end, number, above in zip(
        start_ns.tolist(), end_ns.tolist(), row.tolist(), parent.tolist(), strict=True
    ):
        for stack in lanes:
            while stack and stack[-1][0] <= start:
                stack.pop()
        under = (
            place
            for place, stack in enumerate(lanes)
            if stack and stack[-1][1] == above and end <= stack[-1][0]
        )
        empty = (place for place, stack in enumerate(lanes) if not stack)
        place = next(under, next(empty, len(lanes)))
        if place == len(lanes):
            lanes.append([])
        lanes[place].append((end, number))
        places.append(place)
    lane[:] = places
    return lane


def _overlap(start_ns: Int64Array, end_ns: Int64Array) -> bool:
    return bool(np.any(start_ns[1:] < np.maximum.accumulate(end_ns)[:-1])) if len(end_ns) else False
