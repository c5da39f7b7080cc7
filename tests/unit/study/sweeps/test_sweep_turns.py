"""What a sweep does about cells that others measure, that fail, and that are damaged."""

from __future__ import annotations

import errno
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("harness.native.ort", reason="the native module is not built")

from harness.errors import (
    HarnessError,
    Interrupted,
    MachineError,
    NoRoomError,
    RequestError,
    not_written,
)
from harness.measuring import rounds
from harness.measuring.plan import Plan
from harness.options import words
from harness.storage import profile_file, shards
from harness.storage.profile_file import read_profile
from harness.study.sweeps import state
from harness.study.sweeps.cells import Cell, CellState, cells_of
from harness.study.sweeps.fitting import Machine
from harness.study.sweeps.plan import SweepPlan, read_plan
from harness.study.sweeps.sweep import SweepObserver, measure_cell, sweep

GOLDEN = Path(__file__).parents[3] / "golden" / "profile_v1.h5"

Turn = Callable[..., Any]


class Seen(SweepObserver):
    """Keeps what became of cells."""

    def __init__(self) -> None:
        self.done: list[int] = []
        self.failed: list[tuple[int, str]] = []

    def cell_measured(self, cell: Cell, progress: object) -> None:
        if not isinstance(progress, rounds.Progress):
            self.done.append(cell.number)

    def cell_failed(self, cell: Cell, error: HarnessError) -> None:
        self.failed.append((cell.number, error.message))


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
def plan() -> SweepPlan:
    """One cell of two processes."""
    common = {"processes": 2, "duration_s": 0.02, "quick": True, "trace": "none"}
    return read_plan(None, words(), [("model", ["mlp"])], common)


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> Callable[[Turn], None]:
    """Lets something else take the turns of cells."""
    return lambda turn: monkeypatch.setattr(rounds, "turn", turn)


def measured_by(
    way: str, plan: SweepPlan, folder: Path, seen: Seen
) -> tuple[CellState | None, HarnessError | None]:
    """How the cell is then, and how the sweep ended, or the command of the cell alone."""
    error = None
    try:
        if way == "sweep":
            (found,) = sweep(plan, folder, seen)
            return found, None
        return measure_cell(cells_of(plan)[0], folder, seen), None
    except HarnessError as raised:
        error = raised
    return None, error


WAYS = pytest.mark.parametrize("way", ["sweep", "cell"])


@WAYS
def test_a_cell_that_another_command_measures_has_not_failed(
    tmp_path: Path, plan: SweepPlan, seen: Seen, turns: Callable[[Turn], None], way: str
) -> None:
    def turn(*_: object, **__: object) -> None:
        # The other one has ended by the time that anybody could look.
        raise shards.HeldError("the profile that writes it is still running")

    turns(turn)
    found, error = measured_by(way, plan, tmp_path, seen)
    assert isinstance(error, shards.HeldError) or (found is not None and found.status == "pending")
    assert not list(tmp_path.glob("*.failed.json"))


@WAYS
def test_a_cell_that_another_command_has_finished_is_done(
    tmp_path: Path, plan: SweepPlan, seen: Seen, turns: Callable[[Turn], None], way: str
) -> None:
    def turn(*_: object, **__: object) -> None:
        shutil.copy(GOLDEN, tmp_path / cells_of(plan)[0].file)
        raise RequestError("the file exists")

    turns(turn)
    found, error = measured_by(way, plan, tmp_path, seen)
    assert error is None
    assert found is not None
    assert found.status == "done"
    assert not seen.failed
    assert not list(tmp_path.glob("*.failed.json"))


@WAYS
def test_what_a_kill_left_of_a_cell_that_is_done_is_removed(
    tmp_path: Path, plan: SweepPlan, seen: Seen, way: str
) -> None:
    cell = cells_of(plan)[0]
    shutil.copy(GOLDEN, tmp_path / cell.file)
    names = [f".cell-{number:03d}-mlp-{cell.id}.h5.partial" for number in (1, 7, 8)]
    other = f".cell-001-mlp-{cell.id[::-1]}.h5.partial"
    for name in (*names, other):
        (tmp_path / name / "work").mkdir(parents=True)
        (tmp_path / name / shards.file_name(0)).touch()
    with shards.hold(tmp_path / names[2]):
        found, error = measured_by(way, plan, tmp_path, seen)
    assert error is None
    assert found is not None
    assert found.status == "done"
    left = sorted(path.name for path in tmp_path.glob(".*partial"))
    assert left == sorted([names[2], other])


@WAYS
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_a_profile_is_stored_ends_the_sweep_after_it(
    tmp_path: Path,
    plan: SweepPlan,
    seen: Seen,
    monkeypatch: pytest.MonkeyPatch,
    way: str,
    number: int,
) -> None:
    write = profile_file.write_profile

    def interrupted(*arguments: Any, **more: Any) -> Any:
        signal.raise_signal(number)
        return write(*arguments, **more)

    monkeypatch.setattr(profile_file, "write_profile", interrupted)
    _, error = measured_by(way, plan, tmp_path, seen)
    assert isinstance(error, Interrupted)
    if way == "sweep":
        assert "1 of 1 cells done kept" in error.message
    assert state.state_of(tmp_path, cells_of(plan)[0], Machine()).status == "done"


@WAYS
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_an_error_for_want_of_room_blames_no_cell(
    tmp_path: Path,
    plan: SweepPlan,
    seen: Seen,
    turns: Callable[[Turn], None],
    way: str,
    number: int,
) -> None:
    def turn(*_: object, **__: object) -> None:
        # What took the room has gone again, and there is plenty.
        cause = OSError(number, "whatever")
        raise MachineError("it did not work") from not_written(tmp_path / "a", cause)

    turns(turn)
    _, error = measured_by(way, plan, tmp_path, seen)
    assert isinstance(error, MachineError)
    assert isinstance(error, NoRoomError) or way == "cell"
    assert not list(tmp_path.glob("*.failed.json"))


@WAYS
@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.EIO])
def test_another_error_of_the_system_is_the_failure_of_its_cell(
    tmp_path: Path,
    plan: SweepPlan,
    seen: Seen,
    turns: Callable[[Turn], None],
    way: str,
    number: int,
) -> None:
    def turn(*_: object, **__: object) -> None:
        raise not_written(tmp_path / "a", OSError(number, "whatever"))

    turns(turn)
    found, error = measured_by(way, plan, tmp_path, seen)
    assert isinstance(error, RequestError) or (found is not None and found.status == "failed")
    assert len(list(tmp_path.glob("*.failed.json"))) == 1


@WAYS
def test_processes_whose_shards_are_damaged_are_measured_again(
    tmp_path: Path, plan: SweepPlan, seen: Seen, turns: Callable[[Turn], None], way: str
) -> None:
    take, damaged = rounds.turn, []

    def turn(config: Any, *arguments: Any, **more: Any) -> Any:
        shard = shards.partial_folder(config.output) / shards.file_name(0)
        if shard.exists() and not damaged:
            shard.write_bytes(b"noise")
            damaged.append(shard)
        elif way == "cell" and not damaged:
            take(config, 1, *arguments[1:], **more)
            shard.write_bytes(b"noise")
            damaged.append(shard)
        return take(config, *arguments, **more)

    turns(turn)
    found, error = measured_by(way, plan, tmp_path, seen)
    assert error is None
    assert found is not None
    assert found.status == "done"
    assert damaged
    assert [one.index for one in read_profile(found.file).processes] == [0, 1]


@WAYS
def test_a_cell_whose_processes_never_stay_fails_at_last(
    tmp_path: Path, plan: SweepPlan, seen: Seen, turns: Callable[[Turn], None], way: str
) -> None:
    taken: list[int] = []

    def turn(*_: object, **__: object) -> rounds.Progress:
        taken.append(1)
        time = Plan(2, 1, 1, 1, 1000, frozenset(), frozenset(), 0, 0, 0, 0, 0, 0, None)
        return rounds.Progress(frozenset(), time)

    turns(turn)
    found, error = measured_by(way, plan, tmp_path, seen)
    assert error is not None or (found is not None and found.status == "failed")
    told = list(tmp_path.glob("*.failed.json"))
    assert len(told) == 1
    assert "damaged or gone" in told[0].read_text()
    assert len(taken) < 10
