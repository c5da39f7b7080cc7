"""Types of the native module: what the GPU did, recorded by NVIDIA's CUPTI."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

class RawRecords(NamedTuple):
    """A raw CUPTI buffer, and the offsets at which its records begin."""

    data: npt.NDArray[np.uint8] | bytes
    offsets: npt.NDArray[np.int64]

class CuptiRecording(NamedTuple):
    """What CUPTI recorded.

    Attributes:
        buffers: in the order in which they were completed.
        dropped: records that CUPTI dropped because its buffers were full.
        unreadable: buffers that CUPTI itself could not read to the end.
        unnamed: external ids that CUPTI refused.
        offset_ns: subtract it from a record's timestamp to get CLOCK_MONOTONIC.
        step_ns: how much that offset had changed by the end.
        failure: why CUPTI did not stop cleanly; empty if it did.
    """

    buffers: tuple[RawRecords, ...]
    dropped: int
    unreadable: int
    unnamed: int
    offset_ns: int
    step_ns: int
    failure: str

class CuptiColumns(NamedTuple):
    """Decoded records as structured arrays, with the columns of ext/cupti/decode.h.

    Attributes:
        work: kernels (``kind`` 0), memory copies (1) and memsets (2).
        call: calls of the CUDA runtime and driver APIs.
        external: external ids by correlation id.
        skipped: number of records of other kinds.
        truncated: number of records that are cut short or lie outside their buffer.
    """

    work: npt.NDArray[np.void]
    call: npt.NDArray[np.void]
    external: npt.NDArray[np.void]
    skipped: int
    truncated: int

class Cupti:
    """libcupti, the first of the candidates that can be opened; it is never unloaded.

    Raises:
        OSError: none can be opened; the message says why for each.
    """

    path: str
    version: int
    def __init__(self, candidates: Sequence[str]) -> None: ...
    def start(self, limit_bytes: int = ..., launches: bool = True) -> None:
        """Starts recording.

        Args:
            limit_bytes: of the buffers; records that do not fit are counted.
            launches: record not only the work but also the calls that launched it, and their
                external ids: needed to know who launched what, and slower.

        Raises:
            OSError: it cannot; the message names the call and CUPTI's error.
        """
    def external_ids(self) -> tuple[int, int]:
        """Addresses of the two C functions that tag launches, for ``NodeMarks.hook``.

        ``void push(uint64_t id)`` tags what this thread launches from now on with this external
        id; ``void pop(void)`` ends that. Call them while CUPTI records.
        """
    def stop(self) -> CuptiRecording:
        """Stops recording. Launched work must have finished, or its records are lost."""

#: Element types of the arrays above.
WORK: np.dtype[np.void]
CALL: np.dtype[np.void]
EXTERNAL: np.dtype[np.void]

def decode(buffers: Iterable[tuple[bytes | npt.NDArray[np.uint8], Sequence[int]]]) -> CuptiColumns:
    """Decodes raw records, even from another machine; does not need libcupti."""

def names_at(addresses: Iterable[int]) -> dict[int, str]:
    """The C string at each address in this process's memory, demangled; empty for address 0.

    Only for names of kernels that this process has just recorded.
    """
