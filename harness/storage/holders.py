"""Files that say who holds something: by their lock that somebody does, by their content who.

The lock ends with its holder, however that ends, and with the holder's host. The file is a regular
one that is opened for writing: so its lock holds for all hosts that share a folder over NFS, where
Linux makes it a lock of the server (flock(2)); that of a folder holds on one host only. On a file
system without locks there are none.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from harness.errors import not_written, one_line
from harness.ordinary_files import require_ordinary
from harness.storage.shards import HeldError, try_lock

#: Most bytes that are read of such a file.
_MOST_BYTES = 4096


@contextlib.contextmanager
def hold(path: Path, what: Path) -> Iterator[None]:
    """Holds a file, which is made where there is none, and removed at the end.

    Args:
        path: of the file; its folder must exist.
        what: is held by that, for the error.

    Raises:
        HeldError: somebody else does, who is named.
        RequestError: it cannot be made or opened, is a link, has another name, or is no file.
        MachineError: there is no room for it.
    """
    while True:
        try:
            descriptor = _opened(path)
        except OSError as error:
            raise not_written(path, error) from error
        try:
            if not try_lock(descriptor):
                raise HeldError(
                    f"{what}: {_holder(descriptor)} is measuring into it",
                    "wait until that has ended, or choose another `output`",
                )
            if not is_at(path, descriptor):
                continue  # its holder removed it meanwhile: others would lock another file
            _tell(descriptor)
            try:
                yield
            finally:
                with contextlib.suppress(OSError):
                    path.unlink()
            return
        finally:
            os.close(descriptor)


def is_at(path: Path, descriptor: int) -> bool:
    """Whether a file that was opened is still the one of this name."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except OSError:
        return False


def _opened(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o666)
    try:
        state = os.fstat(descriptor)
        require_ordinary(path, state.st_mode)
        if state.st_nlink > 1:  # what is written would be in a file of another name, too
            raise OSError(errno.EMLINK, "Has another name (a hard link)", str(path))
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _tell(descriptor: int) -> None:
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    told = {"process": os.getpid(), "host": socket.gethostname(), "since": now}
    # The lock is what counts: on a full disk, nobody is named.
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(told).encode(), 0)


def _holder(descriptor: int) -> str:
    """Who holds a file, as far as is known."""
    try:
        told = json.loads(os.pread(descriptor, _MOST_BYTES, 0))
        process, host, since = (told[name] for name in ("process", "host", "since"))
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return "another command"
    if not isinstance(process, int) or not isinstance(host, str) or not isinstance(since, str):
        return "another command"
    return one_line(f"process {process} on {host}, since {since},", 120)
