"""Types of the native module: a fixed workload whose time says how fast the machine is."""

import numpy as np
import numpy.typing as npt

class Timer:
    """The workload and its memory, 14 MiB, allocated and touched here.

    Its operations are the same in number and kind on every machine and with every compiler;
    each part takes about a millisecond at 3 GHz.

    Raises:
        MemoryError: there is no memory for it.
    """

    def __init__(self) -> None: ...
    def run(
        self,
        start_ns: npt.NDArray[np.int64],
        compute_ns: npt.NDArray[np.int64],
        cache_ns: npt.NDArray[np.int64],
        memory_ns: npt.NDArray[np.int64],
    ) -> int:
        """Times as many repetitions as the arrays have elements, one after the other.

        On the calling thread, without the GIL and without allocating anything. The parts are

        * compute: additions and multiplications of doubles in registers, in chains in which
          each waits for the one before, beside integer operations that wait for little;
        * cache: eight walks at a time from pointer to pointer through 256 KiB, in a fixed
          random order;
        * memory: a read through 10 MiB that were dropped from all caches just before.

        Args:
            start_ns: takes CLOCK_MONOTONIC at the start of each repetition.
            compute_ns: takes what this part took.
            cache_ns: likewise; a first lap of the walk is not in it.
            memory_ns: likewise; dropping data from the caches is not in it.

        Returns:
            A digest of what the last repetition calculated: always the same number.

        Raises:
            ValueError: the arrays differ in length or are empty, the yardstick is closed, or
                another thread is running it.
        """
    def close(self) -> None:
        """Frees the memory; may be called twice.

        Raises:
            ValueError: another thread is running it.
        """
