"""Atomic writing of files, which never overwrites another file unasked.

Every file made for the user is written next to its destination under a fresh, unpredictable
name, synced to disk, and renamed. So a reader never sees half of it, a failure or power cut
leaves the previous file in place, and a link that somebody planted is not followed.
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
    """A temporary path to write to, renamed to ``path`` at the end of the block.

    It has the suffix of ``path``. If ``path`` is not an ordinary file (a pipe, ``/dev/stdout``),
    it is written to directly.

    Args:
        path: the file to create; its folder must exist.
        force: overwrite an existing file.

    Raises:
        RequestError: the file exists (without force), or cannot be written.
        MachineError: there is no room for it.
    """
    refuse_existing(path, force=force)
    try:
        if is_special(path):
            yield path
            return
        with beside(path) as unfinished:
            yield unfinished
            refuse_existing(path, force=force)  # somebody else may have created it meanwhile
    except BrokenPipeError:
        raise  # the reader of a pipe has gone: not a failure, as on standard output
    except OSError as error:
        raise not_written(path, error) from error


def refuse_existing(path: Path, *, force: bool) -> None:
    """Makes sure that writing to this path overwrites nothing unasked.

    Raises:
        RequestError: it is a folder, or a file that exists (without force).
    """
    if path.is_dir():
        raise RequestError(f"{path}: is a folder", "give a file name")
    if path.exists() and not force and not is_special(path):
        raise RequestError(
            f"{path}: the file exists", "choose another, or overwrite it with `force`"
        )


@contextlib.contextmanager
def beside(path: Path, folder: Path | None = None) -> Iterator[Path]:
    """A new empty file to write to, which replaces ``path`` at the end of the block.

    If an error ends the block, it is removed. It has the suffix of ``path``.

    Args:
        path: what the file becomes; replaced if it exists.
        folder: where it is written, on the same file system; None for the folder of ``path``.

    Raises:
        OSError: it cannot be created, or put in place.
    """
    token = secrets.token_hex(8)
    # Part of the name shows what the file was for if this process is killed; all of it may be
    # too long.
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
    """Renames a written file so that a power cut leaves either the old file or the new one.

    Raises:
        OSError: it cannot be synced or renamed.
    """
    _sync(unfinished, os.O_NOFOLLOW)
    unfinished.replace(path)
    # Some network file systems cannot sync a folder; the file is in place there anyway.
    with contextlib.suppress(OSError):
        _sync(path.parent, os.O_DIRECTORY)


def _sync(path: Path, flag: int) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | flag)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_special(path: Path) -> bool:
    """Whether a path must be written to directly, because no file can be renamed to it.

    That includes ``/dev/stdout``, even if it is redirected to an ordinary file.
    """
    open_files = ("/dev", "/dev/fd", "/proc/self/fd")
    return str(path.absolute().parent) in open_files or (path.exists() and not path.is_file())
