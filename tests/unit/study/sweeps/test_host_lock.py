"""One cell at a time on a host: by one file for everybody, and by turns."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import MachineError
from harness.study.sweeps import host_lock

#: Waits, and says so.
WAIT = """
from harness.study.sweeps import host_lock
with host_lock.alone(lambda: print("waits", flush=True)): print("alone", flush=True)
"""


@pytest.fixture(autouse=True)
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(host_lock.VARIABLE, str(tmp_path / "lock"))
    return tmp_path / "lock"


@pytest.mark.parametrize("name", ["/", ".", "..", "./"])
def test_a_folder_in_place_of_the_file_is_refused_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    (tmp_path / "in").mkdir()
    monkeypatch.chdir(tmp_path / "in")
    monkeypatch.setenv(host_lock.VARIABLE, name)
    with pytest.raises(MachineError, match="cannot be locked: not a file") as caught:
        host_lock.alone().__enter__()
    assert caught.value.remedy.startswith("name another file")


def other() -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", WAIT], stdout=subprocess.PIPE, text=True)


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_cells_of_one_host_wait_for_each_other(lock: Path) -> None:
    with host_lock.alone(pytest.fail):
        child = other()
        assert line(child) == "waits"
    assert child.communicate(timeout=60)[0] == "alone\n"
    # Another user can lock it, whatever the umask of the first.
    assert lock.stat().st_mode & 0o777 == 0o644


def test_the_file_is_that_of_the_host_whatever_the_folder_for_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(host_lock.VARIABLE)
    first = host_lock.path()
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert host_lock.path() == first
    assert str(first) in ("/run/lock/harness.lock", "/tmp/harness.lock")
    monkeypatch.setattr(host_lock, "_LOCKS", tmp_path)  # open to its owner only
    assert host_lock.path() == Path("/tmp/harness.lock")
    tmp_path.chmod(0o1777)
    assert host_lock.path() == tmp_path / "harness.lock"


def test_a_strict_umask_and_a_file_of_another_user_are_no_hindrance(lock: Path) -> None:
    before = os.umask(0o077)
    try:
        with host_lock.alone():
            pass
    finally:
        os.umask(before)
    assert lock.stat().st_mode & 0o777 == 0o644
    lock.chmod(0o444)  # as little as what a file of root's allows others
    with host_lock.alone():
        pass
    assert sorted(path.name for path in lock.parent.iterdir()) == ["lock", "lock.next"]


def test_who_has_just_measured_comes_after_those_that_wait() -> None:
    with host_lock.alone():
        child = other()
        assert line(child) == "waits"
    with host_lock.alone():
        # The other was before, and has ended or is about to: with us before, it would wait.
        assert child.communicate(timeout=60)[0] == "alone\n"


def test_a_file_that_was_removed_is_no_lock(lock: Path) -> None:
    with host_lock.alone():
        child = other()
        assert line(child) == "waits"
        lock.unlink()
    assert child.communicate(timeout=60)[0] == "alone\n"
    assert lock.exists()


@pytest.mark.parametrize("name", ["lock", "lock.next"])
def test_links_and_what_is_no_file_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    target = tmp_path / "target"
    for there in (True, False):
        path.symlink_to(target)
        if there:
            target.touch()
        with pytest.raises(MachineError, match=r"cannot be locked: .*links"), host_lock.alone():
            pass
        target.unlink(missing_ok=True)
        path.unlink()
    for make in (os.mkfifo, os.mkdir):
        make(path)
        with pytest.raises(MachineError, match="cannot be locked: not a file"), host_lock.alone():
            pass
        path.rmdir() if path.is_dir() else path.unlink()
