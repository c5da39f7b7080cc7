"""What holds a node back: arithmetic, memory, or the executor's dispatch."""

from __future__ import annotations

from typing import Final, Literal

Bound = Literal["compute-bound", "memory-bound", "overhead-bound", "unknown"]

#: What takes ten times as long as its roofline is not slow because of it.
_LEAST_SHARE: Final = 0.1
#: Share of dispatch from which it is what holds a node back, where nothing else does more.
_DISPATCH: Final = 1 / 3
#: The larger part of the time. A roofline bound must reach it where the other one is unknown,
#: or bounds nothing: the other can then not be larger.
_MAJORITY: Final = 0.5
#: Above this the traffic did not go through what the bandwidth was measured on. Ceilings
#: are measurements themselves: a little more than all of one is still that ceiling.
_FROM_CACHES: Final = 1.1


def classify(
    flops: int,
    bytes: int,  # noqa: A002 - the word of Work
    self_ns: float,
    peak_flops_per_s: float | None,
    peak_bytes_per_s: float | None,
    dispatch_ns: float | None,
) -> tuple[Bound, str]:
    """Names what holds a node back, and the numbers that say so.

    The roofline model bounds a node's time from below by flops / peak and by bytes /
    bandwidth; the two overlap, so the larger one counts (Williams et al. 2009). A third
    bound is what the executor spends to dispatch any node. The share of a bound is its
    part of the measured time; for the first two that is the percentage of the ceiling.

    * overhead-bound: dispatch is a third of the time or more, and no other bound is larger.
    * compute-bound, memory-bound: the larger of the two, if it is a tenth of the time or
      more; half of it, where the other one is unknown.
    * Above 110 % of the bandwidth the data came from caches, so that the bandwidth bounds
      nothing: the node is memory-bound only if neither dispatch nor arithmetic explains
      half of its time.
    * unknown otherwise: no bound explains the time (strided access, costly functions that
      count as one operation, idle threads), or the numbers are missing.

    Args:
        flops: operations of one execution; -1 unknown.
        bytes: least traffic of one execution; -1 unknown.
        self_ns: measured time of one execution, without that of its subgraphs.
        peak_flops_per_s: measured ceiling for the node's element type; None if not measured.
        peak_bytes_per_s: measured bandwidth; None if not measured.
        dispatch_ns: cost of a node that does nothing, measured the way self_ns was (ORT's
            profiler adds microseconds to each); None if not measured.

    Returns:
        The label, and a line such as ``compute 62% of peak (38.1 of 61.4 GFLOP/s), memory
        12% of bandwidth (3.1 of 25.0 GB/s), dispatch 1% of the time``.
    """
    if not self_ns > 0:
        return "unknown", "no time was measured"
    compute = _share(flops, peak_flops_per_s, self_ns)
    memory = _share(bytes, peak_bytes_per_s, self_ns)
    dispatch = None if dispatch_ns is None else dispatch_ns / self_ns
    told = [
        _reached("compute", "of peak", "FLOP/s", flops, self_ns, peak_flops_per_s, compute),
        _reached("memory", "of bandwidth", "B/s", bytes, self_ns, peak_bytes_per_s, memory),
        "dispatch not measured" if dispatch is None else f"dispatch {dispatch:.0%} of the time",
    ]
    label = _label(compute, memory, dispatch)
    if memory is not None and memory > _FROM_CACHES:
        told.append("data served by caches")
    if label == "unknown" and compute is not None and memory is not None:
        told.append(f"no bound explains {_LEAST_SHARE:.0%} of its time")
    return label, ", ".join(told)


def _label(compute: float | None, memory: float | None, dispatch: float | None) -> Bound:
    """The rules of classify, on shares of the time."""
    from_caches = memory is not None and memory > _FROM_CACHES
    rooflines = (compute, None if from_caches else memory)
    if dispatch is not None and dispatch >= max(_DISPATCH, *(share or 0 for share in rooflines)):
        return "overhead-bound"
    if compute is None:
        majority = memory is not None and memory >= _MAJORITY and not from_caches
        return "memory-bound" if majority else "unknown"
    if memory is None:
        return "compute-bound" if compute >= _MAJORITY else "unknown"
    if max(compute, memory) < _LEAST_SHARE:
        return "unknown"
    if compute >= memory or (from_caches and compute >= _MAJORITY):
        return "compute-bound"
    return "memory-bound"


def _share(amount: int, peak_per_s: float | None, self_ns: float) -> float | None:
    """Part of the time that the amount takes at the peak; None where either is unknown."""
    if amount == 0:
        return 0.0
    if amount < 0 or peak_per_s is None:
        return None
    return amount / peak_per_s / (self_ns * 1e-9)


def _reached(
    name: str,
    of: str,
    unit: str,
    amount: int,
    self_ns: float,
    peak_per_s: float | None,
    share: float | None,
) -> str:
    if amount <= 0:
        return f"{name} {'unknown' if amount else 'nothing'}"
    achieved = amount / self_ns  # an amount a nanosecond is 1e9 of them a second
    if peak_per_s is None or share is None:
        return f"{name} {achieved:.3g} G{unit} (ceiling not measured)"
    return f"{name} {share:.0%} {of} ({achieved:.3g} of {peak_per_s * 1e-9:.3g} G{unit})"
