"""The cells of a plan: their numbers, their identities and the names of their files."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from harness.config.profile import ProfileConfig
from harness.errors import HarnessError
from harness.models import catalogue
from harness.ordinary_files import open_ordinary
from harness.study.sweeps.plan import SweepPlan, request
from harness.study.sweeps.settings import DEFAULT, Setting, Value, holds_paths

Status = Literal["pending", "done", "failed", "skipped"]

#: Hexadecimal digits of an identity: two of ten thousand cells are alike once in 10**4 plans.
_DIGITS = 12

#: Characters of the model's name in the name of a file.
_NAME = 40

#: Most files of a folder that are read: a data set of ONNX has a few for each input.
_MOST_FILES = 1000


@dataclasses.dataclass(frozen=True, slots=True)
class Cell:
    """One combination of a plan.

    Attributes:
        number: from 1, in the order of the plan; the same on every machine.
        id: hash of what defines it; the same on every machine, and in every plan that has it.
        settings: what the axes set, as the plan has it: relative values are not resolved.
        common: what is set in all cells.
    """

    number: int
    id: str
    settings: Mapping[Setting, Value]
    common: Mapping[Setting, Value]

    @property
    def all(self) -> dict[Setting, Value]:
        """All settings."""
        return {**self.common, **self.settings}

    @property
    def model(self) -> str:
        """Name of the model, as its profile will call it."""
        named = next(str(value) for one, value in self.all.items() if one.field == "model")
        return named if named in catalogue.REFERENCE_MODELS else Path(named).stem

    @property
    def model_id(self) -> str:
        """Hash of the model's contents: the same for all cells of a model, and of no other."""
        setting, value = next(one for one in self.all.items() if one[0].field == "model")
        text = json.dumps(_content(setting, value), default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]

    @property
    def file(self) -> str:
        """Name of its profile."""
        model = re.sub(r"[^\w.-]", "_", self.model)[:_NAME]
        return f"cell-{self.number:03d}-{model}-{self.id}.h5"


@dataclasses.dataclass(frozen=True, slots=True)
class Failure:
    """Why a cell failed.

    Attributes:
        kind: of the error.
        message: what it said.
        remedy: what it advised.
        exit_code: of ``harness profile``, had it measured the cell.
        host: where.
        when: in UTC, to the second.
    """

    kind: str
    message: str
    remedy: str
    exit_code: int
    host: str
    when: str


@dataclasses.dataclass(frozen=True, slots=True)
class CellState:
    """A cell, and how far it is.

    Attributes:
        cell: itself.
        status: of it.
        reason: why it failed or is skipped, or how far it is; empty otherwise.
        file: its profile, or where that is going to be.
        config: how this machine measures it; None where it is skipped.
        failure: of a failed one; None where its file is what is wrong.
        asked: what was asked for when a done one was measured, as its profile has it (JSON).
    """

    cell: Cell
    status: Status
    reason: str
    file: Path
    config: ProfileConfig | None = None
    failure: Failure | None = None
    asked: str = ""


def cells_of(plan: SweepPlan) -> tuple[Cell, ...]:
    """All cells, in the order of the plan."""
    return tuple(
        Cell(number, _identity({**plan.common, **settings}), settings, plan.common)
        for number, settings in enumerate(plan.combinations(), 1)
    )


def _identity(settings: Mapping[Setting, Value]) -> str:
    """Hash of the settings; files and folders count by their contents, not by their places.

    What cannot be read here counts by its place.
    """
    told = {
        "/".join((one.part, one.field, one.key)): _content(one, value)
        for one, value in settings.items()
        if value != DEFAULT
    }
    # However it is written that there are so many.
    told["/processes/"] = request(settings).process_count
    text = json.dumps(told, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


def _content(setting: Setting, value: Value) -> Value:
    if not holds_paths(setting):
        return value
    if isinstance(value, Mapping):
        return {name: _content(setting, one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_content(setting, one) for one in value]
    if setting.field == "model" and value in catalogue.REFERENCE_MODELS:
        return value
    path = Path(str(value))
    try:
        if path.is_dir():
            return _folder_digest(path) or _place(path)
        held = path.stat()
    except (OSError, ValueError):
        return _place(path)
    return _digest(path, held.st_size, held.st_mtime_ns, is_model=setting.field == "model")


def _place(path: Path) -> str:
    """What stands for contents that cannot be read here: two files may well have one name."""
    return os.path.abspath(path)  # noqa: PTH100  # without ``..``, and links as they are


def _folder_digest(folder: Path) -> str:
    """Hash of the names and contents of a folder's files; empty if they are too many to read.

    Raises:
        OSError: a folder in it cannot be read.
    """
    told: list[tuple[str, str]] = []
    for inner, _, names in os.walk(folder, onerror=_raise):
        if len(told) + len(names) > _MOST_FILES:
            return ""
        for name in names:
            path = Path(inner, name)
            held = path.lstat()
            content = _digest(path, held.st_size, held.st_mtime_ns, is_model=False)
            if content == _place(path):
                content = ""  # a pipe, or a link to nowhere: its name is told
            told.append((str(path.relative_to(folder)), content))
    return hashlib.sha256(json.dumps(sorted(told)).encode()).hexdigest()


def _raise(error: OSError) -> None:
    raise error


@functools.cache
def _digest(path: Path, _size: int, _mtime_ns: int, *, is_model: bool) -> str:
    """Hash of a file; of what is no file that can be read, its path."""
    if is_model:
        from harness.models import file  # takes onnx, which a plan of reference models spares

        try:
            if file.is_ort_format(path):
                return file.describe_ort_format(path, "").sha256
            return file.describe(path, file.load(path), "").sha256
        except (HarnessError, OSError, ValueError):
            pass  # whoever measures it says why
    try:
        with open(open_ordinary(path), "rb") as stream:  # noqa: PTH123  # a descriptor
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except (OSError, ValueError):
        return _place(path)
