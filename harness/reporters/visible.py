"""Untrusted text made harmless for terminals and spreadsheets.

Names come from models and profiles and may contain anything.
"""

from __future__ import annotations

#: First characters of a cell that a spreadsheet takes for a formula.
_FORMULAS = ("=", "+", "-", "@", "\t", "\r")


def visible(text: str) -> str:
    """The text with everything escaped that would move the cursor, set colours or reverse the line.

    White space of any kind becomes a space, so that no text can start a line of its own.
    """
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else " " if c.isspace() else c.encode("unicode_escape").decode()
        for c in text
    )


def cell(value: object) -> object:
    """A CSV cell; text that begins like a formula gets a leading ``'``, which marks it as text."""
    if not isinstance(value, str):
        return value
    return visible(f"'{value}" if value.startswith(_FORMULAS) else value)
