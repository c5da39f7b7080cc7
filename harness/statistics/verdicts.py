"""Comparison of two profiles, with the process as the unit, and how certain its result is.

Everything is computed on logarithms, as latencies of processes vary by factors. Three things
make two profiles of the same thing differ: processes scatter, the machine drifts while a
profile is taken, and on another occasion it is effectively a different machine. The interval
includes all three, or says that it cannot.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from harness.records import NOTHING
from harness.statistics import hypotheses
from harness.statistics.figures import CONFIDENCE, Figure, Float64Array, percentile
from harness.statistics.hypotheses import Estimate, estimate
from harness.statistics.occasions import (
    MEDIAN_OCCASION_SD,
    MEDIAN_OCCASION_SD_BESIDE_YARDSTICK,
    REACH,
)
from harness.statistics.sample_size import processes_needed

#: Latencies within this margin are the same: the precision of a comparison-grade profile.
MARGIN = 0.01


class Verdict(enum.StrEnum):
    """The verdict on the candidate against the base."""

    FASTER = "FASTER"
    SLOWER = "SLOWER"
    SAME = "SAME"
    UNDECIDED = "UNDECIDED"
    NOT_COMPARABLE = "NOT_COMPARABLE"


#: Verdicts that settle the question.
DECIDED = (Verdict.FASTER, Verdict.SLOWER, Verdict.SAME)


@dataclasses.dataclass(frozen=True, slots=True)
class Side:
    """The processes of one side, in the order in which they were measured.

    Attributes:
        log_figure: float64[processes], log of one figure per process: its median latency in
            ns, a percentile, the time to create its session …
        log_yardstick: float64[processes] or float64[processes, parts], log of the time that
            the reference workload took around the process; None if it was not timed.
        unusable: why nothing can be compared; empty otherwise.
    """

    log_figure: Float64Array
    log_yardstick: Float64Array | None = None
    unusable: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Probability:
    """Of the candidate: to be slower by more than the margin, within it, or faster by more."""

    slower: float
    same: float
    faster: float


@dataclasses.dataclass(frozen=True, slots=True)
class Comparison:
    """The candidate against the base.

    Attributes:
        verdict: FASTER is a lower latency than the base's.
        ratio: latency of the candidate over the base's; None if not comparable. The raw ratio
            even with a yardstick, as no single reaction to the machine is known to be true, unless
            it was learned (``undisturbed.compare``).
        interval: of the ratio, (low, high).
        reason: one sentence, never empty.
        processes_needed: per side, to decide four times out of five if the ratio and the
            scatter are as estimated; None if decided, or if no number would do.
        rank_agrees: the rank test confirms the difference; None if not comparable.
        p_value: two-sided, for no difference.
        p_value_same: for a difference larger than the margin.
        occasion_sd: the standard deviation between occasions that the interval includes.
        doubt: why the verdict that the figures alone would give is withheld; empty otherwise.
        estimates: of the difference, that the verdict rests on; none if it is withheld, or rests on
            a test that gives no probability.
        same_within: smallest margin within which the two would be SAME; None if not known.
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
    estimates: tuple[Estimate, ...] = dataclasses.field(default=(), repr=False, compare=False)
    same_within: float | None = None

    def slower_than(self, ratio: float) -> float | None:
        """Probability that the candidate takes more than this ratio; None if not known."""
        return hypotheses.p_above(self.estimates, math.log(ratio)) if self.estimates else None

    def probability(self, margin: float) -> Probability | None:
        """Probabilities of being slower or faster by more than the margin, and of neither."""
        above, inside = self.slower_than(1 + margin), self.slower_than(1 / (1 + margin))
        if above is None or inside is None:
            return None
        return Probability(above, inside - above, 1 - inside)

    def withheld(self, doubt: str) -> Comparison:
        """The same figures without a verdict, because of this doubt."""
        but = "; but" if self.verdict in DECIDED else "; and"
        return dataclasses.replace(
            self,
            verdict=Verdict.UNDECIDED,
            reason=f"{self.reason}{but} {doubt}",
            doubt=doubt,
            estimates=(),
            same_within=None,
        )


def side(
    durations_ns: Sequence[npt.NDArray[np.int64]],
    yardstick_ns: npt.ArrayLike | None = None,
    *,
    percent: float = 50,
) -> Side:
    """The processes of a profile, ready for a comparison of their latencies.

    Args:
        durations_ns: of the timed pass of each process, in the order of measuring.
        yardstick_ns: [processes] or [processes, parts], time of the reference workload.
        percent: which percentile of a process is compared.
    """
    if percent == 50:
        # The process is the unit, so a slow model may have few samples in each: the scatter
        # that this causes is part of the scatter of the processes.
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
    occasion_sd: float | None = None,
) -> Comparison:
    """Verdict, ratio and interval of one figure.

    Welch's t on the logarithms of the per-process figures, with Satterthwaite's degrees of
    freedom (Welch, The generalization of Student's problem, Biometrika 1947); the variance
    between occasions is added twice, once for each side. FASTER or SLOWER if the interval
    excludes 1 and a rank test on the same numbers does not contradict (Mann & Whitney, Ann.
    Math. Stat. 1947; all orders counted, ties kept). SAME if two one-sided tests both reject
    a difference as large as the margin (Schuirmann, J. Pharmacokinet. Biopharm. 1987),
    whether or not the interval includes 1.

    If the occasions differ and both sides have a yardstick, it enters as ``log latency -
    reaction * log yardstick``. The reaction is assumed only to lie between 0 and ``REACH``:
    the interval covers those under every such reaction (partial identification: Manski,
    Partial Identification of Probability Distributions, 2003), for each part of the
    yardstick. Drift within a side that the yardstick does not explain widens the interval
    through its lag-1 autocorrelation (``drift_factor``).

    docs/METHODS.md gives the error rates on many kinds of machine, next to those of other uses
    of the yardstick. A yardstick blind to what slows the model does not help: then only a
    measured ``occasion_sd`` does, or ``ab``.

    Args:
        base: the denominator of ratios.
        candidate: the side that is judged.
        same_occasion: the processes of both sides were measured interleaved, in random
            order. One profile right after another is not the same occasion.
        margin: ratios from 1 / (1 + margin) to 1 + margin count as the same.
        confidence: of the interval; 1 - confidence is the chance of a wrong verdict.
        occasion_sd: standard deviation of log latency between occasions; None: 0 on the
            same occasion, else ``MEDIAN_OCCASION_SD_BESIDE_YARDSTICK`` or
            ``MEDIAN_OCCASION_SD``.

    Raises:
        ValueError: margin, confidence or occasion_sd is out of range.
    """
    check(margin, confidence, occasion_sd)
    have = base.log_yardstick is not None and candidate.log_yardstick is not None
    beside = have and not same_occasion
    if occasion_sd is None:
        occasion_sd = MEDIAN_OCCASION_SD_BESIDE_YARDSTICK if beside else MEDIAN_OCCASION_SD
        occasion_sd = 0.0 if same_occasion else occasion_sd
    refused = refusal(base, candidate)
    if beside and not refused:
        refused = refusal_of_yardstick(base, candidate)
    if refused:
        return Comparison(Verdict.NOT_COMPARABLE, None, None, refused)
    one, other = base.log_figure, candidate.log_figure
    if not beside:
        blind = np.zeros(len(one)), np.zeros(len(other))
        estimates = [
            estimate(one, other, *blind, 0.0, same_occasion=same_occasion, occasion_sd=occasion_sd)
        ]
        return judge(estimates, margin, confidence, occasion_sd)
    estimates = _of_all_reactions(base, candidate, occasion_sd)
    also = f", widened by up to {REACH:g} times the yardstick's own change"
    return judge(estimates, margin, confidence, occasion_sd, also)


def judge(
    estimates: Sequence[Estimate],
    margin: float,
    confidence: float,
    occasion_sd: float,
    also: str = "",
    *,
    between: str = "between occasions",
    ranks: bool = True,
) -> Comparison:
    """The joint verdict of estimates of one difference, each under a different assumption.

    Args:
        estimates: the first one is shown.
        margin: as in ``compare``.
        confidence: likewise.
        occasion_sd: standard deviation between occasions that they include.
        also: what else the interval includes, appended to the reason.
        between: between what the deviation is, for the reason.
        ranks: a rank test must not contradict; too few processes cannot confirm anything by ranks.
    """
    low, high = hypotheses.bounds(estimates, (1 + confidence) / 2)
    # Two one-sided tests at level alpha amount to an interval of confidence 1 - 2 alpha.
    inner_low, inner_high = hypotheses.bounds(estimates, confidence)
    limit = math.log1p(margin)
    nearest = min(estimates, key=lambda e: abs(e.difference))
    rank_agrees = None
    if ranks:
        share, p_rank, p_smallest = hypotheses.rank_test(nearest.base, nearest.candidate)
        direction = 1 if low > 0 else -1 if high < 0 else math.copysign(1, nearest.difference)
        rank_agrees = direction * (share - 0.5) > 0 and p_rank <= max(
            1 - confidence, p_smallest * (1 + 1e-9)
        )
    shown = estimates[0]
    interval = (math.exp(low), math.exp(high))
    reason = (
        f"ratio {math.exp(shown.difference):.4f}, {100 * confidence:g} % interval "
        f"{interval[0]:.4f} to {interval[1]:.4f}"
    )
    if occasion_sd:
        reason += f", includes a standard deviation of {occasion_sd:.1%} {between}"
    reason += also
    needed = None
    same_within = math.expm1(max(-inner_low, inner_high))
    if -limit < inner_low and inner_high < limit:
        verdict = Verdict.SAME
        reason += f"; any difference is within the margin of {margin:.2%}"
    elif (low > 0 or high < 0) and rank_agrees is not False:
        verdict = Verdict.SLOWER if low > 0 else Verdict.FASTER
    else:
        verdict = Verdict.UNDECIDED
        processes = max(len(shown.base), len(shown.candidate))
        needed = processes_needed(estimates, processes, limit, confidence)
        reason += (
            "; a rank test over processes does not confirm it"
            if low > 0 or high < 0
            else f"; includes 1 and exceeds the margin of ±{margin:.2%}: it would be SAME within "
            f"±{same_within:.2%}"
        )
        if needed is None:
            reason += (
                "; more processes alone would not decide: use `ab`, which interleaves both sides"
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
        occasion_sd,
        estimates=tuple(estimates),
        same_within=same_within,
    )


def with_holm(
    comparisons: Mapping[str, Comparison], *, confidence: float = CONFIDENCE
) -> dict[str, Comparison]:
    """The same comparisons, with verdicts that hold for all of them jointly.

    FASTER and SLOWER form one family of tests, SAME another. Figures that cannot be compared
    belong to neither, nor do verdicts without a p-value (those of pairs), which stay as they
    are. Intervals are not adjusted.
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
            reason = f"{found.verdict} on its own, but not as one of {len(names)} (Holm)"
            found = dataclasses.replace(found, verdict=Verdict.UNDECIDED, reason=reason)
        result[name] = found
    return result


def refusal(base: Side, candidate: Side) -> str:
    """Why no comparison would be meaningful; empty if one is."""
    one, other = base.log_figure, candidate.log_figure
    for name, profile, values in (("base", base, one), ("candidate", candidate, other)):
        if profile.unusable:
            return f"the {name} cannot be compared: {profile.unusable}"
        if len(values) < 2:
            count = "one process" if len(values) else "no process"
            return f"the {name} has {count}, which cannot show how much processes differ"
        if not np.isfinite(values).all():
            return f"a process of the {name} has no latency above zero"
    if np.ptp(one) == 0 and np.ptp(other) == 0:
        return (
            "the processes of each side agree exactly, so their scatter is unknown: "
            "the clock is too coarse for this latency, or these are not measurements"
        )
    return ""


def refusal_of_yardstick(base: Side, candidate: Side) -> str:
    """Why the yardsticks of the sides cannot be used; empty if they can."""
    first, second = parts(base), parts(candidate)
    if len(first) != len(base.log_figure) or len(second) != len(candidate.log_figure):
        return "the yardstick was not timed with every process"
    if first.shape[1] != second.shape[1]:
        return "the sides were measured with different yardsticks"
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        return "the yardstick of a process has no time above zero"
    return ""


def _of_all_reactions(base: Side, candidate: Side, occasion_sd: float) -> list[Estimate]:
    """Estimates at both ends of the range of reactions, the one without a reaction first."""
    first, second = parts(base), parts(candidate)
    free, ends = (
        [
            estimate(
                base.log_figure,
                candidate.log_figure,
                first[:, part],
                second[:, part],
                reaction,
                same_occasion=False,
                occasion_sd=occasion_sd,
            )
            for part in range(first.shape[1])
        ]
        for reaction in (0.0, REACH)
    )
    # Without a reaction, the parts differ only in how much drift they explain: the best one counts.
    return [min(free, key=lambda e: float(e.variances.sum())), *ends]


def parts(side: Side) -> Float64Array:
    """float64[processes, parts], the yardstick of a side that has one."""
    logs = np.asarray(side.log_yardstick, np.float64)
    return logs[:, None] if logs.ndim == 1 else logs


def check(margin: float, confidence: float, between: float | None) -> None:
    """Raises ValueError if one of them is out of range."""
    if not 0 < margin < math.inf or not 0.5 < confidence < 1:
        msg = f"needs a margin above 0 and 0.5 < confidence < 1, got {margin} and {confidence}"
        raise ValueError(msg)
    if between is not None and not 0 <= between < math.inf:
        msg = f"a standard deviation between occasions cannot be {between}"
        raise ValueError(msg)
