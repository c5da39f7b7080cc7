"""Which branch each If took: such a model is two in one, and only what ran was measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from harness.analysis.operators.labels import node_label
from harness.records import Int64Array, NodeTable, Profile

BRANCHES = ("then_branch", "else_branch")


@dataclasses.dataclass(frozen=True, slots=True)
class Decided:
    """An If that was executed.

    Attributes:
        node: its label.
        executions: how often each branch ran over all traced inferences, by the name of the
            branch; empty if unknown, because no node of either branch was recorded.
    """

    node: str
    executions: Mapping[str, int]


def decided(profile: Profile) -> tuple[Decided, ...]:
    """Each If that a traced pass recorded, in the order of the graph; none without a trace."""
    nodes = profile.nodes
    events = profile.traces.get("ort", profile.traces.get("probe"))
    if nodes is None or events is None:
        return ()
    counts = np.bincount(events.node, minlength=len(nodes)).astype(np.int64)
    return tuple(
        Decided(node_label(nodes, row), _executions(nodes, counts, row))
        for row, op_type in enumerate(nodes.op_type)
        if op_type == "If" and counts[row]
    )


def _executions(nodes: NodeTable, counts: Int64Array, row: int) -> dict[str, int]:
    # The nodes of a branch run as often as the branch, but some are not recorded.
    ran = dict.fromkeys(BRANCHES, 0)
    for child in np.flatnonzero(nodes.parent == row):
        branch = nodes.branch[child]
        if branch in ran:
            ran[branch] = max(ran[branch], int(counts[child]))
    left = int(counts[row]) - sum(ran.values())
    # A branch that only passes a value through has no node to record.
    silent = [branch for branch, count in ran.items() if not count]
    if left and len(silent) != 1:
        return {}
    return {branch: left if branch in silent else count for branch, count in ran.items()}
