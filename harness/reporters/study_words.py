"""What a study says in words: the answer first, and figures with their intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from harness.options import worded
from harness.reporters.numbers import joules, nanoseconds, rate
from harness.reporters.wording import counted
from harness.study.effects import ThreadScaling, VariantGain
from harness.study.figures import Study
from harness.study.joining import Machine
from harness.study.judging import Evidence
from harness.study.measured import Case, Contender, Measured
from harness.study.ratios import LATENCY, RATE, Estimate, inverse, winner
from harness.study.rows import BROKEN, CPU
from harness.study.winners import COST, Crossover, SpeedUp, Winner

#: Models that a sentence names, at most, before it only counts them.
_NAMED = 4

#: Most sentences of the answer.
SENTENCES = 3


class Answer(NamedTuple):
    """A sentence to quote, and the figures that it rests on.

    Attributes:
        sentence: without its full stop.
        evidence: one figure each, with interval and basis.
    """

    sentence: str
    evidence: tuple[str, ...]


def answers(study: Study) -> tuple[Answer, ...]:
    """What a decision maker would quote, the most important first; none without data for it."""
    made = (_fastest(study), _instances(study), _cost(study), _threads(study), _variant(study))
    return tuple(one for one in made if one is not None)[:SENTENCES]


def times(value: float) -> str:
    """A ratio with two digits, or all before the point: ``7.7 times``."""
    return f"{factor(value)} times"


def factor(value: float) -> str:
    """The same without the noun."""
    if value >= 99.5:
        return f"{value:,.0f}"
    if 0.9 < value < 1.1:
        return f"{value:.3g}"
    return f"{value:.2g}"


def spread(of: Estimate, shown: Sequence[str] = ()) -> str:
    """An interval in brackets, or why there is none: ``(1.7 to 6.6)``.

    Args:
        of: the figure.
        shown: its ends as texts; as ratios where left out.
    """
    if of.interval is None:
        return f"(no interval: {of.reason})" if of.value is not None else ""
    if of.interval[0] == of.interval[1]:
        return ""  # exact
    low, high = shown or tuple(map(factor, of.interval))
    return f"({low} to {high})"


def devices_told(machines: Sequence[Machine]) -> str:
    """What the machines consist of, each once: ``2 x Intel Xeon, 16 CPUs, NVIDIA H200``."""
    kinds: dict[str, int] = {}
    for one in machines:
        kinds[one.make] = kinds.get(one.make, 0) + 1
    return "; ".join(
        f"{count} machines of {kind}" if count > 1 else kind for kind, count in kinds.items()
    )


def role(one: Contender, others: Iterable[Contender]) -> str:
    """``the CPU`` or ``the GPU`` where that says which it is, else the product and its machine."""
    if len({other.short for other in others if other.kind == one.kind}) <= 1:
        return "the CPU" if one.kind == CPU else "the GPU"
    return one.short


def contenders(study: Study) -> tuple[Contender, ...]:
    """Every device of a study."""
    return tuple(dict.fromkeys(one.contender for one in study.measured))


def peak_share(value: float) -> str:
    """A share of a nominal peak, which may be next to nothing."""
    return f"{value:.1%}" if value >= 0.001 else "below 0.1%"


def batches(numbers: Sequence[int]) -> str:
    """``batch 1``, ``batch 1 and 32``, ``batch 1, 8 and 32``; of more, the ends."""
    told = [f"{number:,}" for number in numbers]
    if len(told) > _NAMED - 1:
        return f"batch {told[0]} to {told[-1]}"
    return f"batch {_listed(told)}"


def _listed(texts: Sequence[str]) -> str:
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"


def _fastest(study: Study) -> Answer | None:
    """Which device is faster for what."""
    known = contenders(study)
    models: dict[str, list[Winner]] = {}
    for one in study.winners:
        if one.which == LATENCY:
            models.setdefault(one.case.name, []).append(one)
    # By what a device is called: of machines of equal make it is one.
    wins: dict[str, list[tuple[str, list[Winner]]]] = {}
    parts = []
    for name, of in models.items():
        sure = [one for one in of if one.winner is not None]
        changes = [k for k in range(1, len(sure)) if sure[k].winner != sure[k - 1].winner]
        numbers = [one.case.batch or 0 for one in sure]
        if len(changes) == 1 and all(numbers) and numbers == sorted(set(numbers)):
            first, second = sure[changes[0] - 1], sure[changes[0]]
            parts.append(
                f"for {name} {role(first.first, known)} is faster up to batch "
                f"{first.case.batch:,}, {_from_on(numbers, second.case.batch or 0)} "
                f"{role(second.first, known)}"
            )
            continue
        for device in dict.fromkeys(one.first for one in sure):
            won = [one for one in sure if one.first == device]
            wins.setdefault(role(device, known), []).append((name, won))
    if not wins and not parts:
        return None
    for called, led in sorted(wins.items(), key=lambda item: -len(item[1])):
        parts.append(f"{called} is faster for {_models(led)}")
    on: dict[Case, set[str]] = {}
    for measured in study.measured:
        on.setdefault(measured.case, set()).add(measured.contender.machine)
    machines = study.joined.machines
    # Else a reader takes it that all of them agree.
    apart = len(machines) > 1 and all(
        len(on[one.case]) == 1 for of in models.values() for one in of
    )
    each = " (each case measured on one of them)" if apart else ""
    sentence = f"On {devices_told(machines)}{each}: {', '.join(parts)}"
    unsure = [one.case.told for of in models.values() for one in of if one.winner is None]
    if unsure:
        sentence += f"; of {_few(unsure)} it cannot be told"
    return Answer(sentence, tuple(map(speed_up_told, study.speed_ups)))


def _few(cases: Sequence[str]) -> str:
    """The names of one or two cases, else how many there are."""
    return _listed(cases if len(cases) <= 2 else [f"{len(cases)} cases"])


def _from_on(measured: Sequence[int], batch: int) -> str:
    return f"from batch {batch:,} on" if batch < measured[-1] else f"at batch {batch:,}"


def _models(models: Sequence[tuple[str, list[Winner]]]) -> str:
    return _each(
        [
            (
                name,
                [one.case.batch for one in won if one.case.batch is not None],
                [one.leads[0].value or 1.0 for one in won],
            )
            for name, won in models
        ],
        "times",
    )


def _each(of: Sequence[tuple[str, Sequence[int], Sequence[float]]], unit: str) -> str:
    """Names with batches and the range of a figure: ``mlp (batch 1 and 32: 6 to 17 times)``."""
    told = []
    for name, numbers, values in of[:_NAMED]:
        how = f"{factor(min(values))} {unit}" if values else "it costs nothing"
        if values and factor(max(values)) != factor(min(values)):
            how = f"{factor(min(values))} to {factor(max(values))} {unit}"
        where = f"{batches(numbers)}: " if numbers else ""
        told.append(f"{name} ({where}{how})")
    more = len(of) - len(told)
    return _listed([*told, counted(more, "more model")] if more > 0 else told)


def speed_up_told(one: SpeedUp) -> str:
    """A speed-up with its interval, its settings and what it rests on."""
    first, second, latency = one.base, one.other, one.latency
    if latency.value is not None and latency.value < 1:
        # Told from the faster one's side, so that all numbers are above 1.
        first, second = second, first
        latency = inverse(latency)
    if latency.value is None:
        return f"{one.case.told}: {latency.reason}"
    doubt = f"; doubtful: {latency.doubt}" if latency.doubt else ""
    return (
        f"{one.case.told}: {second.short} {times(latency.value)} as fast as {first.short} "
        f"{spread(latency)}, {latency.basis}{doubt}"
    )


def _instances(study: Study) -> Answer | None:
    """What pinned sessions side by side change."""
    sure = [one for one in study.instances if winner(one.gain) > 0 and one.gain.value]
    if not sure:
        return None
    best = max(sure, key=lambda one: one.gain.value or 0.0)
    of, gain = best.measured, best.gain.value or 1.0
    known = contenders(study)
    told = (
        f"{of.setting.told} give {times(gain)} the items a second of the best single session for "
        f"{of.case.told} on {of.contender.short}"
    )
    evidence = [f"{times(gain)} {spread(best.gain)}, {best.gain.basis}"]
    wins: dict[Contender, dict[str, list[Winner]]] = {}
    for one in study.turned:
        name = one.case.name
        wins.setdefault(one.first, {}).setdefault(name, []).append(one)
        evidence.append(
            f"{one.case.told}: {one.first.short}, {one.setting}, ahead by "
            f"{times(one.leads[0].value or 1.0)} {spread(one.leads[0])}, {one.leads[0].basis}"
        )
    turned = [
        f"most items a second are then those of {role(device, known)} for "
        f"{_models(list(models.items()))}"
        for device, models in wins.items()
    ]
    if turned:
        return Answer(
            f"Sessions side by side change it: {told}; {_listed(turned)}", tuple(evidence)
        )
    # With single sessions another one may have won before, but surely none did.
    same = any(
        one.case == of.case and one.which == RATE and one.winner is not None
        for one in study.winners
    )
    rest = ", and do not change who has most items a second" if same else ""
    return Answer(f"Sessions side by side: {told}{rest}", tuple(evidence))


def _cost(study: Study) -> Answer | None:
    """What is cheapest at the given prices, in each currency."""
    known = contenders(study)
    priced = [one for one in study.winners if one.which == COST]
    several = len({one.currency for one in priced}) > 1
    wins: dict[str, dict[str, list[Winner]]] = {}
    unsure, evidence = [], []
    for one in priced:
        currency = f" in {one.currency}" if several else ""
        evidence.append(f"{one.case.told}{currency}: {role(one.first, known)}, {lead_told(one)}")
        if one.winner is None:
            unsure.append(one.case.told + currency)
        else:
            device = role(one.first, known) + currency
            name = one.case.name
            wins.setdefault(device, {}).setdefault(name, []).append(one)
    if study.prices is None or not wins:
        return None
    parts = []
    for device, models in sorted(wins.items(), key=lambda item: -len(item[1])):
        told = [
            (name, [one.case.batch for one in won if one.case.batch is not None],
             [lead for one in won if (lead := one.leads[0].value) is not None])
            for name, won in models.items()
        ]  # fmt: skip
        parts.append(f"on {device} for {_each(told, 'times less')}")
    sentence = f"At the prices of {study.prices.file.name}, a million items cost least "
    sentence += _listed(parts)
    if unsure:
        sentence += f"; of {_few(unsure)} it cannot be told"
    cases = {one.case for one in priced}
    evidence += [
        f"{one.case.told}: {one.contender.short} {cost_told(cost.estimate, cost.currency)} a "
        f"million; {one.setting.told}, {cost.inputs}"
        for one, cost in study.costs if one.case in cases and cost.by == "machine"
    ]  # fmt: skip
    return Answer(sentence, tuple(evidence))


def lead_told(one: Winner) -> str:
    """How far the best device is ahead: ``2.1 times less than the next best (1.6 to 2.8)``."""
    lead = one.leads[0]
    if lead.value is None:
        return "at no cost" if one.winner is not None else worded(lead.reason)
    than = {LATENCY: "as fast as", RATE: "the items a second of", COST: "less than"}[one.which]
    doubt = f"; doubtful: {worded(lead.doubt)}" if lead.doubt else ""
    told = f"{times(lead.value)} {than} the next best {spread(lead)}".rstrip() + doubt
    return told if one.winner is not None else f"{told}, no sure win"


def _threads(study: Study) -> Answer | None:
    """Up to how many threads a session pays, where the intervals leave one number."""
    sure = [one for one in study.scalings if one.knee.earliest == one.knee.latest]
    if not sure:
        return None
    several = len({one.contender for one in study.scalings}) > 1
    known = contenders(study)

    def where(one: ThreadScaling) -> str:
        return f" on {role(one.contender, known)}" if several else ""

    told = [
        f"{counted(one.knee.threads, 'thread')} for {one.case.told}{where(one)}"
        for one in sure[:_NAMED]
    ]
    more = len(sure) - len(told)
    told += [counted(more, "more case")] if more > 0 else []
    evidence = tuple(
        f"{one.case.told} on {one.contender.short}: {counted(one.knee.threads, 'thread')} "
        f"({one.knee.earliest} to {one.knee.latest})"
        for one in study.scalings
    )
    return Answer(
        f"A session reaches nine tenths of its best throughput with {_listed(told)}", evidence
    )


def _variant(study: Study) -> Answer | None:
    """The variant that gains most, and the one that loses most; none that is broken gains."""
    sure = [one for one in study.variants if winner(one.speed_up) and one.speed_up.value]
    gain = [
        one for one in sure
        if winner(one.speed_up) > 0 and not one.measured.case.variant.endswith(BROKEN)
    ]  # fmt: skip
    loss = [one for one in sure if winner(one.speed_up) < 0]
    told = []
    evidence = []
    if gain:
        best = max(gain, key=lambda one: one.speed_up.value or 0.0)
        errors = ", ".join(f"{name} {value}" for name, value in best.errors) or "error not recorded"
        speed = times(best.speed_up.value or 1.0)
        told.append(f"{_variant_told(best)} gains most: {speed} as fast, {errors}")
        evidence.append(_gain_told(best))
    if loss:
        worst = min(loss, key=lambda one: one.speed_up.value or 0.0)
        speed = times(1 / (worst.speed_up.value or 1.0))
        told.append(f"{_variant_told(worst)} takes {speed} as long")
        evidence.append(_gain_told(worst))
    if not told:
        return None
    return Answer(f"Of the variants {', and '.join(told)}", tuple(evidence))


def _variant_told(one: VariantGain) -> str:
    of = one.measured
    return f"{of.case.told} on {of.contender.short} ({of.setting.told})"


def _gain_told(one: VariantGain) -> str:
    return (
        f"{one.measured.case.told}: {times(one.speed_up.value or 1.0)} as fast as the model as it "
        f"was made {spread(one.speed_up)}, {one.speed_up.basis}"
    )


def money(value: float, currency: str) -> str:
    """An amount to the cent, or with two digits where it is less: ``0.0043 USD``."""
    if value >= 0.995:
        return f"{value:,.2f} {currency}"
    digits = (
        2 if value >= 0.0995 else min(1 - math.floor(math.log10(value)), 12) if value > 0 else 2
    )
    return f"{value:.{digits}f} {currency}"


def crossover_told(one: Crossover, known: Iterable[Contender]) -> str:
    """Where the winner changes, in a clause."""
    found, all_known = one.crossing, tuple(known)
    first, second = (one.base, one.other) if found.winner < 0 else (one.other, one.base)
    undecided = f"; {batches(found.undecided)} cannot be told" if found.undecided else ""
    if found.kind == "between":
        at = f", about {found.at:.3g}" if found.at is not None else ""
        return (
            f"between batch {found.low:,} ({role(first, all_known)}) and {found.high:,} "
            f"({role(second, all_known)}){at}{undecided}"
        )
    if found.kind == "never":
        if found.low == found.high:
            return f"{role(first, all_known)} at batch {found.low:,}, the only one measured"
        return (
            f"not within the measured range: {role(first, all_known)} at {found.low:,} to "
            f"{found.high:,}{undecided}"
        )
    if found.kind == "several":
        return f"the winner changes more than once{undecided}"
    sure = f"{role(first, all_known)} at {found.low:,} to {found.high:,}" if found.winner else ""
    if found.winner and found.low == found.high:
        sure = f"{role(first, all_known)} at {found.low:,}"
    return f"cannot be told: {sure}{undecided if sure else undecided.removeprefix('; ')}"


def latency_told(one: Measured) -> str:
    """A latency with its interval."""
    return _with_spread(one.latency, nanoseconds)


def rate_told(of: Estimate) -> str:
    """A throughput with its interval."""
    return _with_spread(of, rate)


def energy_told(of: Estimate) -> str:
    """An energy with its interval."""
    return _with_spread(of, joules)


def _with_spread(of: Estimate, word: object) -> str:
    assert callable(word)
    if of.value is None:
        return "–"
    shown = [] if of.interval is None else [word(end) for end in of.interval]
    return f"{word(of.value)} {spread(of, shown)}" + _mark(of)


def _mark(of: Estimate) -> str:
    """What stands behind a figure that is doubtful."""
    return " ?" if of.doubt else ""


def ratio_told(of: Estimate) -> str:
    """A ratio with its interval and a mark where it is doubtful; a dash where there is none."""
    if of.value is None:
        return "–"
    ends = "(no interval)" if of.interval is None else spread(of)
    return f"{factor(of.value)} {ends}".rstrip() + _mark(of)


def cost_told(of: Estimate, currency: str) -> str:
    """A cost with its interval, or why there is none."""
    if of.value is None:
        return worded(of.reason)
    ends = [] if of.interval is None else [money(end, currency) for end in of.interval]
    return f"{money(of.value, currency)} {spread(of, ends)}".rstrip() + _mark(of)


def figure_told(one: Evidence) -> str:
    """A figure that a verdict rests on: ``mlp, batch 1: CPU against GPU: 17 (8.2 to 34), …``."""
    of = one.estimate
    if of.value is None:
        return f"{one.of}: {of.reason}"
    value = f"{factor(of.value)} {one.unit}".rstrip()
    ends = "(no interval)" if of.interval is None else spread(of)
    return ", ".join(filter(None, (f"{one.of}: {value} {ends}".rstrip(), of.basis)))
