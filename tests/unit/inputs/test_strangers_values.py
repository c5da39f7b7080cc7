"""Files of values of strangers: whatever numpy makes of one, it is one error."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
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
    value = helper.make_tensor_value_info("x", element, [4])
    node = helper.make_node("Identity", ["x"], ["y"])
    result = helper.make_tensor_value_info("y", element, None)
    model = helper.make_model(helper.make_graph([node], "g", [value], [result]))
    with pytest.raises(RequestError, match="`files` x="):
        choice.choose(model, InputRequest(files={"x": path}), lambda _: [np.zeros(4)])
