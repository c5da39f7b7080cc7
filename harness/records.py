"""The data that is measured, stored and reported: frozen and typed, with units in the names.

Every timestamp is CLOCK_MONOTONIC of the measuring machine, in int64 nanoseconds.
A value that could not be obtained is a Reading whose value is None and whose reason says why;
a series that could not be obtained is missing from its mapping and listed in Profile.absent.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self, SupportsIndex, overload

import numpy as np
import numpy.typing as npt

from harness.config.session import ORT
from harness.errors import RequestError

if TYPE_CHECKING:
    import xarray

    from harness.analysis.frames import Frames
    from harness.statistics.latency import Latency

Int64Array = npt.NDArray[np.int64]
Int32Array = npt.NDArray[np.int32]
Int8Array = npt.NDArray[np.int8]

#: Something that could not be obtained: (what, the reason and, if there is one, the remedy).
Absent = tuple[str, str]


@dataclasses.dataclass(frozen=True, slots=True)
class Reading:
    """One fact about the machine with its source, or its absence with the reason.

    Attributes:
        name: identifier such as ``cpu_model`` or ``steal_ns``.
        value: the fact; None when it could not be obtained.
        unit: unit of a number (``ns``, ``bytes``, ``Hz``, ``1`` for a count); empty for text.
        source: where it was read (``/proc/stat``, ``OrtGetApiBase``).
        reason: why value is None; empty otherwise.
    """

    name: str
    value: int | float | str | None
    unit: str = ""
    source: str = ""
    reason: str = ""


#: Name of the fact that holds the items (examples in the batch) fed to each inference.
ITEMS = "items_per_inference"

#: Names of the facts of a runtime other than ONNX Runtime: its version, its settings in effect, its
#: threads, how far its outputs are from ONNX Runtime's (``harness.measuring.foreign.Agreement``),
#: and what the loop that times it takes of each duration.
RUNTIME_VERSION = "runtime_version"
RUNTIME_SETTINGS = "runtime_settings"
RUNTIME_THREADS = "runtime_threads"
RUNTIME_ERROR = "runtime_output_error"
RUNTIME_RELATIVE_ERROR = "runtime_output_relative_error"
RUNTIME_COSINE = "runtime_output_cosine"
RUNTIME_LOOP = "runtime_loop_ns"

#: Names of the facts of a group: instances, threads and callers of each, CPUs of each.
GROUP_FACTS = ("group_instances", "group_threads", "group_callers", "group_cpus")

#: Names of the memory facts: bytes held by ONNX Runtime's arena, bytes of a file's weights.
ARENA = "arena_bytes"
WEIGHTS = "weights_bytes"

#: Separates the sources of a node, which share one string in their column.
BETWEEN_SOURCES = "; "

#: Traces whose events are not node executions: their ``node`` is the place of a probe.
OF_PLACES = ("probe_calibration", "probe_split")

#: Rows read at a time: 16 chunks of the HDF5 file.
PART_ROWS = 1_048_576


class Rows:
    """Columns of equal length, possibly too long to hold in memory all at once."""

    __slots__ = ()

    def __len__(self) -> int:
        raise NotImplementedError

    def part(self, rows: slice) -> Self:
        """The given rows; fields that are not columns are kept."""
        raise NotImplementedError

    def parts(self, rows: int = PART_ROWS) -> Iterator[Self]:
        """All rows in order, at most ``rows`` at a time; of a file, only these are read."""
        for first in range(0, len(self), rows):
            yield self.part(slice(first, first + rows))


@dataclasses.dataclass(frozen=True, slots=True)
class LatencySeries(Rows):
    """Samples in the order they were taken.

    Attributes:
        start_ns: int64[n], CLOCK_MONOTONIC just before the inference.
        duration_ns: int64[n], until the call returned or, on a device, until its work was done;
            ``ProcessRecord.duration_holds`` says which.
    """

    start_ns: Int64Array
    duration_ns: Int64Array

    def __len__(self) -> int:
        return len(self.duration_ns)

    def part(self, rows: slice) -> LatencySeries:
        """The given samples."""
        return LatencySeries(self.start_ns[rows], self.duration_ns[rows])


@dataclasses.dataclass(frozen=True, slots=True)
class Yardstick:
    """How fast the machine was: a fixed workload, timed just before and after the timed pass.

    Attributes:
        start_ns: int64[n], CLOCK_MONOTONIC before each repetition.
        compute_ns: int64[n], arithmetic in registers.
        cache_ns: int64[n], a walk through data that fits in the cache.
        memory_ns: int64[n], a stream through data that does not.
    """

    start_ns: Int64Array
    compute_ns: Int64Array
    cache_ns: Int64Array
    memory_ns: Int64Array

    def __len__(self) -> int:
        return len(self.start_ns)


NOTHING = np.empty(0, np.int64)
NO_CALLER = np.empty(0, np.int32)
NO_YARDSTICK = Yardstick(NOTHING, NOTHING, NOTHING, NOTHING)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)  # arrays have no single truth
class ProcessRecord:
    """What one worker process measured.

    Attributes:
        index: number of the process, from 0.
        pid: its process id.
        library_ns: time to open libonnxruntime (dlopen and creating its environment).
        session_ns: time to create the session (load, optimise, allocate).
        first_inference_ns: duration of the very first inference.
        warmup: inferences after the first that are discarded.
        steady: the timed pass.
        loops: inferences per pyperf value; len(steady) == loops * pyperf values.
        noise: host readings over the timed pass (steal time, context switches, page faults…).
        metadata: pyperf's metadata of this process.
        log: lines that ORT logged in this process.
        yardstick: how fast the machine was just before and just after the timed pass.
        duration_holds: what the durations of the timed pass include, in one sentence.
        enqueue_ns: int64[n], the part of each duration in steady until the call returned, with
            the work enqueued on a device; empty elsewhere.
        copied: separate inferences, each of which copies its inputs and outputs between host
            and device; empty where nothing is copied.
        provider_ns: time to load the execution providers' libraries and their dependencies,
            before the session is created; -1 where not known. 0 on the CPU, whose provider is
            part of ONNX Runtime.
        caller: int32[n], of each sample in steady, number of the thread that called, over all
            instances; empty where there is one session with one caller. A group of instances is
            one process here: its samples are those of all callers in their common window.
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
    caller: Int32Array = dataclasses.field(default_factory=lambda: NO_CALLER)


class ColumnInfo(NamedTuple):
    """A column of a record, with one value per row: strings, or int64 numbers.

    Attributes:
        name: the record's attribute.
        unit: unit of the numbers, ``1`` for a count; empty for strings.
        meaning: what the name does not say; empty where it says it all.
        unknown: value that means "not known"; None where the column is always known.
        none: value that means "this row has none"; None where every row has one.
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
    """Metadata that marks a field as a column."""
    return {"unit": unit, "meaning": meaning, "unknown": unknown, "none": none}


def columns_of(kind: type) -> tuple[ColumnInfo, ...]:
    """The columns of a record, in field order: its fields that carry column metadata."""
    return tuple(
        ColumnInfo(field.name, **field.metadata)
        for field in dataclasses.fields(kind)
        if field.metadata
    )


def not_known(kind: type, rows: int) -> dict[str, Any]:
    """Those columns of a record that may be unknown, each filled with its "not known" value."""
    return {
        column.name: column.filled(column.unknown, rows)
        for column in columns_of(kind)
        if column.unknown is not None
    }


@dataclasses.dataclass(frozen=True, slots=True)
class NodeTable:
    """The nodes of the graph that ORT executes; columns of equal length n.

    Everywhere else, a node is identified by its row here. ``columns_of`` gives the unit of each
    column and the value that means "not known".

    Attributes:
        name: the node's name in the executed graph; may be empty, need not be unique.
        op_type: its operator type, possibly one that only the optimiser creates.
        domain: its operator domain (empty: ai.onnx).
        provider: execution provider that ran it; empty where it was never seen running.
        order: int64[n], position in the execution order of its graph; -1 if not seen.
        depth: int64[n], 0 in the main graph, 1 in the body of one of its If nodes, …
        parent: int64[n], row of the enclosing control-flow node; -1 in the main graph.
        branch: attribute of the parent that holds the node (``then_branch``, ``body``).
        input_type_shape: JSON text as ORT reports it; empty where not seen.
        output_type_shape: likewise.
        activation_bytes: int64[n], ORT's activation_size; -1 where not seen.
        parameter_bytes: int64[n], ORT's parameter_size; -1 where not seen.
        output_bytes: int64[n], ORT's output_size; -1 where not seen.
        carrier: int64[n], row of the node whose probe covers this one: its own row if it has a
            probe, otherwise the nearest node before it that has one (in a body, possibly the
            node that covers the control-flow node); -1 where no probe covers it.
        flops: int64[n], floating-point or integer operations per execution
            (``harness.models.work.table``); -1 where not known.
        traffic_bytes: int64[n], minimum memory traffic per execution; -1 where not known.
        arithmetic: element type of these operations; empty where not known.
        sources: nodes of the user's file that it was made from, separated by ``; ``, the one
            that does the same first (``harness.models.sources``); empty where it was made from
            none, such as a copy that ORT added, or where not known.
    """

    name: tuple[str, ...] = dataclasses.field(
        metadata=_column("", "name in the executed graph, may be empty, need not be unique")
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
            "1", "position in the execution order of its graph, -1 if not seen", unknown=-1
        )
    )
    depth: Int64Array = dataclasses.field(
        metadata=_column("1", "0 in the main graph, 1 in the body of one of its control-flow nodes")
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
        metadata=_column("1", "operations per execution, -1 where not known", unknown=-1)
    )
    traffic_bytes: Int64Array = dataclasses.field(
        metadata=_column(
            "bytes", "minimum memory traffic per execution, -1 where not known", unknown=-1
        )
    )
    arithmetic: tuple[str, ...] = dataclasses.field(
        metadata=_column("", "element type of the operations, empty where not known", unknown="")
    )
    sources: tuple[str, ...] = dataclasses.field(
        metadata=_column(
            "",
            "nodes of the user's file that it was made from, separated by '; ', empty where none",
            unknown="",
        )
    )

    def __len__(self) -> int:
        return len(self.name)


@dataclasses.dataclass(frozen=True, slots=True)
class NodeEvents(Rows):
    """Node executions in a traced pass; columns of equal length n, sorted by start time.

    Attributes:
        source: how they were obtained: ``probe`` or ``ort``.
        node: int32[n], row in the NodeTable.
        process: int32[n], ProcessRecord.index.
        inference: int32[n], number of the traced inference in its process, from 0.
        start_ns: int64[n], CLOCK_MONOTONIC.
        duration_ns: int64[n], total, including the nodes of the subgraphs it ran.
        self_ns: int64[n], duration_ns minus that of its direct children.
        details: further int64[n] columns by name, with the unit as suffix (memory fields
            and thread statistics from the ORT profiler); -1 where an event lacks one.
        inference_process: int32[m], process of each traced inference.
        inference_number: int32[m], its number in that process.
        inference_start_ns: int64[m], CLOCK_MONOTONIC.
        inference_duration_ns: int64[m], the whole traced inference as the tracer reports it.
        inference_framework_ns: int64[m], the part of it outside all nodes; -1 where not known.
            What remains besides this and the nodes' self times is the tracer's cost.
        dropped: events that the tracer itself dropped at its limit; 0 when none.
        resolution_ns: resolution of the tracer's clock (1000 for ORT's profiler).
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
        """The given events, with all inferences."""
        names = ("node", "process", "inference", "start_ns", "duration_ns", "self_ns")
        columns: Any = {name: getattr(self, name)[rows] for name in names}
        details = {name: values[rows] for name, values in self.details.items()}
        return dataclasses.replace(self, details=details, **columns)


@dataclasses.dataclass(frozen=True, slots=True)
class DeviceSeries:
    """Readings of one quantity of one device over the run; columns of equal length n, by time.

    Attributes:
        device: ``gpu0``, ``package0``, ``cpu3``, ``host``, ``sampler``.
        quantity: identifier with its unit as suffix: ``power_instant_mw``, ``energy_uj``.
        unit: unit of value, as in the ``units`` of the HDF5 file.
        source: where it was read: ``nvmlDeviceGetFieldValues(186)``, a path under /sys.
        process: int32[n], ProcessRecord.index.
        time_ns: int64[n], CLOCK_MONOTONIC of the reading.
        value: int64[n].
        changed: int8[n], 1 where the value differs from the previous reading in its process,
            or is the first one there.
        double: the values come from a test double and are not a measurement.
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


class RepeatedTexts(Sequence[str]):
    """Texts of which few differ, as the names of a million kernels do: rows in the distinct ones.

    Compares equal to the sequence of its texts.

    Attributes:
        row: integer[n], of each text in ``distinct``.
        distinct: the texts that occur, each once.
    """

    __slots__ = ("distinct", "row")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, row: npt.NDArray[np.integer[Any]], distinct: tuple[str, ...]) -> None:
        self.row = row
        self.distinct = distinct

    @classmethod
    def of(cls, texts: Sequence[str]) -> RepeatedTexts:
        """Any texts, in this form; the distinct ones in order of their first."""
        if isinstance(texts, cls):
            return texts
        rows: dict[str, int] = {}
        row = np.array([rows.setdefault(text, len(rows)) for text in texts], np.int32)
        return cls(row, tuple(rows))

    def each(self, values: Iterable[Any]) -> npt.NDArray[Any]:
        """From a value for each distinct text, that of each text."""
        return np.array(list(values))[self.row] if self.distinct else np.empty(0)

    def __len__(self) -> int:
        return len(self.row)

    @overload
    def __getitem__(self, at: SupportsIndex) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> RepeatedTexts: ...
    def __getitem__(self, at: SupportsIndex | slice) -> str | RepeatedTexts:
        if isinstance(at, slice):
            return RepeatedTexts(self.row[at], self.distinct)
        return self.distinct[int(self.row[at])]

    def __iter__(self) -> Iterator[str]:
        return map(self.distinct.__getitem__, self.row.tolist())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    def __repr__(self) -> str:
        return repr(tuple(self))


@dataclasses.dataclass(frozen=True, slots=True)
class KernelEvents:
    """GPU work in a traced pass; columns of equal length n, sorted by start time.

    Attributes:
        kind: ``kernel``, ``memcpy`` or ``memset``; RepeatedTexts where a file was read.
        name: name of the function; for a copy, its direction (``HtoD``); likewise.
        node: int32[n], row in the NodeTable; -1 where it could not be joined to a node.
        process: int32[n], ProcessRecord.index.
        inference: int32[n], number of the traced inference in its process; -1 outside all of
            them.
        start_ns: int64[n], CLOCK_MONOTONIC.
        duration_ns: int64[n].
        launch_ns: int64[n], CLOCK_MONOTONIC when the host began to launch it; -1 where not known.
        stream: int32[n], number of the CUDA stream.
        grid: int32[n, 3]; -1 for copies.
        block: int32[n, 3]; -1 for copies.
        registers: int32[n], per thread; -1 for copies.
        shared_bytes: int64[n], static plus dynamic shared memory per block; -1 for copies.
        bytes: int64[n], bytes copied or set; -1 for kernels.
        unjoined_reason: why node is -1 where it is, in one sentence; empty where it never is.
        disagreements: kernels launched outside the interval of the node they were joined to.
        dropped: records that CUPTI dropped.
    """

    kind: Sequence[str]
    name: Sequence[str]
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
class Launches:
    """What the host launches in an inference, in that order; columns of equal length n.

    It is the same in each inference of a process: one row is one piece of work, done once in each.
    The rows of a process follow each other.

    Attributes:
        process: int32[n], ProcessRecord.index.
        kind: ``kernel``, ``memcpy`` or ``memset``.
        name: name of the function; for a copy, its direction (``HtoD``).
        node: int32[n], row in the NodeTable; -1 where it belongs to no node.
        stream: int32[n], number of the CUDA stream.
        grid: int32[n, 3]; -1 for copies.
        block: int32[n, 3]; -1 for copies.
        registers: int32[n], per thread; -1 for copies.
        shared_bytes: int64[n], static plus dynamic shared memory per block; -1 for copies.
        bytes: int64[n], bytes copied or set; -1 for kernels.
    """

    process: Int32Array
    kind: tuple[str, ...]
    name: tuple[str, ...]
    node: Int32Array
    stream: Int32Array
    grid: Int32Array
    block: Int32Array
    registers: Int32Array
    shared_bytes: Int64Array
    bytes: Int64Array

    def __len__(self) -> int:
        return len(self.node)


@dataclasses.dataclass(frozen=True, slots=True)
class TimelineInferences:
    """Inferences of the pass that takes the device's times; columns of equal length n, by process.

    CUPTI is on in half of them and off in the others, by turns: so its cost is measured.

    Attributes:
        process: int32[n], ProcessRecord.index.
        recorded: int32[n], 1 where CUPTI was on, 0 where it was off.
        start_ns: int64[n], CLOCK_MONOTONIC just before the inference.
        enqueue_ns: int64[n], the part of its duration until the call returned.
        duration_ns: int64[n], until the device had done the work.
    """

    process: Int32Array
    recorded: Int32Array
    start_ns: Int64Array
    enqueue_ns: Int64Array
    duration_ns: Int64Array

    def __len__(self) -> int:
        return len(self.process)


@dataclasses.dataclass(frozen=True, slots=True)
class LaunchTimes:
    """When each launch ran in each recorded inference; columns of equal length n.

    Attributes:
        launch: int32[n], row in Launches.
        inference: int32[n], row in TimelineInferences.
        start_ns: int64[n], CLOCK_MONOTONIC.
        duration_ns: int64[n].
    """

    launch: Int32Array
    inference: Int32Array
    start_ns: Int64Array
    duration_ns: Int64Array

    def __len__(self) -> int:
        return len(self.launch)


@dataclasses.dataclass(frozen=True, slots=True)
class GpuTimeline:
    """When the device worked, with nothing but that recorded.

    ``KernelEvents`` are recorded under ORT's profiler, which slows the host down: what they say
    about a kernel is true, what they say about the time between kernels is not. Here the profiler
    is off, and the nodes are known by position: of which node the n-th launch is was learnt there.

    Attributes:
        launches: what an inference consists of.
        inferences: those that were timed, with CUPTI and without.
        times: of each launch in each inference with CUPTI.
    """

    launches: Launches
    inferences: TimelineInferences
    times: LaunchTimes


@dataclasses.dataclass(frozen=True, slots=True)
class Stacks:
    """Sampled stacks of a worker's main thread in the timing loop; columns of equal length n.

    Attributes:
        stack: frames from the outermost to the innermost, separated by ``;``.
        samples: int64[n], how often each stack was seen.
        rate_hz: sampling rate that was requested, in samples per second.
        native: whether frames of native libraries are included.
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
class Instances:
    """Sessions side by side; columns of equal length n: a row for each caller in each window.

    A group is started once and measured in two windows: in the common one all callers infer, in the
    other one instance does, the others being asleep; of one instance with several callers, one
    caller. What counts is what lies wholly inside a window.

    Attributes:
        process: int32[n], number of the group: ProcessRecord.index.
        instance: int32[n], number of the instance in its group.
        caller: int32[n], number of the calling thread over all instances of the group.
        alone: int32[n], 1 in a window with nothing beside, 0 in the common one.
        cpus: CPUs of the instance as the kernel tells them, such as ``0-15``.
        memory: its memory policy likewise: ``default``, ``local``, ``interleave 0-3``; empty where
            the kernel does not tell.
        begin_ns: int64[n], CLOCK_MONOTONIC, when the window began.
        end_ns: int64[n], when it ended; all go on until every one has left it.
        start_ns: int64[n], start of the caller's first inference in it; -1 without one.
        done_ns: int64[n], end of its last one there; -1 without one.
        inferences: int64[n], how many there were.
        median_ns: int64[n], of their durations; -1 without one.
        p99_ns: int64[n], likewise; -1 of fewer than 500.
        cpu_wait_ns: int64[n], how long the calling thread was runnable without a CPU, from before
            the window until after it; -1 where the kernel does not tell.
        session_ns: int64[n], creating the instance's session, while others were being created.
        first_inference_ns: int64[n], its first inference, likewise.
        pss_bytes: int64[n], memory of the instance, of what it shares with others its part; -1
            where not known, like the next two.
        pages_bytes: int64[n], its pages that the kernel tells the place of.
        local_bytes: int64[n], those of them on the NUMA nodes of its CPUs.
    """

    process: Int32Array
    instance: Int32Array
    caller: Int32Array
    alone: Int32Array
    cpus: tuple[str, ...]
    memory: tuple[str, ...]
    begin_ns: Int64Array
    end_ns: Int64Array
    start_ns: Int64Array
    done_ns: Int64Array
    inferences: Int64Array
    median_ns: Int64Array
    p99_ns: Int64Array
    cpu_wait_ns: Int64Array
    session_ns: Int64Array
    first_inference_ns: Int64Array
    pss_bytes: Int64Array
    pages_bytes: Int64Array
    local_bytes: Int64Array

    def __len__(self) -> int:
        return len(self.process)


@dataclasses.dataclass(frozen=True, slots=True)
class WallTime:
    """Where the wall time of the command went: stretches of it that were clocked.

    Columns of equal length n, by start time. Stretches do not overlap, because the command and
    its workers take turns; what lies between them was not clocked.

    Attributes:
        part: what the stretch was spent on: ``session``, ``timed pass``, or
            ``preparation: ceilings``, with the worker in front where it does not measure.
        process: int32[n], ProcessRecord.index; -1 outside the measuring processes.
        start_ns: int64[n], CLOCK_MONOTONIC.
        duration_ns: int64[n].
        cpu_ns: int64[n], CPU time of the process that worked meanwhile, all its threads together.
            Far less than duration_ns where one thread works says that it waited for a CPU.
        began_ns: CLOCK_MONOTONIC when the command began.
        ended_ns: CLOCK_MONOTONIC when the contents of the file were complete.
    """

    part: tuple[str, ...]
    process: Int32Array
    start_ns: Int64Array
    duration_ns: Int64Array
    cpu_ns: Int64Array
    began_ns: int
    ended_ns: int

    def __len__(self) -> int:
        return len(self.part)


@dataclasses.dataclass(frozen=True, slots=True)
class InputRecord:
    """One input as it was fed.

    Attributes:
        name: its name in the model.
        dtype: numpy's (or ml_dtypes') name of the element type; ``sequence(float32)`` …
        shape: its shape; for a sequence or an optional, that of the first element.
        chosen_because: one sentence that says why this shape and these values were chosen.
        sha256: digest of dtype, shape and values: equal in two profiles that were fed the same.
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
        path: its path as given.
        sha256: digest of the model file followed by its external data files.
        size_bytes: total size of the same files.
        producer: producer_name and producer_version of the model.
        ir_version: ONNX IR version; -1, like the two counts below, where a file in ORT's own
            format (.ort) does not contain it.
        opsets: ``domain:version`` of each imported operator set.
        node_count: nodes in the file's main graph, before optimisation; or -1.
        parameter_count: elements in its initializers, including those of subgraphs; or -1.
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
    """What a profile was asked to measure, as far as its file says.

    The file may come from another version of harness or from other software: an option that is
    missing or has the wrong type counts as not given. Names stay strings, known here or not.

    Attributes:
        options: the stored JSON object unchanged, keyed by the fields of ProfileConfig; empty
            where there is none.
        session: its SessionConfig, likewise.
        quick, energy: as in ProfileConfig.
        processes: how many were asked for; None where that was left open.
        precision, budget_s: as in ProfileConfig; None where the file does not say.
        interleaved_with: random string shared with the other profile of ``ab``; empty otherwise.
        affinity: CPU list; None where none was asked for.
        runtime: what ran the model; ``ort`` where the file does not say.
        runtime_options: of a runtime other than ONNX Runtime.
        provider, execution_mode: from the session; empty where the file does not say.
        provider_options: from the session.
        intra_threads: from the session, 0 for ORT's choice; None where the file does not say.
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
    runtime: str
    runtime_options: Mapping[str, str]
    provider: str
    execution_mode: str
    provider_options: Mapping[str, str]
    intra_threads: int | None

    @classmethod
    def of(cls, config: str) -> Asked:
        """Reads the JSON text that a file holds; never fails."""
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
            runtime=_text(options.get("runtime")) or ORT,
            runtime_options={
                key: str(value) for key, value in _object(options.get("runtime_options")).items()
            },
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
    """A finite number: Python's JSON parser also accepts NaN and infinity."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


#: Names of the facts that an outline holds, besides the names of the GPUs (``gpuN_name``).
NOISE = "noise_verdict"
SWEEP_CELL = "sweep_cell"
OUTLINED = (
    "host_name", "cpu_model", "cpu_threads", "affinity_cpus", "ort_version", "ort_build",
    "gpu_count", "gpu_used", "gpu_used_uuid", "gpu_used_mig", "nvml_driver", RUNTIME_VERSION,
    RUNTIME_THREADS, ITEMS, NOISE, SWEEP_CELL,
)  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True)
class Outline:
    """What a profile's file says about itself, without its samples: enough for a list.

    The figures are those that were stored when the file was written (its ``/summary``), so they
    are as trustworthy as the file, and of the version of harness that wrote it.

    Attributes:
        path: the file.
        harness_version, created, complete, config, provider, inputs: as in Profile.
        model: name of the model.
        model_sha256: digest of the model and its external data.
        facts: the values of OUTLINED and of ``gpuN_name`` that the file knows, by name.
        processes: how many there are.
        median_ns: geometric mean over the processes of their medians; None if not stored.
        interval_ns: its confidence interval, (low, high); None where there is none.
        samples: inferences in all timed passes; None if not stored.
    """

    path: Path
    harness_version: str
    created: str
    complete: bool
    config: str
    provider: str
    model: str
    model_sha256: str
    inputs: tuple[InputRecord, ...]
    facts: Mapping[str, int | float | str]
    processes: int
    median_ns: float | None
    interval_ns: tuple[float, float] | None
    samples: int | None

    @property
    def asked(self) -> Asked:
        """The request in ``config``, parsed."""
        return _asked(self.config)


@dataclasses.dataclass(frozen=True, slots=True)
class Profile:
    """A whole profile: what ``read_profile`` returns and ``storage`` writes.

    Attributes:
        path: the file it was read from; None before it is written.
        harness_version: version that recorded it.
        created: UTC time in ISO 8601.
        complete: False when the run was interrupted and only part of it is here.
        config: the ProfileConfig as a JSON object (text).
        model: the model that was profiled.
        provider: execution provider that was used: ``cpu``, ``cuda``, ``tensorrt``.
        inputs: what it was fed.
        output_check: largest error against a data set's expected outputs.
        environment: facts about the machine, the driver, ORT and this build.
        processes: one record for each finished worker process.
        nodes: the executed graph; None when no traced pass recorded it.
        traces: NodeEvents by the name of the pass: ``probe``, ``ort``; those OF_PLACES hold the
            cost of the probes at each place, or the stretches between every second place,
            instead of nodes.
        devices: device readings over the run, one series per device and quantity.
        kernels: GPU work in a traced pass; None where none was recorded.
        timeline: when the GPU worked, in a pass of its own; None where that was not recorded.
        replay: the same while a captured CUDA graph was replayed, whether or not the timed pass
            does so; without launches and their times where CUPTI did not tell them. None where
            none was replayed.
        stacks: sampled stacks of an extra worker; None where none were sampled.
        wall_time: where the command's wall time went; None where it was not recorded.
        instances: the windows of sessions side by side; None of one session with one caller.
        absent: (what, reason) for everything that could not be recorded.
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
    wall_time: WallTime | None = None
    timeline: GpuTimeline | None = None
    replay: GpuTimeline | None = None
    instances: Instances | None = None

    @property
    def asked(self) -> Asked:
        """The request in ``config``, parsed."""
        return _asked(self.config)

    @property
    def latency(self) -> Latency:
        """Latency of an inference as ``show`` prints it, calculated on each access.

        ``median_ns`` (float) and ``interval_ns`` ((low, high) of 95 % confidence, or None with
        ``interval_reason``), both in ns; ``harness.statistics.latency.Latency`` has the rest.

        Raises:
            RequestError: no process has finished a timed pass.
        """
        from harness.statistics.latency import latency  # an upward import, made on request

        if not any(len(process.steady) for process in self.processes):
            raise RequestError(
                f"{self.path or self.model.name}: no process has finished a timed pass",
                "profile.absent may say why",
            )
        return latency(self.processes)

    @property
    def items(self) -> Reading:
        """How many items each inference was fed; its value is None where the file does not say."""
        told = next((one for one in self.environment if one.name == ITEMS), None)
        if told is None:
            return Reading(ITEMS, None, "1", reason="not recorded: file of an older version")
        known = isinstance(told.value, int) and told.value > 0
        return told if known else dataclasses.replace(told, value=None)

    @property
    def node_traces(self) -> Mapping[str, NodeEvents]:
        """The traces whose events are node executions."""
        return {name: each for name, each in self.traces.items() if name not in OF_PLACES}

    def to_pandas(self) -> Frames:
        """Tidy pandas frames by name: ``samples``, ``operators``, ``nodes``, ``events`` and more.

        ``harness.analysis.frames.Frames`` lists all of them with their columns; each is built
        on first use.

        Raises:
            MachineError: pandas is not installed.
        """
        from harness.analysis.frames import Frames  # an upward import, made on request

        return Frames(self)

    def to_xarray(self) -> xarray.DataTree:
        """The profile with the structure of its file, whether or not it has been written.

        Groups, dimensions, ``units`` and ``long_name`` are those of profiles/FORMAT.md:
        ``tree["processes/000/latency"].duration_ns`` is int64[sample] in ns.

        Raises:
            MachineError: xarray is not installed, or is too old to have a DataTree.
        """
        from harness.analysis.frames import data_tree

        return data_tree(self)
