"""The executed graph: names that identify nodes, and a file that still executes."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import TensorProto, helper, numpy_helper

from harness.errors import ModelError
from harness.models.executed_graph import ExecutedGraph, node_name, prepare, row_of
from harness.native import ort

# Names that repeat and names that are missing, at every level.
NESTED = """
<ir_version: 8, opset_import: ["" : 17]>
nested (float[N, 8] x) => (float[N, 8] y)
<float[8, 8] weight, int64 trips = {4}, int64 two = {2}> {
  [same] hidden = MatMul (x, weight)
  [loop] looped = Loop (trips, , hidden) <body = body (int64 i, bool go, float[N, 8] state)
      => (bool still, float[N, 8] next) {
    odd = Mod (i, two)
    [same] branch = Cast <to = 9> (odd)
    root = Sqrt (state)
    still = Identity (go)
    [choice] chosen = If (branch)
      <then_branch = then () => (float[N, 8] a) { [same] a = Mul (root, root) },
       else_branch = other () => (float[N, 8] b) { b = Neg (root) }>
    next = Abs (chosen)
  }>
  y = Sigmoid (looped)
}
"""


@pytest.fixture(scope="module")
def library() -> ort.Library:
    found = importlib.util.find_spec("onnxruntime")
    assert found is not None
    assert found.origin is not None
    return ort.Library(str(next((Path(found.origin).parent / "capi").glob("libonnxruntime.so.*"))))


def executed(library: ort.Library, model: onnx.ModelProto, folder: Path) -> ExecutedGraph:
    original = folder / "model.onnx"
    onnx.save(model, original)
    saved = folder / "saved.onnx"
    entry = "session.optimized_model_external_initializers"
    ort.Session(
        library,
        str(original),
        optimized_model_path=str(saved),
        entries={f"{entry}_file_name": "saved.weights", f"{entry}_min_size_in_bytes": "1024"},
    ).close()
    return prepare(saved, folder / "renamed.onnx")


def infer(session: ort.Session, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    binding = session.bind({one.name: inputs[one.name] for one in session.inputs})
    binding.run()
    return binding.outputs()


def nested_model(width: int = 8) -> onnx.ModelProto:
    model = onnx.parser.parse_model(NESTED.replace("8]", f"{width}]").replace("[8,", f"[{width},"))
    values = np.random.default_rng(0).random((width, width), np.float32)
    weight = onnx.numpy_helper.from_array(values, "weight")
    others = [one for one in model.graph.initializer if one.name != "weight"]
    del model.graph.initializer[:]
    model.graph.initializer.extend([weight, *others])
    del model.graph.value_info[:]
    return model


def test_table_tells_where_each_node_stands(library: ort.Library, tmp_path: Path) -> None:
    nodes = executed(library, nested_model(), tmp_path).nodes

    where = {
        op_type: (depth, nodes.op_type[parent] if parent >= 0 else "", branch, name)
        for op_type, depth, parent, branch, name in zip(
            nodes.op_type, nodes.depth, nodes.parent, nodes.branch, nodes.name, strict=True
        )
    }
    assert where["MatMul"] == (0, "", "", "same")
    assert where["Loop"] == (0, "", "", "loop")
    assert where["Sigmoid"] == (0, "", "", "")
    assert where["Cast"] == (1, "Loop", "body", "same")
    assert where["Sqrt"] == (1, "Loop", "body", "")
    assert where["If"] == (1, "Loop", "body", "choice")
    assert where["Mul"] == (2, "If", "then_branch", "same")
    assert where["Neg"] == (2, "If", "else_branch", "")
    assert set(nodes.order.tolist()) == {-1}


def test_renamed_model_executes_the_same(library: ort.Library, tmp_path: Path) -> None:
    model = nested_model()
    graph = executed(library, model, tmp_path)
    inputs = {"x": np.random.default_rng(1).random((5, 8), np.float32)}

    renamed = infer(ort.Session(library, str(graph.path), optimization="disable"), inputs)

    original = infer(ort.Session(library, str(tmp_path / "model.onnx")), inputs)
    np.testing.assert_array_equal(renamed[0], original[0])


def test_weights_stay_in_the_side_file(library: ort.Library, tmp_path: Path) -> None:
    graph = executed(library, nested_model(width=128), tmp_path)

    assert graph.path.stat().st_size < 10_000
    assert (tmp_path / "saved.weights").stat().st_size >= 128 * 128 * 4
    inputs = {"x": np.zeros((1, 128), np.float32)}
    infer(ort.Session(library, str(graph.path), optimization="disable"), inputs)


def test_rewritten_weights_of_old_files_are_not_asked_for(
    library: ort.Library, tmp_path: Path
) -> None:
    # IR version 3 lists weights as inputs; the optimiser replaces those of its convolutions.
    data = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    graph = executed(library, onnx.load(data / "light_squeezenet.onnx"), tmp_path)

    saved = onnx.load(tmp_path / "saved.onnx", load_external_data=False)
    session = ort.Session(library, str(graph.path), optimization="disable")
    assert len(saved.graph.input) > 10
    assert len(session.inputs) == 1
    image = {session.inputs[0].name: np.random.default_rng(0).random((1, 3, 224, 224), np.float32)}
    original = ort.Session(library, str(tmp_path / "model.onnx"))
    np.testing.assert_array_equal(infer(session, image)[0], infer(original, image)[0])


def test_a_file_that_is_no_model_is_named(tmp_path: Path) -> None:
    saved = tmp_path / "saved.onnx"
    saved.write_bytes(b"\xff" * 100)
    with pytest.raises(ModelError, match=r"saved\.onnx"):
        prepare(saved, tmp_path / "renamed.onnx")


def test_event_names_encode_rows() -> None:
    assert row_of(f"{node_name(12)}_kernel_time") == 12
    assert row_of("harness_node_x_kernel_time") == -1
    assert row_of("7_kernel_time") == -1
    assert row_of("model_run") == -1


def test_a_constant_that_is_an_initialiser_too_is_dropped_from_bodies(tmp_path: Path) -> None:
    one = numpy_helper.from_array(np.ones(1, np.float32), "one")
    body = helper.make_graph(
        [
            helper.make_node("Constant", [], ["one"], value=one),
            helper.make_node("Add", ["x", "one"], ["y"]),
        ],
        "then",
        [],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
        [one],
    )
    other = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["z"])],
        "else",
        [],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, [1])],
    )
    graph = helper.make_graph(
        [helper.make_node("If", ["c"], ["out"], then_branch=body, else_branch=other)],
        "main",
        [
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [1]),
        ],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1])],
    )
    saved = tmp_path / "saved.onnx"
    saved.write_bytes(helper.make_model(graph).SerializeToString())
    prepared = prepare(saved, tmp_path / "named.onnx")
    assert sorted(prepared.nodes.op_type) == ["Add", "If", "Neg"]
