"""Assembles the shards of finished processes into one Profile."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

from harness.records import (
    OF_PLACES,
    DeviceSeries,
    GpuTimeline,
    Instances,
    KernelEvents,
    Launches,
    LaunchTimes,
    NodeEvents,
    NodeTable,
    Profile,
    TimelineInferences,
    columns_of,
)
from harness.storage.shards import ProfileHeader, Shard


def assemble(
    header: ProfileHeader,
    shards: Sequence[Shard],
    complete: bool,
    damaged: Sequence[tuple[str, str]] = (),
) -> Profile:
    """One Profile from all shards; ``damaged`` shards, as from ``read_shards``, become absences.

    The rows of all node tables agree, as every process executes the same graph. What a trace
    adds about a node is taken from the first process that saw it. If the graph of a process
    differs, its samples are kept and its traces are listed as absent.
    """
    absent = list(header.absent)
    if len(shards) < header.planned_processes:
        absent.append(
            ("processes", f"{len(shards)} of {header.planned_processes} planned had finished")
        )
    absent += [(name, f"damaged: {reason}") for name, reason in damaged]

    nodes: NodeTable | None = None
    first = 0
    traced: dict[str, list[NodeEvents]] = {}
    agreeing: list[Shard] = []
    for shard in shards:
        absent += shard.absent
        if nodes is None:
            nodes, first = shard.nodes, shard.process.index
        elif shard.nodes is not None:
            merged = _merge_nodes(nodes, shard.nodes)
            if merged is None:
                what = f"traces of process {shard.process.index}"
                absent.append((what, f"its executed graph differs from that of process {first}"))
                continue
            nodes = merged
        agreeing.append(shard)
        for name, events in shard.traces.items():
            traced.setdefault(name, []).append(events)

    if any(what == "trace/probe" for what, _ in absent):
        # If the guard failed in one process, the probed times of all of them are doubtful.
        for name in ("probe", *OF_PLACES):
            traced.pop(name, None)
        if nodes is not None:
            nodes = dataclasses.replace(nodes, carrier=np.full(len(nodes), -1, np.int64))

    return Profile(
        path=None,
        harness_version=header.harness_version,
        created=header.created,
        complete=complete,
        config=header.config,
        model=header.model,
        provider=header.provider,
        inputs=header.inputs,
        output_check=header.output_check,
        environment=header.environment,
        processes=tuple(shard.process for shard in shards),
        nodes=nodes,
        traces={name: merge_events(parts) for name, parts in traced.items()},
        absent=tuple(dict.fromkeys(absent)),
        devices=merge_devices([each for shard in shards for each in shard.devices]),
        kernels=merge_kernels([one.kernels for one in agreeing if one.kernels is not None]),
        timeline=merge_timelines([one.timeline for one in agreeing if one.timeline is not None]),
        instances=_merge_instances(shards),
        replay=merge_timelines([one.replay for one in agreeing if one.replay is not None]),
    )


def _merge_nodes(one: NodeTable, other: NodeTable) -> NodeTable | None:
    """``one``, completed with what only ``other`` saw; None if they are not the same graph."""
    columns: dict[str, Any] = {}
    for column in columns_of(NodeTable):
        mine, its = getattr(one, column.name), getattr(other, column.name)
        if len(mine) != len(its):
            return None
        if column.unknown is None:
            if not np.array_equal(mine, its):
                return None
        elif isinstance(mine, np.ndarray):
            columns[column.name] = np.where(mine == column.unknown, its, mine)
        else:
            columns[column.name] = tuple(
                b if a == column.unknown else a for a, b in zip(mine, its, strict=True)
            )
    return dataclasses.replace(one, **columns)


def merge_events(parts: Sequence[NodeEvents]) -> NodeEvents:
    """Events of all processes, sorted by start time (stable)."""
    by_start = np.argsort(np.concatenate([part.start_ns for part in parts]), kind="stable")
    by_inference_start = np.argsort(
        np.concatenate([part.inference_start_ns for part in parts]), kind="stable"
    )

    def events(name: str) -> Any:
        return np.concatenate([getattr(part, name) for part in parts])[by_start]

    def inferences(name: str) -> Any:
        return np.concatenate([getattr(part, name) for part in parts])[by_inference_start]

    details = {}
    for name in dict.fromkeys(name for part in parts for name in part.details):
        columns = [
            part.details[name] if name in part.details else np.full(len(part), -1, np.int64)
            for part in parts
        ]
        details[name] = np.concatenate(columns)[by_start]
    return NodeEvents(
        source=parts[0].source,
        node=events("node"),
        process=events("process"),
        inference=events("inference"),
        start_ns=events("start_ns"),
        duration_ns=events("duration_ns"),
        self_ns=events("self_ns"),
        details=details,
        inference_process=inferences("inference_process"),
        inference_number=inferences("inference_number"),
        inference_start_ns=inferences("inference_start_ns"),
        inference_duration_ns=inferences("inference_duration_ns"),
        inference_framework_ns=inferences("inference_framework_ns"),
        dropped=sum(part.dropped for part in parts),
        resolution_ns=max(part.resolution_ns for part in parts),
    )


def merge_devices(series: Sequence[DeviceSeries]) -> tuple[DeviceSeries, ...]:
    """One series for each quantity of each device, with all processes, sorted by time."""
    parts: dict[tuple[str, str], list[DeviceSeries]] = {}
    for each in series:
        parts.setdefault((each.device, each.quantity), []).append(each)
    return tuple(_merge_columns(same, "time_ns") for same in parts.values())


def merge_kernels(parts: Sequence[KernelEvents]) -> KernelEvents | None:
    """The GPU work of all processes, sorted by start time; None if there is none."""
    if not parts:
        return None
    return dataclasses.replace(
        _merge_columns(parts, "start_ns"),
        unjoined_reason=next((one.unjoined_reason for one in parts if one.unjoined_reason), ""),
        disagreements=sum(one.disagreements for one in parts),
        dropped=sum(one.dropped for one in parts),
    )


def merge_timelines(parts: Sequence[GpuTimeline]) -> GpuTimeline | None:
    """The timelines of all processes, one after the other; None if there is none."""
    if not parts:
        return None
    launches = np.cumsum([0, *(len(part.launches) for part in parts[:-1])])
    inferences = np.cumsum([0, *(len(part.inferences) for part in parts[:-1])])
    times = [
        dataclasses.replace(
            part.times,
            launch=part.times.launch + np.int32(launch),
            inference=part.times.inference + np.int32(inference),
        )
        for part, launch, inference in zip(parts, launches, inferences, strict=True)
    ]
    return GpuTimeline(
        _appended([part.launches for part in parts]),
        _appended([part.inferences for part in parts]),
        _appended(times),
    )


def _merge_instances(shards: Sequence[Shard]) -> Instances | None:
    """The rows of all groups, one after the other; None if there are none."""
    parts = [shard.instances for shard in shards if shard.instances is not None]
    return _appended(parts) if parts else None


_Table = TypeVar("_Table", Instances, Launches, TimelineInferences, LaunchTimes)


def _appended(parts: Sequence[_Table]) -> _Table:
    """The rows of all parts, in their order."""
    columns: dict[str, Any] = {}
    for field in dataclasses.fields(parts[0]):
        values = [getattr(part, field.name) for part in parts]
        columns[field.name] = (
            np.concatenate(values)
            if isinstance(values[0], np.ndarray)
            else tuple(text for value in values for text in value)
        )
    return dataclasses.replace(parts[0], **columns)


_Columns = TypeVar("_Columns", DeviceSeries, KernelEvents)


def _merge_columns(parts: Sequence[_Columns], time: str) -> _Columns:
    """The columns of all parts, sorted by time (stable); other fields come from the first part."""
    by_time = np.argsort(np.concatenate([getattr(part, time) for part in parts]), kind="stable")
    columns: dict[str, Any] = {}
    for field in dataclasses.fields(parts[0]):
        values = [getattr(part, field.name) for part in parts]
        if isinstance(values[0], np.ndarray):
            columns[field.name] = np.concatenate(values)[by_time]
        elif isinstance(values[0], Sequence) and not isinstance(values[0], str):
            texts = [text for value in values for text in value]
            columns[field.name] = tuple(texts[row] for row in by_time.tolist())
    if isinstance(parts[0], DeviceSeries):
        columns["double"] = any(part.double for part in parts)
    return dataclasses.replace(parts[0], **columns)
