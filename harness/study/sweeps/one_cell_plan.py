"""A cell as a plan of its own, in TOML: what is sent to a worker of a cluster."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from harness.errors import RequestError
from harness.models import catalogue
from harness.study.sweeps.cells import Cell
from harness.study.sweeps.settings import DEFAULT, Setting, Value, holds_paths


def as_plan(cell: Cell) -> str:
    """A plan of this cell alone: where its files are the same, it has the same identity.

    Args:
        cell: whose relative paths are those of this process's folder.

    Raises:
        RequestError: TOML cannot hold one of its values.
    """
    lines = ["[axes]"]
    for setting, value in cell.all.items():
        parts = [part for part in (setting.part, setting.field, setting.key) if part]
        lines.append(f"{'.'.join(map(_text, parts))} = [{_toml(_anywhere(setting, value))}]")
    return "\n".join(lines) + "\n"


def files(cell: Cell) -> list[Path]:
    """The files that a cell names: its model, unless that is a reference model, and others."""
    return [
        path
        for setting, value in cell.all.items()
        if holds_paths(setting)
        for path in _paths(setting, value)
    ]


def _paths(setting: Setting, value: Value) -> list[Path]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [path for one in value for path in _paths(setting, one)]
    return [] if _is_name(setting, value) else [Path(str(value))]


def _anywhere(setting: Setting, value: Value) -> Value:
    """A value whose relative paths are absolute."""
    if not holds_paths(setting):
        return value
    if isinstance(value, Mapping):
        return {name: _anywhere(setting, one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_anywhere(setting, one) for one in value]
    return value if _is_name(setting, value) else str(Path(str(value)).absolute())


def _is_name(setting: Setting, value: Value) -> bool:
    """Whether a value that could be a path is none."""
    if setting.field == "model" and value in catalogue.REFERENCE_MODELS:
        return True
    return bool(value == DEFAULT)


def _toml(value: Value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_text(key)} = {_toml(one)}' for key, one in value.items())}}}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, str):
        return _text(value)
    raise RequestError(f"{value!r}: cannot be sent to a worker", "write it as text")


def _text(value: str) -> str:
    """A basic string of TOML: as in JSON, but no pairs of surrogates, and no bare DEL."""
    try:
        value.encode()
    except UnicodeEncodeError as error:  # a file's name that is not UTF-8
        raise RequestError(
            f"{value!a}: cannot be sent to a worker: it is not UTF-8", "rename the file"
        ) from error
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
