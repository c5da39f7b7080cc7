"""A series as CSV for Apache Otava (formerly Hunter), one row a profile.

Otava reads a table with a head, one column of time, attributes that are copied, and metrics that
must be numbers (its docs/CSV.md). Its configuration names them:

    tests:
      NAME:
        type: csv
        file: OUT
        time_column: time
        attributes: [file, harness, onnxruntime]
        metrics:
          undisturbed_ns: {direction: -1}
          median_ns: {direction: -1}
"""

from __future__ import annotations

import csv
from pathlib import Path

from harness.analysis.history import Point, Series
from harness.reporters.visible import cell

_COLUMNS = ("time", "file", "harness", "onnxruntime", "undisturbed_ns", "median_ns")

#: What each of these files begins with.
HEAD = f"{','.join(_COLUMNS)}\n".encode()


def write(series: Series, path: Path) -> int:
    """Writes the series; returns the number of rows.

    Args:
        series: one.
        path: the file; replaced if it exists.

    Raises:
        OSError: the file cannot be written.
    """
    with path.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for point in series.points:
            # Otava takes text without its time zone for local time.
            time = point.created.isoformat(timespec="seconds")
            writer.writerow([time, *map(cell, _attributes(point)), *_metrics(point)])
    return len(series.points)


def _attributes(point: Point) -> tuple[str, str, str]:
    profile = point.profile
    version = next((one.value for one in profile.environment if one.name == "ort_version"), None)
    file = "" if profile.path is None else profile.path.name
    return file, profile.harness_version, "" if version is None else str(version)


def _metrics(point: Point) -> tuple[str, str]:
    return f"{point.undisturbed_ns:.3f}", f"{point.median_ns:.3f}"
