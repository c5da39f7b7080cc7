"""Ways to use the yardstick: the one in harness, and alternatives to it.

``compare`` assumes only that a model's reaction to the state of the machine is between none and
``REACH`` times the yardstick's. Here that is one way among others.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from harness.statistics.figures import CONFIDENCE
from harness.statistics.hypotheses import estimate
from harness.statistics.occasions import MEDIAN_OCCASION_SD_BESIDE_YARDSTICK
from harness.statistics.verdicts import MARGIN, Comparison, Side, compare, judge

Way = Callable[[Side, Side], Comparison]


def ignored(base: Side, candidate: Side) -> Comparison:
    """The yardstick is ignored."""
    return compare(Side(base.log_figure), Side(candidate.log_figure), same_occasion=False)


def bounded(base: Side, candidate: Side, occasion_sd: float | None = None) -> Comparison:
    """Only what holds for every reaction from none to ``REACH`` is said: what harness does."""
    return compare(base, candidate, same_occasion=False, occasion_sd=occasion_sd)


def divided(base: Side, candidate: Side) -> Comparison:
    """Latencies are divided by the yardstick: the reaction is assumed to be 1."""
    return _of_reaction(base, candidate, 1.0, 0.0)


def covariate(base: Side, candidate: Side) -> Comparison:
    """The reaction is estimated within the sides, pooled; its variance widens the interval.

    Analysis of covariance (Fisher, Statistical Methods for Research Workers, 4th ed. 1932,
    section 49).
    """
    values = np.concatenate(
        [side.log_figure - side.log_figure.mean() for side in (base, candidate)]
    )
    machine = np.concatenate([one - one.mean() for one in (_machine(base), _machine(candidate))])
    squares = float(machine @ machine)
    reaction = float(values @ machine) / squares
    left = values - reaction * machine
    variance = float(left @ left) / (len(values) - 3) / squares
    return _of_reaction(base, candidate, reaction, variance)


def _of_reaction(base: Side, candidate: Side, reaction: float, variance: float) -> Comparison:
    """The comparison for one reaction, known with this variance."""
    machine = _machine(base), _machine(candidate)
    sd = MEDIAN_OCCASION_SD_BESIDE_YARDSTICK
    found = estimate(
        base.log_figure, candidate.log_figure, *machine, reaction,
        same_occasion=False, occasion_sd=sd,
    )  # fmt: skip
    if variance:
        apart = float(machine[1].mean() - machine[0].mean())
        found = dataclasses.replace(
            found,
            variances=np.append(found.variances, variance * apart**2),
            freedoms=np.append(found.freedoms, len(machine[0]) + len(machine[1]) - 3.0),
        )
    return judge([found], MARGIN, CONFIDENCE, sd)


def _machine(side: Side) -> np.ndarray:
    parts = np.asarray(side.log_yardstick)
    return parts if parts.ndim == 1 else parts.mean(axis=1)
