"""What harness asks of a runtime other than ONNX Runtime; each is a file in ``runtimes/``."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from harness.records import Int64Array, Reading


class InferenceFailed(Exception):
    """An inference of the runtime failed.

    Attributes:
        completed: inferences of the timing loop that had succeeded.
    """

    def __init__(self, reason: str, completed: int = 0) -> None:
        super().__init__(reason)
        self.completed = completed


@dataclasses.dataclass(frozen=True, slots=True)
class Task:
    """What a runtime shall open.

    Attributes:
        model: the ONNX file.
        name: of the model, for messages.
        inputs: C-contiguous tensors by name.
        expected: ONNX Runtime's outputs, in the model's order: their types, and how many.
        threads: that one inference may use; at least 1.
        on_device: whether on the GPU; otherwise on the CPU.
        options: the user's, by the runtime's own names.
    """

    model: Path
    name: str
    inputs: Mapping[str, npt.NDArray[Any]]
    expected: tuple[npt.NDArray[Any], ...]
    threads: int
    on_device: bool
    options: Mapping[str, str]


class Opened(Protocol):
    """A model that a runtime has opened, with its inputs bound.

    Attributes:
        open_ns: what loading the runtime took.
        create_ns: what reading and compiling the model took.
        threads: of an inference, as the runtime reports them; None where it does not.
        holds: what a duration includes, in one sentence.
        loop: what keeps the time, in one sentence.
    """

    open_ns: int
    create_ns: int
    threads: int | None
    holds: str
    loop: str

    def take_log(self) -> list[str]:
        """Lines that the runtime logged since the last call."""

    def run(self) -> int:
        """Runs one inference; returns its duration in nanoseconds.

        Raises:
            InferenceFailed: the runtime says that it failed.
        """

    def time(
        self,
        start_ns: Int64Array,
        duration_ns: Int64Array,
        *,
        enqueue_ns: Int64Array | None = None,
    ) -> object:
        """Runs as many inferences as the arrays hold, back to back, and stores their times.

        Args:
            start_ns: CLOCK_MONOTONIC.
            duration_ns: until the outputs are there; of a device, until it has done the work.
            enqueue_ns: on a device, the part of the duration until the call returned.

        Raises:
            InferenceFailed: an inference failed.
        """

    def loop_ns(self, count: int) -> Int64Array:
        """int64[count]: what the same loop stores of a call that does nothing."""

    def outputs(self) -> list[Any]:
        """Copies of the model's outputs, in its order, after the inferences made so far.

        Raises:
            InferenceFailed: they cannot be had.
        """

    def facts(self) -> tuple[Reading, ...]:
        """Version, and the settings in effect."""

    def close(self) -> None:
        """Frees the model; may be called twice."""


@dataclasses.dataclass(frozen=True, slots=True)
class Runtime:
    """A runtime.

    Attributes:
        name: as users ask for it; that of its module, and of the extra that installs it.
        title: as its authors write it.
        packages: top-level modules that must be installed.
        places: names of the providers that it needs none of, but runs where they do.
        takes: checks the user's options; raises RequestError for one that is not known.
        open: opens a model. Raises ModelError if the runtime refuses it, RequestError for a
            value of an option, MachineError for what is not there, InferenceFailed if it makes
            inferences and one failed.
    """

    name: str
    title: str
    packages: tuple[str, ...]
    places: tuple[str, ...]
    takes: Callable[[Mapping[str, str]], None]
    open: Callable[[Task], Opened]


def median_ns(durations_ns: Int64Array) -> int:
    """The median of some durations, whole nanoseconds."""
    return int(np.median(durations_ns))
