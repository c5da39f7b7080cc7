"""How many processes would decide."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence

from harness.statistics.hypotheses import Estimate

#: Chance of a decision that ``processes_needed`` is counted for.
POWER = 0.8

#: Processes beyond which nobody is told to take more.
MOST_PROCESSES = 1000


def processes_needed(
    estimates: Sequence[Estimate], count: int, limit: float, confidence: float
) -> int | None:
    """Fewest processes a side that decide with the chance ``POWER``, the estimates being true.

    Power of the t test with the noncentral t replaced by a shifted one (Chow, Shao & Wang,
    Sample Size Calculations in Clinical Research, 2003, section 3.2).
    """
    from scipy.special import stdtrit

    one_direction = len({math.copysign(1, e.difference) for e in estimates}) == 1

    def decides(processes: int) -> bool:
        different, same = one_direction, True
        for estimate in estimates:
            error, freedom = estimate.spread(processes / count)
            distance = abs(estimate.difference)
            reach = stdtrit(freedom, POWER) * error
            outer = stdtrit(freedom, (1 + confidence) / 2) * error + reach
            inner = stdtrit(freedom, confidence) * error + reach
            different = different and distance >= outer
            same = same and limit - distance >= inner
        return different or same

    counts = range(count + 1, MOST_PROCESSES + 1)
    place = bisect.bisect_left(counts, True, key=decides)
    return counts[place] if place < len(counts) else None
