"""Tensors that a variant and its original have in common, made outputs so that they can be seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import onnx

from harness.models.variants.view import View

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: Tensors that are looked at in one inference: all at once would be the whole model's activations.
AT_ONCE = 64


_QUANTISE, _BACK = "QuantizeLinear", "DequantizeLinear"


class Layer(NamedTuple):
    """A tensor of both graphs, and the node of the original that computes it.

    Attributes:
        tensor: its name in the original.
        variant: its name in the variant, behind its quantisation if there is one.
        node, op_type: of the original.
    """

    tensor: str
    variant: str
    node: str
    op_type: str


def common(original: onnx.ModelProto, variant: onnx.ModelProto) -> Iterator[list[Layer]]:
    """The tensors that nodes of both main graphs compute, a few at a time, in the file's order."""
    view = View(original)
    there = {name: name for node in variant.graph.node for name in node.output if name}
    there |= _quantised(variant)
    layers = [
        Layer(name, there[name], view.label(number), node.op_type)
        for number, node in enumerate(view.nodes)
        for name in node.output
        if name in there
    ]
    for first in range(0, len(layers), AT_ONCE):
        yield layers[first : first + AT_ONCE]


def _quantised(variant: onnx.ModelProto) -> dict[str, str]:
    """By tensor that is quantised, what it is after it: a Relu may be done by the quantisation."""
    read = {node.input[0]: node for node in variant.graph.node if node.op_type == _BACK}
    return {
        node.input[0]: read[node.output[0]].output[0]
        for node in variant.graph.node
        if node.op_type == _QUANTISE and node.output[0] in read
    }


def exposed(model: onnx.ModelProto, tensors: Sequence[str]) -> bytes:
    """A model file whose outputs are these tensors alone.

    Args:
        model: read without its external data; left as it was.
        tensors: their names.
    """
    seen = onnx.ModelProto()
    seen.CopyFrom(model)
    del seen.graph.output[:]
    for name in tensors:  # ONNX Runtime infers the type of an output that has none
        seen.graph.output.add(name=name)
    content: bytes = seen.SerializeToString()
    return content
