"""Operations of a node, by operator, and the type that they are done in."""

from __future__ import annotations

import math
from typing import Final

from harness.models.work.nodes import Formula, Node
from harness.models.work.tensors import Unknown

#: Types that arithmetic is done in. Floats of 8 and 4 bits only store values.
_FLOATING: Final = ("float16", "bfloat16", "float32", "float64")
#: Max, Sub, Exp, Sum, Div (function body of ONNX Softmax).
SOFTMAX: Final = 5
#: Two products and a sum.
_ROTARY: Final = 3
#: Min, Max, Div, Add of the zero point (DynamicQuantizeLinear), an element that is quantised.
QUANTISED: Final = 4
#: Abs, Max, Div: likewise without a zero point, by blocks (accuracy level 4 of MatMulNBits).
_BLOCKS_QUANTISED: Final = 3


def none(_: Node) -> int:
    """Moving, converting, comparing indices."""
    return 0


def data_dependent(_: Node) -> int:
    """Sorting, drawing random numbers: the values decide how much is done."""
    raise Unknown


def each_output(operations: int) -> Formula:
    """The given number of operations for each output element."""
    return lambda node: operations * node.output().size


def each_input(operations: int) -> Formula:
    """The given number of operations for each element of the first input."""
    return lambda node: operations * node.input(0).size


def with_optional(operations: int, *positions: int) -> Formula:
    """One more operation an output element for each of these inputs that the node has."""
    return lambda node: (operations + sum(map(node.has, positions))) * node.output().size


def clipped(node: Node) -> int:
    """ONNX Clip: 1 for each bound that is given, as an input or (before opset 11) an attribute."""
    bounds = node.has(1) + node.has(2) + ("min" in node.named) + ("max" in node.named)
    return bounds * node.output().size


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
    weight = 3 if node.op_type.startswith("QLinear") else 1
    return 2 * x.size * math.prod(node.input(weight, len(x.shape)).shape[1:])


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


def quantising_product(node: Node) -> int:
    """com.microsoft DynamicQuantizeMatMul: A is quantised, then multiplied."""
    return QUANTISED * node.input(0).size + matrix_product(node)


def blockwise_product(node: Node) -> int:
    """com.microsoft MatMulNBits: A is quantised first at accuracy level 4.

    Unpacking the weights is not an operation of the product.
    """
    level = node.integer("accuracy_level", 0) if node.attributes is not None else 0
    quantised = _BLOCKS_QUANTISED * node.input(0).size if level == 4 else 0
    return quantised + matrix_product(node)


def normalised_products(each: int) -> Formula:
    """com.microsoft MatMulNBitsMlp, MatMulNBitsQkv: products of one A, normalised or not.

    Inputs 1 and 2 are the skip that is added to A and the scale of its RMS normalisation.

    Args:
        each: products for each of the first outputs.
    """

    def formula(node: Node) -> int:
        a = node.input(0)
        outputs = node.outputs[: 3 if each == 1 else 1]
        products = 2 * a.shape[-1] * each * sum(one.size for one in outputs)
        return products + (4 * node.has(2) + node.has(1)) * a.size

    return formula


def affine_grid(node: Node) -> int:
    """ONNX AffineGrid: theta, N x d x d+1, times each position: 2·(d+1) an output element."""
    return 2 * node.input(0, 3).shape[2] * node.output().size


def distances(node: Node) -> int:
    """com.microsoft CDist: rows of A times rows of B, from which ORT makes the distances."""
    return 2 * node.output(2).size * node.input(0, 2).shape[1]


def pooling(operations: int) -> Formula:
    """Each output reduces a window (ONNX MaxPool, AveragePool, LpPool)."""
    return lambda node: operations * node.output().size * math.prod(node.integers("kernel_shape"))


def local_response(node: Node) -> int:
    """ONNX LRN: square, a sum of size squares, scale, shift, power, quotient."""
    return (node.integer("size") + 4) * node.output().size


def recurrent(gates: int, elementwise: int) -> Formula:
    """2·gates·hidden·(input + hidden) and the cell's elementwise part, each step and batch.

    ONNX RNN, GRU, LSTM: X is steps x batch x input (or batch first), R is directions x
    gates·hidden x hidden. Peepholes of an LSTM multiply and add at three gates. Shorter
    sequence_lens are counted as full ones. DynamicQuantizeLSTM has R transposed, and quantises
    X for each direction and the hidden state at each step.
    """

    def formula(node: Node) -> int:
        *cells, features = node.input(0, 3).shape
        directions, hidden = node.input(2, 3).shape[0], node.input(2, 3).shape[-1]
        quantised = 0
        if node.op_type.startswith("Dynamic"):
            hidden = node.input(2, 3).shape[1]
            quantised = QUANTISED * (features + hidden)
        each = 2 * gates * (features + hidden) + elementwise
        if gates == 4:
            each += 6 * node.has(7)
        return math.prod(cells) * directions * (hidden * each + quantised)

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


def decoder_masked_attention(node: Node) -> int:
    """com.microsoft DecoderMaskedMultiHeadAttention, one query position.

    Query batch x 1 x width, or packed with the key and value; key batch x 1 x width and
    past_key batch x heads x length x head, or for cross attention the past as the key.
    """
    if node.integer("past_present_share_buffer", 0):
        raise Unknown  # how much of the buffer is filled is a value, not a shape
    y = node.output(3)
    if node.has(1) and len(node.input(1, 3, 4).shape) == 4:
        keys = node.input(1).shape[2]
    else:
        keys = 1 + (node.input(5, 4).shape[2] if node.has(5) else 0)
    rows = y.shape[0] * node.integer("num_heads")
    queries = node.input(0, 3).size if node.has(1) else y.size
    return _softmax_attention(queries, y.size, rows, keys)


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
    if node.has(6):
        raise Unknown  # nonpad_kv_seqlen: values
    if len(query.shape) == 4:
        rows = math.prod(query.shape[:3])
    else:
        rows = math.prod(query.shape[:2]) * node.integer("q_num_heads")
    keys = key.shape[-2] + (node.input(4, 4).shape[2] if node.has(4) else 0)
    return _softmax_attention(query.size, node.output().size, rows, keys)


def linear_attention(node: Node) -> int:
    """ONNX, com.microsoft LinearAttention: a state of d_k x d_v a head, changed by each token.

    The outer product of key and value is added (2 an element), the state is decayed (1) where
    the rule is gated, and multiplied by the key (2) where it is delta; its product with the
    query (2) is the output. What is done once a row of the state is left out.
    """
    rule = node.text("update_rule", "gated_delta")
    batch, length, width = node.input(0, 3).shape
    heads, states = node.integer("q_num_heads"), node.integer("kv_num_heads")
    value_width = node.input(2, 3).shape[2] // max(states, 1)
    state = width // max(heads, 1) * value_width
    each = 2 + ("gated" in rule) + 2 * ("delta" in rule)
    return batch * length * state * (states * each + 2 * max(heads, states))


def rotary(node: Node) -> int:
    """a·cos - b·sin, and likewise for b; unknown where only part of a head is rotated."""
    if node.integer("rotary_embedding_dim", 0):
        raise Unknown
    return _ROTARY * node.output().size


def gemma_rotary(node: Node) -> int:
    """com.microsoft GemmaRotaryEmbedding: Sin and Cos of the angles, then q and k rotated."""
    return 2 * node.input(0).size + _ROTARY * sum(one.size for one in node.outputs)


def gated_rms_norm(node: Node) -> int:
    """com.microsoft GatedRMSNorm: RMS normalisation (4), Sigmoid or Swish (2), Mul."""
    gate = 1 if node.text("activation", "silu") == "sigmoid" else 2
    return (4 + gate + 1) * node.output().size


def linear_attention_gate(node: Node) -> int:
    """com.microsoft LinearAttentionGate: Add, Softplus, Mul; and Sigmoid of b, if it is there."""
    return (3 + node.has(3)) * node.input(0).size


def likelihood_loss(scores: int) -> Formula:
    """ONNX NegativeLogLikelihoodLoss (0) and SoftmaxCrossEntropyLoss (its Softmax first).

    For each label the negative, its weight if there are weights, and the reduction.
    """

    def formula(node: Node) -> int:
        each = 1 + node.has(2) + (node.text("reduction", "mean") != "none")
        return scores * node.input(0).size + each * node.input(1).size

    return formula


def quantised_embedding(node: Node) -> int:
    """com.microsoft QEmbedLayerNormalization: rows dequantised (2) and added, normalised (7)."""
    rows = 2 + node.has(4)
    return (2 * rows + rows - 1 + 7) * node.output().size


def quantised_factors(node: Node) -> int:
    """com.microsoft MulInteger: each factor less its zero point, if it has one, and the product."""
    return (1 + node.has(1) + node.has(3)) * node.output().size


def group_norm(node: Node) -> int:
    """com.microsoft GroupNorm, SkipGroupNorm (skip, bias); activation 1 is SiLU."""
    skipped = sum(map(node.has, (3, 4)))
    return (7 + skipped + 2 * node.integer("activation")) * node.output().size


def dequantised(node: Node) -> int:
    """Less the zero point if there is one, and scaled (ONNX DequantizeLinear)."""
    return (1 + node.has(2)) * node.output().size


def taken_dequantised(node: Node) -> int:
    """com.microsoft GatherBlockQuantized: rows dequantised as they are taken.

    Integers of 8 bits always have a zero point: 2^(bits-1) if none is given.
    """
    zero_point = node.has(3) or node.input(0).dtype == "uint8"
    return (1 + zero_point) * node.output().size


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
