"""GPU work, joined to the nodes that launched it.

ONNX Runtime reports when a node begins and ends on the host (node marks); CUPTI reports what ran
on the GPU and which CUDA call launched it. Each mark has an external id, which CUPTI attaches to
the calls made on the same thread in the meantime. So a kernel names its node, and no timestamps
need matching. As a check, each launch is still required to lie within its node.
"""

from __future__ import annotations

import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from harness.models import executed_graph
from harness.records import Int64Array, KernelEvents

if TYPE_CHECKING:
    from harness.native import cupti, marks

Structured = npt.NDArray[np.void]

#: (folder, major version) of libcupti in the wheels nvidia-cuda-cupti (CUDA 13) and
#: nvidia-cuda-cupti-cu12.
_WHEEL_FOLDERS = (("cu13/lib", 13), ("cuda_cupti/lib", 12))

#: Kinds of CuptiColumns.work.
_KIND_NAMES = ("kernel", "memcpy", "memset")

#: By CUpti_ActivityMemcpyKind: directions between host, device, array and peer.
_COPY_NAMES = (
    "unknown", "HtoD", "DtoH", "HtoA", "AtoH", "AtoA", "AtoD", "DtoA", "DtoD", "HtoH", "PtoP",
)  # fmt: skip

#: CUpti_ExternalCorrelationKind of our external ids.
_OURS = 3

#: OrtProfilingEventCategory of a node.
_NODE = 1

_REMEDIES = {
    "CUPTI_ERROR_UNKNOWN": "is an NVIDIA driver loaded, and does nvidia-smi list a GPU?",
    "CUPTI_ERROR_NOT_INITIALIZED": "is an NVIDIA driver loaded, and does nvidia-smi list a GPU?",
    "CUPTI_ERROR_NOT_COMPATIBLE": "the driver is older than CUPTI: for a driver of the 580 series, "
    "pip install nvidia-cuda-cupti==13.0.85",
    "CUPTI_ERROR_INSUFFICIENT_PRIVILEGES": "load the nvidia module with "
    "NVreg_RestrictProfilingToAdminUsers=0, or profile as root",
    "CUPTI_ERROR_VIRTUALIZED_DEVICE_INSUFFICIENT_PRIVILEGES": "profiling is disabled for this "
    "virtual GPU: have it enabled on the host",
    "CUPTI_ERROR_MULTIPLE_SUBSCRIBERS_NOT_SUPPORTED": "another profiler uses CUPTI in this "
    "process: profile without it",
}


def cupti_candidates() -> tuple[str, ...]:
    """Where libcupti may be, best first: the wheels, whose versions are known, then the system."""
    site = Path(sysconfig.get_path("platlib")) / "nvidia"
    wheels = [site / folder / f"libcupti.so.{major}" for folder, major in _WHEEL_FOLDERS]
    return (*(str(path) for path in wheels if path.is_file()), "libcupti.so.13", "libcupti.so.12")


def why_absent(failure: str) -> str:
    """A failure of Cupti, with what the user can do about it."""
    for name, remedy in _REMEDIES.items():
        if f" {name} " in failure:
            return f"CUPTI does not record: {failure}; {remedy}"
    if "libcupti" in failure:
        return f"no CUPTI: {failure}; pip install nvidia-cuda-cupti==13.0.85"
    return f"CUPTI does not record: {failure}"


def inferences(marks: marks.Marks) -> tuple[Int64Array, Int64Array]:
    """(start_ns, duration_ns) of the inferences among the node marks, in order."""
    mark = marks.mark
    whole = mark[(mark["name"] == b"model_run") & (mark["stop_ns"] >= 0)]
    return whole["start_ns"], whole["stop_ns"] - whole["start_ns"]


def join(
    columns: cupti.CuptiColumns,
    names: Mapping[int, str],
    marks: marks.Marks,
    recording: cupti.CuptiRecording,
    *,
    inference_start_ns: Int64Array,
    inference_duration_ns: Int64Array,
    process: int,
) -> KernelEvents:
    """Kernels, memory copies and memsets, each with its node and inference.

    Args:
        columns: the decoded records.
        names: kernel names by address.
        marks: recorded at the same time; nodes must be named as by executed_graph.
        recording: the source of the records: its clock offset and its losses.
        inference_start_ns: CLOCK_MONOTONIC, ascending.
        inference_duration_ns: of each inference.
        process: ProcessRecord.index.

    Returns:
        The events. Their ``dropped`` includes work whose timestamps CUPTI did not fill in and
        records that are cut short.
    """
    work = timed_work(columns)
    start_ns = work["start_ns"] - recording.offset_ns
    duration_ns = work["end_ns"] - work["start_ns"]

    launch_ns, launched_ns = _launches(columns.call, work["correlation"], recording.offset_ns)
    index = _mark_indices(columns.external, work["correlation"], marks)
    marked = index >= 0
    at = np.where(marked, index, 0)
    mark = marks.mark[at] if len(marks.mark) else np.zeros(len(work), marks.mark.dtype)
    in_node = marked & (mark["category"] == _NODE)
    node = np.where(in_node, _rows(marks.mark)[at] if len(marks.mark) else -1, -1)

    # A node that never ended has no end to overrun.
    too_late = (mark["stop_ns"] >= 0) & (launched_ns > mark["stop_ns"])
    outside = (launch_ns >= 0) & ((launch_ns < mark["start_ns"]) | too_late)

    when_ns = np.where(marked, mark["start_ns"], np.where(launch_ns >= 0, launch_ns, start_ns))
    return KernelEvents(
        kind=kinds_of(work),
        name=names_of(work, names),
        node=node.astype(np.int32),
        process=np.full(len(work), process, np.int32),
        inference=inference_at(when_ns, inference_start_ns, inference_duration_ns),
        start_ns=start_ns,
        duration_ns=duration_ns,
        launch_ns=launch_ns,
        stream=work["stream"].astype(np.int32),
        grid=work["grid"].copy(),
        block=work["block"].copy(),
        registers=work["registers"].copy(),
        shared_bytes=work["shared_bytes"].copy(),
        bytes=work["bytes"].copy(),
        unjoined_reason=_unjoined_reason(work, index, mark, in_node, node, marks),
        disagreements=int(np.count_nonzero(outside & (node >= 0))),
        dropped=lost(columns, recording),
    )


def timed_work(columns: cupti.CuptiColumns) -> Structured:
    """The work that CUPTI stamped, by its start (stable)."""
    work = columns.work[_timed(columns.work)]
    return work[np.argsort(work["start_ns"], kind="stable")]


def _timed(work: Structured) -> npt.NDArray[np.bool_]:
    stamped: npt.NDArray[np.bool_] = (work["start_ns"] > 0) & (work["end_ns"] >= work["start_ns"])
    return stamped


def lost(columns: cupti.CuptiColumns, recording: cupti.CuptiRecording) -> int:
    """Records that CUPTI dropped, left without a time, or cut short."""
    return recording.dropped + columns.truncated + int(np.count_nonzero(~_timed(columns.work)))


def kinds_of(work: Structured) -> tuple[str, ...]:
    """``kernel``, ``memcpy`` or ``memset`` for each piece of work."""
    return tuple(_KIND_NAMES[kind] for kind in work["kind"].tolist())


def names_of(work: Structured, names: Mapping[int, str]) -> tuple[str, ...]:
    """The function's name for each kernel, the direction for each copy."""
    return tuple(_name(each, names) for each in work)


def _rows(mark: Structured) -> Int64Array:
    """Row of the NodeTable that each mark names, -1 if it names none."""
    distinct, place = np.unique(mark["name"], return_inverse=True)
    rows = [executed_graph.row_of(name.decode("utf-8", "replace")) for name in distinct.tolist()]
    return np.array(rows, np.int64)[place] if rows else np.empty(0, np.int64)


def _lookup(keys: npt.NDArray[np.uint32], wanted: npt.NDArray[np.uint32]) -> Int64Array:
    """Index of the first key equal to each wanted one, -1 if none is; keys must be ascending."""
    if len(keys) == 0:
        return np.full(len(wanted), -1, np.int64)
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[place] == wanted, place, -1).astype(np.int64)


def _launches(
    call: Structured, correlation: npt.NDArray[np.uint32], offset_ns: int
) -> tuple[Int64Array, Int64Array]:
    """(start, end) of the CUDA call that launched each piece of work; -1 if not known.

    The runtime API calls the driver API, so two calls may share a correlation id: the first to
    begin is the outer one, which ends last.
    """
    call = call[(call["start_ns"] > 0) & (call["end_ns"] >= call["start_ns"])]
    call = call[np.lexsort((call["start_ns"], call["correlation"]))]
    place = _lookup(call["correlation"], correlation)
    if len(call) == 0:
        return place, place
    known = place >= 0
    return (
        np.where(known, call["start_ns"][place] - offset_ns, -1),
        np.where(known, call["end_ns"][place] - offset_ns, -1),
    )


def _mark_indices(
    external: Structured, correlation: npt.NDArray[np.uint32], marks: marks.Marks
) -> Int64Array:
    """Index of the mark of each launch; -1 without an external id, -2 if that mark is lost."""
    ours = external[external["kind"] == _OURS]
    ours = ours[np.argsort(ours["correlation"], kind="stable")]
    place = _lookup(ours["correlation"], correlation)
    if len(ours) == 0:
        return place
    index = ours["id"].astype(np.int64)[place] - marks.first_id
    there = (index >= 0) & (index < len(marks.mark))
    return np.where(place < 0, -1, np.where(there, index, -2)).astype(np.int64)


def inference_at(
    when_ns: Int64Array, start_ns: Int64Array, duration_ns: Int64Array
) -> npt.NDArray[np.int32]:
    """Position of the inference that was running at that time, -1 for none."""
    if len(start_ns) == 0:
        return np.full(len(when_ns), -1, np.int32)
    place = np.searchsorted(start_ns, when_ns, side="right") - 1
    within = (place >= 0) & (when_ns <= (start_ns + duration_ns)[place])
    return np.where(within, place, -1).astype(np.int32)


def _name(work: Any, names: Mapping[int, str]) -> str:
    kind = _KIND_NAMES[work["kind"]]
    if kind == "kernel":
        return names.get(int(work["name"]), "")
    if kind == "memcpy":
        copy_kind = int(work["copy_kind"])
        return _COPY_NAMES[copy_kind] if copy_kind < len(_COPY_NAMES) else "unknown"
    return kind


def _unjoined_reason(
    work: Structured,
    index: Int64Array,
    mark: Structured,
    in_node: npt.NDArray[np.bool_],
    node: npt.NDArray[Any],
    marks: marks.Marks,
) -> str:
    """Why some work has no node, in one sentence; empty if all work has one."""
    left = node < 0
    if not left.any():
        return ""
    added = sorted({name.decode("utf-8", "replace") for name in mark["name"][left & in_node]})
    of_graph = left & (work["graph"] != 0)
    outside = left & ~of_graph
    counts = {
        "launched by a CUDA graph, which does not record nodes": of_graph,
        f"in nodes that ONNX Runtime added ({', '.join(added[:3])}{' …' * (len(added) > 3)})": (
            outside & in_node
        ),
        "launched by ONNX Runtime outside of any node": outside & (index >= 0) & ~in_node,
        f"with marks that were lost ({marks.lost} did not fit) or are from another time": (
            outside & (index == -2)
        ),
        "launched outside of any event of ONNX Runtime": outside & (index == -1),
    }
    parts = [f"{count} {why}" for why, which in counts.items() if (count := int(which.sum()))]
    return f"{int(left.sum())} of {len(work)} belong to no node: {', '.join(parts)}"
