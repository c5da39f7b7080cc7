"""Comparison of undisturbed figures: what a model takes where nothing disturbs it.

Others on a machine can only add to a latency, never take away from it. So the faster samples of
the faster processes are the ones that tell of the model (Chen & Revels, Robust benchmarking in
noisy environments, 2016, arXiv 1608.04295), and the fastest repetitions of the yardstick tell how
fast the machine was. On a machine whose load came and went, the mean over all processes differed by
6 % from occasion to occasion, this figure by 0.2 % (``benchmarks/compare_designs.py``).

What the yardstick does see is refused as everywhere (``verdicts.compare``): a difference is claimed
only if it holds under every reaction of the model to the machine.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from harness.statistics import verdicts
from harness.statistics.figures import CONFIDENCE, Float64Array
from harness.statistics.hypotheses import Estimate
from harness.statistics.occasions import (
    MEDIAN_OCCASION_SD,
    MEDIAN_OCCASION_SD_BESIDE_YARDSTICK,
    REACH,
    Between,
    learned,
)
from harness.statistics.verdicts import MARGIN, Comparison, Side, Verdict

#: Percentile of a process's samples that is compared. Over the recorded occasions the 10th and the
#: 25th differed least from occasion to occasion, the median by half more; the 10th depends on
#: how long was looked (``benchmarks/compare_designs.py``).
PERCENT = 25

#: Shares of the processes whose mean counts: of the model's figures, and of the yardstick's.
FASTER_HALF = 1 / 2
FASTEST_QUARTER = 1 / 4

#: Part of the yardstick beside which the variance between occasions is learned: computing, which
#: every model does and every clock slows.
FIRST = 0

#: Confidence of the interval within which parts of the yardstick change in proportion. The narrower
#: it is, the sooner what was learned of the reaction is not used.
ALIKE = 0.9

#: Below so many processes the faster half is too few to know their scatter well.
ENOUGH_PROCESSES = 6


@dataclasses.dataclass(frozen=True, slots=True)
class FasterMean:
    """Mean of the smallest values.

    Attributes:
        mean: of them.
        variance: of that mean.
        freedom: degrees of freedom of that variance.
        values: float64[kept], the values, ascending.
    """

    mean: float
    variance: float
    freedom: float
    values: Float64Array


def faster(values: Float64Array, share: float = FASTER_HALF) -> FasterMean:
    """The mean of the smallest share of the values, at least two of them.

    A trimmed mean; its variance is that of the Winsorised values (Tukey & McLaughlin, Less
    vulnerable confidence and significance procedures, Sankhya A 1963).

    Args:
        values: float64[processes], logarithms.
        share: of them that is kept.
    """
    kept = min(max(2, math.ceil(len(values) * share)), len(values))
    ordered = np.sort(values)
    winsorised = np.minimum(ordered, ordered[kept - 1])
    squares = float(np.var(winsorised)) * len(winsorised)
    few = max(kept - 1, 1)
    return FasterMean(
        float(ordered[:kept].mean()), squares / (kept * few), float(few), ordered[:kept]
    )


def compare(
    base: Sequence[Side],
    candidate: Sequence[Side],
    *,
    history: Sequence[Side] = (),
    margin: float = MARGIN,
    confidence: float = CONFIDENCE,
) -> Comparison:
    """Verdict, ratio and interval of undisturbed figures of separate occasions.

    The difference is that of the means over each side's occasions, of the mean of the faster half
    of their processes. Its variance is that of these means, plus the variance between occasions for
    each occasion: assumed, or learned from other occasions, beside the ``FIRST`` part of the
    yardstick. If all occasions have one, the fastest quarter of it enters with every reaction from
    none to ``REACH``, part by part. From ``FEWEST_FOR_REACTION`` occasions on, only with reactions
    that these do not contradict; then the ratio is corrected by the middle of them. That holds only
    for changes of the yardstick of the kind and size that were seen (``_known``), else every
    reaction counts again.

    Args:
        base: at least one occasion; figures are those of an undisturbed process (``PERCENT``).
        candidate: likewise.
        history: the same thing as the base on other occasions.
        margin: ratios from 1 / (1 + margin) to 1 + margin count as the same.
        confidence: of the interval.

    Raises:
        ValueError: margin or confidence is out of range, or a side is empty.
    """
    verdicts.check(margin, confidence, None)
    sides = (list(base), list(candidate))
    if not all(sides):
        raise ValueError("a comparison needs an occasion on each side")
    refusal = _refusal(*sides)
    if refusal:
        return Comparison(Verdict.NOT_COMPARABLE, None, None, refusal)
    means = [[faster(one.log_figure) for one in side] for side in sides]
    beside = all(one.log_yardstick is not None for side in sides for one in side)
    told = _alike(history, sides[0][0], beside=beside)
    groups = [
        [faster(one.log_figure).mean for one in told],
        *([one.mean for one in side] for side in means),
    ]
    also = ""
    if beside:
        speeds = [np.array([_speed(one) for one in group]) for group in (told, *sides)]
        parts = range(speeds[1].shape[1])
        each = [
            learned(
                groups,
                MEDIAN_OCCASION_SD_BESIDE_YARDSTICK,
                [[float(one[part]) for one in group] for group in speeds],
            )
            for part in parts
        ]
        # One part, chosen beforehand: the variance beside the part that happens to explain most
        # would be too small, and how much too small depends on how alike the parts are.
        between = each[FIRST]
        free = _free(means[0], means[1], between)
        change = speeds[2].mean(axis=0) - speeds[1].mean(axis=0)
        known = _known(speeds, change)
        ranges = [each[part].reactions if known else (0.0, REACH) for part in parts]
        middle = sum(ranges[FIRST]) / 2 if ranges[FIRST][0] > 0 else 0.0
        # No reaction is one case, whichever part of the yardstick it is none to.
        cases = [
            (part if reaction else FIRST, reaction)
            for part, reaction in (
                (FIRST, middle),
                *((part, end) for part in parts for end in ranges[part]),
            )
        ]
        estimates = [
            dataclasses.replace(free, difference=free.difference - reaction * float(change[part]))
            for part, reaction in dict.fromkeys(cases)
        ]
        also = _said_of_reactions(ranges, ranges[FIRST] if middle else None)
    else:
        between = learned(groups, MEDIAN_OCCASION_SD)
        estimates = [_free(means[0], means[1], between)]
    return verdicts.judge(
        estimates,
        margin,
        confidence,
        between.sd,
        also + _said_of_sides(*sides),
        between=_said_of(between),
        ranks=False,
    )


def _alike(history: Sequence[Side], base: Side, *, beside: bool) -> list[Side]:
    """Those of the history that can be held against the base."""
    return [
        one
        for one in history
        if not verdicts.refusal(one, base)
        and not (beside and (one.log_yardstick is None or verdicts.refusal_of_yardstick(one, base)))
    ]


def _known(speeds: Sequence[Float64Array], change: Float64Array) -> bool:
    """Whether the yardstick changed as between other occasions, so that the cause may be theirs.

    A clock slows all parts alike, a neighbour on the core some parts more, and models react to the
    one and the other differently. So no part may have changed by more than was seen, nor out of
    proportion to the first part: beyond the ``ALIKE`` prediction interval of the regression on it.

    Args:
        speeds: float64[occasions, parts] of each group of occasions of the same thing.
        change: float64[parts], between the sides.
    """
    from scipy.special import stdtrit

    groups = [group - group.mean(axis=0) for group in speeds if len(group) > 1]
    if not groups or len(change) < 2:
        return False
    seen = np.concatenate(groups)
    freedom = len(seen) - len(groups) - 1
    if freedom < 1 or (np.abs(change) > np.ptp(seen, axis=0)).any():
        return False
    first = seen[:, 0]
    squares = float(first @ first)
    if squares == 0:
        return False
    for part in range(1, len(change)):
        slope = float(first @ seen[:, part]) / squares
        rest = seen[:, part] - slope * first
        variance = float(rest @ rest) / freedom * (2 + float(change[0]) ** 2 / squares)
        limit = float(stdtrit(freedom, (1 + ALIKE) / 2)) * math.sqrt(variance)
        if abs(float(change[part]) - slope * float(change[0])) > limit:
            return False
    return True


def _free(base: list[FasterMean], candidate: list[FasterMean], between: Between) -> Estimate:
    """The difference without any reaction to the machine."""
    both = [*base, *candidate]
    counts = [len(base)] * len(base) + [len(candidate)] * len(candidate)
    return Estimate(
        float(np.mean([one.mean for one in candidate]) - np.mean([one.mean for one in base])),
        np.array([one.variance / n**2 for one, n in zip(both, counts, strict=True)]),
        np.array([one.freedom for one in both]),
        between.variance * (1 / len(base) + 1 / len(candidate)),
        np.concatenate([one.values for one in base]),
        np.concatenate([one.values for one in candidate]),
        between.freedom,
    )


def _speed(side: Side) -> Float64Array:
    """float64[parts], the yardstick's log time where nothing disturbed it."""
    parts = verdicts.parts(side)
    return np.array([faster(column, FASTEST_QUARTER).mean for column in parts.T])


def _refusal(base: list[Side], candidate: list[Side]) -> str:
    for one in base:
        for other in candidate:
            refusal = verdicts.refusal(one, other)
            if not refusal and one.log_yardstick is not None and other.log_yardstick is not None:
                refusal = verdicts.refusal_of_yardstick(one, other)
            if refusal:
                return refusal
    return ""


def _said_of(between: Between) -> str:
    if between.occasions:
        return f"between {between.occasions} occasions of yours"
    return "between occasions (assumed)"


def _said_of_reactions(
    ranges: Sequence[tuple[float, float]], learned: tuple[float, float] | None
) -> str:
    if learned is None:
        most = max(strongest for _, strongest in ranges)
        return f", widened by up to {most:.2g} times the yardstick's own change"
    return (
        f", corrected for {learned[0]:.2g} to {learned[1]:.2g} times the yardstick's own change, "
        "as those occasions reacted to it"
    )


def _said_of_sides(base: list[Side], candidate: list[Side]) -> str:
    """What few processes leave unknown; empty if there are enough."""
    few = min(len(one.log_figure) for one in (*base, *candidate))
    if few >= ENOUGH_PROCESSES:
        return ""
    return f"; a side of {few} processes has too few to know the scatter of its faster half well"
