"""Operations and bytes of the nodes that were executed.

The shapes are those that ORT's profiler saw. It leaves out weights that a kernel has repacked
for itself, and it reports no attributes; both are in the executed graph (``definitions``).
What is in neither stays -1: nothing here is guessed.

Counting rules, the same for every operator:

* A multiply-add is 2 operations. A convolution or matrix product counts its multiply-adds
  alone, 2·K for an output that sums K products: with K-1 additions that already pays for a
  bias, and fused sums and activations are left out, as in the usual counts of models.
  Products with padding and with masked keys count: the kernels compute them.
* An elementwise operator is 1 operation an output element, whichever function it computes
  (Exp and Add alike); a reduction 1 an element reduced.
* A composed or fused operator counts what the elementwise operators it is defined by, or
  replaces, count: quantising the input of a product counts, unpacking its weights does not.
  What is done once a row (an epsilon, a root) is left out.
* Moving, converting and comparing indices are not operations.
* Bytes are the least traffic: every input read and every output written once, weights
  included, nothing for what a kernel keeps in between. A tensor that is two inputs is read
  once. Views (Reshape, Squeeze, …), which ORT aliases, move nothing; Gather reads the rows it
  takes, not its table, and Resize the elements that have a weight.
* Shapes count as executed: NCHWc convolutions report channels padded to the block of the
  machine (8 or 16), and the products with that padding are really computed.

Operators without a formula, and why: ``harness.models.work.unknown``.

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

from harness.models.work import (
    ensembles,
    experts,
    fourier,
    interpolation,
    operations,
    traffic,
)
from harness.models.work.einsum import einsum
from harness.models.work.nodes import Definition, Formula, Node, formal_inputs, known
from harness.models.work.tensors import tensors
from harness.records import Int64Array, NodeTable


@dataclasses.dataclass(frozen=True, slots=True)
class Work:
    """What one execution of each node takes at least; columns as long as the NodeTable.

    Where shapes change between executions, the shapes in the table count.

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
        nodes: the executed graph with the shapes that a trace reported.
        definitions: by row. Without its definition a node is unknown where its operations
            depend on an attribute (pooling) or on a weight that ORT repacked.
    """
    flops = np.full(len(nodes), -1, np.int64)
    moved = np.full(len(nodes), -1, np.int64)
    dtypes = [""] * len(nodes)
    counted: dict[tuple[object, ...], tuple[int, int, str]] = {}
    for row in range(len(nodes)):
        operator = _operator(nodes.domain[row], nodes.op_type[row])
        if operator is None or not nodes.output_type_shape[row]:
            continue
        definition = definitions.get(row)
        alike = (
            nodes.op_type[row],
            nodes.domain[row],
            nodes.input_type_shape[row],
            nodes.output_type_shape[row],
            None if definition is None else definition.contents,
        )
        if alike in counted:  # layers repeat
            flops[row], moved[row], dtypes[row] = counted[alike]
            continue
        node = Node(
            op_type=nodes.op_type[row],
            inputs=formal_inputs(
                tensors(nodes.input_type_shape[row]), definition, operator.repacks
            ),
            complete=definition is not None or not operator.repacks,
            outputs=tensors(nodes.output_type_shape[row]),
            attributes=None if definition is None else definition.attributes,
            repeats=frozenset() if definition is None else definition.repeats,
        )
        flops[row] = known(operator.flops, node, -1)
        moved[row] = known(operator.traffic, node, -1)
        dtypes[row] = known(operator.dtype, node, "")
        counted[alike] = int(flops[row]), int(moved[row]), dtypes[row]
    return Work(flops, moved, tuple(dtypes))


class Operator(NamedTuple):
    """How an operator is counted.

    Attributes:
        flops: its operations.
        traffic: its bytes.
        dtype: type of its arithmetic.
        repacks: its CPU kernels release weights, which ORT then no longer reports.
    """

    flops: Formula
    traffic: Formula = traffic.once
    dtype: Callable[[Node], str] = operations.data_type
    repacks: bool = False


def _operator(domain: str, op_type: str) -> Operator | None:
    return OPERATORS.get(domain, {}).get(op_type)


def _all(operator: Operator, op_types: str) -> dict[str, Operator]:
    return dict.fromkeys(op_types.split(), operator)


_MOVE: Final = Operator(operations.none)
_VIEW: Final = Operator(operations.none, traffic.nothing)
_TAKE: Final = Operator(operations.none, traffic.taken)
_FILL: Final = Operator(operations.none, traffic.written)
#: Text, sequences and maps: no numbers are computed, and ORT reports no sizes.
_OPAQUE: Final = Operator(operations.none, traffic.unknown)

#: Names of the ONNX operator specification, with the formulas of its definitions. The
#: domain com.ms.internal.nhwc has the same operators with channels last.
_ONNX: Final[Mapping[str, Operator]] = {
    "Conv": Operator(operations.convolution(1)),
    "ConvInteger": Operator(operations.convolution(1), dtype=operations.int8),
    "QLinearConv": Operator(operations.convolution(3), dtype=operations.int8, repacks=True),
    "ConvTranspose": Operator(operations.transposed_convolution, repacks=True),
    "DeformConv": Operator(interpolation.deformable_convolution),
    "CausalConvWithState": Operator(operations.convolution(1)),
    "MatMul": Operator(operations.matrix_product, repacks=True),
    "Gemm": Operator(operations.gemm, repacks=True),
    **_all(
        Operator(operations.matrix_product, dtype=operations.int8, repacks=True),
        "MatMulInteger QLinearMatMul",
    ),
    "Einsum": Operator(einsum),
    "AffineGrid": Operator(operations.affine_grid),
    "DFT": Operator(fourier.transform),
    "STFT": Operator(fourier.short_time_transform),
    # Activations 1; LSTM 5, and f·C + i·c, o·h; GRU 3, and r·h, (1 - z)·h + z·H.
    "RNN": Operator(operations.recurrent(1, 1)),
    "GRU": Operator(operations.recurrent(3, 8), repacks=True),
    "LSTM": Operator(operations.recurrent(4, 9), repacks=True),
    "Attention": Operator(operations.onnx_attention),
    "LinearAttention": Operator(operations.linear_attention),
    "RotaryEmbedding": Operator(operations.rotary, traffic.turned),
    **_all(
        Operator(operations.each_output(1)),
        "Abs Acos Acosh Add And Asin Asinh Atan Atanh BitShift BitwiseAnd BitwiseNot BitwiseOr "
        "BitwiseXor Ceil Celu Cos Cosh CumSum CumProd Div Elu Equal Erf Exp Floor Greater "
        "GreaterOrEqual HardSigmoid IsInf IsNaN LeakyRelu Less LessOrEqual Log Mod Mul Neg Not "
        "Or Pow PRelu Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin Sinh Softplus Softsign "
        "Sqrt Sub Tan Tanh ThresholdedRelu Where Xor",
    ),
    "Clip": Operator(operations.clipped),
    "Hardmax": Operator(operations.each_input(1)),
    **_all(Operator(operations.each_output(2)), "HardSwish Swish"),  # gate, Mul
    **_all(Operator(operations.each_output(2)), "Affine ImageScaler"),  # Mul, Add
    "Scale": Operator(operations.each_output(1)),
    # Mul, function, Mul
    **_all(Operator(operations.each_output(3)), "ParametricSoftplus ScaledTanh"),
    "SwiGLU": Operator(operations.each_output(3)),  # Swish, Mul
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
        "ArgMax ArgMin Col2Im GlobalAveragePool GlobalMaxPool ReduceLogSum ReduceMax ReduceMean "
        "ReduceMin ReduceProd ReduceSum",
    ),
    **_all(
        Operator(operations.each_input(2)),  # Abs, square or Exp, and Sum
        "GlobalLpPool ReduceL1 ReduceL2 ReduceLogSumExp ReduceSumSquare",
    ),
    **_all(Operator(operations.pooling(1)), "MaxPool AveragePool"),
    "LpPool": Operator(operations.pooling(2)),
    **_all(Operator(interpolation.resized, interpolation.resized_traffic), "Resize Upsample"),
    "GridSample": Operator(interpolation.grid_sampled, interpolation.grid_sampled_traffic),
    "RoiAlign": Operator(interpolation.roi_aligned, interpolation.roi_aligned_traffic),
    "NegativeLogLikelihoodLoss": Operator(operations.likelihood_loss(0)),
    "SoftmaxCrossEntropyLoss": Operator(operations.likelihood_loss(operations.SOFTMAX)),
    "QuantizeLinear": Operator(operations.with_optional(1, 2)),  # Div, Add
    "DequantizeLinear": Operator(operations.dequantised),
    "DynamicQuantizeLinear": Operator(operations.each_output(operations.QUANTISED)),
    **_all(
        _MOVE,
        "BitCast Cast CastLike Concat DepthToSpace Dropout Expand MaxUnpool MemcpyFromHost "
        "MemcpyToHost OneHot ReverseSequence SpaceToDepth Split Tile Transpose Trilu",
    ),
    **_all(_VIEW, "Flatten Identity Reshape Squeeze Unsqueeze"),
    **_all(
        _TAKE,
        "CenterCropPad Compress Crop DynamicSlice Gather GatherElements GatherND Pad Slice",
    ),
    **_all(_FILL, "Constant ConstantOfShape EyeLike GivenTensorFill Shape Size"),
    # Range, Mul, Mul, Cos, Mul, Cos, Mul, Sub, Add (function bodies)
    **_all(
        Operator(operations.each_output(9), traffic.written),
        "BlackmanWindow HammingWindow HannWindow",
    ),
    **_all(
        _OPAQUE,
        "ConcatFromSequence Optional OptionalGetElement OptionalHasElement RegexFullMatch "
        "SequenceAt SequenceConstruct SequenceEmpty SequenceErase SequenceInsert SequenceLength "
        "SplitToSequence StringConcat StringNormalizer StringSplit",
    ),
    "Range": Operator(operations.each_output(1), traffic.written),
    **_all(Operator(operations.none, traffic.scattered), "Scatter ScatterElements ScatterND"),
    "TensorScatter": Operator(operations.none, traffic.cache_updated),
    **_all(
        Operator(operations.data_dependent),
        "Bernoulli Multinomial NonMaxSuppression NonZero TopK Unique",
    ),
    **_all(
        Operator(operations.data_dependent, traffic.written),
        "MelWeightMatrix RandomNormal RandomNormalLike RandomUniform RandomUniformLike",
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
    "MatMulIntegerToFloat": _ONNX["MatMulInteger"],  # A comes quantised
    "DynamicQuantizeMatMul": Operator(
        operations.quantising_product, dtype=operations.int8, repacks=True
    ),
    **_all(_ONNX["MatMul"], "GemmFastGelu MatMulBnb4 MatMulFpQ4 MatMulInteger16"),
    "MatMulNBits": Operator(
        operations.blockwise_product, dtype=operations.accuracy_type, repacks=True
    ),
    "MatMulNBitsMlp": Operator(
        operations.normalised_products(2), dtype=operations.accuracy_type, repacks=True
    ),
    "MatMulNBitsQkv": Operator(
        operations.normalised_products(1), dtype=operations.accuracy_type, repacks=True
    ),
    "MoE": Operator(experts.mixture(6), experts.mixture_traffic),
    "QMoE": Operator(
        experts.mixture(8), experts.mixture_traffic, operations.accuracy_type, repacks=True
    ),
    "CDist": Operator(operations.distances),
    "DynamicQuantizeLSTM": Operator(
        operations.recurrent(4, 9), dtype=operations.int8, repacks=True
    ),
    "Attention": Operator(operations.projected_attention(past=4), repacks=True),
    "QAttention": Operator(
        operations.projected_attention(past=8), dtype=operations.int8, repacks=True
    ),
    "MultiHeadAttention": Operator(operations.multi_head_attention),
    "DecoderMaskedMultiHeadAttention": Operator(operations.decoder_masked_attention),
    "GroupQueryAttention": Operator(operations.grouped_query_attention),
    "LinearAttention": _ONNX["LinearAttention"],
    "LinearAttentionGate": Operator(operations.linear_attention_gate),
    "CausalConvWithState": _ONNX["CausalConvWithState"],
    **_all(Operator(operations.rotary, traffic.turned), "MRotaryEmbedding RotaryEmbedding"),
    "GemmaRotaryEmbedding": Operator(operations.gemma_rotary),
    # A sum of two or three rows, then LayerNormalization.
    "EmbedLayerNormalization": Operator(operations.with_optional(8, 4), traffic.embedded),
    "QEmbedLayerNormalization": Operator(operations.quantised_embedding, traffic.embedded),
    # Sum with the skip and, where it is there, the bias; then the normalisation.
    "SkipLayerNormalization": Operator(operations.with_optional(7, 3, 4), repacks=True),
    "SkipSimplifiedLayerNormalization": Operator(operations.with_optional(5, 3), repacks=True),
    "BranchwiseRMSNorm": Operator(operations.each_output(4)),
    "GatedRMSNorm": Operator(operations.gated_rms_norm),
    **_all(Operator(operations.group_norm), "GroupNorm SkipGroupNorm"),
    "Gelu": _ONNX["Gelu"],
    "BiasGelu": Operator(operations.each_output(6)),  # Add, Gelu
    # x·x·x, Mul, Add, Mul, Tanh, Add, Mul, Mul; and the bias.
    "FastGelu": Operator(operations.with_optional(9, 1)),
    "QuickGelu": Operator(operations.each_output(3)),  # Mul, Sigmoid, Mul
    "BiasSplitGelu": Operator(operations.each_output(8)),  # two Adds, Gelu of one half, Mul
    "BiasSoftmax": Operator(operations.each_output(1 + operations.SOFTMAX)),
    "BiasAdd": Operator(operations.each_output(2)),
    "GatedAdd": Operator(operations.each_output(2)),  # Mul, Add
    "ScaledSiLU": Operator(operations.each_output(3)),  # Mul, Sigmoid, Mul
    # Two products and a sum for each part of a complex number.
    **_all(Operator(operations.each_output(3)), "ComplexMul ComplexMulConj"),
    "DynamicTimeWarping": Operator(operations.each_input(3)),  # Min, Min, Add
    # Each input dequantised (2), the operator, the result quantised (2).
    **_all(Operator(operations.each_output(7)), "QLinearAdd QLinearMul"),
    **_all(Operator(operations.each_output(5)), "QLinearLeakyRelu QLinearSigmoid"),
    # Only moved in between: dequantised and quantised. Where takes one of two (1).
    "QLinearConcat": Operator(operations.each_output(4)),
    "QLinearWhere": Operator(operations.each_output(5)),
    "MulInteger": Operator(operations.quantised_factors),
    "QLinearSoftmax": Operator(operations.each_output(4 + operations.SOFTMAX)),
    # Means of the quantised values: only the few results are scaled.
    **_all(
        Operator(operations.each_input(1)),
        "QLinearGlobalAveragePool QLinearReduceMean ReduceSumInteger",
    ),
    **_all(Operator(operations.pooling(1)), "NhwcMaxPool QLinearAveragePool"),
    "QuantizeLinear": _ONNX["QuantizeLinear"],
    "DequantizeLinear": _ONNX["DequantizeLinear"],
    "GatherBlockQuantized": Operator(operations.taken_dequantised, traffic.blocks_taken),
    "CropAndResize": Operator(interpolation.crop_resized, interpolation.crop_resized_traffic),
    **{name: _ONNX[name] for name in ("GridSample", "Range", "Unique")},
    "ExpandDims": _VIEW,
    **_all(_MOVE, "RelativePositionBias Trilu UnfoldTensor"),
    **_all(_TAKE, "GatherND Pad TorchEmbedding"),
    "Tokenizer": _OPAQUE,
}

#: Classical models. Trees and the coefficients of linear models are attributes, in structures
#: of the kernels' own: which bytes of them are read is not known.
_ML: Final[Mapping[str, Operator]] = {
    **_all(
        Operator(ensembles.trees, traffic.unknown),
        "TreeEnsembleClassifier TreeEnsembleRegressor",
    ),
    "TreeEnsemble": Operator(ensembles.tree_ensemble, traffic.unknown),
    "LinearRegressor": Operator(ensembles.linear, traffic.unknown),
    "Scaler": Operator(operations.each_output(2)),  # Sub, Mul
    **_all(Operator(operations.each_output(1)), "Binarizer Imputer"),
    "Normalizer": Operator(ensembles.normalised),
    "ArrayFeatureExtractor": _TAKE,
    **_all(_MOVE, "FeatureVectorizer OneHotEncoder"),
    **_all(_OPAQUE, "CastMap CategoryMapper DictVectorizer LabelEncoder ZipMap"),
}

#: Channels in blocks of 8 or 16 (MLAS NCHWc): ONNX's operators in a layout of their own.
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

#: Channels last: ONNX's operators, and those that are quantised.
_NHWC: Final[Mapping[str, Operator]] = {
    **_ONNX,
    "QLinearConvTranspose": Operator(
        operations.transposed_convolution, dtype=operations.int8, repacks=True
    ),
    "QLinearAveragePool": _MICROSOFT["QLinearAveragePool"],
}

#: How operators are counted, by domain; ``unknown`` says why one is not.
OPERATORS: Final[Mapping[str, Mapping[str, Operator]]] = {
    "": _ONNX,
    "ai.onnx": _ONNX,
    "ai.onnx.ml": _ML,
    "com.microsoft": _MICROSOFT,
    "com.microsoft.nchwc": _NCHWC,
    "com.ms.internal.nhwc": _NHWC,
}
