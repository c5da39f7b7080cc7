"""Tables of nodes for tests."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.records import NodeTable, columns_of


def table(parents: list[int], **columns: Any) -> NodeTable:
    """Nodes, each in a body of its parent, executed in the order of their rows."""
    count = len(parents)
    blank = {
        column.name: column.filled(-1 if column.unit else "", count)
        for column in columns_of(NodeTable)
    }
    depth: list[int] = []
    for parent in parents:
        depth.append(depth[parent] + 1 if parent >= 0 else 0)
    known = {
        "parent": np.array(parents),
        "depth": np.array(depth),
        "order": np.arange(count),
        "op_type": ("Op",) * count,
    }
    return NodeTable(**{**blank, **known, **columns})
