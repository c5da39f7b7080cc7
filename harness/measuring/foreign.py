"""A model in a runtime other than ONNX Runtime: how it is asked for, opened, and held to account.

ONNX Runtime prepares such a profile, too: it finds the inputs, and its outputs are the reference.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from harness.config.profile import ProfileConfig
from harness.config.session import ORT, SessionConfig
from harness.errors import ModelError, RequestError, one_line
from harness.machine.topology import topology
from harness.measuring import handover, plain_values, runtimes
from harness.measuring.handover import Job
from harness.measuring.runtime import InferenceFailed, Opened, Task, median_ns
from harness.ort import providers
from harness.records import (
    RUNTIME_COSINE,
    RUNTIME_ERROR,
    RUNTIME_LOOP,
    RUNTIME_RELATIVE_ERROR,
    RUNTIME_THREADS,
    Absent,
    Reading,
)

_REFERENCE = "reference.json"

#: What only ONNX Runtime can do, by field; the thread count is everyone's.
_OF_SESSION = tuple(
    field.name
    for field in dataclasses.fields(SessionConfig)
    if field.name not in ("provider", "intra_threads")
)

#: Outputs with a cosine below it are of another model, not of another order of additions.
LEAST_COSINE = 0.95

#: Likewise from this distance on, as a part of the reference's length: that of two vectors of this
#: cosine, the one a projection of the other. A cosine alone says nothing of one element, nor of a
#: factor.
_LARGEST_DISTANCE = math.sqrt(1 - LEAST_COSINE**2)

#: Calls that the loop is measured with.
_EMPTY_CALLS = 10_000

#: Why there are no operators.
NOT_TRACED = "only sessions of ONNX Runtime are traced, and {} ran this model"


def is_foreign(config: ProfileConfig) -> bool:
    """Whether another runtime than ONNX Runtime is timed."""
    return config.runtime != ORT


def require_sense(config: ProfileConfig) -> None:
    """Refuses what the runtime that is asked for can do on no machine.

    Raises:
        RequestError: there is no such runtime, or something is asked for that only ONNX Runtime
            can do, or that this one cannot.
    """
    if not is_foreign(config):
        if config.runtime_options:
            name, value = next(iter(config.runtime_options.items()))
            raise RequestError(
                f"`runtime_options` {name}={value}: ONNX Runtime has none",
                "give `entries` or `provider_options`, or choose another `runtime`",
            )
        return
    runtime = runtimes.by_name(config.runtime)
    plain = SessionConfig()
    for field in _OF_SESSION:
        if getattr(config.session, field) != getattr(plain, field):
            raise RequestError(
                f"`{field}`: only ONNX Runtime has it, and `runtime` {runtime.name} is asked for",
                "leave one of them out",
            )
    if config.is_group:
        field = "instances" if config.instances is not None else "concurrency"
        raise RequestError(
            f"`{field}`: sessions side by side are ONNX Runtime's, and `runtime` {runtime.name} "
            "is asked for",
            "leave one of them out",
        )
    if config.session.provider not in runtime.places:
        raise RequestError(
            f"`provider` {config.session.provider}: {runtime.title} runs on "
            f"{' or '.join(runtime.places)} here",
            f"choose that, or `runtime` {ORT}",
        )
    runtime.takes(config.runtime_options)


def settled(config: ProfileConfig) -> tuple[ProfileConfig, tuple[Absent, ...]]:
    """The request as another runtime can fulfil it, and what is then absent.

    Raises:
        RequestError: as ``require_sense``.
        MachineError: it is not installed.
    """
    require_sense(config)
    if not is_foreign(config):
        return config, ()
    runtime = runtimes.by_name(config.runtime)
    runtimes.require_installed(runtime)
    on_device = providers.by_name(config.session.provider).on_device
    untraced = ("nodes", "trace/kernels") if on_device else ("nodes",)
    why = NOT_TRACED.format(runtime.title)
    absent = tuple((what, why) for what in untraced if config.trace)
    return dataclasses.replace(config, trace=()), absent


def reference_session(config: ProfileConfig) -> SessionConfig:
    """The session that prepares the profile: on the host, whichever device is then timed."""
    if not is_foreign(config):
        return config.session
    return SessionConfig(intra_threads=config.session.intra_threads)


class Reference(NamedTuple):
    """What ONNX Runtime made of the inputs.

    Attributes:
        inputs: names, in the model's order.
        outputs: in the model's order.
    """

    inputs: tuple[str, ...]
    outputs: tuple[plain_values.Plain, ...]


def leave_reference(job: Job, inputs: tuple[str, ...], outputs: list[Any]) -> None:
    """Leaves ONNX Runtime's outputs for the processes that open the other runtime."""
    encoded = tuple(map(plain_values.encode, outputs))
    handover.write(job.work_folder / _REFERENCE, Reference(inputs, encoded))


def open_model(job: Job, inputs: dict[str, Any]) -> Opened:
    """Opens the model in the runtime that is asked for.

    Raises:
        RequestError: the model takes or gives something other than tensors, or an option is wrong.
        ModelError: the runtime refuses the model.
        MachineError: the runtime cannot be used here.
    """
    runtime = runtimes.by_name(job.config.runtime)
    left = handover.read(job.work_folder / _REFERENCE, Reference)
    fed = {name: _tensor(f"input {name}", inputs[name], runtime.title) for name in left.inputs}
    expected = tuple(
        _tensor(f"output {number}", plain_values.decode(value), runtime.title)
        for number, value in enumerate(left.outputs)
    )
    return runtime.open(
        Task(
            model=job.model,
            name=job.model_name,
            inputs=fed,
            expected=expected,
            threads=threads(job),
            on_device=providers.by_name(job.config.session.provider).on_device,
            options=job.config.runtime_options,
        )
    )


def _tensor(what: str, value: Any, title: str) -> npt.NDArray[Any]:
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf" and value.dtype.isnative:
        return np.ascontiguousarray(value).reshape(value.shape)
    kind = f"a tensor of {value.dtype}" if isinstance(value, np.ndarray) else "no tensor"
    raise RequestError(
        f"{what} is {kind.replace('object', 'text')}: {title} is given tensors of numbers only",
        f"profile it with `runtime` {ORT}",
    )


def threads(job: Job) -> int:
    """Threads of an inference: as asked for, otherwise one for each core, as ONNX Runtime does."""
    asked = job.config.session.intra_threads
    return asked or max(1, len(topology(allowed=set(job.cpus)).domains("core")))


def facts(job: Job, opened: Opened) -> tuple[Reading, ...]:
    """What is known about the runtime, with how far its outputs are from ONNX Runtime's.

    Raises:
        ModelError: they are so far from them that it computes something else.
    """
    runtime = runtimes.by_name(job.config.runtime)
    left = handover.read(job.work_folder / _REFERENCE, Reference)
    wanted = [plain_values.decode(value) for value in left.outputs]
    told = "against the outputs of ONNX Runtime for the same inputs"
    try:
        apart = agreement(opened.outputs(), wanted)
    except (ValueError, InferenceFailed) as error:
        raise ModelError(
            f"{job.model_name}: {runtime.title} disagrees with ONNX Runtime: "
            f"{one_line(str(error))}",
            f"profile it with `runtime` {ORT}",
        ) from error
    return (
        *opened.facts(),
        _threads(job, opened),
        Reading(RUNTIME_ERROR, apart.largest, "1", f"largest difference {told}"),
        Reading(
            RUNTIME_RELATIVE_ERROR,
            apart.relative,
            "1",
            f"largest difference, of the largest value of its output, {told}",
        ),
        Reading(RUNTIME_COSINE, apart.cosine, "1", f"of the least alike output, {told}"),
        Reading(
            RUNTIME_LOOP,
            median_ns(opened.loop_ns(_EMPTY_CALLS)),
            "ns",
            f"median of {_EMPTY_CALLS:,} calls that do nothing, timed the same way, once: "
            f"{opened.loop}",
        ),
    )


def _threads(job: Job, opened: Opened) -> Reading:
    """Threads of an inference: as the runtime reports them, otherwise as they were set."""
    asked, source = threads(job), "set, not left to the runtime"
    if opened.threads is None or opened.threads == asked:
        return Reading(RUNTIME_THREADS, asked, "1", source)
    return Reading(
        RUNTIME_THREADS, opened.threads, "1", f"as the runtime reports them; {asked} were set"
    )


def not_run(job: Job, error: InferenceFailed) -> ModelError:
    """The error for a model that the runtime has opened, but does not run."""
    title = runtimes.by_name(job.config.runtime).title
    return ModelError(
        f"{job.model_name}: {title} does not run it: {one_line(str(error))}",
        f"check `runtime_options`, or profile it with `runtime` {ORT}",
    )


class Agreement(NamedTuple):
    """How far outputs are from the reference.

    Attributes:
        largest: absolute difference of two elements, in the output's own unit.
        relative: the same as a part of the largest magnitude in its output of the reference; the
            largest of all outputs.
        cosine: of the angle between an output and the reference as vectors; the least of all.
    """

    largest: float
    relative: float
    cosine: float


def agreement(outputs: list[Any], reference: list[Any]) -> Agreement:
    """Compares outputs with those of the reference.

    Args:
        outputs: tensors of numbers, in the model's order.
        reference: likewise.

    Raises:
        ValueError: their number, a type or a shape differs, one holds NaN or infinity elsewhere
            than the other, a cosine is below LEAST_COSINE, or the outputs are as far apart as
            vectors of that cosine.
    """
    if len(outputs) != len(reference):
        raise ValueError(f"{len(outputs)} outputs instead of {len(reference)}")
    largest = relative = 0.0
    cosine = 1.0
    for number, (got, wanted) in enumerate(zip(outputs, reference, strict=True)):
        if (got.dtype, got.shape) != (wanted.dtype, wanted.shape):
            raise ValueError(
                f"output {number} is {got.dtype} {list(got.shape)} instead of {wanted.dtype} "
                f"{list(wanted.shape)}"
            )
        one, other = (each.astype(np.float64).reshape(-1) for each in (got, wanted))
        finite = np.isfinite(other)
        if (
            not np.array_equal(one[~finite], other[~finite], equal_nan=True)
            or not np.isfinite(one[finite]).all()
        ):
            raise ValueError(f"output {number} holds NaN or infinity elsewhere")
        one, other = one[finite], other[finite]
        difference = float(np.abs(one - other).max(initial=0.0))
        scale = float(np.abs(other).max(initial=0.0))
        largest = max(largest, difference)
        if difference:
            relative = max(relative, difference / scale if scale else np.inf)
        alike = _cosine(one, other)
        if alike < LEAST_COSINE or _distance(one, other) > _LARGEST_DISTANCE:
            raise ValueError(
                f"output {number} differs by up to {difference:.3g} where the largest value is "
                f"{scale:.3g} (cosine {alike:.4f})"
            )
        cosine = min(cosine, alike)
    return Agreement(largest, relative, cosine)


def _distance(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float:
    """Between two vectors, as a part of the second's length; not finite where only that is 0."""
    if np.array_equal(one, other):
        return 0.0
    length = float(np.abs(other).max(initial=0.0))
    if not length:
        return np.inf
    return float(np.linalg.norm(one / length - other / length) / np.linalg.norm(other / length))


def _cosine(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float:
    """Of the angle between two vectors; 1 for equal ones, 0 where only one of them is 0."""
    if np.array_equal(one, other):
        return 1.0
    # Scaled first: squares of large elements overflow.
    lengths = [float(np.abs(each).max(initial=0.0)) for each in (one, other)]
    if not all(lengths):
        return 0.0
    unit = [each / length for each, length in zip((one, other), lengths, strict=True)]
    norms = [float(np.linalg.norm(each)) for each in unit]
    return min(1.0, float(unit[0] @ unit[1]) / (norms[0] * norms[1]))


def refuse_ort_format(job: Job) -> None:
    """Refuses a file in ONNX Runtime's own format.

    Raises:
        RequestError: always.
    """
    raise RequestError(
        f"{job.model}: only ONNX Runtime reads a .ort file", f"profile it with `runtime` {ORT}"
    )
