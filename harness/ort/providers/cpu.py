"""ONNX Runtime's own kernels for the CPU, behind every other provider."""

from __future__ import annotations

from harness.ort.execution_provider import ExecutionProvider

PROVIDER = ExecutionProvider(
    name="cpu", title="CPU", ort_name="CPUExecutionProvider", takes_options=False
)
