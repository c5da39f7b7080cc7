"""How much host memory a session's allocator holds."""

from __future__ import annotations

from harness.native import ort
from harness.records import ARENA, Reading


def arena_bytes(session: ort.Session) -> Reading:
    """Bytes reserved from the system: weights that ONNX Runtime copied, and space for tensors."""
    source = "OrtApi::AllocatorGetStats, TotalAllocated"
    try:
        told = session.arena()
    except ort.OrtError as error:
        return Reading(ARENA, None, "bytes", source, str(error))
    if "TotalAllocated" not in told:
        reason = "the session has no arena: its allocator keeps no statistics"
        return Reading(ARENA, None, "bytes", source, reason)
    return Reading(ARENA, told["TotalAllocated"], "bytes", source)
