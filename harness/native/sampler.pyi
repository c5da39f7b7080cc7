"""Types of the native module: numbers of the machine, read by a thread at a steady rate."""

import os
from collections.abc import Iterable
from typing import Any, Final, NamedTuple, Self

import numpy as np
import numpy.typing as npt

#: Kinds of channels; below each what `argument` means and the unit before scaling.
FILE: Final[int]
"""A whole number in a text file: which field of the line that begins with `key`, from 1."""
NVML_FIELD: Final[int]
"""nvmlDeviceGetFieldValues: the field. Neighbouring channels are read by one call."""
NVML_CLOCK: Final[int]
"""nvmlDeviceGetClockInfo: the clock; MHz."""
NVML_TEMPERATURE: Final[int]
"""nvmlDeviceGetTemperature: the sensor; °C."""
NVML_UTILIZATION: Final[int]
"""nvmlDeviceGetUtilizationRates: 0 of the GPU, 1 of its memory; percent. One call."""
NVML_REASONS: Final[int]
"""nvmlDeviceGetCurrentClocksEventReasons: none; a bitmask."""
NVML_MEMORY: Final[int]
"""nvmlDeviceGetMemoryInfo, used: none; bytes."""

#: One reading: ``time_ns``, the middle of the call on CLOCK_MONOTONIC; ``value``; ``updated_us``,
#: CLOCK_REALTIME at which the driver says that it updated the value, or 0; ``status``, 0 or
#: an errno (files; ENODATA: no such line, field or number) or an nvmlReturn_t (NVML).
READING: Final[np.dtype[np.void]]

class Channel(NamedTuple):
    """One number to read: times `scale` it is the value.

    Fields of a line are separated by blanks; of a field ``name=number`` the number counts.
    Without a key it is the first line. Neighbouring channels of one file share one read.
    """

    kind: int
    argument: int = 0
    scale: int = 1
    slow: bool = False
    path: str | os.PathLike[str] = ""
    key: str = ""

class Report(NamedTuple):
    """Counters of the thread.

    Attributes:
        ticks: deadlines that were served.
        missed: deadlines left out because they were over before the tick before was done.
        dropped: ticks whose readings found no room.
        cpu_ns: CPU time of the thread in its ticks.
        hung: index of the channel that did not answer, their number where it was NVML's
            shutdown; None when all did.
        detail: why NVML could not be opened; empty where it could, or was not asked for.
        test_double: NVML was one that tests are made of.
    """

    ticks: int
    missed: int
    dropped: int
    cpu_ns: int
    hung: int | None
    detail: str
    test_double: bool

class Sampler:
    """A native thread, the channels that it reads, and what it has read.

    Its deadlines are start + n / hz on CLOCK_MONOTONIC, so lateness does not add up; those
    that are over already are left out and counted. It holds no Python object, allocates
    nothing, blocks all signals and never needs the GIL. One that a library keeps in a call
    for ever is given up with the memory that it may still write to.

    Args:
        channels: fast ones, read at every tick, then slow ones.
        hz: ticks a second, 1 to 1000.
        slow_every: ticks from one reading of the slow channels to the next.
        capacity: ticks whose readings have room; more are dropped and counted.
        gpu: NVML's index of the GPU.
        nvml_library: opened by the thread when a channel needs it.
        patience_s: how long a call may take before the thread is given up.

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

        At the latest after patience_s; the GIL is not held meanwhile.

        Raises:
            OSError: the thread cannot be started, or was started before.
        """

    def stop(self) -> None:
        """Has the thread take last readings of all channels, and waits for its end.

        At most a period and patience_s (twice, when NVML hangs at its shutdown as well); the
        GIL is not held. May be called again.
        """

    def take(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Readings since the last call, also while the thread is at work.

        Returns:
            READING[ticks, 1 + fast channels] and READING[slow ticks, slow channels]. Column
            0 of the first is the tick itself: when the thread woke, and as value how many
            nanoseconds after its deadline.
        """

    def report(self) -> Report:
        """Counters of the thread, also while it is at work."""

    def close(self) -> None:
        """Gives everything back and waits for nothing; may be called again."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...
