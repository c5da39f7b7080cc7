"""Limits of a worker: resident memory, and time to its first inference. The parent watches.

A model may ask for all memory, or never finish. The address space is not limited (RLIMIT_AS),
because CUDA reserves far more than it uses; only resident memory counts.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from harness.machine.available_memory import available_bytes
from harness.measuring.handover import Job

#: Seconds between two checks. Each takes some microseconds of one CPU.
_LOOK_S = 0.25

#: Default memory limit of the workers, as a share of the available memory.
MOST_OF_AVAILABLE = 0.9

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Watch:
    """Kills workers that exceed a limit.

    Args:
        memory_bytes: resident memory of all workers together; None for ``MOST_OF_AVAILABLE``.
        timeout_s: seconds from the start of a worker to its first inference.
        job: path of the workers' job, which tells them apart from other child processes.
        inferred: file that a worker creates after its first inference.

    Attributes:
        reason: why a worker was killed; empty if none was.
        remedy: what the user can do about it.
    """

    def __init__(
        self, memory_bytes: int | None, timeout_s: float, job: Path, inferred: Path
    ) -> None:
        available = available_bytes()
        if memory_bytes is None and available is not None:
            memory_bytes = int(MOST_OF_AVAILABLE * available)
        self._memory_bytes = memory_bytes
        self._timeout_s = timeout_s
        self._job = os.fsencode(job)
        self._inferred = inferred
        self._began_s = time.monotonic()
        self._ended = threading.Event()
        self.reason = ""
        self.remedy = ""

    @contextlib.contextmanager
    def watching(self) -> Iterator[Watch]:
        """Watches the workers for the duration of the block."""
        thread = threading.Thread(target=self._look, name="harness-limits", daemon=True)
        self.begin()
        thread.start()
        try:
            yield self
        finally:
            self._ended.set()
            thread.join()

    def begin(self) -> None:
        """Restarts the clock: another worker is about to start."""
        with contextlib.suppress(OSError):
            self._inferred.unlink(missing_ok=True)
        self._began_s = time.monotonic()

    def _look(self) -> None:
        while not self._ended.wait(_LOOK_S):
            with contextlib.suppress(OSError):  # out of file descriptors: retry at the next check
                self._look_once()

    def _look_once(self) -> None:
        workers = [child for child in _descendants() if self._job in _command_line(child)]
        if not workers:
            return
        taken = sum(map(_resident_bytes, workers))
        if self._memory_bytes is not None and taken > self._memory_bytes:
            self.reason = (
                f"took {taken / 1e9:.2f} GB of memory, more than the "
                f"{self._memory_bytes / 1e9:.2f} GB allowed"
            )
            self.remedy = "give smaller inputs, or `memory_limit_gb` GB"
        elif time.monotonic() - self._began_s > self._timeout_s and not self._inferred.exists():
            self.reason = f"made no inference within {self._timeout_s:g} s"
            self.remedy = "give smaller inputs, or `timeout_s` SECONDS"
        else:
            return
        for worker in workers:
            _kill(worker)


def of(job: Job) -> Watch:
    """A watch over the workers of a job, with the limits of its configuration."""
    limit_gb = job.config.memory_limit_gb
    limit_bytes = None if limit_gb is None else int(limit_gb * 1e9)
    return Watch(limit_bytes, job.config.timeout_s, job.path, job.inferred)


def _descendants() -> list[int]:
    """Process ids of the children of this process, whichever thread started them, and of theirs:
    instances are children of the leader of their group.
    """
    found = _children("self")
    for process in found:  # grows meanwhile
        found += _children(str(process))
    return found


def _children(process: str) -> list[int]:
    """Process ids of the children of a process; none if it has ended."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{process}/task").iterdir():
            with contextlib.suppress(OSError, ValueError):
                found += map(int, (thread / "children").read_text().split())
    return found


def _command_line(process: int) -> list[bytes]:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return []


def _resident_bytes(process: int) -> int:
    try:
        return int(Path(f"/proc/{process}/statm").read_bytes().split()[1]) * _PAGE_BYTES
    except (OSError, IndexError, ValueError):
        return 0


def _kill(process: int) -> None:
    """Kills a child process; a pidfd guards against the pid having been reused."""
    with contextlib.suppress(OSError):
        descriptor = os.pidfd_open(process)
        try:
            if process in _descendants():
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        finally:
            os.close(descriptor)
