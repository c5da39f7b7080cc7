"""How an ONNX Runtime session is made."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from harness.config.fields import settle
from harness.errors import RequestError

OPTIMIZATION_LEVELS = ("disable", "basic", "extended", "layout", "all")
EXECUTION_MODES = ("sequential", "parallel")


@dataclasses.dataclass(frozen=True, slots=True)
class SessionConfig:
    """How the ORT session is made; every field maps to one session option of its C API.

    Attributes:
        provider: execution provider asked for (``harness.ort.providers``).
        provider_options: options of that provider, by ORT's own names.
        intra_threads: threads inside one operator; 0 leaves the choice to ORT.
        inter_threads: threads between operators (parallel mode); 0 leaves it to ORT.
        optimization: graph optimisation level, one of OPTIMIZATION_LEVELS.
        execution_mode: one of EXECUTION_MODES.
        entries: ORT session config entries (``session.intra_op.allow_spinning`` …).
        custom_ops: libraries of custom operators that a session registers.
        no_arena: take memory on the CPU from the system, not from ORT's arena.
        no_mem_pattern: allocate each tensor by itself, not all of an inference by a plan.
        library: path of another libonnxruntime, or None for the installed wheel's.
        strict: refuse a graph of which a node is not on the provider asked for.
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
