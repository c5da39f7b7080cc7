"""What the groups measured so far say about layouts: which leads, and which may still be better."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from harness.statistics.figures import CONFIDENCE
from harness.statistics.rounds import Effects, effects
from harness.study.layouts.candidates import Layout
from harness.study.layouts.records import Measured

#: A family is tried if its first layout does at least 1 / this of the leader's rate: neither a
#: second hardware thread nor idle cores are expected to gain as much.
FAMILY_REACH = 1.5

#: A layout is given up when its latency is over the limit by so many standard errors.
_ERRORS_OVER_LIMIT = 2.0

#: Least scatter of a latency between groups, of logarithms: few groups may agree by chance.
_LEAST_SCATTER = 0.05


@dataclasses.dataclass(frozen=True, slots=True)
class Group:
    """A group that was measured.

    Attributes:
        layout: index of its layout.
        round: number of the round.
        measured: what it gave.
    """

    layout: int
    round: int
    measured: Measured


class Evidence:
    """All groups, and what follows from them.

    Args:
        layouts: all of them.
        limit_ns: most latency of an instance; None for any.

    Attributes:
        layouts: as given.
        limit_ns: as given.
        groups: in the order in which they were measured.
        failed: why layouts do not work, by index.
    """

    def __init__(self, layouts: Sequence[Layout], limit_ns: float | None) -> None:
        self.layouts = layouts
        self.limit_ns = limit_ns
        self.groups: list[Group] = []
        self.failed: dict[int, str] = {}
        self._fitted: tuple[tuple[int, int], Effects] | None = None

    def of(self, number: int, since: int = 0) -> list[Measured]:
        """The groups of a layout."""
        return [one.measured for one in self.groups[since:] if one.layout == number]

    def rates(self, since: int = 0, until: int | None = None) -> Effects:
        """The additive model of the logarithms of these groups' rates; at least one group."""
        until = len(self.groups) if until is None else until
        if self._fitted is None or self._fitted[0] != (since, until):
            groups = self.groups[since:until]
            logs = [math.log(one.measured.items_per_s) for one in groups]
            self._fitted = ((since, until), self._effects(groups, logs))
        return self._fitted[1]

    def _effects(self, groups: Sequence[Group], logs: Sequence[float]) -> Effects:
        return effects(
            np.array([one.layout for one in groups], np.int64),
            np.array([one.round for one in groups], np.int64),
            np.array(logs, np.float64),
            len(self.layouts),
        )

    def ranked(self) -> list[int]:
        """Layouts that work and meet the limit as far as known, the fastest first."""
        if not self.groups:
            return []
        values = self.rates().values
        over = self.over_limit()
        having = [
            number
            for number in np.flatnonzero(np.isfinite(values)).tolist()
            if over.get(number, 0.0) <= 0 and number not in self.failed
        ]
        return sorted(having, key=lambda number: -values[number])

    def leader(self) -> int | None:
        """The fastest of them; None if there is none."""
        return next(iter(self.ranked()), None)

    def wanted(self) -> list[int]:
        """What is to be tried: the firsts of families, and the variants of those within reach."""
        ranked = self.ranked()
        families = set()
        if ranked:
            values = self.rates().values
            least = values[ranked[0]] - math.log(FAMILY_REACH)
            families = {
                self.layouts[number].family
                for number in ranked
                if self.layouts[number].role == "first" and values[number] >= least
            }
        return [
            number
            for number, one in enumerate(self.layouts)
            if one.role == "first" or (one.role == "variant" and one.family in families)
        ]

    def untried(self) -> list[int]:
        """What is to be tried and was not."""
        tried = {one.layout for one in self.groups} | set(self.failed)
        return [number for number in self.wanted() if number not in tried]

    def reaching(self, leader: int, look: int, until: int | None = None) -> dict[int, float]:
        """By how much each other layout may be faster than this one, as a logarithm.

        The upper ends of intervals that hold for all layouts and all looks together: looks 1, 2,
        3 … have 1/2, 1/6, 1/12 … of the chance of an error, which sums up to one, and the layouts
        share each. Infinite for what is to be tried, and where the scatter is unknown.

        Args:
            leader: to compare with.
            look: number of this look, from 1.
            until: groups to go by; None for all.
        """
        alpha = (1 - CONFIDENCE) / (look * (look + 1)) / max(len(self.layouts) - 1, 1)
        fit, over = self.rates(0, until), self.over_limit()
        reaching = dict.fromkeys(self.untried(), math.inf)
        for number in np.flatnonzero(np.isfinite(fit.values)).tolist():
            if number == leader or number in self.failed or over.get(number, 0.0) > 1:
                continue
            difference = float(fit.values[number] - fit.values[leader])
            reaching[number] = difference + fit.reach(number, leader, alpha)
        return reaching

    def over_limit(self) -> dict[int, float]:
        """How far each measured layout is over the latency limit, in what chance may do: given up
        above 1; no winner above 0. Empty without a limit.
        """
        if self.limit_ns is None:
            return {}
        logs = {
            number: [math.log(value) for value in limited(self.of(number))]
            for number in {one.layout for one in self.groups}
        }
        deviations = [value - float(np.mean(own)) for own in logs.values() for value in own]
        freedom = len(deviations) - len(logs)
        scatter = _LEAST_SCATTER
        if freedom > 0:
            scatter = max(scatter, math.sqrt(sum(one**2 for one in deviations) / freedom))
        return {
            number: (float(np.mean(own)) - math.log(self.limit_ns))
            / (_ERRORS_OVER_LIMIT * scatter / math.sqrt(len(own)))
            for number, own in logs.items()
        }

    def frontier(self, since: int = 0) -> tuple[int, ...]:
        """Layouts within the limit that no other one beats in both latency and throughput, by
        latency, with the drift of the machine between rounds taken out.

        Args:
            since: of the groups to go by; what was not measured since then is left out.
        """
        groups = self.groups[since:]
        measured = {one.layout for one in groups}
        having = [number for number in self.ranked() if number in measured]
        if not having:
            return ()
        logs = [math.log(one.measured.median_ns) for one in groups]
        latencies, rates = self._effects(groups, logs).values, self.rates(since).values
        front: list[int] = []
        for number in sorted(having, key=lambda one: (latencies[one], -rates[one])):
            if not front or rates[number] > rates[front[-1]]:
                front.append(number)
        return tuple(front)


def limited(groups: Sequence[Measured]) -> list[float]:
    """The latency of each group that a limit is about: p99 where all have one, else median."""
    tails = [one.p99_ns for one in groups if one.p99_ns is not None]
    return tails if len(tails) == len(groups) else [one.median_ns for one in groups]
