"""Kinds of failures that the code still has; the only place that excuses one.

Whoever closes a kind takes its line out. Empty is the aim: then every failure is a new one.
"""

from __future__ import annotations

import fnmatch
from typing import NamedTuple


class Known(NamedTuple):
    """A kind: patterns of fnmatch for the reader and for ``Failure.key``, and the cause."""

    reader: str
    key: str
    reason: str


KNOWN: tuple[Known, ...] = ()


def reason(reader: str, key: str) -> str | None:
    """Why a failure is no news; None where it is."""
    for known in KNOWN:
        if fnmatch.fnmatchcase(reader, known.reader) and fnmatch.fnmatchcase(key, known.key):
            return known.reason
    return None
