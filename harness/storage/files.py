"""Files that are there whole or not at all, and never in place of another one unasked.

Every file that is made for the user is written beside its place under a fresh name that nobody
can foretell, synced to the disk, and renamed. So a reader never sees half of it, a failure or a
power cut leaves the file that was there before, and a link that somebody put in the way is not
followed.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from harness.errors import RequestError, not_written


@contextlib.contextmanager
def new_file(path: Path, *, force: bool) -> Iterator[Path]:
    """A path to write to, whose file gets the name ``path`` when all has been written.

    It ends as ``path`` does. What is not an ordinary file (a pipe, ``/dev/stdout``) is written
    to as it is.

    Args:
        path: the file to make; its folder must exist.
        force: it may take the place of another file.

    Raises:
        RequestError: the file exists (without force), or cannot be written.
        MachineError: there is no room for it.
    """
    refuse_existing(path, force=force)
    try:
        if _is_special(path):
            yield path
            return
        with beside(path) as unfinished:
            yield unfinished
            refuse_existing(path, force=force)  # somebody else may have made it meanwhile
    except BrokenPipeError:
        raise  # the reader of a pipe has gone: no failure, as on the standard output
    except OSError as error:
        raise not_written(path, error) from error


def refuse_existing(path: Path, *, force: bool) -> None:
    """Makes sure that a file of this name takes nothing away.

    Raises:
        RequestError: it is a folder, or a file that exists (without force).
    """
    if path.is_dir():
        raise RequestError(f"{path}: is a folder", "give a file name")
    if path.exists() and not force and not _is_special(path):
        raise RequestError(
            f"{path}: the file exists", "choose another, or overwrite it with `force`"
        )


@contextlib.contextmanager
def beside(path: Path, folder: Path | None = None) -> Iterator[Path]:
    """A new empty file to write, which is put in the place of ``path`` at the end.

    It is removed where an error ends the block. It ends as ``path`` does.

    Args:
        path: what it becomes; replaced if it exists.
        folder: where it is written, on the same file system; that of ``path`` where it is None.

    Raises:
        OSError: it cannot be made, or put in place.
    """
    token = secrets.token_hex(8)
    # A part of the name tells whose it is if this process is killed; all of it may be too long.
    unfinished = (folder or path.parent) / f".{path.stem[:32]}-{token}{path.suffix}"
    exclusive = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    os.close(os.open(unfinished, exclusive, 0o666))
    try:
        yield unfinished
        put_in_place(unfinished, path)
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)


def put_in_place(unfinished: Path, path: Path) -> None:
    """Renames a written file so that a power cut leaves the old state or the new one.

    Raises:
        OSError: it cannot be synced or renamed.
    """
    _sync(unfinished, os.O_NOFOLLOW)
    unfinished.replace(path)
    # Some network file systems cannot sync a folder; the file is in place there all the same.
    with contextlib.suppress(OSError):
        _sync(path.parent, os.O_DIRECTORY)


def _sync(path: Path, flag: int) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | flag)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_special(path: Path) -> bool:
    """Whether a path is not a name that can be given to another file.

    ``/dev/stdout`` is one also where the output goes to an ordinary file.
    """
    open_files = ("/dev", "/dev/fd", "/proc/self/fd")
    return str(path.absolute().parent) in open_files or (path.exists() and not path.is_file())
