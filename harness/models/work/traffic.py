"""Bytes that a node must move at least, by operator."""

from __future__ import annotations

from harness.models.work.nodes import Node
from harness.models.work.tensors import nbytes


def once(node: Node) -> int:
    """Every input and every output."""
    return sum(nbytes(tensor) for tensor in (*node.present, *node.outputs))


def nothing(_: Node) -> int:
    """A view: ORT's kernel declares its output an alias of its input (KernelDef::Alias).

    One that is an output of the model is copied all the same; least is nothing.
    """
    return 0


def written(node: Node) -> int:
    """Outputs alone: no input is read, or only a few numbers."""
    return sum(nbytes(tensor) for tensor in node.outputs)


def taken(node: Node) -> int:
    """As many elements of the data as go out, the indices, and the output."""
    data = node.input(0)
    taken = nbytes(data, min(data.size, node.output().size))
    return taken + sum(map(nbytes, node.present[1:])) + written(node)


def scattered(node: Node) -> int:
    """Updates read and written, and their indices: ORT works in place where it can."""
    node.input(0)
    return nbytes(node.input(1)) + 2 * nbytes(node.input(2))


def embedded(node: Node) -> int:
    """EmbedLayerNormalization: a row of each table for each token, ids, scale, shift."""
    rows = nbytes(node.output()) * (2 + node.has(4))
    read = [node.input(at) for at in (0, 1, 5, 6, 7, 8) if node.has(at)]
    return rows + sum(map(nbytes, read)) + written(node)


def turned(node: Node) -> int:
    """RotaryEmbedding: the data; of the tables of sines only an unknown part is read."""
    return nbytes(node.input(0)) + written(node)
