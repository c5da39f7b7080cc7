"""Pure functions from the arrays of a profile to the figures that are reported.

The process is the unit of replication: samples of one process share its memory layout and
its moment, so an interval over pooled samples is far too narrow (DESIGN.md section 7).
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from harness.records import ProcessRecord, Profile

Samples = npt.NDArray[np.int64] | npt.NDArray[np.float64]

#: Samples that must lie beyond a percentile before it is reported. With five, the
#: order-statistic interval around it is still inside the data (David & Nagaraja,
#: Order Statistics, 3rd ed., section 7.1: binomial interval of a quantile).
SAMPLES_BEYOND_PERCENTILE = 5

#: Processes from which on a percentile has an interval: tails scatter so much that fewer give
#: one that reaches below the fastest sample.
PROCESSES_OF_PERCENTILE = 5

#: Confidence level of every interval.
CONFIDENCE = 0.95


@dataclasses.dataclass(frozen=True, slots=True)
class Figure:
    """A number, or why there is none."""

    value: float | None
    reason: str = ""


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


def percentile(samples: npt.NDArray[np.int64], percent: float) -> Figure:
    """A percentile by linear interpolation, if enough samples lie beyond it."""
    needed = math.ceil(100 * SAMPLES_BEYOND_PERCENTILE / (100 - percent))
    if len(samples) < needed:
        return Figure(None, f"p{percent:g} needs {needed} samples, {len(samples)} were taken")
    return Figure(float(np.percentile(samples, percent)))


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


def t_interval(medians: npt.NDArray[np.float64]) -> tuple[float, float] | None:
    """Student's t interval of the mean logarithm of the per-process medians.

    Latencies of processes scatter by factors, not by amounts, so the logarithm is what is
    nearly normal (Kalibera & Jones, Rigorous Benchmarking in Reasonable Time, ISMM 2013,
    use the same unit of replication). Put around the median of the medians, which scatters
    more than their mean, it would hold the truth in 92 % of cases at ten processes.

    Args:
        medians: float64[processes].

    Returns:
        (low, high); None with fewer than two processes, or where one of them took no time.
    """
    count = len(medians)
    if count < 2 or not (medians > 0).all():
        return None
    from scipy.special import stdtrit  # a tenth of a second to import, needed only here

    logs = np.log(medians)
    half = float(stdtrit(count - 1, 0.5 + CONFIDENCE / 2) * logs.std(ddof=1) / math.sqrt(count))
    centre = float(logs.mean())
    return math.exp(centre - half), math.exp(centre + half)


def effective_sample_size(samples: Samples, percent: float | None = None) -> float:
    """How many independent samples tell as much as these.

    n / (1 + 2 sum of autocorrelations), summed over pairs of lags while these are positive
    and fall (initial monotone sequence: Geyer, Practical Markov chain Monte Carlo, Stat.
    Sci. 1992), of the ranks, as latencies may have no variance to speak of; of the
    indicator of lying below it where a percentile is what matters.

    Returns:
        From 1 to n; n for a constant series, which does not vary in any order.
    """
    values = np.asarray(samples)
    count = len(values)
    if count < 4:
        return float(count)
    if percent is None:
        _, inverse, repeats = np.unique(values, return_inverse=True, return_counts=True)
        scores = (np.cumsum(repeats) - repeats / 2)[inverse]
    else:
        scores = (values <= np.quantile(values, percent / 100)).astype(np.float64)
    centred = scores - scores.mean()
    length = 1 << (2 * count - 1).bit_length()
    power = np.abs(np.fft.rfft(centred, length)) ** 2
    covariance = np.fft.irfft(power, length)[:count]
    if covariance[0] <= 1e-9 * count:
        return float(count)
    pairs = covariance[: count // 2 * 2].reshape(-1, 2).sum(axis=1) / covariance[0]
    negative = np.flatnonzero(pairs <= 0)
    pairs = np.minimum.accumulate(pairs[: negative[0]] if len(negative) else pairs)
    time = max(2 * float(pairs.sum()) - 1, 1.0)
    return max(count / time, 1.0)


def percentile_interval(
    samples: Samples,
    percent: float,
    confidence: float = CONFIDENCE,
    n_effective: float | None = None,
) -> tuple[tuple[float, float] | None, str]:
    """Confidence interval of a percentile, between two of the samples.

    Order statistics, the number of samples below the percentile being binomial (David &
    Nagaraja, Order Statistics, 3rd ed. 2003, section 7.1), of the effective samples: the
    ranks that would bound it among these are taken as shares of all.

    Args:
        samples: of one process.
        percent: above 0, below 100.
        confidence: at least reached with independent samples.
        n_effective: how many independent ones they are worth; None: told from them.

    Returns:
        ((low, high), ""), or (None, reason) where too few stand behind it.

    Raises:
        ValueError: percent or confidence is not inside its range.
    """
    if not 0 < percent < 100 or not 0 < confidence < 1:
        msg = f"needs 0 < percent < 100 and 0 < confidence < 1, got {percent} and {confidence}"
        raise ValueError(msg)
    count = len(samples)
    worth = effective_sample_size(samples, percent) if n_effective is None else n_effective
    worth = min(worth, count)
    needed = math.ceil(SAMPLES_BEYOND_PERCENTILE * 100 / min(percent, 100 - percent))
    if worth < needed:
        reason = (
            f"an interval of p{percent:g} needs {needed} independent samples, "
            f"the {count} are worth {math.floor(worth)}"
        )
        return None, reason
    from scipy.special import bdtr  # a tenth of a second to import, needed only here

    trials, share = math.floor(worth), percent / 100
    reach = math.ceil(12 * math.sqrt(trials * share * (1 - share))) + 12
    middle = math.floor(trials * share)
    below = np.arange(max(0, middle - reach), min(trials, middle + reach) + 1)
    chances = bdtr(below, trials, share)
    # P(at most k - 1 below) <= alpha / 2 bounds from below, P(at most k) >= 1 - alpha / 2 above.
    outside = (1 - confidence) / 2
    lower = int(below[np.flatnonzero(chances <= outside)[-1]]) + 1 if chances[0] <= outside else 0
    upper = int(below[np.flatnonzero(chances >= 1 - outside)[0]]) + 1
    if lower < 1 or upper > trials:
        return None, f"an interval of p{percent:g} would reach beyond the samples"
    ordered = np.sort(np.asarray(samples))
    low = ordered[max(math.floor(lower * count / trials), 1) - 1]
    high = ordered[min(math.ceil(upper * count / trials), count) - 1]
    return (float(low), float(high)), ""


def ended_by(profile: Profile) -> str:
    """What ended the adding of processes.

    Returns:
        ``precision``: the interval became as narrow as asked for; ``budget``: its seconds were
        spent before; ``request``: so many processes were asked for, or a quick look;
        ``interruption``; empty where the profile does not tell.
    """
    config = json.loads(profile.config)
    if not profile.complete:
        return "interruption"
    if config.get("processes") is not None or config.get("quick"):
        return "request"
    if "precision" not in config or config.get("interleaved_with"):
        return ""
    figures = latency(profile.processes)
    if figures.interval_ns is None:
        return "budget"
    low, high = figures.interval_ns
    reached = high - low <= 2 * config["precision"] * figures.median_ns
    return "precision" if reached else "budget"


def cold_start(processes: Sequence[ProcessRecord]) -> dict[str, Figure]:
    """Medians over the processes of what happens once: opening ORT, session, first inference."""
    names = ("library_ns", "session_ns", "first_inference_ns")
    if not processes:
        return {name: Figure(None, "no process has finished") for name in names}
    return {
        name: Figure(float(np.median([getattr(process, name) for process in processes])))
        for name in names
    }


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
