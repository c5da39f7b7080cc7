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
import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from harness.errors import HarnessError, Interrupted
from harness.records import Reading
from harness.statistics.figures import CONFIDENCE, Float64Array
from harness.statistics.intervals import t_interval, typical
from harness.statistics.paired import compare_paired
from harness.statistics.rounds import Effects, effects
from harness.statistics.verdicts import Comparison, Verdict
from harness.study.layout_candidates import DEFAULT, Layout, Unfit

#: No layout that may be more than this much faster than the winner is left when the search ends.
MARGIN = 0.03

#: A family is tried if its first layout does at least 1 / this of the leader's rate: neither a
#: second hardware thread nor idle cores gain as much.
FAMILY_REACH = 1.5

#: The most layouts of a round once halving has come down to them, the leader among them.
FEW = 4

#: Groups of each confirmed layout: as many as a profile of instances has by default, and with what
#: at least an interval is worth telling, if the budget leaves no more.
CONFIRMED = 5
LEAST_CONFIRMED = 3

#: Share of the budget that is kept for confirming, if that is more than LEAST_CONFIRMED groups.
KEPT_SHARE = 0.2

#: Share of a layout's groups that may lie over a latency limit by chance: a layout is given up when
#: its figure is over the limit by so many standard errors.
_ERRORS_OVER_LIMIT = 2.0

#: Scatter of a latency between groups until there are enough of them to know it.
_ASSUMED_SCATTER = 0.05


@dataclasses.dataclass(frozen=True, slots=True)
class Measured:
    """One group of a layout.

    Attributes:
        items_per_s: of all instances together.
        median_ns: latency of an inference of one instance.
        p99_ns: likewise; None if too few inferences were made.
    """

    items_per_s: float
    median_ns: float
    p99_ns: float | None


#: Measures one group of a layout. Raises HarnessError if the layout cannot work here; it is then
#: left out with that reason.
Measure = Callable[[Layout], Measured]


@dataclasses.dataclass(frozen=True, slots=True)
class Told:
    """What is known of one layout.

    Attributes:
        layout: which one.
        groups: that its figures rest on: the confirming ones if it was confirmed.
        items_per_s: geometric mean of the groups; None if there are none.
        interval: 95 % interval of it over groups; None with fewer than two.
        median_ns: geometric mean of the groups' median latencies of an instance.
        p99_ns: likewise of the p99; None if a group had too few inferences.
        over_best: its rate over the winner's; None where there is none.
        over_best_interval: holds the true ratio, for all layouts together with 95 % confidence;
            None where the scatter is unknown.
        confirmed: measured afresh after the winner was chosen.
        reason: why it was not measured, or not considered; empty otherwise.
    """

    layout: Layout
    groups: int
    items_per_s: float | None
    interval: tuple[float, float] | None
    median_ns: float | None
    p99_ns: float | None
    over_best: float | None
    over_best_interval: tuple[float, float] | None
    confirmed: bool
    reason: str


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """The result of a search.

    Attributes:
        told: all layouts, in the order in which they were given.
        best: index of the winner; None if nothing was measured or nothing meets the limit.
        default: index of ORT's default; None if it is not among them.
        frontier: indices of layouts that no other one beats in both latency and throughput, the
            fastest first, the winner last.
        gain: the winner against ORT's default, FASTER if the winner is; None if it is the default
            itself, or if one of them was not confirmed.
        ended_by: ``told``: every other layout is slower; ``same``: no other one can be more than
            the margin faster; ``budget``; ``interrupted``; ``nothing``: no layout works or meets
            the limit.
        undecided: indices of layouts that may be faster than the winner by more than the margin.
        margin: as given.
        seed: of the random orders.
        groups: measured in all.
        spent_s: seconds.
    """

    told: tuple[Told, ...]
    best: int | None
    default: int | None
    frontier: tuple[int, ...]
    gain: Comparison | None
    ended_by: str
    undecided: tuple[int, ...]
    margin: float
    seed: int
    groups: int
    spent_s: float


@dataclasses.dataclass(frozen=True, slots=True)
class LayoutStudy:
    """What a search on this machine found.

    Attributes:
        found: the result of the search.
        unfit: layouts that were not tried, and why.
        model: name of the model.
        items: fed to each inference: the batch size, or why it is not known.
        limit_ns: most latency that was allowed; None for any.
        budget_s: as given.
    """

    found: Found
    unfit: tuple[Unfit, ...]
    model: str
    items: Reading
    limit_ns: float | None
    budget_s: float


@dataclasses.dataclass(frozen=True, slots=True)
class Gain:
    """The winner over ORT's default.

    Attributes:
        ratio: of their rates.
        interval: 95 % interval of it.
        verdict: on the winner.
    """

    ratio: float
    interval: tuple[float, float]
    verdict: Verdict


def gained(found: Found) -> Gain | None:
    """How much more the winner does than ORT's default; None if that is not known."""
    gain = found.gain
    if gain is None or gain.ratio is None or gain.interval is None:
        return None
    low, high = gain.interval  # of times
    return Gain(1 / gain.ratio, (1 / high, 1 / low), gain.verdict)


def search(
    layouts: Sequence[Layout],
    measure: Measure,
    *,
    seed: int,
    budget_s: float,
    margin: float = MARGIN,
    limit_ns: float | None = None,
    now_s: Callable[[], float] = time.monotonic,
    on_group: Callable[[Layout, Measured | None, int], None] = lambda *_: None,
) -> Found:
    """Looks for the layout with the highest throughput.

    Args:
        layouts: to choose from.
        measure: measures one group of a layout.
        seed: of the random order in each round.
        budget_s: seconds after which no further group is begun. If it does not even suffice to
            confirm the winner, its figures have no interval.
        margin: see ``Found.ended_by``.
        limit_ns: most latency of an instance: its p99 where every group of the layout had enough
            inferences for one, else the median.
        now_s: a clock.
        on_group: called after each group with what it gave (None if the layout does not work)
            and the number of groups so far.
    """
    searching = _Search(layouts, measure, seed, budget_s, margin, limit_ns, now_s, on_group)
    return searching.run()


@dataclasses.dataclass(frozen=True, slots=True)
class _Group:
    layout: int
    round: int
    measured: Measured


class _Spent(Exception):
    """The budget allows no further group."""


class _Search:
    """The state of a search."""

    def __init__(
        self,
        layouts: Sequence[Layout],
        measure: Measure,
        seed: int,
        budget_s: float,
        margin: float,
        limit_ns: float | None,
        now_s: Callable[[], float],
        on_group: Callable[[Layout, Measured | None, int], None],
    ) -> None:
        self._layouts = layouts
        self._measure = measure
        self._seed = seed
        self._random = np.random.default_rng(seed)
        self._budget_s = budget_s
        self._margin = math.log1p(margin)
        self._limit_ns = limit_ns
        self._now_s = now_s
        self._on_group = on_group
        self._began_s = now_s()
        self._groups: list[_Group] = []
        self._took_s: dict[int, list[float]] = collections.defaultdict(list)
        self._failed: dict[int, str] = {}
        self._fitted: tuple[tuple[int, int], Effects] | None = None
        self._round = 0
        self._looks = 0
        self._default = next((n for n, one in enumerate(layouts) if one.placement == DEFAULT), None)

    # --- stages ---

    def run(self) -> Found:
        best: int | None = None
        confirmed = 0
        ended_by = "budget"
        try:
            try:
                self._screen()
                self._race()
                ended_by = ""
                self._measure_singles()
            except _Spent:
                pass
            best = self._leader()
            if best is not None:
                confirmed = len(self._groups)
                self._confirm(best)
        except _Spent:
            pass
        except Interrupted:
            ended_by = "interrupted"
            best = self._leader() if best is None else best
        return self._found(best, confirmed, ended_by)

    def _screen(self) -> None:
        """One round of a layout of each family, then of half as many of the better ones."""
        roles = ("first", "single") if self._limit_ns is not None else ("first",)
        going = [number for number, one in enumerate(self._layouts) if one.role in roles]
        tried = set(going)
        self._measure_round(going)
        while True:
            leader = self._leader()
            if leader is None:
                return
            self._look()
            ranked = self._ranked()
            joining = [number for number in self._wanted() if number not in tried]
            if not joining and len(going) <= FEW:
                return
            tried.update(joining)
            keep = max(FEW, math.ceil(len(going) / 2))
            going = [number for number in ranked if number in going][:keep]
            going = [*going, *joining]
            self._measure_round({leader, *going})

    def _wanted(self) -> list[int]:
        """Variants whose family's first layout is within reach of the leader, measured or not."""
        ranked = self._ranked()
        values = self._fit().values
        families = {
            self._layouts[number].family
            for number in ranked
            if self._layouts[number].role == "first"
            and values[number] >= values[ranked[0]] - math.log(FAMILY_REACH)
        }
        return [
            number
            for number, one in enumerate(self._layouts)
            if one.role == "variant" and one.family in families and number not in self._failed
        ]

    def _race(self) -> None:
        """Rounds of the leader and the likeliest others until none of them can be much better."""
        while True:
            leader = self._leader()
            if leader is None:
                return
            self._look()
            reaching = self._reaching(leader)
            likely = sorted(reaching, key=lambda number: -reaching[number])
            if not likely:
                return
            self._measure_round([leader, *likely[: FEW - 1]])

    def _measure_singles(self) -> None:
        """One round of what may have a low latency but no high throughput."""
        measured = {one.layout for one in self._groups}
        singles = [
            number
            for number, one in enumerate(self._layouts)
            if one.instances == 1 and number not in measured
        ]
        leader = self._leader()
        if singles and leader is not None:
            self._measure_round([leader, *singles])

    def _confirm(self, best: int) -> None:
        """Fresh rounds of the winner, ORT's default, and what else is on the frontier."""
        needed = [best]
        default = self._default
        if default is not None and default != best and default not in self._failed:
            needed.append(default)
        others = [number for number in self._frontier(self._figures()) if number not in needed]
        left_s = self._budget_s - self._spent_s()
        rounds = CONFIRMED
        while rounds > LEAST_CONFIRMED and rounds * self._cost_s(needed) > left_s:
            rounds -= 1
        while others and rounds * self._cost_s([*needed, *others]) > left_s:
            others.pop(len(others) // 2)
        for _ in range(rounds):
            self._measure_round([*needed, *others], kept=False)

    # --- measuring ---

    def _measure_round(self, layouts: Iterable[int], *, kept: bool = True) -> None:
        """Measures layouts once each in random order.

        Args:
            layouts: which; those that have failed are left out.
            kept: whether to leave as much of the budget as confirming takes.

        Raises:
            _Spent: the budget would be exceeded.
        """
        order = sorted(number for number in layouts if number not in self._failed)
        self._random.shuffle(order)
        leader = self._leader()
        for number in order:
            kept_s = self._kept_s(leader) if kept else 0.0
            if self._spent_s() + self._cost_s([number]) + kept_s > self._budget_s:
                raise _Spent
            began_s = self._now_s()
            measured: Measured | None = None
            try:
                measured = self._measure(self._layouts[number])
            except Interrupted:
                raise
            except HarnessError as error:
                self._failed[number] = error.message
            else:
                self._groups.append(_Group(number, self._round, measured))
                self._took_s[number].append(self._now_s() - began_s)
            self._on_group(self._layouts[number], measured, len(self._groups))
        self._round += 1

    def _spent_s(self) -> float:
        return self._now_s() - self._began_s

    def _cost_s(self, layouts: Sequence[int]) -> float:
        """Seconds that a group of each is expected to take; 0 before any was measured."""
        known = [seconds for took in self._took_s.values() for seconds in took]
        usual = float(np.median(known)) if known else 0.0
        return sum(
            float(np.mean(self._took_s[number])) if self._took_s[number] else usual
            for number in layouts
        )

    def _kept_s(self, leader: int | None) -> float:
        """Seconds to leave for confirming the leader and ORT's default."""
        others = leader if leader is not None else self._default
        needed = [number for number in {others, self._default} if number is not None]
        group_s = self._cost_s(needed if leader is not None else 2 * needed)
        least_s, most_s = LEAST_CONFIRMED * group_s, CONFIRMED * group_s
        return min(most_s, max(least_s, KEPT_SHARE * self._budget_s))

    # --- judging ---

    def _look(self) -> None:
        self._looks += 1

    def _alpha(self) -> float:
        """Chance of a wrong answer at this look about one of the layouts.

        The looks have 1/2, 1/6, 1/12 … of the whole, which sums up to one; the layouts share each.
        """
        look = max(self._looks, 1)
        return (1 - CONFIDENCE) / (look * (look + 1)) / max(len(self._layouts) - 1, 1)

    def _fit(self, since: int = 0, until: int | None = None) -> Effects:
        """The additive model of the rates of these groups; the last fit is kept."""
        until = len(self._groups) if until is None else until
        if self._fitted is None or self._fitted[0] != (since, until):
            groups = self._groups[since:until]
            fit = effects(
                np.array([one.layout for one in groups], np.int64),
                np.array([one.round for one in groups], np.int64),
                np.log([one.measured.items_per_s for one in groups]),
                len(self._layouts),
            )
            self._fitted = ((since, until), fit)
        return self._fitted[1]

    def _ranked(self) -> list[int]:
        """Layouts that meet the limit as far as known, the fastest first."""
        values = self._fit().values
        over = self._over_limit()
        having = [
            number
            for number in range(len(values))
            if np.isfinite(values[number]) and over.get(number, 0.0) <= 0
        ]
        return sorted(having, key=lambda number: -values[number])

    def _leader(self) -> int | None:
        if not self._groups:
            return None
        ranked = [number for number in self._ranked() if number not in self._failed]
        return ranked[0] if ranked else None

    def _reaching(self, leader: int) -> dict[int, float]:
        """How far above the leader each measured layout may lie, of those beyond the margin."""
        fit = self._fit()
        alpha = self._alpha()
        over = self._over_limit()
        reaching = {}
        for number, value in enumerate(fit.values):
            if number == leader or not np.isfinite(value) or number in self._failed:
                continue
            if over.get(number, 0.0) > 1:
                continue
            most = value - fit.values[leader] + fit.reach(number, leader, alpha)
            if most > self._margin:
                # Until the scatter is known, the likeliest are those that did best.
                reaching[number] = most if math.isfinite(most) else value - fit.values[leader]
        return reaching

    def _over_limit(self) -> dict[int, float]:
        """By how much the latency of each layout is over the limit; above 1: beyond chance."""
        if self._limit_ns is None:
            return {}
        logs = self._latencies()
        deviations = [value - np.mean(own) for own in logs.values() for value in own]
        freedom = len(deviations) - len(logs)
        scatter = _ASSUMED_SCATTER
        if freedom > 0:
            scatter = max(scatter, math.sqrt(float(np.square(deviations).sum()) / freedom))
        limit = math.log(self._limit_ns)
        return {
            number: (float(np.mean(own)) - limit)
            / (_ERRORS_OVER_LIMIT * scatter / math.sqrt(len(own)))
            for number, own in logs.items()
        }

    def _latencies(self) -> dict[int, list[float]]:
        """Logarithms of the latency that the limit is about, by layout."""
        groups: dict[int, list[Measured]] = collections.defaultdict(list)
        for one in self._groups:
            groups[one.layout].append(one.measured)
        return {number: [math.log(one) for one in _limited(own)] for number, own in groups.items()}

    # --- telling ---

    def _figures(self, since: int = 0) -> dict[int, tuple[float, float]]:
        """Logarithms of (latency, rate) of the layouts measured since then, without the drift of
        the machine between rounds: only their differences mean something.
        """
        groups = self._groups[since:]
        if not groups:
            return {}
        latencies = effects(
            np.array([one.layout for one in groups], np.int64),
            np.array([one.round for one in groups], np.int64),
            np.log([one.measured.median_ns for one in groups]),
            len(self._layouts),
        ).values
        rates = self._fit(since).values
        return {
            number: (float(latencies[number]), float(rates[number]))
            for number in sorted({one.layout for one in groups})
        }

    def _frontier(self, figures: dict[int, tuple[float, float]]) -> tuple[int, ...]:
        """Those that no other one beats in both, of those within the limit; by latency."""
        over = self._over_limit()
        front: list[int] = []
        for number in sorted(figures, key=lambda one: (figures[one][0], -figures[one][1])):
            if over.get(number, 0.0) > 0 or number in self._failed:
                continue
            if not front or figures[number][1] > figures[front[-1]][1]:
                front.append(number)
        return tuple(front)

    def _found(self, best: int | None, confirmed: int, ended_by: str) -> Found:
        fit = self._fit() if self._groups else None
        undecided: tuple[int, ...] = ()
        if best is not None and fit is not None:
            reaching = self._undecided(best, confirmed)
            undecided = tuple(sorted(number for number, most in reaching if most > self._margin))
            slower = all(most < 0 for _, most in reaching)
            if not ended_by or (ended_by == "budget" and not undecided):
                ended_by = "told" if slower else "same"
        elif ended_by != "interrupted":
            ended_by = "nothing"
        fresh = self._groups[confirmed:] if confirmed else []
        told = tuple(
            self._told(number, best, fresh, confirmed) for number in range(len(self._layouts))
        )
        figures = self._figures(confirmed) if fresh else self._figures()
        return Found(
            told=told,
            best=best,
            default=self._default,
            frontier=self._frontier(figures),
            gain=self._gain(best, fresh),
            ended_by=ended_by,
            undecided=undecided,
            margin=math.expm1(self._margin),
            seed=self._seed,
            groups=len(self._groups),
            spent_s=self._spent_s(),
        )

    def _undecided(self, best: int, confirmed: int) -> list[tuple[int, float]]:
        """How far above the winner each other layout may lie, by all groups before confirming."""
        fit = self._fit(0, confirmed or len(self._groups))
        alpha, over = self._alpha(), self._over_limit()
        untried = set(self._unmeasured())
        return [
            (number, math.inf)
            if number in untried
            else (number, value - fit.values[best] + fit.reach(number, best, alpha))
            for number, value in enumerate(fit.values)
            if number != best
            and (np.isfinite(value) or number in untried)
            and number not in self._failed
            and over.get(number, 0.0) <= 1
        ]

    def _unmeasured(self) -> list[int]:
        """Layouts that were to be measured, had there been time."""
        wanted = {number for number, one in enumerate(self._layouts) if one.role == "first"}
        wanted.update(self._wanted())
        return sorted(wanted - {one.layout for one in self._groups} - set(self._failed))

    def _told(self, number: int, best: int | None, fresh: Sequence[_Group], confirmed: int) -> Told:
        own = [one.measured for one in fresh if one.layout == number]
        afresh = bool(own)
        own = own or [one.measured for one in self._groups if one.layout == number]
        layout = self._layouts[number]
        if not own:
            reason = self._failed.get(number) or self._untried(number)
            return Told(layout, 0, None, None, None, None, None, None, False, reason)
        rates = np.array([one.items_per_s for one in own])
        tails = [one.p99_ns for one in own if one.p99_ns is not None]
        over_best, interval = self._over(number, best, confirmed if afresh else 0)
        return Told(
            layout=layout,
            groups=len(own),
            items_per_s=typical(rates),
            interval=t_interval(rates),
            median_ns=typical(np.array([one.median_ns for one in own])),
            p99_ns=typical(np.array(tails)) if len(tails) == len(own) else None,
            over_best=over_best,
            over_best_interval=interval,
            confirmed=afresh,
            reason=self._failed.get(number, "") or self._limit_reason(number),
        )

    def _untried(self, number: int) -> str:
        family = self._layouts[number].family
        if any(self._layouts[other].family == family for other in self._failed):
            return "not tried: as many instances with other threads could not be measured"
        if self._layouts[number].role == "variant" and number not in self._unmeasured():
            return (
                "not tried: with a thread a core, as many instances do less than "
                f"1/{FAMILY_REACH:g} of the best"
            )
        return "not tried: the budget was spent before"

    def _limit_reason(self, number: int) -> str:
        if self._over_limit().get(number, 0.0) <= 0 or self._limit_ns is None:
            return ""
        kind = (
            "p99"
            if all(one.measured.p99_ns is not None for one in self._groups if one.layout == number)
            else "median latency"
        )
        return f"its {kind} is over the limit of {self._limit_ns * 1e-6:g} ms"

    def _over(
        self, number: int, best: int | None, since: int
    ) -> tuple[float | None, tuple[float, float] | None]:
        """(rate over the winner's, interval for all layouts together)."""
        if best is None:
            return None, None
        if number == best:
            return 1.0, (1.0, 1.0)
        fit = self._fit(since)
        difference = float(fit.values[number] - fit.values[best])
        if not math.isfinite(difference):
            return None, None
        alpha = (1 - CONFIDENCE) / 2 / max(len(self._layouts) - 1, 1)
        reach = fit.reach(number, best, alpha)
        interval = None
        if math.isfinite(reach):
            interval = (math.exp(difference - reach), math.exp(difference + reach))
        return math.exp(difference), interval

    def _gain(self, best: int | None, fresh: Sequence[_Group]) -> Comparison | None:
        """The winner against the default, in the rounds that confirmed both."""
        if best is None or self._default is None or best == self._default:
            return None
        rates: dict[int, dict[int, float]] = collections.defaultdict(dict)
        for one in fresh:
            rates[one.layout][one.round] = one.measured.items_per_s
        both = sorted(set(rates[best]) & set(rates[self._default]))
        if len(both) < 2:
            return None
        logs: Float64Array = np.log(
            [rates[self._default][one] / rates[best][one] for one in both]  # of times, not rates
        )
        return compare_paired(logs)


def _limited(groups: Sequence[Measured]) -> list[float]:
    """The latency of each group that a limit is about."""
    tails = [one.p99_ns for one in groups if one.p99_ns is not None]
    return tails if len(tails) == len(groups) else [one.median_ns for one in groups]
