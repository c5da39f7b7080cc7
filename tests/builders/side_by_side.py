"""Hand-made groups of instances for tests."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from harness.records import Instances


def instances(*rows: dict[str, Any]) -> Instances:
    """A table of these rows: what a row does not say is that of an ordinary caller.

    A row's ``rate`` is its inferences a second, of which the first starts with the window.
    """
    complete = []
    for row in rows:
        given = dict(row)
        rate = given.pop("rate", 100.0)
        one: dict[str, Any] = {
            "process": 0,
            "instance": 0,
            "caller": given.get("instance", 0),
            "alone": 0,
            "cpus": str(given.get("instance", 0)),
            "memory": "local",
            "begin_ns": 1_000_000_000,
            "end_ns": 2_000_000_000,
            "start_ns": 1_000_000_000,
            "inferences": round(rate),
            "median_ns": round(1e9 / rate),
            "p99_ns": -1,
            "cpu_wait_ns": 0,
            "session_ns": 1,
            "first_inference_ns": 1,
            "pss_bytes": 1000,
            "pages_bytes": 800,
            "local_bytes": 800,
        } | given
        one.setdefault("done_ns", one["start_ns"] + round(one["inferences"] * 1e9 / rate))
        complete.append(one)
    columns: dict[str, Any] = {}
    for field in dataclasses.fields(Instances):
        values = [row[field.name] for row in complete]
        small = field.name in ("process", "instance", "caller", "alone")
        columns[field.name] = (
            tuple(values)
            if isinstance(values[0], str)
            else np.array(values, np.int32 if small else np.int64)
        )
    return Instances(**columns)
