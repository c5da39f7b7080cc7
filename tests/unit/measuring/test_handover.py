"""What the command and its workers leave for each other arrives as it was left."""

from __future__ import annotations

import dataclasses
import math
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

pytest.importorskip("harness.native.ort", reason="the native module is not built")

import harness
from harness import errors
from harness.config.profile import ProfileConfig
from harness.config.session import SessionConfig
from harness.errors import HarnessError, MachineError, NoRoomError
from harness.measuring import conduct, handover, prepared, spawning
from harness.measuring.handover import Job
from harness.measuring.prepared import Preparation
from harness.measuring.stopwatch import Stopwatch
from harness.models.executed_graph import ExecutedGraph
from harness.records import Reading
from harness.tracing.probes.graphs import ProbedGraph

GOLDEN = runpy.run_path(str(Path(__file__).parents[2] / "golden" / "make_profile_v1.py"))


@pytest.fixture
def job(tmp_path: Path) -> Job:
    # A path that is no UTF-8, as Linux allows.
    odd = Path(os.fsdecode(b"/models/\xff.onnx"))
    config = ProfileConfig("m", SessionConfig(library=odd), trace=("ort",), output=Path("out.h5"))
    return Job(config, odd, odd, "m", tmp_path, tmp_path.parent, (0, 2))


def test_a_job(job: Job) -> None:
    job.write()
    assert Job.read(job.path) == job


def test_a_preparation(job: Job) -> None:
    profile = GOLDEN["golden_profile"]()
    file = Path("probed.onnx")
    left = Preparation(
        model=profile.model,
        inputs=profile.inputs,
        output_check=Reading("output_error", math.inf, "1"),
        facts=profile.environment,
        graph=ExecutedGraph(profile.nodes, Path("executed.onnx")),
        probed=ProbedGraph(
            file,
            file,
            file,
            (file, file),
            np.array([-1, 2]),
            ("", "then"),
            np.array([-1, 3]),
            np.arange(2),
            32,
        ),
        repeatable=True,
        executions=3,
        profiled_ns=1,
        latency_ns=2,
        executed_session_ns=4,
        absent=(("trace/ort", "too old"),),
    )
    prepared.write(job, left)
    got = prepared.read(job)
    np.testing.assert_equal(dataclasses.asdict(got), dataclasses.asdict(left))
    assert got.graph is not None
    assert got.graph.nodes.order.dtype == np.int64

    bare = dataclasses.replace(left, graph=None, probed=None)
    prepared.write(job, bare)
    assert prepared.read(job) == bare


def test_inputs_of_every_kind(job: Job) -> None:
    handover.write_inputs(
        job,
        {
            "half": np.array([[1.5]], ml_dtypes.bfloat16),
            "text": np.array(["ü", ""], object),
            "several": [np.arange(2, dtype=np.float32), np.array(3)],
            "map": {"a": 1.5},
            "nothing": None,
        },
    )
    got = handover.read_inputs(job)
    assert list(got) == ["half", "text", "several", "map", "nothing"]
    assert got["half"].dtype == ml_dtypes.bfloat16
    assert got["half"].tolist() == [[1.5]]
    assert got["text"].tolist() == ["ü", ""]
    assert [part.tolist() for part in got["several"]] == [[0, 1], 3]
    assert (got["map"], got["nothing"]) == ({"a": 1.5}, None)
    handover.drop_inputs(job)
    assert list(job.work_folder.iterdir()) == []


def test_nothing_is_left_that_reading_would_execute(job: Job) -> None:
    with pytest.raises(TypeError, match="must be"):
        handover.write_inputs(job, {"x": np.array([print], object)})
    np.savez(job.work_folder / "inputs.npz", **{"0": np.array([print], object)})
    (job.work_folder / "inputs.json").write_text('{"x": {"type": "numbers", "array": 0}}')
    with pytest.raises(ValueError, match="allow_pickle=False"):
        handover.read_inputs(job)


def test_files_are_the_users_alone(job: Job) -> None:
    before = os.umask(0)
    try:
        job.write()
        handover.write_inputs(job, {"x": np.zeros(3)})
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in job.work_folder.iterdir()}
    assert modes == {"job.json": 0o600, "inputs.json": 0o600, "inputs.npz": 0o600}


KINDS = [
    one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, HarnessError)
]


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_of_each_kind(job: Job, kind: type[HarnessError]) -> None:
    assert handover.take_error(job) is None
    with pytest.raises(SystemExit) as ended:
        handover.leave_error(job, kind("what \udcff went wrong", "what to do"))
    assert ended.value.code == kind.exit_code
    error = handover.take_error(job)
    assert type(error) is kind
    assert (error.message, error.remedy) == ("what \udcff went wrong", "what to do")
    assert handover.take_error(job) is None, "told once"


def test_an_error_for_want_of_room_stays_one(job: Job) -> None:
    with pytest.raises(SystemExit):
        # As ONNX Runtime puts it.
        handover.leave_error(job, HarnessError("writing failed: No space left on device", ""))
    assert isinstance(handover.take_error(job), NoRoomError)


@pytest.mark.parametrize(
    ("body", "message", "remedy"),
    [
        ("bytearray(1 << 62)", "not enough memory", "smaller inputs"),
        # As threading does.
        ('raise RuntimeError("can\'t start new thread")', "no more threads", "ulimit -u"),
    ],
)
def test_a_worker_without_memory_or_threads_blames_the_machine(
    job: Job, body: str, message: str, remedy: str
) -> None:
    job.write()
    code = (
        "import sys, pathlib\n"
        "from harness.measuring import conduct, handover\n"
        f"with conduct.process(handover.Job.read(pathlib.Path(sys.argv[1]))): {body}"
    )
    ended = subprocess.run([sys.executable, "-c", code, job.path], check=False)
    error = handover.take_error(job)
    assert isinstance(error, MachineError)
    assert ended.returncode == error.exit_code
    assert message in error.message
    assert remedy in error.remedy


def test_a_worker_without_threads_to_start_blames_the_machine(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (
        "import os, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell may ignore it\n"
        "sys.stderr.write('OpenBLAS: pthread_create failed for thread 1 of 2\\n')\n"
        "sys.stderr.write('KeyboardInterrupt\\n')\n"
        "sys.stderr.flush()\n"
        "os.kill(os.getpid(), 2)"
    )
    monkeypatch.setattr(conduct, "python", lambda *_: (sys.executable, "-c", code))
    with pytest.raises(MachineError, match="no more threads"):
        spawning.prepare(job, Stopwatch())


@pytest.mark.parametrize(
    "raised",
    [
        "MemoryError",
        "type('_ArrayMemoryError', (MemoryError,), {'__module__': 'numpy._core._exceptions'})",
        "ImportError('x.so: failed to map segment from shared object')",
        "SystemError('<function f> returned NULL without setting an exception')",
        "SystemExit('OpenBLAS error: Memory allocation still failed after 10 retries, giving up.')",
    ],
)
@pytest.mark.parametrize("spawn", [spawning.prepare, spawning.calibrate])
def test_a_worker_without_memory_to_start_blames_the_machine(
    job: Job, spawn: Any, raised: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = (sys.executable, "-c", f"raise {raised}")
    monkeypatch.setattr(conduct, "python", lambda *_: command)
    with pytest.raises(MachineError, match="not enough memory"):
        spawn(job, Stopwatch())


def test_a_worker_that_could_leave_nothing_on_a_full_disk(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conduct, "python", lambda *_: (sys.executable, "-c", "raise SystemExit(1)"))
    monkeypatch.setattr(spawning, "_has_room", lambda _folder: False)
    with pytest.raises(MachineError, match="no room"):
        spawning.prepare(job, Stopwatch())


def test_a_worker_finds_this_harness_and_no_other() -> None:
    found = subprocess.run(
        [sys.executable, "-S", "-c", "import harness; print(harness.__file__)"],
        env={"PYTHONPATH": conduct.python_path()},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.stdout.strip() == harness.__file__, found.stderr
