"""Labels of nodes, and of the layers that they belong to."""

from __future__ import annotations

import re
from collections.abc import Sequence

from harness.records import BETWEEN_SOURCES, NodeTable

#: How a source without a name is written (``harness.models.sources``).
_UNNAMED = re.compile(r"^\w+\((.*)\)$")


def sources(nodes: NodeTable, row: int) -> tuple[str, ...]:
    """Nodes of the user's file that an executed node was made of, the main one first."""
    return tuple(filter(None, nodes.sources[row].split(BETWEEN_SOURCES)))


def node_label(nodes: NodeTable, row: int) -> str:
    """The label of a node for the user.

    Its main source and how many more it has; if that is not known, ONNX Runtime's name for it;
    without a name, its op type and its row.
    """
    return label(nodes.name[row], nodes.op_type[row], row, sources(nodes, row))


def label(name: str, op_type: str, row: int, made_of: Sequence[str] = ()) -> str:
    """The same, from the parts of a node."""
    if made_of:
        return f"{made_of[0]} +{len(made_of) - 1}" if len(made_of) > 1 else made_of[0]
    return name or f"{op_type} #{row}"


def node_layer(nodes: NodeTable, row: int, depth: int = 0) -> str:
    """The layer of a node: that of its main source, if known."""
    return layer(next(iter(sources(nodes, row)), nodes.name[row]), depth)


def layer(name: str, depth: int = 0) -> str:
    """The source layer that an exporter put before a node's name; at most depth components.

    Exporters write ``/encoder/layer.0/MatMul`` or ``encoder.layer.0/MatMul``: everything up to
    the last slash is the layer, and slashes and dots separate its components. A node without a
    name is named after its output, ``MatMul(/encoder/layer.0/output)``.
    """
    name = _UNNAMED.sub(r"\1", name)
    scope = name.strip("/").rpartition("/")[0]
    if depth > 0:
        parts = re.split(r"([/.])", scope)
        scope = "".join(parts[: 2 * depth - 1])
    return scope or "(no layer)"
