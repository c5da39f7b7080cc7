"""What holds a node of a device's inference back, other than its kernels themselves."""

from __future__ import annotations

from harness.analysis.device_time import NodeWork


def held_back(work: NodeWork, rows: list[int], *, on_host: bool) -> tuple[str, str] | None:
    """Names what holds some nodes back, and the numbers that say so.

    * host: they run on the CPU.
    * copy: all that they launch are copies and memsets.
    * launch-bound: the device waited longer for their launches than it worked at them. Faster
      kernels would not make the inference shorter there, but fewer launches would.

    Args:
        work: of all nodes.
        rows: of these nodes, with those whose time is included.
        on_host: whether the CPU does their work.

    Returns:
        None if it is none of these, or that is not known: then the kernels themselves count.
    """
    work_ns, launches = float(work.kernel_ns[rows].sum()), float(work.launches[rows].sum())
    if on_host:
        return "host", "runs on the CPU"
    if launches and work.copies[rows].sum() == launches:
        return "copy", f"all of its work on the device is copying: {work_ns:,.0f} ns"
    if work.idle_ns is None or not launches:
        return None
    idle_ns = float(work.idle_ns[rows].sum())
    if idle_ns <= work_ns:
        return None
    return (
        "launch-bound",
        f"the device waited {idle_ns:,.0f} ns for its launches, which took {work_ns:,.0f} ns",
    )
