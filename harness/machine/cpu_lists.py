"""CPU and node sets in Linux' notation."""

from __future__ import annotations

from collections.abc import Iterable


def cpu_list(text: str) -> list[int]:
    """``0-2,8`` -> [0, 1, 2, 8], Linux' notation of CPU and node sets."""
    numbers: list[int] = []
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        numbers.extend(range(int(first), int(last or first) + 1))
    return numbers


def cpu_ranges(cpus: Iterable[int]) -> str:
    """[0, 1, 2, 8] -> ``0-2,8``."""
    ranges: list[list[int]] = []
    for cpu in sorted(cpus):
        if ranges and cpu == ranges[-1][-1] + 1:
            ranges[-1][1:] = [cpu]
        else:
            ranges.append([cpu])
    return ",".join("-".join(map(str, ends)) for ends in ranges)
