"""True operator times: a probe before every node of the graph that ORT executes.

A probe is a custom operator that passes one input of the node on by alias, without a copy,
and stamps the time. Its further inputs are outputs of what is executed before, which
forces the recorded order. The gap between two stamps is what ran between them plus the
cost of one probe; a second graph, in which every probe stands twice, tells that cost in
the same process, at the same place, on the same tensor: the gap inside each pair. A third
graph, the frame, has but one probe before its first node and one after its last. It tells
what an inference spends outside of its nodes, which more probes would inflate, and how long
all nodes together take undisturbed: where that can be told apart from noise, it corrects
the level of the cost, since a probe behind a probe is not quite as quick as one behind a
node.
"""

from __future__ import annotations

import dataclasses
import heapq
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from harness._probe import DOMAIN, ELEMENT_TYPES
from harness.executed_graph import ExecutedGraph, bodies, row_of
from harness.records import Int32Array, Int64Array, NodeEvents, NodeTable

if TYPE_CHECKING:
    import onnx

SOURCE: Final = "probe"
_PREFIX: Final = "harness_probe_"
_OPERATOR: Final = "Probe_"

#: ORT's names of element types in a profile -> ONNX's numbers, where probes exist.
_ELEMENT_TYPES: Final = {
    "float": 1, "uint8": 2, "int8": 3, "uint16": 4, "int16": 5, "int32": 6, "int64": 7,
    "string": 8, "bool": 9, "float16": 10, "double": 11, "uint32": 12, "uint64": 13,
    "bfloat16": 16, "Float8E4M3FN": 17, "Float8E4M3FNUZ": 18, "Float8E5M2": 19,
    "Float8E5M2FNUZ": 20, "UInt4x2": 21, "Int4x2": 22,
}  # fmt: skip

#: Added to the place of the first probe of a pair in the calibration graph.
_FIRST_OF_PAIR: Final = 1 << 30

#: Probes at each place, by the kind of graph; a frame, the last, has them at its ends only.
_COPIES: Final = {"each": 1, "pairs": 2, "frame": 1}


@dataclasses.dataclass(frozen=True, slots=True)
class ProbedGraph:
    """The executed graph with probes in it, and the same with every probe twice.

    Place r is before the node of row r of the NodeTable. The places after those stand at
    the ends of graphs: of the main graph, and of bodies of control-flow nodes.

    Attributes:
        path: with one probe at each place.
        calibration: with two at each place.
        frame: with one before the first node and one at the end of the main graph.
        end_parents: int64[ends], row of the control-flow node whose body ends there, -1
            for the main graph.
        carriers: int64[nodes], row of the node whose probe covers a node: its own where it
            has a probe; else that of the node with one that is executed before it in its
            graph; else, in a body, the one that covers the node which runs the body; else
            -1, and its time is framework time.
    """

    path: Path
    calibration: Path
    frame: Path
    end_parents: Int64Array
    carriers: Int64Array


def insert(graph: ExecutedGraph) -> ProbedGraph:
    """Puts the probes into a graph whose table was completed by a trace.

    Writes three files beside graph.path: the weights stay in the side file that all of
    them refer to.

    Args:
        graph: as ``executed_graph`` prepared it, with order and types from one traced
            inference.

    Raises:
        ValueError: no node of the main graph can be told from the rest by probes.
    """
    import onnx

    paths = {kind: graph.path.with_name(f"probed-{kind}.onnx") for kind in _COPIES}
    for kind, path in paths.items():
        model = onnx.load(graph.path, load_external_data=False)
        inserter = _Inserter(graph.nodes, kind)
        inserter.rewrite(model.graph, types={}, constants=set(), parent=-1)
        model.opset_import.add(domain=DOMAIN, version=1)
        path.write_bytes(model.SerializeToString())
    if not (inserter.carriers >= 0).any():
        raise ValueError("no node lies between two tensors that can carry a probe")
    return ProbedGraph(
        paths["each"],
        paths["pairs"],
        paths["frame"],
        np.array(inserter.end_parents, np.int64),
        inserter.carriers,
    )


def same_order(graph: NodeTable, probed: NodeTable) -> str:
    """Compares what two traces saw of the same rows; "" or how the second differs.

    Args:
        graph: table completed by a trace of the executed graph.
        probed: the same rows as a trace of the probed one saw them, followed by the probes.
    """
    count = len(graph)
    more = [kind for kind in probed.op_type[count:] if not kind.startswith(_OPERATOR)]
    if more:
        return f"{len(more)} further nodes run, such as {more[0]}"
    missing = np.flatnonzero((graph.order >= 0) != (probed.order[:count] >= 0))
    if len(missing):
        row = int(missing[0])
        return f"{len(missing)} nodes run in one graph only, such as {graph.op_type[row]} {row}"
    graphs: dict[tuple[int, str], list[int]] = {}
    for row in np.flatnonzero(graph.order >= 0).tolist():
        graphs.setdefault((int(graph.parent[row]), graph.branch[row]), []).append(row)
    for members in graphs.values():
        rows = np.array(members)
        before = rows[np.argsort(graph.order[rows], kind="stable")]
        after = rows[np.argsort(probed.order[rows], kind="stable")]
        moved = np.flatnonzero(before != after)
        if len(moved):
            row = int(before[moved[0]])
            return f"{len(moved)} nodes run in another order, from {graph.op_type[row]} {row} on"
    return ""


def same_values(one: Any, other: Any) -> bool:
    """Whether two outputs of a model are equal bit for bit."""
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray):
        if (one.dtype, one.shape) != (other.dtype, other.shape):
            return False
        if one.dtype == object:
            return bool(one.tolist() == other.tolist())
        return bool(one.tobytes() == other.tobytes())
    if isinstance(one, Mapping):  # in text a NaN equals itself
        return repr(dict(one)) == repr(dict(other))
    if isinstance(one, Sequence) and not isinstance(one, str):
        return len(one) == len(other) and all(map(same_values, one, other))
    return bool(one == other)


class Stamps(NamedTuple):
    """What one recording of a graph with probes gave.

    Attributes:
        place: int32[n], as the probes stored them.
        stamp_ns: int64[n], CLOCK_MONOTONIC.
        taken: stamps that were taken; n is less when the buffer was too small.
        start_ns: int64[inferences], before each inference.
        duration_ns: int64[inferences].
    """

    place: Int32Array
    stamp_ns: Int64Array
    taken: int
    start_ns: Int64Array
    duration_ns: Int64Array


def concatenate(parts: Sequence[Stamps]) -> Stamps:
    """Recordings of one graph, each of which ended before the next began."""
    return Stamps(
        np.concatenate([part.place for part in parts]),
        np.concatenate([part.stamp_ns for part in parts]),
        sum(part.taken for part in parts),
        np.concatenate([part.start_ns for part in parts]),
        np.concatenate([part.duration_ns for part in parts]),
    )


def whole(stamps: Stamps) -> Stamps:
    """Without the inferences for whose stamps the buffer had no more room."""
    if stamps.taken == len(stamps.place):
        return stamps
    inference = _inference_of_all(stamps)
    count = int(inference[-1])  # of the last one there may be only a part
    kept = inference < count
    return Stamps(
        stamps.place[kept],
        stamps.stamp_ns[kept],
        stamps.taken,
        stamps.start_ns[:count],
        stamps.duration_ns[:count],
    )


def spans_ns(stamps: Stamps) -> Int64Array:
    """int64[inferences], from the first stamp of each to its last."""
    inference = _inference_of_all(stamps)
    numbers = np.arange(len(stamps.start_ns))
    first, last = (np.searchsorted(inference, numbers, side=side) for side in ("left", "right"))
    return np.asarray(stamps.stamp_ns[last - 1] - stamps.stamp_ns[first])


#: Relative uncertainty of the cost that pairs tell: on chains of small operators it was up
#: to a quarter more than what a probe behind a node took (benchmarks/operator_truth.py).
PAIR_UNCERTAINTY: Final = 0.25


def cost_level(pair_ns: float, differences_ns: Sequence[float]) -> float:
    """Factor by which a probe's cost in place differs from that inside a pair.

    Args:
        pair_ns: mean cost that the pairs tell.
        differences_ns: the cost as each of several interleaved rounds tells it: probed nodes
            less undisturbed nodes, for one probe. Noise of whole inferences is in it, so it
            decides on short models and says nothing on long ones.

    Returns:
        The mean of both, weighted by the inverse of their variances, over pair_ns; within
        [0.5, 2]: what lies beyond is noise, and shows as a residual of the accounts.
    """
    if len(differences_ns) < 2 or pair_ns <= 0:
        return 1.0
    scatter = float(np.std(differences_ns, ddof=1)) / len(differences_ns) ** 0.5
    weight = (PAIR_UNCERTAINTY * pair_ns) ** 2
    share = weight / (weight + scatter**2)
    level = share * float(np.median(differences_ns)) / pair_ns + 1 - share
    return float(min(max(level, 0.5), 2.0))


def calibration_events(stamps: Stamps, places: int, level: float, process: int) -> NodeEvents:
    """Cost of the probes at each place: the gaps inside the pairs of the calibration graph.

    Args:
        stamps: recorded with ProbedGraph.calibration.
        places: how many there are, ends included.
        level: as ``cost_level`` gives it.
        process: ProcessRecord.index.

    Returns:
        An event a pair, with the place as its ``node``, the gap as its duration, and the
        gap times level as its own time.
    """
    pair, gap_ns = _pairs(stamps)
    node = stamps.place[pair + 1]
    if len(node) and int(node.max()) >= places:
        raise ValueError("a stamp of a place that the graph does not have")
    return _events(
        stamps,
        process,
        node,
        _inference_of(stamps, pair),
        stamps.stamp_ns[pair],
        gap_ns,
        np.rint(gap_ns * level).astype(np.int64),
        {},
        np.full(len(stamps.start_ns), -1, np.int64),
    )


def pair_cost_ns(stamps: Stamps) -> float:
    """Mean over all pairs of the calibration graph of the median gap at their place."""
    pair, gap_ns = _pairs(stamps)
    if not len(pair):
        return 0.0
    place = stamps.place[pair + 1]
    seen, medians = _medians(place, gap_ns)
    return float(np.mean(medians[np.searchsorted(seen, place)]))


def _pairs(stamps: Stamps) -> tuple[Int64Array, Int64Array]:
    """(position of the first stamp of each pair, gap to its second)."""
    first = np.flatnonzero(stamps.place[:-1] >= _FIRST_OF_PAIR)
    pair = first[stamps.place[first] - _FIRST_OF_PAIR == stamps.place[first + 1]]
    return pair, stamps.stamp_ns[pair + 1] - stamps.stamp_ns[pair]


def _medians(keys: Int32Array, values: Int64Array) -> tuple[Int32Array, npt.NDArray[np.float64]]:
    """(keys that occur, median of the values of each)."""
    order = np.argsort(keys, kind="stable")
    seen, begins = np.unique(keys[order], return_index=True)
    parts = np.split(values[order], begins[1:])
    return seen, np.array([np.median(part) for part in parts])


def costs(calibration: NodeEvents, places: int) -> Int64Array:
    """int64[places], median cost at each place; the median of all where a place has none.

    Raises:
        ValueError: the calibration holds no pair.
    """
    if not len(calibration):
        raise ValueError("the calibration graph gave no pair of stamps")
    cost_ns = np.full(places, round(float(np.median(calibration.self_ns))), np.int64)
    seen, medians = _medians(calibration.node, calibration.self_ns)
    cost_ns[seen] = np.rint(medians)
    return cost_ns


class Frame(NamedTuple):
    """What an inference spends outside of the execution of its nodes, in ns.

    Attributes:
        fixed_ns: however many nodes there are: the framework's own.
        node_ns: for each node of the main graph: setting up and taking down its values.
    """

    fixed_ns: int
    node_ns: int


def frame(
    stamps: Stamps,
    pairs: Stamps,
    undisturbed: Stamps,
    cost_ns: int,
    graph: ProbedGraph,
    nodes: NodeTable,
) -> Frame:
    """Tells what ORT does before the first node and after the last one.

    Each probe is a node more with a value more, so what one node adds to this is seen from
    how much more there is with pairs of probes.

    Args:
        stamps: recorded with ProbedGraph.path.
        pairs: recorded with ProbedGraph.calibration.
        undisturbed: recorded with ProbedGraph.frame.
        cost_ns: of a probe: outside of first and last stamp lies as much as one.
        graph: the probed graph.
        nodes: the executed graph.
    """
    single_ns, double_ns, framed_ns = (
        max(float(np.median(each.duration_ns - spans_ns(each))) - cost_ns, 0.0)
        for each in (stamps, pairs, undisturbed)
    )
    in_main = (nodes.depth == 0) & (nodes.order >= 0)
    own = graph.carriers == np.arange(len(nodes))
    added = np.count_nonzero(in_main & own) + 1
    count = np.count_nonzero(in_main) + 2  # with the probes of the frame
    node_ns = min(max(double_ns - single_ns, 0.0) / added, framed_ns / count)
    return Frame(round(framed_ns - node_ns * count), round(node_ns))


def body_growth_ns(
    stamps: Stamps, pairs: Stamps, graph: ProbedGraph, nodes: NodeTable
) -> Int64Array:
    """int64[places], by how much the probes of a body lengthen what ORT does around it.

    Between two iterations ORT takes the values of the body down and sets them up anew, and
    the probes' with them. With pairs there are twice as many, so the gap behind the end of
    the body is longer by as much again. 0 at all places but the ends of bodies.
    """
    count = len(nodes)
    growth_ns = np.zeros(count + len(graph.end_parents), np.int64)
    gaps = [
        (each.place[:-1], np.diff(each.stamp_ns), np.diff(_inference_of_all(each)) == 0)
        for each in (stamps, pairs)
    ]
    for end, parent in enumerate(graph.end_parents.tolist(), start=count):
        single, double = (gap[(place == end) & inside] for place, gap, inside in gaps)
        if parent >= 0 and len(single) and len(double):
            growth_ns[end] = max(round(float(np.median(double) - np.median(single))), 0)
    return growth_ns


def _inference_of_all(stamps: Stamps) -> Int64Array:
    return _inference_of(stamps, np.arange(len(stamps.place)))


def node_events(
    stamps: Stamps,
    graph: ProbedGraph,
    nodes: NodeTable,
    cost_ns: Int64Array,
    growth_ns: Int64Array,
    frame: Frame,
    process: int,
) -> NodeEvents:
    """Executions of nodes from the stamps of the probed graph.

    A node's own time is the gap after its stamp less the cost of the probe that ends the
    gap, at most the gap: it is never negative.
    What runs between the end of a body and the next stamp is the control-flow node's own.

    Args:
        stamps: recorded with ProbedGraph.path.
        graph: the probed graph.
        nodes: the executed graph.
        cost_ns: of each place, as ``costs`` gives them.
        growth_ns: of each place, as ``body_growth_ns`` gives them.
        frame: what an inference spends outside of its nodes; its node_ns is added to each
            node of the main graph.
        process: ProcessRecord.index.

    Returns:
        Events with the details ``probe_cost_ns``, what was subtracted for the probes in the
        gaps of that execution, and ``frame_ns``, what was added from the frame. What an
        inference has left besides its nodes and the framework is what the probes cost it.
    """
    place = stamps.place.astype(np.int64)
    inference = _inference_of_all(stamps)
    end_ns = (stamps.start_ns + stamps.duration_ns)[inference]
    count = len(nodes)
    last = np.append(inference[1:] != inference[:-1], True)
    next_ns = np.where(last, end_ns, np.append(stamps.stamp_ns[1:], 0))
    gap_ns = next_ns - stamps.stamp_ns
    # The gap up to the end of the inference holds no further probe.
    spent_ns = np.where(last, 0, np.append(cost_ns[place[1:]], 0) + growth_ns[place])
    spent_ns = np.minimum(spent_ns, gap_ns)
    own_ns = gap_ns - spent_ns

    begins = np.flatnonzero(place < count)
    owner = np.full(len(place), -1, np.int64)  # position in begins
    owner[begins] = np.arange(len(begins))
    for end, parent in enumerate(graph.end_parents.tolist(), start=count):
        if parent >= 0:
            of_parent = begins[place[begins] == graph.carriers[parent]]
            ends = np.flatnonzero(place == end)
            nearest = np.searchsorted(of_parent, ends) - 1
            owner[ends] = np.searchsorted(begins, of_parent[nearest])
    owned = owner >= 0
    self_ns = np.bincount(owner[owned], own_ns[owned], len(begins)).astype(np.int64)
    probe_cost_ns = np.bincount(owner[owned], spent_ns[owned], len(begins)).astype(np.int64)
    total_ns = _total_ns(place, np.where(owned, own_ns, 0), begins, self_ns, nodes, graph)
    frame_ns = np.where(nodes.depth[place[begins]] == 0, frame.node_ns, 0)
    return _events(
        stamps,
        process,
        stamps.place[begins],
        inference[begins],
        stamps.stamp_ns[begins],
        total_ns + frame_ns,
        self_ns + frame_ns,
        {"probe_cost_ns": probe_cost_ns, "frame_ns": frame_ns},
        np.full(len(stamps.start_ns), frame.fixed_ns, np.int64),
    )


def _total_ns(
    place: Int64Array,
    own_ns: Int64Array,
    begins: Int64Array,
    self_ns: Int64Array,
    nodes: NodeTable,
    graph: ProbedGraph,
) -> Int64Array:
    """int64[begins]: own times up to the next stamp that is in no body of the node."""
    end_depths = [int(nodes.depth[p]) + 1 if p >= 0 else 0 for p in graph.end_parents.tolist()]
    depth = np.append(nodes.depth, np.array(end_depths, np.int64))[place]
    sums = np.append(0, np.cumsum(own_ns))
    total_ns = self_ns.copy()
    runs_bodies = np.isin(place[begins], graph.carriers[nodes.parent[nodes.parent >= 0]])
    for level in range(int(nodes.depth.max(initial=0))):
        mine = np.flatnonzero(runs_bodies & (depth[begins] == level))
        outside = np.append(np.flatnonzero(depth <= level), len(place))
        after = outside[np.searchsorted(outside, begins[mine], side="right")]
        total_ns[mine] = sums[after] - sums[begins[mine]]
    return total_ns


def _inference_of(stamps: Stamps, positions: Int64Array) -> Int64Array:
    found = np.searchsorted(stamps.start_ns, stamps.stamp_ns[positions], side="right") - 1
    return np.asarray(found, np.int64)


def _events(
    stamps: Stamps,
    process: int,
    node: Int32Array | Int64Array,
    inference: Int64Array,
    start_ns: Int64Array,
    duration_ns: Int64Array,
    self_ns: Int64Array,
    details: Mapping[str, Int64Array],
    framework_ns: Int64Array,
) -> NodeEvents:
    count = len(stamps.start_ns)
    return NodeEvents(
        source=SOURCE,
        node=node.astype(np.int32),
        process=np.full(len(node), process, np.int32),
        inference=inference.astype(np.int32),
        start_ns=start_ns,
        duration_ns=duration_ns,
        self_ns=self_ns,
        details=details,
        inference_process=np.full(count, process, np.int32),
        inference_number=np.arange(count, dtype=np.int32),
        inference_start_ns=stamps.start_ns,
        inference_duration_ns=stamps.duration_ns,
        inference_framework_ns=framework_ns,
        dropped=stamps.taken - len(stamps.place),
        resolution_ns=1,
    )


class _Placement(NamedTuple):
    """A probe to be put into a graph.

    Attributes:
        row: the node it stands before; -1 behind the last one.
        input: which input of that node it passes on.
        tensor: what it passes on.
        after: what else must be there before it is executed.
        place: as in ProbedGraph.
    """

    row: int
    input: int
    tensor: str
    after: tuple[str, ...]
    place: int


class _Inserter:
    """Rewrites one model, graph by graph.

    A probe is placed only where the tensors it depends on make sure that every node of its
    graph that is executed earlier has finished, so that no node's time can get into
    the gap of another. What else is executed in its gap shows as a change of the order.

    Attributes:
        end_parents: as in ProbedGraph.
        carriers: as in ProbedGraph.
    """

    def __init__(self, nodes: NodeTable, kind: str) -> None:
        self._nodes = nodes
        self._kind = kind
        self.end_parents: list[int] = []
        self.carriers = np.full(len(nodes), -1, np.int64)

    def rewrite(
        self, graph: onnx.GraphProto, types: dict[str, int], constants: set[str], parent: int
    ) -> None:
        """Puts probes into a graph and into the bodies of its control-flow nodes.

        Args:
            graph: is changed.
            types: element types of tensors that are known from outside.
            constants: names of initialisers outside.
            parent: row of the control-flow node whose body this is; -1 for the main graph.
        """
        constants = constants | {tensor.name for tensor in graph.initializer}
        constants |= {tensor.values.name for tensor in graph.sparse_initializer}
        nodes = sorted(graph.node, key=self._order)
        types = types | self._types(graph)
        placements = self._plan(nodes, types, constants, parent)
        for node in nodes:
            row = row_of(node.name)
            if self.carriers[row] >= 0:
                for _, body in bodies(node):
                    self.rewrite(body, types, constants, row)
        if self._kind != "frame":
            # Of all that a node needs, ORT executes first what stands last in the file
            # (``Graph::ReverseDFSFrom``): this keeps in its place what no probe forces there.
            rewritten = self._with_probes(nodes, placements, types)[::-1]
        elif parent < 0 and placements:
            ends = _ends(nodes, placements, types)
            rewritten = self._with_probes(graph.node, ends, types)
        else:
            return
        del graph.node[:]
        graph.node.extend(_sorted(rewritten))

    def _order(self, node: onnx.NodeProto) -> tuple[float, int]:
        row = row_of(node.name)
        order = int(self._nodes.order[row])
        return order if order >= 0 else float("inf"), row

    def _types(self, graph: onnx.GraphProto) -> dict[str, int]:
        """Element types of the graph's tensors for which there are probes."""
        declared = (*graph.input, *graph.value_info, *graph.output)
        types = {tensor.name: tensor.data_type for tensor in graph.initializer}
        types |= {value.name: value.type.tensor_type.elem_type for value in declared}
        # What a trace calls a tensor may be an optional one, which no probe can pass on.
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
        return {name: kind for name, kind in (seen | types).items() if kind in ELEMENT_TYPES}

    def _output_types(self, node: onnx.NodeProto) -> Iterable[tuple[str, int]]:
        """Element types that the trace saw; none where it cannot say which is which."""
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
        self,
        nodes: Sequence[onnx.NodeProto],
        types: Mapping[str, int],
        constants: set[str],
        parent: int,
    ) -> list[_Placement]:
        """Probes of a graph in their order, the last at its end; none where none fits.

        Args:
            nodes: in the order of execution.
            types: element types of tensors that a probe can pass on.
            constants: names of initialisers.
            parent: as in ``rewrite``.
        """
        outside = int(self.carriers[parent]) if parent >= 0 else -1
        placements: list[_Placement] = []
        # Of each node since the last probe: tensors that are there only when it has run.
        pending: list[dict[str, None]] = []
        carrier = outside
        for node in nodes:
            if node.op_type == "Constant":  # ORT leaves those in the file that it never executes
                continue
            row = row_of(node.name)
            reads, outputs = _reads(node), dict.fromkeys(filter(None, node.output))
            for results in pending:
                if not reads.isdisjoint(results):
                    results.update(outputs)
            for index, tensor in _passable(node, types, constants):
                after = _after(tensor, pending, types)
                if after is not None:
                    placements.append(_Placement(row, index, tensor, after, row))
                    pending.clear()
                    carrier = row
                    break
            self.carriers[row] = carrier
            pending.append(outputs)
        if not placements:
            return []
        end = len(self._nodes) + len(self.end_parents)
        self.end_parents.append(parent)
        for tensor in (one for results in reversed(pending) for one in results if one in types):
            after = _after(tensor, pending, types)
            if after is not None:
                return [*placements, _Placement(-1, 0, tensor, after, end)]
        # No tensor tells that the last nodes have run: what is timed ends before them.
        last = placements[-1]
        rows = [row_of(node.name) for node in nodes]
        self.carriers[rows[rows.index(last.row) :]] = outside
        return [*placements[:-1], last._replace(place=end)]

    def _with_probes(
        self,
        nodes: Iterable[onnx.NodeProto],
        placements: Iterable[_Placement],
        types: Mapping[str, int],
    ) -> list[onnx.NodeProto]:
        """The nodes in the order given, with a probe, or a pair of them, at each place."""
        before = {placement.row: placement for placement in placements}
        rewritten: list[onnx.NodeProto] = []
        for node in nodes:
            if placement := before.get(row_of(node.name)):
                probes = self._probes(placement, types)
                node.input[placement.input] = probes[-1].output[0]
                rewritten += probes
            rewritten.append(node)
        if -1 in before:
            rewritten += self._probes(before[-1], types)
        return rewritten

    def _probes(self, placement: _Placement, types: Mapping[str, int]) -> list[onnx.NodeProto]:
        """A probe, or a pair of them; the last one's output is what it passes on."""
        from onnx import helper

        operator = f"{_OPERATOR}{types[placement.tensor]}"
        inputs = [placement.tensor, *placement.after]
        nodes: list[onnx.NodeProto] = []
        for number in (placement.place + _FIRST_OF_PAIR, placement.place)[-_COPIES[self._kind] :]:
            y = f"{_PREFIX}{number}"
            nodes.append(
                helper.make_node(operator, inputs, [y], name=y, domain=DOMAIN, place=number)
            )
            inputs = [y]
        return nodes


def _ends(
    nodes: Sequence[onnx.NodeProto], placements: Sequence[_Placement], types: Mapping[str, int]
) -> tuple[_Placement, _Placement]:
    """The first probe of a graph and its last, which waits for all that nothing waits for."""
    first, last = placements[0], placements[-1]
    rows = [row_of(node.name) for node in nodes]
    stop = rows.index(last.row) if last.row >= 0 else len(nodes)
    timed = nodes[rows.index(first.row) : stop]
    read = set[str]().union(*map(_reads, timed))
    leaves = [
        name
        for node in timed
        if read.isdisjoint(node.output)
        for name in [one for one in node.output if one in types][:1]
    ]
    return first, last._replace(after=tuple(leaves))


def _after(
    tensor: str, pending: Sequence[Mapping[str, None]], types: Mapping[str, int]
) -> tuple[str, ...] | None:
    """Tensors that, with this one, are there only when all pending nodes have run."""
    after: list[str] = []
    for results in pending:
        if tensor not in results and results.keys().isdisjoint(after):
            told = next((name for name in results if name in types), None)
            if told is None:
                return None
            after.append(told)
    return tuple(after)


def _passable(
    node: onnx.NodeProto, types: Mapping[str, int], constants: set[str]
) -> list[tuple[int, str]]:
    """(position, name) of the inputs of a node that a probe can pass on.

    A node keeps its constants, for which its kernel may be prepared, unless it has nothing
    else: then it is the first of them, its data.
    """
    inputs = [(index, name) for index, name in enumerate(node.input) if name]
    variable = [(index, name) for index, name in inputs if name not in constants]
    return [(index, name) for index, name in variable or inputs[:1] if name in types]


def _sorted(nodes: Sequence[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """Nodes in the order given, but for those that stand before what they need."""
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
    """Names that a node reads, its bodies included."""
    inner = (_reads(one) for _, body in bodies(node) for one in body.node)
    return set(node.input).union(*inner) - {""}
