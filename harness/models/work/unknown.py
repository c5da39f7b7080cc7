"""Operators without a formula, and why.

Every operator that ONNX and ONNX Runtime register is either here or in the tables of
``harness.models.work.table``, which also have those with unknown operations but known bytes.
"""

from __future__ import annotations

from typing import Final

#: Domain, reason, operators.
_REASONS: Final = (
    (
        "",
        "its work is that of the nodes in its bodies",
        "If Loop Scan SequenceMap",
    ),
    (
        "",
        "how much is done depends on values, not on shapes",
        "ImageDecoder MaxRoiPool TfIdfVectorizer",
    ),
    (
        "",
        "which algorithm the kernel takes depends on the size",
        "Det",
    ),
    (
        "",
        "a removed experiment without a kernel",
        "GRUUnit",
    ),
    (
        "",
        "executed by another runtime, which does not report what it does",
        (
            "DisentangledAttention_TRT EfficientNMS_TRT MultilevelCropAndResize_TRT "
            "PyramidROIAlign_TRT"
        ),
    ),
    (
        "ai.onnx.ml",
        "the number of its coefficients or support vectors is in attributes that are not kept",
        "LinearClassifier SVMClassifier SVMRegressor",
    ),
    (
        "ai.onnx.preview",
        "its work is that of the nodes in its bodies",
        "FlexAttention",
    ),
    (
        "ai.onnx.preview.training",
        "part of training, not of inference",
        "Adagrad Adam Gradient Momentum",
    ),
    (
        "com.microsoft",
        "its work is that of the nodes in its bodies",
        "BeamSearch GreedySearch Sampling WhisperBeamSearch",
    ),
    (
        "com.microsoft",
        "part of training, not of inference",
        "BiasDropout BitmaskBiasDropout BitmaskDropout",
    ),
    (
        "com.microsoft",
        "how much is done depends on values, not on shapes",
        (
            "BifurcationDetector DecoderAttention DecoderMaskedSelfAttention "
            "DynamicSparseAttention NGramRepeatBlock PackedAttention PackedMultiHeadAttention "
            "PackedSparseAttentionIndexer PagedAttention RemovePadding RestorePadding "
            "SparseAttention SparseAttentionIndexer SparsePagedAttention SparseToDenseMatMul "
            "VarlenCausalConvWithState"
        ),
    ),
    (
        "com.microsoft",
        "hashes integers or text: not arithmetic that a ceiling is measured for",
        "MurmurHash3 NGramHashMapping VarlenNGramHashMapping",
    ),
    (
        "com.microsoft",
        "which algorithm the kernel takes depends on the size",
        "Inverse",
    ),
    (
        "com.microsoft",
        "executed by another runtime, which does not report what it does",
        "EPContext Snpe",
    ),
    (
        "com.microsoft",
        "ONNX Runtime has no CPU kernel for it, and ceilings are measured on the CPU",
        (
            "DequantizeBFP DequantizeWithOrder GatedRelativePositionBias GemmFloat8 Irfft "
            "IsAllFinite LongformerAttention MatMulBlockQuantizedFp4Weight "
            "MatMulBlockQuantizedFp8Weight QOrderedAttention QOrderedGelu "
            "QOrderedLayerNormalization QOrderedLongformerAttention QOrderedMatMul "
            "QuantizeBFP QuantizeWithOrder Rfft"
        ),
    ),
    (
        "com.microsoft",
        "a fusion of a single family of models; not counted yet",
        (
            "AttnLSTM EngramGate GatedDeltaNet HyperConnectionPostMix HyperConnectionPreMix "
            "WordConvEmbedding"
        ),
    ),
    (
        "com.microsoft",
        "internal to tests of ONNX Runtime",
        "MaxpoolWithMask SampleOp",
    ),
)

#: Why an operator has no formula, by its domain and name.
UNKNOWN: Final = {
    (domain, op_type): reason
    for domain, reason, op_types in _REASONS
    for op_type in op_types.split()
}
