"""CPU and node sets in Linux notation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


def cpu_list(text: str) -> list[int]:
    """``0-2,8`` -> [0, 1, 2, 8], Linux notation for CPU and node sets.

    Raises:
        ValueError: a part is neither a number nor a range; the message names it.
    """
    return [cpu for part in cpu_parts(text) for cpu in part]


def cpu_parts(text: str) -> Iterator[range]:
    """``0-2,8`` -> range(0, 3), range(8, 9): for lists that may name far more CPUs than exist.

    Raises:
        ValueError: as ``cpu_list``.
    """
    for part in text.strip().split(",") if text.strip() else ():
        first, dash, last = part.strip().partition("-")
        last = last if dash else first
        if not (first.isdecimal() and last.isdecimal() and int(first) <= int(last)):
            raise ValueError(f"{part!r} is not a CPU or a range of them")
        yield range(int(first), int(last) + 1)


def cpu_ranges(cpus: Iterable[int]) -> str:
    """[0, 1, 2, 8] -> ``0-2,8``."""
    ranges: list[list[int]] = []
    for cpu in sorted(cpus):
        if ranges and cpu == ranges[-1][-1] + 1:
            ranges[-1][1:] = [cpu]
        else:
            ranges.append([cpu])
    return ",".join("-".join(map(str, ends)) for ends in ranges)
