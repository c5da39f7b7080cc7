"""Where the wall time of a command goes, clocked by the command and by each of its workers.

The command clocks how long each worker lives. A worker clocks its own work, part by part, and
leaves that in the work folder at its very end: only then is its last part over, the writing of
its shard. What nobody clocked is not a part; readers see it as the rest of the wall time.
"""

from __future__ import annotations

import contextlib
import resource
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from harness.records import WallTime


class Stamp(NamedTuple):
    """A moment in the life of a process.

    Attributes:
        wall_ns: CLOCK_MONOTONIC.
        cpu_ns: CPU time that the process had used by then, all its threads together.
    """

    wall_ns: int
    cpu_ns: int

    @classmethod
    def now(cls) -> Stamp:
        """This moment, of this process."""
        return cls(time.monotonic_ns(), time.process_time_ns())


class Stretch(NamedTuple):
    """Time that a process spent on one part of its work.

    Attributes:
        part: what on, as in WallTime.
        start: when it began.
        end: when it was over.
    """

    part: str
    start: Stamp
    end: Stamp


class Life(NamedTuple):
    """A worker, as its command saw it.

    Attributes:
        worker: ``preparation``, ``calibration``, or the index of a measuring process.
        start_ns: CLOCK_MONOTONIC before it was spawned.
        end_ns: CLOCK_MONOTONIC when it was gone.
        cpu_ns: CPU time that it used altogether.
    """

    worker: str
    start_ns: int
    end_ns: int
    cpu_ns: int


class Stopwatch:
    """Clocks parts of the work, one after another.

    Args:
        began_ns: CLOCK_MONOTONIC when the work began; None for now.

    Attributes:
        began_ns: as given.
        stretches: what was clocked so far.
        lives: workers that have ended.
    """

    def __init__(self, began_ns: int | None = None) -> None:
        self.began_ns = time.monotonic_ns() if began_ns is None else began_ns
        self.stretches: list[Stretch] = []
        self.lives: list[Life] = []

    @contextlib.contextmanager
    def on(self, part: str) -> Iterator[None]:
        """Clocks the block as one stretch, also if it fails."""
        start = Stamp.now()
        try:
            yield
        finally:
            self.since(start, part)

    def since(self, start: Stamp, part: str) -> None:
        """Adds what has just ended as one stretch.

        Args:
            start: when it began.
            part: what the time was spent on.
        """
        self.stretches.append(Stretch(part, start, Stamp.now()))

    @contextlib.contextmanager
    def life_of(self, worker: str) -> Iterator[None]:
        """Clocks the block as the life of a worker, the only child process that ends in it."""
        start_ns, before_ns = time.monotonic_ns(), _cpu_of_children_ns()
        try:
            yield
        finally:
            cpu_ns = _cpu_of_children_ns() - before_ns
            self.lives.append(Life(worker, start_ns, time.monotonic_ns(), cpu_ns))


def _cpu_of_children_ns() -> int:
    """CPU time of the child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return round((used.ru_utime + used.ru_stime) * 1e9)


def of_life(life: Life, clocked: Sequence[Stretch]) -> list[Stretch]:
    """The stretches of a worker, with its start and its exit, which take both clocks to see.

    Args:
        life: as its command saw it.
        clocked: by the worker itself, in order of time; empty if it died.
    """
    if not clocked:
        return []
    return [
        Stretch("start", Stamp(life.start_ns, 0), clocked[0].start),
        *clocked,
        Stretch("exit", clocked[-1].end, Stamp(life.end_ns, life.cpu_ns)),
    ]


def wall_time(
    watch: Stopwatch, workers: Iterable[tuple[Life, Sequence[Stretch]]], ended_ns: int
) -> WallTime:
    """What the command and its workers clocked, in order of time.

    Args:
        watch: of the command.
        workers: each as the command saw it, and what it clocked itself.
        ended_ns: CLOCK_MONOTONIC, the end of the wall time.
    """
    rows = [(one, -1) for one in watch.stretches]
    for life, clocked in workers:
        if life.worker.isdecimal():
            rows += [(one, int(life.worker)) for one in of_life(life, clocked)]
        else:
            for one in of_life(life, clocked):
                rows.append((one._replace(part=f"{life.worker}: {one.part}"), -1))
    rows.sort(key=lambda row: row[0].start.wall_ns)
    stretches = [one for one, _ in rows]

    def column(values: Iterable[int]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return np.fromiter(values, np.int64, len(stretches))

    return WallTime(
        part=tuple(one.part for one in stretches),
        process=column(process for _, process in rows).astype(np.int32),
        start_ns=column(one.start.wall_ns for one in stretches),
        duration_ns=column(one.end.wall_ns - one.start.wall_ns for one in stretches),
        # The clocks of a worker and of its command round differently.
        cpu_ns=column(max(one.end.cpu_ns - one.start.cpu_ns, 0) for one in stretches),
        began_ns=watch.began_ns,
        ended_ns=ended_ns,
    )
