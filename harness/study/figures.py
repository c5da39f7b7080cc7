"""Everything that a study tells about a table of profiles, each figure with what it rests on."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from harness.study import effects, winners
from harness.study.effects import Instances, PeakShare, RuntimeRatio, ThreadScaling, VariantGain
from harness.study.joining import Joined, short_cpu
from harness.study.measured import Measured, measured_settings
from harness.study.prices import Cost, Prices, meant
from harness.study.rows import GPU
from harness.study.winners import Crossover, SpeedUp, Winner


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
    measured = measured_settings(joined.rows)
    speed_ups, best = winners.speed_ups(measured), winners.winners(measured)
    priced = winners.costs_of(measured, prices)
    found = Study(
        joined=joined,
        measured=measured,
        winners=(*best, *winners.cheapest(priced)),
        turned=winners.turned(best, measured),
        speed_ups=speed_ups,
        crossovers=winners.crossovers(speed_ups),
        scalings=effects.scalings(measured),
        instances=effects.side_by_side(measured),
        frontier=effects.frontier(measured),
        variants=effects.variants(measured),
        runtimes=effects.runtimes(measured),
        peaks=effects.peaks(measured),
        costs=priced,
        prices=prices,
        absent=(),
    )
    return dataclasses.replace(found, absent=tuple(_absent(found)))


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
                f"no model was measured on a CPU with {effects.FEWEST_THREADS} numbers of threads "
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
    kinds = {(row.machine, row.setting.kind): row for row in rows}
    if found.prices is None:
        yield "cost", "no file of prices was given (`prices`)"
    for offer in found.prices.offers if found.prices is not None else ():
        if not any(meant(offer, row) for row in kinds.values()):
            device = f", device {offer.device}" if offer.device else ""
            yield "cost", f"{offer.name}: no profile is of machine {offer.machine}{device}"
