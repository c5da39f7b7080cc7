"""What ``profile`` and ``ab`` print on stderr while they measure."""

from __future__ import annotations

import io
import os
import time
from types import TracebackType
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar

from harness.commands.messages import message
from harness.measuring.observer import Observer
from harness.measuring.plan import Plan
from harness.measuring.prepared import Preparation
from harness.reporters.terminal.console import Terminal
from harness.reporters.wording import counted, input_line, processes

#: Share of the forecast from which on it is told what part of it rests on an assumption.
_WORTH_TELLING = 0.1


class _Lossy(io.FileIO):
    """A stream that drops what it cannot write: a full disk there must not cost a measurement."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data) or 0
        except OSError:
            return len(memoryview(data).cast("B"))


class Progress(Observer):
    """Lines on stderr, and a bar with the time left if stderr is a terminal.

    The bar is updated when a process finishes, never by a thread of its own, which would run
    during the timed pass.
    """

    def __init__(self, *, quiet: bool) -> None:
        # Descriptor 2 is redirected while workers run; this copy stays with the terminal.
        self._stream = io.TextIOWrapper(
            io.BufferedWriter(_Lossy(os.dup(2), "w")), encoding="utf-8", errors="replace"
        )
        # A terminal gets lines that are broken between words, a file one line for each sentence.
        self._console = Terminal(
            file=self._stream,
            highlight=False,
            markup=False,
            emoji=False,
            soft_wrap=not self._stream.isatty(),
        )
        self._quiet = quiet
        self._bar = Bar(
            TextColumn("processes"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[left]}"),
            console=self._console,
            auto_refresh=False,
            transient=True,
            disable=quiet or not self._console.is_terminal,
        )
        self._task = self._bar.add_task("", total=None, visible=False, left="")
        self._began_s = 0.0

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
        """Prints a warning, even when quiet."""
        self._console.print(f"harness: warning: {message(text)}")

    def preparing(self, model: str) -> None:
        """Says what is being read."""
        self._say(f"loading and trying out {model}")

    def prepared(self, preparation: Preparation, plan: Plan) -> None:
        """Says what is fed and how long it will take."""
        for record in preparation.inputs:
            self._say(f"feeding {input_line(record)}")
        for what, reason in preparation.absent:
            self.warning(f"no {what}: {reason}")
        more = ""
        if plan.assumed_s > _WORTH_TELLING * plan.expected_s:
            more = (
                f", of it {_duration(plan.assumed_s)} for sessions of the executed graph: none was "
                "timed, they are reckoned like the model's"
            )
        if plan.budget_s is not None:
            more += f"; more if they vary too much, up to {_duration(plan.budget_s)}"
        planned = plan.processes
        many = counted(planned, "group") if plan.of_groups else processes(planned)
        self._say(f"measuring {many}, about {_duration(plan.expected_s)}{more}")
        self._began_s = time.monotonic()
        self._bar.update(self._task, total=plan.processes, visible=True)
        self.measured(0, plan)

    def measured(self, finished: int, plan: Plan) -> None:
        """Moves the bar."""
        left = time_left(plan, finished, time.monotonic() - self._began_s)
        # After the planned processes, there is always one more under way.
        more = finished >= plan.processes and plan.budget_s is not None
        total = finished + 1 if more else plan.processes
        self._bar.update(self._task, total=total, completed=finished, left=left)
        self._bar.refresh()

    def pairs_planned(self, pairs: int, least_s: float) -> None:
        """Says the least time that a decision takes."""
        self._say(
            f"a decision takes at least {pairs} pairs of processes, about {_duration(least_s)}"
        )

    def note(self, text: str) -> None:
        """Prints what is known so far."""
        self._say(text)

    def _say(self, text: str) -> None:
        if not self._quiet:
            self._console.print(message(text))


def time_left(plan: Plan, finished: int, elapsed_s: float) -> str:
    """How much longer it takes, in words.

    An estimate from the plan until a process has finished, then from those that have. When all
    planned processes have finished without reaching the precision, what is left of the budget.
    """
    if finished >= plan.processes and plan.budget_s is not None:
        return f"at most {_duration(plan.budget_s - elapsed_s)} left"
    if not finished:
        return f"about {_duration(plan.expected_s - elapsed_s)} left"
    # Not all processes make traced passes.
    left = plan.expected_of(range(finished, plan.processes)) / plan.expected_of(range(finished))
    return f"about {_duration(elapsed_s * left)} left"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(seconds, 0):.0f} s"
    minutes, rest = divmod(round(seconds / 10) * 10, 60)
    return f"{minutes} min {rest} s" if minutes < 10 and rest else f"{minutes} min"
