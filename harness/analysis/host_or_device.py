"""Where latencies on a device differ: because of the host, or because of the device.

A timed inference on a device has two parts that are measured: until the call has returned, in which
the host enqueues the work, and from then until the device has done it. Where most of a difference
is in the first, the host made it; kernels that take equally long in the processes say so, too.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np

from harness.analysis.noise import SPREAD_LIMIT
from harness.records import ProcessRecord, Profile
from harness.statistics.levels import two_levels

#: Part of a difference from which one side is said to make it.
_MOST = 2 / 3


@dataclasses.dataclass(frozen=True, slots=True)
class Difference:
    """A difference between latencies, and the part that each side has in it.

    Attributes:
        between: the slowest and the fastest of the ``processes``, by their medians; or the two
            levels at which the ``samples`` of a process lie.
        low_ns, high_ns: what differs, each a median.
        process: of the samples; -1 for processes.
        part: of the samples that are at the upper level; 0 for processes.
        many: processes whose samples lie at two levels; all of them for processes.
        host_ns: how much longer the call takes until it returns.
        device_ns: how much longer the device takes from then on.
        kernels_ns: what the kernels of an inference take in the fastest and the slowest process;
            None where that was not recorded, and for samples.
    """

    between: Literal["processes", "samples"]
    low_ns: float
    high_ns: float
    process: int
    part: float
    many: int
    host_ns: float
    device_ns: float
    kernels_ns: tuple[float, float] | None

    @property
    def side(self) -> Literal["host", "device", "both"]:
        """Which of them makes it."""
        whole_ns = self.host_ns + self.device_ns
        if self.host_ns >= _MOST * whole_ns:
            return "host"
        return "device" if self.device_ns >= _MOST * whole_ns else "both"


def differences(profile: Profile) -> tuple[Difference, ...]:
    """Those of the timed passes that are large; none where the host does not wait for a device."""
    timed = [
        one
        for one in profile.processes
        if len(one.steady) and len(one.enqueue_ns) == len(one.steady)
    ]
    found = [_of_processes(profile, timed), _of_samples(timed)]
    return tuple(one for one in found if one is not None)


def _of_processes(profile: Profile, timed: list[ProcessRecord]) -> Difference | None:
    if len(timed) < 2:
        return None
    ordered = sorted(timed, key=_median)
    fast, slow = ordered[0], ordered[-1]
    low_ns, high_ns = _median(fast), _median(slow)
    if high_ns <= low_ns * (1 + SPREAD_LIMIT):
        return None
    host_ns = float(np.median(slow.enqueue_ns) - np.median(fast.enqueue_ns))
    kernels = [_kernels_ns(profile, one.index) for one in (fast, slow)]
    known = [one for one in kernels if one is not None]
    return Difference(
        between="processes",
        low_ns=low_ns,
        high_ns=high_ns,
        process=-1,
        part=0.0,
        many=len(timed),
        host_ns=host_ns,
        device_ns=high_ns - low_ns - host_ns,
        kernels_ns=(known[0], known[1]) if len(known) == len(kernels) else None,
    )


def _of_samples(timed: list[ProcessRecord]) -> Difference | None:
    """Of the process whose levels are farthest apart."""
    split = [
        (one, levels) for one in timed if (levels := two_levels(one.steady.duration_ns)) is not None
    ]
    if not split:
        return None
    process, levels = max(split, key=lambda each: each[1].high / each[1].low)
    duration_ns, enqueue_ns = process.steady.duration_ns, process.enqueue_ns
    above = duration_ns > levels.threshold
    low_ns, high_ns = float(np.median(duration_ns[~above])), float(np.median(duration_ns[above]))
    host_ns = float(np.median(enqueue_ns[above]) - np.median(enqueue_ns[~above]))
    return Difference(
        between="samples",
        low_ns=low_ns,
        high_ns=high_ns,
        process=process.index,
        part=levels.part,
        many=len(split),
        host_ns=host_ns,
        device_ns=high_ns - low_ns - host_ns,
        kernels_ns=None,
    )


def _median(process: ProcessRecord) -> float:
    return float(np.median(process.steady.duration_ns))


def _kernels_ns(profile: Profile, process: int) -> float | None:
    """Time of all work on the device in an inference of a process, mean."""
    kernels = profile.kernels
    if kernels is None or kernels.dropped:
        return None
    mine = (kernels.process == process) & (kernels.inference >= 0)
    count = len(np.unique(kernels.inference[mine]))
    return float(kernels.duration_ns[mine].sum()) / count if count else None
