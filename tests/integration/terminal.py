"""A command on a terminal."""

from __future__ import annotations

import os
import pty
from pathlib import Path

from tests.integration import fork_server


def on_terminal(*arguments: object, environment: dict[str, str], **variables: str) -> str:
    """What the command writes to a terminal of 80 columns."""
    reader, terminal = pty.openpty()
    command = fork_server.start(
        *arguments,
        folder=Path.cwd(),
        environment={**environment, "COLUMNS": "80", "TERM": "xterm-256color", **variables},
        streams=(terminal, terminal, terminal),
    )
    os.close(terminal)
    written = b""
    try:
        while piece := os.read(reader, 4096):
            written += piece
    except OSError:  # how Linux tells that the other side has closed
        pass
    os.close(reader)
    assert command.ended() == 0, written
    return written.decode().replace("\r\n", "\n")
