"""Which axes of a graph's tensors are axes of its inputs, whole and unchanged."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper

from harness.inputs.ports import Dimension, Port

#: Largest constant that is examined, in elements: axes, or one index.
_SHORT = 8
_ELEMENTWISE_TYPES = (
    "Abs Cast Celu Clip Dropout Elu Erf Exp Floor Gelu HardSigmoid HardSwish Identity "
    "LayerNormalization LeakyRelu Log Mish Neg Relu Round Selu Sigmoid Softmax Sqrt Tanh"
)
_ELEMENTWISE = frozenset(_ELEMENTWISE_TYPES.split())
_BINARY = frozenset(("Add", "Div", "Mul", "Pow", "PRelu", "Sub"))

_Constant = np.ndarray[Any, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Origin:
    """Where the axes of a tensor come from.

    Attributes:
        port: the input.
        axes: for each axis, the input axis it comes from; None if it is new or was resized.
    """

    port: Port
    axes: tuple[int | None, ...]

    def size(self, axis: int) -> int | Dimension | None:
        """Size of an axis in the input; None if it does not come from the input."""
        if not -len(self.axes) <= axis < len(self.axes):
            return None
        place = self.axes[axis]
        return None if place is None else self.port.dims[place]

    def changed(self, *gone: int) -> Origin:
        """The same origin, with these axes no longer those of the input."""
        places = {axis % len(self.axes) for axis in gone} if self.axes else set()
        kept = (None if at in places else axis for at, axis in enumerate(self.axes))
        return Origin(self.port, tuple(kept))


def all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """All nodes, those of a body before the node that contains it."""
    for node in graph.node:
        for attribute in node.attribute or ():  # most have none
            if attribute.HasField("g"):
                yield from all_nodes(attribute.g)
        yield node


def all_weights(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """All initialisers, those of bodies included."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute or ():
            if attribute.HasField("g"):
                yield from all_weights(attribute.g)


def axis_origins(model: onnx.ModelProto, ports: Sequence[Port]) -> dict[str, Origin]:
    """Where the axes of each tensor come from, for tensors that derive from one input."""
    origins = {
        port.name: Origin(port, tuple(range(port.rank))) for port in ports if port.kind == "tensor"
    }
    weights = {tensor.name: tensor for tensor in all_weights(model.graph)}
    constants = {name: _short(tensor) for name, tensor in weights.items()}
    ranks = {name: len(tensor.dims) for name, tensor in weights.items()}
    for node in all_nodes(model.graph):
        if node.op_type == "Constant" and node.output:
            for held in (item.t for item in node.attribute if item.HasField("t")):
                constants[node.output[0]], ranks[node.output[0]] = _short(held), len(held.dims)
        elif (origin := _carried(node, origins, constants, ranks)) is not None:
            for name in node.output if node.op_type == "Split" else node.output[:1]:
                origins[name] = origin
    return origins


def _carried(
    node: onnx.NodeProto,
    origins: Mapping[str, Origin],
    constants: Mapping[str, _Constant | None],
    ranks: Mapping[str, int],
) -> Origin | None:
    """Where the axes of a node's first output come from."""
    known = [origins.get(name) for name in node.input]
    ints = {item.name: list(item.ints) or [item.i] for item in node.attribute or ()}
    if node.op_type in _BINARY:
        for one, other in ((0, 1), (1, 0)):
            origin, beside = known[one], node.input[other]
            rank = len(origins[beside].axes) if beside in origins else ranks.get(beside, 0)
            # Nothing is known about a calculated operand: it is assumed to be the smaller.
            if origin is not None and rank <= len(origin.axes):
                return origin
        return None
    if node.op_type == "Gather" and known[0] is None and known[1] is not None:
        return Origin(known[1].port, (*known[1].axes, None))  # a look-up: an index becomes a row
    if not known or (origin := known[0]) is None or not origin.axes:
        return None
    axes, rank = origin.axes, len(origin.axes)
    second = constants.get(node.input[1]) if len(node.input) > 1 else None
    places = ints.get("axes", [] if second is None else [int(place) for place in second.flat])
    match node.op_type:
        case op if op in _ELEMENTWISE:
            return origin
        case "MatMul" | "MatMulInteger":
            return origin.changed(-1)
        case "Concat" | "Split":
            return origin.changed(ints.get("axis", [0])[0])
        case "Slice":
            cut = _sliced_axes(node, ints, constants)
            return None if cut is None else origin.changed(*cut)
        case "Transpose":
            order = ints.get("perm", list(reversed(range(rank))))
            return Origin(origin.port, tuple(axes[at] for at in order))
        case "Gather" if second is not None and second.ndim == 0:
            taken = ints.get("axis", [0])[0] % rank
            return Origin(origin.port, axes[:taken] + axes[taken + 1 :])
        case "Squeeze" if places:
            gone = {place % rank for place in places}
            return Origin(origin.port, tuple(a for at, a in enumerate(axes) if at not in gone))
        case "Unsqueeze" if places:
            full = rank + len(places)
            new = {place % full for place in places}
            kept = iter(axes)
            return Origin(
                origin.port, tuple(None if at in new else next(kept) for at in range(full))
            )
    return None


def _sliced_axes(
    node: onnx.NodeProto, ints: Mapping[str, list[int]], constants: Mapping[str, _Constant | None]
) -> list[int] | None:
    """Axes that a Slice cuts; None if they are not known."""
    if "starts" in ints:
        return ints.get("axes", list(range(len(ints["starts"]))))
    given = len(node.input) > 3 and node.input[3]
    found = constants.get(node.input[3 if given else 1])
    if found is None:
        return None
    return [int(axis) for axis in found.flat] if given else list(range(found.size))


def _short(tensor: onnx.TensorProto) -> _Constant | None:
    """A short integer tensor stored in the model; None for any other."""
    if tensor.data_type not in (onnx.TensorProto.INT64, onnx.TensorProto.INT32):
        return None
    if tensor.data_location == onnx.TensorProto.EXTERNAL or math.prod(tensor.dims) > _SHORT:
        return None
    return onnx.numpy_helper.to_array(tensor)
