"""Columns of a profile file that are read on first access.

A profile may hold millions of events, but a command uses few of their columns: the others are
never read. A long column is read part by part if its user asks for parts.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import io
import os
import resource
import struct
import threading
import weakref
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from harness.errors import ProfileFileError, one_line
from harness.ordinary_files import open_ordinary
from harness.records import RepeatedTexts
from harness.storage.bounds import Bounds

if TYPE_CHECKING:
    from pathlib import Path

#: Rows of a chunk: 512 KiB of int64, the unit of compression and reading.
CHUNK_ROWS = 65_536

#: What h5py raises for a damaged file: truncation, a lost object, a corrupt chunk.
_DAMAGE = (
    OSError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    RuntimeError,
    ArithmeticError,
)

#: Signature of a global heap. Its size follows, then objects with a number and a size each.
_HEAP = b"GCOL"
_HEAP_SIZE = struct.Struct("<8xQ")
_HEAP_OBJECT = struct.Struct("<H6xQ")

#: How a text column stores a text: its length, the address of a global heap, and the number of
#: the object in it.
_TEXT = np.dtype([("bytes", "<u4"), ("heap", "<u8"), ("number", "<u4")])

#: What HDF5 may read each time it opens a file: this many times its size, but at least this many
#: bytes.
_MOST_READ = 200
_LEAST_READ_BYTES = 1 << 30


#: Unit of ``st_blocks``, whatever the file system's own blocks are.
_BLOCK_BYTES = 512


class ProfileFile:
    """A profile file, kept open as long as a record may still read from it.

    So its columns always come from the file that was opened, even if another one has taken its
    name since. HDF5 itself has it open only during reads.

    Args:
        path: the file.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # HDF5 takes no lock on a stream: locks fail on read-only network folders, and conflict
        # with those of another reader in this process.
        self._stream = _Stream(io.FileIO(open_ordinary(path)))
        self._opened: h5py.File | None = None
        self._datasets: dict[str, h5py.Dataset] = {}
        self._one_at_a_time = threading.RLock()
        weakref.finalize(self, self._stream.close)

    @property
    def data_bytes(self) -> int:
        """Size of the file without its holes: what bounds the data that it can hold."""
        return self._stream.data_bytes

    def read_at(self, offset: int, size_bytes: int) -> bytes:
        """Bytes from this offset; fewer at the end of the file."""
        return self._stream.read_at(offset, size_bytes)

    @contextlib.contextmanager
    def opened(self) -> Iterator[h5py.File]:
        """Opens the file with HDF5; may be nested.

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
                # HDF5 says so of a damaged size, too.
                if "memory allocation failed" in str(error) and _is_limited():
                    raise MemoryError(f"{self.path}: {error}") from error
                raise ProfileFileError(
                    f"{self.path}: damaged: {_reason(error)}",
                    "restore it from a copy, or profile again",
                ) from error
            finally:
                self._opened = None
                self._datasets.clear()

    def dataset(self, place: str) -> h5py.Dataset:
        """A dataset of the opened file; each is looked up once."""
        if place not in self._datasets:
            assert self._opened is not None
            self._datasets[place] = self._opened[place]
        return self._datasets[place]

    def keep(self, place: str, dataset: h5py.Dataset) -> None:
        """Remembers an opened dataset for ``dataset``, until the file is closed again."""
        self._datasets[place] = dataset


def _reason(error: Exception) -> str:
    """The problem, in one line."""
    text = error.args[0] if isinstance(error, KeyError) and error.args else error
    return one_line(str(text)) or type(error).__name__


class _Stream(io.RawIOBase):
    """A file with its own position: forked processes would share that of the descriptor."""

    def __init__(self, file: io.FileIO) -> None:
        super().__init__()
        self._file = file
        self._at = 0
        self._may_read = 0
        self.data_bytes = _data_bytes(file.fileno())

    @property
    def size_bytes(self) -> int:
        """Size of the file."""
        return os.fstat(self._file.fileno()).st_size

    def begin(self) -> None:
        """Resets the limit on what may be read: HDF5 would follow a cycle for ever."""
        self._may_read = max(_MOST_READ * self.data_bytes, _LEAST_READ_BYTES)

    def read_at(self, offset: int, size_bytes: int) -> bytes:
        """Bytes from this offset; fewer at the end of the file."""
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
            raise ValueError("reading it does not end: it seems to refer to itself")
        return count

    def _check_heap(self, begin: int, heap: bytes) -> None:
        """Checks a global heap, which holds texts, before HDF5 reads it.

        HDF5 keeps no checksum of it, and steps from object to object by their sizes: at an object
        of size 0, such as zeros in a hole of the file, it would loop for ever.
        """
        end = _HEAP_SIZE.unpack_from(heap)[0] if len(heap) >= 16 else 0
        if end > self.size_bytes - begin:
            return  # HDF5 refuses it itself
        if end > len(heap):
            heap = self.read_at(begin, end)
        object_at, at, last = _HEAP_OBJECT.unpack_from, 16, end - 16
        while at <= last:
            number, size = object_at(heap, at)
            if number:
                at += 16 + (size + 7 & ~7)
            elif size >= 16:  # free space, whose size includes its header
                at += size
            else:
                raise ValueError(f"a hole at byte {begin + at}")

    def close(self) -> None:
        self._file.close()
        super().close()


def _is_limited() -> bool:
    """Whether this process may take less than all of the address space (``ulimit -v``)."""
    return resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY


def _data_bytes(descriptor: int) -> int:
    """Bytes of an open file that are not in holes, which read as zeros but take no room.

    All of it where the file system does not tell: blocks alone would not do, as one that
    compresses has few of them.
    """
    told = os.fstat(descriptor)
    if told.st_blocks * _BLOCK_BYTES >= told.st_size:
        return told.st_size
    total = end = 0
    try:
        while end < told.st_size:
            begin = os.lseek(descriptor, end, os.SEEK_DATA)
            end = os.lseek(descriptor, begin, os.SEEK_HOLE)
            total += end - begin
    except OSError as error:
        if error.errno != errno.ENXIO:  # which says that only a hole is left
            return told.st_size
    return total


@dataclasses.dataclass(frozen=True, slots=True)
class Column:
    """Rows of one dataset, or of several that are read as one two-dimensional array.

    Attributes:
        file: the file that holds them.
        places: paths of the datasets in the file, all of the same length.
        first: first row.
        length: number of rows.
        bounds: of its values, checked when they are read; None if any value is allowed.
    """

    file: ProfileFile
    places: tuple[str, ...]
    first: int
    length: int
    bounds: Bounds | None = None

    def part(self, rows: slice) -> Column:
        """A contiguous range of its rows."""
        first, last, step = rows.indices(self.length)
        if step != 1:
            msg = f"a part must be contiguous rows, not every {step}th"
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


@dataclasses.dataclass(frozen=True, slots=True)
class RepeatedColumn(Column):
    """Texts of which few differ, stored as rows in the distinct ones.

    Attributes:
        distinct: the texts that occur.
    """

    distinct: tuple[str, ...] = ()

    @classmethod
    def of(cls, row: Column, distinct: tuple[str, ...]) -> RepeatedColumn:
        """From the column of the rows, whose bounds are those of the distinct texts."""
        return cls(row.file, row.places, row.first, row.length, row.bounds, distinct)

    def read(self) -> Any:
        """All texts, as RepeatedTexts.

        Raises:
            ProfileFileError: the file is damaged.
        """
        return RepeatedTexts(Column.read(self), self.distinct)


def text_bytes(file: ProfileFile, dataset: h5py.Dataset) -> int:
    """Total bytes of the texts in a column, found without reading them.

    Raises:
        ValueError: they exceed the size of the file, because rows share one text.
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
    if total > file.data_bytes:
        raise ValueError(f"{dataset.name}: {total} bytes of text in a {file.data_bytes}-byte file")
    return total


class Columns(Mapping[str, Any]):
    """Columns by name, each read on first access."""

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
        return dict, (dict(self),)  # a copy is read completely, and needs no file

    def part(self, rows: slice) -> Columns:
        """A contiguous range of rows of all columns."""
        return Columns({name: column.part(rows) for name, column in self._columns.items()})
