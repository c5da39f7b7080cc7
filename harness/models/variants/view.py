"""A model's main graph, ready to be followed from node to node."""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING, Any

import onnx
import onnx.numpy_helper

from harness.models.executed_graph import bodies

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Constants with more elements than this say nothing about shapes.
_MOST_OF_A_SHAPE = 1024

#: Domains of ONNX's own operators.
ONNX_DOMAINS = ("", "ai.onnx")


class View:
    """The main graph of a model; invalid once the graph is changed.

    Attributes:
        graph: the graph.
        nodes: its nodes, in the order of the file, which is topological.
        producer: by tensor, the number of the node that computes it.
        readers: by tensor, the numbers of the nodes that read it, those whose bodies do included.
        constants: initialisers by name.
        outputs: names of the graph's outputs.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.graph = model.graph
        self.nodes = list(model.graph.node)
        self.constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self.outputs = {value.name for value in model.graph.output}
        self.producer = {
            name: number for number, node in enumerate(self.nodes) for name in node.output if name
        }
        self.readers = readers_of(model.graph)
        self._shapes = inferred_shapes(model)

    def shape(self, name: str) -> tuple[int | None, ...] | None:
        """Dimensions of a tensor, None for a free one; None if the rank is not known."""
        if name in self.constants:
            return tuple(self.constants[name].dims)
        return self._shapes.get(name)

    def value(self, name: str) -> Any:
        """A constant as an array; None for any other tensor."""
        if name not in self.constants:
            return None
        return onnx.numpy_helper.to_array(self.constants[name])

    def label(self, number: int) -> str:
        """Name of a node; its op type and output if it has none."""
        node = self.nodes[number]
        return node.name or f"{node.op_type}({next(iter(node.output), '')})"

    def attribute(self, number: int, name: str, default: Any = None) -> Any:
        """Value of a node's attribute."""
        for attribute in self.nodes[number].attribute:
            if attribute.name == name:
                return onnx.helper.get_attribute_value(attribute)
        return default

    def is_onnx(self, number: int, *op_types: str) -> bool:
        """Whether a node is one of these operators of ONNX itself."""
        node = self.nodes[number]
        return node.op_type in op_types and node.domain in ONNX_DOMAINS


def readers_of(graph: onnx.GraphProto) -> dict[str, list[int]]:
    """By tensor, the numbers of the nodes that read it, those whose bodies do included."""
    readers: dict[str, list[int]] = collections.defaultdict(list)
    for number, node in enumerate(graph.node):
        for name in dict.fromkeys(_read(node)):
            readers[name].append(number)
    return readers


def _read(node: onnx.NodeProto) -> Iterator[str]:
    yield from filter(None, node.input)
    for _, body in bodies(node):
        for inner in body.node:
            yield from _read(inner)
        yield from (value.name for value in body.output)


def inferred_shapes(model: onnx.ModelProto) -> dict[str, tuple[int | None, ...]]:
    """Shapes of tensors as ONNX infers them; nothing where it cannot.

    What the file says about tensors between its nodes is not believed: exporters leave sizes of
    the example that they traced.
    """
    return {
        value.name: tuple(
            each.dim_value if each.WhichOneof("value") == "dim_value" else None
            for each in value.type.tensor_type.shape.dim
        )
        for value in inferred(model)
        if value.type.tensor_type.HasField("shape")
    }


def inferred(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """Types of the main graph's inputs and of what its nodes compute, as ONNX infers them.

    Works on a copy without weights: inference of a whole model stops at 2 GB.
    """
    light = onnx.ModelProto()
    light.ir_version = max(model.ir_version, 4)  # older ones need initialisers among the inputs
    light.opset_import.extend(model.opset_import)
    light.functions.extend(model.functions)
    light.graph.name = model.graph.name
    light.graph.node.extend(model.graph.node)
    weights = {tensor.name for tensor in model.graph.initializer}
    light.graph.input.extend(value for value in model.graph.input if value.name not in weights)
    for value in model.graph.output:  # its shape may be wrong: leave the type only
        light.graph.output.add().CopyFrom(value)
        if value.type.HasField("tensor_type"):
            light.graph.output[-1].type.tensor_type.ClearField("shape")
    for tensor in model.graph.initializer:
        size = 1
        for dimension in tensor.dims:
            size *= dimension
        if size <= _MOST_OF_A_SHAPE and tensor.data_location != onnx.TensorProto.EXTERNAL:
            light.graph.initializer.append(tensor)
        else:
            light.graph.input.append(
                onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
    try:
        found = onnx.shape_inference.infer_shapes(light, data_prop=True).graph
    except Exception:  # onnx raises several kinds, of its own C++ too
        return list(model.graph.input)
    inputs = [value for value in found.input if value.name not in weights]
    return [*inputs, *found.value_info, *found.output]
