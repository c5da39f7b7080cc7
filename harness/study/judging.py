"""Verdicts on claims, from the figures that they are about."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from harness.study.claimed_figures import claimed_figures
from harness.study.claims import Claim, Text, Verdict
from harness.study.figures import Study
from harness.study.ratios import Estimate


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

    @property
    def tells(self) -> bool:
        """Whether there is a figure to show, or a verdict without one, of what costs nothing."""
        return self.estimate.value is not None or self.verdict is not Verdict.UNKNOWN


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
        evidence = (Evidence(f"quoted: {shown}", told, claim.unit, verdict),)
        return Judged(claim, text, verdict, f"by the text's own figures, {shown} = {value:.3g}",
                      evidence)  # fmt: skip
    found = tuple(
        Evidence(of, estimate, claim.unit, claim.judge(estimate))
        for of, estimate in claimed_figures(claim, study)
    )
    broken = _broken(claim, study)
    if not found:
        return Judged(claim, text, Verdict.UNKNOWN, _nothing(claim, study) + broken, ())
    verdict = _together([one.verdict for one in found], claim.which)
    return Judged(claim, text, verdict, _why(claim, found, verdict) + broken, found)


def _broken(claim: Claim, study: Study) -> str:
    """How many settings do not count because their variants are broken; empty if none."""
    sides = [claim.of, claim.against] if claim.against is not None else [claim.of]
    count = sum(any(side.leaves_out(one) for side in sides) for one in study.measured)
    if not count:
        return ""
    settings = "1 setting of a variant" if count == 1 else f"{count} settings of variants"
    return f"; left out: {settings} found broken"


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
        if one.estimate.value is None:
            return f"{one.of}: {one.estimate.reason}"
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
    if claim.figure == "cost":
        return f"no offer in {claim.currency} means these machines and devices"
    if claim.figure == "narrowing":
        return "no variant of a model was measured on both sides"
    return "no two profiles are of the same work" if claim.against else "no figure of that"
