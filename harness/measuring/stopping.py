"""When enough processes have been measured."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from harness.statistics import intervals
from harness.storage import shards


class Precision:
    """Whether enough processes have been measured.

    Args:
        precision: half width of the interval of the median, relative to it, to be reached.
        budget_s: seconds of measuring after which it is given up.
        partial: folder of what has finished.
    """

    def __init__(self, precision: float, budget_s: float, partial: Path) -> None:
        self._precision = precision
        self._budget_s = budget_s
        self._partial = partial
        self._began_s = time.monotonic()
        self._medians: list[float] = []

    def enough(self) -> bool:
        """Asked between two processes."""
        while (self._partial / shards.file_name(len(self._medians))).exists():
            shard = shards.read_shard(self._partial, len(self._medians))
            self._medians.append(float(np.median(shard.process.steady.duration_ns)))
        interval = intervals.t_interval(np.array(self._medians))
        if interval is not None:
            low, high = interval
            if high - low <= 2 * self._precision * float(np.median(self._medians)):
                return True
        elapsed_s = time.monotonic() - self._began_s
        return elapsed_s * (1 + 1 / len(self._medians)) > self._budget_s
