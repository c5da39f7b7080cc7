"""Lines with a label: what every report in text is made of."""

from __future__ import annotations

import sys
import textwrap

from harness.reporters.terminal import Terminal


class Page:
    """Lines with a label, laid out for the terminal; each one line whole where there is none."""

    def __init__(self) -> None:
        terminal = sys.stdout.isatty()
        self.console = Terminal(highlight=False, markup=False, emoji=False, soft_wrap=True)
        self.width = self.console.width if terminal else 10_000
        self._label = ""

    def say(self, label: str, text: str) -> None:
        """Prints the text beside its label, which is not repeated on the next line."""
        shown = label if label != self._label else ""
        self._label = label
        lines = textwrap.wrap(
            text, max(self.width - 13, 20), break_long_words=False, break_on_hyphens=False
        )
        for number, line in enumerate(lines):
            self.console.print(f"  {shown if number == 0 else '':10} {line}")
