"""What holds a node back: arithmetic, memory, or the executor's dispatch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from harness.analysis.ceilings import UNCERTAINTY, Level
from harness.analysis.working_set import Served

Bound = Literal["compute-bound", "memory-bound", "overhead-bound", "unknown"]

#: A node that takes ten times as long as its roofline is slow for another reason.
_LEAST_SHARE: Final = 0.1
#: Share of dispatch at or above which it holds a node back, unless another bound is larger.
_DISPATCH: Final = 1 / 3
#: The larger part of the time. Where one roofline bound is unknown the other must reach this:
#: the unknown one can then not be larger.
_MAJORITY: Final = 0.5
#: A share above this contradicts its ceiling: that is wrong, or the work was counted wrong, or
#: is done otherwise than counted.
_MOST_SHARE: Final = 1 + UNCERTAINTY


class Share(NamedTuple):
    """Part of the time that the data takes at the measured bandwidths.

    Attributes:
        least: if every byte comes from the nearest level that can hold it.
        most: if it comes from the furthest; no more than 1 unless least is; 1 where that has no
            ceiling, because it may then have taken all the time.
        far: most, where it was measured; None where the furthest level has no ceiling.
        told: both ends, as text.
    """

    least: float
    most: float
    far: float | None
    told: str


def classify(
    flops: int,
    served: Served | None,
    self_ns: float,
    peak_flops_per_s: float | None,
    levels: Sequence[Level],
    dispatch_ns: float | None,
    *,
    launched: bool = False,
) -> tuple[Bound, str]:
    """Names what holds a node back, and the numbers that say so.

    The roofline model bounds a node's time from below by flops / peak and by bytes /
    bandwidth; the two overlap, so the larger one counts (Williams et al. 2009). Each level of
    the memory hierarchy is a bandwidth bound of its own, for the bytes that come through it
    (Ilic et al. 2014). Another bound is what the executor spends to dispatch any node. The
    share of a bound is its part of the measured time; for the rooflines that is the percentage
    of the ceiling.

    * overhead-bound: dispatch is a third of the time or more, and no other bound is larger.
    * compute-bound, memory-bound: the larger of the two, if it is a tenth of the time or
      more; half of it, where the other one is unknown.
    * unknown: no bound explains the time (strided access, costly functions that count as one
      operation, idle threads), or numbers are missing; the class depends on which cache served
      the data, and sizes do not tell that; or the node is above 110 % of a ceiling, which is
      then wrong.

    Args:
        flops: operations of one execution; -1 unknown.
        served: least traffic of one execution, by level; None unknown.
        self_ns: measured time of one execution, without that of its subgraphs.
        peak_flops_per_s: measured ceiling for the node's element type; None if not measured.
        levels: what can serve data, the nearest first, with their measured bandwidths.
        dispatch_ns: cost of a node that does nothing, measured the way self_ns was (ORT's
            profiler adds microseconds to each); None if not measured.
        launched: whether the time is that of kernels on a device, of which no dispatch is part.

    Returns:
        The label, and a line such as ``compute 62% of peak (38.1 of 61.4 GFLOP/s), memory
        12% of L2 bandwidth (3.1 of 25.0 GB/s), dispatch 1% of the time``.
    """
    if not self_ns > 0:
        return "unknown", "no time was measured"
    compute = _share(flops, peak_flops_per_s, self_ns)
    memory = memory_share(served, self_ns, levels)
    dispatch = None if dispatch_ns is None else dispatch_ns / self_ns
    told = [
        _compute_told(flops, self_ns, peak_flops_per_s, compute),
        _unmeasured_told(served, self_ns) if memory is None else f"memory {memory.told}",
    ]
    if not launched:
        told.append(
            "dispatch not measured" if dispatch is None else f"dispatch {dispatch:.0%} of the time"
        )
    if max(compute or 0.0, 0.0 if memory is None else memory.least) > _MOST_SHARE:
        told.append("above its ceiling, so either the ceiling or the count of its work is wrong")
        return "unknown", ", ".join(told)
    if memory is None:
        labels = {_label(compute, None, dispatch)}
    else:
        # Growing with the data's share the label changes to memory-bound, once: what is the same
        # at both ends is the same in between.
        labels = {_label(compute, share, dispatch) for share in (memory.least, memory.most)}
    if len(labels) > 1:
        told.append("the class depends on which cache served its data")
        return "unknown", ", ".join(told)
    (label,) = labels
    if label == "unknown" and compute is not None and memory is not None:
        told.append(f"no bound explains {_LEAST_SHARE:.0%} of its time")
    return label, ", ".join(told)


def memory_share(served: Served | None, self_ns: float, levels: Sequence[Level]) -> Share | None:
    """Part of the time that the data takes; None where that, or every bandwidth, is unknown."""
    if served is None or not self_ns > 0:
        return None
    if not served.near.sum():
        return Share(0.0, 0.0, 0.0, "nothing")
    near = _slowest(served.near, self_ns, levels)
    moved, far = _to_measured(served.far, levels), None
    if not moved[-1] or levels[-1].bandwidth is not None:
        far = _slowest(moved, self_ns, levels)
    if near is None and far is None:
        return None
    least = 0.0 if near is None else near.share
    most = max(least, 1.0 if far is None else min(far.share, 1.0))
    return Share(least, most, None if far is None else most, _between(near, far))


def _label(compute: float | None, memory: float | None, dispatch: float | None) -> Bound:
    """The rules of classify, on shares of the time."""
    if dispatch is not None and dispatch >= max(_DISPATCH, compute or 0, memory or 0):
        return "overhead-bound"
    if compute is None:
        return "memory-bound" if memory is not None and memory >= _MAJORITY else "unknown"
    if memory is None:
        return "compute-bound" if compute >= _MAJORITY else "unknown"
    if max(compute, memory) < _LEAST_SHARE:
        return "unknown"
    return "compute-bound" if compute >= memory else "memory-bound"


class _Reached(NamedTuple):
    """Part of a level's bandwidth that a node reaches.

    Attributes:
        share: of the bandwidth, and so of the time.
        level: its name.
        achieved, ceiling: GB a second.
    """

    share: float
    level: str
    achieved: float
    ceiling: float

    def __str__(self) -> str:
        return (
            f"{self.share:.0%} of {self.level} bandwidth "
            f"({_giga(self.achieved)} of {_giga(self.ceiling)} GB/s)"
        )


def _between(near: _Reached | None, far: _Reached | None) -> str:
    """Both ends as text: one is enough if they read the same."""
    if far is None:
        return f"at least {near}"
    if near is None:
        return f"at most {far}"
    if near.level != far.level:
        return f"between {near} and {far}"
    least, most = f"{near.share:.0%}", f"{far.share:.0%}"
    return str(far) if least == most else f"between {least} and {far}"


def _slowest(
    served: npt.NDArray[np.float64], self_ns: float, levels: Sequence[Level]
) -> _Reached | None:
    """The level that takes longest; None where none that data comes through was measured.

    What a level serves comes through all that are nearer.
    """
    through = np.cumsum(served[::-1])[::-1] / self_ns  # bytes a ns are GB a second
    reached = [
        _Reached(float(gb / ceiling), level.name, float(gb), ceiling)
        for gb, level in zip(through, levels, strict=True)
        if gb and (ceiling := (level.bandwidth or 0.0) * 1e-9)
    ]
    return max(reached, default=None)


def _to_measured(
    served: npt.NDArray[np.float64], levels: Sequence[Level]
) -> npt.NDArray[np.float64]:
    """Bytes of cache levels without a bandwidth moved to the next level that has one."""
    moved = served.copy()
    for at, level in enumerate(levels[:-1]):
        if level.bandwidth is None:
            moved[at + 1] += moved[at]
            moved[at] = 0
    return moved


def _share(amount: int, peak_per_s: float | None, self_ns: float) -> float | None:
    """Part of the time that the amount takes at the peak; None where either is unknown."""
    if amount == 0:
        return 0.0
    if amount < 0 or peak_per_s is None:
        return None
    return amount / peak_per_s / (self_ns * 1e-9)


def _compute_told(flops: int, self_ns: float, peak_per_s: float | None, share: float | None) -> str:
    if flops <= 0:
        return f"compute {'unknown' if flops else 'nothing'}"
    achieved = flops / self_ns  # operations a ns are G a second
    if peak_per_s is None or share is None:
        return f"compute {_giga(achieved)} GFLOP/s (ceiling not measured)"
    peak = _giga(peak_per_s * 1e-9)
    return f"compute {share:.0%} of peak ({_giga(achieved)} of {peak} GFLOP/s)"


def _unmeasured_told(served: Served | None, self_ns: float) -> str:
    if served is None:
        return "memory unknown"
    return f"memory {_giga(served.near.sum() / self_ns)} GB/s (ceiling not measured)"


def _giga(value: float) -> str:
    """A number of G a second; a device's have up to seven digits, which are no exponent."""
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"
