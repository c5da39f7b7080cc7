"""Files of values of strangers: whatever numpy makes of one, it is one error."""

from __future__ import annotations

import os
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper
import pytest
from onnx import TensorProto, helper

from harness.config.inputs import InputRequest
from harness.errors import RequestError
from harness.inputs import choice


def header(text: str) -> bytes:
    padded = text.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded.encode()


FILES = {
    "zip": b"PK\x03\x04 and no more",
    "token": header("{'descr': ((("),
    "huge": header("{'descr': '<f4', 'fortran_order': False, 'shape': (10000000000, 1000), }"),
    "negative": header("{'descr': '<f4', 'fortran_order': False, 'shape': (-5,), }"),
    "objects": header("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }") + b"x" * 80,
    "characters": header("{'descr': '<U1', 'fortran_order': False, 'shape': (1,), }") + b"\xff" * 4,
    "empty": b"",
}


def identity(element: int = TensorProto.FLOAT, kind: onnx.TypeProto | None = None) -> Any:
    value = helper.make_tensor_value_info("x", element, [4])
    if kind is not None:
        value.type.CopyFrom(kind)
    node = helper.make_node("Identity", ["x"], ["y"])
    result = helper.make_value_info("y", value.type)
    return helper.make_model(helper.make_graph([node], "g", [value], [result]))


@pytest.mark.parametrize("kind", [*FILES, "pipe", "device"])
@pytest.mark.parametrize("element", [TensorProto.FLOAT, TensorProto.STRING])
def test_a_file_of_values_that_is_none_is_refused(tmp_path: Path, kind: str, element: int) -> None:
    path = tmp_path / "x.npy"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path = Path("/dev/zero")
    else:
        path.write_bytes(FILES[kind])
    with pytest.raises(RequestError, match="`files` x="):
        choice.choose(identity(element), InputRequest(files={"x": path}), lambda _: [np.zeros(4)])


# --- Values in another file ------------------------------------------------------------


def elsewhere() -> TensorProto:
    tensor = TensorProto(name="x", data_type=1, dims=[4], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="secret.bin")
    return tensor


FLOATS = helper.make_tensor_type_proto(1, [4])
HELD: dict[str, tuple[onnx.TypeProto, Any]] = {
    "tensor": (FLOATS, elsewhere()),
    "sequence": (
        helper.make_sequence_type_proto(FLOATS),
        onnx.SequenceProto(elem_type=1, tensor_values=[elsewhere()]),
    ),
    "optional": (
        helper.make_optional_type_proto(FLOATS),
        onnx.OptionalProto(elem_type=1, tensor_value=elsewhere()),
    ),
    "map": (
        helper.make_map_type_proto(7, FLOATS),
        onnx.MapProto(
            key_type=7,
            keys=[1],
            values=onnx.SequenceProto(elem_type=1, tensor_values=[elsewhere()]),
        ),
    ),
    "sparse": (
        helper.make_sequence_type_proto(FLOATS),
        onnx.SequenceProto(
            elem_type=2, sparse_tensor_values=[onnx.SparseTensorProto(indices=elsewhere())]
        ),
    ),
}


@pytest.mark.parametrize("kind", HELD)
@pytest.mark.parametrize("wrong", ["input_0.pb", "output_0.pb"])
def test_a_data_set_reads_no_other_file(
    tmp_path: Path, kind: str, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("secret.bin").write_bytes(bytes(16))
    fed, value = HELD[kind]
    model = identity(kind=fed if wrong == "input_0.pb" else FLOATS)
    model.graph.output[0].type.CopyFrom(fed)
    good = onnx.numpy_helper.from_array(np.zeros(4, np.float32), "x")
    Path("input_0.pb").write_bytes(good.SerializeToString())
    Path(wrong).write_bytes(value.SerializeToString())
    with pytest.raises(RequestError, match=f"{wrong} stores its values in another file"):
        choice.choose(model, InputRequest(data_set=tmp_path), lambda _: [np.zeros(4)])


# --- Little that claims to be much -----------------------------------------------------


def peak_bytes(archive: dict[str, np.ndarray[Any, Any]], folder: Path, says: str) -> int:
    """Memory taken until a compressed archive of these arrays is refused."""
    path = folder / "a.npz"
    np.savez_compressed(path, **archive)
    archive.clear()
    tracemalloc.start()
    try:
        with pytest.raises(RequestError, match=says):
            choice.choose(identity(), InputRequest(archives=(path,)), lambda _: [np.zeros(4)])
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


MUCH = 20_000_000


def test_an_archive_is_read_only_for_inputs_of_the_model(tmp_path: Path) -> None:
    arrays = {"x": np.zeros(4, np.float32), "z": np.zeros(MUCH, np.float32)}
    assert peak_bytes(arrays, tmp_path, "'z': the model has no such input") < MUCH


def test_an_archive_takes_no_more_memory_than_its_size_justifies(tmp_path: Path) -> None:
    arrays = {"x": np.zeros(MUCH, np.float32)}
    assert peak_bytes(arrays, tmp_path, "'x': more data than a file of") < MUCH


@pytest.mark.parametrize("shape", [(MUCH,), (5,)])
def test_an_array_that_is_longer_than_its_file_gets_no_room(
    tmp_path: Path, shape: tuple[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    made_room: list[Any] = []
    monkeypatch.setattr(np.lib.format, "read_array", lambda *given, **_: made_room.append(given))
    content = header(f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}") + bytes(16)
    (tmp_path / "x.npy").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("x.npy", content)
    for request in (
        InputRequest(files={"x": tmp_path / "x.npy"}),
        InputRequest(archives=(tmp_path / "x.npz",)),
    ):
        with pytest.raises(RequestError, match="of plain numbers or text"):
            choice.choose(identity(TensorProto.DOUBLE), request, lambda _: [np.zeros(4)])
    assert not made_room
