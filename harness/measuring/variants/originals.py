"""The process that runs the original: ``python -m harness.measuring.variants.originals JOB``.

It finds input sets that the original accepts, and leaves them with its outputs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from harness.config.inputs import InputRequest
from harness.errors import ModelError, RequestError
from harness.inputs import choice
from harness.measuring import conduct
from harness.measuring.handover import Job
from harness.measuring.variants import handed
from harness.models import file
from harness.models.variants import kinds
from harness.ort.session import open_library, open_session

#: Input sets generated to calibrate with where no data is given. Their seeds lie above those
#: that are compared on, so that the error is not taken on what was calibrated with.
CALIBRATIONS = 8
_FIRST_SEED = 1_000_000


def run(job: Job) -> handed.Original:
    """Runs the original on every input set, and leaves these and its outputs.

    Raises:
        RequestError: an input option or calibration data does not fit the model.
        ModelError: the model cannot be read, or no inputs were found that it accepts.
        MachineError: the library cannot be used here.
    """
    request = handed.request(job)
    if file.is_ort_format(job.model):
        raise ModelError(
            f"{job.model}: is in ORT's own format, which holds no ONNX graph to change",
            "give the .onnx file that it was made from",
        )
    model = file.load(job.model)
    record = file.describe(job.model, model, job.model_name)
    library = open_library(job.library, job.config.session)
    session = open_session(library, job.model, job.config.session)
    names = tuple(value.name for value in session.outputs)

    def attempt(candidate: choice.InputSet) -> list[Any]:
        with contextlib.closing(session.bind(candidate.values)) as binding:
            binding.run()
            job.inferred.touch()
            return binding.outputs()

    for seed in range(request.seeds):
        asked = dataclasses.replace(job.config.inputs, seed=seed)
        chosen, outputs = choice.choose(model, asked, attempt)
        handed.leave_values(job, "inputs", seed, chosen.values)
        handed.leave_values(job, "outputs", seed, handed.by_name(names, outputs))
    calibrations = 0
    if kinds.parse(request.kind).name == kinds.INT8_STATIC:
        for asked in _calibrations(job, request):
            try:
                chosen, _ = choice.choose(model, asked, attempt)
            except RequestError as error:
                if not request.calibration:
                    raise
                raise type(error)(
                    error.message.replace("`files`", "`calibrate`").replace(
                        "`data_set`", "`calibrate`"
                    ),
                    error.remedy,
                ) from error
            _require_finite(chosen.values)
            handed.leave_values(job, "calibration", calibrations, chosen.values)
            calibrations += 1
    beside = tuple(each.resolve() for each in file.external_files(job.model, model))
    return handed.Original(record, names, request.seeds, calibrations, beside)


def _require_finite(values: Mapping[str, Any]) -> None:
    """Ranges cannot be taken of NaN or infinity.

    Raises:
        RequestError: an input to calibrate with holds some.
    """
    for name, value in values.items():
        floats = isinstance(value, np.ndarray) and value.dtype.kind == "f"
        if floats and not np.isfinite(value).all():
            raise RequestError(
                f"`calibrate`: '{name}' holds NaN or infinity", "give data of finite numbers"
            )


def _calibrations(job: Job, request: handed.Request) -> list[InputRequest]:
    """An input request for each set to calibrate with."""
    asked = job.config.inputs
    if not request.calibration:
        seeds = range(_FIRST_SEED, _FIRST_SEED + CALIBRATIONS)
        return [dataclasses.replace(asked, seed=seed) for seed in seeds]
    return [
        dataclasses.replace(asked, data_set=path)
        if path.is_dir()
        else dataclasses.replace(asked, archives=(path,))
        for path in request.calibration
    ]


def work(path: Path) -> None:
    """Body of the process."""
    job = Job.read(path)
    with conduct.process(job):
        handed.leave(job, run(job))
    conduct.end()


if __name__ == "__main__":
    work(Path(sys.argv[1]))
