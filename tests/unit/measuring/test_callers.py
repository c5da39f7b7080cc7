"""Threads that call one session in a window."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from harness.errors import MachineError, ModelError
from harness.measuring.callers import Called, Callers, Window
from harness.native import ort


class Binding:
    """Stands in for a binding: an inference takes a tenth of a millisecond, some calls fail.

    Args:
        fails: asked before each call of the timing loop.
        error: that it fails with.
    """

    def __init__(self, fails: Callable[[], bool], error: Exception) -> None:
        self._fails = fails
        self._error = error

    def time(
        self, start_ns: Any, duration_ns: Any, deadline_ns: int = 0, *, begin_ns: int = 0
    ) -> int:
        if self._fails():
            raise self._error
        while time.monotonic_ns() < begin_ns:
            pass
        for number in range(len(start_ns)):
            start_ns[number] = time.monotonic_ns()
            time.sleep(1e-4)
            duration_ns[number] = time.monotonic_ns() - start_ns[number]
            if start_ns[number] + duration_ns[number] >= deadline_ns:
                return number + 1
        return len(start_ns)


class Occasion:
    """A window of 10 ms that begins in 10 ms, and is over for all as soon as it is left."""

    def __init__(self) -> None:
        begin_ns = time.monotonic_ns() + 10_000_000
        self.window = Window(begin_ns, begin_ns + 10_000_000, 2)
        self.times_left = 0
        self.over = threading.Event()

    def left(self) -> None:
        self.times_left += 1
        # Later, so that each thread goes on for a while.
        threading.Timer(0.02, self.over.set).start()

    def measure(self, fails: Callable[[], bool], error: Exception) -> list[Called]:
        """What two callers do, the second of which fails."""
        bindings: list[Any] = [Binding(lambda: False, error), Binding(fails, error)]
        return Callers(bindings).measure(self.window, self.left, self.over)


@pytest.mark.parametrize("where", ["before", "in", "after"])
def test_a_caller_that_fails_fails_the_instance(where: str) -> None:
    occasion = Occasion()
    since_ns = {
        "before": 0,
        "in": occasion.window.begin_ns - 500_000,
        "after": occasion.window.end_ns,
    }[where]
    with pytest.raises(ModelError, match="an inference failed: Gather: index out of bounds"):
        occasion.measure(
            lambda: time.monotonic_ns() >= since_ns, ort.OrtError("Gather: index out of bounds")
        )
    assert occasion.times_left == 1


def test_a_device_that_fails_is_no_fault_of_the_model() -> None:
    with pytest.raises(MachineError, match="CUDA failure 214: uncorrectable ECC error"):
        Occasion().measure(
            lambda: True,
            ort.OrtError("CUDA failure 214: uncorrectable ECC error encountered ; GPU=0 ; x"),
        )


def test_memory_that_runs_out_is_told_as_such() -> None:
    occasion = Occasion()
    with pytest.raises(MemoryError):
        occasion.measure(lambda: True, MemoryError())
    assert occasion.times_left == 1
