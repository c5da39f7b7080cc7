"""Profiles of one thing on many days."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np

from harness.records import InputRecord, ModelRecord, Profile, Reading
from tests.builders.process_records import process, profile

FIRST = datetime.datetime(2026, 3, 1, 6, tzinfo=datetime.UTC)


def on_day(
    day: int,
    level_ns: float,
    *,
    model: str = "net",
    ort: str = "1.30.0",
    processes: int = 4,
    session: str = '{"provider": "cpu", "intra_threads": 1}',
    **columns: Any,
) -> Profile:
    """A profile whose undisturbed latency is this level, one process of it half as slow again."""
    slow = [1.0] * (processes - 1) + [1.5]
    durations = [
        [round(level_ns * factor * (1 + 0.0005 * k)) for k in range(-4, 13)] for factor in slow
    ]
    given: dict[str, Any] = {
        "created": (FIRST + datetime.timedelta(days=day)).isoformat(),
        "config": f'{{"session": {session}}}',
        "model": ModelRecord(model, f"{model}.onnx", model.encode().hex(), 1, "", 8, (), 1, 0),
        "inputs": (InputRecord("x", "float32", (1, 3), "", "00"),),
        "environment": (
            Reading("cpu_model", "AMD EPYC"),
            Reading("affinity_cpus", 2, "1"),
            Reading("ort_version", ort),
        ),
    }
    return profile(*(process(one, k) for k, one in enumerate(durations)), **(given | columns))


def levels(count: int, *, step_at: int, step: float, seed: int = 0) -> list[float]:
    """Levels around 1 ms with a deviation of 1 %, changed by a share from one place on."""
    logs = np.random.default_rng(seed).normal(0, 0.01, count)
    logs[step_at:] += np.log1p(step)
    return [float(one) for one in 1e6 * np.exp(logs)]
