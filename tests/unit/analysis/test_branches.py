"""Which branch of an If ran, from what a trace recorded."""

from __future__ import annotations

import pytest

from harness.analysis.branches import Decided, decided
from tests.builders.node_events import events
from tests.builders.node_tables import table
from tests.builders.process_records import profile

NODES = table(
    [-1, 0, 0, 0],
    name=("choose", "", "", ""),
    op_type=("If", "Conv", "Relu", "Gemm"),
    branch=("", "then_branch", "then_branch", "else_branch"),
)


@pytest.mark.parametrize(
    ("ran", "told"),
    [
        ([0, 1, 2, 0, 1, 2], {"then_branch": 2, "else_branch": 0}),
        ([0, 3, 0, 1, 2], {"then_branch": 1, "else_branch": 1}),
        ([0, 3, 0, 3], {"then_branch": 0, "else_branch": 2}),
    ],
)
def test_a_branch_ran_as_often_as_its_nodes(ran: list[int], told: dict[str, int]) -> None:
    trace = events([(row, 0, at, 1, 1) for at, row in enumerate(ran)], [(0, 0, 100)])
    assert decided(profile(nodes=NODES, traces={"ort": trace})) == (Decided("choose", told),)


def test_the_branch_without_a_node_ran_where_the_other_did_not() -> None:
    nodes = table([-1, 0], op_type=("If", "Conv"), branch=("", "else_branch"))
    trace = events([(0, 0, 0, 1, 1), (0, 0, 2, 2, 1), (1, 0, 3, 1, 1)], [(0, 0, 100)])
    (one,) = decided(profile(nodes=nodes, traces={"ort": trace}))
    assert one == Decided("If #0", {"then_branch": 1, "else_branch": 1})


def test_what_no_trace_tells_is_not_made_up() -> None:
    # Of a file in ORT's own format nothing says of which branch a node is.
    nodes = table([-1, 0], op_type=("If", "Conv"))
    trace = events([(0, 0, 0, 2, 1), (1, 0, 1, 1, 1)], [(0, 0, 100)])
    assert decided(profile(nodes=nodes, traces={"ort": trace})) == (Decided("If #0", {}),)
    assert decided(profile(nodes=NODES, traces={})) == ()
    unseen = events([(1, 0, 0, 1, 1)], [(0, 0, 100)])
    assert decided(profile(nodes=nodes, traces={"ort": unseen})) == ()
