"""The newest profile of each series as Bencher Metric Format, for ``bencher run --adapter json``.

https://bencher.dev/docs/reference/bencher-metric-format: benchmarks by name, each with its
measures by slug; ``latency`` is Bencher's own, in nanoseconds. Bencher keeps the history: it is
given one run at a time.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from harness.analysis.history import History, Point
from harness.reporters.exports.newest import newest

#: Longest name of a benchmark that Bencher takes.
_LONGEST = 1024


def write(found: History, path: Path) -> int:
    """Writes a benchmark for each series; returns their number.

    Args:
        found: at least one series.
        path: the file; replaced if it exists.

    Raises:
        OSError: the file cannot be written.
    """
    metrics = {_short(name): _measures(point) for name, point in newest(found).items()}
    path.write_text(json.dumps(metrics, indent=1, allow_nan=False), encoding="utf-8")
    return len(metrics)


def _short(name: str) -> str:
    """The name as far as Bencher takes it; a longer one stays another than those it begins like."""
    if len(name) <= _LONGEST:
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{name[: _LONGEST - len(digest) - 2]}… {digest}"


def _measures(point: Point) -> dict[str, dict[str, float]]:
    """The latency, between the fastest and the slowest of the processes that it is the mean of."""
    latency = {
        "value": point.undisturbed_ns,
        "lower_value": float(point.faster_ns[0]),
        "upper_value": float(point.faster_ns[-1]),
    }
    return {"latency": latency, "median-latency": {"value": point.median_ns}}
