"""Hand-made traces of nodes for tests."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.records import NodeEvents


def events(
    executions: list[tuple[int, int, int, int, int]],
    inferences: list[tuple[int, int, int]],
    *,
    source: str = "ort",
    **columns: Any,
) -> NodeEvents:
    """A trace of process 0.

    Args:
        executions: (row of the node, inference, start, duration, self time) of each.
        inferences: (number, start, duration) of each.
        source: of the times.
        columns: what else differs from an empty trace.
    """
    node, inference, start_ns, duration_ns, self_ns = np.array(executions, np.int64).T
    number, whole_start_ns, whole_ns = np.array(inferences, np.int64).T
    values: dict[str, Any] = {
        "source": source,
        "node": node.astype(np.int32),
        "process": np.zeros(len(node), np.int32),
        "inference": inference.astype(np.int32),
        "start_ns": start_ns,
        "duration_ns": duration_ns,
        "self_ns": self_ns,
        "details": {},
        "inference_process": np.zeros(len(number), np.int32),
        "inference_number": number.astype(np.int32),
        "inference_start_ns": whole_start_ns,
        "inference_duration_ns": whole_ns,
        "inference_framework_ns": np.full(len(number), -1, np.int64),
        "dropped": 0,
        "resolution_ns": 1_000,
    }
    return NodeEvents(**(values | columns))
