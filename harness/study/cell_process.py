"""Measures the one cell of a plan in a process of its own: what a worker of a cluster starts.

    python -m harness.study.cell_process PARENT FOLDER

FOLDER holds the plan; the profile goes there, and how it ended into ``outcome.json``. The process
dies with its parent, and takes along those that it has started.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.measuring import conduct
from harness.study.cells import cells_of
from harness.study.plan import read_plan
from harness.study.sweep import SweepObserver, measure_cell

PLAN = "plan.toml"
OUTCOME = "outcome.json"


class _Notes(SweepObserver):
    """Keeps what the user should know."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warning(self, text: str) -> None:
        self.warnings.append(text)


def main(parent: int, folder: Path) -> int:
    """Measures the cell and leaves how that ended; returns the exit code.

    Args:
        parent: process id of who started this.
        folder: with the plan.
    """
    conduct.die_with(parent)
    notes = _Notes()
    outcome: dict[str, Any]
    try:
        (cell,) = cells_of(read_plan(folder / PLAN, {}))
        found = measure_cell(cell, folder, notes)
        outcome = {
            "id": cell.id,
            "status": found.status,
            "reason": found.reason,
            "file": found.file.name if found.status == "done" else "",
        }
    except HarnessError as error:
        outcome = {
            "status": "failed",
            "kind": error.kind,
            "message": error.message,
            "remedy": error.remedy,
            "exit_code": error.exit_code,
        }
    text = json.dumps(outcome | {"warnings": notes.warnings})
    (folder / OUTCOME).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), Path(sys.argv[2])))
