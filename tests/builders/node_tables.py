"""Tables of nodes for tests."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from harness.records import NodeTable


def table(parents: list[int], **columns: Any) -> NodeTable:
    """Nodes, each in a body of its parent, executed in the order of their rows."""
    count = len(parents)
    blank = {
        field.name: ("",) * count if "tuple" in str(field.type) else np.full(count, -1, np.int64)
        for field in dataclasses.fields(NodeTable)
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
