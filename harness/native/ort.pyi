"""Types of the native module: ONNX Runtime through its C API.

No function here holds the GIL while ONNX Runtime works.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

class OrtError(RuntimeError):
    """ONNX Runtime returned a status.

    Attributes:
        code: name of the OrtErrorCode (``INVALID_ARGUMENT``, ``FAIL``, …).
        completed: inferences that had succeeded before (timing loop), else 0.
    """

    code: str
    completed: int

class ProviderError(OrtError):
    """An execution provider cannot be loaded or made here."""

class ProviderOptionError(ProviderError):
    """An execution provider refuses its options: a name or a value it does not know."""

class CustomOpsError(OrtError):
    """A library of custom operators cannot be loaded, or refuses to register them."""

class ValueType(NamedTuple):
    """Type of a model's input or output.

    kind: ``tensor``, ``sequence``, ``map``, ``optional``, ``sparse`` or ``opaque``.
    dtype: numpy or ml_dtypes name of the element type (``string`` for text); for a
        sequence or optional that of its elements, for a map ``KEY->VALUE``.
    shape: dimensions of a tensor; a free one is its name, or None when it has none.
        None for anything but a tensor, and for a tensor of any rank (ORT before 1.24
        reports that one as a scalar).
    """

    name: str
    kind: str
    dtype: str
    shape: tuple[int | str | None, ...] | None

class Library:
    """libonnxruntime, opened with dlopen, and the one ORT environment of this process.

    Raises:
        OSError: it cannot be opened, or is not ONNX Runtime, or is too old.
    """

    path: str
    version: str
    build_info: str
    open_ns: int
    def __init__(self, path: str) -> None: ...
    def available_providers(self) -> tuple[str, ...]: ...
    def take_log(self) -> list[str]:
        """Lines logged since the last call, oldest first, ``SEVERITY message``."""

class Session:
    """An inference session.

    Args:
        library: the opened library.
        model: path of the model file, or its bytes.
        intra_threads, inter_threads: 0 leaves the choice to ORT.
        optimization: ``disable``, ``basic``, ``extended``, ``layout`` or ``all``.
        execution_mode: ``sequential`` or ``parallel``.
        entries: session config entries.
        optimized_model_path: where ORT saves the graph that it will execute.
        profile_prefix: turns ORT's profiler on for the session's life.
        providers: (name, options) of execution providers to append, in order; CPU is
            always last.
        custom_op_domains: addresses of OrtCustomOpDomains, which must outlive the session.
        custom_op_libraries: paths of libraries that export RegisterCustomOps; ORT loads each
            and keeps it until the session is released.
        arena: whether memory on the CPU comes from ORT's arena, which keeps what is freed.
        memory_pattern: whether ORT plans the memory of an inference as one block, once it has
            seen the shapes.
        session_options_hook: called with the address of the OrtSessionOptions before the
            session is made.

    Attributes:
        create_ns: what creating the session took, without its providers.
        provider_ns: what appending the providers took: loading their libraries.
        provider_options: by provider, ``K=V;K=V`` of all its options as they took effect;
            None for a provider that does not tell them.

    Raises:
        ProviderOptionError: a provider refused its options.
        ProviderError: a provider cannot be loaded.
        CustomOpsError: a library of custom operators cannot be.
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
        """(provider, nodes) of each part of the graph, a node as (name, op_type, domain).

        ORT records it after its basic optimisations, before those that need to know the
        provider and before it adds copies; a part of several nodes is compiled as one. The
        session must be made with the entry ``session.record_ep_graph_assignment_info`` = 1.

        Raises:
            OrtError: it was not, or ORT is older than 1.24.
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
            place: ``host``: inputs are copied now, once, to the device whose nodes read them;
                outputs are brought to the host by each inference. ``resident``: the same
                inputs, and each output stays in the memory in which it was made, so that an
                inference copies neither (ORT 1.23 or newer). ``copied``: inputs lie on the
                host, and each inference copies them to where they are read and its outputs,
                made anew, to the host. On the CPU nothing is copied in any of them.
            synchronise: address of a C function ``int f(void)`` that waits for the device and
                returns 0, or an error code. Only with ``resident``: ORT then returns as soon
                as it has enqueued the work, and each inference ends when f returns.

        A tensor is a numpy array (``ml_dtypes`` element types and text included), a
        sequence a list, a map a dict, an absent optional None. Outputs stay bound from
        one inference to the next; those whose size the inputs do not determine are
        bound anew before each, outside its stamps.

        Raises:
            TypeError, ValueError: a value does not have the input's type.
            OrtError: ONNX Runtime refused it.
        """
    def arena(self) -> dict[str, int]:
        """What the session's allocator of host memory tells of itself, by ORT's own names.

        ``TotalAllocated`` and ``InUse`` in bytes, ``MaxInUse`` at most so far, and others. Empty
        where the allocator keeps no account, as one without an arena does.

        Raises:
            OrtError: ORT is older than 1.23.
        """
    def end_profiling(self) -> str:
        """Ends the session's profile and returns the path of its JSON file."""
    def close(self) -> None:
        """Gives the session up; ORT's is released when its last binding is closed too."""

class Binding:
    """Inputs and outputs bound to a session, for one thread at a time.

    Raises:
        ValueError: it is closed, or another thread is in one of its methods.
    """

    def run(self, profile_prefix: str | None = None) -> int:
        """One inference; returns its duration in nanoseconds.

        With profile_prefix ORT writes PREFIX_TIMESTAMP.json for this inference alone
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
    ) -> int:
        """The timing loop: one inference after the other, stamped into the arrays.

        Where the binding synchronises, the first inference starts on an idle device, each
        duration ends when the device has done the work, and enqueue_ns takes the part of it
        until ORT returned.

        Ends when the arrays are full, or at the first inference that finishes at or
        after deadline_ns (CLOCK_MONOTONIC; 0 for none). Returns how many were taken.

        Raises:
            OrtError: an inference failed; its ``completed`` says how far the loop came.
        """
    def repeat(self, count: int) -> int:
        """So many inferences without a stamp between them; their nanoseconds together.

        What the timing loop is measured against (benchmarks/timing_loop.py).
        """
    def stamp_cost(self, added_ns: npt.NDArray[np.int64]) -> None:
        """Fills in what the timing loop adds behind each of so many inferences: one stamp and
        the storing of two numbers, seen directly (benchmarks/timing_loop.py).
        """
    def close(self) -> None: ...

def monotonic_ns() -> int: ...
def realtime_offset_ns() -> int:
    """CLOCK_REALTIME minus CLOCK_MONOTONIC, read back to back, in nanoseconds."""
