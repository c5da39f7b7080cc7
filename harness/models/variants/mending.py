"""What is put right in a model before it is changed, where exporters left it wrong or old."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx.numpy_helper
import onnx.version_converter

from harness.errors import ModelError, one_line
from harness.models.file import graphs
from harness.models.variants.view import ONNX_DOMAINS, inferred

if TYPE_CHECKING:
    from collections.abc import Iterable

#: The first opset whose QuantizeLinear takes a scale for each channel.
PER_CHANNEL_OPSET = 13

#: The IR version that belongs to that opset.
_ITS_IR_VERSION = 7


def lift_constants(model: onnx.ModelProto) -> None:
    """Makes initialisers of the main graph's Constant nodes, and of inputs that have a default.

    Some exporters write every weight as a node, and files of IR version 3 list every weight as an
    input; what changes weights looks at initialisers that no caller can override.
    """
    graph = model.graph
    kept = []
    for node in graph.node:
        value = node.attribute[0] if node.op_type == "Constant" and node.attribute else None
        if value is not None and node.domain in ONNX_DOMAINS and value.name == "value":
            tensor = graph.initializer.add()
            tensor.CopyFrom(value.t)
            tensor.name = node.output[0]
        else:
            kept.append(node)
    _replace(graph.node, kept)
    stored = {tensor.name for tensor in graph.initializer}
    _replace(graph.input, [value for value in graph.input if value.name not in stored])
    model.ir_version = max(model.ir_version, 4)


def clear_value_info(model: onnx.ModelProto) -> None:
    """Forgets what the file says about tensors between nodes, and the sizes of its outputs.

    Exporters leave sizes there of the example that they traced, at which shape inference stops.
    """
    for graph in graphs(model):
        del graph.value_info[:]
    for value in model.graph.output:
        if value.type.WhichOneof("value") == "tensor_type":
            value.type.tensor_type.ClearField("shape")


def infer_shapes(model: onnx.ModelProto) -> None:
    """Replaces what the file says about tensors between nodes by what ONNX infers."""
    outputs = {value.name for value in model.graph.output}
    inputs = {value.name for value in model.graph.input}
    _replace(
        model.graph.value_info,
        [value for value in inferred(model) if value.name not in outputs | inputs],
    )


def opset(model: onnx.ModelProto) -> int:
    """Version of ONNX's own operators in the model; 0 if it uses none."""
    return max(
        (each.version for each in model.opset_import if each.domain in ONNX_DOMAINS), default=0
    )


def upgrade_opset(model: onnx.ModelProto, least: int) -> onnx.ModelProto:
    """The model in that opset, converted by ONNX's own converter; the same if it is new enough.

    Raises:
        ModelError: the converter fails; says for which reason, and the way out.
    """
    found = opset(model)
    if not 0 < found < least:
        return model
    try:
        converted: onnx.ModelProto = onnx.version_converter.convert_version(model, least)
    except Exception as error:  # of onnx's own C++, which has no common type
        raise ModelError(
            f"its opset {found} cannot be upgraded to {least}: {one_line(str(error), 200)}",
            f"export the model with opset {least} or newer",
        ) from error
    converted.ir_version = max(converted.ir_version, _ITS_IR_VERSION)
    converted.metadata_props.extend(
        each
        for each in model.metadata_props
        if each.key not in {one.key for one in converted.metadata_props}
    )
    return converted


def beyond_fp16(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes that read a constant with a finite number too large for fp16.

    Nodes without a name get one. Constants must be initialisers.
    """
    large = set()
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            value = onnx.numpy_helper.to_array(tensor)
            if np.abs(value, where=np.isfinite(value), out=np.zeros_like(value)).max(initial=0) > (
                np.finfo(np.float16).max
            ):
                large.add(tensor.name)
    return _named(model, [node for node in model.graph.node if not large.isdisjoint(node.input)])


def doubles(model: onnx.ModelProto, op_type: str) -> list[str]:
    """Names of the nodes of this type that compute float64.

    Nodes without a name get one.
    """
    double = {
        value.name
        for value in inferred(model)
        if value.type.tensor_type.elem_type == onnx.TensorProto.DOUBLE
    }
    return _named(
        model,
        [
            node
            for node in model.graph.node
            if node.op_type == op_type and not double.isdisjoint(node.output)
        ],
    )


def _named(model: onnx.ModelProto, nodes: list[onnx.NodeProto]) -> list[str]:
    taken = {node.name for node in model.graph.node}
    for node in nodes:
        if not node.name:
            node.name = next(
                name
                for name in (f"{node.op_type}_{number}" for number in range(len(taken) + 1))
                if name not in taken
            )
            taken.add(node.name)
    return [node.name for node in nodes]


def foreign_operators(model: onnx.ModelProto) -> list[str]:
    """Operators of domains that neither ONNX nor ONNX Runtime itself defines, ``domain:type``."""
    own = (*ONNX_DOMAINS, "ai.onnx.ml", "ai.onnx.training", "com.microsoft", "com.microsoft.nchwc")
    functions = {(function.domain, function.name) for function in model.functions}
    return sorted(
        {
            f"{node.domain}:{node.op_type}"
            for graph in graphs(model)
            for node in graph.node
            if node.domain not in own and (node.domain, node.op_type) not in functions
        }
    )


def _replace(field: object, values: Iterable[object]) -> None:
    """Puts these messages in place of those in a repeated field."""
    kept = list(values)
    del field[:]  # type: ignore[attr-defined]
    field.extend(kept)  # type: ignore[attr-defined]
