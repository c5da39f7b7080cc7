"""How bandwidth falls where data outgrows a cache: why half a cache is sure, and twice is not.

    python benchmarks/cache_levels.py [THREADS]

For each cache level of this machine: GB/s of the copy and the triad over arrays that together are a
part or a multiple of the level's caches, from the fastest repetition whose threads had their CPUs.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np

from harness.measuring.looks import UNDISTURBED
from harness.measuring.streams import placement
from harness.native import bandwidth

#: Sizes of the three arrays together, in sizes of the level's caches.
PARTS = (1 / 4, 1 / 2, 1, 2, 4)

#: Bytes that a repetition goes over, so that the smallest arrays take long enough to time.
REPETITION_BYTES = 32 * 1024 * 1024


def main() -> None:
    """Prints a line for each level and kernel."""
    threads = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    cpus, caches = placement(os.sched_getaffinity(0), threads, Path("/"))
    print("GB/s at     " + "".join(f"{part:>9g}x" for part in PARTS))
    for cache in caches:
        columns = [speeds(int(cache.bytes * part), cpus) for part in PARTS]
        for name, row in zip(("copy", "triad"), zip(*columns, strict=True), strict=True):
            print(f"L{cache.level} {name:8s} " + "".join(f"{speed:10.0f}" for speed in row))


def speeds(together: int, cpus: list[int]) -> tuple[float, float]:
    """GB/s of copy and triad over three arrays of so many bytes together; nan on a busy machine."""
    line = 64 * len(cpus)
    array_bytes = max(together // 3 // line, 1) * line
    passes = max(REPETITION_BYTES // (3 * array_bytes), 1)
    times = bandwidth.copy_and_triad(array_bytes, cpus, 20, passes=passes, past_caches=False)
    copy, triad = (
        min(wall[cpu >= UNDISTURBED * len(cpus) * wall], default=np.nan) for wall, cpu in times
    )
    return 2 * array_bytes * passes / copy, 3 * array_bytes * passes / triad


if __name__ == "__main__":
    main()
