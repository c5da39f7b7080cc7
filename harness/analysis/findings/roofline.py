"""Most of the nodes' time is in nodes far below their roofline."""

from __future__ import annotations

import numpy as np

from harness.analysis.findings.seen import MOST, Finding, Seen, counted
from harness.analysis.operators.table import Operator

#: Below this share of its roofline a node is far from it. Kernels that suit their shapes reach
#: 60 to 95 % (convolutions of mobilenet-v2, matrix products of bert-small, on a shared machine):
#: one that reaches less than half of that has a cause that can be found.
FAR_FROM_ROOFLINE = 0.25

#: Factor by which other load can slow the fastest tenth of the inferences without making the
#: profile unusable: two processes that share a core or its memory halve each other's speed.
SLOWED_BY_OTHERS = 2


def roofline(seen: Seen) -> Finding | None:
    """Most of the nodes' time is in nodes that are far from what this machine can do."""
    table = seen.table
    if table is None or table.source != "probe" or not seen.on_host:
        return None
    far_below = FAR_FROM_ROOFLINE / (1 if seen.verdict == "quiet" else SLOWED_BY_OTHERS)
    far = [
        (row, reached)
        for row in table.operators
        if row.bound != "overhead-bound"
        and row.interval_ns is not None
        and (reached := _reached(row)) is not None
        and reached < far_below
    ]
    far.sort(key=lambda one: -one[0].share)
    sums = np.cumsum([row.share for row, _ in far])
    if not len(sums) or sums[-1] < MOST:
        return None
    # The fewest nodes that make up most of it.
    far = far[: int(np.searchsorted(sums, MOST)) + 1]
    share = sum(row.share for row, _ in far)
    reached = sum(row.share * one for row, one in far) / share
    op_types = ", ".join(list(dict.fromkeys(row.op_type for row, _ in far))[:3])
    if all(row.flops == 0 for row, _ in far):
        next_step = "Export a different layout or order of axes, so that less data has to be moved."
    else:
        next_step = (
            "See `ops roofline`; try other shapes (channels in multiples of 16), a different "
            "`intra_threads`, or a newer ONNX Runtime (`library`)."
        )
    verbs = ("take", "reach") if len(far) > 1 else ("takes", "reaches")
    return Finding(
        kind="roofline",
        sentence=f"{counted(len(far), 'node')} ({op_types}) {verbs[0]} {share:.0%} of the nodes' "
        f"time and {verbs[1]} {reached:.0%} of what this machine can do.",
        evidence={
            "time_share": share,
            "reached_share": reached,
            "longest_ns": far[0][0].median_ns,
        },
        nodes=tuple(row.label for row, _ in far),
        next_step=next_step,
        weight=share * (1 - reached),
    )


def _reached(row: Operator) -> float | None:
    """Share of its roofline that a node reaches in the fastest tenth of the inferences.

    None if the roofline is unknown. It counts as unknown for an operator that computes but is
    limited by its traffic: a Tanh counts as one operation but takes the time of many.
    """
    compute = 0.0 if row.flops == 0 else row.peak_share
    memory = 0.0 if row.traffic_bytes == 0 else row.bandwidth_share
    if compute is None or memory is None or row.p10_ns <= 0 or compute == memory == 0:
        return None
    if row.flops and memory > compute:
        return None
    return max(compute, memory) * row.median_ns / row.p10_ns
