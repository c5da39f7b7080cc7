"""Time of every node, op type or layer in an inference, with its bounds."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from harness.analysis import bounds, gpu_work, precision
from harness.analysis.ceilings import Ceilings
from harness.analysis.device_bounds import held_back
from harness.analysis.device_time import DeviceAccounts, DeviceTime, NodeWork, device_time
from harness.analysis.operators.accounts import Accounts, accounts_of, dispatch_ns
from harness.analysis.operators.cells import Cells
from harness.analysis.operators.labels import label, node_label, node_layer, sources
from harness.analysis.operators.split import TRUSTED_MISS, Split, split_of
from harness.analysis.working_set import Served, WorkingSet
from harness.ort import providers
from harness.records import NodeEvents, NodeTable, Profile
from harness.statistics.figures import Figure
from harness.statistics.intervals import t_interval, typical

#: Passes that time operators, the most accurate first.
SOURCES = ("probe", "ort")

#: ONNX Runtime's name of the provider that runs nodes on the CPU.
_HOST_PROVIDER = providers.by_name(providers.HOST).ort_name

#: What a row of the table can be.
GROUPS = ("node", "op", "layer")


@dataclasses.dataclass(frozen=True, slots=True)
class Operator:
    """Time of a node, or of all nodes of an op type or a layer, in one inference.

    Attributes:
        node: ONNX Runtime's name for the node, ``Add #4`` if it has none; for a layer its name;
            for an op type its number of nodes, as text.
        op_type: operator type; for a layer its number of nodes, as text.
        provider: execution provider.
        order: row of the node in the NodeTable; for a group that of its first node.
        median_ns: its own time (without the nodes of its subgraphs) in a traced inference, all
            executions together: geometric mean over the processes of each one's median
            (arithmetic mean if it took no time in one).
        interval_ns: 95 % confidence interval of exactly that. Each process calibrates anew, so
            the interval includes scatter of the probes' cost, but not a systematic error in it.
            None with fewer than two processes, or if it took no time in one.
        total_ns: likewise with the nodes of its subgraphs; a node nested in another of the same
            group counts once.
        p10_ns, p90_ns: spread of its own time over the inferences.
        share: median_ns divided by the sum over all rows.
        calls: executions per inference, on average.
        source: how the times were obtained, ``probe`` or ``ort``. On a GPU they are host times:
            the host launches the work and does not wait for it.
        kernel_ns: time of its work on the GPU: kernels, copies and memsets; None if that was
            not recorded.
        launches: number of these per inference; None likewise.
        profiled_ns: ORT's profiler's median for the same, next to the probe's; None if it has
            none.
        spans: names of further nodes whose time is included: they have no probe of their own.
        flops, traffic_bytes: of one inference; None if not known.
        peak_share, bandwidth_share: share of the measured ceilings of what does its work that it
            reached: of the host's in its own time, of a device's in that of its kernels. None if
            the work is not known or the ceiling was not measured. The bandwidth is that of the
            furthest level that its data may come from (``why`` names it).
        idle_ns: how long the GPU was idle before its work, waiting for it to be launched; None
            unless a pass recorded the device's times alone.
        idle_doubt: why that should not be trusted, as the accounts of the device should not;
            empty if there is no reason.
        bound: ``compute-bound``, ``memory-bound``, ``overhead-bound`` or ``unknown``; where the
            work of a GPU was recorded also ``launch-bound``, ``small``, ``copy`` or ``host``.
        why: the numbers behind that.
        sources: nodes of the user's file that the node was made of, the main one first; empty
            if that is not known, and for an op type or a layer.
        split_miss: share by which its time misses a direct measurement. Of a node: of the stretch
            between every second probe that contains it and misses most (its neighbour is in it,
            too). Of a group: what the doubtful stretches in it miss. None if not measured.
        doubt: what that means, in a clause, if it is more than noise and more than is trusted;
            else the doubt of the accounts as a whole, empty where there is none.
        work_ns: what ``flops`` and ``traffic_bytes`` took: its own time, on a device that of its
            kernels; None if these were not recorded.
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
    sources: tuple[str, ...] = ()
    split_miss: float | None = None
    doubt: str = ""
    work_ns: float | None = None
    idle_doubt: str = ""

    @property
    def called(self) -> str:
        """Its main source; its name if that is not known; without one, its op type."""
        return label(self.node, self.op_type, self.order, self.sources)

    @property
    def label(self) -> str:
        """What it is called, and after ``+`` the nodes whose time it includes."""
        return " + ".join((self.called, ", ".join(self.spans))) if self.spans else self.called

    @property
    def name_in_ort(self) -> str:
        """ONNX Runtime's name for a node, if it differs from its sources' names; else empty."""
        unnamed = label("", self.op_type, self.order)
        return self.node if self.sources and self.node not in (*self.sources, unnamed) else ""


@dataclasses.dataclass(frozen=True, slots=True)
class OperatorTable:
    """Operators that ran, their accounts, and how they were measured.

    Attributes:
        source: how the times were obtained, ``probe`` or ``ort``.
        resolution_ns: step of the clock that took them.
        inferences: traced inferences, over all processes.
        processes: processes that traced them; others of the profile may have made no traced pass.
        profiler_tax: share by which ORT's profiler lengthens an inference; None if it was not
            used.
        uncovered: names of nodes that ran before the first probe or after the last: their time
            counts as framework time.
        known_work: share of the nodes' time spent in nodes whose operations are known.
        ceilings_absent: why ceilings of this machine are missing, each reason once.
        device_time: where the time of an inference goes on the device, and the part of each node;
            a Figure with the reason if that is not known.
    """

    operators: tuple[Operator, ...]
    accounts: Accounts
    source: str
    resolution_ns: int
    inferences: int
    processes: int
    profiler_tax: float | None
    uncovered: tuple[str, ...]
    known_work: float
    ceilings_absent: tuple[str, ...]
    device_time: DeviceTime | Figure

    @property
    def device(self) -> DeviceAccounts | Figure:
        """Where the time of an inference goes on the device; a Figure if that is not known."""
        told = self.device_time
        return told if isinstance(told, Figure) else told.accounts


class _HeldBack(NamedTuple):
    """What an Operator tells of its bounds, under the same names."""

    flops: float | None
    traffic_bytes: float | None
    peak_share: float | None
    bandwidth_share: float | None
    bound: str
    why: str
    work_ns: float | None = None


_SORTS: Mapping[str, Callable[[Operator], tuple[float | str, ...]]] = {
    "time": lambda row: (-row.median_ns, row.order),
    "total": lambda row: (-row.total_ns, row.order),
    "calls": lambda row: (-row.calls, row.order),
    "gpu": lambda row: (-(row.kernel_ns or 0.0), row.order),
    "idle": lambda row: (-(row.idle_ns or 0.0), row.order),
    "order": lambda row: (row.order,),
    "name": lambda row: (row.label, row.order),
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
        sort: ``time``, ``total``, ``calls``, ``gpu``, ``idle``, ``order`` or ``name``.
        source: the pass to take, one of SOURCES; None for the most accurate one.
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
        """Sums up a pass, or says why it cannot.

        Args:
            profile: with a traced pass.
            source: the pass to take, one of SOURCES; None for the most accurate one.
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
        """Where the time of a traced inference went."""
        return accounts_of(self.profile, self.events, self.cells, self._spans, self._split)

    def table(self, by: str = "node", sort: str = "time", depth: int = 0) -> OperatorTable:
        """What ``operator_table`` returns."""
        nodes, cells = self.nodes, self.cells
        rows = [
            self._operator(group, members, by)
            for group, members in _groups(nodes, cells, by, depth).items()
        ]
        whole = sum(row.median_ns for row in rows) or 1.0
        rows = [dataclasses.replace(row, share=row.median_ns / whole) for row in rows]
        own_ns = cells.own.sum(axis=0)
        known_ns = sum(
            own_ns[row]
            for row in np.flatnonzero(own_ns).tolist()
            if self._work(nodes.flops, [row]) is not None
        )
        uncovered: list[int] = []
        if self.source == "probe":
            uncovered = np.flatnonzero((nodes.carrier < 0) & (nodes.order >= 0)).tolist()
        return OperatorTable(
            operators=tuple(sorted(rows, key=_SORTS[sort])),
            accounts=self.accounts,
            source=self.source,
            resolution_ns=self.events.resolution_ns,
            inferences=len(cells.own),
            processes=len(np.unique(cells.process)),
            profiler_tax=self._profiler_tax,
            uncovered=tuple(node_label(nodes, row) for row in uncovered),
            known_work=float(known_ns / max(own_ns.sum(), 1)),
            ceilings_absent=self._missing(rows),
            device_time=self._device_time,
        )

    def _missing(self, rows: Sequence[Operator]) -> tuple[str, ...]:
        """Why ceilings are missing of what did the rows' work, each reason once."""
        reasons: list[str] = []
        for launched in sorted({self._on_device(row.order) for row in rows}, reverse=True):
            reasons += (self._device_ceilings if launched else self._ceilings).reasons
        return tuple(dict.fromkeys(reasons))

    def _operator(self, group: tuple[str, ...], members: list[int], by: str) -> Operator:
        """A row of the table; its share is filled in once all rows are known."""
        nodes, cells, work = self.nodes, self.cells, self._gpu_work
        own, total, calls = cells.sums(members, self._outermost(members))
        count = float(calls.mean())
        covered = [row for member in members for row in self._spans.get(member, ())]
        timed = [*members, *covered]
        by_process = cells.medians_ns(own)
        median = typical(by_process)
        held = self._held_back(members, median, count)
        # Times from ORT's profiler have no second figure to stand next to them.
        profiled = self._profiled if self.source == "probe" else None
        other = None
        if self._judged_work is not None:
            on_host = nodes.provider[members[0]] == _HOST_PROVIDER
            other = held_back(self._judged_work, timed, on_host=on_host, bound=held.bound)
        split_miss, doubt = self._checked(members, by)
        return Operator(
            node=group[0],
            op_type=group[1],
            provider=group[2],
            order=members[0],
            median_ns=median,
            interval_ns=t_interval(by_process),
            total_ns=typical(cells.medians_ns(total)),
            p10_ns=float(np.percentile(own, 10)),
            p90_ns=float(np.percentile(own, 90)),
            share=math.nan,
            calls=count,
            source=self.source,
            kernel_ns=None if work is None else float(work.kernel_ns[timed].sum()),
            launches=None if work is None else float(work.launches[timed].sum()),
            idle_ns=None
            if work is None or work.idle_ns is None
            else float(work.idle_ns[timed].sum()),
            profiled_ns=None
            if profiled is None or not len(profiled.own)
            else typical(profiled.medians_ns(profiled.own_ns(timed))),
            spans=tuple(node_label(nodes, row) for row in covered),
            flops=held.flops,
            traffic_bytes=held.traffic_bytes,
            peak_share=held.peak_share,
            bandwidth_share=held.bandwidth_share,
            bound=held.bound if other is None else other[0],
            why=held.why if other is None else other[1],
            sources=sources(nodes, members[0]) if by == "node" else (),
            split_miss=split_miss,
            doubt=doubt,
            work_ns=held.work_ns,
            idle_doubt="" if work is None or work.idle_ns is None else self._idle_doubt,
        )

    def _held_back(self, members: list[int], median_ns: float, count: float) -> _HeldBack:
        """What holds a row of the table back.

        On the host its own time stands against the host's ceilings; on a device that of its
        kernels against the device's, because the host only launches them.

        Args:
            members: rows of its nodes, all of one provider.
            median_ns: its own time in an inference.
            count: executions in an inference.
        """
        flops = self._work(self.nodes.flops, members)
        traffic = self._work(self.nodes.traffic_bytes, members)
        launched = self._on_device(members[0])
        ceilings = self._device_ceilings if launched else self._ceilings
        time_ns, dispatch_ns = median_ns, self._dispatch_ns
        if launched:
            if self._gpu_work is None:
                why = "the times of its kernels were not recorded, and the host only launches them"
                return _HeldBack(flops, traffic, None, None, "unknown", why)
            kernels = self.profile.kernels
            if kernels is not None and kernels.dropped:
                why = f"{kernels.dropped} records of kernels were lost, perhaps of its own"
                return _HeldBack(flops, traffic, None, None, "unknown", why)
            timed = [row for one in members for row in (one, *self._spans.get(one, ()))]
            time_ns, dispatch_ns = float(self._gpu_work.kernel_ns[timed].sum()), None
            if not time_ns > 0:
                return _HeldBack(flops, traffic, None, None, "unknown", "it launched no kernel")
        served = None
        if traffic is not None:
            served = self._served(members, self._device_set if launched else self._working_set)
        kinds = {
            self._kinds[row] if launched else self.nodes.arithmetic[row]
            for row in members
            if ceilings.peaks and self.nodes.arithmetic[row]  # else all names would be read
        }
        peak = ceilings.peaks.get(kinds.pop()) if len(kinds) == 1 else None
        bound, why = bounds.classify(
            -1 if flops is None else round(flops),
            served,
            time_ns,
            peak,
            ceilings.levels,
            None if dispatch_ns is None else dispatch_ns * count,
            launched=launched,
        )
        if launched:
            short = time_ns < 1e6
            took = f"{time_ns / 1e3:.3g} µs" if short else f"{time_ns / 1e6:.3g} ms"
            why = f"kernels of {took}: {why}"
        memory = bounds.memory_share(served, time_ns, ceilings.levels)
        return _HeldBack(
            flops,
            traffic,
            _share(flops, peak, time_ns),
            None if memory is None else memory.far,
            bound,
            why,
            time_ns,
        )

    def _on_device(self, row: int) -> bool:
        """Whether a node's work is done by a device. A provider that nobody knows may be one's."""
        name = self.nodes.provider[row]
        if name:
            return providers.on_device(name)
        asked = providers.known(self.profile.provider)
        return asked is None or asked.on_device

    def _checked(self, members: list[int], by: str) -> tuple[float | None, str]:
        """(split_miss, doubt) of a row of the table."""
        split = self._split
        # What the accounts miss is missed in no row more than in another.
        whole = self.accounts.doubt if self.accounts.residual is not None else ""
        if split is None:
            return None, whole if self.source == "probe" else ""
        if by == "node":
            missed = split.missed(members[0])
            doubt = split.doubt(members[0], self.nodes) or whole
            return None if missed is None else missed.miss, doubt
        own_ns = {row: typical(self.cells.medians_ns(self.cells.own[:, row])) for row in members}
        missed_ns, whole_ns = split.missed_ns(own_ns), sum(own_ns.values())
        miss = missed_ns / max(whole_ns - missed_ns, 1.0)
        if abs(miss) <= TRUSTED_MISS:
            return miss, whole
        return miss, f"doubtful nodes in it miss direct measurements by {missed_ns:+,.0f} ns"

    def _work(self, column: npt.NDArray[np.int64], members: Sequence[int]) -> float | None:
        """Operations or bytes of all work included in the time of some nodes, in one inference.

        Returns:
            None if any of them is unknown, or how often it ran.
        """
        work = 0.0
        for member in members:
            count = float(self._calls[member])
            for row in (member, *self._spans.get(member, ())):
                # Only in the same graph does a node run as often as the one that covers it.
                if column[row] < 0 or self.nodes.parent[row] != self.nodes.parent[member]:
                    return None
                work += float(column[row]) * count
        return work

    def _served(self, members: Sequence[int], working_set: WorkingSet) -> Served:
        """What serves the data of all that is in the time of some nodes, in one inference."""
        return working_set.served(
            {
                row: float(self._calls[member])
                for member in members
                for row in (member, *self._spans.get(member, ()))
            }
        )

    def _outermost(self, members: Sequence[int]) -> list[int]:
        """Those of some nodes whose time is not part of another's among them.

        The time of a control-flow node without a probe of its own is part of its carrier's.
        """
        nodes, among = self.nodes, set(members)
        outermost = []
        for row in members:
            around = int(nodes.parent[row])
            while around >= 0 and not among & {around, self._timed_by(around)}:
                around = int(nodes.parent[around])
            if around < 0:
                outermost.append(row)
        return outermost

    def _timed_by(self, row: int) -> int:
        """Row of the node whose time includes this one's."""
        return int(self.nodes.carrier[row]) if self.source == "probe" else row

    @functools.cached_property
    def _ceilings(self) -> Ceilings:
        return Ceilings.of(self.profile)

    @functools.cached_property
    def _device_ceilings(self) -> Ceilings:
        return Ceilings.of_device(self.profile)

    @functools.cached_property
    def _kinds(self) -> Sequence[str]:
        """The type in which each node on a device computes; empty where that is not known."""
        tf32 = precision.allows_tf32(self.profile)
        return precision.of_nodes(self.nodes, self.profile.kernels, tf32=tf32)

    @functools.cached_property
    def _calls(self) -> npt.NDArray[np.float64]:
        """Executions of each node in an inference, those of a node without a probe included."""
        calls = np.asarray(self.cells.calls.mean(axis=0), float)
        for carrier, rows in self._spans.items():
            calls[rows] = calls[carrier]
        return calls

    @functools.cached_property
    def _working_set(self) -> WorkingSet:
        return WorkingSet.of(self.nodes, self._calls, self._ceilings.levels)

    @functools.cached_property
    def _device_set(self) -> WorkingSet:
        return WorkingSet.of(self.nodes, self._calls, self._device_ceilings.levels)

    @functools.cached_property
    def _dispatch_ns(self) -> float | None:
        """Cost of a node that does nothing, if it is measured in the same way as the times."""
        return dispatch_ns(self.profile) if self.source == "probe" else None

    @functools.cached_property
    def _spans(self) -> Mapping[int, Sequence[int]]:
        return _spans(self.nodes) if self.source == "probe" else {}

    @functools.cached_property
    def _split(self) -> Split | None:
        return split_of(self.profile) if self.source == "probe" else None

    @functools.cached_property
    def _profiled(self) -> Cells | None:
        """The same, from ORT's profiler."""
        if self.source == "ort":
            return self.cells
        events = self.profile.traces.get("ort")
        return None if events is None else Cells.of(len(self.nodes), events)

    @functools.cached_property
    def _device_time(self) -> DeviceTime | Figure:
        return device_time(self.profile)

    @functools.cached_property
    def _gpu_work(self) -> NodeWork | None:
        return gpu_work.node_work(self.profile, self._device_time)

    @property
    def _idle_doubt(self) -> str:
        """Why the device's idle times should not be trusted; empty if there is no reason."""
        told = self._device_time
        return "" if isinstance(told, Figure) else told.accounts.doubt

    @functools.cached_property
    def _judged_work(self) -> NodeWork | None:
        """The same to judge nodes by: without idle times that are doubtful themselves."""
        work = self._gpu_work
        if work is None or not self._idle_doubt:
            return work
        return dataclasses.replace(work, idle_ns=None)

    @functools.cached_property
    def _profiler_tax(self) -> float | None:
        cells = self._profiled
        if cells is None or not len(cells.own):
            return None
        return accounts_of(self.profile, self.profile.traces["ort"], cells, {}, None).residual


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
            key = (node_layer(nodes, row, depth), nodes.provider[row])
        else:
            key = (str(row),)
        groups.setdefault(key, []).append(row)
    labelled: dict[tuple[str, ...], list[int]] = {}
    for key, members in groups.items():
        count = f"{len(members)} node{'s' if len(members) != 1 else ''}"
        if by == "op":
            told: tuple[str, ...] = (count, key[0], key[1])
        elif by == "layer":
            told = (key[0], count, key[1])
        else:
            row = members[0]
            name = label(nodes.name[row], nodes.op_type[row], row)
            told = (name, nodes.op_type[row], nodes.provider[row], key[0])
        labelled[told] = members
    return labelled


def _spans(nodes: NodeTable) -> dict[int, list[int]]:
    """Rows of the nodes that share another node's probe, by the row of that node."""
    shared: dict[int, list[int]] = {}
    for row in np.flatnonzero((nodes.carrier >= 0) & (nodes.order >= 0)).tolist():
        carrier = int(nodes.carrier[row])
        if carrier != row:
            shared.setdefault(carrier, []).append(row)
    return shared


def _share(amount: float | None, ceiling: float | None, time_ns: float) -> float | None:
    """Share of a ceiling that was reached."""
    if amount is None or ceiling is None or not time_ns:
        return None
    return amount / (time_ns * 1e-9) / ceiling


def _why_absent(profile: Profile, passes: Sequence[str | None]) -> str:
    if not profile.processes:
        return "no process has finished"
    wanted = {"nodes", *(f"trace/{one}" for one in passes)}
    reasons = [why for what, why in profile.absent if what in wanted]
    if reasons or not profile.traces:
        return "; ".join(reasons) or "no traced pass was asked for"
    return f"this profile has no such pass ({', '.join(filter(None, passes))}): see `trace`"
