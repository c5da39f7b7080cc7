"""The terminal, through rich."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

from rich.console import Console

#: Most columns that a line is laid out for: none is wider, whatever COLUMNS says.
MOST_COLUMNS: Final = 1_000

#: What rich takes for the size of the terminal.
_SIZES: Final = ("COLUMNS", "LINES")


class Terminal(Console):
    """A console that leaves a closed pipe to ``harness.commands.command_line``.

    It is no wider than a terminal can be. COLUMNS and LINES count only where they are numbers that
    one can have: rich would fail at others that consist of digits (``²``, a thousand nines).

    Args:
        how: as rich's console takes it.
    """

    def __init__(self, **how: Any) -> None:
        super().__init__(**how, _environ=_possible(os.environ))
        if self.width > MOST_COLUMNS:
            self.width = MOST_COLUMNS

    def on_broken_pipe(self) -> None:
        """Re-raises; rich itself would exit with 1."""
        raise


def _possible(environment: Mapping[str, str]) -> Mapping[str, str]:
    """The environment without sizes that no terminal has."""
    return {
        name: value
        for name, value in environment.items()
        if name not in _SIZES or (value.isascii() and value.isdigit() and len(value) <= 9)
    }
