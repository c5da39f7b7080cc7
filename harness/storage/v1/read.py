"""Reads format version 1; long columns are read on first access."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.errors import one_line
from harness.memory_budget import Budget
from harness.records import (
    NO_CALLER,
    NO_YARDSTICK,
    NOTHING,
    OF_PLACES,
    DeviceSeries,
    GpuTimeline,
    InputRecord,
    Instances,
    KernelEvents,
    LatencySeries,
    Launches,
    LaunchTimes,
    ModelRecord,
    NodeEvents,
    NodeTable,
    ProcessRecord,
    Profile,
    Reading,
    Stacks,
    TimelineInferences,
    WallTime,
    Yardstick,
    columns_of,
    not_known,
)
from harness.storage import bounds
from harness.storage.checked import Group
from harness.storage.columns import Column, Columns, ProfileFile, RepeatedColumn
from harness.storage.lazy_columns import stored
from harness.storage.v1.schema import (
    DEVICE,
    EVENTS,
    FUNCTIONS,
    INFERENCES,
    INPUT_TEXT,
    KERNEL_SIZES,
    KERNELS,
    LATENCY,
    LAUNCH_TIMES,
    LAUNCHES,
    MODEL_NUMBERS,
    MODEL_TEXT,
    MODEL_UNTOLD,
    PROCESS,
    STORED_SOURCES,
    TIMELINE_INFERENCES,
    WALL,
    YARDSTICK,
    Fact,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence


_MOST_RANK = 64


def read(profile: ProfileFile) -> Profile:
    """The profile in a file of version 1; long columns are read on first access.

    Raises:
        ProfileFileError: the file is damaged.
    """
    with profile.opened() as file:
        root = Group(profile, file["/"], Budget(profile.data_bytes))
        config = root.text_attribute("config")
        require_object(config)
        processes = _read_processes(root.group_of("processes"))
        known = frozenset(process.index for process in processes)
        nodes = _read_nodes(root.group_of("nodes")) if "nodes" in root else None
        traces = root.group_of("trace").groups() if "trace" in root else {}
        kernels = traces.pop("kernels", None)
        rows = None if nodes is None else len(nodes)
        return Profile(
            path=profile.path,
            harness_version=root.text_attribute("harness_version"),
            created=root.text_attribute("created"),
            complete=root.flag("complete"),
            config=config,
            model=_read_model(root.group_of("model")),
            provider=root.text_attribute("provider"),
            inputs=read_inputs(root.group_of("inputs")),
            output_check=_first(_read_readings(root.group_of("output_check"))),
            environment=_read_readings(root.group_of("environment")),
            processes=processes,
            nodes=nodes,
            traces={
                name: _read_events(group, known, bounds.nodes_below(rows, places=name in OF_PLACES))
                for name, group in traces.items()
            },
            devices=tuple(
                _read_device(name, quantity, group, known)
                for name, device in (
                    root.group_of("devices").groups() if "devices" in root else {}
                ).items()
                for quantity, group in device.groups().items()
            ),
            stacks=_read_stacks(root.group_of("stacks")) if "stacks" in root else None,
            kernels=None
            if kernels is None
            else _read_kernels(kernels, known, bounds.nodes_below(rows)),
            **{
                name: _read_timeline(root.group_of(name), known, bounds.nodes_below(rows))
                for name in ("timeline", "replay")
                if name in root
            },
            wall_time=_read_wall_time(root.group_of("wall_time")) if "wall_time" in root else None,
            instances=_read_instances(root.group_of("instances"), processes)
            if "instances" in root
            else None,
            absent=_pairs(root.group_of("absent")),
        )


def require_object(config: str) -> None:
    """Refuses a configuration that is not a JSON object.

    Raises:
        ValueError, TypeError: it is not.
    """
    try:
        held = json.loads(config)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"its config is not JSON: {error}") from error
    if not isinstance(held, dict):
        raise TypeError("its config is not a JSON object")


def _first(readings: tuple[Reading, ...]) -> Reading:
    if not readings:
        raise ValueError("/output_check: is empty")
    return readings[0]


def _pairs(group: Group) -> tuple[tuple[str, str], ...]:
    what = group.texts("what")
    return tuple(zip(what, group.texts("reason", len(what)), strict=True))


def _read_model(group: Group) -> ModelRecord:
    texts: dict[str, Any] = {name: group.text_attribute(name) for name in MODEL_TEXT}
    numbers: dict[str, Any] = {
        name: group.number(name, low=-1 if name in MODEL_UNTOLD else 0) for name in MODEL_NUMBERS
    }
    return ModelRecord(**texts, **numbers, opsets=group.texts("opsets"))


def read_inputs(group: Group) -> tuple[InputRecord, ...]:
    """What was fed, from the group ``/inputs``."""
    shapes = group.texts("shape")
    columns = {name: group.texts(name, len(shapes)) for name in INPUT_TEXT}
    return tuple(
        InputRecord(shape=_shape(shape), **{name: column[row] for name, column in columns.items()})
        for row, shape in enumerate(shapes)
    )


def _shape(text: str) -> tuple[int, ...]:
    sizes = json.loads(text)
    if not isinstance(sizes, list) or len(sizes) > _MOST_RANK:
        raise TypeError(f"/inputs/shape: {one_line(text)} is not a list of sizes")
    if not all(type(size) is int and 0 <= size < bounds.MOST_NS for size in sizes):
        raise TypeError(f"/inputs/shape: {one_line(text)} is not a list of sizes")
    return tuple(sizes)


def _read_processes(group: Group) -> tuple[ProcessRecord, ...]:
    named = {int(name): member for name, member in group.groups().items() if is_process(name)}
    if not named:
        raise ValueError("/processes: is empty")
    processes = tuple(_read_process(named[number]) for number in sorted(named))
    if [process.index for process in processes] != sorted(named):
        raise ValueError("/processes: the group names do not match the processes' own indices")
    return processes


def is_process(name: str) -> bool:
    """Whether a group of this name in ``/processes`` holds a process."""
    return name.isascii() and name.isdecimal() and len(name) < 10


def _read_process(group: Group) -> ProcessRecord:
    def series(name: str, least_rows: int = 0) -> LatencySeries:
        held = group.group_of(name)
        rows = held.rows("duration_ns")
        if rows < least_rows:
            raise ValueError(f"{held.name}: is empty")
        return stored(LatencySeries, _numbers(held, LATENCY, rows, bounds.LATENCY), rows)

    def yardstick() -> Yardstick:
        held = group.group_of("yardstick")
        columns = _numbers(held, YARDSTICK, held.rows("start_ns"), bounds.YARDSTICK)
        return Yardstick(**_read_all(columns))

    metadata = group.group_of("metadata")
    names = metadata.texts("name")
    facts: Any = zip(names, read_facts(metadata, len(names)), strict=True)
    latency = group.group_of("latency")
    steady = series("latency", least_rows=1)
    enqueue_ns = NOTHING
    if "enqueue_ns" in latency:
        enqueue_ns = latency.numbers("enqueue_ns", len(steady), bounds.DURATION).read()
    caller = NO_CALLER
    if "caller" in latency:
        caller = latency.numbers("caller", len(steady), bounds.CALLER).read().astype(np.int32)
    return ProcessRecord(
        # A scalar that older files lack keeps the record's default, which means not known.
        **{
            name: group.number(name, _LEAST.get(name, 0))
            for name in PROCESS
            if name in group or name not in _ADDED
        },
        warmup=series("warmup"),
        steady=steady,
        noise=_read_readings(group.group_of("noise")),
        metadata=dict(facts),
        log=group.texts("log"),
        yardstick=yardstick() if "yardstick" in group else NO_YARDSTICK,
        duration_holds=latency.text_attribute("duration_holds")
        if "duration_holds" in latency.group.attrs
        else "",
        enqueue_ns=enqueue_ns,
        caller=caller,
        copied=series("copied") if "copied" in group else LatencySeries(NOTHING, NOTHING),
    )


#: Scalars of a process that older files lack, and those whose minimum is not 0.
_ADDED = ("provider_ns",)
_LEAST = {"provider_ns": -1, "loops": 1}


def _read_nodes(group: Group) -> NodeTable:
    rows = group.rows("name")
    numbers = bounds.node_table(rows)
    columns: dict[str, Any] = _read_all(_numbers(group, numbers, rows, numbers))
    for column in columns_of(NodeTable):
        if not column.unit and (column.name in group or column.unknown is None):
            columns[column.name] = group.texts(column.name, rows)
    # Nothing is known of a column that older files lack. These come last: the columns
    # that are there justify the number of rows.
    nodes = NodeTable(**not_known(NodeTable, rows) | columns)
    bounds.check_depth(nodes.depth, nodes.parent)
    return nodes


_SOURCES = {stored: name for name, stored in STORED_SOURCES.items()}


def _read_events(group: Group, processes: frozenset[int], nodes: int) -> NodeEvents:
    rows = group.rows("node")
    inferences = group.rows("inference_number")
    known = {"dropped", "resolution_ns", "event", "traced_inference", *EVENTS, *INFERENCES}
    # A later version may add members that are not columns of these events.
    details = [name for name in group if name not in known and group.is_number_column(name, rows)]
    source = group.text_attribute("source")
    numbers = bounds.events(processes, nodes, inferences)
    return stored(
        NodeEvents,
        {
            **_numbers(group, EVENTS, rows, numbers),
            "details": Columns(_numbers(group, details, rows, dict.fromkeys(details, bounds.ANY))),
        },
        rows,
        source=_SOURCES.get(source, source),
        dropped=group.number("dropped"),
        resolution_ns=group.number("resolution_ns"),
        **_numbers(group, INFERENCES, inferences, numbers),
    )


def _read_device(
    device: str, quantity: str, group: Group, processes: frozenset[int]
) -> DeviceSeries:
    rows = group.rows("value")
    numbers = bounds.device(processes)
    return DeviceSeries(
        device=device,
        quantity=quantity,
        unit=group.unit("value"),
        source=group.text_attribute("source"),
        value=group.numbers("value", rows, numbers["value"]).read(),
        changed=group.numbers("changed", rows, numbers["changed"]).read().astype(np.int8),
        double=group.flag("double"),
        **_read_all(_numbers(group, DEVICE, rows, numbers)),
    )


def _read_stacks(group: Group) -> Stacks:
    rows = group.rows("samples")
    return Stacks(
        rate_hz=group.number("rate_hz"),
        native=group.flag("native"),
        failed=group.number("failed"),
        stack=group.texts("stack", rows),
        samples=group.numbers("samples", rows, bounds.STACKS["samples"]).read(),
    )


def _read_wall_time(group: Group) -> WallTime:
    parts = group.texts("part")
    columns = _numbers(group, bounds.WALL_TIME, len(parts), bounds.WALL_TIME)
    numbers: dict[str, Any] = {name: group.number(name) for name in WALL}
    return WallTime(part=parts, **_read_all(columns), **numbers)


def _read_instances(group: Group, processes: Sequence[ProcessRecord]) -> Instances:
    cpus = group.texts("cpus")
    limits = bounds.instances(frozenset(process.index for process in processes))
    numbers: Any = {
        name: column.read() for name, column in _numbers(group, limits, len(cpus), limits).items()
    }
    rows = Instances(cpus=cpus, memory=group.texts("memory", len(cpus)), **numbers)
    try:
        bounds.check_instances(rows, {one.index: one.caller for one in processes})
    except ValueError as error:
        raise ValueError(f"{group.name}: {error}") from error
    return rows


def _read_kernels(group: Group, processes: frozenset[int], nodes: int) -> KernelEvents:
    rows = group.rows("node")
    limits = bounds.kernels(processes, nodes)
    texts: dict[str, Column] = {}
    if "function" in group:
        functions = group.group_of("functions")
        known = functions.rows("name")
        row = group.numbers("function", rows, bounds.Bounds(0, known - 1))
        texts = {name: RepeatedColumn.of(row, functions.texts(name, known)) for name in FUNCTIONS}
    else:  # a file from before these were stored
        texts = {name: group.text_column(name, rows) for name in FUNCTIONS}
    numbers = [name for name in KERNELS if name not in texts]
    return stored(
        KernelEvents,
        {**texts, **_numbers(group, numbers, rows, limits), **_sizes(group, rows, limits)},
        rows,
        unjoined_reason=group.text_attribute("unjoined_reason"),
        disagreements=group.number("disagreements"),
        dropped=group.number("dropped"),
    )


def _read_timeline(group: Group, processes: frozenset[int], nodes: int) -> GpuTimeline:
    launches, inferences = group.group_of("launches"), group.group_of("inferences")
    times = group.group_of("times")
    launched, timed = launches.rows("node"), inferences.rows("process")
    rows = times.rows("launch")
    limits = bounds.launches(processes, nodes)
    texts: dict[str, Any] = {
        name: launches.texts(name, launched) for name in LAUNCHES if not LAUNCHES[name].units
    }
    numbers = [name for name in LAUNCHES if name not in texts]
    columns = _numbers(launches, numbers, launched, limits) | _sizes(launches, launched, limits)
    limits = bounds.timeline_inferences(processes)
    timeline = GpuTimeline(
        Launches(**texts, **_read_all(columns)),
        TimelineInferences(**_read_all(_numbers(inferences, TIMELINE_INFERENCES, timed, limits))),
        stored(
            LaunchTimes,
            _numbers(times, LAUNCH_TIMES, rows, bounds.launch_times(launched, timed)),
            rows,
        ),
    )
    bounds.check_timeline(
        timeline.launches.process,
        timeline.inferences.process,
        timeline.times.launch,
        timeline.times.inference,
    )
    return timeline


def _sizes(group: Group, rows: int, limits: Mapping[str, bounds.Bounds]) -> dict[str, Column]:
    """Grid and block, each with a column for each axis."""
    return {
        name: group.number_rows(tuple(f"{name}_{axis}" for axis in "xyz"), rows, limits[name])
        for name in KERNEL_SIZES
    }


def _read_readings(group: Group) -> tuple[Reading, ...]:
    names = group.texts("name")
    texts = [group.texts(column, len(names)) for column in ("unit", "source", "reason")]
    facts = read_facts(group, len(names))
    return tuple(
        Reading(name, value, unit, source, reason)
        for name, value, unit, source, reason in zip(names, facts, *texts, strict=True)
    )


def read_facts(group: Group, rows: int) -> list[Fact]:
    """The values in a group of readings, or of metadata, of so many rows."""
    parsers: dict[str, Callable[[str], Fact]] = {
        "absent": lambda _: None,
        "int": _whole,
        "float": float,
        "str": str,
    }
    values, kinds = group.texts("value", rows), group.texts("kind", rows)
    return [parsers[kind](text) for text, kind in zip(values, kinds, strict=True)]


def _whole(text: str) -> int:
    value = int(text)
    if not -(2**63) <= value < 2**64:
        raise ValueError(f"a fact is {one_line(text)}, which no counter holds")
    return value


def _numbers(
    group: Group, names: Iterable[str], rows: int, limits: Mapping[str, bounds.Bounds]
) -> dict[str, Column]:
    """Integer columns, to be read later."""
    return {name: group.numbers(name, rows, limits[name]) for name in names}


def _read_all(columns: Mapping[str, Column]) -> dict[str, Any]:
    return {name: column.read() for name, column in columns.items()}
