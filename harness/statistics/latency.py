"""Pure functions from the arrays of a profile to the figures that are reported.

The process is the unit of replication: samples of one process share its memory layout and
its moment, so an interval over pooled samples is far too narrow.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from harness.records import ProcessRecord, Profile
from harness.statistics.figures import (
    Figure,
    percentile,
)
from harness.statistics.intervals import percentile_interval, t_interval

#: Processes from which on a percentile has an interval: tails scatter so much that fewer give
#: one that reaches below the fastest sample.
PROCESSES_OF_PERCENTILE = 5


@dataclasses.dataclass(frozen=True, slots=True)
class Latency:
    """Steady-state latency of one inference.

    Attributes:
        median_ns: median of the medians of the processes.
        mean_ns: mean of their means.
        min_ns: fastest sample of all.
        p90_ns, p99_ns: percentiles of all samples together.
        p90_interval_ns, p99_interval_ns: confidence interval of a process's percentile, as that
            of the median; of a single process between two of its samples; None where too few
            samples stand behind it.
        interval_ns: confidence interval of a process's median, in the geometric mean of the
            processes, (low, high); None with the reason.
        interval_reason: why there is no interval; empty otherwise.
        samples: how many there are, over all processes.
        processes: how many contributed.
    """

    median_ns: float
    mean_ns: float
    min_ns: int
    p90_ns: Figure
    p99_ns: Figure
    p90_interval_ns: tuple[float, float] | None
    p99_interval_ns: tuple[float, float] | None
    interval_ns: tuple[float, float] | None
    interval_reason: str
    samples: int
    processes: int


def latency(processes: Sequence[ProcessRecord]) -> Latency:
    """Summary of the timed passes.

    Args:
        processes: at least one, each with samples.

    Raises:
        ValueError: there is nothing to summarise.
    """
    series = [process.steady.duration_ns for process in processes if len(process.steady)]
    if not series:
        raise ValueError("no process has a timed pass")
    medians = np.array([np.median(durations) for durations in series])
    pooled = np.concatenate(series)
    interval, reason = _interval_of_median(medians)
    return Latency(
        median_ns=float(np.median(medians)),
        mean_ns=float(np.mean([durations.mean() for durations in series])),
        min_ns=int(pooled.min()),
        p90_ns=percentile(pooled, 90),
        p99_ns=percentile(pooled, 99),
        p90_interval_ns=_interval_of_percentile(series, 90),
        p99_interval_ns=_interval_of_percentile(series, 99),
        interval_ns=interval,
        interval_reason=reason,
        samples=len(pooled),
        processes=len(series),
    )


def _interval_of_median(
    medians: npt.NDArray[np.float64],
) -> tuple[tuple[float, float] | None, str]:
    interval = t_interval(medians)
    return interval, "" if interval else "one process cannot tell how much processes differ"


def _interval_of_percentile(
    series: Sequence[npt.NDArray[np.int64]], percent: float
) -> tuple[float, float] | None:
    if len(series) == 1:
        return percentile_interval(series[0], percent)[0]
    if len(series) < PROCESSES_OF_PERCENTILE:
        return None
    values = [percentile(durations, percent).value for durations in series]
    known = np.array([value for value in values if value is not None])
    return t_interval(known) if len(known) == len(values) else None


def is_precise(interval_ns: tuple[float, float] | None, median_ns: float, precision: float) -> bool:
    """The stop rule: whether the median is known as precisely as asked for.

    Args:
        interval_ns: confidence interval of the median, (low, high); None where there is none.
        median_ns: median of the medians of the processes.
        precision: half width of the interval to be reached, relative to the median.
    """
    if interval_ns is None:
        return False
    low, high = interval_ns
    return high - low <= 2 * precision * median_ns


def ended_by(profile: Profile) -> str:
    """What ended the adding of processes.

    Returns:
        ``precision``: the interval became as narrow as asked for; ``budget``: its seconds were
        spent before; ``request``: so many processes were asked for, or a quick look;
        ``interruption``; empty where the profile does not tell.
    """
    asked = profile.asked
    if not profile.complete:
        return "interruption"
    if asked.processes is not None or asked.quick:
        return "request"
    if asked.precision is None or asked.interleaved_with:
        return ""
    figures = latency(profile.processes)
    reached = is_precise(figures.interval_ns, figures.median_ns, asked.precision)
    return "precision" if reached else "budget"


def cold_start(processes: Sequence[ProcessRecord]) -> dict[str, Figure]:
    """Medians over the processes of what happens once.

    ``library_ns`` (opening ORT), ``session_ns``, ``first_inference_ns``, and ``provider_ns``
    (loading the execution providers' libraries) where it was timed.
    """
    names = ("library_ns", "session_ns", "first_inference_ns", "provider_ns")
    if not processes:
        return {name: Figure(None, "no process has finished") for name in names}
    figures = {
        name: Figure(float(np.median([getattr(process, name) for process in processes])))
        for name in names
    }
    if any(process.provider_ns < 0 for process in processes):
        figures["provider_ns"] = Figure(None, "it was not timed, as in files of older versions")
    return figures


def summary(profile: Profile) -> dict[str, Figure]:
    """The figures that are stored with a profile, by name with the unit as suffix."""
    if not profile.processes:
        return {}
    figures = latency(profile.processes)
    low, high = figures.interval_ns or (None, None)
    return {
        "latency_median_ns": Figure(figures.median_ns),
        "latency_mean_ns": Figure(figures.mean_ns),
        "latency_min_ns": Figure(float(figures.min_ns)),
        "latency_p90_ns": figures.p90_ns,
        "latency_p99_ns": figures.p99_ns,
        "latency_interval_low_ns": Figure(low, figures.interval_reason),
        "latency_interval_high_ns": Figure(high, figures.interval_reason),
        "latency_samples": Figure(float(figures.samples)),
        "latency_processes": Figure(float(figures.processes)),
        **cold_start(profile.processes),
    }
