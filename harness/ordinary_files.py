"""Opens files whose names others chose: a pipe never blocks, and a device is not read for ever."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def open_ordinary(path: Path) -> int:
    """Descriptor of a file to read, which is ordinary: no pipe, device or folder.

    Links are followed.

    Raises:
        OSError: it cannot be opened, or is something else; ``strerror`` says what.
    """
    # Opening a pipe without O_NONBLOCK waits for a writer; reading a file heeds it not.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        require_ordinary(path, os.fstat(descriptor).st_mode)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def read_ordinary(path: Path) -> bytes:
    """What an ordinary file holds.

    Raises:
        OSError: as ``open_ordinary``.
    """
    with os.fdopen(open_ordinary(path), "rb") as stream:
        return stream.read()


def require_ordinary(path: Path, mode: int) -> None:
    """Refuses what is no ordinary file.

    Args:
        path: for the error.
        mode: ``st_mode``.

    Raises:
        OSError: it is a folder (IsADirectoryError), a pipe or a device.
    """
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "Is a pipe or a device, not a file", str(path))
