"""Lanes of marks over time, in a picture that can be zoomed."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from harness.reporters.html import plots
from harness.reporters.html.markup import Content, Markup, element, join, tooltip
from harness.reporters.html.quantities import counted

#: Most marks of a lane, and the least width of one, in percent of it.
MARKS = 3000
_NARROW = 0.02

#: Width in percent from which a mark has room for its label, and most characters of that.
_LABELLED = 0.3
_LABEL = 40


class Mark(NamedTuple):
    """One mark of a lane: its label, CSS classes and tooltip."""

    label: str
    kind: str
    tip: Markup


def lane(
    begin: plots.Float64Array,
    end: plots.Float64Array,
    top: float,
    height: float,
    mark: Callable[[int], Mark],
    many: str,
) -> list[Content]:
    """The marks of a lane.

    Args:
        begin: of each, in percent, rising; of too many, narrow neighbours are merged.
        end: of each, in percent.
        top: of the lane, in percent.
        height: of the lane, in percent.
        mark: what to draw, by position.
        many: what several that are merged are called.
    """
    drawn: list[Content] = []
    for first, last in _runs(begin, end):
        width = max(end[last - 1] - begin[first], _NARROW)
        what = mark(first)
        if last - first > 1:
            what = Mark("", "leaf cx", tooltip(counted(last - first, many, many)))
        label = what.label[:_LABEL] if width > _LABELLED else ""
        drawn.append(plots.box(begin[first], top, width, height, what.kind, label, what.tip))
    return drawn


def zoomed(picture: Markup) -> Markup:
    """The picture in a frame that scrolls, with buttons that widen it (page.js)."""
    zooms = [
        element("button", f"{times}×", type="button", data_zoom=times, aria_pressed=str(
            times == 1).lower())
        for times in (1, 4, 16)
    ]  # fmt: skip
    return join(
        [
            element("div", element("span", "Zoom", class_="quiet"), zooms, class_="controls zoom"),
            element(
                "div", element("div", picture, class_="zoomed"), class_="scroll", tabindex=0,
                role="region", aria_label="timeline",
            ),
        ]
    )  # fmt: skip


def _runs(begin: plots.Float64Array, end: plots.Float64Array) -> list[tuple[int, int]]:
    """Marks to draw, as [first, last); if there are too many, narrow neighbours are merged."""
    if len(begin) <= MARKS:
        return [(row, row + 1) for row in range(len(begin))]
    narrow = 100 / MARKS
    runs: list[tuple[int, int]] = []
    first = 0
    for row in range(1, len(begin) + 1):
        if row == len(begin) or end[row] - begin[first] > narrow:
            runs.append((first, row))
            first = row
    return runs
