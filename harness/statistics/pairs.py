"""Whether two configurations differ, decided anew after every pair of processes.

``ab`` measures pairs: one process of each configuration, the order within the pair drawn by
a fair coin. If the two are the same, the coin alone decides the sign of the difference,
whatever the machine did meanwhile. FASTER and SLOWER rely on nothing else: no distribution is
assumed, the size of a difference may depend on everything before it, and a test of fair
coins may be checked after every toss.

The interval and SAME assume more: that, about the true ratio too, a difference is as likely to lie
above as below, by any amount. A change that moves all processes alike leaves it so. One that puts
some of the processes of one side into another state does not: then the interval is of the middle
of the pairs, and SAME can be said although the mean differs.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt

from harness.statistics.figures import Float64Array
from harness.statistics.verdicts import Verdict

#: Bet sizes, for a difference of one scale: mixing them finds both small and large differences.
_STAKES = (0.5, 1.0, 2.0)

#: Differences are clipped at this many scales, so that one disturbed pair cannot wipe out the
#: evidence of the others. Simulated from 0.8 to 3: less is slower to find normal differences,
#: more is slower to find those among disturbed pairs.
_CLIP = 1.25

#: Median absolute value of a normal variable, in standard deviations.
_MEDIAN_OF_NORMAL = 0.6745

#: Search for the interval's ends: candidates in the first grid, then in each finer one.
_CANDIDATES = 120
_FINER = 24

#: How far out the ends of the interval are searched for, in widths of the data.
_FARTHEST = 100.0


@dataclasses.dataclass(frozen=True, slots=True)
class Decision:
    """What the pairs measured so far show.

    Attributes:
        verdict: on the second configuration of the pairs against the first.
        ratio: latency of the second over the first (Hodges-Lehmann); None where unknown.
        interval: holds the true ratio with confidence 1 - alpha, at this look and all others
            together; None with the reason.
        pairs: how many there are.
        pairs_needed: how many would decide if the evidence kept growing at its present rate;
            None if decided, or if it does not grow.
        go_on: whether to measure another pair.
        reason: one sentence.
    """

    verdict: Verdict
    ratio: float | None
    interval: tuple[float, float] | None
    pairs: int
    pairs_needed: int | None
    go_on: bool
    reason: str


def decide(
    differences: Float64Array,
    *,
    margin: float,
    alpha: float = 0.05,
    budget: int | None = None,
) -> Decision:
    """Verdict after any number of pairs; may be called after every one of them.

    Each pair is a bet on the sign of its difference from a tested value: wealth is multiplied
    by ``1 + tanh(stake * z)``, a fair game if a coin decides the sign, so the chance that it
    ever exceeds 1/alpha is at most alpha (Ville's inequality). ``z`` is the difference over
    the median size of those so far, clipped; stakes of both signs are averaged. Bets on
    symmetry: Ramdas, Ruf, Larsson & Koolen, Admissible anytime-valid sequential inference
    must rely on nonnegative martingales, 2020, section 5. The values not yet refuted form the
    confidence sequence: Waudby-Smith & Ramdas, Estimating means of bounded random variables
    by betting, JRSS B 2024. The verdict is FASTER or SLOWER once that sequence excludes a
    ratio of 1, SAME once it lies within the margin: one sequence answers all three questions,
    so asking three costs nothing extra.

    None of this holds without the coin: if the order within the pairs is not drawn at random,
    drift of the machine passes for a difference. docs/METHODS.md compares the alternatives.

    Args:
        differences: float64[pairs], log(second / first) of the latency of the two
            configurations, in the order of measuring. The order *within* each pair must be
            drawn by an independent fair coin, neither alternated nor balanced.
        margin: ratios from 1 / (1 + margin) to 1 + margin count as the same.
        alpha: chance of a wrong verdict, over all looks together.
        budget: most pairs that may be measured; None for no limit.

    Raises:
        ValueError: the margin or alpha is out of range.
    """
    if not 0 < alpha < 1 or not (0 < margin < math.inf):
        msg = f"needs 0 < alpha < 1 and a margin above 0, got alpha {alpha}, margin {margin}"
        raise ValueError(msg)
    differences = np.asarray(differences, np.float64)
    count = len(differences)
    may_go_on = budget is None or count < budget
    if not np.isfinite(differences).all():
        reason = "a pair has no finite difference: one of its processes measured no latency"
        return Decision(Verdict.NOT_COMPARABLE, None, None, count, None, False, reason)
    if count == 0:
        reason = "no pair has been measured"
        return Decision(Verdict.UNDECIDED, None, None, 0, None, may_go_on, reason)
    needed_at_least = fewest_pairs(alpha)
    if count >= needed_at_least and np.ptp(differences) == 0:
        reason = (
            f"all {count} pairs differ by exactly the same amount: "
            "the clock is too coarse for this latency, or these are not measurements"
        )
        return Decision(Verdict.NOT_COMPARABLE, None, None, count, None, False, reason)
    centre = _hodges_lehmann(differences)
    ratio = math.exp(centre)
    if count < needed_at_least:
        reason = f"{count} pairs cannot decide anything, at least {needed_at_least} are needed"
        return Decision(Verdict.UNDECIDED, ratio, None, count, needed_at_least, may_go_on, reason)
    threshold = math.log(1 / alpha)
    limit = math.log1p(margin)
    bounds = _interval(differences, threshold)
    if bounds is None:
        reason = "the pairs scatter too much for any interval yet"
        return Decision(Verdict.UNDECIDED, ratio, None, count, None, may_go_on, reason)
    low, high = bounds
    # The estimate is from all pairs; the interval had to stand at every look so far.
    if not low <= centre <= high:
        reason = (
            "the difference itself changed while it was measured: no single ratio fits all pairs"
        )
        return Decision(Verdict.UNDECIDED, ratio, None, count, None, False, reason)
    interval = (math.exp(low), math.exp(high))
    shown = f"{100 * (1 - alpha):g} % interval of the ratio {interval[0]:.4f} to {interval[1]:.4f}"
    if -limit < low and high < limit:
        reason = f"{shown}, within the margin of {margin:.2%}{_lopsided(differences, limit)}"
        return Decision(Verdict.SAME, ratio, interval, count, None, False, reason)
    if low > 0 or high < 0:
        verdict = Verdict.SLOWER if low > 0 else Verdict.FASTER
        reason = f"{shown}, excludes 1"
        return Decision(verdict, ratio, interval, count, None, False, reason)
    needed = _pairs_needed(differences, limit, threshold)
    reason = f"{shown}, includes 1 and exceeds the margin of ±{margin:.2%}"
    if not may_go_on:
        reason += f"; the budget of {budget} pairs is spent"
    return Decision(Verdict.UNDECIDED, ratio, interval, count, needed, may_go_on, reason)


def _lopsided(differences: Float64Array, limit: float) -> str:
    """Says that the mean lies where SAME says nothing does; empty if it does not."""
    mean = float(differences.mean())
    if abs(mean) <= limit:
        return ""
    return (
        f"; that is the middle of the pairs: their mean ratio is {math.exp(mean):.4f}, so some "
        "processes are in another state, and noise is not symmetric, as SAME assumes"
    )


def _log_wealth(differences: Float64Array, tested: Float64Array) -> Float64Array:
    """float64[tested, pairs]: logarithm of the wealth after each pair, for each value."""
    offsets = differences[None, :] - tested[:, None]
    sizes = np.abs(offsets)
    scale = np.empty_like(sizes)
    for seen in range(1, sizes.shape[1] + 1):  # sizes up to this pair, never signs
        scale[:, seen - 1] = np.median(sizes[:, :seen], axis=1)
    # A scale of zero: half of the pairs equal the value exactly, so any other is far off.
    limits = np.where(scale > 0, _CLIP * scale / _MEDIAN_OF_NORMAL, np.finfo(np.float64).tiny)
    z = _CLIP * np.clip(offsets / limits, -1.0, 1.0)
    bets = [np.cumsum(np.log1p(np.tanh(s * z)), axis=1) for k in _STAKES for s in (k, -k)]
    total: Float64Array = np.logaddexp.reduce(bets, axis=0) - math.log(len(bets))
    return total


def fewest_pairs(alpha: float) -> int:
    """Fewest pairs that can refute a value far below or above all of them."""
    pairs = 1
    far = np.full(1, _FARTHEST)
    while _log_wealth(np.zeros(pairs), far)[0, -1] < math.log(1 / alpha):
        pairs += 1
    return pairs


def _interval(differences: Float64Array, threshold: float) -> tuple[float, float] | None:
    """Smallest interval around all values not refuted by this pair or an earlier one.

    Returns:
        (low, high), low above high if all values are refuted; None if an end lies outside
        the range searched.
    """
    walsh = _walsh_averages(differences)
    width = float(np.ptp(differences))
    steps = width * np.geomspace(1e-3, _FARTHEST, 40)
    grid = np.unique(
        np.concatenate(
            [
                differences.min() - steps,
                np.quantile(walsh, np.linspace(0, 1, _CANDIDATES)),
                differences.max() + steps,
            ]
        )
    )
    stands = _not_refuted(differences, grid, threshold)
    if not stands.any():
        return math.inf, -math.inf
    if stands[0] or stands[-1]:
        return None
    first = int(stands.argmax())
    last = len(grid) - 1 - int(stands[::-1].argmax())
    low = _end(differences, threshold, float(grid[first - 1]), float(grid[first]))
    high = _end(differences, threshold, float(grid[last + 1]), float(grid[last]))
    return low, high


def _end(differences: Float64Array, threshold: float, refuted: float, standing: float) -> float:
    """The outermost value that may be true, searched from a refuted one towards a standing one."""
    for _ in range(2):
        grid = np.linspace(refuted, standing, _FINER)
        stands = _not_refuted(differences, grid, threshold)
        stands[-1] = True
        first = int(stands.argmax())
        refuted, standing = float(grid[max(first - 1, 0)]), float(grid[first])
    return refuted


def _not_refuted(
    differences: Float64Array, tested: Float64Array, threshold: float
) -> npt.NDArray[np.bool_]:
    stands: npt.NDArray[np.bool_] = _log_wealth(differences, tested).max(axis=1) < threshold
    return stands


def _walsh_averages(differences: Float64Array) -> Float64Array:
    rows, columns = np.triu_indices(len(differences))
    averages: Float64Array = (differences[rows] + differences[columns]) / 2
    return averages


def _hodges_lehmann(differences: Float64Array) -> float:
    """Median of the averages of all pairs (Hodges & Lehmann, Ann. Math. Stat. 1963)."""
    return float(np.median(_walsh_averages(differences)))


def _pairs_needed(differences: Float64Array, limit: float, threshold: float) -> int | None:
    """Pairs at which evidence growing at this rate refutes 1, or both ends of the margin."""
    count = len(differences)
    # Averaging over the stakes costs a constant; everything else grows with the pairs.
    price = math.log(2 * len(_STAKES))
    tested = np.array([0.0, -limit, limit])
    growth = (_log_wealth(differences, tested)[:, -1] + price) / count
    difference, below, above = (
        (threshold + price) / rate if rate > 0 else math.inf for rate in growth
    )
    needed = min(difference, max(below, above))
    return max(count + 1, math.ceil(needed)) if math.isfinite(needed) else None
