"""What the kernel reports of a process or thread in its ``stat`` (proc_pid_stat(5)).

Imports nothing heavy: every command reads it before anything else.
"""

from __future__ import annotations

from pathlib import Path


def stat_fields(path: Path) -> list[str]:
    """The fields behind the name, of which the first is the state, field 3 of the manual.

    The name, in brackets, may hold blanks and brackets itself.

    Raises:
        OSError: it cannot be read; a thread may have just ended.
    """
    return path.read_text(errors="replace").rpartition(")")[2].split()
