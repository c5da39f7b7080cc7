"""Operations of a node, by operator, and the type that they are done in."""

from __future__ import annotations

import math
from typing import Final

from harness.models.work.nodes import Formula, Node
from harness.models.work.tensors import Unknown

#: 8 and 4 bits are formats of storage: what is scaled from or to them is none of them.
_FLOATING: Final = ("float16", "bfloat16", "float32", "float64")
#: Max, Sub, Exp, Sum, Div (function body of ONNX Softmax).
SOFTMAX: Final = 5
#: Two products and a sum.
_ROTARY: Final = 3


def none(_: Node) -> int:
    """Moving, converting and comparing indices."""
    return 0


def data_dependent(_: Node) -> int:
    """Sorting and drawing: the values decide how much is done."""
    raise Unknown


def each_output(operations: int) -> Formula:
    """So many operations for each output element."""
    return lambda node: operations * node.output().size


def each_input(operations: int) -> Formula:
    """So many operations for each element of the first input."""
    return lambda node: operations * node.input(0).size


def with_optional(operations: int, *positions: int) -> Formula:
    """One operation more an output element for each of these inputs the node has."""
    return lambda node: (operations + sum(map(node.has, positions))) * node.output().size


def variadic(node: Node) -> int:
    """Max, Min, Sum of n tensors: n - 1 each element; Mean divides as well."""
    return (len(node.present) - (node.op_type != "Mean")) * node.output().size


def convolution(weight: int) -> Formula:
    """2·(C/group)·kernel an output element (ONNX Conv; W is M x C/group x kernel).

    Also where the layout of W is M x kernel x C/group. X and W have the same rank.
    """

    def formula(node: Node) -> int:
        filters = node.input(weight, len(node.input(0).shape)).shape
        return 2 * node.output().size * math.prod(filters[1:])

    return formula


def transposed_convolution(node: Node) -> int:
    """2·(M/group)·kernel an input element (ONNX ConvTranspose; W is C x M/group x kernel)."""
    x = node.input(0)
    return 2 * x.size * math.prod(node.input(1, len(x.shape)).shape[1:])


def matrix_product(node: Node) -> int:
    """2·K an output element, K the last dimension of A (ONNX MatMul; NumPy's matmul)."""
    return 2 * node.output().size * (node.input(0).shape or (1,))[-1]


def gemm(node: Node) -> int:
    """2·M·N·K (ONNX Gemm); A is M x K or K x M: its size is M·K."""
    return 2 * node.output(2).shape[1] * node.input(0).size


def fused_matrix_product(node: Node) -> int:
    """FusedMatMul: transA swaps the last two dimensions, transBatchA moves the first there."""
    shape = node.input(0).shape
    if len(shape) < 2 or not node.integer("transA", 0):
        return matrix_product(node)
    summed = shape[0] if node.integer("transBatchA", 0) else shape[-2]
    return 2 * node.output().size * summed


def pooling(operations: int) -> Formula:
    """Each output reduces a window (ONNX MaxPool, AveragePool, LpPool)."""
    return lambda node: operations * node.output().size * math.prod(node.integers("kernel_shape"))


def local_response(node: Node) -> int:
    """ONNX LRN: square, a sum of size squares, scale, shift, power, quotient."""
    return (node.integer("size") + 4) * node.output().size


def recurrent(gates: int, elementwise: int) -> Formula:
    """2·gates·hidden·(input + hidden) and the cell's elementwise part, each step and batch.

    ONNX RNN, GRU, LSTM: X is steps x batch x input (or batch first), R is directions x
    gates·hidden x hidden. Shorter sequence_lens are counted as full ones.
    """

    def formula(node: Node) -> int:
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
    return 2 * keys * (queries + results) + SOFTMAX * rows * keys


def projected_attention(past: int) -> Formula:
    """com.microsoft Attention and QAttention: projection to Q, K, V first.

    Input batch x length x width, weights width x (Q + K + V), past 2 x batch x heads x
    length x head.
    """

    def formula(node: Node) -> int:
        batch, length, width = node.input(0, 3).shape
        projected = node.input(1, 2).shape[1]
        if node.integer("past_present_share_buffer", 0):
            raise Unknown  # how much of the buffer is filled is a value, not a shape
        keys = length + (node.input(past, 5).shape[3] if node.has(past) else 0)
        queries = (projected - node.output().shape[-1]) // 2  # Q and K are equally wide
        return 2 * batch * length * width * projected + _softmax_attention(
            batch * length * queries,
            node.output().size,
            batch * length * node.integer("num_heads"),
            keys,
        )

    return formula


def multi_head_attention(node: Node) -> int:
    """com.microsoft MultiHeadAttention.

    Query batch x length x width, or with keys and values packed batch x length x heads x
    3 x head; key batch x length x width, batch x heads x length x head, or with values
    packed batch x length x heads x 2 x head; past_key batch x heads x length x head.
    """
    query = node.input(0, 3, 5)
    batch, length = query.shape[:2]
    packed = len(query.shape) == 5
    if node.has(8):
        raise Unknown  # past_sequence_length: a value, not a shape
    if packed:
        keys = length
    else:
        key = node.input(1, 3, 4, 5).shape
        keys = key[2] if len(key) == 4 else key[1]
    keys += node.input(6, 4).shape[2] if node.has(6) else 0
    rows = batch * length * node.integer("num_heads")
    return _softmax_attention(query.size // (3 if packed else 1), node.output().size, rows, keys)


def grouped_query_attention(node: Node) -> int:
    """com.microsoft GroupQueryAttention; Q and output have the same size.

    past_key and present_key are batch x kv_heads x length x head. Where both are one
    buffer of the longest length, how much of it counts is a value, not a shape.
    """
    batch, length, _ = node.output(3).shape
    heads = node.integer("num_heads")
    past = node.input(3, 4).shape[2] if node.has(3) else 0
    if len(node.outputs) < 2 or len(node.outputs[1].shape) != 4:
        raise Unknown
    keys = node.outputs[1].shape[2]
    if keys != past + length:
        raise Unknown
    rotated = node.output().size + node.output().size * node.integer("kv_num_heads") // heads
    return _softmax_attention(
        node.output().size, node.output().size, batch * length * heads, keys
    ) + (_ROTARY * rotated if node.integer("do_rotary", 0) else 0)


def onnx_attention(node: Node) -> int:
    """ONNX Attention (opset 23): Q, K, V batch x heads x length x head, or heads merged."""
    query, key = node.input(0, 3, 4), node.input(1, 3, 4)
    if len(query.shape) == 4:
        rows = math.prod(query.shape[:3])
    else:
        rows = math.prod(query.shape[:2]) * node.integer("q_num_heads")
    keys = key.shape[-2] + (node.input(4, 4).shape[2] if node.has(4) else 0)
    return _softmax_attention(query.size, node.output().size, rows, keys)


def rotary(node: Node) -> int:
    """a·cos - b·sin, and the like for b; unknown where only part of a head is rotated."""
    if node.integer("rotary_embedding_dim", 0):
        raise Unknown
    return _ROTARY * node.output().size


def group_norm(node: Node) -> int:
    """com.microsoft GroupNorm, SkipGroupNorm (skip, bias); activation 1 is SiLU."""
    skipped = sum(map(node.has, (3, 4)))
    return (7 + skipped + 2 * node.integer("activation")) * node.output().size


def dequantised(node: Node) -> int:
    """Less the zero point if there is one, and scaled (ONNX DequantizeLinear)."""
    return (1 + node.has(2)) * node.output().size


def interpolated(node: Node) -> int:
    """ONNX Resize, Upsample: a multiply-add for each of the taps^d neighbours."""
    x = node.input(0)
    y = node.output(len(x.shape))
    mode = node.text("mode", "nearest")
    if mode == "nearest":
        return 0
    taps = {"linear": 2, "bilinear": 2, "cubic": 4}.get(mode)
    if taps is None or node.integer("antialias", 0):
        raise Unknown
    scaled = sum(before != after for before, after in zip(x.shape, y.shape, strict=True))
    return 2 * int(taps**scaled) * y.size


def einsum(node: Node) -> int:
    """One or two operands: the product of all labels' sizes, twice where it is a sum."""
    left, arrow, right = node.text("equation").replace(" ", "").partition("->")
    terms = left.split(",")
    operands = node.present
    if not arrow or "." in left or len(terms) != len(operands) or len(terms) > 2:
        raise Unknown
    sizes: dict[str, int] = {}
    for term, operand in zip(terms, operands, strict=True):
        if len(term) != len(operand.shape):
            raise Unknown
        for label, size in zip(term, operand.shape, strict=True):
            sizes[label] = max(size, sizes.get(label, 0))  # 1 is broadcast
    summed = set(left) - {","} > set(right)
    return math.prod(sizes.values()) * (len(terms) - 1 + summed)


def data_type(node: Node) -> str:
    """The first type with floating arithmetic among inputs and outputs, else the first."""
    types = [tensor.dtype for tensor in (*(node.inputs or ()), *node.outputs) if tensor]
    return next((name for name in types if name in _FLOATING), types[0] if types else "")


def int8(_: Node) -> str:
    """Quantised products."""
    return "int8"


def accuracy_type(node: Node) -> str:
    """MatMulNBits quantises its data at accuracy level 4, and unpacks its weights below."""
    return "int8" if node.integer("accuracy_level", 0) == 4 else data_type(node)
