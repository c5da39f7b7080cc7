"""Devices against each other: speed-ups, winners, crossovers, and what costs least."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence

from harness.study import curves
from harness.study.curves import At, Crossing
from harness.study.known_devices import known_device
from harness.study.measured import Case, Contender, Measured, best_of, by_case
from harness.study.prices import Cost, Prices, costs
from harness.study.ratios import LATENCY, RATE, Estimate, doubted, inverse, mapped, ratio, winner
from harness.study.rows import CPU, GPU

#: What a Winner may be by, besides latency and throughput.
COST = "cost"


@dataclasses.dataclass(frozen=True, slots=True)
class SpeedUp:
    """How many times faster one device is than another one, both in their best settings.

    Attributes:
        case: of what.
        base, other: the two devices; the ratio is above 1 where the other is faster.
        latency: base's latency over the other's.
        rate: the other's items a second over the base's.
        base_setting, other_setting: in which they have the lowest latency.
        settings: how many settings each was chosen from.
    """

    case: Case
    base: Contender
    other: Contender
    latency: Estimate
    rate: Estimate
    base_setting: str
    other_setting: str
    settings: tuple[int, int]

    @property
    def winner(self) -> Contender | None:
        """The device with the surely lower latency; None if that cannot be told."""
        told = winner(self.latency)
        return None if not told else self.other if told > 0 else self.base


@dataclasses.dataclass(frozen=True, slots=True)
class Winner:
    """Who is best at one case, of all devices that it was measured on.

    Attributes:
        case: of what.
        which: LATENCY, RATE or COST.
        first: the device with the best figure; the winner only if it surely beats all others.
        setting: in which it has it.
        figure: that figure, in ns, items a second, or the currency for a million items.
        leads: over each other device in its best setting, above 1; the smallest one first.
        currency: of a cost.
    """

    case: Case
    which: str
    first: Contender
    setting: str
    figure: Estimate
    leads: tuple[Estimate, ...]
    currency: str = ""

    @property
    def winner(self) -> Contender | None:
        """The device that surely beats all others; None if that cannot be told."""
        return self.first if all(winner(lead) > 0 for lead in self.leads) else None


@dataclasses.dataclass(frozen=True, slots=True)
class Crossover:
    """Where the faster device changes over the batch.

    Attributes:
        name: of what.
        base, other: as in SpeedUp.
        crossing: where.
        speed_ups: that it was found in.
    """

    name: str
    base: Contender
    other: Contender
    crossing: Crossing
    speed_ups: tuple[SpeedUp, ...]


def speed_ups(measured: Iterable[Measured]) -> tuple[SpeedUp, ...]:
    """Each CPU against each GPU, or each device against the first, at each case that both did."""
    found = []
    for case, devices in by_case(measured).items():
        for base, other in _pairs(sorted(devices)):
            sides = (devices[base], devices[other])
            (quick, slower), (other_quick, other_slower) = map(best_of, sides)
            (busy, less), (other_busy, other_less) = (best_of(side, RATE) for side in sides)
            if quick is None or other_quick is None or busy is None or other_busy is None:
                continue
            found.append(
                SpeedUp(
                    case=case,
                    base=base,
                    other=other,
                    latency=doubted(
                        inverse(ratio(quick.rows, other_quick.rows, LATENCY)),
                        slower or other_slower,
                    ),
                    rate=doubted(ratio(busy.rows, other_busy.rows, RATE), less or other_less),
                    base_setting=quick.setting.told,
                    other_setting=other_quick.setting.told,
                    settings=(len(sides[0]), len(sides[1])),
                )
            )
    return tuple(found)


def winners(measured: Iterable[Measured]) -> tuple[Winner, ...]:
    """The best by latency and by throughput, at each case that two devices did."""
    found = []
    for case, devices in by_case(measured).items():
        for which in (LATENCY, RATE):
            bests = [
                (one, doubt) for of in devices.values()
                for one, doubt in [best_of(of, which)] if one is not None
            ]  # fmt: skip
            if len(bests) < 2:
                continue
            bests.sort(key=lambda best: best[0].figure(which).value or 0.0, reverse=which == RATE)
            (first, _), *others = bests
            above = []
            for other, doubt in others:
                lead = ratio(other.rows, first.rows, which)
                above.append(doubted(lead if which == RATE else inverse(lead), doubt))
            above.sort(key=lambda one: one.value or 0.0)
            told = first.figure(which)
            found.append(
                Winner(case, which, first.contender, first.setting.told, told, tuple(above))
            )
    return tuple(found)


def turned(found: Iterable[Winner], measured: Iterable[Measured]) -> tuple[Winner, ...]:
    """Winners by throughput that would not surely win with one session on each device."""
    single = {
        one.case: one.winner
        for one in winners(one for one in measured if one.setting.instances == 1)
        if one.which == RATE
    }
    return tuple(
        one for one in found
        if one.which == RATE and one.winner is not None
        and one.case in single and single[one.case] != one.winner
    )  # fmt: skip


def _pairs(devices: Sequence[Contender]) -> list[tuple[Contender, Contender]]:
    """Each CPU with each GPU; where there is only one kind, each with the first."""
    hosts = [one for one in devices if one.kind == CPU]
    gpus = [one for one in devices if one.kind == GPU]
    if hosts and gpus:
        return [(host, gpu) for host in hosts for gpu in gpus]
    return [(devices[0], other) for other in devices[1:]]


def crossovers(speed_ups: Iterable[SpeedUp]) -> tuple[Crossover, ...]:
    """Where the faster device changes over the batch, for each model and pair of devices."""
    groups: dict[tuple[object, ...], list[SpeedUp]] = {}
    for one in speed_ups:
        if one.case.batch is not None:
            of = one.case
            key = (of.model, of.sha256, of.variant, one.base, one.other)
            groups.setdefault(key, []).append(one)
    found = []
    for group in groups.values():
        for curve in [group] if _differ_by_batch(group) else _by_item_shapes(group):
            if not _differ_by_batch(curve):
                continue  # its batch is no size of its inputs, and more than the batch differs
            curve.sort(key=lambda one: one.case.batch or 0)
            points = [
                At(one.case.batch or 1, one.latency.value, winner(one.latency)) for one in curve
            ]
            case, base, other = curve[0].case, curve[0].base, curve[0].other
            crossing = curves.crossing(points)
            found.append(Crossover(case.name, base, other, crossing, tuple(curve)))
    return tuple(found)


def _differ_by_batch(group: Sequence[SpeedUp]) -> bool:
    return len({one.case.batch for one in group}) == len(group)


def _by_item_shapes(group: Iterable[SpeedUp]) -> list[list[SpeedUp]]:
    """Those of each sequence length, or whatever else of the inputs differs besides the batch."""
    found: dict[tuple[str, ...], list[SpeedUp]] = {}
    for one in group:
        found.setdefault(one.case.item_shapes, []).append(one)
    return list(found.values())


def costs_of(
    measured: Iterable[Measured], prices: Prices | None
) -> tuple[tuple[Measured, Cost], ...]:
    """The cost of each device's setting with most items a second, by each price that applies."""
    if prices is None:
        return ()
    found = []
    for devices in by_case(measured).values():
        for contender, settings in devices.items():
            best, doubt = best_of(settings, RATE)
            known = known_device(contender.device)
            if best is not None:
                watts = None if known is None else known.watts
                found += [
                    (best, dataclasses.replace(cost, estimate=doubted(cost.estimate, doubt)))
                    for cost in costs(best.rows, prices, watts)
                ]
    return tuple(found)


def cheapest(priced: Iterable[tuple[Measured, Cost]]) -> tuple[Winner, ...]:
    """Who does a million items for least; prices of different currencies are not compared."""
    cases: dict[tuple[Case, str], dict[Contender, tuple[Measured, Cost]]] = {}
    for one, cost in priced:
        if cost.by == "machine" and cost.estimate.value is not None:
            devices = cases.setdefault((one.case, cost.currency), {})
            known = devices.get(one.contender)
            if known is None or cost.estimate.value < (known[1].estimate.value or 0.0):
                devices[one.contender] = (one, cost)
    found = []
    for (case, currency), devices in cases.items():
        if len(devices) < 2:
            continue
        (first, least), *others = sorted(devices.values(), key=lambda of: of[1].estimate.value or 0)
        leads = [cost_ratio((first, least), other) for other in others]
        told = f"{first.setting.told}, {least.inputs}"
        found.append(
            Winner(case, COST, first.contender, told, least.estimate, tuple(leads), currency)
        )
    return tuple(found)


def cost_ratio(one: tuple[Measured, Cost], base: tuple[Measured, Cost]) -> Estimate:
    """What the base costs over what the one costs, both of one currency.

    Prices have no scatter, so its interval is that of the rates. There is no ratio to what costs
    nothing, but that is surely cheaper than what does not: the interval is infinite.
    """
    rows = (*base[0].rows, *one[0].rows)
    speeds = ratio(base[0].rows, one[0].rows, RATE)
    told = f"{speeds.basis}; {one[1].inputs}; against {base[1].inputs}"
    ours, theirs = one[1].estimate.value, base[1].estimate.value
    if not speeds.value or ours is None or theirs is None:
        return speeds
    if ours == 0 and theirs == 0:
        return Estimate(None, reason="both cost nothing", basis=told, rows=rows)
    if ours == 0:
        reason = "one side costs nothing, so there is no ratio"
        return Estimate(None, (math.inf, math.inf), reason, basis=told, rows=rows)
    factor = theirs / ours / speeds.value
    found = dataclasses.replace(mapped(speeds, lambda value: value * factor), basis=told)
    return doubted(found, one[1].estimate.doubt or base[1].estimate.doubt)
