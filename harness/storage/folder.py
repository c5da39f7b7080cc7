"""What a folder of profiles holds, told by the outlines of its files."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from harness.errors import ProfileFileError, RequestError
from harness.records import Outline
from harness.storage import shards
from harness.storage.files import beside
from harness.storage.index import Index, state_of

#: The names of the profiles that were listed last, one a line, the newest first: for the Tab key.
NAMES = ".harness-names"

#: Names that a shell takes as they stand.
_PLAIN = re.compile(r"[\w.+=@-]+\.h5", re.ASCII)

_PARTIAL = re.compile(r"\..+\.partial")


@dataclasses.dataclass(frozen=True, slots=True)
class Partial:
    """What an unfinished profile has left.

    Attributes:
        path: its folder, as ``recover`` takes it.
        processes: how many have finished.
        running: whether it is being measured now; None where the system does not tell.
    """

    path: Path
    processes: int
    running: bool | None


@dataclasses.dataclass(frozen=True, slots=True)
class Contents:
    """What a folder holds.

    Attributes:
        profiles: outlines of the files whose names end in ``.h5``, by name.
        unreadable: files of such names that are no profiles or are damaged, with the reason.
        partial: what unfinished profiles have left.
        folders: names of the folders in it, whose contents are not among these.
    """

    profiles: tuple[Outline, ...]
    unreadable: tuple[tuple[Path, str], ...]
    partial: tuple[Partial, ...]
    folders: tuple[str, ...]


def contents(folder: Path, announce: Callable[[int], None] | None = None) -> Contents:
    """Looks through a folder, not through the folders in it. Links to files are followed.

    Files that the folder's index knows are not opened. The index is brought up to date, and so is
    the list of names for the Tab key, where they can be written.

    Args:
        folder: to look through.
        announce: called with the number of files that must be read, before they are.

    Raises:
        RequestError: no such folder, or it cannot be read.
    """
    files: dict[str, str] = {}
    unreadable: list[tuple[Path, str]] = []
    partial, folders = [], []
    for entry in _entries(folder):
        if _is_folder(entry):
            if _PARTIAL.fullmatch(entry.name):
                partial.append(_partial(Path(entry)))
            elif not entry.name.startswith("."):
                folders.append(entry.name)
        elif entry.name.endswith(".h5") and not entry.name.startswith("."):
            try:
                files[entry.name] = state_of(entry.stat())
            except FileNotFoundError:
                if entry.is_symlink():  # else it has just been removed
                    unreadable.append((Path(entry), "a link to nothing"))
            except OSError as error:
                unreadable.append((Path(entry), error.strerror or str(error)))
    index = Index.of(folder)
    known, stale = index.known(files)
    new = sorted(files.keys() - known.keys())
    read: dict[str, Outline] = {}
    if announce is not None:
        announce(len(new))
    try:
        for name in new:
            try:
                read[name] = _outline(folder / name)
            except ProfileFileError as error:
                reason = error.message.removeprefix(f"{folder / name}: ")
                unreadable.append((folder / name, reason))
            except FileNotFoundError:
                continue  # it has just been removed
    finally:  # what was read before Ctrl-C need not be read again
        if read or stale:
            index.replace(files, known | read)
    outlines = {
        **{name: dataclasses.replace(one, path=folder / name) for name, one in known.items()},
        **read,
    }
    _leave_names(folder, outlines)
    return Contents(
        profiles=tuple(outlines[name] for name in sorted(outlines)),
        unreadable=tuple(sorted(unreadable)),
        partial=tuple(sorted(partial, key=lambda one: one.path)),
        folders=tuple(sorted(folders)),
    )


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except FileNotFoundError:
        raise RequestError(f"{folder}: no such folder", "name the folder of the profiles") from None
    except NotADirectoryError:
        raise RequestError(
            f"{folder}: is a file", f"harness show {folder}, or name a folder"
        ) from None
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise RequestError(f"{folder}: cannot be read: {reason}", "name another folder") from error


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, for one
        return False


def _outline(path: Path) -> Outline:
    # Imported where a file must be read: HDF5 takes longer to load than a list from the index.
    from harness.storage.profile_file import read_outline

    try:
        return read_outline(path)
    except ProfileFileError:
        if not path.exists():
            raise FileNotFoundError from None
        raise


def _partial(folder: Path) -> Partial:
    return Partial(folder, shards.finished(folder), shards.is_held(folder))


def _leave_names(folder: Path, outlines: dict[str, Outline]) -> None:
    """Writes the list of names, if it has changed and can be written."""
    names = (name for name in outlines if _PLAIN.fullmatch(name))
    newest = sorted(names, key=lambda name: (outlines[name].created, name), reverse=True)
    text = "".join(f"{name}\n" for name in newest)
    path = folder / NAMES
    with contextlib.suppress(OSError, ValueError):
        if os.access(folder, os.W_OK | os.X_OK) and _held(path) != text:
            with beside(path) as unfinished:
                unfinished.write_text(text, encoding="ascii")


def _held(path: Path) -> str | None:
    """The text of our own file; None where there is something else."""
    try:
        held = path.lstat()
        if stat.S_ISREG(held.st_mode) and held.st_size < 64 << 20:
            return path.read_text(encoding="ascii")
    except (OSError, ValueError):
        pass
    return None
