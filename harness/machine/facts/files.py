"""Single facts from files of /proc or /sys."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from harness.records import Reading

Parse = Callable[[str], int | float | str]


def read(root: Path, name: str, path: str, parse: Parse = str.strip, unit: str = "") -> Reading:
    """One fact from one file; absent with the reason if it cannot be read."""
    source = f"/{path}"
    try:
        return Reading(name, parse((root / path).read_text()), unit, source)
    except OSError as error:
        return Reading(name, None, unit, source, f"{source}: {error.strerror}")
    except (LookupError, ValueError):
        return Reading(name, None, unit, source, f"{source} does not report it")


def matching(pattern: str, convert: Callable[[str], int | float | str] = str.strip) -> Parse:
    """A parser: the pattern's group, converted; LookupError if it does not match."""

    def parse(text: str) -> int | float | str:
        match = re.search(pattern, text, re.MULTILINE)
        if match is None:
            raise LookupError(pattern)
        return convert(match[1])

    return parse


def kilo(text: str) -> int:
    """Thousands: kHz to Hz."""
    return int(text) * 1000


def kibi(text: str) -> int:
    """KiB to bytes."""
    return int(text) * 1024
