"""Series of profiles as JSON that scripts may rely on.

``points`` and ``changes`` are those of the longest series; further ones are under ``others``.
"""

from __future__ import annotations

import json
from typing import Any

from harness.analysis.history import Change, History, Point, Series
from harness.options import worded
from harness.reporters.history_words import subject_name
from harness.reporters.scripts.strict import json_text


def history_text(found: History) -> str:
    """The series as one JSON object."""
    first, *others = [_series(one) for one in found.series]
    left_out = [{"file": file, "reason": worded(reason)} for file, reason in found.left_out]
    told = {**first, "others": others, "left_out": left_out}
    return json_text(told)


def _series(series: Series) -> dict[str, Any]:
    subject = series.subject
    told: dict[str, Any] = {
        "name": subject_name(subject),
        "model": {"name": subject.model, "sha256": subject.sha256},
        "provider": subject.provider,
        "inputs": list(subject.inputs),
        "options": {field: json.loads(value) for field, value in subject.options},
        "device": subject.device,
        "cpu": subject.cpu,
        "cpus": subject.cpus,
        "points": [_point(point) for point in series.points],
        "changes": [_change(series, change) for change in series.changes],
        "changes_reason": worded(series.reason),
        "scatter": series.scatter,
        "doubts": list(map(worded, series.doubts)),
    }
    if series.scatter is None:
        told["scatter_reason"] = "it takes two profiles on one level"
    return told


def _point(point: Point) -> dict[str, Any]:
    return {
        "file": _file(point),
        "created": point.profile.created,
        "undisturbed_ns": point.undisturbed_ns,
        "median_ns": point.median_ns,
        "processes": point.processes,
        "look_ns": point.look_ns,
        "busy": point.busy,
    }


def _change(series: Series, change: Change) -> dict[str, Any]:
    before, after = series.points[change.at - 1], series.points[change.at]
    return {
        "at": change.at,
        "verdict": str(change.verdict),
        "ratio": change.ratio,
        "interval": list(change.interval),
        "before_ns": change.before_ns,
        "after_ns": change.after_ns,
        "p_value": change.p_value,
        "doubt": change.doubt,
        "last_before": {"file": _file(before), "created": before.profile.created},
        "first_after": {"file": _file(after), "created": after.profile.created},
        "differences": [
            {"kind": one.kind, "what": worded(one.what), "before": one.base, "after": one.candidate}
            for one in change.differences
        ],
    }


def _file(point: Point) -> str | None:
    return None if point.profile.path is None else str(point.profile.path)
