"""Most of an inference is ONNX Runtime's own overhead."""

from __future__ import annotations

import numpy as np

from harness.analysis.findings.seen import MOST, Finding, Seen, agree
from harness.analysis.operators.accounts import dispatch_ns


def framework(seen: Seen) -> Finding | None:
    """Most of an inference is spent dispatching nodes, whatever they do, and around them."""
    table = seen.table
    # Nodes before the first probe, or after the last, count as framework time.
    if table is None or table.source != "probe" or table.uncovered or not seen.on_host:
        return None
    events = seen.profile.traces["probe"]
    a_node_ns = dispatch_ns(seen.profile) or 0.0
    dispatched_ns = sum(min(a_node_ns * row.calls, row.median_ns) for row in table.operators)
    shares, framework_ns = [], []
    for index, median_ns in seen.medians.items():
        own = (events.inference_process == index) & (events.inference_duration_ns >= 0)
        if own.any():
            framework_ns.append(float(np.median(events.inference_framework_ns[own])))
            shares.append((framework_ns[-1] + dispatched_ns) / median_ns)
    if not agree(shares, MOST):
        return None
    share = min(float(np.median(shares)), 1.0)
    return Finding(
        kind="framework",
        sentence="ONNX Runtime's overhead is most of each inference: the model is too small for "
        "this device.",
        evidence={
            "overhead_share": share,
            "inference_ns": seen.median_ns,
            "framework_ns": float(np.median(framework_ns)),
            "dispatch_of_a_node_ns": a_node_ns,
            "nodes": sum(row.calls for row in table.operators),
        },
        nodes=(),
        next_step="Batch requests (`batch`): the overhead is paid once per inference.",
        weight=share,
    )
