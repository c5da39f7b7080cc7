"""Tables of a page: they scroll in a frame of their own, and some can be sorted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from harness.reporters.html.markup import Content, Markup, element


class Cell(NamedTuple):
    """The content of a cell, and the number that it sorts by."""

    content: Content
    key: float | None = None


class Column(NamedTuple):
    """The head of a column.

    Attributes:
        name: its text.
        explained: a longer text, shown as a tooltip.
        number: its cells are numbers, aligned to the right.
    """

    name: str
    explained: str = ""
    number: bool = False


def table(
    columns: Sequence[Column],
    rows: Iterable[Sequence[Content | Cell]],
    *,
    caption: str,
    sortable: bool = False,
    stacked: bool = False,
    kind: str = "",
) -> Markup:
    """A table; the column heads of a sortable one are buttons (page.js).

    On a phone, a stacked table shows each row as a block, each cell after its column's name.
    """
    heads = [
        element(
            "th",
            element("button", column.name, type="button") if sortable else column.name,
            scope="col",
            title=column.explained or None,
            class_="n" if column.number else None,
        )
        for column in columns
    ]
    body = [
        element(
            "tr",
            [
                _cell(column, given, label=column.name if stacked else None)
                for column, given in zip(columns, row, strict=True)
            ],
        )
        for row in rows
    ]
    whole = element(
        "table",
        element("caption", caption),
        element("thead", element("tr", heads)),
        element("tbody", body),
        class_="sortable" if sortable else "stacked" if stacked else None,
    )
    return element(
        "div", whole, class_=f"scroll {kind}".strip(), tabindex=0, role="region",
        aria_label=caption,
    )  # fmt: skip


def _cell(column: Column, given: Content | Cell, label: str | None) -> Markup:
    cell = given if isinstance(given, Cell) else Cell(given)
    key = None if cell.key is None else f"{cell.key:.6g}"
    return element(
        "td", cell.content, class_="n" if column.number else None, data_key=key, data_label=label
    )
