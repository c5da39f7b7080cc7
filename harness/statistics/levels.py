"""Whether samples lie at two levels rather than around one."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

#: Fewest samples that are judged, and the least part of them that makes a level.
FEWEST = 100
LEAST_PART = 0.1

#: Outliers are no level: this share of the samples is left out at each end.
TAIL = 0.025

#: Least part of the variance that lies between the levels (Otsu 1979 calls it separability). It is
#: 0.64 of a normal and 0.75 of a uniform distribution, and of two equal normal ones that are four
#: standard deviations apart 0.8.
SEPARABILITY = 0.8

#: Levels that differ by less, as a share of the lower one, are the same.
APART = 0.05


class TwoLevels(NamedTuple):
    """Two levels of samples.

    Attributes:
        low, high: mean of each.
        threshold: what is above belongs to the upper one.
        part: of the samples that belongs to the upper one.
    """

    low: float
    high: float
    threshold: float
    part: float


def two_levels(samples: npt.NDArray[np.int64]) -> TwoLevels | None:
    """The two levels at which samples lie, or None if one describes them.

    The split is that with the largest variance between its parts (Otsu, A Threshold Selection
    Method from Gray-Level Histograms, IEEE Transactions on Systems, Man, and Cybernetics 9, 1979).

    Args:
        samples: int64[n], above 0, in any order.
    """
    if len(samples) < FEWEST:
        return None
    ordered = np.sort(samples).astype(np.float64)
    cut = int(TAIL * len(ordered))
    ordered = ordered[cut : len(ordered) - cut]
    count, below = len(ordered), np.arange(1, len(ordered))
    sums = np.cumsum(ordered)
    low, high = sums[:-1] / below, (sums[-1] - sums[:-1]) / (count - below)
    between = below / count * (1 - below / count) * (high - low) ** 2
    at = int(np.argmax(between))
    part = 1 - below[at] / count
    variance = float(ordered.var())
    if (
        not LEAST_PART <= part <= 1 - LEAST_PART
        or between[at] < SEPARABILITY * variance
        or high[at] - low[at] < APART * low[at]
    ):
        return None
    threshold = (ordered[at] + ordered[at + 1]) / 2
    return TwoLevels(float(low[at]), float(high[at]), float(threshold), float(part))
