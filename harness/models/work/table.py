"""Operations and bytes of the nodes that were executed.

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
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np

from harness.models.work import operations, traffic
from harness.models.work.nodes import Definition, Formula, Node, formal_inputs, known
from harness.models.work.tensors import tensors
from harness.records import Int64Array, NodeTable


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


def work_of(nodes: NodeTable, definitions: Mapping[int, Definition] = MappingProxyType({})) -> Work:
    """Operations and bytes of one execution of each node.

    A control-flow node's own work is unknown; that of its subgraphs is in their nodes.

    Args:
        nodes: the executed graph with the shapes that a trace told.
        definitions: by row. Without its definition a node is unknown where its operations
            depend on an attribute (pooling) or on a weight that ORT repacked.
    """
    flops = np.full(len(nodes), -1, np.int64)
    moved = np.full(len(nodes), -1, np.int64)
    dtypes = [""] * len(nodes)
    for row in range(len(nodes)):
        operator = _operator(nodes.domain[row], nodes.op_type[row])
        if operator is None or not nodes.output_type_shape[row]:
            continue
        definition = definitions.get(row)
        node = Node(
            op_type=nodes.op_type[row],
            inputs=formal_inputs(
                tensors(nodes.input_type_shape[row]), definition, operator.repacks
            ),
            complete=definition is not None or not operator.repacks,
            outputs=tensors(nodes.output_type_shape[row]),
            attributes=None if definition is None else definition.attributes,
        )
        flops[row] = known(operator.flops, node, -1)
        moved[row] = known(operator.traffic, node, -1)
        dtypes[row] = known(operator.dtype, node, "")
    return Work(flops, moved, tuple(dtypes))


class Operator(NamedTuple):
    """How an operator is counted.

    Attributes:
        flops: its operations.
        traffic: its bytes.
        dtype: type of its arithmetic.
        repacks: its CPU kernels give up weights, which ORT then no longer reports.
    """

    flops: Formula
    traffic: Formula = traffic.once
    dtype: Callable[[Node], str] = operations.data_type
    repacks: bool = False


def _operator(domain: str, op_type: str) -> Operator | None:
    if domain in ("", "ai.onnx", "com.ms.internal.nhwc"):
        return _ONNX.get(op_type)
    if domain == "com.microsoft.nchwc":
        return _NCHWC.get(op_type)
    return _MICROSOFT.get(op_type) if domain == "com.microsoft" else None


def _all(operator: Operator, op_types: str) -> dict[str, Operator]:
    return dict.fromkeys(op_types.split(), operator)


_MOVE: Final = Operator(operations.none)
_VIEW: Final = Operator(operations.none, traffic.nothing)
_TAKE: Final = Operator(operations.none, traffic.taken)
_FILL: Final = Operator(operations.none, traffic.written)

#: Names of the ONNX operator specification, with the formulas of its definitions. The
#: domain com.ms.internal.nhwc has the same operators with channels last.
_ONNX: Final[Mapping[str, Operator]] = {
    "Conv": Operator(operations.convolution(1)),
    "ConvInteger": Operator(operations.convolution(1), dtype=operations.int8),
    "QLinearConv": Operator(operations.convolution(3), dtype=operations.int8, repacks=True),
    "ConvTranspose": Operator(operations.transposed_convolution, repacks=True),
    "MatMul": Operator(operations.matrix_product, repacks=True),
    "Gemm": Operator(operations.gemm, repacks=True),
    **_all(
        Operator(operations.matrix_product, dtype=operations.int8, repacks=True),
        "MatMulInteger QLinearMatMul",
    ),
    "Einsum": Operator(operations.einsum),
    # Activations 1; LSTM 5, and f·C + i·c, o·h; GRU 3, and r·h, (1 - z)·h + z·H.
    "RNN": Operator(operations.recurrent(1, 1)),
    "GRU": Operator(operations.recurrent(3, 8), repacks=True),
    "LSTM": Operator(operations.recurrent(4, 9), repacks=True),
    "Attention": Operator(operations.onnx_attention),
    "RotaryEmbedding": Operator(operations.rotary, traffic.turned),
    **_all(
        Operator(operations.each_output(1)),
        "Abs Acos Acosh Add And Asin Asinh Atan Atanh BitShift BitwiseAnd BitwiseNot BitwiseOr "
        "BitwiseXor Ceil Celu Cos Cosh CumSum CumProd Div Elu Equal Erf Exp Floor Greater "
        "GreaterOrEqual HardSigmoid IsInf IsNaN LeakyRelu Less LessOrEqual Log Mod Mul Neg Not "
        "Or Pow PRelu Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin Sinh Softplus Softsign "
        "Sqrt Sub Tan Tanh ThresholdedRelu Where Xor",
    ),
    "Clip": Operator(operations.each_output(2)),  # Max, Min
    **_all(Operator(operations.each_output(2)), "HardSwish Swish"),  # gate, Mul
    "Mish": Operator(operations.each_output(3)),  # Softplus, Tanh, Mul
    "Gelu": Operator(operations.each_output(5)),  # Div, Erf, Add, Mul, Mul
    **_all(Operator(operations.variadic), "Max Min Sum Mean"),
    **_all(Operator(operations.each_output(operations.SOFTMAX)), "Softmax LogSoftmax"),
    # Mean, Sub, square, Mean, Div; then Mul with the scale and Add of the shift.
    "LayerNormalization": Operator(operations.with_optional(6, 2), repacks=True),
    **_all(Operator(operations.each_output(7)), "InstanceNormalization GroupNormalization"),
    "MeanVarianceNormalization": Operator(operations.each_output(5)),
    # Square, Mean, Div, Mul.
    **_all(
        Operator(operations.each_output(4), repacks=True),
        "RMSNormalization SimplifiedLayerNormalization",
    ),
    "LpNormalization": Operator(operations.each_output(3)),  # power, Sum, Div
    "BatchNormalization": Operator(operations.each_output(2)),  # one scale and shift a channel
    "LRN": Operator(operations.local_response),
    **_all(
        Operator(operations.each_input(1)),
        "ArgMax ArgMin GlobalAveragePool GlobalMaxPool ReduceLogSum ReduceMax ReduceMean "
        "ReduceMin ReduceProd ReduceSum",
    ),
    **_all(
        Operator(operations.each_input(2)),  # Abs, square or Exp, and Sum
        "GlobalLpPool ReduceL1 ReduceL2 ReduceLogSumExp ReduceSumSquare",
    ),
    **_all(Operator(operations.pooling(1)), "MaxPool AveragePool"),
    "LpPool": Operator(operations.pooling(2)),
    **_all(Operator(operations.interpolated, traffic.taken), "Resize Upsample"),
    "QuantizeLinear": Operator(operations.with_optional(1, 2)),  # Div, Add
    "DequantizeLinear": Operator(operations.dequantised),
    "DynamicQuantizeLinear": Operator(operations.each_output(4)),  # Min, Max, Div, Add
    **_all(
        _MOVE,
        "Cast CastLike Concat DepthToSpace Dropout Expand MemcpyFromHost MemcpyToHost OneHot "
        "ReverseSequence SpaceToDepth Split Tile Transpose Trilu",
    ),
    **_all(_VIEW, "Flatten Identity Reshape Squeeze Unsqueeze"),
    **_all(_TAKE, "CenterCropPad Compress Gather GatherElements GatherND Pad Slice"),
    **_all(_FILL, "Constant ConstantOfShape EyeLike Shape Size"),
    "Range": Operator(operations.each_output(1), traffic.written),
    **_all(Operator(operations.none, traffic.scattered), "Scatter ScatterElements ScatterND"),
    **_all(Operator(operations.data_dependent), "NonZero TopK Unique"),
    **_all(
        Operator(operations.data_dependent, traffic.written),
        "RandomNormal RandomNormalLike RandomUniform RandomUniformLike",
    ),
}

#: Formulas of ContribOperators.md; a fusion counts what it was fused from.
_MICROSOFT: Final[Mapping[str, Operator]] = {
    **_all(Operator(operations.convolution(1)), "FusedConv NhwcConv"),
    "NhwcFusedConv": Operator(operations.convolution(1), repacks=True),
    "QLinearConv": _ONNX["QLinearConv"],
    "ConvTransposeWithDynamicPads": _ONNX["ConvTranspose"],
    "FusedGemm": _ONNX["Gemm"],
    "QGemm": Operator(operations.gemm, dtype=operations.int8, repacks=True),
    **_all(
        Operator(operations.fused_matrix_product, repacks=True),
        "FusedMatMul FusedMatMulActivation TransposeMatMul",
    ),
    **_all(_ONNX["MatMulInteger"], "DynamicQuantizeMatMul MatMulIntegerToFloat"),
    # Unpacking the weights is no operation of the product.
    "MatMulBnb4": _ONNX["MatMul"],
    "MatMulNBits": Operator(
        operations.matrix_product, dtype=operations.accuracy_type, repacks=True
    ),
    "DynamicQuantizeLSTM": Operator(
        operations.recurrent(4, 9), dtype=operations.int8, repacks=True
    ),
    "Attention": Operator(operations.projected_attention(past=4), repacks=True),
    "QAttention": Operator(
        operations.projected_attention(past=8), dtype=operations.int8, repacks=True
    ),
    "MultiHeadAttention": Operator(operations.multi_head_attention),
    "GroupQueryAttention": Operator(operations.grouped_query_attention),
    "RotaryEmbedding": Operator(operations.rotary, traffic.turned),
    # A sum of two or three rows, then LayerNormalization.
    "EmbedLayerNormalization": Operator(operations.with_optional(8, 4), traffic.embedded),
    # Sum with the skip and, where it is there, the bias; then the normalisation.
    "SkipLayerNormalization": Operator(operations.with_optional(7, 3, 4), repacks=True),
    "SkipSimplifiedLayerNormalization": Operator(operations.with_optional(5, 3), repacks=True),
    **_all(Operator(operations.group_norm), "GroupNorm SkipGroupNorm"),
    "Gelu": _ONNX["Gelu"],
    "BiasGelu": Operator(operations.each_output(6)),  # Add, Gelu
    # x·x·x, Mul, Add, Mul, Tanh, Add, Mul, Mul; and the bias.
    "FastGelu": Operator(operations.with_optional(9, 1)),
    "QuickGelu": Operator(operations.each_output(3)),  # Mul, Sigmoid, Mul
    "BiasSplitGelu": Operator(operations.each_output(8)),  # two Adds, Gelu of one half, Mul
    "BiasSoftmax": Operator(operations.each_output(1 + operations.SOFTMAX)),
    "BiasAdd": Operator(operations.each_output(2)),
    # Each input dequantised (2), the operator, the result quantised (2).
    **_all(Operator(operations.each_output(7)), "QLinearAdd QLinearMul"),
    **_all(Operator(operations.each_output(5)), "QLinearLeakyRelu QLinearSigmoid"),
    "QLinearSoftmax": Operator(operations.each_output(4 + operations.SOFTMAX)),
    # Quantised means of the quantised values: nothing is scaled but the few results.
    **_all(Operator(operations.each_input(1)), "QLinearGlobalAveragePool QLinearReduceMean"),
    **_all(Operator(operations.pooling(1)), "NhwcMaxPool QLinearAveragePool"),
    "QuantizeLinear": _ONNX["QuantizeLinear"],
    "DequantizeLinear": _ONNX["DequantizeLinear"],
    "ExpandDims": _VIEW,
    "Trilu": _MOVE,
    "GatherND": _TAKE,
    "Pad": _TAKE,
    "Unique": _ONNX["Unique"],
}

#: Channels in blocks of 8 or 16 (MLAS NCHWc): ONNX's operators with a layout of their own.
_NCHWC: Final[Mapping[str, Operator]] = {
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
