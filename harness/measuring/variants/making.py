"""Makes a variant of a model and judges it: the original, the conversion, the variant in turn."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from harness.config.inputs import InputRequest
from harness.config.profile import ProfileConfig
from harness.config.session import SessionConfig
from harness.errors import RequestError, not_written
from harness.measuring import request, spawning
from harness.measuring.handover import Job
from harness.measuring.profile import interruptible, model_file
from harness.measuring.variants import handed
from harness.models.variants import kinds, provenance
from harness.models.variants.variant import RANDOM_WEIGHTS, Variant
from harness.ort.library import ort_library
from harness.storage import files

#: Input sets that a variant is compared on.
SEEDS = 5

#: Most of them, and most files to calibrate with.
MOST_SEEDS = 1000
MOST_CALIBRATIONS = 1000

#: How the producer of the reference models is called in their files.
_OUR_PRODUCER = "harness"


def file_name(model: str, kind: str) -> str:
    """Name of a variant's file unless another is asked for: ``resnet50-int8-static.onnx``."""
    return f"{Path(model).stem}-{kinds.parse(kind).in_file_names}.onnx"


def make(
    model: str | Path,
    kind: str,
    out: Path,
    *,
    inputs: InputRequest | None = None,
    session: SessionConfig | None = None,
    calibrate: Path | None = None,
    seeds: int = SEEDS,
    where: bool = False,
    force: bool = False,
    tell: Callable[[str], None] = lambda _: None,
) -> Variant:
    """Makes a variant and compares it with the original.

    Args:
        model: path of an ONNX file, or the name of a reference model.
        kind: as ``kinds.parse`` reads it.
        out: file to write; its weights go into ``OUT.data`` beside it if they take more than 2 GB.
        inputs: what the user fixed about the inputs; its seed is not used.
        session: library and custom operators of the sessions that run both.
        calibrate: for int8-static: an .npz of inputs by name, or a folder of such files or of
            ONNX's test_data_set_N.
        seeds: input sets that the two are compared on.
        where: look for the first node whose output departs.
        force: overwrite existing files.
        tell: called with what is being done.

    Returns:
        The variant; broken ones are written all the same.

    Raises:
        RequestError: the request is wrong, or calibration data does not fit the model.
        ModelError: the model cannot be read, run or converted.
        MachineError: this machine cannot do it.
    """
    parsed = kinds.parse(kind)
    if not 1 <= seeds <= MOST_SEEDS:
        raise RequestError(
            f"`seeds` {seeds}: must be from 1 to {MOST_SEEDS}", "give `seeds` N input sets"
        )
    if calibrate is not None and parsed.name != kinds.INT8_STATIC:
        raise RequestError(
            f"`calibrate` {calibrate}: {parsed} is not calibrated", "leave `calibrate` out"
        )
    if out.suffix != ".onnx":
        raise RequestError(f"{out}: its name does not end in .onnx", "give `output` NAME.onnx")
    calibration = _calibration_files(calibrate)
    for path in (out, _beside(out)):
        files.refuse_existing(path, force=force)
    config = ProfileConfig(
        model=os.fspath(model),
        session=session or SessionConfig(),
        inputs=inputs or InputRequest(),
    )
    library = (config.session.library or ort_library()).absolute()
    request.require_custom_ops(config)
    whole = tuple(path.absolute() for path in config.session.custom_ops)
    config = dataclasses.replace(
        config, session=dataclasses.replace(config.session, custom_ops=whole)
    )
    with interruptible(), request.folder_of(out), _work_folder(out) as work:
        path, name = model_file(config.model, work)
        cpus = tuple(sorted(request.usable_cpus(None)))
        job = Job(config, library, path, name, work, work, cpus)
        job.write()
        made = work / "made" / out.name
        made.parent.mkdir()
        handed.leave(job, handed.Request(str(parsed), made, seeds, calibration, where))
        tell(f"running {name} on {seeds} input set{'s' if seeds != 1 else ''}")
        spawning.run(job, f"{_HERE}.originals", f"trying the model {path} failed")
        for each in (out, _beside(out)):
            if out.resolve() != path.resolve() and each.resolve() in handed.original(job).beside:
                raise RequestError(
                    f"{each}: holds weights of the original, and would be replaced",
                    "give `output` another name",
                )
        tell(f"making {parsed} of {name}")
        spawning.run(job, f"{_HERE}.conversion", f"converting {path} failed")
        tell(f"running {parsed} of {name}")
        spawning.run(job, f"{_HERE}.judging", f"trying the variant of {path} failed")
        variant = _variant(job, parsed, out)
        return _put_in_place(made, out, variant)


_HERE = __name__.rpartition(".")[0]


def _variant(job: Job, kind: kinds.Kind, out: Path) -> Variant:
    original, converted, judged = handed.original(job), handed.converted(job), handed.judged(job)
    notes = [*converted.notes, *judged.notes]
    if original.model.producer == _OUR_PRODUCER:
        notes.insert(0, RANDOM_WEIGHTS)
    return Variant(
        file=out,
        kind=str(kind),
        of=original.model.name,
        of_sha256=original.model.sha256,
        error=judged.error,
        error_reason=judged.error_reason,
        broken=judged.broken,
        bytes_before=original.model.size_bytes,
        bytes=0,  # until it is written
        seconds=converted.seconds,
        notes=tuple(notes),
        pruned=converted.pruned,
        left=converted.left,
        departure=judged.departure,
    )


def _put_in_place(made: Path, out: Path, variant: Variant) -> Variant:
    """Notes in the file what it is, which adds to its size, and moves it to its place."""
    told = {
        provenance.KIND: variant.kind,
        provenance.OF: variant.of,
        provenance.OF_SHA256: variant.of_sha256,
        "broken": variant.broken,
    }
    if variant.error is not None:
        told[provenance.ERROR_MAX] = f"{variant.error.max:.6g}"
        told[provenance.ERROR_MEAN] = f"{variant.error.mean:.6g}"
        told[provenance.COSINE] = f"{variant.error.cosine:.8f}"
        if variant.error.top1 is None:
            told[provenance.TOP1_REASON] = variant.error.top1_reason
        else:
            told[provenance.TOP1] = f"{variant.error.top1:.6g}"
    else:
        told[provenance.ERROR_REASON] = variant.error_reason
    try:
        provenance.append(made, told)
        size = sum(path.stat().st_size for path in (made, _beside(made)) if path.exists())
        if _beside(made).exists():
            _beside(made).chmod(made.stat().st_mode)  # ONNX Runtime's tool keeps it private
            files.put_in_place(_beside(made), _beside(out))
        else:  # of an earlier variant of this name, which is overwritten
            _beside(out).unlink(missing_ok=True)
        files.put_in_place(made, out)
    except OSError as error:
        raise not_written(out, error) from error
    return dataclasses.replace(variant, bytes=size)


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.data")


@contextlib.contextmanager
def _work_folder(out: Path) -> Iterator[Path]:
    """A private folder beside the output, so that moving the finished file copies nothing."""
    folder = (out.parent / f".{out.stem[:32]}-{secrets.token_hex(8)}.partial").absolute()
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _calibration_files(given: Path | None) -> tuple[Path, ...]:
    """The .npz files and data sets that a path stands for, in the order of their names.

    Raises:
        RequestError: there is none.
    """
    if given is None:
        return ()
    if not given.is_dir():
        return (given.absolute(),)
    try:
        paths = sorted(given.absolute().iterdir())
    except OSError as error:
        raise RequestError(
            f"`calibrate` {given}: cannot be read ({error.strerror})", "check its permissions"
        ) from error
    found = [
        path for path in paths if path.suffix == ".npz" or path.name.startswith("test_data_set_")
    ]
    if not found:
        raise RequestError(
            f"`calibrate` {given}: holds no .npz file and no test_data_set_N",
            "save inputs by name with numpy.savez, an input set in each file",
        )
    if len(found) > MOST_CALIBRATIONS:
        raise RequestError(
            f"`calibrate` {given}: holds {len(found)} input sets, more than {MOST_CALIBRATIONS}",
            "give a folder of fewer: hundreds are enough for ranges",
        )
    return tuple(found)
