"""Hand-made series of devices and kernels for tests."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from harness.records import (
    DeviceSeries,
    GpuTimeline,
    KernelEvents,
    Launches,
    LaunchTimes,
    TimelineInferences,
)


def series(
    device: str,
    quantity: str,
    readings: list[tuple[int, int]],
    *,
    unit: str = "",
    process: int = 0,
    double: bool = False,
) -> DeviceSeries:
    """A series of (time, value)."""
    values = np.array([value for _, value in readings], np.int64)
    return DeviceSeries(
        device=device,
        quantity=quantity,
        unit=unit or quantity.rpartition("_")[2],
        source="by hand",
        process=np.full(len(readings), process, np.int32),
        time_ns=np.array([time_ns for time_ns, _ in readings], np.int64),
        value=values,
        changed=np.append(np.ones(min(len(values), 1)), np.diff(values) != 0).astype(np.int8),
        double=double,
    )


def kernels(*events: tuple[str, int, int, int], process: int = 0, **columns: Any) -> KernelEvents:
    """Kernels of (name, row of the node, start, duration), all in inference 0."""
    count = len(events)
    values: dict[str, Any] = {
        "kind": ("kernel",) * count,
        "name": tuple(name for name, *_ in events),
        "node": np.array([node for _, node, *_ in events], np.int32),
        "process": np.full(count, process, np.int32),
        "inference": np.zeros(count, np.int32),
        "start_ns": np.array([start for *_, start, _ in events], np.int64),
        "duration_ns": np.array([duration for *_, duration in events], np.int64),
        "launch_ns": np.array([start - 5 for *_, start, _ in events], np.int64),
        "stream": np.full(count, 7, np.int32),
        "grid": np.tile(np.array([8, 2, 1], np.int32), (count, 1)),
        "block": np.tile(np.array([128, 1, 1], np.int32), (count, 1)),
        "registers": np.full(count, 32, np.int32),
        "shared_bytes": np.full(count, 1024, np.int64),
        "bytes": np.full(count, -1, np.int64),
        "unjoined_reason": "",
        "disagreements": 0,
        "dropped": 0,
    }
    return KernelEvents(**(values | columns))


def timeline(
    launches: list[tuple[str, int]],
    recorded: list[tuple[int, int, list[tuple[int, int]]]],
    bare: list[int],
    process: int = 0,
) -> GpuTimeline:
    """A timeline of one process.

    Args:
        launches: of an inference: (name, row of the node).
        recorded: inferences with CUPTI: (start, duration, (start, duration) of each launch).
        bare: durations of those without.
    """
    count, inferences = len(launches), len(recorded)
    starts = [start for start, _, _ in recorded] + [10**6 + n for n in range(len(bare))]
    durations = np.array([took for _, took, _ in recorded] + bare, np.int64)
    times = [time for _, _, each in recorded for time in each]
    work = kernels(*[(name, node, 0, 0) for name, node in launches], process=process)
    return GpuTimeline(
        Launches(
            **{field.name: getattr(work, field.name) for field in dataclasses.fields(Launches)}
        ),
        TimelineInferences(
            process=np.full(len(durations), process, np.int32),
            recorded=np.array([1] * inferences + [0] * len(bare), np.int32),
            start_ns=np.array(starts, np.int64),
            enqueue_ns=durations // 2,
            duration_ns=durations,
        ),
        LaunchTimes(
            launch=np.tile(np.arange(count, dtype=np.int32), inferences),
            inference=np.repeat(np.arange(inferences, dtype=np.int32), count),
            start_ns=np.array([start for start, _ in times], np.int64),
            duration_ns=np.array([took for _, took in times], np.int64),
        ),
    )
