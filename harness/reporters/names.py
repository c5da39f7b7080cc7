"""Shortens names: drops what they share and keeps what tells them apart.

``encoder.0.attention.value/MatMul`` in a column of such names becomes ``…0.attention.value/…``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

from rich.cells import cell_len

#: How a name is split: at its separators, but for the points of a number; where a word alone is too
#: long, at capitals. Both match every character, so that the words joined are the name again.
_SPLITS = (
    re.compile(r"(?:[^\W_]|(?<=\d)\.(?=\d))+[\W_]*|[\W_]+"),
    re.compile(r"[A-Z]+(?![a-z])[\W_]*|[A-Z]?[^\WA-Z_]+[\W_]*|[\W_]+|."),
)

#: How many more nodes a label stands for, as ``analysis.operators.labels`` writes it: never cut.
_COUNT = re.compile(r" \+[0-9]{1,9}$")

#: Most characters of a name that are shown anywhere. A model's names may be megabytes long, and
#: what shows them takes time and room by their length, some of it for each event of a trace.
LONGEST = 1_000


class Piece(NamedTuple):
    """A part of a name, and whether it stays when there is no room for all of it."""

    text: str
    kept: bool


def clipped(name: str) -> str:
    """The name, without its middle if it is longer than any that is shown."""
    if len(name) <= LONGEST:
        return name
    half = (LONGEST - 1) // 2
    # The end begins with a whole word: part of one would look like a rare one.
    end = re.sub(r"^[^\W_]+", "", name[-half:]) or name[-half:]
    return f"{name[: LONGEST - 1 - half]}…{end}"


def shortened(names: Sequence[str], width: int) -> list[str]:
    """The names, each in at most ``width`` columns of a terminal.

    Names that differ stay different: those that would look the same are numbered, ``~2``.

    Args:
        names: printable, of one table: words that many of them hold are left out first.
        width: in columns, of which a Chinese character takes two.
    """
    cuts = _Cuts(names)
    # A name that fits is shown as it is, so no other name may be shortened to it.
    shown = {name: name for name in names if len(name) <= LONGEST and cell_len(name) <= width}
    taken = set(shown)
    alike: Counter[str] = Counter()
    for name in dict.fromkeys(names):
        if name in shown:
            continue
        text = first = _text(cuts.of(name, width))
        while text in taken:
            alike[first] += 1
            number = f"~{alike[first] + 1}"
            text = _text(cuts.of(name, width - len(number))) + number
        taken.add(text)
        shown[name] = text
    return [shown[name] for name in names]


def pieces(names: Sequence[str], width: int) -> list[list[Piece]]:
    """Which parts of each name stay where there are ``width`` columns for it.

    A name that would look like another one stays whole.
    """
    cuts = _Cuts(names)
    found = {name: cuts.of(name, width) for name in names}
    alike = Counter(map(_text, found.values()))
    return [
        found[name] if alike[_text(found[name])] == 1 else [Piece(name, True)] for name in names
    ]


class _Cuts:
    """How often each word occurs in some names, and what that leaves of a name."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = tuple(map(clipped, dict.fromkeys(names)))
        self._counted: dict[re.Pattern[str], Counter[str]] = {}

    def of(self, name: str, width: int) -> list[Piece]:
        """The pieces of a name; those that are kept, and … for the others, fit the width."""
        name = clipped(name)
        count = _COUNT.search(name)
        if count is None or cell_len(name) <= width:
            return self._cut(name, width)
        head = self._cut(name[: count.start()], width - cell_len(count[0]))
        return [*head, Piece(count[0], True)]

    def _cut(self, name: str, width: int) -> list[Piece]:
        """The pieces of a name without its count."""
        if cell_len(name) <= width:
            return [Piece(name, True)]
        for split in _SPLITS:
            kept = self._kept(split.findall(name), self._occurrences(split), width)
            if kept:
                return kept
        return _middle(name, width)

    def _occurrences(self, split: re.Pattern[str]) -> Counter[str]:
        if split not in self._counted:
            self._counted[split] = Counter(
                word for name in self._names for word in split.findall(_COUNT.sub("", name))
            )
        return self._counted[split]

    def _kept(self, words: list[str], occurrences: Counter[str], width: int) -> list[Piece]:
        """The rarest words that fit, outer ones first; none where the rarest does not."""
        last = len(words) - 1
        order = sorted(
            range(len(words)),
            key=lambda at: (
                "…" in words[at],  # where the name was clipped
                occurrences[words[at]],
                min(2 * at, 2 * (last - at) + 1),
            ),
        )
        kept: set[int] = set()
        taken = 1  # columns: of what is kept, and one … for each gap
        for at in order:
            gaps = (at > 0 and at - 1 not in kept) + (at < last and at + 1 not in kept)
            more = cell_len(words[at]) + gaps - 1
            if taken + more <= width:
                kept.add(at)
                taken += more
            elif not kept:
                return []
        runs = groupby(range(len(words)), kept.__contains__)
        return [Piece("".join(words[at] for at in run), stays) for stays, run in runs]


def _text(parts: Sequence[Piece]) -> str:
    return "".join(part.text if part.kept else "…" for part in parts)


def _middle(text: str, width: int) -> list[Piece]:
    """One long word, without its middle."""
    tail = max(width - 1, 0) // 2
    head = _beginning(text, max(width - 1 - tail, 0))
    end = _beginning(text[::-1], tail)[::-1]
    middle = text[len(head) : len(text) - len(end)]
    return [Piece(head, True), Piece(middle, False), Piece(end, True)]


def _beginning(text: str, width: int) -> str:
    """As much of the text as fits so many columns."""
    end = 0
    while end < len(text) and (width := width - cell_len(text[end])) >= 0:
        end += 1
    return text[:end]
