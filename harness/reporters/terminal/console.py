"""The terminal, through rich."""

from __future__ import annotations

from rich.console import Console


class Terminal(Console):
    """A console that leaves a closed pipe to ``harness.commands.command_line``."""

    def on_broken_pipe(self) -> None:
        """Re-raises; rich itself would exit with 1."""
        raise
