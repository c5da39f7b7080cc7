"""Columns of a profile file that are read when they are first touched.

A profile may hold millions of events, and a command looks at few of their columns: what is not
looked at is never read. A long column is read a part at a time where its user asks for parts.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import threading
import weakref
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from harness.errors import ProfileFileError, one_line

if TYPE_CHECKING:
    from pathlib import Path

#: Rows of a chunk: 512 KiB of int64, the unit that is compressed and read.
CHUNK_ROWS = 65_536

#: What h5py raises over a damaged file: truncation, a lost object, a corrupt chunk.
_DAMAGE = (OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError)


class ProfileFile:
    """A profile file, kept open as long as a record may still read from it.

    So its columns are those of the file that was opened, also where another one has taken its
    name since. HDF5 itself has it open only while something is read.

    Args:
        path: the file.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # Through a stream HDF5 takes no lock: locks fail on read-only network folders, and
        # clash with those of another reader in this process.
        self._stream = _Stream(io.FileIO(path))
        self._opened: h5py.File | None = None
        self._one_at_a_time = threading.RLock()
        weakref.finalize(self, self._stream.close)

    @contextlib.contextmanager
    def opened(self) -> Iterator[h5py.File]:
        """The file as HDF5 sees it; may be nested.

        Raises:
            ProfileFileError: it is damaged.
        """
        with self._one_at_a_time:
            if self._opened is not None:
                yield self._opened
                return
            try:
                with h5py.File(self._stream, "r") as self._opened:
                    yield self._opened
            except _DAMAGE as error:
                raise ProfileFileError(
                    f"{self.path}: damaged: {one_line(str(error)) or type(error).__name__}",
                    "take a copy of it, or profile again",
                ) from error
            finally:
                self._opened = None


class _Stream(io.RawIOBase):
    """A file with a place of its own in each process: forked ones share that of the system."""

    def __init__(self, file: io.FileIO) -> None:
        super().__init__()
        self._file = file
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        begins = {io.SEEK_SET: 0, io.SEEK_CUR: self._at}
        begin = begins[whence] if whence in begins else os.fstat(self._file.fileno()).st_size
        self._at = begin + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        count = os.preadv(self._file.fileno(), [buffer], self._at)
        self._at += count
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


@dataclasses.dataclass(frozen=True, slots=True)
class Column:
    """Rows of a dataset, or of several beside each other, which are read as one array.

    Attributes:
        file: that holds them.
        places: of the datasets in the file, all equally long.
        first: row.
        length: rows.
    """

    file: ProfileFile
    places: tuple[str, ...]
    first: int
    length: int

    @classmethod
    def of(cls, file: ProfileFile, *datasets: h5py.Dataset) -> Column:
        """All rows."""
        return cls(file, tuple(each.name for each in datasets), 0, len(datasets[0]))

    def part(self, rows: slice) -> Column:
        """These rows of it."""
        first, last, step = rows.indices(self.length)
        if step != 1:
            msg = f"a part is made of rows in a row, not of every {step}th"
            raise ValueError(msg)
        return dataclasses.replace(self, first=self.first + first, length=max(last - first, 0))

    def read(self) -> Any:
        """Numbers as an array (of several datasets [rows, datasets]), texts as a tuple.

        Raises:
            ProfileFileError: the file is damaged.
        """
        with self.file.opened() as file:
            values = [self._values(file[place]) for place in self.places]
            return values[0] if len(values) == 1 else np.stack(values, axis=1)

    def _values(self, dataset: h5py.Dataset) -> Any:
        rows = slice(self.first, self.first + self.length)
        if h5py.check_string_dtype(dataset.dtype):
            return tuple(dataset.asstr()[rows])
        return dataset[rows]


class Columns(Mapping[str, Any]):
    """Columns by name, each read when it is first asked for."""

    def __init__(self, columns: Mapping[str, Column]) -> None:
        self._columns = columns
        self._values: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._values:
            self._values[name] = self._columns[name].read()
        return self._values[name]

    def __contains__(self, name: object) -> bool:
        return name in self._columns

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def __repr__(self) -> str:
        return repr(dict(self))

    def __reduce__(self) -> Any:
        return dict, (dict(self),)  # a copy is read whole, and needs no file

    def part(self, rows: slice) -> Columns:
        """These rows of all columns."""
        return Columns({name: column.part(rows) for name, column in self._columns.items()})
