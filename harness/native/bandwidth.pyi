"""Types of the native module: memory bandwidth, measured as by STREAM.

J. D. McCalpin, "STREAM: Sustainable Memory Bandwidth in High Performance Computers",
https://www.cs.virginia.edu/stream/.
"""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

def copy_and_triad(
    bytes_per_array: int,
    cpus: Iterable[int],
    rounds: int,
    parts: int = 1,
    passes: int = 1,
    past_caches: bool = True,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Streams over three arrays of doubles with one thread on each CPU.

    A round is ``copied[i] = source[i]`` over the whole arrays and then ``sum[i] = source[i] +
    scalar * copied[i]``. STREAM counts 16 bytes an element of the copy and 24 of the triad,
    that is twice and three times bytes_per_array, whether or not written lines are read before
    (``bypasses_caches``). The memory is allocated once, in huge pages where the kernel offers
    them, and first touched by the thread that uses it; every thread has its own slice. The GIL
    is not held.

    Args:
        bytes_per_array: a multiple of 64, at least 64 for each CPU and part. The three arrays
            together decide what is measured: the smallest cache that holds them, or memory if
            they are several times the last-level caches.
        cpus: numbers of CPUs that this process may use, all different.
        rounds: the best of their times is the bandwidth.
        parts: into which each slice is cut, and which are timed one by one: a short time is
            more likely to fit between two interruptions.
        passes: over a part in each time; more than one where a single pass is too short.
        past_caches: store past the caches where the CPU can (memory); through them otherwise.

    Returns:
        Copies and triads, int64[2, rounds * parts] each. Row 0: nanoseconds from the first
        thread's start to the last thread's end. Row 1: CPU time of all threads meanwhile, which
        is less than their number times row 0 where one of them lost its CPU.

    Raises:
        ValueError: an argument is not as described.
        MemoryError: the arrays cannot be allocated.
        OSError: a thread cannot be started on its CPU.
        RuntimeError: an element did not have the right value after the last round.
    """

def bypasses_caches() -> bool:
    """Whether the kernels can write past the caches (x86-64 with AVX).

    Where they cannot, most CPUs read each line before they write it (write-allocate): memory
    then moves 24 bytes an element of the copy and 32 of the triad.
    """
