"""Series with the tails and the memory that latencies have, and a known truth."""

from __future__ import annotations

import math

import numpy as np


def latencies(random: np.random.Generator, count: int) -> np.ndarray:
    """Around 100 µs, with the tail that latencies have."""
    return 1e5 * np.exp(0.02 * random.standard_t(3, count))


def autoregressive(random: np.random.Generator, count: int, lag: float) -> np.ndarray:
    values = random.normal(size=count)
    for k in range(1, count):
        values[k] = lag * values[k - 1] + math.sqrt(1 - lag**2) * values[k]
    return values
