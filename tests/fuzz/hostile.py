"""Values that hurt, and mutations of JSON and of bytes, shared by the readers' mutators."""

from __future__ import annotations

import math
import random
from typing import Any

TEXTS = (
    "",
    " ",
    "\x1b]0;title\x07\x1b[31mred",
    "line\nharness: forged",
    "carriage\rreturn",
    "nul\0byte",
    "right\u202eleft",
    "c1\x9b31m",
    "=cmd|'/c calc'!A1",
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    "{[}\\\"'%s%n{0}",
    "../../etc/passwd",
    "/dev/zero",
    "nan",
    "1e999",
    "-1",
    "[bold]markup[/bold] [/]",
    "節点 µ",
    "x" * 5000,
    "\U0001f4a9" * 300,
    "rocm",
)
INTEGERS = (0, 1, -1, 2, 3, 7, 255, 65_536, 2**31 - 1, -(2**31), 2**31, 2**32, 10**12)
INTEGERS_64 = (*INTEGERS, 2**62, 2**63 - 1, -(2**63))
INTEGERS_ANY = (*INTEGERS_64, 2**63, 2**64, -(2**64), 10**30)
FLOATS = (0.0, -0.0, 1.5, -1.0, 1e308, 5e-324, math.inf, -math.inf, math.nan)


def value(rng: random.Random) -> Any:
    """Any JSON value."""
    pools: tuple[tuple[Any, ...], ...] = (TEXTS, INTEGERS_ANY, FLOATS, (None, True, False, [], {}))
    return rng.choice(rng.choice(pools))


def _places(node: Any) -> list[tuple[Any, Any]]:
    """(container, key) of everything in a JSON value."""
    found: list[tuple[Any, Any]] = []
    todo = [node]
    while todo:
        each = todo.pop()
        keys: Any = ()
        if isinstance(each, dict):
            keys = list(each)
        elif isinstance(each, list):
            keys = range(len(each))
        for key in keys:
            found.append((each, key))
            todo.append(each[key])
    return found


def mutate_json(rng: random.Random, node: Any) -> Any:
    """The value with one thing in it changed; it is changed in place where that is possible."""
    places = _places(node)
    if not places or rng.random() < 0.03:
        return value(rng)
    container, key = rng.choice(places)
    kind = rng.randrange(7)
    if kind == 0:
        del container[key]
    elif kind == 1:
        container[key] = value(rng)
    elif kind == 2:  # a value from elsewhere
        other, place = rng.choice(places)
        container[key] = _copy(other[place])
    elif kind == 3 and isinstance(container, list):
        container.insert(key, _copy(container[key]))
    elif kind == 4 and isinstance(container, dict):
        container[rng.choice(TEXTS)] = container.pop(key)
    elif kind == 5 and isinstance(container[key], int | float):
        container[key] = rng.choice((*INTEGERS_ANY, *FLOATS, str(container[key])))
    elif kind == 6 and isinstance(container[key], str):
        container[key] = rng.choice(TEXTS)
    else:
        container[key] = [container[key]] * rng.choice((1, 2, 50))
    return node


def _copy(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _copy(each) for key, each in node.items()}
    if isinstance(node, list):
        return [_copy(each) for each in node]
    return node


def _zero_block(rng: random.Random, content: bytearray) -> None:
    """A hole, as a sparse copy or a lost sector leaves it."""
    size = rng.choice((512, 512, 4096))
    at = rng.randrange(max(len(content), 1))
    hole = min(size, len(content) - at)
    content[at : at + hole] = bytes(hole)


def _flip(rng: random.Random, content: bytearray) -> None:
    for _ in range(rng.choice((1, 1, 2, 8))):
        content[rng.randrange(len(content))] = rng.randrange(256)


def _ones(rng: random.Random, content: bytearray) -> None:
    at = rng.randrange(len(content))
    size = rng.choice((1, 2, 4, 8))
    content[at : at + size] = b"\xff" * len(content[at : at + size])


def _cut(rng: random.Random, content: bytearray) -> None:
    del content[rng.randrange(len(content)) :]


def _remove(rng: random.Random, content: bytearray) -> None:
    at = rng.randrange(len(content))
    del content[at : at + rng.choice((1, 4, 100))]


def _repeat(rng: random.Random, content: bytearray) -> None:
    at = rng.randrange(len(content))
    size = rng.choice((1, 8, 512))
    content[at:at] = content[at : at + size] * rng.choice((1, 3))


def _move(rng: random.Random, content: bytearray) -> None:
    size = rng.choice((8, 64, 512))
    source, target = rng.randrange(len(content)), rng.randrange(len(content))
    piece = content[source : source + size]
    content[target : target + len(piece)] = piece


#: Changes of bytes, in place.
BYTE_MUTATIONS = {
    "zero block": _zero_block,
    "flip bytes": _flip,
    "ones": _ones,
    "cut": _cut,
    "remove bytes": _remove,
    "repeat bytes": _repeat,
    "move bytes": _move,
}


def mutate_bytes(rng: random.Random, name: str, content: bytearray) -> None:
    """Applies a mutation of BYTE_MUTATIONS; an empty content stays."""
    if content:
        BYTE_MUTATIONS[name](rng, content)
