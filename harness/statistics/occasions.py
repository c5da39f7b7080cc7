"""How much figures of the same thing vary between occasions, and drift within one."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from harness.statistics.figures import Float64Array

#: Standard deviation of log latency between occasions when nothing shows how fast the machine
#: was: 24 profiles of one model within ten minutes had medians from 42.6 to 55.2 µs.
MEDIAN_OCCASION_SD = 0.07

#: The same for what remains once the yardstick shows how fast the machine was. Over 45 profiles
#: each of two models that fit a core's own cache it was 0.001 to 0.003; for one that does not fit,
#: 0.02 to 0.03 (``benchmarks/false_alarms.py``), part of which the yardstick captures.
MEDIAN_OCCASION_SD_BESIDE_YARDSTICK = 0.01

#: The same for an operator's own time: among many operators, some land elsewhere in memory each
#: time, and operators that shift together are flagged together, which no correction for their
#: number prevents. In one model of 100 operators and one of 60 it was 0.006 to 0.008, for one
#: operator in ten 0.011 to 0.017.
OPERATOR_OCCASION_SD = 0.02

#: Standard deviation of the logarithm of a figure between occasions, for profiles that hardly had
#: to wait for a CPU: 45 each of two models, with load that came and went
#: (``benchmarks/false_alarms.py``). The median's is MEDIAN_OCCASION_SD.
OCCASION_SD_OF = {
    "latency_p90_ns": 0.06,
    "latency_p99_ns": 0.15,
    "session_ns": 0.05,
    "first_inference_ns": 0.06,
    "time_per_inference_ns": 0.03,
}

#: Above this share of time spent waiting for a CPU, these deviations do not hold: means, tails and
#: cold starts include the waiting itself (deviations of 0.3, 0.7 and 0.25), medians do not.
LONGEST_WAIT = 0.05

#: Strongest reaction of a model to the state of the machine, as a multiple of the yardstick's. A
#: process of mlp that had to share its core took 79 % longer; the yardstick's compute part took
#: 27 % longer, its cache part 38 % and its memory part 97 %: multiples of 2.4, 1.8 and 0.9.
REACH = 2.5


#: What the assumed deviation between occasions weighs against measured ones: as many degrees of
#: freedom. With it, ten occasions that hardly differ give 0.5 %, not nothing.
PRIOR_WEIGHT = 3

#: Degrees of freedom from which on measured occasions count: three occasions have two, four beside
#: a yardstick. With one, Student's t would take more than its knowledge gives.
FEWEST_FREEDOMS = 2

#: Reaction of a model to the machine, as a multiple of the yardstick's, where the occasions are too
#: few to fit one: a clock slows both alike.
AS_THE_YARDSTICK = 1.0

#: Occasions from which on the reaction of a model to the machine is learned, too, and how sure the
#: range of it must be.
FEWEST_FOR_REACTION = 8
SURE_OF_REACTION = 0.99


@dataclasses.dataclass(frozen=True, slots=True)
class Between:
    """How much figures of the same thing vary from occasion to occasion.

    Attributes:
        variance: of the logarithm of the figure of one occasion.
        freedom: its degrees of freedom; infinite if it is assumed.
        occasions: how many it was learned from; 0 if it is assumed.
        reactions: weakest and strongest reaction to the machine, as multiples of the yardstick's,
            that these occasions do not contradict.
    """

    variance: float
    freedom: float = math.inf
    occasions: int = 0
    reactions: tuple[float, float] = (0.0, REACH)

    @property
    def sd(self) -> float:
        """The standard deviation."""
        return math.sqrt(self.variance)


def learned(
    groups: Sequence[Sequence[float]],
    prior_sd: float,
    machine: Sequence[Sequence[float]] | None = None,
) -> Between:
    """The variance between occasions, from groups of occasions of the same thing each.

    That of a normal distribution under a scaled inverse chi-squared prior, where t has the degrees
    of freedom of both (Gelman et al., Bayesian Data Analysis, 3rd ed. 2013, section 2.6):
    (w * prior_sd**2 + SS) / (w + f), with w = ``PRIOR_WEIGHT`` and f the degrees of freedom of
    the sum of squares SS within groups. Where the occasions differ by more than is assumed, the
    assumption must not make less of it: then SS / f. With a yardstick, SS is what no admissible
    reaction to the machine explains, and f is one less for the reaction that was fitted. If too
    few would be left, none is fitted: a reaction of ``AS_THE_YARDSTICK`` is taken out instead. If
    the true one is another, that leaves more, not less.

    Args:
        groups: logarithms of a figure, one for each occasion; groups may differ from each other.
        prior_sd: standard deviation that is assumed where fewer than ``FEWEST_FREEDOMS`` are known.
        machine: logarithms of the yardstick's time on the same occasions, in the same groups.
    """
    freedoms = sum(max(len(group) - 1, 0) for group in groups)
    if freedoms < FEWEST_FREEDOMS:
        return Between(prior_sd**2)
    values = _centred(groups)
    told = np.zeros(len(values)) if machine is None else _centred(machine)
    squares = float(told @ told)
    if squares == 0 or freedoms > FEWEST_FREEDOMS:
        rest = unexplained(values, told)
        freedoms -= squares > 0
    else:
        rest = values - AS_THE_YARDSTICK * told
    freedom = float(PRIOR_WEIGHT + freedoms)
    variance = (PRIOR_WEIGHT * prior_sd**2 + float(rest @ rest)) / freedom
    if variance > prior_sd**2:
        freedom, variance = float(freedoms), float(rest @ rest) / freedoms
    count = sum(len(group) for group in groups if len(group) > 1)
    if count < FEWEST_FOR_REACTION or squares == 0:
        return Between(variance, freedom, count)
    from scipy.special import stdtrit

    reaction = float(values @ told) / squares
    half = float(stdtrit(freedom, (1 + SURE_OF_REACTION) / 2)) * math.sqrt(variance / squares)
    ends = (max(reaction - half, 0.0), min(reaction + half, REACH))
    if ends[0] >= ends[1]:  # outside of what is possible at all: not a reaction
        return Between(variance, freedom, count)
    return Between(variance, freedom, count, ends)


def _centred(groups: Sequence[Sequence[float]]) -> Float64Array:
    """All values of groups of two or more, less the mean of their group."""
    # Relative to the first, so that equal values are exactly zero and not what rounding leaves.
    parts = [np.asarray(group, np.float64) - group[0] for group in groups if len(group) > 1]
    return np.concatenate([part - part.mean() for part in parts] or [np.empty(0)])


def drift_factor(in_time: Float64Array) -> tuple[float, float]:
    """Factor by which drift inflates the variance of the mean over independent processes.

    First-order autoregression: (1 + r) / (1 - r) (Bayley & Hammersley, The "effective"
    number of independent observations in an autocorrelated time series, 1946), with the
    lag-1 correlation r corrected for its bias in short series (Marriott & Pope, Biometrika
    1954) and limited to 0 to 0.8. The variance itself, which such series underestimate, is
    corrected as well.

    Args:
        in_time: float64[processes], logarithms, in the order of measuring.

    Returns:
        (factor, degrees of freedom), (1, n - 1) if nothing drifts.
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
    """The part of a side's course over time that no admissible reaction to the machine explains."""
    centred: Float64Array = values - values.mean()
    reference: Float64Array = machine - machine.mean()
    squares = float(reference @ reference)
    if squares > 0:
        centred -= min(max(float(centred @ reference) / squares, 0.0), REACH) * reference
    return centred
