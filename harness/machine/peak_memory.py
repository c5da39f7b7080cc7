"""Peak resident memory of this process."""

from __future__ import annotations

import re
from pathlib import Path

from harness.records import Reading

#: Name of the reading.
PEAK_MEMORY = "peak_memory_bytes"


def peak_memory(root: Path = Path("/")) -> Reading:
    """Peak resident memory since the program started (VmHWM, proc_pid_status(5)).

    Unlike ``ru_maxrss``, it is not inherited from the parent process.

    Args:
        root: where /proc is looked for.
    """
    source = "/proc/self/status, VmHWM, before the timed pass"
    try:
        text = (root / "proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError as error:
        return Reading(PEAK_MEMORY, None, "bytes", source, f"/proc/self/status: {error.strerror}")
    found = re.search(r"^VmHWM:\s*(\d+) kB$", text, re.MULTILINE)
    if found is None:
        reason = "/proc/self/status has no line VmHWM"
        return Reading(PEAK_MEMORY, None, "bytes", source, reason)
    return Reading(PEAK_MEMORY, int(found[1]) * 1024, "bytes", source)
