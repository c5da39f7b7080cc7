"""Lines with a label: what every report in text is made of."""

from __future__ import annotations

import re
import sys

from rich.cells import cell_len

from harness.reporters.terminal.console import Terminal
from harness.reporters.visible import visible

#: Width where there is no terminal: nothing is cut there.
_ENDLESS = 10**9

#: Columns of a terminal below which tables of operators leave some of theirs out.
NARROW = 100

#: Places that a table of which a terminal shows a part leaves to the names, at least.
LEAST_NAME = 12


class Page:
    """Lines with a label, laid out for the terminal; each one line whole where there is none."""

    def __init__(self) -> None:
        terminal = sys.stdout.isatty()
        self._console = Terminal(highlight=False, markup=False, emoji=False, soft_wrap=True)
        self.width = self._console.width if terminal else _ENDLESS
        self._label = ""

    def print(self, text: str = "", style: str | None = None) -> None:
        """Prints a line as it is."""
        self._console.print(visible(text), style=style)

    def title(self, name: str, rest: str) -> None:
        """Prints the heading: a name, cut where there is no room, and what follows it."""
        self.print(shorten(name, max(self.width - cell_len(rest), LEAST_NAME)) + rest, "bold")

    def say(self, label: str, text: str) -> None:
        """Prints the text beside its label, which is not repeated on the next line.

        What has no place to be broken is cut in the middle where it is wider than the line, but
        for the path of a file: it is there to be copied.
        """
        shown = label if label != self._label else ""
        self._label = label
        room = _ENDLESS if label == "file" else max(self.width - 13, 20)
        for number, line in enumerate(_wrapped(visible(text), room)):
            self.print(f"  {shown if number == 0 else '':10} {line}")

    def names(self, heads: list[str], names: list[str]) -> None:
        """Prints a table whose last column, the names, gets what the others leave of the line.

        Args:
            heads: the other columns of each line, the first one the heading; equally wide.
            names: the last column of each line.
        """
        room = max(self.width - cell_len(heads[0]) - 2, LEAST_NAME)
        for number, (head, name) in enumerate(zip(heads, names, strict=True)):
            text = f"{head}  {shorten(name, room)}".rstrip()
            self.print(text, "bold" if number == 0 else None)


def column(name: str, cells: list[str], align: str) -> list[str]:
    """A column and its name, padded to the same width: ``<`` on the right, ``>`` on the left."""
    texts = [visible(text) for text in (name, *cells)]
    width = max(map(cell_len, texts))
    pads = [" " * (width - cell_len(text)) for text in texts]
    return [
        pad + text if align == ">" else text + pad for pad, text in zip(pads, texts, strict=True)
    ]


def shorten(text: str, width: int) -> str:
    """The text, cut in the middle when it takes more places than that."""
    text = visible(text)
    if cell_len(text) <= width:
        return text
    tail = (width - 1) // 2
    return f"{_beginning(text, width - 1 - tail)}…{_beginning(text[::-1], tail)[::-1]}"


def _beginning(text: str, width: int) -> str:
    """As much of the text as so many places hold; a Chinese character takes two."""
    end = 0
    while end < len(text) and (width := width - cell_len(text[end])) >= 0:
        end += 1
    return text[:end]


def _wrapped(text: str, width: int) -> list[str]:
    """Lines of at most so many places, broken at blanks."""
    lines = [""]
    for gap, word in re.findall(r"( *)([^ ]+)", text):
        word = shorten(word, width)
        if lines[-1] and cell_len(lines[-1] + gap + word) > width:
            lines.append(word)
        else:
            lines[-1] += gap + word
    return lines
