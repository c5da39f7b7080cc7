"""Wrong requests: one line that names the problem and the way out, and the right exit code."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from harness.ort import providers
from harness.ort.library import ort_library

if TYPE_CHECKING:
    from tests.integration.command import Harness

ort = pytest.importorskip("harness.native.ort", reason="the native module is not built")

#: Options of the shortest profile there is.
SHORT = ("--quick", "--processes", "1", "--duration", "0.02", "--trace", "none")


def write_model(
    path: Path, node: onnx.NodeProto, shape: list[object], *weights: np.ndarray
) -> Path:
    """A model of one node with the input x of a shape, and weights w0, w1, …"""
    graph = helper.make_graph(
        [node],
        "model",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weight, f"w{n}") for n, weight in enumerate(weights)],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


def no_such_file(folder: Path) -> Path:
    return folder / "model.onnx"


def not_onnx(folder: Path) -> Path:
    path = folder / "model.onnx"
    path.write_text("a letter, not a model\n")
    return path


def truncated(folder: Path) -> Path:
    node = helper.make_node("MatMul", ["x", "w0"], ["y"])
    path = write_model(folder / "model.onnx", node, ["n", 64], np.ones((64, 64), np.float32))
    os.truncate(path, path.stat().st_size // 2)
    return path


def without_its_external_data(folder: Path) -> Path:
    node = helper.make_node("MatMul", ["x", "w0"], ["y"])
    path = write_model(folder / "model.onnx", node, ["n", 64], np.ones((64, 64), np.float32))
    onnx.save(
        onnx.load(path), path, save_as_external_data=True, location="weights", size_threshold=0
    )
    (folder / "weights").unlink()
    return path


def unknown_operator(folder: Path) -> Path:
    return write_model(folder / "model.onnx", helper.make_node("Blorb", ["x"], ["y"]), ["n"])


def ort_format_by_another_name(folder: Path) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(b"\x20\0\0\0ORTM" + bytes(64))
    return path


def impossible_inputs(folder: Path) -> Path:
    # Only n = 7920 would do.
    node = helper.make_node("Split", ["x", "w0"], ["y", "z"], axis=0)
    return write_model(folder / "model.onnx", node, ["n"], np.array([7919, 1], np.int64))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (no_such_file, "model.onnx: no such file"),
        (not_onnx, "model.onnx: is not an ONNX model"),
        (truncated, "truncated or damaged"),
        (without_its_external_data, "external data file weights is missing"),
        (unknown_operator, "No Op registered for Blorb"),
        (unknown_operator, "name the library that has the operator with --custom-ops"),
        (ort_format_by_another_name, "give it a name that ends in .ort"),
        (impossible_inputs, "--dim n=N"),
    ],
)
def test_model_that_cannot_be_profiled(
    harness: Harness, tmp_path: Path, make: Callable[[Path], Path], says: str
) -> None:
    outcome = harness("profile", make(tmp_path), *SHORT, "--quiet", "--output", "out.h5")
    assert (outcome.returncode, outcome.stdout) == (2, "")
    assert says in one_line(outcome.stderr)
    assert nothing_is_left(tmp_path)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--dim", "m=3"], "its free dimensions: n"),
        (["--dim", "n=three"], "'three' is not a whole number"),
        (["--dim", "n=-1"], "must not be negative"),
        (["--shape", "x=-1x4"], "must not be negative"),
        (["--dim", "n"], "give --dim NAME=VALUE"),
        (["--shape", "x=2x5"], "'x' takes nx4"),
        (["--shape", "w=2x5"], "its inputs: x, y"),
        (["--batch", "-1"], "at least 1"),
        (["--input", "x=shape.npy"], "the shape is 3, but 'x' takes nx4"),
        (["--input", "x=type.npy"], "the type is int64, but 'x' takes float32"),
        (["--input", "x=none.npy"], "none.npy: no such file"),
        (["--input", "none.npz"], "none.npz: no such file"),
        (["--input", "named.npz"], "'other': the model has no such input"),
        (["--data-set", "none"], "test_data_set_N"),
        (["--custom-ops", "shape.npy"], "--custom-ops shape.npy: cannot be registered"),
        (["--custom-ops", "none.so"], "--custom-ops none.so: no such file"),
        (["--ort-library", "shape.npy"], "--ort-library "),
        (["--ort-library", "other.so"], "not ONNX Runtime"),
        (["--affinity", "first"], "such as 0-3,8"),
        (["--affinity", "0-999999999"], "may not use CPU"),
        (["--affinity", ""], "names no CPU"),
        (["--provider", "abacus"], "choose one of cpu, cuda, tensorrt"),
        (["--provider-option", "device_id=0"], "cpu provider has no options"),
        (["--trace", "sorcery"], "--trace sorcery: not known"),
        (["--duration", "nan"], "--duration nan"),
        (["--processes", "0"], "between 1 and 10000"),
        (["--seed", "-1"], "--seed -1"),
        (["--output", "shape.npy/out.h5"], "choose another --output"),
        (["--output", "/proc/out.h5"], "choose another --output"),
        (["--output", "."], "is a folder"),
        (["--frobnicate"], "--frobnicate: harness profile has no such option"),
        (["--thread", "2"], "did you mean --threads? see 'harness profile --help'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_option(
    harness: Harness, tiny_model: Path, tmp_path: Path, options: list[str], says: str
) -> None:
    np.save(tmp_path / "shape.npy", np.zeros(3, np.float32))
    np.save(tmp_path / "type.npy", np.zeros((2, 4), np.int64))
    np.savez(tmp_path / "named.npz", other=np.zeros((2, 4), np.float32))
    (tmp_path / "other.so").symlink_to(ort.__file__)
    outcome = harness("profile", tiny_model, *SHORT, "--quiet", "--output", "out.h5", *options)
    assert (outcome.returncode, outcome.stdout) == (2, "")
    assert says in one_line(outcome.stderr)
    assert nothing_is_left(tmp_path)


def test_error_as_json(harness: Harness, tmp_path: Path) -> None:
    expected = {
        ("profile", "mlp", "--processes", "0"): "request",
        ("profile", "none.onnx"): "model",
        ("show", "none.h5"): "profile",
        ("show",): "request",
    }
    for arguments, kind in expected.items():
        outcome = harness(*arguments, "--json")
        assert outcome.returncode == 2
        error = json.loads(outcome.stdout)["error"]
        assert error["kind"] == kind
        assert error["message"]
        assert error.keys() == {"kind", "message", "remedy"}
        assert "harness:" not in outcome.stderr


def test_no_command_and_an_unknown_one(harness: Harness) -> None:
    for arguments in ((), ("analyse",)):
        outcome = harness(*arguments)
        assert (outcome.returncode, outcome.stdout) == (2, "")
        assert "harness --help" in one_line(outcome.stderr)


def test_an_existing_file_is_not_overwritten(harness: Harness, tmp_path: Path) -> None:
    (tmp_path / "out.h5").write_text("precious")
    outcome = harness("profile", "mlp", "--output", "out.h5")
    assert outcome.returncode == 2
    assert "--force" in one_line(outcome.stderr)
    assert (tmp_path / "out.h5").read_text() == "precious"


def test_cuda_that_cannot_be_used_is_never_replaced_by_the_cpu(
    harness: Harness, tmp_path: Path
) -> None:
    ask = providers.by_name("cuda").state
    assert ask is not None
    state, _ = ask(ort_library())
    if state.value is not None:
        pytest.skip("CUDA can be used here")
    outcome = harness(
        "profile", "mlp", *SHORT, "--provider", "cuda", "--output", "out.h5", "--json"
    )
    assert outcome.returncode == 3
    error = json.loads(outcome.stdout)["error"]
    assert error["kind"] == "machine"
    assert state.reason in error["message"]
    assert nothing_is_left(tmp_path)


def test_disk_full_before_a_process_has_finished(python_m_harness: Harness, tmp_path: Path) -> None:
    # The model needs 20 kB, a shard a hundred times as much.
    for limit_bytes in (8_000, 100_000):
        outcome = python_m_harness(
            *("profile", "mlp", "--quick", "--quiet", "--output", "out.h5"),
            preexec_fn=lambda: limit_file_size(limit_bytes),  # noqa: B023
        )
        assert outcome.returncode == 3
        message = one_line(outcome.stderr)
        assert ".out.h5.partial" in message
        assert "recover" not in message, "there is nothing to recover"
        assert nothing_is_left(tmp_path)


@pytest.mark.skipif(
    "libasan" in os.environ.get("LD_PRELOAD", ""),
    reason="AddressSanitizer reserves terabytes of address space",
)
@pytest.mark.parametrize("limit_mb", [60, 150, 250, 400])
def test_little_address_space_gives_one_line(python_m_harness: Harness, limit_mb: int) -> None:
    for words in (("models",), ("profile", "mlp", "--quick", "--quiet", "--processes", "1")):
        outcome = python_m_harness(
            *words,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit_mb << 20,) * 2),
        )
        assert outcome.returncode in (0, 3)
        if outcome.returncode:
            assert "memory" in one_line(outcome.stderr)


def one_line(text: str) -> str:
    """The only line of an error, which is not a traceback."""
    (line,) = text.splitlines()
    assert line.startswith("harness: ")
    return line


def nothing_is_left(folder: Path) -> bool:
    return not [path for path in folder.iterdir() if "out.h5" in path.name]


def limit_file_size(size_bytes: int) -> None:
    """A write beyond it fails as on a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, size_bytes))
