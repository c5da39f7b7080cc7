"""What the guard of probed graphs compares: hand-made tables of nodes, and values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.models.executed_graph import node_name
from harness.models.outputs import same_values
from harness.tracing.probes import graphs
from harness.tracing.probes.graphs import ProbedGraph
from tests.builders.node_tables import table


def test_same_order_compares_each_graph_by_itself() -> None:
    # 0; 1: an If of 2 and 3, or of 4, which never runs. Added: 5 before 0, 8 before 3 in
    # its branch, 10 behind 1 at the end; 16 is the first of the pair at the end.
    then = "then_branch"
    nodes = table(
        [-1, -1, 1, 1, 1],
        branch=("", "", then, then, "else_branch"),
        op_type=("Op",) * 5,
        order=np.array([0, 1, 0, 1, -1]),
    )
    file, end = Path(), np.array([-1])
    probed = ProbedGraph(file, file, file, (file, file), end, ("",), end, np.arange(5), 32)

    def seen(*rows: int, more: str = "") -> str:
        ran = [(node_name(row), "Op" if row < len(nodes) else "Probe") for row in rows]
        return graphs.same_order(probed, nodes, [*ran, ("stranger", more)] if more else ran)

    assert seen(5, 0, 2, 8, 3, 1, 10) == ""
    assert seen(5, 0, 2, 3, 1, 10) == "", "a probe that did not run stamps nothing"
    assert seen(2, 5, 8, 3, 0, 1, 10) == "", "graphs run side by side"
    assert seen(5, 0, 8, 3, 2, 1, 10) == "nodes run in another order (2, from Op 2)"
    assert seen(0, 5, 2, 8, 3, 1, 10) == "Op 0 does not follow its probe"
    assert seen(5, 0, 8, 2, 3, 1, 10) == "Op 3 does not follow its probe"
    assert seen(5, 0, 2, 3, 8, 1, 10) == "Op 3 does not follow its probe"
    assert seen(5, 0, 2, 8, 3, 1, 16, 10) == ""
    assert "one graph only (1, such as Op 4)" in seen(5, 0, 2, 8, 3, 4, 1, 10)
    assert "one graph only (1, such as Op 0)" in seen(5, 2, 8, 3, 1, 10)
    assert seen(5, 0, 2, 8, 3, 1, 10, more="Cast") == "additional nodes run (1, such as Cast)"
    copied = "tensors are copied between host and device (1, by MemcpyToHost)"
    assert seen(5, 0, 2, 8, 3, 1, 10, more="MemcpyToHost") == copied
    assert seen(5, 0, 2, 8, 3, 10, 1) == "Op 1 runs behind the last probe"
    frame = (5, 0, 2, 3, 1, 10, 17, *range(19, 51), 18)
    assert seen(*frame) == ""
    assert seen(*frame[:5], 17, 10, *frame[7:]) == "the probes of the frame run in another order"
    replaced = [("Cast" if row == 3 else op, row) for op, row in zip("OOOO", range(4), strict=True)]
    ran = [(node_name(row), "Op" if op == "O" else op) for op, row in replaced]
    assert "such as Cast" in graphs.same_order(probed, nodes, ran)


ONE = np.array([1.0, np.nan, 0.0], np.float32)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (ONE, ONE.copy(), True),
        (ONE, ONE[::-1], False),
        (ONE, np.array([1.0, np.nan, -0.0], np.float32), False),
        (ONE, ONE.astype(np.float64), False),
        (ONE, ONE.reshape(3, 1), False),
        (ONE, ONE.tolist(), False),
        (np.asfortranarray(np.eye(3)), np.eye(3), True),
        (np.array(["a", "é"], object), np.array(["a", "é"], object), True),
        (np.array(["a", "b"], object), np.array(["a", "c"], object), False),
        ([ONE, ONE], [ONE, ONE.copy()], True),
        ([ONE, ONE], [ONE], False),
        ([ONE, [ONE]], [ONE, [ONE + 1]], False),
        ([], [], True),
        ({1: 0.5, 2: float("nan")}, {1: 0.5, 2: float("nan")}, True),
        ({1: 0.5}, {1: 0.25}, False),
        ([{"a": 0.5}], [{"a": 0.5, "b": 0.5}], False),
        ({"a": 0.5}, [ONE], False),
        (None, None, True),
        (None, ONE, False),
        (ONE, None, False),
        ([ONE], None, False),
    ],
)
def test_same_values_means_bit_for_bit(one: Any, other: Any, same: bool) -> None:
    assert same_values(one, other) is same
