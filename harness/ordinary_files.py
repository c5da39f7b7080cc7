"""Opens files named by others safely: no pipe blocks, and no device is read endlessly."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def open_ordinary(path: Path) -> int:
    """Opens a regular file for reading, not a pipe, device or folder; returns its descriptor.

    Symbolic links are followed.

    Raises:
        OSError: it cannot be opened, or is not a regular file; ``strerror`` says what it is.
    """
    # Without O_NONBLOCK, opening a pipe waits for a writer; a regular file ignores the flag.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        require_ordinary(path, os.fstat(descriptor).st_mode)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def read_ordinary(path: Path) -> bytes:
    """The contents of a regular file.

    Raises:
        OSError: as ``open_ordinary``.
    """
    with os.fdopen(open_ordinary(path), "rb") as stream:
        return stream.read()


def require_ordinary(path: Path, mode: int) -> None:
    """Refuses anything but a regular file.

    Args:
        path: named in the error.
        mode: its ``st_mode``.

    Raises:
        OSError: it is a folder (IsADirectoryError), a pipe or a device.
    """
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "Is a pipe or a device, not a file", str(path))
