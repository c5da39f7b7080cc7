"""Which channels of which layers can be removed together: straight chains between two layers.

A chain begins at a layer that makes channels (Conv, ConvTranspose, Gemm, MatMul with constant
weights), leads through nodes that keep channels apart (activations, normalisation with constants,
pooling, depthwise convolutions, flattening), and ends at all the layers that sum them up again.
Removing a channel then equals removing its weights at both ends and in between. A tensor that meets
another branch (a residual sum) is not followed: its channels would have to go there, too.
"""

from __future__ import annotations

import dataclasses
import heapq
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.models.variants.view import View

#: Operators that work on each element for itself.
_ELEMENTWISE = frozenset(
    {
        "Abs", "Cast", "Celu", "Clip", "Dropout", "Elu", "Erf", "Gelu", "HardSigmoid",
        "HardSwish", "Identity", "LeakyRelu", "Mish", "Neg", "Relu", "Selu", "Sigmoid", "Softplus",
        "Softsign", "Swish", "Tanh", "ThresholdedRelu",
    }
)  # fmt: skip

#: Operators that broadcast their operands against each other.
_BROADCASTING = frozenset({"Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "PRelu", "Pow"})

#: Operators that pool or normalise each channel of axis 1 for itself.
_PER_CHANNEL = frozenset(
    {"AveragePool", "GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool", "LpPool", "MaxPool"}
)
_NORMALISING = frozenset({"BatchNormalization", "InstanceNormalization"})

_REDUCING = frozenset({"ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum", "ReduceL2"})

_MAKING = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclasses.dataclass(frozen=True, slots=True)
class Site:
    """Where a constant has something for each channel.

    Attributes:
        node, input: the node that reads the constant, and which of its inputs that is.
        axis: of the constant.
        repeat: consecutive elements of that axis that belong to one channel.
        groups: of a grouped convolution that sums channels up, whose axis 1 counts the channels of
            one group; else 1.
        sums: whether the node sums the channels up: zeros here equal a removed channel.
    """

    node: int
    input: int
    axis: int
    repeat: int = 1
    groups: int = 1
    sums: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Number:
    """A number that counts channels: an element of a constant, or the attribute ``group``.

    Attributes:
        node: whose it is.
        input: the constant; -1 for the attribute.
        position: in the constant.
        factor: the number is that many times the channels.
    """

    node: int
    input: int
    position: int
    factor: int


@dataclasses.dataclass(frozen=True, slots=True)
class Chain:
    """Channels that can be removed together, or the reason why they cannot.

    Attributes:
        label: of the layer that makes them, or of the attention whose heads they are.
        makers: numbers of the layers that make them.
        channels: how many there are.
        heads: whether they are heads of attention.
        sites, numbers: all that has something for each of them.
        blocks: the channels are as many blocks, of which each must keep equally many.
        reason: why they cannot be removed; empty if they can.
        at: the node that is the reason, or empty.
    """

    label: str
    makers: tuple[int, ...]
    channels: int
    heads: bool = False
    sites: tuple[Site, ...] = ()
    numbers: tuple[Number, ...] = ()
    blocks: int = 1
    reason: str = ""
    at: str = ""


class Stuck(Exception):
    """The channels cannot be followed; the text says why.

    Attributes:
        at: the node where they end, or empty.
    """

    def __init__(self, reason: str, at: str = "") -> None:
        super().__init__(reason)
        self.at = at


@dataclasses.dataclass(frozen=True, slots=True)
class _Flow:
    """Where the channels are in a tensor: on an axis, each as so many consecutive elements."""

    axis: int
    rank: int
    repeat: int = 1


def chains(view: View) -> list[Chain]:
    """A chain for each layer with weights that makes several channels, in file order."""
    found = []
    for number in range(len(view.nodes)):
        if view.is_onnx(number, *_MAKING):
            start = _start(view, number)
            if start is not None:
                found.append(_Follower(view, number, *start).chain())
    return found


def _start(view: View, number: int) -> tuple[_Flow, int, list[Site], int] | None:
    """(where the channels are, how many, sites of the layer, blocks); None if it makes none."""
    node = view.nodes[number]
    weight = view.shape(node.input[1]) if node.input[1] in view.constants else None
    shape = view.shape(node.output[0])
    rank = None if shape is None else len(shape)
    if weight is None or None in weight:
        return None
    if node.op_type in ("Conv", "ConvTranspose"):
        groups = view.attribute(number, "group", 1)
        transposed = node.op_type == "ConvTranspose"
        if len(weight) < 3 or (transposed and groups > 1):
            return None
        if groups > 1 and weight[1] == 1:
            return None  # depthwise: its channels are those of the layer before
        sites = [Site(number, 1, int(transposed))]
        flow, channels, blocks = _Flow(1, len(weight)), weight[int(transposed)], groups
    elif node.op_type == "Gemm":
        axis = 0 if view.attribute(number, "transB", 0) else 1
        sites, flow, channels, blocks = [Site(number, 1, axis)], _Flow(1, 2), weight[axis], 1
    elif len(weight) == 2 and rank is not None:
        sites, flow, channels, blocks = [Site(number, 1, 1)], _Flow(rank - 1, rank), weight[1], 1
    else:
        return None
    if channels is None or channels < 2 or channels % blocks:
        return None
    if len(node.input) > 2 and node.input[2]:  # the bias
        bias = view.shape(node.input[2])
        if bias is None or node.input[2] not in view.constants:
            return None
        if bias and bias[-1] == channels:
            sites.append(Site(number, 2, len(bias) - 1))
    return flow, channels, sites, blocks


class _Follower:
    """Follows the channels of one layer to all the layers that sum them up."""

    def __init__(
        self, view: View, maker: int, flow: _Flow, channels: int, sites: list[Site], blocks: int
    ) -> None:
        self._view = view
        self._maker = maker
        self._channels = channels
        self._sites = sites
        self._numbers: list[Number] = []
        self._blocks = blocks
        self._flows = {view.nodes[maker].output[0]: flow}
        self._waiting: list[int] = []
        self._seen: set[int] = set()

    def chain(self) -> Chain:
        view = self._view
        label = view.label(self._maker)
        try:
            self._reach(view.nodes[self._maker].output[0])
            while self._waiting:
                number = heapq.heappop(self._waiting)
                for name, flow in self._follow(number):
                    self._flows[name] = flow
                    self._reach(name)
            if not any(site.sums for site in self._sites):
                raise Stuck("no layer sums its channels up")
        except Stuck as stuck:
            return Chain(label, (self._maker,), self._channels, reason=str(stuck), at=stuck.at)
        return Chain(
            label,
            (self._maker,),
            self._channels,
            sites=tuple(self._sites),
            numbers=tuple(self._numbers),
            blocks=self._blocks,
        )

    def _reach(self, name: str) -> None:
        """Queues the readers of a tensor; in file order all that they read is then known."""
        if name in self._view.outputs:
            raise Stuck("channels are those of an output", f"'{name}'")
        for number in self._view.readers.get(name, ()):
            if number not in self._seen:
                self._seen.add(number)
                heapq.heappush(self._waiting, number)

    def _follow(self, number: int) -> Sequence[tuple[str, _Flow]]:
        node = self._view.nodes[number]
        rule = _RULES.get(node.op_type) if self._view.is_onnx(number, node.op_type) else None
        if rule is None:
            raise Stuck("channels are not followed through this operator", self._at(number))
        flow = rule(self, number)
        return [] if flow is None else [(node.output[0], flow)]

    def _only(self, number: int, place: int = 0) -> _Flow:
        """Where the channels are in the one input that may hold them."""
        node = self._view.nodes[number]
        held = [index for index, name in enumerate(node.input) if name in self._flows]
        if held != [place]:
            raise self._lost(number)
        return self._flows[node.input[place]]

    def _lost(self, number: int) -> Stuck:
        return Stuck("channels are not kept apart", self._at(number))

    def _at(self, number: int) -> str:
        return f"{self._view.nodes[number].op_type} '{self._view.label(number)}'"

    def _constant(self, number: int, place: int) -> Any:
        """The value of a constant input; None if it has no such input."""
        node = self._view.nodes[number]
        if len(node.input) <= place or not node.input[place]:
            return None
        value = self._view.value(node.input[place])
        if value is None:
            raise Stuck("channels meet an input that is not constant", self._at(number))
        return value

    def _axes(self, number: int, rank: int) -> list[int]:
        """The attribute or the constant input ``axes``, counted from the front."""
        axes = self._view.attribute(number, "axes")
        if axes is None:
            axes = self._constant(number, 1)
        if axes is None:
            raise self._lost(number)
        return sorted(int(axis) % rank for axis in axes)

    # Rules: each returns where the channels are in the first output, or None where they end.

    def elementwise(self, number: int) -> _Flow:
        return self._only(number)

    def per_channel(self, number: int) -> _Flow:
        flow = self._only(number)
        if flow.axis != 1:
            raise self._lost(number)
        return flow

    def normalising(self, number: int) -> _Flow:
        flow = self.per_channel(number)
        for place in range(1, len(self._view.nodes[number].input)):
            self._constant(number, place)
            self._sites.append(Site(number, place, 0, flow.repeat))
        return flow

    def broadcasting(self, number: int) -> _Flow:
        node, view = self._view.nodes[number], self._view
        held = [self._flows[name] for name in node.input if name in self._flows]
        shapes = [view.shape(name) for name in node.input]
        behind = held[0].axis - held[0].rank  # counted from the back, as shapes are aligned
        if any(
            (one.axis - one.rank, one.repeat) != (behind, held[0].repeat) for one in held
        ) or any(shape is None for shape in shapes):
            raise self._lost(number)
        rank = max(len(shape) for shape in shapes if shape is not None)
        wide = self._channels * held[0].repeat
        for place, (name, shape) in enumerate(zip(node.input, shapes, strict=True)):
            if name in self._flows or shape is None or len(shape) < -behind or shape[behind] == 1:
                continue
            if name not in view.constants or shape[behind] != wide:
                raise Stuck("channels are joined with another branch", self._at(number))
            self._sites.append(Site(number, place, len(shape) + behind, held[0].repeat))
        return _Flow(rank + behind, rank, held[0].repeat)

    def convolution(self, number: int) -> _Flow | None:
        flow = self._only(number)
        weight = self._constant(number, 1)
        groups = self._view.attribute(number, "group", 1)
        if flow.axis != 1:
            raise self._lost(number)
        if groups == 1:
            self._sites.append(Site(number, 1, 1, flow.repeat, sums=True))
            return None
        if groups == self._channels * flow.repeat:  # depthwise
            out = flow.repeat * (weight.shape[0] // groups)
            self._sites.append(Site(number, 1, 0, out))
            if self._constant(number, 2) is not None:
                self._sites.append(Site(number, 2, 0, out))
            self._numbers.append(Number(number, -1, 0, flow.repeat))
            return _Flow(1, flow.rank, out)
        if self._channels % groups:
            raise self._lost(number)
        self._blocks = math.lcm(self._blocks, groups)
        if self._channels % self._blocks:
            raise self._lost(number)
        self._sites.append(Site(number, 1, 1, flow.repeat, groups, sums=True))
        return None

    def transposed_convolution(self, number: int) -> None:
        flow = self._only(number)
        self._constant(number, 1)
        if flow.axis != 1 or self._view.attribute(number, "group", 1) != 1:
            raise self._lost(number)
        self._sites.append(Site(number, 1, 0, flow.repeat, sums=True))

    def gemm(self, number: int) -> None:
        flow = self._only(number)
        self._constant(number, 1)
        if flow.axis != 1 or self._view.attribute(number, "transA", 0):
            raise self._lost(number)
        axis = 1 if self._view.attribute(number, "transB", 0) else 0
        self._sites.append(Site(number, 1, axis, flow.repeat, sums=True))

    def matmul(self, number: int) -> None:
        flow = self._only(number)
        weight = self._view.shape(self._view.nodes[number].input[1])
        self._constant(number, 1)
        if flow.axis != flow.rank - 1 or weight is None or len(weight) != 2:
            raise self._lost(number)
        self._sites.append(Site(number, 1, 0, flow.repeat, sums=True))

    def flatten(self, number: int) -> _Flow:
        flow = self._only(number)
        if flow.axis != 1 or self._view.attribute(number, "axis", 1) != 1:
            raise self._lost(number)
        return _Flow(1, 2, flow.repeat * self._behind(number, flow))

    def _behind(self, number: int, flow: _Flow) -> int:
        """Elements of a channel: the product of the sizes behind its axis."""
        shape = self._view.shape(self._view.nodes[number].input[0]) or ()
        sizes = shape[flow.axis + 1 :]
        if len(shape) != flow.rank or None in sizes:
            raise Stuck("the sizes that are flattened are not known", self._at(number))
        return math.prod(size for size in sizes if size is not None)

    def reshape(self, number: int) -> _Flow:
        """Follows those that flatten everything behind the batch."""
        flow = self._only(number)
        target = self._constant(number, 1)
        if target is None or target.size != 2 or flow.axis != 1:
            raise self._lost(number)
        repeat = flow.repeat * self._behind(number, flow)
        if target[1] == self._channels * repeat:
            self._numbers.append(Number(number, 1, 1, repeat))
        elif target[1] != -1 or (target[0] != 0 and not self._is_batch(number, int(target[0]))):
            raise self._lost(number)
        return _Flow(1, 2, repeat)

    def _is_batch(self, number: int, size: int) -> bool:
        shape = self._view.shape(self._view.nodes[number].input[0])
        return bool(shape) and shape is not None and shape[0] == size

    def squeeze(self, number: int) -> _Flow:
        flow = self._only(number)
        axes = self._axes(number, flow.rank)
        if flow.axis in axes:
            raise self._lost(number)
        return _Flow(
            flow.axis - sum(axis < flow.axis for axis in axes), flow.rank - len(axes), flow.repeat
        )

    def unsqueeze(self, number: int) -> _Flow:
        flow = self._only(number)
        rank = flow.rank + len(self._view.attribute(number, "axes") or self._constant(number, 1))
        axes = self._axes(number, rank)
        kept = [axis for axis in range(rank) if axis not in axes]
        return _Flow(kept[flow.axis], rank, flow.repeat)

    def reducing(self, number: int) -> _Flow:
        flow = self._only(number)
        axes = self._axes(number, flow.rank)
        if flow.axis in axes:
            raise self._lost(number)
        if self._view.attribute(number, "keepdims", 1):
            return flow
        return _Flow(
            flow.axis - sum(axis < flow.axis for axis in axes), flow.rank - len(axes), flow.repeat
        )

    def transpose(self, number: int) -> _Flow:
        flow = self._only(number)
        order = self._view.attribute(number, "perm", list(range(flow.rank))[::-1])
        return _Flow(list(order).index(flow.axis), flow.rank, flow.repeat)

    def pad(self, number: int) -> _Flow:
        flow = self._only(number)
        pads = self._view.attribute(number, "pads")
        pads = self._constant(number, 1) if pads is None else pads
        axes = len(self._view.nodes[number].input) > 3 and self._view.nodes[number].input[3]
        if pads is None or axes or pads[flow.axis] or pads[flow.axis + flow.rank]:
            raise self._lost(number)
        return flow


_RULES: dict[str, Callable[[_Follower, int], _Flow | None]] = {
    **dict.fromkeys(_ELEMENTWISE, _Follower.elementwise),
    **dict.fromkeys(_BROADCASTING, _Follower.broadcasting),
    **dict.fromkeys(_PER_CHANNEL, _Follower.per_channel),
    **dict.fromkeys(_NORMALISING, _Follower.normalising),
    **dict.fromkeys(_REDUCING, _Follower.reducing),
    "Conv": _Follower.convolution,
    "ConvTranspose": _Follower.transposed_convolution,
    "Gemm": _Follower.gemm,
    "MatMul": _Follower.matmul,
    "Flatten": _Follower.flatten,
    "Reshape": _Follower.reshape,
    "Squeeze": _Follower.squeeze,
    "Unsqueeze": _Follower.unsqueeze,
    "Transpose": _Follower.transpose,
    "Pad": _Follower.pad,
}

#: ONNX Runtime lays channels out in blocks of 8 (AVX2) or 16 (AVX-512), and cannot use that layout
#: for a depthwise convolution of another number of channels (its NchwcTransformer).
BLOCK = 8


def kept(scores: npt.NDArray[np.float64], share: float, blocks: int, *, even: bool) -> list[int]:
    """The channels to keep: those of the highest scores, equally many of each block.

    Args:
        scores: of the channels.
        share: of the channels that goes, at most; one of each block stays.
        blocks: equal parts of the channels, in order.
        even: whether to keep a multiple of ``BLOCK`` where there was one, if any channel then goes.

    Returns:
        Their numbers in ascending order.
    """
    size = len(scores) // blocks
    staying = max(size - math.floor(share * size + 1e-9), 1)
    if even and len(scores) % BLOCK == 0:
        rounded = next((n for n in range(staying, size) if n * blocks % BLOCK == 0), None)
        staying = staying if rounded is None else rounded
    order = np.argsort(-scores.reshape(blocks, size), axis=1, kind="stable")[:, :staying]
    numbers: list[int] = np.sort((order + size * np.arange(blocks)[:, None]).ravel()).tolist()
    return numbers
