"""Compares profiles with the first: what else changed, then every figure, then operators."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from harness.analysis.comparing.caveats import caveats
from harness.analysis.comparing.differences import differences, items_of, unlike_inputs
from harness.analysis.comparing.figures import Judge
from harness.analysis.comparing.operators import operator_changes
from harness.analysis.comparing.report import Compared, Report
from harness.records import Profile
from harness.statistics import verdicts
from harness.statistics.figures import Figure
from harness.statistics.verdicts import MARGIN, Verdict


def compare_profiles(
    base: Profile, candidates: Sequence[Profile], *, margin: float = MARGIN
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

    Raises:
        ValueError: the margin is out of range.
    """
    compared = [_compared(base, candidate, margin) for candidate in candidates]
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


def _compared(base: Profile, candidate: Profile, margin: float) -> Compared:
    judge = Judge(base, candidate, margin)
    refusal = _refusal(base, candidate)
    latency = judge.latency(refusal)
    known = caveats(judge, base, candidate)
    changed = differences(base, candidate)
    if latency.comparison.verdict is Verdict.NOT_COMPARABLE:
        reason = latency.comparison.reason
        return Compared(
            candidate,
            changed,
            known,
            judge.paired,
            latency,
            (),
            Figure(None, reason),
            {},
            judge.items,
        )
    return Compared(
        candidate,
        changed,
        known,
        judge.paired,
        latency,
        judge.quantities(),
        operator_changes(judge, base, candidate),
        judge.machine(),
        judge.items,
    )


def _refusal(base: Profile, candidate: Profile) -> str:
    """Why a verdict on the two would be meaningless; empty if it would not."""
    unlike = unlike_inputs(base.inputs, candidate.inputs, items_of(base, candidate))
    if unlike:
        return unlike
    if base.processes and candidate.processes and _same_measurement(base, candidate):
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


def _same_measurement(base: Profile, candidate: Profile) -> bool:
    one, other = base.processes[0], candidate.processes[0]
    return one.pid == other.pid and np.array_equal(one.steady.start_ns, other.steady.start_ns)
