"""A command on a terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys


def on_terminal(*arguments: object, environment: dict[str, str], **variables: str) -> str:
    """What the command writes to a terminal of 80 columns."""
    reader, terminal = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "harness", *map(str, arguments)],
        env={**environment, "COLUMNS": "80", "TERM": "xterm-256color", **variables},
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
    ) as process:
        os.close(terminal)
        written = b""
        try:
            while piece := os.read(reader, 4096):
                written += piece
        except OSError:  # how Linux tells that the other side has closed
            pass
        os.close(reader)
    assert process.returncode == 0, written
    return written.decode().replace("\r\n", "\n")
