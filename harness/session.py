"""An ORT session made as the configuration says, with its errors in the user's terms."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness._ort import Binding, Library, OrtError, Session
from harness.config import SessionConfig
from harness.errors import MachineError, ModelError

#: Names by which ORT's C API appends an execution provider.
PROVIDER_NAMES = {"cuda": "CUDA", "tensorrt": "TensorRT"}


def open_session(library: Library, model: Path, config: SessionConfig, **overrides: Any) -> Session:
    """A session as the configuration says.

    Args:
        library: the opened ONNX Runtime.
        model: the model file.
        config: session options.
        overrides: arguments of Session that differ from the configuration.

    Raises:
        MachineError: the execution provider cannot be used here.
        ModelError: ONNX Runtime refuses the model.
    """
    options: dict[str, Any] = {
        "intra_threads": config.intra_threads,
        "inter_threads": config.inter_threads,
        "optimization": config.optimization,
        "execution_mode": config.execution_mode,
        "entries": config.entries,
        "providers": (
            [(PROVIDER_NAMES[config.provider], config.provider_options)]
            if config.provider in PROVIDER_NAMES
            else []
        ),
    }
    try:
        return Session(library, str(model), **(options | overrides))
    except OrtError as error:
        reason = one_line(str(error))
        if config.provider in PROVIDER_NAMES and "provider" in reason.lower():
            raise MachineError(
                f"--provider {config.provider} cannot be used here: {reason}",
                "see 'harness doctor', or profile with --provider cpu",
            ) from error
        raise ModelError(
            f"{model}: ONNX Runtime {library.version} refuses the model: {reason}",
            "check the model, or try another version with --ort-library",
        ) from error


def bind(session: Session, inputs: Mapping[str, Any]) -> Binding:
    """Binds those inputs that the session has: optimisation may have dropped some."""
    needed = {described.name for described in session.inputs}
    return session.bind({name: value for name, value in inputs.items() if name in needed})


def one_line(text: str, limit: int = 400) -> str:
    """The text on one line, cut in the middle when it is very long."""
    line = " ".join(text.split())
    if len(line) <= limit:
        return line
    return f"{line[: limit // 2]} … {line[-limit // 2 :]}"
