"""What the GPU did in an inference: by kernel, and by the node that launched it."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from harness.analysis.operators.labels import node_label
from harness.records import KernelEvents, NodeTable, Profile
from harness.statistics.figures import Figure, Float64Array


@dataclasses.dataclass(frozen=True, slots=True)
class Kernel:
    """All work of one name in one inference.

    Attributes:
        name: of the function; for a copy its direction.
        kind: ``kernel``, ``memcpy`` or ``memset``.
        median_ns: median over the traced inferences of its durations together.
        share: median_ns divided by the sum over all rows.
        calls: in an inference, on average.
        nodes: names of the nodes that launch it, in the order of the executed graph.
        unjoined: share of its work that no node is known for.
    """

    name: str
    kind: str
    median_ns: float
    share: float
    calls: float
    nodes: tuple[str, ...]
    unjoined: float


@dataclasses.dataclass(frozen=True, slots=True)
class KernelTable:
    """Kernels, longest first, and what the GPU was not doing.

    Attributes:
        busy_ns: mean over the inferences of the time in which any of them ran.
        idle_ns: mean of the time between them, from the first launch's begin to the last end.
        joined: share of the work, by time, that a node is known for.
        unjoined_reason: why not all of it.
        disagreements: launches outside of the interval of the node that they were joined to.
        dropped: records that were lost.
    """

    kernels: tuple[Kernel, ...]
    inferences: int
    busy_ns: float
    idle_ns: float
    joined: float
    unjoined_reason: str
    disagreements: int
    dropped: int


@dataclasses.dataclass(frozen=True, slots=True)
class NodeWork:
    """Means over the inferences, by row of the NodeTable.

    Attributes:
        kernel_ns: float64[nodes], durations of its work on the GPU.
        launches: float64[nodes], pieces of work.
        idle_ns: float64[nodes], while the GPU had nothing to do before work of the node, since
            the inference's work before it had ended.
    """

    kernel_ns: Float64Array
    launches: Float64Array
    idle_ns: Float64Array


class Occupation(NamedTuple):
    """What the GPU does in an inference; means over the traced inferences.

    Attributes:
        launches: kernels, copies and settings of memory.
        busy_ns: time in which any of them runs.
        idle_ns: time between them, from the first one's begin to the last one's end.
    """

    launches: float
    busy_ns: float
    idle_ns: float


def kernel_table(profile: Profile) -> KernelTable | Figure:
    """The kernels of a profile, or why there are none."""
    kernels = profile.kernels
    if kernels is None:
        reasons = [why for what, why in profile.absent if what == "trace/kernels"]
        none = f"the provider is {profile.provider}, no GPU works for it"
        return Figure(None, "; ".join(reasons) or none)
    inference, count = _inferences(kernels)
    if not count:
        return Figure(None, "no work of the GPU lies in a traced inference")
    within = inference >= 0
    kinds: dict[tuple[str, str], int] = {}
    pairs = zip(kernels.kind, kernels.name, strict=True)
    which = np.array([kinds.setdefault(pair, len(kinds)) for pair in pairs])
    rows = []
    for (kind, name), mine in zip(kinds, _grouped(which, len(kinds)), strict=True):
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
    occupied = _occupation(kernels, inference, count)
    duration_ns = kernels.duration_ns[within]
    return KernelTable(
        kernels=tuple(sorted(rows, key=lambda row: -row.median_ns)),
        inferences=count,
        busy_ns=occupied.busy_ns,
        idle_ns=occupied.idle_ns,
        joined=float(duration_ns[kernels.node[within] >= 0].sum() / max(duration_ns.sum(), 1)),
        unjoined_reason=kernels.unjoined_reason,
        disagreements=kernels.disagreements,
        dropped=kernels.dropped,
    )


def occupation(kernels: KernelEvents) -> Occupation | None:
    """How much of an inference the GPU works; None where none was recorded as a whole."""
    inference, count = _inferences(kernels)
    return _occupation(kernels, inference, count) if count else None


def node_work(kernels: KernelEvents | None, rows: int) -> NodeWork | None:
    """What the GPU did for each node of an inference; None where it was not recorded."""
    if kernels is None:
        return None
    inference, count = _inferences(kernels)
    counted = (inference >= 0) & (kernels.node >= 0) & (kernels.node < rows)
    node = kernels.node[counted]
    idle_ns = _idle_before(kernels, inference, count)[counted]
    return NodeWork(
        np.bincount(node, kernels.duration_ns[counted], rows) / max(count, 1),
        np.bincount(node, minlength=rows) / max(count, 1),
        np.bincount(node, idle_ns, rows) / max(count, 1),
    )


def _inferences(kernels: KernelEvents) -> tuple[npt.NDArray[np.int64], int]:
    """(number of the inference over all processes, -1 outside of all; how many there are)."""
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
    """Places of each number from 0 to below count, in their order; of others none."""
    order = np.argsort(number, kind="stable")
    bounds = np.searchsorted(number[order], np.arange(count + 1))
    return np.split(order, bounds)[1:-1]


def _idle_before(
    kernels: KernelEvents, inference: npt.NDArray[np.int64], count: int
) -> npt.NDArray[np.int64]:
    """How long nothing had run when each piece of work began; 0 for the first of an inference."""
    start_ns = kernels.start_ns
    end_ns = start_ns + kernels.duration_ns
    idle_ns = np.zeros(len(kernels), np.int64)
    for here in _grouped(inference, count):
        until_ns = np.maximum.accumulate(end_ns[here])
        idle_ns[here[1:]] = np.maximum(start_ns[here[1:]] - until_ns[:-1], 0)
    return idle_ns


def _occupation(kernels: KernelEvents, inference: npt.NDArray[np.int64], count: int) -> Occupation:
    idle_ns = int(_idle_before(kernels, inference, count).sum())
    start_ns = kernels.start_ns
    end_ns = start_ns + kernels.duration_ns
    span_ns = sum(int(end_ns[h].max() - start_ns[h[0]]) for h in _grouped(inference, count))
    launches = np.count_nonzero(inference >= 0)
    return Occupation(launches / count, (span_ns - idle_ns) / count, idle_ns / count)
