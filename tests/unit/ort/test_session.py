"""Errors of a session in the user's terms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.config.session import SessionConfig
from harness.errors import HarnessError, MachineError, ModelError, RequestError
from harness.ort import session

ort = pytest.importorskip("harness.native.ort", reason="the native module is not built")

PLACE = "/onnxruntime_src/provider_bridge.cc:20 T Get() [ONNXRuntimeError] : 1 : FAIL : "

# What ONNX Runtime 1.31 said, with the real provider and no driver, and on machines with one.
UNKNOWN = PLACE + 'provider_options_utils.h:182 Parse Unknown provider option: "nonsense".\n'
UNLOADED = PLACE + "Failed to load library x.so with error: libcublas.so.13: cannot open"
FAILED = (
    "/onnxruntime_src/cuda_call.cc:154 std::conditional_t<THRW> CudaCall(ERRTYPE) "
    + "[with ERRTYPE = cudaError; " * 20
    + "CUDA failure 35: CUDA driver version is insufficient for CUDA runtime version ; GPU=-1 ; "
    + "hostname=vm ; file=x.cc ; line=355 ;"
)
CAPTURE = (
    "This session cannot use the graph capture feature as requested by the user  as all compute "
    "graph nodes have not been partitioned to the CUDAExecutionProvider"
)


@pytest.mark.parametrize(
    ("kind", "text", "expected", "says"),
    [
        ("ProviderOptionError", UNKNOWN, RequestError, 'Unknown provider option: "nonsense".'),
        ("ProviderOptionError", FAILED, MachineError, "CUDA failure 35: CUDA driver version is"),
        ("ProviderError", UNLOADED, MachineError, "libcublas.so.13: cannot open"),
        ("OrtError", FAILED, MachineError, "insufficient for CUDA runtime version"),
        ("OrtError", CAPTURE, RequestError, "cannot capture m.onnx as a CUDA graph"),
        ("OrtError", "No Op registered for Nonsense", ModelError, "refuses the model: No Op"),
    ],
)
def test_an_error_is_the_request_s_the_machine_s_or_the_model_s(
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    text: str,
    expected: type[HarnessError],
    says: str,
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise getattr(ort, kind)(text)

    class Opened:
        path = "/nowhere/libonnxruntime.so"
        version = "1.31.1"

    monkeypatch.setattr(ort, "Session", refuse)
    with pytest.raises(expected) as caught:
        session.open_session(Opened(), Path("m.onnx"), SessionConfig(provider="cuda"))  # type: ignore[arg-type]
    assert type(caught.value) is expected
    assert says in caught.value.message
    assert caught.value.remedy
    assert "onnxruntime_src" not in caught.value.message
    assert len(caught.value.message) < 300


def test_tensorrt_leaves_the_rest_to_cuda_on_the_same_device(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: list[Any] = []
    monkeypatch.setattr(ort, "Session", lambda *_, **options: given.append(options))

    class Opened:
        path = "/nowhere/libonnxruntime.so"

    options = {"device_id": "1", "trt_fp16_enable": "1"}
    for provider in ("tensorrt", "cuda", "cpu"):
        config = SessionConfig(provider=provider, provider_options=options)
        session.open_session(Opened(), Path("m.onnx"), config)  # type: ignore[arg-type]
    assert [made["providers"] for made in given] == [
        [("TensorRT", options), ("CUDA", {"device_id": "1"})],
        [("CUDA", options)],
        [],
    ]
