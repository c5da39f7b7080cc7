"""Confidence intervals: for a mean over processes, and for a percentile within one."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from harness.statistics.figures import (
    CONFIDENCE,
    SAMPLES_BEYOND_PERCENTILE,
    Figure,
    Samples,
)

#: An autocorrelated series worth fewer independent samples than this gets no interval: it holds
#: too few long episodes, however many samples each of them lasts (docs/METHODS.md).
INDEPENDENT_SAMPLES = 200


def typical(values: npt.NDArray[np.float64]) -> float:
    """The geometric mean over the processes: the figure that ``t_interval`` brackets.

    Args:
        values: float64[processes], at least one.

    Returns:
        The arithmetic mean if a process took no time, as zero has no logarithm.
    """
    if (values > 0).all():
        # Relative to the first, so that the mean of equal values is exactly that value.
        return float(values[0]) * math.exp(float(np.log(values / values[0]).mean()))
    return float(values.mean())


def t_interval(medians: npt.NDArray[np.float64]) -> tuple[float, float] | None:
    """Student's t interval of the mean logarithm of the per-process medians.

    Latencies of processes vary by factors, not by amounts, so their logarithms are nearly
    normal (Kalibera & Jones, Rigorous Benchmarking in Reasonable Time, ISMM 2013, use the
    same unit of replication). Centred on the median of the medians, which scatters more than
    their mean, the interval would cover the truth in only 92 % of cases at ten processes.

    Args:
        medians: float64[processes].

    Returns:
        (low, high); None with fewer than two processes, or if one of them took no time.
    """
    count = len(medians)
    if count < 2 or not (medians > 0).all():
        return None
    from scipy.special import stdtrit  # a tenth of a second to import, needed only here

    logs = np.log(medians)
    half = float(stdtrit(count - 1, 0.5 + CONFIDENCE / 2) * logs.std(ddof=1) / math.sqrt(count))
    centre = typical(medians)
    return centre * math.exp(-half), centre * math.exp(half)


def effective_sample_size(samples: Samples, percent: float | None = None) -> float:
    """How many independent samples would carry as much information as these.

    n / (1 + 2 sum of autocorrelations), summed over pairs of lags while these are positive
    and decreasing (initial monotone sequence: Geyer, Practical Markov chain Monte Carlo,
    Stat. Sci. 1992). The autocorrelations are those of the ranks, because heavy-tailed
    latencies may have no finite variance; for a percentile, those of the indicator of lying
    below it.

    Returns:
        From 1 to n; n for a constant series, in which order means nothing.
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
    for lags in (min(_USUAL_LAGS, count), count):
        covariance = _covariance(centred, lags)
        if covariance[0] <= 1e-9 * count:
            return float(count)
        pairs = covariance[: lags // 2 * 2].reshape(-1, 2).sum(axis=1) / covariance[0]
        negative = np.flatnonzero(pairs <= 0)
        if len(negative):
            pairs = pairs[: negative[0]]
            break
    pairs = np.minimum.accumulate(pairs)
    time = max(2 * float(pairs.sum()) - 1, 1.0)
    return max(count / time, 1.0)


#: Lags within which the autocorrelation of most series has vanished; all lags of a long series
#: cost more than twice as much.
_USUAL_LAGS = 4096


def _covariance(centred: npt.NDArray[np.float64], lags: int) -> npt.NDArray[np.float64]:
    """float64[lags], sums of the products of a series with itself at each lag, from 0."""
    # Wrapping around must not reach the lags that are asked for.
    length = _fast_length(len(centred) + lags)
    power = np.abs(np.fft.rfft(centred, length)) ** 2
    return np.asarray(np.fft.irfft(power, length)[:lags])


def _fast_length(least: int) -> int:
    """The smallest length from there on that is a power of two, or 3 or 5 eighths of one."""
    power = 1 << (least - 1).bit_length()
    return next(n for n in (5 * power // 8, 3 * power // 4, power) if n >= least)


def percentile_of_process(samples: Samples, percent: float) -> Figure:
    """A percentile of one process, if enough independent samples lie beyond it.

    Args:
        samples: of one process.
        percent: 50 or more, below 100.
    """
    needed = samples_needed(percent)
    worth = math.floor(effective_sample_size(samples, percent)) if len(samples) >= needed else 0
    if worth >= needed:
        return Figure(float(np.percentile(samples, percent)))
    told = f"{len(samples):,} were taken"
    if worth:
        told = f"the {len(samples):,} taken are worth only {worth}"
    return Figure(None, f"p{percent:g} needs {needed} independent samples per process, {told}")


def samples_needed(percent: float) -> int:
    """Fewest independent samples with which enough lie beyond a percentile."""
    return math.ceil(SAMPLES_BEYOND_PERCENTILE * 100 / min(percent, 100 - percent))


def percentile_interval(
    samples: Samples, percent: float, confidence: float = CONFIDENCE
) -> tuple[tuple[float, float] | None, str]:
    """Confidence interval of a percentile, bounded by two of the samples.

    Uses order statistics: the number of samples below the percentile is binomial (David &
    Nagaraja, Order Statistics, 3rd ed. 2003, section 7.1). The ranks of the bounds are
    computed for the effective sample size, then scaled to the actual one.

    Args:
        samples: of one process.
        percent: above 0, below 100.
        confidence: reached or exceeded if the samples are independent.

    Returns:
        ((low, high), ""), or (None, reason) if too few samples support it.

    Raises:
        ValueError: percent or confidence is out of range.
    """
    if not 0 < percent < 100 or not 0 < confidence < 1:
        msg = f"needs 0 < percent < 100 and 0 < confidence < 1, got {percent} and {confidence}"
        raise ValueError(msg)
    count = len(samples)
    worth = effective_sample_size(samples, percent)
    needed = samples_needed(percent)
    if worth < needed:
        reason = (
            f"an interval of p{percent:g} needs {needed} independent samples, "
            f"the {count} are worth {math.floor(worth)}"
        )
        return None, reason
    together = effective_sample_size(samples)
    if count >= INDEPENDENT_SAMPLES > together:
        reason = (
            f"an interval of p{percent:g} needs {INDEPENDENT_SAMPLES} independent samples: the "
            f"{count} are autocorrelated, worth only {math.floor(together)}"
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
