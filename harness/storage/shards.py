"""The partial state of a running profile: one immutable file per finished process.

``.NAME.h5.partial/`` next to the target NAME.h5 holds ``header.shard``, written before the
first worker starts, and ``process-NNN.shard`` for every worker that has finished. Each file is
written under a temporary name, synced and renamed, and the folder synced, so that a kill at any
moment leaves it either complete or missing.

A shard is an uncompressed zip archive (its CRCs detect damage): ``record.json`` holds the record,
in which the number N stands for the array in member ``N.npy``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import stat
import zipfile
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import numpy as np

from harness.errors import (
    NO_ROOM,
    MachineError,
    NoRoomError,
    ProfileFileError,
    RequestError,
    not_written,
    one_line,
)
from harness.ordinary_files import open_ordinary
from harness.records import (
    OF_PLACES,
    DeviceSeries,
    GpuTimeline,
    InputRecord,
    Instances,
    KernelEvents,
    ModelRecord,
    NodeEvents,
    NodeTable,
    ProcessRecord,
    Reading,
    columns_of,
)
from harness.storage import bounds
from harness.storage.files import beside
from harness.storage.text import storable_values

if TYPE_CHECKING:
    from pathlib import Path

#: Version of the files in a partial folder; increase it when a record stored in them changes.
PARTIAL_VERSION = 5

_HEADER = "header.shard"
_RECORD = "record.json"
_SHARDS = "process-*.shard"

_T = TypeVar("_T")


@dataclasses.dataclass(frozen=True, slots=True)
class ProfileHeader:
    """Everything in a Profile that is known before the workers start.

    Attributes:
        planned_processes: number of shards of a complete profile; 0 if it is not known in
            advance, as with pairs.
        absent: (what, reason) of everything known from the start to be missing.
        harness_version: as in Profile, like all the others.
    """

    harness_version: str
    created: str
    config: str
    model: ModelRecord
    provider: str
    inputs: tuple[InputRecord, ...]
    output_check: Reading
    environment: tuple[Reading, ...]
    planned_processes: int
    absent: tuple[tuple[str, str], ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Shard:
    """What one finished worker process leaves.

    Attributes:
        process: its measurements.
        traces: NodeEvents by the name of the pass, of this process only.
        nodes: the executed graph as completed by this process's trace; None without one.
        absent: (what, reason) of everything this process could not record.
        devices: series of the devices during its timed pass.
        kernels: work of the GPU in its traced pass; None without one.
        timeline: when the GPU worked, in a pass of its own; None without one.
        replay: the same while a captured graph was replayed; None without one.
        instances: what each instance did, if the process leads a group of them; else None.
    """

    process: ProcessRecord
    traces: Mapping[str, NodeEvents]
    nodes: NodeTable | None
    absent: tuple[tuple[str, str], ...]
    devices: tuple[DeviceSeries, ...] = ()
    kernels: KernelEvents | None = None
    timeline: GpuTimeline | None = None
    replay: GpuTimeline | None = None
    instances: Instances | None = None


class HeldError(RequestError):
    """Another process holds what was to be locked."""


def partial_folder(target: Path) -> Path:
    """Where the partial state of the profile ``target`` lives: ``.NAME.h5.partial``."""
    return target.with_name(f".{target.name}.partial")


def target_of(partial: Path) -> Path:
    """The profile whose partial state lives there."""
    return partial.with_name(partial.name.removeprefix(".").removesuffix(".partial"))


def lock_file(target: Path) -> Path:
    """What is held while the profile ``target`` is measured by turns: ``.NAME.h5.lock``."""
    return target.with_name(f".{target.name}.lock")


def file_name(index: int) -> str:
    """Name of the shard of the process with this index."""
    return f"process-{index:03d}.shard"


def write_header(folder: Path, header: ProfileHeader) -> Path:
    """Creates the partial folder, with its header.

    Raises:
        RequestError: the folder holds an interrupted profile, or cannot be created.
        MachineError: there is no room.
    """
    path = folder / _HEADER
    if path.exists():
        raise RequestError(
            f"{folder}: an interrupted profile is still here",
            f"harness recover {folder}, or delete it, or write to another file",
        )
    make_private(folder)
    _write(path, header)
    return path


def make_private(folder: Path) -> None:
    """Creates the partial folder so that only the user can access it.

    An existing folder must belong to the user and not be writable by others: another user who
    can write to it could replace files that a worker reads.

    Raises:
        RequestError: it cannot be created, is a link, belongs to another user, or is writable
            by others.
        MachineError: there is no room.
    """
    wrong = ""
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        state = folder.lstat()
        if not stat.S_ISDIR(state.st_mode):
            wrong = "exists already, and is a link or a file"
        elif state.st_uid != os.geteuid():
            wrong = "belongs to another user"
        elif state.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            wrong = "can be written to by other users"
    except OSError as error:
        if error.errno in NO_ROOM:
            raise not_written(folder, error) from error
        wrong = f"cannot be created: {error.strerror}"
    if wrong:
        raise RequestError(f"{folder}: {wrong}", "choose another `output`")


def read_header(folder: Path) -> ProfileHeader:
    """The header of a partial folder.

    Raises:
        ProfileFileError: there is none, it is damaged, or it has an unknown version.
    """
    path = folder / _HEADER
    if not path.exists():
        raise ProfileFileError(
            f"{folder}: not the partial folder of a profile: it holds no {_HEADER}",
            "give the .NAME.h5.partial folder of a profile whose workers had started",
        )
    try:
        return _read(path, ProfileHeader)
    except _DamageError as damage:
        raise ProfileFileError(
            f"{path}: damaged: {damage}", "nothing can be recovered without it; profile again"
        ) from damage


def write_shard(folder: Path, shard: Shard) -> Path:
    """Writes the shard of a finished process; once this returns, it survives any kill.

    Raises:
        FileExistsError: this process has already written its shard.
        MachineError: there is no room, or the folder cannot be written to.
    """
    path = folder / file_name(shard.process.index)
    if path.exists():
        raise FileExistsError(path)
    _write(path, shard)
    return path


def read_shard(folder: Path, index: int) -> Shard:
    """The shard of the process with this index.

    Raises:
        ProfileFileError: it is damaged or missing.
    """
    path = folder / file_name(index)
    try:
        return _read(path, Shard)
    except _DamageError as damage:
        raise ProfileFileError(f"{path}: damaged: {damage}", "measure again") from damage


def read_shards(folder: Path) -> tuple[tuple[Shard, ...], tuple[tuple[str, str], ...]]:
    """All shards of a partial folder, and the damaged ones as (file name, reason).

    Raises:
        ProfileFileError: a shard has an unknown version.
    """
    shards = []
    damaged = []
    for path in folder.glob(_SHARDS):
        try:
            shard = _read(path, Shard)
            if path.name != file_name(shard.process.index):
                raise _DamageError(f"it belongs to process {shard.process.index}")
            shards.append(shard)
        except _DamageError as damage:
            damaged.append((path.name, str(damage)))
    shards.sort(key=lambda shard: shard.process.index)
    return tuple(shards), tuple(sorted(damaged))


def finished(folder: Path) -> int:
    """How many processes have left their shard in a partial folder; 0 where it cannot be read."""
    try:
        return sum(1 for _ in folder.glob(_SHARDS))
    except OSError:
        return 0


def is_held(folder: Path) -> bool | None:
    """Whether a process holds the lock of a partial folder; None where the system does not tell.

    The lock itself is left alone: whoever tried it could be in the way of a command that starts.
    """
    try:
        inode = folder.stat().st_ino
        with open("/proc/locks", encoding="ascii", errors="replace") as locks:  # noqa: PTH123
            held = [line.split() for line in locks]
    except OSError:
        return None
    return any(
        len(words) > 5 and words[1] == "FLOCK" and words[5].rpartition(":")[2] == str(inode)
        for words in held
    )


def drop_unless_finished(folder: Path) -> bool:
    """Deletes what a partial folder holds of a profile if no process has left its shard.

    Other files and folders in it stay. Returns whether a process has left one.
    """
    finished = any(folder.glob(_SHARDS))
    if not finished:
        for path in (*folder.glob("*.shard"), *folder.glob(".*.shard*")):
            path.unlink(missing_ok=True)
    return finished


@contextlib.contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Locks a folder that is being filled against ``recover``; released when the process ends.

    Raises:
        HeldError: another process holds the lock.
        RequestError: it is not a folder.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        raise RequestError(
            f"{folder}: cannot be locked: {error.strerror}", "give the folder itself, not a link"
        ) from error
    try:
        if not try_lock(descriptor):
            raise HeldError(
                f"{folder}: the profile that writes it is still running",
                "wait until it has ended",
            )
        yield
    finally:
        os.close(descriptor)


def try_lock(descriptor: int) -> bool:
    """Locks what was opened until it is closed; False if another process holds the lock.

    Some network file systems do not support locks; there we do without.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


class _DamageError(Exception):
    """A shard cannot be read; the message says why."""


def _write(path: Path, record: ProfileHeader | Shard) -> None:
    arrays: list[np.ndarray[Any, Any]] = []

    def reduce(value: object) -> object:
        if isinstance(value, np.ndarray):
            arrays.append(value)
            return len(arrays) - 1
        if isinstance(value, Mapping):
            return dict(value)
        if isinstance(value, np.generic):
            return value.item()
        raise NotImplementedError(f"{type(value)} in a shard")

    # json rather than msgspec, because it keeps NaN, infinity and lone surrogates in path names.
    content = {
        "partial_version": PARTIAL_VERSION,
        "record": msgspec.to_builtins(record, enc_hook=reduce),
    }
    try:
        with beside(path) as unfinished, zipfile.ZipFile(unfinished, "w") as archive:
            archive.writestr(_RECORD, json.dumps(content))
            for number, array in enumerate(arrays):
                with archive.open(f"{number}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)
    except OSError as error:
        kind = NoRoomError if error.errno in NO_ROOM else MachineError
        raise kind(
            f"{path} cannot be written: {error.strerror or error}",
            f"fix that; the finished processes are safe: harness recover {path.parent}",
        ) from error


def _read(path: Path, record_type: type[_T]) -> _T:
    # A damaged zip file raises BadZipFile, EOFError, KeyError, ValueError, NotImplementedError,
    # MemoryError … depending on which byte is damaged.
    try:
        with os.fdopen(open_ordinary(path), "rb") as stream, zipfile.ZipFile(stream) as archive:
            _require_plain(archive, os.fstat(stream.fileno()).st_size)
            content = json.loads(archive.read(_RECORD))
            version = content["partial_version"]
            if version == PARTIAL_VERSION:
                # A profile read from shards holds the text that its file would hold.
                plain = storable_values(content["record"])
                record = _restore(archive, plain, record_type)
                if isinstance(record, Shard):
                    _check(record)
                if isinstance(record, ProfileHeader) and not _is_object(record.config):
                    raise TypeError("its config is not a JSON object")
                return record
    except Exception as error:
        raise _DamageError(f"{type(error).__name__}: {one_line(str(error))}") from error
    raise ProfileFileError(
        f"{path}: partial state of version {version}, this harness reads {PARTIAL_VERSION}",
        "recover it with the version of harness that recorded it",
    )


def _is_object(text: str) -> bool:
    return isinstance(json.loads(text), dict)


def _require_plain(archive: zipfile.ZipFile, file_bytes: int) -> None:
    """Refuses compressed members, so that no more is read than the size of the file."""
    members = archive.infolist()
    if any(each.compress_type != zipfile.ZIP_STORED for each in members):
        raise ValueError("it is compressed")
    if sum(each.file_size for each in members) > file_bytes:
        raise ValueError("its members are larger than the file")


def _check(shard: Shard) -> None:
    """Makes sure that columns have matching lengths and numbers are within their bounds."""
    process = shard.process
    if process.index < 0 or process.loops < 1 or not len(process.steady):
        raise ValueError("a process that measured nothing")
    for series in (process.warmup, process.steady, process.copied):
        bounds.check_columns(series, bounds.LATENCY, len(series.start_ns))
    bounds.check_columns(process.yardstick, bounds.YARDSTICK, len(process.yardstick))
    if len(process.enqueue_ns):
        limits = {"enqueue_ns": bounds.DURATION}
        bounds.check_columns(process, limits, len(process.steady))
    known = frozenset({process.index})
    if len(process.caller):
        bounds.check_columns(process, {"caller": bounds.CALLER}, len(process.steady))
    if shard.instances is not None:
        count = len(shard.instances)
        told = ("cpus", "memory")
        bounds.check_columns(shard.instances, bounds.instances(known), count, told)
        bounds.check_instances(shard.instances, {process.index: process.caller})
    rows = None
    if shard.nodes is not None:
        rows = len(shard.nodes)
        texts = tuple(column.name for column in columns_of(NodeTable) if not column.unit)
        bounds.check_columns(shard.nodes, bounds.node_table(rows), rows, texts)
        bounds.check_depth(shard.nodes.depth, shard.nodes.parent)
    for name, events in shard.traces.items():
        _check_events(events, known, bounds.nodes_below(rows, places=name in OF_PLACES))
    for device in shard.devices:
        bounds.check_columns(device, bounds.device(known), len(device.value))
    if shard.kernels is not None:
        limits = bounds.kernels(known, bounds.nodes_below(rows))
        bounds.check_columns(shard.kernels, limits, len(shard.kernels.node), ("kind", "name"))
    for timeline in (shard.timeline, shard.replay):
        if timeline is not None:
            _check_timeline(timeline, known, bounds.nodes_below(rows))


def _check_timeline(timeline: GpuTimeline, known: frozenset[int], nodes: int) -> None:
    launches, inferences = timeline.launches, timeline.inferences
    limits = bounds.launches(known, nodes)
    bounds.check_columns(launches, limits, len(launches.node), ("kind", "name"))
    bounds.check_columns(inferences, bounds.timeline_inferences(known), len(inferences.process))
    limits = bounds.launch_times(len(launches.node), len(inferences.process))
    times = timeline.times
    bounds.check_columns(times, limits, len(times.launch))
    bounds.check_timeline(launches.process, inferences.process, times.launch, times.inference)


def _check_events(events: NodeEvents, known: frozenset[int], nodes: int) -> None:
    limits = bounds.events(known, nodes, len(events.inference_number))
    whole = {name: limits.pop(name) for name in tuple(limits) if name.startswith("inference_")}
    bounds.check_columns(events, limits, len(events.node))
    bounds.check_columns(events, whole, len(events.inference_number))
    if not np.isin(events.inference, events.inference_number).all():
        raise ValueError("an event belongs to no inference")
    for name, values in events.details.items():
        if values.dtype != np.int64 or values.shape != events.node.shape:
            raise ValueError(f"{name}: is not a column of the events")


def _restore(archive: zipfile.ZipFile, record: object, record_type: type[_T]) -> _T:
    def array(_: object, number: int) -> np.ndarray[Any, Any]:
        with archive.open(f"{number}.npy") as member:
            values: np.ndarray[Any, Any] = np.lib.format.read_array(member, allow_pickle=False)
            return values

    return msgspec.convert(record, record_type, dec_hook=array)
