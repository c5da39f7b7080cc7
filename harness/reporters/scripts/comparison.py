"""A comparison as JSON that scripts may rely on.

``verdict``, ``ratio``, ``interval`` and ``operators`` are those of the first candidate; further
ones are under ``others``. ``figure`` names what the verdict is on: the undisturbed latency, or of
``ab`` the median; ``beside``, which of the quantities changed otherwise. A figure that could not be
obtained is null, with a ``reason``.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from harness.analysis.comparing.differences import Difference
from harness.analysis.comparing.report import SIDES, Compared, OperatorChange, Quantity, Report
from harness.options import worded
from harness.records import Profile
from harness.statistics.figures import Figure
from harness.statistics.verdicts import Comparison


def comparison(report: Report) -> dict[str, Any]:
    """What ``compare --json`` prints."""
    first, *others = [_compared(each, report) for each in report.candidates]
    return {
        **first,
        "margin": report.margin,
        "base": _profile(report.base),
        "base_also": [_profile(one) for one in report.also],
        "others": others,
    }


def comparison_text(report: Report, more: Mapping[str, str] | None = None) -> str:
    """The comparison as one JSON object, with ``more`` added to it."""
    found = {**comparison(report), **(more or {})}
    return json.dumps(found, allow_nan=False)


def _compared(compared: Compared, report: Report) -> dict[str, Any]:
    found, base, margin = compared.operators, report.base, report.margin
    text: dict[str, Any] = {
        **_verdict(compared.latency.comparison, margin),
        "figure": compared.latency.name,
        "beside": [one.name for one in compared.beside],
        "history": {
            "files": [str(one) for one in compared.history],
            "reason": worded(report.history),
        },
        "operators": [],
        "candidate": _profile(compared.candidate),
        "candidate_also": [_profile(one) for one in compared.also],
        "paired": compared.paired,
        "per": compared.per,
        "items_per_inference": _items(compared, base),
        "base_ns": compared.latency.base,
        "candidate_ns": compared.latency.candidate,
        "differences": [_difference(one) for one in compared.differences],
        "caveats": list(map(worded, compared.caveats)),
        "machine": dict(compared.machine),
        "quantities": {one.name: _quantity(one, margin) for one in compared.quantities},
    }
    if isinstance(found, Figure):
        return {**text, "operators_reason": worded(found.reason), "accounts": None}
    text["operators"] = [_operator(one, margin) for one in found.changes]
    text["accounts"] = {
        "source": found.source,
        "judged": found.judged,
        "base": dataclasses.asdict(found.base),
        "candidate": dataclasses.asdict(found.candidate),
        "doubts": list(found.doubts),
    }
    return text


def _items(compared: Compared, base: Profile) -> dict[str, Any]:
    """Items per inference on both sides; null with the reason where a file does not say."""
    told: dict[str, Any] = {}
    for side, profile in zip(SIDES, (base, compared.candidate), strict=True):
        told[side] = profile.items.value
        if profile.items.value is None:
            told[f"{side}_reason"] = profile.items.reason
    return told


def _verdict(found: Comparison, margin: float) -> dict[str, Any]:
    chances = found.probability(margin)
    unknown = {} if chances is not None else {"probability_reason": _why_no_chances(found)}
    return {
        "verdict": str(found.verdict),
        "ratio": found.ratio,
        "interval": found.interval and list(found.interval),
        "reason": worded(found.reason),
        "doubt": found.doubt,
        "processes_needed": found.processes_needed,
        "p_value": found.p_value,
        "occasion_sd": found.occasion_sd,
        "same_within": found.same_within,
        "probability": None if chances is None else dataclasses.asdict(chances),
        **unknown,
    }


def _why_no_chances(found: Comparison) -> str:
    if found.ratio is None:
        return "there is no ratio"
    return found.doubt or "the test of pairs gives none"


def _difference(one: Difference) -> dict[str, Any]:
    return {**dataclasses.asdict(one), "what": worded(one.what)}


def _profile(profile: Profile) -> dict[str, Any]:
    return {
        "file": str(profile.path) if profile.path is not None else None,
        "created": profile.created,
        "complete": profile.complete,
        "model": {"name": profile.model.name, "sha256": profile.model.sha256},
        "provider": profile.provider,
        "runtime": profile.asked.runtime,
        "processes": len(profile.processes),
    }


def _quantity(quantity: Quantity, margin: float) -> dict[str, Any]:
    return {
        "base": quantity.base,
        "candidate": quantity.candidate,
        **_verdict(quantity.comparison, margin),
        "note": quantity.note,
    }


def _operator(change: OperatorChange, margin: float) -> dict[str, Any]:
    return {
        "how": change.match.how,
        "base_nodes": list(change.base_nodes),
        "candidate_nodes": list(change.candidate_nodes),
        "base_labels": list(change.base_labels),
        "candidate_labels": list(change.candidate_labels),
        "base_op_types": list(change.base_op_types),
        "candidate_op_types": list(change.candidate_op_types),
        "base_ns": change.base_ns,
        "candidate_ns": change.candidate_ns,
        "change_ns": change.change_ns,
        **_verdict(change.comparison, margin),
    }
