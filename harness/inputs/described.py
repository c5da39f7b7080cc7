"""A model without its graph, made from the inputs that a session reports.

Only ORT can read a file in its own format: inputs are then chosen from their names, types and
shapes alone.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

import onnx
from onnx import TensorProto

from harness.errors import ModelError
from harness.inputs.ports import dtype_name, element_dtype

if TYPE_CHECKING:
    from harness.native import ort

#: ``ValueType.dtype`` of a value that contains another, and of a map.
_HOLDS = re.compile(r"(sequence|optional)\((.*)\)")
_MAPS = re.compile(r"(?:map\()?(\w+)->(\w+)\)?")


def model_of(inputs: Iterable[ort.ValueType]) -> onnx.ModelProto:
    """A model with these inputs and no nodes.

    Raises:
        ModelError: an input has a type that ONNX does not know.
    """
    described = [
        onnx.helper.make_value_info(one.name, _type(one.kind, one.dtype, one.shape, one.name))
        for one in inputs
    ]
    return onnx.helper.make_model(onnx.helper.make_graph([], "described", described, []))


def _type(
    kind: str, dtype: str, shape: tuple[int | str | None, ...] | None, name: str
) -> onnx.TypeProto:
    if kind == "tensor":
        return onnx.helper.make_tensor_type_proto(_element_type(dtype, name), shape)
    if kind in ("sequence", "optional"):
        held = _HOLDS.fullmatch(dtype)
        if held is not None:
            inner = _type(held[1], held[2], None, name)
        elif "->" in dtype:
            inner = _type("map", dtype, None, name)
        else:
            inner = _type("tensor", dtype, None, name)
        made: onnx.TypeProto = (
            onnx.helper.make_sequence_type_proto(inner)
            if kind == "sequence"
            else onnx.helper.make_optional_type_proto(inner)
        )
        return made
    mapped = _MAPS.fullmatch(dtype) if kind == "map" else None
    if mapped is None:
        raise ModelError(
            f"input '{name}' is of kind {kind}, which cannot be fed",
            "export the model with tensor inputs",
        )
    value_type = onnx.helper.make_tensor_type_proto(_element_type(mapped[2], name), ())
    return onnx.helper.make_map_type_proto(_element_type(mapped[1], name), value_type)


def _element_type(dtype: str, name: str) -> int:
    """ONNX's number for an element type."""
    for number in TensorProto.DataType.values():
        with contextlib.suppress(ModelError):
            if number != TensorProto.UNDEFINED and dtype_name(element_dtype(number)) == dtype:
                return int(number)
    raise ModelError(
        f"input '{name}' has the element type {dtype}, which ONNX does not know",
        "upgrade onnx and ml_dtypes",
    )
