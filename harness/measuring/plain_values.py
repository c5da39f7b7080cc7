"""Model inputs as plain numbers, text and lists that any reader of JSON and .npy understands.

Arrays of Python objects (text) and of the types that ``ml_dtypes`` adds to numpy (bfloat16,
float8, int4 ...) need converting: text becomes UTF-8 with offsets, as in Apache Arrow's string
layout, and the others become unsigned integers with the same bits, plus the name of their type.
"""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from harness.records import Int64Array

_Array = npt.NDArray[Any]


class Numbers(msgspec.Struct, frozen=True, tag="numbers"):
    """A tensor of numbers, booleans or fixed-width text.

    Attributes:
        array: in the shape of the tensor.
        dtype: name of the ml_dtypes element type whose bits the array holds; empty if the array
            has the element type itself.
    """

    array: _Array
    dtype: str = ""


class Text(msgspec.Struct, frozen=True, tag="text"):
    """A tensor of text.

    Attributes:
        shape: of the tensor.
        characters: uint8[bytes], all elements concatenated.
        offsets: int64[elements + 1], where each begins and the last ends.
        decoded: whether the elements are text, encoded as UTF-8; otherwise they are raw bytes.
    """

    shape: tuple[int, ...]
    characters: _Array
    offsets: Int64Array
    decoded: bool


class Sequence(msgspec.Struct, frozen=True, tag="sequence"):
    """A sequence of values."""

    parts: list[Plain]


class Map(msgspec.Struct, frozen=True, tag="map"):
    """A map: keys, and their values in the same order, each as a one-dimensional tensor."""

    keys: Numbers | Text
    values: Numbers | Text


#: None is an optional input that is not given.
Plain = Numbers | Text | Sequence | Map | None


def encode(value: Any) -> Plain:
    """A value for ``ort.Session.bind``, in plain form.

    Raises:
        TypeError: ``bind`` does not take such a value.
    """
    if value is None:
        return None
    if isinstance(value, np.ndarray):
        return _encode_array(value)
    if isinstance(value, dict):
        return Map(_encode_column(list(value)), _encode_column(list(value.values())))
    if isinstance(value, (list, tuple)):
        return Sequence([encode(part) for part in value])
    raise TypeError(f"an input must be an array, a list or a dict, not {type(value).__name__}")


def decode(plain: Plain) -> Any:
    """The original value: an array, a list of values, a dict of numpy scalars or text, None."""
    match plain:
        case None:
            return None
        case Sequence():
            return [decode(part) for part in plain.parts]
        case Map():
            return dict(zip(decode(plain.keys), decode(plain.values), strict=True))
        case Text():
            return _decode_text(plain)
        case Numbers():
            return _decode_numbers(plain)


def _encode_array(array: _Array) -> Numbers | Text:
    if array.dtype.kind in "OT":
        return _encode_text(array)
    if array.dtype.isbuiltin == 2:  # registered with numpy by ml_dtypes
        bits = np.dtype(f"u{array.dtype.itemsize}")
        return Numbers(array.view(bits), array.dtype.name)
    return Numbers(array)


def _decode_numbers(numbers: Numbers) -> _Array:
    if not numbers.dtype:
        return numbers.array
    import ml_dtypes

    return numbers.array.view(getattr(ml_dtypes, numbers.dtype))


def _encode_column(items: list[Any]) -> Numbers | Text:
    text = any(isinstance(item, (str, bytes)) for item in items)
    return _encode_array(np.array(items, dtype=object if text else None))


def _encode_text(array: _Array) -> Text:
    elements = array.reshape(-1).tolist()
    for element in elements:
        if not isinstance(element, (str, bytes)):
            raise TypeError(f"an element of text must be text, not {type(element).__name__}")
    decoded = all(isinstance(element, str) for element in elements)
    encoded = [one.encode() if isinstance(one, str) else one for one in elements]
    offsets: Int64Array = np.zeros(len(encoded) + 1, np.int64)
    np.cumsum([len(one) for one in encoded], out=offsets[1:])
    return Text(array.shape, np.frombuffer(b"".join(encoded), np.uint8), offsets, decoded)


def _decode_text(text: Text) -> _Array:
    characters = text.characters.tobytes()
    elements = np.empty(len(text.offsets) - 1, object)
    offsets = text.offsets.tolist()
    for number, (begin, end) in enumerate(itertools.pairwise(offsets)):
        element = characters[begin:end]
        elements[number] = element.decode() if text.decoded else element
    return elements.reshape(text.shape)
