"""Records whose columns are read when they are first touched."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, TypeVar, cast

from harness.storage.columns import CHUNK_ROWS, Column, Columns

_Record = TypeVar("_Record")


def stored(
    kind: type[_Record], columns: Mapping[str, Column | Columns], length: int, **others: Any
) -> _Record:
    """A record whose columns are read when they are first touched.

    What is shorter than a chunk is read at once: to come back for it would take longer.

    Args:
        kind: a dataclass of ``harness.records``.
        columns: its attributes that have a value for each of its rows.
        length: rows.
        others: all its other attributes; a Column for one with rows of its own.

    Raises:
        ProfileFileError: the file is damaged.
    """
    for name, other in others.items():
        if isinstance(other, Column) and other.length <= CHUNK_ROWS:
            others[name] = other.read()
    if length <= CHUNK_ROWS:
        return kind(**{name: _all_of(column) for name, column in columns.items()}, **others)
    return _later(kind, columns, length, others)


def _all_of(value: Column | Columns) -> Any:
    return dict(value) if isinstance(value, Columns) else value.read()


def _later(
    kind: type[_Record],
    columns: Mapping[str, Column | Columns],
    length: int,
    others: Mapping[str, Any],
) -> _Record:
    record: _Record = object.__new__(_stored(cast("Any", kind)))
    for name, value in {"_columns": columns, "_length": length, "_others": others}.items():
        object.__setattr__(record, name, value)
    return record


@functools.cache
def _stored(kind: Any) -> Any:
    """The record type, with attributes that are looked for when they are touched."""

    class Stored(kind):  # type: ignore[misc]
        def __new__(cls, **attributes: Any) -> Any:
            # dataclasses.replace asks for another one, and gives it all attributes.
            return kind(**attributes)

        def __getattr__(self, name: str) -> Any:
            # Python comes here for an attribute that has not been set.
            if name not in self._columns and name not in self._others:
                raise AttributeError(f"{kind.__name__} has no attribute {name}")
            value = self._columns.get(name, self._others.get(name))
            value = value.read() if isinstance(value, Column) else value
            object.__setattr__(self, name, value)
            return value

        def __reduce__(self) -> Any:
            # A copy is read whole, and needs no file.
            return kind, tuple(getattr(self, field.name) for field in dataclasses.fields(kind))

        def __len__(self) -> int:
            return cast("int", self._length)

        def part(self, rows: slice) -> Any:
            columns = {name: column.part(rows) for name, column in self._columns.items()}
            return _later(kind, columns, len(range(*rows.indices(len(self)))), self._others)

    Stored.__qualname__ = kind.__qualname__
    return Stored
