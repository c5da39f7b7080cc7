"""Pairs of processes: the difference of a figure within pairs, and whether the sides scatter alike.

``harness.statistics.pairs`` decides about the latency, look after look. What is here is looked at
once, at the end.
"""

from __future__ import annotations

import math

import numpy as np

from harness.statistics.figures import CONFIDENCE, Float64Array
from harness.statistics.verdicts import MARGIN, Comparison, Verdict

#: Fewest pairs that are worth pairing: of fewer, half of the degrees of freedom cost more than
#: what the machine does from pair to pair (docs/METHODS.md).
FEWEST_PAIRS = 5

#: Random exchanges of the sides within pairs that decide whether they scatter alike.
_EXCHANGES = 999
_SEED = 1945


def compare_paired(
    log_ratios: Float64Array, *, margin: float = MARGIN, confidence: float = CONFIDENCE
) -> Comparison:
    """Verdict on one figure of both sides, measured in pairs.

    Student's t on the logarithms of the ratios: what the machine does to both members of a pair
    alike cancels. FASTER or SLOWER if the interval excludes 1 and Wilcoxon's signed ranks do not
    contradict (Wilcoxon, Individual comparisons by ranking methods, 1945; all signs counted).
    SAME if two one-sided tests reject a difference as large as the margin.

    Args:
        log_ratios: float64[pairs], candidate over base.
        margin: ratios from 1 / (1 + margin) to 1 + margin count as the same.
        confidence: of the interval.
    """
    count = len(log_ratios)
    if count < 2:
        return _not_comparable(f"{count} pairs cannot show how much pairs differ")
    if not np.isfinite(log_ratios).all():
        return _not_comparable("a process has no time above zero")
    if np.ptp(log_ratios) == 0:
        return _not_comparable(
            "all pairs differ by exactly the same amount, so their scatter is unknown: the clock "
            "is too coarse, or these are not measurements"
        )
    from scipy.special import stdtr, stdtrit  # a tenth of a second to import, needed only here

    centre = float(log_ratios.mean())
    error = float(log_ratios.std(ddof=1)) / math.sqrt(count)
    freedom = count - 1.0
    half = float(stdtrit(freedom, (1 + confidence) / 2)) * error
    inner = float(stdtrit(freedom, confidence)) * error
    limit = math.log1p(margin)
    p_rank, p_smallest = _signed_ranks(log_ratios)
    agrees = p_rank <= max(1 - confidence, p_smallest * (1 + 1e-9))
    interval = (math.exp(centre - half), math.exp(centre + half))
    reason = (
        f"ratio {math.exp(centre):.4f}, {100 * confidence:g} % interval {interval[0]:.4f} to "
        f"{interval[1]:.4f} of {count} pairs"
    )
    if abs(centre) + inner < limit:
        verdict = Verdict.SAME
        reason += f"; any difference is within the margin of {margin:.2%}"
    elif abs(centre) > half and agrees:
        verdict = Verdict.SLOWER if centre > 0 else Verdict.FASTER
    else:
        verdict = Verdict.UNDECIDED
        reason += (
            "; the signed ranks of the pairs do not confirm it"
            if abs(centre) > half
            else f"; includes 1 and exceeds the margin of ±{margin:.2%}"
        )
    return Comparison(
        verdict,
        math.exp(centre),
        interval,
        reason,
        rank_agrees=agrees,
        p_value=2 * float(stdtr(freedom, -abs(centre) / error)),
        p_value_same=float(stdtr(freedom, -(limit - abs(centre)) / error)),
    )


def _not_comparable(reason: str) -> Comparison:
    return Comparison(Verdict.NOT_COMPARABLE, None, None, reason)


def _signed_ranks(differences: Float64Array) -> tuple[float, float]:
    """Two-sided p-value of Wilcoxon's signed ranks, and the smallest one possible.

    Zeros are left out, ties get mid-ranks; every choice of signs is counted.
    """
    sizes = np.abs(differences[differences != 0])
    positive = differences[differences != 0] > 0
    _, inverse, repeats = np.unique(sizes, return_inverse=True, return_counts=True)
    doubled = (2 * np.cumsum(repeats) - repeats + 1)[inverse]  # twice the mid-ranks
    total = int(doubled.sum())
    ways = np.zeros(total + 1)
    ways[0] = 1
    for rank in doubled:
        ways[rank:] += ways[:-rank].copy()
    off = np.abs(np.arange(total + 1) - total / 2)
    as_far = off >= abs(int(doubled[positive].sum()) - total / 2)
    return float(ways[as_far].sum() / ways.sum()), float(2 ** (1 - len(sizes)))


def scatter_ratio(base: Float64Array, candidate: Float64Array) -> tuple[float, float]:
    """How much more the candidate's processes scatter than the base's, and the chance of that.

    The test exchanges both members within pairs at random, once each side is centred on its
    median: if the sides scatter alike, an exchange changes nothing (as the coin that orders a pair
    does; Pitman, Significance tests, 1937). It holds for any distribution, and whatever the
    machine does to both members. It cannot see a state that only a few processes are in: of four
    odd processes in forty pairs, all are on one side with a chance of one in eight.

    Args:
        base: float64[pairs], logarithms.
        candidate: likewise.

    Returns:
        (standard deviation of the candidate over the base's, two-sided p-value); (1, 1) with
        fewer than two pairs, or where nothing scatters; infinity where the base does not.
    """
    if len(base) < 2:
        return 1.0, 1.0
    squares = np.stack([one - np.median(one) for one in (base, candidate)]) ** 2
    sums = squares.sum(axis=1)
    if not sums.any():
        return 1.0, 1.0
    difference = squares[1] - squares[0]
    signs = np.random.default_rng(_SEED).choice([-1.0, 1.0], (_EXCHANGES, len(difference)))
    seen = abs(float(difference.sum()))
    as_far = int((np.abs(signs @ difference) >= seen * (1 - 1e-9)).sum())
    ratio = math.sqrt(sums[1] / sums[0]) if sums[0] > 0 else math.inf
    return ratio, (as_far + 1) / (_EXCHANGES + 1)
