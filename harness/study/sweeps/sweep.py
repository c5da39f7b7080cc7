"""Measures the cells of a plan, fairly and resumably.

In each round, every cell measures some of its processes, in an order that a seed draws anew: what
the machine does over the hours befalls all cells alike. What is done, and what is missing, the
files in the folder say (``state``), so that a sweep goes on wherever it was cut off.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from harness.errors import (
    HarnessError,
    Interrupted,
    MachineError,
    NoRoomError,
    lacks_room,
)
from harness.measuring import rounds
from harness.measuring.observer import Observer
from harness.measuring.plan import Plan
from harness.measuring.prepared import Preparation
from harness.measuring.profile import interruptible
from harness.records import SWEEP_CELL, Profile, Reading
from harness.storage import profile_file, shards
from harness.study.sweeps import host_lock, state, variant_files
from harness.study.sweeps.cells import Cell, CellState, cells_of
from harness.study.sweeps.estimates import Pace, left_s
from harness.study.sweeps.fitting import Machine
from harness.study.sweeps.plan import SweepPlan

#: Times that processes are measured again because their shards are damaged.
_REPAIRS = 3

#: Why a cell is still pending when a sweep has ended.
LEFT = "left to another command"


class SweepObserver(Observer):
    """Receives the progress of a sweep and ignores it; subclass to show it."""

    def planned(self, states: Sequence[CellState], rounds: int) -> None:
        """The sweep begins, or goes on."""

    def round_begins(self, number: int, rounds: int, left_s: float | None) -> None:
        """The round of this number, from 1; all that is left takes so many seconds."""

    def cell_begins(self, cell: Cell) -> None:
        """Some processes of this cell are measured next."""

    def cell_measured(self, cell: Cell, progress: rounds.Progress | Profile) -> None:
        """They were; the profile, if it is complete."""

    def cell_failed(self, cell: Cell, error: HarnessError) -> None:
        """The cell failed; the others go on."""

    def cell_left(self, cell: Cell, error: HarnessError) -> None:
        """Another command measures the cell; the others go on."""

    def waiting(self) -> None:
        """Another cell is being measured on this host."""


@dataclasses.dataclass(slots=True)
class _Work:
    """A cell that is not done.

    Attributes:
        state: of it, as it was at the beginning.
        pace: of its processes.
        progress: how far it is; None where it has not begun.
        ended: it is done, failed, or left to another command.
        left: to another command.
    """

    state: CellState
    pace: Pace
    progress: rounds.Progress | None
    ended: bool = False
    left: bool = False

    @property
    def processes(self) -> int:
        return self.state.config.process_count if self.state.config else 0


def sweep(
    plan: SweepPlan,
    folder: Path,
    observer: SweepObserver,
    *,
    retry: bool = False,
    machine: Machine | None = None,
) -> list[CellState]:
    """Measures all cells that are not done; returns how far each is at the end.

    Pending is then only what another command was measuring.

    Args:
        plan: what to measure.
        folder: for the profiles; made where there is none.
        observer: receives the progress.
        retry: measure failed cells again.
        machine: this one (tests).

    Raises:
        RequestError: another sweep fills the folder, or it cannot be written to.
        MachineError: there is no room left; or whether other cells are being measured on this
            host cannot be told.
        Interrupted: the user interrupted it; all that was measured is kept.
    """
    machine = machine or Machine()
    cells = cells_of(plan)
    with interruptible(), state.held(folder):
        before = _begun(folder, cells, machine, retry=retry)
        state.drop_leftovers(folder, before)
        works = [
            _Work(one, Pace(), rounds.progress(one.config))
            for one in before
            if one.status == "pending" and one.config is not None
        ]
        number = plan.rounds or max((one.processes for one in works), default=1)
        observer.planned(before, number)
        try:
            _in_rounds(works, plan.seed, number, folder, machine, observer)
        except HarnessError as error:
            raise kept(error, folder, cells, machine) from error
        left = {one.state.cell.number for one in works if one.left}
        return [
            dataclasses.replace(one, reason=LEFT)
            if one.status == "pending" and one.cell.number in left
            else one
            for one in state.states(folder, cells, machine)
        ]


def _begun(
    folder: Path, cells: tuple[Cell, ...], machine: Machine, *, retry: bool
) -> list[CellState]:
    found = state.states(folder, cells, machine)
    failed = [one for one in found if one.failure is not None] if retry else []
    for one in failed:
        state.forget_failure(folder, one.cell)
    return state.states(folder, cells, machine) if failed else found


def _in_rounds(
    works: Sequence[_Work],
    seed: int,
    number: int,
    folder: Path,
    machine: Machine,
    observer: SweepObserver,
) -> None:
    # Those after the last are for processes whose shards prove damaged once all are there.
    for current in range(number + _REPAIRS):
        order = np.random.default_rng([seed, current]).permutation(len(works))
        due = [
            (work, missing)
            for work in (works[at] for at in order)
            if not work.ended and (missing := _due(work, current, number)) > 0
        ]
        if not due:
            continue
        left = [
            (one.state.config, one.progress, one.pace)
            for one in works
            if not one.ended and one.state.config is not None
        ]
        observer.round_begins(min(current + 1, number), number, left_s(left))
        for work, missing in due:
            # Two sweeps on one host, into a folder each, do not disturb each other.
            with host_lock.alone(observer.waiting):
                _measure(work, missing, folder, machine, observer)
    for work in works:
        if not work.ended:
            work.ended, error = True, _lost_again(work.state.file)
            state.record_failure(folder, work.state.cell, error)
            observer.cell_failed(work.state.cell, error)


def _lost_again(file: Path) -> MachineError:
    return MachineError(
        f"{shards.partial_folder(file)}: what was measured is damaged or gone, time after time",
        "check the disk, and that nobody else uses the folder",
    )


def _due(work: _Work, current: int, number: int) -> int:
    """Processes that a cell has not yet measured of those due by the end of a round."""
    current = min(current, number - 1)
    due = -(-work.processes * (current + 1) // number)
    finished = len(work.progress.finished) if work.progress else 0
    # With all its processes there, what is missing is the file.
    last = finished == work.processes and current == number - 1
    return max(due - finished, 1 if last else 0)


class _Timed(Observer):
    """Passes on what a profile tells, and when its preparation was over."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self.prepared_s = time.monotonic()

    def warning(self, text: str) -> None:
        self._observer.warning(text)

    def prepared(self, preparation: Preparation, plan: Plan) -> None:
        self.prepared_s = time.monotonic()
        self._observer.prepared(preparation, plan)


def _measure(
    work: _Work, missing: int, folder: Path, machine: Machine, observer: SweepObserver
) -> None:
    """One turn of a cell."""
    config, cell = work.state.config, work.state.cell
    if config is None:
        return
    observer.cell_begins(cell)
    timed = _Timed(observer)
    before = work.progress.finished if work.progress else frozenset()
    try:
        variant_files.provide(config, cell, timed)
        found = rounds.turn(config, missing, timed, facts=_facts(cell))
    except Interrupted:
        raise
    except HarnessError as error:
        if lacks_room(error):
            raise NoRoomError(
                f"{folder}: no room to go on ({error.message})", "make room there"
            ) from error
        work.ended = True
        now = state.state_of(folder, cell, machine)
        if now.status == "done":  # by another command meanwhile, which was in the way
            observer.cell_measured(cell, profile_file.read_profile(now.file))
            return
        if isinstance(error, shards.HeldError):
            work.left = True
            observer.cell_left(cell, error)
            return
        state.record_failure(folder, cell, error)
        observer.cell_failed(cell, error)
        return
    if isinstance(found, rounds.Progress):
        taken_s = time.monotonic() - timed.prepared_s
        work.pace.measured(found.plan, before, found.finished, taken_s)
        work.progress = found
    else:
        work.ended = True
    observer.cell_measured(cell, found)


def _facts(cell: Cell) -> tuple[Reading, ...]:
    return (Reading(SWEEP_CELL, cell.id, "", "the plan of harness sweep"),)


def kept(
    error: HarnessError, folder: Path, cells: tuple[Cell, ...], machine: Machine | None
) -> HarnessError:
    """The error that ended a sweep, with what is kept and how to go on."""
    found = state.states(folder, cells, machine)
    done = sum(one.status == "done" for one in found)
    begun = sum(one.status == "pending" and bool(one.reason) for one in found)
    more = f", {begun} more begun," if begun else ""
    kept = f"{done} of {len(found)} cells done{more} kept in {folder}"
    remedy = "the same command goes on"
    return type(error)(
        f"{error.message}; {kept}", "; then ".join(filter(None, (error.remedy, remedy)))
    )


def measure_cell(
    cell: Cell,
    folder: Path,
    observer: SweepObserver,
    *,
    retry: bool = False,
    machine: Machine | None = None,
) -> CellState:
    """Measures one cell, all of its processes; returns how far it is at the end.

    For programs that hand out cells: any number of these may fill one folder, from any number of
    hosts. On one host, they wait for each other.

    Args:
        cell: to measure.
        folder: for its profile.
        observer: receives the progress.
        retry: measure it again if it failed.
        machine: this one (tests).

    Raises:
        HarnessError: it failed; that is recorded in the folder.
    """
    machine = machine or Machine()
    state.make(folder)
    with interruptible(), host_lock.alone(observer.waiting):
        if retry:
            state.forget_failure(folder, cell)
        found = state.state_of(folder, cell, machine)
        state.drop_leftovers(folder, [found])
        if found.status != "pending" or found.config is None:
            return found
        observer.cell_begins(cell)
        try:
            variant_files.provide(found.config, cell, observer)
            # Once, unless shards prove damaged.
            for _ in range(1 + _REPAIRS):
                measured = rounds.turn(
                    found.config, found.config.process_count, observer, facts=_facts(cell)
                )
                if not isinstance(measured, rounds.Progress):
                    break
            else:
                raise _lost_again(found.file)
        except Interrupted:
            raise
        except HarnessError as error:
            now = state.state_of(folder, cell, machine)
            if now.status == "done":  # by another command meanwhile, which was in the way
                return now
            if not isinstance(error, shards.HeldError) and not lacks_room(error):
                state.record_failure(folder, cell, error)
            raise
        observer.cell_measured(cell, measured)
        return state.state_of(folder, cell, machine)
