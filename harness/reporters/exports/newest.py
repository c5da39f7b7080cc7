"""The newest profile of each series: what trackers take that keep the history themselves."""

from __future__ import annotations

from harness.analysis.history import History, Point
from harness.reporters.history_words import subject_name


def newest(found: History) -> dict[str, Point]:
    """By the name of the series; of several files of a model, the newest counts."""
    points: dict[str, Point] = {}
    for series in found.series:
        name, point = subject_name(series.subject), series.points[-1]
        if name not in points or point.created > points[name].created:
            points[name] = point
    return points
