"""Whether a model computed the same outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    pass


def same_values(one: Any, other: Any) -> bool:
    """Whether two outputs of a model are equal bit for bit."""
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray):
        if (one.dtype, one.shape) != (other.dtype, other.shape):
            return False
        if one.dtype == object:
            return bool(one.tolist() == other.tolist())
        return bool(one.tobytes() == other.tobytes())
    if isinstance(one, Mapping):  # as text, NaN equals itself
        return repr(dict(one)) == repr(dict(other))
    if isinstance(one, Sequence) and not isinstance(one, str):
        return len(one) == len(other) and all(map(same_values, one, other))
    return bool(one == other)
