"""Claims as data: a sentence with a condition on figures, and the verdict that profiles allow.

A condition holds if the whole interval of its figure fulfils it, fails if the whole interval does
not, and cannot be told in between, nor without an interval. docs/STUDY.md describes the file.
"""

from __future__ import annotations

import dataclasses
import enum
import fnmatch
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.study.figures import Study
from harness.study.measured import Case, Contender, Measured, fastest
from harness.study.ratios import ENERGY, LATENCY, RATE, Estimate, inverse, mapped, ratio, scaled
from harness.study.rows import CPU, GPU
from harness.study.toml_files import LARGEST, Table, read_toml


class Verdict(enum.StrEnum):
    """What the data say about a claim."""

    HOLDS = "holds"
    FAILS = "fails"
    UNKNOWN = "cannot tell"


#: What a claim may be about, with the unit of its figure. A ratio is above 1 where ``of`` is the
#: better side.
FIGURES = {
    "latency": "ms", "latency per item": "ms", "throughput": "items/s", "energy": "J/item",
    "cost": "per million items", "efficiency": "of linear", "speed-up": "",
    "throughput ratio": "", "energy ratio": "", "cost ratio": "", "quoted": "",
}  # fmt: skip

_RATIOS = {"speed-up": LATENCY, "throughput ratio": RATE, "energy ratio": ENERGY}

#: How many of the cases that a claim is about must fulfil it.
WHICH = ("every", "most", "some")

#: What profiles are chosen by.
_SELECTORS = (
    "model", "device", "name", "machine", "batch", "variant", "threads", "instances", "runtime",
    "parameters_at_most", "parameters_at_least",
)  # fmt: skip

_BOUNDS = ("above", "below", "equals", "within")
_KNOWN = ("says", "figure", "of", "against", "which", "note", "quoted", *_BOUNDS)


@dataclasses.dataclass(frozen=True, slots=True)
class Selector:
    """Which profiles a claim is about; what is not named does not matter.

    Attributes:
        wanted: by the names of ``_SELECTORS``: patterns, numbers, or lists of either.
        place: file and claim, for messages.
    """

    wanted: Mapping[str, Any]
    place: str

    def fits(self, one: Measured) -> bool:
        """Whether a setting is meant."""
        of = one.setting
        told: dict[str, object] = {
            "model": of.model, "device": of.kind, "name": of.device,
            "machine": one.contender.machine, "batch": of.batch, "variant": of.variant,
            "threads": of.threads, "instances": of.instances, "runtime": of.runtime,
        }  # fmt: skip
        for name, value in self.wanted.items():
            if name == "parameters_at_most":
                if not 0 <= of.parameters <= value:
                    return False
            elif name == "parameters_at_least":
                if of.parameters < value:
                    return False
            elif not _matches(value, told[name]):
                return False
        return True

    @property
    def told(self) -> str:
        """``model resnet50, batch 1``."""
        parts = []
        for name, value in self.wanted.items():
            shown = " or ".join(map(str, value)) if isinstance(value, list) else value
            parts.append(f"{name.replace('_', ' ')} {shown}" if shown != "" else f"no {name}")
        return ", ".join(parts) or "anything"


@dataclasses.dataclass(frozen=True, slots=True)
class Claim:
    """A sentence with a condition.

    Attributes:
        says: the sentence.
        figure: what it is about, one of ``FIGURES``.
        of: whose figure.
        against: the base of a ratio; None for a figure alone.
        low, high: bounds of the figure, possibly infinite: open where ``above`` or ``below`` was
            written, and both from ``equals`` and ``within``.
        bound: the condition in words.
        which: of the cases that it is about, one of ``WHICH``.
        note: what is to be known about it; may be empty.
        quoted: the text's own figures, of which the first over the second is judged; empty for a
            claim that profiles decide.
    """

    says: str
    figure: str
    of: Selector
    against: Selector | None
    low: float
    high: float
    bound: str
    which: str
    note: str
    quoted: tuple[float, ...]

    def judge(self, estimate: Estimate) -> Verdict:
        """The verdict on one figure."""
        ends = estimate.decisive
        if ends is None:
            return Verdict.UNKNOWN
        if self.low < ends[0] and ends[1] < self.high:
            return Verdict.HOLDS
        return Verdict.FAILS if ends[1] <= self.low or self.high <= ends[0] else Verdict.UNKNOWN


@dataclasses.dataclass(frozen=True, slots=True)
class Text:
    """The claims of one text.

    Attributes:
        title, source: of the text.
        claims: in its order.
        file: where they stand.
    """

    title: str
    source: str
    claims: tuple[Claim, ...]
    file: Path


@dataclasses.dataclass(frozen=True, slots=True)
class Evidence:
    """One figure that a verdict rests on.

    Attributes:
        of: what it is of: ``resnet50, batch 1: NVIDIA H200 against Intel Xeon``.
        estimate: the figure.
        unit: of it.
        verdict: on this figure alone.
    """

    of: str
    estimate: Estimate
    unit: str
    verdict: Verdict


@dataclasses.dataclass(frozen=True, slots=True)
class Judged:
    """A claim with its verdict.

    Attributes:
        claim: the claim.
        text: it is of.
        verdict: on it.
        why: one sentence.
        evidence: the figures.
    """

    claim: Claim
    text: Text
    verdict: Verdict
    why: str
    evidence: tuple[Evidence, ...]


def read_claims(path: Path) -> Text:
    """Reads a file of claims.

    Raises:
        RequestError: it cannot be read, or says something that makes no sense.
    """
    whole = Table(str(path), read_toml(path))
    text = Table(f"{path}: text", whole.take("text", {}))
    title, source = text.text("title", path.stem), text.text("source", "")
    text.finish(("title", "source"))
    entries = whole.take("claim", [])
    whole.finish(("text", "claim"))
    if not isinstance(entries, list) or not entries:
        whole.refuse("holds no claim", "add [[claim]]")
    claims = tuple(
        _claim(Table(f"{path}: claim {number}", entry)) for number, entry in enumerate(entries, 1)
    )
    return Text(title, source, claims, path)


def _claim(table: Table) -> Claim:
    says, name = table.text("says"), table.text("figure")
    if name not in FIGURES:
        table.refuse(f"'figure' is {name}", f"choose one of {', '.join(FIGURES)}")
    of = _selector(table, "of")
    against = _selector(table, "against")
    ratios = name in ratio_figures()
    if ratios and against is None:
        table.refuse(f"a {name} is against something", "add 'against'")
    if not ratios and against is not None:
        table.refuse(f"a {name} is not against anything", "leave 'against' out")
    quoted = table.take("quoted", [])
    numbers = isinstance(quoted, list) and all(
        isinstance(one, (int, float)) and not isinstance(one, bool) and 0 < one < LARGEST
        for one in quoted
    )
    if not numbers or (name == "quoted") != (len(quoted) in (1, 2)):
        table.refuse("'quoted' holds one or two numbers above zero where 'figure' is quoted")
    low, high, bound = _bounds(table, FIGURES[name])
    which = table.text("which", "every")
    if which not in WHICH:
        table.refuse(f"'which' is {which}", f"choose one of {', '.join(WHICH)}")
    note = table.text("note", "")
    table.finish(_KNOWN)
    nothing = Selector({}, table.place)
    return Claim(
        says, name, of or nothing, against, low, high, bound, which, note,
        tuple(map(float, quoted)),
    )  # fmt: skip


def _selector(table: Table, name: str) -> Selector | None:
    entries = table.take(name)
    if entries is None:
        return None
    inner = Table(f"{table.place}: {name}", entries)
    wanted = inner.rest()
    for key, value in wanted.items():
        if key not in _SELECTORS:
            inner.refuse(f"'{key}' is not known", f"known are {', '.join(_SELECTORS)}")
        values = value if isinstance(value, list) else [value]
        numeric = key in ("batch", "threads", "instances") or key.startswith("parameters")
        kind = int if numeric else str
        if any(not isinstance(one, kind) or isinstance(one, bool) for one in values):
            inner.refuse(f"'{key}' is not {'a whole number' if numeric else 'a text'}")
        if key.startswith("parameters") and isinstance(value, list):
            inner.refuse(f"'{key}' is a list", "give one number")
        if key == "device" and not set(values) <= {CPU, GPU}:
            inner.refuse(f"'device' is {value}", f"write {CPU} or {GPU}; 'name' is the product's")
    return Selector(wanted, inner.place)


def _bounds(table: Table, unit: str) -> tuple[float, float, str]:
    low, high, told = -math.inf, math.inf, []
    given = {name: table.number(name) for name in _BOUNDS if name in table.rest()}
    if not given:
        table.refuse("has no condition", f"add {', '.join(_BOUNDS[:3])}")
    if "equals" in given:
        within = given.get("within")
        if within is None or len(given) != 2 or not 0 < within < 1:
            table.refuse("'equals' needs 'within', a share below 1, and nothing else")
        centre, share = given["equals"], float(within or 0.0)
        low, high = centre * (1 - share), centre * (1 + share)
        told = [f"{centre:g} {unit}".rstrip() + f" within {share:.0%}"]
    elif "within" in given:
        table.refuse("'within' needs 'equals'")
    else:
        low, high = given.get("above", low), given.get("below", high)
        told = [f"{name} {value:g} {unit}".rstrip() for name, value in given.items()]
        if low >= high:
            table.refuse("no figure is above one bound and below the other")
    return low, high, " and ".join(told)


def _matches(wanted: object, told: object) -> bool:
    if isinstance(wanted, list):
        return any(_matches(one, told) for one in wanted)
    if isinstance(wanted, str):
        return fnmatch.fnmatchcase(str(told or "").casefold(), wanted.casefold())
    return wanted == told


def judged(texts: Iterable[Text], study: Study) -> tuple[Judged, ...]:
    """The verdict on every claim.

    Args:
        texts: the claims.
        study: the figures.
    """
    return tuple(_judged(claim, text, study) for text in texts for claim in text.claims)


def _judged(claim: Claim, text: Text, study: Study) -> Judged:
    if claim.quoted:
        value = claim.quoted[0] / (claim.quoted[1] if len(claim.quoted) > 1 else 1.0)
        told = Estimate(value, (value, value), basis="the text's own figures, not these profiles")
        verdict = claim.judge(told)
        shown = " / ".join(f"{one:g}" for one in claim.quoted)
        evidence = (Evidence(f"quoted: {shown}", told, claim_unit(claim), verdict),)
        return Judged(claim, text, verdict, f"by the text's own figures, {shown} = {value:.3g}",
                      evidence)  # fmt: skip
    found = tuple(
        Evidence(of, estimate, claim_unit(claim), claim.judge(estimate))
        for of, estimate in _figures(claim, study)
    )
    if not found:
        return Judged(claim, text, Verdict.UNKNOWN, _nothing(claim, study), ())
    verdict = _together([one.verdict for one in found], claim.which)
    return Judged(claim, text, verdict, _why(claim, found, verdict), found)


def claim_unit(claim: Claim) -> str:
    """The unit of its figure."""
    return FIGURES[claim.figure]


def _together(verdicts: Sequence[Verdict], which: str) -> Verdict:
    """Of several figures; those that cannot be told may be either."""
    holds, fails = (sum(v is one for v in verdicts) for one in (Verdict.HOLDS, Verdict.FAILS))
    count = len(verdicts)
    if which == "every":
        sure, never = holds == count, fails > 0
    elif which == "some":
        sure, never = holds > 0, fails == count
    else:
        sure, never = 2 * holds > count, 2 * fails >= count
    return Verdict.HOLDS if sure else Verdict.FAILS if never else Verdict.UNKNOWN


def _why(claim: Claim, found: Sequence[Evidence], verdict: Verdict) -> str:
    counts = {
        one: sum(each.verdict is one for each in found)
        for one in (Verdict.HOLDS, Verdict.FAILS, Verdict.UNKNOWN)
    }
    condition = claim.bound
    if claim.against is not None:
        condition = f"a ratio {'of ' if condition[:1].isdigit() else ''}{condition}"
    if len(found) == 1:
        one = found[0]
        if one.verdict is Verdict.UNKNOWN:
            return _why_unknown(one, condition)
        return f"{one.of}: it is {'' if one.verdict is Verdict.HOLDS else 'not '}{condition}"
    if counts[Verdict.UNKNOWN] == len(found):
        return f"in none of {len(found)} cases it can be told; {_why_unknown(found[0], condition)}"
    told = f"in {counts[Verdict.HOLDS]} of {len(found)} cases it is {condition}"
    if counts[Verdict.FAILS]:
        told += f", in {counts[Verdict.FAILS]} it is not"
    if counts[Verdict.UNKNOWN]:
        told += f", in {counts[Verdict.UNKNOWN]} it cannot be told"
    if verdict is Verdict.UNKNOWN:
        first = next(one for one in found if one.verdict is Verdict.UNKNOWN)
        told += f"; {_why_unknown(first, condition)}"
    return told


def ratio_figures() -> tuple[str, ...]:
    """Figures of two sides."""
    return (*_RATIOS, "cost ratio")


def _why_unknown(one: Evidence, condition: str) -> str:
    of = one.estimate
    if of.value is None:
        return f"{one.of}: {of.reason}"
    if of.interval is None:
        return f"{one.of} has no interval: {of.reason}"
    if of.doubt:
        return f"{one.of} is doubtful: {of.doubt}"
    return f"the interval of {one.of} reaches beyond {condition}"


def _nothing(claim: Claim, study: Study) -> str:
    """What is missing for a figure."""
    sides = [claim.of] + ([claim.against] if claim.against else [])
    for side in sides:
        if not any(side.fits(one) for one in study.measured):
            return f"no profile is of {side.told}"
    if claim.figure.startswith("cost") and study.prices is None:
        return "no prices were given"
    return "no two profiles are of the same work" if claim.against else "no figure of that"


def _figures(claim: Claim, study: Study) -> list[tuple[str, Estimate]]:
    meant = [one for one in study.measured if claim.of.fits(one)]
    if claim.figure == "efficiency":
        return [
            (f"{_told(one.measured)}", one.efficiency)
            for one in study.instances if one.measured in meant
        ]  # fmt: skip
    if claim.against is not None:
        return _ratios(claim, claim.against, study, meant)
    if claim.figure == "cost":
        return [
            (f"{_told(one)}, {cost.inputs}", cost.estimate)
            for one, cost in study.costs if one in meant and cost.by == "machine"
        ]  # fmt: skip
    which = {"throughput": RATE, "energy": ENERGY}.get(claim.figure, LATENCY)
    found = []
    for of in _grouped(meant).values():
        best = fastest(of, which)
        if best is None:
            found.append((_told(of[0]), getattr(of[0], which_attribute(which))))
            continue
        estimate: Estimate = getattr(best, which_attribute(which))
        if which == LATENCY:
            estimate = scaled(estimate, 1e-6)
            if claim.figure == "latency per item":
                batch = best.setting.batch
                estimate = (
                    Estimate(None, reason="how many items an inference has is not known")
                    if batch is None
                    else scaled(estimate, 1 / batch)
                )
        found.append((_told(best, chosen_from=len(of)), estimate))
    return found


def which_attribute(which: str) -> str:
    """The attribute of Measured that holds a figure."""
    return {LATENCY: "latency", RATE: "rate", ENERGY: "energy"}[which]


def _told(one: Measured, chosen_from: int = 1) -> str:
    how = f"{one.case.told} on {one.contender.short}, {one.setting.told}"
    return how + (f" (best of {chosen_from} settings)" if chosen_from > 1 else "")


def _grouped(
    meant: Iterable[Measured],
) -> dict[tuple[Case, Contender], list[Measured]]:
    found: dict[tuple[Case, Contender], list[Measured]] = {}
    for one in meant:
        found.setdefault((one.case, one.contender), []).append(one)
    return found


def _ratios(
    claim: Claim, against: Selector, study: Study, meant: Sequence[Measured]
) -> list[tuple[str, Estimate]]:
    """A ratio for each pair of devices that did the same work, both in their best setting.

    The same work: equal model and batch, and equal variant unless the claim names one. On one
    machine where both are measured there; else between machines.
    """
    bases = [one for one in study.measured if against.fits(one)]
    found = []
    for (case, device), of in _grouped(meant).items():
        alike = [
            one for one in bases
            if (one.case.model, one.case.batch) == (case.model, case.batch)
            and (one.case.variant == case.variant or "variant" in against.wanted
                 or "variant" in claim.of.wanted)
        ]  # fmt: skip
        here = [one for one in alike if one.contender.machine == device.machine]
        for (_, other), side in _grouped(here or alike).items():
            told = _ratio(claim, study, of, side)
            if told is not None:
                name = f"{case.told}: {device.short} against {other.short}"
                if device == other:
                    name = f"{case.told} on {device.short}"
                found.append((name, told))
    return found


def _ratio(
    claim: Claim, study: Study, of: Sequence[Measured], against: Sequence[Measured]
) -> Estimate | None:
    if claim.figure == "cost ratio":
        return _cost_ratio(study, of, against)
    which = _RATIOS[claim.figure]
    if which == ENERGY:
        missing = [one for one in (*of, *against) if one.energy.value is None]
        if missing:
            one = missing[0]
            reason = f"{one.contender.short}: {one.energy.reason}"
            return Estimate(None, reason=reason, rows=one.rows)
    best, base = fastest(of, which), fastest(against, which)
    if best is None or base is None:
        return None
    if best is base:
        return None
    told = ratio(base.rows, best.rows, which)
    return told if which == RATE else inverse(told)


def _cost_ratio(
    study: Study, of: Sequence[Measured], against: Sequence[Measured]
) -> Estimate | None:
    """Cost of the base over the cost of the other, both by the cheapest offer of one currency."""
    sides = []
    for side in (of, against):
        told = [
            cost for one, cost in study.costs
            if one in side and cost.by == "machine" and cost.estimate.value is not None
        ]  # fmt: skip
        sides.append(min(told, key=lambda cost: cost.estimate.value or 0.0, default=None))
    one, base = sides
    if one is None or base is None:
        return None
    rows = (*one.estimate.rows, *base.estimate.rows)
    if one.currency != base.currency:
        reason = f"one price is in {one.currency}, the other in {base.currency}"
        return Estimate(None, reason=reason, rows=rows)
    # Prices have no scatter, so that of the ratio is that of the throughputs.
    speeds = ratio(base.estimate.rows, one.estimate.rows, RATE)
    if not speeds.value or not base.estimate.value or not one.estimate.value:
        return None
    factor = base.estimate.value / one.estimate.value / speeds.value
    return mapped(speeds, lambda value: value * factor)
