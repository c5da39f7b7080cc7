"""Where the level of a series changed: E-divisive with a permutation test.

Matteson & James, A Nonparametric Approach for Multiple Change Point Analysis of Multivariate
Data, JASA 2014 (arXiv 1306.4933); for series of benchmarks, Fleming et al., Hunter: Using Change
Point Detection to Hunt for Performance Regressions, ICPE 2023 (arXiv 2301.03034). Hunter tests by
Student's t, to be fast and to answer the same every time. Here the test permutes, which keeps its
rate of false changes whatever the distribution of the points, outliers included, and draws from a
fixed seed.

It relies on one thing: that without a change the points could as well stand in another order. A
machine that drifts breaks that (docs/METHODS.md); ``depends`` tells, mostly.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np

from harness.statistics.figures import Float64Array

#: Fewest points in which changes are looked for: six on each side of a step in the middle.
FEWEST_POINTS = 12

#: Fewest points between two changes, or between one and an end of the series: what one or two
#: points do is an outlier, not a new level.
FEWEST_BETWEEN = 3

#: Chance of a change in a window that has none, and permutations that decide about it. With as
#: many, at most four of them may divide the window better than the true order does.
CHANCE = 0.01
PERMUTATIONS = 499

#: Points that are looked at together: the cost of a test grows with the square of their number.
WINDOW = 200

#: Upper 5 % of a standard normal variable.
_NORMAL_95 = 1.645

#: Seed of the permutations: the same series has the same changes on every day.
_SEED = 20141


@dataclasses.dataclass(frozen=True, slots=True)
class ChangePoint:
    """The level of a series changed.

    Attributes:
        at: index of the first point of the new level.
        p_value: chance that points in random order would divide as well at any place.
    """

    at: int
    p_value: float


def change_points(values: Float64Array) -> tuple[ChangePoint, ...]:
    """All changes of a series, in order.

    A series longer than ``WINDOW`` is looked at in windows, each of which begins where the last
    change was found, or at half of the window before it.

    Args:
        values: float64[points], finite, in the order of time; logarithms where changes are factors.

    Raises:
        ValueError: a value is not finite.
    """
    series = np.asarray(values, np.float64)
    if not np.isfinite(series).all():
        msg = "a series with values that are not finite has no levels"
        raise ValueError(msg)
    if len(series) < FEWEST_POINTS:
        return ()
    found: list[ChangePoint] = []
    begin = 0
    while True:
        end = min(begin + WINDOW, len(series))
        found += _divided(series, begin, end)
        if end == len(series):
            return tuple(found)
        begin = max(end - WINDOW // 2, found[-1].at if found else 0)


def levels(count: int, places: Sequence[int]) -> list[slice]:
    """The stretches of a series of so many points between its changes."""
    ends = [0, *places, count]
    return [slice(begin, end) for begin, end in itertools.pairwise(ends)]


def lag_correlation(values: Float64Array, places: Sequence[int]) -> float:
    """Correlation of neighbouring points about their levels; 0 where nothing varies.

    Its bias, of about -1 / (points of a level), is corrected (Marriott & Pope, Biometrika 1954):
    levels that follow a drift hide much of it.

    Args:
        values: float64[points].
        places: where their level changed.
    """
    parts = levels(len(values), places)
    rest = np.concatenate([values[part] - values[part].mean() for part in parts])
    squares = float(rest @ rest)
    if squares == 0:
        return 0.0
    return float(rest[1:] @ rest[:-1]) / squares + len(parts) / len(rest)


def depends(values: Float64Array, places: Sequence[int]) -> bool:
    """Whether neighbouring points resemble each other more than independent ones do.

    One-sided, at 5 %: of independent points the correlation has a deviation of 1 / sqrt(points).
    """
    return lag_correlation(values, places) > _NORMAL_95 / math.sqrt(len(values))


def _divided(series: Float64Array, begin: int, end: int) -> Iterator[ChangePoint]:
    """Changes between two places: the best one if it stands the test, then those on its sides."""
    if end - begin < 2 * FEWEST_BETWEEN:
        return
    part = _fenced(series[begin:end])
    distances = np.abs(part[:, None] - part[None, :])
    best, place = _best_division(distances)
    p_value = _chance(distances, best)
    if p_value > CHANCE:
        return
    at = begin + place
    yield from _divided(series, begin, at)
    yield ChangePoint(at, p_value)
    yield from _divided(series, at, end)


def _fenced(values: Float64Array) -> Float64Array:
    """The values, those beyond Tukey's fences set to them (Exploratory Data Analysis, 1977).

    One profile in twenty that is ten deviations off would hide a step of five: it is found in 94 %
    of such series instead of 60 %, when five profiles show it. Where outliers are few, the step
    itself stays, and the order of the points plays no part, so that the test stays valid.
    """
    low, high = np.percentile(values, [25, 75])
    reach = 1.5 * (high - low)
    return np.clip(values, low - reach, high + reach) if reach > 0 else values


def _best_division(distances: Float64Array) -> tuple[float, int]:
    """The largest divergence of two neighbouring stretches, and where they meet.

    Both stretches together begin at the first point and may end before the last: so a level that
    holds for a while only is found, too (Matteson & James, section 2.2). The divergence is the
    scaled distance in energy with exponent 1: the mean distance between the stretches, twice,
    minus those within each, times ``n m / (n + m)``.

    Args:
        distances: float64[points, points], absolute differences.
    """
    count = len(distances)
    # sums[i, j]: of the distances between the first i points and the first j.
    sums = np.zeros((count + 1, count + 1))
    np.cumsum(distances, axis=0, out=sums[1:, 1:])
    np.cumsum(sums[1:, 1:], axis=1, out=sums[1:, 1:])
    first = np.arange(FEWEST_BETWEEN, count - FEWEST_BETWEEN + 1)[:, None]  # points before
    whole = np.arange(2 * FEWEST_BETWEEN, count + 1)[None, :]  # points of both
    second = np.maximum(whole - first, FEWEST_BETWEEN)
    own = np.diagonal(sums)
    between = sums[first, whole] - own[first]
    after = own[whole] - 2 * sums[first, whole] + own[first]
    divergence = 2 * between / (first * second)
    divergence -= own[first] / (first * (first - 1))
    divergence -= after / (second * (second - 1))
    divergence *= first * second / (first + second)
    divergence[whole - first < FEWEST_BETWEEN] = -np.inf
    place = int(divergence.argmax())
    return float(divergence.flat[place]), int(first[place // divergence.shape[1], 0])


def _chance(distances: Float64Array, best: float) -> float:
    """Chance that points in random order divide at least as well as this.

    Drawing ends as soon as it exceeds ``CHANCE`` for sure (Besag & Clifford, Sequential Monte
    Carlo p-values, Biometrika 1991).
    """
    if not best > 0:
        return 1.0
    random = np.random.default_rng(_SEED)
    most = CHANCE * (PERMUTATIONS + 1)
    as_good = 1  # the true order is one of them
    for drawn in range(1, PERMUTATIONS + 1):
        order = random.permutation(len(distances))
        # Rounding must not make the same division look different.
        as_good += _best_division(distances[np.ix_(order, order)])[0] >= best * (1 - 1e-9)
        if as_good > most:
            return as_good / (drawn + 1)
    return as_good / (PERMUTATIONS + 1)
