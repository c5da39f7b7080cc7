"""Reads TOML tables that people write, and says in one line what is wrong with one."""

from __future__ import annotations

import datetime
import math
import os
import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Any, NoReturn

from harness.errors import RequestError
from harness.ordinary_files import open_ordinary

#: Largest file that is read: claims and prices are written by hand.
MOST_BYTES = 1 << 20

#: Longest line: tomllib takes time by the square of the parts of a dotted key.
_LONGEST_LINE = 2_000

#: No price, share or figure reaches this.
LARGEST = 1e18


def read_toml(path: Path) -> dict[str, Any]:
    """The whole file.

    Raises:
        RequestError: it cannot be read, is too large, or is not TOML.
    """
    try:
        with os.fdopen(open_ordinary(path), "rb") as file:
            text = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise RequestError(f"{path}: cannot be read: {reason}", "name another file") from error
    if len(text) > MOST_BYTES:
        raise RequestError(f"{path}: larger than {MOST_BYTES:,} bytes", "split it")
    if max(map(len, text.splitlines()), default=0) > _LONGEST_LINE:
        raise RequestError(
            f"{path}: a line is longer than {_LONGEST_LINE:,} bytes", "break it into several"
        )
    try:
        return tomllib.loads(text.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise RequestError(f"{path}: is not TOML: {error}", "mend the file") from error


class Table:
    """One table of a file, whose entries are taken out one by one and checked."""

    def __init__(self, place: str, entries: object) -> None:
        """Wraps a table.

        Args:
            place: file and table, for messages.
            entries: what the file holds there.
        """
        self.place = place
        if not isinstance(entries, dict):
            self.refuse("is not a table")
        self._entries = dict(entries)

    def refuse(self, what: str, remedy: str = "mend the file") -> NoReturn:
        """Raises the error that names this table.

        Raises:
            RequestError: always.
        """
        raise RequestError(f"{self.place}: {what}", remedy)

    def take(self, name: str, default: object = None) -> Any:
        """An entry of any type."""
        return self._entries.pop(name, default)

    def rest(self) -> dict[str, Any]:
        """The entries that were not taken yet."""
        return dict(self._entries)

    def text(self, name: str, default: str | None = None) -> str:
        """A text; required if there is no default."""
        value = self._entries.pop(name, default)
        if isinstance(value, datetime.date):
            value = value.isoformat()
        if not isinstance(value, str):
            self.refuse(f"'{name}' is missing" if value is None else f"'{name}' is not a text")
        return str(value)

    def currency(self) -> str:
        """Required code of a currency: three capital letters (ISO 4217)."""
        value = self.text("currency")
        if len(value) != 3 or not (value.isascii() and value.isalpha() and value.isupper()):
            self.refuse("'currency' is not a code of three capital letters", "give one: USD, EUR")
        return value

    def number(
        self, name: str, default: float | None = None, low: float = 0.0, high: float = math.inf
    ) -> float:
        """A finite number within these bounds; required if there is no default."""
        value = self._entries.pop(name, default)
        if value is None:
            self.refuse(f"'{name}' is missing")
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self.refuse(f"'{name}' is not a number")
        # Of two huge whole numbers Python tells which is larger; neither is a float.
        if not abs(value) < LARGEST or not low <= value <= high:
            self.refuse(f"'{name}' is not between {low:g} and {min(high, LARGEST):g}")
        return float(value)

    def truth(self, name: str, default: bool | None = None) -> bool:
        """True or false; required if there is no default."""
        value = self._entries.pop(name, default)
        if not isinstance(value, bool):
            self.refuse(f"'{name}' is neither true nor false" if value is not None else
                        f"'{name}' is missing")  # fmt: skip
        return bool(value)

    def finish(self, known: Collection[str]) -> None:
        """Makes sure that nothing is left that nobody asked for.

        Raises:
            RequestError: there is an entry of another name.
        """
        for name in self._entries:
            self.refuse(f"'{name}' is not known", f"known are {', '.join(sorted(known))}")
