"""The process that runs the variant: ``python -m harness.measuring.variants.judging JOB``.

It compares its outputs with those that the original left, and, if asked, tensor after tensor.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from harness.errors import HarnessError, MachineError, one_line
from harness.measuring import conduct
from harness.measuring.handover import Job
from harness.measuring.variants import handed
from harness.models import file
from harness.models.variants import layers
from harness.models.variants.variant import (
    DEPARTS,
    LEAST_COSINE,
    Comparison,
    Departure,
    Incomparable,
    OutputError,
    relative_error,
)
from harness.native import ort
from harness.ort.session import open_library, open_session

#: Where ORT looks for the weights of a model that it is given as bytes.
_WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"


def judge(job: Job, original: handed.Original) -> handed.Judged:
    """Runs the variant on the inputs of the original.

    Raises:
        MachineError: the library cannot be used here.
    """
    request = handed.request(job)
    library = open_library(job.library, job.config.session)
    comparison = Comparison(original.outputs)
    error: OutputError | None = None
    reason = broken = ""
    try:
        _compare(job, library, request.variant, original, comparison)
        error = comparison.error()
    except Incomparable as incomparable:
        reason = str(incomparable)
    except MachineError:
        raise
    except (HarnessError, ort.OrtError, ValueError, TypeError) as failure:
        # It names the work folder, which is gone when this is read.
        text = str(failure).replace(f"{request.variant}: ", "").replace(str(request.variant), "it")
        broken = f"ONNX Runtime refuses it: {one_line(text, 300)}"
        reason = "ONNX Runtime refuses it"
    if comparison.not_finite:
        broken = f"its output '{comparison.not_finite}' holds NaN or infinity"
    elif error is not None and error.cosine < LEAST_COSINE:
        broken = f"cosine {error.cosine:.4f} is below {LEAST_COSINE:g}"
    departure = None
    notes: tuple[str, ...] = ()
    if request.where:
        try:
            departure = _departure(job, library, request.variant)
        except (ort.OrtError, ValueError, TypeError, HarnessError) as failure:
            notes = (f"where it departs is not known: {one_line(str(failure), 300)}",)
    return handed.Judged(error, reason, broken, departure, notes)


def _compare(
    job: Job, library: ort.Library, variant: Path, original: handed.Original, to: Comparison
) -> None:
    session = open_session(library, variant, job.config.session)
    with contextlib.closing(session):
        there = [value.name for value in session.outputs]
        if list(original.outputs) != there:
            raise Incomparable(f"its outputs are {', '.join(there)}")
        for number in range(original.sets):
            outputs = _outputs(session, handed.values(job, "inputs", number))
            wanted = handed.values(job, "outputs", number)
            to.add([wanted[name] for name in original.outputs], outputs)


def _outputs(session: ort.Session, inputs: Mapping[str, Any]) -> list[Any]:
    taken = {value.name for value in session.inputs}
    fed = {name: value for name, value in inputs.items() if name in taken}
    with contextlib.closing(session.bind(fed)) as binding:
        binding.run()
        return binding.outputs()


def _departure(job: Job, library: ort.Library, variant: Path) -> Departure | None:
    """The first tensor that departs, on the inputs of the first seed; the worst if none does."""
    inputs = handed.values(job, "inputs", 0)
    one, other = file.load(job.model), onnx.load(variant, load_external_data=False)
    worst: tuple[float, layers.Layer] | None = None
    compared = 0
    for some in layers.common(one, other):
        exposed = layers.exposed(one, [layer.tensor for layer in some])
        before = _tensors(job, library, job.model, exposed, inputs)
        exposed = layers.exposed(other, [layer.variant for layer in some])
        after = _tensors(job, library, variant, exposed, inputs)
        for layer, wanted, got in zip(some, before, after, strict=True):
            if not _are_alike(wanted, got):
                continue
            compared += 1
            error = relative_error(wanted, got)
            if worst is None or error > worst[0]:
                worst = (error, layer)
            if error >= DEPARTS:
                return Departure(layer.node, layer.op_type, layer.tensor, error, compared)
    if worst is None:
        return None
    return Departure("", "", worst[1].tensor, worst[0], compared)


def _are_alike(one: Any, other: Any) -> bool:
    """Whether both are floating-point tensors of one shape."""
    return (
        isinstance(one, np.ndarray)
        and isinstance(other, np.ndarray)
        and one.dtype.kind == "f" == other.dtype.kind
        and one.shape == other.shape
    )


def _tensors(
    job: Job, library: ort.Library, path: Path, exposed: bytes, inputs: Mapping[str, Any]
) -> Sequence[Any]:
    # Without fusions, so that every tensor is computed as the file says.
    session = ort.Session(
        library,
        exposed,
        optimization="disable",
        entries={_WEIGHTS_FOLDER: str(path.parent)},
        custom_op_libraries=[str(each.absolute()) for each in job.config.session.custom_ops],
    )
    with contextlib.closing(session):
        return _outputs(session, inputs)


def work(path: Path) -> None:
    """Body of the process."""
    job = Job.read(path)
    with conduct.process(job):
        handed.leave(job, judge(job, handed.original(job)))
    conduct.end()


if __name__ == "__main__":
    work(Path(sys.argv[1]))
