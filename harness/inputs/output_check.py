"""How far the outputs are from those that a data set expects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from harness.inputs.ports import (
    dtype_name,
    is_float,
    shape_text,
)
from harness.records import Reading

if TYPE_CHECKING:
    from collections.abc import Sequence


def output_error(outputs: Sequence[Any], expected: Sequence[Any] | None) -> Reading:
    """Largest absolute error of floating outputs against a data set's; unit 1.

    The source gives the largest relative error, ``|got - wanted| / |wanted|`` where wanted is
    not 0. A different shape, type, integer, text or NaN makes the value None, with the
    difference as the reason.
    """
    name = "output_error"
    if expected is None:
        return Reading(name, None, reason="no expected outputs to compare with")
    if len(outputs) != len(expected):
        reason = f"{len(outputs)} outputs, but the data set expects {len(expected)}"
        return Reading(name, None, reason=reason)
    absolute = relative = 0.0
    problems = []
    for number, (got, wanted) in enumerate(zip(outputs, expected, strict=True)):
        try:
            errors = _difference(got, wanted)
        except ValueError as error:
            problems.append(f"output {number}: {error}")
            continue
        absolute = max(absolute, errors[0])
        relative = max(relative, errors[1])
    if problems:
        return Reading(name, None, reason="; ".join(problems))
    source = f"{len(expected)} outputs of the data set; largest relative error {relative:.3g}"
    return Reading(name, absolute, "1", source)


def _difference(got: Any, wanted: Any) -> tuple[float, float]:
    """Largest absolute and relative error; ValueError says what else differs."""
    if isinstance(got, (int, float, str, np.generic)):  # ORT returns map values as Python objects
        got = np.asarray(got, np.asarray(wanted).dtype)
    if _outline(got) != _outline(wanted):
        raise ValueError(f"{_outline(got)}, but {_outline(wanted)} is expected")
    if wanted is None:
        return 0.0, 0.0
    if isinstance(wanted, dict):
        if set(got) != set(wanted):
            raise ValueError("its keys differ from those expected")
        got, wanted = [got[key] for key in wanted], list(wanted.values())
    if isinstance(wanted, list):
        pairs = zip(got, wanted, strict=True)
        errors = [(0.0, 0.0), *(_difference(*pair) for pair in pairs)]
        return max(error[0] for error in errors), max(error[1] for error in errors)
    got, wanted = np.asarray(got), np.asarray(wanted)
    if not is_float(wanted.dtype):
        if wrong := int(np.count_nonzero(got != wanted)):
            raise ValueError(f"{wrong} of {wanted.size} {dtype_name(wanted.dtype)} values differ")
        return 0.0, 0.0
    got, wanted = got.astype(np.float64), wanted.astype(np.float64)
    same = (got == wanted) | (np.isnan(got) & np.isnan(wanted))
    unlike = ~same & ~(np.isfinite(got) & np.isfinite(wanted))
    if unlike.any():
        raise ValueError(f"{int(unlike.sum())} of {wanted.size} values differ by NaN or infinity")
    error = np.abs(np.where(same, 0, got) - np.where(same, 0, wanted))
    scale = np.abs(wanted)
    relative = np.divide(error, scale, out=np.zeros_like(error), where=(scale > 0) & ~same)
    return float(error.max(initial=0)), float(relative.max(initial=0))


def _outline(value: Any) -> str:
    if isinstance(value, (list, dict)):
        return f"a {type(value).__name__} of {len(value)}"
    if value is None:
        return "nothing"
    array = np.asarray(value)
    return f"{dtype_name(array.dtype)} {shape_text(array.shape)}"
