"""Where the time of a traced inference went, and whether the accounts can be trusted."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from harness.analysis.operators.cells import Cells
from harness.analysis.operators.split import Split
from harness.ort import providers
from harness.records import Int64Array, NodeEvents, Profile
from harness.statistics.intervals import typical

#: Share of the timed pass by which nodes + framework may miss it before operator times are called
#: doubtful.
TRUSTED_RESIDUAL = 0.05

#: Timed inferences below this many ns mostly fit into one slice of the scheduler (Linux: 3 ms), ...
SLICE_NS = 3e6

#: ... and where their median is not above this many tenth percentiles, the typical one waited for
#: nothing. With a load of nine on two CPUs chains of 0.2 to 2 ms were at 1.02 to 1.08, MobileNet,
#: of 4 ms when undisturbed, at 1.6.
UNDISTURBED = 1.25


@dataclasses.dataclass(frozen=True, slots=True)
class Accounts:
    """Where the time of a traced inference went.

    Nodes are the sum of what each typically takes, where the timed pass was undisturbed: of a
    process the medians, as in the table, mean over the processes. Else, and of all besides, means
    over the middle half of the traced inferences by duration. What is held against
    something that was measured without them is ``residual``, for their sum, and ``split_miss``,
    for how it is divided.

    Attributes:
        nodes_ns: all nodes.
        framework_ns: time that belongs to no node.
        tracer_cost_ns: cost of the probes according to their calibration; None for ORT's
            profiler, whose cost is hidden in the nodes and the framework.
        traced_ns: the traced inference.
        told_ns: nodes + framework, geometric mean over the processes with a timed pass; for
            ORT's profiler the traced inference.
        clean_ns: median of the timed pass, geometric mean over the same processes.
        enqueued: whether told_ns and clean_ns end when Run has returned, with the work enqueued
            on a device: probes tell what the host does. Else with the inference.
        residual: told_ns / clean_ns - 1; None if there is no timed pass, or if it replays a
            captured graph, which launches no node.
        split_miss: share by which nodes, all together, miss the stretches that graphs with every
            second probe measured directly; None if these were not recorded.
        split_apart: by how much these misses differ beyond noise, as a share; None likewise.
        split_nodes: how many nodes were checked in this way; 0 if none.
        own_probe_share: share of nodes_ns in nodes that have a probe of their own and share
            it with no other; None for ORT's profiler.
        dropped: events that the tracer dropped.
        doubt: why operator times should not be trusted; empty if there is no reason.
    """

    nodes_ns: float
    framework_ns: float
    tracer_cost_ns: float | None
    traced_ns: float
    told_ns: float | None
    clean_ns: float | None
    enqueued: bool
    residual: float | None
    split_miss: float | None
    split_apart: float | None
    split_nodes: int
    own_probe_share: float | None
    dropped: int
    doubt: str


def accounts_of(
    profile: Profile,
    events: NodeEvents,
    cells: Cells,
    spans: Mapping[int, Sequence[int]],
    split: Split | None,
) -> Accounts:
    """The accounts of a traced pass.

    Args:
        profile: with the timed pass that they are checked against.
        events: of the traced pass.
        cells: the same events, summed.
        spans: rows of the nodes that share another node's probe, by the row of that node.
        split: the check of how the time divides between nodes; None if there is none.
    """
    sums = cells.own.sum(axis=1)
    exact = events.source == "probe"
    captured = exact and _captured(profile)
    timed = {} if captured else _timed(profile, enqueued=exact)
    middle = np.zeros(len(sums), bool)
    nodes: list[float] = []
    told: list[float] = []
    untraced: list[float] = []
    for process in np.unique(cells.process):
        mine = np.flatnonzero(cells.process == process)
        # Samples, not values interpolated between them: of two, both are the middle half.
        low = np.percentile(cells.duration[mine], 25, method="lower")
        high = np.percentile(cells.duration[mine], 75, method="higher")
        kept = mine[(cells.duration[mine] >= low) & (cells.duration[mine] <= high)]
        middle[kept] = True
        clean = timed.get(int(process))
        if exact and clean is not None and _undisturbed(clean):
            nodes.append(float(np.median(cells.own[mine], axis=0).sum()))
        else:
            nodes.append(float(sums[kept].mean()))
        if clean is not None:
            traced = nodes[-1] + cells.framework[kept].mean() if exact else cells.duration[kept]
            told.append(float(np.mean(traced)))
            untraced.append(float(np.median(clean)))
    framework_ns, traced_ns, probes_ns = (
        float(values[middle].mean()) for values in (cells.framework, cells.duration, cells.probes)
    )
    nodes_ns = float(np.mean(nodes))
    told_ns, clean_ns = (typical(np.array(one)) if one else None for one in (told, untraced))
    residual = told_ns / clean_ns - 1 if told_ns is not None and clean_ns else None
    tracer_cost_ns = None
    if exact:
        # One more probe lies outside all gaps: half before the first, half after the last.
        tracer_cost_ns = probes_ns + (dispatch_ns(profile) or 0.0)
    alone = np.setdiff1d(np.arange(cells.own.shape[1]), list(spans))
    return Accounts(
        nodes_ns=nodes_ns,
        framework_ns=framework_ns,
        tracer_cost_ns=tracer_cost_ns,
        traced_ns=traced_ns,
        told_ns=told_ns,
        clean_ns=clean_ns,
        enqueued=exact and any(len(one.enqueue_ns) for one in profile.processes),
        residual=residual,
        split_miss=None if split is None else split.miss,
        split_apart=None if split is None else split.apart,
        split_nodes=0 if split is None else split.nodes,
        own_probe_share=float(cells.own[:, alone].sum() / max(cells.own.sum(), 1))
        if exact
        else None,
        dropped=events.dropped,
        doubt=_doubt(residual, split, events.dropped, captured=captured),
    )


def _timed(profile: Profile, *, enqueued: bool) -> dict[int, Int64Array]:
    """Durations of the timed pass of each process that has one, by ProcessRecord.index.

    Args:
        profile: with the processes.
        enqueued: whether on a device those until Run returned are asked for.
    """
    return {
        one.index: one.enqueue_ns if enqueued and len(one.enqueue_ns) else one.steady.duration_ns
        for one in profile.processes
        if len(one.steady)
    }


def _captured(profile: Profile) -> bool:
    """Whether the timed pass replays a captured graph; no traced pass does."""
    provider = providers.known(profile.provider)
    return provider is not None and provider.captures(profile.asked.provider_options)


def _undisturbed(clean: Int64Array) -> bool:
    """Whether the typical inference of a timed pass had its CPU for itself.

    Then what it is held against must be without waits, too: an inference that probes make several
    times as long may wait each time, in one of its thousands of nodes, but no node typically does.
    Where an inference is long enough to wait without probes, that of the probes waits likewise.
    """
    median = np.median(clean)
    return bool(median < SLICE_NS and median <= UNDISTURBED * np.percentile(clean, 10))


def _doubt(residual: float | None, split: Split | None, dropped: int, *, captured: bool) -> str:
    """Why operator times should not be trusted, in one sentence."""
    if captured:
        return (
            "the timed pass replays a captured graph and launches no node: they are those of "
            "inferences without it"
        )
    if residual is None:
        return "there is no timed pass to compare with"
    if abs(residual) > TRUSTED_RESIDUAL:
        return (
            f"they miss the timed pass by {residual:+.0%}: the machine changed in between, or "
            "tracing changed the model's speed"
        )
    if split is not None and split.doubtful:
        return (
            f"nodes together miss direct measurements of them by {split.miss:+.0%}: what a probe "
            "costs depends on how many there are"
        )
    if dropped:
        return f"{dropped:,} events were dropped at the tracer's limit"
    return ""


def dispatch_ns(profile: Profile) -> float | None:
    """What the executor spends on a node that does nothing, which is what a probe is."""
    calibration = profile.traces.get("probe_calibration")
    if calibration is None or not len(calibration):
        return None
    return float(np.median(calibration.self_ns))
