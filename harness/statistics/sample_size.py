"""How many processes it would take to decide."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence

from harness.statistics.hypotheses import Estimate

#: Statistical power that ``processes_needed`` aims at: the chance of a decision.
POWER = 0.8

#: More processes than this are never suggested.
MOST_PROCESSES = 1000


def processes_needed(
    estimates: Sequence[Estimate], count: int, limit: float, confidence: float
) -> int | None:
    """Fewest processes per side that decide with probability ``POWER`` if the estimates are true.

    Power of the t test, with a shifted t in place of the noncentral t (Chow, Shao & Wang,
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
