"""Operators of two executed graphs matched, however they were fused."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from harness.analysis.comparing.matching import Executed, Match, executed, match, source_name
from harness.records import NodeEvents
from harness.statistics.figures import Figure
from tests.builders.node_tables import table

MADE = "com.microsoft"


def shape(*sizes: int) -> str:
    return json.dumps([{"float": list(sizes)}])


def graph(*nodes: tuple[str, str] | tuple[str, str, str], **columns: Any) -> Executed:
    """Nodes of (name, op type[, domain]), all of which hand on the same shape."""
    count = len(nodes)
    known = {
        "name": tuple(node[0] for node in nodes),
        "op_type": tuple(node[1] for node in nodes),
        "domain": tuple(node[2] if len(node) > 2 else "" for node in nodes),
        "output_type_shape": (shape(1, 16),) * count,
        "input_type_shape": (shape(1, 16),) * count,
    }
    nodes_table = table([-1] * count, **(known | columns))
    return Executed(nodes_table, tuple(range(count)), {row: row for row in range(count)})


def matched(base: Executed, candidate: Executed) -> set[tuple[tuple[int, ...], tuple[int, ...]]]:
    found = match(base, candidate)
    assert not isinstance(found, Figure), found.reason
    for side, rows in ((0, base.rows), (1, candidate.rows)):
        told = [row for one in found for row in (one.base, one.candidate)[side]]
        assert sorted(told) == sorted(rows), "every node is in exactly one match"
    return {(one.base, one.candidate) for one in found}


def events(rows: list[int], source: str = "probe") -> NodeEvents:
    count = len(rows)
    zeros, small = np.zeros(count, np.int64), np.zeros(count, np.int32)
    one, one_small = np.zeros(1, np.int64), np.zeros(1, np.int32)
    return NodeEvents(
        source, np.array(rows, np.int32), small, small, zeros, zeros, zeros, {},
        one_small, one_small, one, one, one, 0, 1,
    )  # fmt: skip


def test_the_same_graph_matches_node_by_node() -> None:
    same = graph(("a", "Conv"), ("", "Relu"), ("", "Relu"), ("b", "Gemm"))
    assert matched(same, same) == {((row,), (row,)) for row in range(4)}


def test_an_activation_belongs_to_the_node_that_it_was_fused_into() -> None:
    plain = graph(("fc/Gemm", "Gemm"), ("fc/Relu", "Relu"), ("out/Gemm", "Gemm"))
    fused = graph(("fused fc/Gemm", "FusedGemm", MADE), ("out/Gemm", "Gemm"))
    assert matched(plain, fused) == {((0, 1), (0,)), ((2,), (1,))}
    assert matched(fused, plain) == {((0,), (0, 1)), ((1,), (2,))}


def test_a_chain_matches_the_one_node_that_replaces_it() -> None:
    chain = [("m/Add", "Add"), ("m/Div", "Div"), ("m/Erf", "Erf"), ("m/Mul", "Mul")]
    plain = graph(("m/MatMul", "MatMul"), *chain, ("n/MatMul", "MatMul"))
    fused = graph(("m/MatMul", "MatMul"), ("Gelu_1", "BiasGelu", MADE), ("n/MatMul", "MatMul"))
    assert matched(plain, fused) == {((0,), (0,)), ((1, 2, 3, 4), (1,)), ((5,), (2,))}


def test_a_node_named_after_its_output_finds_what_made_that_output() -> None:
    """ORT names a convolution in blocks after the output of what was fused into it."""
    plain = graph(("f0.conv/Conv", "Conv"), ("f0/Clip", "Clip"), ("f1.conv/Conv", "Conv"))
    blocks = "com.microsoft.nchwc"
    fused = graph(("f0/Clip_output_nchwc", "Conv", blocks), ("f1.conv/Conv", "Conv"))
    assert matched(plain, fused) == {((0, 1), (0,)), ((2,), (1,))}


def test_channels_padded_to_blocks_are_the_same_shape() -> None:
    plain = graph(
        ("a", "Conv"), ("b", "Add"), output_type_shape=(shape(1, 24, 5, 5), shape(1, 24, 5, 5))
    )
    padded = graph(
        ("x_nchwc", "Conv", "com.microsoft.nchwc"), output_type_shape=(shape(1, 32, 5, 5),)
    )
    assert matched(plain, padded) == {((0, 1), (0,))}


def test_names_tell_equal_layers_apart_where_one_is_missing() -> None:
    """By type and shape alone, layer 1 could be taken for layer 2."""
    layers = [(f"layer{k}/MatMul", "MatMul") for k in range(4)]
    shorter = [layers[0], layers[2], layers[3]]
    assert matched(graph(*layers), graph(*shorter)) == {
        ((0,), (0,)), ((1,), ()), ((2,), (1,)), ((3,), (2,))
    }  # fmt: skip


def test_nodes_executed_in_another_order_match_by_name() -> None:
    base = graph(("q", "MatMul"), ("k", "MatMul"), ("v", "MatMul"), ("s", "Softmax"))
    candidate = graph(("v", "MatMul"), ("q", "MatMul"), ("k", "MatMul"), ("s", "Softmax"))
    assert matched(base, candidate) == {
        ((0,), (1,)), ((1,), (2,)), ((2,), (0,)), ((3,), (3,))
    }  # fmt: skip


def test_unnamed_nodes_in_another_order_match_by_what_they_do() -> None:
    shapes = (shape(1, 8), shape(1, 4), shape(1, 2))
    base = graph(("", "Conv"), ("", "Pool"), ("", "Mul"), output_type_shape=shapes)
    candidate = graph(
        ("", "Pool"), ("", "Mul"), ("", "Conv"), output_type_shape=(*shapes[1:], shapes[0])
    )
    assert matched(base, candidate) == {((0,), (2,)), ((1,), (0,)), ((2,), (1,))}


def test_a_change_of_layout_is_nobodys_part() -> None:
    plain = graph(("a/Conv", "Conv"), ("a/Relu", "Relu"), ("b/Pool", "Pool"))
    blocks = "com.microsoft.nchwc"
    fused = graph(
        ("a/Conv_nchwc", "Conv", blocks), ("ReorderOutput", "ReorderOutput", blocks),
        ("b/Pool", "Pool"),
    )  # fmt: skip
    found = match(plain, fused)
    assert not isinstance(found, Figure)
    assert [one.how for one in found] == ["fused", "candidate only", "same"]
    assert matched(plain, fused) == {((0, 1), (0,)), ((), (1,)), ((2,), (2,))}


def test_a_node_more_has_no_match() -> None:
    base = graph(("a", "Conv"), ("b", "Conv"))
    more = graph(("a", "Conv"), ("cast", "Cast"), ("b", "Conv"))
    assert matched(base, more) == {((0,), (0,)), ((), (1,)), ((1,), (2,))}
    assert matched(more, base) == {((0,), (0,)), ((1,), ()), ((2,), (1,))}


def test_what_stands_at_one_place_but_hands_on_something_else_is_no_match() -> None:
    base = graph(
        ("a", "Conv"), ("x", "Slice"), ("b", "Conv"),
        output_type_shape=(shape(1, 16), shape(1, 3), shape(1, 16)),
    )  # fmt: skip
    candidate = graph(("a", "Conv"), ("y", "Tile"), ("b", "Conv"))
    assert matched(base, candidate) == {
        ((0,), (0,)), ((1,), ()), ((), (1,)), ((2,), (2,))
    }  # fmt: skip


def test_a_body_matches_a_body_only() -> None:
    parents = table(
        [-1, 0, -1], name=("if", "add", "end"), op_type=("If", "Add", "Mul"),
        branch=("", "then_branch", ""), order=np.array([0, 0, 1]),
    )  # fmt: skip
    one = Executed(parents, (0, 1, 2), {0: 0, 1: 1, 2: 2})
    flat = graph(("if", "If"), ("add", "Add"), ("end", "Mul"), output_type_shape=("",) * 3)
    assert ((1,), ()) in matched(one, flat)
    assert matched(one, one) == {((row,), (row,)) for row in range(3)}


def test_a_node_in_anothers_time_goes_where_that_one_goes() -> None:
    """On one side the Add has a probe of its own, on the other it shares the Conv's."""
    base = graph(("a", "Conv"), ("b", "Add"), ("c", "Mul"))
    shared = Executed(base.nodes, (0, 1, 2), {0: 0, 1: 0, 2: 2})
    assert matched(base, shared) == {((0, 1), (0, 1)), ((2,), (2,))}


def test_executed_keeps_the_order_of_execution_and_what_has_a_time() -> None:
    nodes = table([-1] * 4, order=np.array([2, 0, 1, -1]), carrier=np.array([0, 1, 1, -1]))
    assert executed(nodes, events([0, 1])).rows == (1, 2, 0)
    assert executed(nodes, events([0, 1])).carrier == {0: 0, 1: 1, 2: 1}
    assert executed(nodes, events([0, 1], "ort")).rows == (1, 0)


def test_graphs_without_anything_in_common_are_not_matched() -> None:
    base = graph(*((f"a{k}", "Conv") for k in range(6)))
    candidate = graph(*((f"b{k}", "Gemm") for k in range(6)))
    found = match(base, candidate)
    assert isinstance(found, Figure)
    assert found.reason == "the executed graphs have too little in common: 0 of 6 nodes match"


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("fc1/Gemm", "fc1/Gemm"),
        ("fused fc1/Gemm", "fc1/Gemm"),
        ("features.0/Clip_output_nchwc", "features.0/Clip"),
        ("/layer1/Conv_output_0_nchwc", "/layer1/Conv"),
        ("attention/MatMul/MatMulScaleFusion/", "attention/MatMul"),
        ("BiasGelu_token_5", "BiasGelu"),
        ("", ""),
    ],
)
def test_source_names(name: str, source: str) -> None:
    assert source_name(name) == source


def test_large_graphs_are_aligned_at_once() -> None:
    """Two thousand convolutions, each with its activation fused on one side."""
    plain = [(f"l{k}/Conv", "Conv") for k in range(2000)]
    base = [one for k, node in enumerate(plain) for one in (node, (f"l{k}/Relu", "Relu"))]
    fused = graph(*((f"fused {name}", "FusedConv", MADE) for name, _ in plain))
    found = match(graph(*base), fused)
    assert not isinstance(found, Figure)
    assert found[7] == Match((14, 15), (7,))
    assert all(one.how == "fused" for one in found)
