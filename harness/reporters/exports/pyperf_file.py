"""A profile as pyperf's JSON, for ``python -m pyperf stats|hist|compare_to|check|metadata``.

Each process becomes one pyperf run, with its own values and warm-ups: a value is the mean of
``loops`` inferences, just as pyperf's own Runner would have taken it. Of callers side by side it is
the wall time per inference of all of them together, the inverse of their throughput. Only the file
format is pyperf's; nothing here imports pyperf.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from harness.analysis.throughput import time_per_inference_ns
from harness.errors import RequestError

if TYPE_CHECKING:
    from pathlib import Path

    from harness.records import LatencySeries, ProcessRecord, Profile
from harness.reporters.wording import place

#: Version of pyperf's file format.
_VERSION = "1.0"

#: Names of the environment facts to include: those that pyperf does not collect itself.
_FACTS = re.compile(r"ort_version|nvml_driver|gpu\d+_name")

_Fact = str | int | float


def write(profile: Profile, path: Path) -> int:
    """Writes the timed passes.

    Args:
        profile: what to write.
        path: the file; replaced if it exists.

    Returns:
        Number of runs written, one for each process.

    Raises:
        RequestError: no process has a complete value.
        OSError: the file cannot be written.
    """
    runs = [run for run in map(_run, profile.processes) if run is not None]
    if not runs:
        raise RequestError(
            "no process finished one full pyperf value in its timed pass: nothing to export",
            "profile again",
        )
    metadata = _told(
        {
            "name": profile.model.name or "model",
            "unit": "second",
            "description": f"one inference of {profile.model.name} on {place(profile)}"
            + (", wall time of all callers together" if profile.instances is not None else ""),
            "harness_version": profile.harness_version,
            "model_sha256": profile.model.sha256,
            "provider": profile.provider,
            "runtime": profile.asked.runtime,
            **{
                f"harness_{one.name}": one.value
                for one in profile.environment
                if _FACTS.fullmatch(one.name)
            },
        }
    )
    suite = {"version": _VERSION, "benchmarks": [{"metadata": metadata, "runs": runs}]}
    path.write_text(json.dumps(suite, indent=1), encoding="utf-8")
    return len(runs)


def _run(process: ProcessRecord) -> dict[str, Any] | None:
    values = [value for loops, value in _values(process.steady, process.loops)
              if loops == process.loops]  # fmt: skip
    if len(process.caller):
        values = [time_per_inference_ns(process) * 1e-9]
    if not values:
        return None
    run: dict[str, Any] = {
        "metadata": _told({**process.metadata, "loops": process.loops, "pid": process.pid}),
        "values": values,
    }
    if warmups := _values(process.warmup, process.loops):
        run["warmups"] = warmups
    return run


def _values(series: LatencySeries, loops: int) -> list[tuple[int, float]]:
    """(inferences, seconds per inference) of each value, from its first start to its last end."""
    values = []
    for first in range(0, len(series), loops):
        last = min(first + loops, len(series)) - 1
        total_ns = series.start_ns[last] + series.duration_ns[last] - series.start_ns[first]
        count = last - first + 1
        values.append((count, float(total_ns) * 1e-9 / count))
    return values


def _told(facts: dict[str, Any]) -> dict[str, _Fact]:
    """The facts that pyperf accepts: it refuses empty text, line breaks and missing values."""
    told: dict[str, _Fact] = {}
    for name, fact in facts.items():
        value = " ".join(fact.split()) if isinstance(fact, str) else fact
        if value is not None and value != "":
            told[name] = value
    return told
