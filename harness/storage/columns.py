"""Columns of a profile file that are read when they are first touched.

A profile may hold millions of events, and a command looks at few of their columns: what is not
looked at is never read. A long column is read a part at a time where its user asks for parts.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import struct
import threading
import weakref
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from harness.errors import ProfileFileError, one_line
from harness.ordinary_files import open_ordinary
from harness.storage.bounds import Bounds

if TYPE_CHECKING:
    from pathlib import Path

#: Rows of a chunk: 512 KiB of int64, the unit that is compressed and read.
CHUNK_ROWS = 65_536

#: What h5py raises over a damaged file: truncation, a lost object, a corrupt chunk.
_DAMAGE = (
    OSError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    RuntimeError,
    ArithmeticError,
)

#: A global heap begins so; then come its size, and objects with a number and a size each.
_HEAP = b"GCOL"
_HEAP_SIZE = struct.Struct("<8xQ")
_HEAP_OBJECT = struct.Struct("<H6xQ")

#: A column of texts holds of each its length (uint32) and where it lies: a global heap's address
#: and a number in it.
_TEXT = np.dtype([("bytes", "<u4"), ("heap", "<u8"), ("number", "<u4")])

#: Times what is in the file HDF5 may read of it while it opens it, and what it may in any case.
_MOST_READ = 200
_LEAST_READ_BYTES = 1 << 30


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
        self._stream = _Stream(io.FileIO(open_ordinary(path)))
        self._opened: h5py.File | None = None
        self._datasets: dict[str, h5py.Dataset] = {}
        self._one_at_a_time = threading.RLock()
        weakref.finalize(self, self._stream.close)

    @property
    def size_bytes(self) -> int:
        """Of the file."""
        return self._stream.size_bytes

    def read_at(self, offset: int, size_bytes: int) -> bytes:
        """Some of its bytes."""
        return self._stream.read_at(offset, size_bytes)

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
                self._stream.begin()
                with h5py.File(self._stream, "r") as self._opened:
                    yield self._opened
            except _DAMAGE as error:
                raise ProfileFileError(
                    f"{self.path}: damaged: {_reason(error)}",
                    "take a copy of it, or profile again",
                ) from error
            finally:
                self._opened = None
                self._datasets.clear()

    def dataset(self, place: str) -> h5py.Dataset:
        """A dataset of the opened file; HDF5 is asked for each once."""
        if place not in self._datasets:
            assert self._opened is not None
            self._datasets[place] = self._opened[place]
        return self._datasets[place]

    def keep(self, place: str, dataset: h5py.Dataset) -> None:
        """Gives this one where it is asked for, until the file is closed again."""
        self._datasets[place] = dataset


def _reason(error: Exception) -> str:
    """What is wrong, in one line."""
    text = error.args[0] if isinstance(error, KeyError) and error.args else error
    return one_line(str(text)) or type(error).__name__


class _Stream(io.RawIOBase):
    """A file with a place of its own in each process: forked ones share that of the system."""

    def __init__(self, file: io.FileIO) -> None:
        super().__init__()
        self._file = file
        self._at = 0
        self._may_read = 0

    @property
    def size_bytes(self) -> int:
        """Of the file."""
        return os.fstat(self._file.fileno()).st_size

    def begin(self) -> None:
        """From here on so much of it may be read: HDF5 follows a circle without end."""
        self._may_read = max(_MOST_READ * self.size_bytes, _LEAST_READ_BYTES)

    def read_at(self, offset: int, size_bytes: int) -> bytes:
        """Some of it; fewer bytes at its end."""
        return os.pread(self._file.fileno(), size_bytes, offset)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        begins = {io.SEEK_SET: 0, io.SEEK_CUR: self._at}
        begin = begins.get(whence, self.size_bytes)
        self._at = begin + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        count = os.preadv(self._file.fileno(), [buffer], self._at)
        if bytes(buffer[:4]) == _HEAP:
            self._check_heap(self._at, bytes(buffer[:count]))
        self._at += count
        self._may_read -= max(count, 1)
        if self._may_read < 0:
            raise ValueError("it is read over and over again without an end")
        return count

    def _check_heap(self, begin: int, heap: bytes) -> None:
        """Looks at a global heap, in which texts lie, before HDF5 does.

        HDF5 has no checksum of it, and goes from object to object by their sizes: at one of no
        size, such as zeros in a hole of the file, it would stay for ever.
        """
        end = _HEAP_SIZE.unpack_from(heap)[0] if len(heap) >= 16 else 0
        if end > self.size_bytes - begin:
            return  # HDF5 refuses it
        if end > len(heap):
            heap = self.read_at(begin, end)
        object_at, at, last = _HEAP_OBJECT.unpack_from, 16, end - 16
        while at <= last:
            number, size = object_at(heap, at)
            if number:
                at += 16 + (size + 7 & ~7)
            elif size >= 16:  # free room, whose size is with its header
                at += size
            else:
                raise ValueError(f"a hole at byte {begin + at}")

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
        bounds: of its values, checked when they are read; None where any will do.
    """

    file: ProfileFile
    places: tuple[str, ...]
    first: int
    length: int
    bounds: Bounds | None = None

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
        with self.file.opened():
            values = [self._values(place) for place in self.places]
            return values[0] if len(values) == 1 else np.stack(values, axis=1)

    def _values(self, place: str) -> Any:
        dataset = self.file.dataset(place)
        rows = slice(self.first, self.first + self.length)
        if h5py.check_string_dtype(dataset.dtype):
            return tuple(dataset.asstr()[rows])
        values = dataset[rows]
        if self.bounds is not None:
            self.bounds.check(values, place)
        return values


def text_bytes(file: ProfileFile, dataset: h5py.Dataset) -> int:
    """Bytes of all texts of a column, told without reading them.

    Raises:
        ValueError: they are more than the file: one text stands for many.
    """
    offset = dataset.id.get_offset()
    if dataset.id.get_create_plist().get_layout() != h5py.h5d.CONTIGUOUS or (
        offset is None and len(dataset)
    ):
        raise ValueError(f"{dataset.name}: its texts are not stored in one piece")
    if not len(dataset):
        return 0
    stored = file.read_at(offset, len(dataset) * _TEXT.itemsize)
    total = int(np.frombuffer(stored, _TEXT)["bytes"].sum(dtype=np.int64))
    if total > file.size_bytes:
        raise ValueError(f"{dataset.name}: {total} bytes of text in {file.size_bytes} of file")
    return total


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
