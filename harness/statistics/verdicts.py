"""Two profiles compared, the process as unit, and how sure one may be of the result.

Everything is done on logarithms: latencies of processes scatter by factors. Three things
make two profiles of the same thing differ: processes scatter, the machine drifts while a
profile is taken, and it is another machine, so to speak, on another occasion. The interval
carries all three, or says that it cannot.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from harness.records import NOTHING
from harness.statistics import hypotheses, occasions
from harness.statistics.figures import CONFIDENCE, Figure, Float64Array, percentile
from harness.statistics.hypotheses import Estimate
from harness.statistics.sample_size import processes_needed

#: Margin within which latencies are the same: the precision of a comparison-grade profile.
MARGIN = 0.01


class Verdict(enum.StrEnum):
    """What is said of the candidate against the base."""

    FASTER = "FASTER"
    SLOWER = "SLOWER"
    SAME = "SAME"
    UNDECIDED = "UNDECIDED"
    NOT_COMPARABLE = "NOT_COMPARABLE"


#: Verdicts that say something.
DECIDED = (Verdict.FASTER, Verdict.SLOWER, Verdict.SAME)


class YardstickUse(enum.StrEnum):
    """What is done with the yardstick, the time of a fixed workload beside each process.

    Attributes:
        NONE: it is not looked at.
        DIVIDE: latencies are divided by it.
        COVARIATE: the model's reaction to it is estimated within the sides.
        REFUSE: nothing is said that a reaction between none and ``REACH`` would deny.
    """

    NONE = "none"
    DIVIDE = "divide"
    COVARIATE = "covariate"
    REFUSE = "refuse"


@dataclasses.dataclass(frozen=True, slots=True)
class Side:
    """The processes of one side, in the order in which they were measured.

    Attributes:
        log_figure: float64[processes], log of a figure of each process: of its median latency
            in ns, of a percentile, of the time of a session …
        log_yardstick: float64[processes] or float64[processes, parts], log of the time that
            the reference workload took around the process; None where it was not timed.
        unusable: why nothing can be compared; empty otherwise.
    """

    log_figure: Float64Array
    log_yardstick: Float64Array | None = None
    unusable: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Comparison:
    """The candidate against the base.

    Attributes:
        verdict: FASTER is a lower latency than the base's.
        ratio: latency of the candidate over the base's; None if not comparable. Under
            ``REFUSE`` the raw ratio, as no reaction to the machine is taken for true.
        interval: of the ratio, (low, high).
        reason: one sentence, always there.
        processes_needed: on each side, that would decide four times out of five if the
            ratio and the scatter are what they seem; None if decided, or if none would do.
        rank_agrees: the rank test sees the difference too; None if not comparable.
        p_value: two-sided, of no difference.
        p_value_same: of a difference larger than the margin.
        occasion_sd: the standard deviation between occasions that the interval carries.
        doubt: why the verdict that the figures alone would give is withheld; empty otherwise.
    """

    verdict: Verdict
    ratio: float | None
    interval: tuple[float, float] | None
    reason: str
    processes_needed: int | None = None
    rank_agrees: bool | None = None
    p_value: float | None = None
    p_value_same: float | None = None
    occasion_sd: float = 0.0
    doubt: str = ""


def side(
    durations_ns: Sequence[npt.NDArray[np.int64]],
    yardstick_ns: npt.ArrayLike | None = None,
    *,
    percent: float = 50,
) -> Side:
    """The processes of a profile as their latencies are compared.

    Args:
        durations_ns: of the timed pass of each process, in the order of measuring.
        yardstick_ns: [processes] or [processes, parts], time of the reference workload.
        percent: which percentile of a process is compared.
    """
    if percent == 50:
        # The process is the unit, so a slow model may have few samples in each: what too few
        # of them scatter is in the scatter of the processes.
        figures = [Figure(float(np.median(d)) if len(d) else None) for d in durations_ns]
        unusable = percentile(np.concatenate([NOTHING, *durations_ns]), percent).reason
    else:
        figures = [percentile(durations, percent) for durations in durations_ns]
        short = (f"process {k}: {f.reason}" for k, f in enumerate(figures) if f.value is None)
        unusable = next(short, "")
    log_yardstick = None
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log([np.nan if f.value is None else f.value for f in figures])
        if yardstick_ns is not None:
            log_yardstick = np.log(np.asarray(yardstick_ns, np.float64))
    return Side(np.asarray(logs, np.float64), log_yardstick, unusable)


def compare(
    base: Side,
    candidate: Side,
    *,
    same_occasion: bool,
    margin: float = MARGIN,
    confidence: float = CONFIDENCE,
    yardstick: YardstickUse | None = None,
    occasion_sd: float | None = None,
) -> Comparison:
    """Verdict, ratio and interval of one figure.

    Welch's t on the logarithms of the figures of the processes with Satterthwaite's degrees of
    freedom (Welch, The generalization of Student's problem, Biometrika 1947), to whose
    variance that between occasions is added twice. FASTER or SLOWER where the interval
    leaves out 1 and a rank test on the same numbers does not contradict (Mann & Whitney,
    Ann. Math. Stat. 1947; all orders counted, ties kept). SAME where two one-sided tests
    both reject a difference as large as the margin (Schuirmann, J. Pharmacokinet. Biopharm.
    1987), be 1 in the interval or not.

    The yardstick enters as ``log latency - reaction * log yardstick``. ``DIVIDE`` takes the
    reaction for 1. ``COVARIATE`` estimates it within the sides, pooled (analysis of
    covariance: Fisher, Statistical Methods for Research Workers, 4th ed. 1932, section 49),
    and pays for the estimate. ``REFUSE`` only assumes that it is between 0 and ``REACH``:
    the interval holds those of all such reactions (partial identification: Manski,
    Partial Identification of Probability Distributions, 2003), for each part of the
    yardstick. Of the part of the drift within a side that the yardstick does not explain,
    the lag-1 autocorrelation widens the interval (``drift_factor``).

    Simulated (``benchmarks/simulated_machines.py``): 4 times 20 profiles of 10 processes of the
    same thing over 40 profiles' time; scatter of processes 0.8 %, of the yardstick 0.4 %; all
    760 pairs. FASTER or SLOWER was wrongly said of so many per cent, with the default between
    occasions:

    ============================ ===== ====== ======= ==== ==== ======== ======= =======
    machine                      quiet AR(.9) AR(.99) walk step episodes unseen  unseen
    standard deviation or size    0 %    3 %    7 %   1 %  10 %   15 %     1 %     3 %
    ============================ ===== ====== ======= ==== ==== ======== ======= =======
    NONE                           0     0      0     12.4  0      0       0       0
    DIVIDE, model reacts by 1      0     0      0      0    0      0       5.7    51
    DIVIDE, model reacts by 0.5    0     2.8   40     60   47     42       5.7    51
    COVARIATE, reacts by 1         0     0      0.5    2.2 17     12       5.8    52
    COVARIATE, reacts by 0.5       0     0      0      1.6  4.6    5.4     5.8    52
    REFUSE, 0.5, 1 or 2.4          0     0      0      0    0      0       4.5    49
    REFUSE, 1, occasion_sd=0       0.3   0      0      0    0.1    0      35      72
    REFUSE, yardstick blind        0     8.0   35     52   45     28       4.5    49
    ============================ ===== ====== ======= ==== ==== ======== ======= =======

    So ``REFUSE`` is what is done unless told otherwise, and a yardstick that does not see
    what slows the model is no yardstick. The last row and the last column are what no
    arithmetic can mend: only an ``occasion_sd`` that was measured, or ``ab``. What the ways
    do on a real machine, ``benchmarks/false_alarms.py`` and ``detection.py`` tell: README.

    Args:
        base: the side that ratios are over.
        candidate: the side that is judged.
        same_occasion: the processes of both sides were measured interleaved, in random
            order. One profile right after another is not the same occasion.
        margin: ratios from 1 / (1 + margin) to 1 + margin count as the same.
        confidence: of the interval; 1 - confidence is the chance of a wrong verdict.
        yardstick: what to do with it; None: ``REFUSE`` where both sides have one and the
            occasions differ, else ``NONE``.
        occasion_sd: standard deviation of log latency between occasions; None: 0 on the
            same occasion, else ``MEDIAN_OCCASION_SD_BESIDE_YARDSTICK`` or
            ``MEDIAN_OCCASION_SD``.

    Raises:
        ValueError: margin, confidence or occasion_sd makes no sense, or a yardstick is to
            be used that a side does not have.
    """
    _check(margin, confidence, occasion_sd)
    have = base.log_yardstick is not None and candidate.log_yardstick is not None
    if yardstick is None:
        yardstick = YardstickUse.REFUSE if have and not same_occasion else YardstickUse.NONE
    if yardstick is not YardstickUse.NONE and not have:
        msg = f"{yardstick} needs a yardstick on both sides"
        raise ValueError(msg)
    if occasion_sd is None:
        seen = yardstick is not YardstickUse.NONE
        occasion_sd = (
            occasions.MEDIAN_OCCASION_SD_BESIDE_YARDSTICK if seen else occasions.MEDIAN_OCCASION_SD
        )
        occasion_sd = 0.0 if same_occasion else occasion_sd
    question = _Question(margin, confidence, same_occasion, yardstick, occasion_sd)
    return _compare(base, candidate, question)


def with_holm(
    comparisons: Mapping[str, Comparison], *, confidence: float = CONFIDENCE
) -> dict[str, Comparison]:
    """The same comparisons, with the verdicts that may be said of all of them together.

    FASTER and SLOWER are one family of tests, SAME another. What is not comparable belongs
    to neither, nor is a verdict without a p-value, as those of pairs are: it stands for itself.
    Intervals stay those of each one alone.
    """
    names = [n for n, c in comparisons.items() if c.p_value is not None]
    adjusted = {
        kind: dict(
            zip(names, hypotheses.holm([getattr(comparisons[n], kind) for n in names]), strict=True)
        )
        for kind in ("p_value", "p_value_same")
    }
    result = {}
    for name, found in comparisons.items():
        kind = "p_value_same" if found.verdict is Verdict.SAME else "p_value"
        decided = found.verdict in (Verdict.FASTER, Verdict.SLOWER, Verdict.SAME)
        if decided and adjusted[kind].get(name, 0.0) > 1 - confidence:
            reason = f"{found.verdict} alone, but not as one of {len(names)} (Holm)"
            found = dataclasses.replace(found, verdict=Verdict.UNDECIDED, reason=reason)
        result[name] = found
    return result


@dataclasses.dataclass(frozen=True, slots=True)
class _Question:
    margin: float
    confidence: float
    same_occasion: bool
    yardstick: YardstickUse
    occasion_sd: float


def _compare(base: Side, candidate: Side, question: _Question) -> Comparison:
    refusal = _refusal(base, candidate, question)
    if refusal:
        return Comparison(Verdict.NOT_COMPARABLE, None, None, refusal)
    one, other = base.log_figure, candidate.log_figure
    estimates = _estimates(base, candidate, question)
    low, high = hypotheses.bounds(estimates, (1 + question.confidence) / 2)
    # Two one-sided tests at level alpha are an interval of confidence 1 - 2 alpha.
    inner_low, inner_high = hypotheses.bounds(estimates, question.confidence)
    limit = math.log1p(question.margin)
    nearest = min(estimates, key=lambda e: abs(e.difference))
    share, p_rank, p_smallest = hypotheses.rank_test(nearest.base, nearest.candidate)
    direction = 1 if low > 0 else -1 if high < 0 else math.copysign(1, nearest.difference)
    rank_agrees = direction * (share - 0.5) > 0 and p_rank <= max(
        1 - question.confidence, p_smallest * (1 + 1e-9)
    )
    # Only dividing and estimating give a reaction that is taken for true.
    shown = estimates[0]
    interval = (math.exp(low), math.exp(high))
    reason = (
        f"ratio {math.exp(shown.difference):.4f}, {100 * question.confidence:g} % interval "
        f"{interval[0]:.4f} to {interval[1]:.4f}"
    )
    if question.occasion_sd:
        reason += f", {question.occasion_sd:.1%} between occasions included"
    if question.yardstick is YardstickUse.REFUSE:
        reason += (
            f", and all that up to {occasions.REACH:g} times the yardstick's difference may explain"
        )
    needed = None
    if -limit < inner_low and inner_high < limit:
        verdict = Verdict.SAME
        reason += f"; any difference is within the margin of {question.margin:.2%}"
    elif (low > 0 or high < 0) and rank_agrees:
        verdict = Verdict.SLOWER if low > 0 else Verdict.FASTER
    else:
        verdict = Verdict.UNDECIDED
        needed = processes_needed(estimates, max(len(one), len(other)), limit, question.confidence)
        reason += (
            "; the ranks of the processes do not show it"
            if low > 0 or high < 0
            else f"; holds 1 and reaches beyond the margin of {question.margin:.2%}"
        )
        if needed is None:
            reason += (
                "; more processes alone would not decide, `ab` measures both sides interleaved"
            )
    return Comparison(
        verdict,
        math.exp(shown.difference),
        interval,
        reason,
        needed,
        rank_agrees,
        hypotheses.p_difference(estimates),
        hypotheses.p_same(estimates, limit),
        question.occasion_sd,
    )


def _refusal(base: Side, candidate: Side, question: _Question) -> str:
    """Why no number would mean anything; empty if one would."""
    one, other = base.log_figure, candidate.log_figure
    for name, profile, values in (("base", base, one), ("candidate", candidate, other)):
        if profile.unusable:
            return f"the {name} cannot be compared: {profile.unusable}"
        if len(values) < 2:
            count = "one process" if len(values) else "no process"
            return f"the {name} has {count}, which cannot tell how much processes differ"
        if not np.isfinite(values).all():
            return f"a process of the {name} has no latency above zero"
    if np.ptp(one) == 0 and np.ptp(other) == 0:
        return (
            "the processes of either side agree exactly, so nothing tells how much chance "
            "does: the clock is too coarse for what is measured, or it is no measurement"
        )
    if question.yardstick is YardstickUse.NONE:
        return ""
    first, second = _parts(base.log_yardstick), _parts(candidate.log_yardstick)
    if len(first) != len(one) or len(second) != len(other):
        return "the yardstick was not timed beside every process"
    if first.shape[1] != second.shape[1]:
        return "the sides were measured with different yardsticks"
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        return "the yardstick of a process has no time above zero"
    if question.yardstick is YardstickUse.COVARIATE:
        if len(one) + len(other) < 5:
            return "the reaction to the yardstick needs five processes to be estimated"
        if np.ptp(first.mean(axis=1)) == 0 and np.ptp(second.mean(axis=1)) == 0:
            return "a yardstick that never varies within a side tells no reaction to it"
    return ""


def _estimates(base: Side, candidate: Side, question: _Question) -> list[Estimate]:
    """One for each reaction to the machine that is to be reckoned with, the shown one first."""
    one, other = base.log_figure, candidate.log_figure
    zeros = np.zeros(len(one)), np.zeros(len(other))
    match question.yardstick:
        case YardstickUse.NONE:
            return [_estimate(one, other, *zeros, 0.0, 0.0, question)]
        case YardstickUse.DIVIDE:
            machine = _machine(base), _machine(candidate)
            return [_estimate(one, other, *machine, 1.0, 0.0, question)]
        case YardstickUse.COVARIATE:
            machine = _machine(base), _machine(candidate)
            slope, variance = _reaction(one, other, *machine)
            return [_estimate(one, other, *machine, slope, variance, question)]
        case YardstickUse.REFUSE:
            first, second = _parts(base.log_yardstick), _parts(candidate.log_yardstick)
            ends = [
                _estimate(
                    one, other, first[:, part], second[:, part], occasions.REACH, 0.0, question
                )
                for part in range(first.shape[1])
            ]
            # Without a reaction all drift is unexplained, unless a part explains it.
            free = [
                _estimate(one, other, first[:, part], second[:, part], 0.0, 0.0, question)
                for part in range(first.shape[1])
            ]
            return [min(free, key=lambda e: float(e.variances.sum())), *ends]


def _estimate(
    one: Float64Array,
    other: Float64Array,
    machine_one: Float64Array,
    machine_other: Float64Array,
    slope: float,
    slope_variance: float,
    question: _Question,
) -> Estimate:
    left, right = one - slope * machine_one, other - slope * machine_other
    variances: list[float] = []
    freedoms: list[float] = []
    for adjusted, values, machine in ((left, one, machine_one), (right, other, machine_other)):
        count = len(adjusted)
        variances.append(float(adjusted.var(ddof=1)) / count)
        freedoms.append(count - 1.0)
        if not question.same_occasion:
            unexplained = occasions.unexplained(values, machine)
            factor, freedom = occasions.drift_factor(unexplained)
            variances.append((factor - 1) * float(unexplained.var(ddof=1)) / count)
            freedoms.append(freedom)
    if slope_variance:
        apart = float(machine_other.mean() - machine_one.mean())
        variances.append(slope_variance * apart**2)
        freedoms.append(len(one) + len(other) - 3.0)
    return Estimate(
        float(right.mean() - left.mean()),
        np.array(variances),
        np.array(freedoms),
        2 * question.occasion_sd**2,
        left,
        right,
    )


def _reaction(
    one: Float64Array, other: Float64Array, machine_one: Float64Array, machine_other: Float64Array
) -> tuple[float, float]:
    """Slope on the yardstick within the sides, and the variance of the estimate."""
    values = np.concatenate([one - one.mean(), other - other.mean()])
    machine = np.concatenate(
        [machine_one - machine_one.mean(), machine_other - machine_other.mean()]
    )
    squares = float(machine @ machine)
    slope = float(values @ machine) / squares
    left = values - slope * machine
    return slope, float(left @ left) / (len(values) - 3) / squares


def _parts(log_yardstick: Float64Array | None) -> Float64Array:
    parts = np.asarray(log_yardstick, np.float64)
    return parts[:, None] if parts.ndim == 1 else parts


def _machine(profile: Side) -> Float64Array:
    mean: Float64Array = _parts(profile.log_yardstick).mean(axis=1)
    return mean


def _check(margin: float, confidence: float, between: float | None) -> None:
    if not 0 < margin < math.inf or not 0.5 < confidence < 1:
        msg = f"needs a margin above 0 and 0.5 < confidence < 1, got {margin} and {confidence}"
        raise ValueError(msg)
    if between is not None and not 0 <= between < math.inf:
        msg = f"a standard deviation between occasions cannot be {between}"
        raise ValueError(msg)
