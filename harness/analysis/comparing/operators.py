"""Operators of two profiles, matched and judged."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from harness.analysis import runtime
from harness.analysis.comparing import matching
from harness.analysis.comparing.figures import Judge
from harness.analysis.comparing.matching import Match
from harness.analysis.comparing.report import SIDES, OperatorChange, OperatorChanges, Total
from harness.analysis.operators.labels import label, node_label
from harness.analysis.operators.table import SOURCES, OperatorTimes
from harness.records import Profile
from harness.statistics import verdicts
from harness.statistics.figures import Figure
from harness.statistics.intervals import typical
from harness.statistics.verdicts import Comparison, Verdict

#: Share of the nodes' time below which, on both sides, an operator is listed but not judged.
SMALLEST_SHARE = 0.001


def operator_changes(judge: Judge, base: Profile, candidate: Profile) -> OperatorChanges | Figure:
    """Matched operators of both sides with their verdicts, or why there are none."""
    if runtime.differ(base, candidate):
        return Figure(None, "different runtimes: their operators are not the same things")
    source = next((one for one in SOURCES if one in base.traces and one in candidate.traces), "")
    if not source or base.nodes is None or candidate.nodes is None:
        return Figure(None, "the profiles have no traced pass in common")
    sides = []
    for name, profile, items in zip(SIDES, (base, candidate), judge.items, strict=True):
        times = OperatorTimes.of(profile, source)
        if isinstance(times, Figure):
            return Figure(None, f"the {name} has none: {times.reason}")
        sides.append(_Traced(times, items))
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
        base=_total(
            sides[0],
            judge.items[0],
            [c.base_ns for c in changes],
            [c.candidate_ns for c in changes],
        ),
        candidate=_total(
            sides[1],
            judge.items[1],
            [c.candidate_ns for c in changes],
            [c.base_ns for c in changes],
        ),
        doubts=tuple(doubts),
    )


class _Traced:
    """Own times of the nodes of a side, by process, divided by the items of an inference."""

    def __init__(self, times: OperatorTimes, items: int) -> None:
        self.nodes = times.nodes
        self.source = times.source
        self.executed = matching.executed(times.nodes, times.events)
        self.doubt = times.accounts.doubt
        self._profile = times.profile
        self._own = times.cells.own if items == 1 else times.cells.own / items
        self._members = {
            one: np.flatnonzero(times.cells.process == one)
            for one in dict.fromkeys(times.cells.process.tolist())
        }

    @property
    def latency_ns(self) -> float:
        """Latency of these processes; of all if none of them has a timed pass."""
        medians = {
            one.index: float(np.median(one.steady.duration_ns))
            for one in self._profile.processes
            if len(one.steady)
        }
        mine = [medians[one] for one in self._members if one in medians]
        return typical(np.array(mine or list(medians.values())))

    def own_ns(self, rows: Sequence[int]) -> dict[int, float]:
        """Own time of these nodes together, by process: the median over its inferences."""
        together = self._own[:, list(rows)].sum(axis=1)
        return {one: float(np.median(together[at])) for one, at in self._members.items()}

    def typical_ns(self, rows: Sequence[int]) -> float | None:
        """What an inference spends in these nodes."""
        if not rows:
            return None
        return typical(np.array(list(self.own_ns(rows).values())))


def _change(match: Match, base: _Traced, candidate: _Traced) -> OperatorChange:
    def names(side: _Traced, rows: Sequence[int]) -> tuple[str, ...]:
        return tuple(label(side.nodes.name[row], side.nodes.op_type[row], row) for row in rows)

    def labels(side: _Traced, rows: Sequence[int]) -> tuple[str, ...]:
        return tuple(node_label(side.nodes, row) for row in rows)

    def op_types(side: _Traced, rows: Sequence[int]) -> tuple[str, ...]:
        return tuple(side.nodes.op_type[row] for row in rows)

    alone = match.how in ("base only", "candidate only")
    reason = "no counterpart was found" if alone else "too short to be judged"
    return OperatorChange(
        match=match,
        base_nodes=names(base, match.base),
        candidate_nodes=names(candidate, match.candidate),
        base_labels=labels(base, match.base),
        candidate_labels=labels(candidate, match.candidate),
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


def _total(
    side: _Traced, items: int, own: Sequence[float | None], others: Sequence[float | None]
) -> Total:
    """Accounts of one side, from the times of its operators and of their counterparts.

    The latency is that of the processes that timed operators, so that the difference is theirs.
    """
    matched = unmatched = 0.0
    for mine, counterpart in zip(own, others, strict=True):
        if counterpart is None:
            unmatched += mine or 0.0
        else:
            matched += mine or 0.0
    latency = side.latency_ns / items
    return Total(matched, unmatched, latency - matched - unmatched, latency)
