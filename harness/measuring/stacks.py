"""Where a worker spends its time, seen from outside: stacks that py-spy samples.

One more worker process, never a timed one, goes through the timing loop while py-spy looks at
it. The share of Python in that time is the proof that Python is out of the way.
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


#: How long, and how often a second, py-spy looks. 10 ms would be a beat of Linux' scheduler.
SECONDS = 2
RATE_HZ = 199

#: Seconds that py-spy may take beyond the sampling, native stacks are slow to unwind.
_PATIENCE_S = 60

#: What the worker prints when it is in the loop.
_READY: Final = "looping"

_PR_SET_PTRACER = 0x59616D61  # prctl(2), Yama
_PTRACER_ANY = ctypes.c_ulong(-1)

_PERMISSION = (
    "sysctl kernel.yama.ptrace_scope=0, or profile as root; in a container start it with "
    "--cap-add=SYS_PTRACE"  # another program's
)


def sample(job: Job, inferences: int, *, native: bool) -> Stacks:
    """Starts one more worker and has py-spy look at its timing loop.

    Args:
        job: what to measure; prepared.
        inferences: in a call of the native timing loop, as in the timed pass.
        native: with frames of native libraries.

    Raises:
        MachineError: py-spy is missing, or may not look at another process; the remedy is
            given.
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
    """Path of the program.

    Raises:
        MachineError: it is not installed.
    """
    beside = Path(sysconfig.get_path("scripts")) / "py-spy"
    # Not one of the current folder, however PATH asks for it.
    folders = filter(os.path.isabs, os.get_exec_path())
    found = (
        str(beside) if beside.exists() else shutil.which("py-spy", path=os.pathsep.join(folders))
    )
    if found is None:
        raise MachineError("`stacks`: py-spy is not installed", "python -m pip install py-spy")
    return found


def failure(said: str) -> MachineError:
    """The error for what py-spy printed when it failed."""
    text = one_line(said.replace("py-spy>", " ")) or "it said nothing"
    if re.search(r"permission denied|operation not permitted|EPERM|os error 1\b", text, re.I):
        return MachineError("`stacks`: py-spy may not look at another process here", _PERMISSION)
    remedy = "leave `stacks` out"
    if "native" in text.lower():
        remedy = "try `stacks` without native"
    return MachineError(f"`stacks`: py-spy failed: {text}", remedy)


@contextlib.contextmanager
def _looping(job: Job, inferences: int) -> Iterator[int]:
    """Process id of a worker that goes through the timing loop meanwhile."""
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
                        f"`stacks`: the worker ended with {process.returncode}: "
                        f"{one_line(printed.read_text(errors='replace'))}",
                        "leave `stacks` out",
                    )
                )
            yield process.pid
        finally:
            process.kill()


def _work(arguments: Sequence[str]) -> None:
    """Body of the worker: ends when it is killed, or with its parent."""
    job, inferences = Job.read(Path(arguments[0])), int(arguments[1])
    with conduct.process(job):
        os.sched_setaffinity(0, job.cpus)
        # Where Yama lets only a parent look, the one that is looked at may allow others.
        ctypes.CDLL(None).prctl(_PR_SET_PTRACER, _PTRACER_ANY, 0, 0, 0)
        measurement = Measurement(job, -1, 0, sys.maxsize)
        measurement.take(inferences)
        print(_READY, flush=True)
        while True:
            measurement.take(inferences)


if __name__ == "__main__":
    _work(sys.argv[1:])
