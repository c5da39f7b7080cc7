"""ORT sessions made as the configuration says, with errors in the user's terms."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from harness.config.session import SessionConfig
from harness.errors import (
    NO_THREADS,
    HarnessError,
    MachineError,
    ModelError,
    RequestError,
    no_threads,
    one_line,
)
from harness.native import ort
from harness.ort import providers

#: What a duration covers, by what was timed; the label to store and show with it.
DURATION_HOLDS = {
    "host": "from the call of Run until it returned; inputs and outputs in host memory",
    "resident": "from an idle device until it had done the work (cudaDeviceSynchronize); inputs "
    "and outputs stay on the device",
    "enqueue": "the part of the resident duration until Run returned, with the work enqueued",
    "copied": "from the call of Run until it returned; inputs in host memory, copied to the "
    "device, and outputs copied back, by each inference",
    "captured": "as resident; each inference replays a CUDA graph that the first one captured",
}

#: ORT's message when a device or one of NVIDIA's libraries failed, not the model.
_DEVICE_FAILURE = re.compile(r"\b(?:CUDA|CUDNN|CUBLAS|CUFFT|CURAND) failure -?\d+: [^;]*")

#: ORT's message about an operator that neither it nor a registered library has.
_UNKNOWN_OPERATOR = re.compile(r"No Op registered for|is not a registered function/op")

#: What ORT puts before a message: its status code, and the place in its source.
_IN_SOURCE = re.compile(r"^.*\[ONNXRuntimeError\] : \d+ : \w+ : (?:\S+\.\w+:\d+ \w+ )?", re.DOTALL)


def open_library(path: Path, config: SessionConfig) -> ort.Library:
    """Opens libonnxruntime.

    Args:
        path: its file.
        config: tells whether the user asked for it, or it is the installed one.

    Raises:
        RequestError: ``library`` is not ONNX Runtime, or is too old.
        MachineError: the installed one cannot be opened.
    """
    try:
        return ort.Library(str(path))
    except OSError as error:
        reason = one_line(str(error))
        if config.library is not None:
            raise RequestError(
                f"`library` {reason}", "give the path of a libonnxruntime.so.1.x"
            ) from error
        raise MachineError(
            f"ONNX Runtime cannot be opened: {reason}", "install onnxruntime-gpu again"
        ) from error


def open_session(
    library: ort.Library, model: Path, config: SessionConfig, **overrides: Any
) -> ort.Session:
    """A session as the configuration says.

    Args:
        library: the opened ONNX Runtime.
        model: the model file.
        config: session options.
        overrides: arguments of Session that differ from the configuration.

    Raises:
        MachineError: the execution provider cannot be used here, or no thread can be started.
        RequestError: the provider refuses its options, or a library of custom operators cannot
            be registered.
        ModelError: ONNX Runtime refuses the model.
    """
    load_provider_libraries(library, config)
    appended = [(one.api_name, options) for one, options in providers.chain(config)]
    options: dict[str, Any] = {
        "intra_threads": config.intra_threads,
        "inter_threads": config.inter_threads,
        "optimization": config.optimization,
        "execution_mode": config.execution_mode,
        "entries": config.entries,
        "custom_op_libraries": [str(path.absolute()) for path in config.custom_ops],
        "arena": not config.no_arena,
        "memory_pattern": not config.no_mem_pattern,
        "providers": appended,
    }
    try:
        return ort.Session(library, str(model), **(options | overrides))
    except ort.CustomOpsError as error:
        named = ", ".join(map(str, config.custom_ops))
        raise RequestError(
            f"`custom_ops` {named}: cannot be registered: {one_line(str(error))}",
            "give a shared library that exports RegisterCustomOps, built for this ONNX Runtime",
        ) from error
    except ort.OrtError as error:
        if appended and (refused := _provider_failure(error, model, config)) is not None:
            raise refused from error
        if NO_THREADS.search(str(error)):
            raise no_threads(f"a session of {model}") from error
        reason = one_line(str(error))
        remedy = "check the model, or try another version with `library`"
        if _UNKNOWN_OPERATOR.search(reason):
            remedy = (
                "name the library that has the operator with `custom_ops`, "
                "or try another version with `library`"
            )
        raise ModelError(
            f"{model}: ONNX Runtime {library.version} refuses the model: {reason}", remedy
        ) from error


def _provider_failure(
    error: ort.OrtError, model: Path, config: SessionConfig
) -> HarnessError | None:
    """The error if the provider is the cause; None if it is the model."""
    failure = _DEVICE_FAILURE.search(str(error))
    said = one_line(failure[0] if failure else _IN_SOURCE.sub("", str(error)))
    if failure is None and isinstance(error, ort.ProviderOptionError):
        return RequestError(
            f"`provider_options`: {config.provider} refuses: {said}",
            f"see ONNX Runtime's documentation of the options of {config.provider}",
        )
    if "graph capture" in said:
        return RequestError(
            f"`provider_options`: cannot capture {model} as a CUDA graph: {said}",
            "drop the option that asks for CUDA graphs",
        )
    if failure is None and not isinstance(error, ort.ProviderError):
        return None
    return MachineError(
        f"`provider` {config.provider} cannot be used here: {said}",
        "see 'harness doctor', or profile with `provider` cpu",
    )


def device_failure(error: Exception) -> MachineError | None:
    """The error if an inference failed by the fault of the device; None if it did otherwise.

    Args:
        error: what ONNX Runtime said of it.
    """
    failure = _DEVICE_FAILURE.search(str(error))
    if failure is None:
        return None
    return MachineError(
        f"an inference failed, and not by the model: {one_line(failure[0])}",
        "see 'harness doctor', or profile with `provider` cpu",
    )


def load_provider_libraries(library: ort.Library, config: SessionConfig) -> None:
    """Loads what the providers need from folders the loader does not search; once per process.

    ``open_session`` does so too: call this first only to time it separately.

    Raises:
        MachineError: a library is there but does not load.
    """
    for provider, _ in providers.chain(config):
        if provider.preload is not None:
            _preload(provider.preload, Path(library.path).parent / provider.plugin)


@functools.cache
def _preload(preload: Callable[[Path], object], plugin: Path) -> None:
    """Once per process: what is loaded stays."""
    if plugin.exists():
        preload(plugin)


def bind(session: ort.Session, inputs: Mapping[str, Any], *place: Any) -> ort.Binding:
    """Binds those inputs that the session has: optimisation may have dropped some.

    Args:
        session: the session.
        inputs: by name.
        place: further arguments of Session.bind.
    """
    needed = {described.name for described in session.inputs}
    return session.bind({name: value for name, value in inputs.items() if name in needed}, *place)
