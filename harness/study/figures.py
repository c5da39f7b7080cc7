"""Everything that a study tells about a table of profiles, each figure with what it rests on."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from harness.study import curves
from harness.study.curves import At, Crossing, Knee, Scaling, Share
from harness.study.joining import Joined, short_cpu
from harness.study.known_devices import known_device
from harness.study.prices import Cost, Prices, costs
from harness.study.ratios import (
    ENERGY,
    LATENCY,
    RATE,
    Estimate,
    basis,
    figure,
    inverse,
    ratio,
    scaled,
    winner,
)
from harness.study.rows import CPU, GPU, VARIANT, OperatorTypes, Row, Setting

#: Fewest numbers of threads that make a curve: of a machine with two CPUs there are no more.
_FEWEST_THREADS = 2

#: What a Winner may be by, besides latency and throughput.
COST = "cost"

#: Float32 arithmetic of a GPU goes through its tensor cores where this option says so.
_TF32 = "use_tf32=1"


class Case(NamedTuple):
    """What is compared: the same work on different devices and in different settings.

    Attributes:
        model: its name.
        sha256: digest of the file.
        shapes: of the inputs.
        batch: items of an inference; None where not known.
        variant: of the model.
    """

    model: str
    sha256: str
    shapes: tuple[str, ...]
    batch: int | None
    variant: str

    @property
    def told(self) -> str:
        """``resnet50 int8-dynamic, batch 32``."""
        name = f"{self.model} {self.variant}".strip()
        return f"{name}, batch {self.batch}" if self.batch is not None else name


class Contender(NamedTuple):
    """A device of a machine.

    Attributes:
        machine: its name.
        kind: CPU or GPU.
        device: product name.
    """

    machine: str
    kind: str
    device: str

    @property
    def short(self) -> str:
        """The device without trade marks."""
        return short_cpu(self.device)


@dataclasses.dataclass(frozen=True, slots=True)
class Measured:
    """One setting on one device.

    Attributes:
        case: what was run.
        contender: on what.
        setting: how.
        rows: its profiles, one an occasion.
        latency, rate, energy: in ns an inference, items a second, joules an item.
    """

    case: Case
    contender: Contender
    setting: Setting
    rows: tuple[Row, ...]
    latency: Estimate
    rate: Estimate
    energy: Estimate


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
        model, variant: of what.
        base, other: as in SpeedUp.
        crossing: where.
        speed_ups: that it was found in.
    """

    model: str
    variant: str
    base: Contender
    other: Contender
    crossing: Crossing
    speed_ups: tuple[SpeedUp, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class ThreadScaling:
    """Throughput over threads.

    Attributes:
        case: of what.
        contender: on what.
        points: (threads, what was measured), in rising order.
        shares: of the best throughput, in the same order.
        knee: where threads stop to pay.
        operators: by type, those that take most of the time first.
        operators_reason: why there are none; empty if there are.
        accounts: (threads, sum of the operator types in ns, framework in ns, timed pass in ns,
            residual, doubt) where known.
    """

    case: Case
    contender: Contender
    points: tuple[tuple[int, Measured], ...]
    shares: tuple[Estimate, ...]
    knee: Knee
    operators: tuple[Scaling, ...]
    operators_reason: str
    accounts: tuple[tuple[int, float, OperatorTypes], ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Instances:
    """Sessions side by side.

    Attributes:
        measured: the group.
        gain: items a second over the best single session on the same device.
        efficiency: items a second over so many times a single session with as many threads.
    """

    measured: Measured
    gain: Estimate
    efficiency: Estimate


@dataclasses.dataclass(frozen=True, slots=True)
class VariantGain:
    """What a variant gains, and what it costs in error.

    Attributes:
        measured: the variant.
        speed_up: latency of the model as it was made over that of the variant.
        errors: (name, value) of the facts that tell its error.
    """

    measured: Measured
    speed_up: Estimate
    errors: tuple[tuple[str, str], ...]


@dataclasses.dataclass(frozen=True, slots=True)
class RuntimeRatio:
    """Another runtime on the same device.

    Attributes:
        measured: with the other runtime.
        base: name of the runtime that it is held against.
        speed_up: latency with the base over that with the other.
    """

    measured: Measured
    base: str
    speed_up: Estimate


@dataclasses.dataclass(frozen=True, slots=True)
class PeakShare:
    """Share of a device's nominal peak.

    Attributes:
        measured: the setting of a case with most items a second.
        rate: operations a second.
        share: of the nominal peak.
        peak: what it is: ``494 TFLOP/s tf32``.
        source: of the peak.
    """

    measured: Measured
    rate: Estimate
    share: Estimate
    peak: str
    source: str


@dataclasses.dataclass(frozen=True, slots=True)
class Study:
    """A study, without verdicts on claims.

    Attributes:
        joined: the table.
        measured: every setting.
        winners: by latency, throughput and cost, of each case that two devices did.
        turned: those by throughput that are another device's because of sessions side by side:
            with one session each, that device would not surely win.
        speed_ups, crossovers, scalings, instances, variants, runtimes, peaks, costs: see there.
        frontier: of each case's model: (measured, whether nothing beats it in both).
        prices: None where no file was given.
        absent: (what, why) of everything that these profiles cannot tell.
    """

    joined: Joined
    measured: tuple[Measured, ...]
    winners: tuple[Winner, ...]
    turned: tuple[Winner, ...]
    speed_ups: tuple[SpeedUp, ...]
    crossovers: tuple[Crossover, ...]
    scalings: tuple[ThreadScaling, ...]
    instances: tuple[Instances, ...]
    frontier: tuple[tuple[Measured, bool], ...]
    variants: tuple[VariantGain, ...]
    runtimes: tuple[RuntimeRatio, ...]
    peaks: tuple[PeakShare, ...]
    costs: tuple[tuple[Measured, Cost], ...]
    prices: Prices | None
    absent: tuple[tuple[str, str], ...]


def study(joined: Joined, prices: Prices | None = None) -> Study:
    """Works out every figure.

    Args:
        joined: the table.
        prices: of machines and electricity.
    """
    measured = _measured(joined.rows)
    speed_ups, winners = _speed_ups(measured), _winners(measured)
    priced = _costs(measured, prices)
    found = Study(
        joined=joined,
        measured=measured,
        winners=(*winners, *_cheapest(priced)),
        turned=_turned(winners, measured),
        speed_ups=speed_ups,
        crossovers=_crossovers(speed_ups),
        scalings=_scalings(measured),
        instances=_instances(measured),
        frontier=_frontier(measured),
        variants=_variants(measured),
        runtimes=_runtimes(measured),
        peaks=_peaks(measured),
        costs=priced,
        prices=prices,
        absent=(),
    )
    return dataclasses.replace(found, absent=tuple(_absent(found)))


def case_of(row: Row) -> Case:
    """What a profile is of."""
    of = row.setting
    return Case(of.model, of.sha256, of.shapes, of.batch, of.variant)


def contender_of(row: Row) -> Contender:
    """What a profile was measured on."""
    return Contender(row.machine, row.setting.kind, row.setting.device)


def _measured(rows: Iterable[Row]) -> tuple[Measured, ...]:
    groups: dict[tuple[str, Setting], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.machine, row.setting), []).append(row)
    # An interrupted profile does not spoil what whole ones of the same setting tell.
    whole = [
        [row for row in group if row.complete and row.processes > 1] or group
        for group in groups.values()
    ]
    found = [
        Measured(
            case_of(group[0]), contender_of(group[0]), group[0].setting, tuple(group),
            *(figure(group, which) for which in (LATENCY, RATE, ENERGY)),
        )
        for group in whole
    ]  # fmt: skip
    return tuple(sorted(found, key=_order))


def _order(one: Measured) -> tuple[object, ...]:
    of = one.case
    return (of.model, of.variant, of.batch or 0, of.shapes, of.sha256, one.contender,
            one.setting.runtime, one.setting.threads or 0, one.setting.instances,
            one.setting.concurrency, one.setting.options)  # fmt: skip


def _by_case(measured: Iterable[Measured]) -> dict[Case, dict[Contender, list[Measured]]]:
    found: dict[Case, dict[Contender, list[Measured]]] = {}
    for one in measured:
        found.setdefault(one.case, {}).setdefault(one.contender, []).append(one)
    return found


def fastest(of: Sequence[Measured], which: str = LATENCY) -> Measured | None:
    """The setting with the best figure, one with an interval before one without; None if none."""
    sign = -1.0 if which == RATE else 1.0

    def told(one: Measured) -> Estimate:
        return {LATENCY: one.latency, RATE: one.rate, ENERGY: one.energy}[which]

    known = [one for one in of if told(one).value is not None]
    return min(
        known, key=lambda one: (told(one).interval is None, sign * (told(one).value or 0.0)),
        default=None,
    )  # fmt: skip


def _speed_ups(measured: Iterable[Measured]) -> tuple[SpeedUp, ...]:
    found = []
    for case, devices in _by_case(measured).items():
        for base, other in _pairs(sorted(devices)):
            sides = (devices[base], devices[other])
            quick = [fastest(side) for side in sides]
            busy = [fastest(side, RATE) for side in sides]
            if quick[0] is None or quick[1] is None or busy[0] is None or busy[1] is None:
                continue
            found.append(
                SpeedUp(
                    case=case,
                    base=base,
                    other=other,
                    latency=inverse(ratio(quick[0].rows, quick[1].rows, LATENCY)),
                    rate=ratio(busy[0].rows, busy[1].rows, RATE),
                    base_setting=quick[0].setting.told,
                    other_setting=quick[1].setting.told,
                    settings=(len(sides[0]), len(sides[1])),
                )
            )
    return tuple(found)


def _winners(measured: Iterable[Measured]) -> tuple[Winner, ...]:
    found = []
    for case, devices in _by_case(measured).items():
        for which in (LATENCY, RATE):
            bests = [one for of in devices.values() if (one := fastest(of, which)) is not None]
            if len(bests) < 2:
                continue
            bests.sort(key=functools.partial(_value, which=which), reverse=which == RATE)
            first = bests[0]
            leads = [ratio(other.rows, first.rows, which) for other in bests[1:]]
            above = [one if which == RATE else inverse(one) for one in leads]
            above.sort(key=lambda one: one.value or 0.0)
            told = first.rate if which == RATE else first.latency
            found.append(
                Winner(case, which, first.contender, first.setting.told, told, tuple(above))
            )
    return tuple(found)


def _turned(winners: Iterable[Winner], measured: Iterable[Measured]) -> tuple[Winner, ...]:
    single = {
        one.case: one.winner
        for one in _winners(one for one in measured if one.setting.instances == 1)
        if one.which == RATE
    }
    return tuple(
        one for one in winners
        if one.which == RATE and one.winner is not None
        and one.case in single and single[one.case] != one.winner
    )  # fmt: skip


def _value(one: Measured, which: str) -> float:
    return (one.rate if which == RATE else one.latency).value or 0.0


def _pairs(devices: Sequence[Contender]) -> list[tuple[Contender, Contender]]:
    """Each CPU with each GPU; where there is only one kind, each with the first."""
    hosts = [one for one in devices if one.kind == CPU]
    gpus = [one for one in devices if one.kind == GPU]
    if hosts and gpus:
        return [(host, gpu) for host in hosts for gpu in gpus]
    return [(devices[0], other) for other in devices[1:]]


def _crossovers(speed_ups: Iterable[SpeedUp]) -> tuple[Crossover, ...]:
    groups: dict[tuple[str, str, str, Contender, Contender], list[SpeedUp]] = {}
    for one in speed_ups:
        if one.case.batch is not None:
            key = (one.case.model, one.case.sha256, one.case.variant, one.base, one.other)
            groups.setdefault(key, []).append(one)
    found = []
    for (model, _, variant, base, other), group in groups.items():
        group.sort(key=lambda one: (one.case.batch or 0, one.case.shapes))
        batches = [one.case.batch for one in group]
        if len(set(batches)) != len(batches):
            continue  # of several shapes: the batch is not all that differs
        points = [At(one.case.batch or 1, one.latency.value, winner(one.latency)) for one in group]
        found.append(Crossover(model, variant, base, other, curves.crossing(points), tuple(group)))
    return tuple(found)


def _single(one: Measured) -> bool:
    return one.setting.instances == 1 and one.setting.concurrency == 1


def _scalings(measured: Iterable[Measured]) -> tuple[ThreadScaling, ...]:
    groups: dict[tuple[object, ...], dict[int, Measured]] = {}
    for one in measured:
        of = one.setting
        if of.threads and _single(one) and one.rate.value is not None and of.kind == CPU:
            key = (one.case, one.contender, of.runtime, of.options)
            groups.setdefault(key, {})[of.threads] = one
    return tuple(
        _scaling(sorted(group.items()))
        for group in groups.values()
        if len(group) >= _FEWEST_THREADS
    )


def _scaling(points: Sequence[tuple[int, Measured]]) -> ThreadScaling:
    best = max((one for _, one in points), key=lambda one: one.rate.value or 0.0)
    shares, simple = [], []
    for threads, one in points:
        if one is best:
            share = Estimate(1.0, (1.0, 1.0), basis=basis(one.rows), rows=one.rows)
        else:
            share = ratio(best.rows, one.rows, RATE)
        shares.append(share)
        value = share.value or 0.0
        low, high = share.interval or (value, value)
        simple.append(Share(threads, value, low, high))
    accounts = []
    times: dict[str, dict[int, float]] = {}
    reasons = []
    for threads, one in points:
        told = one.rows[0].operators
        if not isinstance(told, OperatorTypes):
            reasons.append(f"with {threads} threads: {told.reason}")
            continue
        accounts.append((threads, sum(told.times_ns.values()), told))
        for name, value in told.times_ns.items():
            if value > 0:
                times.setdefault(name, {})[threads] = value
    operators = [curves.scaling(name, of) for name, of in times.items() if len(of) > 1]
    operators.sort(key=lambda one: (-max(one.times_ns.values()), one.name))
    return ThreadScaling(
        points[0][1].case, points[0][1].contender, tuple(points), tuple(shares),
        curves.knee(simple), tuple(operators), "; ".join(reasons[:1]) if not operators else "",
        tuple(accounts),
    )  # fmt: skip


def _instances(measured: Sequence[Measured]) -> tuple[Instances, ...]:
    found = []
    for devices in _by_case(measured).values():
        for settings in devices.values():
            alone = [one for one in settings if one.setting.instances == 1]
            best = fastest(alone, RATE)
            for one in settings:
                count = one.setting.instances
                if count == 1:
                    continue
                like = [
                    each for each in alone
                    if (each.setting.threads, each.setting.runtime, each.setting.concurrency)
                    == (one.setting.threads, one.setting.runtime, one.setting.concurrency)
                ]  # fmt: skip
                single = fastest(like, RATE)
                none = Estimate(None, reason="no single session was measured", rows=one.rows)
                missing = "no single session with as many threads was measured"
                linear = _efficiency(one.rows)
                if linear.value is None and single is not None:
                    linear = scaled(ratio(single.rows, one.rows, RATE), 1 / count)
                elif linear.value is None:
                    linear = dataclasses.replace(linear, reason=linear.reason or missing)
                gain = none if best is None else ratio(best.rows, one.rows, RATE)
                found.append(Instances(one, gain, linear))
    return tuple(found)


def _efficiency(rows: tuple[Row, ...]) -> Estimate:
    """As the groups themselves tell, of which each measured one of its instances alone."""
    values = [row.efficiency.value for row in rows if row.efficiency.value is not None]
    ends = [row.efficiency_interval for row in rows if row.efficiency_interval is not None]
    if len(values) < len(rows):
        reason = next((row.efficiency.reason for row in rows if row.efficiency.value is None), "")
        return Estimate(None, reason=reason, rows=rows)
    value = math.exp(sum(map(math.log, values)) / len(values))
    if len(ends) < len(rows):
        return Estimate(value, reason="one group, which cannot show how much groups differ",
                        basis=basis(rows), rows=rows)  # fmt: skip
    # Of several occasions the interval covers those of all.
    interval = (min(low for low, _ in ends), max(high for _, high in ends))
    return Estimate(value, interval, basis=basis(rows), rows=rows)


def _frontier(measured: Iterable[Measured]) -> tuple[tuple[Measured, bool], ...]:
    groups: dict[str, list[Measured]] = {}
    for one in measured:
        if one.latency.value is not None and one.rate.value is not None:
            groups.setdefault(one.case.model, []).append(one)
    return tuple(
        (one, kept)
        for group in groups.values()
        for one, kept in zip(
            group,
            curves.frontier([(m.latency.value or 0.0, m.rate.value or 0.0) for m in group]),
            strict=True,
        )
    )


def _variants(measured: Sequence[Measured]) -> tuple[VariantGain, ...]:
    found = []
    for one in measured:
        if not one.case.variant:
            continue
        plain = [
            other for other in measured
            if (other.case.model, other.case.batch, other.case.variant, other.contender)
            == (one.case.model, one.case.batch, "", one.contender)
            and other.setting.original == one.setting.original
            and dataclasses.replace(
                other.setting, sha256="", variant="", parameters=0, shapes=()
            ) == dataclasses.replace(
                one.setting, sha256="", variant="", parameters=0, shapes=()
            )
        ]  # fmt: skip
        base = fastest(plain)
        speed_up = (
            Estimate(None, reason="the model as it was made was not measured so", rows=one.rows)
            if base is None
            else inverse(ratio(base.rows, one.rows, LATENCY))
        )
        facts = one.rows[0].facts
        errors = tuple(
            (name.removeprefix(f"{VARIANT}_").replace("_", " "), f"{value:.3g}"
             if isinstance(value, float) else str(value))
            for name, value in sorted(facts.items())
            if name.startswith(f"{VARIANT}_")
        )  # fmt: skip
        found.append(VariantGain(one, speed_up, errors))
    return tuple(found)


def _runtimes(measured: Sequence[Measured]) -> tuple[RuntimeRatio, ...]:
    found = []
    for devices in _by_case(measured).values():
        for settings in devices.values():
            alone = [one for one in settings if _single(one)]
            by_runtime: dict[str, list[Measured]] = {}
            for one in alone:
                by_runtime.setdefault(one.setting.runtime, []).append(one)
            # ONNX Runtime is the base where it is there; of several versions the first.
            names = sorted(by_runtime, key=lambda name: (not name.startswith("ort"), name))
            base = fastest(by_runtime[names[0]]) if len(names) > 1 else None
            for name in names[1:]:
                other = fastest(by_runtime[name])
                if base is not None and other is not None:
                    told = inverse(ratio(base.rows, other.rows, LATENCY))
                    found.append(RuntimeRatio(other, names[0], told))
    return tuple(found)


def _peaks(measured: Iterable[Measured]) -> tuple[PeakShare, ...]:
    found = []
    for devices in _by_case(measured).values():
        for contender, settings in devices.items():
            known, best = known_device(contender.device), fastest(settings, RATE)
            row = None if best is None else best.rows[0]
            if known is None or best is None or row is None or row.flops is None:
                continue
            tensor = any(_TF32 in str(value) for value in row.facts.values())
            kind = "tf32" if row.arithmetic == "float32" and tensor else row.arithmetic
            kind = kind if kind in known.peaks else row.arithmetic
            peak = known.peaks.get(kind)
            if peak is None:
                continue
            each = row.flops / (row.setting.batch or 1)
            rate = scaled(best.rate, each)
            found.append(
                PeakShare(best, rate, scaled(rate, 1 / peak), f"{peak / 1e12:g} TFLOP/s {kind}",
                          known.source)
            )  # fmt: skip
    return tuple(found)


def _costs(
    measured: Iterable[Measured], prices: Prices | None
) -> tuple[tuple[Measured, Cost], ...]:
    if prices is None:
        return ()
    found = []
    for devices in _by_case(measured).values():
        for contender, settings in devices.items():
            best = fastest(settings, RATE)
            known = known_device(contender.device)
            if best is not None:
                watts = None if known is None else known.watts
                found += [(best, cost) for cost in costs(best.rows, prices, watts)]
    return tuple(found)


def _cheapest(priced: Iterable[tuple[Measured, Cost]]) -> tuple[Winner, ...]:
    """Who does a million items for least; prices of different currencies are not compared."""
    cases: dict[tuple[Case, str], dict[Contender, tuple[Measured, Cost]]] = {}
    for one, cost in priced:
        if cost.by == "machine" and cost.estimate.value:
            devices = cases.setdefault((one.case, cost.currency), {})
            known = devices.get(one.contender)
            if known is None or cost.estimate.value < (known[1].estimate.value or 0.0):
                devices[one.contender] = (one, cost)
    found = []
    for (case, currency), devices in cases.items():
        if len(devices) < 2:
            continue
        (first, least), *others = sorted(devices.values(), key=lambda of: of[1].estimate.value or 0)
        leads = [_dearer(first, least, other, cost) for other, cost in others]
        told = f"{first.setting.told}, {least.inputs}"
        found.append(
            Winner(case, COST, first.contender, told, least.estimate, tuple(leads), currency)
        )
    return tuple(found)


def _dearer(first: Measured, least: Cost, other: Measured, cost: Cost) -> Estimate:
    """A cost over the least one. Prices have no scatter, so its interval is that of the rates."""
    speeds = ratio(other.rows, first.rows, RATE)
    if not speeds.value or not cost.estimate.value or not least.estimate.value:
        return speeds
    return scaled(speeds, cost.estimate.value / least.estimate.value / speeds.value)


def _absent(found: Study) -> Iterable[tuple[str, str]]:
    rows = found.joined.rows
    if not found.speed_ups:
        yield "speed-up", "no model was measured in the same batch on two devices"
    if not any(len(one.speed_ups) > 1 for one in found.crossovers):
        yield "crossover batch", "no model was measured in two batches on two devices"
    if not found.scalings:
        yield (
            "thread scaling",
            (
                f"no model was measured on a CPU with {_FEWEST_THREADS} numbers of threads "
                "that were asked for"
            ),
        )
    if not found.instances:
        yield "instances", "no profile is of several sessions side by side"
    if not found.variants:
        yield "variants", "no profile is of a variant of a model"
    if not found.runtimes:
        yield "runtimes", "every model was measured with one runtime only"
    reasons: dict[str, dict[str, int]] = {"energy": {}, "idle time of the GPU": {}}
    for row in rows:
        if row.joules.value is None:
            key = f"{short_cpu(row.setting.device)}: {row.joules.reason}"
            reasons["energy"][key] = reasons["energy"].get(key, 0) + 1
        if row.setting.kind == GPU and row.idle_share.value is None:
            key = row.idle_share.reason
            known = reasons["idle time of the GPU"]
            known[key] = known.get(key, 0) + 1
    for what, told in reasons.items():
        for reason, count in sorted(told.items()):
            yield what, f"{reason} ({count} of {len(rows)} profiles)"
    if found.prices is None:
        yield "cost", "no file of prices was given (`prices`)"
    elif not found.costs:
        yield "cost", "no offer means one of these machines and devices"
