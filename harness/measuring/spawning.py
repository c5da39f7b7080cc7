"""Spawns worker processes and collects their results. The only importer of pyperf.

pyperf's Runner spawns one fresh process after another, and collects their metadata.
``python -m harness.measuring.spawning`` is the measuring process that it spawns: the function
pyperf times there is the native timing loop, which keeps every raw sample. A *value* of pyperf
is called a chunk elsewhere in harness, and its *loops* are the inferences of a chunk.

pyperf is made for scripts that time functions of their own. These are the workarounds to use it
here, written against pyperf 2.11; numbers in the code refer to this list:

1. It allows one instance of a Runner class per process, because its workers find their
   benchmark by running the script again; ours find it in the job. So each call of ``measure``
   defines a class of its own, with a private ``_created``.
2. ``add_cmdline_args``, meant to complete a worker's command line, is called before each
   process, after the previous one has ended: this hook reports progress and evaluates the stop
   rule.
3. The number of processes is fixed in advance. With a stop rule it is set to
   ``MOST_PROCESSES``, and ``_Enough`` is raised through pyperf to stop it.
4. It calibrates by doubling the inferences of a chunk until one lasts long enough, which by
   chance gives twice as many in one profile as in another. Here the plan sets the number
   (``--loops``).
5. It prints errors to stdout, where the command's result goes, so stdout is redirected
   meanwhile. The only trace of a worker's exit code is in an exception's text, which is parsed.
6. Its workers inherit descriptor 2, which is redirected to a file: what a crashing library
   prints becomes part of the error and does not garble the progress bar.
7. It allows a worker 60 s to exit once the pipe of its result is closed. A traced pass may take
   longer, so a worker holds a second descriptor of the pipe until it exits.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pyperf

from harness.errors import NO_THREADS, HarnessError, MachineError, no_threads, one_line
from harness.machine.cpu_lists import cpu_ranges
from harness.measuring import conduct, handover, limits
from harness.measuring.handover import Calibration, Job
from harness.measuring.limits import Watch
from harness.measuring.plan import Plan
from harness.measuring.stopwatch import Stopwatch
from harness.measuring.timed_pass import Measurement
from harness.storage import shards

if TYPE_CHECKING:
    from harness.measuring.group import Group
    from harness.measuring.prepared import Preparation


def prepare(job: Job, clock: Stopwatch) -> Preparation:
    """Runs the preparation process; see ``preparation.prepare``.

    Args:
        job: whose model it is.
        clock: of the command.

    Raises:
        HarnessError: the process failed; of the kind that it left.
    """
    from concurrent.futures import ThreadPoolExecutor  # not for measuring processes

    with (
        ThreadPoolExecutor(max_workers=1) as beside,
        _inherited(job) as output,
        limits.of(job).watching() as watch,
        clock.life_of("preparation"),
    ):
        # Intervals need it later, between processes. It takes a tenth of a second, no more than
        # the worker needs to start, and nothing is timed meanwhile.
        beside.submit(importlib.import_module, "scipy.special")
        code = subprocess.run(
            conduct.python("harness.measuring.worker", str(job.path)), check=False
        ).returncode
    if code:
        raise _worker_failure(job, f"trying the model {job.model} failed", code, output, watch)
    from harness.measuring import prepared  # likewise

    return prepared.read(job)


def calibrate(job: Job, clock: Stopwatch) -> Calibration:
    """Runs the calibrating process: what an undisturbed inference and a session take.

    Args:
        job: what to measure; must be prepared.
        clock: of the command.

    Raises:
        HarnessError: the process failed; of the kind that it left.
    """
    with clock.life_of("calibration"):
        run(job, "harness.measuring.calibration", "calibrating process failed")
    return handover.read_calibration(job)


def run(job: Job, module: str, failed: str) -> None:
    """Runs another worker of a job, ``python -m MODULE JOB``, and waits for it.

    Args:
        job: its instructions, written already.
        module: what it runs.
        failed: what is said if it fails and leaves no error.

    Raises:
        HarnessError: the process failed; of the kind that it left.
    """
    with _inherited(job) as output, limits.of(job).watching() as watch:
        os.truncate(output, 0)
        code = subprocess.run(conduct.python(module, str(job.path)), check=False).returncode
    if code:
        raise _worker_failure(job, failed, code, output, watch)


#: Most processes of one profile, even if it has not reached its precision (3).
MOST_PROCESSES = 1000


class _Enough(Exception):
    """Raised to stop pyperf from spawning further processes (3)."""


def measure(
    job: Job,
    plan: Plan,
    on_process: Callable[[int], None],
    clock: Stopwatch,
    *,
    enough: Callable[[], bool] | None = None,
    first: int = 0,
) -> None:
    """Measures at least plan.processes processes, one after another.

    Each finished process leaves its shard in job.partial_folder.

    Args:
        job: what to measure; must be prepared.
        plan: how to measure it.
        on_process: called between processes with the number of finished ones; nothing is
            being timed meanwhile.
        clock: of the command.
        enough: asked after plan.processes, and after each further process, whether to stop; if
            None, there are no further ones.
        first: index of the first process.

    Raises:
        HarnessError: a process failed; shards of finished processes are kept.
    """

    class Runner(pyperf.Runner):  # type: ignore[misc]
        # (1) Keyed by the address of the class, which a later class may reuse.
        _created: ClassVar[set[int]] = set()

    spawned = 0
    life = contextlib.ExitStack()

    def before_spawn(command: list[str], _arguments: Any) -> None:
        # (2)
        nonlocal spawned
        life.close()
        os.truncate(output, 0)
        watch.begin()
        on_process(first + spawned)
        if enough is not None and spawned >= plan.processes:
            with clock.on("stop rule"):
                stop = enough()
            if stop:
                raise _Enough
        index = first + spawned
        traced = (plan.trace_inferences, plan.probe_inferences) if index in plan.traced else (0, 0)
        profiled = ["--profiled"] if index in plan.profiled else []  # the worker's option
        command += [
            "--job", str(job.path),  # the worker's option
            "--process", str(index),  # the worker's option
            "--trace-inferences", str(traced[0]),  # the worker's option
            "--probe-inferences", str(traced[1]),  # the worker's option
            *profiled,
        ]  # fmt: skip
        spawned += 1
        life.enter_context(clock.life_of(str(index)))

    runner = Runner(
        program_args=conduct.python("harness.measuring.spawning")[1:],
        add_cmdline_args=before_spawn,
        show_name=False,
    )
    _add_worker_arguments(runner)
    arguments = [
        "--quiet",  # pyperf's option
        # Without it, LD_LIBRARY_PATH, CUDA_VISIBLE_DEVICES and OMP_NUM_THREADS are lost.
        "--copy-env",  # pyperf's option
        "--processes", str(plan.processes if enough is None else MOST_PROCESSES),  # pyperf's option
        "--values", str(plan.steady_chunks),  # pyperf's option
        "--warmups", str(plan.warmup_chunks),  # pyperf's option
        # (4)
        "--loops", str(plan.chunk_inferences),  # pyperf's option
    ]  # fmt: skip
    if job.config.affinity is not None:
        arguments += ["--affinity", cpu_ranges(job.cpus)]  # pyperf's option
    runner.parse_args(arguments)
    with (
        _inherited(job) as output,
        limits.of(job).watching() as watch,
        contextlib.redirect_stdout(io.StringIO()) as said,
        life,
    ):
        try:
            runner.bench_time_func(job.model_name, _never_timed_here)
        except _Enough:
            return
        except (RuntimeError, ValueError, SystemExit) as error:
            which = f"measuring process {first + spawned - 1}"
            code = re.search(r"exit code (-?\d+)$", str(error))  # (5)
            detail = int(code[1]) if code else said.getvalue().strip() or str(error)
            raise _worker_failure(job, f"{which} failed", detail, output, watch) from error
    on_process(first + spawned)


def _never_timed_here(_loops: int) -> float:
    raise AssertionError("pyperf only times in its workers")


@contextlib.contextmanager
def _inherited(job: Job) -> Iterator[Path]:
    """Sets what workers inherit: where to find harness, and a file as their stderr (6)."""
    output = job.work_folder / "stderr.txt"
    python_path = os.environ.get("PYTHONPATH")
    sys.stderr.flush()
    saved = os.dup(2)
    try:
        with output.open("ab") as sink:
            os.dup2(sink.fileno(), 2)
        os.environ["PYTHONPATH"] = conduct.python_path()
        yield output
    finally:
        if python_path is None:
            os.environ.pop("PYTHONPATH", None)
        else:
            os.environ["PYTHONPATH"] = python_path
        os.dup2(saved, 2)
        os.close(saved)


#: What a worker without memory prints last: Python, also where a library cannot be loaded, C++,
#: OpenBLAS, and the loader of libraries.
_OUT_OF_MEMORY = re.compile(
    r"^[\w.]*MemoryError\b|^ImportError: .*([Cc]annot allocate memory|failed to map)"
    r"|^SystemError: .*returned NULL without setting an exception|std::bad_alloc"
    r"|^OpenBLAS error: Memory allocation|cannot allocate memory for thread-local data"
)


def _worker_failure(
    job: Job, what: str, detail: int | str, output: Path, watch: Watch
) -> HarnessError:
    """The error a worker left; otherwise what is known about how it died."""
    if watch.reason:
        return MachineError(f"{what}: it {watch.reason}", watch.remedy)
    left = handover.take_error(job)
    if left is not None:
        return left
    if detail == -signal.SIGKILL:
        return MachineError(
            f"{what}: killed by SIGKILL, most likely by the kernel because memory ran out",
            "see dmesg, give smaller inputs, or set `memory_limit_gb` N to stop before that",
        )
    remedy = (
        "try fewer `intra_threads` or another `library`; if it persists, report it with the model"
    )
    if isinstance(detail, int):
        detail = f"killed by {signal.Signals(-detail).name}" if detail < 0 else f"exit {detail}"
    printed = output.read_text(errors="replace").strip().splitlines()
    if printed and _OUT_OF_MEMORY.search(printed[-1]):  # while it was starting, or telling
        return conduct.no_memory(what)
    if not printed and not _has_room(job.work_folder):  # for what it printed, or its error
        return conduct.no_room(job.work_folder)
    if any(map(NO_THREADS.search, printed)):
        return no_threads(what)
    last = f"; it printed: {one_line(printed[-1])}" if printed else ""
    return HarnessError(f"{what}: {detail}{last}", remedy)


def _has_room(folder: Path) -> bool:
    """Whether a file of one block can still be written there."""
    room = os.statvfs(folder)
    return room.f_bavail > 0 and (room.f_favail > 0 or not room.f_files)


def _add_worker_arguments(runner: pyperf.Runner) -> None:
    runner.argparser.add_argument("--job", type=Path)  # the worker's option
    runner.argparser.add_argument("--process", type=int)  # the worker's option
    runner.argparser.add_argument("--trace-inferences", type=int)  # the worker's option
    runner.argparser.add_argument("--probe-inferences", type=int)  # the worker's option
    runner.argparser.add_argument("--profiled", action="store_true")  # the worker's option


def _work() -> None:
    """Body of a measuring process."""
    runner = pyperf.Runner(program_args=conduct.python("harness.measuring.spawning")[1:])
    _add_worker_arguments(runner)
    arguments = runner.parse_args()
    job = Job.read(arguments.job)
    with conduct.process(job):
        os.dup(arguments.pipe)  # (7)
        measurement: Measurement | None = None
        group: Group | None = None

        def take(loops: int) -> float:
            nonlocal group, measurement
            if job.config.is_group:
                from harness.measuring.group import Group  # what other processes do without

                group = Group(job, arguments.process)
                return group.take()
            if measurement is None:
                # Only now: pyperf has set the affinity, which ORT's threads inherit.
                measurement = Measurement(
                    job, arguments.process, arguments.warmups, arguments.values
                )
            return measurement.take(loops)

        bench = runner.bench_time_func(job.model_name, take)
        metadata = dict(bench.get_runs()[0].get_metadata())
        if group is not None:
            watch, shard = group.watch, group.finish(metadata)
        elif measurement is not None:
            watch = measurement.watch
            shard = measurement.finish(
                arguments.loops,
                arguments.trace_inferences,
                arguments.probe_inferences,
                metadata,
                profiled=arguments.profiled,
            )
        else:
            return
        with watch.on("shard"):
            shards.write_shard(job.partial_folder, shard)
        handover.leave_clocked(job, str(arguments.process), watch)
    conduct.end()


if __name__ == "__main__":
    _work()
