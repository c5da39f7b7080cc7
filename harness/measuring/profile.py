"""The whole flow of a profile, from the request to the file."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import msgspec
import numpy as np

from harness.config.profile import ProfileConfig
from harness.errors import NO_ROOM, HarnessError, Interrupted, MachineError, RequestError
from harness.machine import facts
from harness.measuring import spawning, stacks
from harness.measuring.spawning import Plan
from harness.measuring.worker import Job, Preparation, no_room
from harness.models import catalogue
from harness.ort import cuda_state
from harness.ort.library import ort_library
from harness.records import Profile, Stacks
from harness.statistics import intervals
from harness.storage import assembly, files, profile_file, shards
from harness.version import __version__


class Observer:
    """Told how a profile proceeds; this one keeps silent. Subclass to show it."""

    def warning(self, text: str) -> None:
        """Something the user should know; the profile goes on."""

    def preparing(self, model: str) -> None:
        """The model is being read and tried."""

    def prepared(self, preparation: Preparation, plan: Plan) -> None:
        """Inputs are chosen; measuring begins and takes about plan.expected_s."""

    def measured(self, finished: int, plan: Plan) -> None:
        """So many processes have finished."""


def profile(config: ProfileConfig, observer: Observer | None = None) -> Profile:
    """Measures a model and stores the profile.

    Args:
        config: what to measure.
        observer: told about the progress.

    Returns:
        The profile as it was stored; ``path`` says where.

    Raises:
        RequestError: the request is wrong.
        ModelError: the model cannot be read or does not run.
        MachineError: this machine cannot do what was asked.
        Interrupted: the user ended it; finished processes are kept in the named file.
    """
    observer = observer or Observer()
    with interruptible(), started(config, observer) as measuring:
        observer.prepared(measuring.preparation, measuring.plan)
        enough = None
        if config.processes is None and not config.quick:
            enough = _Precision(config.precision, config.budget_s, measuring.partial).enough
        with measuring.kept():
            spawning.measure(
                measuring.job,
                measuring.plan,
                lambda finished: observer.measured(finished, measuring.plan),
                enough=enough,
            )
        if config.stacks:
            return measuring.store(*_sample_stacks(measuring, observer))
        return measuring.store()


def _sample_stacks(
    measuring: Measuring, observer: Observer
) -> tuple[Stacks | None, tuple[tuple[str, str], ...]]:
    """What one more worker is seen doing; or why that cannot be seen."""
    try:
        loops = shards.read_shard(measuring.partial, 0).process.loops
        native = measuring.job.config.stacks == "native"
        return stacks.sample(measuring.job, loops, native=native), ()
    except (HarnessError, OSError, ValueError) as error:
        remedy = error.remedy if isinstance(error, HarnessError) else ""
        reason = f"{error} ({remedy})" if remedy else str(error)
        observer.warning(reason)
        return None, (("stacks", reason),)


@dataclasses.dataclass(frozen=True, slots=True)
class Measuring:
    """A profile that is being measured.

    Attributes:
        job: what the workers are told.
        preparation: what the preparation process found out.
        plan: how the processes spend their time.
        header: all that is known beforehand.
        partial: folder of what has finished.
        target: file to write.
    """

    job: Job
    preparation: Preparation
    plan: Plan
    header: shards.ProfileHeader
    partial: Path
    target: Path

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Where measuring fails, what has finished is stored, and the error names the file."""
        try:
            shards.write_header(self.partial, self.header)
            yield
        except HarnessError as error:
            with _signals(signal.SIG_IGN):
                force = self.job.config.force
                raise _keep_finished(error, self.partial, self.target, force) from error

    def store(
        self, stacks: Stacks | None = None, absent: tuple[tuple[str, str], ...] = ()
    ) -> Profile:
        """Writes the profile, now that all is measured: Ctrl-C must not cost it.

        Args:
            stacks: of one more worker.
            absent: (what, reason) of what could not be had after the processes.
        """
        force = self.job.config.force
        with _signals(signal.SIG_IGN):
            return _store(
                self.partial, self.target, force, complete=True, stacks=stacks, absent=absent
            )


@contextlib.contextmanager
def started(config: ProfileConfig, observer: Observer) -> Iterator[Measuring]:
    """Prepares a profile, and cleans up behind it.

    Raises:
        HarnessError: as ``profile`` does.
    """
    created = datetime.datetime.now(datetime.UTC)
    target = _target(config, created)
    cpus = _cpus(config.affinity)
    config = _fit_to_cpus(config, cpus, observer)
    library = (config.session.library or ort_library()).absolute()
    _require_provider(config, library)
    partial = shards.partial_folder(target)
    with _work_folder(partial) as work:
        observer.preparing(config.model)
        model, name = _model_file(config.model, work)
        job = Job(config, library, model, name, work, partial, tuple(sorted(cpus)))
        job.write()
        preparation = spawning.prepare(job)
        plan = spawning.plan(
            config,
            preparation.latency_ns,
            preparation.session_ns,
            preparation.executions,
            preparation.profiled_ns,
        )
        header = shards.ProfileHeader(
            harness_version=__version__,
            created=created.isoformat(timespec="seconds"),
            config=msgspec.json.encode(config, enc_hook=str).decode(),
            model=dataclasses.replace(preparation.model, path=config.model),
            provider=config.session.provider,
            inputs=preparation.inputs,
            output_check=preparation.output_check,
            environment=(*facts.collect(), *preparation.facts),
            planned_processes=plan.processes,
            absent=preparation.absent,
        )
        yield Measuring(job, preparation, plan, header, partial, target)


class _Precision:
    """Whether enough processes have been measured.

    Args:
        precision: half width of the interval of the median, relative to it, to be reached.
        budget_s: seconds of measuring after which it is given up.
        partial: folder of what has finished.
    """

    def __init__(self, precision: float, budget_s: float, partial: Path) -> None:
        self._precision = precision
        self._budget_s = budget_s
        self._partial = partial
        self._began_s = time.monotonic()
        self._medians: list[float] = []

    def enough(self) -> bool:
        """Asked between two processes."""
        while (self._partial / shards.file_name(len(self._medians))).exists():
            shard = shards.read_shard(self._partial, len(self._medians))
            self._medians.append(float(np.median(shard.process.steady.duration_ns)))
        interval = intervals.t_interval(np.array(self._medians))
        if interval is not None:
            low, high = interval
            if high - low <= 2 * self._precision * float(np.median(self._medians)):
                return True
        elapsed_s = time.monotonic() - self._began_s
        return elapsed_s * (1 + 1 / len(self._medians)) > self._budget_s


def interruptible() -> contextlib.AbstractContextManager[None]:
    """Ctrl-C and SIGTERM raise Interrupted meanwhile."""
    return _signals(_interrupt)


def _target(config: ProfileConfig, created: datetime.datetime) -> Path:
    """The file to write, in a folder that can be written to."""
    target = config.output
    if target is None:
        stem = Path(config.model).stem
        time = created.strftime("%Y%m%dT%H%M%SZ")
        target = Path("profiles") / f"{stem}-{config.session.provider}-{time}.h5"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RequestError(
            f"{target.parent}: cannot be made: {error.strerror}", "choose another --output"
        ) from error
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise RequestError(
            f"{target.parent}: the folder is not writable", "choose another --output"
        )
    files.refuse_existing(target, force=config.force)
    return target


def _fit_to_cpus(config: ProfileConfig, cpus: set[int], observer: Observer) -> ProfileConfig:
    """The configuration with threads that stay on the CPUs asked for."""
    if config.affinity is not None and not config.session.intra_threads:
        # Threads that ORT counts by itself it also pins by itself: to any CPU of the
        # machine, whatever affinity they inherit.
        session = dataclasses.replace(config.session, intra_threads=len(cpus))
        config = dataclasses.replace(config, session=session)
    if config.session.intra_threads > len(cpus):
        observer.warning(
            f"--threads {config.session.intra_threads} on {len(cpus)} "
            f"CPU{'s' if len(cpus) != 1 else ''}: threads will wait for each other, "
            "latencies will be longer and scatter more"
        )
    return config


def _cpus(text: str | None) -> set[int]:
    """CPUs of a list in Linux' notation, ``0-3,8``, all of them allowed; None for all."""
    allowed = os.sched_getaffinity(0)
    if text is None:
        return allowed
    cpus: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        last = last if dash else first
        if not (first.isdecimal() and last.isdecimal() and int(first) <= int(last)):
            raise RequestError(
                f"--affinity {text}: {part!r} is not a CPU or a range of them",
                "give --affinity LIST, such as 0-3,8",
            )
        asked = range(int(first), int(last) + 1)
        missing = next((cpu for cpu in asked if cpu not in allowed), None)
        if missing is not None:
            raise RequestError(
                f"--affinity {text}: this process may not use CPU {missing}",
                f"choose among {', '.join(map(str, sorted(allowed)))}",
            )
        cpus.update(asked)
    return cpus


def _require_provider(config: ProfileConfig, library: Path) -> None:
    """Refuses a GPU provider that cannot work, before anything is measured on the CPU."""
    provider = config.session.provider
    if provider == "cpu":
        if config.session.provider_options:
            raise RequestError(
                "--provider-option: the cpu provider has no options",
                "drop it, or choose another --provider",
            )
        return
    state, remedy = cuda_state.cuda_state(library, provider)
    if state.value is None:
        raise MachineError(f"--provider {provider} cannot be used here: {state.reason}", remedy)


def _model_file(model: str, work: Path) -> tuple[Path, str]:
    """(path of the model file, name to record it under); reference models are built."""
    path = Path(model)
    if model in catalogue.REFERENCE_MODELS and not path.exists():
        path = work / f"{model}.onnx"
        try:
            catalogue.write(model, path)
        except RequestError as error:  # not a file that the user asked for
            raise MachineError(
                error.message, "make room there, or choose another --output"
            ) from error
        return path, model
    return path.absolute(), path.stem


@contextlib.contextmanager
def _work_folder(partial: Path) -> Iterator[Path]:
    """Folder for what the workers share, inside the partial folder, which is held meanwhile.

    Shards of an interrupted profile are never mixed with new ones: they are refused.
    """
    work = partial / "work"
    try:
        partial.mkdir(exist_ok=True)
    except OSError as error:
        raise RequestError(
            f"{partial}: cannot be made: {error.strerror}", "choose another --output"
        ) from error
    with shards.hold(partial):
        if any(partial.glob("[!.]*.shard")):  # one that was being written starts with a dot
            raise RequestError(
                f"{partial}: left by an interrupted profile",
                f"harness recover {partial}, or delete it, or choose another --output",
            )
        # Without a shard it was killed before anything was measured.
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        try:
            yield work
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            raise no_room(work) from error
        finally:
            shutil.rmtree(work, ignore_errors=True)
            # Goes only when no shard is left in it.
            with contextlib.suppress(OSError):
                partial.rmdir()


def _store(
    partial: Path,
    target: Path,
    force: bool,
    *,
    complete: bool,
    stacks: Stacks | None = None,
    absent: tuple[tuple[str, str], ...] = (),
) -> Profile:
    """Writes what is in the partial folder to the target."""
    header = shards.read_header(partial)
    finished, damaged = shards.read_shards(partial)
    complete = complete and not damaged
    profile = assembly.assemble(header, finished, complete, damaged)
    profile = dataclasses.replace(profile, stacks=stacks, absent=(*profile.absent, *absent))
    return profile_file.write_profile(profile, target, force=force)


def _keep_finished(error: HarnessError, partial: Path, target: Path, force: bool) -> HarnessError:
    """Stores what has finished; returns the error, which then names the file."""
    finished = len(shards.read_shards(partial)[0])
    if not finished:
        shutil.rmtree(partial, ignore_errors=True)
        # What the remedy may want to recover from is gone.
        remedy = error.remedy if str(partial) not in error.remedy else "mend that, profile again"
        return type(error)(f"{error.message}; no process had finished", remedy)
    try:
        _store(partial, target, force, complete=False)
    except HarnessError as trouble:
        return type(error)(f"{error.message}; {trouble.message}", trouble.remedy)
    processes = f"{finished} finished process{'es' if finished != 1 else ''}"
    remedy = error.remedy if str(partial) not in error.remedy else f"harness show {target}"
    return type(error)(f"{error.message}; {processes} kept in {target}", remedy)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise Interrupted("interrupted")


@contextlib.contextmanager
def _signals(
    handler: Callable[[int, FrameType | None], None] | signal.Handlers,
) -> Iterator[None]:
    """Ctrl-C and SIGTERM go to the handler meanwhile; outside the main thread they stay."""
    before = {}
    try:
        with contextlib.suppress(ValueError):  # not in the main thread
            for number in (signal.SIGINT, signal.SIGTERM):
                before[number] = signal.signal(number, handler)
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
