"""Operations of the classical models of ai.onnx.ml: trees and linear models."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from harness.models.work.nodes import Node
from harness.models.work.tensors import Unknown

#: What a node of a tree compares and goes on to; nothing if it is a leaf.
_Children = Mapping[tuple[int, int], Collection[tuple[int, int]]]


def trees(node: Node) -> int:
    """TreeEnsembleRegressor and -Classifier: the shortest way down every tree, for each row.

    A comparison a node on the way, and an addition of what the leaf says. Which way a row takes
    is in its values, so this is the least. Leaves have the same node on both sides.
    """
    names = ("nodes_treeids", "nodes_nodeids", "nodes_truenodeids", "nodes_falsenodeids")
    children: dict[tuple[int, int], Collection[tuple[int, int]]] = {}
    for tree, at, true, false in _columns(node, *names):
        children[tree, at] = () if true == false else ((tree, true), (tree, false))
    reached = {child for pair in children.values() for child in pair}
    roots = [one for one in children if one not in reached]
    return _rows(node) * sum(_shortest(children, root) + 1 for root in roots)


def tree_ensemble(node: Node) -> int:
    """TreeEnsemble (ai.onnx.ml 5), likewise: children are indices of nodes or of leaves."""
    names = ("nodes_trueleafs", "nodes_truenodeids", "nodes_falseleafs", "nodes_falsenodeids")
    children: dict[tuple[int, int], Collection[tuple[int, int]]] = {}
    for at, (true_leaf, true, false_leaf, false) in enumerate(_columns(node, *names)):
        pair = (true_leaf, true), (false_leaf, false)
        children[0, at] = pair
        children.update({child: () for child in pair if child[0]})
    roots = node.integers("tree_roots")
    return _rows(node) * sum(_shortest(children, (0, root)) + 1 for root in roots)


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


def _columns(node: Node, *names: str) -> Iterator[tuple[int, ...]]:
    """Attributes that describe the nodes of trees, one value for each node."""
    columns = [node.integers(name) for name in names]
    if len({len(column) for column in columns}) != 1:
        raise Unknown
    return zip(*columns, strict=True)


def _shortest(children: _Children, root: tuple[int, int]) -> int:
    """Nodes that are compared on the shortest way from the root to a leaf."""
    level, depth = {root}, 0
    seen: set[tuple[int, int]] = set()
    while level and level <= children.keys():
        if not all(children[one] for one in level):
            return depth
        # What was reached before was so on a shorter way.
        seen |= level
        level = {child for one in level for child in children[one]} - seen
        depth += 1
    raise Unknown
