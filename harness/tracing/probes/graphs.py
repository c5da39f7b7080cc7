"""A probe before every node of the graph that ORT executes.

A probe is a custom operator without outputs that takes a timestamp. It reads tensors of the
nodes executed before it, and thus waits for them. That the node after it also waits for the
probe follows from ORT's execution order: ORT starts from the nodes whose outputs are not read,
the last one in the file first, and executes everything that each of them needs before it
(``GraphViewer`` and ``Graph::ReverseDFSFrom``). Probes are such nodes, so the file lists
them in reverse. A trace of the probed graph confirms the order (``same_order``). The graph itself
is unchanged, and so is ORT's memory plan for it.

Five graphs are made: one with a probe at each place; one with pairs of probes, which measure the
cost of a probe; the frame, with one probe before the first node and one after the last, followed by
extra nodes that measure what ORT spends on each node outside its execution; and two halves, with
probes at every second place of the main graph, which check how the first one divides the time
between neighbours. ``harness.tracing.probes.times`` turns their recordings into times.

Where nodes run on a device, ORT executes those of the device and those of the CPU in two streams,
each in the order above, and changes from one to the other only where one waits for the other or
ends (``DeviceBasedPartitioner``, ``SequentialExecutor``). A probe in the other stream than the node
behind it may run much later. And it must read what it waits for where that is: of a tensor in the
other memory ORT would add a copy. ``_Streams`` chooses the operator by both. The extra nodes of the
frame would be launches on the device: there it has none, but a pair of probes at the end, which
tells what the probes at its ends cost.
"""

from __future__ import annotations

import dataclasses
import functools
import heapq
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from harness.models.executed_graph import ExecutedGraph, bodies, node_name, row_of
from harness.native import probe
from harness.ort.execution_provider import ExecutionProvider
from harness.records import Int64Array, NodeTable

if TYPE_CHECKING:
    import onnx

OPERATOR: Final = "Probe"

#: The probe of a device's stream.
DEVICE_OPERATOR: Final = "DeviceProbe"

#: The operator of a device whose result in the host's memory ORT does not wait for
#: (``PlannerImpl::BuildExecutionPlan``).
_THERE_AT_ONCE: Final = "Shape"

_PREFIX: Final = "harness_probe_"

#: ORT's names of element types in a profile -> ONNX's numbers, for types that a probe can read.
_ELEMENT_TYPES: Final = {
    "float": 1, "uint8": 2, "int8": 3, "uint16": 4, "int16": 5, "int32": 6, "int64": 7,
    "string": 8, "bool": 9, "float16": 10, "double": 11, "uint32": 12, "uint64": 13,
    "bfloat16": 16, "Float8E4M3FN": 17, "Float8E4M3FNUZ": 18, "Float8E5M2": 19,
    "Float8E5M2FNUZ": 20, "UInt4x2": 21, "Int4x2": 22,
}  # fmt: skip
ELEMENT_TYPES: Final = frozenset(_ELEMENT_TYPES.values())

#: Numbers that take one byte in protobuf's wire format.
_ONE_BYTE: Final = tuple(bytes([number]) for number in range(0x80))

#: Added to the place of the first probe of a pair.
FIRST_OF_PAIR: Final = 1 << 30

#: Places of the probes before and after the extra nodes of the frame graph.
FURTHER_BEGIN: Final = (1 << 29) - 1
FURTHER_END: Final = 1 << 29

#: Nodes that ORT adds where one stream reads what the other one holds.
_COPIES: Final = frozenset({"MemcpyFromHost", "MemcpyToHost"})

#: Of the nodes and probes that need a node and that nobody reads, how many are considered.
_STARTS: Final = 4

#: Bounds on the number of extra nodes, which otherwise equals that of the model's nodes.
_FURTHER_NODES: Final = (32, 256)


@dataclasses.dataclass(frozen=True, slots=True)
class ProbedGraph:
    """The executed graph with probes in it.

    Place r is before the node in row r of the NodeTable. The places after those are at the ends
    of graphs: of the main graph, and of the bodies of control-flow nodes.

    Added nodes are named after rows behind those of the NodeTable, the same in each file: the
    probe of each place, the first one of the pair at each place, and the extra nodes.

    Attributes:
        each: graph with one probe at each place.
        pairs: graph with two probes at each place.
        frame: graph with one probe before the first node, one at the end of the main graph, and
            two around the extra nodes after that.
        halves: graphs with one probe at every second place of the main graph, the even and the
            odd ones. Both have its first place and its last, and those before a node that reads
            nothing of the one before it; none is in a body.
        end_parents: int64[ends], row of the control-flow node whose body ends there, -1
            for the main graph.
        end_branches: for each end, the attribute that holds the body, "" for the main graph.
        end_rows: int64[ends], row of the node before which the end is, as no tensor shows that
            it and those after it have run; -1 where all have.
        carriers: int64[nodes], row of the node whose probe covers a node: its own row if it has
            a probe; otherwise the closest earlier node in its graph that has one; otherwise, in
            a body, the carrier of the node that runs the body; otherwise -1, and its time is
            framework time.
        further_nodes: number of extra nodes in the frame graph; 0 where nodes run on a device.
    """

    each: Path
    pairs: Path
    frame: Path
    halves: tuple[Path, Path]
    end_parents: Int64Array
    end_branches: tuple[str, ...]
    end_rows: Int64Array
    carriers: Int64Array
    further_nodes: int


class OrderError(ValueError):
    """No order of the nodes in a file was found in which ORT executes them as it did."""


def insert(graph: ExecutedGraph, device: ExecutionProvider | None = None) -> ProbedGraph:
    """Inserts probes into a graph whose node table was completed by a trace.

    Writes five files next to graph.path; the weights stay in the external file that all of
    them refer to.

    Args:
        graph: as prepared by ``executed_graph``, with order and types from one traced
            inference.
        device: the provider of the nodes that run on a device; None if there are none.

    Raises:
        ValueError: probes cannot separate any node of the main graph from the rest.
        OrderError: the order was not that of a session of graph.path, and cannot be kept.
    """
    import onnx

    model = onnx.load(graph.path, load_external_data=False)
    planner = _Planner(graph.nodes, device)
    plan = planner.plan(model.graph, parent=-1, branch="")
    if not plan.placements:
        raise ValueError("no node has an output that a probe can wait for")
    writer = _Writer(model, graph.path, len(graph.nodes), len(planner.ends))
    parents, branches, rows = zip(*planner.ends, strict=True)
    return ProbedGraph(
        each=writer.write("each", plan),
        pairs=writer.write("pairs", plan),
        frame=writer.write("frame", plan),
        halves=(writer.write("even", _half(plan, 0)), writer.write("odd", _half(plan, 1))),
        end_parents=np.array(parents, np.int64),
        end_branches=branches,
        end_rows=np.array(rows, np.int64),
        carriers=planner.carriers,
        further_nodes=_further_nodes(plan),
    )


def same_order(graph: ProbedGraph, nodes: NodeTable, ran: Sequence[tuple[str, str]]) -> str:
    """How the traced execution of a probed graph differs from the planned one; "" if it does not.

    Args:
        graph: the probed graph, of which one file was executed.
        nodes: the executed graph.
        ran: (name, op type) of each node that ran, as ``ort_profiler.reader.ran`` gives them.
    """
    count = len(nodes)
    places = count + len(graph.end_parents)
    further = graph.further_nodes + 2  # and the two probes around them
    rows = [row_of(name) for name, _ in ran]
    strange = [
        op_type
        for row, (_, op_type) in zip(rows, ran, strict=True)
        if not 0 <= row < count + 2 * places + further
        or (row < count and nodes.op_type[row] != op_type)
    ]
    copies = [op_type for op_type in strange if op_type in _COPIES]
    if copies:
        return f"tensors are copied between host and device ({len(copies)}, by {copies[0]})"
    if strange:
        return f"additional nodes run ({len(strange)}, such as {strange[0]})"
    seen = np.zeros(count, bool)
    seen[[row for row in rows if row < count]] = True
    missing = np.flatnonzero((nodes.order >= 0) != seen)
    if len(missing):
        row = int(missing[0])
        return f"nodes run in one graph only ({len(missing)}, such as {nodes.op_type[row]} {row})"
    before = [*range(count), *graph.end_rows.tolist()] * 2 + [-1] * further
    behind_all = {
        count + added
        for added, row in enumerate(before[: 2 * places])
        if row < 0 and added % places >= count
    }
    own_parents = nodes.parent.tolist()
    parents = own_parents + [*own_parents, *graph.end_parents.tolist()] * 2 + [-1] * further
    branches = (*nodes.branch, *(*nodes.branch, *graph.end_branches) * 2, *[""] * further)
    planned = nodes.order.tolist()
    graphs: dict[tuple[int, str], list[int]] = {}
    for row in rows:
        graphs.setdefault((parents[row], branches[row]), []).append(row)
    for members in graphs.values():
        own = [row for row in members if row < count]
        moved = [
            row
            for row, other in zip(sorted(own, key=planned.__getitem__), own, strict=True)
            if row != other
        ]
        if moved:
            row = moved[0]
            return f"nodes run in another order ({len(moved)}, from {nodes.op_type[row]} {row})"
        following = -1
        for row in reversed(members):
            if row < count:
                following = row
            elif before[row - count] not in (-1, following):
                late = before[row - count]
                return f"{nodes.op_type[late]} {late} does not follow its probe"
            elif row in behind_all and following >= 0:
                return f"{nodes.op_type[following]} {following} runs behind the last probe"
    begin = count + 2 * places
    added = [row for row in rows if row >= count]
    if begin in added and added[2:] != [begin, *range(begin + 2, begin + further), begin + 1]:
        return "the probes of the frame run in another order"
    return ""


class _Placement(NamedTuple):
    """A probe to be inserted into a graph.

    Attributes:
        row: row of the node that it precedes; -1 after the last one.
        place: as in ProbedGraph.
        operator: of the probe.
        after: its inputs: tensors that exist only once everything executed before has finished,
            "" for one that is missing; where all are, a constant will do.
    """

    row: int
    place: int
    operator: str
    after: tuple[str, ...]


class _Node(NamedTuple):
    """A node of a graph, read once for all files.

    Attributes:
        at: its position in the graph's file.
        row: in the NodeTable.
        op_type: what it does.
        reads: names that it reads, its bodies included.
        outputs: names of its results.
        on_device: whether it is in the device's stream.
        bodies: plans of its bodies, in the order of ``bodies``; empty where none is probed.
    """

    at: int
    row: int
    op_type: str
    reads: tuple[str, ...]
    outputs: tuple[str, ...]
    on_device: bool
    bodies: list[_Plan]


class _Streams:
    """Which operator is the probe at a place of a graph whose nodes run in one or two streams.

    Args:
        device: the provider of the nodes that run on a device; None if there are none.
        nodes: of the graph, in execution order.
    """

    def __init__(self, device: ExecutionProvider | None, nodes: Sequence[_Node]) -> None:
        self.device = device
        self._makers = {name: node for node in nodes for name in node.outputs}
        executed = [node for node in nodes if node.op_type != "Constant"]
        self._ends_on_device = bool(executed) and executed[-1].on_device

    def probe(
        self, after: tuple[str, ...], following: _Node | None
    ) -> tuple[str, tuple[str, ...]] | None:
        """(operator, inputs) of the probe that stands before a node.

        Args:
            after: the tensors that it waits for; none for a constant in the host's memory.
            following: the node; None at the end of the graph.

        Returns:
            None if none can stand there without changing what runs.
        """
        if self.device is None:
            return OPERATOR, after
        on_device: list[str] = []
        on_host: list[str] = []
        for name in after:
            maker = self._makers[name]
            if not maker.on_device:
                on_host.append(name)
            elif maker.op_type not in self.device.host_results:
                on_device.append(name)
            # ORT makes whoever reads such a result wait until the device has written it. Unless
            # the node behind the probe reads it, too, launches would stand still for the probe.
            elif maker.op_type == _THERE_AT_ONCE or (following and name in following.reads):
                on_host.append(name)
            else:
                return None
        # Before a node of the CPU, too, where it waits for the device's memory: that node does not,
        # or a copy to the host would be among its inputs, so it runs because the device's stream
        # waits or ends.
        in_stream = self._ends_on_device if following is None else following.on_device
        if not on_device and not in_stream:
            return OPERATOR, after
        if len(on_host) > probe.HOST_TENSORS:
            return None
        missing = [""] * (probe.HOST_TENSORS - len(on_host))
        return DEVICE_OPERATOR, (*on_host, *missing, *on_device)


@dataclasses.dataclass(frozen=True, slots=True)
class _Plan:
    """Where the probes of one graph go.

    Attributes:
        nodes: in the order of execution.
        readable: results that a probe can read.
        placements: probes in their order, the last at the end; none where none fits.
        ordered: nodes, as ``_sorted`` gives them.
        listed: nodes and probes in the order in which the file lists them.
        streams: tells the operators of probes.
    """

    nodes: list[_Node]
    readable: set[str]
    placements: list[_Placement]
    ordered: list[_Node]
    listed: list[_Node | _Placement]
    streams: _Streams


class _Planner:
    """Decides where the probes go, graph by graph.

    A probe is placed only where the tensors it waits for guarantee that all earlier nodes of
    its graph have finished, so that no node's time can end up in the gap of another.

    Attributes:
        ends: (parent, branch, row) of each end, as in ProbedGraph.
        carriers: as in ProbedGraph.
    """

    def __init__(self, nodes: NodeTable, device: ExecutionProvider | None) -> None:
        self._device = device
        self._on_device = [device is not None and one == device.ort_name for one in nodes.provider]
        self._output_types = nodes.output_type_shape
        self._order = nodes.order.tolist()
        self.ends: list[tuple[int, str, int]] = []
        self.carriers = np.full(len(nodes), -1, np.int64)

    def plan(self, graph: onnx.GraphProto, parent: int, branch: str) -> _Plan:
        """Plans the probes of a graph and of the bodies of its control-flow nodes.

        Args:
            graph: of the executed model.
            parent: row of the control-flow node whose body this is; -1 for the main graph.
            branch: its attribute that holds the body.
        """
        nodes = []
        held: dict[int, Sequence[tuple[str, onnx.GraphProto]]] = {}
        for at, node in enumerate(graph.node):
            row = row_of(node.name)
            reads, outputs = tuple(filter(None, node.input)), tuple(filter(None, node.output))
            if inner := bodies(node):
                held[row] = inner
                reads = tuple(_reads(node))
            nodes.append(_Node(at, row, node.op_type, reads, outputs, self._on_device[row], []))
        readable = self._readable(graph, nodes, held)
        nodes.sort(key=self._by_execution)
        executed = [node for node in nodes if node.op_type != "Constant"]  # never executed
        streams = _Streams(self._device, nodes)
        placements = self._place(executed, readable, streams, parent, branch)
        for node in nodes:
            if node.row in held and self.carriers[node.row] >= 0:
                node.bodies.extend(self.plan(body, node.row, name) for name, body in held[node.row])
        ordered = _sorted(nodes[::-1])
        unread, needed = _listed(nodes, ordered, placements, in_body=parent >= 0)
        listed = [*unread, *needed] if parent < 0 else [*needed, *unread]
        return _Plan(nodes, readable, placements, ordered, listed, streams)

    def _by_execution(self, node: _Node) -> tuple[float, int]:
        order = self._order[node.row]
        return order if order >= 0 else float("inf"), node.row

    def _readable(
        self,
        graph: onnx.GraphProto,
        nodes: Sequence[_Node],
        held: Mapping[int, Sequence[tuple[str, onnx.GraphProto]]],
    ) -> set[str]:
        """Results of the graph's nodes that a probe can read."""
        types: dict[str, int] = {}
        # What a trace calls a tensor may be an optional one, which no probe can read.
        optional: set[str] = set()
        for value in (*graph.value_info, *graph.output):
            types[value.name] = value.type.tensor_type.elem_type
            if value.type.HasField("optional_type"):
                optional.add(value.name)
        seen: dict[str, int] = {}
        for node in nodes:
            returned = (value for _, body in held.get(node.row, ()) for value in body.output)
            if (
                node.op_type == "Optional"
                or (node.op_type == "Identity" and node.reads[0] in optional)
                or any(value.type.HasField("optional_type") for value in returned)
            ):
                optional.update(node.outputs)
                continue
            # Types that the trace saw, unless it cannot say which is which.
            traced = _element_types(self._output_types[node.row])
            if len(traced) == len(node.outputs):
                seen |= {n: t for n, t in zip(node.outputs, traced, strict=True) if t is not None}
        known = seen | {name: kind for name, kind in types.items() if name not in optional}
        return {name for name, kind in known.items() if kind in ELEMENT_TYPES}

    def _place(
        self,
        executed: Sequence[_Node],
        readable: set[str],
        streams: _Streams,
        parent: int,
        branch: str,
    ) -> list[_Placement]:
        """Probes of a graph in their order, the last at its end; none where none fits.

        Args:
            executed: nodes in execution order, without constants.
            readable: results that a probe can read.
            streams: tells the operators of probes.
            parent: as in ``plan``.
            branch: as in ``plan``.
        """
        outside = int(self.carriers[parent]) if parent >= 0 else -1
        placements: list[_Placement] = []
        pending = _Pending(readable)
        carrier = outside
        for node in executed:
            after = pending.after()
            fitting = None if after is None else streams.probe(after, node)
            if fitting is not None:
                placements.append(_Placement(node.row, node.row, *fitting))
                pending = _Pending(readable)
                carrier = node.row
            self.carriers[node.row] = carrier
            pending.add(node)
        if not placements:
            return []
        end = len(self.carriers) + len(self.ends)
        after = pending.after()
        fitting = None if after is None else streams.probe(after, None)
        if fitting is not None:
            self.ends.append((parent, branch, -1))
            return [*placements, _Placement(-1, end, *fitting)]
        # No tensor shows that the last nodes have run, so the timed part ends before them.
        last = placements.pop()
        rows = [node.row for node in executed]
        self.carriers[rows[rows.index(last.row) :]] = outside
        if not placements:
            return []
        self.ends.append((parent, branch, last.row))
        return [*placements, last._replace(place=end)]


class _Pending:
    """The nodes since the last probe, of which the next one must know that they have run.

    Who reads a result has run after it. So a probe waits for those whose results none of the
    others reads, and it can where each of them has one that a probe can read.
    """

    def __init__(self, readable: set[str]) -> None:
        self._readable = readable
        self._producers: dict[str, int] = {}
        self._unread: dict[int, str | None] = {}
        self._unreadable = 0

    def add(self, node: _Node) -> None:
        """Takes in the node that is executed next."""
        for name in node.reads:
            producer = self._producers.get(name)
            if producer in self._unread:
                self._unreadable -= self._unread.pop(producer) is None
        told = None
        for name in reversed(node.outputs):
            self._producers[name] = node.row
            if name in self._readable:
                told = name
        self._unread[node.row] = told
        self._unreadable += told is None

    def all_read_by(self, node: _Node) -> bool:
        """Whether a node reads of all whose results none of the others reads, and there are such.

        So it runs when all of them have run.
        """
        return bool(self._unread) and self._unread.keys() <= {
            self._producers.get(name) for name in node.reads
        }

    def after(self) -> tuple[str, ...] | None:
        """Results that are there only when all nodes have run; None if some have none."""
        if self._unreadable:
            return None
        return tuple(name for name in reversed(self._unread.values()) if name is not None)


def _half(plan: _Plan, offset: int) -> _Plan:
    """The plan of the main graph with every second place, and with no probe in a body.

    A probe is left out only before a node that reads of all since the probe before: so the
    order of execution is the same without it.

    Args:
        plan: of the main graph, with all of them.
        offset: 0 for the even places, 1 for the odd ones.
    """
    numbers = {one.row: number for number, one in enumerate(plan.placements)}
    last = plan.placements[-1].row
    placements = []
    pending = _Pending(plan.readable)
    for node in plan.nodes:
        number = numbers.get(node.row)
        if number is not None and (
            number % 2 == offset or node.row == last or not pending.all_read_by(node)
        ):
            # A probe that is left out could wait for all before it, so the next one can.
            placements.append(_waiting(plan, plan.placements[number], pending, node))
            pending = _Pending(plan.readable)
        if node.op_type != "Constant":
            pending.add(node)
    if last < 0:
        placements.append(_waiting(plan, plan.placements[-1], pending, None))
    unread, needed = _listed(plan.nodes, plan.ordered, placements)
    listed = [
        one._replace(bodies=[]) if isinstance(one, _Node) and one.bodies else one
        for one in (*unread, *needed)
    ]
    return dataclasses.replace(plan, placements=placements, listed=listed)


def _waiting(
    plan: _Plan, placement: _Placement, pending: _Pending, following: _Node | None
) -> _Placement:
    """The same placement of a probe that waits for all since the one before."""
    operator, after = plan.streams.probe(pending.after() or (), following) or placement[2:]
    return placement._replace(operator=operator, after=after)


def _varint(number: int) -> bytes:
    """A number that is not negative, in protobuf's wire format."""
    if number < 0x80:
        return _ONE_BYTE[number]
    low = []
    while number >= 0x80:
        low.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*low, number))


def _field(key: bytes, content: bytes) -> bytes:
    """A field that holds text, bytes or a message, in protobuf's wire format."""
    return b"%b%b%b" % (key, _varint(len(content)), content)


# Keys of such fields: their numbers in onnx.proto, and the kind 2 of those that have a length.
_GRAPH: Final = b"\x3a"  # ModelProto.graph
_NODE: Final = b"\x0a"  # GraphProto.node
_INPUT: Final = b"\x0a"  # NodeProto.input
_NAME: Final = b"\x1a"  # NodeProto.name
_ATTRIBUTE: Final = b"\x2a"  # NodeProto.attribute

#: NodeProto.op_type and .domain of the probes.
_KINDS: Final = {
    operator: _field(b"\x22", operator.encode()) + _field(b"\x3a", probe.DOMAIN.encode())
    for operator in (OPERATOR, DEVICE_OPERATOR)
}

#: AttributeProto.name, .type (INT), and the key of .i.
_PLACE: Final = _field(b"\x0a", b"place") + b"\xa0\x01\x02" + b"\x18"


class _Writer:
    """Writes copies of a model with probes, which have the same names in each.

    Their nodes are added in protobuf's wire format: it takes a third of the time, and probes
    are made once for all files.

    Args:
        model: the executed graph.
        path: the files are written beside it.
        count: nodes of the NodeTable.
        ends: number of places behind those.
    """

    def __init__(self, model: onnx.ModelProto, path: Path, count: int, ends: int) -> None:
        self._model = model
        self._path = path
        self._first_probe = count
        self._first_of_pair = count + count + ends
        self._further = self._first_of_pair + count + ends
        self._probes: dict[tuple[int, tuple[str, ...]], bytes] = {}
        self._unchanged: dict[int, bytes] = {}

    def write(self, kind: str, plan: _Plan) -> Path:
        """Writes the model with the probes of a plan; returns the file."""
        import onnx

        probed = onnx.ModelProto()
        probed.CopyFrom(self._model)
        if kind == "frame":
            nodes = self._frame(probed.graph, plan)
        else:
            nodes = self._nodes(probed.graph, plan, pairs=kind == "pairs")
        del probed.graph.node[:]
        probed.opset_import.add(domain=probe.DOMAIN, version=1)
        file = self._path.with_name(f"probed-{kind}.onnx")
        # A reader merges what it finds of the graph in two places.
        file.write_bytes(probed.SerializeToString() + _field(_GRAPH, nodes))
        return file

    def _nodes(self, graph: onnx.GraphProto, plan: _Plan, *, pairs: bool) -> bytes:
        """A graph's nodes listed anew, with a probe or a pair of them at each place.

        Args:
            graph: gets a constant where it has nothing else that probes can read at first.
            plan: of this graph.
            pairs: whether pairs are asked for.
        """
        anchor = (_anchor(graph, plan.streams),) if plan.placements else ()
        listed = []
        for one in plan.listed:
            if isinstance(one, _Placement):
                after = one.after if any(one.after) else (*anchor, *one.after[1:])
                row, place = self._first_probe + one.place, one.place
                listed.append(self._probe(row, place, after, one.operator))
                if pairs:
                    row, place = self._first_of_pair + one.place, FIRST_OF_PAIR + one.place
                    listed.append(self._probe(row, place, after, one.operator))
            else:
                listed.append(
                    self._with_probes(graph, one, pairs=pairs)
                    if one.bodies
                    else self._as_it_is(graph, one)
                )
        return b"".join(listed)

    def _as_it_is(self, graph: onnx.GraphProto, one: _Node) -> bytes:
        """The entry for a node in a graph."""
        known = self._unchanged.get(one.row)
        if known is None:
            known = _field(_NODE, graph.node[one.at].SerializeToString())
            self._unchanged[one.row] = known
        return known

    def _with_probes(self, graph: onnx.GraphProto, one: _Node, *, pairs: bool) -> bytes:
        """The entry for a node in a graph, with probes in its bodies."""
        node = graph.node[one.at]
        for (_, body), plan in zip(bodies(node), one.bodies, strict=True):
            inside = self._nodes(body, plan, pairs=pairs)
            del body.node[:]
            body.MergeFromString(inside)
        return _field(_NODE, node.SerializeToString())

    def _frame(self, graph: onnx.GraphProto, plan: _Plan) -> bytes:
        """A graph's nodes in the same order, with the probes of the frame and the extra nodes."""
        import onnx

        first, last = plan.placements[0], plan.placements[-1]
        rows = [node.row for node in plan.nodes]
        stop = rows.index(last.row) if last.row >= 0 else len(rows)
        timed = plan.nodes[rows.index(first.row) : stop]
        # The last probe waits for all that nothing else waits for.
        read = {name for node in timed for name in node.reads}
        leaves = tuple(
            name
            for node in timed
            if read.isdisjoint(node.outputs)
            for name in [one for one in node.outputs if one in plan.readable][:1]
        )
        first_anchor, result = _anchor(graph, plan.streams), _constant(graph)
        first = first._replace(after=(first_anchor, *first.after[1:]))
        following = plan.nodes[stop] if stop < len(plan.nodes) else None
        operator, after = plan.streams.probe(leaves, following) or last[2:]
        last = last._replace(operator=operator, after=after)
        nodes: list[_Node | _Placement]
        if len(_streams_of(plan.nodes)) > 1:
            unread, needed = _listed(plan.nodes, plan.ordered, (first, last))
            nodes = [*unread, *needed]
        else:
            nodes = [*_without_probes(plan), last, first]
        begin, end = self._further, self._further + 1
        # In the stream of the last one, so that they run after it.
        missing = ("",) * (probe.HOST_TENSORS - 1) if last.operator == DEVICE_OPERATOR else ()
        begins = self._probe(begin, FURTHER_BEGIN, (result, *missing), last.operator)
        listed = []
        for row in range(end + 1, end + 1 + _further_nodes(plan)):
            name = node_name(row)
            output = f"{name}_out"
            extra = onnx.NodeProto(name=name, op_type="Identity", input=[result], output=[output])
            listed.append(_field(_NODE, extra.SerializeToString()))
            result = output
        ends = self._probe(end, FURTHER_END, (result, *missing), last.operator)
        listed += (ends, begins)
        for one in nodes:
            if isinstance(one, _Placement):
                row = self._first_probe + one.place
                listed.append(self._probe(row, one.place, one.after, one.operator))
            else:
                listed.append(self._as_it_is(graph, one))
        return b"".join(listed)

    def _probe(self, row: int, place: int, after: tuple[str, ...], operator: str) -> bytes:
        """The entry for a probe in a graph.

        Args:
            row: that it is named after.
            place: that it stamps.
            after: tensors that it waits for, which tell the operator as well.
            operator: of the probe.
        """
        known = self._probes.get((row, after))
        if known is None:
            inputs = b"".join(_field(_INPUT, name.encode()) for name in after)
            attribute = _field(_ATTRIBUTE, _PLACE + _varint(place))
            named = _field(_NAME, node_name(row).encode())
            known = _field(_NODE, inputs + named + _KINDS[operator] + attribute)
            self._probes[row, after] = known
        return known


def _further_nodes(plan: _Plan) -> int:
    """Number of extra nodes in the frame graph."""
    if plan.streams.device is not None:
        return 0
    return min(max(len(plan.nodes), _FURTHER_NODES[0]), _FURTHER_NODES[1])


def _anchor(graph: onnx.GraphProto, streams: _Streams) -> str:
    """A tensor that exists from the start, as ORT does not execute a probe without an input.

    An input of the graph costs nothing; a constant would be an additional value. Where some nodes
    run on a device, in which memory an input lies depends on all that read it and how: a
    constant that only probes read lies in the host's.
    """
    if streams.device is None:
        for value in graph.input:
            if value.type.tensor_type.elem_type in ELEMENT_TYPES:
                return str(value.name)
    return _constant(graph)


def _constant(graph: onnx.GraphProto) -> str:
    """Adds a constant to the graph and returns its name."""
    name = f"{_PREFIX}constant_{len(graph.initializer)}_{graph.node[0].name}"
    tensor = graph.initializer.add(name=name, data_type=_ELEMENT_TYPES["int64"], dims=[1])
    tensor.int64_data.append(0)
    return name


@functools.lru_cache(maxsize=4096)
def _element_types(outputs: str) -> tuple[int | None, ...]:
    """ONNX's numbers of the types that a trace saw; None where no probe can read one.

    Args:
        outputs: as in NodeTable.output_type_shape; few differ in a graph.
    """
    seen = [next(iter(output)) for output in json.loads(outputs)] if outputs else []
    return tuple(map(_ELEMENT_TYPES.get, seen))


def _listed(
    nodes: Sequence[_Node],
    ordered: Sequence[_Node],
    placements: Sequence[_Placement],
    *,
    in_body: bool = False,
) -> tuple[list[_Node | _Placement], list[_Node]]:
    """Nodes and probes in the order in which the file lists them: what nobody reads, the rest.

    What nobody reads is what ORT starts from, in turn from the end of the file. Among the nodes
    that it needs, ORT again executes the last in the file first, so nodes not tied to a probe keep
    their place.

    What nobody reads should stand in front of the rest. For every view of a graph ORT sorts it
    a second way (``Graph::KahnsTopologicalSort``): of the nodes that are ready it takes the one
    that stands first in the file. Probes behind the rest would all become ready and stay so to
    the end, in a linked list that ORT walks for each node that it adds: creating the session
    would take time that grows with the square of the number of nodes. Only in a body they must
    stand there: ORT refuses a body that lists a node before what it reads.

    Args:
        nodes: in the order of execution.
        ordered: all of them reversed, as ``_sorted`` gives them: those that nobody reads do not
            change the order of the others.
        placements: of the probes.
        in_body: whether they are those of a control-flow node's body.
    """
    before = {placement.row: placement for placement in placements}
    read = {name for node in nodes for name in node.reads}
    read.update(name for placement in placements for name in placement.after)
    running: list[_Node | _Placement] = []
    for node in nodes:
        if node.row in before:
            running.append(before[node.row])
        running.append(node)
    if -1 in before:
        running.append(before[-1])
    if len(_streams_of(nodes)) > 1:
        running = _for_streams(running, read)
        ordered = [one for one in reversed(running) if isinstance(one, _Node)]
        if in_body:
            ordered = _sorted(ordered)
    unread = [
        one
        for one in reversed(running)
        if isinstance(one, _Placement) or read.isdisjoint(one.outputs)
    ]
    return unread, [node for node in ordered if not read.isdisjoint(node.outputs)]


def _streams_of(nodes: Sequence[_Node]) -> set[bool]:
    """Whether nodes run in the device's stream, and whether in that of the CPU."""
    return {node.on_device for node in nodes if node.op_type != "Constant"}


def _for_streams(running: Sequence[_Node | _Placement], read: set[str]) -> list[_Node | _Placement]:
    """Nodes and probes in an order from which ORT gives each of two streams its own.

    ORT comes to what a node needs by way of that node. But a node may run late because its stream
    waits, after nodes of the other stream that come behind what it needs of that one: then ORT has
    to come to it before it comes to those. So, of several, that one comes next with which each
    stream goes on where it was; where there is none, the one that needs what runs first.

    Args:
        running: in the order of execution.
        read: tensors that somebody reads.
    """
    makers = {
        name: number
        for number, one in enumerate(running)
        if isinstance(one, _Node)
        for name in one.outputs
    }
    needs: list[list[int]] = []
    starts: list[list[int]] = []  # the first that nobody reads among those that need it
    streams: tuple[list[int], list[int]] = ([], [])
    begins = [0, 0]  # where each goes on
    in_stream: list[bool] = []
    for number, one in enumerate(running):
        if isinstance(one, _Node):
            names, unread, on_device = one.reads, read.isdisjoint(one.outputs), one.on_device
        else:
            names, unread, on_device = one.after, True, one.operator == DEVICE_OPERATOR
        needs.append(sorted({makers[name] for name in names if name in makers}))
        starts.append([number] if unread else [])
        streams[on_device].append(number)
        in_stream.append(on_device)
    for number in reversed(range(len(running))):
        for need in needs[number]:
            starts[need] = sorted({*starts[need], *starts[number]})[:_STARTS]
    listed: list[int] = []
    seen: set[int] = set()

    def awkward(number: int) -> tuple[bool, list[int]]:
        """(whether a stream would leave something out, all that it still needs and itself)."""
        needed, waiting = {number}, [number]
        while waiting:
            more = [one for one in needs[waiting.pop()] if one not in seen and one not in needed]
            needed.update(more)
            waiting += more
        skips = False
        for side, stream in enumerate(streams):
            left = sum(in_stream[one] == bool(side) for one in needed)
            for at in range(begins[side], len(stream)):
                if not left:
                    break
                if stream[at] not in seen:
                    skips = skips or stream[at] not in needed
                    left -= stream[at] in needed
        return skips, sorted(needed)

    for number in range(len(running)):
        if number in seen:
            continue
        for side, stream in enumerate(streams):
            while begins[side] < len(stream) and stream[begins[side]] in seen:
                begins[side] += 1
        waiting = [min(starts[number], key=awkward) if starts[number] else number]
        while waiting:
            missing = [need for need in needs[waiting[-1]] if need not in seen]
            if missing:
                waiting.append(min(missing, key=awkward) if len(missing) > 1 else missing[0])
                continue
            done = waiting.pop()
            if done not in seen:
                seen.add(done)
                listed.append(done)
    return [running[number] for number in listed]


def _without_probes(plan: _Plan) -> Sequence[_Node]:
    """Nodes listed so that ORT executes them in the plan's order with no probe between them.

    In reverse, as ORT starts from the end of a file. Where a node is needed in several places,
    ORT may execute it in another of them: then the order of the model's own file may do.
    """
    planned = [node.row for node in plan.nodes if node.op_type != "Constant"]
    reverse = plan.nodes[::-1]
    for listed in (reverse, sorted(plan.nodes, key=lambda node: node.at), plan.ordered):
        if _executed(listed) == planned:
            return listed
    raise OrderError("with few probes, nodes run in another order")


def _executed(listed: Sequence[_Node]) -> list[int]:
    """Rows of a graph's nodes in the order in which ORT executes them (``ReverseDFSFrom``).

    Args:
        listed: as its file lists them.
    """
    listed = [node for node in listed if node.op_type != "Constant"]  # never executed
    producers = {name: number for number, node in enumerate(listed) for name in node.outputs}
    needs = [
        sorted({producers[name] for name in node.reads if name in producers}) for node in listed
    ]
    read = {number for numbers in needs for number in numbers}
    waiting = [number for number in range(len(listed)) if number not in read]
    seen: set[int] = set()
    rows = []
    while waiting:
        number = waiting.pop()
        if number < 0:  # all that it needs has been executed
            rows.append(listed[~number].row)
        elif number not in seen:
            seen.add(number)
            waiting.append(~number)
            waiting.extend(one for one in needs[number] if one not in seen)
    return rows


def _sorted(nodes: Sequence[_Node]) -> list[_Node]:
    """Nodes in the order given, but for those that stand before what they need."""
    producers = {name: number for number, node in enumerate(nodes) for name in node.outputs}
    missing = []
    waiting: list[list[int]] = [[] for _ in nodes]
    for number, node in enumerate(nodes):
        needed = {producers[name] for name in node.reads if name in producers}
        missing.append(len(needed))
        for producer in needed:
            waiting[producer].append(number)
    ready = [number for number, count in enumerate(missing) if not count]
    placed = []
    while ready:
        number = heapq.heappop(ready)
        placed.append(nodes[number])
        for consumer in waiting[number]:
            missing[consumer] -= 1
            if not missing[consumer]:
                heapq.heappush(ready, consumer)
    return placed


def _reads(node: onnx.NodeProto) -> Iterator[str]:
    """Names that a node reads, its bodies included."""
    yield from filter(None, node.input)
    for _, body in bodies(node):
        for inner in body.node:
            yield from _reads(inner)
