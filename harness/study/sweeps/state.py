"""What a sweep's folder says of its cells. Nothing else says it: files are the state.

``cell-NNN-MODEL-ID.h5`` is a cell that is done; its partial folder, one that has begun;
``cell-NNN-MODEL-ID.failed.json``, why one failed. A cell is found by its ID, so that a plan may be
extended, and files may come from other machines.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import re
import shutil
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.config.profile import ProfileConfig
from harness.errors import (
    HarnessError,
    ProfileFileError,
    RequestError,
    not_written,
    one_line,
)
from harness.ordinary_files import open_ordinary
from harness.records import SWEEP_CELL
from harness.storage import holders, profile_file, shards
from harness.storage.files import beside
from harness.study.sweeps import variant_files
from harness.study.sweeps.cells import Cell, CellState, Failure
from harness.study.sweeps.fitting import DoesNotFitError, Machine

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
    listed = _listed(folder) if look else {}
    found = [_state(folder, cell, machine, listed) for cell in cells]
    first: dict[str, int] = {}
    # Those done come first: what is there is not measured again for a cell before it.
    for at in sorted(range(len(found)), key=lambda at: found[at].status != "done"):
        found[at] = _unless_same(found[at], first, folder, machine)
    return found


def _unless_same(
    state: CellState, first: dict[str, int], folder: Path, machine: Machine | None
) -> CellState:
    """How far a cell is, or that it is skipped because another one is the same.

    Args:
        state: of the cell.
        first: number of the first cell by what makes two the same; this one is added.
        folder: of the sweep.
        machine: that measures them; None if others do.
    """
    if state.status == "skipped":
        return state
    # Files that hold the same make two cells one: they would fill the same partial folder.
    number = state.cell.number
    same = first.setdefault(state.cell.id, number)
    if same != number:
        reason = f"the same as cell {same}"
        return dataclasses.replace(state, status="skipped", reason=reason, config=None)
    config = state.config
    if config is None and machine is not None:
        with contextlib.suppress(DoesNotFitError):
            config = variant_files.instead(machine.fit(state.cell), state.cell, folder)
    if config is None or not _is_measured_so(state, config):
        return state
    # 1 thread and half of 2 are the same here, and are measured once.
    same = first.setdefault(repr(dataclasses.replace(config, output=None)), number)
    if same == number or state.status != "pending":
        return state
    reason = f"the same as cell {same} on this machine"
    return dataclasses.replace(state, status="skipped", reason=reason, config=None)


def _is_measured_so(state: CellState, config: ProfileConfig) -> bool:
    """Whether a cell is, or is going to be, what this machine makes of it.

    One from another machine may be: all threads there are more, or fewer, than all threads here.
    """
    if state.status == "pending":
        return True
    if state.status == "failed":
        return state.failure is not None and state.failure.host == socket.gethostname()
    asked = json.loads(state.asked)
    session = asked.get("session")
    threads = session.get("intra_threads") if isinstance(session, dict) else None
    here = (config.session.intra_threads, config.affinity, config.instances)
    return (threads, asked.get("affinity"), asked.get("instances")) == here


def state_of(folder: Path, cell: Cell, machine: Machine) -> CellState:
    """How far one cell is."""
    return _state(folder, cell, machine, _listed(folder))


def drop_leftovers(folder: Path, states: Sequence[CellState]) -> None:
    """Removes the partial folders of cells that are done, unless somebody is using them.

    So are those of variants that a kill left unfinished.

    A kill after the profile had its name, and before its partial folder was gone, leaves one: up to
    three times the model.
    """
    variant_files.drop_leftovers(folder)
    done = {one.cell.id for one in states if one.status == "done"}
    with contextlib.suppress(FileNotFoundError):
        for path in folder.iterdir():
            named = _NAME.fullmatch(path.name)
            if named and named[1] in done and named[2] == "h5.partial":
                # Refused where it is held, a link, or no folder; nor may a full disk be in the way.
                with (
                    contextlib.suppress(HarnessError),
                    holders.hold(shards.lock_file(shards.target_of(path)), path),
                    shards.hold(path),
                ):
                    shutil.rmtree(path, ignore_errors=True)


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
            outline = profile_file.read_outline(path)
        except ProfileFileError as error:
            return CellState(cell, "failed", f"{error.message}; delete it and go on", path)
        if outline.facts.get(SWEEP_CELL, cell.id) != cell.id:
            another = f"{path}: is of another cell; delete it and go on"
            return CellState(cell, "failed", another, path)
        if outline.complete:
            return CellState(cell, "done", "", path, asked=outline.config)
        return CellState(cell, "failed", f"{path}: incomplete; delete it and go on", path)
    partial = listed.get((cell.id, "h5.partial"))
    path = folder / cell.file if partial is None else shards.target_of(partial)
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
    """Lets a failed cell be measured again, whatever its numbers were when it failed."""
    with contextlib.suppress(FileNotFoundError):
        for path in list(folder.iterdir()):
            named = _NAME.fullmatch(path.name)
            if named and named.groups() == (cell.id, "failed.json"):
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


def make(folder: Path) -> None:
    """Makes the folder of a sweep, if there is none.

    Raises:
        RequestError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RequestError(
            f"{folder}: cannot be made: {error.strerror}", "choose another `output`"
        ) from error


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keeps a second sweep out of the folder, which is made where there is none.

    Raises:
        shards.HeldError: there is one.
        RequestError: the folder cannot be made or written to.
    """
    make(folder)
    # By the file for all hosts, by the folder where that has no locks of files.
    with holders.hold(folder / _HOLDER, folder), shards.hold(folder):
        yield


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
