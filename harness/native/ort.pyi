"""Types of the native module: ONNX Runtime through its C API.

No function here holds the GIL while ONNX Runtime is working.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

class OrtError(RuntimeError):
    """ONNX Runtime returned an error status.

    Attributes:
        code: name of the OrtErrorCode (``INVALID_ARGUMENT``, ``FAIL``, …).
        completed: inferences of the timing loop that succeeded before the error; otherwise 0.
    """

    code: str
    completed: int

class ProviderError(OrtError):
    """An execution provider cannot be loaded or created here."""

class ProviderOptionError(ProviderError):
    """An execution provider refuses its options: it does not know a name or a value."""

class CustomOpsError(OrtError):
    """A custom-operator library cannot be loaded, or fails to register its operators."""

class ValueType(NamedTuple):
    """Type of a model's input or output.

    kind: ``tensor``, ``sequence``, ``map``, ``optional``, ``sparse`` or ``opaque``.
    dtype: numpy or ml_dtypes name of the element type (``string`` for text); for a
        sequence or optional, the type of its elements; for a map, ``KEY->VALUE``.
    shape: dimensions of a tensor; a free dimension is its name, or None if it is unnamed.
        None for anything but a tensor, and for a tensor of unknown rank (which ORT before
        1.24 reports as a scalar).
    """

    name: str
    kind: str
    dtype: str
    shape: tuple[int | str | None, ...] | None

class Library:
    """libonnxruntime, opened with dlopen, and the one ORT environment of this process.

    Raises:
        OSError: it cannot be opened, is not ONNX Runtime, or is too old.
    """

    path: str
    version: str
    build_info: str
    open_ns: int
    def __init__(self, path: str) -> None: ...
    def available_providers(self) -> tuple[str, ...]: ...
    def take_log(self) -> list[str]:
        """Lines logged since the last call, oldest first, each ``SEVERITY message``."""

class Session:
    """An inference session.

    Args:
        library: the opened library.
        model: path of the model file, or its bytes.
        intra_threads, inter_threads: numbers of threads; 0 leaves the choice to ORT.
        optimization: ``disable``, ``basic``, ``extended``, ``layout`` or ``all``.
        execution_mode: ``sequential`` or ``parallel``.
        entries: session config entries.
        optimized_model_path: where ORT saves the graph that it will execute.
        profile_prefix: turns ORT's profiler on for the lifetime of the session.
        providers: (name, options) of execution providers to append, in order; CPU is
            always last.
        custom_op_domains: addresses of OrtCustomOpDomains, which must outlive the session.
        custom_op_libraries: paths of libraries that export RegisterCustomOps; ORT loads each
            and keeps it until the session is released.
        arena: whether CPU memory comes from ORT's arena, which keeps freed memory.
        memory_pattern: whether ORT plans the memory of an inference as one block, once it has
            seen the shapes.
        session_options_hook: called with the address of the OrtSessionOptions before the
            session is created.

    Attributes:
        create_ns: time to create the session, without its providers.
        provider_ns: time to append the providers, which loads their libraries.
        provider_options: for each provider, all its effective options as ``K=V;K=V``; None for
            a provider that does not report them.

    Raises:
        ProviderOptionError: a provider refused its options.
        ProviderError: a provider cannot be loaded.
        CustomOpsError: a custom-operator library cannot be loaded or registered.
        OrtError: ONNX Runtime refused the model or an option.
    """

    inputs: tuple[ValueType, ...]
    outputs: tuple[ValueType, ...]
    create_ns: int
    provider_ns: int
    provider_options: dict[str, str | None]
    profiling_start_ns: int
    def __init__(
        self,
        library: Library,
        model: str | bytes,
        *,
        intra_threads: int = 0,
        inter_threads: int = 0,
        optimization: str = "all",
        execution_mode: str = "sequential",
        entries: Mapping[str, str] = ...,
        optimized_model_path: str | None = None,
        profile_prefix: str | None = None,
        providers: Sequence[tuple[str, Mapping[str, str]]] = (),
        custom_op_domains: Sequence[int] = (),
        custom_op_libraries: Sequence[str] = (),
        arena: bool = True,
        memory_pattern: bool = True,
        session_options_hook: Callable[[int], None] | None = None,
    ) -> None: ...
    def assignments(self) -> tuple[tuple[str, tuple[tuple[str, str, str], ...]], ...]:
        """(provider, nodes) of each part of the graph, each node as (name, op_type, domain).

        ORT records this after its basic optimisations, but before provider-specific ones and
        before it adds copies; a part with several nodes is compiled as one. The session must be
        created with the entry ``session.record_ep_graph_assignment_info`` = 1.

        Raises:
            OrtError: the entry was not set, or ORT is older than 1.24.
        """
    def bind(
        self,
        inputs: Mapping[str, Any],
        place: Literal["host", "resident", "copied"] = "host",
        synchronise: int = 0,
    ) -> Binding:
        """Binds inputs and lets ORT allocate every output.

        Args:
            inputs: by name.
            place: ``host``: inputs are copied once, now, to the device whose nodes read them;
                each inference copies its outputs to the host. ``resident``: the same for
                inputs, but each output stays in the memory in which it was computed, so that
                an inference copies neither (ORT 1.23 or newer). ``copied``: inputs stay on
                the host; each inference copies them to where they are read, and its newly
                allocated outputs to the host. On the CPU, nothing is copied in any case.
            synchronise: address of a C function ``int f(void)`` that waits for the device and
                returns 0 or an error code. Only with ``resident``: ORT then returns as soon
                as it has enqueued the work, and each inference ends when f returns.

        A tensor is a numpy array (including ``ml_dtypes`` element types and text), a sequence
        a list, a map a dict, an absent optional None. Outputs stay bound from one inference to
        the next; those whose size the inputs do not determine are bound again before each
        inference, outside its timestamps.

        Raises:
            TypeError, ValueError: a value does not have the input's type.
            OrtError: ONNX Runtime refused it.
        """
    def arena(self) -> dict[str, int]:
        """Statistics of the session's host allocator, under ORT's own names.

        ``TotalAllocated`` and ``InUse`` in bytes, ``MaxInUse`` the peak so far, and others. Empty
        if the allocator keeps no statistics, such as one without an arena.

        Raises:
            OrtError: ORT is older than 1.23.
        """
    def end_profiling(self) -> str:
        """Ends the session's profile and returns the path of its JSON file."""
    def close(self) -> None:
        """Closes the session; ORT's session is released once its last binding is closed too."""

class Binding:
    """Inputs and outputs bound to a session, for use by one thread at a time.

    Raises:
        ValueError: it is closed, or another thread is in one of its methods.
    """

    def run(self, profile_prefix: str | None = None) -> int:
        """Runs one inference; returns its duration in nanoseconds.

        With profile_prefix, ORT writes PREFIX_TIMESTAMP.json for this inference only
        (ORT 1.25 or newer).
        """
    def outputs(self) -> list[Any]:
        """Outputs of the last inference, copied to Python, in the model's order.

        Raises:
            ValueError: one of them stayed on a device.
        """
    def time(
        self,
        start_ns: npt.NDArray[np.int64],
        duration_ns: npt.NDArray[np.int64],
        deadline_ns: int = 0,
        enqueue_ns: npt.NDArray[np.int64] | None = None,
        begin_ns: int = 0,
    ) -> int:
        """The timing loop: runs inferences back to back and stores their times in the arrays.

        If the binding synchronises, the first inference starts on an idle device, each
        duration ends when the device has finished the work, and enqueue_ns receives the part
        of it until ORT returned.

        Ends when the arrays are full, or with the first inference that finishes at or
        after deadline_ns (CLOCK_MONOTONIC; 0 for none). Begins at begin_ns, if that has not
        passed: threads of several processes that were told the same begin together. Returns the
        number of inferences.

        Raises:
            OrtError: an inference failed; ``completed`` says how many had succeeded.
        """
    def repeat(self, count: int) -> int:
        """Runs this many inferences without timestamps in between; returns their total in ns.

        The reference for the overhead of the timing loop (benchmarks/timing_loop.py).
        """
    def stamp_cost(self, added_ns: npt.NDArray[np.int64]) -> None:
        """Measures directly what the timing loop adds after each inference: one timestamp and
        two stores, once for each element of the array (benchmarks/timing_loop.py).
        """
    def close(self) -> None: ...

def monotonic_ns() -> int: ...
def realtime_offset_ns() -> int:
    """CLOCK_REALTIME minus CLOCK_MONOTONIC, read back to back, in nanoseconds."""
