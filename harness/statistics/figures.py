"""Figures that may be missing with a reason, and percentiles with enough samples behind them."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt

Float64Array = npt.NDArray[np.float64]
Samples = npt.NDArray[np.int64] | Float64Array


#: Samples that must lie beyond a percentile before it is reported. With five, the
#: order-statistic interval around it is still inside the data (David & Nagaraja,
#: Order Statistics, 3rd ed., section 7.1: binomial interval of a quantile).
SAMPLES_BEYOND_PERCENTILE = 5


#: Confidence level of every interval.
CONFIDENCE = 0.95


@dataclasses.dataclass(frozen=True, slots=True)
class Figure:
    """A number, or the reason why there is none."""

    value: float | None
    reason: str = ""


def percentile(samples: npt.NDArray[np.int64], percent: float) -> Figure:
    """A percentile by linear interpolation, if enough samples lie beyond it."""
    needed = math.ceil(100 * SAMPLES_BEYOND_PERCENTILE / (100 - percent))
    if len(samples) < needed:
        return Figure(None, f"p{percent:g} needs {needed} samples, {len(samples)} were taken")
    return Figure(float(np.percentile(samples, percent)))
