"""Groups of a profile file from an untrusted source: each member is checked before it is used.

A profile needs only a few features of HDF5, and all others are refused before they are touched:
links (which may name another file, or form cycles), external and virtual datasets, filters
loaded as plug-ins, and lengths that the size of the file cannot justify. The values of a column
are checked when they are read; those of a long column, part by part.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np

from harness.memory_budget import Budget
from harness.storage.bounds import MOST_NS, Bounds
from harness.storage.columns import Column, ProfileFile, text_bytes

#: Largest ratio of a column's size in memory to its size in the file: gzip cannot exceed it.
MOST_COMPRESSION = 1_100

#: Allowed filters of a dataset, all built into HDF5: gzip, shuffle and a checksum.
_FILTERS = (h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32)

_INTEGERS = (np.dtype(np.int32), np.dtype(np.int64))


@dataclasses.dataclass(frozen=True, slots=True)
class Group:
    """A group whose members are checked when they are accessed.

    Its methods raise KeyError, TypeError or ValueError if a member is missing or not what it must
    be; ``ProfileFile.opened`` turns these into a ProfileFileError.
    """

    file: ProfileFile
    group: h5py.Group
    budget: Budget

    @property
    def name(self) -> str:
        """Its path in the file."""
        return str(self.group.name)

    def __contains__(self, name: str) -> bool:
        return name in self.group

    def __iter__(self) -> Iterator[str]:
        """Names of its members."""
        yield from self.group

    def group_of(self, name: str) -> Group:
        """A subgroup."""
        member = self._member(name)
        if not isinstance(member, h5py.Group):
            raise TypeError(f"{self._place(name)}: is not a group")
        return dataclasses.replace(self, group=member)

    def groups(self) -> dict[str, Group]:
        """The non-empty subgroups by name; other members are ignored."""
        members = {name: self._member(name) for name in self}
        return {
            name: dataclasses.replace(self, group=member)
            for name, member in members.items()
            if isinstance(member, h5py.Group) and len(member)
        }

    def text_attribute(self, name: str) -> str:
        """An attribute that is a single text."""
        return _text_attribute(self.group, name)

    def flag(self, name: str) -> bool:
        """An attribute that is 0 or 1."""
        value = np.asarray(self.group.attrs[name])
        if value.shape or value.dtype.kind not in "iub":
            raise TypeError(f"{self._place(name)}: is neither 0 nor 1")
        return bool(value)

    def number(self, name: str, low: int = 0) -> int:
        """A dataset that is a single integer, not below ``low``."""
        dataset = self._dataset(name, _INTEGERS)
        if dataset.shape != ():
            raise ValueError(f"{self._place(name)}: is not one number")
        value = int(dataset[()])
        if value < low:
            raise ValueError(f"{self._place(name)}: is {value}, below {low}")
        return value

    def figure(self, name: str) -> float | None:
        """A dataset that is a single number from 0 to MOST_NS; None if it is missing."""
        if name not in self:
            return None
        dataset = self._dataset(name, (np.dtype(np.float64), *_INTEGERS))
        if dataset.shape != ():
            raise ValueError(f"{self._place(name)}: is not one number")
        value = float(dataset[()])
        if not 0 <= value <= MOST_NS:  # nor NaN
            raise ValueError(f"{self._place(name)}: {value} is not between 0 and {MOST_NS}")
        return value

    def unit(self, name: str) -> str:
        """The unit of an integer column."""
        return _text_attribute(self._dataset(name, _INTEGERS), "units")

    def rows(self, name: str) -> int:
        """Length of a column of any type."""
        return len(self._column(self._member(name), name))

    def numbers(self, name: str, rows: int, bounds: Bounds) -> Column:
        """An integer column, to be read later.

        Args:
            name: of the dataset.
            rows: number of rows that it must have.
            bounds: of its values, checked when they are read.
        """
        dataset = self._long_enough(self._dataset(name, _INTEGERS), name, rows)
        self._justify(dataset, name, dataset.dtype.itemsize)
        return self._as_column(dataset, name, bounds)

    def number_rows(self, names: tuple[str, ...], rows: int, bounds: Bounds) -> Column:
        """Integer columns that are read as one array [rows, columns]."""
        columns = [self.numbers(name, rows, bounds) for name in names]
        return dataclasses.replace(
            columns[0], places=tuple(place for column in columns for place in column.places)
        )

    def text_column(self, name: str, rows: int | None = None) -> Column:
        """A text column, to be read later."""
        dataset = self._member(name)
        if not isinstance(dataset, h5py.Dataset) or not h5py.check_string_dtype(dataset.dtype):
            raise TypeError(f"{self._place(name)}: is not a text column")
        self._plain(dataset, name)
        self._long_enough(dataset, name, len(self._column(dataset, name)) if rows is None else rows)
        self._justify(dataset, name, dataset.dtype.itemsize)
        self.budget.take(text_bytes(self.file, dataset), self._place(name))
        return self._as_column(dataset, name)

    def texts(self, name: str, rows: int | None = None) -> tuple[str, ...]:
        """A text column, read at once; of any length if ``rows`` is None."""
        texts: tuple[str, ...] = self.text_column(name, rows).read()
        return texts

    def is_number_column(self, name: str, rows: int) -> bool:
        """Whether there is an integer column of this length."""
        member = self._member(name)
        return (
            isinstance(member, h5py.Dataset)
            and member.shape == (rows,)
            and member.dtype in _INTEGERS
        )

    def _place(self, name: str) -> str:
        return f"{self.name.rstrip('/')}/{name}"

    def _member(self, name: str) -> Any:
        """The member of this name; it must be a hard link, not a soft or external one."""
        try:
            link = self.group.id.links.get_info(name.encode("utf-8", "surrogateescape"))
        except (KeyError, RuntimeError):
            raise KeyError(f"{self._place(name)}: is missing") from None
        if link.type != h5py.h5l.TYPE_HARD:
            raise ValueError(f"{self._place(name)}: is a link to somewhere else")
        return self.group[name]

    def _dataset(self, name: str, dtypes: tuple[np.dtype[Any], ...]) -> h5py.Dataset:
        member = self._member(name)
        if not isinstance(member, h5py.Dataset) or member.dtype not in dtypes:
            raise TypeError(f"{self._place(name)}: does not hold integers")
        return self._plain(member, name)

    def _plain(self, dataset: h5py.Dataset, name: str) -> h5py.Dataset:
        """A dataset whose values are in this file, plain or compressed with built-in filters."""
        made = dataset.id.get_create_plist()
        if made.get_layout() not in (h5py.h5d.COMPACT, h5py.h5d.CONTIGUOUS, h5py.h5d.CHUNKED):
            raise ValueError(f"{self._place(name)}: is a virtual dataset")
        if made.get_external_count():
            raise ValueError(f"{self._place(name)}: its values are in another file")
        for number in range(made.get_nfilters()):
            if made.get_filter(number)[0] not in _FILTERS:
                raise ValueError(f"{self._place(name)}: is compressed by an unknown filter")
        return dataset

    def _column(self, dataset: Any, name: str) -> h5py.Dataset:
        if not isinstance(dataset, h5py.Dataset) or dataset.shape is None or dataset.ndim != 1:
            raise ValueError(f"{self._place(name)}: is not a column")
        return dataset

    def _long_enough(self, dataset: h5py.Dataset, name: str, rows: int) -> h5py.Dataset:
        if len(self._column(dataset, name)) != rows:
            raise ValueError(f"{self._place(name)}: has {len(dataset)} rows, not {rows}")
        return dataset

    def _as_column(self, dataset: h5py.Dataset, name: str, bounds: Bounds | None = None) -> Column:
        place = self._place(name)
        self.file.keep(place, dataset)
        return Column(self.file, (place,), 0, len(dataset), bounds)

    def _justify(self, dataset: h5py.Dataset, name: str, itemsize: int) -> None:
        """Refuses more rows than the stored bytes can hold."""
        needed = len(dataset) * itemsize
        stored = min(dataset.id.get_storage_size(), self.budget.file_bytes)
        if needed > MOST_COMPRESSION * stored:
            raise ValueError(f"{self._place(name)}: {len(dataset)} rows in {stored} stored bytes")
        if dataset.chunks is not None and dataset.chunks[0] > 2 * len(dataset) + 1_000_000:
            raise ValueError(f"{self._place(name)}: its chunks are larger than itself")
        self.budget.take(needed, self._place(name))


def _text_attribute(item: h5py.Group | h5py.Dataset, name: str) -> str:
    value = item.attrs[name]
    if not isinstance(value, str):
        raise TypeError(f"{item.name}: the attribute {name} is not a text")
    value.encode()  # raises for bytes that are not UTF-8, which could not be written again
    return value
