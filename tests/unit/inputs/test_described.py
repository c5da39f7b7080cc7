"""Inputs chosen from what a session tells, for files that only ORT can read."""

from __future__ import annotations

import itertools

import onnx
import pytest

from harness.errors import ModelError
from harness.inputs.described import model_of
from harness.inputs.ports import fed_ports
from harness.ort.library import ort_library

ort = pytest.importorskip("harness.native.ort", reason="the native module is not built")


def test_what_a_session_tells_makes_the_same_ports_as_the_file() -> None:
    kinds = {
        "image": onnx.helper.make_tensor_type_proto(1, ["batch", 3, None]),
        "words": onnx.helper.make_tensor_type_proto(8, ["n"]),
        "scale": onnx.helper.make_tensor_type_proto(16, []),
        "packed": onnx.helper.make_tensor_type_proto(22, [2]),
        "open": onnx.helper.make_tensor_type_proto(1, None),
        "sizes": onnx.helper.make_sequence_type_proto(onnx.helper.make_tensor_type_proto(7, None)),
        "mask": onnx.helper.make_optional_type_proto(onnx.helper.make_tensor_type_proto(1, None)),
    }
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["image"], ["out"])],
        "g",
        [onnx.helper.make_value_info(name, kind) for name, kind in kinds.items()],
        [onnx.helper.make_value_info("out", kinds["image"])],
    )
    opsets = [onnx.helper.make_opsetid("", 21)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10)
    session = ort.Session(ort.Library(str(ort_library())), model.SerializeToString())
    for got, wanted in itertools.zip_longest(
        fed_ports(model_of(session.inputs), ()), fed_ports(model, ())
    ):
        assert got == wanted


@pytest.mark.parametrize(
    ("kind", "dtype", "wanted"),
    [
        ("map", "int64->float32", "map(int64->float32)"),
        ("map", "string->float64", "map(string->float64)"),
        ("sequence", "map(string->float32)", "sequence(map(string->float32))"),
        ("optional", "sequence(float32)", "optional(sequence(float32))"),
    ],
)
def test_what_is_made_of_others(kind: str, dtype: str, wanted: str) -> None:
    (port,) = fed_ports(model_of([ort.ValueType("x", kind, dtype, None)]), ())
    assert port.type_name == wanted


@pytest.mark.parametrize(("kind", "dtype"), [("opaque", "undefined"), ("tensor", "of_tomorrow")])
def test_what_cannot_be_fed_is_named(kind: str, dtype: str) -> None:
    with pytest.raises(ModelError, match="input 'x'"):
        model_of([ort.ValueType("x", kind, dtype, None)])
