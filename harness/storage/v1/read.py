"""Reads format version 1, with long columns left to be read when they are touched."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

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
    not_known,
)
from harness.storage.columns import Column, Columns, ProfileFile
from harness.storage.lazy_columns import stored
from harness.storage.v1.schema import (
    DEVICE,
    EVENTS,
    INFERENCES,
    INPUT_TEXT,
    KERNEL_SIZES,
    KERNELS,
    LATENCY,
    MODEL_NUMBERS,
    MODEL_TEXT,
    NODES,
    PROCESS,
    STACKS,
    STORED_SOURCES,
    YARDSTICK,
    Attributes,
    Fact,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


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
            nodes=_read_nodes(file["nodes"]) if "nodes" in file else None,
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


def _read_nodes(group: h5py.Group) -> NodeTable:
    there = {name: column for name, column in NODES.items() if name in group}
    # A column that older files lack is one of which nothing is known.
    unknown = not_known(NodeTable, len(group["name"]))
    return NodeTable(**{**unknown, **_read_columns(group, there)})


def _read_model(group: h5py.Group) -> ModelRecord:
    texts: dict[str, Any] = {name: group.attrs[name] for name in MODEL_TEXT}
    return ModelRecord(
        **texts, **_read_scalars(group, MODEL_NUMBERS), opsets=_text(group["opsets"])
    )


def _read_inputs(group: h5py.Group) -> tuple[InputRecord, ...]:
    columns = {name: _text(group[name]) for name in INPUT_TEXT}
    return tuple(
        InputRecord(
            shape=tuple(json.loads(shape)),
            **{name: column[row] for name, column in columns.items()},
        )
        for row, shape in enumerate(_text(group["shape"]))
    )


def _read_process(file: ProfileFile, group: h5py.Group) -> ProcessRecord:
    def series(name: str) -> LatencySeries:
        columns = _columns(file, group[name], LATENCY)
        return stored(LatencySeries, columns, len(group[name]["duration_ns"]))

    metadata = group["metadata"]
    facts: Any = zip(_text(metadata["name"]), _read_facts(metadata), strict=True)
    return ProcessRecord(
        # A scalar that older files lack keeps the record's own value for what is not known.
        **_read_scalars(group, [name for name in PROCESS if name in group]),
        warmup=series("warmup"),
        steady=series("latency"),
        noise=_read_readings(group["noise"]),
        metadata=dict(facts),
        log=_text(group["log"]),
        yardstick=Yardstick(**_read_columns(group["yardstick"], YARDSTICK))
        if "yardstick" in group
        else NO_YARDSTICK,
        duration_holds=group["latency"].attrs.get("duration_holds", ""),
        enqueue_ns=group["latency/enqueue_ns"][...]
        if "enqueue_ns" in group["latency"]
        else NOTHING,
        copied=series("copied") if "copied" in group else LatencySeries(NOTHING, NOTHING),
    )


_SOURCES = {stored: name for name, stored in STORED_SOURCES.items()}


def _read_events(file: ProfileFile, group: h5py.Group) -> NodeEvents:
    known = {"dropped", "resolution_ns", "event", "traced_inference", *EVENTS, *INFERENCES}
    details = _columns(file, group, [name for name in group if name not in known])
    return stored(
        NodeEvents,
        {**_columns(file, group, EVENTS), "details": Columns(details)},
        len(group["node"]),
        source=_SOURCES.get(group.attrs["source"], group.attrs["source"]),
        dropped=int(group["dropped"][()]),
        resolution_ns=int(group["resolution_ns"][()]),
        **_columns(file, group, INFERENCES),
    )


def _read_device(device: str, quantity: str, group: h5py.Group) -> DeviceSeries:
    return DeviceSeries(
        device=device,
        quantity=quantity,
        unit=group["value"].attrs["units"],
        source=group.attrs["source"],
        value=group["value"][...],
        changed=group["changed"][...].astype(np.int8),
        double=bool(group.attrs["double"]),
        **_read_columns(group, DEVICE),
    )


def _read_stacks(group: h5py.Group) -> Stacks:
    return Stacks(
        rate_hz=int(group["rate_hz"][()]),
        native=bool(group.attrs["native"]),
        failed=int(group["failed"][()]),
        **_read_columns(group, STACKS),
    )


def _read_kernels(file: ProfileFile, group: h5py.Group) -> KernelEvents:
    sizes = {
        name: Column.of(file, *(group[f"{name}_{axis}"] for axis in "xyz")) for name in KERNEL_SIZES
    }
    return stored(
        KernelEvents,
        {**_columns(file, group, KERNELS), **sizes},
        len(group["node"]),
        unjoined_reason=group.attrs["unjoined_reason"],
        disagreements=int(group["disagreements"][()]),
        dropped=int(group["dropped"][()]),
    )


def _read_readings(group: h5py.Group) -> tuple[Reading, ...]:
    texts = [_text(group[name]) for name in ("name", "unit", "source", "reason")]
    return tuple(
        Reading(name, value, unit, source, reason)
        for value, name, unit, source, reason in zip(_read_facts(group), *texts, strict=True)
    )


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


def _columns(file: ProfileFile, group: h5py.Group, names: Iterable[str]) -> dict[str, Column]:
    """Columns that are still to be read."""
    return {name: Column.of(file, group[name]) for name in names}


def _read_columns(group: h5py.Group, columns: Mapping[str, Attributes]) -> dict[str, Any]:
    return {
        name: _text(group[name]) if h5py.check_string_dtype(group[name].dtype) else group[name][...]
        for name in columns
    }


def _read_scalars(group: h5py.Group, names: Iterable[str]) -> dict[str, Any]:
    return {name: int(group[name][()]) for name in names}


def _text(dataset: h5py.Dataset) -> tuple[str, ...]:
    return tuple(dataset.asstr()[...])
