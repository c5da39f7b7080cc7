"""How fast the machine was around each process, according to the yardstick."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from harness.records import ProcessRecord, Yardstick

#: Parts of the reference workload, in the order used by every array over parts.
PARTS = ("compute", "cache", "memory")


@dataclasses.dataclass(frozen=True, slots=True)
class Speed:
    """How fast the machine was around the processes of a profile, according to one part.

    Attributes:
        part: one of PARTS.
        time_ns: time it took, geometric mean over the processes.
        spread: the slowest process over the fastest, minus 1.
    """

    part: str
    time_ns: float
    spread: float


def speed(timed: Yardstick) -> npt.NDArray[np.float64]:
    """float64[parts], log of the time in ns that each part took, for ``verdicts.Side``.

    Uses the lower quartile: on a shared machine it scattered less between processes than the
    median, which preemption affects, and unlike the minimum it needs no lucky repetition.

    Raises:
        ValueError: the yardstick has no repetition.
    """
    if len(timed) == 0:
        raise ValueError("a yardstick that was not timed shows no speed")
    parts = np.array([timed.compute_ns, timed.cache_ns, timed.memory_ns])
    logs: npt.NDArray[np.float64] = np.log(np.percentile(parts, 25, axis=1))
    return logs


def speeds(processes: Sequence[ProcessRecord]) -> npt.NDArray[np.float64] | None:
    """float64[processes, parts], ``speed`` of each; None if one has no timed yardstick."""
    if not processes or not all(len(process.yardstick) for process in processes):
        return None
    return np.array([speed(process.yardstick) for process in processes])


def undisturbed(processes: Sequence[ProcessRecord]) -> npt.NDArray[np.float64] | None:
    """float64[processes, parts], log of the fastest repetition; None if one has no yardstick.

    What a part takes where nothing disturbs it. Unlike the quartile of ``speed``, it may hardly
    differ from occasion to occasion (compute on the recorded occasions: 0.02 % instead of 4 %), but
    it does not tell how much a process was disturbed.
    """
    if not processes or not all(len(process.yardstick) for process in processes):
        return None
    fastest = [
        [timed.compute_ns.min(), timed.cache_ns.min(), timed.memory_ns.min()]
        for timed in (process.yardstick for process in processes)
    ]
    logs: npt.NDArray[np.float64] = np.log(np.array(fastest, np.float64))
    return logs


def summary(processes: Sequence[ProcessRecord]) -> tuple[Speed, ...]:
    """Each part over all processes; empty if one of them has no timed yardstick."""
    logs = speeds(processes)
    if logs is None:
        return ()
    return tuple(
        Speed(part, float(np.exp(column.mean())), float(np.expm1(np.ptp(column))))
        for part, column in zip(PARTS, logs.T, strict=True)
    )
