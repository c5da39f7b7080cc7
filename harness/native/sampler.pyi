"""Types of the native module: readings of the machine, taken by a thread at a steady rate."""

import os
from collections.abc import Iterable
from typing import Any, Final, NamedTuple, Self

import numpy as np
import numpy.typing as npt

#: Kinds of channels. Each says what `argument` means, and the unit before scaling.
FILE: Final[int]
"""An integer in a text file: its field, counted from 1, in the line that begins with `key`."""
NVML_FIELD: Final[int]
"""nvmlDeviceGetFieldValues: the field. Adjacent channels are read with one call."""
NVML_CLOCK: Final[int]
"""nvmlDeviceGetClockInfo: the clock; MHz."""
NVML_TEMPERATURE: Final[int]
"""nvmlDeviceGetTemperature: the sensor; °C."""
NVML_UTILIZATION: Final[int]
"""nvmlDeviceGetUtilizationRates: 0 for the GPU, 1 for its memory; percent. Read with one call."""
NVML_REASONS: Final[int]
"""nvmlDeviceGetCurrentClocksEventReasons: unused; a bitmask."""
NVML_MEMORY: Final[int]
"""nvmlDeviceGetMemoryInfo, used: unused; bytes."""
NVML_SAMPLES: Final[int]
"""nvmlDeviceGetSamples: the type of samples, of which the driver itself keeps the last seconds.
They are fetched seldom, each with the time that the driver gives it."""

ELSEWHERE: Final[int]
"""Status, in the rows of ticks, of a channel that turned out to be a seldom one."""

#: One reading: ``time_ns``, the middle of the call on CLOCK_MONOTONIC; ``value``; ``updated_us``,
#: CLOCK_REALTIME at which the driver last updated the value, as it reports, or 0; ``status``, 0 or
#: an errno (files; ENODATA: no such line, field or number) or an nvmlReturn_t (NVML); and
#: ``channel``, of a seldom reading the index of its channel, else 0.
READING: Final[np.dtype[np.void]]

class Channel(NamedTuple):
    """One number to read; multiplied by `scale`, it is the value.

    Fields of a line are separated by blanks; in a field ``name=number``, the number is read.
    Without a key, the first line is used. Adjacent channels of one file share one read.

    Before the first tick, each call of NVML is made three times. One that takes more than 50 µs, or
    fails in one of them and may take anything, is seldom from then on, whether it was to be fast or
    slow: read at the edges of passes, and in between so rarely that it takes 1/2000 of a core, once
    a second at most. Of a `meter` (a counter) the spacing of its updates is then found, in at most
    0.7 s.
    """

    kind: int
    argument: int = 0
    scale: int = 1
    slow: bool = False
    path: str | os.PathLike[str] = ""
    key: str = ""
    meter: bool = False

class Cost(NamedTuple):
    """What was found out about a channel before the first tick.

    Attributes:
        cost_ns: the fastest of three calls; 0 if it is not known, and of files.
        period_ns: spacing of a seldom meter's updates; 0 if it is not one, or was not updated
            four times in 0.7 s.
        every_ns: longest time between two readings of a seldom channel; 0 of any other. Where the
            cost is not known, and turns out to be high, it is longer.
        untried: status of the trial that failed, so that the cost is not known; else 0.
        seldom: whether it is read seldom.
    """

    cost_ns: int
    period_ns: int
    every_ns: int
    untried: int
    seldom: bool

class Report(NamedTuple):
    """Counters of the thread.

    Attributes:
        ticks: deadlines that were met with readings.
        missed: deadlines skipped because they passed before the previous tick was done.
        dropped: ticks whose readings did not fit.
        cpu_ns: CPU time that the thread spent in its ticks, as of the last slow one.
        setup_ns: CPU time before the first of them: opening, and finding out what calls cost.
        hung: index of the channel that did not answer, or the number of channels if NVML's
            shutdown did not; None if all answered.
        detail: why NVML could not be opened; empty if it could, or was not needed.
        test_double: whether NVML was a test double.
    """

    ticks: int
    missed: int
    dropped: int
    cpu_ns: int
    setup_ns: int
    hung: int | None
    detail: str
    test_double: bool

class Sampler:
    """A native thread, the channels that it reads, and its readings.

    Its deadlines are start + n / hz on CLOCK_MONOTONIC, so lateness does not accumulate;
    deadlines that have already passed are skipped and counted. It holds no Python objects,
    allocates nothing, blocks all signals and never needs the GIL. If a library call never
    returns, the thread is abandoned, together with the memory that it may still write to.

    Args:
        channels: fast ones, read at every tick, then slow ones.
        hz: ticks per second, 1 to 1000.
        slow_every: ticks from one reading of the slow channels to the next.
        capacity: ticks whose readings fit; further ones are dropped and counted.
        gpu: NVML's index of the GPU.
        nvml_library: opened by the thread when a channel needs it.
        patience_s: how long a call may take before the thread is abandoned.

    Raises:
        ValueError: an argument is not as described.
        MemoryError: the rows cannot be allocated.
    """

    def __init__(
        self,
        channels: Iterable[Channel],
        hz: float = 100.0,
        slow_every: int = 10,
        capacity: int = 6000,
        gpu: int = 0,
        nvml_library: str = "libnvidia-ml.so.1",
        patience_s: float = 2.0,
    ) -> None: ...
    def start(self) -> None:
        """Starts the thread and returns after its first readings of all channels.

        Takes patience_s at most; the GIL is not held meanwhile.

        Raises:
            OSError: the thread cannot be started, or was started before.
        """

    def edge(self) -> bool:
        """Has the thread read its seldom channels at the next deadline, and waits until it has.

        Takes at most a period and 0.1 s, as a timed pass may follow; no time if there are none, if
        the thread has not answered the last edge yet, or still opens NVML. The GIL is not held.

        Returns:
            Whether they were read in time, or there are none. What is read later is among the
            readings all the same, each with its own time.
        """

    def stop(self) -> None:
        """Has the thread take last readings of all channels, and waits for it to end.

        Takes at most a period and patience_s (twice that, if NVML also hangs at its shutdown);
        the GIL is not held. May be called again.
        """

    def take(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
        """Readings since the last call; may be called while the thread is running.

        Returns:
            READING[ticks, 1 + fast channels], READING[slow ticks, slow channels] and
            READING[seldom readings]. Column 0 of the first is the tick itself: the time at which
            the thread woke, and as value its lateness in nanoseconds.
        """

    def costs(self) -> tuple[Cost, ...]:
        """What was found out about each channel; may be called while the thread is running."""

    def report(self) -> Report:
        """Counters of the thread; may be called while it is running."""

    def close(self) -> None:
        """Releases everything without waiting; may be called again."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...
