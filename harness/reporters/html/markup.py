"""HTML that never takes foreign text for markup."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence

from harness.reporters.names import Piece, pieces, shortened

#: Characters of a label, of one on a phone, and of a tooltip; of longer ones a part is left out.
LABEL_LENGTH = 72
PHONE_LENGTH = 22
TOOLTIP_LENGTH = 400

#: Elements without content.
_VOID = frozenset({"meta", "input", "br", "link"})

#: Where a name may be broken into lines.
_SEPARATED = re.compile(r"[/._:](?=[^/._:])")

#: Characters that HTML forbids: controls other than tab and line feed, and lone surrogates.
_FORBIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


class Markup(str):
    """Text that is already HTML: the only kind that is not escaped."""

    __slots__ = ()


Content = str | int | None | Iterable["Content"]


def escape(text: str) -> Markup:
    """Plain text as HTML, for content and for quoted attributes."""
    return Markup(html.escape(_FORBIDDEN.sub("\ufffd", text)))


def join(content: Content) -> Markup:
    """Content as HTML: markup as it is, text escaped, None left out, iterables joined."""
    if content is None:
        return Markup()
    if isinstance(content, Markup):
        return content
    if isinstance(content, (str, int)):
        return escape(str(content))
    return Markup("".join(map(join, content)))


def element(name: str, /, *content: Content, **attributes: str | float | bool | None) -> Markup:
    """One element.

    Args:
        name: its name.
        content: its children.
        attributes: by name; ``_`` stands for ``-``, and a trailing one is dropped (``class_``).
            None and False omit the attribute, True omits its value.
    """
    head = [name]
    for key, value in attributes.items():
        key = key.rstrip("_").replace("_", "-")
        if value is True:
            head.append(key)
        elif isinstance(value, float):
            head.append(f'{key}="{value:.6g}"')
        elif value is not None and value is not False:
            head.append(f'{key}="{escape(str(value))}"')
    start = f"<{' '.join(head)}>"
    return Markup(start if name in _VOID else f"{start}{join(content)}</{name}>")


def foreign(text: str, length: int = LABEL_LENGTH) -> Markup:
    """Text from a model or a machine: its direction cannot affect what surrounds it."""
    short = shorten(text, length)
    tip = None if short == text else shorten(text, TOOLTIP_LENGTH)
    return element("bdi", short, title=tip)


def foreign_names(texts: Sequence[str], length: int = LABEL_LENGTH) -> list[Markup]:
    """Names of one table or list, as ``foreign``, so short that they still differ.

    On a phone they lose more of what they share (page.css), and a tap shows them whole.
    """
    short = shortened(texts, length)
    found = []
    for text, parts in zip(texts, pieces(short, PHONE_LENGTH), strict=True):
        whole = all(part.kept for part in parts) and parts[0].text == text
        tip = None if whole else shorten(text, TOOLTIP_LENGTH)
        found.append(element("bdi", map(_piece, parts), title=tip))
    return found


def _piece(part: Piece) -> Markup:
    """A part of a name, which a narrow place breaks at separators only."""
    words = _SEPARATED.sub("\\g<0><wbr>", escape(part.text))
    return Markup(words) if part.kept else element("span", Markup(words), class_="common")


def moment(created: str) -> Markup:
    """A time in ISO 8601, to the minute; it is not broken at a line's end (page.css)."""
    return element("time", f"{created[:16].replace('T', ' ')} UTC", datetime=created)


def tooltip(*lines: str) -> Markup:
    """The tooltip of a mark in a plot: one line for each non-empty text."""
    # Isolates (U+2068 … U+2069) do for plain text what bdi does in HTML.
    parts = (f"\u2068{shorten(line, TOOLTIP_LENGTH)}\u2069" for line in lines if line)
    return element("title", "\n".join(parts))


def shorten(text: str, length: int) -> str:
    """The text, without its middle if it is too long."""
    if len(text) <= length:
        return text
    tail = (length - 1) // 2
    return f"{text[: length - 1 - tail]}…{text[len(text) - tail :]}"
