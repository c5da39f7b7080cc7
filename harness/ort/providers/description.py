"""What there is to know of an execution provider, in one frozen value."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from harness.records import Reading

#: Texts that ONNX Runtime's own parser of provider options takes for true
#: (core/common/parse_string.h); it refuses what it takes for neither true nor false.
TRUE = ("1", "true", "True")


def _nothing() -> tuple[Reading, ...]:
    return ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionProvider:
    """An execution provider of ONNX Runtime.

    Attributes:
        name: by which users ask for it: ``cuda``.
        title: as sentences call it: ``CUDA``.
        ort_name: in graphs, traces and logs: ``CUDAExecutionProvider``.
        api_name: by which the C API appends it to a session; empty for the one that always is.
        memory: whose memory its tensors live in.
        takes_options: whether it has options of its own.
        followers: names of the providers behind it, which take the nodes that it cannot. They
            get those of its options that are named in ``shared_options``.
        capture_option: option that has the first inference captured as a graph, which the others
            replay; empty where there is none.
        capture_values: values of that option that ask for it.
        faster_start: option and value that shorten the first inference; empty where none does.
        logs_copies: whether ORT's log counts the copies that it adds between host and device.
        plugin: file name of its shared library beside libonnxruntime; empty where it is built in.
        state: whether it can be used with the libonnxruntime of this path, told without loading
            it here: a Reading named after it and the remedy. None: it always can.
        libraries: what its library needs, found or missing: (found paths, missing names, names
            missing where an operator wants them, remedy). None where it needs nothing.
        preload: loads what the plugin at this path needs before ORT does; None: nothing.
        facts: of its libraries, in a process that has made a session with it.
        synchronise: address of a C function that waits until the device is idle; None where
            inferences end with the call.
        drivers: beginnings of the names of facts that tell of its driver and libraries.
    """

    name: str
    title: str
    ort_name: str
    api_name: str = ""
    memory: Literal["host", "device"] = "host"
    takes_options: bool = True
    followers: tuple[str, ...] = ()
    shared_options: tuple[str, ...] = ()
    capture_option: str = ""
    capture_values: tuple[str, ...] = TRUE
    faster_start: str = ""
    logs_copies: bool = False
    plugin: str = ""
    state: Callable[[Path], tuple[Reading, str]] | None = None
    libraries: Callable[[Path], tuple[list[Path], list[str], list[str], str]] | None = None
    preload: Callable[[Path], object] | None = None
    facts: Callable[[], tuple[Reading, ...]] = _nothing
    synchronise: Callable[[], int] | None = None
    drivers: tuple[str, ...] = ()

    @property
    def on_device(self) -> bool:
        """Whether its tensors live in a device's memory."""
        return self.memory == "device"

    def captures(self, options: Mapping[str, str]) -> bool:
        """Whether these options of it ask for a captured graph.

        Such a session serves one binding, resident on the device: the graph reads and writes
        the memory that it was captured with. It tells the total time only.
        """
        return bool(self.capture_option) and (
            options.get(self.capture_option, "") in self.capture_values
        )
