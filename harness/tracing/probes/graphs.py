"""A probe before every node of the graph that ORT executes.

A probe is a custom operator without outputs that takes a timestamp. It reads tensors of the
nodes executed before it, and thus waits for them. That the node after it also waits for the
probe follows from ORT's execution order: ORT starts from the nodes whose outputs are not read,
the last one in the file first, and executes everything that each of them needs before it
(``GraphViewer`` and ``Graph::ReverseDFSFrom``). Probes are such nodes, so the file lists
them in reverse. A trace of the probed graph confirms the order (``same_order``). The graph itself
is unchanged, and so is ORT's memory plan for it.

Three graphs are made: one with a probe at each place; one with pairs of probes, which measure
the cost of a probe; and the frame, with one probe before the first node and one after the last,
followed by extra nodes that measure what ORT spends on each node outside its execution.
``harness.tracing.probes.times`` turns their recordings into times.
"""

from __future__ import annotations

import dataclasses
import heapq
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from harness.models.executed_graph import ExecutedGraph, bodies, node_name, row_of
from harness.native import probe
from harness.records import Int64Array, NodeTable

if TYPE_CHECKING:
    import onnx

OPERATOR: Final = "Probe"
_PREFIX: Final = "harness_probe_"

#: ORT's names of element types in a profile -> ONNX's numbers, for types that a probe can read.
_ELEMENT_TYPES: Final = {
    "float": 1, "uint8": 2, "int8": 3, "uint16": 4, "int16": 5, "int32": 6, "int64": 7,
    "string": 8, "bool": 9, "float16": 10, "double": 11, "uint32": 12, "uint64": 13,
    "bfloat16": 16, "Float8E4M3FN": 17, "Float8E4M3FNUZ": 18, "Float8E5M2": 19,
    "Float8E5M2FNUZ": 20, "UInt4x2": 21, "Int4x2": 22,
}  # fmt: skip
ELEMENT_TYPES: Final = frozenset(_ELEMENT_TYPES.values())

#: Added to the place of the first probe of a pair.
FIRST_OF_PAIR: Final = 1 << 30

#: Places of the probes before and after the extra nodes of the frame graph.
FURTHER_BEGIN: Final = (1 << 29) - 1
FURTHER_END: Final = 1 << 29

#: Bounds on the number of extra nodes, which otherwise equals that of the model's nodes.
_FURTHER_NODES: Final = (32, 256)


@dataclasses.dataclass(frozen=True, slots=True)
class ProbedFile:
    """A model with probes, and the execution order that a trace of it must show.

    Attributes:
        path: the model.
        nodes: the executed graph's rows, followed by one for each added node, which is also
            named after its row; order as in the executed graph.
        before: int64[added], row of the node before which each added node must be executed; -1
            if that does not matter.
    """

    path: Path
    nodes: NodeTable
    before: Int64Array


@dataclasses.dataclass(frozen=True, slots=True)
class ProbedGraph:
    """The executed graph with probes in it.

    Place r is before the node in row r of the NodeTable. The places after those are at the ends
    of graphs: of the main graph, and of the bodies of control-flow nodes.

    Attributes:
        each: graph with one probe at each place.
        pairs: graph with two probes at each place.
        frame: graph with one probe before the first node, one at the end of the main graph, and
            two around the extra nodes after that.
        end_parents: int64[ends], row of the control-flow node whose body ends there, -1
            for the main graph.
        carriers: int64[nodes], row of the node whose probe covers a node: its own row if it has
            a probe; otherwise the closest earlier node in its graph that has one; otherwise, in
            a body, the carrier of the node that runs the body; otherwise -1, and its time is
            framework time.
        further_nodes: number of extra nodes in the frame graph.
    """

    each: ProbedFile
    pairs: ProbedFile
    frame: ProbedFile
    end_parents: Int64Array
    carriers: Int64Array
    further_nodes: int


def insert(graph: ExecutedGraph) -> ProbedGraph:
    """Inserts probes into a graph whose node table was completed by a trace.

    Writes three files next to graph.path; the weights stay in the external file that all of
    them refer to.

    Args:
        graph: as prepared by ``executed_graph``, with order and types from one traced
            inference.

    Raises:
        ValueError: probes cannot separate any node of the main graph from the rest.
    """
    each, pairs, frame = (_Inserter(graph.nodes, kind) for kind in ("each", "pairs", "frame"))
    files = [one.write(graph.path) for one in (each, pairs, frame)]
    if not (each.carriers >= 0).any():
        raise ValueError("no node has an output that a probe can wait for")
    return ProbedGraph(
        each=files[0],
        pairs=files[1],
        frame=files[2],
        end_parents=np.array(each.end_parents, np.int64),
        carriers=each.carriers,
        further_nodes=frame.further_nodes,
    )


def same_order(file: ProbedFile, traced: NodeTable) -> str:
    """How the traced execution of a probed graph differs from the planned one; "" if it does not.

    Args:
        file: the probed graph.
        traced: file.nodes as seen by the trace.
    """
    count = len(file.nodes) - len(file.before)
    if len(traced) > len(file.nodes):
        more = traced.op_type[len(file.nodes) :]
        return f"additional nodes run ({len(more)}, such as {more[0]})"
    missing = np.flatnonzero((file.nodes.order[:count] >= 0) != (traced.order[:count] >= 0))
    if len(missing):
        row = int(missing[0])
        return f"nodes run in one graph only ({len(missing)}, such as {traced.op_type[row]} {row})"
    graphs: dict[tuple[int, str], list[int]] = {}
    for row in np.flatnonzero(traced.order >= 0).tolist():
        graphs.setdefault((int(traced.parent[row]), traced.branch[row]), []).append(row)
    for members in graphs.values():
        rows = np.array(members)
        rows = rows[np.argsort(traced.order[rows], kind="stable")]
        own = rows[rows < count]
        planned = own[np.argsort(file.nodes.order[own], kind="stable")]
        moved = np.flatnonzero(planned != own)
        if len(moved):
            row = int(planned[moved[0]])
            return f"nodes run in another order ({len(moved)}, from {traced.op_type[row]} {row})"
        following = -1
        for row in rows[::-1].tolist():
            if row < count:
                following = row
            elif file.before[row - count] not in (-1, following):
                late = int(file.before[row - count])
                return f"{traced.op_type[late]} {late} does not follow its probe"
    return ""


class _Placement(NamedTuple):
    """A probe to be inserted into a graph.

    Attributes:
        row: row of the node that it precedes; -1 after the last one.
        after: tensors that exist only once everything executed before has finished.
        place: as in ProbedGraph.
    """

    row: int
    after: tuple[str, ...]
    place: int


class _Added(NamedTuple):
    """A node that was inserted into a graph; fields as the columns of the same name."""

    op_type: str
    parent: int
    branch: str
    before: int


class _Inserter:
    """Rewrites one model, graph by graph.

    A probe is placed only where the tensors it waits for guarantee that all earlier nodes of
    its graph have finished, so that no node's time can end up in the gap of another.

    Attributes:
        end_parents: as in ProbedGraph.
        carriers: as in ProbedGraph.
        further_nodes: as in ProbedGraph.
    """

    def __init__(self, nodes: NodeTable, kind: str) -> None:
        self._nodes = nodes
        self._kind = kind
        self._added: list[_Added] = []
        self.end_parents: list[int] = []
        self.carriers = np.full(len(nodes), -1, np.int64)
        self.further_nodes = 0

    def write(self, path: Path) -> ProbedFile:
        """Inserts probes into the model at path and writes the result next to it."""
        import onnx

        model = onnx.load(path, load_external_data=False)
        self._rewrite(model.graph, parent=-1, branch="")
        model.opset_import.add(domain=probe.DOMAIN, version=1)
        probed = path.with_name(f"probed-{self._kind}.onnx")
        probed.write_bytes(model.SerializeToString())
        return ProbedFile(
            probed,
            _extended(self._nodes, self._added),
            np.array([one.before for one in self._added], np.int64),
        )

    def _rewrite(self, graph: onnx.GraphProto, parent: int, branch: str) -> None:
        """Inserts probes into a graph and into the bodies of its control-flow nodes.

        Args:
            graph: modified in place.
            parent: row of the control-flow node whose body this is; -1 for the main graph.
            branch: name of the parent's attribute that holds the body.
        """
        nodes = sorted(graph.node, key=self._order)
        placements = self._plan(nodes, self._readable(graph), parent)
        for node in nodes:
            row = row_of(node.name)
            if self.carriers[row] >= 0:
                for name, body in bodies(node):
                    self._rewrite(body, row, name)
        if not placements or (self._kind == "frame" and parent >= 0):
            return
        rewritten = (
            self._framed(graph, nodes, placements)
            if self._kind == "frame"
            else self._probed(nodes, placements, _anchor(graph), parent, branch)
        )
        del graph.node[:]
        graph.node.extend(rewritten)

    def _order(self, node: onnx.NodeProto) -> tuple[float, int]:
        row = row_of(node.name)
        order = int(self._nodes.order[row])
        return order if order >= 0 else float("inf"), row

    def _readable(self, graph: onnx.GraphProto) -> set[str]:
        """Results of the graph's nodes that a probe can read."""
        declared = (*graph.value_info, *graph.output)
        types = {value.name: value.type.tensor_type.elem_type for value in declared}
        # A trace shows an optional tensor as a tensor, but probes cannot read optionals.
        optional = {value.name for value in declared if value.type.HasField("optional_type")}
        seen: dict[str, int] = {}
        for node in graph.node:
            returned = (value for _, body in bodies(node) for value in body.output)
            if (
                node.op_type == "Optional"
                or (node.op_type == "Identity" and node.input[0] in optional)
                or any(value.type.HasField("optional_type") for value in returned)
            ):
                optional.update(node.output)
            else:
                seen.update(self._output_types(node))
        known = seen | {name: kind for name, kind in types.items() if name not in optional}
        return {name for name, kind in known.items() if kind in ELEMENT_TYPES}

    def _output_types(self, node: onnx.NodeProto) -> Iterable[tuple[str, int]]:
        """Element types seen by the trace; none if they cannot be matched to the outputs."""
        text = self._nodes.output_type_shape[row_of(node.name)]
        seen = [next(iter(output)) for output in json.loads(text)] if text else []
        names = [name for name in node.output if name]
        if len(seen) != len(names):
            return []
        return [
            (name, _ELEMENT_TYPES[kind])
            for name, kind in zip(names, seen, strict=True)
            if kind in _ELEMENT_TYPES
        ]

    def _plan(
        self, nodes: Sequence[onnx.NodeProto], readable: set[str], parent: int
    ) -> list[_Placement]:
        """Probes of a graph in order, the last one at its end; empty if none can be placed.

        Args:
            nodes: in execution order.
            readable: results that a probe can read.
            parent: as in ``_rewrite``.
        """
        outside = int(self.carriers[parent]) if parent >= 0 else -1
        executed = [node for node in nodes if node.op_type != "Constant"]  # never executed
        placements: list[_Placement] = []
        # For each node since the last probe: results that exist only once it has run.
        pending: list[dict[str, None]] = []
        carrier = outside
        for node in executed:
            row = row_of(node.name)
            after = _after(pending, readable)
            if after is not None:
                placements.append(_Placement(row, after, row))
                pending.clear()
                carrier = row
            self.carriers[row] = carrier
            reads, results = _reads(node), dict.fromkeys(filter(None, node.output))
            for earlier in pending:
                if not reads.isdisjoint(earlier):
                    earlier.update(results)
            pending.append(results)
        if not placements:
            return []
        end = len(self._nodes) + len(self.end_parents)
        after = _after(pending, readable)
        if after is not None:
            self.end_parents.append(parent)
            return [*placements, _Placement(-1, after, end)]
        # No tensor shows that the last nodes have run, so the timed part ends before them.
        last = placements.pop()
        rows = [row_of(node.name) for node in executed]
        self.carriers[rows[rows.index(last.row) :]] = outside
        if not placements:
            return []
        self.end_parents.append(parent)
        return [*placements, last._replace(place=end)]

    def _probed(
        self,
        nodes: Sequence[onnx.NodeProto],
        placements: Sequence[_Placement],
        anchor: str,
        parent: int,
        branch: str,
    ) -> list[onnx.NodeProto]:
        """All nodes, with a probe or a pair of probes at each place.

        ORT starts from the nodes whose outputs are not read, from the end of the file to its
        start. Among the nodes that each of them needs, ORT also executes the last one in the
        file first: this keeps nodes in order that no probe forces into place.
        """
        before = {placement.row: placement for placement in placements}
        ordered: list[onnx.NodeProto] = []
        for row, node in [*((row_of(node.name), node) for node in nodes), (-1, None)]:
            if placement := before.get(row):
                places = [placement.place]
                if self._kind == "pairs":
                    places.insert(0, placement.place + FIRST_OF_PAIR)
                after = placement.after or (anchor,)
                ordered += [self._probe(place, after, row, parent, branch) for place in places]
            if node is not None:
                ordered.append(node)
        ordered.reverse()
        read = set[str]().union(*map(_reads, ordered))
        inner = [node for node in ordered if not read.isdisjoint(node.output)]
        return [*_sorted(inner), *(node for node in ordered if read.isdisjoint(node.output))]

    def _framed(
        self,
        graph: onnx.GraphProto,
        nodes: Sequence[onnx.NodeProto],
        placements: Sequence[_Placement],
    ) -> list[onnx.NodeProto]:
        """All nodes in their original order, with the frame's probes and the extra nodes."""
        first, last = placements[0], placements[-1]
        rows = [row_of(node.name) for node in nodes]
        stop = rows.index(last.row) if last.row >= 0 else len(nodes)
        timed = nodes[rows.index(first.row) : stop]
        # The last probe waits for every result that no other node reads.
        read = set[str]().union(*map(_reads, timed))
        readable = self._readable(graph)
        leaves = [
            name
            for node in timed
            if read.isdisjoint(node.output)
            for name in [one for one in node.output if one in readable][:1]
        ]
        self.further_nodes = min(max(len(nodes), _FURTHER_NODES[0]), _FURTHER_NODES[1])
        first_anchor, constant = _anchor(graph), _constant(graph)
        result, further = constant, []
        for _ in range(self.further_nodes):
            further.append(self._node("Identity", (result,), -1, -1, ""))
            result = further[-1].output[0]
        return [
            *further,
            self._probe(FURTHER_END, (result,), -1, -1, ""),
            self._probe(FURTHER_BEGIN, (constant,), -1, -1, ""),
            *graph.node,
            self._probe(last.place, tuple(leaves), last.row, -1, ""),
            self._probe(first.place, (first_anchor,), first.row, -1, ""),
        ]

    def _probe(
        self, place: int, after: Sequence[str], before: int, parent: int, branch: str
    ) -> onnx.NodeProto:
        node = self._node(OPERATOR, after, before, parent, branch)
        node.domain = probe.DOMAIN
        node.attribute.add(name="place", type=2, i=place)  # AttributeProto.INT
        del node.output[:]
        return node

    def _node(
        self, op_type: str, inputs: Sequence[str], before: int, parent: int, branch: str
    ) -> onnx.NodeProto:
        """An added node with one output, in the next free row."""
        from onnx import helper

        row = len(self._nodes) + len(self._added)
        self._added.append(_Added(op_type, parent, branch, before))
        return helper.make_node(op_type, inputs, [f"{_PREFIX}{row}"], name=node_name(row))


def _extended(nodes: NodeTable, added: Sequence[_Added]) -> NodeTable:
    """The table with rows for added nodes, whose other columns only a trace can fill in."""
    columns: dict[str, Any] = {}
    for field in dataclasses.fields(nodes):
        known = getattr(nodes, field.name)
        columns[field.name] = (
            (*known, *("",) * len(added))
            if isinstance(known, tuple)
            else np.append(known, np.full(len(added), -1, np.int64))
        )
    count = len(nodes)
    depth = [int(nodes.depth[one.parent]) + 1 if one.parent >= 0 else 0 for one in added]
    columns["op_type"] = nodes.op_type + tuple(one.op_type for one in added)
    columns["branch"] = nodes.branch + tuple(one.branch for one in added)
    columns["parent"][count:] = [one.parent for one in added]
    columns["depth"][count:] = depth
    return NodeTable(**columns)


def _anchor(graph: onnx.GraphProto) -> str:
    """A tensor that exists from the start, as ORT does not execute a probe without an input.

    An input of the graph costs nothing; a constant would be an additional value.
    """
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


def _after(pending: Sequence[Mapping[str, None]], readable: set[str]) -> tuple[str, ...] | None:
    """Results that exist only once all pending nodes have run; None if a node has none."""
    after: list[str] = []
    # A later node's result may imply an earlier one that it depends on, but not the reverse.
    for results in reversed(pending):
        if results.keys().isdisjoint(after):
            told = next((name for name in results if name in readable), None)
            if told is None:
                return None
            after.append(told)
    return tuple(after)


def _sorted(nodes: Sequence[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """Nodes in the given order, except that each comes after the nodes that it depends on."""
    producers = {name: number for number, node in enumerate(nodes) for name in node.output if name}
    needs = [{producers[name] for name in _reads(node) & producers.keys()} for node in nodes]
    waiting: dict[int, list[int]] = {}
    for number, needed in enumerate(needs):
        for producer in needed:
            waiting.setdefault(producer, []).append(number)
    ready = [number for number, needed in enumerate(needs) if not needed]
    placed = []
    while ready:
        number = heapq.heappop(ready)
        placed.append(nodes[number])
        for consumer in waiting.get(number, ()):
            needs[consumer].discard(number)
            if not needs[consumer]:
                heapq.heappush(ready, consumer)
    return placed


def _reads(node: onnx.NodeProto) -> set[str]:
    """Names that a node reads, including those read in its bodies."""
    inner = (_reads(one) for _, body in bodies(node) for one in body.node)
    return set(node.input).union(*inner) - {""}
