"""Removes channels and heads of the smallest magnitude; zeroes weights of the smallest magnitude.

Nothing is trained afterwards, so what a pruned model is still worth only its error tells.
"""

from __future__ import annotations

import collections
import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx.numpy_helper

from harness.models.variants import channels, heads
from harness.models.variants.view import View, readers_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    import onnx

    from harness.models.variants.channels import Chain, Site

#: Operators whose constant weights are zeroed, with the input that holds them.
_WEIGHTED = {"Conv": 1, "ConvTranspose": 1, "Gemm": 1, "MatMul": 1}

_FLOATS = (1, 10, 11)  # TensorProto: FLOAT, FLOAT16, DOUBLE


@dataclasses.dataclass(frozen=True, slots=True)
class Cut:
    """A chain, and the channels of it that stay.

    Attributes:
        chain: the channels.
        kept: numbers of those that stay, ascending.
    """

    chain: Chain
    kept: Sequence[int]


@dataclasses.dataclass(frozen=True, slots=True)
class Left:
    """A layer whose channels are not pruned.

    Attributes:
        node: name of the layer, or of the attention.
        reason: why not.
        at: the node or tensor that is the reason, or empty.
    """

    node: str
    reason: str
    at: str = ""


def plan(model: onnx.ModelProto, share: float, norm: str) -> tuple[list[Cut], list[Left]]:
    """What can be removed, and what cannot.

    Args:
        model: with its weights, all constants of which are initialisers (``mending``).
        share: of the channels of each chain, at most.
        norm: one of ``kinds.NORMS``; of a channel, over the weights that make it; of a head, over
            those of query, key and value.
    """
    view = View(model)
    attentions = heads.attentions(view)
    of_heads = {maker for chain in attentions if not chain.reason for maker in chain.makers}
    found = [
        *attentions,
        *(chain for chain in channels.chains(view) if not of_heads.intersection(chain.makers)),
    ]
    cuts, left = [], []
    for chain in found:
        reason = chain.reason
        if not reason:
            scores = _scores(view, chain, norm)
            kept = channels.kept(scores, share, chain.blocks, even=not chain.heads)
            if len(kept) < chain.channels:
                cuts.append(Cut(chain, kept))
                continue
            what = "heads" if chain.heads else "channels"
            reason = f"has {chain.channels} {what}, too few for a share of {share:g}"
        left.append(Left(chain.label, reason, chain.at))
    return cuts, left


def _scores(view: View, chain: Chain, norm: str) -> npt.NDArray[np.float64]:
    total = np.zeros(chain.channels)
    for site in chain.sites:
        if site.node not in chain.makers or site.input != 1:
            continue
        weight = np.abs(view.value(view.nodes[site.node].input[1]).astype(np.float64))
        moved = np.moveaxis(weight, site.axis, 0).reshape(chain.channels, -1)
        total += (moved if norm == "l1" else np.square(moved)).sum(axis=1)
    return total


def cut(model: onnx.ModelProto, cuts: Sequence[Cut]) -> None:
    """Removes the channels from the model.

    Args:
        model: the one that was planned, unchanged since.
        cuts: from its plan.
    """
    view = View(model)
    values: dict[tuple[int, int], Any] = {}

    def of(number: int, place: int) -> Any:
        if (number, place) not in values:
            values[number, place] = view.value(view.nodes[number].input[place])
        return values[number, place]

    for each in cuts:
        for site in each.chain.sites:
            values[site.node, site.input] = remaining(of(site.node, site.input), site, each)
        for count in each.chain.numbers:
            number = count.factor * len(each.kept)
            if count.input < 0:
                _set_group(view.nodes[count.node], number)
            else:
                shape = of(count.node, count.input).copy()
                shape[count.position] = number
                values[count.node, count.input] = shape
    _store(view, values)
    del model.graph.value_info[:]  # their sizes are no longer right


def remaining(value: Any, site: Site, of: Cut) -> Any:
    """A constant without what it has for the removed channels.

    Args:
        value: the constant, an array.
        site: where in it the channels are.
        of: which of them stay.
    """
    if site.groups == 1:
        return np.take(value, _elements(of.kept, site.repeat), axis=site.axis)
    size = of.chain.channels // site.groups  # channels that one group sums up
    parts = []
    for group, block in enumerate(np.split(value, site.groups, axis=0)):
        kept = [one - group * size for one in of.kept if group * size <= one < (group + 1) * size]
        parts.append(np.take(block, _elements(kept, site.repeat), axis=site.axis))
    return np.concatenate(parts, axis=0)


def _elements(kept: Sequence[int], repeat: int) -> npt.NDArray[np.int64]:
    first = np.asarray(kept, np.int64)[:, None] * repeat
    return (first + np.arange(repeat)).ravel()


def _set_group(node: onnx.NodeProto, group: int) -> None:
    for attribute in node.attribute:
        if attribute.name == "group":
            attribute.i = group


def _store(view: View, values: dict[tuple[int, int], Any]) -> None:
    """Puts new constants in place; one that several nodes read, or read differently, is copied."""
    readers: dict[str, set[tuple[int, int]]] = collections.defaultdict(set)
    for number, node in enumerate(view.nodes):
        for place, name in enumerate(node.input):
            readers[name].add((number, place))
    taken = set(view.constants) | set(view.producer) | {value.name for value in view.graph.input}
    for (number, place), value in values.items():
        node = view.nodes[number]
        old = view.constants[node.input[place]]
        if readers[old.name] == {(number, place)} and len(view.readers[old.name]) == 1:
            old.CopyFrom(onnx.numpy_helper.from_array(value, old.name))
            continue
        name = next(
            text
            for text in (f"{old.name}_pruned_{count}" for count in range(len(taken) + 1))
            if text not in taken
        )
        taken.add(name)
        view.graph.initializer.append(onnx.numpy_helper.from_array(value, name))
        node.input[place] = name
    drop_unread(view.graph)


def drop_unread(graph: onnx.GraphProto) -> None:
    """Removes initialisers that nothing reads, bodies included."""
    read = {value.name for value in graph.output} | set(readers_of(graph))
    kept = [tensor for tensor in graph.initializer if tensor.name in read]
    if len(kept) < len(graph.initializer):
        del graph.initializer[:]
        graph.initializer.extend(kept)


def zero_weights(model: onnx.ModelProto, share: float) -> tuple[int, int]:
    """Sets the share of each layer's weights of the smallest magnitude to 0.

    Args:
        model: with its weights, all constants of which are initialisers.
        share: of the weights of each layer, rounded down.

    Returns:
        (how many became 0, how many there are in these layers).
    """
    view = View(model)
    zeroed = total = 0
    weights = {
        node.input[_WEIGHTED[node.op_type]]
        for number, node in enumerate(view.nodes)
        if view.is_onnx(number, *_WEIGHTED)
    }
    for name in sorted(weights & view.constants.keys()):
        tensor = view.constants[name]
        if tensor.data_type not in _FLOATS:
            continue
        value = view.value(name).copy()
        going = math.floor(share * value.size)
        total += value.size
        zeroed += going
        if going:
            order = np.argpartition(np.abs(value).ravel(), going - 1)[:going]
            value.ravel()[order] = 0
            tensor.CopyFrom(onnx.numpy_helper.from_array(value, name))
    return zeroed, total
