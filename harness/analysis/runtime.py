"""Which runtime ran the model, and how far its outputs are from ONNX Runtime's."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from harness.config.session import ORT
from harness.records import (
    RUNTIME_COSINE,
    RUNTIME_ERROR,
    RUNTIME_LOOP,
    RUNTIME_RELATIVE_ERROR,
    RUNTIME_SETTINGS,
    RUNTIME_THREADS,
    RUNTIME_VERSION,
    Profile,
)

#: Difference, as a part of the largest value of an output, from which on it is pointed out. Other
#: orders of additions in float32 stay below it: seen up to 3e-6 with OpenVINO and PyTorch on the
#: reference models; bfloat16, with 8 bits of a mantissa, makes 1e-2 of it.
WORTH_SAYING = 1e-3


@dataclasses.dataclass(frozen=True, slots=True)
class Runtime:
    """The runtime of a profile; what only another runtime than ONNX Runtime has is None there.

    Attributes:
        name: as it was asked for.
        version: its version; None where the file does not tell.
        options: that were asked for.
        settings: in effect, as the runtime reports them.
        threads: of an inference.
        output_error: largest difference of its outputs from ONNX Runtime's.
        output_relative_error: the same, as a part of the largest value of the output.
        output_cosine: of the output that is the least alike.
        loop_ns: what the timing loop takes of each duration, in ns.
    """

    name: str
    version: str | None
    options: Mapping[str, str]
    settings: str | None = None
    threads: int | None = None
    output_error: float | None = None
    output_relative_error: float | None = None
    output_cosine: float | None = None
    loop_ns: float | None = None

    @property
    def is_ort(self) -> bool:
        """Whether it is ONNX Runtime."""
        return self.name == ORT

    @property
    def departs(self) -> bool:
        """Whether its outputs are further from ONNX Runtime's than rounding explains."""
        return (self.output_relative_error or 0.0) > WORTH_SAYING

    @property
    def agreement(self) -> str:
        """How far its outputs are from ONNX Runtime's, in a clause; empty where not known."""
        error, relative, cosine = (
            self.output_error,
            self.output_relative_error,
            self.output_cosine,
        )
        if error is None or relative is None or cosine is None:
            return ""
        if not error:
            return "outputs equal ONNX Runtime's"
        verb = "depart from" if self.departs else "agree with"
        return (
            f"outputs {verb} ONNX Runtime's: largest difference {error:.2g}, {relative:.2g} of "
            f"the largest value, cosine {cosine:.6f}"
        )


def runtime(profile: Profile) -> Runtime:
    """The runtime that ran the model."""
    facts = {one.name: one.value for one in profile.environment}
    asked = profile.asked
    if asked.runtime == ORT:
        return Runtime(ORT, _text(facts.get("ort_version")), {})
    threads = facts.get(RUNTIME_THREADS)
    return Runtime(
        name=asked.runtime,
        version=_text(facts.get(RUNTIME_VERSION)),
        options=asked.runtime_options,
        settings=_text(facts.get(RUNTIME_SETTINGS)),
        threads=threads if isinstance(threads, int) else None,
        output_error=_number(facts.get(RUNTIME_ERROR)),
        output_relative_error=_number(facts.get(RUNTIME_RELATIVE_ERROR)),
        output_cosine=_number(facts.get(RUNTIME_COSINE)),
        loop_ns=_number(facts.get(RUNTIME_LOOP)),
    )


def differ(base: Profile, candidate: Profile) -> bool:
    """Whether two profiles are of different runtimes."""
    return base.asked.runtime != candidate.asked.runtime


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None
