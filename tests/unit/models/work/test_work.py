"""Operations and bytes of nodes against numbers worked out by hand."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest

from harness.errors import ModelError
from harness.models import catalogue
from harness.models.executed_graph import prepare
from harness.models.work.nodes import Definition, definitions
from harness.models.work.table import Work, work_of
from harness.models.work.tensors import Tensor, tensors
from harness.native import ort
from harness.records import NodeTable
from harness.tracing.ort_profiler import reader
from harness.tracing.ort_profiler.reader import TraceFile

MS = "com.microsoft"
NCHWC = "com.microsoft.nchwc"

Reported = list[dict[str, list[int]]]


def table(*nodes: tuple[str, str, Reported | None, Reported | None]) -> NodeTable:
    """A table of (domain, op type, inputs and outputs as ORT reports them)."""
    domains, op_types, inputs, outputs = zip(*nodes, strict=True)
    columns: dict[str, Any] = {
        field.name: ("",) * len(nodes) if "str" in str(field.type) else np.full(len(nodes), -1)
        for field in dataclasses.fields(NodeTable)
    }
    columns |= {
        "domain": domains,
        "op_type": op_types,
        "input_type_shape": tuple("" if one is None else json.dumps(one) for one in inputs),
        "output_type_shape": tuple("" if one is None else json.dumps(one) for one in outputs),
    }
    return NodeTable(**columns)


@pytest.mark.parametrize(
    "text",
    ["{", "[1]", '{"float":[1]}', '[{"float":1}]', '[{"float":[1.5]}]', '[{"float":[-1]}]',
     '[{"float":[1e99]}]', f'[{{"float":[{2**63}]}}]', '[{"float":[null]}]', "\udcff", "[" * 9999,
     f'[{{"float":{[2**63 - 1] * 2}}}]', f'[{{"float":{[1] * 65}}}]'],
)  # fmt: skip
def test_shapes_of_a_damaged_profile_are_unknown(text: str) -> None:
    assert tensors(text) == ()


def f(*shape: int) -> dict[str, list[int]]:
    return {"float": list(shape)}


def u8(*shape: int) -> dict[str, list[int]]:
    return {"uint8": list(shape)}


def i64(*shape: int) -> dict[str, list[int]]:
    return {"int64": list(shape)}


def count(
    domain: str,
    op_type: str,
    inputs: list[dict[str, list[int]] | None],
    outputs: Reported,
    attributes: Mapping[str, Any],
) -> Work:
    """Work of one node all of whose inputs are reported; None is an input it lacks."""
    definition = Definition(tuple(one is not None for one in inputs), {}, attributes)
    reported = [one for one in inputs if one is not None]
    return work_of(table((domain, op_type, reported, outputs)), {0: definition})


PRODUCTS = [
    # 2 · outputs · channels of a group · kernel; bias, sum and activation are free
    ("", "Conv", [f(1, 3, 8, 8), f(4, 3, 3, 3), f(4)], [f(1, 4, 6, 6)], {},
     2 * 144 * 27, 4 * (192 + 108 + 4 + 144), "float32"),
    ("", "Conv", [f(2, 8, 9), f(8, 1, 5)], [f(2, 8, 5)], {"group": 8},
     2 * 80 * 5, 4 * (144 + 40 + 80), "float32"),
    (NCHWC, "Conv", [f(1, 16, 4, 4), f(32, 16, 1, 1), f(32), f(1, 32, 4, 4)], [f(1, 32, 4, 4)],
     {"activation": "Relu"}, 2 * 512 * 16, 4 * (256 + 512 + 32 + 1024), "float32"),
    (MS, "FusedConv", [f(1, 3, 8, 8), f(4, 3, 3, 3)], [f(1, 4, 6, 6)], {"activation": "Relu"},
     2 * 144 * 27, 4 * (192 + 108 + 144), "float32"),
    ("com.ms.internal.nhwc", "Conv", [f(1, 8, 8, 3), f(4, 3, 3, 3)], [f(1, 6, 6, 4)], {},
     2 * 144 * 27, 4 * (192 + 108 + 144), "float32"),
    ("", "QLinearConv", [u8(1, 4, 5, 5), f(), u8(), u8(6, 4, 3, 3), f(6), u8(), f(), u8()],
     [u8(1, 6, 3, 3)], {}, 2 * 54 * 36, 100 + 216 + 54 + 4 * 8 + 3, "int8"),
    # each input element meets 6 output channels and 9 places
    ("", "ConvTranspose", [f(1, 4, 5, 5), f(4, 6, 3, 3)], [f(1, 6, 7, 7)], {},
     2 * 100 * 54, 4 * (100 + 216 + 294), "float32"),
    ("", "MatMul", [f(2, 5, 8), f(8, 4)], [f(2, 5, 4)], {}, 2 * 40 * 8, 4 * 152, "float32"),
    ("", "MatMul", [f(8), f(2, 8, 4)], [f(2, 4)], {}, 2 * 8 * 8, 4 * (8 + 64 + 8), "float32"),
    ("", "Gemm", [f(8, 3), f(8, 5), f(5)], [f(3, 5)], {"transA": 1},
     2 * 3 * 5 * 8, 4 * (24 + 40 + 5 + 15), "float32"),
    (MS, "FusedGemm", [f(3, 8), f(8, 5)], [f(3, 5)], {"activation": "Relu"},
     2 * 3 * 5 * 8, 4 * (24 + 40 + 15), "float32"),
    (MS, "FusedMatMul", [f(2, 7, 5), f(2, 7, 4)], [f(2, 5, 4)], {"transA": 1},
     2 * 40 * 7, 4 * (70 + 56 + 40), "float32"),
    (MS, "FusedMatMul", [f(5, 2, 8), f(2, 8, 4)], [f(2, 5, 4)], {"transBatchA": 1},
     2 * 40 * 8, 4 * (80 + 64 + 40), "float32"),
    (MS, "FusedMatMul", [f(8, 2, 5), f(2, 8, 4)], [f(2, 5, 4)], {"transA": 1, "transBatchA": 1},
     2 * 40 * 8, 4 * (80 + 64 + 40), "float32"),
    ("", "MatMulInteger", [u8(5, 4), u8(4, 6)], [{"int32": [5, 6]}], {},
     2 * 30 * 4, 20 + 24 + 120, "int8"),
    ("", "QLinearMatMul", [u8(5, 4), f(), u8(), u8(4, 6), f(), u8(), f(), u8()], [u8(5, 6)], {},
     2 * 30 * 4, 20 + 24 + 30 + 12 + 3, "int8"),
    # 4 to quantise each element of A
    (MS, "DynamicQuantizeMatMul", [f(5, 4), u8(4, 6), f(), u8()], [f(5, 6)], {},
     2 * 30 * 4 + 4 * 20, 80 + 24 + 4 + 1 + 120, "int8"),
    (MS, "QGemm", [u8(4, 3), f(), u8(), u8(4, 6), f(), u8()], [f(3, 6)], {"transA": 1},
     2 * 18 * 4, 12 + 24 + 8 + 2 + 72, "int8"),
    (MS, "MatMulNBits", [f(2, 64), u8(8, 2, 16), f(8, 2)], [f(2, 8)], {},
     2 * 16 * 64, 512 + 256 + 64 + 64, "float32"),
    (MS, "MatMulNBits", [f(2, 64), u8(8, 2, 16), f(8, 2)], [f(2, 8)], {"accuracy_level": 4},
     2 * 16 * 64 + 3 * 128, 512 + 256 + 64 + 64, "int8"),
    ("", "Einsum", [f(2, 5, 8), f(2, 8, 4)], [f(2, 5, 4)], {"equation": "bij, bjk -> bik"},
     2 * 2 * 5 * 8 * 4, 4 * (80 + 64 + 40), "float32"),
    ("", "Einsum", [f(2, 5), f(1, 5)], [f(2, 5)], {"equation": "ij,ij->ij"},
     10, 4 * 25, "float32"),
    ("", "Einsum", [f(2, 5)], [f(5, 2)], {"equation": "ij->ji"}, 0, 4 * 20, "float32"),
    ("", "Einsum", [f(2, 5)], [f(2)], {"equation": "ij->i"}, 10, 4 * 12, "float32"),
    ("", "Einsum", [f(2, 5), f(5, 3)], [f(2, 3)], {"equation": "...j,jk->...k"},
     2 * 30, 4 * 31, "float32"),
]  # fmt: skip

# 7 steps of 2 in 3 features, 5 hidden
RECURRENT = [
    ("", "RNN", [f(7, 2, 3), f(1, 5, 3), f(1, 5, 5)], [f(7, 1, 2, 5)], {},
     14 * 5 * (2 * 8 + 1), 4 * (42 + 15 + 25 + 70), "float32"),
    ("", "GRU", [f(7, 2, 3), f(2, 15, 3), f(2, 15, 5)], [f(7, 2, 2, 5)], {},
     2 * 14 * 5 * (2 * 3 * 8 + 8), 4 * (42 + 90 + 150 + 140), "float32"),
    ("", "LSTM", [f(7, 2, 3), f(1, 20, 3), f(1, 20, 5), f(1, 40)], [f(7, 1, 2, 5)], {},
     14 * 5 * (2 * 4 * 8 + 9), 4 * (42 + 60 + 100 + 40 + 70), "float32"),
    (MS, "DynamicQuantizeLSTM", [f(7, 2, 3), u8(1, 3, 20), u8(1, 5, 20)], [f(7, 1, 2, 5)], {},
     14 * (5 * (2 * 4 * 8 + 9) + 4 * 8), 4 * 42 + 60 + 100 + 4 * 70, "int8"),
]  # fmt: skip

# 2 batches, 2 heads of 4, 5 queries: 80 elements of Q, 20 rows of scores
ATTENTION = [
    # projection of 10 tokens by 8 x 24, then 5 keys
    (MS, "Attention", [f(2, 5, 8), f(8, 24), f(24)], [f(2, 5, 8)], {"num_heads": 2},
     2 * 10 * 8 * 24 + 2 * 5 * 160 + 5 * 20 * 5, 4 * (80 + 192 + 24 + 80), "float32"),
    # 3 keys of the past with them
    (MS, "Attention", [f(2, 5, 8), f(8, 24), f(24), None, f(2, 2, 2, 3, 4)],
     [f(2, 5, 8), f(2, 2, 2, 8, 4)], {"num_heads": 2},
     2 * 10 * 8 * 24 + 2 * 8 * 160 + 5 * 20 * 8, 4 * (80 + 192 + 24 + 96 + 80 + 256), "float32"),
    (MS, "QAttention", [u8(2, 5, 8), u8(8, 24), f(24), f(), f()], [f(2, 5, 8)], {"num_heads": 2},
     2 * 10 * 8 * 24 + 2 * 5 * 160 + 5 * 20 * 5, 80 + 192 + 4 * (24 + 2 + 80), "int8"),
    (MS, "MultiHeadAttention", [f(2, 5, 8), f(2, 7, 8), f(2, 7, 8)], [f(2, 5, 8)],
     {"num_heads": 2}, 2 * 7 * 160 + 5 * 20 * 7, 4 * (80 + 112 + 112 + 80), "float32"),
    (MS, "MultiHeadAttention", [f(2, 5, 2, 3, 4)], [f(2, 5, 8)], {"num_heads": 2},
     2 * 5 * 160 + 5 * 20 * 5, 4 * (240 + 80), "float32"),
    (MS, "MultiHeadAttention",
     [f(2, 5, 8), f(2, 2, 5, 4), f(2, 2, 5, 4), None, None, None, f(2, 2, 3, 4), f(2, 2, 3, 4)],
     [f(2, 5, 8)], {"num_heads": 2},
     2 * 8 * 160 + 5 * 20 * 8, 4 * (80 + 80 + 80 + 48 + 48 + 80), "float32"),
    ("", "Attention", [f(2, 2, 5, 4), f(2, 1, 7, 4), f(2, 1, 7, 4)], [f(2, 2, 5, 4)], {},
     2 * 7 * 160 + 5 * 20 * 7, 4 * (80 + 56 + 56 + 80), "float32"),
    # one token of 4 heads of 8, 3 in the past, rotated
    (MS, "GroupQueryAttention",
     [f(1, 1, 32), f(1, 1, 16), f(1, 1, 16), f(1, 2, 3, 8), f(1, 2, 3, 8)],
     [f(1, 1, 32), f(1, 2, 4, 8), f(1, 2, 4, 8)],
     {"num_heads": 4, "kv_num_heads": 2, "do_rotary": 1},
     2 * 4 * 64 + 5 * 4 * 4 + 3 * 48, 4 * (32 + 32 + 96 + 32 + 128), "float32"),
    # a buffer for 64 that is filled by an amount no shape tells
    (MS, "GroupQueryAttention",
     [f(1, 1, 32), f(1, 1, 16), f(1, 1, 16), f(1, 2, 64, 8), f(1, 2, 64, 8)],
     [f(1, 1, 32), f(1, 2, 64, 8), f(1, 2, 64, 8)], {"num_heads": 4, "kv_num_heads": 2},
     -1, 4 * (32 + 32 + 2048 + 32 + 2048), "float32"),
    (MS, "RotaryEmbedding", [f(1, 5, 8), i64(1, 5), f(99, 2), f(99, 2)], [f(1, 5, 8)], {},
     3 * 40, 4 * 80, "float32"),
]  # fmt: skip

ELEMENTWISE = [
    ("", "Add", [f(2, 3, 4), f(4)], [f(2, 3, 4)], {}, 24, 4 * (24 + 4 + 24), "float32"),
    ("", "Erf", [{"double": [6]}], [{"double": [6]}], {}, 6, 96, "float64"),
    ("", "Equal", [i64(6), i64(6)], [{"bool": [6]}], {}, 6, 102, "int64"),
    ("", "Where", [{"bool": [6]}, f(6), f(1)], [f(6)], {}, 6, 6 + 24 + 4 + 24, "float32"),
    ("", "Sum", [f(6), f(6), f(6)], [f(6)], {}, 12, 96, "float32"),
    ("", "Mean", [f(6), f(6), f(6)], [f(6)], {}, 18, 96, "float32"),
    ("", "Softmax", [f(2, 8)], [f(2, 8)], {}, 80, 128, "float32"),
    (MS, "BiasGelu", [f(2, 8), f(8)], [f(2, 8)], {}, 96, 4 * 40, "float32"),
    (MS, "Gelu", [f(16)], [f(16)], {}, 80, 128, "float32"),
    (MS, "FastGelu", [f(2, 8)], [f(2, 8)], {}, 9 * 16, 128, "float32"),
    (MS, "FastGelu", [f(2, 8), f(8)], [f(2, 8)], {}, 10 * 16, 160, "float32"),
    (MS, "QuickGelu", [f(16)], [f(16)], {"alpha": 1.7}, 48, 128, "float32"),
    ("", "LayerNormalization", [f(2, 8), f(8), f(8)], [f(2, 8)], {}, 7 * 16, 4 * 48, "float32"),
    ("", "LayerNormalization", [f(2, 8), f(8)], [f(2, 8)], {}, 6 * 16, 4 * 40, "float32"),
    (MS, "SkipLayerNormalization", [f(2, 8), f(2, 8), f(8), None, f(8)], [f(2, 8), f(2, 8)], {},
     8 * 16, 4 * 80, "float32"),
    (MS, "SkipSimplifiedLayerNormalization", [f(2, 8), f(2, 8), f(8)], [f(2, 8)], {},
     5 * 16, 4 * 56, "float32"),
    ("", "BatchNormalization", [f(1, 4, 5), f(4), f(4), f(4), f(4)], [f(1, 4, 5)], {},
     40, 4 * 56, "float32"),
    ("", "LRN", [f(1, 4, 5)], [f(1, 4, 5)], {"size": 5}, 9 * 20, 160, "float32"),
    ("", "QuantizeLinear", [f(6), f(), u8()], [u8(6)], {}, 12, 24 + 4 + 1 + 6, "float32"),
    ("", "DequantizeLinear", [{"Int4x2": [7]}, f()], [f(7)], {}, 7, 4 + 4 + 28, "float32"),
    ("", "DequantizeLinear", [{"Float8E4M3FN": [7]}, f()], [f(7)], {}, 7, 7 + 4 + 28, "float32"),
    (MS, "QLinearAdd", [u8(6), f(), u8(), u8(6), f(), u8(), f(), u8()], [u8(6)], {},
     42, 18 + 12 + 3, "float32"),
    # word and position rows of 10 tokens, not their tables
    (MS, "EmbedLayerNormalization",
     [{"int32": [2, 5]}, None, f(30, 8), f(10, 8), None, f(8), f(8)], [f(2, 5, 8)], {},
     8 * 80, 4 * (2 * 80 + 10 + 16 + 80), "float32"),
]  # fmt: skip

REDUCTIONS = [
    ("", "ReduceMean", [f(2, 8), i64(1)], [f(2)], {}, 16, 64 + 8 + 8, "float32"),
    ("", "ReduceL2", [f(2, 8)], [f(2)], {}, 32, 72, "float32"),
    ("", "ArgMax", [f(2, 8)], [i64(2)], {}, 16, 80, "float32"),
    ("", "GlobalAveragePool", [f(1, 4, 7, 7)], [f(1, 4, 1, 1)], {}, 196, 800, "float32"),
    (NCHWC, "MaxPool", [f(1, 8, 6, 6)], [f(1, 8, 3, 3)], {"kernel_shape": (3, 3)},
     72 * 9, 4 * (288 + 72), "float32"),
    (MS, "QLinearGlobalAveragePool", [u8(1, 4, 7, 7), f(), u8(), f(), u8()], [u8(1, 4, 1, 1)], {},
     196, 196 + 4 + 8 + 2, "float32"),
]  # fmt: skip

MOVES = [
    ("", "Reshape", [f(2, 8), i64(1)], [f(16)], {}, 0, 0, "float32"),
    ("", "Transpose", [f(2, 8)], [f(8, 2)], {}, 0, 128, "float32"),
    ("", "Cast", [f(6)], [{"float16": [6]}], {}, 0, 36, "float32"),
    (NCHWC, "ReorderOutput", [f(1, 8, 3, 3)], [f(1, 5, 3, 3)], {}, 0, 4 * (72 + 45), "float32"),
    # 4 of 1,000 rows
    ("", "Gather", [f(1000, 8), i64(4)], [f(4, 8)], {}, 0, 128 + 32 + 128, "float32"),
    ("", "Slice", [i64(1, 512), i64(1), i64(1)], [i64(1, 128)], {}, 0, 2064, "int64"),
    ("", "Shape", [f(100, 100)], [i64(2)], {}, 0, 16, "float32"),
    ("", "Expand", [f(1), i64(2)], [f(4, 4)], {}, 0, 4 + 16 + 64, "float32"),
    ("", "ScatterND", [f(1000, 8), i64(2, 1), f(2, 8)], [f(1000, 8)], {}, 0, 144, "float32"),
    ("", "Resize", [f(1, 2, 4, 4), None, None, i64(4)], [f(1, 2, 8, 8)], {"mode": "nearest"},
     0, 128 + 32 + 512, "float32"),
    ("", "Resize", [f(1, 2, 4, 4), None, f(4)], [f(1, 2, 8, 8)], {"mode": "linear"},
     2 * 4 * 128, 128 + 16 + 512, "float32"),
    ("", "TopK", [f(2, 8), i64(1)], [f(2, 3), i64(2, 3)], {}, -1, 64 + 8 + 24 + 48, "float32"),
    ("", "Concat", [{"string": [2]}, {"string": [2]}], [{"string": [4]}], {}, 0, -1, "string"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("domain", "op_type", "inputs", "outputs", "attributes", "flops", "nbytes", "dtype"),
    [*PRODUCTS, *RECURRENT, *ATTENTION, *ELEMENTWISE, *REDUCTIONS, *MOVES],
)
def test_work_counted_by_hand(
    domain: str,
    op_type: str,
    inputs: list[dict[str, list[int]] | None],
    outputs: Reported,
    attributes: Mapping[str, Any],
    flops: int,
    nbytes: int,
    dtype: str,
) -> None:
    counted = count(domain, op_type, inputs, outputs, attributes)

    assert (int(counted.flops[0]), int(counted.bytes[0]), counted.dtype[0]) == (
        flops,
        nbytes,
        dtype,
    )


def test_repacked_weights_come_from_the_definition() -> None:
    # As ORT 1.31 reports these: without the weights that the kernels repacked.
    nodes = table(
        ("", "Gemm", [f(1, 2048), f(1000)], [f(1, 1000)]),
        ("", "QLinearConv", [u8(1, 4, 5, 5), f(), u8(), f(), u8(), f(), u8()], [u8(1, 6, 3, 3)]),
        ("", "LSTM", [f(7, 2, 3), f(1, 40), f(1, 2, 5)], [f(7, 1, 2, 5)]),
    )
    scale, zero = Tensor("float32", ()), Tensor("uint8", ())
    weight = Tensor("uint8", (6, 4, 3, 3))
    quantised = {1: scale, 2: zero, 3: weight, 4: scale, 5: zero, 6: scale, 7: zero}
    recurrent = {at: Tensor("float32", (1, *rest)) for at, rest in
                 ((1, (20, 3)), (2, (20, 5)), (3, (40,)))}  # fmt: skip
    known = {
        0: Definition((True,) * 3, {1: Tensor("float32", (1000, 2048)),
                                    2: Tensor("float32", (1000,))}, {"transB": 1}),
        1: Definition((True,) * 8, quantised, {}),
        2: Definition((True, True, True, True, False, True), recurrent, {}),
    }  # fmt: skip

    counted = work_of(nodes, known)

    assert counted.flops.tolist() == [2 * 2048 * 1000, 3888, 5110]
    assert counted.bytes.tolist() == [
        4 * (2048 + 2048 * 1000 + 1000 + 1000),
        100 + 216 + 54 + 3 * 4 + 3,
        4 * (42 + 60 + 100 + 40 + 10 + 70),
    ]
    # Without it a product still knows its operations from A and Y; nothing else is known.
    alone = work_of(nodes)
    assert alone.flops.tolist() == [2 * 2048 * 1000, -1, -1]
    assert alone.bytes.tolist() == [-1, -1, -1]


def test_nothing_is_guessed() -> None:
    nodes = table(
        ("", "If", [{"bool": []}], [f(2)]),
        ("", "Relu", None, None),
        ("my.domain", "Relu", [f(2)], [f(2)]),
        ("", "MaxPool", [f(1, 8, 6, 6)], [f(1, 8, 3, 3)]),
        (MS, "EmbedLayerNormalization", [f(2, 5), f(30, 8), f(10, 8)], [f(2, 5, 8)]),
        # A sequence among the inputs: which of them are reported is not known.
        ("", "Add", [f(4)], [f(4)]),
    )

    counted = work_of(nodes, {5: Definition((True, True), {}, {})})

    assert counted.flops.tolist() == [-1, -1, -1, -1, -1, 4]
    assert counted.bytes.tolist() == [-1, -1, -1, 4 * (288 + 72), -1, -1]
    assert counted.dtype == ("", "", "", "float32", "float32", "float32")


NESTED = """
<ir_version: 8, opset_import: ["" : 17]>
nested (bool cond, float[2, 8] x, float[8, 8] fed) => (float[2, 8] y) {
  y = If (cond) <
    then_branch = then () => (float[2, 8] a) { a = Gemm <transB = 1> (x, weight) },
    else_branch = other () => (float[2, 8] b)
      <float most = {6.0}> { c = MatMul (x, fed) d = Mul (c, c) b = Clip (d, , most) }>
}
"""


def test_definitions_reach_into_bodies(tmp_path: Path) -> None:
    model = onnx.parser.parse_model(NESTED)
    for name in ("weight", "fed"):
        square = onnx.numpy_helper.from_array(np.zeros((8, 8), np.float32), name)
        model.graph.initializer.append(square)
    onnx.save(model, tmp_path / "saved.onnx")
    graph = prepare(tmp_path / "saved.onnx", tmp_path / "renamed.onnx")

    found = definitions(graph.path)

    rows = {op_type: row for row, op_type in enumerate(graph.nodes.op_type)}
    assert found[rows["Gemm"]] == Definition(
        (True, True), {1: Tensor("float32", (8, 8))}, {"transB": 1}
    )
    # An initialiser that the caller may feed is no constant.
    assert found[rows["MatMul"]].constants == {}
    assert found[rows["Mul"]].repeats == {1}
    clip = found[rows["Clip"]]
    assert (clip.present, clip.constants) == ((True, False, True), {2: Tensor("float32", ())})


def test_definitions_of_what_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"\xff\xff no model")
    with pytest.raises(ModelError, match=r"bad\.onnx"):
        definitions(tmp_path / "bad.onnx")


def traced(name: str, feeds: dict[str, np.ndarray], folder: Path) -> tuple[NodeTable, Work, Any]:
    """A reference model as ORT executes it: its nodes, their work, their self time."""
    found = importlib.util.find_spec("onnxruntime")
    assert found is not None
    assert found.origin is not None
    capi = Path(found.origin).parent / "capi"
    library = ort.Library(str(next(capi.glob("libonnxruntime.so.*"))))
    catalogue.write(name, folder / "model.onnx")
    entry = "session.optimized_model_external_initializers"
    ort.Session(
        library,
        str(folder / "model.onnx"),
        optimized_model_path=str(folder / "saved.onnx"),
        entries={f"{entry}_file_name": "saved.weights", f"{entry}_min_size_in_bytes": "1024"},
    ).close()
    graph = prepare(folder / "saved.onnx", folder / "renamed.onnx")
    session = ort.Session(
        library, str(graph.path), optimization="disable", profile_prefix=str(folder / "trace")
    )
    session.bind(feeds).run()
    file = TraceFile(Path(session.end_profiling()), 0)
    trace = reader.read([file], graph.nodes, process=0)
    self_ns = np.full(len(trace.nodes), -1, np.int64)
    self_ns[trace.events.node] = trace.events.self_ns
    return trace.nodes, work_of(trace.nodes, definitions(graph.path)), self_ns


IMAGE = {"input": np.zeros((1, 3, 224, 224), np.float32)}
TOKENS = {
    name: np.ones((1, 128), np.int64) for name in ("input_ids", "attention_mask", "token_type_ids")
}


def test_resnet50_does_its_known_multiply_adds(tmp_path: Path) -> None:
    _, counted, self_ns = traced("resnet50", IMAGE, tmp_path)

    # 4.089 G multiply-adds: torchvision's model card of ResNet-50 v1.5.
    assert counted.flops.sum() == pytest.approx(2 * 4.089e9, rel=0.005)
    # 25.5 million weights are read once at least.
    assert counted.bytes.sum() > 4 * 25.5e6
    assert (counted.flops[self_ns >= 0] >= 0).all()


def test_bert_small_does_what_its_shapes_say(tmp_path: Path) -> None:
    nodes, counted, self_ns = traced("bert-small", TOKENS, tmp_path)

    kinds = ("MatMul", "FusedMatMul", "Gemm", "FusedGemm")
    products = [row for row, op_type in enumerate(nodes.op_type) if op_type in kinds]
    width, tokens = 256, 128
    layer = 12 * width * width * tokens + 2 * tokens * tokens * width
    assert counted.flops[products].sum() == 2 * (4 * layer + width * width)
    ran, known = self_ns >= 0, counted.flops >= 0
    assert known[ran].mean() >= 0.95
    assert self_ns[ran & known].sum() >= 0.95 * self_ns[ran].sum()
