"""An index of the outlines of a folder's profiles, so that a list need not open each file.

It is never the truth. A file counts as known only while its size, time of change and inode are
those that were indexed; everything else is read from the files, and an index that is missing,
damaged or foreign costs time and nothing else. It lies beside the profiles under a hidden name or,
where that folder cannot be written to, in the user's cache.

It is a SQLite file that is never changed: a new one takes its place. So readers need no lock and
see no half of it, and whoever comes last wins, whose index is as good as any other. The file is
opened as immutable: SQLite then also leaves a journal alone that a stranger has put beside it,
from which it would otherwise write to the file, and might delete another one that it names.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import sqlite3
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote_from_bytes

import msgspec

from harness.records import Outline
from harness.storage.bounds import MOST_NS
from harness.storage.files import beside

NAME = ".harness-index.sqlite"

#: Marks a file as ours: "hpix". The version counts up when what is stored changes.
_APPLICATION_ID = 0x68706978
_VERSION = 3

_TABLE = "CREATE TABLE outlines (name BLOB PRIMARY KEY, state TEXT, outline BLOB) WITHOUT ROWID"

#: Longest outline that is stored: others are read each time. Most take 2 kB.
_MOST_BYTES = 256 << 10

#: Largest index that is read; one of 100,000 profiles takes a fifth of it.
_MOST_INDEX_BYTES = 1 << 30


#: Steps of SQLite's virtual machine that reading an index may take: some, and so many for each
#: file of the folder. A row takes about 10.
_STEPS, _STEPS_EACH = 1_000_000, 1_000


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
        try:
            with self._opened(_STEPS + _STEPS_EACH * len(states)) as index:
                rows = index.execute("SELECT name, state, outline FROM outlines")
                for name, state, row in rows:
                    if not isinstance(name, bytes) or states.get(os.fsdecode(name)) != state:
                        stale = True
                        continue
                    # A row that is not understood is read from the file again.
                    with contextlib.suppress(msgspec.MsgspecError, TypeError):
                        outline = decoder.decode(row)
                        if _is_possible(outline):
                            found[os.fsdecode(name)] = outline
        except (OSError, _ForeignError):
            pass
        except sqlite3.Error:
            stale = True
        return found, stale

    def replace(self, states: Mapping[str, str], outlines: Mapping[str, Outline]) -> None:
        """Puts a new index in place of whatever is there; does nothing where it cannot.

        A link is replaced, not followed.

        Args:
            states: of the files, by name.
            outlines: likewise.
        """
        encoder = msgspec.json.Encoder(enc_hook=str)
        if self.path is None:
            return
        with contextlib.suppress(sqlite3.Error, OSError):
            if self.path.is_dir():
                return
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with (
                beside(self.path) as unfinished,
                contextlib.closing(sqlite3.connect(unfinished, isolation_level=None)) as index,
            ):
                # Nobody else knows of this file: if it is not finished, it is removed.
                index.execute("PRAGMA journal_mode = OFF")
                index.execute("PRAGMA synchronous = OFF")  # it is synced before it is renamed
                index.execute("PRAGMA page_size = 16384")  # several outlines a page
                index.execute("BEGIN")
                index.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
                index.execute(f"PRAGMA user_version = {_VERSION}")
                index.execute(_TABLE)
                for name in sorted(outlines, key=os.fsencode):
                    # The folder may be moved, so the path is not part of it.
                    row = encoder.encode(dataclasses.replace(outlines[name], path=Path()))
                    if len(row) <= _MOST_BYTES:
                        values = (os.fsencode(name), states[name], row)
                        index.execute("INSERT INTO outlines VALUES (?, ?, ?)", values)
                index.execute("COMMIT")

    @contextlib.contextmanager
    def _opened(self, steps: int) -> Iterator[sqlite3.Connection]:
        """Opens the index, and makes sure that it is one before anything is asked of it.

        Args:
            steps: of SQLite's virtual machine, after which it is given up: a few kilobytes can
                hold more rows than anybody can count.

        Raises:
            OSError: there is none.
            _ForeignError: it is something else, or of another version.
            sqlite3.Error: it is damaged.
        """
        if self.path is None:
            raise FileNotFoundError
        held = self.path.lstat()
        if not stat.S_ISREG(held.st_mode) or held.st_size > _MOST_INDEX_BYTES:
            raise _ForeignError
        place = quote_from_bytes(os.fsencode(self.path.absolute()))
        with contextlib.closing(
            sqlite3.connect(f"file:{place}?mode=ro&immutable=1", uri=True)
        ) as index:
            index.set_progress_handler(lambda: 1, steps)
            index.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 2 * _MOST_BYTES)
            index.execute("PRAGMA cell_size_check = ON")
            ours = (
                index.execute("PRAGMA application_id").fetchone() == (_APPLICATION_ID,)
                and index.execute("PRAGMA user_version").fetchone() == (_VERSION,)
                # Nothing but our table: a view of the same name could compute for ever.
                and index.execute("SELECT type, sql FROM sqlite_master").fetchmany(2)
                == [("table", _TABLE)]
            )
            if not ours:
                raise _ForeignError
            yield index


def state_of(held: os.stat_result) -> str:
    """What changes when a file is changed or replaced: its size, time of change and inode."""
    return f"{held.st_size}:{held.st_mtime_ns}:{held.st_ino}"


def _is_possible(outline: Outline) -> bool:
    """Whether a file could say this: what is in an index passed no other check."""
    interval = outline.interval_ns or (0.0, 0.0)
    figures = (outline.median_ns or 0.0, *interval)
    try:
        asked = json.loads(outline.config)
    except (ValueError, RecursionError):
        return False
    return (
        isinstance(asked, dict)
        and outline.processes > 0
        and (outline.samples or 0) >= 0
        and all(0 <= one <= MOST_NS for one in figures)
        and interval[0] <= interval[1]
    )


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
