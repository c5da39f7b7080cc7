"""Text as a profile holds it."""

from __future__ import annotations

from typing import Any


def storable(text: str) -> str:
    """The text with backslash escapes for what HDF5 and UTF-8 cannot hold.

    These are NUL and lone surrogates, which stand for the bytes of a name that is not UTF-8.
    """
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def storable_values(value: Any) -> Any:
    """A value read from JSON, with every text in it made storable, keys included."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, list):
        return [storable_values(each) for each in value]
    if isinstance(value, dict):
        return {storable(key): storable_values(each) for key, each in value.items()}
    return value
