"""Lines with a label, and tables: what every report in text is made of."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import NamedTuple

from rich.cells import cell_len

from harness.reporters.names import shortened
from harness.reporters.terminal.console import Terminal
from harness.reporters.visible import visible

#: Columns that a table may take where there is no terminal: always the same, so that the text does
#: not depend on who started the command.
PIPED = 200

#: Columns at which a sentence is broken where there is no terminal: one line each, for ``grep``,
#: unless a name in it has no end.
_SENTENCE = 1000

#: Columns of a terminal below which tables of operators leave some of theirs out.
NARROW = 100

#: Columns that a table leaves to the names, at least.
LEAST_NAME = 12

#: Columns before a sentence: two blanks, a label of ten, a blank.
_INDENT = 13

#: A word of a sentence; a number and its unit are one.
_WORD = re.compile(r"( *)([^ ]*\d (?:%|[nµm]?s|[µmk]?[WJ]|[KMG]iB|B)(?![^ ,;:)])[^ ]*|[^ ]+)")


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        title: its heading.
        cells: one text a row.
        align: ``>`` for numbers, ``<`` for words.
    """

    title: str
    cells: Sequence[str]
    align: str = ">"


class Page:
    """Lines laid out for the terminal; where there is none, for a program that reads lines.

    Attributes:
        width: columns that a line may take.
    """

    def __init__(self) -> None:
        self._console = Terminal(highlight=False, markup=False, emoji=False, soft_wrap=True)
        self._piped = not sys.stdout.isatty()
        self.width = PIPED if self._piped else self._console.width
        self._label = ""

    def print(self, text: str = "", style: str | None = None) -> None:
        """Prints a line as it is."""
        self._console.print(visible(text), style=style)

    def paragraph(self, text: str, style: str | None = None) -> None:
        """Prints a sentence, broken into lines where there is a terminal."""
        for line in _wrapped(visible(text), _SENTENCE if self._piped else self.width):
            self.print(line, style)

    def title(self, name: str, rest: str) -> None:
        """Prints the heading: a name, shortened where there is no room, and what follows it."""
        self.print(shorten(name, max(self.width - cell_len(rest), LEAST_NAME)) + rest, "bold")

    def say(self, label: str, text: str) -> None:
        """Prints the text next to its label, which a terminal does not see again on the next line.

        A word that is wider than the line is shortened, except the path of a file: it is there to
        be copied.
        """
        shown = label if label != self._label or self._piped else ""
        self._label = label
        width = _SENTENCE if self._piped else self.width
        room = sys.maxsize if label == "file" else max(width - _INDENT, 20)
        for number, line in enumerate(_wrapped(visible(text), room)):
            self.print(f"  {shown if number == 0 else '':10} {line}")

    def fitted(self, names: Sequence[str], taken: int) -> list[str]:
        """The names as they fit a labelled line of which so many columns are taken."""
        return shortened(list(map(visible, names)), max(self.width - _INDENT - taken, LEAST_NAME))

    def facts(self, rows: Sequence[tuple[str, str, str, str]]) -> None:
        """Prints a key, what it is, and more of it: a line each where there is no terminal.

        Args:
            rows: (key, value, sentence, style of the value). On a terminal a key is not repeated
                below itself, and a sentence is broken into lines.
        """
        keys = column("", [f"{key}  " for key, *_ in rows], "<")[1:]
        values = column("", [f"{value}  " if value else "" for _, value, *_ in rows], "<")[1:]
        above = ""
        for key, value, (name, _, text, style) in zip(keys, values, rows, strict=True):
            indent = cell_len(key + value)
            room = _SENTENCE if self._piped else max(self.width - indent, 20)
            first, *more = _wrapped(visible(text), room)
            repeated = name == above and not self._piped
            above = name
            self._console.print(" " * len(key) if repeated else key, end="")
            self._console.print(value, style=style, end="")
            self.print(first)
            for line in more:
                self.print(" " * indent + line)

    def table(
        self,
        columns: Sequence[Column],
        names: Column,
        *,
        asides: Sequence[str] = (),
        spared: Sequence[str] = (),
    ) -> None:
        """Prints a table whose last column, the names, gets what the others leave of the line.

        Args:
            columns: the other columns.
            names: the last one: shortened where there is no room for them.
            asides: of each name, what follows it in brackets where there is room for it; empty
                where nothing does.
            spared: titles of columns that are left out, in this order, until the names have room;
                a line below the table says which.
        """
        cells = {one.title: column(*one) for one in columns}
        left_out = []
        for title in spared:
            if _width(cells) + 2 + LEAST_NAME <= self.width:
                break
            if cells.pop(title, None) is not None:
                left_out.append(title)
        room = max(self.width - _width(cells) - 2, LEAST_NAME)
        last = [names.title, *shortened(list(map(visible, names.cells)), room)]
        for row, aside in enumerate(asides, 1):
            both = f"{last[row]}  [{visible(aside)}]"
            if aside and cell_len(both) <= room:
                last[row] = both
        for number, line in enumerate(zip(*cells.values(), last, strict=True)):
            self.print("  ".join(line).rstrip(), "bold" if number == 0 else None)
        if left_out:
            self.print(f"no room for: {', '.join(left_out)}")

    def room(self, columns: Sequence[Column]) -> int:
        """Columns of a line that these leave to the names."""
        taken = _width({one.title: column(*one) for one in columns})
        return max(self.width - taken - 2, LEAST_NAME)


def column(name: str, cells: Sequence[str], align: str) -> list[str]:
    """A column below its name, padded to one width: ``<`` on the right, ``>`` on the left."""
    texts = [visible(text) for text in (name, *cells)]
    width = max(map(cell_len, texts))
    pads = [" " * (width - cell_len(text)) for text in texts]
    return [
        pad + text if align == ">" else text + pad for pad, text in zip(pads, texts, strict=True)
    ]


def shorten(text: str, width: int) -> str:
    """One text in at most so many columns; see ``harness.reporters.names`` for several."""
    return shortened([visible(text)], width)[0]


def _width(cells: dict[str, list[str]]) -> int:
    """Columns of a line, with two blanks between the columns of the table."""
    return sum(cell_len(texts[0]) for texts in cells.values()) + 2 * (len(cells) - 1)


def _wrapped(text: str, width: int) -> list[str]:
    """Lines of at most so many columns, broken between words."""
    lines = [""]
    for gap, word in _WORD.findall(text):
        word = shorten(word, width)
        if lines[-1] and cell_len(lines[-1] + gap + word) > width:
            lines.append(word)
        else:
            lines[-1] += gap + word
    return lines
