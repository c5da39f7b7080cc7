"""Formulas against operators written as loops, which count what they do and read."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx.defs
import pytest

from harness.models.work import ensembles
from harness.models.work.nodes import Definition
from harness.models.work.table import OPERATORS, Work, work_of
from harness.models.work.tensors import Unknown
from harness.models.work.unknown import UNKNOWN
from tests.unit.models.work import naive
from tests.unit.models.work.naive import Array, Number, Tally, dot, indices, reduced
from tests.unit.models.work.test_work import MS, f, i64, table, u8

#: Bytes of an element, by the name that ORT gives its type.
BYTES = {"float": 4, "uint8": 1, "int64": 8}

ML = "ai.onnx.ml"

Shape = dict[str, list[int]]
Loop = Callable[..., Any]


def counted(
    domain: str,
    op_type: str,
    inputs: list[Shape | None],
    outputs: list[Shape],
    attributes: dict[str, Any] | None = None,
    repeats: frozenset[int] = frozenset(),
) -> Work:
    """What the code says about one node all of whose inputs are reported."""
    present = tuple(one is not None for one in inputs)
    definition = Definition(present, {}, attributes or {}, repeats)
    reported = [one for one in inputs if one is not None]
    return work_of(table((domain, op_type, reported, outputs)), {0: definition})


def operations(loop: Loop, *shapes: tuple[int, ...]) -> int:
    """What a loop does with arrays of these shapes."""
    tally = Tally()
    loop(tally, *(Array(tally, *shape) for shape in shapes))
    return tally.operations


# Products


def test_convolution_with_groups_strides_and_dilation() -> None:
    loop = operations(
        lambda tally, x, w: naive.convolution(tally, x, w, (1, 6, 2, 2), 2, 2),
        (1, 4, 7, 7),
        (6, 2, 3, 3),
    )
    work = counted("", "Conv", [f(1, 4, 7, 7), f(6, 2, 3, 3)], [f(1, 6, 2, 2)], {"group": 2})
    assert work.flops[0] == loop


@pytest.mark.parametrize(
    ("domain", "op_type", "weight"),
    [("", "ConvTranspose", 1), ("com.ms.internal.nhwc", "QLinearConvTranspose", 3)],
)
def test_transposed_convolution(domain: str, op_type: str, weight: int) -> None:
    loop = operations(naive.transposed_convolution, (1, 3, 4, 4), (3, 2, 3, 3))
    inputs: list[Shape | None] = [f(1, 3, 4, 4), *[f()] * (weight - 1), f(3, 2, 3, 3)]
    assert counted(domain, op_type, inputs, [f(1, 2, 6, 6)]).flops[0] == loop


def test_causal_convolution_of_each_channel() -> None:
    def loop(tally: Tally, x: Array, w: Array) -> None:
        for b, c, at in x.indices():
            dot(tally, ((x[b, c, max(at - j, 0)], w[c, 0, j]) for j in range(4)))

    expected = operations(loop, (1, 3, 5), (3, 1, 4))
    for domain in ("", MS):
        work = counted(domain, "CausalConvWithState", [f(1, 3, 5), f(3, 1, 4)], [f(1, 3, 5)])
        assert work.flops[0] == expected


def test_deformable_convolution_samples_each_place_of_the_kernel() -> None:
    def loop(tally: Tally, x: Array, w: Array, mask: Array) -> None:
        sampled = {}
        for c, i, j, row, column in indices((4, 3, 3, 2, 2)):
            corners = [x[0, c, row + a, column + b] for a, b in indices((2, 2))]
            value = dot(tally, ((corner, 0.25) for corner in corners))
            sampled[c, i, j, row, column] = value * mask[0, 3 * i + j, row, column]
        for m, row, column in indices((6, 2, 2)):
            first = m // 3 * 2
            dot(
                tally,
                (
                    (sampled[first + c, i, j, row, column], w[m, c, i, j])
                    for c, i, j in indices(w.shape[1:])
                ),
            )

    expected = operations(loop, (1, 4, 4, 4), (6, 2, 3, 3), (1, 9, 2, 2))
    inputs = [f(1, 4, 4, 4), f(6, 2, 3, 3), f(1, 18, 2, 2), None, f(1, 9, 2, 2)]
    work = counted("", "DeformConv", inputs, [f(1, 6, 2, 2)], {"group": 2})
    assert work.flops[0] == expected


def product_loop(tally: Tally, a: Array, b: Array) -> None:
    naive.product(tally, naive.matrix(a), naive.columns(b))


@pytest.mark.parametrize(
    ("domain", "op_type"),
    [("", "MatMul"), ("", "Gemm"), ("", "MatMulInteger"), (MS, "FusedMatMul"),
     (MS, "MatMulIntegerToFloat"), (MS, "MatMulNBits"), (MS, "MatMulFpQ4"), (MS, "GemmFastGelu"),
     (MS, "MatMulInteger16")],
)  # fmt: skip
def test_products(domain: str, op_type: str) -> None:
    expected = operations(product_loop, (3, 5), (5, 4))
    assert counted(domain, op_type, [f(3, 5), f(5, 4)], [f(3, 4)]).flops[0] == expected


def test_batched_product_of_transposed_matrices() -> None:
    def loop(tally: Tally, a: Array, b: Array) -> None:
        for n in range(2):
            naive.product(tally, naive.columns(a, n), naive.columns(b, n))

    expected = operations(loop, (2, 7, 5), (2, 7, 4))
    work = counted(MS, "FusedMatMul", [f(2, 7, 5), f(2, 7, 4)], [f(2, 5, 4)], {"transA": 1})
    assert work.flops[0] == expected


def test_a_product_that_quantises_its_input_counts_that() -> None:
    def loop(tally: Tally, a: Array, b: Array) -> None:
        values = naive.quantise_dynamically(tally, a.all())
        rows = [values[at : at + 5] for at in range(0, 15, 5)]
        naive.product(tally, rows, naive.columns(b))

    expected = operations(loop, (3, 5), (5, 4))
    inputs = [f(3, 5), u8(5, 4), f(), u8()]
    assert counted(MS, "DynamicQuantizeMatMul", inputs, [f(3, 4)]).flops[0] == expected


def test_a_product_that_quantises_by_blocks_counts_that() -> None:
    def loop(tally: Tally, a: Array, b: Array) -> None:
        sizes = [value.function() for value in a.all()]
        scale = reduced(tally, sizes)
        values = [value / scale for value in a.all()]
        naive.product(tally, [values[at : at + 32] for at in (0, 32)], naive.columns(b))

    inputs = [f(2, 32), u8(8, 1, 16), f(8, 1)]
    work = counted(MS, "MatMulNBits", inputs, [f(2, 8)], {"accuracy_level": 4})
    assert (work.flops[0], work.dtype[0]) == (operations(loop, (2, 32), (32, 8)), "int8")


def test_products_of_one_normalised_input() -> None:
    def loop(tally: Tally, a: Array, q: Array, k: Array) -> None:
        rows = [
            naive.root_mean_square(tally, [value + 0.5 for value in row]) for row in naive.matrix(a)
        ]
        for weights in (q, k, k):
            naive.product(tally, rows, naive.columns(weights))

    weights = [u8(8, 1, 16), f(8, 1), None, u8(4, 1, 16), f(4, 1), None, u8(4, 1, 16), f(4, 1)]
    inputs = [f(2, 32), f(2, 32), f(32), *weights]
    outputs = [f(2, 8), f(2, 4), f(2, 4), f(2, 32)]
    work = counted(MS, "MatMulNBitsQkv", inputs, outputs)
    assert work.flops[0] == operations(loop, (2, 32), (32, 8), (32, 4))

    def gated(tally: Tally, a: Array, gate: Array, up: Array) -> None:
        rows = [naive.root_mean_square(tally, row) for row in naive.matrix(a)]
        for weights in (gate, up):
            naive.product(tally, rows, naive.columns(weights))

    inputs = [f(2, 32), None, f(32), u8(8, 1, 16), f(8, 1), None, u8(8, 1, 16), f(8, 1)]
    work = counted(MS, "MatMulNBitsMlp", inputs, [f(2, 8)])
    assert work.flops[0] == operations(gated, (2, 32), (32, 8), (32, 8))


def test_grids_and_distances_are_products() -> None:
    def grid(tally: Tally, theta: Array) -> None:
        positions = [[Number(0.5, tally)] * 3 for _ in range(4 * 5)]
        for n in range(2):
            naive.product(tally, positions, naive.matrix(theta, n))

    work = counted("", "AffineGrid", [f(2, 2, 3), i64(4)], [f(2, 4, 5, 2)])
    assert work.flops[0] == operations(grid, (2, 2, 3))

    def rows(tally: Tally, a: Array, b: Array) -> None:
        naive.product(tally, naive.matrix(a), naive.matrix(b))

    work = counted(MS, "CDist", [f(3, 7), f(5, 7)], [f(3, 5)], {"metric": "euclidean"})
    assert work.flops[0] == operations(rows, (3, 7), (5, 7))


# Einsum


def einsum_outer(tally: Tally, a: Array, b: Array) -> None:
    left = [reduced(tally, row) for row in naive.matrix(a)]
    right = [reduced(tally, row) for row in naive.columns(b)]
    [one * other for one in left for other in right]


def einsum_batched(tally: Tally, a: Array, b: Array) -> None:
    for n in range(a.shape[0]):
        naive.product(tally, naive.matrix(a, n), naive.columns(b, n))


def einsum_elementwise(_: Tally, a: Array, b: Array) -> None:
    for index in a.indices():
        a[index] * b[index]


def einsum_rows(tally: Tally, a: Array) -> None:
    for row in naive.matrix(a):
        reduced(tally, row)


def einsum_trace(tally: Tally, a: Array) -> None:
    reduced(tally, (a[at, at] for at in range(a.shape[0])))


def einsum_chain(tally: Tally, a: Array, b: Array, c: Array) -> None:
    row = [dot(tally, ((a[i,], b[i, j]) for i in range(3))) for j in range(4)]
    dot(tally, ((row[j], c[j,]) for j in range(4)))


@pytest.mark.parametrize(
    ("equation", "loop", "shapes", "out"),
    [
        ("ij,kl->il", einsum_outer, [(3, 4), (2, 5)], (3, 5)),
        ("bij,bjk->bik", einsum_batched, [(2, 3, 4), (2, 4, 5)], (2, 3, 5)),
        ("...ij,...jk->...ik", einsum_batched, [(2, 3, 4), (2, 4, 5)], (2, 3, 5)),
        ("ij,jk", product_loop, [(3, 4), (4, 5)], (3, 5)),
        ("ij,ij->ij", einsum_elementwise, [(3, 4), (3, 4)], (3, 4)),
        ("ij->i", einsum_rows, [(3, 4)], (3,)),
        ("ii->", einsum_trace, [(4, 4)], ()),
        ("ij->ji", lambda *_: None, [(3, 4)], (4, 3)),
        ("i,ij,j->", einsum_chain, [(3,), (3, 4), (4,)], ()),
    ],
)
def test_einsum(
    equation: str, loop: Loop, shapes: list[tuple[int, ...]], out: tuple[int, ...]
) -> None:
    work = counted("", "Einsum", [f(*one) for one in shapes], [f(*out)], {"equation": equation})
    assert work.flops[0] == operations(loop, *shapes)


@pytest.mark.parametrize("equation", ["ij,jk,kl->il", "ijk,jk->i", "i.j,jk->ik"])
def test_equation_that_does_not_fit_is_not_guessed(equation: str) -> None:
    inputs = [f(3, 4), f(4, 5)]
    assert counted("", "Einsum", inputs, [f(3, 5)], {"equation": equation}).flops[0] == -1


# What lies between elements


@pytest.mark.parametrize(
    ("before", "after", "mode"),
    [
        ((1, 3, 16, 16), (1, 3, 8, 8), "linear"),
        ((1, 3, 16, 16), (1, 3, 4, 4), "linear"),  # half of the rows and columns
        ((1, 3, 4, 4), (1, 3, 8, 8), "linear"),
        ((1, 2, 16, 8), (1, 2, 4, 8), "linear"),  # one axis only
        ((1, 1, 32, 32), (1, 1, 4, 4), "cubic"),
        ((1, 1, 6, 6), (1, 1, 9, 9), "cubic"),
        ((1, 2, 9, 9), (1, 2, 3, 3), "nearest"),
        ((1, 2, 3, 3), (1, 2, 9, 9), "nearest"),
    ],
)
@pytest.mark.parametrize("op_type", ["Resize", "Upsample"])
def test_resizing(op_type: str, before: tuple[int, ...], after: tuple[int, ...], mode: str) -> None:
    tally = Tally()
    x = Array(tally, *before)
    naive.resize(tally, x, after, mode)
    scales = [None, None] if op_type == "Resize" else []
    work = counted(op_type=op_type, domain="", inputs=[f(*before), *scales, f(4)],
                   outputs=[f(*after)], attributes={"mode": mode})  # fmt: skip
    assert work.flops[0] == tally.operations
    assert work.bytes[0] == 4 * (len(x.read) + 4 + math.prod(after))


def test_resizing_with_antialias_reads_everything_by_weights_that_are_values() -> None:
    work = counted("", "Resize", [f(1, 1, 16, 16), None, f(4)], [f(1, 1, 4, 4)],
                   {"mode": "linear", "antialias": 1})  # fmt: skip
    assert (work.flops[0], work.bytes[0]) == (-1, 4 * (256 + 4 + 16))


@pytest.mark.parametrize(("mode", "taps"), [("linear", 2), ("cubic", 4), ("nearest", 1)])
def test_sampling_a_grid(mode: str, taps: int) -> None:
    def loop(tally: Tally, x: Array) -> None:
        for c, row, column in indices((3, 4, 4)):
            # Places four apart: no element is read twice.
            read = [x[0, c, 4 * row + a, 4 * column + b] for a, b in indices((taps, taps))]
            if taps > 1:
                dot(tally, ((value, 0.25) for value in read))

    tally = Tally()
    x = Array(tally, 1, 3, 16, 16)
    loop(tally, x)
    names = {"linear": ("linear", "bilinear"), "cubic": ("cubic", "bicubic")}
    for name, domain in itertools.product(names.get(mode, (mode,)), ("", MS)):
        inputs = [f(1, 3, 16, 16), f(1, 4, 4, 2)]
        work = counted(domain, "GridSample", inputs, [f(1, 3, 4, 4)], {"mode": name})
        assert work.flops[0] == tally.operations
        assert work.bytes[0] == 4 * (len(x.read) + 32 + 48)


@pytest.mark.parametrize("mode", ["avg", "max"])
def test_aligning_regions(mode: str) -> None:
    tally = Tally()
    x = Array(tally, 1, 2, 16, 16)
    for c, row, column in indices((2, 2, 2)):
        values = []
        for a, b in indices((2, 2)):
            first = 8 * row + 4 * a, 8 * column + 4 * b
            corners = [x[0, c, first[0] + i, first[1] + j] for i, j in indices((2, 2))]
            if mode == "avg":
                values.append(dot(tally, ((corner, 0.25) for corner in corners)))
            else:
                values += [corner * 0.25 for corner in corners]
        reduced(tally, values)
    inputs = [f(1, 2, 16, 16), f(1, 4), i64(1)]
    attributes = {"sampling_ratio": 2, "mode": mode}
    work = counted("", "RoiAlign", inputs, [f(1, 2, 2, 2)], attributes)
    assert work.flops[0] == tally.operations
    assert work.bytes[0] == 4 * (len(x.read) + 4 + 8) + 8
    # Without a number of points the sizes of the regions decide.
    assert counted("", "RoiAlign", inputs, [f(1, 2, 2, 2)], {}).flops[0] == -1


def test_cropping_and_resizing() -> None:
    tally = Tally()
    x = Array(tally, 1, 2, 8, 8)
    for c, row, column in indices((2, 3, 3)):
        corners = [x[0, c, 2 * row + i, 2 * column + j] for i, j in indices((2, 2))]
        dot(tally, ((corner, 0.25) for corner in corners))
    inputs = [f(1, 2, 8, 8), f(1, 4), {"int32": [1]}, {"int32": [2]}]
    work = counted(MS, "CropAndResize", inputs, [f(1, 2, 3, 3)])
    assert work.flops[0] == tally.operations
    assert work.bytes[0] == 4 * (len(x.read) + 4 + 1 + 2 + 18)


# Fourier transforms


@pytest.mark.parametrize("onesided", [0, 1])
def test_transform_of_a_power_of_two(onesided: int) -> None:
    def loop(tally: Tally, x: Array) -> None:
        for n in range(3):
            naive.fourier(tally, [(x[n, at, 0], Number(0, tally)) for at in range(16)])

    out = f(3, 9 if onesided else 16, 2)
    work = counted("", "DFT", [f(3, 16, 1)], [out], {"onesided": onesided, "axis": 1})
    assert work.flops[0] == operations(loop, (3, 16, 1))


def test_inverse_transform_divides() -> None:
    def loop(tally: Tally, x: Array) -> None:
        for a, b in naive.fourier(tally, [(x[0, at, 0], x[0, at, 1]) for at in range(8)]):
            a / 8, b / 8

    work = counted("", "DFT", [f(1, 8, 2)], [f(1, 8, 2)], {"inverse": 1})
    assert work.flops[0] == operations(loop, (1, 8, 2))


def test_other_lengths_and_axes_that_are_values_are_not_guessed() -> None:
    assert counted("", "DFT", [f(1, 12, 1)], [f(1, 12, 2)]).flops[0] == -1
    inputs = [f(1, 8, 8, 1), None, i64()]
    assert counted("", "DFT", inputs, [f(1, 8, 8, 2)]).flops[0] == -1
    # Nine bins are half of 16 or of 17.
    half = {"onesided": 1}
    assert counted("", "DFT", [f(1, 17, 1)], [f(1, 9, 2)], half).flops[0] == -1
    assert counted("", "DFT", [f(1, 20, 1), i64()], [f(1, 9, 2)], half).flops[0] == -1
    unwindowed = [f(1, 24, 1), i64(), None, i64()]
    assert counted("", "STFT", unwindowed, [f(1, 5, 9, 2)]).flops[0] == -1


def test_short_time_transform() -> None:
    def loop(tally: Tally, signal: Array, window: Array) -> None:
        for frame in range(5):
            read = [signal[0, 4 * frame + at, 0] * window[at,] for at in range(8)]
            naive.fourier(tally, [(value, Number(0, tally)) for value in read])

    expected = operations(loop, (1, 24, 1), (8,))
    inputs = [f(1, 24, 1), i64(), f(8)]
    assert counted("", "STFT", inputs, [f(1, 5, 5, 2)]).flops[0] == expected
    without = [f(1, 24, 1), i64(), None, i64()]
    whole = counted("", "STFT", without, [f(1, 5, 8, 2)], {"onesided": 0})
    assert whole.flops[0] == expected - 5 * 8


# Mixtures of experts


@pytest.mark.parametrize(
    ("op_type", "activation", "fused"),
    [("MoE", "relu", 0), ("MoE", "silu", 0), ("MoE", "swiglu", 1), ("QMoE", "gelu", 0)],
)
def test_each_token_goes_through_its_experts(op_type: str, activation: str, fused: int) -> None:
    tokens, hidden, inner, experts, k = 3, 4, 6, 5, 2
    third = op_type == "MoE" and activation == "silu"
    rows = inner * (2 if fused else 1)

    def activate(value: Number) -> Number:
        if activation == "silu":
            return naive.swish(value)
        if activation == "gelu":  # Div, Erf, Add, Mul, Mul
            return ((value / 1.4).function() + 1.0) * value * 0.5
        return value.most(0.0)

    def loop(tally: Tally, x: Array, router: Array, one: Array, two: Array) -> None:
        for t in range(tokens):
            naive.softmax(tally, [router[t, e] for e in range(experts)])
            total = [Number(0.0, tally) for _ in range(hidden)]
            for e in range(k):  # which ones is in the values; how much is not
                row = [[x[t, at] for at in range(hidden)]]
                (first,) = naive.product(tally, row, naive.matrix(one, e))
                if fused:
                    gates, linear = first[:inner], first[inner:]
                    middle = [
                        g * (g * 1.7).function() * (linear[at] + 1.0) for at, g in enumerate(gates)
                    ]
                else:
                    middle = [activate(value) for value in first]
                if third:
                    (gate,) = naive.product(tally, row, naive.matrix(one, e))
                    middle = [a * b for a, b in zip(middle, gate, strict=True)]
                (result,) = naive.product(tally, [middle], naive.matrix(two, e))
                total = [a + b * 0.5 for a, b in zip(total, result, strict=True)]

    expected = operations(
        loop, (tokens, hidden), (tokens, experts), (experts, rows, hidden), (experts, hidden, inner)
    )
    attributes = {"k": k, "activation_type": activation, "swiglu_fusion": fused}
    if op_type == "QMoE":  # 4 bits: two values a byte
        weights: list[Shape | None] = [
            u8(experts, rows, hidden // 2), f(experts, rows), None,
            u8(experts, hidden, inner // 2), f(experts, hidden),
        ]  # fmt: skip
        read = k * (rows * hidden // 2 + 4 * rows + hidden * inner // 2 + 4 * hidden)
    else:
        weights = [f(experts, rows, hidden), None, f(experts, hidden, inner), None]
        weights += [f(experts, inner, hidden)] if third else []
        read = 4 * k * (rows * hidden + hidden * inner + (inner * hidden if third else 0))
    inputs = [f(tokens, hidden), f(tokens, experts), *weights]
    work = counted(MS, op_type, inputs, [f(tokens, hidden)], attributes)
    assert work.flops[0] == expected
    assert work.bytes[0] == 4 * (tokens * hidden * 2 + tokens * experts) + read


# Classical models


def walked(children: dict[int, tuple[int, int]], leaves: set[int], seed: int) -> int:
    """Comparisons on a way down a tree that chance chooses."""
    random, at, comparisons = np.random.default_rng(seed), 0, 0
    while at not in leaves:
        at = children[at][int(random.integers(2))]
        comparisons += 1
    return comparisons


#: A tree with leaves two and three comparisons down, and one with a single leaf beside it.
TREE = {0: (1, 2), 1: (3, 4), 2: (5, 6), 6: (7, 8)}
LEAVES = {3, 4, 5, 7, 8}


@pytest.mark.parametrize("op_type", ["TreeEnsembleRegressor", "TreeEnsembleClassifier"])
def test_trees_count_the_shortest_way_down(op_type: str) -> None:
    shortest = min(walked(TREE, LEAVES, seed) for seed in range(200))
    ids = [*range(9), 0]  # the second tree is a leaf
    attributes = {
        "nodes_treeids": (0,) * 9 + (1,),
        "nodes_nodeids": tuple(ids),
        "nodes_truenodeids": (*tuple(TREE.get(at, (0, 0))[0] for at in range(9)), 0),
        "nodes_falsenodeids": (*tuple(TREE.get(at, (0, 0))[1] for at in range(9)), 0),
    }
    work = counted(ML, op_type, [f(7, 3)], [f(7, 1)], attributes)
    assert work.flops[0] == 7 * ((shortest + 1) + (0 + 1))
    assert work.bytes[0] == -1, "which nodes are visited is in the values"


def test_trees_by_index_count_the_same() -> None:
    shortest = min(walked(TREE, LEAVES, seed) for seed in range(200))
    inner, leaves = list(TREE), sorted(LEAVES)
    sides = [
        [(leaves.index(one), 1) if one in LEAVES else (inner.index(one), 0) for one in pair]
        for pair in zip(*TREE.values(), strict=True)
    ]
    attributes = {
        "tree_roots": (0,),
        "nodes_truenodeids": tuple(at for at, _ in sides[0]),
        "nodes_trueleafs": tuple(leaf for _, leaf in sides[0]),
        "nodes_falsenodeids": tuple(at for at, _ in sides[1]),
        "nodes_falseleafs": tuple(leaf for _, leaf in sides[1]),
    }
    work = counted(ML, "TreeEnsemble", [f(7, 3)], [f(7, 1)], attributes)
    assert work.flops[0] == 7 * (shortest + 1)


def test_a_tree_that_goes_in_circles_is_not_counted() -> None:
    attributes = {
        "tree_roots": (0,), "nodes_truenodeids": (0,), "nodes_trueleafs": (0,),
        "nodes_falsenodeids": (0,), "nodes_falseleafs": (0,),
    }  # fmt: skip
    assert counted(ML, "TreeEnsemble", [f(7, 3)], [f(7, 1)], attributes).flops[0] == -1
    # Two nodes that lead to each other, and more ways round than there is memory.
    circle = {
        "nodes_treeids": (0,) * 101, "nodes_nodeids": tuple(range(101)),
        "nodes_truenodeids": tuple((at + 1) % 100 for at in range(101)),
        "nodes_falsenodeids": tuple((at + 2) % 100 for at in range(101)),
    }  # fmt: skip
    work = counted(ML, "TreeEnsembleRegressor", [f(7, 3)], [f(7, 1)], circle)
    assert work.flops[0] == -1
    uneven = circle | {"nodes_truenodeids": (1,)}
    assert counted(ML, "TreeEnsembleRegressor", [f(7, 3)], [f(7, 1)], uneven).flops[0] == -1


def test_a_circle_of_layers_is_walked_once() -> None:
    class Counting(dict[tuple[int, int], tuple[tuple[int, int], ...]]):
        read = 0

        def __getitem__(self, key: tuple[int, int]) -> tuple[tuple[int, int], ...]:
            self.read += 1
            return super().__getitem__(key)

    # Each layer is 50 nodes, which lead to all of the next; the last one leads to the first.
    layers = [[(0, 50 * layer + at) for at in range(50)] for layer in range(40)]
    children = Counting(
        (one, tuple(layers[(layer + 1) % 40])) for layer in range(40) for one in layers[layer]
    )
    with pytest.raises(Unknown):
        ensembles._shortest(children, layers[0][0])
    assert children.read <= 3 * len(children)


def test_linear_regression() -> None:
    expected = operations(product_loop, (5, 3), (3, 2))
    assert counted(ML, "LinearRegressor", [f(5, 3)], [f(5, 2)]).flops[0] == expected


# Recurrent networks and attention


def cell(tally: Tally, x: list[Number], h: list[Number], gates: int) -> list[list[Number]]:
    """The gates of one step: products of the input and of the hidden state."""
    return [[dot(tally, ((value, 0.5) for value in [*x, *h])) for _ in h] for _ in range(gates)]


def lstm(tally: Tally, x: Array, hidden: int, *, peepholes: bool, dynamic: bool) -> None:
    steps, batch, features = x.shape
    for b in range(batch):
        h = [Number(0.0, tally) for _ in range(hidden)]
        c = list(h)
        for t in range(steps):
            row = [x[t, b, at] for at in range(features)]
            if dynamic:
                row = naive.quantise_dynamically(tally, row)
                h = naive.quantise_dynamically(tally, h)
            i, o, forget, new = cell(tally, row, h, 4)
            if peepholes:
                i, o, forget = (
                    [a + b * 0.5 for a, b in zip(gate, c, strict=True)] for gate in (i, o, forget)
                )
            c = [
                forget[n].function() * c[n] + i[n].function() * new[n].function()
                for n in range(hidden)
            ]
            h = [o[n].function() * c[n].function() for n in range(hidden)]


@pytest.mark.parametrize("peepholes", [False, True])
@pytest.mark.parametrize("dynamic", [False, True])
def test_lstm(peepholes: bool, dynamic: bool) -> None:
    expected = operations(
        lambda tally, x: lstm(tally, x, 5, peepholes=peepholes, dynamic=dynamic), (7, 2, 3)
    )
    last = [None] * 4 + [f(1, 15)] if peepholes else []
    if dynamic:
        work = counted(
            MS, "DynamicQuantizeLSTM", [f(7, 2, 3), u8(1, 3, 20), u8(1, 5, 20), *last],
            [f(7, 1, 2, 5)],
        )  # fmt: skip
    else:
        work = counted("", "LSTM", [f(7, 2, 3), f(1, 20, 3), f(1, 20, 5), *last], [f(7, 1, 2, 5)])
    assert work.flops[0] == expected


def test_gru_and_rnn() -> None:
    def gru(tally: Tally, x: Array) -> None:
        for b in range(2):
            h = [Number(0.0, tally) for _ in range(5)]
            for t in range(7):
                z, r, new = cell(tally, [x[t, b, at] for at in range(3)], h, 3)
                for n in range(5):
                    gate = z[n].function()
                    candidate = (r[n].function() * h[n]).value
                    one = Number(1.0, tally)
                    h[n] = (one - gate) * new[n].function() + gate * candidate

    work = counted("", "GRU", [f(7, 2, 3), f(1, 15, 3), f(1, 15, 5)], [f(7, 1, 2, 5)])
    assert work.flops[0] == operations(gru, (7, 2, 3))

    def rnn(tally: Tally, x: Array) -> None:
        for b, t in indices((2, 7)):
            h = [Number(0.0, tally) for _ in range(5)]
            (gate,) = cell(tally, [x[t, b, at] for at in range(3)], h, 1)
            [value.function() for value in gate]

    work = counted("", "RNN", [f(7, 2, 3), f(1, 5, 3), f(1, 5, 5)], [f(7, 1, 2, 5)])
    assert work.flops[0] == operations(rnn, (7, 2, 3))


def heads(tally: Tally, queries: int, keys: int, *, batches: int = 1, count: int = 2) -> None:
    """Attention over heads of 4, without the projections before it."""
    for _ in range(batches * count):
        q, k, v = (
            [[Number(0.5, tally) for _ in range(4)] for _ in range(length)]
            for length in (queries, keys, keys)
        )
        naive.attention(tally, q, k, v)


def test_attention() -> None:
    expected = operations(lambda tally: heads(tally, 5, 7, batches=2))
    for domain, op_type, inputs, out, attributes in (
        (MS, "MultiHeadAttention", [f(2, 5, 8), f(2, 7, 8), f(2, 7, 8)], f(2, 5, 8),
         {"num_heads": 2}),
        ("", "Attention", [f(2, 2, 5, 4), f(2, 2, 7, 4), f(2, 2, 7, 4)], f(2, 2, 5, 4), {}),
    ):  # fmt: skip
        work = counted(domain, op_type, list(inputs), [out], dict(attributes))
        assert work.flops[0] == expected
    padded = [f(2, 2, 5, 4), f(2, 2, 7, 4), f(2, 2, 7, 4), None, None, None, i64(2)]
    assert counted("", "Attention", padded, [f(2, 2, 5, 4)]).flops[0] == -1, "lengths are values"


def test_attention_with_its_projection() -> None:
    def loop(tally: Tally, x: Array, w: Array) -> None:
        for b in range(2):
            naive.product(tally, naive.matrix(x, b), naive.columns(w))
        heads(tally, 5, 5, batches=2)

    work = counted(MS, "Attention", [f(2, 5, 8), f(8, 24), f(24)], [f(2, 5, 8)], {"num_heads": 2})
    assert work.flops[0] == operations(loop, (2, 5, 8), (8, 24))


def test_attention_of_one_query_with_a_past() -> None:
    alone: list[Shape | None] = [f(3, 1, 8)] * 3
    past = [*alone, None, None, f(3, 2, 6, 4), f(3, 2, 6, 4)]
    crossed: list[Shape | None] = [f(3, 1, 8), f(3, 2, 9, 4), f(3, 2, 9, 4)]
    packed: list[Shape | None] = [f(3, 1, 24), None, None, None, None, *past[5:]]
    for inputs, keys in ((alone, 1), (past, 7), (crossed, 9), (packed, 7)):
        out = [f(3, 1, 8)]
        work = counted(MS, "DecoderMaskedMultiHeadAttention", inputs, out, {"num_heads": 2})
        assert work.flops[0] == operations(
            lambda tally, keys=keys: heads(tally, 1, keys, batches=3)
        )
    shared = {"num_heads": 2, "past_present_share_buffer": 1}
    work = counted(MS, "DecoderMaskedMultiHeadAttention", past, [f(3, 1, 8)], shared)
    assert work.flops[0] == -1, "how much of the buffer counts is a value"


@pytest.mark.parametrize("rule", ["linear", "gated", "delta", "gated_delta"])
@pytest.mark.parametrize("queries", [2, 4])
def test_linear_attention(rule: str, queries: int) -> None:
    keys, values, states, tokens = 3, 5, 2, 4

    def loop(tally: Tally) -> None:
        key, value, query = (
            [Number(0.5, tally) for _ in range(size)] for size in (keys, values, keys)
        )
        for _ in range(states):
            state = {index: Number(0.1, tally) for index in indices((keys, values))}
            for _ in range(tokens):
                if "gated" in rule:
                    state = {index: one * 0.9 for index, one in state.items()}
                new = value
                if "delta" in rule:  # the difference is of a row: not counted
                    new = [
                        Number(
                            dot(tally, ((state[i, j], key[i]) for i in range(keys))).value, tally
                        )
                        for j in range(values)
                    ]
                for i, j in state:
                    state[i, j] = state[i, j] + key[i] * new[j]
                for _ in range(queries // states):
                    for j in range(values):
                        dot(tally, ((state[i, j], query[i]) for i in range(keys)))

    inputs = [f(1, tokens, queries * keys), f(1, tokens, states * keys),
              f(1, tokens, states * values)]  # fmt: skip
    attributes = {"q_num_heads": queries, "kv_num_heads": states, "update_rule": rule}
    for domain in ("", MS):
        out = [f(1, tokens, queries * values)]
        work = counted(domain, "LinearAttention", list(inputs), out, attributes)
        assert work.flops[0] == operations(loop)


# Rows and elements


def rows(function: Callable[[Tally, list[Number]], Any]) -> Loop:
    def loop(tally: Tally, x: Array) -> None:
        for row in naive.matrix(x):
            function(tally, row)

    return loop


def each(function: Callable[[Number], Any]) -> Loop:
    def loop(_: Tally, x: Array) -> None:
        for value in x.all():
            function(value)

    return loop


def gelu(value: Number) -> Number:
    return ((value / 1.4).function() + 1.0) * value * 0.5


def rotated(_: Tally, row: list[Number]) -> None:
    for a, b in zip(row[::2], row[1::2], strict=True):
        naive.rotate(a, b)


X = f(3, 8)
V = f(8)
S, Z = f(), u8()

ROWS: list[tuple[str, str, list[Shape | None], dict[str, Any], Loop]] = [
    ("", "Softmax", [X], {}, rows(naive.softmax)),
    ("", "LogSoftmax", [X], {}, rows(naive.softmax)),
    ("", "LayerNormalization", [X, V], {}, rows(naive.normalise)),
    ("", "LayerNormalization", [X, V, V], {}, rows(lambda t, row: naive.normalise(t, row, True))),
    ("", "RMSNormalization", [X, V], {}, rows(naive.root_mean_square)),
    (MS, "BranchwiseRMSNorm", [X, V], {}, rows(naive.root_mean_square)),
    (MS, "SkipLayerNormalization", [X, X, V, V, V], {},
     rows(lambda t, row: naive.normalise(t, [one + 1.0 + 1.0 for one in row], True))),
    (MS, "GatedRMSNorm", [X, V, X], {},
     rows(lambda t, row: [a * naive.swish(b) for a, b in
                          zip(naive.root_mean_square(t, row), row, strict=True)])),
    (MS, "GatedRMSNorm", [X, V, X], {"activation": "sigmoid"},
     rows(lambda t, row: [a * naive.sigmoid(b) for a, b in
                          zip(naive.root_mean_square(t, row), row, strict=True)])),
    ("", "Hardmax", [X], {}, rows(reduced)),
    ("", "Clip", [X, S, S], {}, each(lambda x: x.most(0.0).most(1.0))),
    ("", "Clip", [X, S], {}, each(lambda x: x.most(0.0))),
    ("", "Clip", [X, None, S], {}, each(lambda x: x.most(0.0))),
    ("", "Clip", [X], {}, each(lambda x: x)),
    ("", "Clip", [X], {"max": 6.0}, each(lambda x: x.most(0.0))),
    ("", "Clip", [X], {"min": 0.0, "max": 6.0}, each(lambda x: x.most(0.0).most(6.0))),
    ("", "Gelu", [X], {}, each(gelu)),
    ("", "HardSwish", [X], {}, each(naive.swish)),
    ("", "SwiGLU", [X, X], {}, each(lambda x: naive.swish(x) * 0.5)),
    ("", "Affine", [X], {}, each(lambda x: x * 2.0 + 1.0)),
    ("", "Scale", [X], {}, each(lambda x: x * 2.0)),
    ("", "ScaledTanh", [X], {}, each(lambda x: (x * 2.0).function() * 2.0)),
    ("", "QuantizeLinear", [X, S, Z], {}, each(naive.quantise)),
    ("", "DequantizeLinear", [u8(3, 8), S, Z], {}, each(naive.dequantise)),
    ("", "DequantizeLinear", [u8(3, 8), S], {}, each(lambda x: x * 0.1)),
    (MS, "QuickGelu", [X], {}, each(lambda x: x * (x * 1.7).function())),
    (MS, "ScaledSiLU", [X], {}, each(lambda x: naive.swish(x * 2.0))),
    (MS, "GatedAdd", [X, X, f(3, 1)], {}, each(lambda x: x + x * 0.5)),
    (MS, "QLinearAdd", [u8(3, 8), S, Z, u8(3, 8), S, Z, S, Z], {},
     each(lambda x: naive.quantise(naive.dequantise(x) + naive.dequantise(x)))),
    (MS, "QLinearSigmoid", [u8(3, 8), S, Z, S, Z], {},
     each(lambda x: naive.quantise(naive.dequantise(x).function()))),
    (MS, "QLinearConcat", [S, Z, u8(1, 8), S, Z, u8(2, 8), S, Z], {"axis": 0},
     each(lambda x: naive.quantise(naive.dequantise(x)))),
    (MS, "QLinearWhere", [{"bool": [3, 8]}, u8(3, 8), S, Z, u8(3, 8), S, Z, S, Z], {},
     each(lambda x: naive.quantise(naive.dequantise(x).most(0.0)))),
    (MS, "MulInteger", [u8(3, 8), Z, u8(3, 8), Z], {}, each(lambda x: (x - 3.0) * (x - 3.0))),
    (MS, "MulInteger", [u8(3, 8), None, u8(3, 8)], {}, each(lambda x: x * 2.0)),
    (MS, "RotaryEmbedding", [X, i64(3), f(9, 4), f(9, 4)], {}, rows(rotated)),
    (MS, "MRotaryEmbedding", [X, i64(3), f(9, 4), f(9, 4)], {}, rows(rotated)),
    (MS, "ComplexMul", [X, X], {}, rows(rotated)),  # the real and the imaginary part of a product
    (ML, "Scaler", [X], {}, each(lambda x: (x - 1.0) * 2.0)),
    (ML, "Binarizer", [X], {}, each(lambda x: x.most(0.0))),
    (ML, "Normalizer", [X], {"norm": "MAX"},
     rows(lambda t, row: [x / reduced(t, [x]) for x in row])),
    (ML, "Normalizer", [X], {"norm": "L2"},
     rows(lambda t, row: [x / reduced(t, [x * x]).value for x in row])),
]  # fmt: skip


@pytest.mark.parametrize(
    ("domain", "op_type", "inputs", "attributes", "loop"),
    ROWS,
    ids=[
        f"{op_type}-{len(inputs)}-{len(attributes)}" for _, op_type, inputs, attributes, _ in ROWS
    ],
)
def test_rows_and_elements(
    domain: str, op_type: str, inputs: list[Shape | None], attributes: dict[str, Any], loop: Loop
) -> None:
    work = counted(domain, op_type, inputs, [f(3, 8)], attributes)
    assert work.flops[0] == operations(loop, (3, 8))
    if "Rotary" not in op_type:  # which part of its tables is read is not known
        tensors = [one for one in inputs if one is not None] + [f(3, 8)]
        sizes = [BYTES.get(name, 1) * math.prod(shape) for one in tensors
                 for name, shape in one.items()]  # fmt: skip
        assert work.bytes[0] == sum(sizes)


def test_sums_over_windows_and_places() -> None:
    def pool(tally: Tally, x: Array) -> None:
        for row, column in indices((3, 3)):
            reduced(tally, (x[2 * row + i, 2 * column + j] for i, j in indices((2, 2))))

    attributes = {"kernel_shape": (2, 2)}
    work = counted("", "MaxPool", [f(1, 1, 6, 6)], [f(1, 1, 3, 3)], attributes)
    assert work.flops[0] == operations(pool, (6, 6))

    def columns(tally: Tally, x: Array) -> None:
        image: dict[int, Number] = {}
        for row, column in x.indices():
            place = row + column
            image[place] = image.get(place, Number(0.0, tally)) + x[row, column]

    work = counted("", "Col2Im", [f(1, 4, 9), i64(2), i64(2)], [f(1, 1, 4, 4)])
    assert work.flops[0] == operations(columns, (4, 9))
    assert work.bytes[0] == 4 * 36 + 32 + 4 * 16


def test_windows_of_signals() -> None:
    def loop(tally: Tally) -> None:
        value = Number(0.0, tally)
        for _ in range(16):
            value = value + 1.0  # Range
            angle = value * 0.4
            cosine = angle.function() * 0.5
            double = (angle * 2.0).function() * 0.08
            cosine - 0.42 + double

    for op_type in ("HannWindow", "HammingWindow", "BlackmanWindow"):
        work = counted("", op_type, [i64()], [f(16)])
        assert (work.flops[0], work.bytes[0]) == (operations(loop), 64)


def test_gates_losses_and_warping() -> None:
    def gate(_: Tally, a: Array, b: Array) -> None:
        for index in a.indices():
            (a[index] + 1.0).function() * 2.0
            b[index].function()

    inputs = [f(1, 3, 8), f(8), f(8), f(1, 3, 8)]
    work = counted(MS, "LinearAttentionGate", inputs, [f(1, 3, 8), f(1, 3, 8)])
    assert work.flops[0] == operations(gate, (3, 8), (3, 8))

    def loss(tally: Tally, scores: Array) -> None:
        losses = []
        for row in naive.matrix(scores):
            chosen = naive.softmax(tally, row)[0]
            losses.append((chosen * -1.0) * 0.5)  # negative, weighted
        reduced(tally, losses)

    work = counted("", "SoftmaxCrossEntropyLoss", [f(3, 8), i64(3), f(8)], [f()])
    assert work.flops[0] == operations(loss, (3, 8))
    work = counted("", "NegativeLogLikelihoodLoss", [f(3, 8), i64(3), f(8)], [f()])
    assert work.flops[0] == operations(loss, (3, 8)) - 3 * 8 * 5

    def warping(_: Tally, costs: Array) -> None:
        for index in costs.indices():
            costs[index].most(0.0).most(0.0) + 1.0

    work = counted(MS, "DynamicTimeWarping", [f(3, 8)], [{"int32": [2, 10]}])
    assert work.flops[0] == operations(warping, (3, 8))

    def gemma(_: Tally, angles: Array, q: Array, k: Array) -> None:
        for angle in angles.all():
            angle.function(), angle.function()
        for one in (q, k):
            for value in one.all():
                value * 0.5 + value * 0.5

    shape = f(1, 2, 3, 4)
    inputs = [f(1, 3, 4), shape, shape, shape, shape]
    work = counted(MS, "GemmaRotaryEmbedding", inputs, [shape, shape])
    assert work.flops[0] == operations(gemma, (1, 3, 4), (1, 2, 3, 4), (1, 2, 3, 4))


# What is read of tables


def test_quantised_embedding_reads_rows_and_dequantises_them() -> None:
    tally = Tally()
    tables = [Array(tally, 30, 8), Array(tally, 10, 8), Array(tally, 2, 8)]
    for token, row in enumerate([4, 7, 9]):
        read = [
            [naive.dequantise(one[at, n]) for n in range(8)]
            for one, at in zip(tables, (row, token, token % 2), strict=True)
        ]
        summed = [a + b + c for a, b, c in zip(*read, strict=True)]
        naive.normalise(tally, summed, True)
    ids = {"int32": [1, 3]}
    inputs = [ids, ids, u8(30, 8), u8(10, 8), u8(2, 8), u8(8), u8(8), None, *[S] * 5, *[Z] * 5]
    work = counted(MS, "QEmbedLayerNormalization", inputs, [f(1, 3, 8)])
    assert work.flops[0] == tally.operations
    # A row of each table for each token, even if two tokens have the same segment.
    assert work.bytes[0] == 3 * 24 + 2 * 12 + 2 * 8 + 5 * 4 + 5 + 4 * 24


@pytest.mark.parametrize(("bits", "packed"), [(4, 2), (8, 1)])
def test_quantised_gathering_reads_the_rows_it_takes(bits: int, packed: int) -> None:
    tally = Tally()
    data = Array(tally, 100, 64 // packed)
    scales = Array(tally, 100, 2)
    for row in (3, 50, 99):
        for at in range(64):
            naive.dequantise(data[row, at // packed])
            scales.read.add((row, at // 32))
    inputs = [u8(100, 64 // packed), i64(3), f(100, 2)]
    work = counted(MS, "GatherBlockQuantized", inputs, [f(3, 64)], {"bits": bits})
    assert work.flops[0] == tally.operations
    assert work.bytes[0] == len(data.read) + 4 * len(scales.read) + 3 * 8 + 3 * 64 * 4


def test_a_cache_is_written_where_the_update_goes() -> None:
    inputs = [f(2, 4, 100, 8), f(2, 4, 1, 8), i64(2)]
    work = counted("", "TensorScatter", inputs, [f(2, 4, 100, 8)])
    assert (work.flops[0], work.bytes[0]) == (0, 2 * 4 * 64 + 16)


# Each tensor once


@pytest.mark.parametrize(
    ("op_type", "inputs", "repeats", "different"),
    [
        ("Mul", [f(10), f(10)], {1}, 1),
        ("Add", [f(10), f(10)], set(), 2),
        ("Sum", [f(10), f(10), f(10)], {2}, 2),
        ("Where", [f(10), f(10), f(10)], {1, 2}, 1),
        ("Concat", [f(5), f(5), f(5)], {1}, 2),
    ],
)
def test_a_tensor_that_is_several_inputs_is_read_once(
    op_type: str, inputs: list[Shape | None], repeats: set[int], different: int
) -> None:
    size = 4 * inputs[0]["float"][0] if inputs[0] else 0
    out = 15 if op_type == "Concat" else 10
    work = counted("", op_type, inputs, [f(out)], {}, frozenset(repeats))
    assert work.bytes[0] == different * size + 4 * out


# Which operators there are


def test_every_registered_operator_has_a_formula_or_a_reason() -> None:
    from onnxruntime.capi.onnxruntime_pybind11_state import get_all_operator_schema

    schemas = [*onnx.defs.get_all_schemas_with_history(), *get_all_operator_schema()]
    registered = {(schema.domain, schema.name) for schema in schemas}
    counted = {one for one in registered if one[1] in OPERATORS.get(one[0], {})}
    assert registered - counted - UNKNOWN.keys() == set()
    assert counted & UNKNOWN.keys() == set(), "a reason for what has a formula"
    assert all(UNKNOWN.values())
