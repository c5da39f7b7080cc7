"""What a graph's tensors hold: which elements of its inputs, moved, scaled or shifted.

Every element of a small tensor is tracked, as a number or a Term. For a large one, only the set
of Terms that its elements may be is tracked, regardless of position.
"""

from __future__ import annotations

import dataclasses
import math
import operator
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import onnx
import onnx.numpy_helper
from onnx import TensorProto

from harness.inputs.ports import Shape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

#: Largest tensor, in elements, whose elements are tracked one by one.
MAX_ELEMENTS = 1024

Elements = np.ndarray[Any, Any]
_Known = TypeVar("_Known")


@dataclasses.dataclass(frozen=True, slots=True)
class Term:
    """``scale * input[index] + offset``, with the arithmetic of numbers.

    An index of None stands for any element; an input of "" for an unknown value.
    """

    input: str
    index: int | None = None
    scale: float = 1
    offset: float = 0

    def __add__(self, other: float | Term) -> Term:
        if isinstance(other, Term):
            return _UNKNOWN
        return dataclasses.replace(self, offset=self.offset + other)

    def __mul__(self, other: float | Term) -> Term:
        if isinstance(other, Term) or other == 0:
            return _UNKNOWN
        return dataclasses.replace(self, scale=self.scale * other, offset=self.offset * other)

    def __sub__(self, other: float | Term) -> Term:
        return self + other * -1

    def __rsub__(self, other: float) -> Term:
        return self * -1 + other

    def __truediv__(self, other: float | Term) -> Term:
        return self * (1 / other)

    def __rtruediv__(self, other: float) -> Term:
        return _UNKNOWN

    __radd__ = __add__
    __rmul__ = __mul__

    def solve(self, value: float) -> float:
        """The input element that makes the term equal to value."""
        return (value - self.offset) / self.scale


_UNKNOWN = Term("")


@dataclasses.dataclass(frozen=True, slots=True)
class Fact:
    """What is known about a tensor.

    Attributes:
        elements: object array of numbers and Terms in the tensor's shape; None if they are
            not known one by one.
        loose: Terms that its elements may be, where elements is None.
    """

    elements: Elements | None = None
    loose: frozenset[Term] = frozenset()

    def terms(self) -> set[Term]:
        """Every Term that the tensor may hold."""
        held = self.loose if self.elements is None else self.elements.flat
        return {term for term in held if isinstance(term, Term) and term.input}

    def numbers(self) -> list[Any] | None:
        """The elements, if all of them are numbers."""
        if self.elements is None or any(isinstance(item, Term) for item in self.elements.flat):
            return None
        return list(self.elements.flat)


_NOTHING = Fact()


def mixed(*facts: Fact) -> Fact:
    """The fact of a tensor that holds elements of others, in any position."""
    terms = (term for fact in facts for term in fact.terms())
    return Fact(loose=frozenset(dataclasses.replace(term, index=None) for term in terms))


def input_fact(name: str, shape: Shape, apart: bool = True) -> Fact:
    """The fact of an input; apart: whether its elements may be tracked one by one."""
    size = math.prod(shape)
    if size > MAX_ELEMENTS or not apart:
        return Fact(loose=frozenset({Term(name)}))
    elements = np.array([Term(name, index) for index in range(size)], dtype=object)
    return Fact(elements.reshape(shape))


def constant_fact(tensor: onnx.TensorProto) -> Fact:
    """The fact of an initialiser: its numbers, if they are few and stored in the model itself."""
    try:
        return Fact(_stored(tensor))
    except (LookupError, TypeError, ValueError):
        return _NOTHING


class Node:
    """A node on the walk, with what is known about its inputs and outputs.

    Attributes:
        op: its op type, prefixed with the domain unless that is ONNX's own.
        op_type: its op type alone.
        label: op type and name, as a user would look for it.
        slots: number of inputs, including absent ones in between.
    """

    def __init__(
        self, proto: onnx.NodeProto, facts: Mapping[str, Fact], shapes: Mapping[str, Shape]
    ) -> None:
        own = proto.domain in ("", "ai.onnx", "ai.onnx.ml")
        self.op = proto.op_type if own else f"{proto.domain}.{proto.op_type}"
        self.op_type = proto.op_type
        self.label = f"{proto.op_type} '{proto.name or next(iter(proto.output), '')}'"
        self.slots = len(proto.input)
        self._proto = proto
        self._facts = facts
        self._shapes = shapes
        self._attributes = {attribute.name: attribute for attribute in proto.attribute}

    def attribute(self, name: str, default: Any = None) -> Any:
        """Value of an attribute."""
        found = self._attributes.get(name)
        return default if found is None else onnx.helper.get_attribute_value(found)

    def name(self, slot: int) -> str:
        """Name of an input tensor; empty if it is absent."""
        return self._proto.input[slot] if slot < self.slots else ""

    def fact(self, slot: int) -> Fact:
        """What is known about an input."""
        return self._facts.get(self.name(slot), _NOTHING)

    def elements(self, slot: int) -> Elements:
        """Elements of an input; LookupError if they are not known one by one."""
        return known(self.fact(slot).elements)

    def constant(self, slot: int) -> list[Any] | None:
        """Elements of an input, if all of them are numbers."""
        return self.fact(slot).numbers()

    def setting(self, name: str, slot: int) -> list[Any] | None:
        """A setting that older versions of an operator take as an attribute, newer as an input."""
        found: list[Any] | None = self.attribute(name)
        return found or self.constant(slot)

    def shape(self, slot: int) -> Shape | None:
        """Shape of an input, if it is known."""
        return self._shapes.get(self.name(slot))

    def dims(self, slot: int) -> Shape:
        """Shape of an input; LookupError if it is not known."""
        return known(self.shape(slot))

    def size(self, slot: int) -> int:
        """Number of elements of an input; LookupError if it is not known."""
        return math.prod(self.dims(slot))

    def out(self, number: int = 0) -> Shape | None:
        """Shape of an output, if it is known."""
        outputs = self._proto.output
        return self._shapes.get(outputs[number]) if number < len(outputs) else None


def known(value: _Known | None) -> _Known:
    """The value; LookupError if it is None."""
    if value is None:
        raise LookupError
    return value


def flow(node: Node) -> Fact:
    """What is known about a node's first output (about every output, for Split)."""
    try:
        return Fact(np.asarray(_COMPUTED[node.op](node), dtype=object))
    except (LookupError, TypeError, ValueError, ZeroDivisionError):
        pass
    if node.op in _ARITHMETIC:
        return Fact(loose=frozenset(_combined(node)))
    slots = range(node.slots)[_CARRIED.get(node.op, slice(0))]
    return mixed(*(node.fact(slot) for slot in slots))


def _combined(node: Node) -> set[Term]:
    """The Terms of one input combined with the smallest and largest number of the other."""
    left, right = (_ends(node.fact(slot)) for slot in (0, 1))
    try:
        values = {_ARITHMETIC[node.op](one, other) for one in left for other in right}
    except ZeroDivisionError:
        return set()
    return {value for value in values if isinstance(value, Term)}


def _ends(fact: Fact) -> Iterable[Any]:
    numbers = fact.numbers()
    return {min(numbers), max(numbers)} if numbers else mixed(fact).loose


def _divided(left: Any, right: Any) -> Any:
    whole = isinstance(left, int) and isinstance(right, int)
    return left // right if whole else left / right


_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "Add": operator.add,
    "Sub": operator.sub,
    "Mul": operator.mul,
    "Div": _divided,
}


def _calculated(node: Node) -> Any:
    return np.frompyfunc(_ARITHMETIC[node.op], 2, 1)(node.elements(0), node.elements(1))


def _stored(tensor: onnx.TensorProto) -> Elements:
    if tensor.data_location == TensorProto.EXTERNAL or math.prod(tensor.dims) > MAX_ELEMENTS:
        raise LookupError
    return _numbers(onnx.numpy_helper.to_array(tensor))


def _numbers(values: Any) -> Elements:
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise LookupError
    return array.astype(object)


def _constant(node: Node) -> Elements:
    for name in ("value_int", "value_float", "value_ints", "value_floats"):
        if (value := node.attribute(name)) is not None:
            return _numbers(value)
    return _stored(known(node.attribute("value")))


def _filled(node: Node) -> Elements:
    sizes = [int(size) for size in known(node.constant(0))]
    if math.prod(sizes) > MAX_ELEMENTS:
        raise LookupError
    value = node.attribute("value")
    return np.full(sizes, 0 if value is None else _stored(value).item(), dtype=object)


def _gathered(node: Node) -> Any:
    places = np.asarray(known(node.constant(1)), dtype=np.int64).reshape(node.dims(1))
    return np.take(node.elements(0), places, axis=node.attribute("axis", 0))


def _sliced(node: Node) -> Elements:
    elements = node.elements(0)
    starts, ends = known(node.setting("starts", 1)), known(node.setting("ends", 2))
    axes = node.setting("axes", 3) or range(len(starts))
    steps = node.constant(4) or [1] * len(starts)
    places = [slice(None)] * elements.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        # An end before the first element says "down to it", which Python spells None.
        stop = None if step < 0 and end < -elements.shape[int(axis)] else int(end)
        places[int(axis)] = slice(int(start), stop, int(step))
    return elements[tuple(places)]


_KEEPING = "Identity Cast CastLike Dropout Floor Ceil Round Relu MemcpyFromHost MemcpyToHost"
_RESHAPING = "Reshape Flatten Squeeze Unsqueeze"
_MOVING = (
    "Abs Expand Gather GatherElements GatherND Optional OptionalGetElement Pad ReduceMax ReduceMin "
    "SequenceAt SequenceConstruct Slice Split Tile TopK Transpose"
)

#: How an output's elements are computed from those of the inputs, if all are known.
_COMPUTED: dict[str, Callable[[Node], Any]] = {
    **dict.fromkeys(_KEEPING.split(), lambda node: node.elements(0)),
    **dict.fromkeys(_RESHAPING.split(), lambda node: node.elements(0).reshape(known(node.out()))),
    **dict.fromkeys(_ARITHMETIC, _calculated),
    "Concat": lambda node: np.concatenate(
        [node.elements(slot) for slot in range(node.slots)], node.attribute("axis")
    ),
    "Constant": _constant,
    "ConstantOfShape": _filled,
    "Gather": _gathered,
    "Shape": lambda node: node.dims(0)[slice(node.attribute("start"), node.attribute("end"))],
    "Size": lambda node: node.size(0),
    "Slice": _sliced,
    "Transpose": lambda node: node.elements(0).transpose(node.attribute("perm")),
}

#: Inputs whose values, or their integer parts, an output holds.
_CARRIED: dict[str, slice] = {
    **dict.fromkeys(f"{_KEEPING} {_RESHAPING} {_MOVING}".split(), slice(1)),
    **dict.fromkeys(("Concat", "Max", "Min"), slice(None)),
    **dict.fromkeys(("ScatterElements", "ScatterND"), slice(0, None, 2)),
    "Where": slice(1, 3),
}
