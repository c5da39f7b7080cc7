"""Fields of a request, made what they are declared to be, or refused with a sentence."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import numbers
import operator
import os
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from harness.errors import RequestError, one_line

#: What a value of a type is called, one and several.
_CALLED: dict[Any, tuple[str, str]] = {
    str: ("a string", "strings"),
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    bool: ("True or False", "True or False"),
    Path: ("a path", "paths"),
    tuple[int, ...]: ("a list of whole numbers", "lists of whole numbers"),
}

#: Whole numbers that ONNX, ONNX Runtime and files can hold are below this, and not below its
#: negative.
MOST_INT = 2**63

#: Characters of a refused value that the sentence repeats.
_SHOWN = 60


def settle(request: object) -> None:
    """Gives every field of a frozen dataclass the type it is declared with.

    Strings become paths, lists become tuples, whole numbers become floats, and numbers of numpy
    become Python's, so that nothing behind a request meets anything else.

    Args:
        request: an instance, as its ``__post_init__`` sees it.

    Raises:
        RequestError: a value is of another type, or too large for it.
    """
    kind: Any = type(request)
    for name, declared in _declared(kind).items():
        given = getattr(request, name)
        try:
            value = _as(declared, given)
        except OverflowError:
            raise RequestError(
                f"`{name}` {one_line(repr(given), _SHOWN)}: too large",
                "give a smaller number",
            ) from None
        except (TypeError, ValueError):
            raise RequestError(
                f"`{name}` {one_line(repr(given), _SHOWN)}: of type {type(given).__name__}",
                f"give {called(declared)}",
            ) from None
        object.__setattr__(request, name, value)


@functools.cache
def _declared(request: type) -> dict[str, Any]:
    """Types by the names of the fields."""
    hints = get_type_hints(request)
    return {field.name: hints[field.name] for field in dataclasses.fields(request)}


def _as(declared: Any, value: object) -> object:
    """The value as that type.

    Raises:
        TypeError: it is of another one.
        ValueError: it has no value of that type.
        OverflowError: it is too large for that type, or for what becomes of it.
    """
    if isinstance(value, bool) and declared is not bool:  # to Python a bool is a number
        return _refuse()
    inner = get_args(declared)
    if isinstance(declared, types.UnionType):
        return None if value is None else _as_one_of(inner, value)
    if get_origin(declared) is tuple and isinstance(value, (list, tuple)):
        return tuple(_as(inner[0], one) for one in value)
    if get_origin(declared) is dict and isinstance(value, Mapping):
        return {_as(inner[0], key): _as(inner[1], one) for key, one in value.items()}
    if declared is Path:
        return Path(os.fspath(value)) if isinstance(value, (str, os.PathLike)) else _refuse()
    if declared is int:
        whole = operator.index(value)  # type: ignore[arg-type]  # a TypeError for all but integers
        return whole if -MOST_INT <= whole < MOST_INT else _refuse(OverflowError)
    if declared is float and isinstance(value, numbers.Real):
        return float(value)
    if isinstance(declared, type) and declared not in (int, float) and isinstance(value, declared):
        return value
    return _refuse()


def _as_one_of(kinds: tuple[Any, ...], value: object) -> object:
    """The value as the first of these types that it is of."""
    for kind in kinds:
        if kind is not types.NoneType:
            with contextlib.suppress(TypeError):
                return _as(kind, value)
    return _refuse()


def _refuse(error: type[Exception] = TypeError) -> object:
    raise error


def called(declared: Any) -> str:
    """What a field of this type takes, in words."""
    inner = get_args(declared)
    if isinstance(declared, types.UnionType):
        return " or ".join("None" if one is types.NoneType else called(one) for one in inner)
    if get_origin(declared) is tuple:
        return f"a list of {_CALLED[inner[0]][1]}"
    if get_origin(declared) is dict:
        return f"a dict of {_CALLED[inner[1]][1]} by name"
    if declared in _CALLED:
        return _CALLED[declared][0]
    return f"{'an' if declared.__name__[0] in 'AEIOU' else 'a'} {declared.__name__}"
