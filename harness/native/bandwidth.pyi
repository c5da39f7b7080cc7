"""Types of the native module: memory bandwidth, measured as by STREAM.

J. D. McCalpin, "STREAM: Sustainable Memory Bandwidth in High Performance Computers",
https://www.cs.virginia.edu/stream/.
"""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

def copy_and_triad(
    bytes_per_array: int, cpus: Iterable[int], repetitions: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Streams over three arrays of doubles with one thread on each CPU.

    A repetition is ``copied[i] = source[i]`` and then ``sum[i] = source[i] + scalar *
    copied[i]``. STREAM counts 16 bytes per element for the copy and 24 for the triad, that is
    two and three times bytes_per_array, whether or not written lines are read first
    (``bypasses_caches``). The memory is allocated once, in huge pages if the kernel offers
    them, and first touched by the thread that uses it; each thread has its own slice.
    The GIL is not held.

    Args:
        bytes_per_array: a multiple of 64, at least 64 for each CPU. Make it several times the
            last-level caches of the CPUs, otherwise caches are measured instead of memory.
        cpus: numbers of CPUs that this process may use, without duplicates.
        repetitions: the fastest gives the bandwidth; their spread shows how quiet the machine
            was.

    Returns:
        Nanoseconds of the copies and of the triads, int64[repetitions] each, from the first
        thread's start to the last thread's end.

    Raises:
        ValueError: an argument is not as described.
        MemoryError: the arrays cannot be allocated.
        OSError: a thread cannot be started on its CPU.
        RuntimeError: an element had a wrong value after the last repetition.
    """

def bypasses_caches() -> bool:
    """Whether the kernels use non-temporal stores, which bypass the caches (x86-64 with AVX).

    If not, most CPUs read each line before writing it (write-allocate): the memory traffic is
    then 24 bytes per element for the copy and 32 for the triad.
    """
