"""Other runtimes at their boundary: doubles of PyTorch's packages and of OpenVINO's C API."""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("harness.native.calls", reason="the native module is not built")

from harness.errors import HarnessError, MachineError, ModelError, RequestError
from harness.measuring import runtimes
from harness.measuring.runtime import InferenceFailed, Opened, Task
from harness.models import catalogue
from tests.doubles import PYTORCH, build_openvino

MLP_INPUT = np.linspace(-1, 1, 64, dtype=np.float32).reshape(1, 64)


def task(model: Path, on_device: bool = False, **options: str) -> Task:
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    return Task(model, model.stem, {"x": x}, (2 * x,), 3, on_device, options)


def settings(opened: Opened) -> str:
    return str(next(one.value for one in opened.facts() if one.name == "runtime_settings"))


# OpenVINO


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ctypes.CDLL:
    """The double, in a package where the wheel has its library."""
    libs = tmp_path / "packages" / "openvino" / "libs"
    libs.mkdir(parents=True)
    (libs.parent / "__init__.py").write_text("raise AssertionError('imported')")
    path = shutil.copy(build_openvino(), libs / "libopenvino_c.so.2099")
    monkeypatch.syspath_prepend(libs.parents[1])
    return ctypes.CDLL(path)


def opened_openvino(model: Path, **options: str) -> Opened:
    return runtimes.by_name("openvino").open(task(model, **options))


def test_openvino_computes_what_it_was_fed_and_frees_all_of_it(
    library: ctypes.CDLL, tmp_path: Path
) -> None:
    opened = opened_openvino(tmp_path / "m.onnx")
    assert opened.run() > 0
    (made,) = opened.outputs()
    np.testing.assert_array_equal(made, 2 * np.arange(12, dtype=np.float32).reshape(3, 4))
    version, told = opened.facts()
    assert version.value == "2099.1-double"
    assert str(told.value).split(", ") == [
        "INFERENCE_NUM_THREADS=3",
        "INFERENCE_PRECISION_HINT=f32",
        "NUM_STREAMS=1",
        "PERFORMANCE_HINT=LATENCY",
    ]
    opened.close()
    opened.close()
    assert library.double_alive() == 0


def test_openvino_is_fed_a_scalar_as_one(library: ctypes.CDLL, tmp_path: Path) -> None:
    x = np.array(1.5, np.float32)
    opened = runtimes.by_name("openvino").open(
        Task(tmp_path / "m.onnx", "m", {"x": x}, (2 * x,), 1, False, {})
    )
    opened.run()
    (made,) = opened.outputs()
    assert (made.shape, float(made)) == ((), 3.0)
    opened.close()
    assert library.double_alive() == 0


def test_threads_are_those_that_the_runtime_reports(library: ctypes.CDLL, tmp_path: Path) -> None:
    opened = opened_openvino(tmp_path / "m.onnx")
    assert opened.threads == 3
    opened.close()


def test_its_times_follow_each_other_on_the_clock(library: ctypes.CDLL, tmp_path: Path) -> None:
    opened = opened_openvino(tmp_path / "m.onnx")
    start_ns, duration_ns = np.full(100, -1, np.int64), np.full(100, -1, np.int64)
    before = time.monotonic_ns()
    opened.time(start_ns, duration_ns)
    assert before <= start_ns[0]
    assert start_ns[-1] + duration_ns[-1] <= time.monotonic_ns()
    # An inference begins where the last one ended: nothing is lost in between.
    np.testing.assert_array_equal(start_ns[1:], (start_ns + duration_ns)[:-1])
    assert (opened.loop_ns(100) >= 0).all()
    opened.close()


def test_a_failed_inference_says_why_and_how_many_had_succeeded(
    library: ctypes.CDLL, tmp_path: Path
) -> None:
    opened = opened_openvino(tmp_path / "m.onnx")
    library.double_fail_after(ctypes.c_long(7))
    arrays = np.full(10, -1, np.int64), np.full(10, -1, np.int64)
    with pytest.raises(InferenceFailed, match=r"^cancelled$") as caught:
        opened.time(*arrays)
    library.double_fail_after(ctypes.c_long(-1))
    assert caught.value.completed == 7
    assert (arrays[1] >= 0).sum() == 7
    opened.close()


def test_options_of_the_user_replace_those_that_are_set(
    library: ctypes.CDLL, tmp_path: Path
) -> None:
    opened = opened_openvino(tmp_path / "m.onnx", INFERENCE_PRECISION_HINT="bf16")
    assert "INFERENCE_PRECISION_HINT=bf16" in settings(opened)
    opened.close()


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("refused", {}, "refused: OpenVINO cannot read it: it has an unknown operator"),
        ("m", {"UNKNOWN": "1"}, "m: OpenVINO cannot run it: Unsupported property UNKNOWN"),
    ],
)
def test_what_openvino_refuses_is_told_in_its_words(
    library: ctypes.CDLL, tmp_path: Path, name: str, options: Mapping[str, str], said: str
) -> None:
    with pytest.raises(ModelError) as caught:
        opened_openvino(tmp_path / f"{name}.onnx", **options)
    assert caught.value.message == said
    assert library.double_alive() == 0


def test_an_output_of_another_type_is_no_output(library: ctypes.CDLL, tmp_path: Path) -> None:
    x = np.ones((3, 4), np.float32)
    doubled = Task(tmp_path / "m.onnx", "m", {"x": x}, (x.astype(np.float64),), 1, False, {})
    opened = runtimes.by_name("openvino").open(doubled)
    opened.run()
    with pytest.raises(InferenceFailed, match="not of type float64"):
        opened.outputs()
    opened.close()


def test_a_package_without_its_library_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "openvino").mkdir()
    (tmp_path / "openvino" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MachineError, match="openvino is not installed"):
        opened_openvino(tmp_path / "m.onnx")


# PyTorch


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The double of PyTorch, even where the real one is installed."""
    names = ("torch", "onnx2torch")
    for name in [one for one in sys.modules if one.partition(".")[0] in names]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(PYTORCH)
    monkeypatch.setenv("TORCHINDUCTOR_COMPILE_THREADS", "1")
    import torch as double

    yield double
    for name in names:
        sys.modules.pop(name, None)


def opened_torch(model: Path, on_device: bool = False, **options: str) -> Opened:
    catalogue.write("mlp", model)
    asked = Task(model, "mlp", {"input": MLP_INPUT}, (), 2, on_device, options)
    return runtimes.by_name("torch").open(asked)


def test_pytorch_runs_with_the_threads_that_were_asked_for(torch: Any, tmp_path: Path) -> None:
    opened = opened_torch(tmp_path / "mlp.onnx")
    assert opened.run() > 0
    assert [one.shape for one in opened.outputs()] == [(1, 10)]
    assert settings(opened).startswith("num_threads=2, num_interop_threads=1, device=cpu")
    assert "compile" not in torch.calls
    opened.close()
    opened.close()


def test_its_inferences_are_timed_one_by_one(torch: Any, tmp_path: Path) -> None:
    opened = opened_torch(tmp_path / "mlp.onnx")
    start_ns, duration_ns = np.full(20, -1, np.int64), np.full(20, -1, np.int64)
    before, already = time.monotonic_ns(), torch.calls.count("infer")
    opened.time(start_ns, duration_ns)
    assert torch.calls.count("infer") - already == 20
    assert before <= start_ns[0]
    assert start_ns[-1] + duration_ns[-1] <= time.monotonic_ns()
    assert (start_ns[1:] >= (start_ns + duration_ns)[:-1]).all()
    # A call that does nothing takes less than one that computes something in Python.
    assert np.median(opened.loop_ns(100)) < np.median(duration_ns)


def test_a_model_can_be_compiled_first(
    torch: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = opened_torch(tmp_path / "mlp.onnx", compile="1")
    assert torch.calls == ["compile"]
    assert "compile=1" in settings(opened)
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(MachineError, match="needs a C\\+\\+ compiler, and there is no no-such"):
        opened_torch(tmp_path / "mlp.onnx", compile="1")


def test_on_a_device_each_inference_waits_until_the_work_is_done(
    torch: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEVICE", "1")
    opened = opened_torch(tmp_path / "mlp.onnx", on_device=True)
    arrays = [np.full(3, -1, np.int64) for _ in range(3)]
    torch.calls.clear()
    opened.time(arrays[0], arrays[1], enqueue_ns=arrays[2])
    assert torch.calls == ["synchronize", *["infer", "synchronize"] * 3]
    assert (arrays[2] >= 0).all()
    assert (arrays[2] <= arrays[1]).all()
    assert "torch.cuda.synchronize" in opened.holds
    assert "cudnn_tf32=1, float32_matmul_precision=highest" in settings(opened)


def test_a_captured_graph_is_replayed_into_the_same_outputs(
    torch: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEVICE", "1")
    plain = opened_torch(tmp_path / "mlp.onnx", on_device=True)
    plain.run()
    torch.calls.clear()
    captured = opened_torch(tmp_path / "mlp2.onnx", on_device=True, cuda_graph="1")
    # Warmed up on a stream of its own, then captured.
    assert torch.calls == ["wait_stream", "stream", *["infer"] * 3, "wait_stream", "infer"]
    captured.run()
    assert torch.calls[-2:] == ["infer", "synchronize"]
    assert "replay" in torch.calls
    np.testing.assert_array_equal(captured.outputs()[0], plain.outputs()[0])


def test_without_a_device_none_is_used(torch: Any, tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="finds no CUDA device"):
        opened_torch(tmp_path / "mlp.onnx", on_device=True)
    with pytest.raises(RequestError, match="CUDA graphs on a GPU only"):
        opened_torch(tmp_path / "mlp.onnx", cuda_graph="1")


@pytest.mark.parametrize(
    ("fault", "kind", "said"),
    [
        ("convert", ModelError, "onnx2torch cannot convert it: NotImplementedError: Converter"),
        ("infer", InferenceFailed, "RuntimeError: out of luck"),
    ],
)
def test_what_the_model_raises_is_the_reason(
    torch: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
    kind: type[Exception],
    said: str,
) -> None:
    monkeypatch.setenv("FAULT", fault)
    with pytest.raises(kind, match=said) as caught:
        opened_torch(tmp_path / "mlp.onnx").time(np.zeros(9, np.int64), np.zeros(9, np.int64))
    if isinstance(caught.value, InferenceFailed):
        assert caught.value.completed == 3


# What they have in common


@pytest.mark.parametrize(
    ("runtime", "option", "said"),
    [
        ("torch", {"kompile": "1"}, "torch has no such option"),
        ("torch", {"compile": "yes"}, "neither 0 nor 1"),
        ("openvino", {"INFERENCE_NUM_THREADS": "2"}, "`intra_threads` sets it"),
        ("openvino", {"NUM_STREAMS": "2"}, "one inference runs at a time"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    runtime: str, option: Mapping[str, str], said: str
) -> None:
    with pytest.raises(RequestError, match=said):
        runtimes.by_name(runtime).takes(option)


def test_a_runtime_that_is_not_installed_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "openvino").mkdir()  # a folder of that name is no package
    monkeypatch.setattr(sys, "path", [os.fspath(tmp_path)])
    for name in runtimes.names()[1:]:
        monkeypatch.delitem(sys.modules, name, raising=False)
        with pytest.raises(MachineError) as caught:
            runtimes.require_installed(runtimes.by_name(name))
        assert caught.value.remedy == f"python -m pip install 'onnx-harness[{name}]'"
        assert caught.value.exit_code == 3


def test_runtimes_are_found_without_importing_them() -> None:
    assert runtimes.names() == ("ort", "openvino", "torch")
    with pytest.raises(HarnessError, match="`runtime` of-tomorrow: not known"):
        runtimes.by_name("of-tomorrow")
