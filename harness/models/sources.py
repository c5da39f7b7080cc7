"""Traces each node that ONNX Runtime executes back to the nodes of the user's file.

ORT keeps no record of what its optimiser fused, but tensors keep their names: a fused node
produces the output of the last of its sources and reads the inputs of the first. So the file is
walked backwards from the outputs of an executed node, up to tensors that other executed nodes
produce; the nodes in between are its sources. Where ORT renamed an output (a changed layout, an
added cast), the name of the node still identifies it.

Layout changes and copies that ORT inserted have no sources, and folded constants appear as no
node's source.
"""

from __future__ import annotations

import collections
import functools
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from harness.models.executed_graph import MOVES, ExecutedGraph, bodies, plain_kind, row_of
from harness.records import BETWEEN_SOURCES

if TYPE_CHECKING:
    import onnx

#: Prefixes and suffixes that ORT adds to the name of a tensor, or of the node that produces it.
_AROUND = re.compile(
    r"^(InsertedPrecisionFreeCast_|InsertedCast_|fused )"
    r"|(_token_\d+|_bn|_mul|_nchwc|_nhwc|_reordered|_transformed|_transposed|/duplicated)$"
)

#: Operators that ORT inserts but files contain as well: where a different operator produces the
#: tensor in the file, the executed node is ORT's addition.
_ADAPTERS = frozenset({"Transpose", "Cast", "Reshape", "Squeeze", "Unsqueeze", "Identity"})

#: Operators that ORT fuses into a convolution in its blocked layout after naming it.
_ADDED_LATER = frozenset(
    {"Add", "Sum", "Relu", "LeakyRelu", "Clip", "HardSigmoid", "Sigmoid", "Tanh"}
)

#: Operators that compute nothing, which the optimiser drops without a trace.
_DROPPED = frozenset({"Identity", "Dropout"})


def sources(file: UserGraph, graph: ExecutedGraph) -> tuple[str, ...]:
    """Names of each executed node's sources, joined with ``; ``; empty if there are none.

    The source of the same kind as the executed node comes first, the others in file order. One
    without a name appears as ``OpType(output)``.

    Args:
        file: the main graph of the user's file.
        graph: the graph that ORT made from it.

    Raises:
        OSError: the executed graph cannot be read.
    """
    import onnx

    executed = onnx.load(graph.path, load_external_data=False)
    found: dict[int, tuple[str, ...]] = {}
    _trace(executed.graph, file, graph.nodes.name, found)
    return tuple(BETWEEN_SOURCES.join(found.get(row, ())) for row in range(len(graph.nodes)))


class _Executed(NamedTuple):
    """A node of the executed graph, read once.

    Attributes:
        row: in the NodeTable.
        op_type, inputs, outputs: as in the file.
        bodies: as ``executed_graph.bodies`` gives them.
    """

    row: int
    op_type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    bodies: Sequence[tuple[str, onnx.GraphProto]]


class UserGraph:
    """One graph of the user's file, and the graphs around it.

    Attributes:
        op_types: of its nodes.
        outputs: by node, the names of its outputs.
        reads: by node, the names that it reads, its bodies included.
        producer: by tensor, the number of the node that produces it.
        by_name: by node name, the numbers of the nodes that have it.
        readers: by tensor, the numbers of the nodes that read it; -1 for the graph's outputs.
        constant: tensors that do not depend on any input.
    """

    def __init__(self, graph: onnx.GraphProto, around: UserGraph | None = None) -> None:
        self._nodes = list(graph.node)
        self.op_types: list[str] = [node.op_type for node in self._nodes]
        self.outputs: list[tuple[str, ...]] = [
            tuple(filter(None, node.output)) for node in self._nodes
        ]
        self.reads = [tuple(_read(node)) for node in self._nodes]
        self.producer = {
            tensor: number for number, tensors in enumerate(self.outputs) for tensor in tensors
        }
        self.by_name: dict[str, list[int]] = collections.defaultdict(list)
        self.readers: dict[str, set[int]] = collections.defaultdict(set)
        self._names: list[str] = [node.name for node in self._nodes]
        for number, name in enumerate(self._names):
            if name:
                self.by_name[name].append(number)
            for tensor in self.reads[number]:
                self.readers[tensor].add(number)
        for output in graph.output:
            self.readers[output.name].add(-1)
        self.constant: set[str] = set() if around is None else set(around.constant)
        self.constant |= {tensor.name for tensor in graph.initializer}
        self.constant -= {value.name for value in graph.input} - {
            tensor.name for tensor in graph.initializer
        }
        alike: dict[tuple[object, ...], list[int]] = collections.defaultdict(list)
        self._alike: dict[int, list[int]] = {}
        for number, node in enumerate(self._nodes):
            if bodies(node):
                continue
            if all(name in self.constant for name in self.reads[number]):
                self.constant.update(self.outputs[number])
            else:  # a constant may be as large as a weight, and its twins are never needed
                self._alike[number] = alike[_does(node)]
                self._alike[number].append(number)

    def tensor(self, name: str) -> str | None:
        """The tensor of the file that one of ORT's names refers to; None if there is none."""
        while name not in self.producer:
            shorter = _AROUND.sub("", name)
            if shorter == name:
                return None
            name = shorter
        return name

    def handed_on_by(self, name: str) -> tuple[str, ...]:
        """Outputs of the node of the file that an executed node is named after."""
        while True:
            numbers = self.by_name.get(name, ())
            if len(numbers) == 1:
                return self.outputs[numbers[0]]
            if name in self.producer:
                return (name,)
            shorter = _AROUND.sub("", name)
            if shorter == name:
                return ()
            name = shorter

    def op_type(self, tensor: str) -> str:
        """Op type of the node that produces a tensor."""
        return self.op_types[self.producer[tensor]]

    def alike(self, number: int) -> list[int]:
        """The nodes that compute exactly what this one does, which the optimiser merges."""
        return self._alike.get(number, [number])

    def has_twins(self, number: int) -> bool:
        """Whether other nodes compute exactly what this one does."""
        return len(self.alike(number)) > 1

    def between(self, ends: Sequence[str], alive: set[str], read: set[str]) -> set[int]:
        """Nodes that lead to some tensors, starting from tensors that other nodes produce.

        Args:
            ends: the tensors.
            alive: all tensors that executed nodes produce.
            read: what the executed node that produces the ends reads.
        """

        def stops(name: str) -> bool:
            return name not in ends and (name in alive or name in read)

        #: By the first of equal nodes, which may be all of the graph's.
        stopping: dict[int, list[int]] = {}
        found: set[int] = set()
        waiting = [self.producer[end] for end in ends]
        while waiting:
            number = waiting.pop()
            if number in found:
                continue
            found.add(number)
            for name in self.reads[number]:
                if name in self.producer and name not in self.constant and not stops(name):
                    before = self.producer[name]
                    alike = self.alike(before)
                    if alike[0] not in stopping:
                        stopping[alike[0]] = [
                            one for one in alike if any(map(stops, self.outputs[one]))
                        ]
                    if all(one == before for one in stopping[alike[0]]):
                        waiting.append(before)
        return found

    def label(self, number: int) -> str:
        """Name of a node; its op type and output if it has none."""
        name = self._names[number]
        return name or f"{self.op_types[number]}({next(iter(self.outputs[number]), '')})"

    def body(self, numbers: Iterable[int], op_type: str, attribute: str) -> UserGraph:
        """The body of the file that an executed one was made from; else this graph itself."""
        for number in numbers:
            if self.op_types[number] == op_type:
                for name, body in bodies(self._nodes[number]):
                    if name == attribute:
                        return UserGraph(body, self)
        return self


def _trace(
    graph: onnx.GraphProto,
    file: UserGraph,
    names: Sequence[str],
    found: dict[int, tuple[str, ...]],
) -> None:
    """Finds the sources of the nodes of an executed graph, and of its bodies."""
    executed = [
        _Executed(
            row_of(node.name), node.op_type, tuple(node.input), tuple(node.output), bodies(node)
        )
        for node in graph.node
    ]
    claims = _claims(executed, file, names)
    _with_what_follows(executed, file, claims)
    alive = {tensor for claimed in claims for tensor in claimed}
    alive |= {tensor.name for tensor in graph.initializer}

    @functools.cache  # as in UserGraph.between
    def merged(first: int) -> list[int]:
        return [one for one in file.alike(first) if alive.isdisjoint(file.outputs[one])]

    traced: list[set[int]] = []
    for node, claimed in zip(executed, claims, strict=True):
        read = {tensor for tensor in map(file.tensor, node.inputs) if tensor}
        between = file.between(claimed, alive, read)
        # Nodes that compute exactly the same are executed once, so all of them are sources.
        for first in {file.alike(number)[0] for number in between if file.has_twins(number)}:
            between.update(merged(first))
        traced.append(between)
    _of_unclaimed(executed, file, claims, traced)
    for node, numbers in zip(executed, traced, strict=True):
        found[node.row] = tuple(map(file.label, _in_order(file, node, numbers)))
        for attribute, body in node.bodies:
            _trace(body, file.body(numbers, node.op_type, attribute), names, found)


def _claims(
    executed: Sequence[_Executed], file: UserGraph, names: Sequence[str]
) -> list[tuple[str, ...]]:
    """For each executed node, the tensors of the file that it produces."""
    exact = [tuple(t for t in node.outputs if t in file.producer) for node in executed]
    taken = {
        tensor
        for node, tensors in zip(executed, exact, strict=True)
        for tensor in tensors
        if node.op_type not in _ADAPTERS or file.op_type(tensor) == node.op_type
    }
    claims: list[tuple[str, ...]] = []
    for node, tensors in zip(executed, exact, strict=True):
        own_name = names[node.row]
        if node.op_type in MOVES:
            claims.append(())
        elif tensors:
            claims.append(tensors)
        elif file.handed_on_by(own_name) and not own_name.startswith("Inserted"):
            claims.append(file.handed_on_by(own_name))
        else:
            derived = [t for t in map(file.tensor, node.outputs) if t and t not in taken]
            claims.append(tuple(derived))
    claimants = collections.Counter(tensor for tensors in claims for tensor in set(tensors))
    for number, node in enumerate(executed):
        if node.op_type in _ADAPTERS and any(
            claimants[tensor] > 1 and file.op_type(tensor) != node.op_type
            for tensor in claims[number]
        ):
            claims[number] = ()
    return claims


def _with_what_follows(
    executed: Sequence[_Executed], file: UserGraph, claims: list[tuple[str, ...]]
) -> None:
    """Extends claims to the operators that a node does beyond those its name refers to.

    ORT names a convolution in its blocked layout after its first output, and fuses sums and
    activations into it later: nodes that read only that output and the convolution's own inputs.
    """
    claimed = {tensor for tensors in claims for tensor in tensors}
    stands_for: dict[str, str] = {}
    for number, node in enumerate(executed):
        if node.op_type in MOVES:
            stands_for |= {
                name: stands_for.get(node.inputs[0], node.inputs[0]) for name in node.outputs
            }
        elif len(claims[number]) == 1 and len(node.outputs) == 1:
            (tensor,) = claims[number]
            if node.outputs[0] == tensor:
                stands_for[tensor] = tensor
                continue
            known = {tensor, *(stands_for.get(name, name) for name in node.inputs)}
            while node.outputs[0] != tensor and len(file.readers[tensor]) == 1:
                (reader,) = file.readers[tensor]
                if (
                    reader < 0
                    or file.op_types[reader] not in _ADDED_LATER
                    or file.outputs[reader][0] in claimed
                    or any(n not in known and n not in file.constant for n in file.reads[reader])
                ):
                    break
                tensor = file.outputs[reader][0]
                known.add(tensor)
            claims[number] = (tensor,)
            stands_for[node.outputs[0]] = tensor


def _of_unclaimed(
    executed: Sequence[_Executed],
    file: UserGraph,
    claims: Sequence[tuple[str, ...]],
    traced: list[set[int]],
) -> None:
    """Gives nodes whose outputs the file does not name their share of their readers' sources.

    They take the sources of their own kind. If ORT split a single node of the file, each part
    has that node as its source.
    """
    unclaimed = [number for number, claimed in enumerate(claims) if not claimed]
    if not unclaimed:
        return
    readers = collections.defaultdict(list)
    for number, node in enumerate(executed):
        for name in filter(None, node.inputs):
            readers[name].append(number)
    for number in reversed(unclaimed):
        node = executed[number]
        if node.op_type in MOVES:
            continue
        after = {reader for name in node.outputs for reader in readers.get(name, ())}
        around = {source for reader in after for source in traced[reader]}
        same = {one for one in around if plain_kind(file.op_types[one]) == plain_kind(node.op_type)}
        if same:
            traced[number] = same
            for reader in after:
                if not claims[reader] or traced[reader] - same:
                    traced[reader] = traced[reader] - same or traced[reader]
        elif len(around) == 1 and node.op_type not in _ADAPTERS:
            traced[number] = set(around)


def _in_order(file: UserGraph, node: _Executed, numbers: Collection[int]) -> list[int]:
    """Sources without those that compute nothing, the one of the same kind first."""
    if len(numbers) < 2:
        return list(numbers)
    ordered = sorted(numbers)
    ordered = [n for n in ordered if file.op_types[n] not in _DROPPED] or ordered
    kind = plain_kind(node.op_type)
    main = next((n for n in ordered if plain_kind(file.op_types[n]) == kind), None)
    if main is None:
        return ordered
    return [main, *(n for n in ordered if n != main)]


def _read(node: onnx.NodeProto) -> Iterator[str]:
    """Tensors that a node reads, including in its bodies."""
    yield from filter(None, node.input)
    for _, body in bodies(node):
        for inner in body.node:
            yield from _read(inner)
        yield from (output.name for output in body.output)


def _does(node: onnx.NodeProto) -> tuple[object, ...]:
    """A key that is equal for nodes that compute the same from the same inputs."""
    attributes = sorted(attribute.SerializeToString() for attribute in node.attribute)
    return (node.domain, node.op_type, tuple(node.input), tuple(attributes))
