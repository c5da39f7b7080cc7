"""Sees to it that Ctrl-C ends a command wherever it comes.

Python runs the handler of a signal between any two steps of the main thread. Where that is inside
the callback of a weak reference or a finaliser, whose callers cannot take an exception, Python
prints the exception and goes on: https://docs.python.org/3/library/sys.html#sys.unraisablehook.
h5py keeps its open objects by weak references, so this happens while profiles are read.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING

from harness.errors import Interrupted

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

#: How long an interrupt that came at a bad moment is put off: callbacks take microseconds.
_LATER_S = 0.001


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Inside the block, an interrupt that Python would drop is raised again a millisecond later.

    Then by whatever handles SIGINT at that time. No effect outside the main thread, where no
    interrupts are raised.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    others = sys.unraisablehook

    def hook(lost: UnraisableHookArgs) -> None:
        if issubclass(lost.exc_type, KeyboardInterrupt | Interrupted):
            # Raised here, it would be lost as well.
            signal.setitimer(signal.ITIMER_REAL, _LATER_S)
        else:
            others(lost)

    alarm = signal.signal(signal.SIGALRM, _again)
    sys.unraisablehook = hook
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.unraisablehook = others
        signal.signal(signal.SIGALRM, alarm)


def _again(_number: int, _frame: FrameType | None) -> None:
    signal.raise_signal(signal.SIGINT)
