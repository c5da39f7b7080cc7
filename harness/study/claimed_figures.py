"""The figures of a study that a claim is about, each with what it is of in words."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from harness.study.claims import RATIOS, Claim, Selector
from harness.study.figures import Study
from harness.study.measured import Case, Contender, Measured, best_of
from harness.study.prices import Cost
from harness.study.ratios import (
    ENERGY,
    LATENCY,
    RATE,
    Estimate,
    basis,
    doubted,
    inverse,
    ratio,
    ratio_of_intervals,
    scaled,
)
from harness.study.winners import cost_ratio, costs_of

#: A device at some work.
_Device = tuple[Case, Contender]

#: The same with its settings.
_Side = tuple[_Device, list[Measured]]


def claimed_figures(claim: Claim, study: Study) -> list[tuple[str, Estimate]]:
    """Every figure that a claim is about: what it is of, and the figure in the claim's unit.

    Args:
        claim: what is claimed; one that quotes a text's own figures is about none of these.
        study: the figures.
    """
    if claim.figure == "efficiency":
        return [
            (_setting_told(one.measured), one.efficiency)
            for one in study.instances if claim.of.fits(one.measured)
        ]  # fmt: skip
    if claim.against is not None:
        pairs = _pairs(claim, claim.against, study)
        if claim.figure == "narrowing":
            return _narrowings(claim.of, claim.against, study, pairs)
        return _cost_ratios(claim, study, pairs) if claim.figure == "cost ratio" else [
            (_against_told(one, base) + _chosen(of, against), told)
            for (one, of), (base, against) in pairs
            if (told := _ratio(claim, of, against)) is not None
        ]  # fmt: skip
    sides = _grouped(filter(claim.of.fits, study.measured)).values()
    if claim.figure == "cost":
        return [
            (f"{_setting_told(one, len(of))}, {cost.inputs}", cost.estimate)
            for of in sides for one, cost in _offers(claim, study, of)
        ]  # fmt: skip
    which = {"throughput": RATE, "energy": ENERGY}.get(claim.figure, LATENCY)
    found = []
    for of in sides:
        best, doubt = best_of(of, which)
        if best is None:
            found.append((_setting_told(of[0]), of[0].figure(which)))
            continue
        estimate = doubted(best.figure(which), doubt)
        if which == LATENCY:
            estimate = scaled(estimate, 1e-6)
            if claim.figure == "latency per item":
                batch = best.setting.batch
                estimate = (
                    Estimate(None, reason="how many items an inference has is not known")
                    if batch is None
                    else scaled(estimate, 1 / batch)
                )
        found.append((_setting_told(best, chosen_from=len(of)), estimate))
    return found


def _grouped(meant: Iterable[Measured]) -> dict[_Device, list[Measured]]:
    found: dict[_Device, list[Measured]] = {}
    for one in meant:
        found.setdefault((one.case, one.contender), []).append(one)
    return found


def _pairs(claim: Claim, against: Selector, study: Study) -> list[tuple[_Side, _Side]]:
    """Each pair of devices that did the same work, with the settings that the claim allows.

    The same work: equal model, shapes of the inputs and batch, and equal variant unless the claim
    names one and its figure is of two; the batch may differ where the claim says so. On one machine
    where both are measured there; else between machines.
    """
    bases: dict[object, list[_Side]] = {}
    for base in _grouped(filter(against.fits, study.measured)).items():
        bases.setdefault(_work(claim, base[0][0]), []).append(base)
    named = "variant" in against.wanted or "variant" in claim.of.wanted
    any_variant = named and claim.figure != "narrowing"
    found = []
    for side in _grouped(filter(claim.of.fits, study.measured)).items():
        case, device = side[0]
        alike = [
            base for base in bases.get(_work(claim, case), ())
            if (any_variant or base[0][0].variant == case.variant)
            and (not claim.frees_batch or _differ_in_batch(case, base[0][0]))
        ]  # fmt: skip
        here = [base for base in alike if base[0][1].machine == device.machine]
        found += [(side, base) for base in here or alike]
    return found


def _chosen(of: Sequence[Measured], against: Sequence[Measured]) -> str:
    """How many settings of both sides the best were chosen from; empty if there was no choice."""
    if max(len(of), len(against)) == 1:
        return ""
    return f" (best of {len(of)} and {len(against)} settings)"


def _work(claim: Claim, case: Case) -> object:
    """What both sides of a ratio have in common, less the variant."""
    return case.model if claim.frees_batch else (case.model, case.shapes, case.batch)


def _differ_in_batch(one: Case, other: Case) -> bool:
    """Whether inputs differ in nothing but their batch: in one axis of an input, if in any."""
    apart = [str(one.batch)], [str(other.batch)]
    return len(one.shapes) == len(other.shapes) and all(
        first == second or _differences(first, second) == apart
        for first, second in zip(one.shapes, other.shapes, strict=True)
    )


def _differences(one: str, other: str) -> tuple[list[str], list[str]] | None:
    """Sizes of the axes that differ, on both sides; None if there are more axes on one."""
    axes = one.split("x"), other.split("x")
    if len(axes[0]) != len(axes[1]):
        return None
    pairs = [(x, y) for x, y in zip(*axes, strict=True) if x != y]
    return [x for x, _ in pairs], [y for _, y in pairs]


def _setting_told(one: Measured, chosen_from: int = 1) -> str:
    """``resnet50, batch 1 on NVIDIA H200, default threads``."""
    how = f"{one.case.told} on {one.contender.short}, {one.setting.told}"
    return how + (f" (best of {chosen_from} settings)" if chosen_from > 1 else "")


def _against_told(one: _Device, base: _Device) -> str:
    """``resnet50, batch 1: NVIDIA H200 against Intel Xeon``."""
    (case, device), (other_case, other) = one, base
    if case.told != other_case.told and device == other:
        return f"{case.told} against {other_case.told} on {device.short}"
    if case.told != other_case.told:
        return f"{case.told} on {device.short} against {other_case.told} on {other.short}"
    if device == other:
        return f"{case.told} on {device.short}"
    return f"{case.told}: {device.short} against {other.short}"


def _ratio(claim: Claim, of: Sequence[Measured], against: Sequence[Measured]) -> Estimate | None:
    which = RATIOS[claim.figure]
    if which == ENERGY:
        missing = [one for one in (*of, *against) if one.energy.value is None]
        if missing:
            one = missing[0]
            reason = f"{one.contender.short}: {one.energy.reason}"
            return Estimate(None, reason=reason, rows=one.rows)
    (best, less), (base, base_less) = best_of(of, which), best_of(against, which)
    if best is None or base is None or best is base:
        return None
    told = doubted(ratio(base.rows, best.rows, which), less or base_less)
    return told if which == RATE else inverse(told)


def _narrowings(
    of: Selector, against: Selector, study: Study, pairs: Iterable[tuple[_Side, _Side]]
) -> list[tuple[str, Estimate]]:
    """How many times more a variant gains on one device than on the other, over the model as made.

    That is the gap in latency between the other device and the one, without the variant over with
    it. The interval spans the extremes of those of both gains.
    """
    plain, other_plain = _as_made(of, study), _as_made(against, study)
    found = []
    for (one, variant), (base, other_variant) in pairs:
        if one[0].variant and one[1] != base[1]:
            gain = _gain(plain.get(_made_of(one), []), variant)
            other_gain = _gain(other_plain.get(_made_of(base), []), other_variant)
            told = ratio_of_intervals(other_gain, gain)
            told = dataclasses.replace(told, basis=basis(told.rows))
            found.append((_against_told(one, base), told))
    return found


def _as_made(side: Selector, study: Study) -> dict[_Device, list[Measured]]:
    """The models as they were made, in the settings that a side of a claim allows."""
    wanted = {k: v for k, v in side.wanted.items() if not k.startswith("parameters")}
    plain = dataclasses.replace(side, wanted={**wanted, "variant": ""})
    found: dict[_Device, list[Measured]] = {}
    for device, settings in _grouped(filter(plain.fits, study.measured)).items():
        found.setdefault(_made_of(device), []).extend(settings)
    return found


def _made_of(device: _Device) -> _Device:
    return device[0]._replace(variant="", sha256=""), device[1]


def _gain(plain: Sequence[Measured], variant: Sequence[Measured]) -> Estimate:
    """Latency of a model as it was made over that of its variant, each in its best setting."""
    (base, less), (best, best_less) = best_of(plain), best_of(variant)
    if base is None or best is None:
        rows = tuple(row for one in variant for row in one.rows)
        return Estimate(None, reason="the model as it was made was not measured so", rows=rows)
    return doubted(inverse(ratio(base.rows, best.rows, LATENCY)), less or best_less)


def _offers(
    claim: Claim, study: Study, settings: Sequence[Measured]
) -> list[tuple[Measured, Cost]]:
    """What the setting with most items a second costs, by each offer that the claim allows."""
    return [
        (one, cost) for one, cost in costs_of(settings, study.prices)
        if cost.by == "machine" and claim.currency in ("", cost.currency)
    ]  # fmt: skip


def _cost_ratios(
    claim: Claim, study: Study, pairs: Sequence[tuple[_Side, _Side]]
) -> list[tuple[str, Estimate]]:
    """Cost of the base over that of the other, each by its cheapest offer in a currency of both."""
    found = []
    for (one, of), (base, against) in pairs if study.prices is not None else ():
        name = _against_told(one, base) + _chosen(of, against)
        offers = [_offers(claim, study, side) for side in (of, against)]
        sides = [_cheapest(side) for side in offers]
        both = sorted(sides[0].keys() & sides[1].keys())
        found += [
            (f"{name}, {currency}", cost_ratio(sides[0][currency], sides[1][currency]))
            for currency in both
            if sides[0][currency][0] is not sides[1][currency][0]
        ]
        if not both:
            reason = _no_common_price(claim, offers, (one[1], base[1]))
            rows = tuple(row for side in offers for each, _ in side for row in each.rows)
            found.append((name, Estimate(None, reason=reason, rows=rows)))
    return found


def _cheapest(offers: Iterable[tuple[Measured, Cost]]) -> dict[str, tuple[Measured, Cost]]:
    """The cheapest of each currency."""
    found: dict[str, tuple[Measured, Cost]] = {}
    for one, cost in offers:
        value = cost.estimate.value
        if value is not None:
            known = found.setdefault(cost.currency, (one, cost))
            if value < (known[1].estimate.value or 0.0):
                found[cost.currency] = (one, cost)
    return found


def _no_common_price(
    claim: Claim, offers: Sequence[Sequence[tuple[Measured, Cost]]], devices: Sequence[Contender]
) -> str:
    for side, device in zip(offers, devices, strict=True):
        if not side:
            return f"no offer{claim.currency and f' in {claim.currency}'} means {device.short}"
        if all(cost.estimate.value is None for _, cost in side):
            return f"{device.short}: {side[0][1].estimate.reason}"
    told = [" and ".join(sorted({cost.currency for _, cost in side})) for side in offers]
    return f"one price is in {told[0]}, the other in {told[1]}"
