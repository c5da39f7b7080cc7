"""Types of the native module: memory bandwidth as STREAM measures it.

J. D. McCalpin, "STREAM: Sustainable Memory Bandwidth in High Performance Computers",
https://www.cs.virginia.edu/stream/.
"""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

def copy_and_triad(
    bytes_per_array: int, cpus: Iterable[int], repetitions: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Streams over three arrays of double with one thread on each CPU.

    A repetition is ``copied[i] = source[i]`` and then ``sum[i] = source[i] + scalar *
    copied[i]``. STREAM counts 16 bytes an element of the copy and 24 of the triad, that is
    twice and three times bytes_per_array, whether or not written lines are read before
    (``bypasses_caches``). The memory is allocated once, in huge pages where the kernel offers
    them, and first touched by the thread that uses it; every thread has a slice of its own.
    The GIL is not held.

    Args:
        bytes_per_array: a multiple of 64, at least 64 for each CPU. Caches are measured,
            not memory, unless it is several times the last-level caches of the CPUs.
        cpus: numbers of CPUs that this process may use, none twice.
        repetitions: the best of them is the bandwidth; their spread tells how quiet the
            machine was.

    Returns:
        Nanoseconds of the copies and of the triads, int64[repetitions] each, from the first
        thread's start to the last thread's end.

    Raises:
        ValueError: an argument is not as described.
        MemoryError: the arrays cannot be allocated.
        OSError: a thread cannot be started on its CPU.
        RuntimeError: an element did not have the right value after the last repetition.
    """

def bypasses_caches() -> bool:
    """Whether the kernels write past the caches (x86-64 with AVX).

    Where they do not, most CPUs read each line before they write it (write-allocate): memory
    then moves 24 bytes an element of the copy and 32 of the triad.
    """
