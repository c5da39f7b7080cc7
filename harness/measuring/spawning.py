"""Spawns worker processes and collects what they leave. The only importer of pyperf.

pyperf's Runner calibrates the loops, spawns one fresh process after the other, and collects
their metadata. ``python -m harness.measuring.spawning`` is the measuring process that it spawns:
the function pyperf times there is the native timing loop, which keeps every raw sample.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import math
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pyperf

from harness.config.profile import ENERGY_IDLE_S, ProfileConfig
from harness.errors import HarnessError, one_line
from harness.measuring import worker
from harness.measuring.worker import Job, Measurement, Preparation
from harness.storage import shards

#: pyperf values of a timed pass: enough to see drift inside a process, few enough that one
#: value is long against the cost of switching to the next.
COMPARISON_VALUES = 10
QUICK_VALUES = 3
MIN_VALUES = 3

#: Seconds a worker needs besides its session and inferences: interpreter, imports, dlopen,
#: pyperf's metadata. Measured as 0.45 s on a 2-core EPYC; only the announced duration of
#: the whole depends on it.
PROCESS_OVERHEAD_S = 0.5

#: Seconds a traced pass may take in each process before it records fewer inferences.
TRACE_BUDGET_S = 0.5

#: Inferences recorded with probes: enough for a median of each node.
MIN_PROBE_INFERENCES = 2
MAX_PROBE_INFERENCES = 200

#: Events that a traced pass of a process stores: about what its raw samples take.
TRACE_EVENTS = 50_000

#: Rough cost of a probe, to announce how long it will take.
PROBE_S = 300e-9


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """How the processes spend their time.

    Attributes:
        processes: measuring processes.
        warmups: pyperf values of warm-up in each.
        values: pyperf values of timed pass in each.
        min_time_s: least duration of a value, from which pyperf calibrates its loops.
        trace_inferences: inferences of a pass with ORT's profiler.
        probe_inferences: inferences of a pass with probes, in each of its three graphs.
        expected_s: how long the whole will take, roughly.
    """

    processes: int
    warmups: int
    values: int
    min_time_s: float
    trace_inferences: int
    probe_inferences: int
    expected_s: float


def plan(
    config: ProfileConfig, latency_ns: int, session_ns: int, executions: int, profiled_ns: int
) -> Plan:
    """Divides the time asked for over processes, values and loops.

    Args:
        config: what was asked for.
        latency_ns: rough latency of one inference.
        session_ns: rough time to create a session.
        executions: of nodes in one inference, 0 where not known.
        profiled_ns: rough latency under ORT's profiler, 0 where not known.
    """
    latency_s = max(latency_ns, 1) * 1e-9
    values = QUICK_VALUES if config.quick else COMPARISON_VALUES
    # A slow model gets fewer values of one inference each, never fewer than MIN_VALUES.
    values = max(MIN_VALUES, min(values, math.ceil(config.timed_s / latency_s)))
    # pyperf doubles its loops until a value is long enough, so half the longest value that
    # the sample limit allows is what may be asked for.
    longest_s = config.most_samples / values * latency_s / 2
    min_time_s = min(config.timed_s / values, longest_s)
    warmups = max(1, values // 4)
    profiled_s = max(profiled_ns * 1e-9, latency_s)
    most = TRACE_EVENTS // max(executions, 1)
    trace_inferences = max(1, min(config.trace_inferences, int(TRACE_BUDGET_S / profiled_s), most))
    probe_inferences = max(
        MIN_PROBE_INFERENCES, min(MAX_PROBE_INFERENCES, int(TRACE_BUDGET_S / latency_s), most)
    )
    # Doubling overshoots by a factor between 1 and 2.
    value_s = max(1.5 * min_time_s, latency_s)
    traced_s = 0.0
    if "ort" in config.trace:
        traced_s += session_ns * 1e-9 + (trace_inferences + 3) * profiled_s
    if "probe" in config.trace:
        probed_s = latency_s + executions * PROBE_S
        traced_s += 3 * (session_ns * 1e-9 + (probe_inferences + 4) * probed_s)
    process_s = PROCESS_OVERHEAD_S + session_ns * 1e-9 + (warmups + values) * value_s + traced_s
    process_s += ENERGY_IDLE_S if config.energy else 0.0
    calibration_s = PROCESS_OVERHEAD_S + session_ns * 1e-9 + 2 * value_s
    return Plan(
        processes=config.process_count,
        warmups=warmups,
        values=values,
        min_time_s=min_time_s,
        trace_inferences=trace_inferences,
        probe_inferences=probe_inferences,
        expected_s=calibration_s + config.process_count * process_s,
    )


def prepare(job: Job) -> Preparation:
    """Runs the preparation process; see ``worker.prepare``.

    Raises:
        HarnessError: of the kind the process ended with.
    """
    with _worker_surroundings(job) as output:
        code = subprocess.run(
            [sys.executable, "-m", "harness.measuring.worker", str(job.path)], check=False
        ).returncode
    if code:
        raise _worker_failure(job, f"trying the model {job.model} failed", code, output)
    return worker.read_preparation(job)


#: Processes of one profile at most, however far its precision is.
MOST_PROCESSES = 1000


class _Enough(Exception):
    """No further process is to be spawned."""


def measure(
    job: Job,
    plan: Plan,
    on_process: Callable[[int], None],
    *,
    enough: Callable[[], bool] | None = None,
    first: int = 0,
    loops: int | None = None,
) -> None:
    """Calibrates, then measures plan.processes processes or more, one after the other.

    Each finished process leaves its shard in job.partial_folder.

    Args:
        job: what to measure; prepared.
        plan: how.
        on_process: called between processes with the number of finished ones; nothing is
            being timed meanwhile.
        enough: asked after plan.processes and each further one whether to stop; without it
            there are no further ones.
        first: number of the first process.
        loops: inferences in a value as an earlier call calibrated them; None to calibrate.

    Raises:
        HarnessError: a process failed; finished shards stay.
    """

    # pyperf allows one instance of a Runner class in a process: its workers find their
    # benchmark by executing the same script again. Ours find it in the job.
    class Runner(pyperf.Runner):  # type: ignore[misc]
        # Keyed by the class's address, which a later class may get again.
        _created: ClassVar[set[int]] = set()

    spawned = 0
    calibrations = 1 if loops is None else 0

    def before_spawn(command: list[str], _arguments: Any) -> None:
        # pyperf calls this before each process, when the one before has ended.
        nonlocal spawned
        os.truncate(output, 0)
        calibration = "--calibrate-loops" in command
        finished = spawned - calibrations
        if calibration:
            # Its samples are not kept, so one value is enough once the loops are found.
            command += ["--values", "1", "--warmups", "0"]
        else:
            on_process(first + finished)
            if enough is not None and finished >= plan.processes and enough():
                raise _Enough
        spawned += 1
        command += [
            "--job", str(job.path),
            "--process", str(-1 if calibration else first + finished),
            "--trace-inferences", str(plan.trace_inferences),
            "--probe-inferences", str(plan.probe_inferences),
        ]  # fmt: skip

    runner = Runner(
        program_args=("-m", "harness.measuring.spawning"),
        add_cmdline_args=before_spawn,
        show_name=False,
    )
    _add_worker_arguments(runner)
    arguments = [
        "--quiet",
        "--copy-env",  # or LD_LIBRARY_PATH, CUDA_VISIBLE_DEVICES, OMP_NUM_THREADS are lost
        "--processes", str(plan.processes if enough is None else MOST_PROCESSES),
        "--values", str(plan.values),
        "--warmups", str(plan.warmups),
        "--min-time", str(plan.min_time_s),
    ]  # fmt: skip
    if loops is not None:
        arguments += ["--loops", str(loops)]
    if job.config.affinity:
        arguments += ["--affinity", job.config.affinity]
    runner.parse_args(arguments)
    with _worker_surroundings(job) as output, contextlib.redirect_stdout(io.StringIO()) as said:
        try:
            runner.bench_time_func(job.model_name, _never_timed_here)
        except _Enough:
            return
        except (RuntimeError, ValueError, SystemExit) as error:
            number = spawned - calibrations - 1
            which = f"measuring process {first + number}" if number >= 0 else "calibrating process"
            code = re.search(r"exit code (-?\d+)$", str(error))
            detail = int(code[1]) if code else said.getvalue().strip() or str(error)
            raise _worker_failure(job, f"{which} failed", detail, output) from error
    on_process(first + spawned - calibrations)


def _never_timed_here(_loops: int) -> float:
    raise AssertionError("pyperf times in its workers only")


@contextlib.contextmanager
def _worker_surroundings(job: Job) -> Iterator[Path]:
    """What the worker processes inherit: where to find harness, and a file for stderr.

    They inherit descriptor 2 through pyperf, so it is redirected as such: what a crashing
    library prints becomes part of the error and does not tear the progress bar.
    """
    output = job.work_folder / "stderr.txt"
    package_root = str(Path(__file__).resolve().parent.parent)
    python_path = os.environ.get("PYTHONPATH")
    sys.stderr.flush()
    saved = os.dup(2)
    try:
        with output.open("ab") as sink:
            os.dup2(sink.fileno(), 2)
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (package_root, python_path)))
        yield output
    finally:
        if python_path is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = python_path
        os.dup2(saved, 2)
        os.close(saved)


def _worker_failure(job: Job, what: str, detail: int | str, output: Path) -> HarnessError:
    """The error a worker left; else what is known of how it died."""
    left = worker.take_error(job)
    if left is not None:
        return left
    remedy = "try fewer --threads or another --ort-library; if it stays, report it with the model"
    if detail == -signal.SIGKILL:
        remedy = "the kernel does so when memory runs out: see dmesg, or give smaller inputs"
    if isinstance(detail, int):
        detail = f"killed by {signal.Signals(-detail).name}" if detail < 0 else f"exit {detail}"
    printed = output.read_text(errors="replace").strip().splitlines()
    last = f"; it printed: {one_line(printed[-1])}" if printed else ""
    return HarnessError(f"{what}: {detail}{last}", remedy)


def _add_worker_arguments(runner: pyperf.Runner) -> None:
    runner.argparser.add_argument("--job", type=Path)
    runner.argparser.add_argument("--process", type=int)
    runner.argparser.add_argument("--trace-inferences", type=int)
    runner.argparser.add_argument("--probe-inferences", type=int)


def _work() -> None:
    """Body of a measuring process."""
    runner = pyperf.Runner(program_args=("-m", "harness.measuring.spawning"))
    _add_worker_arguments(runner)
    arguments = runner.parse_args()
    job = Job.read(arguments.job)
    with worker.process(job):
        # pyperf gives a worker 60 s to end once its pipe is closed; a traced pass may take
        # longer, so the pipe stays open until this process ends.
        os.dup(arguments.pipe)
        measurement: Measurement | None = None

        def take(loops: int) -> float:
            nonlocal measurement
            if measurement is None:
                # Only now: pyperf has set the affinity, which ORT's threads inherit.
                measurement = Measurement(
                    job, arguments.process, arguments.warmups, arguments.values
                )
            return measurement.take(loops)

        bench = runner.bench_time_func(job.model_name, take)
        if arguments.process < 0 or measurement is None:
            return
        metadata = bench.get_runs()[0].get_metadata()
        shard = measurement.finish(
            arguments.loops,
            arguments.trace_inferences,
            arguments.probe_inferences,
            dict(metadata),
        )
        shards.write_shard(job.partial_folder, shard)


if __name__ == "__main__":
    _work()
