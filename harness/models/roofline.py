"""Operations and bytes of the nodes that were executed, and which ceiling holds each back.

The shapes are those ORT's profiler saw. It leaves out weights that a kernel has repacked
for itself, and it tells no attributes; both are in the executed graph (``definitions``).
What neither tells stays -1: nothing here is guessed.

Counting rules, the same for every operator:

* A multiply-add is 2 operations. A convolution or matrix product counts its multiply-adds
  alone, 2·K for an output that sums K products: with K-1 additions that already pays for a
  bias, and fused sums and activations are left out, as in the usual counts of models.
  Products with padding and with masked keys count: the kernels compute them.
* An elementwise operator is 1 operation an output element, whichever function it computes
  (Exp and Add alike); a reduction 1 an element reduced.
* A composed or fused operator counts what the elementwise operators it is defined by, or
  replaces, count. What is done once a row (an epsilon, a root) is left out.
* Moving, converting and comparing indices is no operation.
* Bytes are the least traffic: every input read and every output written once, weights
  included, nothing for what a kernel keeps in between. Views (Reshape, Squeeze, …), which
  ORT aliases, move nothing; Gather reads the rows it takes, not its table.
* Shapes count as executed: NCHWc convolutions report channels padded to the block of the
  machine (8 or 16), and the products with that padding are really computed.

Sources: ONNX operator specification (definitions and function bodies); ContribOperators.md
of ONNX Runtime for the domain com.microsoft; Williams, Waterman and Patterson, "Roofline:
An Insightful Visual Performance Model for Multicore Architectures", CACM 52(4), 2009.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeVar

import numpy as np

from harness.errors import ModelError
from harness.models.executed_graph import row_of
from harness.records import Int64Array, NodeTable

if TYPE_CHECKING:
    from pathlib import Path

Bound = Literal["compute-bound", "memory-bound", "overhead-bound", "unknown"]


@dataclasses.dataclass(frozen=True, slots=True)
class Work:
    """What one execution of each node takes at least; columns as long as the NodeTable.

    Where shapes change between executions it is that of the shapes in the table.

    Attributes:
        flops: int64[n], operations on numbers of any type; -1 unknown.
        bytes: int64[n], least memory traffic; -1 unknown.
        dtype: type the arithmetic is done in (``float32``, ``float16``, ``int8`` for every
            quantised product), which chooses the ceiling; empty where unknown.
    """

    flops: Int64Array
    bytes: Int64Array
    dtype: tuple[str, ...]


class Tensor(NamedTuple):
    """Element type (``float32``, ``int4``, ``string``) and shape of a tensor."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@dataclasses.dataclass(frozen=True, slots=True)
class Definition:
    """What the executed graph tells of a node and ORT's profiler does not.

    Attributes:
        present: for each formal input, whether the node has it.
        constants: the inputs that are initialisers, by position.
        attributes: attributes that are a number, a text, or a list of integers, by name.
    """

    present: tuple[bool, ...]
    constants: Mapping[int, Tensor]
    attributes: Mapping[str, int | float | str | tuple[int, ...]]


class Coverage(NamedTuple):
    """How much of what ran has known operations.

    Attributes:
        nodes: share of the nodes that ran, 0 to 1.
        time: share of their self time, 0 to 1.
        unknown: rows of the nodes that ran and whose operations are not known, longest
            time first.
    """

    nodes: float
    time: float
    unknown: tuple[int, ...]


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
    # Before IR version 4 every initialiser is listed as an input too, and is a constant.
    fed = {value.name for value in proto.graph.input} if proto.ir_version >= 4 else set()
    _define(proto.graph, {}, fed, found)
    return found


def work(nodes: NodeTable, definitions: Mapping[int, Definition] = MappingProxyType({})) -> Work:
    """Operations and bytes of one execution of each node.

    A control-flow node's own work is unknown; that of its subgraphs is in their nodes.

    Args:
        nodes: the executed graph with the shapes that a trace told.
        definitions: by row. Without its definition a node is unknown where its operations
            depend on an attribute (pooling) or on a weight that ORT repacked.
    """
    flops = np.full(len(nodes), -1, np.int64)
    traffic = np.full(len(nodes), -1, np.int64)
    dtypes = [""] * len(nodes)
    for row in range(len(nodes)):
        operator = _operator(nodes.domain[row], nodes.op_type[row])
        if operator is None or not nodes.output_type_shape[row]:
            continue
        definition = definitions.get(row)
        node = _Node(
            op_type=nodes.op_type[row],
            inputs=_inputs(_tensors(nodes.input_type_shape[row]), definition, operator),
            complete=definition is not None or not operator.repacks,
            outputs=_tensors(nodes.output_type_shape[row]),
            attributes=None if definition is None else definition.attributes,
        )
        flops[row] = _known(operator.flops, node, -1)
        traffic[row] = _known(operator.traffic, node, -1)
        dtypes[row] = _known(operator.dtype, node, "")
    return Work(flops, traffic, tuple(dtypes))


def coverage(work: Work, self_ns: Int64Array) -> Coverage:
    """Share of what ran whose operations are known.

    Args:
        work: of the nodes.
        self_ns: int64[n], time of each node without that of its subgraphs, over all
            inferences; -1 where a node never ran.
    """
    ran = self_ns >= 0
    known = ran & (work.flops >= 0)
    total_ns = int(self_ns[ran].sum())
    unknown = np.flatnonzero(ran & (work.flops < 0))
    return Coverage(
        nodes=float(known.sum() / ran.sum()) if ran.any() else 0.0,
        time=float(self_ns[known].sum() / total_ns) if total_ns else 0.0,
        unknown=tuple(unknown[np.argsort(-self_ns[unknown], kind="stable")].tolist()),
    )


# Which ceiling holds a node back

#: What takes ten times as long as its roofline is not slow because of it.
_LEAST_SHARE: Final = 0.1
#: The larger part of the time: overhead must reach it, and so must one roofline bound where
#: Share of dispatch from which it is what holds a node back, where nothing else does more.
_DISPATCH: Final = 1 / 3

#: the other is unknown, since nothing unknown can then be larger.
_MAJORITY: Final = 0.5
#: Above this the traffic did not go through what the bandwidth was measured on. Ceilings
#: are measurements themselves: a little more than all of one is still that ceiling.
_FROM_CACHES: Final = 1.1


def classify(
    flops: int,
    bytes: int,  # noqa: A002 - the word of Work
    self_ns: float,
    peak_flops_per_s: float | None,
    peak_bytes_per_s: float | None,
    dispatch_ns: float | None,
) -> tuple[Bound, str]:
    """Names what holds a node back, and the numbers that say so.

    The roofline model bounds a node's time from below by flops / peak and by bytes /
    bandwidth; the two overlap, so the larger one counts (Williams et al. 2009). A third
    bound is what the executor spends to dispatch any node. The share of a bound is its
    part of the measured time; for the first two that is the percentage of the ceiling.

    * overhead-bound: dispatch is a third of the time or more, and no other bound is larger.
    * compute-bound, memory-bound: the larger of the two, if it is a tenth of the time or
      more; half of it, where the other one is unknown.
    * Above 110 % of the bandwidth the data came from caches, so that the bandwidth bounds
      nothing: the node is memory-bound only if neither dispatch nor arithmetic explains
      half of its time.
    * unknown otherwise: no bound explains the time (strided access, costly functions that
      count as one operation, idle threads), or the numbers are missing.

    Args:
        flops: operations of one execution; -1 unknown.
        bytes: least traffic of one execution; -1 unknown.
        self_ns: measured time of one execution, without that of its subgraphs.
        peak_flops_per_s: measured ceiling for the node's element type; None if not measured.
        peak_bytes_per_s: measured bandwidth; None if not measured.
        dispatch_ns: cost of a node that does nothing, measured the way self_ns was (ORT's
            profiler adds microseconds to each); None if not measured.

    Returns:
        The label, and a line such as ``compute 62% of peak (38.1 of 61.4 GFLOP/s), memory
        12% of bandwidth (3.1 of 25.0 GB/s), dispatch 1% of the time``.
    """
    if not self_ns > 0:
        return "unknown", "no time was measured"
    compute = _share(flops, peak_flops_per_s, self_ns)
    memory = _share(bytes, peak_bytes_per_s, self_ns)
    dispatch = None if dispatch_ns is None else dispatch_ns / self_ns
    told = [
        _reached("compute", "of peak", "FLOP/s", flops, self_ns, peak_flops_per_s, compute),
        _reached("memory", "of bandwidth", "B/s", bytes, self_ns, peak_bytes_per_s, memory),
        "dispatch not measured" if dispatch is None else f"dispatch {dispatch:.0%} of the time",
    ]
    label = _label(compute, memory, dispatch)
    if memory is not None and memory > _FROM_CACHES:
        told.append("data served by caches")
    if label == "unknown" and compute is not None and memory is not None:
        told.append(f"no bound explains {_LEAST_SHARE:.0%} of its time")
    return label, ", ".join(told)


def _label(compute: float | None, memory: float | None, dispatch: float | None) -> Bound:
    """The rules of classify, on shares of the time."""
    from_caches = memory is not None and memory > _FROM_CACHES
    rooflines = (compute, None if from_caches else memory)
    if dispatch is not None and dispatch >= max(_DISPATCH, *(share or 0 for share in rooflines)):
        return "overhead-bound"
    if compute is None:
        majority = memory is not None and memory >= _MAJORITY and not from_caches
        return "memory-bound" if majority else "unknown"
    if memory is None:
        return "compute-bound" if compute >= _MAJORITY else "unknown"
    if max(compute, memory) < _LEAST_SHARE:
        return "unknown"
    if compute >= memory or (from_caches and compute >= _MAJORITY):
        return "compute-bound"
    return "memory-bound"


def _share(amount: int, peak_per_s: float | None, self_ns: float) -> float | None:
    """Part of the time that the amount takes at the peak; None where either is unknown."""
    if amount == 0:
        return 0.0
    if amount < 0 or peak_per_s is None:
        return None
    return amount / peak_per_s / (self_ns * 1e-9)


def _reached(
    name: str,
    of: str,
    unit: str,
    amount: int,
    self_ns: float,
    peak_per_s: float | None,
    share: float | None,
) -> str:
    if amount <= 0:
        return f"{name} {'unknown' if amount else 'nothing'}"
    achieved = amount / self_ns  # an amount a nanosecond is 1e9 of them a second
    if peak_per_s is None or share is None:
        return f"{name} {achieved:.3g} G{unit} (ceiling not measured)"
    return f"{name} {share:.0%} {of} ({achieved:.3g} of {peak_per_s * 1e-9:.3g} G{unit})"


# Nodes as the formulas see them

#: Name of an element type, lower case and without the packing suffix (``Int4x2``), as ORT
#: and ONNX write it -> name, bits of an element. Text has no size that shapes tell.
_TYPES: Final[Mapping[str, tuple[str, int]]] = {
    "float": ("float32", 32),
    "double": ("float64", 64),
    "float16": ("float16", 16),
    "bfloat16": ("bfloat16", 16),
    "float8e4m3fn": ("float8_e4m3fn", 8),
    "float8e4m3fnuz": ("float8_e4m3fnuz", 8),
    "float8e5m2": ("float8_e5m2", 8),
    "float8e5m2fnuz": ("float8_e5m2fnuz", 8),
    "float8e8m0": ("float8_e8m0fnu", 8),
    "float4e2m1": ("float4_e2m1fn", 4),
    "bool": ("bool", 8),
    **{f"{sign}int{bits}": (f"{sign}int{bits}", bits)
       for sign in ("", "u") for bits in (2, 4, 8, 16, 32, 64)},
    "complex64": ("complex64", 64),
    "complex128": ("complex128", 128),
}  # fmt: skip
_BITS: Final = dict(_TYPES.values())


class _Unknown(Exception):
    """What a formula needs is not known."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Node:
    """One node.

    Attributes:
        op_type: its operator type.
        inputs: at their formal positions, None where the node has none; None as a whole
            where the positions cannot be told.
        complete: whether all inputs are there.
        outputs: those the node has; what follows a left-out one moves up.
        attributes: None where they are not known.
    """

    op_type: str
    inputs: tuple[Tensor | None, ...] | None
    complete: bool
    outputs: tuple[Tensor, ...]
    attributes: Mapping[str, int | float | str | tuple[int, ...]] | None

    @property
    def present(self) -> tuple[Tensor, ...]:
        """The inputs that the node has."""
        if self.inputs is None or not self.complete:
            raise _Unknown
        return tuple(tensor for tensor in self.inputs if tensor is not None)

    def output(self, *ranks: int) -> Tensor:
        """The first output; of one of these ranks, or the formula is not made for it."""
        if not self.outputs or (ranks and len(self.outputs[0].shape) not in ranks):
            raise _Unknown
        return self.outputs[0]

    def has(self, position: int) -> bool:
        """Whether the node has the input: a question to its definition."""
        if self.inputs is None or self.attributes is None:
            raise _Unknown
        return position < len(self.inputs) and self.inputs[position] is not None

    def input(self, position: int, *ranks: int) -> Tensor:
        """The input, of one of these ranks; what else is there is not that input."""
        inputs = self.inputs or ()
        tensor = inputs[position] if position < len(inputs) else None
        if tensor is None or (ranks and len(tensor.shape) not in ranks):
            raise _Unknown
        return tensor

    def integer(self, name: str, default: int | None = None) -> int:
        """An attribute; the default is that of the specification, None if there is none."""
        value = self._attribute(name, default)
        if not isinstance(value, int):
            raise _Unknown
        return value

    def integers(self, name: str) -> tuple[int, ...]:
        """An attribute without a default."""
        value = self._attribute(name, None)
        if not isinstance(value, tuple):
            raise _Unknown
        return value

    def text(self, name: str, default: str = "") -> str:
        """An attribute."""
        return str(self._attribute(name, default))

    def _attribute(self, name: str, default: int | str | None) -> object:
        if self.attributes is None:
            raise _Unknown
        return self.attributes.get(name, default)


_Formula = Callable[[_Node], int]
_Answer = TypeVar("_Answer", int, str)


def _known(formula: Callable[[_Node], _Answer], node: _Node, otherwise: _Answer) -> _Answer:
    try:
        return formula(node)
    except _Unknown:
        return otherwise


def _type_name(name: str) -> str:
    plain = name.lower().removesuffix("x2").removesuffix("x4")
    return _TYPES[plain][0] if plain in _TYPES else plain


def _tensors(text: str) -> tuple[Tensor, ...]:
    """``[{"float":[1,3]},{"int64":[]}]`` as ORT's profiler writes it."""
    entries: list[dict[str, list[int]]] = json.loads(text) if text else []
    return tuple(
        Tensor(_type_name(name), tuple(shape)) for entry in entries for name, shape in entry.items()
    )


def _inputs(
    reported: tuple[Tensor, ...], definition: Definition | None, operator: _Operator
) -> tuple[Tensor | None, ...] | None:
    """Inputs at their formal positions.

    ORT reports those that are there, in order, but no sequences and no constants that a
    kernel repacked and then gave up.
    """
    if definition is None:
        # The first input of these operators is data and is reported; what follows may be
        # anything that comes after a weight that is not.
        return reported[:1] if operator.repacks else reported
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
    """Collects the definitions of a graph and its bodies; outer are the constants around."""
    import onnx

    constants = dict(outer)
    for initializer in graph.initializer:
        if initializer.name not in fed:
            name = onnx.TensorProto.DataType.Name(initializer.data_type)
            constants[initializer.name] = Tensor(_type_name(name), tuple(initializer.dims))
    readable = onnx.AttributeProto
    for node in graph.node:
        attributes: dict[str, int | float | str | tuple[int, ...]] = {}
        for attribute in node.attribute:
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
        inputs = enumerate(node.input)
        found[row_of(node.name)] = Definition(
            present=tuple(bool(name) for name in node.input),
            constants={at: constants[name] for at, name in inputs if name in constants},
            attributes=attributes,
        )


# Traffic: bytes that must be moved


def _nbytes(tensor: Tensor, elements: int | None = None) -> int:
    """Bytes of a tensor, or of so many of its elements."""
    if tensor.dtype not in _BITS:
        raise _Unknown
    count = tensor.size if elements is None else elements
    return -(-count * _BITS[tensor.dtype] // 8)


def _once(node: _Node) -> int:
    """Every input and every output."""
    return sum(_nbytes(tensor) for tensor in (*node.present, *node.outputs))


def _nothing(_: _Node) -> int:
    """A view: ORT's kernel declares its output an alias of its input (KernelDef::Alias).

    One that is an output of the model is copied all the same; least is nothing.
    """
    return 0


def _written(node: _Node) -> int:
    """Outputs alone: no input is read, or only a few numbers."""
    return sum(_nbytes(tensor) for tensor in node.outputs)


def _taken(node: _Node) -> int:
    """As many elements of the data as go out, the indices, and the output."""
    data = node.input(0)
    taken = _nbytes(data, min(data.size, node.output().size))
    return taken + sum(map(_nbytes, node.present[1:])) + _written(node)


def _scattered(node: _Node) -> int:
    """Updates read and written, and their indices: ORT works in place where it can."""
    node.input(0)
    return _nbytes(node.input(1)) + 2 * _nbytes(node.input(2))


def _embedded(node: _Node) -> int:
    """EmbedLayerNormalization: a row of each table for each token, ids, scale, shift."""
    rows = _nbytes(node.output()) * (2 + node.has(4))
    read = [node.input(at) for at in (0, 1, 5, 6, 7, 8) if node.has(at)]
    return rows + sum(map(_nbytes, read)) + _written(node)


def _turned(node: _Node) -> int:
    """RotaryEmbedding: the data; of the tables of sines only an unknown part is read."""
    return _nbytes(node.input(0)) + _written(node)


# Operations


def _none(_: _Node) -> int:
    return 0


def _data_dependent(_: _Node) -> int:
    """Sorting and drawing: the values decide how much is done."""
    raise _Unknown


def _each_output(operations: int) -> _Formula:
    return lambda node: operations * node.output().size


def _each_input(operations: int) -> _Formula:
    return lambda node: operations * node.input(0).size


def _with_optional(operations: int, *positions: int) -> _Formula:
    """One operation more an output element for each of these inputs the node has."""
    return lambda node: (operations + sum(map(node.has, positions))) * node.output().size


def _variadic(node: _Node) -> int:
    """Max, Min, Sum of n tensors: n - 1 each element; Mean divides as well."""
    return (len(node.present) - (node.op_type != "Mean")) * node.output().size


def _convolution(weight: int) -> _Formula:
    """2·(C/group)·kernel an output element (ONNX Conv; W is M x C/group x kernel).

    Also where the layout of W is M x kernel x C/group. X and W have the same rank.
    """

    def formula(node: _Node) -> int:
        filters = node.input(weight, len(node.input(0).shape)).shape
        return 2 * node.output().size * math.prod(filters[1:])

    return formula


def _transposed_convolution(node: _Node) -> int:
    """2·(M/group)·kernel an input element (ONNX ConvTranspose; W is C x M/group x kernel)."""
    x = node.input(0)
    return 2 * x.size * math.prod(node.input(1, len(x.shape)).shape[1:])


def _matrix_product(node: _Node) -> int:
    """2·K an output element, K the last dimension of A (ONNX MatMul; NumPy's matmul)."""
    return 2 * node.output().size * (node.input(0).shape or (1,))[-1]


def _gemm(node: _Node) -> int:
    """2·M·N·K (ONNX Gemm); A is M x K or K x M: its size is M·K."""
    return 2 * node.output(2).shape[1] * node.input(0).size


def _fused_matrix_product(node: _Node) -> int:
    """FusedMatMul: transA swaps the last two dimensions, transBatchA moves the first there."""
    shape = node.input(0).shape
    if len(shape) < 2 or not node.integer("transA", 0):
        return _matrix_product(node)
    summed = shape[0] if node.integer("transBatchA", 0) else shape[-2]
    return 2 * node.output().size * summed


def _pooling(operations: int) -> _Formula:
    """Each output reduces a window (ONNX MaxPool, AveragePool, LpPool)."""
    return lambda node: operations * node.output().size * math.prod(node.integers("kernel_shape"))


def _local_response(node: _Node) -> int:
    """ONNX LRN: square, a sum of size squares, scale, shift, power, quotient."""
    return (node.integer("size") + 4) * node.output().size


def _recurrent(gates: int, elementwise: int) -> _Formula:
    """2·gates·hidden·(input + hidden) and the cell's elementwise part, each step and batch.

    ONNX RNN, GRU, LSTM: X is steps x batch x input (or batch first), R is directions x
    gates·hidden x hidden. Shorter sequence_lens are counted as full ones.
    """

    def formula(node: _Node) -> int:
        *cells, features = node.input(0, 3).shape
        directions, hidden = node.input(2, 3).shape[0], node.input(2, 3).shape[-1]
        if node.op_type.startswith("Dynamic"):  # DynamicQuantizeLSTM has R transposed
            hidden = node.input(2, 3).shape[1]
        each = 2 * gates * (features + hidden) + elementwise
        return math.prod(cells) * directions * hidden * each

    return formula


def _softmax_attention(queries: int, results: int, rows: int, keys: int) -> int:
    """Scores 2·head a (query, key), softmax of each row of them, weighted sum of values.

    Args:
        queries: elements of all queries.
        results: elements of the output.
        rows: heads x query positions of all batches.
        keys: positions that each query meets.
    """
    return 2 * keys * (queries + results) + _SOFTMAX * rows * keys


def _projected_attention(past: int) -> _Formula:
    """com.microsoft Attention and QAttention: projection to Q, K, V first.

    Input batch x length x width, weights width x (Q + K + V), past 2 x batch x heads x
    length x head.
    """

    def formula(node: _Node) -> int:
        batch, length, width = node.input(0, 3).shape
        projected = node.input(1, 2).shape[1]
        if node.integer("past_present_share_buffer", 0):
            raise _Unknown  # how much of the buffer is filled is a value, not a shape
        keys = length + (node.input(past, 5).shape[3] if node.has(past) else 0)
        queries = (projected - node.output().shape[-1]) // 2  # Q and K are equally wide
        return 2 * batch * length * width * projected + _softmax_attention(
            batch * length * queries,
            node.output().size,
            batch * length * node.integer("num_heads"),
            keys,
        )

    return formula


def _multi_head_attention(node: _Node) -> int:
    """com.microsoft MultiHeadAttention.

    Query batch x length x width, or with keys and values packed batch x length x heads x
    3 x head; key batch x length x width, batch x heads x length x head, or with values
    packed batch x length x heads x 2 x head; past_key batch x heads x length x head.
    """
    query = node.input(0, 3, 5)
    batch, length = query.shape[:2]
    packed = len(query.shape) == 5
    if node.has(8):
        raise _Unknown  # past_sequence_length: a value, not a shape
    if packed:
        keys = length
    else:
        key = node.input(1, 3, 4, 5).shape
        keys = key[2] if len(key) == 4 else key[1]
    keys += node.input(6, 4).shape[2] if node.has(6) else 0
    rows = batch * length * node.integer("num_heads")
    return _softmax_attention(query.size // (3 if packed else 1), node.output().size, rows, keys)


def _grouped_query_attention(node: _Node) -> int:
    """com.microsoft GroupQueryAttention; Q and output have the same size.

    past_key and present_key are batch x kv_heads x length x head. Where both are one
    buffer of the longest length, how much of it counts is a value, not a shape.
    """
    batch, length, _ = node.output(3).shape
    heads = node.integer("num_heads")
    past = node.input(3, 4).shape[2] if node.has(3) else 0
    if len(node.outputs) < 2 or len(node.outputs[1].shape) != 4:
        raise _Unknown
    keys = node.outputs[1].shape[2]
    if keys != past + length:
        raise _Unknown
    rotated = node.output().size + node.output().size * node.integer("kv_num_heads") // heads
    return _softmax_attention(
        node.output().size, node.output().size, batch * length * heads, keys
    ) + (_ROTARY * rotated if node.integer("do_rotary", 0) else 0)


def _onnx_attention(node: _Node) -> int:
    """ONNX Attention (opset 23): Q, K, V batch x heads x length x head, or heads merged."""
    query, key = node.input(0, 3, 4), node.input(1, 3, 4)
    if len(query.shape) == 4:
        rows = math.prod(query.shape[:3])
    else:
        rows = math.prod(query.shape[:2]) * node.integer("q_num_heads")
    keys = key.shape[-2] + (node.input(4, 4).shape[2] if node.has(4) else 0)
    return _softmax_attention(query.size, node.output().size, rows, keys)


def _rotary(node: _Node) -> int:
    """a·cos - b·sin, and the like for b; unknown where only part of a head is rotated."""
    if node.integer("rotary_embedding_dim", 0):
        raise _Unknown
    return _ROTARY * node.output().size


def _group_norm(node: _Node) -> int:
    """com.microsoft GroupNorm, SkipGroupNorm (skip, bias); activation 1 is SiLU."""
    skipped = sum(map(node.has, (3, 4)))
    return (7 + skipped + 2 * node.integer("activation")) * node.output().size


def _dequantised(node: _Node) -> int:
    """Less the zero point if there is one, and scaled (ONNX DequantizeLinear)."""
    return (1 + node.has(2)) * node.output().size


def _interpolated(node: _Node) -> int:
    """ONNX Resize, Upsample: a multiply-add for each of the taps^d neighbours."""
    x = node.input(0)
    y = node.output(len(x.shape))
    mode = node.text("mode", "nearest")
    if mode == "nearest":
        return 0
    taps = {"linear": 2, "bilinear": 2, "cubic": 4}.get(mode)
    if taps is None or node.integer("antialias", 0):
        raise _Unknown
    scaled = sum(before != after for before, after in zip(x.shape, y.shape, strict=True))
    return 2 * int(taps**scaled) * y.size


def _einsum(node: _Node) -> int:
    """One or two operands: the product of all labels' sizes, twice where it is a sum."""
    left, arrow, right = node.text("equation").replace(" ", "").partition("->")
    terms = left.split(",")
    operands = node.present
    if not arrow or "." in left or len(terms) != len(operands) or len(terms) > 2:
        raise _Unknown
    sizes: dict[str, int] = {}
    for term, operand in zip(terms, operands, strict=True):
        if len(term) != len(operand.shape):
            raise _Unknown
        for label, size in zip(term, operand.shape, strict=True):
            sizes[label] = max(size, sizes.get(label, 0))  # 1 is broadcast
    summed = set(left) - {","} > set(right)
    return math.prod(sizes.values()) * (len(terms) - 1 + summed)


# The table

#: 8 and 4 bits are formats of storage: what is scaled from or to them is none of them.
_FLOATING: Final = ("float16", "bfloat16", "float32", "float64")
#: Max, Sub, Exp, Sum, Div (function body of ONNX Softmax).
_SOFTMAX: Final = 5
#: Two products and a sum.
_ROTARY: Final = 3


def _data_type(node: _Node) -> str:
    """The first type with floating arithmetic among inputs and outputs, else the first."""
    types = [tensor.dtype for tensor in (*(node.inputs or ()), *node.outputs) if tensor]
    return next((name for name in types if name in _FLOATING), types[0] if types else "")


def _int8(_: _Node) -> str:
    return "int8"


def _accuracy_type(node: _Node) -> str:
    """MatMulNBits quantises its data at accuracy level 4, and unpacks its weights below."""
    return "int8" if node.integer("accuracy_level", 0) == 4 else _data_type(node)


class _Operator(NamedTuple):
    """How an operator is counted.

    Attributes:
        flops: its operations.
        traffic: its bytes.
        dtype: type of its arithmetic.
        repacks: its CPU kernels give up weights, which ORT then no longer reports.
    """

    flops: _Formula
    traffic: _Formula = _once
    dtype: Callable[[_Node], str] = _data_type
    repacks: bool = False


def _operator(domain: str, op_type: str) -> _Operator | None:
    if domain in ("", "ai.onnx", "com.ms.internal.nhwc"):
        return _ONNX.get(op_type)
    if domain == "com.microsoft.nchwc":
        return _NCHWC.get(op_type)
    return _MICROSOFT.get(op_type) if domain == "com.microsoft" else None


def _all(operator: _Operator, op_types: str) -> dict[str, _Operator]:
    return dict.fromkeys(op_types.split(), operator)


_MOVE: Final = _Operator(_none)
_VIEW: Final = _Operator(_none, _nothing)
_TAKE: Final = _Operator(_none, _taken)
_FILL: Final = _Operator(_none, _written)

#: Names of the ONNX operator specification, with the formulas of its definitions. The
#: domain com.ms.internal.nhwc has the same operators with channels last.
_ONNX: Final[Mapping[str, _Operator]] = {
    "Conv": _Operator(_convolution(1)),
    "ConvInteger": _Operator(_convolution(1), dtype=_int8),
    "QLinearConv": _Operator(_convolution(3), dtype=_int8, repacks=True),
    "ConvTranspose": _Operator(_transposed_convolution, repacks=True),
    "MatMul": _Operator(_matrix_product, repacks=True),
    "Gemm": _Operator(_gemm, repacks=True),
    **_all(_Operator(_matrix_product, dtype=_int8, repacks=True), "MatMulInteger QLinearMatMul"),
    "Einsum": _Operator(_einsum),
    # Activations 1; LSTM 5, and f·C + i·c, o·h; GRU 3, and r·h, (1 - z)·h + z·H.
    "RNN": _Operator(_recurrent(1, 1)),
    "GRU": _Operator(_recurrent(3, 8), repacks=True),
    "LSTM": _Operator(_recurrent(4, 9), repacks=True),
    "Attention": _Operator(_onnx_attention),
    "RotaryEmbedding": _Operator(_rotary, _turned),
    **_all(
        _Operator(_each_output(1)),
        "Abs Acos Acosh Add And Asin Asinh Atan Atanh BitShift BitwiseAnd BitwiseNot BitwiseOr "
        "BitwiseXor Ceil Celu Cos Cosh CumSum CumProd Div Elu Equal Erf Exp Floor Greater "
        "GreaterOrEqual HardSigmoid IsInf IsNaN LeakyRelu Less LessOrEqual Log Mod Mul Neg Not "
        "Or Pow PRelu Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin Sinh Softplus Softsign "
        "Sqrt Sub Tan Tanh ThresholdedRelu Where Xor",
    ),
    "Clip": _Operator(_each_output(2)),  # Max, Min
    **_all(_Operator(_each_output(2)), "HardSwish Swish"),  # gate, Mul
    "Mish": _Operator(_each_output(3)),  # Softplus, Tanh, Mul
    "Gelu": _Operator(_each_output(5)),  # Div, Erf, Add, Mul, Mul
    **_all(_Operator(_variadic), "Max Min Sum Mean"),
    **_all(_Operator(_each_output(_SOFTMAX)), "Softmax LogSoftmax"),
    # Mean, Sub, square, Mean, Div; then Mul with the scale and Add of the shift.
    "LayerNormalization": _Operator(_with_optional(6, 2), repacks=True),
    **_all(_Operator(_each_output(7)), "InstanceNormalization GroupNormalization"),
    "MeanVarianceNormalization": _Operator(_each_output(5)),
    # Square, Mean, Div, Mul.
    **_all(
        _Operator(_each_output(4), repacks=True),
        "RMSNormalization SimplifiedLayerNormalization",
    ),
    "LpNormalization": _Operator(_each_output(3)),  # power, Sum, Div
    "BatchNormalization": _Operator(_each_output(2)),  # one scale and shift a channel
    "LRN": _Operator(_local_response),
    **_all(
        _Operator(_each_input(1)),
        "ArgMax ArgMin GlobalAveragePool GlobalMaxPool ReduceLogSum ReduceMax ReduceMean "
        "ReduceMin ReduceProd ReduceSum",
    ),
    **_all(
        _Operator(_each_input(2)),  # Abs, square or Exp, and Sum
        "GlobalLpPool ReduceL1 ReduceL2 ReduceLogSumExp ReduceSumSquare",
    ),
    **_all(_Operator(_pooling(1)), "MaxPool AveragePool"),
    "LpPool": _Operator(_pooling(2)),
    **_all(_Operator(_interpolated, _taken), "Resize Upsample"),
    "QuantizeLinear": _Operator(_with_optional(1, 2)),  # Div, Add
    "DequantizeLinear": _Operator(_dequantised),
    "DynamicQuantizeLinear": _Operator(_each_output(4)),  # Min, Max, Div, Add
    **_all(
        _MOVE,
        "Cast CastLike Concat DepthToSpace Dropout Expand MemcpyFromHost MemcpyToHost OneHot "
        "ReverseSequence SpaceToDepth Split Tile Transpose Trilu",
    ),
    **_all(_VIEW, "Flatten Identity Reshape Squeeze Unsqueeze"),
    **_all(_TAKE, "CenterCropPad Compress Gather GatherElements GatherND Pad Slice"),
    **_all(_FILL, "Constant ConstantOfShape EyeLike Shape Size"),
    "Range": _Operator(_each_output(1), _written),
    **_all(_Operator(_none, _scattered), "Scatter ScatterElements ScatterND"),
    **_all(_Operator(_data_dependent), "NonZero TopK Unique"),
    **_all(
        _Operator(_data_dependent, _written),
        "RandomNormal RandomNormalLike RandomUniform RandomUniformLike",
    ),
}

#: Formulas of ContribOperators.md; a fusion counts what it was fused from.
_MICROSOFT: Final[Mapping[str, _Operator]] = {
    **_all(_Operator(_convolution(1)), "FusedConv NhwcConv"),
    "NhwcFusedConv": _Operator(_convolution(1), repacks=True),
    "QLinearConv": _ONNX["QLinearConv"],
    "ConvTransposeWithDynamicPads": _ONNX["ConvTranspose"],
    "FusedGemm": _ONNX["Gemm"],
    "QGemm": _Operator(_gemm, dtype=_int8, repacks=True),
    **_all(
        _Operator(_fused_matrix_product, repacks=True),
        "FusedMatMul FusedMatMulActivation TransposeMatMul",
    ),
    **_all(_ONNX["MatMulInteger"], "DynamicQuantizeMatMul MatMulIntegerToFloat"),
    # Unpacking the weights is no operation of the product.
    "MatMulBnb4": _ONNX["MatMul"],
    "MatMulNBits": _Operator(_matrix_product, dtype=_accuracy_type, repacks=True),
    "DynamicQuantizeLSTM": _Operator(_recurrent(4, 9), dtype=_int8, repacks=True),
    "Attention": _Operator(_projected_attention(past=4), repacks=True),
    "QAttention": _Operator(_projected_attention(past=8), dtype=_int8, repacks=True),
    "MultiHeadAttention": _Operator(_multi_head_attention),
    "GroupQueryAttention": _Operator(_grouped_query_attention),
    "RotaryEmbedding": _Operator(_rotary, _turned),
    # A sum of two or three rows, then LayerNormalization.
    "EmbedLayerNormalization": _Operator(_with_optional(8, 4), _embedded),
    # Sum with the skip and, where it is there, the bias; then the normalisation.
    "SkipLayerNormalization": _Operator(_with_optional(7, 3, 4), repacks=True),
    "SkipSimplifiedLayerNormalization": _Operator(_with_optional(5, 3), repacks=True),
    **_all(_Operator(_group_norm), "GroupNorm SkipGroupNorm"),
    "Gelu": _ONNX["Gelu"],
    "BiasGelu": _Operator(_each_output(6)),  # Add, Gelu
    # x·x·x, Mul, Add, Mul, Tanh, Add, Mul, Mul; and the bias.
    "FastGelu": _Operator(_with_optional(9, 1)),
    "QuickGelu": _Operator(_each_output(3)),  # Mul, Sigmoid, Mul
    "BiasSplitGelu": _Operator(_each_output(8)),  # two Adds, Gelu of one half, Mul
    "BiasSoftmax": _Operator(_each_output(1 + _SOFTMAX)),
    "BiasAdd": _Operator(_each_output(2)),
    # Each input dequantised (2), the operator, the result quantised (2).
    **_all(_Operator(_each_output(7)), "QLinearAdd QLinearMul"),
    **_all(_Operator(_each_output(5)), "QLinearLeakyRelu QLinearSigmoid"),
    "QLinearSoftmax": _Operator(_each_output(4 + _SOFTMAX)),
    # Quantised means of the quantised values: nothing is scaled but the few results.
    **_all(_Operator(_each_input(1)), "QLinearGlobalAveragePool QLinearReduceMean"),
    **_all(_Operator(_pooling(1)), "NhwcMaxPool QLinearAveragePool"),
    "QuantizeLinear": _ONNX["QuantizeLinear"],
    "DequantizeLinear": _ONNX["DequantizeLinear"],
    "ExpandDims": _VIEW,
    "Trilu": _MOVE,
    "GatherND": _TAKE,
    "Pad": _TAKE,
    "Unique": _ONNX["Unique"],
}

#: Channels in blocks of 8 or 16 (MLAS NCHWc): ONNX's operators with a layout of their own.
_NCHWC: Final[Mapping[str, _Operator]] = {
    **{
        name: _ONNX[name]
        for name in (
            "AveragePool",
            "Conv",
            "GlobalAveragePool",
            "GlobalMaxPool",
            "MaxPool",
            "Upsample",
        )
    },
    **_all(_MOVE, "ReorderInput ReorderOutput"),
}
