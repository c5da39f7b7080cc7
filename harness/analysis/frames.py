"""A profile in the form that pandas and xarray users expect; both packages are optional.

``Profile.to_pandas()`` and ``Profile.to_xarray()`` are the entry points.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from harness.analysis.device_time import device_time
from harness.analysis.gpu_work import kernel_table
from harness.analysis.operators.table import Operator, operator_table
from harness.analysis.wall_time import why_absent
from harness.errors import MachineError
from harness.records import GpuTimeline, NodeTable, columns_of
from harness.statistics.figures import Figure
from harness.storage import profile_file

if TYPE_CHECKING:
    import pandas
    import xarray

    from harness.records import Profile, Reading

#: Columns by name, or why the profile has none of them.
_Columns = dict[str, Any]
_Made = tuple[_Columns, dict[str, Any]] | str

#: Suffixes of column names that are units.
_UNITS = frozenset({"ns", "bytes"})


class Frames(Mapping[str, "pandas.DataFrame"]):
    """Tidy pandas frames of a profile by name, each made when it is first asked for.

    A frame that the profile has no data for is not in the mapping: asking for it raises a
    KeyError that says why. A missing value is NA or NaN, never 0 or -1.
    ``frame.attrs["units"]`` gives the unit of each column that has one. Times are int64
    nanoseconds, timestamps are CLOCK_MONOTONIC of the machine that measured, texts are
    strings, names that repeat are categories.

    ======================  ================================================================
    ``samples``             one row per inference: process, pass (``warm-up``, ``timed``,
                            ``copied``), inference (from 0 in its pass), start_ns,
                            duration_ns; enqueue_ns if the host waited for a device; caller
                            (number of the thread) of callers side by side
    ``processes``           by process: pid, library_ns, session_ns, first_inference_ns, loops,
                            provider_ns (NA if not known), samples, median_ns
                            (float64) of the timed pass
    ``instances``           of callers side by side, one row per caller and window: the fields of
                            ``harness.records.Instances``, alone as bool
    ``yardstick``           the fixed workload around the timed pass: process, start_ns,
                            compute_ns, cache_ns, memory_ns
    ``operators``           one row per node that ran, longest first: the fields of
                            ``harness.analysis.operators.table.Operator``, the interval as
                            interval_low_ns and interval_high_ns; ``attrs`` holds source,
                            resolution_ns, inferences and doubt (why not to trust
                            them, empty if there is no reason)
    ``nodes``               by row number, the fields of ``harness.records.NodeTable``
    ``events``              one row per execution of a node: trace (``probe``, ``ort``),
                            process, inference, node (row of ``nodes``), start_ns,
                            duration_ns, self_ns, and whatever else the tracer recorded
    ``inferences``          one row per traced inference: trace, process, inference, start_ns,
                            duration_ns, framework_ns
    ``devices``             one row per reading: device, quantity, process, time_ns, value
                            (int64), unit, changed (bool), source, double (True: from a test
                            double, not a measurement)
    ``kernels``             one row per piece of GPU work, the fields of
                            ``harness.records.KernelEvents``
    ``timeline``            one row per piece of GPU work, timed with nothing else recorded:
                            process, inference (row of
                            ``harness.records.TimelineInferences``), launch (position among
                            those of its process), kind, name, node, stream, start_ns,
                            duration_ns; inference_start_ns and inference_duration_ns of its
                            inference
    ``replay``              the same while a captured CUDA graph was replayed
    ``stacks``              stack, samples; ``attrs`` holds rate_hz, native, failed
    ``wall_time``           where the wall time of the command went, by stretch: part, process (NA
                            outside the measuring processes), start_ns, duration_ns, cpu_ns;
                            ``attrs`` holds began_ns and ended_ns
    ``inputs``              by name: dtype, shape (tuple), chosen_because, sha256
    ``environment``         by name: value (int, float or text), unit, source, reason
    ``noise``               the host during a timed pass: process, name, then as above
    ``absent``              what could not be recorded, and why
    ======================  ================================================================
    """

    def __init__(self, profile: Profile) -> None:
        """Frames of a profile.

        Raises:
            MachineError: pandas is not installed.
        """
        self._pandas = _package("pandas", "to_pandas")
        self._profile = profile
        self._frames: dict[str, pandas.DataFrame | str] = {}

    def __getitem__(self, name: str) -> pandas.DataFrame:
        if name not in _MAKERS:
            raise KeyError(f"{name}: no such frame, the frames are {', '.join(_MAKERS)}")
        frame = self._frame(name)
        if isinstance(frame, str):
            raise KeyError(f"{name}: not in this profile: {frame}")
        return frame

    def __iter__(self) -> Iterator[str]:
        return (name for name in _MAKERS if not isinstance(self._frame(name), str))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        # A profile may hold millions of events: frames are not made only to list their names.
        return f"<Frames of {self._profile.model.name}, made when asked for: {', '.join(_MAKERS)}>"

    def _frame(self, name: str) -> pandas.DataFrame | str:
        """The frame, or why there is none."""
        if name not in self._frames:
            made = _MAKERS[name](self._profile)
            self._frames[name] = made if isinstance(made, str) else self._data_frame(*made)
        return self._frames[name]

    def _data_frame(self, columns: _Columns, facts: dict[str, Any]) -> pandas.DataFrame:
        index = facts.pop("index", None)
        frame = self._pandas.DataFrame(
            {name: self._column(values) for name, values in columns.items()}
        )
        units = {name: unit for name in columns if (unit := name.rpartition("_")[2]) in _UNITS}
        frame.attrs = {"units": units, **facts}
        if index is None:
            return frame
        # Rows without a name of their own are indexed by number.
        return frame.set_index(index) if index in columns else frame.rename_axis(index)

    def _column(self, values: Any) -> Any:
        if isinstance(values, _Gaps):
            mask = values.numbers == -1
            return self._pandas.arrays.IntegerArray(values.numbers.astype(np.int64), mask)
        if isinstance(values, _Names):
            return self._pandas.Categorical.from_codes(values.codes, categories=values.names)
        return values


def data_tree(profile: Profile) -> xarray.DataTree:
    """The groups of the profile's file (profiles/FORMAT.md) as an xarray DataTree, in memory.

    Raises:
        MachineError: xarray is not installed, or is too old to have a DataTree.
    """
    package = _package("xarray", "to_xarray")
    if not hasattr(package, "DataTree"):
        raise MachineError(
            f"to_xarray needs xarray 2024.10 or newer, {package.__version__} is installed",
            "python -m pip install --upgrade xarray",  # another program's
        )
    tree: xarray.DataTree = package.DataTree.from_dict(
        {
            group.path: package.Dataset(group.variables, attrs=group.attributes)
            for group in profile_file.file_groups(profile)
        }
    )
    return tree


def _package(name: str, method: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:  # it is installed, but broken
            raise
        raise MachineError(
            f"{method} needs {name}, which is not installed", f"python -m pip install {name}"
        ) from error


@dataclasses.dataclass(frozen=True, slots=True)
class _Gaps:
    """Integers in which -1 stands for a missing value."""

    numbers: npt.NDArray[np.integer[Any]]


@dataclasses.dataclass(frozen=True, slots=True)
class _Names:
    """Names that repeat: one code per row, an index into the names."""

    codes: npt.NDArray[np.intp]
    names: tuple[str, ...]

    @classmethod
    def of(cls, names: list[str], lengths: list[int]) -> _Names:
        """Each name repeated for its number of rows."""
        once = tuple(dict.fromkeys(names))
        codes = [once.index(name) for name in names]
        return cls(np.repeat(np.array(codes, np.intp), lengths), once)


def _samples(profile: Profile) -> _Made:
    parts = [
        (process, name, series)
        for process in profile.processes
        for name, series in (
            ("warm-up", process.warmup),
            ("timed", process.steady),
            ("copied", process.copied),
        )
        if len(series)
    ]
    lengths = [len(series) for *_, series in parts]
    columns = {
        "process": np.repeat(np.array([one.index for one, *_ in parts], np.int64), lengths),
        "pass": _Names.of([name for _, name, _ in parts], lengths),
        "inference": _joined([np.arange(length) for length in lengths]),
        "start_ns": _joined([series.start_ns for *_, series in parts]),
        "duration_ns": _joined([series.duration_ns for *_, series in parts]),
    }
    for field in ("enqueue_ns", "caller"):
        if any(len(getattr(process, field)) for process in profile.processes):
            columns[field] = _Gaps(
                _joined(
                    [
                        getattr(process, field)
                        if name == "timed" and len(getattr(process, field))
                        else np.full(len(series), -1)
                        for process, name, series in parts
                    ]
                )
            )
    return columns, {}


def _processes(profile: Profile) -> _Made:
    names = ("index", "pid", "library_ns", "session_ns", "first_inference_ns", "loops")
    columns: _Columns = {
        name: np.array([getattr(each, name) for each in profile.processes], np.int64)
        for name in names
    }
    columns["provider_ns"] = _Gaps(
        np.array([each.provider_ns for each in profile.processes], np.int64)
    )
    durations = [process.steady.duration_ns for process in profile.processes]
    columns["process"] = columns.pop("index")
    columns["samples"] = np.array([len(each) for each in durations], np.int64)
    columns["median_ns"] = np.array(
        [np.median(each) if len(each) else np.nan for each in durations]
    )
    return columns, {"index": "process"}


def _instances(profile: Profile) -> _Made:
    rows = profile.instances
    if rows is None:
        return "one session with one caller was measured"
    columns: _Columns = {}
    for field in dataclasses.fields(rows):
        values = getattr(rows, field.name)
        columns[field.name] = values if isinstance(values, tuple) else _Gaps(values)
    columns["alone"] = rows.alone == 1
    columns["process"] = rows.process
    return columns, {}


def _yardstick(profile: Profile) -> _Made:
    timed = [process for process in profile.processes if len(process.yardstick)]
    if not timed:
        return "no yardstick was timed"
    lengths = [len(process.yardstick) for process in timed]
    columns = {"process": np.repeat([process.index for process in timed], lengths)}
    for name in ("start_ns", "compute_ns", "cache_ns", "memory_ns"):
        columns[name] = _joined([getattr(process.yardstick, name) for process in timed])
    return columns, {}


def _operators(profile: Profile) -> _Made:
    table = operator_table(profile)
    if isinstance(table, Figure):
        return table.reason
    columns: _Columns = {}
    for field in dataclasses.fields(Operator):
        values = [getattr(row, field.name) for row in table.operators]
        if field.name == "interval_ns":
            for side, name in enumerate(("interval_low_ns", "interval_high_ns")):
                columns[name] = np.array([np.nan if one is None else one[side] for one in values])
        elif all(one is None or isinstance(one, float) for one in values):
            columns[field.name] = np.array(values, np.float64)  # None becomes NaN
        else:
            columns[field.name] = values
    return columns, {
        "source": table.source,
        "resolution_ns": table.resolution_ns,
        "inferences": table.inferences,
        "doubt": table.accounts.doubt,
    }


def _nodes(profile: Profile) -> _Made:
    nodes = profile.nodes
    if nodes is None:
        return _reason(profile, ("nodes",), "no traced pass was asked for")
    columns: _Columns = {}
    for column in columns_of(NodeTable):
        values = getattr(nodes, column.name)
        has_gaps = -1 in (column.unknown, column.none)
        columns[column.name] = _Gaps(np.asarray(values)) if has_gaps else values
    return columns, {"index": "node"}


def _events(profile: Profile) -> _Made:
    traces = profile.node_traces
    if not traces:
        return _no_trace(profile)
    lengths = [len(events) for events in traces.values()]
    columns: _Columns = {"trace": _Names.of(list(traces), lengths)}
    for name in ("process", "inference", "node", "start_ns", "duration_ns", "self_ns"):
        columns[name] = _joined([getattr(events, name) for events in traces.values()])
    for name in dict.fromkeys(name for events in traces.values() for name in events.details):
        columns[name] = _Gaps(
            _joined(
                [
                    np.asarray(events.details[name])
                    if name in events.details
                    else np.full(len(events), -1)
                    for events in traces.values()
                ]
            )
        )
    return columns, {}


def _inferences(profile: Profile) -> _Made:
    traces = profile.node_traces
    if not traces:
        return _no_trace(profile)
    lengths = [len(events.inference_number) for events in traces.values()]

    def column(name: str) -> npt.NDArray[Any]:
        return _joined([getattr(events, f"inference_{name}") for events in traces.values()])

    return {
        "trace": _Names.of(list(traces), lengths),
        "process": column("process"),
        "inference": column("number"),
        "start_ns": column("start_ns"),
        "duration_ns": column("duration_ns"),
        "framework_ns": _Gaps(column("framework_ns")),
    }, {}


def _devices(profile: Profile) -> _Made:
    devices = profile.devices
    if not devices:
        return _reason(profile, ("devices",), "no device was sampled")
    lengths = [len(series) for series in devices]

    def names(field: str) -> _Names:
        return _Names.of([getattr(series, field) for series in devices], lengths)

    return {
        "device": names("device"),
        "quantity": names("quantity"),
        "process": _joined([series.process for series in devices]),
        "time_ns": _joined([series.time_ns for series in devices]),
        "value": _joined([series.value for series in devices]),
        "unit": names("unit"),
        "changed": _joined([np.asarray(series.changed) == 1 for series in devices]),
        "source": names("source"),
        "double": np.repeat([series.double for series in devices], lengths),
    }, {}


def _kernels(profile: Profile) -> _Made:
    kernels = profile.kernels
    if kernels is None:
        table = kernel_table(profile)
        return table.reason if isinstance(table, Figure) else "no kernel was recorded"
    columns: _Columns = {"kind": list(kernels.kind), "name": list(kernels.name)}
    for name in ("process", "start_ns", "duration_ns", "stream"):
        columns[name] = getattr(kernels, name)
    for name in ("inference", "node", "launch_ns", "registers", "shared_bytes", "bytes"):
        columns[name] = _Gaps(getattr(kernels, name))
    for name in ("grid", "block"):
        for axis, values in zip("xyz", getattr(kernels, name).T, strict=True):
            columns[f"{name}_{axis}"] = _Gaps(values)
    facts = ("unjoined_reason", "disagreements", "dropped")
    return columns, {name: getattr(kernels, name) for name in facts}


def _timeline(profile: Profile) -> _Made:
    if profile.timeline is None:
        told = device_time(profile)
        return told.reason if isinstance(told, Figure) else "no times were recorded"
    return _launch_times(profile.timeline)


def _replay(profile: Profile) -> _Made:
    reasons = [why for what, why in profile.absent if what == "trace/replay"]
    if profile.replay is None or not len(profile.replay.launches):
        return "; ".join(reasons) or "no captured graph was replayed"
    return _launch_times(profile.replay)


def _launch_times(timeline: GpuTimeline) -> _Made:
    launches, inferences = timeline.launches, timeline.inferences
    launch, inference = timeline.times.launch, timeline.times.inference
    first = np.searchsorted(launches.process, launches.process)  # of the same process
    rows = launch.tolist()
    return {
        "process": launches.process[launch],
        "inference": inference,
        "launch": launch - first[launch],
        "kind": [launches.kind[row] for row in rows],
        "name": [launches.name[row] for row in rows],
        "node": _Gaps(launches.node[launch]),
        "stream": launches.stream[launch],
        "start_ns": timeline.times.start_ns,
        "duration_ns": timeline.times.duration_ns,
        "inference_start_ns": inferences.start_ns[inference],
        "inference_duration_ns": inferences.duration_ns[inference],
    }, {}


def _stacks(profile: Profile) -> _Made:
    stacks = profile.stacks
    if stacks is None:
        return _reason(profile, ("stacks",), "it was measured without `stacks`")
    facts = ("rate_hz", "native", "failed")
    return (
        {"stack": stacks.stack, "samples": stacks.samples},
        {name: getattr(stacks, name) for name in facts},
    )


def _wall_time(profile: Profile) -> _Made:
    held = profile.wall_time
    if held is None:
        return why_absent(profile)
    return (
        {
            "part": held.part,
            "process": _Gaps(held.process),
            "start_ns": held.start_ns,
            "duration_ns": held.duration_ns,
            "cpu_ns": held.cpu_ns,
        },
        {"began_ns": held.began_ns, "ended_ns": held.ended_ns},
    )


def _inputs(profile: Profile) -> _Made:
    names = ("name", "dtype", "shape", "chosen_because", "sha256")
    return (
        {name: [getattr(each, name) for each in profile.inputs] for name in names},
        {"index": "name"},
    )


def _environment(profile: Profile) -> _Made:
    return _readings(list(profile.environment)), {"index": "name"}


def _noise(profile: Profile) -> _Made:
    processes = [process for process in profile.processes for _ in process.noise]
    readings = [reading for process in profile.processes for reading in process.noise]
    index = np.array([process.index for process in processes], np.int64)
    return {"process": index, **_readings(readings)}, {}


def _absent(profile: Profile) -> _Made:
    return {
        "what": [what for what, _ in profile.absent],
        "reason": [reason for _, reason in profile.absent],
    }, {}


#: Frames by name, each with the function that makes its columns.
_MAKERS: Mapping[str, Callable[[Profile], _Made]] = {
    "samples": _samples,
    "processes": _processes,
    "instances": _instances,
    "yardstick": _yardstick,
    "operators": _operators,
    "nodes": _nodes,
    "events": _events,
    "inferences": _inferences,
    "devices": _devices,
    "kernels": _kernels,
    "timeline": _timeline,
    "replay": _replay,
    "stacks": _stacks,
    "wall_time": _wall_time,
    "inputs": _inputs,
    "environment": _environment,
    "noise": _noise,
    "absent": _absent,
}


def _readings(readings: list[Reading]) -> _Columns:
    columns: _Columns = {
        name: [getattr(each, name) for each in readings]
        for name in ("name", "value", "unit", "source", "reason")
    }
    # As objects, or pandas would turn integers into floats.
    columns["value"] = np.array([*columns["value"], None], object)[:-1]
    return columns


def _joined(parts: list[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    return np.concatenate(parts) if parts else np.empty(0, np.int64)


def _no_trace(profile: Profile) -> str:
    return _reason(profile, ("nodes", "trace/probe", "trace/ort"), "no traced pass was asked for")


def _reason(profile: Profile, names: tuple[str, ...], otherwise: str) -> str:
    return "; ".join(why for what, why in profile.absent if what in names) or otherwise
