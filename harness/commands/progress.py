"""What ``profile`` says on stderr while it works."""

from __future__ import annotations

import os
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar

from harness.profiling import Observer
from harness.reporters.table import input_line
from harness.runner import Plan
from harness.worker import Preparation


class Progress(Observer):
    """Lines on stderr, and a bar with the time left where stderr is a terminal.

    The bar moves when a process has finished, never by a thread of its own: one would run
    beside the timed pass.
    """

    def __init__(self, *, quiet: bool) -> None:
        # Descriptor 2 is redirected while workers run; this one stays with the terminal.
        self._stream = os.fdopen(os.dup(2), "w", encoding="utf-8", errors="replace")
        self._console = Console(file=self._stream, quiet=quiet, highlight=False, soft_wrap=True)
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            auto_refresh=False,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("processes", total=None, start=False, visible=False)

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()
        self._stream.close()

    def warning(self, text: str) -> None:
        """Prints a warning."""
        self._console.print(f"harness: warning: {text}", markup=False)

    def preparing(self, model: str) -> None:
        """Says what is being read."""
        self._console.print(f"reading and trying {model}", markup=False)

    def prepared(self, preparation: Preparation, plan: Plan) -> None:
        """Says what is fed and how long it will take."""
        for record in preparation.inputs:
            self._console.print(f"input {input_line(record)}", markup=False)
        for what, reason in preparation.absent:
            self.warning(f"no {what}: {reason}")
        self._console.print(
            f"measuring {plan.processes} processes, about {_duration(plan.expected_s)}"
        )
        self._bar.update(self._task, total=plan.processes, visible=True)
        self._bar.start_task(self._task)
        self._bar.refresh()

    def measured(self, finished: int, plan: Plan) -> None:
        """Moves the bar."""
        self._bar.update(self._task, completed=finished, total=plan.processes)
        self._bar.refresh()


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min"
