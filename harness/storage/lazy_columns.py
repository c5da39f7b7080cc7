"""Records whose columns are read on first access.

The problem
-----------
A profile of a few minutes holds millions of events and samples, with eight bytes per row and
column, but a command uses only a few of the columns. Yet all code above storage takes plain
records: frozen dataclasses with slots, whose attributes are arrays. So we need a record that
looks like one of these, but reads its attributes from the file on demand.

The solution
------------
``stored(LatencySeries, {"start_ns": Column, "duration_ns": Column}, length)`` returns

* for short columns (at most one chunk of the file), an ordinary LatencySeries, read at once;
* for longer ones, an instance of a subclass of LatencySeries, defined here once for each type.
  It is created with ``object.__new__``, so that the generated ``__init__`` does not run and *no
  slot is filled*. For an empty slot, Python calls ``__getattr__``, which reads the column, fills
  the slot with ``object.__setattr__`` (as the dataclass is frozen), and returns the value. From
  then on Python finds the slot filled and does not call ``__getattr__`` again.

The subclass has no ``__slots__`` of its own and therefore a ``__dict__``, which holds the three
things that it needs for reading later: ``_columns``, ``_length``, ``_others``.

Details
-------
* ``len(record)`` must not read a column to count its rows: it returns the given length.
* ``record.part(rows)`` must read only those rows: it creates another lazy record, from parts of
  the columns, whatever has been read before. ``Rows.parts`` thus walks a file part by part.
* ``dataclasses.replace`` calls the type of the record with all attributes: ``__new__`` returns
  the plain type, so all attributes are read.
* ``pickle`` and ``copy`` go through ``__reduce__``: a copy is read completely, has the plain
  type, and needs no file.
* ``isinstance``, ``dataclasses.fields`` and ``repr`` work as for the plain type, from which the
  subclass inherits; ``repr`` shows the plain name, because ``__qualname__`` is set to it.
* A missing attribute is an AttributeError, as on any object. Damage that is only found when a
  column is accessed is a ProfileFileError, as when a file is opened.
* ``details`` of NodeEvents is a mapping of columns: there, ``Columns`` does what ``__getattr__``
  does here.
"""

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
    """A record whose columns are read on first access.

    Columns of at most one chunk are read at once: coming back for them would take longer.

    Args:
        kind: a dataclass of ``harness.records``.
        columns: its attributes that have a value for each of its rows.
        length: number of rows.
        others: all its other attributes; a Column for one with a row count of its own.

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
    record: _Record = object.__new__(_stored(cast("Any", kind)))  # no __init__: no slot is filled
    for name, value in {"_columns": columns, "_length": length, "_others": others}.items():
        object.__setattr__(record, name, value)
    return record


@functools.cache
def _stored(kind: Any) -> Any:
    """A subclass of the record type whose attributes are read on first access."""

    class Stored(kind):  # type: ignore[misc]
        def __new__(cls, **attributes: Any) -> Any:
            # Called by dataclasses.replace, with all attributes.
            return kind(**attributes)

        def __getattr__(self, name: str) -> Any:
            # Python calls this only while the slot of this name is empty.
            if name not in self._columns and name not in self._others:
                raise AttributeError(f"{kind.__name__} has no attribute {name}")
            value = self._columns.get(name, self._others.get(name))
            value = value.read() if isinstance(value, Column) else value
            object.__setattr__(self, name, value)
            return value

        def __reduce__(self) -> Any:
            # A copy is read completely, and needs no file.
            return kind, tuple(getattr(self, field.name) for field in dataclasses.fields(kind))

        def __len__(self) -> int:
            return cast("int", self._length)

        def part(self, rows: slice) -> Any:
            columns = {name: column.part(rows) for name, column in self._columns.items()}
            return _later(kind, columns, len(range(*rows.indices(len(self)))), self._others)

    Stored.__qualname__ = kind.__qualname__
    return Stored
