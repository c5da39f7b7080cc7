"""Profiles against the first of them: what else changed, then every figure, then operators."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from harness import (
    comparison,
    energy,
    matching,
    noise,
    operators,
    sequential,
    steady_state,
    yardstick,
)
from harness.comparison import MARGIN, Comparison, Side, Verdict
from harness.differences import Difference, differences, unlike_inputs
from harness.energy import Energy
from harness.matching import Match
from harness.operators import OperatorTimes
from harness.records import ProcessRecord, Profile
from harness.statistics import Figure

#: Part of the nodes' time of either side below which an operator is listed, not judged.
SMALLEST_SHARE = 0.001

#: Processes of a profile from which on a difference of 2 % is found (DESIGN.md section 7).
COMPARISON_GRADE = 10

_Float64Array = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True, slots=True)
class Quantity:
    """One figure of both sides.

    Attributes:
        name: with the unit as suffix: ``latency_p90_ns``, ``energy_gpu0_j`` …
        base, candidate: geometric means over the processes; None where not known.
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
        together = comparison.with_holm(
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
    caveats = _caveats(base, candidate)
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
        judge.quantities(latency),
        _operators(judge, base, candidate),
        judge.machine(),
    )


def _refusal(base: Profile, candidate: Profile) -> str:
    """Why no verdict on the two would mean anything; empty if one may."""
    unlike = unlike_inputs(base, candidate)
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


def _caveats(base: Profile, candidate: Profile) -> tuple[str, ...]:
    """What to know before the figures are read."""
    caveats = []
    if base.model.sha256 != candidate.model.sha256:
        caveats.append("different models: ratios are of two models, not of two ways to run one")
    for name, profile in (("base", base), ("candidate", candidate)):
        count = len(profile.processes)
        if not profile.complete:
            caveats.append(f"the {name} was interrupted: only {_processes(count)} of it are here")
        if json.loads(profile.config).get("quick"):
            caveats.append(f"the {name} was measured with --quick: not comparison-grade")
        elif 1 < count < COMPARISON_GRADE:
            caveats.append(
                f"the {name} has {_processes(count)}: {COMPARISON_GRADE} are comparison-grade"
            )
        verdict = noise.judge(profile) if profile.processes else None
        if verdict is not None and verdict.verdict in ("disturbed", "unusable"):
            caveats.append(f"the {name} is {verdict.verdict}: {'; '.join(verdict.causes)}")
        caveats += _unsteady(name, profile)
    return tuple(caveats)


def _processes(count: int) -> str:
    return f"{count} process{'es' if count != 1 else ''}"


def _unsteady(name: str, profile: Profile) -> list[str]:
    """Says of how many processes the samples are not of one state."""
    kinds = [
        steady_state.classify(process.steady.duration_ns).kind
        for process in profile.processes
        if len(process.steady)
    ]
    moving = {kind: kinds.count(kind) for kind in ("warm-up", "drift", "unstable")}
    told = ", ".join(f"{kind} in {count}" for kind, count in moving.items() if count)
    if 2 * sum(moving.values()) <= len(kinds):
        return []
    return [f"most processes of the {name} were not in one steady state: {told} of {len(kinds)}"]


class _Judge:
    """Compares per-process figures of two profiles, all in the same way."""

    def __init__(self, base: Profile, candidate: Profile, margin: float) -> None:
        together = [json.loads(one.config).get("interleaved_with") for one in (base, candidate)]
        self.paired = bool(together[0]) and together[0] == together[1]
        sides = [
            {process.index: process for process in profile.processes if len(process.steady)}
            for profile in (base, candidate)
        ]
        if self.paired:
            both = sides[0].keys() & sides[1].keys()
            sides = [{k: side[k] for k in sorted(both)} for side in sides]
        self._sides = (sides[0], sides[1])
        self._profiles = (base, candidate)
        self._margin = margin
        self._yardsticks = [_yardsticks(list(side.values())) for side in self._sides]

    def latency(self, refusal: str) -> Quantity:
        """Of the median, with the tails; refused where a reason is given."""
        if refusal:
            return _unknown("latency_ns", refusal)
        sides = [
            dataclasses.replace(
                comparison.side([p.steady.duration_ns for p in side.values()]),
                log_yardstick=speeds,
            )
            for side, speeds in zip(self._sides, self._yardsticks, strict=True)
        ]
        return self._quantity("latency_ns", sides[0], sides[1])

    def quantities(self, latency: Quantity) -> tuple[Quantity, ...]:
        """Tails, cold start, throughput, energy and memory.

        The verdicts hold together (Holm), those of pairs each for itself.
        """
        sides = [
            comparison.side([p.steady.duration_ns for p in side.values()]) for side in self._sides
        ]
        tails = [
            Quantity(
                f"latency_{name}_ns",
                _typical(getattr(sides[0], f"log_{name}")),
                _typical(getattr(sides[1], f"log_{name}")),
                latency.comparison.tail[name],
            )
            for name in ("p90", "p99")
            if name in latency.comparison.tail
        ]
        found = [
            *tails,
            self._each("session_ns", lambda p: p.session_ns),
            self._each("first_inference_ns", lambda p: p.first_inference_ns),
            self._each("time_per_inference_ns", _time_per_inference_ns),
            *self._energy(),
            self._memory(),
        ]
        together = comparison.with_holm({one.name: one.comparison for one in found})
        return tuple(dataclasses.replace(one, comparison=together[one.name]) for one in found)

    def machine(self) -> Mapping[str, float]:
        """Time of the yardstick beside the candidate over that beside the base."""
        one, other = self._yardsticks
        if one is None or other is None:
            return {}
        ratios = np.exp(other.mean(axis=0) - one.mean(axis=0))
        names = ("compute", "cache", "memory")
        return dict(zip(names, map(float, ratios), strict=True))

    def judge_operator(
        self, base: Mapping[int, float], candidate: Mapping[int, float]
    ) -> Comparison:
        """Own times of an operator by process, on their own."""
        sides = [self._of_times(k, times) for k, times in enumerate((base, candidate))]
        return comparison.compare(
            sides[0], sides[1], same_occasion=self.paired, margin=self._margin
        )

    def _of_times(self, which: int, times: Mapping[int, float]) -> Side:
        places = [k for k, index in enumerate(self._sides[which]) if index in times]
        indices = [index for index in self._sides[which] if index in times]
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.log(np.array([times[index] for index in indices], np.float64))
        speeds = self._yardsticks[which]
        return Side(logs, log_yardstick=None if speeds is None else speeds[places])

    def _each(self, name: str, of: Callable[[ProcessRecord], float], note: str = "") -> Quantity:
        """A figure that every process has one of."""
        sides = [
            self._of_times(k, {index: of(process) for index, process in side.items()})
            for k, side in enumerate(self._sides)
        ]
        return self._quantity(name, sides[0], sides[1], note)

    def _quantity(self, name: str, base: Side, candidate: Side, note: str = "") -> Quantity:
        found = self._judged(base, candidate)
        if found.verdict is Verdict.NOT_COMPARABLE:
            return Quantity(name, None, None, found, note)
        return Quantity(
            name, _typical(base.log_median), _typical(candidate.log_median), found, note
        )

    def _judged(self, base: Side, candidate: Side) -> Comparison:
        found = comparison.compare(base, candidate, same_occasion=self.paired, margin=self._margin)
        if not self.paired or found.verdict is Verdict.NOT_COMPARABLE:
            return found
        tail = {
            name: self._of_pairs(getattr(candidate, f"log_{name}") - getattr(base, f"log_{name}"))
            for name in found.tail
        }
        pairs = self._of_pairs(candidate.log_median - base.log_median)
        return dataclasses.replace(pairs, tail=tail)

    def _of_pairs(self, log_ratios: _Float64Array) -> Comparison:
        found = sequential.decide(log_ratios, margin=self._margin)
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
                for name, one in zip(("base", "candidate"), pair, strict=True)
                if one is not None and one.verdict == "doubtful"
            ]
            sides = [self._of_times(k, self._joules(k, device)) for k in (0, 1)]
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
        name, key = "peak_memory_bytes", "mem_max_rss"
        note = "of a worker process, traced passes included"
        traces = [json.loads(profile.config).get("trace") for profile in self._profiles]
        if traces[0] != traces[1]:
            return _unknown(name, "the sides recorded different traced passes, which are in it")
        values = [
            [float(p.metadata[key]) for p in side.values() if key in p.metadata]
            for side in self._sides
        ]
        if not all(values):
            return _unknown(name, "not recorded on both sides")
        # A process inherits the peak of the one that started it (getrusage(2), ru_maxrss).
        if any(len(set(one)) < len(one) for one in values):
            return _unknown(
                name,
                "processes agree to the byte: the figure is that of the command that started "
                "them, they needed less",
            )
        sides = [Side(np.log(np.array(one))) for one in values]
        found = comparison.compare(sides[0], sides[1], same_occasion=True, margin=self._margin)
        return Quantity(
            name, _typical(sides[0].log_median), _typical(sides[1].log_median), found, note
        )


def _unknown(name: str, reason: str) -> Quantity:
    return Quantity(name, None, None, Comparison(Verdict.NOT_COMPARABLE, None, None, reason))


def _typical(logs: _Float64Array | None) -> float | None:
    """Geometric mean over the processes: ratios are of these."""
    return None if logs is None else math.exp(float(logs.mean()))


def _yardsticks(processes: Sequence[ProcessRecord]) -> _Float64Array | None:
    """float64[processes, parts], log of its time; None where it was not timed beside one."""
    if not processes or not all(len(process.yardstick) for process in processes):
        return None
    return np.array([yardstick.speed(process.yardstick) for process in processes])


def _time_per_inference_ns(process: ProcessRecord) -> float:
    steady = process.steady
    end_ns = int(steady.start_ns[-1]) + int(steady.duration_ns[-1])
    return (end_ns - int(steady.start_ns[0])) / len(steady)


def _why_no_energy(pair: Sequence[Energy | None]) -> str:
    for name, one in zip(("base", "candidate"), pair, strict=True):
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
    for name, profile in (("base", base), ("candidate", candidate)):
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
    for key, found in comparison.with_holm(judged).items():
        changes[int(key)] = dataclasses.replace(changes[int(key)], comparison=found)
    doubts = [
        f"the {name}: {side.doubt}"
        for name, side in zip(("base", "candidate"), sides, strict=True)
        if side.doubt
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
