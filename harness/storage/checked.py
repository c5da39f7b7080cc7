"""Groups of a profile file that anybody may have made: each member is looked at before it is used.

Of what HDF5 can do, a profile needs little, and everything else is refused before it is touched:
links (they may name another file, or lead in circles), data in other files or made of other
datasets, filters that are loaded from somewhere, and lengths that the file's size cannot justify.
The contents of a column are checked when they are read, a long one's in the parts that are read.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np

from harness.storage.bounds import Bounds
from harness.storage.columns import Column, ProfileFile, text_bytes

#: How many times larger than in the file a column may be in memory: gzip cannot do more.
MOST_COMPRESSION = 1_100

#: The same of all columns together, which are not all constant; and what any file may have.
MOST_EXPANSION = 100
LEAST_BUDGET_BYTES = 64 << 20

#: Filters of a column of numbers, all built into HDF5: gzip, shuffle and a checksum.
_FILTERS = (h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32)

_INTEGERS = (np.dtype(np.int32), np.dtype(np.int64))


class Budget:
    """What the columns of a file may take in memory, all together."""

    def __init__(self, file_bytes: int) -> None:
        self.file_bytes = file_bytes
        self._left = max(MOST_EXPANSION * file_bytes, LEAST_BUDGET_BYTES)

    def take(self, size_bytes: int, name: str) -> None:
        """Takes what a column needs.

        Raises:
            ValueError: so much is not left.
        """
        self._left -= size_bytes
        if self._left < 0:
            raise ValueError(f"{name}: more data than a file of {self.file_bytes} bytes can hold")


@dataclasses.dataclass(frozen=True, slots=True)
class Group:
    """A group whose members are checked when they are asked for.

    Its methods raise KeyError, TypeError or ValueError where a member is missing, or is not what
    it must be; ``ProfileFile.opened`` makes a ProfileFileError of them.
    """

    file: ProfileFile
    group: h5py.Group
    budget: Budget

    @property
    def name(self) -> str:
        """Its place in the file."""
        return str(self.group.name)

    def __contains__(self, name: str) -> bool:
        return name in self.group

    def __iter__(self) -> Iterator[str]:
        """Names of its members."""
        yield from self.group

    def group_of(self, name: str) -> Group:
        """A group in it."""
        member = self._member(name)
        if not isinstance(member, h5py.Group):
            raise TypeError(f"{self._place(name)}: is not a group")
        return dataclasses.replace(self, group=member)

    def groups(self) -> dict[str, Group]:
        """The groups in it that hold something, by name; what else is there is passed over."""
        members = {name: self._member(name) for name in self}
        return {
            name: dataclasses.replace(self, group=member)
            for name, member in members.items()
            if isinstance(member, h5py.Group) and len(member)
        }

    def text_attribute(self, name: str) -> str:
        """An attribute that is one text."""
        return _text_attribute(self.group, name)

    def flag(self, name: str) -> bool:
        """An attribute that is 0 or 1."""
        value = np.asarray(self.group.attrs[name])
        if value.shape or value.dtype.kind not in "iub":
            raise TypeError(f"{self._place(name)}: is neither 0 nor 1")
        return bool(value)

    def number(self, name: str, low: int = 0) -> int:
        """A dataset that is one whole number, not below another one."""
        dataset = self._dataset(name, _INTEGERS)
        if dataset.shape != ():
            raise ValueError(f"{self._place(name)}: is not one number")
        value = int(dataset[()])
        if value < low:
            raise ValueError(f"{self._place(name)}: is {value}, below {low}")
        return value

    def unit(self, name: str) -> str:
        """The unit of a column."""
        return _text_attribute(self._dataset(name, _INTEGERS), "units")

    def rows(self, name: str) -> int:
        """Length of a column of any type."""
        return len(self._column(self._member(name), name))

    def numbers(self, name: str, rows: int, bounds: Bounds) -> Column:
        """A column of whole numbers, still to be read.

        Args:
            name: of the dataset.
            rows: it must have.
            bounds: that its values must keep, looked at when they are read.
        """
        dataset = self._long_enough(self._dataset(name, _INTEGERS), name, rows)
        self._justify(dataset, name, dataset.dtype.itemsize)
        return self._as_column(dataset, name, bounds)

    def number_rows(self, names: tuple[str, ...], rows: int, bounds: Bounds) -> Column:
        """Columns of whole numbers that are read as one array [rows, columns]."""
        columns = [self.numbers(name, rows, bounds) for name in names]
        return dataclasses.replace(
            columns[0], places=tuple(place for column in columns for place in column.places)
        )

    def text_column(self, name: str, rows: int | None = None) -> Column:
        """A column of texts, still to be read."""
        dataset = self._member(name)
        if not isinstance(dataset, h5py.Dataset) or not h5py.check_string_dtype(dataset.dtype):
            raise TypeError(f"{self._place(name)}: is not a column of texts")
        self._plain(dataset, name)
        self._long_enough(dataset, name, len(self._column(dataset, name)) if rows is None else rows)
        self._justify(dataset, name, dataset.dtype.itemsize)
        self.budget.take(text_bytes(self.file, dataset), self._place(name))
        return self._as_column(dataset, name)

    def texts(self, name: str, rows: int | None = None) -> tuple[str, ...]:
        """A column of texts; of any length where no number of rows is given."""
        texts: tuple[str, ...] = self.text_column(name, rows).read()
        return texts

    def is_number_column(self, name: str, rows: int) -> bool:
        """Whether there is a column of whole numbers of that length."""
        member = self._member(name)
        return (
            isinstance(member, h5py.Dataset)
            and member.shape == (rows,)
            and member.dtype in _INTEGERS
        )

    def _place(self, name: str) -> str:
        return f"{self.name.rstrip('/')}/{name}"

    def _member(self, name: str) -> Any:
        """What has a name in this group by itself, not by a link to somewhere else."""
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
            raise TypeError(f"{self._place(name)}: is not of whole numbers")
        return self._plain(member, name)

    def _plain(self, dataset: h5py.Dataset, name: str) -> h5py.Dataset:
        """A dataset whose values lie in this file, as numbers or compressed by HDF5 itself."""
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
        """Refuses more rows than are stored."""
        needed, stored = len(dataset) * itemsize, dataset.id.get_storage_size()
        if needed > MOST_COMPRESSION * min(stored, self.budget.file_bytes):
            raise ValueError(f"{self._place(name)}: {len(dataset)} rows in {stored} stored bytes")
        if dataset.chunks is not None and dataset.chunks[0] > 2 * len(dataset) + 1_000_000:
            raise ValueError(f"{self._place(name)}: its chunks are larger than itself")
        self.budget.take(needed, self._place(name))


def _text_attribute(item: h5py.Group | h5py.Dataset, name: str) -> str:
    value = item.attrs[name]
    if not isinstance(value, str):
        raise TypeError(f"{item.name}: the attribute {name} is not a text")
    value.encode()  # bytes that are no UTF-8 would stop whoever writes it
    return value
