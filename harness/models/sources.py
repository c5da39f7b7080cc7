"""Which nodes of the user's file each node that ONNX Runtime executes was made of.

ORT keeps no record of what its optimiser fused, but tensors keep their names: a fused node
hands on what the last of its sources did, and reads what the first of them read. So from the
outputs of an executed node the file is walked backwards, up to tensors that other executed
nodes hand on; what lies between are its sources. Where ORT renamed an output (a changed layout,
an added cast) the name of the node still tells it.

Changes of layout and copies that ORT put in have no source, nor has what it folded into
constants.
"""

from __future__ import annotations

import collections
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from harness.models.executed_graph import MOVES, ExecutedGraph, bodies, plain_kind, row_of
from harness.records import BETWEEN_SOURCES

if TYPE_CHECKING:
    import onnx

#: What ORT puts around the name of a tensor, or of the node that hands it on.
_AROUND = re.compile(
    r"^(InsertedPrecisionFreeCast_|InsertedCast_|fused )"
    r"|(_token_\d+|_bn|_mul|_nchwc|_nhwc|_reordered|_transformed|_transposed|/duplicated)$"
)

#: What ORT puts in as well as files have it: of a tensor that is another operator's in the file,
#: it is the copy.
_ADAPTERS = frozenset({"Transpose", "Cast", "Reshape", "Squeeze", "Unsqueeze", "Identity"})

#: What ORT adds to a convolution in its blocked layout after it has named it.
_ADDED_LATER = frozenset(
    {"Add", "Sum", "Relu", "LeakyRelu", "Clip", "HardSigmoid", "Sigmoid", "Tanh"}
)

#: Operators that compute nothing, which the optimiser drops without a trace.
_DROPPED = frozenset({"Identity", "Dropout"})


def sources(model: onnx.ModelProto, graph: ExecutedGraph) -> tuple[str, ...]:
    """Names of each executed node's sources, ``; `` between them; empty where there are none.

    The source that does the same as the executed node comes first, the others in the order of
    the file. One without a name is told as ``OpType(output)``.

    Args:
        model: the user's file.
        graph: what ORT made of it.

    Raises:
        OSError: the executed graph cannot be read.
    """
    import onnx

    executed = onnx.load(graph.path, load_external_data=False)
    found: dict[int, tuple[str, ...]] = {}
    _trace(executed.graph, _File(model.graph), graph.nodes.name, found)
    return tuple(BETWEEN_SOURCES.join(found.get(row, ())) for row in range(len(graph.nodes)))


class _File:
    """One graph of the user's file, and the graphs around it.

    Attributes:
        op_types: of its nodes.
        outputs: names of what each node hands on.
        reads: names of what each node reads, its bodies included.
        producer: number of the node that hands a tensor on.
        by_name: numbers of the nodes of a name.
        readers: numbers of the nodes that read a tensor; -1 where the graph hands it on.
        constant: tensors that depend on nothing that is fed.
    """

    def __init__(self, graph: onnx.GraphProto, around: _File | None = None) -> None:
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
        for number, node in enumerate(self._nodes):
            if name := node.name:
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
            if any(True for _ in bodies(node)):
                continue
            if all(name in self.constant for name in self.reads[number]):
                self.constant.update(self.outputs[number])
            else:  # a constant may be as large as a weight, and nobody asks for its twins
                self._alike[number] = alike[_does(node)]
                self._alike[number].append(number)

    def tensor(self, name: str) -> str | None:
        """The tensor of the file that a name of ORT's is of."""
        while name not in self.producer:
            shorter = _AROUND.sub("", name)
            if shorter == name:
                return None
            name = shorter
        return name

    def handed_on_by(self, name: str) -> tuple[str, ...]:
        """What the node of the file hands on that an executed node is named after."""
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
        """What the node does that hands a tensor on."""
        return self.op_types[self.producer[tensor]]

    def twins(self, number: int) -> Sequence[int]:
        """Nodes that compute the very same, which the optimiser makes one."""
        return [one for one in self._alike.get(number, ()) if one != number]

    def between(self, ends: Sequence[str], alive: set[str], read: set[str]) -> set[int]:
        """Nodes that lead to some tensors, from those that others hand on.

        Args:
            ends: the tensors.
            alive: all that executed nodes hand on.
            read: what the node reads that hands these on.
        """

        def stops(name: str) -> bool:
            return name not in ends and (name in alive or name in read)

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
                    outputs = (o for twin in self.twins(before) for o in self.outputs[twin])
                    if not any(map(stops, outputs)):
                        waiting.append(before)
        return found

    def label(self, number: int) -> str:
        """Name of a node; what it does and hands on where it has none."""
        name = str(self._nodes[number].name)
        return name or f"{self.op_types[number]}({next(iter(self.outputs[number]), '')})"

    def body(self, numbers: Iterable[int], op_type: str, attribute: str) -> _File:
        """What an executed body was made of; this graph itself where none of its nodes is it."""
        for number in numbers:
            if self.op_types[number] == op_type:
                for name, body in bodies(self._nodes[number]):
                    if name == attribute:
                        return _File(body, self)
        return self


def _trace(
    executed: onnx.GraphProto,
    file: _File,
    names: Sequence[str],
    found: dict[int, tuple[str, ...]],
) -> None:
    """Finds the sources of the nodes of an executed graph, and of its bodies."""
    claims = _claims(executed, file, names)
    _with_what_follows(executed, file, claims)
    alive = {tensor for claimed in claims for tensor in claimed}
    alive |= {tensor.name for tensor in executed.initializer}
    traced: list[set[int]] = []
    for node, claimed in zip(executed.node, claims, strict=True):
        read = {tensor for tensor in map(file.tensor, node.input) if tensor}
        between = file.between(claimed, alive, read)
        # What computed the very same twice is computed once.
        doubled = {twin for number in between for twin in file.twins(number)}
        traced.append(between | {one for one in doubled if alive.isdisjoint(file.outputs[one])})
    _of_unclaimed(executed, file, claims, traced)
    for node, numbers in zip(executed.node, traced, strict=True):
        found[row_of(node.name)] = tuple(map(file.label, _in_order(file, node, numbers)))
        for attribute, body in bodies(node):
            _trace(body, file.body(numbers, node.op_type, attribute), names, found)


def _claims(executed: onnx.GraphProto, file: _File, names: Sequence[str]) -> list[tuple[str, ...]]:
    """For each executed node, the tensors of the file that are its to hand on."""
    exact = [tuple(t for t in node.output if t in file.producer) for node in executed.node]
    taken = {
        tensor
        for node, tensors in zip(executed.node, exact, strict=True)
        for tensor in tensors
        if node.op_type not in _ADAPTERS or file.op_type(tensor) == node.op_type
    }
    claims: list[tuple[str, ...]] = []
    for node, tensors in zip(executed.node, exact, strict=True):
        own_name = names[row_of(node.name)]
        if node.op_type in MOVES:
            claims.append(())
        elif tensors:
            claims.append(tensors)
        elif file.handed_on_by(own_name) and not own_name.startswith("Inserted"):
            claims.append(file.handed_on_by(own_name))
        else:
            derived = [t for t in map(file.tensor, node.output) if t and t not in taken]
            claims.append(tuple(derived))
    claimants = collections.Counter(tensor for tensors in claims for tensor in set(tensors))
    for number, node in enumerate(executed.node):
        if node.op_type in _ADAPTERS and any(
            claimants[tensor] > 1 and file.op_type(tensor) != node.op_type
            for tensor in claims[number]
        ):
            claims[number] = ()
    return claims


def _with_what_follows(
    executed: onnx.GraphProto, file: _File, claims: list[tuple[str, ...]]
) -> None:
    """Moves claims on to what a node does more than what its name tells.

    ORT names a convolution in its blocked layout after what it handed on first, and adds sums
    and activations to it later: the nodes that read that alone, besides what it reads itself.
    """
    claimed = {tensor for tensors in claims for tensor in tensors}
    stands_for: dict[str, str] = {}
    for number, node in enumerate(executed.node):
        if node.op_type in MOVES:
            stands_for |= {
                name: stands_for.get(node.input[0], node.input[0]) for name in node.output
            }
        elif len(claims[number]) == 1 and len(node.output) == 1:
            (tensor,) = claims[number]
            if node.output[0] == tensor:
                stands_for[tensor] = tensor
                continue
            known = {tensor, *(stands_for.get(name, name) for name in node.input)}
            while node.output[0] != tensor and len(file.readers[tensor]) == 1:
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
            stands_for[node.output[0]] = tensor


def _of_unclaimed(
    executed: onnx.GraphProto,
    file: _File,
    claims: Sequence[tuple[str, ...]],
    traced: list[set[int]],
) -> None:
    """Gives nodes whose outputs have no name of the file what they do of their readers' sources.

    A node that ORT made of one of the file's, by taking it apart, has that one.
    """
    unclaimed = [number for number, claimed in enumerate(claims) if not claimed]
    if not unclaimed:
        return
    readers = collections.defaultdict(list)
    for number, node in enumerate(executed.node):
        for name in filter(None, node.input):
            readers[name].append(number)
    for number in reversed(unclaimed):
        node = executed.node[number]
        if node.op_type in MOVES or node.name.startswith("Inserted"):
            continue
        after = {reader for name in node.output for reader in readers.get(name, ())}
        around = {source for reader in after for source in traced[reader]}
        same = {one for one in around if plain_kind(file.op_types[one]) == plain_kind(node.op_type)}
        if same:
            traced[number] = same
            for reader in after:
                if not claims[reader] or traced[reader] - same:
                    traced[reader] = traced[reader] - same or traced[reader]
        elif len(around) == 1 and node.op_type not in _ADAPTERS:
            traced[number] = set(around)


def _in_order(file: _File, node: onnx.NodeProto, numbers: Collection[int]) -> list[int]:
    """Sources without what computes nothing, that of the same kind first."""
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
    """What a node reads, its bodies included."""
    yield from filter(None, node.input)
    for _, body in bodies(node):
        for inner in body.node:
            yield from _read(inner)
        yield from (output.name for output in body.output)


def _does(node: onnx.NodeProto) -> tuple[object, ...]:
    """The same for nodes that compute the same of the same."""
    attributes = sorted(attribute.SerializeToString() for attribute in node.attribute)
    return (node.domain, node.op_type, tuple(node.input), tuple(attributes))
