"""What a model takes: its inputs, with their element types and free dimensions."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto

from harness.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

Shape = tuple[int, ...]
#: A free dimension: its name, or the input and axis of one without a name.
Dimension = str | tuple[str, int]

# By number: onnx before 1.19 has stand-ins for these types, and lacks the newest names.
_ML_DTYPES = {
    16: "bfloat16",
    17: "float8_e4m3fn",
    18: "float8_e4m3fnuz",
    19: "float8_e5m2",
    20: "float8_e5m2fnuz",
    21: "uint4",
    22: "int4",
    23: "float4_e2m1fn",
    24: "float8_e8m0fnu",
    25: "uint2",
    26: "int2",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Port:
    """An input (or output) of a model.

    Attributes:
        name: its name in the model.
        kind: ``tensor``, ``sequence``, ``map`` or ``optional``.
        dtype: element type, object for text; for a sequence its elements', for a map its
            values'.
        shape: of the tensor or the elements; a free dimension is a Dimension. None if the
            model leaves the rank open.
        element: what a sequence or an optional holds.
        key_text: whether a map's keys are text; they are int64 otherwise.
    """

    name: str
    kind: str
    dtype: np.dtype[Any]
    shape: tuple[int | Dimension, ...] | None
    element: Port | None = None
    key_text: bool = False

    @property
    def dims(self) -> tuple[int | Dimension, ...]:
        """The shape; empty if the rank is open."""
        return self.shape or ()

    @property
    def rank(self) -> int:
        """Number of axes; 0 if it is open."""
        return len(self.dims)

    @property
    def free(self) -> tuple[Dimension, ...]:
        """Free dimensions in order, each once."""
        return tuple(dict.fromkeys(size for size in self.dims if not isinstance(size, int)))

    @property
    def is_integer(self) -> bool:
        """Whether the elements are integers of any width."""
        return is_integer(self.dtype)

    @property
    def is_float(self) -> bool:
        """Whether the elements are floating-point numbers of any width."""
        return is_float(self.dtype)

    @property
    def type_name(self) -> str:
        """Type as InputRecord.dtype gives it."""
        if self.kind == "map":
            return f"map({'string' if self.key_text else 'int64'}->{dtype_name(self.dtype)})"
        if self.element is not None:
            return f"{self.kind}({self.element.type_name})"
        return dtype_name(self.dtype)

    def named(self, pattern: str) -> bool:
        """Whether a regular expression matches somewhere in the name, ignoring case."""
        return re.search(pattern, self.name, re.IGNORECASE) is not None


def fed_ports(model: onnx.ModelProto, named: Collection[str]) -> tuple[Port, ...]:
    """Inputs to feed: those without an initialiser, and those named.

    Raises:
        ModelError: an input has a type that cannot be fed.
    """
    initialised = {tensor.name for tensor in model.graph.initializer}
    initialised |= {sparse.values.name for sparse in model.graph.sparse_initializer}
    return tuple(
        port(value.name, value.type)
        for value in model.graph.input
        if value.name in named or value.name not in initialised
    )


def port(name: str, proto: onnx.TypeProto) -> Port:
    """The port of one type.

    Raises:
        ModelError: the type cannot be fed.
    """
    kind = proto.WhichOneof("value")
    if kind == "tensor_type":
        return Port(name, "tensor", element_dtype(proto.tensor_type.elem_type), _dims(name, proto))
    if kind in ("sequence_type", "optional_type"):
        element = port(name, getattr(proto, kind).elem_type)
        return Port(name, kind.removesuffix("_type"), element.dtype, element.shape, element)
    if kind == "map_type" and proto.map_type.value_type.HasField("tensor_type"):
        dtype = element_dtype(proto.map_type.value_type.tensor_type.elem_type)
        key_text = proto.map_type.key_type == TensorProto.STRING
        return Port(name, "map", dtype, None, key_text=key_text)
    raise ModelError(
        f"input '{name}' has the type {kind or 'unknown'}, which cannot be fed",
        "export the model with tensor inputs",
    )


def _dims(name: str, proto: onnx.TypeProto) -> tuple[int | Dimension, ...] | None:
    if not proto.tensor_type.HasField("shape"):
        return None
    shape: list[int | Dimension] = []
    for axis, dim in enumerate(proto.tensor_type.shape.dim):
        if dim.HasField("dim_value") and dim.dim_value >= 0:
            shape.append(dim.dim_value)
        elif re.search(r"\w", dim.dim_param):
            shape.append(dim.dim_param)
        else:  # unnamed, or a placeholder such as "?" that implies no equality
            shape.append((name, axis))
    return tuple(shape)


def element_dtype(elem_type: int) -> np.dtype[Any]:
    """The numpy or ml_dtypes type of an ONNX element type; object for text.

    Raises:
        ModelError: the type is not known.
    """
    try:
        if elem_type in _ML_DTYPES:
            dtype: np.dtype[Any] = np.dtype(getattr(ml_dtypes, _ML_DTYPES[elem_type]))
        else:
            dtype = onnx.helper.tensor_dtype_to_np_dtype(elem_type)
    except (AttributeError, KeyError) as error:
        raise ModelError(
            f"an input has the unknown element type {elem_type}", "upgrade onnx and ml_dtypes"
        ) from error
    return dtype


def dtype_name(dtype: np.dtype[Any]) -> str:
    """Name of an element type; ``string`` for text."""
    return "string" if dtype.kind == "O" else dtype.name


def is_integer(dtype: np.dtype[Any]) -> bool:
    """Whether the type holds integers, ml_dtypes' included."""
    return dtype.name.startswith(("int", "uint"))


def is_float(dtype: np.dtype[Any]) -> bool:
    """Whether the type holds floating-point numbers, ml_dtypes' included."""
    return "float" in dtype.name


def shape_text(shape: Iterable[int | Dimension]) -> str:
    """A shape as the command line takes it: ``1x3x224x224``, with names of free dimensions."""
    text = "x".join("?" if isinstance(size, tuple) else str(size) for size in shape)
    return text or "scalar"


def free_names(ports: Iterable[Port]) -> list[str]:
    """Named free dimensions in the order they appear, and the names that they are composed of."""
    names = [size for port in ports for size in port.free if isinstance(size, str)]
    return list(dict.fromkeys([*names, *(part for name in names for part in parts(name))]))


def is_composed(name: str) -> bool:
    """Whether a dimension's name is a sum or product of others: ``batch * heads``."""
    return re.fullmatch(r"\w+(\s*[+*-]\s*\w+)*\s*[+*]\s*\w+(\s*[+*-]\s*\w+)*", name) is not None


def parts(name: str) -> list[str]:
    """The names that a composed name is calculated from; none for any other name."""
    if not is_composed(name):
        return []
    return [part for part in re.split(r"\s*[+*-]\s*", name) if not part.isdigit()]
