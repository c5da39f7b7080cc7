"""What the processes that make a variant hand over to each other, in their work folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.measuring import handover, plain_values
from harness.measuring.handover import Job
from harness.models.variants.pruning import Left
from harness.models.variants.variant import Departure, OutputError
from harness.records import ModelRecord


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """What is to be made.

    Attributes:
        kind: as ``kinds.parse`` reads it.
        variant: file to write, in the work folder.
        seeds: input sets to compare on.
        calibration: .npz files and data sets to calibrate with; empty for generated inputs.
        where: whether to look for the node at which the outputs depart.
    """

    kind: str
    variant: Path
    seeds: int
    calibration: tuple[Path, ...]
    where: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Original:
    """What the original is and did.

    Attributes:
        model: the original.
        outputs: names of its outputs.
        sets: input sets that it ran on.
        calibrations: input sets to calibrate with.
        beside: files that hold its weights.
    """

    model: ModelRecord
    outputs: tuple[str, ...]
    sets: int
    calibrations: int
    beside: tuple[Path, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Converted:
    """What became of it; as the fields of ``Variant``."""

    seconds: float
    notes: tuple[str, ...]
    pruned: tuple[str, ...]
    left: tuple[Left, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Judged:
    """How far the variant is off; as the fields of ``Variant``."""

    error: OutputError | None
    error_reason: str
    broken: str
    departure: Departure | None
    notes: tuple[str, ...]


def leave(job: Job, record: Request | Original | Converted | Judged) -> None:
    """Leaves a record where the other processes find it."""
    handover.write(_path(job, type(record)), record)


def request(job: Job) -> Request:
    """What is to be made."""
    return handover.read(_path(job, Request), Request)


def original(job: Job) -> Original:
    """What the process left that ran the original."""
    return handover.read(_path(job, Original), Original)


def converted(job: Job) -> Converted:
    """What the process left that made the variant."""
    return handover.read(_path(job, Converted), Converted)


def judged(job: Job) -> Judged:
    """What the process left that ran the variant."""
    return handover.read(_path(job, Judged), Judged)


def _path(job: Job, record: type) -> Path:
    return job.work_folder / f"{record.__name__.lower()}.json"


def leave_values(job: Job, what: str, number: int, values: Mapping[str, Any]) -> None:
    """Leaves inputs or outputs, by name.

    Args:
        job: of the processes.
        what: ``inputs``, ``outputs`` or ``calibration``.
        number: of the input set.
        values: arrays, lists, dicts or None, by name.
    """
    plain = {name: plain_values.encode(value) for name, value in values.items()}
    handover.write(job.work_folder / f"{what}-{number}.json", plain)


def values(job: Job, what: str, number: int) -> dict[str, Any]:
    """What ``leave_values`` left."""
    plain = handover.read(job.work_folder / f"{what}-{number}.json", dict[str, plain_values.Plain])
    return {name: plain_values.decode(value) for name, value in plain.items()}


def by_name(names: Sequence[str], outputs: Sequence[Any]) -> dict[str, Any]:
    """Outputs in the model's order, by name."""
    return dict(zip(names, outputs, strict=True))
