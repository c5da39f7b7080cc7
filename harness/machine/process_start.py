"""When this process was started."""

from __future__ import annotations

import os
import time
from pathlib import Path

from harness.machine.process_stat import stat_fields


def process_start_ns(root: Path = Path("/")) -> int:
    """CLOCK_MONOTONIC when this process was started, to a clock tick (10 ms).

    The kernel counts its start time from boot (proc_pid_stat(5), field 22), suspended time
    included; a process that was never suspended is as old by either clock.

    Args:
        root: where /proc is looked for.

    Returns:
        Now, if the kernel does not report it.
    """
    now_ns = time.monotonic_ns()
    try:
        ticks = int(stat_fields(root / "proc/self/stat")[19])
    except (OSError, ValueError, IndexError):
        return now_ns
    since_boot_ns = ticks * 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    age_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - since_boot_ns
    return now_ns - age_ns if 0 <= age_ns <= now_ns else now_ns
