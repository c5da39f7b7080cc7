"""Measure every combination of a plan: models, batches, threads, providers, options of a session.

    harness sweep profiles/plans/quick.toml -o results
    harness sweep --axis model=mlp --axis batch=1,8,32 --quick -o results

Processes of all cells are measured by turns, in random order. The same command goes on where an
earlier one was cut off. docs/SWEEPS.md says what a plan may hold, and how to use many machines.
"""

from __future__ import annotations

import argparse
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError, MachineError, RequestError, one_line
from harness.options import declare, words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.study.sweeps.cells import Cell, CellState
    from harness.study.sweeps.plan import SweepPlan
    from harness.study.sweeps.results import Result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of ``harness sweep``."""
    parser.add_argument("plan", type=Path, nargs="?", metavar="PLAN", help="the plan, a TOML file")
    declare(parser, "sweep")


def execute(options: argparse.Namespace) -> int:
    """Measures the cells, or says what they are."""
    _require_sense(options)
    from harness.study.sweeps.cells import cells_of

    plan = _plan(options)
    cells = cells_of(plan)
    if options.cells:
        print(len(cells))
        return 0
    if options.dry_run:
        return _tell_cells(plan, cells, options)
    if options.cell is not None:
        return _measure_one(cells, options)
    if options.dask is not None:
        from harness.commands.sweep_progress import SweepProgress
        from harness.study.sweeps import cluster

        with SweepProgress(len(cells), quiet=options.quiet or options.json) as progress:
            found = cluster.sweep(plan, options.output, options.dask, progress, retry=options.retry)
        return _tell(found, options)
    from harness.commands.sweep_progress import SweepProgress
    from harness.study.sweeps.sweep import sweep

    with SweepProgress(len(cells), quiet=options.quiet or options.json) as progress:
        found = sweep(plan, options.output, progress, retry=options.retry)
    return _tell(found, options)


def _require_sense(options: argparse.Namespace) -> None:
    if options.plan is None and not options.axis:
        raise RequestError("no plan", "name a PLAN, or give `axis` model=NAME `axis` batch=1,8")
    if options.json and options.csv:
        raise RequestError("`json` and `csv` exclude each other", "drop one of them")
    modes = {name: getattr(options, name) for name in ("cells", "dry_run", "cell", "dask")}
    alone = [name for name, value in modes.items() if _is_given(value)]
    if len(alone) > 1:
        raise RequestError(f"`{alone[0]}` and `{alone[1]}` exclude each other", "drop one of them")
    if options.output is None and not (options.cells or options.dry_run):
        raise RequestError("where to?", "give `output` FOLDER")
    if options.output is not None and options.output.exists() and not options.output.is_dir():
        raise RequestError(f"{options.output}: is a file", "give `output` FOLDER")


def _is_given(value: object) -> bool:
    """Whether an option was given: 0 was, and is for who reads it to refuse."""
    return value is not None and value is not False


def _plan(options: argparse.Namespace) -> SweepPlan:
    from harness.study.sweeps.plan import read_plan

    axes = [_axis(given) for given in options.axis]
    fields = {
        "processes": options.processes,
        "duration_s": options.duration,
        "quick": options.quick,
        "trace": options.trace,
        "energy": options.energy,
    }
    common: dict[str, Any] = {name: value for name, value in fields.items() if _is_given(value)}
    return read_plan(options.plan, words(), axes, common)


def _axis(given: str) -> tuple[str, list[Any]]:
    """The name of an axis and its values: between commas, or a list as plans have it.

    Raises:
        RequestError: it is neither.
    """
    name, equal, values = given.partition("=")
    remedy = "give `axis` NAME=VALUE,VALUE, or NAME=['VALUE', ...] for values with a comma"
    if not (name and equal and values):
        raise RequestError(f"`axis` {given}: not NAME=VALUE", remedy)
    if not values.startswith("["):
        return name, values.split(",")
    from harness.study.sweeps.plan import MOST_DOTS

    if values.count(".") > MOST_DOTS:
        raise RequestError(f"`axis` {name}: more than {MOST_DOTS:,} dots", remedy)
    try:
        held = tomllib.loads(f"values = {values}")
    except (ValueError, RecursionError) as error:
        told = one_line(str(error), 80)
        raise RequestError(f"`axis` {given}: not a list as in TOML: {told}", remedy) from None
    if set(held) != {"values"}:
        raise RequestError(f"`axis` {given}: more than a list", remedy)
    return name, held["values"]


def _tell_cells(plan: SweepPlan, cells: tuple[Cell, ...], options: argparse.Namespace) -> int:
    """Prints the cells, and how long they will take."""
    from harness.measuring.rounds import progress
    from harness.study.sweeps.estimates import Pace, left_s
    from harness.study.sweeps.fitting import Machine
    from harness.study.sweeps.results import results
    from harness.study.sweeps.state import states

    folder = options.output
    found = states(folder or Path(), cells, Machine(), look=folder is not None)
    requests = [one.config for one in found if one.status == "pending" and one.config is not None]
    begun = [None if folder is None else progress(request) for request in requests]
    expected_s = left_s(
        [(request, far, Pace()) for request, far in zip(requests, begun, strict=True)]
    )
    told = results(found)
    if options.json:
        from harness.reporters.scripts.sweep import sweep_text

        print(sweep_text(folder, told, expected_s))
    elif options.csv:
        from harness.reporters.scripts.sweep import sweep_csv

        print(sweep_csv(told), end="")
    else:
        from harness.reporters.terminal.sweep import print_cells

        rounds = plan.rounds or max((one.process_count for one in requests), default=1)
        print_cells(folder, told, expected_s, rounds)
    return 0


def _measure_one(cells: tuple[Cell, ...], options: argparse.Namespace) -> int:
    """Measures the cell of one number."""
    if not 1 <= options.cell <= len(cells):
        raise RequestError(
            f"`cell` {options.cell}: the plan has {len(cells)}", f"from 1 to {len(cells)}"
        )
    from harness.commands.sweep_progress import SweepProgress
    from harness.study.sweeps.sweep import measure_cell

    with SweepProgress(1, quiet=options.quiet or options.json) as progress:
        found = measure_cell(cells[options.cell - 1], options.output, progress, retry=options.retry)
    if found.status == "failed" and found.failure is not None:
        # As it failed then: whoever hands out cells sees it again.
        raise _Again.of(found)
    return _tell([found], options)


class _Again(HarnessError):
    """The error of a cell that failed earlier."""

    @classmethod
    def of(cls, state: CellState) -> _Again:
        """The error that was recorded."""
        failure = state.failure
        if failure is None:
            raise ValueError("it has not failed")
        when = f"cell {state.cell.number} failed on {failure.host} at {failure.when}"
        error = cls(f"{when}: {failure.message}", f"{failure.remedy}; then `retry`".lstrip("; "))
        error.kind, error.exit_code = failure.kind, failure.exit_code
        return error


def _tell(found: Sequence[CellState], options: argparse.Namespace) -> int:
    """Prints the result; returns the exit code of the first cell that is not done.

    One that is left to another command is refused, as a second sweep into its folder is.
    """
    from harness.study.sweeps.results import results

    told = results(found)
    if options.json:
        from harness.reporters.scripts.sweep import sweep_text

        print(sweep_text(options.output, told))
    elif options.csv:
        from harness.reporters.scripts.sweep import sweep_csv

        print(sweep_csv(told), end="")
    else:
        from harness.reporters.terminal.sweep import print_sweep

        print_sweep(options.output, told)
    failed = next((_code(one) for one in told if one.state.status == "failed"), 0)
    pending = any(one.state.status == "pending" for one in told)
    return failed or (RequestError.exit_code if pending else 0)


def _code(result: Result) -> int:
    failure = result.state.failure
    return failure.exit_code if failure is not None else MachineError.exit_code
