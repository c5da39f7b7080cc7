"""Everything harness knows about an execution provider, in one frozen value."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from harness.ort.nvidia_libraries import Needs
    from harness.records import Reading

#: Text that ONNX Runtime's parser of provider options reads as true
#: (core/common/parse_string.h); it refuses text that is neither true nor false.
TRUE = ("1", "true", "True")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionProvider:
    """An execution provider of ONNX Runtime.

    Attributes:
        name: name that users ask for it by.
        title: its name in sentences.
        ort_name: its name in graphs, traces and logs.
        api_name: name with which the C API appends it to a session; empty for the one that is
            always there.
        memory: where its tensors live. A device is assumed to be NVIDIA's: those are sampled,
            and their kernels recorded.
        takes_options: whether it has options of its own.
        followers: names of the fallback providers, which take the nodes that it cannot. They
            get those of its options that ``shared_options`` names.
        shared_options: names of its options that the followers have too.
        takes_probes: whether it executes its nodes one by one on a device, custom operators
            among them, so that probes can stand between.
        host_results: names of the operators whose results its kernels leave in the host's memory.
        capture_option: option that makes the first inference capture a graph, which later ones
            replay; empty if there is none.
        capture_values: values of that option that switch it on.
        faster_start: option and value that shorten the first inference; empty if there is none.
        tf32_option: option that lets float32 products run in TF32, which it does unless it is 0;
            empty if there is none.
        precision_options: names of its options that let arithmetic run in a narrower type.
        logs_copies: whether ORT's log counts the copies that it adds between host and device.
        plugin: file name of its shared library next to libonnxruntime; empty if it is built in.
        state: whether it can be used with the libonnxruntime at a path, without loading that
            into this process: a Reading with its name, absent with the reason, and the remedy.
            None: it always can.
        needs: what the plugin at a path needs, found or missing. None: it needs nothing.
        preload: loads what the plugin at a path needs, before ORT loads it. None: nothing to
            load.
        facts: facts about its libraries, in a process that has a session with it. None: it has
            none.
        synchronise: address of a C function that waits until the device is idle. None: an
            inference is finished when Run returns.
        drivers: prefixes of the names of facts about its driver and libraries.
    """

    name: str
    title: str
    ort_name: str
    api_name: str = ""
    memory: Literal["host", "device"] = "host"
    takes_options: bool = True
    followers: tuple[str, ...] = ()
    shared_options: tuple[str, ...] = ()
    takes_probes: bool = False
    host_results: frozenset[str] = frozenset()
    capture_option: str = ""
    capture_values: tuple[str, ...] = TRUE
    faster_start: str = ""
    tf32_option: str = ""
    precision_options: tuple[str, ...] = ()
    logs_copies: bool = False
    plugin: str = ""
    state: Callable[[Path], tuple[Reading, str]] | None = None
    needs: Callable[[Path], Needs] | None = None
    preload: Callable[[Path], object] | None = None
    facts: Callable[[], tuple[Reading, ...]] | None = None
    synchronise: Callable[[], int] | None = None
    drivers: tuple[str, ...] = ()

    @property
    def on_device(self) -> bool:
        """Whether its tensors live in a device's memory."""
        return self.memory == "device"

    def captures(self, options: Mapping[str, str]) -> bool:
        """Whether these options ask for a captured graph.

        The graph reads and writes the memory that it was captured with: such a session serves
        one binding, resident on the device, and shows only the total time.
        """
        asked = options.get(self.capture_option) if self.capture_option else None
        return asked in self.capture_values

    def without_capture(self, options: Mapping[str, str]) -> dict[str, str]:
        """The same options without the one that asks for a captured graph."""
        return {key: value for key, value in options.items() if key != self.capture_option}

    def with_capture(self, options: Mapping[str, str]) -> dict[str, str]:
        """The same options, asking for a captured graph; unchanged where there is none."""
        if not self.capture_option or self.captures(options):
            return dict(options)
        return {**options, self.capture_option: self.capture_values[0]}
