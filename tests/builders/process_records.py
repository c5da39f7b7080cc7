"""Hand-made processes and profiles for tests."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.records import LatencySeries, ModelRecord, ProcessRecord, Profile, Reading


def latencies(durations_ns: list[int], start_ns: int = 0) -> LatencySeries:
    """One inference right after the other."""
    duration_ns = np.array(durations_ns, np.int64)
    return LatencySeries(start_ns + np.cumsum(duration_ns) - duration_ns, duration_ns)


def process(
    durations_ns: list[int],
    index: int = 0,
    noise: dict[str, int | None] | None = None,
    start_ns: int = 0,
    **known: int,
) -> ProcessRecord:
    """A process with such a timed pass and such readings around it."""
    values: dict[str, Any] = {"library_ns": 1, "session_ns": 2, "first_inference_ns": 3, **known}
    return ProcessRecord(
        index=index,
        pid=100 + index,
        warmup=latencies([]),
        steady=latencies(durations_ns, start_ns),
        loops=1,
        noise=tuple(
            Reading(name, value, "ns", "/proc", "" if value is not None else "not readable")
            for name, value in (noise or {}).items()
        ),
        metadata={},
        log=(),
        **values,
    )


def profile(*processes: ProcessRecord, **columns: Any) -> Profile:
    """A profile of these processes and nothing else."""
    values: dict[str, Any] = {
        "path": None,
        "harness_version": "0.1.0",
        "created": "2026-01-01T00:00:00+00:00",
        "complete": True,
        "config": "{}",
        "model": ModelRecord("m", "m.onnx", "00", 1, "", 8, (), 1, 0),
        "provider": "cpu",
        "inputs": (),
        "output_check": Reading("error", None, reason="no data set"),
        "environment": (),
        "processes": processes,
        "nodes": None,
        "traces": {},
        "absent": (),
    }
    return Profile(**(values | columns))
