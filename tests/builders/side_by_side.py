"""Hand-made groups of instances for tests."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from harness.records import Instances, LatencySeries, Profile
from tests.builders.process_records import process, profile


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


def side_by_side(
    *rates: tuple[float, ...], callers: int = 1, alone: float | None = 1000.0, **columns: Any
) -> Profile:
    """A profile of groups, each with the rates of its instances, in inferences a second.

    The window is a second long; the samples of a caller follow one another in it, and one of a
    hundred takes a quarter longer.

    Args:
        rates: of each group, the rate of each caller, instance by instance; below 1, it has no
            inference.
        callers: of each instance.
        alone: rate of the one that is measured alone; None if none is.
        columns: others of the profile.
    """
    begin_ns = 1_000_000_000
    rows: list[dict[str, Any]] = []
    processes = []
    for index, group in enumerate(rates):
        starts, durations = [], []
        for caller, rate in enumerate(group):
            count = int(rate)
            period_ns = int(0.999e9 / rate)
            duration_ns = np.full(count, 0.8 * period_ns, np.int64)
            duration_ns[::100] = period_ns
            start_ns = begin_ns + 1000 * caller + np.arange(count) * period_ns
            starts.append(start_ns)
            durations.append(duration_ns)
            place = caller // callers
            rows.append(
                {
                    "process": index, "instance": place, "caller": caller,
                    "cpus": f"{16 * place}-{16 * place + 15}",
                    "start_ns": int(start_ns[0]) if count else -1,
                    "done_ns": int((start_ns + duration_ns)[-1]) if count else -1,
                    "inferences": count,
                    "median_ns": int(np.median(duration_ns)) if count else -1,
                    "p99_ns": int(np.percentile(duration_ns, 99)) if count >= 500 else -1,
                }
            )  # fmt: skip
        if alone is not None:
            shift = {"begin_ns": 3_000_000_000, "end_ns": 4_000_000_000, "start_ns": 3_000_000_000}
            rows.append({"process": index, "alone": 1, "rate": alone, "cpus": "0-15", **shift})
        start_ns = np.concatenate(starts)
        order = np.argsort(start_ns, kind="stable")
        numbers = np.repeat(np.arange(len(group), dtype=np.int32), list(map(len, starts)))
        processes.append(
            dataclasses.replace(
                process([1], index),
                steady=LatencySeries(start_ns[order], np.concatenate(durations)[order]),
                loops=len(order),
                caller=numbers[order],
            )
        )
    return profile(*processes, **{"instances": instances(*rows), **columns})
