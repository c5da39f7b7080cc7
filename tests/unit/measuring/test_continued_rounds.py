"""A profile by turns: what goes on, what begins again, and what is told of that."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("harness.native.ort", reason="the native module is not built")

from harness.config.profile import ProfileConfig
from harness.errors import HarnessError, MachineError, NoRoomError
from harness.measuring import rounds
from harness.measuring.observer import Observer
from harness.records import Profile
from harness.storage import shards


class Told(Observer):
    """Keeps the warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warning(self, text: str) -> None:
        self.warnings.append(text)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProfileConfig:
    """A profile of two processes, one of which has been measured, by relative paths."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").mkdir()
    config = ProfileConfig(
        model="mlp", processes=2, duration_s=0.02, trace=(), quick=True, output=Path("results/a.h5")
    )
    found = rounds.turn(config, 1, Observer())
    assert isinstance(found, rounds.Progress)
    assert found.finished == {0}
    return config


def test_how_the_output_is_written_and_where_a_turn_runs_changes_nothing(
    tmp_path: Path, begun: ProfileConfig, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "results")
    monkeypatch.chdir(tmp_path / "elsewhere")
    for output in (tmp_path / "results/a.h5", Path("../results/a.h5"), tmp_path / "link/a.h5"):
        far = rounds.progress(dataclasses.replace(begun, output=output))
        assert far is not None
        assert far.finished == {0}
    asked = dataclasses.replace(begun, output=tmp_path / "results/a.h5")
    profile = rounds.turn(asked, 2, told)
    assert isinstance(profile, Profile)
    assert (len(profile.processes), told.warnings) == (2, [])
    assert not list(tmp_path.glob("results/.*"))


def test_what_another_host_is_measuring_is_left_alone(begun: ProfileConfig, told: Told) -> None:
    # The locks of folders are of one host; the other one's boot is another.
    turn = Path("results/.a.h5.partial/work/rounds.json")
    left = json.loads(turn.read_text())
    left[0] = json.dumps(json.loads(left[0]) | {"boot": "another"}, sort_keys=True)
    turn.write_text(json.dumps(left))
    hold = "import fcntl, sys, time; held = open(sys.argv[1], 'r+'); fcntl.flock(held, 2)\n"
    hold += "print(1, flush=True); time.sleep(100)"
    lock = Path("results/.a.h5.lock")
    lock.write_text(json.dumps({"process": 7, "host": "node-7", "since": "2026-01-01"}))
    with subprocess.Popen([sys.executable, "-c", hold, str(lock)], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.read(1)
        with pytest.raises(shards.HeldError, match="process 7 on node-7, since 2026-01-01"):
            rounds.turn(begun, 1, told)
        other.kill()
    assert (turn.exists(), told.warnings) == (True, [])
    assert Path("results/.a.h5.partial/process-000.shard").exists()
    rounds.turn(begun, 1, told)
    assert "the machine was booted since, or is another" in told.warnings[0]
    assert not lock.exists()


def test_a_damaged_process_is_named_and_measured_again(begun: ProfileConfig, told: Told) -> None:
    Path("results/.a.h5.partial/process-000.shard").write_bytes(b"noise")
    found = rounds.turn(begun, 2, told)
    assert isinstance(found, rounds.Progress)
    assert found.finished == {1}
    (warning,) = told.warnings
    assert warning.startswith("process-000.shard is damaged and dropped: BadZipFile")
    assert isinstance(rounds.turn(begun, 2, told), Profile)


@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.ENOSPC, NoRoomError), (errno.EIO, MachineError), (errno.EROFS, MachineError)],
)
def test_what_the_system_refuses_is_an_error_of_the_profile(
    begun: ProfileConfig, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[HarnessError]
) -> None:
    def refused(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    for config in (begun, dataclasses.replace(begun, output=Path("results/new.h5"))):
        with monkeypatch.context() as patch:
            patch.setattr(rounds.Job, "write", refused)
            with pytest.raises(MachineError) as raised:
                rounds.turn(config, 1, Observer())
        assert type(raised.value) is kind
    far = rounds.progress(begun)
    assert far is not None
    assert far.finished == {0}
    assert [path.name for path in Path("results").iterdir()] == [".a.h5.partial"]


def test_what_cannot_go_on_is_dropped_with_the_reason(begun: ProfileConfig, told: Told) -> None:
    other = dataclasses.replace(begun, duration_s=0.03)
    assert rounds.progress(other) is None
    rounds.turn(other, 1, told)
    assert told.warnings == ["1 finished process is dropped: the request is another"]
    turn = Path("results/.a.h5.partial/work/rounds.json")
    left = json.loads(turn.read_text())
    then = json.loads(left[0])
    left[0] = json.dumps(then | {"boot": "another", "harness": "0"}, sort_keys=True)
    turn.write_text(json.dumps(left))
    rounds.turn(other, 1, told)
    assert told.warnings[1] == (
        "1 finished process is dropped: harness has another version; "
        "the machine was booted since, or is another"
    )
    turn.unlink()
    rounds.turn(other, 1, told)
    assert told.warnings[2].startswith("1 finished process is dropped: what the turn before left")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("rounds.json", "pipe"),
        ("rounds.json", "deep"),
        ("rounds.json", "text"),
        ("job.json", "pipe"),
        ("job.json", "deep"),
    ],
)
def test_strange_files_in_its_folder_make_a_profile_begin_again(
    begun: ProfileConfig, told: Told, name: str, kind: str
) -> None:
    path = Path("results/.a.h5.partial/work", name)
    left = json.loads(path.read_text())
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "deep":
        path.write_text("[" * 100_000)
    else:  # JSON that is a text in JSON
        path.write_text(json.dumps(["[" * 100_000, *left[1:]]))
    if name == "rounds.json":
        assert rounds.progress(begun) is None
    rounds.turn(begun, 1, told)
    assert told.warnings[0].startswith("1 finished process is dropped: what the turn before left")


def test_arrays_that_are_a_pipe_are_not_waited_for(begun: ProfileConfig, told: Told) -> None:
    work = Path("results/.a.h5.partial/work")
    arrays = next(work.glob("*.npz"))
    arrays.unlink()
    os.mkfifo(arrays)
    rounds.turn(begun, 1, told)
    assert told.warnings[0].startswith("1 finished process is dropped: what the turn before left")
