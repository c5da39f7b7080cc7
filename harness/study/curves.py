"""Where curves of a study bend: the batch at which the winner changes, and the knee over threads.

Only numbers come in: ratios with their intervals, in order of what is varied.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

#: Threads are worth adding up to where this share of the best throughput is reached, and an
#: operator scales as long as more threads take at least as much off its time as lies beyond it.
KNEE = 0.9


class At(NamedTuple):
    """A ratio at one batch.

    Attributes:
        batch: items of an inference.
        value: the ratio, above 1 where the second side wins; None where it is not known.
        winner: -1 if it is surely below 1, 1 if above, 0 if that cannot be told.
    """

    batch: int
    value: float | None
    winner: int


@dataclasses.dataclass(frozen=True, slots=True)
class Crossing:
    """Where the winner changes.

    Attributes:
        kind: ``between`` two measured batches; ``never`` within them; ``several`` times; or
            ``unknown``.
        winner: of the lowest batch that decides, as in At; 0 if none does.
        low, high: last batch at which the first winner is sure, and first at which the other is;
            of ``never`` the ends of what was measured. None otherwise.
        at: where the ratio is 1 on a straight line between these two in logarithms; None
            where there is no such pair.
        undecided: batches that do not tell.
    """

    kind: str
    winner: int
    low: int | None = None
    high: int | None = None
    at: float | None = None
    undecided: tuple[int, ...] = ()


def crossing(points: Sequence[At]) -> Crossing:
    """Where the winner changes over the batch.

    Args:
        points: in rising order of their batches.
    """
    undecided = tuple(point.batch for point in points if not point.winner)
    sure = [point for point in points if point.winner]
    if not sure:
        return Crossing("unknown", 0, undecided=undecided)
    changes = [k for k in range(1, len(sure)) if sure[k].winner != sure[k - 1].winner]
    first = sure[0].winner
    if len(changes) > 1:
        return Crossing("several", first, undecided=undecided)
    if not changes:
        # What cannot be told at an end may be a change.
        if undecided and (undecided[0] < sure[0].batch or undecided[-1] > sure[-1].batch):
            return Crossing("unknown", first, sure[0].batch, sure[-1].batch, None, undecided)
        return Crossing("never", first, points[0].batch, points[-1].batch, None, undecided)
    before, after = sure[changes[0] - 1], sure[changes[0]]
    at = None
    if before.value and after.value:
        low, high = math.log(before.value), math.log(after.value)
        share = -low / (high - low)
        at = math.exp(
            math.log(before.batch) + share * (math.log(after.batch) - math.log(before.batch))
        )
    return Crossing("between", first, before.batch, after.batch, at, undecided)


class Share(NamedTuple):
    """Throughput with some number of threads, as a share of the best.

    Attributes:
        threads: how many.
        value: the share.
        low, high: its interval, from 0 to infinity where nothing is sure.
    """

    threads: int
    value: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True, slots=True)
class Knee:
    """Fewest threads that reach ``KNEE`` of the best throughput.

    Attributes:
        threads: by the figures.
        earliest: fewest that may reach it, by the upper ends of the intervals.
        latest: fewest that surely do, by the lower ends; the most where none does. What is the best
            by its figure need not be it: others may be better by the upper ends of theirs.
    """

    threads: int
    earliest: int
    latest: int


def knee(shares: Sequence[Share], level: float = KNEE) -> Knee:
    """Where adding threads stops to pay.

    Args:
        shares: in rising order of their threads; one is the best, with the share 1.
        level: share of the best that is enough.

    Raises:
        ValueError: none reaches it, so none can be the best.
    """
    reached = [share.threads for share in shares if share.value >= level]
    possibly = [share.threads for share in shares if share.high >= level]
    if not reached or not possibly:
        raise ValueError("no share is 1")
    surely = [
        share.threads for share in shares
        if share.low >= level * max([1.0, *(one.high for one in shares if one is not share)])
    ]  # fmt: skip
    return Knee(min(reached), min(possibly), min(surely, default=shares[-1].threads))


@dataclasses.dataclass(frozen=True, slots=True)
class Scaling:
    """How the time of a part of an inference falls with the threads.

    Attributes:
        name: an operator type.
        times_ns: by threads, in rising order; a number of threads at which it did not run is
            missing.
        stops_at: fewest threads from which on more of them take less than a tenth off its time;
            None if it scales to the most that were measured.
        speed_up: time with the fewest threads over that with the most.
    """

    name: str
    times_ns: Mapping[int, float]
    stops_at: int | None
    speed_up: float


def scaling(name: str, times_ns: Mapping[int, float], level: float = KNEE) -> Scaling:
    """Where an operator stops scaling.

    Args:
        name: of it.
        times_ns: by threads; not empty, all above zero.
        level: share of the best speed that is enough.
    """
    ordered = dict(sorted(times_ns.items()))
    threads = list(ordered)
    stops = next(
        (
            count for count in threads[:-1]
            if all(ordered[more] >= level * ordered[count] for more in threads if more > count)
        ),
        None,
    )  # fmt: skip
    return Scaling(name, ordered, stops, ordered[threads[0]] / ordered[threads[-1]])


def frontier(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Which points no other one beats in both: lower first, higher second number.

    Args:
        points: (latency, throughput) of each; of equal points all are on the frontier.
    """
    return [
        not any(
            other[0] <= one[0] and other[1] >= one[1] and other != one for other in points
        )
        for one in points
    ]  # fmt: skip
