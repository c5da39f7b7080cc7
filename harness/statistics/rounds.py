"""Things measured in turns, round by round: how much they differ when the machine drifts.

Each round measures some of the things once, in random order. What the machine does to a whole
round is estimated and taken out, so that things can be compared although not all were measured in
every round. It is the additive model of a randomized incomplete block design (Cochran & Cox,
Experimental Designs, 2nd ed. 1957, chapter 9): logarithm = thing + round + scatter.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt

from harness.statistics.figures import Float64Array

#: Residuals beyond this many standard deviations count less, in proportion (Huber, Robust
#: Estimation of a Location Parameter, 1964): a program that ran beside one measurement must not
#: decide.
_HUBER = 1.5

#: Passes of the weighted fit; later ones move nothing that matters.
_PASSES = 5

#: Median absolute value of a normal variable, in standard deviations.
_MEDIAN_OF_NORMAL = 0.6745


@dataclasses.dataclass(frozen=True, slots=True)
class Effects:
    """What each thing is worth, by the additive model.

    Attributes:
        values: float64[things], logarithms; only their differences mean something. NaN for a
            thing that was never measured.
        inverse: float64[things, things], of the normal equations.
        sd: of the scatter of one measurement; NaN without freedom.
        freedom: degrees of freedom of sd.
    """

    values: Float64Array
    inverse: Float64Array
    sd: float
    freedom: int

    def error(self, one: int, other: int) -> float:
        """Standard error of the difference of two things; NaN without freedom."""
        spread = self.inverse[one, one] + self.inverse[other, other]
        spread -= 2 * self.inverse[one, other]
        return self.sd * math.sqrt(max(spread, 0.0))

    def reach(self, one: int, other: int, alpha: float) -> float:
        """How far the difference of two may lie above what was found, with probability alpha.

        Infinite without freedom.
        """
        if self.freedom < 1:
            return math.inf
        from scipy.special import stdtrit  # a tenth of a second to import, needed only here

        return float(stdtrit(self.freedom, 1 - alpha)) * self.error(one, other)


def effects(
    things: npt.NDArray[np.int64],
    rounds: npt.NDArray[np.int64],
    logs: Float64Array,
    count: int,
) -> Effects:
    """Fits the additive model.

    Any two rounds must share a thing, or be linked by rounds that do: otherwise what differs
    between them cannot be told from the things.

    Args:
        things: int64[measurements], index of what was measured; at least one.
        rounds: int64[measurements], number of the round.
        logs: float64[measurements], logarithms of the figure.
        count: of all things, measured or not.
    """
    numbers, at = np.unique(rounds, return_inverse=True)
    rows = np.arange(len(logs))
    design = np.zeros((len(logs), count + len(numbers)))
    design[rows, things] = 1
    design[rows, count + at] = 1
    measured = np.zeros(count, bool)
    measured[things] = True
    # Things and rounds are determined but for a constant that may go from one to the other.
    freedom = len(logs) - int(measured.sum()) - len(numbers) + 1
    normal = _inverse(design.T @ design)
    weights: Float64Array = np.ones(len(logs))
    for _ in range(_PASSES if freedom > 0 else 1):
        weighted = _inverse(design.T @ (weights[:, None] * design))
        fitted: Float64Array = weighted @ (design.T @ (weights * logs))
        residuals = logs - design @ fitted
        scale = _scale(residuals, freedom)
        if not scale > 0:
            break
        weights[:] = np.minimum(1.0, _HUBER * scale / np.maximum(np.abs(residuals), 1e-300))
    values = fitted[:count].copy()
    values[~measured] = np.nan
    sd = math.nan
    if freedom > 0:
        # Huber, Robust Regression, 1973, with his correction for the number of parameters.
        whole = max(float((weights == 1).mean()), 0.5)
        correction = 1 + (1 - freedom / len(logs)) * (1 - whole) / whole
        sd = correction / whole * math.sqrt(float(((weights * residuals) ** 2).sum()) / freedom)
    return Effects(values, normal[:count, :count], sd, freedom)


def _inverse(matrix: Float64Array) -> Float64Array:
    """Of normal equations, which are one short of their rank."""
    return np.asarray(np.linalg.pinv(matrix, hermitian=True), np.float64)


def _scale(residuals: Float64Array, freedom: int) -> float:
    """Of the residuals that are not zero by the fit itself; 0 without freedom."""
    if freedom < 1:
        return 0.0
    lost = math.sqrt(len(residuals) / freedom)  # the fit makes residuals smaller than scatter is
    return float(np.median(np.abs(residuals))) / _MEDIAN_OF_NORMAL * lost
