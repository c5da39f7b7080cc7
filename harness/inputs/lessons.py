"""What ONNX Runtime's error for a failed inference says about sizes that would work."""

from __future__ import annotations

import itertools
import math
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_SHAPE = r"\{([\d,]*)\}"
#: Two sizes that should be equal (a broadcast, a concatenation), whichever is right.
_EITHER = re.compile(
    r"dimension other than 1\. (\d+) by (\d+)|mismatched dimensions of (\d+) and (\d+)"
)
#: Two shapes that should be equal, whichever is right.
_EITHER_SHAPE = re.compile(rf"Left ?[Ss]hape: ?{_SHAPE},? .*?Right ?[Ss]hape: ?{_SHAPE}")
#: The shape that ORT wants and the one it got.
_WANTED_SHAPE = re.compile(rf"must have shape {_SHAPE}\. Actual: ?{_SHAPE}")
#: The size that ORT got and the one it wants.
_WANTED = re.compile(r"[Gg]ot:? (\d+)\W+(?:but )?[Ee]xpected:? (\d+)")
#: Maximum length of a generation, and the length of its prompt.
_GENERATION = re.compile(
    r"max_length \((\d+)\) shall be greater than input sequence length \((\d+)"
)
_RESHAPE = re.compile(r"Input shape:\{([\d,]*)\}, requested shape:\{([-\d,]*)\}")
_TOO_SHORT = re.compile(r"Invalid input shape: \{|exceeds maximum allowed|requires axis length")


def clashes(reason: str) -> Iterator[tuple[int, int]]:
    """Sizes that ORT got, each with the size it wants instead; likely ones first."""
    for match in _WANTED_SHAPE.finditer(reason):
        yield from _unequal(match[2], match[1])
        yield from _unequal(match[1], match[2])  # in case the size it got is fixed
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
    """The size to replace one that a Reshape rejected; None if the error does not concern it."""
    match = _RESHAPE.search(reason)
    if match is None:
        return None
    shape, target = _sizes(match[1]), _sizes(match[2])
    count = math.prod(shape)
    if not size or not count or count % size:
        return None
    # A 0 keeps the size of the input.
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
    """Op type and name of the innermost node that failed; empty if the error names none."""
    found = re.findall(r"while running (\w+) node\. Name:'([^']*)'", reason)
    return " ".join(found[-1]) if found else ""


def is_too_short(reason: str) -> bool:
    """Whether a tensor was shorter than a kernel or a padding needs."""
    return _TOO_SHORT.search(reason) is not None


def _unequal(got: str, wanted: str) -> Iterator[tuple[int, int]]:
    pairs = itertools.zip_longest(_sizes(got)[::-1], _sizes(wanted)[::-1], fillvalue=1)
    yield from ((one, other) for one, other in pairs if one != other)


def _sizes(text: str) -> list[int]:
    return [int(size) for size in text.split(",") if size]
