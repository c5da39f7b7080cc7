"""Texts of others, made harmless for the terminal and for spreadsheets.

Names come from models and profiles, and may hold anything.
"""

from __future__ import annotations

#: Beginnings of a cell that a spreadsheet takes for a formula.
_FORMULAS = ("=", "+", "-", "@", "\t", "\r")


def visible(text: str) -> str:
    """The text without what would move the cursor, colour or turn the line: escaped.

    White space of any kind becomes a blank, so that no text makes lines of its own.
    """
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else " " if c.isspace() else c.encode("unicode_escape").decode()
        for c in text
    )


def cell(value: object) -> object:
    """A cell of CSV; a text that begins like a formula is marked as a text."""
    if not isinstance(value, str):
        return value
    return visible(f"'{value}" if value.startswith(_FORMULAS) else value)
