"""Sessions side by side: what a group measures, and what becomes of it when an instance dies."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import harness as package
from harness.analysis.instances import LEAST_INFERENCES

if TYPE_CHECKING:
    from harness.records import Instances, Profile
    from tests.integration.command import Harness

pytest.importorskip("harness.native.ort", reason="the native module is not built")

SHORT = ("--quick", "--processes", "2", "--duration", "0.05")

#: Seconds after which what was waited for counts as not happening.
PATIENCE_S = 60


def profiled(harness: Harness, tmp_path: Path, *arguments: str) -> tuple[Profile, dict[str, Any]]:
    """A profile of mlp, and the throughput that it tells."""
    ran = harness("profile", "mlp", *SHORT, "--json", "-o", "out.h5", *arguments)
    assert ran.returncode == 0, ran.stderr
    return package.read_profile(tmp_path / "out.h5"), json.loads(ran.stdout)["throughput"]


def table(profile: Profile) -> Instances:
    assert profile.instances is not None
    return profile.instances


def test_instances_share_a_window_on_cpus_and_memory_of_their_own(
    harness: Harness, tmp_path: Path
) -> None:
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        pytest.skip("one CPU: two instances have none of their own")
    profile, told = profiled(harness, tmp_path, "--instances", "2", "--memory", "interleave")
    rows = table(profile)
    common = rows.alone == 0
    assert told["instances"] == 2
    assert told["groups"] == len(profile.processes) == 2
    # Read back from the kernel, not from the request.
    assert {rows.cpus[row] for row in np.flatnonzero(common & (rows.instance == 0))} != {
        rows.cpus[row] for row in np.flatnonzero(common & (rows.instance == 1))
    }
    assert all(not told or told.startswith("interleave") for told in rows.memory)
    for process in profile.processes:
        mine = common & (rows.process == process.index)
        # The instances' inferences are the group's, each wholly inside the window.
        assert rows.inferences[mine].sum() == len(process.steady)
        assert rows.inferences[mine].min() >= LEAST_INFERENCES
        for row in np.flatnonzero(mine):
            own = process.caller == rows.caller[row]
            start_ns, took_ns = process.steady.start_ns[own], process.steady.duration_ns[own]
            assert start_ns[0] == rows.start_ns[row] >= rows.begin_ns[row]
            assert (start_ns + took_ns).max() == rows.done_ns[row] <= rows.end_ns[row]
            assert round(float(np.median(took_ns))) == rows.median_ns[row]
    # Each group has one alone, in turns.
    assert rows.instance[~common].tolist() == [0, 1]
    assert told["efficiency"] > 0
    assert told["pss_bytes"] > 1_000_000
    assert told["window_s"] >= 0.05
    assert "trace" in dict(profile.absent)


def test_several_threads_call_one_session(harness: Harness, tmp_path: Path) -> None:
    profile, told = profiled(harness, tmp_path, "--concurrency", "3", "--threads", "1")
    rows = table(profile)
    assert (told["instances"], told["callers"], told["threads"]) == (1, 3, 1)
    assert [one["number"] for one in told["per_instance"]] == [0, 1, 2]
    assert set(rows.caller[rows.alone == 0]) == {0, 1, 2}
    assert (rows.caller[rows.alone == 1] == 0).all()
    shown = harness("show", "out.h5").stdout
    assert "1 instance of 1 thread, 3 callers each; 2 groups of them" in shown
    assert "efficiency" in shown
    compared = harness("compare", "out.h5", "out.h5").stdout
    assert "the very same measurement" in compared


def test_more_instances_than_fit_into_memory_are_refused_before_they_start(
    harness: Harness, tmp_path: Path
) -> None:
    ran = harness(
        *("profile", "mlp", "--instances", "40", "--threads", "1", "--memory-limit", "0.5"),
        *("-o", "out.h5", *SHORT),
    )
    assert ran.returncode == 3
    last = ran.stderr.splitlines()[-1]
    assert "40 instances of mlp take" in last
    assert "give --instances" in last
    assert not (tmp_path / "out.h5").exists()
    assert not list(tmp_path.glob(".out*"))


@pytest.fixture
def many(tmp_path: Path, surroundings: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """More groups than any test waits for."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "harness", "profile", "mlp", "-o", "out.h5", "--quick"),
            *("--instances", "2", "--threads", "1", "--processes", "50", "--duration", "0.05"),
        ],
        cwd=tmp_path,
        env=surroundings,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    yield process
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def instances_of_the_second_group(process: subprocess.Popen[str], folder: Path) -> list[int]:
    """Process ids of two instances, once a group has finished and another one has begun."""
    deadline_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline_s:
        if list(folder.glob(".out.h5.partial/process-000.shard")):
            found = instances(process.pid)
            if len(found) == 2:
                return found
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    pytest.fail("no second group began")


def instances(pid: int) -> list[int]:
    """Process ids of the instances below a process."""
    found = []
    with contextlib.suppress(OSError):
        for child in map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
            if b"harness.measuring.instance" in Path(f"/proc/{child}/cmdline").read_bytes():
                found.append(child)
            found += instances(child)
    return found


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


@pytest.mark.parametrize("how", ["an instance is killed", "Ctrl-C"])
def test_a_void_group_leaves_the_others_and_no_instance(
    many: subprocess.Popen[str], tmp_path: Path, how: str
) -> None:
    running = instances_of_the_second_group(many, tmp_path)
    if how == "Ctrl-C":
        os.killpg(many.pid, signal.SIGINT)
    else:
        os.kill(running[1], signal.SIGKILL)
    _, err = many.communicate(timeout=PATIENCE_S)
    last = err.splitlines()[-1]
    assert "Traceback" not in err
    if how == "Ctrl-C":
        assert many.returncode == 130
        assert "interrupted; " in last
    else:
        assert many.returncode == 3
        assert "instance 1 on CPUs" in last
        assert "killed by SIGKILL" in last
        assert "its group is void" in last
    assert "finished group" in last
    profile = package.read_profile(tmp_path / "out.h5")
    assert not profile.complete
    assert len(profile.processes) >= 1
    assert set(table(profile).process) == {one.index for one in profile.processes}
    time.sleep(0.2)
    assert not any(map(is_alive, running))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--instances", "0"), "--instances 0: must be between 1 and 4096 (give --instances N)"),
        (("--instances", "per-die"), "--instances per-die: neither a number nor a layout"),
        (("--memory", "local"), "--memory local: only instances are placed"),
        (("--instances", "2", "--memory", "all"), "--memory all: "),
        (("--concurrency", "0"), "--concurrency 0: must be between 1 and 4096"),
        (("--instances", "2", "--stacks"), "--stacks samples one session"),
    ],
)
def test_what_makes_no_sense_is_refused(
    harness: Harness, arguments: tuple[str, ...], said: str
) -> None:
    ran = harness("profile", "mlp", *arguments)
    assert ran.returncode == 2
    assert ran.stderr.startswith(f"harness: {said}")
    assert len(ran.stderr.splitlines()) == 1
