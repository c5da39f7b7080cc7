"""Figures of settings with intervals, and ratios between them: what all parts of a study rest on.

A setting may have been measured on several occasions, each a profile. Between occasions a machine
is effectively another one, so every interval includes what figures vary by from one to the next;
but not those between settings that were measured by turns, on the same occasion.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np

from harness.analysis.comparing.figures import compare_apart
from harness.analysis.noise import NoiseVerdict
from harness.statistics import occasions, paired
from harness.statistics.figures import CONFIDENCE, Float64Array
from harness.statistics.occasions import (
    LONGEST_WAIT,
    MEDIAN_OCCASION_SD,
    MEDIAN_OCCASION_SD_BESIDE_YARDSTICK,
)
from harness.statistics.paired import FEWEST_PAIRS
from harness.statistics.verdicts import MARGIN, Comparison, Side, Verdict
from harness.study.rows import Row

#: The figures of a setting: ns an inference, items a second, joules an item.
LATENCY, RATE, ENERGY = "latency", "throughput", "energy"


#: Most processes of a cell in one round that are looked for.
_MOST_OF_A_ROUND = 50

#: Standard deviations by which two occasions must differ to contradict what is assumed of them.
_SURPRISING = 2.6


@dataclasses.dataclass(frozen=True, slots=True)
class Estimate:
    """A figure of one setting, or a ratio of two.

    Attributes:
        value: None where there is none.
        interval: of 95 % confidence, (low, high); None where there is none.
        reason: why value or interval is missing; empty otherwise.
        doubt: why a verdict should not rest on it although there is an interval; empty otherwise.
        basis: what it rests on: ``2 profiles, 20 processes``.
        rows: the profiles.
    """

    value: float | None
    interval: tuple[float, float] | None = None
    reason: str = ""
    doubt: str = ""
    basis: str = ""
    rows: tuple[Row, ...] = ()

    @property
    def decisive(self) -> tuple[float, float] | None:
        """The interval if a verdict may rest on it."""
        return None if self.doubt else self.interval


def basis(rows: Sequence[Row]) -> str:
    """How many profiles and processes a figure rests on."""
    processes = sum(row.processes for row in rows)
    told = f"{len(rows)} profile{'s' * (len(rows) != 1)}"
    told += f", {processes} process{'es' * (processes != 1)}"
    interrupted = sum(not row.complete for row in rows)
    return told + (f", {interrupted} interrupted" if interrupted else "")


def _both(candidate: str, base: str) -> str:
    return f"{candidate} each" if candidate == base else f"{candidate} against {base}"


def figure(rows: Sequence[Row], which: str) -> Estimate:
    """A figure of one setting: geometric mean over its occasions of the means over processes.

    Its variance is that of the processes within an occasion plus that between occasions: the
    standard deviation ``MEDIAN_OCCASION_SD``, until there are enough occasions to learn it
    (``occasions.learned``). Student's t with Satterthwaite's degrees of freedom.

    Args:
        rows: of one machine and setting, at least one.
        which: ``LATENCY`` in ns an inference, ``RATE`` in items a second, ``ENERGY`` in joules an
            item.
    """
    told = tuple(rows)
    if which == ENERGY:
        return _energy(told)
    if which == RATE and (reason := next((r.rate_reason for r in told if r.rate_reason), "")):
        return Estimate(None, reason=reason, rows=told)
    groups = [_logs(row, which) for row in told]
    if not all(len(group) and np.isfinite(group).all() for group in groups):
        return Estimate(None, reason="a process has no time above zero", rows=told)
    means = np.array([float(group.mean()) for group in groups])
    value = math.exp(float(means.mean()))
    found = Estimate(value, basis=basis(told), rows=told)
    if min(map(len, groups)) < 2:
        return dataclasses.replace(
            found, reason="one process, which cannot show how much processes differ"
        )
    count = len(groups)
    within = np.array([float(group.var(ddof=1)) / len(group) for group in groups]) / count**2
    between = occasions.learned([means.tolist()], MEDIAN_OCCASION_SD)
    low, high = _interval(
        float(means.mean()),
        [*within, between.variance / count],
        [*(len(group) - 1.0 for group in groups), between.freedom],
    )
    return dataclasses.replace(
        found, interval=(low, high), doubt=busy(told, which) or _disagree(told, which)
    )


def _interval(
    centre: float, variances: Sequence[float], freedoms: Sequence[float]
) -> tuple[float, float]:
    """Ends of a figure from the variances of what its logarithm is the sum of."""
    from scipy.special import stdtrit  # a tenth of a second to import, needed only here

    total = sum(variances)
    parts = sum(v * v / f for v, f in zip(variances, freedoms, strict=True))
    freedom = total * total / parts if parts > 0 else 1e9
    half = float(stdtrit(min(freedom, 1e9), (1 + CONFIDENCE) / 2)) * math.sqrt(total)
    return math.exp(centre - half), math.exp(centre + half)


def _disagree(rows: Sequence[Row], which: str) -> str:
    """Says that two occasions differ by more than is assumed; of three, that is learned."""
    if len(rows) != 2:
        return ""
    one, other = (_logs(row, which) for row in rows)
    apart = abs(float(one.mean() - other.mean()))
    variance = 2 * MEDIAN_OCCASION_SD**2 + sum(
        float(logs.var(ddof=1)) / len(logs) for logs in (one, other) if len(logs) > 1
    )
    if apart <= _SURPRISING * math.sqrt(variance):
        return ""
    return (
        f"its two occasions differ by {math.expm1(apart):.0%}, more than is assumed: measure again"
    )


def busy(rows: Sequence[Row], which: str) -> str:
    """Why a figure of a machine that was too busy should not be trusted; empty if it was not."""
    disturbed = sum(bool(row.noise.unusable) and "median" in row.noise.unusable for row in rows)
    if disturbed:
        return f"the machine was too busy in {disturbed} of {len(rows)} profiles"
    if which == RATE:  # a mean over all inferences: the waiting itself is in it
        unknown = any(row.noise.waited is None for row in rows)
        return "unknown whether it waited for a CPU" if unknown else _waited(rows)
    return ""


def _waited(rows: Sequence[Row]) -> str:
    """Says that a machine waited for its CPUs, as far as is known."""
    longest = max(row.noise.waited or 0.0 for row in rows)
    return f"it waited {longest:.0%} of the time for a CPU" if longest > LONGEST_WAIT else ""


def _energy(rows: tuple[Row, ...]) -> Estimate:
    """Joules an item; of several occasions, the interval covers those of all."""
    missing = next((row.joules.reason for row in rows if row.joules.value is None), "")
    if missing:
        return Estimate(None, reason=missing, rows=rows)
    if any(row.setting.batch is None for row in rows):
        return Estimate(None, reason="how many items an inference has is not known", rows=rows)
    items = [row.setting.batch or 1 for row in rows]
    joules = [float(row.joules.value or 0.0) / n for row, n in zip(rows, items, strict=True)]
    value = math.exp(float(np.log(joules).mean())) if min(joules) > 0 else float(np.mean(joules))
    ends = [
        (row.joules_interval[0] / n, row.joules_interval[1] / n)
        for row, n in zip(rows, items, strict=True)
        if row.joules_interval is not None
    ]
    interval = None
    reason = "one process, or a pass too short for the meter"
    if len(ends) == len(rows):
        interval = (min(low for low, _ in ends), max(high for _, high in ends))
        reason = ""
    doubt = next((row.joules_doubt for row in rows if row.joules_doubt), "")
    return Estimate(value, interval, reason, doubt, basis(rows), rows)


def ratio(base: Sequence[Row], candidate: Sequence[Row], which: str) -> Estimate:
    """The candidate's figure over the base's, with an interval as ``compare`` makes it.

    Processes that were measured by turns, in the rounds of one sweep or in pairs, are compared in
    pairs: what the machine does over the hours befalls both alike (``paired.compare_paired``).
    That of a machine that is too busy is doubted all the same: what disturbs two threads need not
    disturb one.

    All others: Welch's t on the logarithms of the processes' figures, with the variance between
    occasions on both sides. On one machine the yardstick tells how fast the machine was; of two
    machines it says that they differ, which is what is asked, so it is left out.

    Args:
        base: profiles of one machine and setting.
        candidate: likewise.
        which: as in ``figure``.
    """
    rows = (*base, *candidate)
    if {row.copy_of for row in base} & {row.copy_of for row in candidate}:
        return Estimate(None, reason="both sides are the same profile", rows=rows)
    if which == ENERGY:
        return ratio_of_intervals(figure(base, which), figure(candidate, which))
    if which == RATE and (reason := next((r.rate_reason for r in rows if r.rate_reason), "")):
        return Estimate(None, reason=reason, rows=rows)
    told = Estimate(None, basis=_both(basis(candidate), basis(base)), rows=rows)
    pairs = _pairs(base, candidate, which)
    if pairs and min(map(len, pairs)) >= FEWEST_PAIRS:
        doubt = busy(base, which) or busy(candidate, which) or _waited(rows)
        return doubted(_of_pairs(told, pairs), doubt)
    same = len({row.machine for row in rows}) == 1
    sides = [_side(side, which, beside=same) for side in (base, candidate)]
    if not all(len(side.log_figure) and np.isfinite(side.log_figure).all() for side in sides):
        return Estimate(None, reason="a process has no time above zero", rows=rows)
    name = "latency_ns" if which == LATENCY else "time_per_inference_ns"
    noises = (_worst(base), _worst(candidate))
    counts = (len(base), len(candidate))
    found = compare_apart(name, sides[0], sides[1], noises, occasions=counts)
    if found.interval is None:
        value = math.exp(_centre(candidate, which) - _centre(base, which))
        return dataclasses.replace(told, value=value, reason=found.reason)
    told = dataclasses.replace(
        told, value=found.ratio, interval=found.interval, doubt=_doubt(found)
    )
    told = doubted(told, _disagree(base, which) or _disagree(candidate, which))
    return inverse(told) if which == RATE else told


def _doubt(found: Comparison) -> str:
    """Why no verdict should rest on an interval that excludes 1."""
    low, high = found.interval or (1.0, 1.0)
    if found.verdict is Verdict.UNDECIDED and not found.doubt and not low <= 1 <= high:
        return "a rank test over processes does not confirm it"
    return found.doubt


def _pairs(base: Sequence[Row], candidate: Sequence[Row], which: str) -> list[Float64Array]:
    """Of each occasion the logarithms of the ratios within its rounds; empty where not all rows
    have a partner that was measured by turns with them.
    """
    left = list(candidate)
    found: list[Float64Array] = []
    if which == LATENCY and any(row.sides["latency_ns"].unusable for row in (*base, *left)):
        return []
    for row in base:
        partners = [(other, rounds) for other in left if (rounds := by_turns(row, other))]
        if len(partners) != 1:
            return []
        partner, rounds = partners[0]
        left.remove(partner)
        found.append(_means(partner, rounds, which) - _means(row, rounds, which))
    return found if not left else []


def _means(row: Row, rounds: Sequence[Sequence[int]], which: str) -> Float64Array:
    """float64[rounds], the mean of a row's logarithms in each round."""
    logs = dict(zip(row.turns.start_ns, _logs(row, which).tolist(), strict=True))
    return np.array([
        float(np.mean([logs[index] for index in indices if index in logs])) for indices in rounds
    ])  # fmt: skip


def by_turns(one: Row, other: Row) -> list[list[int]]:
    """The indices of the processes in each round, if two rows of one machine were measured by
    turns, in random order; empty if they were not.

    Both sides of an ``ab`` were, in pairs. Cells of a sweep were, if each round of both had ended
    before the next one of either began: a cell that was added later, or measured whole, was not.
    In a round, each cell measures the same number of processes.
    """
    first, second = one.turns.start_ns, other.turns.start_ns
    if one.turns.pairs or other.turns.pairs:
        together = one.turns.pairs == other.turns.pairs
        return [[index] for index in sorted(first.keys() & second.keys())] if together else []
    clock = one.turns.clock
    if not clock or clock != other.turns.clock or one.machine != other.machine:
        return []
    for each in range(1, _MOST_OF_A_ROUND + 1):
        rounds: dict[int, set[int]] = {}
        for index in sorted(first.keys() | second.keys()):
            rounds.setdefault(index // each, set()).add(index)
        whole = [
            sorted(indices) for indices in rounds.values()
            if not first.keys().isdisjoint(indices) and not second.keys().isdisjoint(indices)
        ]  # fmt: skip
        if len(whole) < FEWEST_PAIRS:
            return []
        starts = [
            [of[index] for of in (first, second) for index in indices if index in of]
            for indices in whole
        ]
        if all(max(here) < min(after) for here, after in itertools.pairwise(starts)):
            return whole
    return []


def _of_pairs(told: Estimate, occasions_of: Sequence[Float64Array]) -> Estimate:
    """A ratio from the logarithms within the rounds of each occasion.

    Of one occasion, as ``ab`` tells it. Of several, ratios differ from one to the next as well: by
    ``MEDIAN_OCCASION_SD_BESIDE_YARDSTICK``, until there are enough to learn it.
    """
    rounds = sum(map(len, occasions_of))
    told = dataclasses.replace(told, basis=f"{told.basis}, in {rounds} rounds")
    if len(occasions_of) == 1:
        found = paired.compare_paired(occasions_of[0])
        told = dataclasses.replace(told, value=found.ratio, interval=found.interval)
        if found.interval is None:
            return dataclasses.replace(told, reason=found.reason)
        return dataclasses.replace(told, doubt=_doubt(found))
    count = len(occasions_of)
    means = [float(one.mean()) for one in occasions_of]
    if not np.isfinite(means).all():
        return dataclasses.replace(told, reason="a process has no time above zero")
    between = occasions.learned([means], MEDIAN_OCCASION_SD_BESIDE_YARDSTICK)
    interval = _interval(
        float(np.mean(means)),
        [*(one.var(ddof=1) / len(one) / count**2 for one in occasions_of),
         between.variance / count],
        [*(len(one) - 1.0 for one in occasions_of), between.freedom],
    )  # fmt: skip
    return dataclasses.replace(told, value=math.exp(float(np.mean(means))), interval=interval)


def inverse(of: Estimate) -> Estimate:
    """One over a ratio."""
    interval = None if of.interval is None else (1 / of.interval[1], 1 / of.interval[0])
    return dataclasses.replace(of, value=None if not of.value else 1 / of.value, interval=interval)


def scaled(of: Estimate, factor: float) -> Estimate:
    """A figure times a constant above zero."""
    return mapped(of, lambda value: value * factor)


def doubted(of: Estimate, why: str) -> Estimate:
    """The figure with a doubt, if there is a reason for one and none yet."""
    return dataclasses.replace(of, doubt=of.doubt or why)


def mapped(of: Estimate, function: Callable[[float], float]) -> Estimate:
    """A figure through a monotone function."""
    value = None if of.value is None else function(of.value)
    interval = None
    if of.interval is not None:
        ends = sorted(map(function, of.interval))
        interval = (ends[0], ends[1])
    return dataclasses.replace(of, value=value, interval=interval)


def winner(of: Estimate) -> int:
    """-1 if a ratio is surely below 1, 1 if above, 0 if that cannot be told, or if it is surely
    within ``MARGIN`` of 1, which nobody would call a win.
    """
    ends = of.decisive
    if ends is None or (ends[0] > 1 / (1 + MARGIN) and ends[1] < 1 + MARGIN):
        return 0
    return -1 if ends[1] < 1 else 1 if ends[0] > 1 else 0


def _logs(row: Row, which: str) -> Float64Array:
    return row.log_rate if which == RATE else row.sides["latency_ns"].log_figure


def _centre(rows: Sequence[Row], which: str) -> float:
    return float(np.mean([_logs(row, which).mean() for row in rows]))


def _side(rows: Sequence[Row], which: str, *, beside: bool) -> Side:
    """The processes of all occasions, as ``compare`` joins the profiles of a side."""
    sides = [row.sides["latency_ns"] for row in rows]
    yardsticks = [side.log_yardstick for side in sides]
    told = [each for each in yardsticks if each is not None]
    known = beside and len(told) == len(sides)
    # The yardstick is a time, so rates are compared as times of an item.
    sign = -1.0 if which == RATE else 1.0
    return Side(
        sign * np.concatenate([_logs(row, which) for row in rows]),
        np.concatenate(told) if known else None,
        "" if which == RATE else next((side.unusable for side in sides if side.unusable), ""),
    )


def _worst(rows: Sequence[Row]) -> NoiseVerdict:
    """The noise of the most disturbed occasion."""
    return max((row.noise for row in rows), key=lambda one: (len(one.unusable), one.waited or 0.0))


def ratio_of_intervals(base: Estimate, candidate: Estimate) -> Estimate:
    """A ratio of two figures whose intervals are all that is known: the extremes of both."""
    rows = (*base.rows, *candidate.rows)
    if base.value is None or candidate.value is None:
        side, one = ("base", base) if base.value is None else ("other side", candidate)
        name = one.rows[0].setting.device if one.rows else side
        return Estimate(None, reason=f"{name}: {one.reason}", rows=rows)
    if base.value <= 0:
        return Estimate(None, reason="the figure of the base is not above zero", rows=rows)
    told = Estimate(
        candidate.value / base.value,
        basis=_both(candidate.basis, base.basis),
        doubt=base.doubt or candidate.doubt,
        rows=rows,
    )
    if base.interval is None or candidate.interval is None:
        return dataclasses.replace(told, reason=base.reason or candidate.reason)
    if base.interval[0] <= 0:
        return dataclasses.replace(told, reason="the interval of the base reaches zero")
    ends = (candidate.interval[0] / base.interval[1], candidate.interval[1] / base.interval[0])
    return dataclasses.replace(told, interval=ends)
