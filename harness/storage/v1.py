"""Format version 1: columnar HDF5 that netCDF-4 readers open too; see profiles/FORMAT.md.

HDF5 never touches the disk here. The file is built in memory and its image written by
plain system calls, because HDF5 that meets a full disk keeps objects that it can no longer
flush and may take the interpreter down at exit. So an error leaves nothing behind, and the
caller may go on or leave as it likes. Memory: about twice the size of the finished file.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import h5py
import numpy as np

from harness.errors import NO_ROOM, MachineError, RequestError
from harness.records import (
    NO_YARDSTICK,
    NOTHING,
    DeviceSeries,
    InputRecord,
    KernelEvents,
    LatencySeries,
    ModelRecord,
    NodeEvents,
    NodeTable,
    ProcessRecord,
    Profile,
    Reading,
    Stacks,
    Yardstick,
)
from harness.statistics import latency
from harness.statistics.figures import Figure
from harness.storage.columns import CHUNK_ROWS, Column, Columns, ProfileFile, stored
from harness.storage.shards import put_in_place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

FORMAT = "harness-profile"
FORMAT_VERSION = 1

Fact = int | float | str | None


class _Column(NamedTuple):
    """How a column is stored: its units, and what it means where the name does not tell."""

    units: str
    long_name: str = ""


_LATENCY = {
    "start_ns": _Column("ns", "CLOCK_MONOTONIC before the inference"),
    "duration_ns": _Column("ns", "from start until the call returned"),
}
_ENQUEUE = _Column("ns", "part of duration_ns until the call returned, work enqueued")
_NODES = {
    "name": _Column("", "name in the executed graph, may be empty or repeat"),
    "op_type": _Column(""),
    "domain": _Column("", "operator domain, empty for ai.onnx"),
    "provider": _Column("", "execution provider, empty where never seen running"),
    "order": _Column("1", "place in the order of execution within its graph, -1 if not seen"),
    "depth": _Column("1", "0 in the main graph, 1 in the body of a control-flow node of it"),
    "parent": _Column("1", "row of the enclosing control-flow node, -1 in the main graph"),
    "branch": _Column("", "attribute of the parent that holds the node"),
    "input_type_shape": _Column("", "JSON as ONNX Runtime reports it, empty where not seen"),
    "output_type_shape": _Column("", "JSON as ONNX Runtime reports it, empty where not seen"),
    "activation_bytes": _Column("bytes", "ORT's activation_size, -1 where not seen"),
    "parameter_bytes": _Column("bytes", "ORT's parameter_size, -1 where not seen"),
    "output_bytes": _Column("bytes", "ORT's output_size, -1 where not seen"),
    "carrier": _Column("1", "row of the node whose probe covers it, -1 where none does"),
    "flops": _Column("1", "operations of one execution, -1 where not known"),
    "traffic_bytes": _Column("bytes", "least memory traffic of one execution, -1 not known"),
    "arithmetic": _Column("", "element type of the operations, empty where not known"),
}
_EVENTS = {
    "node": _Column("1", "row in /nodes"),
    "process": _Column("1", "index of the process"),
    "inference": _Column("1", "number of the traced inference in its process, from 0"),
    "start_ns": _Column("ns", "CLOCK_MONOTONIC"),
    "duration_ns": _Column("ns", "with the nodes of the subgraphs that it ran"),
    "self_ns": _Column("ns", "duration_ns less that of its direct children"),
}
_INFERENCES = {
    "inference_process": _Column("1", "process of each traced inference"),
    "inference_number": _Column("1", "its number in that process"),
    "inference_start_ns": _Column("ns", "CLOCK_MONOTONIC"),
    "inference_duration_ns": _Column("ns", "whole traced inference as the tracer reports it"),
    "inference_framework_ns": _Column("ns", "what of it belongs to no node; -1 not known"),
}
_DEVICE = {
    "process": _Column("1", "index of the process"),
    "time_ns": _Column("ns", "CLOCK_MONOTONIC of the reading"),
}
_CHANGED = _Column("1", "1 where the value differs from the reading before in its process")
_KERNELS = {
    "kind": _Column("", "kernel, memcpy or memset"),
    "name": _Column("", "function, or direction of a copy"),
    "node": _Column("1", "row in /nodes, -1 where it could not be joined"),
    "process": _Column("1", "index of the process"),
    "inference": _Column("1", "number of the traced inference in its process, -1 outside"),
    "start_ns": _Column("ns", "CLOCK_MONOTONIC"),
    "duration_ns": _Column("ns"),
    "launch_ns": _Column("ns", "CLOCK_MONOTONIC when the host began to launch it, -1 unknown"),
    "stream": _Column("1"),
    "registers": _Column("1", "of a thread, -1 for copies"),
    "shared_bytes": _Column("bytes", "of a block, -1 for copies"),
    "bytes": _Column("bytes", "moved or set, -1 for kernels"),
}
#: Columns of KernelEvents with a value for each of the three axes.
_KERNEL_SIZES = ("grid", "block")
_STACKS = {
    "stack": _Column("", "frames from the outermost to the innermost, with ; between them"),
    "samples": _Column("1", "how often it was seen"),
}
_YARDSTICK = {
    "start_ns": _Column("ns", "CLOCK_MONOTONIC before each repetition"),
    "compute_ns": _Column("ns", "arithmetic in registers"),
    "cache_ns": _Column("ns", "a walk through data that fits the cache"),
    "memory_ns": _Column("ns", "a stream through data that does not"),
}
_PROCESS = {
    "index": _Column("1", "number of the process, from 0"),
    "pid": _Column("1", "process id"),
    "library_ns": _Column("ns", "opening libonnxruntime"),
    "session_ns": _Column("ns", "creating the session"),
    "first_inference_ns": _Column("ns", "the very first inference"),
    "loops": _Column("1", "inferences in one pyperf value"),
}
_MODEL_TEXT = ("name", "path", "sha256", "producer")
_MODEL_NUMBERS = {
    "size_bytes": _Column("bytes", "model file and its external data"),
    "ir_version": _Column("1"),
    "node_count": _Column("1", "nodes in the file's main graph, before optimisation"),
    "parameter_count": _Column("1", "elements in its initialisers, subgraphs included"),
}
_INPUTS = ("name", "dtype", "chosen_because", "sha256")
_UNITS_BY_SUFFIX = {"ns": "ns", "us": "us", "s": "s", "bytes": "bytes", "hz": "Hz", "mw": "mW"}


def write(profile: Profile, target: Path, *, force: bool, work_folder: Path) -> None:
    """Writes a profile: whole, or not at all.

    Args:
        profile: what to write; its ``path`` is not stored.
        target: the file to make.
        force: overwrite an existing target.
        work_folder: existing folder on the target's file system for the unfinished file.

    Raises:
        RequestError: the target exists (without force), or its folder cannot be written.
        MachineError: there is no room; nothing was written, work_folder keeps what it had.
    """
    _refuse_existing(target, force)
    image = _image(profile)
    temporary = work_folder / f"{target.name}.tmp"
    try:
        temporary.write_bytes(image)
        _refuse_existing(target, force)
        put_in_place(temporary, target)
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in NO_ROOM:
            kept = any(work_folder.glob("*.shard"))
            raise MachineError(
                f"{target}: no room to write it ({reason})"
                + (f"; every finished process is kept in {work_folder}" if kept else ""),
                "make room, then "
                + (f"harness recover {work_folder}" if kept else "write it again"),
            ) from error
        raise RequestError(
            f"{target} cannot be written: {reason}", "write to another folder"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def read(profile: ProfileFile) -> Profile:
    """The profile in a file of version 1, with long columns left to be read when touched.

    Raises:
        ProfileFileError: the file is damaged.
    """
    with profile.opened() as file:
        traces = file.get("trace", {})
        processes = file["processes"]
        return Profile(
            path=profile.path,
            harness_version=file.attrs["harness_version"],
            created=file.attrs["created"],
            complete=bool(file.attrs["complete"]),
            config=file.attrs["config"],
            model=_read_model(file["model"]),
            provider=file.attrs["provider"],
            inputs=_read_inputs(file["inputs"]),
            output_check=_read_readings(file["output_check"])[0],
            environment=_read_readings(file["environment"]),
            processes=tuple(
                _read_process(profile, processes[name]) for name in sorted(processes, key=int)
            ),
            nodes=NodeTable(**_read_columns(file["nodes"], _NODES)) if "nodes" in file else None,
            traces={
                name: _read_events(profile, traces[name]) for name in traces if name != "kernels"
            },
            devices=tuple(
                _read_device(name, quantity, device[quantity])
                for name, device in file.get("devices", {}).items()
                for quantity in device
            ),
            stacks=_read_stacks(file["stacks"]) if "stacks" in file else None,
            kernels=_read_kernels(profile, traces["kernels"]) if "kernels" in traces else None,
            absent=tuple(
                zip(_text(file["absent/what"]), _text(file["absent/reason"]), strict=True)
            ),
        )


@dataclasses.dataclass(frozen=True, slots=True)
class FileGroup:
    """One group of a profile's file.

    Attributes:
        path: ``/`` or ``/processes/000/latency``.
        attributes: of the group.
        variables: its datasets by name: names of their dimensions, values, attributes
            (``units``, ``long_name``).
    """

    path: str
    attributes: Mapping[str, Any]
    variables: Mapping[str, tuple[tuple[str, ...], Any, Mapping[str, Any]]]


def groups(profile: Profile) -> Iterator[FileGroup]:
    """The groups of the file that ``write`` makes of a profile, with what is in them, loaded."""
    with h5py.File(io.BytesIO(_image(profile)), "r") as file:
        paths = ["/"]
        file.visititems(
            lambda path, item: paths.append(f"/{path}") if isinstance(item, h5py.Group) else None
        )
        for path in paths:
            datasets = {
                name: item for name, item in file[path].items() if isinstance(item, h5py.Dataset)
            }
            yield FileGroup(
                path,
                dict(file[path].attrs),
                {
                    name: _variable(dataset)
                    for name, dataset in datasets.items()
                    if not dataset.is_scale
                },
            )


def _variable(dataset: h5py.Dataset) -> tuple[tuple[str, ...], Any, Mapping[str, Any]]:
    texts = h5py.check_string_dtype(dataset.dtype) is not None
    return (
        tuple(dimension[0].name.rpartition("/")[2] for dimension in dataset.dims),
        dataset.asstr()[...] if texts else dataset[()],
        {name: value for name, value in dataset.attrs.items() if name != "DIMENSION_LIST"},
    )


def _refuse_existing(target: Path, force: bool) -> None:
    if target.is_dir():
        raise RequestError(f"{target}: is a folder", "give a file name")
    if target.exists() and not force:
        raise RequestError(f"{target}: exists already", "give --force, or another output file")


def _image(profile: Profile) -> bytes:
    with h5py.File(
        "profile",
        "w",
        driver="core",
        backing_store=False,
        libver=("v110", "v110"),
        track_order=True,
    ) as file:
        _write_profile(file, profile)
        _write_summary(_group(file, "summary"), latency.summary(profile))
        file.flush()
        image: bytes = file.id.get_file_image()
    return image


def _write_profile(file: h5py.File, profile: Profile) -> None:
    file.attrs["Conventions"] = "CF-1.8"
    file.attrs["format"] = FORMAT
    file.attrs["format_version"] = FORMAT_VERSION
    file.attrs["harness_version"] = profile.harness_version
    file.attrs["created"] = profile.created
    file.attrs["complete"] = int(profile.complete)
    file.attrs["provider"] = profile.provider
    file.attrs["config"] = _storable(profile.config)

    _write_model(_group(file, "model"), profile.model)
    _write_inputs(_group(file, "inputs"), profile.inputs)
    _write_readings(_group(file, "output_check"), [profile.output_check])
    _write_readings(_group(file, "environment"), profile.environment)
    if profile.nodes is not None:
        nodes = _group(file, "nodes")
        _write_columns(nodes, _NODES, profile.nodes, _dimension(nodes, "node", len(profile.nodes)))
    processes = _group(file, "processes")
    for process in profile.processes:
        _write_process(_group(processes, f"{process.index:03d}"), process)
    if profile.traces or profile.kernels is not None:
        trace = _group(file, "trace")
        for name, events in profile.traces.items():
            _write_events(_group(trace, name), events)
        if profile.kernels is not None:
            _write_kernels(_group(trace, "kernels"), profile.kernels)
    if profile.stacks is not None:
        _write_stacks(_group(file, "stacks"), profile.stacks)
    if profile.devices:
        devices = _group(file, "devices")
        for series in profile.devices:
            device = devices.get(series.device) or _group(devices, series.device)
            _write_device(_group(device, series.quantity), series)
    absent = _group(file, "absent")
    absence = _dimension(absent, "absence", len(profile.absent))
    _write_text(absent, "what", [what for what, _ in profile.absent], absence)
    _write_text(absent, "reason", [reason for _, reason in profile.absent], absence)


def _write_model(group: h5py.Group, model: ModelRecord) -> None:
    for name in _MODEL_TEXT:
        group.attrs[name] = _storable(getattr(model, name))
    _write_scalars(group, _MODEL_NUMBERS, model)
    opset = _dimension(group, "opset", len(model.opsets))
    _write_text(group, "opsets", model.opsets, opset, "domain:version of each operator set")


def _read_model(group: h5py.Group) -> ModelRecord:
    texts: dict[str, Any] = {name: group.attrs[name] for name in _MODEL_TEXT}
    return ModelRecord(
        **texts, **_read_scalars(group, _MODEL_NUMBERS), opsets=_text(group["opsets"])
    )


def _write_inputs(group: h5py.Group, inputs: Sequence[InputRecord]) -> None:
    dimension = _dimension(group, "input", len(inputs))
    for name in _INPUTS:
        _write_text(group, name, [getattr(each, name) for each in inputs], dimension)
    shapes = [json.dumps(each.shape) for each in inputs]
    _write_text(group, "shape", shapes, dimension, "JSON list of sizes")


def _read_inputs(group: h5py.Group) -> tuple[InputRecord, ...]:
    columns = {name: _text(group[name]) for name in _INPUTS}
    return tuple(
        InputRecord(
            shape=tuple(json.loads(shape)),
            **{name: column[row] for name, column in columns.items()},
        )
        for row, shape in enumerate(_text(group["shape"]))
    )


def _write_process(group: h5py.Group, process: ProcessRecord) -> None:
    _write_scalars(group, _PROCESS, process)
    line = _dimension(group, "log_line", len(process.log))
    _write_text(group, "log", process.log, line, "lines that ONNX Runtime logged")
    for name, series in (
        ("latency", process.steady),
        ("warmup", process.warmup),
        ("copied", process.copied),
    ):
        if name == "copied" and not len(series):
            continue
        samples = _group(group, name)
        sample = _dimension(samples, "sample", len(series))
        _write_columns(samples, _LATENCY, series, sample)
        if name == "latency":
            samples.attrs["duration_holds"] = process.duration_holds
            if len(process.enqueue_ns):
                _write_numbers(samples, "enqueue_ns", process.enqueue_ns, _ENQUEUE, sample)
    if len(process.yardstick):
        yardstick = _group(group, "yardstick")
        repetition = _dimension(yardstick, "repetition", len(process.yardstick))
        _write_columns(yardstick, _YARDSTICK, process.yardstick, repetition)
    _write_readings(_group(group, "noise"), process.noise)
    metadata = _group(group, "metadata")
    entry = _dimension(metadata, "entry", len(process.metadata))
    _write_text(metadata, "name", list(process.metadata), entry)
    _write_facts(metadata, list(process.metadata.values()), entry)


def _read_process(file: ProfileFile, group: h5py.Group) -> ProcessRecord:
    def series(name: str) -> LatencySeries:
        columns = _columns(file, group[name], _LATENCY)
        return stored(LatencySeries, columns, len(group[name]["duration_ns"]))

    metadata = group["metadata"]
    facts: Any = zip(_text(metadata["name"]), _read_facts(metadata), strict=True)
    return ProcessRecord(
        **_read_scalars(group, _PROCESS),
        warmup=series("warmup"),
        steady=series("latency"),
        noise=_read_readings(group["noise"]),
        metadata=dict(facts),
        log=_text(group["log"]),
        yardstick=Yardstick(**_read_columns(group["yardstick"], _YARDSTICK))
        if "yardstick" in group
        else NO_YARDSTICK,
        duration_holds=group["latency"].attrs.get("duration_holds", ""),
        enqueue_ns=group["latency/enqueue_ns"][...]
        if "enqueue_ns" in group["latency"]
        else NOTHING,
        copied=series("copied") if "copied" in group else LatencySeries(NOTHING, NOTHING),
    )


#: What files call a source of events, where it is not its name.
_STORED_SOURCES = {"ort": "ort_profiler"}
_SOURCES = {stored: name for name, stored in _STORED_SOURCES.items()}


def _write_events(group: h5py.Group, events: NodeEvents) -> None:
    group.attrs["source"] = _STORED_SOURCES.get(events.source, events.source)
    _write_number(group, "dropped", events.dropped, _Column("1", "events the tracer dropped"))
    _write_number(group, "resolution_ns", events.resolution_ns, _Column("ns", "clock step"))
    event = _dimension(group, "event", len(events))
    _write_columns(group, _EVENTS, events, event)
    for name, values in events.details.items():
        column = _Column(_units(name), "-1 where an event lacks it")
        _write_numbers(group, name, values, column, event)
    inference = _dimension(group, "traced_inference", len(events.inference_number))
    _write_columns(group, _INFERENCES, events, inference)


def _read_events(file: ProfileFile, group: h5py.Group) -> NodeEvents:
    known = {"dropped", "resolution_ns", "event", "traced_inference", *_EVENTS, *_INFERENCES}
    details = _columns(file, group, [name for name in group if name not in known])
    return stored(
        NodeEvents,
        {**_columns(file, group, _EVENTS), "details": Columns(details)},
        len(group["node"]),
        source=_SOURCES.get(group.attrs["source"], group.attrs["source"]),
        dropped=int(group["dropped"][()]),
        resolution_ns=int(group["resolution_ns"][()]),
        **_columns(file, group, _INFERENCES),
    )


def _write_device(group: h5py.Group, series: DeviceSeries) -> None:
    group.attrs["source"] = _storable(series.source)
    group.attrs["double"] = int(series.double)
    reading = _dimension(group, "reading", len(series))
    _write_columns(group, _DEVICE, series, reading)
    _write_numbers(group, "value", series.value, _Column(series.unit), reading)
    _write_numbers(group, "changed", series.changed.astype(np.int32), _CHANGED, reading)


def _read_device(device: str, quantity: str, group: h5py.Group) -> DeviceSeries:
    return DeviceSeries(
        device=device,
        quantity=quantity,
        unit=group["value"].attrs["units"],
        source=group.attrs["source"],
        value=group["value"][...],
        changed=group["changed"][...].astype(np.int8),
        double=bool(group.attrs["double"]),
        **_read_columns(group, _DEVICE),
    )


def _write_stacks(group: h5py.Group, stacks: Stacks) -> None:
    group.attrs["native"] = int(stacks.native)
    _write_number(group, "rate_hz", stacks.rate_hz, _Column("Hz", "samples asked for"))
    _write_number(group, "failed", stacks.failed, _Column("1", "samples that failed"))
    _write_columns(group, _STACKS, stacks, _dimension(group, "row", len(stacks)))


def _read_stacks(group: h5py.Group) -> Stacks:
    return Stacks(
        rate_hz=int(group["rate_hz"][()]),
        native=bool(group.attrs["native"]),
        failed=int(group["failed"][()]),
        **_read_columns(group, _STACKS),
    )


def _write_kernels(group: h5py.Group, kernels: KernelEvents) -> None:
    group.attrs["unjoined_reason"] = _storable(kernels.unjoined_reason)
    _write_number(group, "dropped", kernels.dropped, _Column("1", "records CUPTI dropped"))
    _write_number(
        group, "disagreements", kernels.disagreements, _Column("1", "launched outside of the node")
    )
    event = _dimension(group, "event", len(kernels))
    _write_columns(group, _KERNELS, kernels, event)
    for name in _KERNEL_SIZES:
        for axis, values in zip("xyz", getattr(kernels, name).T, strict=True):
            column = _Column("1", "-1 for copies")
            _write_numbers(group, f"{name}_{axis}", values, column, event)


def _read_kernels(file: ProfileFile, group: h5py.Group) -> KernelEvents:
    sizes = {
        name: Column.of(file, *(group[f"{name}_{axis}"] for axis in "xyz"))
        for name in _KERNEL_SIZES
    }
    return stored(
        KernelEvents,
        {**_columns(file, group, _KERNELS), **sizes},
        len(group["node"]),
        unjoined_reason=group.attrs["unjoined_reason"],
        disagreements=int(group["disagreements"][()]),
        dropped=int(group["dropped"][()]),
    )


def _write_readings(group: h5py.Group, readings: Sequence[Reading]) -> None:
    dimension = _dimension(group, "reading", len(readings))
    _write_text(group, "name", [reading.name for reading in readings], dimension)
    _write_facts(group, [reading.value for reading in readings], dimension)
    _write_text(group, "unit", [reading.unit for reading in readings], dimension)
    _write_text(group, "source", [reading.source for reading in readings], dimension)
    reasons = [reading.reason for reading in readings]
    _write_text(group, "reason", reasons, dimension, "why the value is absent")


def _read_readings(group: h5py.Group) -> tuple[Reading, ...]:
    texts = [_text(group[name]) for name in ("name", "unit", "source", "reason")]
    return tuple(
        Reading(name, value, unit, source, reason)
        for value, name, unit, source, reason in zip(_read_facts(group), *texts, strict=True)
    )


def _write_facts(group: h5py.Group, facts: Sequence[Fact], dimension: h5py.Dataset) -> None:
    """Values of several types: exact as text with its kind, and numbers once more as such."""
    rows = [_fact_columns(fact) for fact in facts]
    _write_text(group, "value", [text for _, text, _ in rows], dimension, "as text, exact")
    kinds = [kind for kind, _, _ in rows]
    _write_text(group, "kind", kinds, dimension, "type of the value: int, float, str or absent")
    numbers = np.array([number for _, _, number in rows], np.float64)
    column = _Column("1", "the value as a number in its own unit, NaN where it is none")
    _write_numbers(group, "number", numbers, column, dimension)


def _fact_columns(fact: Fact) -> tuple[str, str, float]:
    if fact is None:
        return "absent", "", math.nan
    if isinstance(fact, str):
        return "str", fact, math.nan
    if isinstance(fact, float):
        return "float", repr(float(fact)), fact
    return "int", str(int(fact)), float(fact)


def _read_facts(group: h5py.Group) -> list[Fact]:
    parsers: dict[str, Callable[[str], Fact]] = {
        "absent": lambda _: None,
        "int": int,
        "float": float,
        "str": str,
    }
    return [
        parsers[kind](text)
        for text, kind in zip(_text(group["value"]), _text(group["kind"]), strict=True)
    ]


def _write_summary(group: h5py.Group, summary: Mapping[str, Figure]) -> None:
    for name, figure in summary.items():
        if figure.value is None:
            group.attrs[f"{name}_reason"] = figure.reason
        else:
            _write_number(group, name, figure.value, _Column(_units(name)))


def _units(name: str) -> str:
    return _UNITS_BY_SUFFIX.get(name.rpartition("_")[2], "1")


def _group(parent: h5py.Group, name: str) -> h5py.Group:
    return parent.create_group(name, track_order=True)


def _dimension(group: h5py.Group, name: str, size: int) -> h5py.Dataset:
    """A netCDF dimension without coordinates: a dimension scale that takes no storage."""
    scale = group.create_dataset(name, shape=(size,), dtype=np.int32)
    # The netCDF-4 library knows such a dimension by this very text.
    scale.make_scale(f"This is a netCDF dimension but not a netCDF variable.{size:10d}")
    return scale


def _write_columns(
    group: h5py.Group, columns: Mapping[str, _Column], record: object, dimension: h5py.Dataset
) -> None:
    for name, column in columns.items():
        values = getattr(record, name)
        if isinstance(values, np.ndarray):
            _write_numbers(group, name, values, column, dimension)
        else:
            _write_text(group, name, values, dimension, column.long_name)


def _columns(file: ProfileFile, group: h5py.Group, names: Iterable[str]) -> dict[str, Column]:
    """Columns that are still to be read."""
    return {name: Column.of(file, group[name]) for name in names}


def _read_columns(group: h5py.Group, columns: Mapping[str, _Column]) -> dict[str, Any]:
    return {
        name: _text(group[name]) if h5py.check_string_dtype(group[name].dtype) else group[name][...]
        for name in columns
    }


def _write_scalars(group: h5py.Group, columns: Mapping[str, _Column], record: object) -> None:
    for name, column in columns.items():
        _write_number(group, name, getattr(record, name), column)


def _read_scalars(group: h5py.Group, columns: Mapping[str, _Column]) -> dict[str, Any]:
    return {name: int(group[name][()]) for name in columns}


def _write_number(group: h5py.Group, name: str, value: float, column: _Column) -> None:
    dtype = np.int64 if isinstance(value, int) else np.float64
    _describe(group.create_dataset(name, data=value, dtype=dtype), column)


def _write_numbers(
    group: h5py.Group,
    name: str,
    values: np.ndarray[Any, Any],
    column: _Column,
    dimension: h5py.Dataset,
) -> None:
    layout: dict[str, Any] = {}
    if len(values):
        layout = {
            "chunks": (min(len(values), CHUNK_ROWS),),
            "compression": "gzip",
            "compression_opts": 1,
            "shuffle": True,
        }
    dataset = group.create_dataset(name, data=values, **layout)
    dataset.dims[0].attach_scale(dimension)
    _describe(dataset, column)


def _write_text(
    group: h5py.Group,
    name: str,
    texts: Sequence[str],
    dimension: h5py.Dataset,
    long_name: str = "",
) -> None:
    data = np.array([_storable(text) for text in texts], dtype=object)
    dataset = group.create_dataset(name, data=data, dtype=h5py.string_dtype())
    dataset.dims[0].attach_scale(dimension)
    _describe(dataset, _Column("", long_name))


def _describe(dataset: h5py.Dataset, column: _Column) -> None:
    dataset.attrs["units"] = column.units
    if column.long_name:
        dataset.attrs["long_name"] = column.long_name


def _storable(text: str) -> str:
    """Text that HDF5 holds: NUL and bytes that are no UTF-8 become backslash escapes."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def _text(dataset: h5py.Dataset) -> tuple[str, ...]:
    return tuple(dataset.asstr()[...])
