"""Hand-made series of devices and kernels for tests."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.records import DeviceSeries, KernelEvents


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
