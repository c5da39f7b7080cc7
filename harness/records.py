"""The values that are measured, stored and reported: frozen, typed, with units in names.

Every time stamp is CLOCK_MONOTONIC in int64 nanoseconds of the machine that measured.
A value that could not be had is a Reading whose value is None and whose reason says why;
a series that could not be had is absent from its mapping and named in Profile.absent.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import xarray

    from harness.analysis.frames import Frames

Int64Array = npt.NDArray[np.int64]
Int32Array = npt.NDArray[np.int32]
Int8Array = npt.NDArray[np.int8]

#: Something that could not be had: (what, the reason and if possible the remedy).
Absent = tuple[str, str]


@dataclasses.dataclass(frozen=True, slots=True)
class Reading:
    """One fact of the machine, with its source; or its absence, with the reason.

    Attributes:
        name: identifier such as ``cpu_model`` or ``steal_ns``.
        value: the fact; None when it could not be had.
        unit: unit of a number (``ns``, ``bytes``, ``Hz``, ``1`` for a count), else empty.
        source: where it was read (``/proc/stat``, ``OrtGetApiBase``).
        reason: why value is None; empty otherwise.
    """

    name: str
    value: int | float | str | None
    unit: str = ""
    source: str = ""
    reason: str = ""


#: Name of the fact that tells how many items, the examples of a batch, an inference is fed.
ITEMS = "items_per_inference"

#: Names of what tells memory: bytes that ONNX Runtime's arena holds, and of a file's weights.
ARENA = "arena_bytes"
WEIGHTS = "weights_bytes"

#: Between the sources of a node, which are one text of a column.
BETWEEN_SOURCES = "; "

#: Traces whose events are not executions of nodes: their ``node`` is the place of a probe.
OF_PLACES = ("probe_calibration", "probe_split")

#: Rows of a part: 16 chunks of the file.
PART_ROWS = 1_048_576


class Rows:
    """Columns of equal length, which may be too long to be looked at all at once."""

    __slots__ = ()

    def __len__(self) -> int:
        raise NotImplementedError

    def part(self, rows: slice) -> Self:
        """Some of the rows; what is no column of theirs stays as it is."""
        raise NotImplementedError

    def parts(self, rows: int = PART_ROWS) -> Iterator[Self]:
        """All rows in their order, at most so many at a time; of a file, each is read alone."""
        for first in range(0, len(self), rows):
            yield self.part(slice(first, first + rows))


@dataclasses.dataclass(frozen=True, slots=True)
class LatencySeries(Rows):
    """Samples in the order they were taken.

    Attributes:
        start_ns: int64[n], CLOCK_MONOTONIC before the inference.
        duration_ns: int64[n], from start until the call returned.
    """

    start_ns: Int64Array
    duration_ns: Int64Array

    def __len__(self) -> int:
        return len(self.duration_ns)

    def part(self, rows: slice) -> LatencySeries:
        """Some of the samples."""
        return LatencySeries(self.start_ns[rows], self.duration_ns[rows])


@dataclasses.dataclass(frozen=True, slots=True)
class Yardstick:
    """How fast the machine was: a fixed workload, timed around the timed pass.

    Attributes:
        start_ns: int64[n], CLOCK_MONOTONIC before each repetition.
        compute_ns: int64[n], arithmetic in registers.
        cache_ns: int64[n], a walk through data that fits the cache.
        memory_ns: int64[n], a stream through data that does not.
    """

    start_ns: Int64Array
    compute_ns: Int64Array
    cache_ns: Int64Array
    memory_ns: Int64Array

    def __len__(self) -> int:
        return len(self.start_ns)


NOTHING = np.empty(0, np.int64)
NO_YARDSTICK = Yardstick(NOTHING, NOTHING, NOTHING, NOTHING)


@dataclasses.dataclass(frozen=True, slots=True)
class ProcessRecord:
    """What one worker process measured.

    Attributes:
        index: number of the process, from 0.
        pid: its process id.
        library_ns: opening libonnxruntime (dlopen and its environment).
        session_ns: creating the session (load, optimise, allocate).
        first_inference_ns: the very first inference.
        warmup: discarded inferences after the first.
        steady: the timed pass.
        loops: inferences in one pyperf value; len(steady) == loops * pyperf values.
        noise: readings of the host taken over the timed pass (steal, switches, faults…).
        metadata: pyperf's metadata of this process.
        log: lines ORT logged in this process.
        yardstick: how fast the machine was just before and just after the timed pass.
        duration_holds: what the durations of the timed pass are, in one sentence.
        enqueue_ns: int64[n], of each sample of steady the part until the call returned, where
            the work went on on a device; empty elsewhere.
        copied: inferences with inputs and outputs copied between host and device by each;
            empty where nothing is copied.
        provider_ns: loading the libraries of the execution providers and what these need,
            before the session is created; -1 where that is not known. Next to nothing on the
            CPU, whose provider is part of ONNX Runtime.
    """

    index: int
    pid: int
    library_ns: int
    session_ns: int
    first_inference_ns: int
    warmup: LatencySeries
    steady: LatencySeries
    loops: int
    noise: tuple[Reading, ...]
    metadata: Mapping[str, str | int | float]
    log: tuple[str, ...]
    yardstick: Yardstick = NO_YARDSTICK
    duration_holds: str = ""
    enqueue_ns: Int64Array = dataclasses.field(default_factory=lambda: NOTHING)
    copied: LatencySeries = LatencySeries(NOTHING, NOTHING)
    provider_ns: int = -1


class ColumnInfo(NamedTuple):
    """A column of a record that has a value for each row: texts, or int64 numbers.

    Attributes:
        name: the record's attribute.
        unit: of the numbers, ``1`` for a count; empty for texts.
        meaning: where the name does not tell it.
        unknown: value of a row of which it is not known; None where it always is.
        none: value of a row that has no such thing; None where each has one.
    """

    name: str
    unit: str
    meaning: str
    unknown: int | str | None
    none: int | str | None

    def filled(self, value: int | str, rows: int) -> Int64Array | tuple[str, ...]:
        """The column with the same value in every row."""
        return np.full(rows, value, np.int64) if self.unit else (str(value),) * rows


def _column(
    unit: str, meaning: str = "", unknown: int | str | None = None, none: int | None = None
) -> Mapping[str, Any]:
    """Metadata of a field that is a column."""
    return {"unit": unit, "meaning": meaning, "unknown": unknown, "none": none}


def columns_of(kind: type) -> tuple[ColumnInfo, ...]:
    """The columns of a record, in the order of its fields: those that its fields' metadata tell."""
    return tuple(
        ColumnInfo(field.name, **field.metadata)
        for field in dataclasses.fields(kind)
        if field.metadata
    )


def not_known(kind: type, rows: int) -> dict[str, Any]:
    """Those columns of a record that may be unknown, with nothing known of any of the rows."""
    return {
        column.name: column.filled(column.unknown, rows)
        for column in columns_of(kind)
        if column.unknown is not None
    }


@dataclasses.dataclass(frozen=True, slots=True)
class NodeTable:
    """The nodes of the graph that ORT executes, columns of equal length n.

    A node's number everywhere else is its row here. ``columns_of`` tells what each column is
    measured in and which value stands in it for what is not known.

    Attributes:
        name: the node's name in the executed graph; may be empty, may repeat.
        op_type: its operator type, created by the optimiser or not.
        domain: its operator domain (empty: ai.onnx).
        provider: execution provider that ran it; empty where it was never seen running.
        order: int64[n], place in the order of execution within its graph; -1 if not seen.
        depth: int64[n], 0 in the main graph, 1 in the body of an If of it, …
        parent: int64[n], row of the enclosing control-flow node, -1 in the main graph.
        branch: attribute of the parent that holds the node (``then_branch``, ``body``).
        input_type_shape: JSON text as ORT reports it; empty where not seen.
        output_type_shape: likewise.
        activation_bytes: int64[n], ORT's activation_size; -1 where not seen.
        parameter_bytes: int64[n], ORT's parameter_size; -1 where not seen.
        output_bytes: int64[n], ORT's output_size; -1 where not seen.
        carrier: int64[n], row of the node whose probe covers it: its own row where it has a
            probe, else that of the node before it that has one, which in a body may be the
            one that covers the control-flow node; -1 where none does.
        flops: int64[n], floating-point or integer operations of one execution
            (``harness.models.work.table``); -1 where not known.
        traffic_bytes: int64[n], least memory traffic of one execution; -1 where not known.
        arithmetic: element type that the operations are done in; empty where not known.
        sources: nodes of the user's file that it was made of, ``; `` between them, the one that
            does the same first (``harness.models.sources``); empty where it was made of none,
            as copies are, or where that is not known.
    """

    name: tuple[str, ...] = dataclasses.field(
        metadata=_column("", "name in the executed graph, may be empty or repeat")
    )
    op_type: tuple[str, ...] = dataclasses.field(metadata=_column(""))
    domain: tuple[str, ...] = dataclasses.field(
        metadata=_column("", "operator domain, empty for ai.onnx")
    )
    provider: tuple[str, ...] = dataclasses.field(
        metadata=_column("", "execution provider, empty where never seen running", unknown="")
    )
    order: Int64Array = dataclasses.field(
        metadata=_column(
            "1", "place in the order of execution within its graph, -1 if not seen", unknown=-1
        )
    )
    depth: Int64Array = dataclasses.field(
        metadata=_column("1", "0 in the main graph, 1 in the body of a control-flow node of it")
    )
    parent: Int64Array = dataclasses.field(
        metadata=_column(
            "1", "row of the enclosing control-flow node, -1 in the main graph", none=-1
        )
    )
    branch: tuple[str, ...] = dataclasses.field(
        metadata=_column("", "attribute of the parent that holds the node")
    )
    input_type_shape: tuple[str, ...] = dataclasses.field(
        metadata=_column("", "JSON as ONNX Runtime reports it, empty where not seen", unknown="")
    )
    output_type_shape: tuple[str, ...] = dataclasses.field(
        metadata=_column("", "JSON as ONNX Runtime reports it, empty where not seen", unknown="")
    )
    activation_bytes: Int64Array = dataclasses.field(
        metadata=_column("bytes", "ORT's activation_size, -1 where not seen", unknown=-1)
    )
    parameter_bytes: Int64Array = dataclasses.field(
        metadata=_column("bytes", "ORT's parameter_size, -1 where not seen", unknown=-1)
    )
    output_bytes: Int64Array = dataclasses.field(
        metadata=_column("bytes", "ORT's output_size, -1 where not seen", unknown=-1)
    )
    carrier: Int64Array = dataclasses.field(
        metadata=_column("1", "row of the node whose probe covers it, -1 where none does", none=-1)
    )
    flops: Int64Array = dataclasses.field(
        metadata=_column("1", "operations of one execution, -1 where not known", unknown=-1)
    )
    traffic_bytes: Int64Array = dataclasses.field(
        metadata=_column("bytes", "least memory traffic of one execution, -1 not known", unknown=-1)
    )
    arithmetic: tuple[str, ...] = dataclasses.field(
        metadata=_column("", "element type of the operations, empty where not known", unknown="")
    )
    sources: tuple[str, ...] = dataclasses.field(
        metadata=_column(
            "",
            "nodes of the user's file that it was made of, '; ' between, empty where none",
            unknown="",
        )
    )

    def __len__(self) -> int:
        return len(self.name)


@dataclasses.dataclass(frozen=True, slots=True)
class NodeEvents(Rows):
    """Executions of nodes in a traced pass, columns of equal length n, by start time.

    Attributes:
        source: how they were obtained: ``probe`` or ``ort``.
        node: int32[n], row of the NodeTable.
        process: int32[n], ProcessRecord.index.
        inference: int32[n], number of the traced inference in its process, from 0.
        start_ns: int64[n], CLOCK_MONOTONIC.
        duration_ns: int64[n], total: with the nodes of the subgraphs it ran.
        self_ns: int64[n], duration_ns less that of its direct children.
        details: further int64[n] columns, by name with the unit as suffix (memory fields
            and thread statistics of the ORT profiler); -1 where an event lacks one.
        inference_process: int32[m], process of each traced inference.
        inference_number: int32[m], its number in that process.
        inference_start_ns: int64[m], CLOCK_MONOTONIC.
        inference_duration_ns: int64[m], whole traced inference as the tracer reports it.
        inference_framework_ns: int64[m], what of it belongs to no node; -1 where that is not
            known. What is left besides it and the nodes' own time is the tracer's cost.
        dropped: events that the tracer itself dropped (its limit), 0 when none.
        resolution_ns: step of the tracer's clock (1000 for ORT's profiler).
    """

    source: str
    node: Int32Array
    process: Int32Array
    inference: Int32Array
    start_ns: Int64Array
    duration_ns: Int64Array
    self_ns: Int64Array
    details: Mapping[str, Int64Array]
    inference_process: Int32Array
    inference_number: Int32Array
    inference_start_ns: Int64Array
    inference_duration_ns: Int64Array
    inference_framework_ns: Int64Array
    dropped: int
    resolution_ns: int

    def __len__(self) -> int:
        return len(self.node)

    def part(self, rows: slice) -> NodeEvents:
        """Some of the events, and all inferences."""
        names = ("node", "process", "inference", "start_ns", "duration_ns", "self_ns")
        columns: Any = {name: getattr(self, name)[rows] for name in names}
        details = {name: values[rows] for name, values in self.details.items()}
        return dataclasses.replace(self, details=details, **columns)


@dataclasses.dataclass(frozen=True, slots=True)
class DeviceSeries:
    """What one quantity of one device did meanwhile, columns of equal length n, by time.

    Attributes:
        device: ``gpu0``, ``package0``, ``cpu3``, ``host``, ``sampler``.
        quantity: identifier with its unit as suffix: ``power_instant_mw``, ``energy_uj``.
        unit: of value, for HDF5's ``units``.
        source: where it was read: ``nvmlDeviceGetFieldValues(186)``, a path under /sys.
        process: int32[n], ProcessRecord.index.
        time_ns: int64[n], CLOCK_MONOTONIC of the reading.
        value: int64[n].
        changed: int8[n], 1 where the value differs from the reading before it in its
            process, or is the first one there.
        double: a test double gave the values: they are no measurement.
    """

    device: str
    quantity: str
    unit: str
    source: str
    process: Int32Array
    time_ns: Int64Array
    value: Int64Array
    changed: Int8Array
    double: bool = False

    def __len__(self) -> int:
        return len(self.value)


@dataclasses.dataclass(frozen=True, slots=True)
class KernelEvents:
    """Work of a GPU in a traced pass, columns of equal length n, by start time.

    Attributes:
        kind: what each was: ``kernel``, ``memcpy`` or ``memset``.
        name: of the function; for a copy its direction (``HtoD``).
        node: int32[n], row of the NodeTable; -1 where it could not be joined to a node.
        process: int32[n], ProcessRecord.index.
        inference: int32[n], number of the traced inference in its process; -1 outside of all.
        start_ns: int64[n], CLOCK_MONOTONIC.
        duration_ns: int64[n].
        launch_ns: int64[n], CLOCK_MONOTONIC at which the host began to launch it; -1 unknown.
        stream: int32[n].
        grid: int32[n, 3]; -1 for copies.
        block: int32[n, 3]; -1 for copies.
        registers: int32[n], a thread; -1 for copies.
        shared_bytes: int64[n], static and dynamic, a block; -1 for copies.
        bytes: int64[n], moved or set; -1 for kernels.
        unjoined_reason: why node is -1 where it is, in one sentence; empty where none is.
        disagreements: kernels whose launch lies outside of the interval of the node that
            they were joined to.
        dropped: records that CUPTI dropped.
    """

    kind: tuple[str, ...]
    name: tuple[str, ...]
    node: Int32Array
    process: Int32Array
    inference: Int32Array
    start_ns: Int64Array
    duration_ns: Int64Array
    launch_ns: Int64Array
    stream: Int32Array
    grid: Int32Array
    block: Int32Array
    registers: Int32Array
    shared_bytes: Int64Array
    bytes: Int64Array
    unjoined_reason: str
    disagreements: int
    dropped: int

    def __len__(self) -> int:
        return len(self.node)


@dataclasses.dataclass(frozen=True, slots=True)
class Stacks:
    """Stacks of a worker's main thread in the timing loop, columns of equal length n.

    Attributes:
        stack: frames from the outermost to the innermost, with ``;`` between them.
        samples: int64[n], how often each was seen.
        rate_hz: samples a second that were asked for.
        native: whether there are frames of native libraries.
        failed: samples that could not be taken.
    """

    stack: tuple[str, ...]
    samples: Int64Array
    rate_hz: int
    native: bool
    failed: int

    def __len__(self) -> int:
        return len(self.stack)


@dataclasses.dataclass(frozen=True, slots=True)
class InputRecord:
    """One input as it was fed.

    Attributes:
        name: its name in the model.
        dtype: numpy's (or ml_dtypes') name of the element type; ``sequence(float32)`` …
        shape: its shape; for a sequence or an optional that of the first element.
        chosen_because: one sentence that says why this shape and these values.
        sha256: digest of dtype, shape and values, to tell whether two profiles fed the same.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    chosen_because: str
    sha256: str


@dataclasses.dataclass(frozen=True, slots=True)
class ModelRecord:
    """Which model was profiled.

    Attributes:
        name: file name without its suffix, or the reference model's name.
        path: as it was given.
        sha256: digest of the model file and, after it, of its external data files.
        size_bytes: of the same files together.
        producer: producer_name and producer_version of the model.
        ir_version: ONNX IR version; -1, as the two below, where a file in ORT's own format
            (.ort) does not tell it.
        opsets: ``domain:version`` of each imported operator set.
        node_count: nodes in the file's main graph, before optimisation; or -1.
        parameter_count: elements in its initialisers, subgraphs included; or -1.
    """

    name: str
    path: str
    sha256: str
    size_bytes: int
    producer: str
    ir_version: int
    opsets: tuple[str, ...]
    node_count: int
    parameter_count: int


@dataclasses.dataclass(frozen=True, slots=True)
class Asked:
    """What a profile was asked to measure, as far as its file tells.

    The file may be of another version, or of another hand: what it lacks, or holds as something
    else than it should, is as if it had not been given. Names stay text, known here or not.

    Attributes:
        options: the stored object as it stands, by the names of ProfileConfig; empty where
            there is none.
        session: the same of its SessionConfig.
        quick, energy: as in ProfileConfig.
        processes: how many were asked for; None where that was left open.
        precision, budget_s: as in ProfileConfig; None where the file does not tell.
        interleaved_with: random text shared with the other profile of ``ab``; may be empty.
        affinity: CPU list; None where none was asked for.
        provider, execution_mode: of the session; empty where the file does not tell.
        provider_options: of the session.
        intra_threads: of the session, 0 for ORT's choice; None where the file does not tell.
    """

    options: Mapping[str, Any]
    session: Mapping[str, Any]
    quick: bool
    energy: bool
    processes: int | None
    precision: float | None
    budget_s: float | None
    interleaved_with: str
    affinity: str | None
    provider: str
    execution_mode: str
    provider_options: Mapping[str, str]
    intra_threads: int | None

    @classmethod
    def of(cls, config: str) -> Asked:
        """Of the JSON text that a file holds; never fails."""
        try:
            options = _object(json.loads(config))
        except (ValueError, RecursionError):
            options = {}
        session = _object(options.get("session"))
        provider_options = _object(session.get("provider_options"))
        return cls(
            options=options,
            session=session,
            quick=options.get("quick") is True,
            energy=options.get("energy") is True,
            processes=_integer(options.get("processes")),
            precision=_number(options.get("precision")),
            budget_s=_number(options.get("budget_s")),
            interleaved_with=_text(options.get("interleaved_with")),
            affinity=_text(options.get("affinity")) or None,
            provider=_text(session.get("provider")),
            execution_mode=_text(session.get("execution_mode")),
            provider_options={key: str(value) for key, value in provider_options.items()},
            intra_threads=_integer(session.get("intra_threads")),
        )


_asked = functools.lru_cache(maxsize=64)(Asked.of)


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _integer(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _number(value: object) -> float | None:
    """A number that is one: JSON as Python reads it knows NaN and infinity too."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


@dataclasses.dataclass(frozen=True, slots=True)
class Profile:
    """The stored whole: what ``read_profile`` gives and ``storage`` writes.

    Attributes:
        path: the file it was read from; None before it was written.
        harness_version: version that recorded it.
        created: UTC time in ISO 8601.
        complete: False when the run was interrupted and only part is here.
        config: the ProfileConfig as a JSON object (text).
        model: which model.
        provider: execution provider that was used: ``cpu``, ``cuda``, ``tensorrt``.
        inputs: what was fed.
        output_check: largest error against a data set's expected outputs, as a Reading.
        environment: facts of the machine, the driver, ORT and this build.
        processes: one record a finished worker process.
        nodes: the executed graph; None when no traced pass told it.
        traces: NodeEvents by the name of the pass: ``probe``, ``ort``; those OF_PLACES hold
            the cost of the probes at each place, or the stretches between every second place,
            instead of nodes.
        devices: what devices did meanwhile, one series for each quantity of each.
        kernels: work of the GPU in a traced pass; None where none was recorded.
        stacks: what a worker of its own was seen doing; None where none was sampled.
        absent: (what, reason) of every series that could not be recorded.
    """

    path: Path | None
    harness_version: str
    created: str
    complete: bool
    config: str
    model: ModelRecord
    provider: str
    inputs: tuple[InputRecord, ...]
    output_check: Reading
    environment: tuple[Reading, ...]
    processes: tuple[ProcessRecord, ...]
    nodes: NodeTable | None
    traces: Mapping[str, NodeEvents]
    absent: tuple[tuple[str, str], ...]
    devices: tuple[DeviceSeries, ...] = ()
    kernels: KernelEvents | None = None
    stacks: Stacks | None = None

    @property
    def asked(self) -> Asked:
        """What ``config`` holds, for its readers."""
        return _asked(self.config)

    @property
    def items(self) -> Reading:
        """How many items an inference was fed; None where the file does not tell."""
        told = next((one for one in self.environment if one.name == ITEMS), None)
        if told is None:
            return Reading(ITEMS, None, "1", reason="not told: recorded before it was stored")
        known = isinstance(told.value, int) and told.value > 0
        return told if known else dataclasses.replace(told, value=None)

    @property
    def node_traces(self) -> Mapping[str, NodeEvents]:
        """The traces whose events are executions of nodes."""
        return {name: each for name, each in self.traces.items() if name not in OF_PLACES}

    def to_pandas(self) -> Frames:
        """Tidy pandas frames by name: ``samples``, ``operators``, ``nodes``, ``events`` and more.

        ``harness.analysis.frames.Frames`` names all of them with their columns; each is made
        when it is first asked for.

        Raises:
            MachineError: pandas is not installed.
        """
        from harness.analysis.frames import Frames  # the only import upwards, and only on this wish

        return Frames(self)

    def to_xarray(self) -> xarray.DataTree:
        """The profile as it stands in its file, whether it has one or not.

        Groups, dimensions, ``units`` and ``long_name`` are those of profiles/FORMAT.md:
        ``tree["processes/000/latency"].duration_ns`` is int64[sample] in ns.

        Raises:
            MachineError: xarray is not installed, or is too old to have a DataTree.
        """
        from harness.analysis.frames import data_tree

        return data_tree(self)
