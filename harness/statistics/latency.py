"""The reported figures, computed from the arrays of a profile by pure functions.

The process is the unit of replication: samples of one process share its memory layout and
its moment in time, so an interval over pooled samples would be far too narrow. Every figure
with an interval is a geometric mean over the processes, of each one's median or percentile;
the interval is for exactly that mean, on the occasion of the profile.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from harness.records import ProcessRecord, Profile
from harness.statistics.figures import Figure
from harness.statistics.intervals import (
    percentile_interval,
    percentile_of_process,
    samples_needed,
    t_interval,
    typical,
)

#: Fewest processes that give a percentile an interval: tails scatter so much that with fewer it
#: reaches below the fastest sample.
PROCESSES_OF_PERCENTILE = 5


@dataclasses.dataclass(frozen=True, slots=True)
class Latency:
    """Steady-state latency of one inference.

    Attributes:
        median_ns: geometric mean over the processes of their medians.
        interval_ns: confidence interval of exactly that, (low, high): where it would be with
            more processes on this occasion; None with the reason.
        mean_ns: mean of the processes' means.
        min_ns: fastest sample of all.
        p90_ns, p99_ns: geometric mean over the processes of their percentiles; None if one of
            them has too few independent samples.
        p90_interval_ns, p99_interval_ns: confidence interval of exactly that; for a single
            process bounded by two of its samples; None with too few processes or samples.
        interval_reason: why there is no interval; empty otherwise.
        samples: how many there are, over all processes.
        processes: how many contributed.
    """

    median_ns: float
    interval_ns: tuple[float, float] | None
    interval_reason: str
    mean_ns: float
    min_ns: int
    p90_ns: Figure
    p99_ns: Figure
    p90_interval_ns: tuple[float, float] | None
    p99_interval_ns: tuple[float, float] | None
    samples: int
    processes: int


def latency(processes: Sequence[ProcessRecord]) -> Latency:
    """Summary of the timed passes.

    Args:
        processes: at least one, each with samples.

    Raises:
        ValueError: there is nothing to summarise.
    """
    return _latency(tuple(processes))


@functools.lru_cache(maxsize=1)  # what is written is printed next, and percentiles take a while
def _latency(processes: tuple[ProcessRecord, ...]) -> Latency:
    series = [process.steady.duration_ns for process in processes if len(process.steady)]
    if not series:
        raise ValueError("no process has a timed pass")
    medians = np.array([np.median(durations) for durations in series])
    unit, units = _units(processes)
    interval, reason = _interval_of_median(medians, unit, units)
    p90, p90_interval = percentile_of_processes(series, 90)
    if p90.value is None and all(len(one) >= samples_needed(99) for one in series):
        # Recurring spikes pass as independent, but the level they rise from does not, and the
        # tail depends on it.
        p99, p99_interval = Figure(None, "p99 is not reported where p90 is not"), None
    else:
        p99, p99_interval = percentile_of_processes(series, 99)
    return Latency(
        median_ns=typical(medians),
        interval_ns=interval,
        interval_reason=reason,
        mean_ns=float(np.mean([durations.mean() for durations in series])),
        min_ns=int(min(durations.min() for durations in series)),
        p90_ns=_of_units(p90, unit),
        p99_ns=_of_units(p99, unit),
        p90_interval_ns=p90_interval,
        p99_interval_ns=p99_interval,
        samples=sum(map(len, series)),
        processes=len(series),
    )


def _interval_of_median(
    medians: npt.NDArray[np.float64], unit: str, units: str
) -> tuple[tuple[float, float] | None, str]:
    interval = t_interval(medians)
    return interval, "" if interval else f"one {unit} cannot show how much {units} differ"


def _units(processes: Sequence[ProcessRecord]) -> tuple[str, str]:
    """What a record is of: a process, or a group of callers side by side."""
    grouped = any(len(process.caller) for process in processes)
    return ("group", "groups") if grouped else ("process", "processes")


def _of_units(figure: Figure, unit: str) -> Figure:
    """The figure with the name of its unit in the reason why there is none."""
    return Figure(figure.value, figure.reason.replace("per process", f"per {unit}"))


def percentile_of_processes(
    series: Sequence[npt.NDArray[np.int64]], percent: float
) -> tuple[Figure, tuple[float, float] | None]:
    """Geometric mean over the processes of a percentile, and its interval.

    Args:
        series: durations of each process's timed pass, none of them empty.
        percent: 50 or more, below 100.

    Returns:
        The figure, or why there is none, and its confidence interval where there is one.
    """
    found = []
    for durations in series:
        figure = percentile_of_process(durations, percent)
        if figure.value is None:
            return figure, None
        found.append(figure.value)
    values = np.array(found)
    interval = None
    if len(values) == 1:
        interval = percentile_interval(series[0], percent)[0]
    elif len(values) >= PROCESSES_OF_PERCENTILE:
        interval = t_interval(values)
    return Figure(typical(values)), interval


def is_precise(interval_ns: tuple[float, float] | None, median_ns: float, precision: float) -> bool:
    """The stop rule: whether the median is known as precisely as asked for.

    Args:
        interval_ns: confidence interval of the median, (low, high); None where there is none.
        median_ns: the median that the interval is for.
        precision: target half-width of the interval, relative to the median.
    """
    if interval_ns is None:
        return False
    low, high = interval_ns
    return high - low <= 2 * precision * median_ns


def ended_by(profile: Profile) -> str:
    """Why no more processes were added.

    Returns:
        ``precision``: the interval became as narrow as asked for; ``budget``: the time budget
        was spent before; ``request``: the number of processes was asked for, or a quick look;
        ``interruption``; empty if the profile does not show it.
    """
    asked = profile.asked
    if not profile.complete:
        return "interruption"
    if asked.processes is not None or asked.quick or profile.instances is not None:
        return "request"
    if asked.precision is None or asked.interleaved_with:
        return ""
    medians = np.array(
        [np.median(one.steady.duration_ns) for one in profile.processes if len(one.steady)]
    )
    interval = t_interval(medians)
    reached = interval is not None and is_precise(interval, typical(medians), asked.precision)
    return "precision" if reached else "budget"


def cold_start(processes: Sequence[ProcessRecord]) -> dict[str, Figure]:
    """Medians over the processes of the one-off costs.

    ``library_ns`` (opening ORT), ``session_ns``, ``first_inference_ns``, and ``provider_ns``
    (loading the execution providers' libraries) if it was timed.
    """
    names = ("library_ns", "session_ns", "first_inference_ns", "provider_ns")
    if not processes:
        return {name: Figure(None, "no process has finished") for name in names}
    figures = {
        name: Figure(float(np.median([getattr(process, name) for process in processes])))
        for name in names
    }
    if any(process.provider_ns < 0 for process in processes):
        figures["provider_ns"] = Figure(None, "it was not timed, as in files from older versions")
    return figures


def summary(profile: Profile) -> dict[str, Figure]:
    """The figures stored with a profile, by name with the unit as suffix."""
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
