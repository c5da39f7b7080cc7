"""Tests between two groups of processes: on means, on ranks, and on many figures at once."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from harness.statistics.figures import Float64Array
from harness.statistics.occasions import drift_factor, unexplained

#: Up to this many processes in both groups together, the rank test is exact: it counts all orders.
_EXACT_RANKS = 40

#: Reactions to the machine that a probability is averaged over, as shares of the strongest one.
_REACTIONS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values: rejecting all at or below alpha keeps the family-wise error at alpha.

    Holm, A simple sequentially rejective multiple test procedure, Scand. J. Stat. 1979.

    Raises:
        ValueError: a value is not a probability.
    """
    values = np.asarray(p_values, np.float64)
    if not ((values >= 0) & (values <= 1)).all():
        msg = f"p-values must be probabilities, got {list(p_values)}"
        raise ValueError(msg)
    order = np.argsort(values, kind="stable")
    steps = values[order] * np.arange(len(values), 0, -1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return [float(p) for p in adjusted]


def rank_test(base: Float64Array, candidate: Float64Array) -> tuple[float, float, float]:
    """Mann-Whitney test with mid-ranks, conditional on the observed ties.

    Mann & Whitney, Ann. Math. Stat. 1947. Up to forty processes in all, every order is
    counted; above that, the normal approximation with tie-corrected variance is used
    (Lehmann, Nonparametrics, 1975, section 1.4).

    Returns:
        (share of pairs in which the candidate is larger, a tie counting as half a pair;
        two-sided p-value; the smallest p-value possible with these numbers of processes).
    """
    few, many = len(base), len(candidate)
    count = few + many
    _, inverse, repeats = np.unique(
        np.concatenate([base, candidate]), return_inverse=True, return_counts=True
    )
    # Twice the mid-ranks, which are whole numbers.
    doubled = (2 * np.cumsum(repeats) - repeats + 1)[inverse]
    total = int(doubled[few:].sum())
    share = (total / 2 - many * (many + 1) / 2) / (few * many)
    mean = many * (count + 1)
    smallest = min(1.0, 2 / math.comb(count, many))
    if count > _EXACT_RANKS:
        from scipy.special import ndtr

        variance = few * many * (doubled.var(ddof=1) if count > 1 else 0.0) / count
        z = abs(total - mean) / math.sqrt(variance) if variance > 0 else 0.0
        return share, min(1.0, 2 * float(ndtr(-z))), smallest
    # ways[k, s]: how many choices of k processes have ranks that add up to s.
    ways = np.zeros((many + 1, int(doubled.sum()) + 1))
    ways[0, 0] = 1
    for rank in doubled:
        ways[1:, rank:] += ways[:-1, :-rank].copy()
    sums = np.arange(ways.shape[1])
    as_far = np.abs(sums - mean) >= abs(total - mean)
    return share, float(ways[many, as_far].sum() / ways[many].sum()), smallest


def fisher(some: int, of: int, others: int, of_others: int) -> float:
    """Two-sided p-value that two shares are equal, given how many there are in all.

    Fisher's exact test (Statistical Methods for Research Workers, 5th ed. 1934, section 21.02):
    all tables with these sums that are no more probable than this one.

    Args:
        some: of the first group.
        of: size of the first group.
        others: of the second group.
        of_others: size of the second group.
    """
    together = some + others
    ways = [math.comb(of, k) * math.comb(of_others, together - k) for k in range(together + 1)]
    return sum(each for each in ways if each <= ways[some]) / sum(ways)


@dataclasses.dataclass(frozen=True, slots=True)
class Estimate:
    """A difference of logarithms, for one assumed reaction to the machine.

    Attributes:
        difference: candidate minus base.
        variances, freedoms: variance and degrees of freedom of each part of it that shrinks
            as processes are added.
        fixed: variance that does not shrink.
        base, candidate: adjusted values of the processes, for the rank test.
        fixed_freedom: degrees of freedom of that variance; infinite if it is taken as known.
    """

    difference: float
    variances: Float64Array
    freedoms: Float64Array
    fixed: float
    base: Float64Array
    candidate: Float64Array
    fixed_freedom: float = math.inf

    def spread(self, times: float = 1.0) -> tuple[float, float]:
        """Standard error and degrees of freedom with ``times`` as many processes."""
        variances = self.variances / times
        total = float(variances.sum()) + self.fixed
        # To a good approximation, freedom + 1 is what grows with the number of processes.
        freedoms = (self.freedoms + 1) * times - 1
        doubt = float((variances**2 / freedoms).sum()) + self.fixed**2 / self.fixed_freedom
        return math.sqrt(total), total**2 / doubt if doubt else math.inf


def estimate(
    base: Float64Array,
    candidate: Float64Array,
    base_yardstick: Float64Array,
    candidate_yardstick: Float64Array,
    reaction: float,
    *,
    same_occasion: bool,
    occasion_sd: float,
) -> Estimate:
    """The difference of two sides, for one assumed reaction of the model to the machine.

    Args:
        base: float64[processes], logarithms of the figure, in the order of measuring.
        candidate: likewise.
        base_yardstick: float64[processes], logarithms of the yardstick; zeros without one.
        candidate_yardstick: likewise.
        reaction: how strongly the model reacts to the machine, as a multiple of the yardstick.
        same_occasion: the sides were measured interleaved, so drift affects both.
        occasion_sd: standard deviation between occasions that the yardstick does not capture.
    """
    left, right = base - reaction * base_yardstick, candidate - reaction * candidate_yardstick
    variances: list[float] = []
    freedoms: list[float] = []
    for adjusted, values, yardstick in (
        (left, base, base_yardstick),
        (right, candidate, candidate_yardstick),
    ):
        count = len(adjusted)
        variances.append(float(adjusted.var(ddof=1)) / count)
        freedoms.append(count - 1.0)
        if not same_occasion:
            rest = unexplained(values, yardstick)
            factor, freedom = drift_factor(rest)
            variances.append((factor - 1) * float(rest.var(ddof=1)) / count)
            freedoms.append(freedom)
    return Estimate(
        float(right.mean() - left.mean()),
        np.array(variances),
        np.array(freedoms),
        2 * occasion_sd**2,
        left,
        right,
    )


def bounds(estimates: Sequence[Estimate], level: float) -> tuple[float, float]:
    """The smallest interval around those of all estimates, each out to this quantile of t."""
    from scipy.special import stdtrit  # a tenth of a second to import, needed only here

    lows, highs = [], []
    for estimate in estimates:
        error, freedom = estimate.spread()
        half = float(stdtrit(freedom, level) * error)
        lows.append(estimate.difference - half)
        highs.append(estimate.difference + half)
    return min(lows), max(highs)


def p_above(estimates: Sequence[Estimate], limit: float) -> float:
    """Probability that the difference is above the limit, from the t distribution of the estimates.

    That is its fiducial probability (Fisher, Inverse probability, Proc. Camb. Phil. Soc. 1930): of
    the decisions that it leads to, as many are right as it says
    (``benchmarks/compare_designs.py`` counts them). Where the reaction to the machine is not
    known, the mean over reactions from the first estimate's, none or the middle of what was
    learned, to each of the others'.

    Args:
        estimates: no two of the same reaction, which would count twice; the first one with none or
            a learned one, the others each with an end of what is possible.
        limit: logarithm of a ratio.
    """
    from scipy.special import stdtr

    # Infinite degrees of freedom, where only what is assumed varies, cannot be averaged.
    free, *ends = [(e.difference, e.spread()[0], min(e.spread()[1], 1e9)) for e in estimates]
    grid = [
        [start + share * (end - start) for start, end in zip(free, one, strict=True)]
        for one in ends
        for share in _REACTIONS
    ] or [list(free)]
    return float(np.mean([stdtr(freedom, (d - limit) / error) for d, error, freedom in grid]))


def p_difference(estimates: Sequence[Estimate]) -> float:
    """Largest p-value under any of the reactions; 1 if they disagree in direction."""
    signs = {math.copysign(1, e.difference) for e in estimates}
    if len(signs) > 1:
        return 1.0
    return max(2 * _upper_tail(e, abs(e.difference)) for e in estimates)


def p_same(estimates: Sequence[Estimate], limit: float) -> float:
    """Largest p-value, under any of the reactions, for a difference beyond the limit."""
    return max(_upper_tail(e, limit - abs(e.difference)) for e in estimates)


def _upper_tail(estimate: Estimate, distance: float) -> float:
    from scipy.special import stdtr

    error, freedom = estimate.spread()
    return float(stdtr(freedom, -distance / error))
