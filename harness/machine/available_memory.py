"""Memory that can be had without swapping or meeting a limit of a control group."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from harness.machine.control_groups import control_groups

#: Limit and usage of a control group, and the key of its cache that is given back, by "is of
#: version 2".
_FILES = {
    True: (("memory.max", "memory.current"), "inactive_file"),
    False: (("memory.limit_in_bytes", "memory.usage_in_bytes"), "total_inactive_file"),
}

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def available_bytes(root: Path = Path("/")) -> int | None:
    """Memory that this process and its children may still take; None where nobody tells."""
    found = []
    with contextlib.suppress(OSError, ValueError, LookupError):
        facts = dict(line.split(":") for line in (root / "proc/meminfo").read_text().splitlines())
        found.append(int(facts["MemAvailable"].split()[0]) * 1024)
    with contextlib.suppress(OSError):
        for folder, second in control_groups(root, "memory"):
            names, cache = _FILES[second]
            with contextlib.suppress(OSError, ValueError):  # "max": no limit
                limit, used = (int((folder / name).read_text()) for name in names)
                found.append(max(limit - used + _given_back_bytes(folder, cache), 0))
    return min(found, default=None)


def _given_back_bytes(folder: Path, cache: str) -> int:
    """Of a group's memory, files that the kernel drops where it needs room."""
    for line in (folder / "memory.stat").read_text().splitlines():
        name, _, value = line.partition(" ")
        if name == cache:
            return int(value)
    return 0


def resident_bytes() -> int:
    """Of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES
