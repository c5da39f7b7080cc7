"""NVIDIA GPUs through TensorRT, which leaves the nodes it cannot take to CUDA."""

from __future__ import annotations

import functools

from harness.ort import nvidia_libraries
from harness.ort.cuda_state import cuda_state
from harness.ort.execution_provider import ExecutionProvider

_PLUGIN = "libonnxruntime_providers_tensorrt.so"

PROVIDER = ExecutionProvider(
    name="tensorrt",
    title="TensorRT",
    ort_name="TensorrtExecutionProvider",
    api_name="TensorRT",
    memory="device",
    # Without CUDA as fallback, the nodes that it cannot take would go to the CPU.
    followers=("cuda",),
    shared_options=("device_id",),
    capture_option="trt_cuda_graph_enable",
    faster_start="trt_engine_cache_enable=1",
    precision_options=("trt_fp16_enable", "trt_bf16_enable", "trt_int8_enable"),
    plugin=_PLUGIN,
    state=functools.partial(cuda_state, name="tensorrt", plugin=_PLUGIN),
    needs=nvidia_libraries.needs,
    preload=nvidia_libraries.preload,
    facts=nvidia_libraries.readings,
    synchronise=nvidia_libraries.synchronise_address,
    drivers=("tensorrt",),
)
