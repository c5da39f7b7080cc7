"""Intervals that several benchmarks print."""

from __future__ import annotations

import numpy as np


def interval_of_median(samples: np.ndarray) -> tuple[float, float]:
    """95 % order-statistic interval of the median (normal approximation to the binomial)."""
    ordered = np.sort(samples)
    half = 0.98 * np.sqrt(len(ordered))
    low = max(0, int(len(ordered) / 2 - half))
    high = min(len(ordered) - 1, int(np.ceil(len(ordered) / 2 + half)))
    return float(ordered[low]), float(ordered[high])
