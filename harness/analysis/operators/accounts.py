"""Where the time of a traced inference went, and whether the accounts can be trusted."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from harness.analysis.operators.cells import Cells
from harness.records import NodeEvents, Profile
from harness.statistics.intervals import typical

#: Share of the timed pass by which nodes + framework may miss it, and share of the probed
#: inference that may stay unexplained, before operator times are called doubtful.
TRUSTED_RESIDUAL = 0.05


@dataclasses.dataclass(frozen=True, slots=True)
class Accounts:
    """Where the time of a traced inference went.

    Means over the middle half of the traced inferences by duration, so that they add up:
    nodes + framework + tracer_cost + unexplained = traced.

    Attributes:
        nodes_ns: all nodes.
        framework_ns: time that belongs to no node.
        tracer_cost_ns: cost of the probes according to their calibration; None for ORT's
            profiler, whose cost is hidden in the nodes and the framework.
        unexplained_ns: what is left; None for ORT's profiler.
        traced_ns: the traced inference.
        told_ns: nodes + framework, geometric mean over the processes with a timed pass; for
            ORT's profiler the traced inference.
        clean_ns: median of the timed pass, geometric mean over the same processes.
        residual: told_ns / clean_ns - 1; None if there is no timed pass.
        own_probe_share: share of nodes_ns in nodes that have a probe of their own and share
            it with no other; None for ORT's profiler.
        dropped: events that the tracer dropped.
        doubt: why operator times should not be trusted; empty if there is no reason.
    """

    nodes_ns: float
    framework_ns: float
    tracer_cost_ns: float | None
    unexplained_ns: float | None
    traced_ns: float
    told_ns: float | None
    clean_ns: float | None
    residual: float | None
    own_probe_share: float | None
    dropped: int
    doubt: str


def accounts_of(
    profile: Profile, events: NodeEvents, cells: Cells, spans: Mapping[int, Sequence[int]]
) -> Accounts:
    """The accounts of a traced pass.

    Args:
        profile: with the timed pass that they are checked against.
        events: of the traced pass.
        cells: the same events, summed.
        spans: rows of the nodes that share another node's probe, by the row of that node.
    """
    sums = cells.own.sum(axis=1)
    clean = {
        one.index: float(np.median(one.steady.duration_ns))
        for one in profile.processes
        if len(one.steady)
    }
    exact = events.source == "probe"
    middle = np.zeros(len(sums), bool)
    told: list[float] = []
    untraced: list[float] = []
    for process in np.unique(cells.process):
        mine = np.flatnonzero(cells.process == process)
        # Samples, not values interpolated between them: of two, both are the middle half.
        low = np.percentile(cells.duration[mine], 25, method="lower")
        high = np.percentile(cells.duration[mine], 75, method="higher")
        kept = mine[(cells.duration[mine] >= low) & (cells.duration[mine] <= high)]
        middle[kept] = True
        if clean.get(int(process)):
            traced = (sums + cells.framework)[kept] if exact else cells.duration[kept]
            told.append(float(traced.mean()))
            untraced.append(clean[int(process)])
    nodes_ns, framework_ns, traced_ns, probes_ns = (
        float(values[middle].mean())
        for values in (sums, cells.framework, cells.duration, cells.probes)
    )
    told_ns, clean_ns = (typical(np.array(one)) if one else None for one in (told, untraced))
    residual = told_ns / clean_ns - 1 if told_ns is not None and clean_ns else None
    tracer_cost_ns = unexplained_ns = None
    if exact:
        # One more probe lies outside all gaps: half before the first, half after the last.
        tracer_cost_ns = probes_ns + (dispatch_ns(profile) or 0.0)
        unexplained_ns = traced_ns - nodes_ns - framework_ns - tracer_cost_ns
    alone = np.setdiff1d(np.arange(cells.own.shape[1]), list(spans))
    return Accounts(
        nodes_ns=nodes_ns,
        framework_ns=framework_ns,
        tracer_cost_ns=tracer_cost_ns,
        unexplained_ns=unexplained_ns,
        traced_ns=traced_ns,
        told_ns=told_ns,
        clean_ns=clean_ns,
        residual=residual,
        own_probe_share=float(cells.own[:, alone].sum() / max(cells.own.sum(), 1))
        if exact
        else None,
        dropped=events.dropped,
        doubt=_doubt(residual, unexplained_ns, traced_ns, events.dropped),
    )


def _doubt(
    residual: float | None, unexplained_ns: float | None, traced_ns: float, dropped: int
) -> str:
    """Why operator times should not be trusted, in one sentence."""
    if residual is None:
        return "there is no timed pass to compare with"
    if abs(residual) > TRUSTED_RESIDUAL:
        return (
            f"they miss the timed pass by {residual:+.0%}: the machine changed in between, or "
            "tracing changed the model's speed"
        )
    if unexplained_ns is not None and abs(unexplained_ns) > TRUSTED_RESIDUAL * traced_ns:
        return f"{unexplained_ns / traced_ns:+.0%} of the probed inference is not explained"
    if dropped:
        return f"{dropped:,} events were dropped at the tracer's limit"
    return ""


def dispatch_ns(profile: Profile) -> float | None:
    """What the executor spends on a node that does nothing, which is what a probe is."""
    calibration = profile.traces.get("probe_calibration")
    if calibration is None or not len(calibration):
        return None
    return float(np.median(calibration.self_ns))
