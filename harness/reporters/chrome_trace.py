"""A profile as Chrome trace events: opens in Perfetto (ui.perfetto.dev).

The format is Google's "Trace Event Format": complete events (``ph`` X) with ``ts`` and
``dur`` in microseconds, and metadata (``ph`` M) that names processes and tracks.
"""

from __future__ import annotations

import contextlib
import gzip
from typing import IO, TYPE_CHECKING, Any, Final, cast

import msgspec
import numpy as np

from harness.records import LatencySeries

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from harness.records import Int64Array, NodeEvents, NodeTable, ProcessRecord, Profile

_COLD, _WARMUP, _TIMED, _TRACED = 1, 2, 3, 4
_BATCH: Final = 16_384
_NEVER: Final = np.iinfo(np.int64).max


class _Complete(msgspec.Struct, gc=False, tag_field="ph", tag="X"):
    """One interval; ``ts`` and ``dur`` in microseconds from the start of the profile."""

    name: str
    cat: str
    pid: int
    tid: int
    ts: float
    dur: float
    args: _NodeArgs | _InferenceArgs | dict[str, str]


class _InferenceArgs(msgspec.Struct, gc=False):
    inference: int


class _NodeArgs(msgspec.Struct, gc=False):
    op_type: str
    node: str
    provider: str
    inference: int
    self_us: float


class _Metadata(msgspec.Struct, tag_field="ph", tag="M"):
    name: str
    pid: int
    tid: int
    args: dict[str, str | int]


_Event = _Complete | _Metadata


def write(profile: Profile, path: Path) -> int:
    """Writes every pass of a profile on one time axis, which begins at its first stamp.

    Each worker process is a process of the trace, with tracks for cold start, warm-up,
    timed pass and each traced pass, whose nodes lie under their inference and under the
    control-flow node that ran them. A profile holds no stamps of the cold start, only how
    long its parts took: they are drawn back to back before the first warm-up inference.
    Where a tracer's clock is coarse, the end of a node is drawn no later than that of what
    contains it.

    Args:
        profile: what to write.
        path: the file, compressed when its name ends in ``.gz``; replaced if it exists.

    Returns:
        Number of intervals written.

    Raises:
        OSError: the file cannot be written.
    """
    encoder = msgspec.json.Encoder()
    intervals = 0
    with contextlib.ExitStack() as stack:
        out: IO[bytes] = stack.enter_context(path.open("wb"))
        if path.suffix == ".gz":
            # Level 1: most of the size goes already there, for the least time.
            packed = gzip.GzipFile(fileobj=out, mode="wb", compresslevel=1, filename="")
            out = cast("IO[bytes]", stack.enter_context(packed))
        head = {"model": profile.model.name, "created": profile.created}
        out.write(b'{"displayTimeUnit":"ns","otherData":%b,"traceEvents":[' % encoder.encode(head))
        separator = b"\n"
        for batch in _batches(profile):
            out.write(separator)
            out.write(encoder.encode_lines(batch).rstrip().replace(b"\n", b",\n"))
            separator = b",\n"
            intervals += sum(isinstance(event, _Complete) for event in batch)
        out.write(b"\n]}\n")
    return intervals


def _batches(profile: Profile) -> Iterator[Sequence[_Event]]:
    """All events of the trace, a bounded number at a time, none of them empty."""
    zero_ns = _first_stamp_ns(profile)
    pids = {process.index: process.pid for process in profile.processes}
    for process in profile.processes:
        yield _names(process, tuple(profile.node_traces))
        if cold_start := _cold_start(process, zero_ns):
            yield cold_start
        yield from _inferences("warm-up", process.pid, _WARMUP, zero_ns, process.warmup)
        yield from _inferences("timed", process.pid, _TIMED, zero_ns, process.steady)
    for tid, (name, events) in enumerate(profile.node_traces.items(), _TRACED):
        for index in np.unique(events.inference_process).tolist():
            of_process = events.inference_process == index
            finished = of_process & (events.inference_duration_ns >= 0)
            series = LatencySeries(
                events.inference_start_ns[finished], events.inference_duration_ns[finished]
            )
            pid = pids.get(index, index)
            yield from _inferences(
                f"traced: {name}", pid, tid, zero_ns, series, events.inference_number[finished]
            )
            if profile.nodes is not None:
                yield from _nodes(name, pid, tid, zero_ns, profile.nodes, events, index)


def _first_stamp_ns(profile: Profile) -> int:
    firsts = [_cold_start_ns(process)[0] for process in profile.processes]
    for events in profile.node_traces.values():
        firsts += [int(events.inference_start_ns.min())] if len(events.inference_start_ns) else []
    return min((first for first in firsts if first), default=0)


def _cold_start_ns(process: ProcessRecord) -> tuple[int, tuple[tuple[str, int], ...]]:
    """Where the cold start is drawn (0 for nowhere), and its parts."""
    parts = (
        ("open library", process.library_ns),
        ("create session", process.session_ns),
        ("first inference", process.first_inference_ns),
    )
    for series in (process.warmup, process.steady):
        if len(series):
            return int(series.start_ns[0]) - sum(duration for _, duration in parts), parts
    return 0, ()


def _names(process: ProcessRecord, traces: Sequence[str]) -> list[_Event]:
    pid = process.pid
    tracks = {_COLD: "cold start", _WARMUP: "warm-up", _TIMED: "timed pass"}
    tracks |= {tid: f"traced pass: {name}" for tid, name in enumerate(traces, _TRACED)}
    return [
        _Metadata("process_name", pid, 0, {"name": f"worker process {process.index}"}),
        _Metadata("process_sort_index", pid, 0, {"sort_index": process.index}),
        *(_Metadata("thread_name", pid, tid, {"name": track}) for tid, track in tracks.items()),
        *(_Metadata("thread_sort_index", pid, tid, {"sort_index": tid}) for tid in tracks),
    ]


def _cold_start(process: ProcessRecord, zero_ns: int) -> list[_Event]:
    start_ns, parts = _cold_start_ns(process)
    events: list[_Event] = []
    for name, duration_ns in parts:
        ts, dur = (start_ns - zero_ns) / 1000, duration_ns / 1000
        note = {"place": "drawn before the first warm-up inference; only its length is recorded"}
        events.append(_Complete(name, "cold start", process.pid, _COLD, ts, dur, note))
        start_ns += duration_ns
    return events


def _inferences(
    category: str,
    pid: int,
    tid: int,
    zero_ns: int,
    series: LatencySeries,
    numbers: npt.NDArray[np.integer[Any]] | None = None,
) -> Iterator[list[_Event]]:
    for first in range(0, len(series), _BATCH):
        part = slice(first, first + _BATCH)
        ts = _microseconds(series.start_ns[part] - zero_ns)
        number = range(first, first + len(ts)) if numbers is None else numbers[part].tolist()
        yield [
            _Complete("inference", category, pid, tid, at, dur, _InferenceArgs(inference))
            for at, dur, inference in zip(
                ts, _microseconds(series.duration_ns[part]), number, strict=True
            )
        ]


def _nodes(
    trace: str,
    pid: int,
    tid: int,
    zero_ns: int,
    nodes: NodeTable,
    events: NodeEvents,
    process: int,
) -> Iterator[list[_Event]]:
    mine = np.flatnonzero(events.process == process)
    drawn_ns = _drawn_ns(nodes, events, mine, process)
    labels = [name or op_type for name, op_type in zip(nodes.name, nodes.op_type, strict=True)]
    for first in range(0, len(mine), _BATCH):
        part = mine[first : first + _BATCH]
        yield [
            _Complete(
                labels[row],
                trace,
                pid,
                tid,
                ts,
                dur,
                _NodeArgs(nodes.op_type[row], nodes.name[row], nodes.provider[row], number, own),
            )
            for row, number, ts, dur, own in zip(
                events.node[part].tolist(),
                events.inference[part].tolist(),
                _microseconds(events.start_ns[part] - zero_ns),
                _microseconds(drawn_ns[first : first + _BATCH]),
                _microseconds(events.self_ns[part]),
                strict=True,
            )
        ]


def _drawn_ns(
    nodes: NodeTable, events: NodeEvents, mine: npt.NDArray[np.intp], process: int
) -> Int64Array:
    """Durations that end no later than those of the inference and node they lie in.

    Start and duration are each rounded down to the tracer's clock, so that a node may seem
    to outlast what ran it by a step or two; viewers then refuse to nest it.
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
    for level in range(1, int(depth.max(initial=0)) + 1):
        outer, inner = np.flatnonzero(depth == level - 1), np.flatnonzero(depth == level)
        around = outer[np.searchsorted(start_ns[outer], start_ns[inner], side="right") - 1]
        ran_it = node[around] == nodes.parent[node[inner]]
        inner, around = inner[ran_it], around[ran_it]
        end_ns[inner] = np.minimum(end_ns[inner], end_ns[around])
    drawn_ns: Int64Array = np.maximum(end_ns - start_ns, 0)
    return drawn_ns


def _microseconds(values_ns: Int64Array) -> list[float]:
    return cast("list[float]", (values_ns / 1000).tolist())
