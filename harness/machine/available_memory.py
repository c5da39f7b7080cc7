"""Memory that is available without swapping or hitting a control group's limit."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from harness.machine.control_groups import control_groups

#: Whether a control group is of version 2 -> files of its limit and its usage, and the key of
#: its reclaimable file cache in memory.stat.
_FILES = {
    True: (("memory.max", "memory.current"), "inactive_file"),
    False: (("memory.limit_in_bytes", "memory.usage_in_bytes"), "total_inactive_file"),
}

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def available_bytes(root: Path = Path("/")) -> int | None:
    """Memory that this process and its children may still take; None if it is not reported."""
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
    """The part of a group's memory that is file cache, which the kernel drops under pressure."""
    for line in (folder / "memory.stat").read_text().splitlines():
        name, _, value = line.partition(" ")
        if name == cache:
            return int(value)
    return 0


def resident_bytes() -> int:
    """Resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES
