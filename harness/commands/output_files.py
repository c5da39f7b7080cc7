"""Files that commands write: whole or not at all, and never over another one unasked."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from harness.errors import NO_ROOM, MachineError, RequestError


@contextlib.contextmanager
def new_file(path: Path, *, force: bool) -> Iterator[Path]:
    """A path to write to, whose file gets the name ``path`` when all has been written.

    It ends as ``path`` does. What is no ordinary file (a pipe, ``/dev/stdout``) is written to
    as it is.

    Raises:
        RequestError: the file exists (without force), or cannot be written.
        MachineError: there is no room for it.
    """
    if path.is_dir():
        raise RequestError(f"{path}: is a folder", "give a file name")
    special = path.exists() and not path.is_file()
    if path.exists() and not special and not force:
        raise RequestError(
            f"{path}: the file exists", "choose another, or overwrite it with --force"
        )
    unfinished = path if special else path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield unfinished
        if not special:
            unfinished.replace(path)
    except BrokenPipeError:
        raise  # the reader of a pipe has gone: no failure, as on the standard output
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in NO_ROOM:
            raise MachineError(f"{path}: no room to write it ({reason})", "make room") from error
        raise RequestError(
            f"{path}: cannot be written: {reason}", "write to another folder"
        ) from error
    finally:
        if not special:
            with contextlib.suppress(OSError):
                unfinished.unlink(missing_ok=True)
