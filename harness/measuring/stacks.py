"""Where a worker spends its time, seen from outside: stacks sampled by py-spy.

One extra worker process, which is never timed, runs the timing loop while py-spy samples it.
The share of samples in Python shows whether Python is out of the way.
``python -m harness.measuring.stacks JOB INFERENCES`` is that worker.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Final

from harness.analysis.stacks import parse
from harness.errors import MachineError, one_line
from harness.measuring import conduct, handover, limits
from harness.measuring.handover import Job
from harness.measuring.timed_pass import Measurement
from harness.records import Stacks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


#: How long py-spy samples, and how often per second. A period of 10 ms would beat with Linux's
#: scheduler tick.
SECONDS = 2
RATE_HZ = 199

#: Seconds that py-spy may take on top of sampling: native stacks are slow to unwind.
_PATIENCE_S = 60

#: What the worker prints once it is in the loop.
_READY: Final = "looping"

_PR_SET_PTRACER = 0x59616D61  # prctl(2), Yama
_PTRACER_ANY = ctypes.c_ulong(-1)

_PERMISSION = (
    "sysctl kernel.yama.ptrace_scope=0, or profile as root; in a container start it with "
    "--cap-add=SYS_PTRACE"  # another program's
)


def sample(job: Job, inferences: int, *, native: bool) -> Stacks:
    """Starts one more worker and samples its timing loop with py-spy.

    Args:
        job: what to measure; must be prepared.
        inferences: per call of the native timing loop, as in the timed pass.
        native: whether to include frames of native libraries.

    Raises:
        MachineError: py-spy is missing or failed, or may not look at another process.
        HarnessError: the worker failed.
    """
    spy = py_spy()
    raw = job.work_folder / "stacks.txt"
    with _looping(job, inferences) as pid:
        command = [
            spy, "record", "--pid", str(pid), "--format", "raw",  # py-spy's option
            "--output", str(raw),  # py-spy's option
            "--rate", str(RATE_HZ), "--duration", str(SECONDS), "--idle",  # py-spy's option
        ]  # fmt: skip
        if native:
            command.append("--native")  # py-spy's option
        try:
            outcome = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=SECONDS + _PATIENCE_S
            )
        except subprocess.TimeoutExpired as error:
            raise MachineError("py-spy did not exit", "leave `stacks` out") from error
    said = outcome.stdout + outcome.stderr
    if outcome.returncode or not raw.exists():
        raise failure(said)
    stack, samples = parse(raw.read_text(errors="replace"))
    failed = re.search(r"Errors: (\d+)", said)
    return Stacks(stack, samples, RATE_HZ, native, int(failed[1]) if failed else 0)


def py_spy() -> str:
    """Path of the py-spy program.

    Raises:
        MachineError: it is not installed.
    """
    beside = Path(sysconfig.get_path("scripts")) / "py-spy"
    # Never from the current folder, even if PATH contains it.
    folders = filter(os.path.isabs, os.get_exec_path())
    found = (
        str(beside) if beside.exists() else shutil.which("py-spy", path=os.pathsep.join(folders))
    )
    if found is None:
        raise MachineError("`stacks`: py-spy is not installed", "python -m pip install py-spy")
    return found


def failure(said: str) -> MachineError:
    """The error for what py-spy printed when it failed."""
    text = one_line(said.replace("py-spy>", " ")) or "it printed nothing"
    if re.search(r"permission denied|operation not permitted|EPERM|os error 1\b", text, re.I):
        return MachineError("`stacks`: py-spy may not look at another process here", _PERMISSION)
    remedy = "leave `stacks` out"
    if "native" in text.lower():
        remedy = "try `stacks` without native"
    return MachineError(f"`stacks`: py-spy failed: {text}", remedy)


@contextlib.contextmanager
def _looping(job: Job, inferences: int) -> Iterator[int]:
    """Process id of a worker that runs the timing loop for the duration of the block."""
    printed = job.work_folder / "stacks-stderr.txt"
    with (
        limits.of(job).watching() as watch,
        printed.open("wb") as sink,
        subprocess.Popen(
            conduct.python("harness.measuring.stacks", str(job.path), str(inferences)),
            stdout=subprocess.PIPE,
            stderr=sink,
            env={**os.environ, "PYTHONPATH": conduct.python_path()},
            text=True,
        ) as process,
    ):
        try:
            assert process.stdout is not None
            if process.stdout.readline().strip() != _READY:
                process.wait()
                left = handover.take_error(job)
                if watch.reason:
                    left = MachineError(f"`stacks`: the worker {watch.reason}", watch.remedy)
                raise (
                    left
                    if left is not None
                    else MachineError(
                        f"`stacks`: the worker exited with {process.returncode}: "
                        f"{one_line(printed.read_text(errors='replace'))}",
                        "leave `stacks` out",
                    )
                )
            yield process.pid
        finally:
            process.kill()


def _work(arguments: Sequence[str]) -> None:
    """Body of the worker: runs until it is killed or its parent dies."""
    job, inferences = Job.read(Path(arguments[0])), int(arguments[1])
    with conduct.process(job):
        os.sched_setaffinity(0, job.cpus)
        # Where Yama lets only a parent trace a process, the process itself may allow others.
        ctypes.CDLL(None).prctl(_PR_SET_PTRACER, _PTRACER_ANY, 0, 0, 0)
        measurement = Measurement(job, -1, 0, sys.maxsize)
        measurement.take(inferences)
        print(_READY, flush=True)
        while True:
            measurement.take(inferences)


if __name__ == "__main__":
    _work(sys.argv[1:])
