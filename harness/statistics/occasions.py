"""How much figures of one thing differ from one occasion to another, and drift within one."""

from __future__ import annotations

from harness.statistics.figures import Float64Array

#: Standard deviation of the logarithm of a latency from one occasion to another where
#: nothing tells how fast the machine was: 24 profiles of one model within ten minutes had
#: medians from 42.6 to 55.2 µs.
MEDIAN_OCCASION_SD = 0.07

#: The same for what is left when the yardstick tells how fast the machine was. Of 45 profiles
#: of two models each that fit a core's own cache it was 0.001 to 0.003, of one that does not 0.02
#: to 0.03 (``benchmarks/false_alarms.py``), of which the yardstick sees a part.
MEDIAN_OCCASION_SD_BESIDE_YARDSTICK = 0.01

#: The same for the own time of an operator: of many operators some is placed in memory anew, and
#: all that shift together are called together, which no correction for their number helps. Of one
#: model of 100 operators and one of 60 it was 0.006 to 0.008, of one in ten 0.011 to 0.017.
OPERATOR_OCCASION_SD = 0.02

#: Standard deviation of the logarithm of a figure from one occasion to another, of profiles that
#: hardly had to wait for a CPU: of 45 each of two models, with load that came and went
#: (``benchmarks/false_alarms.py``). The median's is MEDIAN_OCCASION_SD.
OCCASION_SD_OF = {
    "latency_p90_ns": 0.06,
    "latency_p99_ns": 0.15,
    "session_ns": 0.05,
    "first_inference_ns": 0.06,
    "time_per_inference_ns": 0.03,
}

#: Share of the time waited for a CPU beyond which they are another matter: means, tails and
#: cold starts hold the waiting itself (deviations of 0.3, 0.7 and 0.25), medians do not.
LONGEST_WAIT = 0.05

#: How many times as much as the yardstick a model may react to the state of the machine. A
#: process of mlp whose core was shared took 79 % longer, where the compute part took 27 %, cache
#: 38 % and memory 97 % longer: 2.4, 1.8 and 0.9 times as much.
REACH = 2.5


def drift_factor(in_time: Float64Array) -> tuple[float, float]:
    """How many times the variance of the mean exceeds that of independent processes.

    First-order autoregression: (1 + r) / (1 - r) (Bayley & Hammersley, The "effective"
    number of independent observations in an autocorrelated time series, 1946), the lag-1
    correlation r without its bias in short series (Marriott & Pope, Biometrika 1954), from
    0 to 0.8; the variance itself, which such series underestimate, corrected likewise.

    Args:
        in_time: float64[processes], of the logarithms, in the order of measuring.

    Returns:
        (factor, degrees of freedom), (1, n - 1) where nothing drifts.
    """
    count = len(in_time)
    centred = in_time - in_time.mean()
    squares = float(centred @ centred)
    if count < 4 or squares == 0:
        return 1.0, count - 1.0
    lag = float(centred[1:] @ centred[:-1]) / squares
    lag = min(max(lag + (1 + 3 * lag) / count, 0.0), 0.8)
    effective = max(count * (1 - lag) / (1 + lag), 1.5)
    factor = (count - 1) / (count - count / effective) * count / effective
    return factor, max(effective - 1, 1.0)


def unexplained(values: Float64Array, machine: Float64Array) -> Float64Array:
    """What no admissible reaction to the machine explains of the course of a side."""
    centred: Float64Array = values - values.mean()
    reference: Float64Array = machine - machine.mean()
    squares = float(reference @ reference)
    if squares > 0:
        centred -= min(max(float(centred @ reference) / squares, 0.0), REACH) * reference
    return centred
