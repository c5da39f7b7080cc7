"""Finds the best of many layouts by measuring the promising ones more often than the others.

Three stages, all in rounds: each measures some layouts once, in random order, so that drift of the
machine meets all of them alike (`harness.statistics.rounds` takes out what differs between rounds).

1. *Screening.* One layout of every family, then the others of those families whose first one is
   within reach of the best (`Layout.role`). After every round at most the better half goes on
   (successive halving: Karnin, Koren & Somekh, Almost optimal exploration in multi-armed bandits,
   ICML 2013).
2. *Racing.* The leader and those that may still be better, the most likely ones first, until none
   can be more than the margin better, or the budget is spent. Whatever was left behind in the first
   stage comes back if its few groups cannot tell it from the leader.
3. *Confirming.* Single instances on a part of the machine are measured once, for their latency.
   Then the winner, ORT's default and the frontier of latency and throughput are measured afresh.
   Only these groups make the figures that are reported of them: those that made the winner win were
   lucky ones, and would flatter it.
"""

from __future__ import annotations

import collections
import math
import time
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from harness.errors import HarnessError, Interrupted
from harness.statistics.figures import CONFIDENCE
from harness.statistics.intervals import t_interval, typical
from harness.statistics.paired import compare_paired
from harness.statistics.verdicts import Comparison
from harness.study.layouts.candidates import DEFAULT, Layout
from harness.study.layouts.evidence import FAMILY_REACH, Evidence, Group
from harness.study.layouts.records import Found, Measured, Told

#: No layout that may be more than this much faster than the winner is left when the search ends.
MARGIN = 0.03

#: The most layouts of a round once halving has come down to them, the leader among them.
FEW = 4

#: Groups of each confirmed layout: as many as a profile of instances has by default; and with what
#: at least an interval is worth telling, if the budget leaves no more.
CONFIRMED = 5
LEAST_CONFIRMED = 3

#: Share of the budget that is kept for confirming, if that is more than LEAST_CONFIRMED groups of
#: the winner and ORT's default.
KEPT_SHARE = 0.3

#: Share that is kept at most: what was not looked at cannot be chosen.
MOST_KEPT_SHARE = 0.5

#: Measures one group of a layout. Raises HarnessError if the layout cannot work here; it is then
#: left out with that reason.
Measure = Callable[[Layout], Measured]

#: Called after each group: the layout, what it gave (None if it does not work), groups so far.
OnGroup = Callable[[Layout, Measured | None, int], None]


def search(
    layouts: Sequence[Layout],
    measure: Measure,
    *,
    seed: int,
    budget_s: float,
    margin: float = MARGIN,
    limit_ns: float | None = None,
    now_s: Callable[[], float] = time.monotonic,
    on_group: OnGroup = lambda *_: None,
) -> Found:
    """Looks for the layout with the highest throughput.

    Args:
        layouts: to choose from.
        measure: measures one group of a layout.
        seed: of the random order in each round.
        budget_s: seconds after which no further group is begun. If it does not even suffice to
            confirm the winner, what is told of it is what made it win.
        margin: see ``Found.ended_by``.
        limit_ns: most latency of an instance: its p99 where every group of the layout had enough
            inferences for one, else the median.
        now_s: a clock.
        on_group: is told of each group.
    """
    evidence = Evidence(layouts, limit_ns)
    measuring = _Measuring(evidence, measure, seed, budget_s, now_s, on_group)
    stages = _Stages(evidence, measuring, math.log1p(margin))
    return stages.run()


class _Spent(Exception):
    """The budget allows no further group."""


class _Measuring:
    """Measures rounds of layouts within a budget.

    Attributes:
        seed: of the random orders.
        default: index of ORT's default; None if it is not among the layouts.
    """

    def __init__(
        self,
        evidence: Evidence,
        measure: Measure,
        seed: int,
        budget_s: float,
        now_s: Callable[[], float],
        on_group: OnGroup,
    ) -> None:
        self.seed = seed
        places = [one.placement for one in evidence.layouts]
        self.default = places.index(DEFAULT) if DEFAULT in places else None
        self._evidence = evidence
        self._measure = measure
        self._random = np.random.default_rng(seed)
        self._budget_s = budget_s
        self._now_s = now_s
        self._on_group = on_group
        self._began_s = now_s()
        self._took_s: dict[int, list[float]] = collections.defaultdict(list)
        self._round = 0

    def round(self, layouts: Iterable[int], *, kept: bool = True) -> None:
        """Measures layouts once each in random order.

        Args:
            layouts: which; those that have failed are left out.
            kept: whether to leave as much of the budget as confirming takes.

        Raises:
            _Spent: the budget would be exceeded.
        """
        evidence = self._evidence
        order = sorted(set(layouts) - set(evidence.failed))
        self._random.shuffle(order)
        leader = evidence.leader()
        for number in order:
            kept_s = self._kept_s(leader) if kept else 0.0
            if self.cost_s([number]) + kept_s > self.left_s:
                raise _Spent
            began_s = self._now_s()
            measured: Measured | None = None
            try:
                measured = self._measure(evidence.layouts[number])
            except Interrupted:
                raise
            except HarnessError as error:
                evidence.failed[number] = error.message
            else:
                evidence.groups.append(Group(number, self._round, measured))
                self._took_s[number].append(self._now_s() - began_s)
            self._on_group(evidence.layouts[number], measured, len(evidence.groups))
        self._round += 1

    @property
    def spent_s(self) -> float:
        """Seconds since the search began."""
        return self._now_s() - self._began_s

    @property
    def left_s(self) -> float:
        """Seconds of the budget that are left."""
        return self._budget_s - self.spent_s

    def cost_s(self, layouts: Sequence[int]) -> float:
        """Seconds that a group of each is expected to take; 0 before any was measured."""
        usual_s = self._usual_s()
        return sum(
            float(np.mean(self._took_s[number])) if number in self._took_s else usual_s
            for number in layouts
        )

    def _usual_s(self) -> float:
        known = [seconds for took in self._took_s.values() for seconds in took]
        return float(np.median(known)) if known else 0.0

    def needed(self, best: int) -> list[int]:
        """What is confirmed in any case: the winner, and ORT's default if it works."""
        if self.default is None or self.default in self._evidence.failed:
            return [best]
        return sorted({best, self.default})

    def _kept_s(self, leader: int | None) -> float:
        """Seconds to leave for confirming."""
        if leader is None:  # the first round: two layouts, whichever they will be
            least_s = LEAST_CONFIRMED * 2 * self._usual_s()
            least_s = max(least_s, KEPT_SHARE * self._budget_s) if least_s else 0.0
            return min(least_s, MOST_KEPT_SHARE * self._budget_s)
        needed = self.needed(leader)
        least_s = LEAST_CONFIRMED * self.cost_s(needed)
        most_s = CONFIRMED * self.cost_s(sorted({*needed, *self._evidence.frontier()}))
        least_s = max(least_s, KEPT_SHARE * self._budget_s)
        return min(most_s, least_s, MOST_KEPT_SHARE * self._budget_s)


class _Stages:
    """The stages of a search, and what is told in the end."""

    def __init__(self, evidence: Evidence, measuring: _Measuring, margin: float) -> None:
        self._evidence = evidence
        self._measuring = measuring
        self._margin = margin  # a logarithm
        self._looks = 0
        #: Index of the winner, and number of groups by which it was chosen.
        self._best: int | None = None
        self._chosen_by = 0
        #: The frontier by those groups.
        self._front: tuple[int, ...] = ()

    def run(self) -> Found:
        ended_by = "budget"
        try:
            try:
                self._screen()
                self._race()
                ended_by = ""
                self._measure_singles()
            except _Spent:
                pass
            self._choose()
            self._confirm()
        except _Spent:
            pass
        except Interrupted:
            ended_by = "interrupted"
            if self._best is None:
                self._choose()
        return self._found(ended_by)

    def _screen(self) -> None:
        """One round of a layout of each family, then of half as many of the better ones."""
        evidence = self._evidence
        going = evidence.wanted()
        if evidence.limit_ns is not None:
            single = [n for n, one in enumerate(evidence.layouts) if one.instances == 1]
            going += [n for n in single if n not in going]
        self._measuring.round(going)
        while (leader := evidence.leader()) is not None:
            self._looks += 1
            joining = evidence.untried()
            if not joining and len(going) <= FEW:
                return
            keep = max(FEW, math.ceil(len(going) / 2))
            going = [number for number in evidence.ranked() if number in going][:keep]
            going += joining
            self._measuring.round({leader, *going})

    def _race(self) -> None:
        """Rounds of the leader and the likeliest others until none of them can be much better."""
        while (leader := self._evidence.leader()) is not None:
            self._looks += 1
            reaching = self._evidence.reaching(leader, self._looks)
            values = self._evidence.rates().values
            # Until the scatter is known, all may be anything: those that did best come first.
            likely = sorted(
                (number for number, most in reaching.items() if most > self._margin),
                key=lambda number: (-reaching[number], -values[number]),
            )
            if not likely:
                return
            self._measuring.round([leader, *likely[: FEW - 1]])

    def _measure_singles(self) -> None:
        """One round of what may have a low latency but no high throughput."""
        evidence = self._evidence
        measured = {one.layout for one in evidence.groups}
        singles = [
            number
            for number, one in enumerate(evidence.layouts)
            if one.instances == 1 and number not in measured
        ]
        leader = evidence.leader()
        if singles and leader is not None:
            self._measuring.round([leader, *singles])

    def _choose(self) -> None:
        self._best = self._evidence.leader()
        self._chosen_by = len(self._evidence.groups)

    def _confirm(self) -> None:
        """Fresh rounds of the winner, ORT's default, and what else is on the frontier.

        How many is decided before they begin. Of a frontier that is too long, its middle goes
        first: its ends are what it is about.
        """
        if self._best is None:
            return
        measuring = self._measuring
        needed = measuring.needed(self._best)
        self._front = self._evidence.frontier()
        others = [number for number in self._front if number not in needed]
        rounds = CONFIRMED
        while rounds > LEAST_CONFIRMED and rounds * measuring.cost_s(needed) > measuring.left_s:
            rounds -= 1
        left_s = measuring.left_s - rounds * measuring.cost_s(needed)
        while others and LEAST_CONFIRMED * measuring.cost_s(others) > left_s:
            others.pop(len(others) // 2)
        others_s = measuring.cost_s(others)
        with_others = min(rounds, int(left_s / others_s)) if others_s > 0 else rounds
        for number in range(rounds):
            measuring.round([*needed, *(others if number < with_others else ())], kept=False)

    # What is told.

    def _found(self, ended_by: str) -> Found:
        evidence, best = self._evidence, self._best
        undecided: tuple[int, ...] = ()
        if best is not None:
            reaching = evidence.reaching(best, max(self._looks, 1), self._chosen_by)
            undecided = tuple(sorted(n for n, most in reaching.items() if most > self._margin))
            if not ended_by or (ended_by == "budget" and not undecided):
                ended_by = "told" if all(most < 0 for most in reaching.values()) else "same"
        elif ended_by != "interrupted":
            ended_by = "nothing"
        return Found(
            told=tuple(map(self._told, range(len(evidence.layouts)))),
            best=best,
            default=self._measuring.default,
            frontier=self._frontier(),
            gain=self._gain(),
            ended_by=ended_by,
            undecided=undecided,
            margin=math.expm1(self._margin),
            seed=self._measuring.seed,
            groups=len(evidence.groups),
            spent_s=self._measuring.spent_s,
        )

    def _frontier(self) -> tuple[int, ...]:
        """By the confirming groups, if all that was on it before has some; else by all groups."""
        evidence = self._evidence
        confirmed = {one.layout for one in evidence.groups[self._chosen_by :]}
        afresh = bool(self._front) and confirmed.issuperset(self._front)
        return evidence.frontier(self._chosen_by if afresh else 0)

    def _told(self, number: int) -> Told:
        evidence = self._evidence
        fresh = evidence.of(number, self._chosen_by) if self._best is not None else []
        groups = fresh or evidence.of(number)
        layout = evidence.layouts[number]
        if not groups:
            reason = evidence.failed.get(number) or self._why_untried(number)
            return Told(layout, 0, None, None, None, None, None, None, False, reason)
        rates = np.array([one.items_per_s for one in groups])
        tails = [one.p99_ns for one in groups if one.p99_ns is not None]
        over_best, interval = self._over_best(number, self._chosen_by if fresh else 0)
        return Told(
            layout=layout,
            groups=len(groups),
            items_per_s=typical(rates),
            interval=t_interval(rates),
            median_ns=typical(np.array([one.median_ns for one in groups])),
            p99_ns=typical(np.array(tails)) if len(tails) == len(groups) else None,
            over_best=over_best,
            over_best_interval=interval,
            confirmed=bool(fresh),
            reason=evidence.failed.get(number) or self._why_over_limit(number),
        )

    def _why_untried(self, number: int) -> str:
        evidence = self._evidence
        layout = evidence.layouts[number]
        if any(evidence.layouts[other].family == layout.family for other in evidence.failed):
            return "not tried: as many instances with other threads could not be measured"
        if layout.role == "variant" and number not in evidence.untried():
            return (
                "not tried: with a thread a core, as many instances do less than "
                f"1/{FAMILY_REACH:g} of the best"
            )
        return "not tried: the budget was spent before"

    def _why_over_limit(self, number: int) -> str:
        limit_ns = self._evidence.limit_ns
        if limit_ns is None or self._evidence.over_limit()[number] <= 0:
            return ""
        has_tails = all(one.p99_ns is not None for one in self._evidence.of(number))
        figure = "p99" if has_tails else "median latency"
        return f"its {figure} is over the limit of {limit_ns * 1e-6:g} ms"

    def _over_best(
        self, number: int, since: int
    ) -> tuple[float | None, tuple[float, float] | None]:
        """(rate over the winner's, interval of it for all layouts together)."""
        best = self._best
        if best is None:
            return None, None
        if number == best:
            return 1.0, (1.0, 1.0)
        fit = self._evidence.rates(since)
        difference = float(fit.values[number] - fit.values[best])
        if not math.isfinite(difference):
            return None, None
        alpha = (1 - CONFIDENCE) / 2 / max(len(self._evidence.layouts) - 1, 1)
        reach = fit.reach(number, best, alpha)
        if not math.isfinite(reach):
            return math.exp(difference), None
        return math.exp(difference), (math.exp(difference - reach), math.exp(difference + reach))

    def _gain(self) -> Comparison | None:
        """The winner against the default, in the rounds that confirmed both."""
        best, default = self._best, self._measuring.default
        if best is None or default is None or best == default:
            return None
        rates: dict[int, dict[int, float]] = {best: {}, default: {}}
        for one in self._evidence.groups[self._chosen_by :]:
            if one.layout in rates:
                rates[one.layout][one.round] = one.measured.items_per_s
        both = sorted(set(rates[best]) & set(rates[default]))
        if len(both) < 2:
            return None
        # Of times, not of rates.
        return compare_paired(np.log([rates[default][one] / rates[best][one] for one in both]))
