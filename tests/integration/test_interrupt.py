"""A profile that ends early keeps every process that had finished, and leaves no worker."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import harness as package

if TYPE_CHECKING:
    from tests.integration.command import Harness

pytest.importorskip("harness.native.ort", reason="the native module is not built")

#: Enough processes that none of the tests sees the last of them end.
MANY = ("--quick", "--processes", "50", "--duration", "0.02", "--trace", "none")

#: Seconds after which what was waited for counts as not happening.
PATIENCE_S = 60

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path, surroundings: dict[str, str]) -> Iterator[Start]:
    """Starts ``harness profile mlp -o out.h5`` in a process group of its own."""
    started: list[subprocess.Popen[str]] = []

    def command(*arguments: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "harness", "profile", "mlp", "-o", "out.h5", *arguments],
            cwd=tmp_path,
            # Were the tests run with AddressSanitizer, it would not let a signal kill.
            env=surroundings
            | {"ASAN_OPTIONS": f"{os.environ.get('ASAN_OPTIONS', '')}:handle_segv=0"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield command
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def end(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=PATIENCE_S)
    return process.returncode, out, err


def wait_until(condition: Callable[[], object], what: str) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s, f"{what} did not happen"
        time.sleep(0.01)


def workers(process: subprocess.Popen[str]) -> dict[int, list[str]]:
    """Command line of each child, by process id."""
    found = {}
    with contextlib.suppress(OSError):
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
        for child in children.split():
            found[int(child)] = Path(f"/proc/{child}/cmdline").read_text().split("\0")
    return found


def wait_for_worker(process: subprocess.Popen[str], *arguments: str) -> int:
    """Process id of the worker started with these arguments, once it is there."""
    wanted = "\0".join(("", *arguments, ""))
    found: list[int] = []

    def is_there() -> bool:
        found.extend(pid for pid, line in workers(process).items() if wanted in "\0".join(line))
        assert found or process.poll() is None, end(process)
        return bool(found)

    wait_until(is_there, f"a worker with {arguments}")
    return found[0]


def memory_map(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/maps").read_text()
    return ""


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


@pytest.mark.parametrize("by", ["Ctrl-C", "SIGTERM"])
def test_interrupted_while_measuring(start: Start, tmp_path: Path, by: str) -> None:
    process = start(*MANY)
    worker = wait_for_worker(process, "--process", "1")
    if by == "Ctrl-C":  # a terminal sends it to the whole group
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.terminate()
    code, out, err = end(process)
    assert (code, out) == (130, "")
    profile = package.read_profile(tmp_path / "out.h5")
    finished = len(profile.processes)
    assert finished in (1, 2)
    plural = "es" if finished > 1 else ""
    assert err.splitlines()[-1] == (
        f"harness: interrupted; {finished} finished process{plural} kept in out.h5"
    )
    assert "Traceback" not in err
    assert not profile.complete
    assert [record.index for record in profile.processes] == list(range(finished))
    assert ("processes", f"{finished} of 50 planned had finished") in profile.absent
    assert names(tmp_path) == ["out.h5"]
    wait_until(lambda: not is_alive(worker), "the end of the worker")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_while_preparing(start: Start, tmp_path: Path, number: int) -> None:
    process = start(*MANY)
    worker = wait_for_worker(process, "-m", "harness.measuring.worker")
    os.killpg(process.pid, number)
    code, out, err = end(process)
    assert (code, out) == (130, "")
    assert err == "loading and trying out mlp\nharness: interrupted\n"
    assert names(tmp_path) == []
    wait_until(lambda: not is_alive(worker), "the end of the worker")


def test_killed_and_recovered(start: Start, harness: Harness, tmp_path: Path) -> None:
    process = start(*MANY, "--duration", "0.5")
    worker = wait_for_worker(process, "--process", "2")
    wait_until(lambda: "libonnxruntime" in memory_map(worker), "opening of ONNX Runtime")
    process.kill()
    process.wait()
    wait_until(lambda: not is_alive(worker), "the end of the worker")
    partial = tmp_path / ".out.h5.partial"
    assert len(list(partial.glob("process-*.shard"))) == 2, "the third died with the command"
    # What workers are told to do and read nobody else may write.
    assert (partial / "work").stat().st_mode & 0o777 == 0o700

    # The same output again would mix two profiles.
    again = harness("profile", "mlp", "-o", "out.h5")
    assert again.returncode == 2
    assert "harness recover .out.h5.partial" in again.stderr
    # It can be looked at where it is.
    assert "median of 2 processes" in harness("show", partial).stdout

    recovered = harness("recover", ".out.h5.partial")
    assert recovered.returncode == 0, recovered.stderr
    assert recovered.stdout.startswith("2 finished processes in ")
    profile = package.read_profile(tmp_path / "out.h5")
    assert [record.index for record in profile.processes] == [0, 1]
    assert not profile.complete
    assert names(tmp_path) == ["out.h5"]


def test_a_worker_that_is_orphaned_before_it_measures_does_not(
    start: Start, tmp_path: Path
) -> None:
    """Its parent is killed while it is still importing."""
    process = start(*MANY)
    worker = wait_for_worker(process, "--process", "1")
    os.kill(worker, signal.SIGSTOP)
    process.kill()
    process.wait()
    shards = list((tmp_path / ".out.h5.partial").glob("process-*.shard"))
    with contextlib.suppress(ProcessLookupError):
        os.kill(worker, signal.SIGCONT)
    wait_until(lambda: not is_alive(worker), "the end of the worker")
    assert list((tmp_path / ".out.h5.partial").glob("process-*.shard")) == shards


def test_a_crashing_worker_is_named_and_the_others_are_kept(start: Start, tmp_path: Path) -> None:
    process = start(*MANY)
    os.kill(wait_for_worker(process, "--process", "1"), signal.SIGSEGV)
    code, out, err = end(process)
    assert (code, out) == (1, "")
    assert "Traceback" not in err
    assert err.splitlines()[-1].startswith(
        "harness: measuring process 1 failed: killed by SIGSEGV; 1 finished process kept in out.h5"
    )
    assert len(package.read_profile(tmp_path / "out.h5").processes) == 1
    assert names(tmp_path) == ["out.h5"]


def test_no_room_for_the_file_keeps_the_shards(
    start: Start, harness: Harness, tmp_path: Path
) -> None:
    process = start("--quick", "--processes", "1", "--duration", "0.02", "--trace", "none")
    wait_for_worker(process, "--process", "0")
    # The worker has its own limit already: only the command fails, when it writes the file.
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
    code, out, err = end(process)
    assert (code, out) == (3, "")
    message = err.splitlines()[-1]
    assert "Traceback" not in err
    assert message.endswith("(make room, then harness recover .out.h5.partial)")
    assert names(tmp_path) == [".out.h5.partial"]

    assert harness("recover", ".out.h5.partial").returncode == 0
    assert package.read_profile(tmp_path / "out.h5").complete
