"""Inputs that the user names: .npy files, and data sets of .pb files."""

from __future__ import annotations

import io
import os
import random
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper
from onnx import helper

from tests.fuzz import hostile
from tests.fuzz.engine import Case

NAME = "inputs"
BASES = ("float npy", "text npy", "swapped npy", "npz", "tensor", "texts", "sequence", "map")
#: The file itself was refused; what follows is about its type and its shape.
REFUSALS = ("is not a .npy file", "holds no ", "no such file", "no folder with")
LIMIT_S = 10.0
OUTPUTS_BY_NAME = True
#: A file that no input may read, of the size of the values, and what it holds.
SECRET = "secret.bin"
_SECRET_VALUE = np.float32(8.015625e11)


def load(folder: Path) -> None:
    """What an attempt needs."""
    import harness.inputs.choice  # noqa: F401


def _model(base: str) -> onnx.ModelProto:
    if base == "sequence":
        fed = helper.make_tensor_sequence_value_info("x", 1, None)
        node = helper.make_node("SequenceLength", ["x"], ["y"])
    elif base == "map":
        kind = helper.make_map_type_proto(7, helper.make_tensor_type_proto(1, []))
        fed = helper.make_value_info("x", kind)
        node = helper.make_node("CastMap", ["x"], ["y"], domain="ai.onnx.ml")
    else:
        element = 8 if base in ("texts", "text npy") else 1
        fed = helper.make_tensor_value_info("x", element, ["n", 4])
        node = helper.make_node("Identity", ["x"], ["y"])
    out = helper.make_tensor_value_info("y", 1, None)
    graph = helper.make_graph([node], "g", [fed], [out])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


_NUMBERS = np.arange(12, dtype=np.float32).reshape(3, 4)


def _content(base: str) -> bytearray:
    sink = io.BytesIO()
    texts = np.array([["a", "b", "c", "d"]] * 3)
    if base == "float npy":
        np.save(sink, _NUMBERS)
    elif base == "swapped npy":
        np.save(sink, np.asfortranarray(_NUMBERS.astype(">f4")))
    elif base == "text npy":
        np.save(sink, texts)
    elif base == "npz":
        np.savez(sink, x=_NUMBERS)
    elif base == "sequence":
        sink.write(onnx.numpy_helper.from_list([_NUMBERS, _NUMBERS]).SerializeToString())
    elif base == "map":
        made = onnx.numpy_helper.from_dict({1: np.float32(2), 2: np.float32(3)})
        sink.write(made.SerializeToString())
    else:
        values = _NUMBERS if base == "tensor" else texts.astype(object)
        sink.write(onnx.numpy_helper.from_array(values, "x").SerializeToString())
    return bytearray(sink.getvalue())


# Changes of the file's structure: of an .npy the header, of a .pb the message.


def _header(rng: random.Random, content: bytearray) -> bytearray:
    """Another header of an .npy; anything else gets one."""
    claims = ("3, 4", "12,", "", "10000000000,", "-1,", "99999999999999999999,", "0, 4", "1.5,")
    shape = rng.choice((*claims, "1, " * 40, "1, " * 100, "2147483648, 2147483648"))
    types = ("<f4", ">f4", "<f8", "|O", "|V4", "<U1", "|S4", "<U0", "<c8", "|b1", "<M8[s]", "q9")
    descr = repr(rng.choice((*types, "<f4", "<f4")))
    if rng.random() < 0.1:
        descr = rng.choice(("[('a', '<f4')]", "__import__('os')", "'<f4", "(1, 2", "[" * 3000))
    order = rng.choice(("False", "True", "None", "0"))
    text = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': ({shape}), }}"
    if rng.random() < 0.15:
        text = rng.choice((text[:-3], text + "}", "(" * 5, "[]", "\\", '"""', "{'descr': 1}", "\t"))
    data = content[128:] if content.startswith(b"\x93NUMPY") else bytearray(48)
    version = rng.choice((1, 1, 1, 2, 3, 9))
    size = rng.choice((len(text) + 1,) * 6 + (0, 65_535))
    return (
        bytearray(
            b"\x93NUMPY" + bytes([version, 0]) + size.to_bytes(2 if version == 1 else 4, "little")
        )
        + (text + "\n").encode("latin1")
        + data
    )


def _other(rng: random.Random, content: bytearray) -> bytearray:
    """A good file, of another type, shape or order, with values that are rare."""
    types = ("f4", "f4", ">f4", "f8", "i8", "u1", "?", "U3", "S4", "V4", "c8", "f2", "O")
    shapes = ((3, 4), (3, 4), (12,), (), (0, 4), (1, 4), (2, 3, 4), (0,), (1,) * 30, (1,) * 64)
    shape = rng.choice(shapes)
    values = np.resize(np.array(rng.choices(hostile.FLOATS, k=5)), shape)
    dtype = rng.choice(types)
    with np.errstate(all="ignore"):
        if dtype == "O":
            values = np.resize(np.array(rng.choices(hostile.TEXTS, k=3), object), shape)
        elif dtype == "V4":
            values = np.zeros(shape, "V4")
        else:
            values = (np.nan_to_num(values) if dtype in ("i8", "u1") else values).astype(dtype)
    if not content.startswith((b"\x93NUMPY", b"PK")):
        if dtype in ("V4", "S4"):
            return content
        values = values.astype(object) if dtype == "U3" else values.astype(values.dtype)
        values = values.astype(values.dtype.newbyteorder("="))
        return bytearray(onnx.numpy_helper.from_array(values, "x").SerializeToString())
    if values.dtype.kind == "O" and values.ndim > 32:  # more cannot be pickled
        return content
    sink = io.BytesIO()
    np.save(sink, np.asfortranarray(values) if rng.random() < 0.3 else values)
    return bytearray(sink.getvalue())


def _magic(rng: random.Random, content: bytearray) -> bytearray:
    start = rng.choice(
        (b"PK\x03\x04", b"PK\x05\x06", b"PK", b"\x80\x04", b"\x93NUMPY", b"\x1f\x8b")
    )
    return bytearray(start) + content[len(start) :]


def _archive(rng: random.Random, content: bytearray) -> bytearray:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for _ in range(rng.choice((0, 1, 2))):
            name = rng.choice(("x.npy", "../x.npy", "x", "\x1b.npy", f"y{rng.random()}.npy"))
            archive.writestr(name, bytes(content))
    return bytearray(sink.getvalue())


def _bomb(rng: random.Random, content: bytearray) -> bytearray:
    """An archive with an array of which little is stored, of an input or of none."""
    sink, array = io.BytesIO(), io.BytesIO()
    np.save(array, np.zeros(rng.choice((1, 30_000_000)), np.float32))
    name = rng.choice(("x", "x.npy", "z.npy"))
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        if not name.startswith("x"):
            archive.writestr("x.npy", bytes(content))
        archive.writestr(name, array.getvalue())
    return bytearray(sink.getvalue())


def _elsewhere(rng: random.Random, content: bytearray) -> bytearray:
    """A tensor whose values lie in a file that is there, alone or held by something."""
    tensor = onnx.TensorProto(name="x", data_type=1, dims=[3, 4], data_location=1)
    tensor.external_data.add(key="location", value=rng.choice((SECRET, SECRET, "data/fifo")))
    sequence = onnx.SequenceProto(elem_type=1, tensor_values=[tensor])
    sparse = onnx.SparseTensorProto(values=tensor, indices=tensor, dims=[12])
    made: Any = rng.choice(
        (
            *(tensor, tensor, tensor),
            *(sequence, sequence),
            onnx.MapProto(key_type=7, keys=[1], values=sequence),
            onnx.SequenceProto(elem_type=2, sparse_tensor_values=[sparse]),
            onnx.OptionalProto(elem_type=1, tensor_value=tensor),
        )
    )
    return bytearray(made.SerializeToString())


def _message(rng: random.Random, content: bytearray) -> bytearray:
    """A field of the message: type, dims, names, data, where the data are."""
    tensor = onnx.TensorProto()
    try:
        tensor.ParseFromString(bytes(content))
    except Exception:  # not a tensor: changed as one all the same
        tensor = onnx.numpy_helper.from_array(_NUMBERS, "x")
    kind = rng.randrange(7)
    if kind == 0:
        tensor.data_type = rng.choice((*range(28), 99, -1, 2**31 - 1))
    elif kind == 1:
        del tensor.dims[:]
        tensor.dims.extend(rng.choice(((-1,), (2**62, 4), (0,), (), (1,) * 100, (12,), (3, 5))))
    elif kind == 2:
        tensor.raw_data = rng.choice((b"", b"\0" * 7, b"\0" * 48, b"\xff" * 4800))
    elif kind == 3:
        tensor.data_location = 1
        for key, places in (
            ("location", ("/etc/passwd", "/dev/zero", "fifo", "x\0y", "", "input.npy")),
            ("offset", ("abc", "-1", "0", "9" * 30)),
        ):
            entry = tensor.external_data.add()
            entry.key, entry.value = key, rng.choice(places)
    elif kind == 4:
        del tensor.string_data[:]
        tensor.string_data.extend([b"\xff\xfe", b"\x1b[31m"] * rng.choice((1, 6)))
    elif kind == 5:
        tensor.float_data.extend([1.0] * rng.choice((1, 12)))
        tensor.ClearField("raw_data")
    else:
        tensor.name = rng.choice(hostile.TEXTS)
    return bytearray(tensor.SerializeToString())


_STRUCTURE: dict[str, Callable[[random.Random, bytearray], bytearray]] = {
    "header": _header,
    "another header": _header,
    # Most files are whole, so that more than the check of the file is tried.
    **dict.fromkeys((f"other {n}" for n in range(8)), _other),
    "magic": _magic,
    "archive": _archive,
    "bomb": _bomb,
    "message": _message,
    **dict.fromkeys(("elsewhere", "elsewhere too"), _elsewhere),
}
#: Mutations of one format, which would seldom pass as the other.
_OF_ARCHIVES = ("header", "another header", "magic", "archive", "bomb")
_OF_MESSAGES = ("message", "elsewhere", "elsewhere too")
_FILES = ("fifo", "folder", "device", "numbered oddly")
MUTATIONS: dict[str, Any] = {
    **_STRUCTURE,
    **dict.fromkeys(("flip bytes", "cut")),
    "file": None,
}


def _is_npy(case: Case) -> bool:
    return case.base.endswith(("npy", "npz"))


def make(case: Case, folder: Path) -> None:
    """input.npy; or the data set data/input_0.pb, with an output beside it."""
    content = _content(case.base)
    (folder / "data").mkdir()
    path = folder / ("input.npy" if _is_npy(case) else "data/input_0.pb")
    for name, seed in case.mutations:
        rng = random.Random(seed)
        if name in _STRUCTURE:
            wrong = _OF_MESSAGES if _is_npy(case) else _OF_ARCHIVES
            if name in wrong and rng.random() < 0.9:
                continue
            content = _STRUCTURE[name](rng, content)
        elif name != "file":
            hostile.mutate_bytes(rng, name, content)
    path.write_bytes(content)
    (folder / SECRET).write_bytes(np.full(12, _SECRET_VALUE).tobytes())
    if not _is_npy(case) and random.Random(case.command).random() < 0.5:
        (folder / "data" / "output_0.pb").write_bytes(content)
    for name, seed in case.mutations:
        if name == "file":
            _misplace(random.Random(seed).choice(_FILES), path)


def _misplace(kind: str, path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        return
    path.unlink(missing_ok=True)
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.with_name(f"input_{'9' * 200}.pb").write_bytes(b"")


def command(rng: random.Random, case: Case) -> list[str]:
    """Which kind of model asks for it."""
    return ["inputs", case.base.replace(" ", "-")]


def attempt(words: list[str]) -> int:
    """The first candidate for the inputs of a model that takes such a value."""
    from harness.config.inputs import InputRequest
    from harness.errors import HarnessError
    from harness.inputs.choice import candidates

    base = words[1].replace("-", " ")
    if base.endswith("npz"):
        request = InputRequest(archives=(Path("input.npy"),))
    elif base.endswith("npy"):
        request = InputRequest(files={"x": Path("input.npy")})
    else:
        request = InputRequest(data_set=Path("data"))
    try:
        made = next(iter(candidates(_model(base), request)))
        given = made.values["x"]
        for value in given if isinstance(given, list) else (given,):
            if isinstance(value, np.ndarray) and value.dtype == np.float32:
                assert not (value == _SECRET_VALUE).any(), "took values from another file"
    except HarnessError as error:
        print(f"harness: {ascii(error.message)[:300]}", file=sys.stderr)
        return error.exit_code
    except StopIteration:
        print("harness: no candidate", file=sys.stderr)
        return 2
    return 0
