"""Profiles against the first of them: what else changed, then every figure, then operators."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from harness.analysis import energy, machine_speed, noise, operators
from harness.analysis.comparing import matching
from harness.analysis.comparing.differences import Difference, differences, unlike_inputs
from harness.analysis.comparing.matching import Match
from harness.analysis.energy import Energy
from harness.analysis.noise import NoiseVerdict
from harness.analysis.operators import OperatorTimes
from harness.machine.peak_memory import PEAK_MEMORY
from harness.records import ProcessRecord, Profile
from harness.statistics import pairs, steady_state, verdicts
from harness.statistics.figures import CONFIDENCE, Figure
from harness.statistics.occasions import LONGEST_WAIT, MEDIAN_OCCASION_SD, OCCASION_SD_OF
from harness.statistics.verdicts import DECIDED, MARGIN, Comparison, Side, Verdict

#: Part of the nodes' time of either side below which an operator is listed, not judged.
SMALLEST_SHARE = 0.001

#: Processes of a profile from which on a difference of 2 % is found (DESIGN.md section 7).
COMPARISON_GRADE = 10

#: What the two profiles of a comparison are called.
SIDES = ("base", "candidate")

_Float64Array = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True, slots=True)
class Quantity:
    """One figure of both sides.

    Attributes:
        name: with the unit as suffix: ``latency_p90_ns``, ``energy_gpu0_j`` …
        base, candidate: geometric means over the processes, medians where they were measured
            in pairs; None where not known.
        comparison: of the two; ``FASTER`` is the lower value, whatever the quantity.
        note: what to know about the figures, in one sentence; may be empty.
    """

    name: str
    base: float | None
    candidate: float | None
    comparison: Comparison
    note: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class OperatorChange:
    """Nodes that do the same work on both sides, or have no counterpart.

    Attributes:
        match: their rows in the NodeTables.
        base_nodes, candidate_nodes: their names.
        base_op_types, candidate_op_types: their op types.
        base_ns, candidate_ns: own time in one inference, geometric mean over the processes of
            each one's median (mean where a process took no time); None without counterpart.
        comparison: of the two, Holm's correction over all operators applied.
    """

    match: Match
    base_nodes: tuple[str, ...]
    candidate_nodes: tuple[str, ...]
    base_op_types: tuple[str, ...]
    candidate_op_types: tuple[str, ...]
    base_ns: float | None
    candidate_ns: float | None
    comparison: Comparison

    @property
    def change_ns(self) -> float:
        """By how much it lengthens an inference."""
        return (self.candidate_ns or 0.0) - (self.base_ns or 0.0)


@dataclasses.dataclass(frozen=True, slots=True)
class Total:
    """Where the latency of one side is: matched + unmatched + rest = latency.

    Attributes:
        matched_ns: operators with a counterpart.
        unmatched_ns: operators without.
        rest_ns: the framework, and by how much tracing misses the timed pass; may be
            negative where the machine was slower while it was traced.
        latency_ns: of the timed pass.
    """

    matched_ns: float
    unmatched_ns: float
    rest_ns: float
    latency_ns: float


@dataclasses.dataclass(frozen=True, slots=True)
class OperatorChanges:
    """Operators of two profiles, what changed most first.

    Attributes:
        changes: one for each match.
        source: tracer of the times, the same on both sides.
        judged: how many were tested; the others are too short, or have no counterpart.
        base, candidate: their accounts.
        doubts: why operator times should not be trusted, one sentence each.
    """

    changes: tuple[OperatorChange, ...]
    source: str
    judged: int
    base: Total
    candidate: Total
    doubts: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Compared:
    """One candidate against the base.

    Attributes:
        candidate: its profile.
        differences: what else changed.
        caveats: what to know before reading the figures, one sentence each.
        paired: both were measured interleaved, and processes are compared in pairs.
        latency: of the median.
        quantities: all other figures; empty if the latencies cannot be compared.
        operators: or why there are none.
        machine: by how much the machine was slower beside the candidate by each part of
            the yardstick, as a ratio; empty where it was not timed on both sides.
    """

    candidate: Profile
    differences: tuple[Difference, ...]
    caveats: tuple[str, ...]
    paired: bool
    latency: Quantity
    quantities: tuple[Quantity, ...]
    operators: OperatorChanges | Figure
    machine: Mapping[str, float]


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """All candidates against the base.

    Attributes:
        base: profile that ratios are over.
        candidates: the others, in the order given.
        margin: ratios from 1 / (1 + margin) to 1 + margin count as the same.
    """

    base: Profile
    candidates: tuple[Compared, ...]
    margin: float


def compare_profiles(
    base: Profile, candidates: Sequence[Profile], *, margin: float = MARGIN
) -> Report:
    """Compares each candidate with the base.

    Two profiles are from separate occasions, and their intervals carry what differs from
    one to another, unless they share a random text under ``interleaved_with`` of their
    configuration: then ``ab`` measured them in pairs, which are compared as pairs.
    Of several candidates the verdicts hold together (Holm).

    Args:
        base: first profile.
        candidates: one or more.
        margin: above 0, what counts as the same.

    Raises:
        ValueError: the margin makes no sense.
    """
    compared = [_compared(base, candidate, margin) for candidate in candidates]
    if len(compared) > 1:
        together = verdicts.with_holm(
            {str(k): each.latency.comparison for k, each in enumerate(compared)}
        )
        compared = [
            dataclasses.replace(
                each, latency=dataclasses.replace(each.latency, comparison=together[str(k)])
            )
            for k, each in enumerate(compared)
        ]
    return Report(base, tuple(compared), margin)


def _compared(base: Profile, candidate: Profile, margin: float) -> Compared:
    judge = _Judge(base, candidate, margin)
    refusal = _refusal(base, candidate)
    latency = judge.latency(refusal)
    caveats = _caveats(judge, base, candidate)
    changed = differences(base, candidate)
    if latency.comparison.verdict is Verdict.NOT_COMPARABLE:
        reason = latency.comparison.reason
        return Compared(
            candidate, changed, caveats, judge.paired, latency, (), Figure(None, reason), {}
        )
    return Compared(
        candidate,
        changed,
        caveats,
        judge.paired,
        latency,
        judge.quantities(),
        _operators(judge, base, candidate),
        judge.machine(),
    )


def _refusal(base: Profile, candidate: Profile) -> str:
    """Why no verdict on the two would mean anything; empty if one may."""
    unlike = unlike_inputs(base.inputs, candidate.inputs)
    if unlike:
        return unlike
    if base.processes and candidate.processes and _same_measurement(base, candidate):
        return "both files hold the very same measurement"
    for name, profile in (("base", base), ("candidate", candidate)):
        durations = [p.steady.duration_ns for p in profile.processes if len(p.steady)]
        if not durations:
            return f"the {name} has no finished process"
        if min(map(len, durations)) > 1 and all(
            int(one.min()) == int(one.max()) == int(durations[0][0]) for one in durations
        ):
            return (
                f"every sample of the {name} is {int(durations[0][0])} ns: a series that never "
                "varies is no measurement"
            )
    return ""


def _same_measurement(base: Profile, candidate: Profile) -> bool:
    one, other = base.processes[0], candidate.processes[0]
    return one.pid == other.pid and np.array_equal(one.steady.start_ns, other.steady.start_ns)


def _caveats(judge: _Judge, base: Profile, candidate: Profile) -> tuple[str, ...]:
    """What to know before the figures are read."""
    caveats = []
    if base.model.sha256 != candidate.model.sha256:
        caveats.append("different models: ratios are of two models, not of two ways to run one")
    for name, profile, verdict, alone in zip(
        SIDES, (base, candidate), judge.noise, judge.alone, strict=True
    ):
        if alone:
            caveats.append(f"{_processes(alone)} of the {name} without a partner: left out")
        count = len(profile.processes)
        if not profile.complete:
            caveats.append(f"the {name} was interrupted: only {_processes(count)} of it are here")
        if profile.asked.quick:
            caveats.append(f"the {name} was measured with --quick: not comparison-grade")
        elif 1 < count < COMPARISON_GRADE and not judge.paired:
            caveats.append(
                f"the {name} has {_processes(count)}: {COMPARISON_GRADE} are comparison-grade"
            )
        if verdict.verdict in ("disturbed", "unusable"):
            caveats.append(f"the {name} is {verdict.verdict}: {'; '.join(verdict.causes)}")
        caveats += _unsteady(name, profile)
    return tuple(caveats)


def _processes(count: int) -> str:
    return f"{count} process{'es' if count != 1 else ''}"


def _unsteady(name: str, profile: Profile) -> list[str]:
    """Says of how many processes the samples are not of one state."""
    kinds = steady_state.states(profile.processes)
    moving = {kind: n for kind, n in kinds.items() if kind in ("warm-up", "drift", "unstable")}
    count = sum(kinds.values())
    if 2 * sum(moving.values()) <= count:
        return []
    told = ", ".join(f"{kind} in {n}" for kind, n in moving.items())
    return [f"most processes of the {name} were not in one steady state: {told} of {count}"]


def figures(processes: Sequence[ProcessRecord]) -> dict[str, Side]:
    """What every process has one of, by name with the unit as suffix, ready to be compared.

    Args:
        processes: with a timed pass each, in the order in which they were measured.
    """
    durations = [process.steady.duration_ns for process in processes]
    speeds = machine_speed.speeds(processes)
    found = {
        name: dataclasses.replace(verdicts.side(durations, percent=percent), log_yardstick=speeds)
        for name, percent in (
            ("latency_ns", 50), ("latency_p90_ns", 90), ("latency_p99_ns", 99),
        )
    }  # fmt: skip
    for name, values in (
        ("session_ns", [process.session_ns for process in processes]),
        ("first_inference_ns", [process.first_inference_ns for process in processes]),
        ("time_per_inference_ns", [_time_per_inference_ns(process) for process in processes]),
    ):
        with np.errstate(divide="ignore"):
            found[name] = Side(np.log(np.array(values, np.float64)), speeds)
    return found


def compare_apart(
    name: str,
    base: Side,
    candidate: Side,
    noise: tuple[NoiseVerdict, NoiseVerdict],
    margin: float = MARGIN,
) -> Comparison:
    """One figure of two profiles of separate occasions.

    Args:
        name: of the figure, which tells by how much it differs between occasions.
        base: the figure of each process.
        candidate: likewise.
        noise: the verdicts on both profiles; of a machine too busy for the figure nothing is
            decided.
        margin: above 0, what counts as the same.

    Raises:
        ValueError: the margin makes no sense.
    """
    # Energy is power over the time of an inference.
    known = OCCASION_SD_OF.get("time_per_inference_ns" if name.startswith("energy_") else name)
    occasion_sd = known
    if known is not None and (base.log_yardstick is None or candidate.log_yardstick is None):
        occasion_sd = max(known, MEDIAN_OCCASION_SD)
    found = verdicts.compare(
        base, candidate, same_occasion=False, margin=margin, occasion_sd=occasion_sd
    )
    if found.verdict is Verdict.NOT_COMPARABLE:
        return found
    for side, verdict in zip(SIDES, noise, strict=True):
        doubt = ""
        if verdict.verdict == "unusable":
            doubt = f"the {side} is unusable, the machine was too busy"
        elif known is not None and verdict.waited is None:
            doubt = f"nothing tells whether the {side} had to wait for a CPU"
        elif known is not None and verdict.waited is not None and verdict.waited > LONGEST_WAIT:
            doubt = f"the {side} waited {verdict.waited:.0%} of the time for a CPU"
        if doubt:
            but = "; but" if found.verdict in DECIDED else "; and"
            reason = f"{found.reason}{but} {doubt}"
            return dataclasses.replace(found, verdict=Verdict.UNDECIDED, reason=reason, doubt=doubt)
    return found


class _Judge:
    """Compares per-process figures of two profiles, all in the same way."""

    def __init__(self, base: Profile, candidate: Profile, margin: float) -> None:
        together = [one.asked.interleaved_with for one in (base, candidate)]
        self.paired = bool(together[0]) and together[0] == together[1]
        self.alone: tuple[int, ...] = (0, 0)
        sides = [
            {process.index: process for process in profile.processes if len(process.steady)}
            for profile in (base, candidate)
        ]
        if self.paired:
            both = sides[0].keys() & sides[1].keys()
            self.alone = tuple(len(side) - len(both) for side in sides)
            sides = [{k: side[k] for k in sorted(both)} for side in sides]
        self._sides = (sides[0], sides[1])
        self._profiles = (base, candidate)
        self._margin = margin
        self.noise = (noise.judge(base), noise.judge(candidate))
        self._figures = [figures(list(side.values())) for side in self._sides]
        self._yardsticks = [side["latency_ns"].log_yardstick for side in self._figures]

    def latency(self, refusal: str) -> Quantity:
        """Of the median; refused where a reason is given."""
        if not refusal and self.paired and not self._sides[0]:
            refusal = "no pair of processes has finished on both sides"
        return _unknown("latency_ns", refusal) if refusal else self._figure("latency_ns")

    def quantities(self) -> tuple[Quantity, ...]:
        """Tails, cold start, throughput, energy and memory.

        The verdicts hold together (Holm). Those of pairs have no p-value to be ordered by: each
        has its part of the chance of a wrong one (Bonferroni).
        """
        found = [
            *(self._figure(name) for name in self._figures[0] if name != "latency_ns"),
            *self._energy(),
            self._memory(),
        ]
        together = verdicts.with_holm({one.name: one.comparison for one in found})
        return tuple(dataclasses.replace(one, comparison=together[one.name]) for one in found)

    def machine(self) -> Mapping[str, float]:
        """Time of the yardstick beside the candidate over that beside the base."""
        one, other = self._yardsticks
        if one is None or other is None:
            return {}
        ratios = np.exp(other.mean(axis=0) - one.mean(axis=0))
        return dict(zip(machine_speed.PARTS, map(float, ratios), strict=True))

    def judge_operator(
        self, base: Mapping[int, float], candidate: Mapping[int, float]
    ) -> Comparison:
        """Own times of an operator by process, on their own."""
        sides = [self._of_times(k, times) for k, times in enumerate((base, candidate))]
        return self._unpaired("operator", sides[0], sides[1])

    def _of_times(self, which: int, times: Mapping[int, float]) -> Side:
        places = [k for k, index in enumerate(self._sides[which]) if index in times]
        indices = [index for index in self._sides[which] if index in times]
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.log(np.array([times[index] for index in indices], np.float64))
        speeds = self._yardsticks[which]
        return Side(logs, log_yardstick=None if speeds is None else speeds[places])

    def _figure(self, name: str) -> Quantity:
        return self._quantity(name, self._figures[0][name], self._figures[1][name])

    def _quantity(self, name: str, base: Side, candidate: Side, note: str = "") -> Quantity:
        found = self._judged(name, base, candidate)
        if found.verdict is Verdict.NOT_COMPARABLE:
            return Quantity(name, None, None, found, note)
        # The ratio of pairs is a median of theirs: beside means one odd process belies it.
        middle = _middle if self.paired else _typical
        return Quantity(name, middle(base.log_figure), middle(candidate.log_figure), found, note)

    def _judged(self, name: str, base: Side, candidate: Side) -> Comparison:
        found = self._unpaired(name, base, candidate)
        if not self.paired or found.verdict is Verdict.NOT_COMPARABLE:
            return found
        alpha = 1 - CONFIDENCE if name == "latency_ns" else self._alpha_of_others()
        return self._of_pairs(candidate.log_figure - base.log_figure, alpha)

    def _alpha_of_others(self) -> float:
        """Chance of a wrong verdict that each figure of pairs but the median has, memory too."""
        devices = {each.device for profile in self._profiles for each in profile.devices}
        return (1 - CONFIDENCE) / (len(self._figures[0]) + len(devices))

    def _unpaired(self, name: str, base: Side, candidate: Side) -> Comparison:
        """The sides as two groups of processes."""
        if self.paired:
            return verdicts.compare(base, candidate, same_occasion=True, margin=self._margin)
        return compare_apart(name, base, candidate, self.noise, self._margin)

    def _of_pairs(self, log_ratios: _Float64Array, alpha: float) -> Comparison:
        found = pairs.decide(log_ratios, margin=self._margin, alpha=alpha)
        return Comparison(
            found.verdict, found.ratio, found.interval, found.reason, found.pairs_needed
        )

    def _energy(self) -> list[Quantity]:
        """Joules of one inference on each device that both sides tell it of."""
        found = [{e.device: e for e in energy.energy(profile)} for profile in self._profiles]
        quantities = []
        for device in dict.fromkeys([*found[0], *found[1]]):
            pair = [side.get(device) for side in found]
            reason = _why_no_energy(pair)
            if reason:
                quantities.append(_unknown(f"energy_{device}_j", reason))
                continue
            doubts = [
                f"the {name}'s is doubtful: {'; '.join(one.causes)}"
                for name, one in zip(SIDES, pair, strict=True)
                if one is not None and one.verdict == "doubtful"
            ]
            joules = [self._joules(k, device) for k in (0, 1)]
            if self.paired:  # a process whose meter told nothing has no partner
                both = joules[0].keys() & joules[1].keys()
                joules = [{k: j for k, j in each.items() if k in both} for each in joules]
            sides = [self._of_times(k, each) for k, each in enumerate(joules)]
            quantities.append(
                self._quantity(f"energy_{device}_j", sides[0], sides[1], "; ".join(doubts))
            )
        return quantities

    def _joules(self, which: int, device: str) -> dict[int, float]:
        """Energy of an inference by process."""
        joules = {}
        for index, process in self._sides[which].items():
            alone = dataclasses.replace(self._profiles[which], processes=(process,))
            for each in energy.energy(alone):
                if each.device == device and each.joules.value is not None:
                    joules[index] = each.joules.value
        return joules

    def _memory(self) -> Quantity:
        """Peak of resident memory, which no occasion changes."""
        name = PEAK_MEMORY
        values = [
            [
                float(reading.value)
                for process in side.values()
                for reading in process.noise
                if reading.name == name and isinstance(reading.value, (int, float))
            ]
            for side in self._sides
        ]
        if not all(values):
            return _unknown(name, "not recorded on both sides")
        sides = [Side(np.log(np.array(one))) for one in values]
        found = verdicts.compare(
            sides[0],
            sides[1],
            same_occasion=True,
            margin=self._margin,
            confidence=1 - self._alpha_of_others() if self.paired else CONFIDENCE,
        )
        if found.verdict is Verdict.NOT_COMPARABLE:
            return Quantity(name, None, None, found)
        base, candidate = (_typical(side.log_figure) for side in sides)
        return Quantity(name, base, candidate, found, "of a worker process up to the timed pass")


def _unknown(name: str, reason: str) -> Quantity:
    return Quantity(name, None, None, Comparison(Verdict.NOT_COMPARABLE, None, None, reason))


def _middle(logs: _Float64Array) -> float:
    """Median over the processes."""
    return math.exp(float(np.median(logs)))


def _typical(logs: _Float64Array) -> float:
    """Geometric mean over the processes: ratios are of these."""
    return math.exp(float(logs.mean()))


def _time_per_inference_ns(process: ProcessRecord) -> float:
    """Wall time of an inference, without what lies between two values of pyperf's."""
    steady = process.steady
    end_ns = steady.start_ns + steady.duration_ns
    last = np.arange(0, len(steady), process.loops) + process.loops - 1
    taken_ns = end_ns[np.minimum(last, len(steady) - 1)] - steady.start_ns[:: process.loops]
    return float(taken_ns.sum()) / len(steady)


def _why_no_energy(pair: Sequence[Energy | None]) -> str:
    for name, one in zip(SIDES, pair, strict=True):
        if one is None:
            return f"the {name} tells nothing of this device"
        if one.joules.value is None:
            return f"the {name} has none: {one.joules.reason}"
    return ""


def _operators(judge: _Judge, base: Profile, candidate: Profile) -> OperatorChanges | Figure:
    source = next(
        (one for one in operators.SOURCES if one in base.traces and one in candidate.traces), ""
    )
    if not source or base.nodes is None or candidate.nodes is None:
        return Figure(None, "the profiles have no traced pass in common")
    sides = []
    for name, profile in zip(SIDES, (base, candidate), strict=True):
        times = operators.OperatorTimes.of(profile, source)
        if isinstance(times, Figure):
            return Figure(None, f"the {name} has none: {times.reason}")
        sides.append(_Traced(times))
    matches = matching.match(sides[0].executed, sides[1].executed)
    if isinstance(matches, Figure):
        return matches
    changes = [_change(match, sides[0], sides[1]) for match in matches]
    judged = {
        str(k): judge.judge_operator(
            sides[0].own_ns(change.match.base), sides[1].own_ns(change.match.candidate)
        )
        for k, change in enumerate(changes)
        if _worth_judging(change, changes)
    }
    for key, found in verdicts.with_holm(judged).items():
        changes[int(key)] = dataclasses.replace(changes[int(key)], comparison=found)
    doubts = [
        f"the {name}: {side.doubt}" for name, side in zip(SIDES, sides, strict=True) if side.doubt
    ]
    return OperatorChanges(
        changes=tuple(sorted(changes, key=lambda change: -abs(change.change_ns))),
        source=sides[0].source,
        judged=len(judged),
        base=_total(base, [c.base_ns for c in changes], [c.candidate_ns for c in changes]),
        candidate=_total(
            candidate, [c.candidate_ns for c in changes], [c.base_ns for c in changes]
        ),
        doubts=tuple(doubts),
    )


class _Traced:
    """Own times of the nodes of a side, by process."""

    def __init__(self, times: OperatorTimes) -> None:
        self.nodes = times.nodes
        self.source = times.events.source
        self.executed = matching.executed(times.nodes, times.events)
        self.doubt = times.accounts.doubt
        self._own = times.cells.own
        self._members = {
            one: np.flatnonzero(times.cells.process == one)
            for one in dict.fromkeys(times.cells.process.tolist())
        }

    def own_ns(self, rows: Sequence[int]) -> dict[int, float]:
        """Median over the inferences of each process, of all these nodes together."""
        together = self._own[:, list(rows)].sum(axis=1)
        return {one: float(np.median(together[at])) for one, at in self._members.items()}

    def typical_ns(self, rows: Sequence[int]) -> float | None:
        """What an inference spends in these nodes."""
        if not rows:
            return None
        times = np.array(list(self.own_ns(rows).values()))
        if (times <= 0).any():
            return float(times.mean())
        return math.exp(float(np.log(times).mean()))


def _change(match: Match, base: _Traced, candidate: _Traced) -> OperatorChange:
    def names(side: _Traced, rows: Sequence[int]) -> tuple[str, ...]:
        return tuple(side.nodes.name[row] or f"{side.nodes.op_type[row]} #{row}" for row in rows)

    def op_types(side: _Traced, rows: Sequence[int]) -> tuple[str, ...]:
        return tuple(side.nodes.op_type[row] for row in rows)

    alone = match.how in ("base only", "candidate only")
    reason = "no counterpart was found" if alone else "too short to be judged"
    return OperatorChange(
        match=match,
        base_nodes=names(base, match.base),
        candidate_nodes=names(candidate, match.candidate),
        base_op_types=op_types(base, match.base),
        candidate_op_types=op_types(candidate, match.candidate),
        base_ns=base.typical_ns(match.base),
        candidate_ns=candidate.typical_ns(match.candidate),
        comparison=Comparison(Verdict.NOT_COMPARABLE, None, None, reason),
    )


def _worth_judging(change: OperatorChange, changes: Sequence[OperatorChange]) -> bool:
    if change.base_ns is None or change.candidate_ns is None:
        return False
    return change.base_ns >= SMALLEST_SHARE * sum(c.base_ns or 0.0 for c in changes) or (
        change.candidate_ns >= SMALLEST_SHARE * sum(c.candidate_ns or 0.0 for c in changes)
    )


def _total(profile: Profile, own: Sequence[float | None], others: Sequence[float | None]) -> Total:
    """Accounts of one side whose operators take such times, given their counterparts'."""
    matched = unmatched = 0.0
    for mine, counterpart in zip(own, others, strict=True):
        if counterpart is None:
            unmatched += mine or 0.0
        else:
            matched += mine or 0.0
    medians = [float(np.median(p.steady.duration_ns)) for p in profile.processes if len(p.steady)]
    latency = math.exp(float(np.log(medians).mean()))
    return Total(matched, unmatched, latency - matched - unmatched, latency)
