"""Records whose columns are read when they are first touched.

The problem
-----------
A profile of some minutes holds millions of events and samples, eight bytes a row and column, and
a command looks at few of the columns. Yet all of the code above storage takes plain records:
frozen dataclasses with slots, whose attributes are arrays. So a record is needed that passes for
one of these, but whose attributes are read from the file when somebody asks for them.

The way
-------
``stored(LatencySeries, {"start_ns": Column, "duration_ns": Column}, length)`` gives

* for short columns (a chunk of the file or less) an ordinary LatencySeries: all is read at once;
* for longer ones an instance of a subclass of LatencySeries, made here once for each type. It is
  created with ``object.__new__``, so that the generated ``__init__`` does not run and *no slot is
  filled*. An empty slot makes Python call ``__getattr__``, which reads the column, fills the slot
  with ``object.__setattr__`` (the dataclass is frozen: the ordinary way is closed), and returns
  it. From then on the slot is found first and ``__getattr__`` is not called again.

The subclass has no ``__slots__`` of its own and with that a ``__dict__``, in which lie the three
things that it needs to read later: ``_columns``, ``_length``, ``_others``.

What had to be thought of
-------------------------
* ``len(record)`` must not read a column to count its rows: it is the length that was given.
* ``record.part(rows)`` must read those rows alone: it makes another such record, of parts of the
  columns, whatever was read before. ``Rows.parts`` then walks through a file part by part.
* ``dataclasses.replace`` calls the type of the record with all attributes: ``__new__`` gives the
  plain type, whose attributes are then read.
* ``pickle`` and ``copy`` go through ``__reduce__``: a copy is read whole, is of the plain type,
  and needs no file.
* ``isinstance``, ``dataclasses.fields`` and ``repr`` work as for the plain type, which the
  subclass inherits from; ``repr`` shows its name, for ``__qualname__`` is the plain one.
* An attribute that there is not is an AttributeError, as on any object. Damage that is found only
  when a column is touched is a ProfileFileError, as when a file is opened.
* ``details`` of NodeEvents is a mapping of columns: ``Columns`` does there what ``__getattr__``
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
    record: _Record = object.__new__(_stored(cast("Any", kind)))  # no __init__: no slot is filled
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
            # Python comes here only while the slot of this name is empty.
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
