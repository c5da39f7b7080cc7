"""NVIDIA GPUs through CUDA and cuDNN."""

from __future__ import annotations

import functools

from harness.ort import nvidia_libraries
from harness.ort.cuda_state import cuda_state
from harness.ort.execution_provider import ExecutionProvider

_PLUGIN = "libonnxruntime_providers_cuda.so"

#: Its kernels with OutputMemoryType(OrtMemTypeCPUOutput), in ONNX Runtime's
#: core/providers/cuda and contrib_ops/cuda. One that is missing here only costs the probes: the
#: check of their order would find the copy that ORT adds.
_HOST_RESULTS = frozenset(
    {
        "BeamSearch", "GreedySearch", "MemcpyToHost", "OptionalHasElement", "Sampling",
        "SequenceLength", "Shape", "Size", "WhisperBeamSearch",
    }
)  # fmt: skip

PROVIDER = ExecutionProvider(
    name="cuda",
    title="CUDA",
    ort_name="CUDAExecutionProvider",
    api_name="CUDA",
    memory="device",
    takes_probes=True,
    host_results=_HOST_RESULTS,
    capture_option="enable_cuda_graph",
    faster_start="cudnn_conv_algo_search=HEURISTIC",
    tf32_option="use_tf32",
    precision_options=("use_tf32",),
    logs_copies=True,
    plugin=_PLUGIN,
    state=functools.partial(cuda_state, name="cuda", plugin=_PLUGIN),
    needs=nvidia_libraries.needs,
    preload=nvidia_libraries.preload,
    facts=nvidia_libraries.readings,
    synchronise=nvidia_libraries.synchronise_address,
    drivers=("cuda", "cudnn"),
)
