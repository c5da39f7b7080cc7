"""Series of profiles as text: each as a line of blocks, and its changes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.analysis.history import Change, History, Point, Series
from harness.options import worded
from harness.reporters.history_words import (
    changed,
    conclusion,
    moment_text,
    options_told,
)
from harness.reporters.numbers import nanoseconds
from harness.reporters.terminal.lines import Page
from harness.reporters.wording import counted, threads, undisturbed
from harness.statistics.verdicts import Verdict

#: Heights of a point, from the fastest to the slowest.
_BLOCKS = "▁▂▃▄▅▆▇█"

#: Style of a change on a terminal with colours.
_STYLES = {Verdict.FASTER: "bold green", Verdict.SLOWER: "bold red"}

#: Columns of a line that are not the series: label and ends.
_BESIDE = 40

#: Facts of a change that are told, at most.
_DIFFERENCES = 6


def print_history(found: History) -> None:
    """Prints what ``history`` shows."""
    page = Page()
    for number, series in enumerate(found.series):
        if number:
            page.print()
        _print_series(page, series)
    if found.left_out:
        if found.series:
            page.print()
        page.print(f"left out: {counted(len(found.left_out), 'file')}", "bold")
        for file, reason in found.left_out:
            page.say("left out", f"{file}: {worded(reason)}")


def _print_series(page: Page, series: Series) -> None:
    points, subject = series.points, series.subject
    told = threads(points[-1].profile)
    page.title(subject.model, f" on {subject.provider}{', ' if told else ''}{told}")
    span = f"{moment_text(points[0])} to {moment_text(points[-1])} UTC"
    page.say("profiles", f"{len(points)}, {span}")
    for line in subject.inputs:
        page.say("input", line)
    cpus = f"{subject.cpus} CPUs" if subject.cpus else ""
    page.say("device", ", ".join(filter(None, (subject.device, subject.cpu, cpus))) or "not known")
    if options := options_told(subject):
        page.say("options", ", ".join(options))
    _print_blocks(page, series)
    page.say("latency", undisturbed(points[-1].profile))
    for doubt in series.doubts:
        page.say("beware", worded(doubt))
    page.paragraph(conclusion(series), "bold")
    for change in series.changes:
        _print_change(page, points, change)


def _print_blocks(page: Page, series: Series) -> None:
    """The series as blocks, with a mark below the first point of each new level."""
    logs = np.log([point.undisturbed_ns for point in series.points])
    room = max(page.width - _BESIDE, 20)
    groups = np.array_split(np.arange(len(logs)), min(len(logs), room))
    middles = np.array([np.median(logs[group]) for group in groups])
    low, high = float(middles.min()), float(middles.max())
    heights = (middles - low) / (high - low) * (len(_BLOCKS) - 1) if high > low else middles * 0
    line = "".join(_BLOCKS[round(height)] for height in heights)
    ends = f"{nanoseconds(float(np.exp(low)))} to {nanoseconds(float(np.exp(high)))}"
    page.say("series", f"{line}  {ends}")
    first = {change.at for change in series.changes}
    marks = "".join("^" if first & set(group.tolist()) else " " for group in groups)
    if marks.strip():
        page.say("series", marks.rstrip())


def _print_change(page: Page, points: Sequence[Point], change: Change) -> None:
    style = _STYLES.get(change.verdict, "bold")
    page.paragraph(f"{change.verdict} {changed(change)}", style)
    if change.doubt:
        page.say("beware", change.doubt)
    before, after = points[change.at - 1], points[change.at]
    page.say("between", f"{_file(before)} of {moment_text(before)}")
    page.say("and", f"{_file(after)} of {moment_text(after)}")
    for one in change.differences[:_DIFFERENCES]:
        page.say("with it", f"{worded(one.what)}: {one.base} → {one.candidate}")
    more = len(change.differences) - _DIFFERENCES
    if more > 0:
        page.say("with it", f"and {counted(more, 'more difference')}")
    if not change.differences:
        page.say("with it", "nothing else changed that the profiles record")


def _file(point: Point) -> str:
    path = point.profile.path
    return "a profile that is not stored" if path is None else str(path)
