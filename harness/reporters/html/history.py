"""Series of profiles as one page: a plot of each with its levels, and a table of its changes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from harness.analysis.history import Change, History, Point, Series
from harness.options import worded
from harness.reporters.history_words import (
    conclusion,
    moment_text,
    options_told,
    signed,
)
from harness.reporters.html import plots
from harness.reporters.html.answers import note
from harness.reporters.html.markup import (
    Content,
    Markup,
    element,
    foreign,
    foreign_names,
    tooltip,
)
from harness.reporters.html.page import document
from harness.reporters.html.quantities import axis_duration, counted, duration
from harness.reporters.html.tables import Column, table
from harness.reporters.wording import UNDISTURBED, threads, undisturbed

#: Most characters of a sentence, of a file's name, of the value of a fact.
_SENTENCE, _FILE, _FACT = 400, 80, 60

#: Facts of a change that are told, at most.
_DIFFERENCES = 8

#: Points up to which each is a mark with a tooltip; of longer series, extremes are.
_POINTS = 1_000


def write(found: History, path: Path) -> int:
    """Writes the page; returns the number of profiles in it.

    Args:
        found: at least one series.
        path: the file; replaced if it exists.

    Raises:
        OSError: the file cannot be written.
    """
    names = " · ".join(dict.fromkeys(one.subject.model for one in found.series))
    count = sum(len(one.points) for one in found.series)
    heading = f"{counted(count, 'profile')} over time"
    body = [
        element("a", "Skip to the figures", href="#main", class_="skip"),
        element("header", element("h1", heading), element("p", UNDISTURBED, ".", class_="sub")),
        element("main", map(_section, found.series), _left_out(found), id="main"),
    ]
    path.write_bytes(document(f"Over time: {names}", body).encode("utf-8"))
    return count


def _section(series: Series) -> Markup:
    subject, points = series.subject, series.points
    told: list[Content] = [f"on {subject.provider}"]
    if text := threads(points[-1].profile):
        told.append(f", {text}")
    if points[-1].profile.instances is not None:
        told.append(f" · {undisturbed(points[-1].profile)}")
    facts = (*subject.inputs, *options_told(subject), subject.device, subject.cpu)
    told += [[" · ", foreign(fact, _FACT)] for fact in facts if fact]
    told.append(f", {subject.cpus} CPUs" if subject.cpus else "")
    span = f"{moment_text(points[0])} to {moment_text(points[-1])} UTC"
    kinds: list[tuple[str, Content]] = [("dot", "a profile"), ("level", "level between changes")]
    if any(point.busy for point in points):
        kinds.insert(1, ("busy", "a profile of a machine that was too busy"))
    return element(
        "section",
        element("h2", foreign(subject.model, _FILE)),
        element("p", told, class_="lead"),
        element("p", conclusion(series), ".", class_="sentence"),
        [element("p", "Beware: ", foreign(worded(one), _SENTENCE), class_="note")
         for one in series.doubts],
        element(
            "figure",
            plots.legend(kinds),
            _plot(series),
            element(
                "figcaption", f"In the order of time, {span}. The axis does not begin at zero."
            ),
        ),
        _changes(series),
    )  # fmt: skip


def _plot(series: Series) -> Markup:
    points = series.points
    values = np.array([point.undisturbed_ns for point in points])
    low, high = float(values.min()), float(values.max())
    margin = (high - low) * 0.08 or high * 0.01
    y = plots.Scale(max(low - margin, 0.0), high + margin)
    # Half a step on both sides, so that the first and the last mark are not cut.
    x = plots.Scale(-0.5, len(points) - 0.5)
    drawn: list[Content] = []
    for part in series.levels:
        level = float(np.exp(np.log(values[part]).mean()))
        ends = x.of([part.start - 0.5, part.stop - 0.5])
        tip = tooltip(f"level {duration(level)}", counted(part.stop - part.start, "profile"))
        drawn.append(plots.curve(ends, np.repeat(y(level), 2), "level", tip))
    marks: list[Content] = []
    for change in series.changes:
        at = x(change.at - 0.5)
        kind = f"change {change.verdict.lower()}"
        marks.append(plots.line(at, 0, at, 100, kind, tooltip(*_tip(series, change))))
        # At the right edge there is no room on the right.
        anchor, dx = ("end", -4.0) if at > 85 else ("start", 4.0)
        told = signed(change.ratio - 1)
        marks.append(plots.text(at, 0, told, "axis", anchor=anchor, dx=dx, dy=11))
    for place in _shown(values):
        point = points[place]
        kind = "dot busy" if point.busy else "dot"
        tip = tooltip(_file(point), f"{moment_text(point)} UTC", duration(point.undisturbed_ns),
                      f"median {duration(point.median_ns)}", point.busy)  # fmt: skip
        marks.append(plots.point(x(place), 100 - y(values[place]), 3.5, kind, tip))
    return plots.plot(
        plots.curves(drawn), marks, label=f"latency of {counted(len(points), 'profile')} over time",
        x=x, y=y, x_text=lambda place: _date(points, place), y_text=axis_duration,
        y_title="latency, undisturbed", kind="history",
    )  # fmt: skip


def _shown(values: plots.Float64Array) -> Sequence[int]:
    """Points that get a mark: all, or of a long series the extremes of neighbours."""
    if len(values) <= _POINTS:
        return range(len(values))
    groups = np.array_split(np.arange(len(values)), _POINTS // 2)
    found = {int(group[k]) for group in groups
             for k in (values[group].argmin(), values[group].argmax())}  # fmt: skip
    return sorted(found)


def _date(points: Sequence[Point], place: float) -> str:
    """The day of a point, or the time where all are of about one day; empty between points."""
    if not float(place).is_integer() or not 0 <= place < len(points):
        return ""
    long = (points[-1].created - points[0].created).days
    form = "%H:%M" if long < 1 else "%d %b" if long < 300 else "%b %Y"
    return points[int(place)].created.strftime(form)


def _tip(series: Series, change: Change) -> tuple[str, ...]:
    low, high = (signed(end - 1) for end in change.interval)
    return (
        f"{change.verdict} {signed(change.ratio - 1)}",
        f"{low} to {high} with 95 % confidence",
        f"first in {_file(series.points[change.at])}",
    )


def _changes(series: Series) -> Markup | None:
    if not series.changes:
        return None
    columns = (
        Column("change"), Column("95 % interval", number=True), Column("before", number=True),
        Column("after", number=True), Column("first after"), Column("last before"),
        Column("what else changed"),
    )  # fmt: skip
    points = series.points
    firsts = foreign_names([_file(points[one.at]) for one in series.changes], _FILE)
    lasts = foreign_names([_file(points[one.at - 1]) for one in series.changes], _FILE)
    rows: list[list[Content]] = []
    for change, first, last in zip(series.changes, firsts, lasts, strict=True):
        low, high = (signed(end - 1) for end in change.interval)
        told = f"{change.verdict} {signed(change.ratio - 1)}"
        rows.append(
            [
                element(
                    "span",
                    element("b", told, class_=change.verdict.lower()),
                    [": ", change.doubt] if change.doubt else None,
                ),
                f"{low} to {high}",
                duration(change.before_ns),
                duration(change.after_ns),
                element("span", first, ", ", moment_text(points[change.at])),
                element("span", last, ", ", moment_text(points[change.at - 1])),
                _differences(change),
            ]
        )
    return table(columns, rows, caption="Changes of the level", stacked=True)


def _differences(change: Change) -> Markup:
    told: list[Content] = [
        element("li", foreign(f"{worded(one.what)}: {one.base} → {one.candidate}", _SENTENCE))
        for one in change.differences[:_DIFFERENCES]
    ]
    more = len(change.differences) - _DIFFERENCES
    if more > 0:
        told.append(element("li", f"and {counted(more, 'more difference')}"))
    if not told:
        return element("span", "nothing that the profiles record")
    return element("ul", told, class_="reasons")


def _left_out(found: History) -> Markup | None:
    if not found.left_out:
        return None
    rows = [[foreign(file, _FILE), foreign(worded(why), _SENTENCE)] for file, why in found.left_out]
    return element(
        "section",
        element("h2", "Left out"),
        note(counted(len(found.left_out), "file"), " that are in no series."),
        table((Column("file"), Column("why")), rows, caption="Left out", stacked=True),
    )


def _file(point: Point) -> str:
    path = point.profile.path
    return "a profile that is not stored" if path is None else path.name
