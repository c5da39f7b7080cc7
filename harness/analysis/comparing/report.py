"""The result of a comparison of profiles."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from harness.analysis.comparing.differences import Difference
from harness.analysis.comparing.matching import Match
from harness.records import Profile
from harness.statistics.figures import Figure
from harness.statistics.verdicts import DECIDED, Comparison, Verdict

#: Names of the two profiles of a comparison.
SIDES = ("base", "candidate")

#: Figures beside that of the verdict where a change may live that it does not show.
BESIDE = ("latency_ns", "latency_p90_ns", "latency_p99_ns", "slow_processes")

#: The figure of the verdict where callers are side by side on either side: wall time per inference
#: of all of them, the inverse of their throughput. What they reach together is the point of them.
TOGETHER = "time_per_inference_ns"


@dataclasses.dataclass(frozen=True, slots=True)
class Quantity:
    """One figure of both sides.

    Attributes:
        name: with the unit as suffix: ``latency_p90_ns``, ``energy_gpu0_j`` …
        base, candidate: geometric means over the processes, medians if they were measured in
            pairs; None if not known.
        comparison: of the two; ``FASTER`` means the lower value, whatever the quantity.
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
        base_nodes, candidate_nodes: their names in the executed graphs.
        base_labels, candidate_labels: their labels for the user, from their sources.
        base_op_types, candidate_op_types: their op types.
        base_ns, candidate_ns: own time in one inference, geometric mean over the processes of
            each one's median (arithmetic mean if one took no time); None on a side without nodes.
        comparison: of the two, Holm's correction over all operators applied.
    """

    match: Match
    base_nodes: tuple[str, ...]
    candidate_nodes: tuple[str, ...]
    base_labels: tuple[str, ...]
    candidate_labels: tuple[str, ...]
    base_op_types: tuple[str, ...]
    candidate_op_types: tuple[str, ...]
    base_ns: float | None
    candidate_ns: float | None
    comparison: Comparison

    @property
    def change_ns(self) -> float:
        """How much it adds to an inference."""
        return (self.candidate_ns or 0.0) - (self.base_ns or 0.0)


@dataclasses.dataclass(frozen=True, slots=True)
class Total:
    """Where the latency of one side goes: matched + unmatched + rest = latency.

    Attributes:
        matched_ns: operators with a counterpart.
        unmatched_ns: operators without one.
        rest_ns: the framework, and by how much the traced pass misses the timed pass; may be
            negative if the machine was slower during tracing.
        latency_ns: of the timed pass.
    """

    matched_ns: float
    unmatched_ns: float
    rest_ns: float
    latency_ns: float


@dataclasses.dataclass(frozen=True, slots=True)
class OperatorChanges:
    """Operators of two profiles, the largest change first.

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
        latency: the figure of the verdict: the undisturbed latency; of pairs, the median; with
            callers side by side, TOGETHER.
        quantities: all other figures; empty if the latencies cannot be compared.
        operators: their changes, or why there are none.
        machine: how much slower the machine was around the candidate, as a ratio for each part
            of the yardstick; empty if it was not timed on both sides.
        items: items per inference on each side, if they differ: figures of an inference are
            then divided by them. (1, 1) if nothing is divided.
        history: files that the variance between occasions was learned from.
        also: the candidate's profiles of further occasions.
    """

    candidate: Profile
    differences: tuple[Difference, ...]
    caveats: tuple[str, ...]
    paired: bool
    latency: Quantity
    quantities: tuple[Quantity, ...]
    operators: OperatorChanges | Figure
    machine: Mapping[str, float]
    items: tuple[int, int] = (1, 1)
    history: tuple[Path | None, ...] = ()
    also: tuple[Profile, ...] = ()

    @property
    def beside(self) -> tuple[Quantity, ...]:
        """Median, tails and slow processes that certainly changed otherwise than the latency did.

        A change may live in the tail alone, or in how many processes are slow: the undisturbed
        latency shows neither.
        """
        found = [one for one in self.quantities if one.name in BESIDE]
        return tuple(
            one
            for one in found
            if one.comparison.verdict in DECIDED
            and one.comparison.verdict not in (Verdict.SAME, self.latency.comparison.verdict)
        )

    @property
    def is_together(self) -> bool:
        """Whether the verdict is on what several callers reach together."""
        return self.latency.name == TOGETHER

    @property
    def per(self) -> str:
        """Unit of times, rates and energies: an ``inference``, or an ``item`` of one."""
        return "inference" if self.items == (1, 1) else "item"


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """All candidates against the base.

    Attributes:
        base: the denominator of ratios.
        candidates: the others, in the order given.
        margin: ratios from 1 / (1 + margin) to 1 + margin count as the same.
        also: the base's profiles of further occasions.
        history: how the other occasions were found, or why there are none, in one sentence.
    """

    base: Profile
    candidates: tuple[Compared, ...]
    margin: float
    also: tuple[Profile, ...] = ()
    history: str = ""
