"""Every kind of value that a model can be fed comes back as it was, without pickled objects."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

pytest.importorskip("harness.native.ort", reason="the native module is not built")

from harness.measuring import plain_values
from harness.measuring.plain_values import Numbers, Plain, Sequence, Text

ML_DTYPES = (
    "bfloat16", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "int4",
    "uint4",
)  # fmt: skip


def again(value: Any) -> Any:
    plain = plain_values.encode(value)
    assert not holds_objects(plain)
    return plain_values.decode(plain)


def holds_objects(plain: Plain) -> bool:
    """Whether numpy could store an array only by pickling, or only without its type."""
    match plain:
        case Numbers():
            return plain.array.dtype.hasobject or plain.array.dtype.isbuiltin == 2
        case Sequence():
            return any(map(holds_objects, plain.parts))
        case Text():
            return plain.characters.dtype != np.uint8 or plain.offsets.dtype != np.int64
        case None:
            return False
    return holds_objects(plain.keys) or holds_objects(plain.values)


def same(got: Any, wanted: np.ndarray[Any, Any]) -> None:
    assert isinstance(got, np.ndarray)
    assert got.dtype == wanted.dtype
    assert got.shape == wanted.shape
    assert got.tolist() == wanted.tolist()


@pytest.mark.parametrize(
    "dtype", ["bool", "int8", "uint16", "int64", "uint64", "float16", "float32", "float64", ">f4"]
)
@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3), (3,), (2, 3)])
def test_numbers(dtype: str, shape: tuple[int, ...]) -> None:
    same(
        again(values := (np.arange(np.prod(shape, dtype=int)) % 2).reshape(shape).astype(dtype)),
        values,
    )


@pytest.mark.parametrize("dtype", ML_DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (4,), (2, 2)])
def test_types_of_ml_dtypes(dtype: str, shape: tuple[int, ...]) -> None:
    values = np.arange(np.prod(shape, dtype=int)).reshape(shape)
    wanted = values.astype(getattr(ml_dtypes, dtype))
    same(again(wanted), wanted)
    same(again(wanted.T), wanted.T)


@pytest.mark.parametrize(
    "text",
    [
        np.array("one", object),
        np.array([], object),
        np.empty((2, 0), object),
        np.array([["", "a"], ["grüße 数 \0", "\0"]], object),
        np.array([b"\xff\xfe", b"", b"\0"], object),
        np.array(["fixed", "width"]),
        np.array([b"fixed", b"width"]),
    ],
)
def test_text(text: np.ndarray[Any, Any]) -> None:
    same(again(text), text)


def test_text_beside_bytes_is_the_same_to_onnx_runtime() -> None:
    assert again(np.array(["ü", b"\xff"], object)).tolist() == ["ü".encode(), b"\xff"]


def test_sequences_maps_and_what_is_not_given() -> None:
    assert again(None) is None
    assert again([]) == []
    first, second = np.arange(3), np.array("text", object)
    got = again([first, [second, None], {}])
    same(got[0], first)
    same(got[1][0], second)
    assert got[1][1] is None
    assert got[2] == {}
    for value in (
        {"b": 1.5, "a": -2.0},
        {3: "three", 1: ""},
        {np.int64(7): np.float32(0.1)},
        [{0: 1}, {2: 3}],
    ):
        assert again(value) == value
    assert list(again({"b": 1, "a": 2})) == ["b", "a"], "in the order given"
    (kept,) = again({0: ml_dtypes.bfloat16(1.5)}).values()
    assert kept.dtype == ml_dtypes.bfloat16
    assert kept == 1.5


@pytest.mark.parametrize("value", [1.0, "text", np.array([{}], object), [3], {0, 1}])
def test_what_no_model_is_fed_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="must be"):
        plain_values.encode(value)
