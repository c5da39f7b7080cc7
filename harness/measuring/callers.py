"""Threads that call one session at once, in a window that all instances of a group share.

Each thread has a binding of its own and spends the window in one call of the native timing loop,
which waits for the beginning and ends with the window, without the GIL. Before the window and after
it the threads go on inferring, so that none has the machine to itself for a part of it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from harness.errors import ModelError, one_line
from harness.native import ort
from harness.ort.session import device_failure
from harness.records import Int64Array

#: Most inferences of a call that only keeps the machine busy, and how long one lasts.
_BUSY = 1024
_BUSY_NS = 10_000_000

#: A caller leaves off so many inferences before the window begins, and so long before it, so as to
#: begin with it: reading how long it has waited takes some tenths of a millisecond.
_SPARED = 2
_SPARED_NS = 1_000_000

#: Room for the inferences of a window: times what is expected of it.
_ROOM = 1.5
_MOST_ROOM = 1 << 22


class Window(NamedTuple):
    """A stretch of time in which callers are measured.

    Attributes:
        begin_ns: CLOCK_MONOTONIC.
        end_ns: likewise.
        callers: threads of the instance that infer in it, the first ones.
    """

    begin_ns: int
    end_ns: int
    callers: int


class Called(NamedTuple):
    """What one thread did in a window.

    Attributes:
        start_ns: int64[n], of inferences that lie wholly in the window.
        duration_ns: int64[n].
        waited_ns: how long the thread was runnable without a CPU meanwhile; -1 if not known.
    """

    start_ns: Int64Array
    duration_ns: Int64Array
    waited_ns: int


class Callers:
    """The calling threads of one instance.

    Args:
        bindings: of its session, one for each thread.
    """

    def __init__(self, bindings: Sequence[ort.Binding]) -> None:
        self._bindings = bindings
        self._latency_ns = self._mean_ns = 1_000_000

    def warm_up(self, seconds: float) -> int:
        """All threads infer for so long, at least once.

        Returns:
            Wall time that an inference of the slowest thread takes on average, in ns: waiting for a
            CPU counts, as a window must be long enough.

        Raises:
            MachineError: an inference failed by the fault of the device.
            ModelError: one failed otherwise.
        """
        over = threading.Event()
        over.set()
        now_ns = time.monotonic_ns()
        window = Window(now_ns, now_ns + round(seconds * 1e9), len(self._bindings))
        parts = self._call(window, _nothing, over)[0]
        self._latency_ns = max(int(np.median(np.concatenate([part[1] for part in parts]))), 1)
        means_ns = [int(start[-1] + took[-1] - start[0]) // len(took) for start, took in parts]
        self._mean_ns = max(*means_ns, self._latency_ns)
        return self._mean_ns

    def measure(
        self, window: Window, left: Callable[[], None], over: threading.Event
    ) -> list[Called]:
        """Infers through a window and on until it is over for all.

        Args:
            window: to measure.
            left: called when the last thread has left it.
            over: set when every instance has left it.

        Raises:
            MachineError: an inference failed by the fault of the device.
            ModelError: one failed otherwise.
        """
        parts, waited = self._call(window, left, over)
        found = []
        for (start_ns, duration_ns), waited_ns in zip(parts, waited, strict=True):
            inside = start_ns + duration_ns <= window.end_ns
            found.append(Called(start_ns[inside], duration_ns[inside], waited_ns))
        return found

    def _call(
        self, window: Window, left: Callable[[], None], over: threading.Event
    ) -> tuple[list[tuple[Int64Array, Int64Array]], list[int]]:
        """Start and duration of every inference of each thread that began in the window, and
        how long each thread waited for a CPU.
        """
        parts = [(np.empty(0, np.int64),) * 2] * window.callers
        waited = [-1] * window.callers
        failures: list[Exception] = []
        inside = [window.callers]
        counting = threading.Lock()

        def call(number: int) -> None:
            binding = self._bindings[number]
            try:
                parts[number], waited[number] = self._timed(binding, window)
            except Exception as error:
                failures.append(error)
            with counting:
                inside[0] -= 1
                if not inside[0]:
                    left()
            try:
                while not failures and not over.is_set():
                    binding.time(*_arrays(_BUSY), deadline_ns=time.monotonic_ns() + _BUSY_NS)
            except Exception as error:
                failures.append(error)

        threads = [
            threading.Thread(target=call, args=(number,), daemon=True)
            for number in range(window.callers)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures and not isinstance(failures[0], ort.OrtError):
            raise failures[0]
        if failures and (device := device_failure(failures[0])):
            raise device from failures[0]
        if failures:
            raise ModelError(
                f"an inference failed: {one_line(str(failures[0]))}",
                "fix the inputs with `files` or `shapes`",
            ) from failures[0]
        return parts, waited

    def _timed(
        self, binding: ort.Binding, window: Window
    ) -> tuple[tuple[Int64Array, Int64Array], int]:
        """Of one thread: start and duration of every inference begun in the window; its wait."""
        # By the mean: many callers that wait for CPUs would otherwise take memory for what each
        # could do alone.
        expected = (window.end_ns - window.begin_ns) / self._mean_ns
        room = min(int(_ROOM * expected), _MOST_ROOM) + _BUSY
        parts = [_arrays(room)]
        leave_off_ns = window.begin_ns - max(_SPARED * self._latency_ns, _SPARED_NS)
        while (now_ns := time.monotonic_ns()) < leave_off_ns:
            binding.time(*_arrays(_BUSY), deadline_ns=min(leave_off_ns, now_ns + _BUSY_NS))
        before_ns = _waited_ns()
        while True:
            start_ns, duration_ns = parts[-1]
            count = binding.time(
                start_ns, duration_ns, deadline_ns=window.end_ns, begin_ns=window.begin_ns
            )
            parts[-1] = (start_ns[:count], duration_ns[:count])
            if time.monotonic_ns() >= window.end_ns:
                break
            parts.append(_arrays(room))
        after_ns = _waited_ns()
        waited_ns = after_ns - before_ns if before_ns >= 0 and after_ns >= 0 else -1
        started, lasted = zip(*parts, strict=True)
        return (np.concatenate(started), np.concatenate(lasted)), waited_ns


def _arrays(count: int) -> tuple[Int64Array, Int64Array]:
    """Arrays for start and duration, their pages backed by memory already."""
    return np.full(count, -1, np.int64), np.full(count, -1, np.int64)


def _nothing() -> None:
    pass


def _waited_ns() -> int:
    """How long the calling thread has been runnable without a CPU so far; -1 if not known.

    Linux, Documentation/scheduler/sched-stats.rst.
    """
    try:
        ran, waited, _ = map(int, Path("/proc/thread-self/schedstat").read_text().split())
    except (OSError, ValueError):
        return -1
    return waited if ran else -1
