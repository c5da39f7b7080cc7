"""What a plan can set: the fields of a profile's request, by the names that plans use for them."""

from __future__ import annotations

import dataclasses
import functools
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

from harness.config.fields import MOST_INT
from harness.config.inputs import InputRequest
from harness.config.profile import ProfileConfig
from harness.config.session import SessionConfig
from harness.errors import RequestError

#: A value in a plan: of TOML, or text of the command line.
Value = Any

#: Parts of a request, by the prefix that a plan may give their fields.
PARTS: Mapping[str, type] = {"": ProfileConfig, "session": SessionConfig, "inputs": InputRequest}

#: The text for a field that is left as it is by default.
DEFAULT = "default"

#: Where instances run, or on how much of the machine the one does (``fitting``): no field of its
#: own, but sets ``instances`` or ``affinity``.
PLACEMENT = "placement"

#: What is made of the model before it is measured (``variant_files``): no field of its own either.
VARIANT = "variant"

#: Longer texts are no number: no field takes one, and Python refuses to read those of thousands.
_MOST_DIGITS = 100

#: Fields that no plan sets, with the reason.
REFUSED: Mapping[str, str] = {
    "session": "name its fields: session.FIELD",
    "inputs": "name its fields: inputs.FIELD",
    "output": "the folder of the sweep holds all profiles, named by their cells",
    "force": "a sweep goes on where it ended; nothing is overwritten",
    "stacks": "only 'harness profile' samples stacks",
    "precision": "in rounds, the number of processes is fixed: set processes",
    "budget_s": "in rounds, the number of processes is fixed: set processes",
    "interleaved_with": "it is set by ab alone",
    "order_seed": "it is set by ab alone; the seed of the rounds is seed in [sweep]",
}


class Setting(NamedTuple):
    """A field of the request, as a plan names it.

    Attributes:
        name: as tables show it: the word of its option, where it has one.
        part: of the request, a key of ``PARTS``.
        field: its name there; of PLACEMENT and VARIANT, of none.
        key: of the dict that the field is; empty for all of it.
    """

    name: str
    part: str
    field: str
    key: str = ""


@functools.cache
def _kinds(part: str) -> dict[str, Any]:
    """Declared types of the fields of a part."""
    request = PARTS[part]
    hints = get_type_hints(request)
    return {field.name: hints[field.name] for field in dataclasses.fields(request)}


class Names:
    """The names of all settings.

    Args:
        words: of options, by field, where they differ: ``{"intra_threads": "threads"}``.
    """

    def __init__(self, words: Mapping[str, str]) -> None:
        self._known = {name: Setting(name, "", name) for name in (PLACEMENT, VARIANT)}
        for part in PARTS:
            for field in _kinds(part):
                word = words.get(field, field)
                setting = Setting(word, part, field)
                for name in {field, word, f"{part}.{field}", f"{part}.{word}"}:
                    # Of equal names, the one of the whole request.
                    self._known.setdefault(name, setting)

    def of(self, name: str) -> Setting | None:
        """The setting of this name; None if there is none.

        ``entries.KEY`` is the entry KEY of a field that is a dict.
        """
        found = self._known.get(name)
        if found is not None:
            return found
        for at in range(len(name) - 1, 0, -1):
            whole = self._known.get(name[:at]) if name[at] == "." else None
            if whole is not None and is_dict(whole):
                return whole._replace(name=f"{whole.name}.{name[at + 1 :]}", key=name[at + 1 :])
        return None

    def all(self) -> list[str]:
        """Every name, to find the nearest one to what was written."""
        return [name for name, one in self._known.items() if one.field not in REFUSED]


def kind(setting: Setting) -> Any:
    """The declared type of a setting."""
    return str if setting.field in (PLACEMENT, VARIANT) else _kinds(setting.part)[setting.field]


def is_dict(setting: Setting) -> bool:
    """Whether a setting is a dict, entries of which can be set apart."""
    return setting.field not in (PLACEMENT, VARIANT) and get_origin(kind(setting)) is dict


def holds_paths(setting: Setting) -> bool:
    """Whether a setting names files or folders."""
    return setting.field == "model" or Path in (_plain(kind(setting)), *_inner(kind(setting)))


def typed(setting: Setting, value: Value) -> Value:
    """A value of a plan as the field takes it; what is no such value is left for the field.

    Text stands for numbers, for True and False, and for lists and dicts in the notation of the
    command line: ``1x3x224x224``, ``probe,ort``, ``KEY=VALUE``.

    Raises:
        RequestError: text is not in that notation.
    """
    wanted = kind(setting)
    if setting.key:
        return _entry(get_args(wanted)[1], value)
    if is_dict(setting):
        inner = get_args(wanted)[1]
        if isinstance(value, str):
            name, equal, text = value.rpartition("=")
            if not (name and equal and text):
                raise RequestError(f"{value!r}: not NAME=VALUE", "write NAME=VALUE, or a table")
            return {name: _from_text(inner, text)}
        if isinstance(value, Mapping):
            return {name: _entry(inner, one) for name, one in value.items()}
    return _from_text(wanted, value)


def _entry(wanted: Any, value: Value) -> Value:
    """An entry of a dict: ORT's own options and entries are text, however they are written."""
    if wanted is str and isinstance(value, (bool, int, float)):
        return str(int(value)) if isinstance(value, bool) else str(value)
    return _from_text(wanted, value)


def _plain(wanted: Any) -> Any:
    """The type without "or None"."""
    return get_args(wanted)[0] if isinstance(wanted, types.UnionType) else wanted


def _inner(wanted: Any) -> tuple[Any, ...]:
    return get_args(_plain(wanted)) if get_origin(_plain(wanted)) in (tuple, dict) else ()


def _from_text(wanted: Any, value: Value) -> Value:
    options = get_args(wanted) if isinstance(wanted, types.UnionType) else (wanted,)
    if float in options and type(value) is int and abs(value) < MOST_INT:
        return float(value)  # 1 and 1.0 are one value, and one cell
    if not isinstance(value, str):
        return value
    if bool in options and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if int in options and value.removeprefix("-").isdecimal() and len(value) <= _MOST_DIGITS:
        return int(value)
    if float in options:
        try:
            return float(value)
        except ValueError:
            return value
    wanted = _plain(wanted)
    if get_origin(wanted) is tuple:
        if int in get_args(wanted):
            sizes = value.split("x")
            plain = all(one.isdecimal() and len(one) <= _MOST_DIGITS for one in sizes)
            return tuple(map(int, sizes)) if plain else value
        return () if value == "none" else tuple(value.split(","))
    return value
