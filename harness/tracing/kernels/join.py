"""What the GPU did, joined to the nodes that made it do so.

ONNX Runtime tells when a node begins and ends on the host (node marks), CUPTI what ran on the
GPU and which call of CUDA launched it. Each mark has an external id that CUPTI keeps with the
calls made meanwhile, on the same thread. So a kernel names its node; no times are matched.
That times agree is checked none the less: the launch must lie within the node.
"""

from __future__ import annotations

import dataclasses
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

#: Folders of the wheels nvidia-cuda-cupti (CUDA 13) and nvidia-cuda-cupti-cu12.
_WHEEL_FOLDERS = (("cu13/lib", 13), ("cuda_cupti/lib", 12))

#: Kinds of CuptiColumns.work.
_KIND_NAMES = ("kernel", "memcpy", "memset")

#: CUpti_ActivityMemcpyKind: host, device, array and peer.
_COPY_NAMES = (
    "unknown", "HtoD", "DtoH", "HtoA", "AtoH", "AtoA", "AtoD", "DtoA", "DtoD", "HtoH", "PtoP",
)  # fmt: skip

#: CUpti_ExternalCorrelationKind of our ids.
_OURS = 3

#: OrtProfilingEventCategory.
_NODE = 1

_REMEDIES = {
    "CUPTI_ERROR_UNKNOWN": "is an NVIDIA driver loaded, and does nvidia-smi list a GPU?",
    "CUPTI_ERROR_NOT_INITIALIZED": "is an NVIDIA driver loaded, and does nvidia-smi list a GPU?",
    "CUPTI_ERROR_NOT_COMPATIBLE": "the driver is older than CUPTI: for a driver of the 580 series "
    "pip install nvidia-cuda-cupti==13.0.85",
    "CUPTI_ERROR_INSUFFICIENT_PRIVILEGES": "load the nvidia module with "
    "NVreg_RestrictProfilingToAdminUsers=0, or profile as root",
    "CUPTI_ERROR_VIRTUALIZED_DEVICE_INSUFFICIENT_PRIVILEGES": "profiling is switched off for this "
    "virtual GPU: ask its host",
    "CUPTI_ERROR_MULTIPLE_SUBSCRIBERS_NOT_SUPPORTED": "another profiler uses CUPTI in this "
    "process: profile without it",
}


def cupti_candidates() -> tuple[str, ...]:
    """Where libcupti may be, best first: the wheels, whose versions are known, the system."""
    site = Path(sysconfig.get_path("platlib")) / "nvidia"
    wheels = [site / folder / f"libcupti.so.{major}" for folder, major in _WHEEL_FOLDERS]
    return (*(str(path) for path in wheels if path.is_file()), "libcupti.so.13", "libcupti.so.12")


def why_absent(failure: str) -> str:
    """A failure of Cupti with what the user can do about it."""
    for name, remedy in _REMEDIES.items():
        if f" {name} " in failure:
            return f"CUPTI does not record: {failure}; {remedy}"
    if "libcupti" in failure:
        return f"no CUPTI: {failure}; pip install nvidia-cuda-cupti==13.0.85"
    return f"CUPTI does not record: {failure}"


def inferences(marks: marks.Marks) -> tuple[Int64Array, Int64Array]:
    """(start_ns, duration_ns) of the inferences that node marks tell of, in their order."""
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
    """Kernels, copies and settings of memory, each with its node and inference.

    Args:
        columns: the decoded records.
        names: kernels' names by address.
        marks: of the same time; nodes bear the names of executed_graph.
        recording: where the records are from: its clock and its losses.
        inference_start_ns: CLOCK_MONOTONIC, ascending.
        inference_duration_ns: of each.
        process: ProcessRecord.index.

    Returns:
        The events. Among their ``dropped`` are work whose stamps CUPTI did not fill in and
        records that end too early.
    """
    timed = (columns.work["start_ns"] > 0) & (columns.work["end_ns"] >= columns.work["start_ns"])
    work = columns.work[timed]
    work = work[np.argsort(work["start_ns"], kind="stable")]
    start_ns = work["start_ns"] - recording.offset_ns
    duration_ns = work["end_ns"] - work["start_ns"]

    launch_ns, launched_ns = _launches(columns.call, work["correlation"], recording.offset_ns)
    index = _mark_indices(columns.external, work["correlation"], marks)
    marked = index >= 0
    at = np.where(marked, index, 0)
    mark = marks.mark[at] if len(marks.mark) else np.zeros(len(work), marks.mark.dtype)
    in_node = marked & (mark["category"] == _NODE)
    node = np.where(in_node, _rows(marks.mark)[at] if len(marks.mark) else -1, -1)

    # A node that never ended has no end that could be overstepped.
    too_late = (mark["stop_ns"] >= 0) & (launched_ns > mark["stop_ns"])
    outside = (launch_ns >= 0) & ((launch_ns < mark["start_ns"]) | too_late)

    when_ns = np.where(marked, mark["start_ns"], np.where(launch_ns >= 0, launch_ns, start_ns))
    return KernelEvents(
        kind=tuple(_KIND_NAMES[kind] for kind in work["kind"].tolist()),
        name=tuple(_name(each, names) for each in work),
        node=node.astype(np.int32),
        process=np.full(len(work), process, np.int32),
        inference=_inference(when_ns, inference_start_ns, inference_duration_ns),
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
        dropped=recording.dropped + columns.truncated + int(np.count_nonzero(~timed)),
    )


@dataclasses.dataclass(frozen=True, slots=True)
class NodeTotals:
    """Time of each node over all the inferences of a recording, by row of the NodeTable.

    Durations of kernels are true. Host and idle times are those of an inference under ORT's
    profiler: it works for some microseconds at the end of each node (4 to 6 on a shared machine),
    and the GPU waits for launches that come the later.

    Attributes:
        host_ns: int64[rows], on the executing thread, less that of the nodes of its bodies.
        kernel_ns: int64[rows], durations of its kernels, copies and settings of memory.
        idle_ns: int64[rows], while the GPU had nothing to do before work of the node began,
            since the inference's work before had ended, or the inference had begun.
        launches: int64[rows], kernels, copies and settings of memory.
        unjoined_kernel_ns: as kernel_ns, of what no node is known for.
        unjoined_idle_ns: as idle_ns, likewise.
    """

    host_ns: Int64Array
    kernel_ns: Int64Array
    idle_ns: Int64Array
    launches: Int64Array
    unjoined_kernel_ns: int
    unjoined_idle_ns: int


def node_totals(
    events: KernelEvents, marks: marks.Marks, inference_start_ns: Int64Array, rows: int
) -> NodeTotals:
    """Host, kernel and idle time of each node.

    Work outside of all inferences does not count. Kernels that overlap each count in full;
    idle time is time in which none of them ran.

    Args:
        events: of one process, by start time.
        marks: of the same time.
        inference_start_ns: as given to join.
        rows: of the NodeTable.
    """
    within = events.inference >= 0
    # The row behind the last holds what no node is known for; so does index -1.
    row = np.where((events.node >= 0) & (events.node < rows), events.node, rows)
    kernel_ns = _sums(row[within], events.duration_ns[within], rows + 1)
    idle_ns = _sums(row[within], _idle_before(events, inference_start_ns)[within], rows + 1)
    launches = _sums(row[within], np.ones(int(within.sum()), np.int64), rows + 1)
    marked = _rows(marks.mark)
    known = (marks.mark["category"] == _NODE) & (marked >= 0) & (marked < rows)
    return NodeTotals(
        host_ns=_sums(marked[known], _self_ns(marks.mark)[known], rows),
        kernel_ns=kernel_ns[:rows],
        idle_ns=idle_ns[:rows],
        launches=launches[:rows],
        unjoined_kernel_ns=int(kernel_ns[rows]),
        unjoined_idle_ns=int(idle_ns[rows]),
    )


def _sums(place: npt.NDArray[Any], value: Int64Array, count: int) -> Int64Array:
    sums = np.zeros(count, np.int64)
    np.add.at(sums, place, value)
    return sums


def _idle_before(events: KernelEvents, inference_start_ns: Int64Array) -> Int64Array:
    """How long nothing had run when each piece of work began, in its inference."""
    idle_ns = np.zeros(len(events), np.int64)
    for number in np.unique(events.inference[events.inference >= 0]).tolist():
        (here,) = np.nonzero(events.inference == number)
        start_ns = events.start_ns[here]
        end_ns = start_ns + events.duration_ns[here]
        busy_until_ns = np.maximum.accumulate(
            np.concatenate(([inference_start_ns[number]], end_ns[:-1]))
        )
        idle_ns[here] = np.maximum(start_ns - busy_until_ns, 0)
    return idle_ns


def _self_ns(mark: Structured) -> Int64Array:
    """Duration of each mark, less that of the nodes right below; 0 where it never ended."""
    duration_ns = np.where(mark["stop_ns"] >= 0, mark["stop_ns"] - mark["start_ns"], 0)
    # Between a node and those of its body there may be events that are no nodes. A mark's
    # parent comes before it, so each step goes up, until there is a node or nothing.
    above = mark["parent"].copy()
    while True:
        passing = (above >= 0) & (mark["category"][above] != _NODE)
        if not passing.any():
            break
        above[passing] = mark["parent"][above[passing]]
    below = (mark["category"] == _NODE) & (above >= 0)
    own_ns = duration_ns.astype(np.int64)
    np.subtract.at(own_ns, above[below], duration_ns[below])
    return np.maximum(own_ns, 0)


def _rows(mark: Structured) -> Int64Array:
    """Row of the NodeTable that each mark names, -1 where it names none."""
    distinct, place = np.unique(mark["name"], return_inverse=True)
    rows = [executed_graph.row_of(name.decode("utf-8", "replace")) for name in distinct.tolist()]
    return np.array(rows, np.int64)[place] if rows else np.empty(0, np.int64)


def _lookup(keys: npt.NDArray[np.uint32], wanted: npt.NDArray[np.uint32]) -> Int64Array:
    """Index of the first key that equals each wanted one, -1 where none does; keys ascend."""
    if len(keys) == 0:
        return np.full(len(wanted), -1, np.int64)
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[place] == wanted, place, -1).astype(np.int64)


def _launches(
    call: Structured, correlation: npt.NDArray[np.uint32], offset_ns: int
) -> tuple[Int64Array, Int64Array]:
    """When the call that launched each began and ended; -1 where it is not known.

    The runtime calls the driver, so that two calls may share a correlation: the first began
    first and ends last.
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
    """Index of the mark that each launch names; -1 without a name, -2 if that mark is lost."""
    ours = external[external["kind"] == _OURS]
    ours = ours[np.argsort(ours["correlation"], kind="stable")]
    place = _lookup(ours["correlation"], correlation)
    if len(ours) == 0:
        return place
    index = ours["id"].astype(np.int64)[place] - marks.first_id
    there = (index >= 0) & (index < len(marks.mark))
    return np.where(place < 0, -1, np.where(there, index, -2)).astype(np.int64)


def _inference(
    when_ns: Int64Array, start_ns: Int64Array, duration_ns: Int64Array
) -> npt.NDArray[np.int32]:
    """Position of the inference that lasted at that time, -1 for none."""
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
    """Why some work has no node, in one sentence; empty where all has."""
    left = node < 0
    if not left.any():
        return ""
    added = sorted({name.decode("utf-8", "replace") for name in mark["name"][left & in_node]})
    of_graph = left & (work["graph"] != 0)
    outside = left & ~of_graph
    counts = {
        "launched by a CUDA graph, which knows no nodes": of_graph,
        f"of nodes that ONNX Runtime added ({', '.join(added[:3])}{' …' * (len(added) > 3)})": (
            outside & in_node
        ),
        "launched by ONNX Runtime outside of any node": outside & (index >= 0) & ~in_node,
        f"of marks that were lost ({marks.lost} found no room) or are of another time": (
            outside & (index == -2)
        ),
        "launched outside of any event of ONNX Runtime": outside & (index == -1),
    }
    parts = [f"{count} {why}" for why, which in counts.items() if (count := int(which.sum()))]
    return f"{int(left.sum())} of {len(work)} belong to no node: {', '.join(parts)}"
