"""Compares profiles with the first: what else changed, then every figure, then operators."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Sequence

from harness.analysis.comparing.caveats import caveats
from harness.analysis.comparing.differences import differences, items_of, unlike_inputs
from harness.analysis.comparing.figures import Judge
from harness.analysis.comparing.operators import operator_changes
from harness.analysis.comparing.report import Compared, Report
from harness.analysis.configuration import same_measurement
from harness.records import Profile
from harness.statistics import verdicts
from harness.statistics.figures import Figure
from harness.statistics.verdicts import MARGIN, Verdict


def compare_profiles(
    base: Profile,
    candidates: Sequence[Profile],
    *,
    margin: float = MARGIN,
    history: Iterable[Profile] = (),
) -> Report:
    """Compares each candidate with the base.

    Two profiles count as separate occasions, and intervals include the variance between
    occasions, unless both have the same random text as ``interleaved_with`` in their
    configuration: then ``ab`` measured them in pairs, and they are compared as pairs.
    With several candidates, the verdicts hold jointly (Holm).

    Args:
        base: first profile.
        candidates: one or more.
        margin: above 0, what counts as the same.
        history: profiles of other occasions of the same thing as the base
            (``comparing.history``), which the variance between occasions is learned from; gone
            through once for each candidate.

    Raises:
        ValueError: the margin is out of range.
    """
    compared = [_compared([base], [candidate], margin, history) for candidate in candidates]
    if len(compared) > 1:
        together = verdicts.with_holm(
            {str(k): each.latency.comparison for k, each in enumerate(compared)}
        )
        compared = [
            dataclasses.replace(
                each, latency=dataclasses.replace(each.latency, comparison=together[str(k)])
            )
            for k, each in enumerate(compared)
        ]
    return Report(base, tuple(compared), margin)


def compare_sides(
    bases: Sequence[Profile],
    candidates: Sequence[Profile],
    *,
    margin: float = MARGIN,
    history: Iterable[Profile] = (),
) -> Report:
    """Compares several profiles of one thing with several of another, as two sides.

    Each profile is an occasion. What they differ by within a side counts as history does.

    Args:
        bases: one or more of the same thing.
        candidates: likewise.
        margin: as in ``compare_profiles``.
        history: likewise.

    Raises:
        ValueError: the margin is out of range.
    """
    compared = _compared(bases, candidates, margin, history)
    return Report(bases[0], (compared,), margin, tuple(bases[1:]))


def _compared(
    bases: Sequence[Profile],
    candidates: Sequence[Profile],
    margin: float,
    history: Iterable[Profile],
) -> Compared:
    base, candidate = bases[0], candidates[0]
    judge = Judge(bases, candidates, margin, history)
    latency = judge.latency(_refusal_of_sides(bases, candidates))
    told = Compared(
        candidate,
        differences(base, candidate),
        caveats(judge, base, candidate),
        judge.paired,
        latency,
        (),
        Figure(None, latency.comparison.reason),
        {},
        judge.items,
        tuple(judge.history),
        tuple(candidates[1:]),
    )
    if latency.comparison.verdict is Verdict.NOT_COMPARABLE:
        return told
    several = len(bases) + len(candidates) > 2
    return dataclasses.replace(
        told,
        quantities=judge.quantities(),
        operators=Figure(None, "several profiles a side: compare one with one to see operators")
        if several
        else operator_changes(judge, base, candidate),
        machine=judge.machine(),
    )


def _refusal_of_sides(bases: Sequence[Profile], candidates: Sequence[Profile]) -> str:
    """The first reason against any pair of profiles, of both sides or of one; empty if none."""
    pairs = [(one, other) for one in bases for other in candidates]
    for side in (bases, candidates):
        alike = list(itertools.combinations(side, 2))
        unlike = next((1 for one, other in alike if one.model.sha256 != other.model.sha256), 0)
        if unlike:
            return "the profiles of one side are of different models"
        pairs += alike
    return next(filter(None, (_refusal(one, other) for one, other in pairs)), "")


def _refusal(base: Profile, candidate: Profile) -> str:
    """Why a verdict on the two would be meaningless; empty if it would not."""
    unlike = unlike_inputs(base.inputs, candidate.inputs, items_of(base, candidate))
    if unlike:
        return unlike
    if same_measurement(base, candidate):
        return "both files hold the very same measurement"
    for name, profile in (("base", base), ("candidate", candidate)):
        durations = [p.steady.duration_ns for p in profile.processes if len(p.steady)]
        if not durations:
            return f"the {name} has no finished process"
        if min(map(len, durations)) > 1 and all(
            int(one.min()) == int(one.max()) == int(durations[0][0]) for one in durations
        ):
            return (
                f"every sample of the {name} is {int(durations[0][0])} ns: a series that never "
                "varies is not a measurement"
            )
    return ""
