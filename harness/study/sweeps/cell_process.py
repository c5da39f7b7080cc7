"""Measures the one cell of a plan in a process of its own: what a worker of a cluster starts.

    python -m harness.study.sweeps.cell_process PARENT FOLDER ID CALLED

FOLDER holds the plan; the profile goes there, and how it ended into ``outcome.json``. The process
dies with its parent, and takes along those that it has started.
"""

from __future__ import annotations

import dataclasses
import json
import re
import sys
import time
from pathlib import Path
from typing import Any

from harness.errors import HarnessError, RequestError
from harness.measuring import conduct
from harness.study.sweeps.cells import Cell, cells_of
from harness.study.sweeps.one_cell_plan import files
from harness.study.sweeps.plan import read_plan
from harness.study.sweeps.sweep import SweepObserver, measure_cell

PLAN = "plan.toml"
OUTCOME = "outcome.json"

#: When no other cell was being measured on the host any more: what ``time.monotonic`` said.
BEGUN = "begun"


class _Notes(SweepObserver):
    """Keeps what the user should know, and when the measurement began."""

    def __init__(self, folder: Path) -> None:
        self.warnings: list[str] = []
        self._folder = folder

    def warning(self, text: str) -> None:
        self.warnings.append(text)

    def cell_begins(self, _cell: Cell) -> None:
        (self._folder / BEGUN).write_text(str(time.monotonic()), encoding="utf-8")


def main(parent: int, folder: Path, identity: str, called: str) -> int:
    """Measures the cell and leaves how that ended; returns the exit code.

    Args:
        parent: process id of who started this.
        folder: with the plan.
        identity: of the cell where the plan was made; empty where that host lacks its files. A cell
            of another one is not measured.
        called: identity that the profile is to tell: where the plan was made, files that are not
            there count by their places, and the cell has another one. Empty for its own.
    """
    conduct.die_with(parent)
    notes = _Notes(folder)
    outcome: dict[str, Any] = {"id": ""}
    try:
        cell = _read(folder / PLAN)
        outcome["id"] = cell.id
        if identity and cell.id != identity:
            raise _another(cell)
        if called:
            cell = dataclasses.replace(cell, id=called)
        found = measure_cell(cell, folder, notes)
        outcome |= {
            "status": found.status,
            "reason": found.reason,
            "file": found.file.name if found.status == "done" else "",
        }
    except HarnessError as error:
        outcome |= {
            "status": "failed",
            "kind": error.kind,
            "message": error.message,
            "remedy": error.remedy,
            "exit_code": error.exit_code,
        }
    text = json.dumps(outcome | {"warnings": notes.warnings})
    (folder / OUTCOME).write_text(text, encoding="utf-8")
    return 0


def _read(path: Path) -> Cell:
    """The one cell of a plan.

    Raises:
        RequestError: the plan cannot be used here. The file's name and lines are left out: who
            reads that has never seen them.
    """
    try:
        (cell,) = cells_of(read_plan(path, {}))
    except RequestError as error:
        message = re.sub(rf"^{re.escape(str(path))}(:\d+)?: ", "", error.message)
        raise RequestError(message, error.remedy) from error
    return cell


def _another(cell: Cell) -> RequestError:
    """The error where files of a cell are not those with which the plan was made."""
    named = files(cell)
    remedy = "put the same files under the same paths on every host"
    missing = [path for path in named if not path.exists()]
    if missing:
        return RequestError(f"{missing[0]}: there is no such file", remedy)
    told = ", ".join(map(str, named)) or cell.model
    which = "the file there is another one" if len(named) == 1 else "not the same files there"
    return RequestError(f"{told}: {which}", remedy)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4]))
