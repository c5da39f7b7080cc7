"""Where in a plan a key stands: TOML's own reader does not tell."""

from __future__ import annotations

import re
from collections.abc import Collection

_HEADER = re.compile(r"\s*\[\[?([^\[\]]+)\]\]?\s*(?:#|$)")
_KEY = re.compile(r"""\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=""")
_PART = re.compile(r"""[\w-]+|"[^"]*"|'[^']*'""")

#: Keys on the way to a value.
_Path = tuple[str, ...]


class Lines:
    """The lines of a plan, by the keys that stand there.

    Args:
        name: of the file; empty where there is none.
        text: of it.
        tables: that a plan may have. A line of a list such as ``["sweep"]`` looks like a header;
            what is none of these is taken for one.
    """

    def __init__(self, name: str, text: str, tables: Collection[str]) -> None:
        self._name = name
        #: By the number of the row of a ``[[table]]``, 0 for others, and the path.
        self._lines: dict[tuple[int, _Path], int] = {}
        table: _Path = ()
        row = 0
        rows: dict[str, int] = {}
        # Lines end as TOML has it; str.splitlines would also end them within comments and texts.
        for number, line in enumerate(text.split("\n"), 1):
            if header := _HEADER.match(line):
                path = _parts(header[1])
                if path and path[0] in tables:
                    if line.lstrip().startswith("[[") and len(path) == 1:
                        rows[path[0]] = rows.get(path[0], -1) + 1
                    row, table = rows.get(path[0], 0), path
                    self._lines.setdefault((row, path), number)
                else:
                    self._lines.setdefault((0, path), number)
            elif key := _KEY.match(line):
                self._lines.setdefault((row, (*table, *_parts(key[1]))), number)

    def at(self, table: str, key: str = "", row: int = 0) -> str:
        """``plan.toml:7: ``; without a number where the line is not found, empty without a file.

        Args:
            table: of the plan.
            key: in it, dotted; empty for the table itself.
            row: of a ``[[table]]``, from 0.
        """
        if not self._name:
            return ""
        path = tuple(part for part in f"{table}.{key}".split(".") if part)
        # entries = {a = 1} and axes = {batch = [1]} are one line, entries.a = 1 is another.
        for kept in range(len(path), 0, -1):
            line = self._lines.get((row, path[:kept]))
            if line is not None:
                return f"{self._name}:{line}: "
        line = self._lines.get((0, path[:1]))  # skip = [{batch = 1}, {batch = 2}]
        return f"{self._name}:{line}: " if line else f"{self._name}: "


def _parts(key: str) -> _Path:
    """A dotted key taken apart, at dots within quotes as well: so is what is looked for."""
    bare = ".".join(part.strip("\"'") for part in _PART.findall(key))
    return tuple(part for part in bare.split(".") if part)
