"""How much of the device's ceilings each kernel reaches, by the work of the nodes that launch it.

What a node must compute and move is known, of a kernel it is not. Where a node launches one kernel,
that one does the node's work. Where it launches several, operations count for those whose names
tell the narrower type that the node computes in (the others convert and rearrange), or else for all
by their time; bytes for all by their time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from harness.analysis import precision
from harness.analysis.ceilings import Ceilings
from harness.analysis.gpu_work import Kernel, KernelTable, kernel_table
from harness.analysis.operators.table import Operator, OperatorTable, operator_table
from harness.records import KernelEvents, NodeTable, Profile
from harness.statistics.figures import Figure

#: What a kernel's share of a ceiling is by: it alone does the work of its nodes, or it is a part.
OWN, PART = "own", "part"


def judged_kernels(
    profile: Profile, operators: OperatorTable | Figure | None = None
) -> KernelTable | Figure:
    """The kernels of a profile with their shares of the device's ceilings, or why there are none.

    Args:
        profile: with kernels.
        operators: its table by node; None to calculate it.
    """
    if profile.kernels is None:
        return kernel_table(profile)
    found = operator_table(profile) if operators is None else operators
    table = kernel_table(profile, None if isinstance(found, Figure) else found.device_time)
    if isinstance(table, Figure):
        return table
    nodes, kernels = profile.nodes, profile.kernels
    if isinstance(found, Figure):
        return _unjudged(table, found.reason)
    if nodes is None or kernels is None:
        return _unjudged(table, "the executed graph is not known")
    ceilings = Ceilings.of_device(profile)
    if not ceilings.peaks and not ceilings.measured_levels:
        return _unjudged(table, "; ".join(ceilings.reasons))
    if kernels.dropped:
        return _unjudged(table, f"{kernels.dropped} records of kernels were lost")
    judge = _Judge.of(profile, found, nodes, kernels)
    rows = tuple(judge.judged(row) if row.kind == "kernel" else row for row in table.kernels)
    return dataclasses.replace(table, kernels=rows)


def _unjudged(table: KernelTable, reason: str) -> KernelTable:
    rows = tuple(
        dataclasses.replace(row, ceilings_reason=reason) if row.kind == "kernel" else row
        for row in table.kernels
    )
    return dataclasses.replace(table, kernels=rows)


class _Work(NamedTuple):
    """What a row of operators does, and the kernels that do it.

    Attributes:
        compute_ns, memory_ns: how long its operations and bytes take at the ceilings; None where
            that is not known.
        kind: the narrower type that all its nodes compute in; empty if there is none.
        taken_ns: time of its kernels, by name, summed over the traced inferences.
    """

    compute_ns: float | None
    memory_ns: float | None
    kind: str
    taken_ns: Mapping[str, float]


@dataclasses.dataclass(frozen=True, slots=True)
class _Judge:
    """Divides the work of operators among their kernels.

    Attributes:
        works: by the row of the node that times it.
        launched_by: those rows, by name of the kernel; -1 where it belongs to none.
        inferences: that were traced.
    """

    works: Mapping[int, _Work]
    launched_by: Mapping[str, set[int]]
    inferences: int

    @classmethod
    def of(
        cls, profile: Profile, found: OperatorTable, nodes: NodeTable, kernels: KernelEvents
    ) -> _Judge:
        # A node without a probe of its own is in the row of the one that carries it.
        timed_by = nodes.carrier if found.source == "probe" else np.arange(len(nodes))
        inside = np.flatnonzero(kernels.inference >= 0).tolist()
        node, took_ns = kernels.node.tolist(), kernels.duration_ns.tolist()
        taken_ns: dict[int, dict[str, float]] = {}
        launched_by: dict[str, set[int]] = {}
        members: dict[int, set[int]] = {}
        for one in inside:
            if kernels.kind[one] != "kernel":
                continue
            name = kernels.name[one]
            row = int(timed_by[node[one]]) if 0 <= node[one] < len(nodes) else -1
            launched_by.setdefault(name, set()).add(row)
            of_row = taken_ns.setdefault(row, {})
            of_row[name] = of_row.get(name, 0.0) + took_ns[one]
            members.setdefault(row, set()).add(node[one])
        kinds = precision.of_nodes(nodes, kernels, tf32=precision.allows_tf32(profile))
        operators = {row.order: row for row in found.operators}
        works = {
            row: _work(operators[row], [kinds[member] for member in members[row]], of_row)
            for row, of_row in taken_ns.items()
            if row in operators
        }
        count = len(
            np.unique(np.column_stack([kernels.process, kernels.inference])[inside], axis=0)
        )
        return cls(works, launched_by, count)

    def judged(self, kernel: Kernel) -> Kernel:
        """The same with its shares, or with the reason why there are none."""
        rows = self.launched_by.get(kernel.name, set())
        works = [self.works[row] for row in rows if row in self.works]
        if not works or len(works) < len(rows):
            reason = "some of it belongs to no node whose work is known"
            return dataclasses.replace(kernel, ceilings_reason=reason)
        taken_ns = sum(work.taken_ns[kernel.name] for work in works)
        peak = self._share([_computes(work, kernel.name) for work in works], taken_ns)
        bandwidth = self._share([_moves(work, kernel.name) for work in works], taken_ns)
        reason = ""
        if peak is None and bandwidth is None:
            reason = "what its nodes must do is not known, or the ceiling for it was not measured"
        alone = all(len(work.taken_ns) == 1 for work in works)
        return dataclasses.replace(
            kernel,
            peak_share=peak,
            bandwidth_share=bandwidth,
            work="" if reason else OWN if alone else PART,
            ceilings_reason=reason,
        )

    def _share(self, least_ns: Sequence[float | None], taken_ns: float) -> float | None:
        known = [one for one in least_ns if one is not None]
        if len(known) < len(least_ns) or not taken_ns > 0:
            return None
        return sum(known) * self.inferences / taken_ns


def _work(row: Operator, kinds: Sequence[str], taken_ns: Mapping[str, float]) -> _Work:
    def least(share: float | None) -> float | None:
        return None if share is None or row.work_ns is None else share * row.work_ns

    same = set(kinds)
    kind = same.pop() if len(same) == 1 else ""
    kind = kind if kind in precision.REDUCED else ""
    return _Work(least(row.peak_share), least(row.bandwidth_share), kind, taken_ns)


def _computes(work: _Work, name: str) -> float | None:
    """How long the operations that a kernel does take at the ceiling; None if not known."""
    told = {one for one in work.taken_ns if work.kind and precision.of_kernel(one) == work.kind}
    if told and name not in told:
        return None
    return _part(work.compute_ns, work.taken_ns, name, told or set(work.taken_ns))


def _moves(work: _Work, name: str) -> float | None:
    """Likewise for the bytes."""
    return _part(work.memory_ns, work.taken_ns, name, set(work.taken_ns))


def _part(
    least_ns: float | None, taken_ns: Mapping[str, float], name: str, among: set[str]
) -> float | None:
    """The kernel's part of what some kernels do, by their time."""
    if least_ns is None:
        return None
    whole_ns = sum(taken_ns[one] for one in among)
    return least_ns * taken_ns[name] / whole_ns if whole_ns > 0 else None
