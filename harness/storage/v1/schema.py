"""What a file of version 1 holds: its columns, with their units and what they mean."""

from __future__ import annotations

from typing import NamedTuple

FORMAT = "harness-profile"
FORMAT_VERSION = 1

Fact = int | float | str | None


class Attributes(NamedTuple):
    """How a column is stored: its units, and what it means where the name does not tell."""

    units: str
    long_name: str = ""


LATENCY = {
    "start_ns": Attributes("ns", "CLOCK_MONOTONIC before the inference"),
    "duration_ns": Attributes("ns", "from start until the call returned"),
}
ENQUEUE = Attributes("ns", "part of duration_ns until the call returned, work enqueued")
NODES = {
    "name": Attributes("", "name in the executed graph, may be empty or repeat"),
    "op_type": Attributes(""),
    "domain": Attributes("", "operator domain, empty for ai.onnx"),
    "provider": Attributes("", "execution provider, empty where never seen running"),
    "order": Attributes("1", "place in the order of execution within its graph, -1 if not seen"),
    "depth": Attributes("1", "0 in the main graph, 1 in the body of a control-flow node of it"),
    "parent": Attributes("1", "row of the enclosing control-flow node, -1 in the main graph"),
    "branch": Attributes("", "attribute of the parent that holds the node"),
    "input_type_shape": Attributes("", "JSON as ONNX Runtime reports it, empty where not seen"),
    "output_type_shape": Attributes("", "JSON as ONNX Runtime reports it, empty where not seen"),
    "activation_bytes": Attributes("bytes", "ORT's activation_size, -1 where not seen"),
    "parameter_bytes": Attributes("bytes", "ORT's parameter_size, -1 where not seen"),
    "output_bytes": Attributes("bytes", "ORT's output_size, -1 where not seen"),
    "carrier": Attributes("1", "row of the node whose probe covers it, -1 where none does"),
    "flops": Attributes("1", "operations of one execution, -1 where not known"),
    "traffic_bytes": Attributes("bytes", "least memory traffic of one execution, -1 not known"),
    "arithmetic": Attributes("", "element type of the operations, empty where not known"),
}
EVENTS = {
    "node": Attributes("1", "row in /nodes"),
    "process": Attributes("1", "index of the process"),
    "inference": Attributes("1", "number of the traced inference in its process, from 0"),
    "start_ns": Attributes("ns", "CLOCK_MONOTONIC"),
    "duration_ns": Attributes("ns", "with the nodes of the subgraphs that it ran"),
    "self_ns": Attributes("ns", "duration_ns less that of its direct children"),
}
INFERENCES = {
    "inference_process": Attributes("1", "process of each traced inference"),
    "inference_number": Attributes("1", "its number in that process"),
    "inference_start_ns": Attributes("ns", "CLOCK_MONOTONIC"),
    "inference_duration_ns": Attributes("ns", "whole traced inference as the tracer reports it"),
    "inference_framework_ns": Attributes("ns", "what of it belongs to no node; -1 not known"),
}
DEVICE = {
    "process": Attributes("1", "index of the process"),
    "time_ns": Attributes("ns", "CLOCK_MONOTONIC of the reading"),
}
CHANGED = Attributes("1", "1 where the value differs from the reading before in its process")
KERNELS = {
    "kind": Attributes("", "kernel, memcpy or memset"),
    "name": Attributes("", "function, or direction of a copy"),
    "node": Attributes("1", "row in /nodes, -1 where it could not be joined"),
    "process": Attributes("1", "index of the process"),
    "inference": Attributes("1", "number of the traced inference in its process, -1 outside"),
    "start_ns": Attributes("ns", "CLOCK_MONOTONIC"),
    "duration_ns": Attributes("ns"),
    "launch_ns": Attributes("ns", "CLOCK_MONOTONIC when the host began to launch it, -1 unknown"),
    "stream": Attributes("1"),
    "registers": Attributes("1", "of a thread, -1 for copies"),
    "shared_bytes": Attributes("bytes", "of a block, -1 for copies"),
    "bytes": Attributes("bytes", "moved or set, -1 for kernels"),
}
#: Columns of KernelEvents with a value for each of the three axes.
KERNEL_SIZES = ("grid", "block")
STACKS = {
    "stack": Attributes("", "frames from the outermost to the innermost, with ; between them"),
    "samples": Attributes("1", "how often it was seen"),
}
YARDSTICK = {
    "start_ns": Attributes("ns", "CLOCK_MONOTONIC before each repetition"),
    "compute_ns": Attributes("ns", "arithmetic in registers"),
    "cache_ns": Attributes("ns", "a walk through data that fits the cache"),
    "memory_ns": Attributes("ns", "a stream through data that does not"),
}
PROCESS = {
    "index": Attributes("1", "number of the process, from 0"),
    "pid": Attributes("1", "process id"),
    "library_ns": Attributes("ns", "opening libonnxruntime"),
    "session_ns": Attributes("ns", "creating the session"),
    "provider_ns": Attributes("ns", "loading the execution providers' libraries, -1 not known"),
    "first_inference_ns": Attributes("ns", "the very first inference"),
    "loops": Attributes("1", "inferences in one pyperf value"),
}
MODEL_TEXT = ("name", "path", "sha256", "producer")
MODEL_NUMBERS = {
    "size_bytes": Attributes("bytes", "model file and its external data"),
    "ir_version": Attributes("1"),
    "node_count": Attributes("1", "nodes in the file's main graph, before optimisation"),
    "parameter_count": Attributes("1", "elements in its initialisers, subgraphs included"),
}
INPUT_TEXT = ("name", "dtype", "chosen_because", "sha256")
