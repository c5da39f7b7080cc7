"""An index of the outlines of a folder's profiles, so that a list need not open each file.

It is never the truth. A file counts as known only while its size, time of change and inode are
those that were indexed; everything else is read from the files, and an index that is missing,
damaged, foreign or locked costs time and nothing else. It lies beside the profiles under a hidden
name or, where that folder cannot be written to, in the user's cache.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import sqlite3
import stat
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import msgspec

from harness.records import Outline
from harness.storage.files import beside

NAME = ".harness-index.sqlite"

#: Marks a file as ours: "hpix". The version counts up when what is stored changes.
_APPLICATION_ID = 0x68706978
_VERSION = 1

_TABLE = "CREATE TABLE outlines (name BLOB PRIMARY KEY, state TEXT, outline BLOB) WITHOUT ROWID"

#: Longest outline that is stored: others are read each time. Most take 2 kB.
_MOST_BYTES = 256 << 10

#: Largest index that is read; one of 100,000 profiles takes a fifth of it.
_MOST_INDEX_BYTES = 1 << 30

#: Seconds to wait for another process that is writing, which takes milliseconds.
_PATIENCE_S = 2.0

#: What SQLite says of a file that will never become readable by waiting.
_BEYOND_REPAIR = {
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_FORMAT,
    sqlite3.SQLITE_TOOBIG,
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_ERROR,
}


class _ForeignError(Exception):
    """The file is not an index of this version."""


@dataclasses.dataclass(frozen=True, slots=True)
class Index:
    """The index of one folder.

    Attributes:
        path: its file, which may not exist; None where there is no place for one.
    """

    path: Path | None

    @classmethod
    def of(cls, folder: Path) -> Index:
        """The index of the profiles in this folder."""
        if os.access(folder, os.W_OK | os.X_OK):
            return cls(folder / NAME)
        cache = _cache()
        digest = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:32]
        return cls(None if cache is None else cache / f"{digest}.sqlite")

    def known(self, states: Mapping[str, str]) -> tuple[dict[str, Outline], bool]:
        """The indexed outlines of files that have not changed, without their paths.

        Args:
            states: of the files that are there, by name, as ``state_of`` tells them.

        Returns:
            (outlines by name, whether there are others, of files that changed or are gone).
        """
        found: dict[str, Outline] = {}
        stale = False
        decoder = msgspec.json.Decoder(Outline, dec_hook=_path)
        with contextlib.suppress(sqlite3.Error, OSError, _ForeignError), self._opened() as index:
            for name, state, outline in index.execute("SELECT name, state, outline FROM outlines"):
                if not isinstance(name, bytes) or states.get(os.fsdecode(name)) != state:
                    stale = True
                    continue
                # A row that is not understood is read from the file again.
                with contextlib.suppress(msgspec.MsgspecError, TypeError):
                    found[os.fsdecode(name)] = decoder.decode(outline)
        return found, stale

    def update(self, states: Mapping[str, str], read: Mapping[str, Outline]) -> None:
        """Stores what was read, and forgets files that are gone; does nothing where it cannot.

        Args:
            states: of the files that are there, by name.
            read: outlines that were not known.
        """
        with contextlib.suppress(sqlite3.Error, OSError):
            try:
                with self._opened() as index:
                    self._write(index, states, read)
            except (_ForeignError, FileNotFoundError):
                self._replace(read, states)
            except sqlite3.DatabaseError as error:
                if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _BEYOND_REPAIR:
                    raise  # locked, or the disk is full
                self._replace(read, states)

    @contextlib.contextmanager
    def _opened(self, path: Path | None = None) -> Iterator[sqlite3.Connection]:
        """Opens the index, and makes sure that it is one before anything is asked of it.

        Raises:
            FileNotFoundError: there is none.
            _ForeignError: it is something else, or of another version.
            sqlite3.Error: it is damaged or locked.
        """
        path = path or self.path
        if path is None:
            raise PermissionError
        held = path.lstat()
        if not stat.S_ISREG(held.st_mode) or held.st_size > _MOST_INDEX_BYTES:
            raise _ForeignError
        with contextlib.closing(
            sqlite3.connect(path, timeout=_PATIENCE_S, isolation_level=None)
        ) as index:
            index.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 2 * _MOST_BYTES)
            index.execute("PRAGMA trusted_schema = OFF")
            index.execute("PRAGMA cell_size_check = ON")
            ours = (
                index.execute("PRAGMA application_id").fetchone() == (_APPLICATION_ID,)
                and index.execute("PRAGMA user_version").fetchone() == (_VERSION,)
                # Nothing but our table: a view of the same name could compute for ever.
                and index.execute("SELECT type, sql FROM sqlite_schema").fetchmany(2)
                == [("table", _TABLE)]
            )
            if not ours:
                raise _ForeignError
            yield index

    def _write(
        self, index: sqlite3.Connection, states: Mapping[str, str], read: Mapping[str, Outline]
    ) -> None:
        rows = _rows(states, read)
        index.execute("BEGIN IMMEDIATE")
        try:
            index.execute("DELETE FROM outlines WHERE typeof(name) != 'blob'")  # not from here
            held = {os.fsdecode(name) for (name,) in index.execute("SELECT name FROM outlines")}
            gone = [(os.fsencode(name),) for name in held - states.keys()]
            index.executemany("DELETE FROM outlines WHERE name = ?", gone)
            index.executemany("INSERT OR REPLACE INTO outlines VALUES (?, ?, ?)", rows)
            index.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                index.execute("ROLLBACK")
            raise

    def _replace(self, read: Mapping[str, Outline], states: Mapping[str, str]) -> None:
        """Writes a new index in place of whatever is there; a link is replaced, not followed."""
        if self.path is None or self.path.is_dir():
            return
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with beside(self.path) as unfinished:
            with contextlib.closing(sqlite3.connect(unfinished, isolation_level=None)) as index:
                # Nobody else knows of this file: if it is not finished, it is removed.
                index.execute("PRAGMA journal_mode = OFF")
                index.execute("PRAGMA page_size = 16384")  # several outlines a page
                index.execute("BEGIN")
                index.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
                index.execute(f"PRAGMA user_version = {_VERSION}")
                index.execute(_TABLE)
                index.executemany("INSERT INTO outlines VALUES (?, ?, ?)", _rows(states, read))
                index.execute("COMMIT")
            # What another one may have left behind belongs to the file that is replaced.
            for suffix in ("-journal", "-wal", "-shm"):
                self.path.with_name(f"{self.path.name}{suffix}").unlink(missing_ok=True)


def state_of(held: os.stat_result) -> str:
    """What changes when a file is changed or replaced: its size, time of change and inode."""
    return f"{held.st_size}:{held.st_mtime_ns}:{held.st_ino}"


def _rows(
    states: Mapping[str, str], read: Mapping[str, Outline]
) -> Collection[tuple[bytes, str, bytes]]:
    encoder = msgspec.json.Encoder(enc_hook=str)
    rows = [
        # The folder may be moved, so the path is not part of it.
        (
            os.fsencode(name),
            states[name],
            encoder.encode(dataclasses.replace(outline, path=Path())),
        )
        for name, outline in read.items()
    ]
    return [row for row in rows if len(row[2]) <= _MOST_BYTES]


def _path(_kind: type, value: object) -> Path:
    return Path(str(value))


def _cache() -> Path | None:
    """The folder of indexes in the user's cache; None where the user has no home."""
    told = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not told.is_absolute():  # the specification wants others ignored
        try:
            told = Path.home() / ".cache"
        except RuntimeError:
            return None
    return told / "harness" / "index"
