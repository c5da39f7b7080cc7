"""ONNX Runtime's profile JSON as columns.

ORT writes one event per line when it ends, so a control-flow node follows the nodes of the
subgraphs that it ran. A file is decoded block by block into arrays and never held in memory as a
whole. The origin of ``ts`` depends on which profiler wrote the file:

* the session's (``profile_prefix`` of a session): ``profiling_start_ns``, which is
  CLOCK_REALTIME; subtract ``realtime_offset_ns()`` to get CLOCK_MONOTONIC;
* that of one inference (``Binding.run(profile_prefix=…)``): a moment inside that call, once ORT
  has opened the file. ORT does not report it. With a timestamp taken before the call, all events
  are early by the same small delay: at most the duration of the call, which includes writing the
  file, minus that of the inference. Durations do not depend on it.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import operator
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple

import msgspec
import numpy as np

from harness.models.executed_graph import EVENT_SUFFIX, row_of
from harness.records import Int32Array, Int64Array, NodeEvents, NodeTable, columns_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    import numpy.typing as npt

SOURCE: Final = "ort"
RESOLUTION_NS: Final = 1000  # ORT writes whole microseconds

#: Largest number accepted from ORT: 142 years in microseconds, 4 petabytes.
_MOST: Final = 2**52

#: Bytes decoded at once, some 400 events, which stay in the cache until they are columns: a
#: million events took 2.4 s, against 3.1 s with blocks of 64 KB and 3.3 s with blocks of 1 MB.
_BLOCK_BYTES: Final = 1 << 18

#: Operators that run subgraphs; only used if the executed graph is not known.
_CONTROL_FLOW: Final = frozenset({"If", "Loop", "Scan", "SequenceMap"})

# An event's kind is the row of the node that it executes, or one of these.
_OTHER, _INFERENCE = -1, -2
_KINDS: Final = {_OTHER, _INFERENCE}

#: Detail column of NodeEvents -> field of _Args that it is read from.
_MEMORY: Final = {
    "mem_in_use_bytes": "mem_bytes_in_use",
    "mem_in_use_delta_bytes": "mem_in_use_delta",
    "mem_in_use_peak_bytes": "mem_in_use_peak",
    "mem_requested_in_use_bytes": "mem_bytes_requested_in_use",
    "mem_requested_in_use_delta_bytes": "mem_requested_in_use_delta",
    "mem_arena_held_bytes": "mem_arena_held",
    "mem_arena_held_delta_bytes": "mem_arena_held_delta",
}


class TraceFile(NamedTuple):
    """One profile written by ORT, and the CLOCK_MONOTONIC at which its ``ts`` is 0, in ns."""

    path: Path
    zero_ns: int


@dataclasses.dataclass(frozen=True, slots=True)
class OrtTrace:
    """What ORT's profiler recorded.

    Attributes:
        nodes: the given table, completed from the trace: provider, order, types, shapes and
            sizes (as first seen). Nodes that ran but were not in the table are appended.
        events: node executions in complete inferences.
        remarks: what is missing or was unexpected, one sentence each.
    """

    nodes: NodeTable
    events: NodeEvents
    remarks: tuple[str, ...]


def read(
    files: Sequence[TraceFile],
    nodes: NodeTable | None,
    *,
    process: int,
    rows: Callable[[str], int] = row_of,
) -> OrtTrace:
    """Reads what ORT recorded in one session.

    An inference whose end is missing from its file is left out, unless it is the only one: its
    duration is then -1. Self time is never negative, even if nodes of a subgraph overlap
    (parallel execution mode).

    The details of an event, int64, are the state of the node's allocator after it ran,
    ``mem_in_use_bytes``, ``mem_in_use_peak_bytes``, ``mem_requested_in_use_bytes`` and
    ``mem_arena_held_bytes``, and what the node added to it (``…_delta_bytes``). With a thread
    pool there are also ``main_thread_core``; how long the main thread ran blocks of work
    (``main_thread_run_ns``), handed them out or revoked unstarted ones
    (``main_thread_dispatch_ns``) and waited for other threads (``main_thread_wait_ns``);
    ``parallel_loops``; and, since the previous event, how many blocks other threads ran
    (``sub_thread_blocks``) and how many threads did so (``sub_threads_used``).

    Args:
        files: its profiles, oldest first.
        nodes: the executed graph, whose nodes are named after their rows; None if it is not
            available. Rows are then derived from the trace itself, one for each (name, op type,
            index in its graph), and nested by time.
        process: ProcessRecord.index.
        rows: gives the row of the node that an event names, -1 if it names none.

    Raises:
        OSError: a file cannot be read.
        ValueError: a file holds a number beyond any time or size.
    """
    reader = _Reader(nodes, rows)
    for file in files:
        reader.read(file)
    return reader.finish(process)


class _OpName(msgspec.Struct, gc=False):
    op_name: str = ""


class _Ran(msgspec.Struct, gc=False):
    cat: str
    name: str
    args: _OpName


_RAN: Final = msgspec.json.Decoder(list[_Ran])


def ran(path: Path) -> list[tuple[str, str]]:
    """(name, op type) of each node that ran, in the order in which they first ended.

    Reads nothing else: a graph with probes has several times the nodes of the model.

    Args:
        path: profile of one whole inference.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is cut off.
    """
    first: dict[str, str] = {}
    with path.open("rb") as stream:
        for block in _blocks(stream):
            try:
                events = _RAN.decode(b"[%b]" % block.strip(b"[],\n "))
            except msgspec.DecodeError as error:
                raise ValueError(f"{path.name} cannot be read: {error}") from error
            for event in events:
                if event.cat == "Node" and event.name.endswith(EVENT_SUFFIX):
                    first.setdefault(event.name, event.args.op_name)
    return [(name.removesuffix(EVENT_SUFFIX), op_type) for name, op_type in first.items()]


#: Columns of a node that is not in the saved graph: it is assumed to be in the main graph until
#: its parent is found, and has no probe.
_ADDED: Final = {"domain": "", "depth": 0, "parent": -1, "branch": "", "carrier": -1}
_UNKNOWN: Final = {
    column.name: column.unknown for column in columns_of(NodeTable) if column.unknown is not None
}


class _Table:
    """A NodeTable while it is being completed: a list for each column."""

    def __init__(self, nodes: NodeTable | None) -> None:
        self.columns: dict[str, list[Any]] = {
            column.name: [] if nodes is None else list(getattr(nodes, column.name))
            for column in columns_of(NodeTable)
        }

    def __len__(self) -> int:
        return len(self.columns["name"])

    def __getitem__(self, column: str) -> list[Any]:
        return self.columns[column]

    def add(self, name: str, op_type: str) -> None:
        """Adds a row for a node that no saved graph has."""
        row = {**_UNKNOWN, **_ADDED, "name": name, "op_type": op_type}
        for column, values in self.columns.items():
            values.append(row[column])

    def finished(self) -> NodeTable:
        """The table."""
        columns: dict[str, Any] = {}
        for column in columns_of(NodeTable):
            values = self[column.name]
            columns[column.name] = _int64(values) if column.unit else tuple(values)
        return NodeTable(**columns)


class _MainThread(msgspec.Struct, gc=False, rename="pascal"):
    core: int = msgspec.field(name="core", default=-1)
    block_size: tuple[int, ...] = msgspec.field(name="block_size", default=())
    distribution: int = 0
    distribution_enqueue: int = 0
    run: int = 0
    wait: int = 0
    wait_revoke: int = 0


class _SubThread(msgspec.Struct, gc=False):
    num_run: int = 0


class _Threads(msgspec.Struct, gc=False):
    main_thread: _MainThread
    sub_threads: msgspec.Raw = msgspec.Raw(b"{}")


class _Args(msgspec.Struct, gc=False):
    """Arguments of an event. ORT writes numbers as text, and "" if there is no thread pool."""

    op_name: str = ""
    node_index: int = -1
    provider: str = ""
    input_type_shape: msgspec.Raw = msgspec.Raw()
    output_type_shape: msgspec.Raw = msgspec.Raw()
    activation_size: int = -1
    parameter_size: int = -1
    output_size: int = -1
    mem_bytes_in_use: int = -1
    mem_in_use_delta: int = -1
    mem_in_use_peak: int = -1
    mem_bytes_requested_in_use: int = -1
    mem_requested_in_use_delta: int = -1
    mem_arena_held: int = -1
    mem_arena_held_delta: int = -1
    thread_scheduling_stats: _Threads | str = ""
    dropped_event_count: int = 0


class _Event(msgspec.Struct, gc=False):
    cat: str
    name: str
    ts: int
    dur: int
    args: _Args


_EVENT: Final = msgspec.json.Decoder(_Event, strict=False)
_EVENTS: Final = msgspec.json.Decoder(list[_Event], strict=False)
_SUB_THREADS: Final = msgspec.json.Decoder(dict[str, _SubThread])


def _blocks(stream: BinaryIO) -> Iterator[bytes]:
    """The file in blocks that end at a line end; the last one may not."""
    rest = b""
    while data := stream.read(_BLOCK_BYTES):
        lines, newline, tail = data.rpartition(b"\n")
        if newline:
            yield rest + lines
            rest = b""
        rest += tail
    yield rest


def _decode(block: bytes) -> tuple[list[_Event], int]:
    """Events of the complete lines of a block, and the number of other lines."""
    text = block.strip(b"[],\n ")
    try:
        return _EVENTS.decode(b"[%b]" % text), 0
    except msgspec.DecodeError:
        events = []
        lines = text.split(b"\n")
        for line in lines:
            with contextlib.suppress(msgspec.DecodeError):
                events.append(_EVENT.decode(line.rstrip(b",")))
        return events, len(lines) - len(events)


class _Reader:
    """Collects the columns of one session, file by file."""

    def __init__(self, nodes: NodeTable | None, rows: Callable[[str], int]) -> None:
        self._rows = rows
        self._table = _Table(nodes)
        self._known = len(self._table)
        self._row_by_event: dict[str, int] = {
            "model_run": _INFERENCE,
            "SequentialExecutor::Execute": _OTHER,
        }
        self._row_by_place: dict[tuple[str, str, int], int] = {}
        self._seen: dict[int, None] = {}
        # Grown in place: joining a list of pieces at the end would need twice the memory.
        self._columns: dict[str, bytearray] = collections.defaultdict(bytearray)
        self._finished: list[tuple[int, int, int]] = []
        self._inference = 0
        self._open = False
        self._sub_threads = b""
        self._sub_runs: list[int] = []
        self._dropped = 0
        self._remarks: list[str] = []

    def read(self, file: TraceFile) -> None:
        """Appends the events of one file."""
        lost = 0
        whole = False
        with file.path.open("rb") as stream:
            for block in _blocks(stream):
                events, bad = _decode(block)
                whole = block[-3:].split()[-1:] == [b"]"] if block else whole
                lost += bad
                self._take(events, file.zero_ns)
        if self._open:  # an inference without an end must not continue in the next file
            self._inference += 1
            self._open = False
        if not whole:
            self._remarks.append(f"{file.path.name} is cut off; its complete events were kept")
        elif lost:
            self._remarks.append(f"{file.path.name}: {lost} events cannot be read")

    def _take(self, events: Sequence[_Event], zero_ns: int) -> None:
        met = map(self._row_by_event.get, [event.name for event in events])
        rows = [
            self._resolve(event) if kind is None else kind
            for event, kind in zip(events, met, strict=True)
        ]
        row = np.array(rows, np.int32)
        ends = row == _INFERENCE
        inference = self._inference + np.cumsum(ends, dtype=np.int32) - ends
        for at in np.flatnonzero(ends).tolist():
            event = events[at]
            start_ns = zero_ns + event.ts * RESOLUTION_NS
            self._finished.append((int(inference[at]), start_ns, event.dur * RESOLUTION_NS))
        self._inference += int(np.count_nonzero(ends))

        runs = [event for event, kind in zip(events, rows, strict=True) if kind >= 0]
        is_node = row >= 0
        if not runs:
            self._open &= not ends.any()
            return
        self._open = int(inference[is_node][-1]) == self._inference
        if not self._seen.keys() >= set(rows) - _KINDS:
            for number, event in zip(row[is_node].tolist(), runs, strict=True):
                if number not in self._seen:
                    self._complete(number, event.args)
        args = [event.args for event in runs]
        self._append("node", row[is_node])
        self._append("inference", inference[is_node])
        self._append("start_ns", zero_ns + RESOLUTION_NS * _int64([event.ts for event in runs]))
        self._append("duration_ns", RESOLUTION_NS * _int64([event.dur for event in runs]))
        for column, argument in _MEMORY.items():
            self._append(column, _int64(list(map(operator.attrgetter(argument), args))))
        # Without a thread pool for operators, this is "" in every event of the session.
        stats = [arg.thread_scheduling_stats for arg in args]
        if threads := [one for one in stats if not isinstance(one, str)]:
            self._append_threads(threads)

    def _resolve(self, event: _Event) -> int:
        """Row of an event whose name has not been seen before; new rows for unknown nodes."""
        name, args = event.name, event.args
        if event.cat != "Node" or not name.endswith(EVENT_SUFFIX):
            self._dropped += args.dropped_event_count
            return _OTHER
        row = self._rows(name)
        if 0 <= row < self._known and self._table["op_type"][row] == args.op_name:
            self._row_by_event[name] = row
            return row
        place = (name, args.op_name, args.node_index)
        if place not in self._row_by_place:
            self._row_by_place[place] = len(self._table)
            self._table.add(name.removesuffix(EVENT_SUFFIX), args.op_name)
        return self._row_by_place[place]

    def _complete(self, number: int, args: _Args) -> None:
        self._seen[number] = None
        table = self._table
        table["provider"][number] = args.provider
        table["input_type_shape"][number] = bytes(args.input_type_shape).decode()
        table["output_type_shape"][number] = bytes(args.output_type_shape).decode()
        table["activation_bytes"][number] = args.activation_size
        table["parameter_bytes"][number] = args.parameter_size
        table["output_bytes"][number] = args.output_size

    def _append(self, name: str, values: Int32Array | Int64Array) -> None:
        self._columns[name] += values.data

    def _append_threads(self, stats: Sequence[_Threads]) -> None:
        blocks = []
        used = []
        mains = [threads.main_thread for threads in stats]
        for threads in stats:
            sub_threads = bytes(threads.sub_threads)
            if sub_threads == self._sub_threads:
                blocks.append(0)
                used.append(0)
                continue
            # ORT counts the blocks that each pool thread has run since the session began.
            runs = [thread.num_run for thread in _SUB_THREADS.decode(sub_threads).values()]
            before = self._sub_runs or [0] * len(runs)
            self._sub_threads = sub_threads
            self._sub_runs = runs
            blocks.append(sum(runs) - sum(before))
            used.append(sum(map(operator.ne, runs, before)))
        for name, values in (
            ("main_thread_core", [main.core for main in mains]),
            ("main_thread_run_ns", [main.run for main in mains]),
            (
                "main_thread_dispatch_ns",
                [m.distribution + m.distribution_enqueue + m.wait_revoke for m in mains],
            ),
            ("main_thread_wait_ns", [main.wait for main in mains]),
            ("parallel_loops", [len(main.block_size) for main in mains]),
            ("sub_thread_blocks", blocks),
            ("sub_threads_used", used),
        ):
            unit = RESOLUTION_NS if name.endswith("_ns") else 1
            self._append(name, unit * _int64(values))

    def finish(self, process: int) -> OrtTrace:
        """All events read, nested and sorted."""
        inference = self._column("inference", np.int32)
        start_ns = self._column("start_ns", np.int64)
        finished = self._finished
        is_finished = np.zeros(self._inference + 1, bool)
        is_finished[[number for number, *_ in finished]] = True
        if not finished and len(inference):
            only = int(inference[0])
            is_finished[only] = True
            finished = [(only, int(start_ns[inference == only].min()), -1)]
            self._remarks.append("no inference was recorded to its end: a partial one is kept")
        elif left_out := int(np.count_nonzero(~is_finished[inference])):
            self._remarks.append(
                f"{left_out} events of an inference that was not recorded to its end are left out"
            )
        if self._dropped:
            self._remarks.append(f"ORT's profiler dropped {self._dropped} events at its limit")

        kept = np.flatnonzero(is_finished[inference])
        all_events = len(inference)
        inference, start_ns = inference[kept], start_ns[kept]
        node = self._column("node", np.int32)[kept]
        duration_ns = self._column("duration_ns", np.int64)[kept]
        self._place_added(node, start_ns, inference)
        nodes = self._ordered_table()
        self_ns = _self_ns(node, inference, duration_ns, nodes.parent)
        by_start = _by_start(start_ns, nodes.depth[node])
        kept = kept[by_start]
        details = {
            name: self._column(name, np.int64)[kept]
            for name in list(self._columns)
            if len(self._columns[name]) == 8 * all_events
        }
        numbers, starts_ns, durations_ns = (
            _int64([one[field] for one in finished]) for field in range(3)
        )
        return OrtTrace(
            nodes=nodes,
            events=NodeEvents(
                source=SOURCE,
                node=node[by_start],
                process=np.full(len(node), process, np.int32),
                inference=inference[by_start],
                start_ns=start_ns[by_start],
                duration_ns=duration_ns[by_start],
                self_ns=self_ns[by_start],
                details=details,
                inference_process=np.full(len(finished), process, np.int32),
                inference_number=numbers.astype(np.int32),
                inference_start_ns=starts_ns,
                inference_duration_ns=durations_ns,
                inference_framework_ns=np.where(
                    durations_ns >= 0,
                    durations_ns
                    - np.bincount(inference, self_ns, self._inference + 1)[numbers].astype(
                        np.int64
                    ),
                    -1,
                ),
                dropped=self._dropped,
                resolution_ns=RESOLUTION_NS,
            ),
            remarks=tuple(self._remarks),
        )

    def _column(self, name: str, dtype: type[np.integer[Any]]) -> npt.NDArray[Any]:
        """One whole column, which is removed here to free its memory."""
        return np.frombuffer(self._columns.pop(name, b""), dtype)

    def _place_added(self, node: Int32Array, start_ns: Int64Array, inference: Int32Array) -> None:
        """Finds the control-flow node that runs each row that was not in the executed graph.

        Events are in the order of their ends, so a control-flow node is the parent of those
        before it that did not start earlier than it. As microseconds are coarse, the parent
        found most often wins.
        """
        table = self._table
        added = range(self._known, len(table))
        if not added:
            return
        op_types = ", ".join(sorted({table["op_type"][row] for row in added}))
        self._remarks.append(
            f"{len(added)} nodes are not in a saved graph ({op_types}): distinguished by name, "
            "op type and index, nested by time"
        )
        runs_subgraphs = [op_type in _CONTROL_FLOW for op_type in table["op_type"]]
        parents = [collections.Counter[int]() for _ in range(len(table))]
        pending: list[tuple[int, int]] = []
        current = -1
        for row, start, number in zip(
            node.tolist(), start_ns.tolist(), inference.tolist(), strict=True
        ):
            if number != current:
                current = number
                pending.clear()
            if runs_subgraphs[row]:
                while pending and pending[-1][1] >= start:
                    parents[pending.pop()[0]][row] += 1
            pending.append((row, start))
        times = np.bincount(node, minlength=len(table)).tolist()
        for row in added:
            for parent, count in parents[row].most_common(1):
                found = 2 * count > times[row] and parent != row
                table["parent"][row] = parent if found else -1
        for row in added:
            above = table["parent"][row]
            while above >= 0 and table["depth"][row] < len(table):
                table["depth"][row] += 1
                above = table["parent"][above]

    def _ordered_table(self) -> NodeTable:
        """The table, with the execution order of each seen node within its graph."""
        table = self._table
        places: collections.Counter[tuple[int, str]] = collections.Counter()
        for row in self._seen:
            graph = table["parent"][row], table["branch"][row]
            table["order"][row] = places[graph]
            places[graph] += 1
        return table.finished()


def _self_ns(
    node: Int32Array, inference: Int32Array, duration_ns: Int64Array, parent: Int64Array
) -> Int64Array:
    """Durations minus those of direct children; events must be in the order of their ends.

    The execution that ran an event is the next one of its node's parent: the parent can neither
    end before the event nor, within one inference, begin again while it is running.
    """
    children = np.flatnonzero(parent[node] >= 0)
    above = parent[node[children]]
    runs = np.flatnonzero(np.isin(node, above))
    # (row, position) as one number, so that one search finds the next execution of any row.
    keys = node[runs].astype(np.int64) * len(node) + runs
    by_key = np.argsort(keys)
    at = np.searchsorted(keys[by_key], above * len(node) + children)
    children, above, at = (values[at < len(keys)] for values in (children, above, at))
    runs = runs[by_key][at]
    found = (node[runs] == above) & (inference[runs] == inference[children])
    self_ns = duration_ns.copy()
    np.subtract.at(self_ns, runs[found], duration_ns[children[found]])
    return np.maximum(self_ns, 0)


def _by_start(start_ns: Int64Array, depth: Int64Array) -> npt.NDArray[np.intp]:
    """Order by start; within the same microsecond, outer nodes first."""
    return np.lexsort((depth, start_ns))


def _int64(values: Sequence[int]) -> Int64Array:
    """The numbers as an array; a thousand times their values still fits int64.

    Raises:
        ValueError: a number is not a plausible time or size.
    """
    if values and not -_MOST <= min(values) <= max(values) <= _MOST:
        raise ValueError("the profile holds a number beyond any time or size")
    return np.array(values, np.int64)
