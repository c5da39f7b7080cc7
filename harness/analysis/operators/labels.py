"""What nodes, and the layers that they are of, are called."""

from __future__ import annotations

import re

from harness.records import NodeTable


def node_label(nodes: NodeTable, row: int) -> str:
    """Name of a node; what it does and its row where it has none."""
    return nodes.name[row] or f"{nodes.op_type[row]} #{row}"


def layer(name: str, depth: int = 0) -> str:
    """The source layer that an exporter put before a node's name; at most depth components.

    Exporters write ``/encoder/layer.0/MatMul`` or ``encoder.layer.0/MatMul``: all up to the
    last slash is the layer, and slashes and dots part its components.
    """
    scope = name.strip("/").rpartition("/")[0]
    if depth > 0:
        parts = re.split(r"([/.])", scope)
        scope = "".join(parts[: 2 * depth - 1])
    return scope or "(no layer)"
