"""Which free axes of the inputs count the examples of a batch, and which the steps of time.

An axis is known by its name; else by the operators that it reaches (a recurrent layer takes
steps x batch x features, its states layers x batch x units); else by its place.
"""

from __future__ import annotations

import dataclasses
import math
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx.numpy_helper

from harness.inputs.ports import Dimension, Port, is_composed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

BY_NAME = "batch"
BY_PLACE = "taken for the batch, as the leading axis"
BY_STATE = "taken for the batch, as the free axis of a state"

_BATCH = r"batch|^(bsz?|bsize|nb|mb)$"
#: Names of a batch that are also those of other things: believed where a batch may be.
_PERHAPS_BATCH = r"^[bn]$"
#: Names of steps: an axis so named is no batch, not even in the leading place.
_STEPS = r"seq|len|time|token|frame|step|^[tls]$"
#: The same for a tensor of one axis, which may be a list of anything.
_ONLY_STEPS = r"seq|len|time|token|frame|step|position|sample"
#: Names that exporters make up, which say nothing.
_MADE_UP = r"^(unk(nown)?_|dynamicdimension|dim_?\d|[ds]\d+$|none$)|dynamic_axes_|_dim_\d+$"
_STATE_NAME = r"^[hc](_?(\d+|n|t|in|prev))?$|^[hc]n|state|hidden|cell|mem|cache|rnn|lstm|gru"


@dataclasses.dataclass(frozen=True, slots=True)
class Axes:
    """Free dimensions by what they count.

    Attributes:
        batch: those of the batch, with the reason.
        steps: those that a recurrent layer counts its steps by.
    """

    batch: dict[Dimension, str]
    steps: frozenset[Dimension]

    def batch_option(self) -> list[Dimension]:
        """What ``--batch`` sets: the axes that are known, else those in the leading place.

        An axis without a telling name follows the known ones; one with another name does not.
        """
        known = any(why not in (BY_PLACE, BY_STATE) for why in self.batch.values())
        return [
            dimension
            for dimension, why in self.batch.items()
            if why != BY_PLACE or not known or not _tells(dimension)
        ]

    def batch_axis(self, port: Port) -> int | None:
        """The axis of the batch in an input, when it is free."""
        return next((axis for axis, size in enumerate(port.dims) if size in self.batch), None)


def find_axes(model: onnx.ModelProto, ports: Sequence[Port]) -> Axes:
    """What the free axes of a model's inputs count."""
    met, steps = _met_by_layers(model.graph, ports)
    batch: dict[Dimension, str] = {}
    for port in ports:
        for axis, dimension in enumerate(port.dims):
            if isinstance(dimension, str) and _named_batch(port, axis, dimension, ports):
                batch.setdefault(dimension, BY_NAME)
    for dimension, layer in met.items():
        if not _says_other(dimension):
            batch.setdefault(dimension, f"batch, by its place in {layer}")
    for port in ports:
        if port.rank and not any(size in batch for size in port.dims):
            first = port.dims[0]
            if not (isinstance(first, int) or first in steps or _leads_steps(port, first)):
                batch[first] = BY_PLACE
    for port in ports:
        if (state := _state_axis(port, ports, batch)) is not None:
            batch.setdefault(state, BY_STATE)
    return Axes(batch, frozenset(steps - batch.keys()))


def _named_batch(port: Port, axis: int, name: str, ports: Sequence[Port]) -> bool:
    if is_composed(name):
        return False
    if re.search(_BATCH, name, re.IGNORECASE):
        return True
    if not re.search(_PERHAPS_BATCH, name, re.IGNORECASE):
        return False
    leads = any(other.dims[:1] == (name,) for other in ports)
    return leads or (axis == 1 and _is_steps(port.dims[0]))


def _is_steps(dimension: int | Dimension) -> bool:
    return isinstance(dimension, str) and bool(re.search(_STEPS, dimension, re.IGNORECASE))


def _leads_steps(port: Port, first: Dimension) -> bool:
    """Whether the leading axis counts steps, or follows from other axes."""
    if isinstance(first, tuple):
        return False
    names = _STEPS if port.rank > 1 else _ONLY_STEPS
    return is_composed(first) or bool(re.search(names, first, re.IGNORECASE))


def _tells(dimension: Dimension) -> bool:
    """Whether a dimension has a name that says something."""
    return isinstance(dimension, str) and not re.search(_MADE_UP, dimension, re.IGNORECASE)


def _says_other(dimension: Dimension) -> bool:
    """Whether a name speaks against a batch."""
    return isinstance(dimension, str) and (is_composed(dimension) or _is_steps(dimension))


def _state_axis(port: Port, ports: Sequence[Port], batch: dict[Dimension, str]) -> Dimension | None:
    """The batch of what looks like a recurrent state: layers x batch x units, layers fixed.

    Where the layers are 1 it may as well be one example of several steps: it is a state where
    its name says so or another input has a free batch.
    """
    if not port.is_float or port.rank < 3 or not isinstance(port.dims[0], int):
        return None
    if len(port.free) != 1 or port.dims[1] != port.free[0] or port.free[0] in batch:
        return None
    dimension = port.free[0]
    if _says_other(dimension):
        return None
    others = any(size in batch for other in ports for size in other.dims if other != port)
    return dimension if port.named(_STATE_NAME) or (others and not _tells(dimension)) else None


# --- By the operators ------------------------------------------------------------------

#: Largest number of elements of a constant that is looked at: axes, or one index.
_SHORT = 8
#: Axes of a tensor as axes of the input that it comes from; None for one that is new.
_Origin = tuple[Port, tuple[int | None, ...]]

_SAME_AXES = (
    "Abs Add BatchNormalization Cast Clip Div Dropout Elu Erf Exp Gelu HardSigmoid Identity "
    "LayerNormalization LeakyRelu Log Mul Neg Pow PRelu Relu Sigmoid Slice Softmax Split Sqrt "
    "Sub Tanh"
)


def _met_by_layers(
    graph: onnx.GraphProto, ports: Sequence[Port]
) -> tuple[dict[Dimension, str], set[Dimension]]:
    """Free dimensions that recurrent layers take for the batch, with the layer; and for steps."""
    origins: dict[str, _Origin] = {
        port.name: (port, tuple(range(port.rank))) for port in ports if port.kind == "tensor"
    }
    constants = {tensor.name: _short(tensor) for tensor in graph.initializer}
    batch: dict[Dimension, str] = {}
    steps: set[Dimension] = set()
    for node in _nodes(graph):
        if node.op_type == "Constant" and node.output:
            held = [item.t for item in node.attribute if item.HasField("t")]
            constants[node.output[0]] = _short(held[0]) if held else None
        if node.op_type in ("LSTM", "GRU", "RNN", "DynamicQuantizeLSTM"):
            swapped = any(item.name == "layout" and item.i for item in node.attribute)
            layer = f"{node.op_type} '{node.name or next(iter(node.output), '')}'"
            for slot, axis in ((0, 1 - swapped), (5, 1 - swapped), (6, 1 - swapped)):
                if (found := _dimension(node, slot, axis, origins)) is not None:
                    batch.setdefault(found, layer)
            if (found := _dimension(node, 0, int(swapped), origins)) is not None:
                steps.add(found)
        elif (origin := _carried(node, origins, constants)) is not None:
            for name in node.output if node.op_type == "Split" else node.output[:1]:
                origins[name] = origin
    return batch, steps


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """All nodes, those of bodies before the node that has them."""
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _nodes(attribute.g)
        yield node


def _dimension(
    node: onnx.NodeProto, slot: int, axis: int, origins: dict[str, _Origin]
) -> Dimension | None:
    if slot >= len(node.input) or node.input[slot] not in origins:
        return None
    port, axes = origins[node.input[slot]]
    place = axes[axis] if axis < len(axes) else None
    found = None if place is None else port.dims[place]
    return None if isinstance(found, int) else found


def _carried(
    node: onnx.NodeProto,
    origins: dict[str, _Origin],
    constants: dict[str, np.ndarray[Any, Any] | None],
) -> _Origin | None:
    """Where the axes of a node's first output come from."""
    known = [origins.get(name) for name in node.input]
    if not known:
        return None
    ints = {item.name: list(item.ints) or [item.i] for item in node.attribute}
    if node.op_type == "Gather" and known[0] is None and len(known) > 1 and known[1] is not None:
        port, axes = known[1]  # a look-up: each index becomes a row
        return port, (*axes, None)
    if node.op_type in ("Add", "Mul") and known[0] is None:
        known = known[1:]
    if not known or known[0] is None:
        return None
    port, axes = known[0]
    rank = len(axes)
    if not rank:
        return None
    if node.op_type in _SAME_AXES.split():
        return port, axes
    if node.op_type in ("MatMul", "MatMulInteger"):
        return port, (*axes[:-1], None)
    if node.op_type == "Transpose":
        order = ints.get("perm", list(reversed(range(rank))))
        return (port, tuple(axes[at] for at in order)) if len(order) == rank else None
    if node.op_type == "Concat":
        joined = ints["axis"][0] % rank
        return port, tuple(None if at == joined else axis for at, axis in enumerate(axes))
    second = constants.get(node.input[1]) if len(node.input) > 1 else None
    if node.op_type == "Gather" and second is not None and second.ndim == 0:
        taken = ints.get("axis", [0])[0] % rank
        return port, axes[:taken] + axes[taken + 1 :]
    at = ints.get("axes", [] if second is None else [int(place) for place in second.flat])
    if node.op_type == "Squeeze" and at:
        gone = {place % rank for place in at}
        return port, tuple(axis for place, axis in enumerate(axes) if place not in gone)
    if node.op_type == "Unsqueeze" and at:
        new = {place % (rank + len(at)) for place in at}
        kept = iter(axes)
        places = range(rank + len(at))
        return port, tuple(None if place in new else next(kept) for place in places)
    return None


def _short(tensor: onnx.TensorProto) -> np.ndarray[Any, Any] | None:
    """A short integer tensor that lies in the model; None for any other."""
    if tensor.data_type != onnx.TensorProto.INT64 or math.prod(tensor.dims) > _SHORT:
        return None
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        return None
    return onnx.numpy_helper.to_array(tensor)
