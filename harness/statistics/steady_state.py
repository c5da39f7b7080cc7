"""Whether the samples of a process come from one steady state.

Latencies have heavy tails and are not independent: load comes and goes, clocks change. So
states are detected from the centres of blocks of samples.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from harness.records import ProcessRecord
from harness.statistics.figures import Samples

Kind = Literal["flat", "warm-up", "drift", "unstable", "unknown"]

#: Number of blocks that a timed pass is cut into.
BLOCKS = 64

#: Samples in the smallest block whose centre is meaningful.
FEWEST_IN_BLOCK = 5

#: With fewer blocks than this, no state is reported.
FEWEST_BLOCKS = 16

#: States that differ by less than this share are the same: the precision a profile aims at.
SAME_STATE = 0.01

#: The last state is steady if it covers at least this share of the pass.
STEADY_SHARE = 0.5

#: This many first samples in a row above the 99th percentile of the rest are warm-up.
_SLOW_RUN = 3

#: At or above this rank correlation of blocks with time, the changes are one drift.
_TREND = 0.8


@dataclasses.dataclass(frozen=True, slots=True)
class SteadyState:
    """How the latency developed during a timed pass.

    Attributes:
        kind: ``flat``, one state; ``warm-up``, slower at first, then steady; ``drift``,
            moving in one direction, or faster at first, then steady; ``unstable``, several
            states and none lasts; ``unknown``, too few samples to tell.
        start: index of the first steady sample; None if there is no steady state.
        reason: one sentence.
    """

    kind: Kind
    start: int | None
    reason: str


def classify(duration_ns: Samples) -> SteadyState:
    """Classifies the samples of one process, in the order in which they were taken.

    The classes, and the rule to ignore small differences, follow Barrett, Bolz-Tereick,
    Killick, Mount & Tratt, Virtual Machine Warmup Blows Hot and Cold, OOPSLA 2017. Change
    points come from the optimal partition of the log latency's centres in 64 blocks (Jackson
    et al., An algorithm for optimal partitioning of data on an interval, IEEE Signal Process.
    Lett. 2005) under squared loss with a penalty of 3 log n (a change point costs a place and
    a level: Yao, Stat. Probab. Lett. 1988, with half as much again for the tails). The noise
    of a block is estimated from differences between neighbours (von Neumann, Ann. Math. Stat.
    1941), without the largest, which may be steps.

    In simulation, 300 series of a single state each were classified as flat, at 200 / 1000 /
    10,000 samples, in these percentages: Student's t(3) 96 / 98 / 100, two modes 100 / 100 /
    100, one sample in fifty three times as long 89 / 99 / 100, AR(0.5) 94 / 99 / 100, AR(0.9)
    14 / 77 / 99. Wandering that outlasts a block cannot be told from a change of state.

    Args:
        duration_ns: at least 80 samples; fewer are ``unknown``.
    """
    count = len(duration_ns)
    size = max(FEWEST_IN_BLOCK, count // BLOCKS)
    blocks = count // size
    if blocks < FEWEST_BLOCKS:
        needed = FEWEST_BLOCKS * FEWEST_IN_BLOCK
        return SteadyState("unknown", None, f"too few samples to classify: {count} of {needed}")
    values = np.asarray(duration_ns, np.float64)
    if not (np.isfinite(values).all() and (values > 0).all()):
        return SteadyState("unknown", None, "some samples took no time at all")
    # The remainder, less than one block of samples, is left out.
    centres = _block_centres(np.log(values[: blocks * size]).reshape(blocks, size))
    noise = _noise(centres)
    bounds = _partition(centres, max(noise, SAME_STATE / 10))
    levels = np.array([centres[a:b].mean() for a, b in bounds])
    same = np.abs(levels - levels[-1]) <= max(SAME_STATE, 2 * noise)
    # The steady state begins after the last segment that differs from the final level.
    first = 0 if same.all() else len(same) - int((~same)[::-1].argmax())
    start = bounds[first][0] * size
    if first == 0:
        return _flat_or_slow_start(values)
    steps = ", ".join(f"{level:+.1%}" for level in np.expm1(levels - levels[-1])[:4])
    trend = _trend(centres)
    if (blocks - bounds[first][0]) / blocks < STEADY_SHARE:
        if abs(trend) >= _TREND:
            way = "rising" if trend > 0 else "falling"
            change = math.expm1(abs(float(levels[-1] - levels[0])))
            return SteadyState("drift", None, f"latency kept {way}, by {change:.1%} in all")
        changes = len(bounds) - 1
        shifts = "1 shift" if changes == 1 else f"{changes} shifts"
        reason = f"{shifts} of level; the levels before the last, relative to it: {steps}"
        return SteadyState("unstable", None, reason)
    slower = levels[:first].mean() > levels[-1]
    kind: Kind = "warm-up" if slower else "drift"
    reason = f"steady from sample {start} of {count}, before it {steps}"
    return SteadyState(kind, start, reason.replace(", +0.0%", ""))


def states(processes: Sequence[ProcessRecord]) -> dict[Kind, int]:
    """Number of processes with a timed pass in each class, the most common class first."""
    kinds = [classify(p.steady.duration_ns).kind for p in processes if len(p.steady)]
    return dict(Counter(kinds).most_common())


def _flat_or_slow_start(values: npt.NDArray[np.float64]) -> SteadyState:
    """Flat, or a warm-up of a few samples at the very start that no block shows."""
    usual = np.quantile(values[len(values) // 4 :], 0.99)
    slow = int((values <= usual).argmax())
    if slow >= _SLOW_RUN:
        reason = f"the first {slow} samples are slower than 99 % of the others"
        return SteadyState("warm-up", slow, reason)
    return SteadyState("flat", 0, "one state from the first sample to the last")


def _block_centres(blocks: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Mean of each block's middle half: as robust to tails as the median, but where two modes
    alternate within a block it sees their mixture instead of flipping between them.
    """
    size = blocks.shape[1]
    cut = size // 4
    middle = np.partition(blocks, (cut, size - 1 - cut), axis=1)[:, cut : size - cut]
    centres: npt.NDArray[np.float64] = middle.mean(axis=1)
    return centres


def _noise(centres: npt.NDArray[np.float64]) -> float:
    """Standard deviation of the blocks of one state, from differences between neighbours.

    The largest fifth is left out, as it may include steps; 0.6616 is the standard deviation
    of a standard normal variable without its largest fifth.
    """
    steps = np.sort(np.abs(np.diff(centres)))
    usual = steps[: max(1, round(0.8 * len(steps)))]
    return float(np.sqrt(np.mean(usual**2))) / (0.6616 * math.sqrt(2))


def _partition(values: npt.NDArray[np.float64], noise: float) -> list[tuple[int, int]]:
    """Segments that minimise squared loss plus penalty, each at least two blocks long."""
    count = len(values)
    z = (values - np.median(values)) / noise
    sums = np.concatenate([[0.0], np.cumsum(z)])
    squares = np.concatenate([[0.0], np.cumsum(z * z)])
    penalty = 3 * math.log(count)
    best = np.full(count + 1, math.inf)
    best[0] = -penalty
    last = np.zeros(count + 1, int)
    for end in range(2, count + 1):
        begin = np.arange(end - 1)
        loss = squares[end] - squares[begin] - (sums[end] - sums[begin]) ** 2 / (end - begin)
        total = best[begin] + loss + penalty
        last[end] = int(total.argmin())
        best[end] = total[last[end]]
    bounds: list[tuple[int, int]] = []
    end = count
    while end > 0:
        bounds.append((int(last[end]), end))
        end = int(last[end])
    return bounds[::-1]


def _trend(values: npt.NDArray[np.float64]) -> float:
    """Rank correlation with time (Spearman, Am. J. Psychol. 1904)."""
    ranks = np.argsort(np.argsort(values))
    return float(np.corrcoef(ranks, np.arange(len(values)))[0, 1])
