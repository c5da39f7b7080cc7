"""Lets one cell at a time be measured on a host, whoever measures it, by turns.

There are two locks on files. Who measures holds that of "now"; who is next, that of "next", while
waiting for "now". So a command that has just measured comes after all that wait: by one lock alone,
it would have it again before they wake.

The files are the same for all users and for any TMPDIR (those of Slurm's jobs and of systemd's
PrivateTmp are folders of their own). They are opened for reading, which locking takes no more than:
where the folder is sticky, fs.protected_regular forbids opening others' files with O_CREAT.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from harness.errors import MachineError
from harness.storage import holders

#: Names another file than that of the host, for all commands that are to take turns.
VARIABLE = "HARNESS_LOCK"

#: Emptied at boot only, where there is one; not open to all users everywhere.
_LOCKS = Path("/run/lock")
_TEMPORARY = Path("/tmp")  # not that of TMPDIR


def path() -> Path:
    """The file whose lock is held while a cell is measured."""
    given = os.environ.get(VARIABLE)
    if given:
        return Path(given)
    folder = _LOCKS if _is_open_to_all(_LOCKS) else _TEMPORARY
    return folder / "harness.lock"


@contextlib.contextmanager
def alone(on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Waits until no other cell is measured on this host, and keeps others waiting.

    The locks end with the process.

    Args:
        on_wait: called once if there is something to wait for.

    Raises:
        MachineError: a file is a link, is no file, cannot be opened or made.
    """
    said = False

    def wait() -> None:
        nonlocal said
        if not said:
            said = True
            on_wait()

    now = path()
    if not now.name:  # "/" or "."
        raise _unusable(now, "not a file")
    with contextlib.ExitStack() as held:
        with _locked(now.with_name(f"{now.name}.next"), wait):
            held.enter_context(_locked(now, wait))
        yield


@contextlib.contextmanager
def _locked(file: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Holds the lock on the file of this name."""
    while True:
        descriptor = _opened(file)
        try:
            _lock(file, descriptor, on_wait)
            # Somebody may have removed it meanwhile: others would lock another file.
            if holders.is_at(file, descriptor):
                yield
                return
        finally:
            os.close(descriptor)


def _lock(file: Path, descriptor: int, on_wait: Callable[[], None]) -> None:
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:
        raise _unusable(file, error.strerror) from error


def _opened(file: Path) -> int:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        try:
            descriptor = os.open(file, flags)
        except FileNotFoundError:
            _make(file)
            descriptor = os.open(file, flags)
    except OSError as error:
        raise _unusable(file, error.strerror) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _unusable(file, "not a file")
    return descriptor


def _make(file: Path) -> None:
    """Makes the file so that it is readable by all users from the moment that it has its name."""
    token = file.with_name(f".{file.name}-{secrets.token_hex(8)}")
    exclusive = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(token, exclusive, 0o644)
    try:
        os.fchmod(descriptor, 0o644)  # whatever the umask
        with contextlib.suppress(FileExistsError):  # another command was faster
            os.link(token, file)
    finally:
        os.close(descriptor)
        token.unlink()


def _is_open_to_all(folder: Path) -> bool:
    try:
        mode = folder.stat().st_mode
    except OSError:
        return False
    return stat.S_ISDIR(mode) and bool(mode & stat.S_IWOTH)


def _unusable(file: Path, reason: str | None) -> MachineError:
    name_another = f"name another file for all sweeps of this host by {VARIABLE}"
    # Nobody is told to remove "/".
    remedy = name_another if file.is_dir() else f"remove it, or {name_another}"
    return MachineError(f"{file}: cannot be locked: {reason}", remedy)
