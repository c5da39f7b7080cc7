"""A GPU clock, or the CPU time of the control group, was throttled."""

from __future__ import annotations

import numpy as np

from harness.analysis import noise
from harness.analysis.findings.seen import Finding, Seen
from harness.machine.devices.clock_reasons import POWER, THROTTLED, clock_reasons

#: At or above this share of the samples, throttling affects the figures: less does not reach the
#: median and p90.
THROTTLED_SHARE = 0.05


def throttled(seen: Seen) -> Finding | None:
    """A GPU clock, or the CPU time of the control group, was throttled."""
    return _throttled_gpu(seen) or _throttled_group(seen)


def _throttled_gpu(seen: Seen) -> Finding | None:
    touched = noise.throttled_samples(seen.profile)
    samples = sum(map(len, touched))
    share = sum(int(np.count_nonzero(each)) for each in touched) / samples
    if share < THROTTLED_SHARE:
        return None
    mask = 0
    for series in seen.profile.devices:
        if series.quantity == "clock_reasons_mask":
            mask |= int(np.bitwise_or.reduce(series.value)) & THROTTLED
    step = "Cool the GPU better"
    if mask & POWER:
        step = "Allow it more power (nvidia-smi --power-limit)"  # another program's
    leave_out = "; show `exclude_throttled` leaves these samples out"
    if seen.profile.instances is not None:
        leave_out = ""  # of callers side by side, only whole windows count
    return Finding(
        kind="throttled",
        sentence=f"The GPU was throttled during {share:.0%} of the samples.",
        evidence={
            "throttled_share": share,
            "samples": samples,
            "reasons": " ".join(clock_reasons(mask)),
        },
        nodes=(),
        next_step=f"{step}, or lock its clocks at a lower rate it can hold (nvidia-smi "
        f"--lock-gpu-clocks){leave_out}.",  # another program's
        weight=share,
    )


def _throttled_group(seen: Seen) -> Finding | None:
    waited_ns, wall_ns = (sum(seen.noted(f"{name}_ns")) for name in ("cgroup_throttled", "wall"))
    share = min(waited_ns / wall_ns, 1.0) if wall_ns else 0.0
    if share < THROTTLED_SHARE:
        return None
    limit = seen.fact("cgroup_cpu_limit")
    evidence: dict[str, float | str] = {
        "throttled_share": share,
        "periods": sum(seen.noted("cgroup_throttled_periods")),
    }
    if limit is not None:
        evidence["cpu_limit"] = limit
    return Finding(
        kind="throttled",
        sentence=f"The container's CPU limit stopped the work for {share:.0%} of the time.",
        evidence=evidence,
        nodes=(),
        next_step="Use no more threads (`intra_threads`) than the limit allows CPUs, or raise the "
        "limit.",
        weight=share,
    )
