"""Phrases about series of profiles, shared by the terminal, the page and the trackers' files."""

from __future__ import annotations

import json

from harness.analysis.history import Change, Point, Series, Subject
from harness.options import worded
from harness.reporters.numbers import nanoseconds
from harness.reporters.wording import counted, minute


def conclusion(series: Series) -> str:
    """How many changes there are, or why none are known; the points' scatter."""
    if series.reason:
        return f"{counted(len(series.points), 'profile')}: {series.reason}"
    told = counted(len(series.changes), "change") if series.changes else "no change"
    scatter = "" if series.scatter is None else f", which scatter by {_percent(series.scatter)}"
    return f"{told} found in {counted(len(series.points), 'profile')}{scatter}"


def changed(change: Change) -> str:
    """Both levels, the change and its interval."""
    low, high = (signed(end - 1) for end in change.interval)
    return (
        f"{signed(change.ratio - 1)}, {low} to {high} with 95 % confidence: "
        f"{nanoseconds(change.before_ns)} → {nanoseconds(change.after_ns)}"
    )


def signed(share: float) -> str:
    """A change in percent with its sign; two digits below one percent."""
    return f"{share * 100:+.{1 if abs(share) >= 0.00995 else 2}f} %"


def moment_text(point: Point) -> str:
    """When a point was measured, to the minute."""
    return minute(point.created)


def options_told(subject: Subject) -> list[str]:
    """The options that a heading does not tell, which has the threads."""
    return [_option(one) for one in subject.options if one[0] != "intra_threads"]


def _option(option: tuple[str, str]) -> str:
    """An option of a subject as it is typed."""
    field, value = option
    given = json.loads(value)
    flag = worded(f"`{field}`")
    if given is True:
        return flag
    if isinstance(given, dict):
        return " ".join(f"{flag} {key}={each}" for key, each in given.items())
    if isinstance(given, list):
        return " ".join(f"{flag} {each}" for each in given)
    return f"{flag} {given}"


def subject_name(subject: Subject) -> str:
    """A name for trackers, the same whatever other series there are, and for every model file.

    Where a tracker goes on with a series when the model's file is changed, ``history`` begins a
    new one.
    """
    parts = [f"{subject.model} on {subject.device or subject.cpu or subject.provider}"]
    parts += [subject.provider, *subject.inputs, *map(_option, subject.options)]
    return ", ".join(parts)


def _percent(share: float) -> str:
    return f"{share * 100:.{1 if share >= 0.00995 else 2}f} %"
