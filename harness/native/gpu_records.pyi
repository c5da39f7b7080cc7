"""Types of the native module: which node executes when, and what the GPU did meanwhile.

Two halves that need each other only on a GPU. NodeMarks registers this module with ONNX
Runtime as an execution provider that executes no node but has a profiler: ORT (1.25 or newer)
calls that on the executing thread around each node, whatever provider the node belongs to,
while an inference is profiled (``Binding.run(profile_prefix=…)``) or a session is. Cupti records
what the GPU did; while both record, everything that is launched carries the external id of the
mark during which it was.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

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
    def start(self, capacity: int) -> None:
        """From now on events leave marks, in room for so many (104 bytes each)."""
    def stop(self) -> Marks:
        """Ends the recording."""
    def close(self) -> None:
        """Takes the provider back; its sessions must be closed. Twice is as good as once."""

class RawRecords(NamedTuple):
    """A buffer of CUPTI's as it came, and where its records begin."""

    data: npt.NDArray[np.uint8] | bytes
    offsets: npt.NDArray[np.int64]

class CuptiRecording(NamedTuple):
    """What CUPTI recorded.

    Attributes:
        buffers: in the order in which they were completed.
        dropped: records that CUPTI dropped for lack of room.
        unreadable: buffers that CUPTI itself could not read to their end.
        unnamed: external ids that CUPTI refused.
        offset_ns: what to take from a stamp of these records to get CLOCK_MONOTONIC.
        step_ns: by how much that offset had changed at the end.
        failure: why CUPTI did not end cleanly; empty if it did.
    """

    buffers: tuple[RawRecords, ...]
    dropped: int
    unreadable: int
    unnamed: int
    offset_ns: int
    step_ns: int
    failure: str

class CuptiColumns(NamedTuple):
    """Decoded records, structured arrays; the columns are those of ext/cupti/cupti_records.h.

    Attributes:
        work: kernels (``kind`` 0), copies (1) and settings of memory (2).
        call: calls of CUDA's runtime and driver.
        external: external ids by correlation.
        overhead: spans in which CUPTI or the driver delayed the program.
        skipped: records of other kinds.
        truncated: records that end too early, or lie outside of their buffer.
    """

    work: npt.NDArray[np.void]
    call: npt.NDArray[np.void]
    external: npt.NDArray[np.void]
    overhead: npt.NDArray[np.void]
    skipped: int
    truncated: int

class Cupti:
    """libcupti, opened for good: the first of the candidates that can be.

    Raises:
        OSError: none can; the text says why not, for each.
    """

    path: str
    version: int
    def __init__(self, candidates: Sequence[str]) -> None: ...
    def start(self, limit_bytes: int = ...) -> None:
        """From now on CUPTI records, and node marks name what is launched.

        Raises:
            OSError: it cannot; the text names the call and CUPTI's error.
        """
    def stop(self) -> CuptiRecording:
        """Ends the recording. What was launched must be finished, or its records are lost."""

#: Types of the elements of the arrays above.
MARK: np.dtype[np.void]
WORK: np.dtype[np.void]
CALL: np.dtype[np.void]
EXTERNAL: np.dtype[np.void]
OVERHEAD: np.dtype[np.void]

def decode(buffers: Iterable[tuple[bytes | npt.NDArray[np.uint8], Sequence[int]]]) -> CuptiColumns:
    """Decodes raw records, also those of another machine; libcupti is not needed."""

def names_at(addresses: Iterable[int]) -> dict[int, str]:
    """The text at each address of this process's memory, demangled; empty for 0.

    For the names of kernels that this process has just recorded, and only for those.
    """
