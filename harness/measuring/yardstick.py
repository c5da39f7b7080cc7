"""How fast the machine is at the moment, told by a fixed workload.

It runs on the calling thread alone, on whatever CPUs that one may use. What slows one thread
(clock, a neighbour on the core or on the memory) slows those of a model of several threads
too; that another program takes some of their CPUs away it hardly sees.

It leaves the caches full of its own data: a few inferences should be discarded between it
and anything that is timed.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from harness.native import yardstick
from harness.records import NO_YARDSTICK, Yardstick


def measure(repetitions: int) -> Yardstick:
    """Times the workload so often; 3 to 5 ms each, and a few more for its memory.

    Raises:
        ValueError: repetitions is not at least 1.
        MemoryError: there is no memory for it.
    """
    if repetitions < 1:
        msg = f"repetitions must be at least 1: {repetitions}"
        raise ValueError(msg)
    # Written, so that their pages are there before anything is timed.
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
