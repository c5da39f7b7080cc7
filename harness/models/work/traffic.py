"""Bytes that a node must move at least, by operator."""

from __future__ import annotations

from harness.models.work.nodes import Node
from harness.models.work.tensors import Unknown, nbytes


def once(node: Node) -> int:
    """Every input and every output; a tensor that is two inputs is read once."""
    return others(node) + written(node)


def others(node: Node, *without: int) -> int:
    """Every input but those at these positions."""
    return sum(map(nbytes, node.different(*without)))


def nothing(_: Node) -> int:
    """A view: ORT's kernel declares its output an alias of its input (KernelDef::Alias).

    A view that is an output of the model is copied after all; the least is nothing.
    """
    return 0


def unknown(_: Node) -> int:
    """Sequences and maps, which ORT does not report; text; models in attributes."""
    raise Unknown


def written(node: Node) -> int:
    """Outputs alone: no input is read, or only a few numbers."""
    return sum(map(nbytes, node.outputs))


def taken(node: Node) -> int:
    """As many elements of the data as go out, the indices, and the output."""
    data = node.input(0)
    return nbytes(data, min(data.size, node.output().size)) + others(node, 0) + written(node)


def scattered(node: Node) -> int:
    """Updates read and written, and their indices: ORT works in place where it can."""
    node.input(0)
    return nbytes(node.input(1)) + 2 * nbytes(node.input(2))


def cache_updated(node: Node) -> int:
    """ONNX TensorScatter: the update read and written, and where it goes; in place."""
    node.input(0)
    return others(node, 0) + nbytes(node.input(1))


def embedded(node: Node) -> int:
    """EmbedLayerNormalization, quantised or not: a row of each table for each token, the rest."""
    rows = node.output().size
    tables = [node.input(at) for at in (2, 3, 4) if node.has(at)]
    return sum(nbytes(table, rows) for table in tables) + others(node, 2, 3, 4) + written(node)


def blocks_taken(node: Node) -> int:
    """com.microsoft GatherBlockQuantized: the part of data, scales and zero points that goes out.

    Data of 8 bits may hold several values each (``bits``, packed along the last axis).
    """
    data, indices = node.input(0), node.input(1)
    packed = 8 // node.integer("bits", 4) if data.dtype == "uint8" else 1
    values, out = data.size * packed, node.output().size
    read = [node.input(at) for at in (0, 2, 3) if node.has(at)]
    parts = (nbytes(one, -(-one.size * min(out, values) // max(values, 1))) for one in read)
    return sum(parts) + nbytes(indices) + written(node)


def turned(node: Node) -> int:
    """RotaryEmbedding: the data; which part of the tables of sines is read is not known."""
    return nbytes(node.input(0)) + written(node)
