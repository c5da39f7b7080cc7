"""Variants made and judged for real: known failures are mended, or told in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import pytest
from onnx import TensorProto

from harness.config.session import SessionConfig
from harness.errors import ModelError, RequestError
from harness.measuring.variants import making
from harness.measuring.variants.making import make
from harness.models import catalogue, file
from harness.models.variants import mending, provenance, stored
from tests.doubles import build_custom_ops


@pytest.fixture(scope="module")
def mlp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "mlp.onnx"
    catalogue.write("mlp", path)
    return path


def dense(
    path: Path,
    *,
    opset: int = 17,
    value_info: tuple[int, ...] = (),
    op_type: str = "Relu",
) -> Path:
    """Two dense layers of 16 and 4 on an input n x 8, with an operator in between.

    Args:
        path: file to write; returned.
        opset: of ONNX's own operators.
        value_info: what the file notes about the shape of the first weight, which is 8 x 16.
        op_type: of the operator in between.
    """
    random = np.random.default_rng(1)
    weights = [
        onnx.numpy_helper.from_array(random.normal(size=shape).astype(np.float32), name)
        for name, shape in (("w1", (8, 16)), ("w2", (16, 4)))
    ]
    nodes = [
        onnx.helper.make_node("MatMul", ["x", "w1"], ["h"], "one"),
        onnx.helper.make_node(op_type, ["h"], ["r"], "between"),
        onnx.helper.make_node("MatMul", ["r", "w2"], ["y"], "two"),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "dense",
        [onnx.helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 8])],
        [onnx.helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
        weights,
    )
    if value_info:
        graph.value_info.append(
            onnx.helper.make_tensor_value_info("w1", TensorProto.FLOAT, value_info)
        )
    opsets = [onnx.helper.make_opsetid("", opset)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=7), path)
    return path


def test_a_variant_carries_its_error_and_what_it_is_made_of(mlp: Path, tmp_path: Path) -> None:
    variant = make(mlp, "fp16", tmp_path / "v.onnx", seeds=2, where=True)
    assert variant.error is not None
    assert 0 < variant.error.max < 0.01
    assert variant.error.cosine > 0.9999
    assert variant.error.inputs == 2
    assert variant.broken == ""
    assert variant.bytes == (tmp_path / "v.onnx").stat().st_size < 0.6 * variant.bytes_before
    assert variant.departure is not None
    assert variant.departure.node == ""
    assert "nothing about accuracy" in variant.notes[0]
    made = onnx.load(tmp_path / "v.onnx")
    told = provenance.told(made)
    assert told["kind"] == "fp16"
    original = file.describe(mlp, file.load(mlp), "mlp")
    assert told["of_sha256"] == variant.of_sha256 == original.sha256
    assert float(told["cosine"]) == pytest.approx(variant.error.cosine)
    assert [path.name for path in tmp_path.iterdir()] == ["v.onnx"]  # no work folder is left


def test_a_broken_variant_is_written_and_says_where_it_departs(mlp: Path, tmp_path: Path) -> None:
    variant = make(mlp, "prune-channels:0.9", tmp_path / "v.onnx", seeds=1, where=True)
    assert "is below 0.95" in variant.broken
    assert (tmp_path / "v.onnx").exists()
    assert variant.departure is not None
    # Narrower tensors cannot be compared: the first of the same shape is that of the last layer.
    assert variant.departure.node == "fc3/Gemm"
    assert [one.node for one in variant.left] == ["fc3/Gemm"]


def test_what_an_exporter_noted_wrongly_is_no_obstacle(tmp_path: Path) -> None:
    source = dense(tmp_path / "m.onnx", value_info=(16, 8))
    variant = make(source, "int8-dynamic", tmp_path / "v.onnx", seeds=1)
    assert any("value_info" in note for note in variant.notes)
    assert variant.broken == ""


def test_an_old_opset_is_upgraded(tmp_path: Path) -> None:
    source = dense(tmp_path / "m.onnx", opset=9)
    variant = make(source, "int8-static", tmp_path / "v.onnx", seeds=1)
    assert "opset 9 upgraded to 13, which int8 needs" in variant.notes
    assert mending.opset(onnx.load(tmp_path / "v.onnx")) == 13


def test_calibration_data_sets_the_ranges(tmp_path: Path) -> None:
    source = dense(tmp_path / "m.onnx")
    data = tmp_path / "data"
    data.mkdir()
    for number in range(2):
        np.savez(data / f"{number}.npz", x=np.full((2, 8), 1000, np.float32))
    wide = make(source, "int8-static", tmp_path / "wide.onnx", calibrate=data, seeds=1)
    near = make(source, "int8-static", tmp_path / "near.onnx", seeds=1)
    assert "calibrated with 2 input sets" in wide.notes
    assert any("generated inputs" in note for note in near.notes)
    assert wide.error is not None
    assert near.error is not None
    assert wide.error.max > 5 * near.error.max  # inputs of about 1 fall on one or two steps


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({"x": np.zeros((2, 9), np.float32)}, "the shape is 2x9, but 'x' takes"),
        ({"x": np.zeros((2, 8))}, "the type is float64, but 'x' takes float32"),
        ({"z": np.zeros((2, 8), np.float32)}, "no such input"),
    ],
)
def test_calibration_data_that_does_not_fit_is_refused(
    tmp_path: Path, arrays: dict[str, Any], told: str
) -> None:
    source = dense(tmp_path / "m.onnx")
    np.savez(tmp_path / "data.npz", **arrays)
    with pytest.raises(RequestError, match=told) as refused:
        make(source, "int8-static", tmp_path / "v.onnx", calibrate=tmp_path / "data.npz", seeds=1)
    assert refused.value.message.startswith("`calibrate`")
    assert {path.name for path in tmp_path.iterdir()} == {"m.onnx", "data.npz"}


def test_a_model_with_nothing_to_quantise_is_told_in_one_line(tmp_path: Path) -> None:
    node = onnx.helper.make_node("Sin", ["x"], ["y"])
    value = [onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in "xy"]
    graph = onnx.helper.make_graph([node], "sine", value[:1], value[1:])
    opsets = [onnx.helper.make_opsetid("", 17)]
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8), tmp_path / "m.onnx"
    )
    with pytest.raises(ModelError, match="cannot be made int8-dynamic: nothing in it can"):
        make(tmp_path / "m.onnx", "int8-dynamic", tmp_path / "v.onnx", seeds=1)


def test_weights_beside_the_model_are_read_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, whole = (onnx.load(dense(tmp_path / "whole.onnx")) for _ in range(2))
    folder = tmp_path / "split"
    folder.mkdir()
    onnx.save_model(
        whole, folder / "m.onnx", save_as_external_data=True, location="m.bin", size_threshold=64
    )
    variant = make(folder / "m.onnx", "fp16", tmp_path / "v.onnx", seeds=1, where=True)
    assert variant.broken == ""
    assert variant.departure is not None
    assert sorted(path.name for path in folder.iterdir()) == ["m.bin", "m.onnx"]
    # Above the limit of one file, they go beside it again.
    monkeypatch.setattr(stored, "_LEAST_BESIDE", 64)
    monkeypatch.chdir(tmp_path)
    loaded = stored.load(folder / "m.onnx")
    for _ in range(2):  # what is there already is replaced
        files = stored.save(loaded, tmp_path / "s.onnx", most_bytes=100)
    assert (tmp_path / "s.onnx.data").stat().st_size == 4096 + 16 * 4 * 4
    assert not stored.is_split(loaded)  # what was saved is as it was
    assert [path.name for path in files] == ["s.onnx", "s.onnx.data"]
    assert stored.is_split(onnx.load(tmp_path / "s.onnx", load_external_data=False))
    again = stored.load(tmp_path / "s.onnx")
    weights = [onnx.numpy_helper.to_array(one.graph.initializer[0]) for one in (again, source)]
    np.testing.assert_array_equal(*weights)


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two dense layers, and beside them an operator that a library has."""
    path = tmp_path_factory.mktemp("foreign") / "m.onnx"
    model = onnx.load(dense(path))
    domain = "ai.onnx.contrib"
    model.opset_import.append(onnx.helper.make_opsetid(domain, 1))
    model.graph.node.append(
        onnx.helper.make_node("StringLength", ["text"], ["length"], domain=domain)
    )
    for values, name, kind in (
        (model.graph.input, "text", TensorProto.STRING),
        (model.graph.output, "length", TensorProto.INT64),
    ):
        values.append(onnx.helper.make_tensor_value_info(name, kind, ["n"]))
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("kind", ["int8-static", "fp16"])
def test_operators_of_a_library_pass_through(foreign: Path, tmp_path: Path, kind: str) -> None:
    session = SessionConfig(custom_ops=(build_custom_ops(),))
    variant = make(foreign, kind, tmp_path / "v.onnx", session=session, seeds=1, where=True)
    assert variant.error is not None
    assert variant.error.unlike == 0
    assert variant.departure is not None
    assert not [note for note in variant.notes if "not folded" in note]


def test_operators_of_a_library_that_is_not_named_are_told(foreign: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="refuses the model") as refused:
        make(foreign, "fp16", tmp_path / "v.onnx", seeds=1)
    assert "`custom_ops`" in refused.value.remedy


def test_constants_beyond_fp16_keep_their_nodes_in_float32(tmp_path: Path) -> None:
    model = onnx.load(dense(tmp_path / "m.onnx", op_type="BatchNormalization"))
    for name, value in (("scale", 1e4), ("bias", 0), ("mean", 0), ("variance", 1e8)):
        model.graph.node[1].input.append(name)
        column = np.full(16, value, np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(column, name))
    onnx.save(model, tmp_path / "m.onnx")
    variant = make(tmp_path / "m.onnx", "fp16", tmp_path / "v.onnx", seeds=1)
    assert variant.broken == ""
    assert any("beyond the range of fp16: between" in note for note in variant.notes)
    assert variant.error is not None
    assert variant.error.max_relative < 0.01


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"kind": "fp8"}, "`kind` fp8"),
        ({"seeds": 0}, "`seeds` 0"),
        ({"calibrate": Path("x")}, "`calibrate` x: fp16 is not calibrated"),
        ({"out": Path("v.ort")}, "does not end in .onnx"),
        ({"kind": "int8-static", "calibrate": Path("tests")}, "holds no .npz file"),
    ],
)
def test_a_wrong_request_is_refused_before_anything_runs(asked: dict[str, Any], told: str) -> None:
    given = {"kind": "fp16", "out": Path("v.onnx"), **asked}
    with pytest.raises(RequestError, match=told):
        make("mlp", **given)


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    (tmp_path / "v.onnx.data").write_text("mine")
    with pytest.raises(RequestError, match=r"v.onnx.data: the file exists"):
        make("mlp", "fp16", tmp_path / "v.onnx")
    assert making.file_name("a/resnet.onnx", "prune-channels:0.5") == (
        "resnet-prune-channels-0.5.onnx"
    )


def test_weights_of_the_original_are_never_replaced(tmp_path: Path) -> None:
    source = dense(tmp_path / "m.onnx")
    model = onnx.load(source)
    onnx.save(model, source, save_as_external_data=True, location="v.onnx.data", size_threshold=0)
    before = (tmp_path / "v.onnx.data").read_bytes()
    with pytest.raises(RequestError, match="weights of the original"):
        make(source, "fp16", tmp_path / "v.onnx", seeds=1, force=True)
    assert (tmp_path / "v.onnx.data").read_bytes() == before


def test_what_is_quantised_already_is_told(tmp_path: Path) -> None:
    source = dense(tmp_path / "m.onnx")
    make(source, "int8-static", tmp_path / "q.onnx", seeds=1)
    with pytest.raises(ModelError, match="quantised already"):
        make(tmp_path / "q.onnx", "int8-static", tmp_path / "v.onnx", seeds=1)


def test_calibration_data_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    source = dense(tmp_path / "m.onnx")
    np.savez(tmp_path / "data.npz", x=np.full((2, 8), np.nan, np.float32))
    with pytest.raises(RequestError, match="NaN or infinity"):
        make(source, "int8-static", tmp_path / "v.onnx", calibrate=tmp_path / "data.npz", seeds=1)
