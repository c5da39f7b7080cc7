"""The cells of a sweep as JSON and CSV: what ``sweep --json`` and ``sweep --csv`` print."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.options import worded
from harness.reporters.scripts.strict import json_text
from harness.reporters.visible import cell
from harness.study.sweeps.results import Result, best, curves, shown
from harness.study.sweeps.settings import Value


def sweep_text(
    folder: Path | None, found: Sequence[Result], expected_s: float | None = None
) -> str:
    """What ``sweep --json`` prints.

    Args:
        folder: of the profiles; None where none was named.
        found: a result for each cell, in the order of the plan.
        expected_s: seconds that what is missing will take; None where that was not asked.
    """
    told: dict[str, Any] = {"folder": None if folder is None else str(folder)}
    if folder is None:
        told["folder_reason"] = worded("no `output` was given")
    told["cells"] = [entry(one) for one in found]
    if expected_s is not None:
        told["expected_s"] = expected_s
    told["best"] = [
        {
            "model": one.model,
            "host": one.result.host or None,
            "cell": one.result.state.cell.number,
            "level": [each.state.cell.number for each in one.level],
        }
        for one in best(found)
    ]
    told["curves"] = [
        {
            "axis": one.axis,
            "host": one.points[0].host or None,
            "settings": _plain(shown(one.fixed)),
            "cells": [each.state.cell.number for each in one.points],
            "values": list(one.values),
            "items_per_s": [each.items_per_s for each in one.points],
            "knee": one.knee,
        }
        for one in curves(found)
    ]
    return json_text(told)


def entry(result: Result) -> dict[str, Any]:
    """A cell, as ``sweep --json`` tells it."""
    state = result.state
    told: dict[str, Any] = {
        "number": state.cell.number,
        "id": state.cell.id,
        "settings": _plain(shown(state.cell.settings)),
        "status": state.status,
        "reason": worded(state.reason),
        "file": str(state.file) if state.status == "done" else None,
        "median_ns": result.median_ns,
        "interval_ns": result.interval_ns,
        "items_per_s": result.items_per_s,
        "interval_items_per_s": result.interval_items_per_s,
        "inferences_per_s": result.inferences_per_s,
        "joules_per_item": result.joules_per_item,
        "noise": result.noise or None,
        "host": result.host or None,
        "broken": result.broken if state.status == "done" else None,
    }
    for name in ("file", "median_ns", "items_per_s", "inferences_per_s", "noise", "broken"):
        if told[name] is None:
            told[f"{name}_reason"] = worded(result.reason)
    if not result.host:
        done = state.status == "done"
        told["host_reason"] = "its profile does not name it" if done else worded(result.reason)
    for name in ("interval_ns", "interval_items_per_s"):
        if told[name] is None:
            told[f"{name}_reason"] = worded(result.reason) or "one process"
    if result.joules_per_item is None or result.energy_reason:
        told["joules_per_item_reason"] = worded(result.energy_reason or result.reason)
    if state.failure is not None:
        told["failure"] = {
            "kind": state.failure.kind,
            "remedy": worded(state.failure.remedy),
            "host": state.failure.host,
            "when": state.failure.when,
        }
    return told


def _plain(value: Value) -> Value:
    if isinstance(value, dict):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return value if isinstance(value, (str, int, float, bool)) or value is None else str(value)


#: Columns of ``sweep --csv`` before and behind those of the axes.
_FIRST = ("number", "id", "status")
_LAST = (
    "median_ns", "interval_low_ns", "interval_high_ns", "items_per_s", "interval_low_items_per_s",
    "interval_high_items_per_s", "inferences_per_s", "joules_per_item", "noise", "host", "broken",
    "file", "reason",
)  # fmt: skip


def sweep_csv(found: Sequence[Result]) -> str:
    """What ``sweep --csv`` prints: a row for each cell, a column for each axis."""
    axes = list(dict.fromkeys(one.name for each in found for one in each.state.cell.settings))
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow([cell(name) for name in (*_FIRST, *axes, *_LAST)])
    for result in found:
        told = entry(result)
        settings = {one.name: value for one, value in result.state.cell.settings.items()}
        low, high = result.interval_ns or (None, None)
        slow, fast = result.interval_items_per_s or (None, None)
        values = told | {
            "interval_low_ns": low,
            "interval_high_ns": high,
            "interval_low_items_per_s": slow,
            "interval_high_items_per_s": fast,
            "broken": "" if told["broken"] is None else text(told["broken"]),
        }
        row = [values[name] for name in _FIRST]
        row += [text(settings.get(name, "")) for name in axes]
        row += [values[name] for name in _LAST]
        writer.writerow([cell(one) for one in row])
    return sink.getvalue()


def text(value: Value) -> str:
    """A value of a plan in a cell of a table: as on the command line."""
    if isinstance(value, dict):
        return " ".join(f"{name}={text(one)}" for name, one in value.items())
    if isinstance(value, (list, tuple)):
        separator = "x" if all(isinstance(one, int) for one in value) else ","
        return separator.join(map(text, value)) or "none"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).lower() if isinstance(value, bool) else str(value)
