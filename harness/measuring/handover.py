"""What the command and its workers hand over to each other: job, inputs, calibration, errors.

What the preparation found out, which is needed for traced passes only, is in ``prepared``. Each is
a JSON file in the work folder. Arrays go into an .npz of plain numbers next to it, and the JSON
refers to them by index. Reading these files executes nothing, and only the user can write them:
the folder and each file are created accessible to the user alone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple, NoReturn, TypeVar

import msgspec
import numpy as np

from harness.config.profile import ProfileConfig
from harness.errors import HarnessError, NoRoomError, lacks_room
from harness.machine.placement import Place
from harness.measuring import plain_values
from harness.measuring.stopwatch import Stopwatch, Stretch
from harness.ordinary_files import open_ordinary, read_ordinary
from harness.records import Reading

_INPUTS = "inputs.json"
_CALIBRATION = "calibration.json"
_ERROR = "error.json"

_T = TypeVar("_T")


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """The instructions for a worker process.

    Attributes:
        config: what to measure.
        library: path of libonnxruntime.
        model: path of the model file.
        model_name: name to record it under.
        work_folder: where the preparation leaves its results.
        partial_folder: where a measuring process leaves its shard.
        cpus: CPUs that the workers may use.
        places: of the instances of a group, one each; empty where they are not placed.
        alone_too: whether a group measures one of its instances alone as well.
        parent: process id of the command; its workers die with it.
    """

    config: ProfileConfig
    library: Path
    model: Path
    model_name: str
    work_folder: Path
    partial_folder: Path
    cpus: tuple[int, ...]
    places: tuple[Place, ...] = ()
    alone_too: bool = True
    parent: int = dataclasses.field(default_factory=os.getpid)

    @property
    def path(self) -> Path:
        """File that holds this job."""
        return self.work_folder / "job.json"

    @property
    def inferred(self) -> Path:
        """File that a worker creates after its first inference."""
        return self.work_folder / "inferred"

    @property
    def ordered(self) -> Path:
        """File that a worker makes when it has seen graphs with probes execute in their order.

        They are the same files for the same library in each worker, so one look is enough.
        """
        return self.work_folder / "ordered"

    def ordered_half(self, half: int) -> Path:
        """Is there once one of ProbedGraph.halves was found to keep the order as well."""
        return self.work_folder / f"ordered-{half}"

    def write(self) -> None:
        """Leaves the job where the workers find it."""
        write(self.path, self)

    @classmethod
    def read(cls, path: Path) -> Job:
        """The job in a file."""
        return read(path, cls)


class Calibration(NamedTuple):
    """What the calibrating process found, to plan with.

    Attributes:
        latency_ns: an inference that nothing disturbs.
        session_ns: creating the session, its providers loaded first.
        facts: about a runtime other than ONNX Runtime; none of that one.
    """

    latency_ns: int
    session_ns: int
    facts: tuple[Reading, ...] = ()


def write_inputs(job: Job, values: Mapping[str, Any]) -> None:
    """Leaves the model's inputs for the measuring processes.

    Args:
        job: of the workers.
        values: as ``ort.Session.bind`` takes them, by name.

    Raises:
        TypeError: a value has a type that no model input can have.
    """
    plain = {name: plain_values.encode(value) for name, value in values.items()}
    write(job.work_folder / _INPUTS, plain)


def read_inputs(job: Job) -> dict[str, Any]:
    """The model's inputs, as ``ort.Session.bind`` takes them, by name."""
    plain = read(job.work_folder / _INPUTS, dict[str, plain_values.Plain])
    return {name: plain_values.decode(value) for name, value in plain.items()}


def drop_inputs(job: Job) -> None:
    """Deletes the saved inputs, to free disk space."""
    for path in (job.work_folder / _INPUTS, _arrays_of(job.work_folder / _INPUTS)):
        path.unlink(missing_ok=True)


def leave_clocked(job: Job, worker: str, watch: Stopwatch) -> None:
    """Leaves what a worker clocked; the last thing that it does.

    Args:
        job: of the worker.
        worker: its name, as in ``stopwatch.Life``.
        watch: of the worker.
    """
    write(_clocked(job, worker), watch.stretches)


def read_clocked(job: Job, worker: str) -> list[Stretch]:
    """What a worker clocked; nothing if it did not live to leave it."""
    path = _clocked(job, worker)
    return read(path, list[Stretch]) if path.exists() else []


def _clocked(job: Job, worker: str) -> Path:
    return job.work_folder / f"clocked-{worker}.json"


def write_calibration(job: Job, calibration: Calibration) -> None:
    """Leaves what the calibrating process found."""
    write(job.work_folder / _CALIBRATION, calibration)


def read_calibration(job: Job) -> Calibration:
    """What the calibrating process of this job found."""
    return read(job.work_folder / _CALIBRATION, Calibration)


class PlainError(NamedTuple):
    """A HarnessError as it is handed over."""

    kind: str
    message: str
    remedy: str
    no_room: bool = False

    @classmethod
    def of(cls, error: HarnessError) -> PlainError:
        """This error."""
        return cls(error.kind, error.message, error.remedy, lacks_room(error))

    def restored(self) -> HarnessError:
        """The error again; one that there was no room, whatever it was raised for."""
        if self.no_room:
            return NoRoomError(self.message, self.remedy)
        kind = next(kind for kind in _kinds(HarnessError) if kind.kind == self.kind)
        return kind(self.message, self.remedy)


def leave_error(job: Job, error: HarnessError) -> NoReturn:
    """Ends a worker, leaving its error where the command finds it."""
    write(job.work_folder / _ERROR, PlainError.of(error))
    sys.exit(error.exit_code)


def take_error(job: Job) -> HarnessError | None:
    """The error that a worker of this job left; None if there is none, or it was taken."""
    path = job.work_folder / _ERROR
    if not path.exists():
        return None
    left = read(path, PlainError)
    path.unlink()
    return left.restored()


def _kinds(kind: type[HarnessError]) -> Iterator[type[HarnessError]]:
    yield kind
    for narrower in kind.__subclasses__():
        yield from _kinds(narrower)


def _arrays_of(path: Path) -> Path:
    """The file that holds a JSON file's arrays."""
    return path.with_suffix(".npz")


def write(path: Path, record: object) -> None:
    """Writes a record atomically: the JSON file is complete or missing, even after a kill."""
    arrays: list[np.ndarray[Any, Any]] = []

    def reduce(value: object) -> object:
        if isinstance(value, np.ndarray):
            arrays.append(value)
            return len(arrays) - 1
        if isinstance(value, (Path, str)):  # also a str of a narrower type
            return str(value)
        raise NotImplementedError(f"{type(value)} in {path.name}")

    # json rather than msgspec, because it keeps NaN, infinity and lone surrogates in path names.
    text = json.dumps(msgspec.to_builtins(record, enc_hook=reduce))
    if arrays:
        with _created(_arrays_of(path)) as stream, zipfile.ZipFile(stream, "w") as archive:
            for number, array in enumerate(arrays):
                with archive.open(f"{number}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)
    temporary = path.with_suffix(".tmp")
    with _created(temporary) as stream:
        stream.write(text.encode())
    temporary.replace(path)


def _created(path: Path) -> IO[bytes]:
    """A new file that only the user can access."""
    return open(path, "wb", opener=lambda name, flags: os.open(name, flags, 0o600))


def read(path: Path, record_type: type[_T]) -> _T:
    """The record of this type that ``write`` left there.

    Raises:
        OSError: there is no such file, or it is a pipe or a device, which reading would wait for.
    """
    content = json.loads(read_ordinary(path))
    with contextlib.ExitStack() as stack:
        arrays: Mapping[str, Any] = {}
        if _arrays_of(path).exists():
            stream = stack.enter_context(os.fdopen(open_ordinary(_arrays_of(path)), "rb"))
            arrays = stack.enter_context(np.load(stream, allow_pickle=False))

        def restore(kind: type[object], value: Any) -> object:
            return Path(value) if kind is Path else arrays[str(value)]

        return msgspec.convert(content, record_type, dec_hook=restore)
