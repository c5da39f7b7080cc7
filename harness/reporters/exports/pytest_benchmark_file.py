"""The newest profile of each series as pytest-benchmark's JSON.

What ``pytest --benchmark-json`` writes, and ``pytest-benchmark compare`` and others read. A round
is a process here: the lower quartile of its inferences, of the faster half of the processes only,
whose (geometric) mean is the undisturbed latency. Only the file format is pytest-benchmark's
(github.com/ionelmc/pytest-benchmark, ``stats.py``); nothing here imports it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from harness.analysis.history import History, Point
from harness.reporters.exports.newest import newest
from harness.statistics.figures import Float64Array

_VERSION = "5.2.3"


def write(found: History, path: Path) -> int:
    """Writes a benchmark for each series; returns their number.

    Args:
        found: at least one series.
        path: the file; replaced if it exists.

    Raises:
        OSError: the file cannot be written.
    """
    points = newest(found)
    latest = max(points.values(), key=lambda point: point.created)
    told = {
        "machine_info": _machine(latest),
        "commit_info": {},
        "benchmarks": [_benchmark(name, point) for name, point in points.items()],
        "datetime": latest.created.isoformat(),
        "version": _VERSION,
    }
    path.write_text(json.dumps(told, indent=1, allow_nan=False), encoding="utf-8")
    return len(points)


def _machine(point: Point) -> dict[str, Any]:
    facts = {one.name: one.value for one in point.profile.environment if one.value is not None}
    names = {"node": "host_name", "machine": "architecture", "release": "kernel"}
    told = {name: str(facts.get(fact, "")) for name, fact in names.items()}
    return {**told, "system": "Linux", "cpu": {"brand_raw": str(facts.get("cpu_model", ""))}}


def _benchmark(name: str, point: Point) -> dict[str, Any]:
    profile = point.profile
    return {
        "group": None,
        "name": name,
        "fullname": name,
        "params": None,
        "param": None,
        "extra_info": {
            "file": "" if profile.path is None else profile.path.name,
            "model_sha256": profile.model.sha256,
            "harness_version": profile.harness_version,
            "median_s": point.median_ns * 1e-9,
            "processes": point.processes,
        },
        "options": {},
        "stats": _stats(point.faster_ns * 1e-9),
    }


def _stats(seconds: Float64Array) -> dict[str, Any]:
    """The fields of its ``Stats``, in seconds.

    Args:
        seconds: float64[rounds], rising.
    """
    count = len(seconds)
    # Tukey's hinges: medians of both halves, each with the middle of an odd number.
    half = (count + 1) // 2
    q1, q3 = float(np.median(seconds[:half])), float(np.median(seconds[-half:]))
    mean = float(seconds.mean())
    spread = float(seconds.std(ddof=1)) if count > 1 else 0.0
    fences = q1 - 1.5 * (q3 - q1), q3 + 1.5 * (q3 - q1)
    inside = seconds[(seconds >= fences[0]) & (seconds <= fences[1])]
    far = int((np.abs(seconds - mean) > spread).sum())
    return {
        "min": float(seconds[0]),
        "max": float(seconds[-1]),
        "mean": mean,
        "stddev": spread,
        "rounds": count,
        "median": float(np.median(seconds)),
        "iqr": q3 - q1,
        "q1": q1,
        "q3": q3,
        "iqr_outliers": count - len(inside),
        "stddev_outliers": far,
        "outliers": f"{far};{count - len(inside)}",
        "ld15iqr": float(inside[0]),
        "hd15iqr": float(inside[-1]),
        "ops": 1 / mean,
        "total": float(seconds.sum()),
        "data": [float(one) for one in seconds],
        "iterations": 1,
    }
