"""What the cells of a sweep have shown: figures, the best of each model, curves with knees."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from harness.analysis import noise
from harness.analysis.configuration import facts_of
from harness.analysis.run_energy import run_energy
from harness.analysis.throughput import throughput
from harness.errors import ProfileFileError, one_line
from harness.records import Profile
from harness.statistics import latency
from harness.statistics.figures import Figure
from harness.storage import profile_file
from harness.study import rows
from harness.study.curves import KNEE
from harness.study.sweeps.cells import Cell, CellState
from harness.study.sweeps.settings import DEFAULT, Setting, Value

#: The fact that names the machine.
_HOST = "host_name"

#: Folders of a path that may tell models of one name apart.
_DEEPEST = 64

#: Axes whose curves are told, by field, with the number that a point has on them.
_CURVES: Mapping[str, Callable[[Result], int | None]] = {
    "intra_threads": lambda one: one.threads,
    "batch": lambda one: one.items,
}


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """The figures of a cell.

    Attributes:
        state: the cell; the figures are of one that is done.
        reason: why there are no figures; empty otherwise.
        median_ns: median latency of an inference.
        interval_ns: of it; None with one process.
        items_per_s: throughput in items of the batch.
        interval_items_per_s: of it; None with one process.
        inferences_per_s: throughput in inferences.
        items: in an inference, all instances' apart; None where it is not known.
        threads: of an instance, as they were asked for; None where ORT chose.
        joules_per_item: of what ran it, as ``run_energy`` has it; None with the reason.
        energy_reason: why there is none, or why it is doubtful; empty otherwise.
        noise: verdict on the host's noise.
        busy: the machine was too busy for its throughput.
        host: name of the machine that measured it; empty where its profile does not say.
        broken: whether what ran is a variant whose outputs are too far from the model's.
    """

    state: CellState
    reason: str = ""
    median_ns: float | None = None
    interval_ns: tuple[float, float] | None = None
    items_per_s: float | None = None
    interval_items_per_s: tuple[float, float] | None = None
    inferences_per_s: float | None = None
    items: int | None = None
    threads: int | None = None
    joules_per_item: float | None = None
    energy_reason: str = ""
    noise: str = ""
    busy: bool = False
    host: str = ""
    broken: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Best:
    """The cell of a model with the highest throughput on a machine, broken variants apart.

    Attributes:
        model: its name (``model_names``).
        result: of the cell.
        level: other cells that may be as good: their intervals overlap with its own, or one of
            the two has none.
        of: how many cells of the model could have been the best.
    """

    model: str
    result: Result
    level: tuple[Result, ...]
    of: int


@dataclasses.dataclass(frozen=True, slots=True)
class Curve:
    """Throughput along one axis on a machine, all else alike.

    Attributes:
        axis: name of the axis.
        fixed: the other axes, as the plan has them.
        points: cells in the order of the axis; all have a throughput.
        values: of the axis, at each point.
        knee: the smallest of the values whose throughput is at least ``KNEE`` of the highest.
    """

    axis: str
    fixed: Mapping[Setting, Value]
    points: tuple[Result, ...]
    values: tuple[int, ...]
    knee: int


def results(states: Iterable[CellState]) -> list[Result]:
    """The figures of each cell; reads one profile after the other."""
    return [_result(state) for state in states]


def _result(state: CellState) -> Result:
    if state.status != "done":
        return Result(state, state.reason or "not measured yet")
    try:
        return _figures(state, profile_file.read_profile(state.file))
    except ProfileFileError as error:
        broken = dataclasses.replace(state, status="failed", reason=error.message)
        return Result(broken, error.message)


def _figures(state: CellState, profile: Profile) -> Result:
    found, judged = latency.latency(profile.processes), noise.judge(profile)
    flow = throughput(profile)
    joules, why = _energy(profile)
    facts = facts_of(profile)
    asked = profile.asked.intra_threads
    items = profile.items.value
    result = Result(
        state,
        median_ns=found.median_ns,
        interval_ns=found.interval_ns,
        items=items if isinstance(items, int) else None,
        threads=asked or None,
        joules_per_item=joules,
        energy_reason=why,
        noise=judged.verdict,
        busy="throughput" in judged.unusable,
        host=one_line(str(facts.get(_HOST) or ""), 80),
        broken=str(facts.get(rows.VARIANT, "")).endswith(rows.BROKEN),
    )
    if isinstance(flow, Figure):
        return dataclasses.replace(result, reason=flow.reason)
    return dataclasses.replace(
        result,
        items_per_s=flow.items_per_s,
        interval_items_per_s=flow.interval_items_per_s,
        inferences_per_s=flow.inferences_per_s,
    )


def _energy(profile: Profile) -> tuple[float | None, str]:
    """(joules an item, reason or doubt)."""
    found = run_energy(profile)
    if isinstance(found, Figure):
        return None, found.reason
    if found.item_j.value is None:
        return None, found.joules.reason or found.item_j.reason
    return found.item_j.value, "; ".join(found.causes)


def hosts(found: Iterable[Result]) -> list[str]:
    """The machines that measured these cells, in the order of the plan."""
    return list(dict.fromkeys(one.host for one in found if one.state.status == "done"))


def model_names(found: Iterable[Result]) -> dict[str, str]:
    """What models are called, by their hashes (``Cell.model_id``).

    Files of one name are told apart by as much of their paths as it takes.
    """
    cells: dict[str, Cell] = {}
    for one in found:
        cells.setdefault(one.state.cell.model_id, one.state.cell)
    names = {key: cell.model for key, cell in cells.items()}
    for taken in range(1, _DEEPEST):
        often = Counter(names.values())
        alike = [key for key, name in names.items() if often[name] > 1]
        if not alike:
            break
        for key in alike:
            names[key] = "/".join(_model_file(cells[key]).parts[-taken:])
    return names


def _model_file(cell: Cell) -> Path:
    return Path(next(str(value) for one, value in cell.all.items() if one.field == "model"))


def best(found: Sequence[Result]) -> list[Best]:
    """The best cell of each model on each machine, in the order of the plan.

    By throughput in items. Machines are not ranked: which cell which of them got is chance.
    """
    names = model_names(found)
    models: dict[tuple[str, str], list[Result]] = {}
    for one in found:
        if one.items_per_s is not None and not one.broken:
            models.setdefault((one.state.cell.model_id, one.host), []).append(one)
    told = []
    for (model, _), cells in models.items():
        first = max(cells, key=lambda one: one.items_per_s or 0.0)
        level = tuple(one for one in cells if one is not first and may_be_level(one, first))
        told.append(Best(names[model], first, level, len(cells)))
    return told


def may_be_level(one: Result, other: Result) -> bool:
    """Whether the intervals of two throughputs overlap; of one process, it cannot be told."""
    mine, its = one.interval_items_per_s, other.interval_items_per_s
    if mine is None or its is None:
        return True
    return mine[0] <= its[1] and its[0] <= mine[1]


def have_intervals(one: Result, other: Result) -> bool:
    """Whether two throughputs have intervals, so that it can be told whether they overlap."""
    return one.interval_items_per_s is not None and other.interval_items_per_s is not None


def curves(found: Sequence[Result]) -> list[Curve]:
    """Throughput along threads and batch, wherever two cells of a machine differ by that alone."""
    told = []
    for field, number in _CURVES.items():
        groups: dict[str, list[tuple[int, Result]]] = {}
        axis, fixed = "", {}
        for one in found:
            settings = one.state.cell.settings
            value = number(one)
            setting = next((each for each in settings if each.field == field), None)
            if setting is None or value is None or one.items_per_s is None:
                continue
            axis = setting.name
            others = {each: of for each, of in settings.items() if each != setting}
            told_of = [one.host, *([*each, of] for each, of in others.items())]
            key = json.dumps(told_of, default=str)
            fixed[key] = others
            groups.setdefault(key, []).append((value, one))
        for key, points in groups.items():
            points.sort(key=lambda point: point[0])
            if len({value for value, _ in points}) < 2:
                continue
            values = tuple(value for value, _ in points)
            cells = tuple(one for _, one in points)
            told.append(Curve(axis, fixed[key], cells, values, _knee(values, cells)))
    return told


def _knee(values: Sequence[int], points: Sequence[Result]) -> int:
    rates = [one.items_per_s or 0.0 for one in points]
    return next(
        value for value, rate in zip(values, rates, strict=True) if rate >= KNEE * max(rates)
    )


def shown(settings: Mapping[Setting, Value]) -> dict[str, Value]:
    """Settings by their names, without those that are left as they are by default."""
    return {one.name: value for one, value in settings.items() if value != DEFAULT}
