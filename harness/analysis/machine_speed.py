"""How fast the machine was beside each process, told by the yardstick."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from harness.records import ProcessRecord, Yardstick

#: What the workload is made of, in the order of all arrays by part.
PARTS = ("compute", "cache", "memory")


@dataclasses.dataclass(frozen=True, slots=True)
class Speed:
    """How fast the machine was beside all processes of a profile, told by one part.

    Attributes:
        part: one of PARTS.
        time_ns: geometric mean over the processes of what it took.
        spread: the slowest process over the fastest, less 1.
    """

    part: str
    time_ns: float
    spread: float


def speed(timed: Yardstick) -> npt.NDArray[np.float64]:
    """Log of what each part took (compute, cache, memory), for ``comparison.Side``.

    Of the lower quartile: on a shared machine it scattered less from process to process than
    the median, which preemptions reach, and needs no lucky repetition as the minimum does.

    Raises:
        ValueError: the yardstick has no repetition.
    """
    if len(timed) == 0:
        raise ValueError("a yardstick that was not timed tells no speed")
    parts = np.array([timed.compute_ns, timed.cache_ns, timed.memory_ns])
    logs: npt.NDArray[np.float64] = np.log(np.percentile(parts, 25, axis=1))
    return logs


def speeds(processes: Sequence[ProcessRecord]) -> npt.NDArray[np.float64] | None:
    """float64[processes, parts], ``speed`` beside each; None where it was not timed beside one."""
    if not processes or not all(len(process.yardstick) for process in processes):
        return None
    return np.array([speed(process.yardstick) for process in processes])


def summary(processes: Sequence[ProcessRecord]) -> tuple[Speed, ...]:
    """What each part tells of all processes; empty where it was not timed beside one."""
    logs = speeds(processes)
    if logs is None:
        return ()
    return tuple(
        Speed(part, float(np.exp(column.mean())), float(np.expm1(np.ptp(column))))
        for part, column in zip(PARTS, logs.T, strict=True)
    )
