"""Contents of a file of version 1: its columns, with their units and meanings."""

from __future__ import annotations

from typing import NamedTuple

from harness.records import NodeTable, columns_of

FORMAT = "harness-profile"
FORMAT_VERSION = 1

Fact = int | float | str | None


class Attributes(NamedTuple):
    """Attributes of a stored column: its units, and its meaning if the name does not say it."""

    units: str
    long_name: str = ""


LATENCY = {
    "start_ns": Attributes("ns", "CLOCK_MONOTONIC before the inference"),
    "duration_ns": Attributes("ns", "from start until the call returned"),
}
ENQUEUE = Attributes("ns", "part of duration_ns until the call returned, work enqueued")
CALLER = Attributes("1", "number of the calling thread, over all instances of the group")
NODES = {column.name: Attributes(column.unit, column.meaning) for column in columns_of(NodeTable)}
EVENTS = {
    "node": Attributes("1", "row in /nodes"),
    "process": Attributes("1", "index of the process"),
    "inference": Attributes("1", "number of the traced inference in its process, from 0"),
    "start_ns": Attributes("ns", "CLOCK_MONOTONIC"),
    "duration_ns": Attributes("ns", "with the nodes of the subgraphs that it ran"),
    "self_ns": Attributes("ns", "duration_ns less that of its direct children"),
}
#: Source of events -> its name in files, if that differs.
STORED_SOURCES = {"ort": "ort_profiler"}
INFERENCES = {
    "inference_process": Attributes("1", "process of each traced inference"),
    "inference_number": Attributes("1", "its number in that process"),
    "inference_start_ns": Attributes("ns", "CLOCK_MONOTONIC"),
    "inference_duration_ns": Attributes("ns", "whole traced inference as the tracer reports it"),
    "inference_framework_ns": Attributes("ns", "part of it outside all nodes; -1 not known"),
}
DEVICE = {
    "process": Attributes("1", "index of the process"),
    "time_ns": Attributes("ns", "CLOCK_MONOTONIC of the reading"),
}
CHANGED = Attributes("1", "1 if the value differs from the previous reading of its process")
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
#: Rows in the distinct pairs of kind and name.
FUNCTION = Attributes("1", "row in functions: kind and name once more, to be read quickly")
FUNCTIONS = {
    "kind": Attributes("", "kernel, memcpy or memset"),
    "name": Attributes("", "function, or direction of a copy"),
}
LAUNCHES = {
    "process": Attributes("1", "index of the process"),
    "kind": Attributes("", "kernel, memcpy or memset"),
    "name": Attributes("", "function, or direction of a copy"),
    "node": Attributes("1", "row in /nodes, -1 where it belongs to none"),
    "stream": Attributes("1"),
    "registers": Attributes("1", "of a thread, -1 for copies"),
    "shared_bytes": Attributes("bytes", "of a block, -1 for copies"),
    "bytes": Attributes("bytes", "moved or set, -1 for kernels"),
}
TIMELINE_INFERENCES = {
    "process": Attributes("1", "index of the process"),
    "recorded": Attributes("1", "1 where CUPTI was on, 0 where it was off"),
    "start_ns": Attributes("ns", "CLOCK_MONOTONIC before the inference"),
    "enqueue_ns": Attributes("ns", "part of duration_ns until the call returned"),
    "duration_ns": Attributes("ns", "until the device had done the work"),
}
LAUNCH_TIMES = {
    "launch": Attributes("1", "row in launches, of the same pass"),
    "inference": Attributes("1", "row in inferences, of the same pass"),
    "start_ns": Attributes("ns", "CLOCK_MONOTONIC"),
    "duration_ns": Attributes("ns"),
}
#: Columns of KernelEvents and Launches that have a value for each of the three axes.
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
INSTANCES = {
    "process": Attributes("1", "index of the process, which is the group"),
    "instance": Attributes("1", "number of the instance in its group"),
    "caller": Attributes("1", "number of the calling thread, over all instances of the group"),
    "alone": Attributes("1", "1 in a window with nothing beside, 0 in the common one"),
    "cpus": Attributes("", "CPUs of the instance"),
    "memory": Attributes("", "memory policy of the instance, empty where not known"),
    "begin_ns": Attributes("ns", "CLOCK_MONOTONIC when the window began"),
    "end_ns": Attributes("ns", "CLOCK_MONOTONIC when it ended"),
    "start_ns": Attributes("ns", "start of the caller's first inference in it, -1 without one"),
    "done_ns": Attributes("ns", "end of its last one wholly inside, -1 without one"),
    "inferences": Attributes("1", "wholly inside the window"),
    "median_ns": Attributes("ns", "of their durations, -1 without one"),
    "p99_ns": Attributes("ns", "of their durations, -1 of fewer than 500"),
    "cpu_wait_ns": Attributes("ns", "the calling thread was runnable without a CPU, -1 unknown"),
    "session_ns": Attributes("ns", "creating the session, beside others"),
    "first_inference_ns": Attributes("ns", "the very first inference, beside others"),
    "pss_bytes": Attributes("bytes", "proportional set size of the instance, -1 unknown"),
    "pages_bytes": Attributes("bytes", "pages that the kernel tells the place of, -1 unknown"),
    "local_bytes": Attributes("bytes", "those on the nodes of its CPUs, -1 unknown"),
}
WALL = {
    "began_ns": Attributes("ns", "CLOCK_MONOTONIC when the command began"),
    "ended_ns": Attributes("ns", "CLOCK_MONOTONIC when the contents of this file were complete"),
}
STRETCHES = {
    "part": Attributes("", "what the stretch was spent on"),
    "process": Attributes("1", "index of the process, -1 outside the measuring processes"),
    "start_ns": Attributes("ns", "CLOCK_MONOTONIC"),
    "duration_ns": Attributes("ns"),
    "cpu_ns": Attributes("ns", "CPU time used meanwhile, all threads together"),
}
MODEL_TEXT = ("name", "path", "sha256", "producer")
MODEL_NUMBERS = {
    "size_bytes": Attributes("bytes", "model file and its external data"),
    "ir_version": Attributes("1", "ONNX IR version, -1 not known"),
    "node_count": Attributes(
        "1", "nodes in the file's main graph, before optimisation, -1 not known"
    ),
    "parameter_count": Attributes(
        "1", "elements in its initialisers, subgraphs included, -1 not known"
    ),
}
#: Those of MODEL_NUMBERS that may be -1, which means not known.
MODEL_UNTOLD = ("ir_version", "node_count", "parameter_count")
INPUT_TEXT = ("name", "dtype", "chosen_because", "sha256")
