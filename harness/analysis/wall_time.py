"""Where the wall time of the command went that measured a profile."""

from __future__ import annotations

import dataclasses

import numpy as np

from harness.records import Profile
from harness.statistics.figures import Figure

#: Why it is not known.
OF_PAIRS = "not recorded: the command measured another profile too, in turns"
NOT_RECORDED = (
    "not recorded: file of an older version, or recovered from what an interrupted command left"
)


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """One part of the wall time.

    Attributes:
        name: what the time was spent on, as in WallTime.
        processes: measuring processes that spent time on it; 0 for a part of no such process.
        duration_ns: of all of them together.
        cpu_ns: CPU time used meanwhile.
    """

    name: str
    processes: int
    duration_ns: int
    cpu_ns: int


@dataclasses.dataclass(frozen=True, slots=True)
class Spent:
    """The wall time and its parts: duration_ns = sum over the parts + unaccounted_ns.

    Attributes:
        duration_ns: from the start of the command until the contents of the file were complete.
        cpu_ns: CPU time of the parts.
        parts: in the order in which they first began.
        unaccounted_ns: between the stretches that were clocked.
    """

    duration_ns: int
    cpu_ns: int
    parts: tuple[Part, ...]
    unaccounted_ns: int


def why_absent(profile: Profile) -> str:
    """Why a profile without a wall time has none."""
    return OF_PAIRS if profile.asked.interleaved_with else NOT_RECORDED


def spent(profile: Profile) -> Spent | Figure:
    """Where the wall time went, or a Figure with the reason why that is not known."""
    held = profile.wall_time
    if held is None:
        return Figure(None, why_absent(profile))
    names = np.array(held.part)
    parts = []
    for name in dict.fromkeys(held.part):
        mine = names == name
        processes = np.unique(held.process[mine])
        parts.append(
            Part(
                name,
                int(np.count_nonzero(processes >= 0)),
                int(held.duration_ns[mine].sum()),
                int(held.cpu_ns[mine].sum()),
            )
        )
    duration_ns = held.ended_ns - held.began_ns
    clocked_ns = int(held.duration_ns.sum())
    return Spent(duration_ns, int(held.cpu_ns.sum()), tuple(parts), duration_ns - clocked_ns)
