"""Whether the samples of a process are of one state.

Latencies have heavy tails and are no independent draws: load comes and goes, clocks change.
So states are told from the middles of blocks.
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

#: Blocks that a timed pass is cut into.
BLOCKS = 64

#: Samples of the smallest block whose middle says something.
FEWEST_IN_BLOCK = 5

#: Blocks below which no state is told.
FEWEST_BLOCKS = 16

#: Difference of two states that does not count: the precision that a profile aims at.
SAME_STATE = 0.01

#: A state that lasts at least so long until the end is steady.
STEADY_SHARE = 0.5

#: Samples in a row above the 99th percentile of the steady rest that are warm-up.
_SLOW_RUN = 3

#: Rank correlation of blocks with time from which changes are one drift.
_TREND = 0.8


@dataclasses.dataclass(frozen=True, slots=True)
class SteadyState:
    """What became of the latency in the course of a timed pass.

    Attributes:
        kind: ``flat``, one state; ``warm-up``, slower at first, then steady; ``drift``,
            moving in one direction, or faster at first, then steady; ``unstable``, several
            states and none lasts; ``unknown``, too few samples to tell.
        start: index of the first steady sample; None where there is no steady state.
        reason: one sentence.
    """

    kind: Kind
    start: int | None
    reason: str


def classify(duration_ns: Samples) -> SteadyState:
    """Class of the samples of one process, in the order in which they were taken.

    The classes and the rule that small differences are none follow Barrett, Bolz-Tereick,
    Killick, Mount & Tratt, Virtual Machine Warmup Blows Hot and Cold, OOPSLA 2017. The
    changes are the optimal partition of the centres of the logarithms in 64 blocks
    (Jackson et al., An algorithm for optimal partitioning of data on an interval, IEEE
    Signal Process. Lett. 2005) under squared loss with the penalty of three log n (a
    change point costs a place and a level: Yao, Stat. Probab. Lett. 1988, with half as
    much again for the tails). The noise of a block is told from differences of neighbours
    (von Neumann, Ann. Math. Stat. 1941), without the largest, which may be steps.

    Simulated, 300 series of one state each, called flat in % of 200 / 1000 / 10,000
    samples: Student's t(3) 96 / 98 / 100, two modes 100 / 100 / 100, one in fifty thrice as
    long 89 / 99 / 100, AR(0.5) 94 / 99 / 100, AR(0.9) 14 / 77 / 99: what wanders for longer
    than a block lasts is not told from states.

    Args:
        duration_ns: at least 80 samples, or nothing is told.
    """
    count = len(duration_ns)
    size = max(FEWEST_IN_BLOCK, count // BLOCKS)
    blocks = count // size
    if blocks < FEWEST_BLOCKS:
        needed = FEWEST_BLOCKS * FEWEST_IN_BLOCK
        return SteadyState("unknown", None, f"too few samples to classify: {count}, needs {needed}")
    values = np.asarray(duration_ns, np.float64)
    if not (np.isfinite(values).all() and (values > 0).all()):
        return SteadyState("unknown", None, "some samples took no time at all")
    # What does not fill the last block joins no block: less than one block of samples.
    centres = _block_centres(np.log(values[: blocks * size]).reshape(blocks, size))
    noise = _noise(centres)
    bounds = _partition(centres, max(noise, SAME_STATE / 10))
    levels = np.array([centres[a:b].mean() for a, b in bounds])
    same = np.abs(levels - levels[-1]) <= max(SAME_STATE, 2 * noise)
    # The steady state begins after the last segment that differs from the last one.
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
    """How many of the processes with a timed pass are of each class, the commonest first."""
    kinds = [classify(p.steady.duration_ns).kind for p in processes if len(p.steady)]
    return dict(Counter(kinds).most_common())


def _flat_or_slow_start(values: npt.NDArray[np.float64]) -> SteadyState:
    """Flat, but for some samples at the very beginning that no block shows."""
    usual = np.quantile(values[len(values) // 4 :], 0.99)
    slow = int((values <= usual).argmax())
    if slow >= _SLOW_RUN:
        reason = f"the first {slow} samples are slower than 99 % of the others"
        return SteadyState("warm-up", slow, reason)
    return SteadyState("flat", 0, "one state from the first sample to the last")


def _block_centres(blocks: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Means of the middle halves: as blind to tails as medians, but of two modes that take
    turns within a block they see the mixture, not now one and now the other.
    """
    size = blocks.shape[1]
    cut = size // 4
    middle = np.partition(blocks, (cut, size - 1 - cut), axis=1)[:, cut : size - cut]
    centres: npt.NDArray[np.float64] = middle.mean(axis=1)
    return centres


def _noise(centres: npt.NDArray[np.float64]) -> float:
    """Standard deviation of blocks of one state, from the differences of neighbours.

    The fifth that differs most is left out, steps may be among it; 0.6616 is the standard
    deviation of the rest of a standard normal variable.
    """
    steps = np.sort(np.abs(np.diff(centres)))
    usual = steps[: max(1, round(0.8 * len(steps)))]
    return float(np.sqrt(np.mean(usual**2))) / (0.6616 * math.sqrt(2))


def _partition(values: npt.NDArray[np.float64], noise: float) -> list[tuple[int, int]]:
    """Segments of least squared loss plus penalty, two blocks long at least."""
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
