"""Types of the native module: when ONNX Runtime executes which node of the graph.

NodeMarks registers this module with ONNX Runtime as an execution provider that executes no nodes
but has a profiler. While an inference (``Binding.run(profile_prefix=…)``) or a session is
profiled, ORT (1.25 or newer) calls that profiler on the executing thread around each node,
whatever provider the node belongs to. When it is hooked to a GPU tracer
(``cupti.Cupti.external_ids``), everything launched during a mark carries that mark's external id.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

#: Type of the elements of ``Marks.mark``.
MARK: np.dtype[np.void]

class Marks(NamedTuple):
    """Events of ORT's profiler in the order in which they began.

    Attributes:
        first_id: external id of mark[0]; mark[i] has first_id + i.
        mark: structured array. ``start_ns`` and ``stop_ns`` in CLOCK_MONOTONIC (stop_ns is -1
            if ORT never ended the event), ``parent`` the index of the enclosing event on its
            thread (-1 for none), ``thread`` the kernel's thread id, ``profiler`` a number
            unique to each separately profiled inference, ``category`` (1 for a node, 0 for the
            inference or the session), ``name`` as bytes, truncated to 64, and ``name_bytes``
            its full length.
        lost: events that did not fit.
        refused: events nested too deeply.
        strayed: events that ended without having begun, or began before the recording.
    """

    first_id: int
    mark: npt.NDArray[np.void]
    lost: int
    refused: int
    strayed: int

class NodeMarks:
    """The execution provider, registered in ORT's environment; one at a time per process.

    Dropping it without close() leaves it registered, as sessions may still use it.

    Args:
        library_path: path of the opened Library, which must outlive this object.

    Raises:
        OSError: ONNX Runtime is older than 1.25, or refuses the provider.
        ValueError: there is one already.
    """

    def __init__(self, library_path: str) -> None: ...
    def append_to(self, options: int) -> None:
        """Makes a session that is about to be created report its nodes.

        Args:
            options: address of its OrtSessionOptions.
        """
    def hook(self, push: int, pop: int) -> None:
        """Has a GPU tracer tag what is launched during each event.

        Must not be called while recording. Both functions must never be unloaded: an event that
        has begun calls pop at its end, whatever happened in between.

        Args:
            push: address of a C function ``void f(uint64_t id)``, called on the event's thread
                with its external id before its work.
            pop: address of a C function ``void f(void)``, called after it.
        """
    def unhook(self) -> None:
        """Stops tagging: events that begin from now on call no function."""
    def start(self, capacity: int) -> None:
        """Starts recording, with memory for ``capacity`` marks (104 bytes each)."""
    def stop(self) -> Marks:
        """Stops recording."""
    def close(self) -> None:
        """Unregisters the provider; its sessions must be closed. May be called twice."""
