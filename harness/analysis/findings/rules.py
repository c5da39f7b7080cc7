"""All rules, and what they find in a profile."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from harness.analysis.findings import (
    cold_start,
    framework,
    gpu,
    quantisation,
    roofline,
    side_by_side,
    threads,
    throttling,
)
from harness.analysis.findings.seen import Finding, Seen
from harness.analysis.operators.table import OperatorTable
from harness.records import Profile
from harness.statistics.figures import Figure

#: Most findings that are reported: more would be a list, not advice.
MOST_TOLD = 5


RULES: Sequence[Callable[[Seen], Finding | None]] = (
    throttling.throttled,
    side_by_side.slow_instance,
    side_by_side.efficiency,
    gpu.gpu_idle,
    framework.framework,
    gpu.copies,
    quantisation.quantisation,
    roofline.roofline,
    threads.threads,
    cold_start.first_inference,
)


def findings(profile: Profile, table: OperatorTable | Figure) -> tuple[Finding, ...]:
    """The findings on a profile, the weightiest first; empty if there are none.

    Args:
        profile: as it was read.
        table: its operators by node, as ``operator_table(profile)`` returns them.
    """
    timed = [process.steady for process in profile.processes if len(process.steady)]
    if not timed or not all(np.median(steady.duration_ns) > 0 for steady in timed):
        return ()
    seen = Seen.of(profile, table)
    told = [found for rule in RULES if (found := rule(seen)) is not None]
    return tuple(sorted(told, key=lambda found: -found.weight)[:MOST_TOLD])
