"""Threads of this process that run."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

from harness.machine.process_stat import stat_fields


def others_run(root: Path = Path("/")) -> bool:
    """Whether any thread of this process but the calling one runs, or waits for a CPU to run on.

    From their states (proc_pid_stat(5), field 3): a thread that spins is in R, with or without a
    CPU; one that sleeps is in S.

    Args:
        root: where /proc is looked for.

    Returns:
        False if the kernel does not report it.
    """
    own = str(threading.get_native_id())
    with contextlib.suppress(OSError):
        for task in (root / "proc/self/task").iterdir():
            if task.name == own:
                continue
            with contextlib.suppress(OSError):  # it has just ended
                if stat_fields(task / "stat")[:1] == ["R"]:
                    return True
    return False
