"""When enough processes have been measured."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from harness.statistics.intervals import t_interval, typical
from harness.statistics.latency import is_precise
from harness.storage import shards


class StopRule:
    """Stops once the requested precision is reached, or before a process would exceed the budget.

    Args:
        precision: half-width of the median's interval to reach, relative to the median.
        budget_s: seconds of measuring after which to give up.
        partial: folder of the finished processes' shards.
    """

    def __init__(self, precision: float, budget_s: float, partial: Path) -> None:
        self._precision = precision
        self._budget_s = budget_s
        self._partial = partial
        self._began_s = time.monotonic()
        self._medians_ns: list[float] = []

    def is_met(self) -> bool:
        """Whether to stop; call between processes, once at least one has finished."""
        while (self._partial / shards.file_name(len(self._medians_ns))).exists():
            shard = shards.read_shard(self._partial, len(self._medians_ns))
            self._medians_ns.append(float(np.median(shard.process.steady.duration_ns)))
        medians_ns = np.array(self._medians_ns)
        if is_precise(t_interval(medians_ns), typical(medians_ns), self._precision):
            return True
        elapsed_s = time.monotonic() - self._began_s
        return is_spent(self._budget_s, elapsed_s, len(self._medians_ns))


def is_spent(budget_s: float, elapsed_s: float, finished: int) -> bool:
    """Whether one more process, as long as the average so far, would exceed the budget."""
    return elapsed_s * (1 + 1 / finished) > budget_s
