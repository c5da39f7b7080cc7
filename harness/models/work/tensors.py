"""Tensors as a node sees them: element type, shape and bytes."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Annotated, Final, NamedTuple

import msgspec

#: Name of an element type, lower case and without the packing suffix (``Int4x2``), as ORT
#: and ONNX write it -> name, bits of an element. The size of text is not in its shape.
_TYPES: Final[Mapping[str, tuple[str, int]]] = {
    "float": ("float32", 32),
    "double": ("float64", 64),
    "float16": ("float16", 16),
    "bfloat16": ("bfloat16", 16),
    "float8e4m3fn": ("float8_e4m3fn", 8),
    "float8e4m3fnuz": ("float8_e4m3fnuz", 8),
    "float8e5m2": ("float8_e5m2", 8),
    "float8e5m2fnuz": ("float8_e5m2fnuz", 8),
    "float8e8m0": ("float8_e8m0fnu", 8),
    "float4e2m1": ("float4_e2m1fn", 4),
    "bool": ("bool", 8),
    **{f"{sign}int{bits}": (f"{sign}int{bits}", bits)
       for sign in ("", "u") for bits in (2, 4, 8, 16, 32, 64)},
    "complex64": ("complex64", 64),
    "complex128": ("complex128", 128),
}  # fmt: skip
_BITS: Final = dict(_TYPES.values())

_Size = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
#: More than any runtime takes: NumPy stops at so many dimensions, ORT counts elements in int64.
_MOST_DIMENSIONS: Final = 64
_MOST_ELEMENTS: Final = 2**63 - 1

_REPORTED: Final = msgspec.json.Decoder(list[dict[str, list[_Size]]])


class Unknown(Exception):
    """Something that a formula needs is not known."""


class Tensor(NamedTuple):
    """Element type (``float32``, ``int4``, ``string``) and shape of a tensor."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


def type_name(name: str) -> str:
    """NumPy's (or ml_dtypes') name of an element type, given ORT's or ONNX's."""
    plain = name.lower().removesuffix("x2").removesuffix("x4")
    return _TYPES[plain][0] if plain in _TYPES else plain


@functools.lru_cache(maxsize=4096)  # few differ in a graph, however many nodes it has
def tensors(text: str) -> tuple[Tensor, ...]:
    """``[{"float":[1,3]},{"int64":[]}]`` as ORT's profiler writes it.

    Empty where the text is not of that form, or no tensor has such a shape: it may come from a
    damaged profile.
    """
    try:
        entries = _REPORTED.decode(text) if text else []
    except ValueError:
        return ()
    found = tuple(
        Tensor(type_name(name), tuple(shape)) for entry in entries for name, shape in entry.items()
    )
    return found if all(map(_possible, found)) else ()


def _possible(tensor: Tensor) -> bool:
    return len(tensor.shape) <= _MOST_DIMENSIONS and tensor.size <= _MOST_ELEMENTS


def nbytes(tensor: Tensor, elements: int | None = None) -> int:
    """Bytes of a tensor, or of the given number of its elements."""
    if tensor.dtype not in _BITS:
        raise Unknown
    count = tensor.size if elements is None else elements
    return -(-count * _BITS[tensor.dtype] // 8)
