"""A profile that is measured a few processes at a time, by turns with others.

Between its turns the partial folder keeps everything: the shards of the finished processes, and the
work folder with the prepared model, its inputs and the division of time. So the model is tried and
calibrated once, and every process takes the same number of inferences: what one turn decided, no
later one decides anew. That costs room, about three times the model where operators are traced, and
saves seconds a turn.

A profile goes on only where nothing has changed that its processes should have in common: the
request, harness, ONNX Runtime, the model, the host and its last boot (after which CLOCK_MONOTONIC
begins anew). Otherwise it begins again, and says why. How a path is written, and from which folder
the command runs, changes nothing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from harness.config.profile import ProfileConfig
from harness.errors import NO_ROOM, HarnessError, MachineError, one_line
from harness.measuring import handover, prepared, request, spawning
from harness.measuring.conduct import no_room
from harness.measuring.handover import Job
from harness.measuring.observer import Observer
from harness.measuring.plan import Plan
from harness.measuring.profile import Measuring, started
from harness.measuring.stopwatch import Stopwatch
from harness.models import catalogue
from harness.ort.library import ort_library
from harness.records import Profile, Reading
from harness.storage import holders, shards
from harness.version import __version__

_TURN = "rounds.json"

#: What a difference in an entry of ``_same`` means.
_DIFFERENCES = {
    "harness": "harness has another version",
    "config": "the request is another",
    "cpus": "other CPUs may be used",
    "folder": "the folder is at another place",
    "boot": "the machine was booted since, or is another",
    "library": "ONNX Runtime is another",
    "model": "the model file is another",
}


class _Turn(NamedTuple):
    """What a later turn goes by.

    Attributes:
        same: what must not have changed, as text.
        plan: how the processes spend their time.
    """

    same: str
    plan: Plan


class _BeginsAgainError(Exception):
    """A profile cannot go on where it was; the message says why."""


class Progress(NamedTuple):
    """How far an unfinished profile is.

    Attributes:
        finished: indices of the processes that have left their shards.
        plan: how the processes spend their time.
    """

    finished: frozenset[int]
    plan: Plan


def turn(
    config: ProfileConfig,
    processes: int,
    observer: Observer,
    *,
    facts: Sequence[Reading] = (),
    on_process: Callable[[], None] = lambda: None,
) -> Profile | Progress:
    """Measures further processes of a profile, and stores it when all are there.

    Args:
        config: the request; with an output, and a fixed number of processes.
        processes: how many more to measure at most.
        observer: receives the progress.
        facts: stored with the others about the machine.
        on_process: called when a process has finished; nothing is being timed then.

    Returns:
        The stored profile, or how far it is.

    Raises:
        HarnessError: as ``harness.profile`` does; finished processes are kept.
        shards.HeldError: another command measures it.
    """
    partial = _partial(config)
    target = config.output or Path()
    with (
        _told(partial),
        request.folder_of(target),
        # Of all hosts that share the folder: to another one, this one's boot is none that it knows.
        holders.hold(shards.lock_file(target), partial),
        _opened(_anywhere(config), observer, facts) as measuring,
    ):
        plan = measuring.plan
        finished = _finished(measuring.partial)
        missing = [index for index in range(plan.processes) if index not in finished]
        for index in missing[:processes]:
            one = dataclasses.replace(plan, processes=1)
            spawning.measure(measuring.job, one, _nobody_waits, measuring.clock, first=index)
            on_process()
        if len(missing) <= processes and not _drop_damaged(measuring.partial, observer):
            # The writer removes the partial folder if it is of this profile.
            return measuring.store()
        return Progress(_finished(measuring.partial), plan)


@contextlib.contextmanager
def _told(partial: Path) -> Iterator[None]:
    """Turns what the system refuses into an error of this profile: the other ones go on."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_ROOM:
            raise no_room(partial) from error
        place = partial if error.filename is None else os.fsdecode(os.fspath(error.filename))
        raise MachineError(
            f"{place}: {error.strerror or one_line(str(error))}",
            f"check {partial}, ulimit -a and df",
        ) from error


def progress(config: ProfileConfig) -> Progress | None:
    """How far a profile is; None where it has not begun, or must begin again."""
    partial, config = _partial(config), _anywhere(config)
    if not partial.is_dir():
        return None
    try:
        found = _stored_turn(config, partial)
    except _BeginsAgainError:
        return None
    return Progress(_finished(partial), found.plan)


def _anywhere(config: ProfileConfig) -> ProfileConfig:
    """The request as later turns can use it, from whatever folder they run."""
    custom_ops = tuple(path.absolute() for path in config.session.custom_ops)
    return dataclasses.replace(
        config, session=dataclasses.replace(config.session, custom_ops=custom_ops)
    )


def _partial(config: ProfileConfig) -> Path:
    if config.output is None or config.processes is None:
        raise ValueError("a profile in rounds has an output and a number of processes")
    return shards.partial_folder(config.output)


@contextlib.contextmanager
def _opened(
    config: ProfileConfig, observer: Observer, facts: Sequence[Reading]
) -> Iterator[Measuring]:
    """The profile as an earlier turn left it, or a new one."""
    partial, clock = _partial(config), Stopwatch()
    if partial.is_dir():
        with shards.hold(partial):
            try:
                found = _continued(config, partial, clock)
            except _BeginsAgainError as reason:
                if dropped := len(_finished(partial)):
                    several = "es are" if dropped > 1 else " is"
                    observer.warning(f"{dropped} finished process{several} dropped: {reason}")
                # Left by a turn that was killed before it knew how to go on, or of another time.
                _empty(partial)
            else:
                yield found
                return
    with started(config, observer, clock, _kept_work_folder) as fresh:
        header = fresh.header
        header = dataclasses.replace(header, environment=(*header.environment, *facts))
        shards.write_header(fresh.partial, header)
        same = _same(config, fresh.partial, fresh.job.cpus)
        # The last of what a later turn needs: with it, all is there.
        handover.write(fresh.job.work_folder / _TURN, _Turn(same, fresh.plan))
        observer.prepared(fresh.preparation, fresh.plan)
        yield dataclasses.replace(fresh, header=header, in_rounds=True)


def _continued(config: ProfileConfig, partial: Path, clock: Stopwatch) -> Measuring:
    """The profile in a partial folder that is held.

    Raises:
        _BeginsAgainError: it must begin again.
    """
    found = _stored_turn(config, partial)
    try:
        job = Job.read(partial / "work" / "job.json")
        job = dataclasses.replace(
            job, partial_folder=partial, work_folder=_work(partial), parent=os.getpid()
        )
        preparation = prepared.read(job)
        handover.read_inputs(job)
        header = shards.read_header(partial)
    except _UNREADABLE as error:
        raise _BeginsAgainError(_unreadable(error)) from error
    job.write()
    target = config.output or Path()
    return Measuring(job, preparation, found.plan, header, partial, target, clock, in_rounds=True)


#: How files fail to be read that a turn has left.
_UNREADABLE = (
    OSError, ValueError, TypeError, LookupError, RecursionError, zipfile.BadZipFile, HarnessError,
    msgspec.MsgspecError,
)  # fmt: skip


def _unreadable(error: Exception) -> str:
    return f"what the turn before left cannot be read ({one_line(str(error), 200)})"


def _stored_turn(config: ProfileConfig, partial: Path) -> _Turn:
    """What an earlier turn left to go by.

    Raises:
        _BeginsAgainError: it left nothing, or something has changed.
    """
    try:
        found = handover.read(partial / "work" / _TURN, _Turn)
        cpus = tuple(sorted(request.usable_cpus(config.affinity)))
        now = _same(config, partial, cpus)
        if found.same == now:
            return found
        then = json.loads(found.same)
        reasons = [
            reason for name, reason in _DIFFERENCES.items() if then[name] != json.loads(now)[name]
        ]
    except _UNREADABLE as error:
        raise _BeginsAgainError(_unreadable(error)) from error
    raise _BeginsAgainError("; ".join(reasons))


def _same(config: ProfileConfig, partial: Path, cpus: Sequence[int]) -> str:
    """All that the processes of a profile have in common, as one text."""
    library = (config.session.library or ort_library()).absolute()
    return json.dumps(
        {
            "harness": __version__,
            # Paths by what they lead to: another command may write them otherwise.
            "config": msgspec.to_builtins(
                dataclasses.replace(config, output=None, model=""),
                enc_hook=lambda path: str(Path(path).resolve()),
            ),
            "cpus": list(cpus),
            "folder": str(partial.resolve()),
            "boot": _boot(),
            "library": _state(library),
            "model": (
                str(config.model)
                if catalogue.is_reference(config.model)
                else _state(Path(config.model))
            ),
        },
        sort_keys=True,
    )


def _state(path: Path) -> str:
    """A file's identity without reading it; of one that is not there, its name."""
    try:
        held = path.stat()
    except OSError:
        return str(path)
    return f"{path.resolve()} {held.st_size} {held.st_mtime_ns}"


def _boot() -> str:
    """Tells the host and its boots apart; empty where the kernel does not tell."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return ""


def _finished(partial: Path) -> frozenset[int]:
    names = (path.stem.partition("-")[2] for path in partial.glob("process-*.shard"))
    return frozenset(int(name) for name in names if name.isdecimal())


def _drop_damaged(partial: Path, observer: Observer) -> bool:
    """Deletes damaged shards, whose processes are then measured again; whether there were any."""
    _, damaged = shards.read_shards(partial)
    for name, reason in damaged:
        observer.warning(f"{name} is damaged and dropped: {reason}")
        (partial / name).unlink(missing_ok=True)
    return bool(damaged)


def _empty(partial: Path) -> None:
    for path in partial.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _work(partial: Path) -> Path:
    """The work folder, by a path that holds from whatever folder later turns run."""
    return partial.resolve() / "work"


@contextlib.contextmanager
def _kept_work_folder(partial: Path) -> Iterator[Path]:
    """A work folder that stays for the next turn, once it holds all that this one needs."""
    shards.make_private(partial)
    work = _work(partial)
    with shards.hold(partial):
        if any(partial.glob("[!.]*.shard")):
            raise shards.HeldError(
                f"{partial}: another command has just begun to fill it", "wait until it has ended"
            )
        _empty(partial)
        work.mkdir(mode=0o700)
        try:
            yield work
        finally:
            if not (work / _TURN).exists():
                shutil.rmtree(work, ignore_errors=True)
                shards.drop_unless_finished(partial)  # the header alone is of no use
            with contextlib.suppress(OSError):
                partial.rmdir()


def _nobody_waits(_finished: int) -> None:
    """Ignores the count of the spawner: it is called before the process has begun, too."""
