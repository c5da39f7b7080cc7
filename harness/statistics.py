"""Pure functions from the arrays of a profile to the figures that are reported.

The process is the unit of replication: samples of one process share its memory layout and
its moment, so an interval over pooled samples is far too narrow (DESIGN.md section 7).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from harness.records import NodeEvents, NodeTable, ProcessRecord, Profile

#: Samples that must lie beyond a percentile before it is reported. With five, the
#: order-statistic interval around it is still inside the data (David & Nagaraja,
#: Order Statistics, 3rd ed., section 7.1: binomial interval of a quantile).
SAMPLES_BEYOND_PERCENTILE = 5

#: Confidence level of every interval.
CONFIDENCE = 0.95


@dataclasses.dataclass(frozen=True, slots=True)
class Figure:
    """A number, or why there is none."""

    value: float | None
    reason: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Latency:
    """Steady-state latency of one inference.

    Attributes:
        median_ns: median of the medians of the processes.
        mean_ns: mean of their means.
        min_ns: fastest sample of all.
        p90_ns, p99_ns: percentiles of all samples together.
        interval_ns: confidence interval of the median, (low, high); None with the reason.
        interval_reason: why there is no interval; empty otherwise.
        samples: how many there are, over all processes.
        processes: how many contributed.
    """

    median_ns: float
    mean_ns: float
    min_ns: int
    p90_ns: Figure
    p99_ns: Figure
    interval_ns: tuple[float, float] | None
    interval_reason: str
    samples: int
    processes: int


def latency(processes: Sequence[ProcessRecord]) -> Latency:
    """Summary of the timed passes.

    Args:
        processes: at least one, each with samples.

    Raises:
        ValueError: there is nothing to summarise.
    """
    series = [process.steady.duration_ns for process in processes if len(process.steady)]
    if not series:
        raise ValueError("no process has a timed pass")
    medians = np.array([np.median(durations) for durations in series])
    pooled = np.concatenate(series)
    interval, reason = _interval_of_median(medians)
    return Latency(
        median_ns=float(np.median(medians)),
        mean_ns=float(np.mean([durations.mean() for durations in series])),
        min_ns=int(pooled.min()),
        p90_ns=percentile(pooled, 90),
        p99_ns=percentile(pooled, 99),
        interval_ns=interval,
        interval_reason=reason,
        samples=len(pooled),
        processes=len(series),
    )


def percentile(samples: npt.NDArray[np.int64], percent: float) -> Figure:
    """A percentile by linear interpolation, if enough samples lie beyond it."""
    needed = math.ceil(SAMPLES_BEYOND_PERCENTILE / (1 - percent / 100))
    if len(samples) < needed:
        return Figure(None, f"p{percent:g} needs {needed} samples, {len(samples)} were taken")
    return Figure(float(np.percentile(samples, percent)))


def _interval_of_median(
    medians: npt.NDArray[np.float64],
) -> tuple[tuple[float, float] | None, str]:
    """Student's t interval of the mean log per-process median, put around their median.

    Latencies of processes scatter by factors, not by amounts, so the logarithm is what is
    nearly normal (Kalibera & Jones, Rigorous Benchmarking in Reasonable Time, ISMM 2013,
    use the same unit of replication).
    """
    count = len(medians)
    if count < 2:
        return None, "one process cannot tell how much processes differ"
    from scipy.special import stdtrit  # a tenth of a second to import, needed only here

    logs = np.log(medians)
    half = float(stdtrit(count - 1, 0.5 + CONFIDENCE / 2) * logs.std(ddof=1) / math.sqrt(count))
    centre = float(np.median(medians))
    return (centre * math.exp(-half), centre * math.exp(half)), ""


def cold_start(processes: Sequence[ProcessRecord]) -> dict[str, Figure]:
    """Medians over the processes of what happens once: opening ORT, session, first inference."""
    names = ("library_ns", "session_ns", "first_inference_ns")
    if not processes:
        return {name: Figure(None, "no process has finished") for name in names}
    return {
        name: Figure(float(np.median([getattr(process, name) for process in processes])))
        for name in names
    }


@dataclasses.dataclass(frozen=True, slots=True)
class Operator:
    """Time of a node, or of all nodes of an op type, in one inference.

    Attributes:
        node: name of the node; for an op type how many nodes it has, as text.
        op_type: operator type.
        provider: execution provider.
        order: row of the node in the NodeTable; for an op type that of its first node.
        median_ns: median over the traced inferences of its own time (without the nodes of
            its subgraphs), all executions in an inference together.
        total_ns: the same with the nodes of its subgraphs.
        p10_ns, p90_ns: spread of its own time over the inferences.
        share: median_ns divided by the sum over all nodes.
        calls: executions in an inference, on average.
        source: how the times were obtained, ``ort_profiler``.
    """

    node: str
    op_type: str
    provider: str
    order: int
    median_ns: float
    total_ns: float
    p10_ns: float
    p90_ns: float
    share: float
    calls: float
    source: str


@dataclasses.dataclass(frozen=True, slots=True)
class Accounts:
    """Where a traced inference went, and how far tracing bent it.

    Attributes:
        nodes_ns: median over the traced inferences of the sum of all nodes.
        framework_ns: median of what belongs to no node.
        traced_ns: median traced inference, as the tracer reports it.
        clean_ns: median of the timed pass.
        residual: (traced_ns - clean_ns) / clean_ns, the tax of tracing.
        dropped: events that the tracer dropped.
    """

    nodes_ns: float
    framework_ns: float
    traced_ns: float
    clean_ns: float
    residual: float
    dropped: int


@dataclasses.dataclass(frozen=True, slots=True)
class OperatorTable:
    """Operators that ran, their accounts, and what stands behind them.

    Attributes:
        source: how the times were obtained, ``ort_profiler``.
        resolution_ns: step of the clock that took them.
        inferences: traced inferences, over all processes.
    """

    operators: tuple[Operator, ...]
    accounts: Accounts
    source: str
    resolution_ns: int
    inferences: int


_SORTS: Mapping[str, Callable[[Operator], tuple[float | str, ...]]] = {
    "time": lambda row: (-row.median_ns, row.order),
    "total": lambda row: (-row.total_ns, row.order),
    "calls": lambda row: (-row.calls, row.order),
    "order": lambda row: (row.order,),
    "name": lambda row: (row.node, row.order),
}


def operator_table(
    profile: Profile, by: str = "node", sort: str = "time"
) -> OperatorTable | Figure:
    """Time of every node (``by="node"``) or op type (``by="op"``) that ran.

    Args:
        profile: with a traced pass.
        by: what a row is.
        sort: ``time``, ``total``, ``calls``, ``order`` or ``name``.

    Returns:
        The table, or a Figure with the reason why there is none.
    """
    events = profile.traces.get("ort")
    if events is None or profile.nodes is None:
        reasons = [why for what, why in profile.absent if what in ("nodes", "trace/ort")]
        return Figure(None, "; ".join(reasons) or "no traced pass was asked for")
    if not len(events.inference_number):
        return Figure(None, "the trace holds no whole inference")
    own, total, calls = _per_inference(len(profile.nodes), events)
    rows = _operators(profile.nodes, own, total, calls, by, events.source)
    sums = own.sum(axis=1)
    traced_ns = float(np.median(events.inference_duration_ns))
    clean_ns = latency(profile.processes).median_ns
    return OperatorTable(
        operators=tuple(sorted(rows, key=_SORTS[sort])),
        accounts=Accounts(
            nodes_ns=float(np.median(sums)),
            framework_ns=float(np.median(events.inference_duration_ns - sums)),
            traced_ns=traced_ns,
            clean_ns=clean_ns,
            residual=traced_ns / clean_ns - 1,
            dropped=events.dropped,
        ),
        source=events.source,
        resolution_ns=events.resolution_ns,
        inferences=len(events.inference_number),
    )


_Table = npt.NDArray[np.float64]


def _operators(
    nodes: NodeTable, own: _Table, total: _Table, calls: _Table, by: str, source: str
) -> list[Operator]:
    rows = range(len(nodes))
    labels = [(nodes.name[row], nodes.op_type[row], nodes.provider[row], row) for row in rows]
    if by == "op":
        groups: dict[tuple[str, str], list[int]] = {}
        for row in np.flatnonzero(calls.any(axis=0)).tolist():
            groups.setdefault((nodes.op_type[row], nodes.provider[row]), []).append(row)
        own, total, calls = (
            np.stack([table[:, group].sum(axis=1) for group in groups.values()], axis=1)
            if groups
            else table[:, :0]
            for table in (own, total, calls)
        )
        labels = [
            (f"{len(group)} node{'s' if len(group) != 1 else ''}", op_type, provider, group[0])
            for (op_type, provider), group in groups.items()
        ]
    medians, totals = np.median(own, axis=0), np.median(total, axis=0)
    p10, p90 = np.percentile(own, (10, 90), axis=0)
    whole = float(medians.sum()) or 1.0
    return [
        Operator(
            *labels[column],
            median_ns=float(medians[column]),
            total_ns=float(totals[column]),
            p10_ns=float(p10[column]),
            p90_ns=float(p90[column]),
            share=float(medians[column]) / whole,
            calls=float(calls[:, column].mean()),
            source=source,
        )
        for column in np.flatnonzero(calls.any(axis=0)).tolist()
    ]


def _per_inference(node_count: int, events: NodeEvents) -> tuple[_Table, _Table, _Table]:
    """(own time, total time, executions), float64[inferences, nodes] each."""
    inferences = len(events.inference_number)
    # Numbers an event's (process, inference) pair by its place in the inference table.
    span = int(events.inference_number.max(initial=0)) + 1
    known = events.inference_process.astype(np.int64) * span + events.inference_number
    order = np.argsort(known)
    keys = events.process.astype(np.int64) * span + events.inference
    place = order[np.searchsorted(known[order], keys)] if inferences else keys
    cell = place * node_count + events.node
    size = inferences * node_count

    def table(weights: npt.NDArray[np.int64] | None) -> _Table:
        counted = np.bincount(cell, weights=weights, minlength=size)
        return counted.astype(np.float64).reshape(inferences, node_count)

    return table(events.self_ns), table(events.duration_ns), table(None)


@dataclasses.dataclass(frozen=True, slots=True)
class NoiseVerdict:
    """Whether the host left the timed passes alone.

    Attributes:
        verdict: ``quiet`` or ``disturbed``.
        causes: one sentence each, with the figure.
    """

    verdict: str
    causes: tuple[str, ...]


#: Shares of the timed passes' wall time above which a disturbance is named. A hundredth is
#: the precision that a comparison-grade profile aims at.
STEAL_LIMIT = 0.01
OTHER_LOAD_LIMIT = 0.10


def noise(processes: Sequence[ProcessRecord]) -> NoiseVerdict:
    """Judges the counters that were read before and after each timed pass."""

    def total(name: str) -> float:
        return float(
            sum(
                reading.value
                for process in processes
                for reading in process.noise
                if reading.name == name and isinstance(reading.value, (int, float))
            )
        )

    wall_ns = total("wall_ns")
    causes = []
    if wall_ns:
        steal = total("steal_ns") / wall_ns
        if steal > STEAL_LIMIT:
            causes.append(f"the hypervisor took {steal:.1%} of a CPU's time (steal)")
        other = total("other_load_ns") / wall_ns
        if other > OTHER_LOAD_LIMIT:
            causes.append(f"other processes used {other:.0%} of a CPU meanwhile")
    throttled = total("cgroup_throttled_periods")
    if throttled:
        causes.append(f"the cgroup's CPU limit throttled {throttled:.0f} periods")
    return NoiseVerdict("disturbed" if causes else "quiet", tuple(causes))


def summary(profile: Profile) -> dict[str, Figure]:
    """The figures that are stored with a profile, by name with the unit as suffix."""
    if not profile.processes:
        return {}
    figures = latency(profile.processes)
    low, high = figures.interval_ns or (None, None)
    return {
        "latency_median_ns": Figure(figures.median_ns),
        "latency_mean_ns": Figure(figures.mean_ns),
        "latency_min_ns": Figure(float(figures.min_ns)),
        "latency_p90_ns": figures.p90_ns,
        "latency_p99_ns": figures.p99_ns,
        "latency_interval_low_ns": Figure(low, figures.interval_reason),
        "latency_interval_high_ns": Figure(high, figures.interval_reason),
        "latency_samples": Figure(float(figures.samples)),
        "latency_processes": Figure(float(figures.processes)),
        **cold_start(profile.processes),
    }
