"""Writes format version 1.

HDF5 never touches the disk here. The file is built in memory, and its image is then written with
plain system calls: on a full disk, HDF5 would keep objects that it can no longer flush, and might
crash the interpreter at exit. So an error leaves nothing behind, and the caller may go on or
exit. Memory: about twice the size of the finished file.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import json
import math
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import h5py
import numpy as np

from harness.records import (
    DeviceSeries,
    GpuTimeline,
    InputRecord,
    KernelEvents,
    Launches,
    ModelRecord,
    NodeEvents,
    ProcessRecord,
    Profile,
    Reading,
    Stacks,
    WallTime,
)
from harness.statistics import latency
from harness.statistics.figures import Figure
from harness.storage.columns import CHUNK_ROWS
from harness.storage.text import storable
from harness.storage.v1.schema import (
    CALLER,
    CHANGED,
    DEVICE,
    ENQUEUE,
    EVENTS,
    FORMAT,
    FORMAT_VERSION,
    FUNCTION,
    FUNCTIONS,
    INFERENCES,
    INPUT_TEXT,
    INSTANCES,
    KERNEL_SIZES,
    KERNELS,
    LATENCY,
    LAUNCH_TIMES,
    LAUNCHES,
    MODEL_NUMBERS,
    MODEL_TEXT,
    NODES,
    PROCESS,
    STACKS,
    STORED_SOURCES,
    STRETCHES,
    TIMELINE_INFERENCES,
    WALL,
    YARDSTICK,
    Attributes,
    Fact,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

_T = TypeVar("_T")

_UNITS_BY_SUFFIX = {"ns": "ns", "us": "us", "s": "s", "bytes": "bytes", "hz": "Hz", "mw": "mW"}


def image(profile: Profile, ended: Callable[[], WallTime] | None = None) -> tuple[Profile, bytes]:
    """The profile, and the bytes of its file; its ``path`` is not stored.

    Args:
        profile: to store.
        ended: called for its ``wall_time`` when everything else is in place.
    """
    with (
        _beside(lambda: latency.summary(profile)) as summary,
        h5py.File(
            "profile",
            "w",
            driver="core",
            backing_store=False,
            libver=("v110", "v110"),
            track_order=True,
        ) as file,
    ):
        _write_profile(file, profile)
        _write_summary(_group(file, "summary"), summary())
        if ended is not None:
            profile = dataclasses.replace(profile, wall_time=ended())
        if profile.wall_time is not None:
            _write_wall_time(_group(file, "wall_time"), profile.wall_time)
        file.flush()
        written: bytes = file.id.get_file_image()
    return profile, written


@contextlib.contextmanager
def _beside(work: Callable[[], _T]) -> Iterator[Callable[[], _T]]:
    """Does some work on another thread meanwhile; where none can be had, once it is asked for.

    Percentiles of millions of samples take as long as compressing them, and both of them leave
    Python free.
    """
    with ThreadPoolExecutor(max_workers=1) as thread:
        try:
            done: Callable[[], _T] = functools.partial(thread.submit(work).result, None)
        except RuntimeError:  # no further thread may be started
            done = work
        yield done


@dataclasses.dataclass(frozen=True, slots=True)
class FileGroup:
    """One group of a profile's file.

    Attributes:
        path: such as ``/`` or ``/processes/000/latency``.
        attributes: of the group.
        variables: its datasets by name: names of their dimensions, values, attributes
            (``units``, ``long_name``).
    """

    path: str
    attributes: Mapping[str, Any]
    variables: Mapping[str, tuple[tuple[str, ...], Any, Mapping[str, Any]]]


def groups(profile: Profile) -> Iterator[FileGroup]:
    """The groups of a profile's file, with their contents loaded."""
    with h5py.File(io.BytesIO(image(profile)[1]), "r") as file:
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


def _write_profile(file: h5py.File, profile: Profile) -> None:
    file.attrs["Conventions"] = "CF-1.8"
    file.attrs["format"] = FORMAT
    file.attrs["format_version"] = FORMAT_VERSION
    file.attrs["harness_version"] = profile.harness_version
    file.attrs["created"] = profile.created
    file.attrs["complete"] = int(profile.complete)
    file.attrs["provider"] = profile.provider
    file.attrs["config"] = storable(profile.config)

    _write_model(_group(file, "model"), profile.model)
    _write_inputs(_group(file, "inputs"), profile.inputs)
    _write_readings(_group(file, "output_check"), [profile.output_check])
    _write_readings(_group(file, "environment"), profile.environment)
    if profile.nodes is not None:
        nodes = _group(file, "nodes")
        _write_columns(nodes, NODES, profile.nodes, _dimension(nodes, "node", len(profile.nodes)))
    processes = _group(file, "processes")
    for process in profile.processes:
        _write_process(_group(processes, f"{process.index:03d}"), process)
    if profile.traces or profile.kernels is not None:
        trace = _group(file, "trace")
        for name, events in profile.traces.items():
            _write_events(_group(trace, name), events)
        if profile.kernels is not None:
            _write_kernels(_group(trace, "kernels"), profile.kernels)
    for name, timeline in (("timeline", profile.timeline), ("replay", profile.replay)):
        if timeline is not None:
            _write_timeline(_group(file, name), timeline)
    if profile.instances is not None:
        instances = _group(file, "instances")
        row = _dimension(instances, "row", len(profile.instances))
        _write_columns(instances, INSTANCES, profile.instances, row)
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
    for name in MODEL_TEXT:
        group.attrs[name] = storable(getattr(model, name))
    _write_scalars(group, MODEL_NUMBERS, model)
    opset = _dimension(group, "opset", len(model.opsets))
    _write_text(group, "opsets", model.opsets, opset, "domain:version of each operator set")


def _write_inputs(group: h5py.Group, inputs: Sequence[InputRecord]) -> None:
    dimension = _dimension(group, "input", len(inputs))
    for name in INPUT_TEXT:
        _write_text(group, name, [getattr(each, name) for each in inputs], dimension)
    shapes = [json.dumps(each.shape) for each in inputs]
    _write_text(group, "shape", shapes, dimension, "JSON list of sizes")


def _write_process(group: h5py.Group, process: ProcessRecord) -> None:
    _write_scalars(group, PROCESS, process)
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
        _write_columns(samples, LATENCY, series, sample)
        if name == "latency":
            samples.attrs["duration_holds"] = process.duration_holds
            if len(process.enqueue_ns):
                _write_numbers(samples, "enqueue_ns", process.enqueue_ns, ENQUEUE, sample)
            if len(process.caller):
                _write_numbers(samples, "caller", process.caller, CALLER, sample)
    if len(process.yardstick):
        yardstick = _group(group, "yardstick")
        repetition = _dimension(yardstick, "repetition", len(process.yardstick))
        _write_columns(yardstick, YARDSTICK, process.yardstick, repetition)
    _write_readings(_group(group, "noise"), process.noise)
    metadata = _group(group, "metadata")
    entry = _dimension(metadata, "entry", len(process.metadata))
    _write_text(metadata, "name", list(process.metadata), entry)
    _write_facts(metadata, list(process.metadata.values()), entry)


def _write_events(group: h5py.Group, events: NodeEvents) -> None:
    group.attrs["source"] = STORED_SOURCES.get(events.source, events.source)
    _write_number(group, "dropped", events.dropped, Attributes("1", "events the tracer dropped"))
    _write_number(group, "resolution_ns", events.resolution_ns, Attributes("ns", "clock step"))
    event = _dimension(group, "event", len(events))
    _write_columns(group, EVENTS, events, event)
    for name, values in events.details.items():
        column = Attributes(_units(name), "-1 where an event lacks it")
        _write_numbers(group, name, values, column, event)
    inference = _dimension(group, "traced_inference", len(events.inference_number))
    _write_columns(group, INFERENCES, events, inference)


def _write_device(group: h5py.Group, series: DeviceSeries) -> None:
    group.attrs["source"] = storable(series.source)
    group.attrs["double"] = int(series.double)
    reading = _dimension(group, "reading", len(series))
    _write_columns(group, DEVICE, series, reading)
    _write_numbers(group, "value", series.value, Attributes(series.unit), reading)
    _write_numbers(group, "changed", series.changed.astype(np.int32), CHANGED, reading)


def _write_stacks(group: h5py.Group, stacks: Stacks) -> None:
    group.attrs["native"] = int(stacks.native)
    _write_number(group, "rate_hz", stacks.rate_hz, Attributes("Hz", "samples asked for"))
    _write_number(group, "failed", stacks.failed, Attributes("1", "samples that failed"))
    _write_columns(group, STACKS, stacks, _dimension(group, "row", len(stacks)))


def _write_wall_time(group: h5py.Group, wall_time: WallTime) -> None:
    _write_scalars(group, WALL, wall_time)
    stretch = _dimension(group, "stretch", len(wall_time))
    _write_columns(group, STRETCHES, wall_time, stretch)


def _write_kernels(group: h5py.Group, kernels: KernelEvents) -> None:
    group.attrs["unjoined_reason"] = storable(kernels.unjoined_reason)
    _write_number(group, "dropped", kernels.dropped, Attributes("1", "records CUPTI dropped"))
    _write_number(
        group,
        "disagreements",
        kernels.disagreements,
        Attributes("1", "launched outside of the node"),
    )
    event = _dimension(group, "event", len(kernels))
    _write_columns(group, KERNELS, kernels, event)
    _write_sizes(group, kernels, event)
    pairs = list(zip(kernels.kind, kernels.name, strict=True))
    rows = {pair: row for row, pair in enumerate(dict.fromkeys(pairs))}
    number = np.array([rows[pair] for pair in pairs], np.int32)
    _write_numbers(group, "function", number, FUNCTION, event)
    functions = _group(group, "functions")
    row = _dimension(functions, "row", len(rows))
    for at, (name, column) in enumerate(FUNCTIONS.items()):
        _write_text(functions, name, [pair[at] for pair in rows], row, column.long_name)


def _write_timeline(group: h5py.Group, timeline: GpuTimeline) -> None:
    launches = _group(group, "launches")
    launch = _dimension(launches, "row", len(timeline.launches))
    _write_columns(launches, LAUNCHES, timeline.launches, launch)
    _write_sizes(launches, timeline.launches, launch)
    inferences = _group(group, "inferences")
    inference = _dimension(inferences, "row", len(timeline.inferences))
    _write_columns(inferences, TIMELINE_INFERENCES, timeline.inferences, inference)
    times = _group(group, "times")
    time = _dimension(times, "row", len(timeline.times))
    _write_columns(times, LAUNCH_TIMES, timeline.times, time)


def _write_sizes(
    group: h5py.Group, launched: KernelEvents | Launches, dimension: h5py.Dataset
) -> None:
    """A column for each axis of the grid and of the block."""
    for name in KERNEL_SIZES:
        for axis, values in zip("xyz", getattr(launched, name).T, strict=True):
            column = Attributes("1", "-1 for copies")
            _write_numbers(group, f"{name}_{axis}", values, column, dimension)


def _write_readings(group: h5py.Group, readings: Sequence[Reading]) -> None:
    dimension = _dimension(group, "reading", len(readings))
    _write_text(group, "name", [reading.name for reading in readings], dimension)
    _write_facts(group, [reading.value for reading in readings], dimension)
    _write_text(group, "unit", [reading.unit for reading in readings], dimension)
    _write_text(group, "source", [reading.source for reading in readings], dimension)
    reasons = [reading.reason for reading in readings]
    _write_text(group, "reason", reasons, dimension, "why the value is absent")


def _write_facts(group: h5py.Group, facts: Sequence[Fact], dimension: h5py.Dataset) -> None:
    """Values of mixed types: exactly, as text with its kind, and again as numbers if they are."""
    rows = [_fact_columns(fact) for fact in facts]
    _write_text(group, "value", [text for _, text, _ in rows], dimension, "as text, exact")
    kinds = [kind for kind, _, _ in rows]
    _write_text(group, "kind", kinds, dimension, "type of the value: int, float, str or absent")
    numbers = np.array([number for _, _, number in rows], np.float64)
    column = Attributes("1", "the value as a number in its own unit, NaN if it is not a number")
    _write_numbers(group, "number", numbers, column, dimension)


def _fact_columns(fact: Fact) -> tuple[str, str, float]:
    if fact is None:
        return "absent", "", math.nan
    if isinstance(fact, str):
        return "str", fact, math.nan
    if isinstance(fact, float):
        return "float", repr(float(fact)), fact
    return "int", str(int(fact)), float(fact)


def _write_summary(group: h5py.Group, summary: Mapping[str, Figure]) -> None:
    for name, figure in summary.items():
        if figure.value is None:
            group.attrs[f"{name}_reason"] = figure.reason
        else:
            _write_number(group, name, figure.value, Attributes(_units(name)))


def _units(name: str) -> str:
    return _UNITS_BY_SUFFIX.get(name.rpartition("_")[2], "1")


def _group(parent: h5py.Group, name: str) -> h5py.Group:
    return parent.create_group(name, track_order=True)


def _dimension(group: h5py.Group, name: str, size: int) -> h5py.Dataset:
    """A netCDF dimension without coordinates: a dimension scale that takes no storage."""
    scale = group.create_dataset(name, shape=(size,), dtype=np.int32)
    # The netCDF-4 library recognises such a dimension by exactly this text.
    scale.make_scale(f"This is a netCDF dimension but not a netCDF variable.{size:10d}")
    return scale


def _write_columns(
    group: h5py.Group, columns: Mapping[str, Attributes], record: object, dimension: h5py.Dataset
) -> None:
    for name, column in columns.items():
        values = getattr(record, name)
        if isinstance(values, np.ndarray):
            _write_numbers(group, name, values, column, dimension)
        else:
            _write_text(group, name, values, dimension, column.long_name)


def _write_scalars(group: h5py.Group, columns: Mapping[str, Attributes], record: object) -> None:
    for name, column in columns.items():
        _write_number(group, name, getattr(record, name), column)


def _write_number(group: h5py.Group, name: str, value: float, column: Attributes) -> None:
    dtype = np.int64 if isinstance(value, int) else np.float64
    _describe(group.create_dataset(name, data=value, dtype=dtype), column)


def _write_numbers(
    group: h5py.Group,
    name: str,
    values: np.ndarray[Any, Any],
    column: Attributes,
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
    data = np.array([storable(text) for text in texts], dtype=object)
    dataset = group.create_dataset(name, data=data, dtype=h5py.string_dtype())
    dataset.dims[0].attach_scale(dimension)
    _describe(dataset, Attributes("", long_name))


def _describe(dataset: h5py.Dataset, column: Attributes) -> None:
    dataset.attrs["units"] = column.units
    if column.long_name:
        dataset.attrs["long_name"] = column.long_name
