"""What holds a node of a device's inference back, other than its kernels themselves."""

from __future__ import annotations

from harness.analysis.device_time import NodeWork

#: Part of its time in kernels of too few blocks from which a node is small.
_MAJORITY = 0.5


def held_back(
    work: NodeWork, rows: list[int], *, on_host: bool, bound: str
) -> tuple[str, str] | None:
    """Names what holds some nodes back, and the numbers that say so.

    * host: they run on the CPU.
    * copy: all that they launch are copies and memsets.
    * launch-bound: the device waited longer for their launches than it worked at them. Faster
      kernels would not make the inference shorter there, but fewer launches would.
    * small: more than half of their time is in kernels of too few blocks to fill the device
      (``occupancy.too_few``), so that a part of it has nothing to do. Only where no ceiling bounds
      them: a kernel that comes near one does well with the blocks it has.

    Args:
        work: of all nodes.
        rows: of these nodes, with those whose time is included.
        on_host: whether the CPU does their work.
        bound: what the ceilings say of them.

    Returns:
        None if it is none of these, or that is not known: then the kernels themselves count.
    """
    work_ns, launches = float(work.kernel_ns[rows].sum()), float(work.launches[rows].sum())
    if on_host:
        return "host", "runs on the CPU"
    if launches and work.copies[rows].sum() == launches:
        return "copy", f"all of its work on the device is copying: {work_ns:,.0f} ns"
    idle_ns = 0.0 if work.idle_ns is None else float(work.idle_ns[rows].sum())
    if launches and idle_ns > work_ns:
        return (
            "launch-bound",
            f"the device waited {idle_ns:,.0f} ns for its launches, which took {work_ns:,.0f} ns",
        )
    small_ns = 0.0 if work.small_ns is None else float(work.small_ns[rows].sum())
    if bound == "unknown" and small_ns > _MAJORITY * work_ns:
        share = f"{small_ns / work_ns:.0%} of its time on the device"
        return "small", f"{share} is in kernels of too few blocks to fill it"
    return None
