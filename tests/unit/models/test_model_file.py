from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from harness.errors import ModelError
from harness.models.file import describe, load, weights_bytes


def packaged(package: str, path: str) -> Path:
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / path


def matmul_model(rows: int = 4) -> onnx.ModelProto:
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", rows])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(np.ones((rows, 3), np.float32), "w")],
    )
    return helper.make_model(
        graph,
        ir_version=8,
        opset_imports=[helper.make_opsetid("", 17)],
        producer_name="tests",
        producer_version="1",
    )


def external_model(folder: Path) -> Path:
    path = folder / "m.onnx"
    onnx.save(
        matmul_model(),
        path,
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )
    return path


def test_a_model_that_the_checker_rejects_but_ort_loads_is_read() -> None:
    model = load(packaged("onnxruntime", "datasets/mul_1.onnx"))
    with pytest.raises(onnx.checker.ValidationError):
        onnx.checker.check_model(model)
    assert [node.op_type for node in model.graph.node] == ["Mul"]


def test_describe_names_producer_opsets_and_sizes(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    content = matmul_model().SerializeToString()
    path.write_bytes(content)
    record = describe(path, load(path), "mine")
    assert record.name == "mine"
    assert record.path == str(path)
    assert record.sha256 == hashlib.sha256(content).hexdigest()
    assert record.size_bytes == len(content)
    assert record.producer == "tests 1"
    assert record.opsets == ("ai.onnx:17",)
    assert (record.ir_version, record.node_count, record.parameter_count) == (8, 1, 12)


def test_parameters_of_subgraphs_and_sparse_initialisers_count_but_constants_do_not() -> None:
    weight = numpy_helper.from_array(np.ones((5, 2), np.float32), "inner")
    branch = helper.make_graph(
        [helper.make_node("Identity", ["inner"], ["out"])],
        "branch",
        [],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [5, 2])],
        [weight],
    )
    constant = numpy_helper.from_array(np.ones(100, np.float32), "c")
    graph = helper.make_graph(
        [
            helper.make_node("Constant", [], ["c"], value=constant),
            helper.make_node("If", ["b"], ["y"], then_branch=branch, else_branch=branch),
        ],
        "g",
        [helper.make_tensor_value_info("b", TensorProto.BOOL, [])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [5, 2])],
        sparse_initializer=[
            helper.make_sparse_tensor(
                numpy_helper.from_array(np.ones(3, np.float32), "sparse"),
                numpy_helper.from_array(np.arange(3), "places"),
                [1000],
            )
        ],
    )
    path = packaged("onnxruntime", "datasets/mul_1.onnx")
    assert describe(path, helper.make_model(graph), "m").parameter_count == 5 * 2 * 2 + 3
    assert weights_bytes(helper.make_model(graph)) == 4 * (5 * 2 * 2 + 3)


def test_external_data_is_part_of_the_digest_and_not_read_into_the_model(tmp_path: Path) -> None:
    path = external_model(tmp_path)
    model = load(path)
    assert not model.graph.initializer[0].raw_data
    weights = (tmp_path / "weights.bin").read_bytes()
    record = describe(path, model, "m")
    assert record.sha256 == hashlib.sha256(path.read_bytes() + weights).hexdigest()
    assert record.size_bytes == path.stat().st_size + len(weights)
    assert record.parameter_count == 12


def test_an_unknown_key_of_external_data_is_ignored_without_a_word(tmp_path: Path) -> None:
    path = external_model(tmp_path)
    stored = onnx.load(path, load_external_data=False)
    stored.graph.initializer[0].external_data.add(key="later", value="x" * 10_000)
    onnx.save(stored, path)
    load(path)  # a warning, which may be endless, would be an error here


def test_missing_external_data_is_named(tmp_path: Path) -> None:
    path = external_model(tmp_path)
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(ModelError, match=r"external data file weights\.bin is missing"):
        load(path)


def test_external_data_too_short_for_its_tensor_is_told(tmp_path: Path) -> None:
    path = external_model(tmp_path)
    (tmp_path / "weights.bin").write_bytes(b"\0" * 47)
    with pytest.raises(ModelError, match=r"weights\.bin has 47 bytes but 'w' ends at 48"):
        load(path)


WHOLE = matmul_model(rows=64).SerializeToString()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"# not a model, but notes\n" * 9, "is not an ONNX model"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"PK\x03\x04" + b"\0" * 60, "zip archive"),
        (b"\x20\0\0\0ORTM" + b"\0" * 60, "ORT's own format"),
        (np.random.default_rng(3).bytes(4096), "is not an ONNX model"),
        (WHOLE[: len(WHOLE) // 2], "truncated or damaged"),
        (WHOLE[:2], "truncated or damaged"),
        (
            helper.make_model(helper.make_graph([], "g", [], [])).SerializeToString(),
            "its graph has no node",
        ),
    ],
)
def test_what_is_no_model_is_refused_in_one_line_with_a_remedy(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=message) as caught:
        load(path)
    assert caught.value.exit_code == 2
    assert str(path) in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.remedy


OPSETS_AT = len(WHOLE) - len(matmul_model().opset_import[0].SerializeToString()) - 2


@pytest.mark.parametrize("cut", [*range(10, len(WHOLE), 97), OPSETS_AT])
def test_a_model_cut_anywhere_is_refused(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(WHOLE[:cut])
    with pytest.raises(ModelError, match=r"truncated"):
        load(path)


def test_a_missing_file_and_a_folder_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such file"):
        load(tmp_path / "absent.onnx")
    with pytest.raises(ModelError, match="is a folder"):
        load(tmp_path)
