"""What ``sweep`` prints on stderr while it measures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from harness.commands.progress import Progress
from harness.errors import HarnessError
from harness.measuring import rounds as measuring
from harness.measuring.plan import Plan
from harness.measuring.prepared import Preparation
from harness.records import Profile
from harness.reporters.terminal.sweep import duration, settings
from harness.reporters.wording import counted
from harness.study.sweeps.cells import Cell, CellState
from harness.study.sweeps.sweep import SweepObserver


class SweepProgress(SweepObserver):
    """A line for each round, each failure, and each cell that is prepared or done.

    Args:
        cells: how many the plan has.
        quiet: print warnings only.
    """

    def __init__(self, cells: int, *, quiet: bool) -> None:
        self._cells = cells
        self._lines = Progress(quiet=quiet)
        self._at = ""
        self._waited = False
        self._warned: set[str] = set()

    def __enter__(self) -> SweepProgress:
        self._lines.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._lines.__exit__(None, None, None)

    def warning(self, text: str) -> None:
        """Says it once for each cell."""
        told = f"{self._at}: {text}" if self._at else text
        if told not in self._warned:
            self._warned.add(told)
            self._lines.warning(told)

    def prepared(self, preparation: Preparation, _plan: Plan) -> None:
        """Says what cannot be determined of a cell."""
        for what, reason in preparation.absent:
            self.warning(f"no {what}: {reason}")

    def planned(self, states: Sequence[CellState], rounds: int) -> None:
        """Says how many cells are how far."""
        of = Counter(one.status for one in states)
        begun = sum(one.status == "pending" and bool(one.reason) for one in states)
        told = [f"{counted(len(states), 'cell')}: {of['pending']} to measure"]
        told += [f"{begun} of them begun"] if begun else []
        told += [f"{of[one]} {one}" for one in ("done", "failed", "skipped") if of[one]]
        told += [f"in {counted(rounds, 'round')}"] if of["pending"] else []
        self._lines.note(", ".join(told))

    def round_begins(self, number: int, rounds: int, left_s: float | None) -> None:
        """Says how long all that is left will take."""
        left = "" if left_s is None else f", about {duration(left_s)} left"
        self._lines.note(f"round {number} of {rounds}{left}")

    def cell_begins(self, cell: Cell) -> None:
        """Notes of which cell warnings are."""
        self._at = f"cell {cell.number}"

    def cell_measured(self, cell: Cell, progress: measuring.Progress | Profile) -> None:
        """Says that a cell is done."""
        if isinstance(progress, Profile):
            self._lines.note(f"cell {cell.number} done: {cell.model}, {settings(cell.settings)}")

    def cell_failed(self, cell: Cell, error: HarnessError) -> None:
        """Says why."""
        remedy = f" ({error.remedy})" if error.remedy else ""
        self._lines.warning(f"cell {cell.number} failed: {error.message}{remedy}")

    def cell_left(self, cell: Cell, error: HarnessError) -> None:
        """Says to whom."""
        self._lines.warning(f"cell {cell.number} left to another command: {error.message}")

    def waiting(self) -> None:
        """Says once what it waits for."""
        if not self._waited:
            self._waited = True
            self._lines.note("another cell is being measured on this host: waiting for it")
