"""GPU work in an inference: by kernel, and by the node that launched it."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from harness.analysis.device_time import (
    DeviceTime,
    NodeWork,
    copies,
    device_time,
)
from harness.analysis.occupancy import capacity, too_few
from harness.analysis.operators.labels import node_label
from harness.records import KernelEvents, NodeTable, Profile, RepeatedTexts
from harness.statistics.figures import Figure, Float64Array


@dataclasses.dataclass(frozen=True, slots=True)
class Kernel:
    """All GPU work under one name in one inference.

    Attributes:
        name: of the kernel function; for a copy its direction.
        kind: ``kernel``, ``memcpy`` or ``memset``.
        median_ns: its durations summed, median over the traced inferences.
        share: median_ns divided by the sum over all rows.
        calls: per inference, on average.
        nodes: names of the nodes that launch it, in the order of the executed graph.
        unjoined: share of its calls that could not be joined to a node.
        peak_share, bandwidth_share: share of the device's ceilings that it reaches; None if not
            known, and here always: ``kernel_ceilings`` judges it by the work of its nodes.
        work: whose work that is by: ``own``, it is the only kernel of its nodes; ``part``, the
            nodes launch others besides; empty without shares.
        ceilings_reason: why there are no shares; empty otherwise, and for copies.
    """

    name: str
    kind: str
    median_ns: float
    share: float
    calls: float
    nodes: tuple[str, ...]
    unjoined: float
    peak_share: float | None = None
    bandwidth_share: float | None = None
    work: str = ""
    ceilings_reason: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class KernelTable:
    """Kernels, longest first, and how long the GPU was busy and idle.

    Attributes:
        busy_ns: time in which any of them ran, mean over the inferences.
        idle_ns: time between them, from the start of the first to the end of the last, mean
            over the inferences; None unless a pass recorded the device's times alone, and where
            there is reason to doubt these.
        idle_reason: why it is None; empty otherwise.
        joined: share of the work, by time, that is joined to a node.
        unjoined_reason: why not all of it is.
        disagreements: launches outside the interval of the node that they were joined to.
        dropped: records that were lost.
    """

    kernels: tuple[Kernel, ...]
    inferences: int
    busy_ns: float
    idle_ns: float | None
    idle_reason: str
    joined: float
    unjoined_reason: str
    disagreements: int
    dropped: int


class Occupation(NamedTuple):
    """How busy the GPU is in an inference; means over the traced inferences.

    Attributes:
        launches: kernels, copies and memsets.
        busy_ns: time in which any of them runs.
    """

    launches: float
    busy_ns: float


def kernel_table(
    profile: Profile, device: DeviceTime | Figure | None = None
) -> KernelTable | Figure:
    """The kernels of a profile, or why there are none.

    Args:
        profile: with the pass that recorded them.
        device: its ``device_time``, where that was worked out already; so of the other functions.
    """
    kernels = profile.kernels
    if kernels is None:
        reasons = [why for what, why in profile.absent if what == "trace/kernels"]
        none = f"the provider is {profile.provider}, which uses no GPU"
        return Figure(None, "; ".join(reasons) or none)
    inference, count = _inferences(kernels)
    if not count:
        return Figure(None, "no GPU work falls within a traced inference")
    within = inference >= 0
    kinds, names = RepeatedTexts.of(kernels.kind), RepeatedTexts.of(kernels.name)
    pairs = kinds.row.astype(np.int64) * len(names.distinct) + names.row
    _, first, which = np.unique(pairs, return_index=True, return_inverse=True)
    rows = []
    for at, mine in zip(first.tolist(), _grouped(which, len(first)), strict=True):
        kind, name = kinds[at], names[at]
        mine = mine[within[mine]]
        if not len(mine):
            continue
        sums = np.bincount(inference[mine], kernels.duration_ns[mine], count)
        rows.append(
            Kernel(
                name=name,
                kind=kind,
                median_ns=float(np.median(sums)),
                share=0.0,
                calls=len(mine) / count,
                nodes=_names(profile.nodes, kernels.node[mine]),
                unjoined=float(np.mean(kernels.node[mine] < 0)),
            )
        )
    whole = sum(row.median_ns for row in rows) or 1.0
    rows = [dataclasses.replace(row, share=row.median_ns / whole) for row in rows]
    device = device or device_time(profile)
    idle_ns, idle_reason = None, ""
    if isinstance(device, Figure):
        busy_ns, idle_reason = _occupation(kernels, inference, count).busy_ns, device.reason
    else:
        busy_ns, idle_reason = device.accounts.busy_ns, device.accounts.doubt
        # A figure without its doubt beside it would pass for certain.
        idle_ns = None if idle_reason else device.accounts.idle_ns
    duration_ns = kernels.duration_ns[within]
    return KernelTable(
        kernels=tuple(sorted(rows, key=lambda row: -row.median_ns)),
        inferences=count,
        busy_ns=busy_ns,
        idle_ns=idle_ns,
        idle_reason=idle_reason,
        joined=float(duration_ns[kernels.node[within] >= 0].sum() / max(duration_ns.sum(), 1)),
        unjoined_reason=kernels.unjoined_reason,
        disagreements=kernels.disagreements,
        dropped=kernels.dropped,
    )


def occupation(profile: Profile, device: DeviceTime | Figure | None = None) -> Occupation | None:
    """How busy the GPU is in an inference; None if that was not recorded."""
    device = device or device_time(profile)
    if isinstance(device, DeviceTime):
        return Occupation(device.accounts.launches, device.accounts.busy_ns)
    if profile.kernels is None or profile.kernels.dropped:
        return None
    inference, count = _inferences(profile.kernels)
    return _occupation(profile.kernels, inference, count) if count else None


def node_work(profile: Profile, device: DeviceTime | Figure | None = None) -> NodeWork | None:
    """GPU work of each node in an inference; None if it was not recorded."""
    device = device or device_time(profile)
    if isinstance(device, DeviceTime):
        return device.nodes
    kernels, rows = profile.kernels, 0 if profile.nodes is None else len(profile.nodes)
    if kernels is None:
        return None
    inference, count = _inferences(kernels)
    counted = (inference >= 0) & (kernels.node >= 0) & (kernels.node < rows)
    node, work_ns = kernels.node[counted], kernels.duration_ns[counted]
    size = capacity(profile)

    def mean(weights: npt.NDArray[Any] | None) -> Float64Array:
        return np.bincount(node, weights, rows) / max(count, 1)

    return NodeWork(
        kernel_ns=mean(work_ns),
        launches=mean(None),
        copies=mean(copies(kernels.kind)[counted]),
        small_ns=None
        if size is None
        else mean(np.where(too_few(kernels, size)[counted], work_ns, 0)),
        idle_ns=None,
    )


def _inferences(kernels: KernelEvents) -> tuple[npt.NDArray[np.int64], int]:
    """(inference of each piece of work, numbered over all processes, -1 outside; their count)."""
    span = int(kernels.inference.max(initial=-1)) + 1
    key = kernels.process.astype(np.int64) * max(span, 1) + kernels.inference
    inside = kernels.inference >= 0
    known, place = np.unique(key[inside], return_inverse=True)
    number = np.full(len(kernels), -1, np.int64)
    number[inside] = place
    return number, len(known)


def _names(nodes: NodeTable | None, rows: npt.NDArray[np.int32]) -> tuple[str, ...]:
    if nodes is None:
        return ()
    return tuple(node_label(nodes, row) for row in np.unique(rows[rows >= 0]).tolist())


def _grouped(number: npt.NDArray[np.int64], count: int) -> list[npt.NDArray[np.intp]]:
    """Positions of each number in range(count), in order; other numbers are left out."""
    order = np.argsort(number, kind="stable")
    bounds = np.searchsorted(number[order], np.arange(count + 1))
    return np.split(order, bounds)[1:-1]


def _occupation(kernels: KernelEvents, inference: npt.NDArray[np.int64], count: int) -> Occupation:
    end_ns = kernels.start_ns + kernels.duration_ns
    busy_ns = 0
    for here in _grouped(inference, count):
        until_ns = np.maximum.accumulate(end_ns[here])
        idle_ns = np.maximum(kernels.start_ns[here[1:]] - until_ns[:-1], 0).sum()
        busy_ns += int(until_ns[-1] - kernels.start_ns[here[0]] - idle_ns)
    return Occupation(np.count_nonzero(inference >= 0) / count, busy_ns / count)
