"""Operations of the classical models of ai.onnx.ml: trees and linear models."""

from __future__ import annotations

from collections.abc import Sequence

from harness.models.work.nodes import Node
from harness.models.work.tensors import Unknown


def trees(node: Node) -> int:
    """TreeEnsembleRegressor and -Classifier: the shortest way down every tree, for each row.

    A comparison a node on the way, and an addition of what the leaf says. Which way a row takes
    is in its values, so this is the least. Leaves have the same node on both sides.
    """
    ids = list(zip(node.integers("nodes_treeids"), node.integers("nodes_nodeids"), strict=True))
    trues = dict(zip(ids, node.integers("nodes_truenodeids"), strict=True))
    falses = dict(zip(ids, node.integers("nodes_falsenodeids"), strict=True))
    children: dict[tuple[int, int], tuple[tuple[int, int], ...]] = {
        (tree, at): ()
        if trues[tree, at] == falses[tree, at]
        else ((tree, trues[tree, at]), (tree, falses[tree, at]))
        for tree, at in ids
    }
    inner = {child for pair in children.values() for child in pair}
    roots = [one for one in ids if one not in inner]
    return _rows(node) * sum(_shortest(children, root) + 1 for root in roots)


def tree_ensemble(node: Node) -> int:
    """TreeEnsemble (ai.onnx.ml 5), likewise: children are indices of nodes or of leaves."""
    trues, falses = node.integers("nodes_truenodeids"), node.integers("nodes_falsenodeids")
    true_leaves, false_leaves = node.integers("nodes_trueleafs"), node.integers("nodes_falseleafs")
    children: dict[tuple[int, int], tuple[tuple[int, int], ...]] = {}
    for at in range(len(trues)):
        pair = ((true_leaves[at], trues[at]), (false_leaves[at], falses[at]))
        children[0, at] = pair
        children.update({child: () for child in pair if child[0]})
    return _rows(node) * sum(
        _shortest(children, (0, root)) + 1 for root in node.integers("tree_roots")
    )


def linear(node: Node) -> int:
    """LinearRegressor: 2·features for each target of each row."""
    shape = node.input(0).shape
    return 2 * node.output().size * (shape[-1] if shape else 1)


def normalised(node: Node) -> int:
    """Normalizer: Max and Div, or the power, Sum and Div (L1, L2)."""
    return (2 if node.text("norm", "MAX") == "MAX" else 3) * node.output().size


def _rows(node: Node) -> int:
    shape = node.input(0).shape
    return shape[0] if len(shape) == 2 else 1


def _shortest(
    children: dict[tuple[int, int], tuple[tuple[int, int], ...]], root: tuple[int, int]
) -> int:
    """Nodes that are compared on the shortest way from the root to a leaf."""
    level: Sequence[tuple[int, int]] = [root]
    # As many levels as there are nodes: what goes on longer goes in circles.
    for depth in range(len(children) + 1):
        if any(one not in children for one in level):
            break
        if any(not children[one] for one in level) or not level:
            return depth
        level = [child for one in level for child in children[one]]
    raise Unknown
