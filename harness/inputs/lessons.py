"""What ONNX Runtime's reason for a failed inference says about sizes that would do."""

from __future__ import annotations

import itertools
import math
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_SHAPE = r"\{([\d,]*)\}"
#: Two sizes that should be one (a broadcast, a concatenation), whichever is right.
_EITHER = re.compile(
    r"dimension other than 1\. (\d+) by (\d+)|mismatched dimensions of (\d+) and (\d+)"
)
#: Two shapes that should be one, whichever is right.
_EITHER_SHAPE = re.compile(rf"Left ?[Ss]hape: ?{_SHAPE},? .*?Right ?[Ss]hape: ?{_SHAPE}")
#: The shape that is wanted and the one that was met.
_WANTED_SHAPE = re.compile(rf"must have shape {_SHAPE}\. Actual: ?{_SHAPE}")
#: The size that was met and the one that is wanted.
_WANTED = re.compile(r"[Gg]ot:? (\d+)\W+(?:but )?[Ee]xpected:? (\d+)")
#: Greatest length of a generation, and that of its prompt.
_GENERATION = re.compile(
    r"max_length \((\d+)\) shall be greater than input sequence length \((\d+)"
)
_RESHAPE = re.compile(r"Input shape:\{([\d,]*)\}, requested shape:\{([-\d,]*)\}")
_TOO_SHORT = re.compile(r"Invalid input shape: \{|exceeds maximum allowed|requires axis length")


def clashes(reason: str) -> Iterator[tuple[int, int]]:
    """Sizes that were met, each with the size that is wanted instead; likely ones first."""
    for match in _WANTED_SHAPE.finditer(reason):
        yield from _unequal(match[2], match[1])
        yield from _unequal(match[1], match[2])  # where what was met is fixed
    for match in _WANTED.finditer(reason):
        yield int(match[1]), int(match[2])
    for match in _GENERATION.finditer(reason):
        yield int(match[2]), max(1, int(match[1]) // 2)
    for match in _EITHER.finditer(reason):
        one, other = (int(size) for size in match.groups() if size is not None)
        yield from ((one, other), (other, one))
    for match in _EITHER_SHAPE.finditer(reason):
        yield from _unequal(match[1], match[2])
        yield from _unequal(match[2], match[1])


def reshapes(reason: str, size: int) -> int | None:
    """The size instead of one that a Reshape did not take; None where it says nothing of it."""
    match = _RESHAPE.search(reason)
    if match is None:
        return None
    shape, target = _sizes(match[1]), _sizes(match[2])
    count = math.prod(shape)
    if not size or not count or count % size:
        return None
    # A 0 keeps the size that is there.
    wanted = math.prod(
        (shape[place] if place < len(shape) else 1) if item == 0 else item
        for place, item in enumerate(target)
        if item != -1
    )
    others = count // size
    step = wanted // math.gcd(wanted, others)
    if -1 in target:
        return None if count % wanted == 0 else math.ceil(size / step) * step
    return None if count == wanted or wanted % others else wanted // others


def failing_node(reason: str) -> str:
    """Op type and name of the innermost node that failed; empty where it is not told."""
    found = re.findall(r"while running (\w+) node\. Name:'([^']*)'", reason)
    return " ".join(found[-1]) if found else ""


def is_too_short(reason: str) -> bool:
    """Whether a tensor was too short for what a kernel or a padding reaches over."""
    return _TOO_SHORT.search(reason) is not None


def _unequal(got: str, wanted: str) -> Iterator[tuple[int, int]]:
    pairs = itertools.zip_longest(_sizes(got)[::-1], _sizes(wanted)[::-1], fillvalue=1)
    yield from ((one, other) for one, other in pairs if one != other)


def _sizes(text: str) -> list[int]:
    return [int(size) for size in text.split(",") if size]
