"""JSON that every parser reads: values from files of others may hold NaN and infinities."""

from __future__ import annotations

import json
from typing import Any


def json_text(value: Any) -> str:
    """One JSON value; NaN and infinities, which JSON has no numbers for, become texts.

    Args:
        value: of what ``json`` writes.
    """
    try:
        return json.dumps(value, allow_nan=False)
    except ValueError:
        return json.dumps(json.loads(json.dumps(value), parse_constant=str), allow_nan=False)
