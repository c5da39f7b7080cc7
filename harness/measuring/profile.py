"""The whole flow of a profile, from the request to the file."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import errno
import json
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import msgspec

from harness.analysis import noise, precision
from harness.config.profile import ProfileConfig
from harness.errors import (
    NO_ROOM,
    HarnessError,
    Interrupted,
    MachineError,
    RequestError,
    one_line,
)
from harness.machine import facts
from harness.measuring import foreign, handover, request, spawning, stacks, stopwatch
from harness.measuring.conduct import no_room
from harness.measuring.handover import Job
from harness.measuring.observer import Observer
from harness.measuring.plan import Plan, divide_time
from harness.measuring.prepared import Preparation
from harness.measuring.stopping import StopRule
from harness.measuring.stopwatch import Stamp, Stopwatch
from harness.models import catalogue
from harness.ort.library import ort_library
from harness.records import Absent, Profile, Stacks, WallTime
from harness.storage import assembly, profile_file, shards
from harness.version import __version__


def profile(
    config: ProfileConfig, observer: Observer | None = None, clock: Stopwatch | None = None
) -> Profile:
    """Measures a model and stores the profile.

    Args:
        config: what to measure.
        observer: receives the progress.
        clock: of the command, if it began before this call.

    Returns:
        The profile as it was stored; ``path`` says where.

    Raises:
        RequestError: the request is wrong.
        ModelError: the model cannot be read or does not run.
        MachineError: this machine cannot do what was asked for.
        Interrupted: the user interrupted it; finished processes are kept in the named file.
    """
    observer = observer or Observer()
    clock = clock or Stopwatch()
    with interruptible(), started(config, observer, clock) as measuring:
        observer.prepared(measuring.preparation, measuring.plan)
        stop_rule = None
        if config.processes is None and not config.quick and not config.is_group:
            stop_rule = StopRule(config.precision, config.budget_s, measuring.partial)
        with measuring.kept():
            spawning.measure(
                measuring.job,
                measuring.plan,
                lambda finished: observer.measured(finished, measuring.plan),
                clock,
                enough=stop_rule.is_met if stop_rule else None,
            )
            # Inside kept(), so that Ctrl-C while stacks are sampled keeps finished processes too.
            sampled: tuple[Stacks | None, tuple[Absent, ...]] = (None, ())
            if config.stacks:
                with clock.on("stacks"):
                    sampled = _sample_stacks(measuring, observer)
        return measuring.store(*sampled)


def _sample_stacks(
    measuring: Measuring, observer: Observer
) -> tuple[Stacks | None, tuple[Absent, ...]]:
    """The sampled stacks of one more worker, or the reason why there are none."""
    try:
        native = measuring.job.config.stacks == "native"
        inferences = measuring.plan.chunk_inferences
        return stacks.sample(measuring.job, inferences, native=native), ()
    except Interrupted:
        raise
    except (HarnessError, OSError, ValueError) as error:
        remedy = error.remedy if isinstance(error, HarnessError) else ""
        reason = f"{error} ({remedy})" if remedy else str(error)
        observer.warning(reason)
        return None, (("stacks", reason),)


@dataclasses.dataclass(frozen=True, slots=True)
class Measuring:
    """A profile that is being measured.

    Attributes:
        job: the instructions for the workers.
        preparation: what the preparation process found out.
        plan: how the processes spend their time.
        header: everything known before measuring.
        partial: folder of the finished processes' shards.
        target: file to write.
        clock: of the command.
        in_rounds: it is measured by turns with other profiles (``rounds``).
    """

    job: Job
    preparation: Preparation
    plan: Plan
    header: shards.ProfileHeader
    partial: Path
    target: Path
    clock: Stopwatch
    in_rounds: bool = False

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """If measuring fails, stores the finished processes and names the file in the error."""
        try:
            shards.write_header(self.partial, self.header)
            yield
        except HarnessError as error:
            with _signals(signal.SIG_IGN):
                raise self._keep_finished(error) from error
        except Exception as error:  # there may be no memory or descriptor to write a file with
            finished: bool | None = None
            with contextlib.suppress(OSError):
                finished = shards.drop_unless_finished(self.partial)
            if finished is not False and _is_exhausted(error):
                kept = "what had finished is" if finished else "what may have finished is"
                raise MachineError(
                    f"{one_line(str(error)) or 'not enough memory'}; {kept} in {self.partial}",
                    f"check ulimit -a and df, then harness recover {self.partial}",
                ) from error
            raise

    def store(self, stacks: Stacks | None = None, absent: tuple[Absent, ...] = ()) -> Profile:
        """Writes the finished profile; Ctrl-C waits meanwhile, so as not to lose it.

        Args:
            stacks: of one more worker.
            absent: what could not be measured after the processes had finished.

        Raises:
            Interrupted: by a signal meanwhile, if others are measured after this profile; it is
                stored.
        """
        came: list[int] = []
        with _signals(lambda number, _: came.append(number)):
            stored = self._store(complete=True, stacks=stacks, absent=absent)
        if came and self.in_rounds:  # else there is nothing left to interrupt
            raise Interrupted("interrupted")
        return stored

    def _store(
        self, *, complete: bool, stacks: Stacks | None = None, absent: tuple[Absent, ...] = ()
    ) -> Profile:
        """Assembles the shards in the partial folder and writes them to the target."""
        with self.clock.on("assembly"):
            header = shards.read_header(self.partial)
            finished, damaged = shards.read_shards(self.partial)
            complete = complete and not damaged
            profile = assembly.assemble(header, finished, complete, damaged)
            profile = dataclasses.replace(
                profile,
                stacks=stacks,
                absent=(*profile.absent, *absent),
                environment=(
                    *profile.environment,
                    *precision.facts(profile),
                    *noise.facts(profile),
                ),
            )
        # In pairs and in rounds, most of the command's time is other profiles'.
        shared = self.in_rounds or self.job.config.interleaved_with
        ended = None if shared else self._wall_time(Stamp.now())
        return profile_file.write_profile(
            profile, self.target, force=self.job.config.force, ended=ended
        )

    def _wall_time(self, began: Stamp) -> Callable[[], WallTime]:
        """To be called when the contents of the file, begun then, are complete."""

        def ended() -> WallTime:
            self.clock.since(began, "contents of the file")
            lives = self.clock.lives
            clocked = [(life, handover.read_clocked(self.job, life.worker)) for life in lives]
            return stopwatch.wall_time(self.clock, clocked, time.monotonic_ns())

        return ended

    @property
    def _unit(self) -> str:
        """What a measuring process is called."""
        return "group" if self.job.config.is_group else "process"

    def _keep_finished(self, error: HarnessError) -> HarnessError:
        """Stores the finished processes; returns the error, extended by the name of the file."""
        target = self.target
        finished = len(shards.read_shards(self.partial)[0])
        if not finished:
            shutil.rmtree(self.partial, ignore_errors=True)
            # The folder is gone, so a remedy that mentions it no longer applies.
            gone = str(self.partial) in error.remedy
            remedy = "fix that, profile again" if gone else error.remedy
            return type(error)(f"{error.message}; no {self._unit} had finished", remedy)
        try:
            self._store(complete=False)
        except HarnessError as trouble:
            return type(error)(f"{error.message}; {trouble.message}", trouble.remedy)
        several = "" if finished == 1 else "s" if self._unit == "group" else "es"
        processes = f"{finished} finished {self._unit}{several}"
        gone = str(self.partial) in error.remedy
        remedy = f"harness show {target}" if gone else error.remedy
        return type(error)(f"{error.message}; {processes} kept in {target}", remedy)


def _is_exhausted(error: Exception) -> bool:
    """Whether the system has no more memory, descriptors or room."""
    exhausted = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, *NO_ROOM)
    return isinstance(error, MemoryError) or getattr(error, "errno", None) in exhausted


#: Makes and locks a partial folder, and yields the folder for what the workers share.
WorkFolder = Callable[[Path], contextlib.AbstractContextManager[Path]]


@contextlib.contextmanager
def started(
    config: ProfileConfig,
    observer: Observer,
    clock: Stopwatch,
    work_folder: WorkFolder | None = None,
) -> Iterator[Measuring]:
    """Prepares a profile, and cleans up afterwards.

    Args:
        config: what to measure.
        observer: receives the progress.
        clock: of the command.
        work_folder: given the partial folder; None for one that goes when the block ends.

    Raises:
        HarnessError: as ``profile`` does.
    """
    created = datetime.datetime.now(datetime.UTC)
    target = request.output_file(config, created)
    with request.folder_of(target):
        yield from _started(config, observer, clock, created, target, work_folder)


def _started(
    config: ProfileConfig,
    observer: Observer,
    clock: Stopwatch,
    created: datetime.datetime,
    target: Path,
    work_folder: WorkFolder | None,
) -> Iterator[Measuring]:
    with clock.on("request"):
        config, not_traced = foreign.settled(config)
        cpus = request.usable_cpus(config.affinity)
        placement = request.placement(config, cpus)
        config = request.fit_to_cpus(config, cpus, placement, observer)
        library = (config.session.library or ort_library()).absolute()
        if not foreign.is_foreign(config):
            request.require_provider(config, library)
        request.require_custom_ops(config)
        request.warn_of_unread_keys(config, library, observer)
    partial = shards.partial_folder(target)
    with (work_folder or _work_folder)(partial) as work:
        observer.preparing(config.model)
        with clock.on("model"):
            model, name = model_file(config.model, work)
        places = placement.places if placement is not None else ()
        job = Job(config, library, model, name, work, partial, tuple(sorted(cpus)), places)
        job.write()
        preparation = spawning.prepare(job, clock)
        calibrated = spawning.calibrate(job, clock)
        plan = divide_time(
            config,
            calibrated.latency_ns,
            calibrated.session_ns,
            preparation.executions,
            preparation.profiled_ns,
            preparation.executed_session_ns,
            insertable=preparation.probed is not None,
        )
        with clock.on("facts of the machine"):
            environment = (
                *facts.collect(),
                *preparation.facts,
                *calibrated.facts,
                *request.group_facts(job),
            )
        header = shards.ProfileHeader(
            harness_version=__version__,
            created=created.isoformat(timespec="seconds"),
            config=json.dumps(msgspec.to_builtins(config, enc_hook=str)),
            model=dataclasses.replace(preparation.model, path=str(config.model)),
            provider=config.session.provider,
            inputs=preparation.inputs,
            output_check=preparation.output_check,
            environment=environment,
            # Pairs are measured until decided, so their number is not planned.
            planned_processes=0 if config.interleaved_with else plan.processes,
            absent=(*not_traced, *preparation.absent, *request.left_out(config)),
        )
        yield Measuring(job, preparation, plan, header, partial, target, clock)


def interruptible() -> contextlib.AbstractContextManager[None]:
    """Makes Ctrl-C, SIGTERM and SIGHUP raise Interrupted inside the block."""
    return _signals(_interrupt)


def model_file(model: str, work: Path) -> tuple[Path, str]:
    """(path of the model file, name to record it under); reference models are built.

    Args:
        model: path of a file, or name of a reference model.
        work: folder to build it in.

    Raises:
        MachineError: there is no room for it.
    """
    if catalogue.is_reference(model):
        path = work / f"{model}.onnx"
        try:
            catalogue.write(model, path)
        except RequestError as error:  # the user did not ask for this file
            raise MachineError(
                error.message, "make room there, or choose another `output`"
            ) from error
        return path, str(model)
    path = Path(model)
    return path.absolute(), path.stem


@contextlib.contextmanager
def _work_folder(partial: Path) -> Iterator[Path]:
    """Folder for what the workers share, inside the partial folder, which stays locked.

    Refuses a folder that holds shards of an interrupted profile, so that they are never mixed
    with new ones.
    """
    work = partial / "work"
    shards.make_private(partial)
    with shards.hold(partial):
        if any(partial.glob("[!.]*.shard")):  # a half-written one starts with a dot
            raise RequestError(
                f"{partial}: left by an interrupted profile",
                f"harness recover {partial}, or delete it, or choose another `output`",
            )
        # Without shards, the earlier profile was killed before anything was measured.
        _remove(work)
        work.mkdir(mode=0o700)
        try:
            yield work
        except OSError as error:
            if error.errno in NO_ROOM:
                raise no_room(work) from error
            if work.is_dir():
                raise
            raise MachineError(
                f"{work}: was removed while in use", "profile again, and leave the folder alone"
            ) from error
        finally:
            shutil.rmtree(work, ignore_errors=True)
            # Succeeds only if no shard is left in it.
            with contextlib.suppress(OSError):
                partial.rmdir()


def _remove(path: Path) -> None:
    """Removes a file or a folder; symbolic links are not followed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise Interrupted("interrupted")


@contextlib.contextmanager
def _signals(
    handler: Callable[[int, FrameType | None], None] | signal.Handlers,
) -> Iterator[None]:
    """Sends Ctrl-C, SIGTERM and SIGHUP to the handler; no effect outside the main thread."""
    before = {}
    try:
        with contextlib.suppress(ValueError):  # not in the main thread
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                if number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                    continue  # started with nohup
                before[number] = signal.signal(number, handler)
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
