"""The terminal as rich sees it."""

from __future__ import annotations

from rich.console import Console


class Terminal(Console):
    """A console that leaves it to ``harness.commands.command_line`` when the reader has gone."""

    def on_broken_pipe(self) -> None:
        """Raises on; rich itself would exit with 1."""
        raise
