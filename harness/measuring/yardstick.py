"""How fast the machine currently is, measured with a fixed workload.

It runs on the calling thread only, on any CPU that thread may use. Whatever slows one thread
(clock, contention on the core or on memory) also slows the threads of a multi-threaded model;
but it hardly notices when another program takes away some of their CPUs.

It leaves the caches full of its own data: discard a few inferences between it and anything that
is timed.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from harness.native import yardstick
from harness.records import NO_YARDSTICK, Yardstick


def measure(repetitions: int) -> Yardstick:
    """Times the workload this many times; 3 to 5 ms each, and a few more to set up its memory.

    Raises:
        ValueError: repetitions is below 1.
        MemoryError: there is not enough memory for it.
    """
    if repetitions < 1:
        msg = f"repetitions must be at least 1: {repetitions}"
        raise ValueError(msg)
    # Written, so that their pages are backed by memory before anything is timed.
    columns = tuple(np.full(repetitions, -1, np.int64) for _ in range(4))
    workload = yardstick.Timer()
    try:
        workload.run(*columns)
    finally:
        workload.close()
    return Yardstick(*columns)


def concatenate(parts: Iterable[Yardstick]) -> Yardstick:
    """All repetitions in the order of the parts; ``NO_YARDSTICK`` if there are none."""
    parts = [NO_YARDSTICK, *parts]
    return Yardstick(
        np.concatenate([part.start_ns for part in parts]),
        np.concatenate([part.compute_ns for part in parts]),
        np.concatenate([part.cache_ns for part in parts]),
        np.concatenate([part.memory_ns for part in parts]),
    )
