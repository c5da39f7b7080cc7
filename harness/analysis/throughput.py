"""Inferences per second, and batch items per second."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from harness.analysis.instances import too_few
from harness.records import ProcessRecord, Profile
from harness.statistics.figures import Figure
from harness.statistics.intervals import t_interval


@dataclasses.dataclass(frozen=True, slots=True)
class Throughput:
    """Throughput of the timed passes, inferences back to back; of a group, of all its callers.

    Attributes:
        inferences_per_s: geometric mean over the processes.
        items_per_s: the same for the items fed to each inference.
        interval_items_per_s: 95 % confidence interval of items_per_s over processes; None with
            fewer than two of them.
        items_per_inference: the batch size; 1 if the file does not record it.
        items_told_by: which axis is the batch, and why; empty if that is not recorded.
        items_reason: why it is not recorded; empty if it is.
    """

    inferences_per_s: float
    items_per_s: float
    interval_items_per_s: tuple[float, float] | None
    items_per_inference: int
    items_told_by: str
    items_reason: str


def throughput(profile: Profile) -> Throughput | Figure:
    """Throughput of the timed pass, or why there is none."""
    times = _times_ns(profile.processes)
    if not times:
        return Figure(None, "no process has finished")
    if profile.instances is not None and (reason := too_few(profile.instances)):
        return Figure(None, reason)
    items = profile.items
    count = items.value if isinstance(items.value, int) else 1
    rates = count * 1e9 / np.array(times)
    typical = math.exp(float(np.log(rates).mean()))
    return Throughput(
        inferences_per_s=typical / count,
        items_per_s=typical,
        interval_items_per_s=t_interval(rates),
        items_per_inference=count,
        items_told_by=items.source if items.value is not None else "",
        items_reason=items.reason,
    )


def time_per_inference_ns(process: ProcessRecord) -> float:
    """Wall time per inference, without the gaps between pyperf's values of ``loops`` each.

    Of a group it is that of all callers together: the inverse of the sum of their rates, each over
    the span from its first start to its last end.
    """
    steady = process.steady
    if len(process.caller):
        return 1 / _rates_per_ns(process)
    end_ns = steady.start_ns + steady.duration_ns
    last = np.arange(0, len(steady), process.loops) + process.loops - 1
    taken_ns = end_ns[np.minimum(last, len(steady) - 1)] - steady.start_ns[:: process.loops]
    return float(taken_ns.sum()) / len(steady)


def _rates_per_ns(process: ProcessRecord) -> float:
    order = np.argsort(process.caller, kind="stable")
    first = np.flatnonzero(np.diff(process.caller[order], prepend=-1))
    start_ns = process.steady.start_ns[order]
    end_ns = start_ns + process.steady.duration_ns[order]
    spans = np.maximum.reduceat(end_ns, first) - np.minimum.reduceat(start_ns, first)
    return float((np.diff(first, append=len(order)) / spans).sum())


def _times_ns(processes: Sequence[ProcessRecord]) -> list[float]:
    times = [time_per_inference_ns(process) for process in processes if len(process.steady)]
    return [time for time in times if time > 0]
