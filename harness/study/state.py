"""What a sweep's folder says of its cells. Nothing else says it: files are the state.

``cell-NNN-MODEL-ID.h5`` is a cell that is done; its partial folder, one that has begun;
``cell-NNN-MODEL-ID.failed.json``, why one failed. A cell is found by its ID, so that a plan may be
extended, and files may come from other machines.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import fcntl
import json
import os
import re
import socket
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.config.profile import ProfileConfig
from harness.errors import (
    HarnessError,
    MachineError,
    ProfileFileError,
    RequestError,
    not_written,
    one_line,
)
from harness.ordinary_files import open_ordinary
from harness.storage import profile_file, shards
from harness.storage.files import beside
from harness.study import variant_files
from harness.study.cells import Cell, CellState, Failure
from harness.study.fitting import DoesNotFitError, Machine

#: Who is filling the folder.
_HOLDER = ".harness-sweep.json"

#: Files and folders of a cell.
_NAME = re.compile(r"\.?cell-\d+-.*-([0-9a-f]+)\.(h5|h5\.partial|failed\.json)", re.ASCII)

#: Most bytes that are read of a small file here.
_MOST_BYTES = 65_536


def states(
    folder: Path, cells: tuple[Cell, ...], machine: Machine | None, *, look: bool = True
) -> list[CellState]:
    """How far each cell is.

    A cell that is done or failed is so wherever that happened; only others must fit this machine.

    Args:
        folder: of the sweep.
        cells: of its plan.
        machine: this one; None if others measure: then all cells fit.
        look: at the folder; if not, no cell has begun.
    """
    found: list[CellState] = []
    same: dict[str, int] = {}
    listed = _listed(folder) if look else {}
    for cell in cells:
        state = _state(folder, cell, machine, listed)
        if state.status == "pending" and state.config is not None:
            # 1 thread and half of 2 are the same here, and are measured once.
            told = repr(dataclasses.replace(state.config, output=None))
            first = same.setdefault(told, cell.number)
            if first != cell.number:
                reason = f"the same as cell {first} on this machine"
                state = dataclasses.replace(state, status="skipped", reason=reason, config=None)
        elif state.status == "done" and machine is not None:
            with contextlib.suppress(DoesNotFitError):
                same.setdefault(repr(machine.fit(cell)), cell.number)
        found.append(state)
    return found


def state_of(folder: Path, cell: Cell, machine: Machine) -> CellState:
    """How far one cell is."""
    return _state(folder, cell, machine, _listed(folder))


#: Paths by the ID of a cell and what they are: ``h5``, ``h5.partial``, ``failed.json``.
_Listed = Mapping[tuple[str, str], Path]


def _listed(folder: Path) -> _Listed:
    """What the folder holds of cells, whatever their numbers were in the plans that made them."""
    listed = {}
    with contextlib.suppress(FileNotFoundError):
        for path in sorted(folder.iterdir()):
            if named := _NAME.fullmatch(path.name):
                listed[named[1], named[2]] = path
    return listed


def _state(folder: Path, cell: Cell, machine: Machine | None, listed: _Listed) -> CellState:
    path = listed.get((cell.id, "h5"))
    if path is not None:
        try:
            complete = profile_file.read_outline(path).complete
        except ProfileFileError as error:
            return CellState(cell, "failed", f"{error.message}; delete it and go on", path)
        if complete:
            return CellState(cell, "done", "", path)
        return CellState(cell, "failed", f"{path}: incomplete; delete it and go on", path)
    partial = listed.get((cell.id, "h5.partial"))
    path = folder / cell.file
    if partial is not None:
        path = folder / partial.name.removeprefix(".").removesuffix(".partial")
    config = None
    if machine is not None:
        try:
            fitting = dataclasses.replace(machine.fit(cell), output=path)
            config = variant_files.instead(fitting, cell, folder)
        except DoesNotFitError as error:
            state = CellState(cell, "skipped", one_line(str(error)), path)
        else:
            begun = "" if partial is None else _begun(path, config)
            state = CellState(cell, "pending", begun, path, config)
    else:
        state = CellState(cell, "pending", "", path)
    failure = _failure(listed.get((cell.id, "failed.json")))
    if failure is None:
        return state
    return CellState(cell, "failed", failure.message, path, config, failure)


def _begun(path: Path, config: ProfileConfig) -> str:
    finished = shards.finished(shards.partial_folder(path))
    return f"{finished} of {config.process_count} processes" if finished else ""


# Failures


def record_failure(folder: Path, cell: Cell, error: HarnessError, host: str = "") -> Failure:
    """Leaves why a cell failed.

    Args:
        folder: of the sweep.
        cell: that failed.
        error: the reason.
        host: where; by default here.

    Raises:
        HarnessError: it cannot be written.
    """
    failure = Failure(
        error.kind,
        one_line(error.message),
        one_line(error.remedy),
        error.exit_code,
        host or socket.gethostname(),
        _now(),
    )
    path = folder / f"{Path(cell.file).stem}.failed.json"
    _write(path, dataclasses.asdict(failure))
    return failure


def forget_failure(folder: Path, cell: Cell) -> None:
    """Lets a failed cell be measured again."""
    path = _listed(folder).get((cell.id, "failed.json"))
    if path is not None:
        path.unlink(missing_ok=True)


def _failure(path: Path | None) -> Failure | None:
    if path is None:
        return None
    told = _read(path)
    texts = {name: told.get(name) for name in ("kind", "message", "remedy", "host", "when")}
    plain = {
        name: one_line(value) if isinstance(value, str) else "" for name, value in texts.items()
    }
    code = told.get("exit_code")
    return Failure(
        **(plain | {"message": plain["message"] or f"{path}: does not say why"}),
        exit_code=code if isinstance(code, int) and 0 < code < 256 else 1,
    )


# Locks


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keeps a second sweep out of the folder, which is made where there is none.

    Raises:
        RequestError: there is one; or the folder cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RequestError(
            f"{folder}: cannot be made: {error.strerror}", "choose another `output`"
        ) from error
    with contextlib.ExitStack() as lock:
        try:
            lock.enter_context(shards.hold(folder))
        except RequestError as error:
            if not shards.is_held(folder):
                raise
            raise RequestError(
                f"{folder}: {_holder(folder)} is measuring into it",
                "wait until that has ended, or choose another `output`",
            ) from error
        told = {"process": os.getpid(), "host": socket.gethostname(), "since": _now()}
        _write(folder / _HOLDER, told)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                (folder / _HOLDER).unlink()


def _holder(folder: Path) -> str:
    """Who holds the folder, as far as is known."""
    told = _read(folder / _HOLDER)
    process, host, since = (told.get(name) for name in ("process", "host", "since"))
    if not isinstance(process, int) or not isinstance(host, str) or not isinstance(since, str):
        return "another sweep"
    return one_line(f"process {process} on {host}, since {since},", 120)


@contextlib.contextmanager
def alone_on_the_host(on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Waits until no other cell of this user is measured on this host, and keeps others waiting.

    The lock is a file in the folder for temporary files; it ends with the process.

    Args:
        on_wait: called if there is something to wait for.

    Raises:
        MachineError: the file belongs to somebody else, or cannot be made.
    """
    path = Path(tempfile.gettempdir()) / f"harness-{os.geteuid()}.lock"
    flags = os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o600)
    except OSError as error:
        raise MachineError(
            f"{path}: cannot be locked: {error.strerror}", "remove it, or set TMPDIR"
        ) from error
    try:
        state = os.fstat(descriptor)
        if state.st_uid != os.geteuid() or not stat.S_ISREG(state.st_mode):
            raise MachineError(
                f"{path}: belongs to another user", "set TMPDIR to a folder of yours"
            )
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def is_full(folder: Path) -> bool:
    """Whether not even a small profile can be written there."""
    try:
        with (
            beside(folder / ".harness-room") as probe,
            open(probe, "wb") as stream,  # noqa: PTH123  # for its descriptor
        ):
            os.posix_fallocate(stream.fileno(), 0, 4 << 20)
        (folder / ".harness-room").unlink()
    except OSError:
        return True
    return False


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _write(path: Path, content: dict[str, Any]) -> None:
    try:
        with beside(path) as unfinished:
            unfinished.write_text(json.dumps(content), encoding="utf-8")
    except OSError as error:
        raise not_written(path, error) from error


def _read(path: Path) -> dict[str, Any]:
    """The object in a small file; empty where there is none."""
    try:
        with open(open_ordinary(path), "rb") as stream:  # noqa: PTH123  # a descriptor
            content = json.loads(stream.read(_MOST_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
