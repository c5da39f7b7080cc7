"""Types of the native module: which node of the graph ONNX Runtime executes when.

NodeMarks registers this module with ONNX Runtime as an execution provider that executes no node
but has a profiler: ORT (1.25 or newer) calls that on the executing thread around each node,
whatever provider the node belongs to, while an inference is profiled
(``Binding.run(profile_prefix=…)``) or a session is. Hooked to a tracer of the GPU
(``cupti.Cupti.external_ids``), everything that is launched meanwhile carries the external id of
the mark during which it was.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

#: Type of the elements of ``Marks.mark``.
MARK: np.dtype[np.void]

class Marks(NamedTuple):
    """Events of ORT's profiler in the order in which they began.

    Attributes:
        first_id: external id of mark[0]; that of mark[i] is greater by i.
        mark: structured array. ``start_ns`` and ``stop_ns`` in CLOCK_MONOTONIC (stop_ns is -1
            where ORT never ended the event), ``parent`` the index of the event around it on its
            thread (-1), ``thread`` the kernel's number of the thread, ``profiler`` a number that
            each inference profiled by itself has for its own, ``category`` (1 for a node, 0 for
            the inference or the session), ``name`` as bytes, cut after 64, and ``name_bytes`` its
            length before.
        lost: events that found no room.
        refused: events nested too deeply.
        strayed: events that ended without having begun, or began before the recording.
    """

    first_id: int
    mark: npt.NDArray[np.void]
    lost: int
    refused: int
    strayed: int

class NodeMarks:
    """The execution provider's place in ORT's environment; one at a time in a process.

    Who gives it up without close() leaves it registered: sessions may still use it.

    Args:
        library_path: that of the opened Library, which must outlive this object.

    Raises:
        OSError: ONNX Runtime is older than 1.25, or refuses the provider.
        ValueError: there is one already.
    """

    def __init__(self, library_path: str) -> None: ...
    def append_to(self, options: int) -> None:
        """Makes a session that is about to be made report its nodes.

        Args:
            options: address of its OrtSessionOptions.
        """
    def hook(self, push: int, pop: int) -> None:
        """Has a tracer of the GPU name what is launched during each event.

        Not while a recording is on. Both functions must stay loaded for good: an event that
        has begun calls pop at its end, whatever happened meanwhile.

        Args:
            push: address of a C function ``void f(uint64_t id)``, called on the event's thread
                with its external id before its work.
            pop: address of a C function ``void f(void)``, called after it.
        """
    def unhook(self) -> None:
        """Events that begin from now on call nothing."""
    def start(self, capacity: int) -> None:
        """From now on events leave marks, in room for so many (104 bytes each)."""
    def stop(self) -> Marks:
        """Ends the recording."""
    def close(self) -> None:
        """Takes the provider back; its sessions must be closed. Twice is as good as once."""
