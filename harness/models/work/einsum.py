"""Operations of ONNX Einsum: operands are multiplied from left to right, as ORT does."""

from __future__ import annotations

import math
from collections.abc import Collection

from harness.models.work.nodes import Node
from harness.models.work.tensors import Unknown


def einsum(node: Node) -> int:
    """Sums before products, as early as labels allow.

    A label that nothing else needs is summed first: 1 an element that is reduced. The product
    of two operands is 1 an element of all their labels, 2 where one of these is summed.
    """
    left, arrow, right = node.text("equation").replace(" ", "").partition("->")
    shapes = [tensor.shape for tensor in node.present]
    terms = left.split(",")
    if len(terms) != len(shapes):
        raise Unknown
    operands = [_sizes(term, shape) for term, shape in zip(terms, shapes, strict=True)]
    kept = _labels(right) if arrow else _implied(left)
    if "..." in right or not arrow:
        kept |= {label for operand in operands for label in operand if label.startswith(".")}
    whole, total = _reduced(operands[0], kept.union(*operands[1:]))
    for at, other in enumerate(operands[1:], start=2):
        later = kept.union(*operands[at:])
        whole, first = _reduced(whole, later.union(other))
        other, second = _reduced(other, later.union(whole))
        both = {label: max(whole.get(label, 1), other.get(label, 1)) for label in whole | other}
        total += first + second + math.prod(both.values()) * (1 + bool(both.keys() - later))
        whole = {label: size for label, size in both.items() if label in later}
    return total


def _sizes(term: str, shape: tuple[int, ...]) -> dict[str, int]:
    """Size of each label of an operand; dimensions under an ellipsis count from the right."""
    before, dots, after = term.partition("...")
    hidden = len(shape) - len(before) - len(after)
    if "." in before + after or hidden < 0 or (hidden and not dots):
        raise Unknown
    labels = [*before, *(f".{at}" for at in range(hidden, 0, -1)), *after]
    sizes: dict[str, int] = {}
    for label, size in zip(labels, shape, strict=True):
        sizes[label] = max(size, sizes.get(label, 0))  # 1 is broadcast
    return sizes


def _labels(term: str) -> set[str]:
    return set(term.replace("...", ""))


def _implied(left: str) -> set[str]:
    """Without an arrow the output has the labels that occur once."""
    text = left.replace("...", "").replace(",", "")
    return {label for label in text if text.count(label) == 1}


def _reduced(operand: dict[str, int], needed: Collection[str]) -> tuple[dict[str, int], int]:
    """The operand without labels that nothing needs, and the operations of their sums."""
    rest = {label: size for label, size in operand.items() if label in needed}
    return rest, math.prod(operand.values()) if len(rest) < len(operand) else 0
