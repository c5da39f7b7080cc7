"""When enough processes have been measured."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from harness.statistics.intervals import t_interval, typical
from harness.statistics.latency import is_precise
from harness.storage import shards


class StopRule:
    """Stops at the precision asked for, or before a process would exceed the budget.

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
        self._medians_ns: list[float] = []

    def is_met(self) -> bool:
        """Asked between two processes, at least one of which has finished."""
        while (self._partial / shards.file_name(len(self._medians_ns))).exists():
            shard = shards.read_shard(self._partial, len(self._medians_ns))
            self._medians_ns.append(float(np.median(shard.process.steady.duration_ns)))
        medians_ns = np.array(self._medians_ns)
        if is_precise(t_interval(medians_ns), typical(medians_ns), self._precision):
            return True
        elapsed_s = time.monotonic() - self._began_s
        return is_spent(self._budget_s, elapsed_s, len(self._medians_ns))


def is_spent(budget_s: float, elapsed_s: float, finished: int) -> bool:
    """Whether one more, as long as those that have finished, would exceed the budget."""
    return elapsed_s * (1 + 1 / finished) > budget_s
