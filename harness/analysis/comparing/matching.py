"""Which operators of two executed graphs do the same work, however the optimiser fused them.

ORT keeps no record of what a fused node was made of. What remains is the order of execution,
the shapes of outputs, and names that still contain the source's. Nodes are first aligned in
executed order. Nodes left over between two aligned ones go to a neighbour if a fused neighbour
shows that it does their work, or to each other if both sides output the same shape; otherwise
they have no match, and are listed as such.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import re
from collections.abc import Callable, Hashable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from harness.models.executed_graph import MOVES, plain_kind
from harness.records import NodeEvents, NodeTable
from harness.statistics.figures import Figure

#: Most cells of an alignment: beyond, two graphs are both too large and too different.
_MOST_CELLS = 100_000_000

#: ORT's blocked layout pads channels to whole blocks of at most 16.
_BLOCK = 16

#: What ORT puts around a source name: of the node, or of the output that it was named after.
_PREFIX = re.compile(r"^fused ")
_SUFFIXES = re.compile(r"(_token_\d+|_nchwc|_nhwc|_transformed|/\w*Fusion/?\w*|_output(_\d+)?)$")

#: Smallest share of the smaller graph that must be aligned for the rest to be trusted.
_LEAST_COMMON = 0.2


@dataclasses.dataclass(frozen=True, slots=True)
class Executed:
    """The nodes that ran, as timed by one tracer.

    Attributes:
        nodes: the executed graph.
        rows: of the timed nodes, in the order of execution; the nodes of a subgraph follow the
            node that runs it.
        carrier: by row, the row whose time includes the node's; the row itself if the node has
            a time of its own.
    """

    nodes: NodeTable
    rows: tuple[int, ...]
    carrier: dict[int, int]


@dataclasses.dataclass(frozen=True, slots=True)
class Match:
    """Nodes of the base and nodes of the candidate that do the same work.

    Attributes:
        base, candidate: rows in the order of execution; empty if there is no match.
    """

    base: tuple[int, ...]
    candidate: tuple[int, ...]

    @property
    def how(self) -> str:
        """``same``, one against one; ``fused``, several; ``base only``, ``candidate only``."""
        if not self.candidate:
            return "base only"
        if not self.base:
            return "candidate only"
        return "same" if len(self.base) == len(self.candidate) == 1 else "fused"


def executed(nodes: NodeTable, events: NodeEvents) -> Executed:
    """The nodes timed by a traced pass, even if only as part of another node's time."""
    timed = {row for part in events.parts() for row in np.unique(part.node).tolist()}
    carrier = {row: row for row in timed}
    if events.source == "probe":
        for row in np.flatnonzero((nodes.carrier >= 0) & (nodes.order >= 0)).tolist():
            covering = int(nodes.carrier[row])
            if row not in timed and covering in timed:
                carrier[row] = covering
    places = {row: _place(nodes, row) for row in carrier}
    return Executed(nodes, tuple(sorted(places, key=places.__getitem__)), carrier)


def source_name(name: str) -> str:
    """The name without what the optimiser put around it; empty if nothing is left."""
    name = _PREFIX.sub("", name)
    while (shorter := _SUFFIXES.sub("", name)) != name:
        name = shorter
    return name


def match(base: Executed, candidate: Executed) -> tuple[Match, ...] | Figure:
    """All timed nodes of both sides, each in exactly one match, in the order of execution.

    The alignment maximises the sum of similarities while both sides keep their order
    (Needleman & Wunsch, J. Mol. Biol. 1970, without a gap penalty). A node left over with
    only one possible counterpart, by name or by type and shapes, is matched with it: it ran
    at a different place. Of the nodes still left, one joins the fused node that kept its
    name. Between two aligned pairs, all nodes of both sides join if they output the same
    shape, and a node joins its neighbour if that is plain on its own side and made by the
    optimiser on the other.

    Returns:
        The matches, or a Figure with the reason why the graphs cannot be matched.
    """
    left, right = _described(base), _described(candidate)
    pairs = _aligned(left, right)
    if pairs is None:
        return Figure(None, f"graphs of {len(left)} and {len(right)} nodes are too large to align")
    in_order = len(pairs)
    pairs += _elsewhere(left, right, pairs, lambda node: node.key if node.name else None)
    pairs += _elsewhere(left, right, pairs, lambda node: node.work if node.output else None)
    smaller = min(len(left), len(right))
    if not pairs or len(pairs) < _LEAST_COMMON * smaller:
        return Figure(
            None,
            f"the executed graphs have too little in common: {len(pairs)} of {smaller} nodes match",
        )
    groups = _Groups(left, right, pairs)
    groups.join_names()
    groups.join_gaps(pairs[:in_order])
    groups.join_carriers(base.carrier, candidate.carrier)
    return groups.matches()


@dataclasses.dataclass(frozen=True, slots=True)
class _Node:
    """What identifies a node.

    Attributes:
        row: in its NodeTable.
        name: source name, may be empty.
        kind: op type without the prefix that fusing adds.
        op_type, domain: as executed.
        level: depth and branch.
        output: shapes of its outputs, channels rounded up to blocks; empty if not known.
        inputs: likewise, of its inputs.
        shape: shapes of its outputs, not rounded.
    """

    row: int
    name: str
    kind: str
    op_type: str
    domain: str
    level: tuple[int, str]
    output: str
    inputs: str
    shape: str

    @property
    def key(self) -> Hashable:
        return self.level, self.name, self.kind

    @property
    def work(self) -> Hashable:
        return self.level, self.kind, self.output, self.inputs

    @property
    def made(self) -> bool:
        """The optimiser made it: models are not exported to its domain."""
        return self.domain.startswith("com.microsoft")


def _described(side: Executed) -> list[_Node]:
    nodes = side.nodes
    return [
        _Node(
            row=row,
            name=source_name(nodes.name[row]),
            kind=plain_kind(nodes.op_type[row]),
            op_type=nodes.op_type[row],
            domain=nodes.domain[row],
            level=(int(nodes.depth[row]), nodes.branch[row]),
            output=_in_blocks(nodes.output_type_shape[row]),
            inputs=_in_blocks(nodes.input_type_shape[row]),
            shape=nodes.output_type_shape[row],
        )
        for row in side.rows
    ]


def _in_blocks(type_shape: str) -> str:
    """The shapes as ORT reports them, with channels rounded up if there may be blocks."""
    if not type_shape:
        return ""
    rounded = []
    for tensor in json.loads(type_shape):
        for element, shape in tensor.items():
            sizes = list(shape)
            if len(sizes) == 4:
                sizes[1] = -(-sizes[1] // _BLOCK) * _BLOCK
            rounded.append((element, sizes))
    return json.dumps(rounded)


def _place(nodes: NodeTable, row: int) -> tuple[tuple[int, str, int], ...]:
    """Sorts rows by execution, subgraphs after the node that runs them."""
    path: list[tuple[int, str, int]] = []
    while row >= 0:
        order = int(nodes.order[row])
        path.append((order if order >= 0 else row, nodes.branch[row], row))
        row = int(nodes.parent[row])
    return tuple(reversed(path))


def _aligned(left: Sequence[_Node], right: Sequence[_Node]) -> list[tuple[int, int]] | None:
    """Positions of the aligned nodes; None if there are too many to try."""
    first = _alike_from_the_start(left, right)
    last = _alike_from_the_start(left[first:][::-1], right[first:][::-1])
    rows, columns = len(left) - first - last, len(right) - first - last
    if rows * columns > _MOST_CELLS:
        return None
    inner = _likeness(left[first : first + rows], right[first : first + columns])
    pairs = [(place, place) for place in range(first)]
    pairs += [(first + i, first + j) for i, j in _best_path(inner)]
    pairs += [(len(left) - k, len(right) - k) for k in range(last, 0, -1)]
    return pairs


def _alike_from_the_start(left: Sequence[_Node], right: Sequence[_Node]) -> int:
    count = 0
    for one, other in zip(left, right, strict=False):
        if (one.key, one.op_type, one.work) != (other.key, other.op_type, other.work):
            break
        count += 1
    return count


def _likeness(left: Sequence[_Node], right: Sequence[_Node]) -> npt.NDArray[np.int8]:
    """int8[left, right], how strongly two nodes look the same; 0 if they cannot be."""

    def agree(of: Callable[[_Node], Hashable]) -> npt.NDArray[np.bool_]:
        numbers: dict[Hashable, int] = {}
        ids = [
            np.array([numbers.setdefault(of(node), len(numbers)) for node in side], np.int64)
            for side in (left, right)
        ]
        same: npt.NDArray[np.bool_] = ids[0][:, None] == ids[1][None, :]
        return same

    named = np.array([bool(node.name) for node in left], bool)[:, None]
    same_name = agree(lambda node: node.key) & named
    # A node whose name occurs on the other side is that one, and no other.
    taken = same_name.any(axis=1)[:, None] | same_name.any(axis=0)[None, :]
    same_kind = agree(lambda node: (node.level, node.kind))
    same_output = agree(lambda node: node.output)
    same_inputs = agree(lambda node: node.inputs)
    by_work = np.where(same_kind, 1 + 2 * same_output + same_inputs, 0)
    return np.where(same_name, 6 + by_work, np.where(taken, 0, by_work)).astype(np.int8)


def _best_path(likeness: npt.NDArray[np.int8]) -> list[tuple[int, int]]:
    """The pairs, ascending on both sides, with the largest sum of likenesses."""
    rows, columns = likeness.shape
    best = np.zeros((rows + 1, columns + 1), np.int32)
    for i in range(rows):
        paired = best[i, :-1] + likeness[i]
        # Gaps cost nothing, so the best up to a column is a running maximum.
        best[i + 1, 1:] = np.maximum.accumulate(np.maximum(paired, best[i, 1:]))
    pairs = []
    i, j = rows, columns
    while i > 0 and j > 0:
        step = int(likeness[i - 1, j - 1])
        if step and best[i, j] == best[i - 1, j - 1] + step:
            pairs.append((i - 1, j - 1))
            i, j = i - 1, j - 1
        elif best[i, j] == best[i - 1, j]:
            i -= 1
        else:
            j -= 1
    return pairs[::-1]


def _elsewhere(
    left: Sequence[_Node],
    right: Sequence[_Node],
    pairs: Sequence[tuple[int, int]],
    key: Callable[[_Node], Hashable | None],
) -> list[tuple[int, int]]:
    """Nodes left over that share their key with exactly one node of the other side."""

    def single(side: Sequence[_Node], matched: set[int]) -> dict[Hashable, int]:
        keys = {p: key(node) for p, node in enumerate(side) if p not in matched}
        counts = collections.Counter(keys.values())
        return {k: p for p, k in keys.items() if k is not None and counts[k] == 1}

    ones = single(left, {i for i, _ in pairs})
    others = single(right, {j for _, j in pairs})
    return [(place, others[k]) for k, place in ones.items() if k in others]


class _Groups:
    """Positions of both sides in groups: first the pairs, then the nodes that belong to them."""

    def __init__(
        self, left: Sequence[_Node], right: Sequence[_Node], pairs: Sequence[tuple[int, int]]
    ) -> None:
        self._sides = (left, right)
        self._root: dict[tuple[int, int], tuple[int, int]] = {}
        for one, other in pairs:
            self._join((0, one), (1, other))

    def join_names(self) -> None:
        """Joins a node to the fused node of the other side that kept its name."""
        for side in (0, 1):
            bearers: dict[str, list[int]] = {}
            for place, node in enumerate(self._sides[1 - side]):
                if node.name and node.made:
                    bearers.setdefault(node.name, []).append(place)
            for place, node in enumerate(self._sides[side]):
                fused = bearers.get(node.name, ())
                if (side, place) not in self._root and len(fused) == 1:
                    self._join((1 - side, fused[0]), (side, place))

    def join_gaps(self, pairs: Sequence[tuple[int, int]]) -> None:
        """Assigns the nodes left between consecutive aligned pairs."""
        ends = (len(self._sides[0]), len(self._sides[1]))
        before = (-1, -1)
        for after in (*pairs, ends):
            gaps = tuple(
                [
                    place
                    for place in range(before[side] + 1, after[side])
                    if (side, place) not in self._root
                    and self._sides[side][place].op_type not in MOVES
                ]
                for side in (0, 1)
            )
            if gaps[0] and gaps[1]:
                self._join_both(gaps[0], gaps[1])
            else:
                for side in (0, 1):
                    self._join_neighbours(side, gaps[side], before, after)
            before = after

    def join_carriers(self, *carriers: dict[int, int]) -> None:
        """Joins a node to the one whose time includes its own."""
        for side, carrier in enumerate(carriers):
            places = {node.row: place for place, node in enumerate(self._sides[side])}
            for row, place in places.items():
                if carrier[row] != row:
                    self._join((side, places[carrier[row]]), (side, place))

    def matches(self) -> tuple[Match, ...]:
        """Every node of both sides, in groups."""
        members: dict[tuple[int, int], tuple[list[int], list[int]]] = {}
        for side, place in self._in_order():
            root = self._find((side, place))
            members.setdefault(root, ([], []))[side].append(self._sides[side][place].row)
        return tuple(Match(tuple(one), tuple(other)) for one, other in members.values())

    def _in_order(self) -> Iterator[tuple[int, int]]:
        """Both sides interleaved, so that unmatched nodes stay near their neighbours."""
        left, right = (len(side) for side in self._sides)
        everything = [(0, place, (place + 0.5) / max(left, 1)) for place in range(left)]
        everything += [(1, place, (place + 0.5) / max(right, 1)) for place in range(right)]
        for side, place, _ in sorted(everything, key=lambda one: (one[2], one[0])):
            yield side, place

    def _join_both(self, gap: Sequence[int], other: Sequence[int]) -> None:
        """Joins the nodes left at the same place on both sides, if they output the same shape."""
        one, two = self._sides[0][gap[-1]], self._sides[1][other[-1]]
        if one.level == two.level and one.output == two.output:
            for place in gap:
                self._join((1, other[0]), (0, place))
            for place in other:
                self._join((0, gap[0]), (1, place))

    def _join_neighbours(
        self, side: int, gap: Sequence[int], before: tuple[int, int], after: tuple[int, int]
    ) -> None:
        """Joins nodes to the neighbour that the other side fused them with.

        Mostly the one before, as with activations.
        """
        left = list(gap)
        while left and self._does_more(side, before) and self._hands_on(side, left[0], before):
            self._join((side, before[side]), (side, left.pop(0)))
        # Nodes that the optimiser itself inserted, such as layout changes, belong to no other.
        while left and self._does_more(side, after) and not self._sides[side][left[-1]].made:
            self._join((side, after[side]), (side, left.pop()))

    def _does_more(self, side: int, pair: tuple[int, int]) -> bool:
        """Whether a pair is a plain node here and one that the optimiser made on the other side."""
        if not (0 <= pair[0] < len(self._sides[0]) and 0 <= pair[1] < len(self._sides[1])):
            return False
        here, there = self._sides[side][pair[side]], self._sides[1 - side][pair[1 - side]]
        return there.made and (here.domain, here.op_type) != (there.domain, there.op_type)

    def _hands_on(self, side: int, place: int, pair: tuple[int, int]) -> bool:
        """Whether a node outputs the same shapes as the fused node of the other side."""
        node, fused = self._sides[side][place], self._sides[1 - side][pair[1 - side]]
        return node.level == fused.level and node.output == fused.output

    def _find(self, place: tuple[int, int]) -> tuple[int, int]:
        while (root := self._root.get(place, place)) != place:
            place = root
        return place

    def _join(self, to: tuple[int, int], place: tuple[int, int]) -> None:
        root = self._find(to)
        self._root[self._find(place)] = root
        self._root.setdefault(root, root)
        self._root.setdefault(place, root)
