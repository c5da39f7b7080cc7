"""Errors of a plan, worded for who reads it: by the names and the values that are written there."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterable, Sequence
from typing import get_args

from harness.config.fields import called
from harness.errors import RequestError, one_line
from harness.study.sweeps.settings import Setting, Value, kind

#: What types are called in a plan, by what Python calls them.
_IN_TOML = {
    "a string": "text",
    "strings": "texts",
    "True or False": "true or false",
    "a dict": "a table",
    " or None": "",
}

#: What a request says of a word that is none of those it knows.
_NOT_KNOWN = ": not known"

_FIELD = re.compile(r"`(\w+)`")


def shown(value: Value) -> str:
    """A value in a sentence."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # as most will have written it
    return one_line(json.dumps(value, default=str, ensure_ascii=False), 80)


def unknown(where: str, name: str, what: str, known: Iterable[str]) -> RequestError:
    """The error for a name that means nothing.

    Args:
        where: it stands.
        name: itself.
        what: it should be the name of.
        known: names that there are.
    """
    known = list(known)
    near = difflib.get_close_matches(name.rpartition(".")[2], known, 1) or (
        difflib.get_close_matches(name, known, 1)
    )
    hint = f"did you mean {near[0]}?" if near else ""
    if not hint and len(known) < 10:
        hint = f"choose one of {', '.join(known)}"
    return RequestError(
        f"{where}{one_line(name, 80)}: no such {what}",
        hint or "docs/SWEEPS.md lists what a plan can set",
    )


def of_value(
    error: RequestError,
    where: str,
    setting: Setting,
    value: Value,
    texts: Sequence[str] = (),
) -> RequestError:
    """The error of a single value.

    Args:
        error: as the request raised it.
        where: the value stands.
        setting: that it is of.
        value: itself.
        texts: that a plan may have there besides what the field itself takes.
    """
    if where == option(setting):
        return RequestError(where + _unprefixed(error.message, f"`{setting.field}`"), error.remedy)
    message, remedy = (_FIELD.sub(r"\1", text) for text in (error.message, error.remedy))
    # "`intra_threads` -1: must not be negative" -> "threads: -1: must not be negative"
    message = _unprefixed(message, setting.field)
    if message.endswith(": too large"):
        message = f"{shown(value)}: too large"
    elif re.search(r": of type \w+$", message):
        wanted = _wanted(setting)
        message, remedy = f"{shown(value)}: is not {wanted}", f"write {wanted}"
        if texts and isinstance(value, str):
            near = difflib.get_close_matches(value, texts, 1)
            others = f"{remedy}, or one of {', '.join(texts)}"
            remedy = f"did you mean {near[0]}?" if near else others
    remedy = re.sub(rf"\b{setting.field}\b", setting.name, remedy)
    return RequestError(f"{where}{setting.name}: {message}", _in_toml(_nearest(message, remedy)))


def of_several(error: RequestError, where: str, names: Callable[[str], str]) -> RequestError:
    """The error of values that contradict each other.

    Args:
        error: as the request raised it.
        where: they stand, and what they are.
        names: what a plan calls a field.
    """
    message, remedy = (
        _FIELD.sub(lambda field: names(field[1]), text) for text in (error.message, error.remedy)
    )
    return RequestError(f"{where}{message}", _in_toml(remedy))


def fields_in(error: RequestError) -> list[str]:
    """The fields that an error names, the first one first."""
    return _FIELD.findall(error.message)


def option(setting: Setting) -> str:
    """Where a value of the command line stands that is for all cells."""
    return f"`{setting.field}` "


def _unprefixed(message: str, prefix: str) -> str:
    return message.removeprefix(prefix).removeprefix(":").removeprefix(" ")


def _in_toml(remedy: str) -> str:
    return remedy.replace("give ", "write ").replace(" or None", "")


def _nearest(message: str, remedy: str) -> str:
    """A remedy that lists all known values, or the one of them that was meant."""
    listed = remedy.removeprefix("choose one of ")
    near = difflib.get_close_matches(message.removesuffix(_NOT_KNOWN), listed.split(", "), 1)
    return f"did you mean {near[0]}?" if listed != remedy and near else remedy


def _wanted(setting: Setting) -> str:
    """What a setting takes, in the words of TOML."""
    declared = kind(setting)
    told = called(get_args(declared)[1] if setting.key else declared)
    for ours, theirs in _IN_TOML.items():
        told = told.replace(ours, theirs)
    return told
