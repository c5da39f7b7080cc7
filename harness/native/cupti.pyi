"""Types of the native module: what the GPU did, as NVIDIA's CUPTI records it."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

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
    """Decoded records, structured arrays; the columns are those of ext/cupti/decode.h.

    Attributes:
        work: kernels (``kind`` 0), copies (1) and settings of memory (2).
        call: calls of CUDA's runtime and driver.
        external: external ids by correlation.
        skipped: records of other kinds.
        truncated: records that end too early, or lie outside of their buffer.
    """

    work: npt.NDArray[np.void]
    call: npt.NDArray[np.void]
    external: npt.NDArray[np.void]
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
        """From now on CUPTI records.

        Raises:
            OSError: it cannot; the text names the call and CUPTI's error.
        """
    def external_ids(self) -> tuple[int, int]:
        """Addresses of the two C functions that name what is launched, for ``NodeMarks.hook``.

        ``void push(uint64_t id)``: what this thread launches from now on has this external id;
        ``void pop(void)``: no longer. To be called while CUPTI records.
        """
    def stop(self) -> CuptiRecording:
        """Ends the recording. What was launched must be finished, or its records are lost."""

#: Types of the elements of the arrays above.
WORK: np.dtype[np.void]
CALL: np.dtype[np.void]
EXTERNAL: np.dtype[np.void]

def decode(buffers: Iterable[tuple[bytes | npt.NDArray[np.uint8], Sequence[int]]]) -> CuptiColumns:
    """Decodes raw records, also those of another machine; libcupti is not needed."""

def names_at(addresses: Iterable[int]) -> dict[int, str]:
    """The text at each address of this process's memory, demangled; empty for 0.

    For the names of kernels that this process has just recorded, and only for those.
    """
