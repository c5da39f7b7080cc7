"""Labels: nodes are called after their sources, layers are those of the source."""

from __future__ import annotations

import pytest

from harness.analysis.operators.labels import layer, node_label, node_layer
from tests.builders.node_tables import table

NODES = table(
    [-1] * 4,
    name=("Relu_output_nchwc", "plain", "", "fused"),
    op_type=("Conv", "Gemm", "Softmax", "FusedMatMul"),
    sources=("net/1/conv; net/1/relu", "", "", "MatMul(/encoder/layer.0/out)"),
)


def test_the_main_source_comes_first_with_how_many_more_there_are() -> None:
    assert [node_label(NODES, row) for row in range(4)] == [
        "net/1/conv +1",
        "plain",
        "Softmax #2",
        "MatMul(/encoder/layer.0/out)",
    ]


def test_a_layer_is_that_of_the_source_and_carries_nothing_of_ort() -> None:
    assert [node_layer(NODES, row) for row in range(4)] == [
        "net/1",
        "(no layer)",
        "(no layer)",
        "encoder/layer.0",
    ]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("/a/b/MatMul", "a/b"), ("MatMul(/a/b/out)", "a/b"), ("Conv_17", "(no layer)")],
)
def test_a_node_without_a_name_is_of_the_layer_of_what_it_hands_on(
    name: str, expected: str
) -> None:
    assert layer(name) == expected
