"""The cells of a sweep in a table, the best of each model, and curves: what ``sweep`` prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.machine.cpu_lists import cpu_ranges
from harness.options import worded
from harness.reporters.numbers import half_width, joules, nanoseconds, rate
from harness.reporters.scripts.sweep import text
from harness.reporters.terminal.lines import Column, Page
from harness.reporters.wording import counted
from harness.study.curves import KNEE
from harness.study.sweeps.results import (
    Best,
    Curve,
    Result,
    best,
    curves,
    have_intervals,
    hosts,
    shown,
)
from harness.study.sweeps.settings import DEFAULT, Setting, Value

#: Cells as good as the best that are named.
_LEVEL = 6

#: Columns that a narrow terminal leaves out, in this order.
_SPARED = ("J/item", "±", "median", "interval", "noise")


def duration(seconds: float) -> str:
    """A rough length of time: seconds, minutes or hours."""
    if seconds < 90:
        return f"{max(seconds, 0):.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def print_sweep(folder: Path, found: Sequence[Result]) -> None:
    """Prints what ``sweep`` shows at its end.

    Args:
        folder: of the profiles.
        found: a result for each cell, in the order of the plan.
    """
    page = Page()
    _table(page, found)
    _answers(page, found)
    page.say("cells", f"{counts(found)}; profiles in {folder}")


def print_cells(
    folder: Path | None, found: Sequence[Result], expected_s: float, rounds: int
) -> None:
    """Prints what ``sweep --dry-run`` shows: the cells, what is known, and how long they will take.

    Args:
        folder: of the profiles; None where none was named.
        found: a result for each cell, in the order of the plan.
        expected_s: seconds that the pending ones will take.
        rounds: over which their processes are spread.
    """
    page = Page()
    _table(page, found)
    _answers(page, found)
    place = f" in {folder}" if folder is not None else ""
    page.say("cells", f"{counts(found)}{place}")
    pending = sum(one.state.status == "pending" for one in found)
    if pending:
        page.say(
            "time",
            f"roughly {duration(expected_s)} for {counted(pending, 'cell')} in "
            f"{counted(rounds, 'round')}: it does not know how fast the models are, "
            "and will to within a quarter after the first round",
        )


def counts(found: Sequence[Result]) -> str:
    """How many cells are how far: ``24 cells: 20 done, 4 skipped``."""
    of = Counter(one.state.status for one in found)
    told = [f"{of[status]} {status}" for status in ("done", "pending", "failed", "skipped")]
    kept = ", ".join(one for one in told if not one.startswith("0 "))
    return f"{counted(len(found), 'cell')}: {kept}"


def settings(of: Mapping[Setting, Value]) -> str:
    """The axes of a cell in words, without the model: ``batch 8, threads all``."""
    told = [f"{name} {text(value)}" for name, value in shown(of).items() if name != "model"]
    return ", ".join(told) or "as by default"


def _answers(page: Page, found: Sequence[Result]) -> None:
    """The best of each model, and curves."""
    several = len(hosts(found)) > 1
    for model in best(found):
        told = _best(model, _on(model.result) if several else "")
        if model.result.busy or any(one.busy for one in model.level):
            told += "; the machine was too busy for a throughput that holds: see harness show"
        page.say("best", told)
    for curve in curves(found):
        page.say("curve", _curve(curve, _on(curve.points[0]) if several else ""))


def _on(result: Result) -> str:
    return f"on {result.host or 'a host without a name'}"


def _best(model: Best, where: str) -> str:
    one = model.result
    told = (
        f"{f'{model.model} {where}'.rstrip()}: cell {one.state.cell.number} "
        f"({settings(one.state.cell.settings)}), {rate(one.items_per_s or 0)} items/s"
    )
    if not model.level:
        if model.of == 1:
            return told
        others = "the other" if model.of == 2 else f"all {model.of - 1} others"
        return f"{told}, above {others} by its interval"
    overlapping = [each for each in model.level if have_intervals(each, one)]
    unknown = [each for each in model.level if not have_intervals(each, one)]
    if overlapping:
        told += f"; not told apart from {_listed(overlapping)}: their intervals overlap"
    if unknown:
        told += f"; not told apart from {_listed(unknown)}: one process has no interval"
    return told


def _listed(cells: Sequence[Result]) -> str:
    numbers = ", ".join(str(each.state.cell.number) for each in cells[:_LEVEL])
    more = len(cells) - _LEVEL
    return f"cell{'' if len(cells) == 1 else 's'} {numbers}" + (f" and {more} more" * (more > 0))


def _table(page: Page, found: Sequence[Result]) -> None:
    axes = list(dict.fromkeys(one for each in found for one in each.state.cell.settings))
    columns = [Column("cell", [str(one.state.cell.number) for one in found])]
    for axis in axes:
        cells = [_axis(one.state.cell.settings[axis]) for one in found]
        numbers = all(one.isdecimal() or not one for one in cells)
        columns.append(Column(axis.name, cells, ">" if numbers else "<"))
    if len(hosts(found)) > 1:
        columns.append(Column("host", [one.host for one in found], "<"))
    if any(one.median_ns is not None for one in found):
        columns += [
            Column("median", [_or_dash(one.median_ns, nanoseconds) for one in found]),
            Column("±", [_half(one.interval_ns, one.median_ns) for one in found]),
            Column("items/s", [_or_dash(one.items_per_s, rate) for one in found]),
            Column("interval", [_interval(one.interval_items_per_s) for one in found]),
        ]
        if any(one.joules_per_item is not None for one in found):
            doubt = ["?" if one.energy_reason else "" for one in found]
            values = [_or_dash(one.joules_per_item, joules) for one in found]
            columns.append(Column("J/item", [a + b for a, b in zip(values, doubt, strict=True)]))
        columns.append(Column("noise", [one.noise for one in found], "<"))
    page.table(columns, Column("status", [_status(one) for one in found], "<"), spared=_SPARED)
    page.print()
    broken = [one.state.cell.number for one in found if one.broken]
    if broken:
        page.say("broken", f"{_cells(broken)}: outputs too far from the model's, never the best")
    for label in ("failed", "skipped"):
        why: dict[str, list[int]] = {}
        for one in found:
            if one.state.status == label:
                why.setdefault(_reason(one), []).append(one.state.cell.number)
        for reason, of in why.items():
            page.say(label, f"{_cells(of)}: {reason}")


def _cells(numbers: Sequence[int]) -> str:
    return f"{'cell' if len(numbers) == 1 else 'cells'} {cpu_ranges(numbers)}"


def _status(result: Result) -> str:
    state = result.state
    if state.status == "pending" and state.reason:
        # How far a cell is that has begun; other reasons are told below, once each.
        return f"{state.status}, {state.reason}"
    return f"{state.status}, broken" if result.broken else state.status


def _reason(result: Result) -> str:
    failure = result.state.failure
    remedy = f" ({worded(failure.remedy)})" if failure is not None and failure.remedy else ""
    return worded(result.state.reason) + remedy


def _axis(value: Value) -> str:
    return "" if value == DEFAULT else text(value)


def _or_dash(value: float | None, written: object) -> str:
    return "" if value is None or not callable(written) else str(written(value))


def _interval(ends: tuple[float, float] | None) -> str:
    return "" if ends is None else f"{rate(ends[0])} to {rate(ends[1])}"


def _half(interval: tuple[float, float] | None, centre: float | None) -> str:
    if interval is None or not centre:
        return ""
    return half_width(interval, centre, 1).removeprefix("±")


def _curve(curve: Curve, where: str) -> str:
    points = "  ".join(
        f"{value}: {rate(one.items_per_s or 0)}"
        for value, one in zip(curve.values, curve.points, strict=True)
    )
    fixed = [f"{name} {text(value)}" for name, value in shown(curve.fixed).items()]
    busy = ", on a machine that was too busy" if any(one.busy for one in curve.points) else ""
    alike = ", ".join((*fixed, where) if where else fixed)
    of = f" ({alike})" if alike else ""
    return (
        f"{curve.axis}{of}: {points} items/s; knee at {curve.knee}, the first with {KNEE:.0%} of "
        f"the best{busy}"
    )
