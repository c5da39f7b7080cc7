"""How an ONNX Runtime session is created."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from harness.config.fields import settle
from harness.errors import RequestError

#: The runtime whose sessions these are, and that runs everything unless another is asked for.
ORT = "ort"

OPTIMIZATION_LEVELS = ("disable", "basic", "extended", "layout", "all")
EXECUTION_MODES = ("sequential", "parallel")


@dataclasses.dataclass(frozen=True, slots=True)
class SessionConfig:
    """How the ORT session is created; every field maps to one session option of ORT's C API.

    Attributes:
        provider: requested execution provider (``harness.ort.providers``).
        provider_options: options of that provider, by ORT's own names.
        intra_threads: threads within one operator; 0 leaves the choice to ORT.
        inter_threads: threads across operators (parallel mode); 0 leaves the choice to ORT.
        optimization: graph optimisation level, one of OPTIMIZATION_LEVELS.
        execution_mode: one of EXECUTION_MODES.
        entries: ORT session config entries (``session.intra_op.allow_spinning`` …).
        custom_ops: libraries of custom operators that the session registers.
        no_arena: take CPU memory from the system, not from ORT's arena.
        no_mem_pattern: allocate each tensor separately, not in one planned block per inference.
        library: path of the libonnxruntime to use, or None for the installed wheel's.
        strict: refuse a graph if any of its nodes is not on the requested provider.
    """

    provider: str = "cpu"
    provider_options: dict[str, str] = dataclasses.field(default_factory=dict)
    intra_threads: int = 0
    inter_threads: int = 0
    optimization: str = "all"
    execution_mode: str = "sequential"
    entries: dict[str, str] = dataclasses.field(default_factory=dict)
    custom_ops: tuple[Path, ...] = ()
    no_arena: bool = False
    no_mem_pattern: bool = False
    library: Path | None = None
    strict: bool = False

    def __post_init__(self) -> None:
        settle(self)
        one_of("optimization", self.optimization, OPTIMIZATION_LEVELS)
        one_of("execution_mode", self.execution_mode, EXECUTION_MODES)
        for field, value in (
            ("intra_threads", self.intra_threads),
            ("inter_threads", self.inter_threads),
        ):
            if value < 0:
                raise RequestError(
                    f"`{field}` {value}: must not be negative",
                    f"give `{field}` N, or leave it out for ORT's own choice",
                )


def one_of(field: str, value: str, allowed: tuple[str, ...]) -> None:
    """Refuses a value that is not one of those allowed.

    Raises:
        RequestError: it is not.
    """
    if value not in allowed:
        raise RequestError(f"`{field}` {value}: not known", f"choose one of {', '.join(allowed)}")
