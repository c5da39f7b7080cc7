"""Where the time of an inference goes: per-operator times, their accounts and their bounds."""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.analysis import bounds, gpu_work
from harness.analysis.gpu_work import NodeWork
from harness.records import NodeEvents, NodeTable, Profile
from harness.statistics.figures import Figure
from harness.statistics.intervals import t_interval

#: Passes that time operators, the truest first.
SOURCES = ("probe", "ort")

#: Part of the timed pass by which nodes + framework may miss it, and of the probed inference
#: that may stay unexplained, before operator times are called doubtful.
TRUSTED_RESIDUAL = 0.05

#: What a row of the table can be.
GROUPS = ("node", "op", "layer")


@dataclasses.dataclass(frozen=True, slots=True)
class Operator:
    """Time of a node, or of all nodes of an op type or a layer, in one inference.

    Attributes:
        node: name of the node or the layer; for an op type how many nodes it has, as text.
        op_type: operator type; for a layer how many nodes it has, as text.
        provider: execution provider.
        order: row of the node in the NodeTable; for a group that of its first node.
        median_ns: median over the traced inferences of its own time (without the nodes of
            its subgraphs), all executions in an inference together.
        interval_ns: 95 % confidence interval of a process's median, in the geometric mean of
            the processes. Each process has a calibration of its own, so the scatter of the
            probes' cost is in it, a systematic error of it is not. None with fewer than two
            processes, or where it took no time in one.
        total_ns: median with the nodes of its subgraphs.
        p10_ns, p90_ns: spread of its own time over the inferences.
        share: median_ns divided by the sum over all rows.
        calls: executions in an inference, on average.
        source: how the times were obtained, ``probe`` or ``ort``. On a GPU they are
            those of the host, which launches and does not wait.
        kernel_ns: what the GPU worked for it, kernels, copies and settings of memory; None
            where that was not recorded.
        launches: of them, in an inference; None likewise.
        profiled_ns: median that ORT's profiler gives for the same, beside the probe's; None
            where it has none.
        spans: names of further nodes whose time is in it: they carry no probe of their own.
        flops, traffic_bytes: of one inference; None where not known.
        peak_share, bandwidth_share: part of this machine's measured ceilings that it reached;
            None where the work is not known or the ceiling was not measured. A bandwidth above
            1 comes from caches.
        idle_ns: how long the GPU had nothing to do before its kernels; None as for kernel_ns.
        bound: ``compute-bound``, ``memory-bound``, ``overhead-bound`` or ``unknown``.
        why: the numbers that say so.
    """

    node: str
    op_type: str
    provider: str
    order: int
    median_ns: float
    interval_ns: tuple[float, float] | None
    total_ns: float
    p10_ns: float
    p90_ns: float
    share: float
    calls: float
    source: str
    kernel_ns: float | None
    launches: float | None
    idle_ns: float | None
    profiled_ns: float | None
    spans: tuple[str, ...]
    flops: float | None
    traffic_bytes: float | None
    peak_share: float | None
    bandwidth_share: float | None
    bound: str
    why: str


@dataclasses.dataclass(frozen=True, slots=True)
class Accounts:
    """Where a traced inference went.

    Means over the middle half of the traced inferences by duration, so that they add up:
    nodes + framework + tracer_cost + unexplained = traced.

    Attributes:
        nodes_ns: all nodes.
        framework_ns: what belongs to no node.
        tracer_cost_ns: what the probes cost by their calibration; None for ORT's profiler,
            whose cost is hidden in the nodes and the framework.
        unexplained_ns: what is left; None for ORT's profiler.
        traced_ns: the traced inference.
        clean_ns: median of the timed pass.
        residual: by how much nodes + framework exceed the timed pass of the same process,
            as a share of it, median over the processes; None where that cannot be told.
        own_probe_share: share of nodes_ns in nodes that have a probe of their own and share
            it with no other; None for ORT's profiler.
        dropped: events that the tracer dropped.
        doubt: why operator times should not be trusted; empty where nothing speaks against.
    """

    nodes_ns: float
    framework_ns: float
    tracer_cost_ns: float | None
    unexplained_ns: float | None
    traced_ns: float
    clean_ns: float
    residual: float | None
    own_probe_share: float | None
    dropped: int
    doubt: str


@dataclasses.dataclass(frozen=True, slots=True)
class OperatorTable:
    """Operators that ran, their accounts, and what stands behind them.

    Attributes:
        source: how the times were obtained, ``probe`` or ``ort``.
        resolution_ns: step of the clock that took them.
        inferences: traced inferences, over all processes.
        profiler_tax: by how much ORT's profiler lengthens an inference, as a share; None
            where it was not used.
        uncovered: names of nodes that ran before the first probe or behind the last: their
            time is framework time.
        known_work: share of the nodes' time in which the operations are known.
    """

    operators: tuple[Operator, ...]
    accounts: Accounts
    source: str
    resolution_ns: int
    inferences: int
    profiler_tax: float | None
    uncovered: tuple[str, ...]
    known_work: float


_SORTS: Mapping[str, Callable[[Operator], tuple[float | str, ...]]] = {
    "time": lambda row: (-row.median_ns, row.order),
    "total": lambda row: (-row.total_ns, row.order),
    "calls": lambda row: (-row.calls, row.order),
    "order": lambda row: (row.order,),
    "name": lambda row: (row.node, row.order),
}


def operator_table(
    profile: Profile,
    by: str = "node",
    sort: str = "time",
    source: str | None = None,
    depth: int = 0,
) -> OperatorTable | Figure:
    """Time of every node, op type or layer that ran.

    Args:
        profile: with a traced pass.
        by: what a row is, one of GROUPS.
        sort: ``time``, ``total``, ``calls``, ``order`` or ``name``.
        source: the pass to take, one of SOURCES; None for the truest there is.
        depth: components of a layer's name that are kept; 0 for all.

    Returns:
        The table, or a Figure with the reason why there is none.
    """
    times = OperatorTimes.of(profile, source)
    return times if isinstance(times, Figure) else times.table(by, sort, depth)


@dataclasses.dataclass(frozen=True)
class OperatorTimes:
    """A traced pass summed up, from which any table of operators is made.

    Attributes:
        profile: with the pass.
        nodes: the executed graph.
        source: the pass, one of SOURCES.
        cells: by inference and node.
    """

    profile: Profile
    nodes: NodeTable
    source: str
    cells: Cells

    @classmethod
    def of(cls, profile: Profile, source: str | None = None) -> OperatorTimes | Figure:
        """Sums a pass up, or says why that cannot be.

        Args:
            profile: with a traced pass.
            source: the pass to take, one of SOURCES; None for the truest there is.
        """
        name = source or next((one for one in SOURCES if one in profile.traces), "")
        events = profile.traces.get(name)
        if events is None or profile.nodes is None:
            return Figure(None, _why_absent(profile, (source,) if source else SOURCES))
        cells = Cells.of(len(profile.nodes), events)
        if not len(cells.own):
            return Figure(None, "the trace holds no whole inference")
        return cls(profile, profile.nodes, name, cells)

    @property
    def events(self) -> NodeEvents:
        """The executions of nodes."""
        return self.profile.traces[self.source]

    @functools.cached_property
    def accounts(self) -> Accounts:
        """Where a traced inference went."""
        return _accounts(self.profile, self.events, self.cells, self._spans)

    def table(self, by: str = "node", sort: str = "time", depth: int = 0) -> OperatorTable:
        """What ``operator_table`` gives."""
        nodes, cells, spans = self.nodes, self.cells, self._spans
        profiled = self._profiled if self.source == "probe" else None
        ceilings = _Ceilings.of(self.profile, self.events.source)
        work = self._work
        rows = [
            dataclasses.replace(
                _operator(
                    group, members, nodes, cells, profiled, spans, ceilings, self.events.source
                ),
                kernel_ns=None if work is None else float(work.kernel_ns[members].sum()),
                launches=None if work is None else float(work.launches[members].sum()),
                idle_ns=None if work is None else float(work.idle_ns[members].sum()),
            )
            for group, members in _groups(nodes, cells, by, depth).items()
        ]
        whole = sum(row.median_ns for row in rows) or 1.0
        rows = [dataclasses.replace(row, share=row.median_ns / whole) for row in rows]
        own_ns = cells.own.sum(axis=0)
        known_ns = sum(
            own_ns[row]
            for row in np.flatnonzero(own_ns).tolist()
            if _work(nodes.flops, [row], nodes, cells, spans) is not None
        )
        uncovered: list[int] = []
        if self.source == "probe":
            uncovered = np.flatnonzero((nodes.carrier < 0) & (nodes.order >= 0)).tolist()
        return OperatorTable(
            operators=tuple(sorted(rows, key=_SORTS[sort])),
            accounts=self.accounts,
            source=self.events.source,
            resolution_ns=self.events.resolution_ns,
            inferences=len(cells.own),
            profiler_tax=self._profiler_tax,
            uncovered=tuple(_label(nodes, row) for row in uncovered),
            known_work=float(known_ns / max(own_ns.sum(), 1)),
        )

    @functools.cached_property
    def _spans(self) -> Mapping[int, Sequence[int]]:
        return _spans(self.nodes) if self.source == "probe" else {}

    @functools.cached_property
    def _profiled(self) -> Cells | None:
        """What ORT's profiler tells of the same."""
        if self.source == "ort":
            return self.cells
        events = self.profile.traces.get("ort")
        return None if events is None else Cells.of(len(self.nodes), events)

    @functools.cached_property
    def _work(self) -> NodeWork | None:
        return gpu_work.node_work(self.profile.kernels, len(self.nodes))

    @functools.cached_property
    def _profiler_tax(self) -> float | None:
        cells = self._profiled
        if cells is None or not len(cells.own):
            return None
        return _accounts(self.profile, self.profile.traces["ort"], cells, {}).residual


_Table = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True, slots=True)
class Cells:
    """A traced pass by inference and node; only inferences that are there as a whole.

    Attributes:
        own, total: float64[inferences, nodes], ns.
        calls: int32[inferences, nodes], executions.
        process: int64[inferences], ProcessRecord.index.
        duration, framework: int64[inferences], ns.
        probes: float64[inferences], what the probes cost, ns.
    """

    own: _Table
    total: _Table
    calls: npt.NDArray[np.int32]
    process: npt.NDArray[np.int64]
    duration: npt.NDArray[np.int64]
    framework: npt.NDArray[np.int64]
    probes: npt.NDArray[np.float64]

    @classmethod
    def of(cls, node_count: int, events: NodeEvents) -> Cells:
        """Sums the events of so many nodes, some events at a time."""
        inferences = len(events.inference_number)
        shape = (inferences, node_count)
        own, total, calls = np.zeros(shape), np.zeros(shape), np.zeros(shape, np.int32)
        probes = np.zeros(inferences)
        # An event finds its (process, inference) pair in the inference table.
        span = int(events.inference_number.max(initial=0)) + 1
        known = events.inference_process.astype(np.int64) * span + events.inference_number
        order = np.argsort(known)
        known = known[order]
        for part in events.parts() if inferences else ():
            keys = part.process.astype(np.int64) * span + part.inference
            place = order[np.searchsorted(known, keys)]
            cell = place * node_count + part.node
            _add(own, cell, part.self_ns)
            _add(total, cell, part.duration_ns)
            _add(calls, cell, None)
            if "probe_cost_ns" in part.details:
                _add(probes, place, part.details["probe_cost_ns"])
        whole = events.inference_duration_ns >= 0
        if not whole.all():
            own, total, calls, probes = own[whole], total[whole], calls[whole], probes[whole]
        return cls(
            own=own,
            total=total,
            calls=calls,
            process=events.inference_process[whole].astype(np.int64),
            duration=events.inference_duration_ns[whole],
            framework=events.inference_framework_ns[whole],
            probes=probes,
        )

    def sums(self, members: Sequence[int]) -> tuple[_Table, _Table, npt.NDArray[np.int64]]:
        """(own time, total time, executions) of some nodes together, by inference."""
        return (
            self.own[:, members].sum(axis=1),
            self.total[:, members].sum(axis=1),
            self.calls[:, members].sum(axis=1),
        )


def _add(
    table: npt.NDArray[Any], cell: npt.NDArray[np.int64], values: npt.NDArray[np.int64] | None
) -> None:
    """Adds the values, or ones, to cells of a table, whose events come in the order of time.

    So the cells of some events lie near each other, and only these are gone through.
    """
    first = int(cell.min())
    sums = np.bincount(cell - first, values)
    flat = table.reshape(-1)[first : first + len(sums)]
    flat += sums.astype(table.dtype, copy=False)


def _groups(
    nodes: NodeTable, cells: Cells, by: str, depth: int
) -> dict[tuple[str, ...], list[int]]:
    """Rows that ran, by the label of the table's row: (node, op type, provider)."""
    ran = np.flatnonzero(cells.calls.any(axis=0)).tolist()
    groups: dict[tuple[str, ...], list[int]] = {}
    for row in ran:
        if by == "op":
            key: tuple[str, ...] = (nodes.op_type[row], nodes.provider[row])
        elif by == "layer":
            key = (layer(nodes.name[row], depth), nodes.provider[row])
        else:
            key = (str(row),)
        groups.setdefault(key, []).append(row)
    labelled: dict[tuple[str, ...], list[int]] = {}
    for key, members in groups.items():
        count = f"{len(members)} node{'s' if len(members) != 1 else ''}"
        if by == "op":
            label: tuple[str, ...] = (count, key[0], key[1])
        elif by == "layer":
            label = (key[0], count, key[1])
        else:
            row = members[0]
            label = (nodes.name[row], nodes.op_type[row], nodes.provider[row], key[0])
        labelled[label] = members
    return labelled


def layer(name: str, depth: int = 0) -> str:
    """The source layer that an exporter put before a node's name; at most depth components.

    Exporters write ``/encoder/layer.0/MatMul`` or ``encoder.layer.0/MatMul``: all up to the
    last slash is the layer, and slashes and dots part its components.
    """
    scope = name.strip("/").rpartition("/")[0]
    if depth > 0:
        parts = re.split(r"([/.])", scope)
        scope = "".join(parts[: 2 * depth - 1])
    return scope or "(no layer)"


def _spans(nodes: NodeTable) -> dict[int, list[int]]:
    """Rows of the nodes that share the probe of another, by the row of that one."""
    shared: dict[int, list[int]] = {}
    for row in np.flatnonzero((nodes.carrier >= 0) & (nodes.order >= 0)).tolist():
        carrier = int(nodes.carrier[row])
        if carrier != row:
            shared.setdefault(carrier, []).append(row)
    return shared


def _work(
    column: npt.NDArray[np.int64],
    members: Sequence[int],
    nodes: NodeTable,
    cells: Cells,
    spans: Mapping[int, Sequence[int]],
) -> float | None:
    """Operations or bytes of all that is in the time of some nodes, in one inference.

    Returns:
        None where one of them is not known, or how often it ran is not.
    """
    calls = cells.calls[:, members].mean(axis=0).tolist()
    work = 0.0
    for member, count in zip(members, calls, strict=True):
        for row in (member, *spans.get(member, ())):
            # Only in the same graph does a node run as often as the one that covers it.
            if column[row] < 0 or nodes.parent[row] != nodes.parent[member]:
                return None
            work += float(column[row]) * count
    return work


def _label(nodes: NodeTable, row: int) -> str:
    return nodes.name[row] or f"{nodes.op_type[row]} #{row}"


def _operator(
    label: tuple[str, ...],
    members: list[int],
    nodes: NodeTable,
    cells: Cells,
    profiled: Cells | None,
    spans: Mapping[int, Sequence[int]],
    ceilings: _Ceilings,
    source: str,
) -> Operator:
    own, total, calls = cells.sums(members)
    count = float(calls.mean())
    covered = [row for member in members for row in spans.get(member, ())]
    flops, traffic = (
        _work(column, members, nodes, cells, spans) for column in (nodes.flops, nodes.traffic_bytes)
    )
    kinds = {nodes.arithmetic[row] for row in members if nodes.arithmetic[row]}
    peak = ceilings.peaks.get(kinds.pop()) if len(kinds) == 1 else None
    median = float(np.median(own))
    bound, why = bounds.classify(
        -1 if flops is None else round(flops),
        -1 if traffic is None else round(traffic),
        median,
        peak,
        ceilings.bandwidth,
        None if ceilings.dispatch_ns is None else ceilings.dispatch_ns * count,
    )
    by_process = [np.median(own[cells.process == one]) for one in np.unique(cells.process)]
    return Operator(
        node=label[0],
        op_type=label[1],
        provider=label[2],
        order=members[0],
        median_ns=median,
        interval_ns=t_interval(np.array(by_process)),
        total_ns=float(np.median(total)),
        p10_ns=float(np.percentile(own, 10)),
        p90_ns=float(np.percentile(own, 90)),
        share=math.nan,
        calls=count,
        source=source,
        kernel_ns=None,
        launches=None,
        idle_ns=None,
        profiled_ns=None
        if profiled is None or not len(profiled.own)
        else float(np.median(profiled.sums([*members, *covered])[0])),
        spans=tuple(_label(nodes, row) for row in covered),
        flops=flops,
        traffic_bytes=traffic,
        peak_share=_share(flops, peak, median),
        bandwidth_share=_share(traffic, ceilings.bandwidth, median),
        bound=bound,
        why=why,
    )


@dataclasses.dataclass(frozen=True, slots=True)
class _Ceilings:
    """What this machine reached at most; None and no entry where it was not measured.

    Attributes:
        peaks: operations a second by element type.
        bandwidth: bytes a second.
        dispatch_ns: what the executor spends on a node that does nothing.
    """

    peaks: Mapping[str, float]
    bandwidth: float | None
    dispatch_ns: float | None

    @classmethod
    def of(cls, profile: Profile, source: str) -> _Ceilings:
        found = {
            reading.name.removeprefix("ceiling_"): float(reading.value)
            for reading in profile.environment
            if reading.name.startswith("ceiling_") and isinstance(reading.value, (int, float))
        }
        return cls(
            peaks={
                name.removeprefix("matmul_"): value
                for name, value in found.items()
                if name.startswith("matmul_")
            },
            bandwidth=max((found[one] for one in ("copy", "triad") if one in found), default=None),
            dispatch_ns=dispatch_ns(profile) if source == "probe" else None,
        )


def _share(amount: float | None, ceiling: float | None, time_ns: float) -> float | None:
    """Part of a ceiling that was reached."""
    if amount is None or ceiling is None or not time_ns:
        return None
    return amount / (time_ns * 1e-9) / ceiling


def _accounts(
    profile: Profile, events: NodeEvents, cells: Cells, spans: Mapping[int, Sequence[int]]
) -> Accounts:
    sums = cells.own.sum(axis=1)
    clean = {one.index: float(np.median(one.steady.duration_ns)) for one in profile.processes}
    exact = events.source == "probe"
    middle = np.zeros(len(sums), bool)
    residuals = []
    for process in np.unique(cells.process):
        mine = np.flatnonzero(cells.process == process)
        # Samples themselves, not values between them: of two, both are the middle.
        low = np.percentile(cells.duration[mine], 25, method="lower")
        high = np.percentile(cells.duration[mine], 75, method="higher")
        kept = mine[(cells.duration[mine] >= low) & (cells.duration[mine] <= high)]
        middle[kept] = True
        if clean.get(int(process)):
            told = (sums + cells.framework)[kept] if exact else cells.duration[kept]
            residuals.append(float(told.mean()) / clean[int(process)] - 1)
    nodes_ns, framework_ns, traced_ns, probes_ns = (
        float(values[middle].mean())
        for values in (sums, cells.framework, cells.duration, cells.probes)
    )
    residual = float(np.median(residuals)) if residuals else None
    tracer_cost_ns = unexplained_ns = None
    if exact:
        # One probe more is outside of all gaps: half before the first, half after the last.
        tracer_cost_ns = probes_ns + (dispatch_ns(profile) or 0.0)
        unexplained_ns = traced_ns - nodes_ns - framework_ns - tracer_cost_ns
    alone = np.setdiff1d(np.arange(cells.own.shape[1]), list(spans))
    return Accounts(
        nodes_ns=nodes_ns,
        framework_ns=framework_ns,
        tracer_cost_ns=tracer_cost_ns,
        unexplained_ns=unexplained_ns,
        traced_ns=traced_ns,
        clean_ns=float(np.median(list(clean.values()))),
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
    """What the executor spends on a node that does nothing: probes are such nodes."""
    calibration = profile.traces.get("probe_calibration")
    if calibration is None or not len(calibration):
        return None
    return float(np.median(calibration.self_ns))


def _why_absent(profile: Profile, passes: Sequence[str | None]) -> str:
    if not profile.processes:
        return "no process has finished"
    wanted = {"nodes", *(f"trace/{one}" for one in passes)}
    reasons = [why for what, why in profile.absent if what in wanted]
    return "; ".join(reasons) or "no traced pass was asked for"
