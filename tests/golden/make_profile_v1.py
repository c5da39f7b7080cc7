"""Makes profile_v1.h5, the golden file of format version 1, and states what is in it.

Never change ``golden_profile`` or make the file again: it stands for the files that
users have. Run once, from the repository root, when the version was made.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from harness.records import (
    InputRecord,
    LatencySeries,
    ModelRecord,
    NodeEvents,
    NodeTable,
    ProcessRecord,
    Profile,
    Reading,
)

GOLDEN = Path(__file__).with_name("profile_v1.h5")


def series(start_ns: int, durations_ns: list[int]) -> LatencySeries:
    duration_ns = np.array(durations_ns, np.int64)
    return LatencySeries(start_ns + np.cumsum(duration_ns) - duration_ns, duration_ns)


def process(index: int) -> ProcessRecord:
    epoch_ns = 7_000_000_000_000 + index * 10**9
    return ProcessRecord(
        index=index,
        pid=4000 + index,
        library_ns=18_000_001,
        session_ns=2_500_000 + index,
        first_inference_ns=90_000,
        warmup=series(epoch_ns, [1500, 1300] if index else []),
        steady=series(epoch_ns + 10**6, [1200 + (7 * n + index) % 31 for n in range(200)]),
        loops=20,
        noise=(
            Reading("steal_ns", 30_000_000, "ns", "/proc/stat"),
            Reading("load", 0.1 + 0.2, "1", "/proc/loadavg"),
            Reading("frequency_hz", None, "Hz", "cpufreq", "no cpufreq in this machine"),
        ),
        metadata={"hostname": "zürich", "loops": 20, "load_avg_1min": 3.0, "version": "7"},
        log=("WARNING ein Hinweis: µ", "ERROR second line") if index else (),
    )


def nodes() -> NodeTable:
    def column(*values: int) -> np.ndarray:
        return np.array(values, np.int64)

    return NodeTable(
        name=("conv/1", "", "Wenn é 节点", "inner"),
        op_type=("FusedConv", "Relu", "If", "Add"),
        domain=("com.microsoft", "", "", ""),
        provider=("CPUExecutionProvider",) * 3 + ("",),
        order=column(0, 1, 2, -1),
        depth=column(0, 0, 0, 1),
        parent=column(-1, -1, -1, 2),
        branch=("", "", "", "then_branch"),
        input_type_shape=('[{"float":[1,3]}]', "[]", "[]", ""),
        output_type_shape=('[{"float":[1,8]}]', "[]", "[]", ""),
        activation_bytes=column(12, 32, 1, -1),
        parameter_bytes=column(96, 0, 0, -1),
        output_bytes=column(32, 32, 32, -1),
        carrier=column(0, 1, 1, -1),
        flops=column(16, -1, 8, -1),
        traffic_bytes=column(64, -1, 64, -1),
        arithmetic=("float32", "", "float32", ""),
        sources=("",) * 4,  # the file was written before they were traced
    )


def events(process_index: int) -> NodeEvents:
    inference = np.repeat(np.arange(4, dtype=np.int32), 3)
    start_ns = 7_000_500_000_000 + process_index * 10**9 + np.arange(12) * 5000
    duration_ns = np.tile(np.array([4000, 0, 3000], np.int64), 4)
    return NodeEvents(
        source="ort",
        node=np.tile(np.array([0, 1, 2], np.int32), 4),
        process=np.full(12, process_index, np.int32),
        inference=inference,
        start_ns=start_ns,
        duration_ns=duration_ns,
        self_ns=duration_ns - np.tile(np.array([0, 0, 1000], np.int64), 4),
        details={"arena_bytes": np.arange(12) * 64, "peak_bytes": np.full(12, -1, np.int64)},
        inference_process=np.full(4, process_index, np.int32),
        inference_number=np.arange(4, dtype=np.int32),
        inference_start_ns=start_ns[::3] - 100,
        inference_duration_ns=np.full(4, 15_000, np.int64),
        inference_framework_ns=np.array([1_000, 2_000, 0, -1], np.int64),
        dropped=0,
        resolution_ns=1000,
    )


def golden_profile() -> Profile:
    return Profile(
        path=None,
        harness_version="0.1.0",
        created="2025-11-23T14:00:00Z",
        complete=True,
        config='{"model": "mödel.onnx"}',
        model=ModelRecord(
            name="mödel",
            path="folder/mödel.onnx",
            sha256="ab" * 32,
            size_bytes=2**40,
            producer="pytorch 2.9",
            ir_version=10,
            opsets=("ai.onnx:21", "com.microsoft:1"),
            node_count=5,
            parameter_count=24,
        ),
        provider="cpu",
        inputs=(
            InputRecord("x", "float32", (1, 3, 0), "the model says so", "cd" * 32),
            InputRecord("scalar", "bfloat16", (), "a scalar", "ef" * 32),
        ),
        output_check=Reading("largest_error", None, "1", "", "no data set was given"),
        environment=(
            Reading("cpu_model", "AMD EPYC 9965 “Turin”", "", "/proc/cpuinfo"),
            Reading("memory_bytes", 2**53 + 1, "bytes", "/proc/meminfo"),
            Reading("infinite", float("inf"), "1", "test"),
            Reading("digits", "0042", "", "test"),
            Reading("gpu_model", None, "", "NVML", "libnvidia-ml.so.1 is not here"),
        ),
        processes=(process(0), process(1)),
        nodes=nodes(),
        traces={
            "probe": dataclasses.replace(events(0), source="probe", resolution_ns=1),
            "ort": events(1),
        },
        absent=(("traces of process 0", "truncated"), ("energy", "keine Zähler")),
    )


if __name__ == "__main__":
    from harness.storage.profile_file import write_profile

    write_profile(golden_profile(), GOLDEN)
