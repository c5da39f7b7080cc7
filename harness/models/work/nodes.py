"""Nodes as the formulas see them: what a trace reports, and what the executed graph defines."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from harness.errors import ModelError
from harness.models.executed_graph import row_of
from harness.models.work.tensors import Tensor, Unknown, type_name

if TYPE_CHECKING:
    from pathlib import Path


@dataclasses.dataclass(frozen=True, slots=True)
class Definition:
    """What the executed graph holds about a node and ORT's profiler does not report.

    Attributes:
        present: for each formal input, whether the node has it.
        constants: the inputs that are initialisers, by position.
        attributes: attributes that are a number, a text, or a list of integers, by name.
        repeats: positions of inputs that are the same tensor as an input before them.
    """

    present: tuple[bool, ...]
    constants: Mapping[int, Tensor]
    attributes: Mapping[str, int | float | str | tuple[int, ...]]
    repeats: frozenset[int] = frozenset()

    @property
    def contents(self) -> tuple[object, ...]:
        """What it holds, in a form that equal definitions share and that can be a key."""
        constants, attributes = self.constants.items(), self.attributes.items()
        return self.present, tuple(constants), tuple(attributes), self.repeats


@dataclasses.dataclass(frozen=True, slots=True)
class Node:
    """One node.

    Attributes:
        op_type: its operator type.
        inputs: at their formal positions, None where the node lacks one; None as a whole
            where the positions are not known.
        complete: whether all inputs are there.
        outputs: those that the node has; where one is left out, the next ones move up.
        attributes: None where they are not known.
        repeats: positions of inputs that are the same tensor as an input before them.
    """

    op_type: str
    inputs: tuple[Tensor | None, ...] | None
    complete: bool
    outputs: tuple[Tensor, ...]
    attributes: Mapping[str, int | float | str | tuple[int, ...]] | None
    repeats: frozenset[int] = frozenset()

    @property
    def present(self) -> tuple[Tensor, ...]:
        """The inputs that the node has."""
        if self.inputs is None or not self.complete:
            raise Unknown
        return tuple(tensor for tensor in self.inputs if tensor is not None)

    def different(self, *without: int) -> tuple[Tensor, ...]:
        """The inputs that the node has, each tensor once, except those at these positions."""
        left_out = self.repeats.union(without)
        if self.inputs is None or not self.complete:
            raise Unknown
        return tuple(
            tensor
            for at, tensor in enumerate(self.inputs)
            if tensor is not None and at not in left_out
        )

    def output(self, *ranks: int) -> Tensor:
        """The first output; unknown if its rank is none of these, which the formula is for."""
        if not self.outputs or (ranks and len(self.outputs[0].shape) not in ranks):
            raise Unknown
        return self.outputs[0]

    def has(self, position: int) -> bool:
        """Whether the node has the input, which only its definition says."""
        if self.inputs is None or self.attributes is None:
            raise Unknown
        return position < len(self.inputs) and self.inputs[position] is not None

    def input(self, position: int, *ranks: int) -> Tensor:
        """The input; unknown if it is not of one of these ranks, hence another input."""
        inputs = self.inputs or ()
        tensor = inputs[position] if position < len(inputs) else None
        if tensor is None or (ranks and len(tensor.shape) not in ranks):
            raise Unknown
        return tensor

    def integer(self, name: str, default: int | None = None) -> int:
        """An attribute; the default is the specification's, None if it has none."""
        value = self._attribute(name, default)
        if not isinstance(value, int):
            raise Unknown
        return value

    def integers(self, name: str) -> tuple[int, ...]:
        """An attribute without a default."""
        value = self._attribute(name, None)
        if not isinstance(value, tuple):
            raise Unknown
        return value

    @property
    def named(self) -> Mapping[str, object]:
        """The attributes that are given, by name."""
        if self.attributes is None:
            raise Unknown
        return self.attributes

    def text(self, name: str, default: str = "") -> str:
        """An attribute."""
        return str(self._attribute(name, default))

    def _attribute(self, name: str, default: int | str | None) -> object:
        if self.attributes is None:
            raise Unknown
        return self.attributes.get(name, default)


Formula = Callable[[Node], int]
_Answer = TypeVar("_Answer", int, str)


def known(formula: Callable[[Node], _Answer], node: Node, otherwise: _Answer) -> _Answer:
    """What the formula says about the node; ``otherwise`` if it does not know."""
    try:
        return formula(node)
    except Unknown:
        return otherwise


def definitions(model: Path) -> dict[int, Definition]:
    """Definitions of the nodes of ``ExecutedGraph.path``, by row of its NodeTable.

    Raises:
        ModelError: the file is not an ONNX model.
        OSError: it cannot be read.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        proto = onnx.load(model, load_external_data=False)
    except DecodeError as error:
        raise ModelError(f"{model}: the executed graph cannot be read: {error}") from error
    found: dict[int, Definition] = {}
    # Before IR version 4, initialisers are listed as inputs too, and are constants all the same.
    fed = {value.name for value in proto.graph.input} if proto.ir_version >= 4 else set()
    _define(proto.graph, {}, fed, found)
    return found


def formal_inputs(
    reported: tuple[Tensor, ...], definition: Definition | None, repacks: bool
) -> tuple[Tensor | None, ...] | None:
    """Inputs at their formal positions.

    ORT reports the inputs that a node has, in order, except sequences, and except constants
    that a kernel repacked and then released.
    """
    if definition is None:
        # The first input of these operators is data and is reported. The next one reported may
        # be any input that follows an unreported weight.
        return reported[:1] if repacks else reported
    rest = list(reported)
    variables = sum(definition.present) - len(definition.constants)
    inputs: list[Tensor | None] = []
    for position, present in enumerate(definition.present):
        constant = definition.constants.get(position)
        if not present:
            inputs.append(None)
        elif constant is not None:
            if len(rest) > variables and rest[0] == constant:
                del rest[0]
            inputs.append(constant)
        elif rest:
            inputs.append(rest.pop(0))
            variables -= 1
        else:
            return None
    return None if rest else tuple(inputs)


def _define(
    graph: Any, outer: Mapping[str, Tensor], fed: set[str], found: dict[int, Definition]
) -> None:
    """Collects the definitions of a graph and its bodies; outer: constants of enclosing graphs."""
    import onnx

    constants = dict(outer)
    for initializer in graph.initializer:
        if initializer.name not in fed:
            name = onnx.TensorProto.DataType.Name(initializer.data_type)
            constants[initializer.name] = Tensor(type_name(name), tuple(initializer.dims))
    readable = onnx.AttributeProto
    for node in graph.node:
        attributes: dict[str, int | float | str | tuple[int, ...]] = {}
        for attribute in node.attribute or ():  # most have none
            if attribute.type == readable.INT:
                attributes[attribute.name] = attribute.i
            elif attribute.type == readable.FLOAT:
                attributes[attribute.name] = attribute.f
            elif attribute.type == readable.STRING:
                attributes[attribute.name] = attribute.s.decode(errors="replace")
            elif attribute.type == readable.INTS:
                attributes[attribute.name] = tuple(attribute.ints)
            elif attribute.type == readable.GRAPH:
                _define(attribute.g, constants, fed, found)
        inputs = list(node.input)
        found[row_of(node.name)] = Definition(
            present=tuple(map(bool, inputs)),
            constants={at: constants[name] for at, name in enumerate(inputs) if name in constants},
            attributes=attributes,
            repeats=_repeats(inputs) if len(inputs) > 1 else frozenset(),
        )


def _repeats(names: Iterable[str]) -> frozenset[int]:
    """Positions of names that occurred before; an empty one is no input."""
    seen: set[str] = set()
    repeats = []
    for at, name in enumerate(names):
        if name and name in seen:
            repeats.append(at)
        seen.add(name)
    return frozenset(repeats)
