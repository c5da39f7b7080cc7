"""Models of strangers: what is wrong with one is told before anything that it names is opened."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from harness.errors import ModelError
from harness.models import file


def model(**changed: Any) -> onnx.ModelProto:
    """y = x + w, whose w may lie elsewhere."""
    weight = TensorProto(name="w", data_type=changed.get("dtype", 1), dims=changed.get("dims", [4]))
    if "location" in changed:
        weight.data_location = TensorProto.EXTERNAL
        for key in ("location", "offset", "length"):
            if key in changed:
                weight.external_data.add(key=key, value=changed[key])
    else:
        weight.raw_data = bytes(16)
    name = changed.get("name", "x")
    value = helper.make_tensor_value_info(name, TensorProto.FLOAT, changed.get("shape", ["n", 4]))
    node = helper.make_node(changed.get("op", "Add"), [name, "w"], ["y"], name="node")
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "strange", [value], [result], [weight])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


MODELS: dict[str, tuple[dict[str, Any], str]] = {
    "device": ({"location": "/dev/zero", "dims": [0]}, "a pipe or a device"),
    "pipe": ({"location": "pipe", "dims": [0]}, "a pipe or a device"),
    "outside": ({"location": "/etc/passwd"}, "outside the model's folder"),
    "above": ({"location": "../" * 20 + "etc/passwd"}, "outside the model's folder"),
    "by a link": ({"location": "link"}, "outside the model's folder"),
    "NUL": ({"location": "w\0x"}, "cannot be read"),
    "no offset": ({"location": "w.bin", "offset": "abc"}, "cannot tell where"),
    "before it": ({"location": "w.bin", "offset": "-1"}, "cannot tell where"),
    "beyond it": ({"location": "w.bin", "offset": "4096"}, "ends at 4112"),
    "memory": ({"location": "*/_ORT_MEM_ADDR_/", "offset": "4096"}, "an address in memory"),
    "as in memory": ({"location": "*/_ORT_pipe", "dims": [0]}, "a pipe or a device"),
    "no type": ({"location": "w.bin", "dtype": 99}, "element type 99"),
    "nowhere": ({"location": "missing"}, "is missing"),
    "rank": ({"shape": [1] * 1000}, "1000 dimensions"),
}


def strange(folder: Path, content: bytes) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(content)
    (folder / "w.bin").write_bytes(bytes(256))
    (folder / "link").symlink_to("/etc/passwd")
    os.mkfifo(folder / "pipe")
    (folder / "*").mkdir()
    os.mkfifo(folder / "*/_ORT_pipe")
    return path


@pytest.mark.parametrize("kind", MODELS)
def test_a_model_that_is_wrong_is_refused(tmp_path: Path, kind: str) -> None:
    changed, says = MODELS[kind]
    path = strange(tmp_path, model(**changed).SerializeToString())
    with pytest.raises(ModelError, match=says):
        file.load(path)


def attribute(**held: Any) -> onnx.AttributeProto:
    return onnx.AttributeProto(name="value", **held)


def sparse(**held: TensorProto) -> onnx.SparseTensorProto:
    return onnx.SparseTensorProto(dims=[4], **held)


#: Attributes that hold a tensor, one way each.
HOLDERS: dict[str, Callable[[TensorProto], onnx.AttributeProto]] = {
    "tensor": lambda t: attribute(t=t),
    "tensors": lambda t: attribute(tensors=[t]),
    "sparse values": lambda t: attribute(sparse_tensor=sparse(values=t)),
    "sparse indices": lambda t: attribute(sparse_tensor=sparse(indices=t)),
    "sparse tensors": lambda t: attribute(sparse_tensors=[sparse(values=t)]),
    "graph without nodes": lambda t: attribute(g=onnx.GraphProto(initializer=[t])),
    "graphs without nodes": lambda t: attribute(graphs=[onnx.GraphProto(initializer=[t])]),
}


@pytest.mark.parametrize("place", ["node", "node of a function", "default of a function"])
@pytest.mark.parametrize("holder", HOLDERS)
def test_external_data_is_checked_and_hashed_wherever_it_is(
    tmp_path: Path, holder: str, place: str
) -> None:
    def put(location: str) -> onnx.ModelProto:
        made = model()
        function = made.functions.add(name="F", domain="own")
        tensor = TensorProto(name="c", data_type=1, dims=[4], data_location=TensorProto.EXTERNAL)
        tensor.external_data.add(key="location", value=location)
        attributes = {
            "node": made.graph.node[0].attribute,
            "node of a function": function.node.add(op_type="Constant").attribute,
            "default of a function": function.attribute_proto,
        }[place]
        attributes.append(HOLDERS[holder](tensor))
        return made

    path = strange(tmp_path, put("../" * 20 + "etc/passwd").SerializeToString())
    with pytest.raises(ModelError, match="outside the model's folder"):
        file.load(path)
    path.write_bytes(put("w.bin").SerializeToString())
    digest = file.describe(path, file.load(path), "m").sha256
    (tmp_path / "w.bin").write_bytes(b"\1" * 256)
    assert file.describe(path, file.load(path), "m").sha256 != digest


@pytest.mark.parametrize("changed", [{"name": "QQQQ"}, {"shape": ["QQQQ", 4]}, {"op": "QQQQ"}])
def test_a_name_that_is_not_utf_8_is_refused(tmp_path: Path, changed: dict[str, Any]) -> None:
    content = model(**changed).SerializeToString().replace(b"QQQQ", b"\xff\xfe\x80\x81")
    with pytest.raises(ModelError, match="is not UTF-8"):
        file.load(strange(tmp_path, content))


def test_data_beside_the_model_that_a_store_of_links_holds_is_taken(tmp_path: Path) -> None:
    store, folder = tmp_path / "store", tmp_path / "snapshot"
    store.mkdir()
    folder.mkdir()
    (store / "1").write_bytes(model(location="w.bin").SerializeToString())
    (store / "2").write_bytes(bytes(16))
    (folder / "model.onnx").symlink_to("../store/1")
    (folder / "w.bin").symlink_to("../store/2")
    read = file.load(folder / "model.onnx")
    assert file.describe(folder / "model.onnx", read, "m").size_bytes > 16


def test_a_pipe_is_no_model(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ModelError, match="a pipe or a device"):
        file.load(tmp_path / "pipe")
