"""The first inference includes preparation that later ones do not need."""

from __future__ import annotations

import numpy as np

from harness.analysis.findings.seen import WORTH_CHANGING, Finding, Seen, agree
from harness.statistics import latency

#: A first inference that takes this many times as long as later ones includes one-off preparation.
#: It must also be a tenth (WORTH_CHANGING) of the cold start to be worth avoiding.
FIRST_TIMES = 10


def first_inference(seen: Seen) -> Finding | None:
    """The first inference includes preparation that later ones do not need."""
    timed = [one for one in seen.profile.processes if one.index in seen.medians]
    times = [one.first_inference_ns / seen.medians[one.index] for one in timed]
    if seen.verdict == "unusable" or not agree(times, FIRST_TIMES):
        return None
    cold = {name: one.value or 0.0 for name, one in latency.cold_start(timed).items()}
    first_ns = cold["first_inference_ns"]
    if first_ns - seen.median_ns < WORTH_CHANGING * sum(cold.values()):
        return None
    option = seen.provider.faster_start if seen.provider is not None else ""
    faster = f"; `provider_options` {option}" if option else ""
    return Finding(
        kind="first_inference",
        sentence=f"The first inference takes {np.median(times):.0f} times as long as the others.",
        evidence={
            "first_inference_ns": first_ns,
            "inference_ns": seen.median_ns,
            "session_ns": cold["session_ns"],
        },
        nodes=(),
        next_step=f"Run one inference with the same shapes before the first request{faster}.",
        weight=0.0,
    )
