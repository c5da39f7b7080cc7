"""Which values a model's inputs must have, found by walking the graph and asking each operator.

An operator's demand on a tensor is a demand on the inputs whose elements the tensor holds
(``inputs/flow.py``): to index within a table, to be the shape, axis or count that fits the
declared output, to mask nothing.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import onnx
import onnx.inliner

from harness.inputs.flow import (
    MAX_ELEMENTS,
    Fact,
    Node,
    Term,
    constant_fact,
    flow,
    input_fact,
    mixed,
)
from harness.inputs.ports import Port, Shape
from harness.inputs.scalars import GENERATED

if TYPE_CHECKING:
    from collections.abc import Callable

_Facts = collections.ChainMap[str, Fact]
_Shapes = collections.ChainMap[str, Shape]


@dataclasses.dataclass(slots=True)
class Demands:
    """What the graph demands of its input values, by input name.

    Attributes:
        exact: value by element index; the index None stands for all elements.
        bounds: smallest and largest value.
        masks: inputs that act as masks.
        reasons: what demands the values or bounds.
    """

    exact: dict[str, dict[int | None, float]] = dataclasses.field(default_factory=dict)
    bounds: dict[str, tuple[float, float]] = dataclasses.field(default_factory=dict)
    masks: set[str] = dataclasses.field(default_factory=set)
    reasons: dict[str, str] = dataclasses.field(default_factory=dict)

    def ask(self, node: Node) -> None:
        """Adds the demands of one node."""
        try:
            asked = _ASKED[node.op]
            wishes = asked(node) if callable(asked) else asked
        except LookupError:  # it demands nothing, or depends on an unknown shape
            return
        for slot, wish in wishes.items():
            fact, reason = node.fact(slot), f"as {node.label} requires"
            match wish:
                case _Mask():
                    self.masks |= {term.input for term in fact.terms()}
                case _Index(table, axis):
                    axis = node.attribute(axis, 0) if isinstance(axis, str) else axis
                    if shape := node.shape(table):
                        rows = shape[axis]
                        reason = f"indexes {node.op_type} '{node.name(table)}' of {rows} rows"
                        self._ask_bounds(fact, 0, rows - 1, reason)
                case _Within(low, high):
                    self._ask_bounds(fact, low, high, reason)
                case _:
                    self._ask_exact(fact, wish, reason)

    def _ask_exact(self, fact: Fact, values: _Exact, reason: str) -> None:
        if fact.elements is None:
            return
        wanted = itertools.repeat(values) if isinstance(values, (int, float)) else values
        for term, value in zip(fact.elements.flat, wanted, strict=False):
            if isinstance(term, Term) and term.input:
                self.exact.setdefault(term.input, {}).setdefault(term.index, term.solve(value))
                self.reasons.setdefault(term.input, reason)

    def _ask_bounds(self, fact: Fact, low: float, high: float, reason: str) -> None:
        for term in fact.terms():
            ends = sorted((term.solve(low), term.solve(high)))
            old = self.bounds.get(term.input, (-math.inf, math.inf))
            new = (max(old[0], ends[0]), min(old[1], ends[1]))
            if new != old and new[0] <= new[1]:
                self.bounds[term.input] = new
                self.reasons[term.input] = reason


def find_demands(
    model: onnx.ModelProto, ports: Iterable[Port], shapes: Mapping[str, Shape]
) -> Demands:
    """Collects the demands of a model whose inputs have these shapes."""
    demands = Demands()
    facts = {
        port.name: input_fact(port.name, shapes[port.name], apart=port.kind != "sequence")
        for port in ports
        if port.name in shapes and port.dtype.kind != "O" and port.kind != "map"
    }
    inferred = _inferred(model, shapes)
    _walk(inferred.graph, collections.ChainMap(facts), collections.ChainMap({}), demands)
    return demands


# --- The walk --------------------------------------------------------------------------


def _inferred(model: onnx.ModelProto, shapes: Mapping[str, Shape]) -> onnx.ModelProto:
    """The model's structure with fixed input shapes and the shapes inferred from them.

    Large weights are dropped: shape inference needs only their shapes.
    """
    bare = onnx.ModelProto(ir_version=model.ir_version)
    bare.opset_import.extend(model.opset_import)
    bare.functions.extend(model.functions)
    graph, target = model.graph, bare.graph
    target.name = graph.name
    for field in ("node", "input", "output", "value_info"):
        getattr(target, field).extend(getattr(graph, field))
    declared = {value.name for value in graph.input}
    for tensor in graph.initializer:
        if math.prod(tensor.dims) <= MAX_ELEMENTS:
            target.initializer.append(tensor)
        elif tensor.name not in declared:
            target.input.append(
                onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
    for value in target.input:
        held = _held(value.type)
        if value.name in shapes and held.HasField("tensor_type"):
            shape = shapes[value.name]
            held.CopyFrom(onnx.helper.make_tensor_type_proto(held.tensor_type.elem_type, shape))
    try:
        if bare.functions:
            bare = onnx.inliner.inline_local_functions(bare)
        return onnx.shape_inference.infer_shapes(bare, data_prop=True)
    except Exception:  # inference is a bonus: it rejects some models that ORT accepts
        return bare


def _held(proto: onnx.TypeProto) -> onnx.TypeProto:
    """The type itself, or the one inside an optional."""
    return proto.optional_type.elem_type if proto.HasField("optional_type") else proto


def _walk(graph: onnx.GraphProto, facts: _Facts, shapes: _Shapes, demands: Demands) -> None:
    for tensor in graph.initializer:
        shapes[tensor.name] = tuple(tensor.dims)
        facts[tensor.name] = constant_fact(tensor)
    for value in itertools.chain(graph.input, graph.value_info, graph.output):
        tensor_type = _held(value.type).tensor_type
        sizes = [
            dim.dim_value if dim.HasField("dim_value") else -1 for dim in tensor_type.shape.dim
        ]
        if tensor_type.HasField("shape") and min(sizes, default=0) >= 0:
            shapes[value.name] = tuple(sizes)
    for proto in graph.node:
        node = Node(proto, facts, shapes)
        demands.ask(node)
        if any(attribute.HasField("g") for attribute in proto.attribute):
            _walk_bodies(proto, facts, shapes, demands)
            continue
        fact = flow(node)
        # Outputs after the first are indices or masks, not values, except those of Split.
        for name in proto.output if node.op == "Split" else proto.output[:1]:
            facts[name] = fact
            if fact.elements is not None:
                shapes.setdefault(name, fact.elements.shape)


def _walk_bodies(proto: onnx.NodeProto, facts: _Facts, shapes: _Shapes, demands: Demands) -> None:
    """Walks the bodies of an If, Loop or Scan.

    The inputs of a body change between iterations, so nothing is known of them element by
    element. In a generation operator, the first body reads the prompt.
    """
    bodies = [attribute for attribute in proto.attribute if attribute.HasField("g")]
    generates = proto.op_type in _GENERATING
    prompted = "encoder" if any(item.name == "encoder" for item in bodies) else "decoder"
    for attribute in bodies:
        body = attribute.g
        inner = facts.new_child()
        actuals = proto.input
        if generates:
            actuals = proto.input[: 1 if attribute.name == prompted else 0]
        for formal, actual in zip(body.input, actuals, strict=False):
            inner[formal.name] = mixed(facts.get(actual, Fact()))
        _walk(body, inner, shapes.new_child(), demands)
        if generates:
            continue
        # A Loop returns its carried values without the condition; an If returns everything.
        results = body.output[1:] if proto.op_type == "Loop" else body.output
        for name, result in zip(proto.output, results, strict=False):
            facts[name] = mixed(inner.get(result.name, Fact()), facts.get(name, Fact()))


# --- What the operators demand ---------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class _Within:
    """A wish for values from low to high."""

    low: float
    high: float


@dataclasses.dataclass(frozen=True, slots=True)
class _Index:
    """A wish for indices into an axis of another input; a str names the attribute that holds it."""

    table: int
    axis: int | str = 0


@dataclasses.dataclass(frozen=True, slots=True)
class _Mask:
    """A wish for a mask that hides nothing."""


#: A wish for these values in C order, or for one value in all elements.
_Exact = float | Iterable[float]
#: What an operator asks of its inputs, by slot.
_Wishes = Mapping[int, _Exact | _Within | _Index | _Mask]


def _axes(long: Shape | None, short: Shape | None, count: int, keep: bool = False) -> list[int]:
    """The axes that turn long into short when dropped or kept as 1; else likely ones."""
    if long is None:
        return list(range(count))
    for axes in itertools.combinations(range(len(long)), count):
        left = (
            1 if axis in axes else size
            for axis, size in enumerate(long)
            if keep or axis not in axes
        )
        if tuple(left) == short:
            return list(axes)
    return sorted(range(len(long)), key=lambda axis: long[axis] != 1)[:count]


def _compared(node: Node) -> _Wishes:
    """Equal with more than two numbers is a hand-written one-hot: they are its classes."""
    classes = set(node.constant(1) or ())
    return {0: _Within(min(classes), max(classes))} if len(classes) > 2 else {}


def _counted(node: Node) -> _Wishes:
    """TopK: as many as the declared output has, else at most the size of the axis."""
    axis, out = node.attribute("axis", -1), node.out()
    return {1: out[axis] if out else _Within(1, max(1, node.dims(0)[axis]))}


def _cached(node: Node) -> _Wishes:
    """GroupQueryAttention: the position of the last token, and the total number of tokens."""
    past = node.shape(3)
    total = node.dims(0)[1] + (past[2] if past else 0)
    return {5: total - 1, 6: total}


def _encoded(node: Node) -> _Wishes:
    """OneHot: as many classes as given, or as the declared output has, else 10."""
    depth, out = node.constant(1), node.out()
    classes = int(depth[0]) if depth else out[node.attribute("axis", -1)] if out else 10
    return {0: _Within(0, classes - 1), 1: classes}


def _generated(node: Node) -> _Wishes:
    """Search operators: more tokens than the decoder starts with, and masks that hide nothing."""
    beams = "Beam" in node.op_type
    begins = 1  # an encoder reads the prompt, the decoder begins with one token
    if node.attribute("model_type", 0) == 0:
        begins = node.dims(0)[1]
    elif beams and node.shape(10):
        begins = node.dims(10)[1]
    wishes: dict[int, _Exact | _Within | _Index | _Mask] = {1: begins + GENERATED, 2: 1}
    if not beams:
        return {**wishes, 3: 1.0, 4: _Mask(), 5: _Mask(), 6: _Mask()}
    masks = {7: _Mask(), 8: _Mask(), 9: _Mask()}
    return {**wishes, 3: _BEAMS, 4: 1, 5: 1.0, 6: 1.0, **masks}


def _padded(node: Node) -> _Wishes:
    axes = node.constant(3) or range(node.size(1) // 2)
    shape, out = node.dims(0), node.out() or node.dims(0)
    grown = [out[int(axis)] - shape[int(axis)] for axis in axes]
    before = [size // 2 for size in grown]
    after = [size - size // 2 for size in grown]
    return {1: before + after, 3: range(len(grown))}


def _placed(node: Node) -> _Wishes:
    """Index tuples of GatherND and ScatterND: within the smallest axis that they index."""
    batch = node.attribute("batch_dims", 0)
    axes = node.dims(0)[batch : batch + node.dims(1)[-1]]
    return {1: _Within(0, min(axes, default=1) - 1)}


def _ranged(node: Node) -> _Wishes:
    first, step = (node.constant(0) or [0])[0], (node.constant(2) or [1])[0]
    count = (node.out() or (10,))[0]
    return {0: first, 1: first + count * step, 2: step}


def _recurrent(node: Node) -> _Wishes:
    return {4: node.dims(0)[node.attribute("layout", 0)]}


def _reduced(node: Node) -> _Wishes:
    keep = bool(node.attribute("keepdims", 1))
    return {1: _axes(node.dims(0), node.out(), node.size(1), keep)}


def _repeated(node: Node) -> _Wishes:
    shape, out = node.dims(0), node.out() or node.dims(0)
    return {1: [wanted // max(size, 1) for size, wanted in zip(shape, out, strict=True)]}


def _reshaped(node: Node) -> _Wishes:
    """The declared output shape, else all elements on the first open axis."""
    out, target = node.out(), node.elements(1)
    if out is not None and len(out) == target.size:
        return {1: out}
    numbers = [int(item) for item in target.flat if not isinstance(item, Term)]
    taken = math.prod(number for number in numbers if number > 0)
    rest = 1 if -1 in numbers else node.size(0) // taken
    places = [place for place, item in enumerate(target.flat) if isinstance(item, Term)]
    return {1: [rest if place == places[0] else 1 for place in range(target.size)]}


def _resized(node: Node) -> _Wishes:
    shape, out = node.dims(0), node.out() or node.dims(0)
    axes = node.attribute("axes", range(len(shape)))
    scales = [out[axis] / max(shape[axis], 1) for axis in axes]
    if node.slots == 2:  # Upsample, and Resize before opset 11
        return {1: scales}
    region = [0.0] * len(scales) + [1.0] * len(scales)
    return {1: region, 2: scales, 3: [out[axis] for axis in axes]}


def _rotated(node: Node) -> _Wishes:
    """A single position is the first token's; the others follow it."""
    tokens = node.dims(0)[-2] if node.size(1) == 1 else 1
    return {1: _Within(0, node.dims(2)[0] - tokens)}


def _sliced(node: Node) -> _Wishes:
    """Starts, ends, axes and steps that produce the declared output."""
    shape, count = node.dims(0), node.size(1)
    out = node.out() or ()
    target = out if len(out) == len(shape) else shape
    shrinking = sorted(range(len(shape)), key=lambda axis: shape[axis] == target[axis])
    axes = node.constant(3) or (shrinking[:count] if node.name(3) else range(count))
    steps = node.constant(4) or [1] * count
    # A negative step starts at the last element.
    starts = node.constant(1) or [0 if step > 0 else -1 for step in steps]
    ends = [
        start + target[int(axis)] * step
        for start, axis, step in zip(starts, axes, steps, strict=True)
    ]
    return {1: starts, 2: ends, 3: axes, 4: steps}


def _split(node: Node) -> _Wishes:
    """Sizes of the outputs as declared, else nearly equal ones."""
    axis, count = node.attribute("axis", 0), node.size(1)
    declared = [out[axis] for number in range(count) if (out := node.out(number))]
    total = node.dims(0)[axis]
    equal = [total // count + (number < total % count) for number in range(count)]
    return {1: declared if len(declared) == count else equal}


#: A customary number of beams for beam search.
_BEAMS = 4
_GENERATING = ("BeamSearch", "GreedySearch", "Sampling", "WhisperBeamSearch")
_DIVISOR = {1: _Within(1, 9)}
_POSITIVE = _Within(1, math.inf)
_QUANTIZATION: _Wishes = {1: _POSITIVE, 2: 0}
_EMBEDDING: _Wishes = {0: _Index(2), 1: _Index(4), 7: _Mask(), 8: _Index(3)}
_ELEMENT_INDEX = {1: _Index(0, "axis")}
_SIZED = "BlackmanWindow ConstantOfShape HammingWindow HannWindow"
_REDUCTIONS = "L1 L2 LogSum LogSumExp Max Mean Min Prod Sum SumSquare"

#: What each op type asks of its inputs.
_ASKED: dict[str, _Wishes | Callable[[Node], _Wishes]] = {
    **dict.fromkeys(("GRU", "LSTM", "RNN"), _recurrent),
    **dict.fromkeys(_SIZED.split(), lambda node: {0: node.out() or 2}),
    **dict.fromkeys((f"Reduce{kind}" for kind in _REDUCTIONS.split()), _reduced),
    "AffineGrid": lambda node: {1: (node.dims(0)[0], 1, *(node.out() or (0, 2, 2, 2))[1:-1])},
    "ArrayFeatureExtractor": {1: _Index(0, -1)},
    "Attention": lambda node: {6: node.dims(1)[-2]},
    "BatchNormalization": {4: _POSITIVE},
    "BitShift": {1: _Within(0, 3)},
    "Clip": {1: 0, 2: 10},
    "CumProd": {1: 0},
    "CumSum": {1: 0},
    "DFT": lambda node: {1: node.dims(0)[node.attribute("axis", 1)], 2: 1},
    "DequantizeLinear": _QUANTIZATION,
    "Div": _DIVISOR,
    "Dropout": {1: 0.5},
    "Equal": _compared,
    "Expand": lambda node: {1: node.out() or 1},
    "Gather": _ELEMENT_INDEX,
    "GatherElements": _ELEMENT_INDEX,
    "GatherND": _placed,
    "Loop": {0: 3},
    "MaxUnpool": lambda node: {
        1: _Within(0, math.prod(node.out() or node.dims(0)) - 1),
        2: node.out() or node.dims(0),
    },
    "MelWeightMatrix": {0: 8, 1: 32, 2: 8192, 3: 0, 4: 4096},
    "Mod": _DIVISOR,
    "NegativeLogLikelihoodLoss": {1: _Index(0, 1)},
    "NonMaxSuppression": {2: 10, 3: 0.5, 4: 0.0},
    "OneHot": _encoded,
    "Pad": _padded,
    "QLinearConv": {1: _POSITIVE, 4: _POSITIVE, 6: _POSITIVE},
    "QLinearMatMul": {1: _POSITIVE, 4: _POSITIVE, 6: _POSITIVE},
    "QuantizeLinear": _QUANTIZATION,
    "Range": _ranged,
    "Reshape": _reshaped,
    "Resize": _resized,
    "ReverseSequence": lambda node: {1: node.dims(0)[node.attribute("time_axis", 0)]},
    "RoiAlign": {2: _Index(0)},
    "RotaryEmbedding": {3: _Index(1)},
    "STFT": lambda node: {1: 8, 3: (node.shape(2) or (16,))[0]},
    "Scatter": _ELEMENT_INDEX,
    "ScatterElements": _ELEMENT_INDEX,
    "ScatterND": _placed,
    "SequenceAt": {1: 0},
    "SequenceErase": {1: 0},
    "SequenceInsert": {2: 0},
    "Slice": _sliced,
    "SoftmaxCrossEntropyLoss": {1: _Index(0, 1)},
    "Split": _split,
    "SplitToSequence": _split,
    "Squeeze": lambda node: {1: _axes(node.dims(0), node.out(), node.size(1))},
    # (1 - mask) times a large negative number
    "Sub": lambda node: {1: _Mask()} if set(node.constant(0) or ()) == {1} else {},
    "TensorScatter": {2: 0},
    "Tile": _repeated,
    "TopK": _counted,
    "Trilu": {1: 0},
    "Unsqueeze": lambda node: {1: _axes(node.out(), node.shape(0), node.size(1))},
    "Upsample": _resized,
    **dict.fromkeys((f"com.microsoft.{name}" for name in _GENERATING), _generated),
    "com.microsoft.Attention": {3: _Mask()},
    "com.microsoft.DecoderMaskedMultiHeadAttention": {4: _Mask()},
    "com.microsoft.DequantizeLinear": _QUANTIZATION,
    "com.microsoft.EmbedLayerNormalization": _EMBEDDING,
    "com.microsoft.GatherBlockQuantized": {1: _Index(0, "gather_axis")},
    "com.microsoft.GroupQueryAttention": _cached,
    "com.microsoft.MultiHeadAttention": {4: _Mask()},
    "com.microsoft.QEmbedLayerNormalization": _EMBEDDING,
    "com.microsoft.QuantizeLinear": _QUANTIZATION,
    "com.microsoft.RotaryEmbedding": _rotated,
}
