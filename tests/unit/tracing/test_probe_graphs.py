"""What the guard of probed graphs compares: hand-made tables of nodes, and values."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.models.outputs import same_values
from harness.tracing.probes import graphs
from harness.tracing.probes.graphs import ProbedFile
from tests.builders.node_tables import table


def test_same_order_compares_each_graph_by_itself() -> None:
    # 0; 1: an If of 2 and 3, or of 4, which never runs. Added: 5 before 0, 6 behind 1 at the
    # end, 7 before 3 in its branch.
    then = "then_branch"
    nodes = table(
        [-1, -1, 1, 1, 1, -1, -1, 1],
        branch=("", "", then, then, "else_branch", "", "", then),
        op_type=("Op",) * 5 + ("Probe",) * 3,
        order=np.array([0, 1, 0, 1, -1, -1, -1, -1]),
    )
    file = ProbedFile(Path(), nodes, np.array([0, -1, 3]))

    def seen(*order: int, more: int = 0) -> str:
        traced = dataclasses.replace(nodes, order=np.array(order))
        if more:
            traced = table([-1] * 9, order=np.arange(9), op_type=("Op",) * 8 + ("Cast",))
        return graphs.same_order(file, traced)

    assert seen(1, 2, 0, 2, -1, 0, 3, 1) == ""
    assert seen(1, 2, 0, 2, -1, 0, -1, 1) == "", "a probe that did not run stamps nothing"
    assert seen(1, 2, 2, 0, -1, 0, 3, 1) == "nodes run in another order (2, from Op 2)"
    assert seen(0, 2, 0, 2, -1, 1, 3, 1) == "Op 0 does not follow its probe"
    assert seen(1, 2, 1, 2, -1, 0, 3, 0) == "Op 3 does not follow its probe"
    assert seen(1, 2, 0, 1, -1, 0, 3, 2) == "Op 3 does not follow its probe"
    assert "in one graph only (1, such as Op 4)" in seen(1, 2, 0, 2, 0, 0, 3, 1)
    assert "in one graph only (1, such as Op 0)" in seen(-1, 2, 0, 2, -1, 0, 3, 1)
    assert seen(*[0] * 8, more=1) == "additional nodes run (1, such as Cast)"


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
