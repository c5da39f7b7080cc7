"""Types of the native module: a fixed workload whose duration shows how fast the machine is."""

import numpy as np
import numpy.typing as npt

class Timer:
    """The workload and its 14 MiB of memory, allocated and touched by the constructor.

    The number and kind of its operations are the same on every machine and with every compiler;
    each part takes about a millisecond at 3 GHz.

    Raises:
        MemoryError: there is not enough memory for it.
    """

    def __init__(self) -> None: ...
    def run(
        self,
        start_ns: npt.NDArray[np.int64],
        compute_ns: npt.NDArray[np.int64],
        cache_ns: npt.NDArray[np.int64],
        memory_ns: npt.NDArray[np.int64],
    ) -> int:
        """Times as many repetitions as the arrays have elements, back to back.

        Runs on the calling thread, without the GIL and without allocating anything. The parts:

        * compute: additions and multiplications of doubles in registers, in dependent chains,
          along with integer operations that have few dependencies;
        * cache: eight interleaved pointer chases through 256 KiB, in a fixed random order;
        * memory: a read through 10 MiB that were just flushed from all caches.

        Args:
            start_ns: receives CLOCK_MONOTONIC at the start of each repetition.
            compute_ns: receives the duration of this part.
            cache_ns: likewise, without a first lap of the chase.
            memory_ns: likewise, without flushing the caches.

        Returns:
            A digest of the last repetition's results: always the same number.

        Raises:
            ValueError: the arrays differ in length or are empty, the yardstick is closed, or
                another thread is running it.
        """
    def close(self) -> None:
        """Frees the memory; may be called twice.

        Raises:
            ValueError: another thread is running it.
        """
