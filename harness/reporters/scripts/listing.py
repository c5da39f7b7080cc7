"""The profiles of a folder as JSON and CSV: what ``list --json`` and ``list --csv`` print."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.analysis import outlines
from harness.options import worded
from harness.records import ITEMS, NOISE, Outline
from harness.reporters.scripts.strict import json_text
from harness.reporters.visible import cell
from harness.storage.folder import Contents


def listing_text(folder: Path, found: Contents, shown: Sequence[Outline]) -> str:
    """What ``list --json`` prints.

    Args:
        folder: that was looked through.
        found: what it holds.
        shown: the profiles to list, in order.
    """
    return json_text(
        {
            "folder": str(folder),
            "profiles": [_entry(one) for one in shown],
            "partial": [
                {"folder": str(one.path), "processes": one.processes, "running": one.running}
                for one in found.partial
            ],
            "unreadable": [
                {"file": str(path), "reason": worded(reason)} for path, reason in found.unreadable
            ],
            "folders": found.folders,
        }
    )


def _entry(outline: Outline) -> dict[str, Any]:
    facts = outline.facts
    entry: dict[str, Any] = {
        "file": str(outline.path),
        "created": outline.created,
        "complete": outline.complete,
        "model": {"name": outline.model, "sha256": outline.model_sha256},
        "provider": outline.provider,
        "runtime": outline.asked.runtime,
        "device": outlines.device(outline) or None,
        "host": facts.get("host_name"),
        "threads": outline.asked.intra_threads,
        "options": outlines.options(outline),
        "inputs": [
            {"name": one.name, "dtype": one.dtype, "shape": one.shape, "sha256": one.sha256}
            for one in outline.inputs
        ],
        "items_per_inference": facts.get(ITEMS),
        "ort_version": facts.get("ort_version"),
        "harness_version": outline.harness_version,
        "processes": outline.processes,
        "samples": outline.samples,
        "median_ns": outline.median_ns,
        "interval_ns": outline.interval_ns,
        "noise": facts.get(NOISE),
    }
    if outline.median_ns is None:
        entry["median_ns_reason"] = "the file holds no summary"
    if outline.interval_ns is None:
        entry["interval_ns_reason"] = "one process, or the file holds no summary"
    if entry["noise"] is None:
        entry["noise_reason"] = "the host did not tell, or an older version wrote the file"
    return entry


#: Columns of ``list --csv``.
_COLUMNS = (
    "file", "created", "complete", "model", "sha256", "provider", "runtime", "device", "host",
    "threads",
    "options", "inputs", "items_per_inference", "ort_version", "harness_version", "processes",
    "samples", "median_ns", "interval_low_ns", "interval_high_ns", "noise",
)  # fmt: skip


def listing_csv(shown: Sequence[Outline]) -> str:
    """What ``list --csv`` prints: a row for each of these profiles."""
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for outline in shown:
        entry = _entry(outline)
        low, high = outline.interval_ns or (None, None)
        values = entry | {
            "model": outline.model,
            "sha256": outline.model_sha256,
            "options": outlines.options_line(outline),
            "inputs": outlines.inputs_line(outline, len(outline.inputs)),
            "complete": int(outline.complete),
            "interval_low_ns": low,
            "interval_high_ns": high,
        }
        writer.writerow([cell(values[name]) for name in _COLUMNS])
    return sink.getvalue()
