"""Reads a plan: what is measured in all cells, the axes, and which combinations are left out.

A plan is TOML (profiles/plans/). Errors name the line and the nearest known name. Relative paths
are those from the folder of the plan.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import itertools
import json
import math
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.config.fields import MOST_INT
from harness.config.profile import MOST_PROCESSES, ProfileConfig
from harness.errors import RequestError, one_line
from harness.measuring import possible
from harness.models import catalogue
from harness.models.variants import kinds
from harness.ordinary_files import open_ordinary
from harness.study.sweeps.plan_lines import Lines
from harness.study.sweeps.plan_wording import (
    fields_in,
    of_several,
    of_value,
    option,
    shown,
    unknown,
)
from harness.study.sweeps.settings import (
    DEFAULT,
    PARTS,
    PLACEMENT,
    REFUSED,
    VARIANT,
    Names,
    Setting,
    Value,
    holds_paths,
    typed,
)

#: Texts for a number of threads that depends on the machine (``fitting``).
RELATIVE_THREADS = ("all", "half", "per-socket", "per-numa", "per-l3", "per-core")

#: ``2-l3``: one instance on two L3 domains; ``per-l3``: an instance on each.
PLACEMENTS = re.compile(r"per-(socket|numa|l3|core)|[1-9]\d{0,4}-(socket|numa|l3|core)")

#: Most combinations of axes, and most that may be left of them.
MOST_COMBINATIONS = 1_000_000
MOST_CELLS = 10_000

#: Most axes, and most settings for all cells: each is compared with each.
_MOST_AXES = 100
_MOST_COMMON = 500

#: Most combinations times [[skip]] and [[only]]: each is compared with each.
_MOST_COMPARED = 5_000_000

#: Bytes of a plan.
_MOST_BYTES = 1 << 20

#: Dots in a line: tomllib takes time by the square of the parts of a dotted key.
MOST_DOTS = 1000

#: Tables and lists in each other, and bits of a number: far more of either, and Python cannot go
#: through them, or print it. What is too large for a field, the field refuses.
_MOST_DEPTH = 50
_MOST_BITS = 128

_TABLES = ("sweep", "axes", "skip", "only")
_PLACES = "sockets, NUMA nodes, L3 domains or cores"
_UNITS = "socket, numa, l3 or core"


@dataclasses.dataclass(frozen=True, slots=True)
class Axis:
    """One axis.

    Attributes:
        setting: what it sets.
        values: as they are written, paths resolved.
        where: in the plan, for errors.
    """

    setting: Setting
    values: tuple[Value, ...]
    where: str


#: Which values of which axis are meant, both by their number.
Combination = Mapping[int, frozenset[int]]


@dataclasses.dataclass(frozen=True, slots=True)
class SweepPlan:
    """A checked plan.

    Attributes:
        seed: of the random orders.
        rounds: over which the processes of a cell are spread; None for as many as it has processes.
        common: what is set in all cells.
        axes: every combination of their values is a cell.
        skip: combinations that are left out.
        only: if there are any, all others are left out.
    """

    seed: int
    rounds: int | None
    common: Mapping[Setting, Value]
    axes: tuple[Axis, ...]
    skip: tuple[Combination, ...]
    only: tuple[Combination, ...]

    def combinations(self) -> Iterator[dict[Setting, Value]]:
        """The settings of every cell, in the order of the plan: the last axis varies fastest."""
        for chosen in itertools.product(*(range(len(axis.values)) for axis in self.axes)):
            if self.only and not any(_is_meant(chosen, one) for one in self.only):
                continue
            if any(_is_meant(chosen, one) for one in self.skip):
                continue
            yield {
                axis.setting: axis.values[number]
                for axis, number in zip(self.axes, chosen, strict=True)
            }


def _is_meant(chosen: Sequence[int], combination: Combination) -> bool:
    return all(chosen[axis] in values for axis, values in combination.items())


def read_plan(
    path: Path | None,
    words: Mapping[str, str],
    axes: Sequence[tuple[str, Sequence[Value]]] = (),
    common: Mapping[str, Value] | None = None,
) -> SweepPlan:
    """Reads and checks a plan.

    Args:
        path: of the file; None where the axes alone say it all.
        words: of options, by field (``settings.Names``).
        axes: of the command line, by name, a name with several lists of values having all of
            them; they replace those of the file.
        common: of the command line, by field; what is set for all cells.

    Raises:
        RequestError: it cannot be read or makes no sense; the message names the line.
    """
    content: dict[str, Any] = {}
    lines = Lines("", "", _TABLES)
    if path is not None:
        text = _text(path)
        lines = Lines(str(path), text, _TABLES)
        try:
            content = tomllib.loads(text)
        except ValueError as error:  # also for a number of more digits than Python reads
            raise _no_toml(path, error) from None
        except RecursionError:
            raise RequestError(
                f"{path}: lists or tables in each other too deeply", "see profiles/plans"
            ) from None
    _require_shallow(content, lines)
    for name, values in axes:
        _require_shallow({"axes": {name: values}}, Lines("", "", _TABLES), "`axis` ")
    return _Reader(lines, Names(words), path.parent if path else Path()).plan(
        content, axes, common or {}
    )


def _text(path: Path) -> str:
    remedy = "give the path of a plan, such as those in profiles/plans"
    try:
        with open(open_ordinary(path), "rb") as stream:  # noqa: PTH123  # a descriptor
            content = stream.read(_MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise RequestError(f"{path}: cannot be read: {reason}", remedy) from error
    if len(content) > _MOST_BYTES:
        raise RequestError(f"{path}: larger than {_MOST_BYTES:,} bytes", remedy)
    try:
        text = content.decode("utf-8-sig")  # some editors begin a file with a byte order mark
    except UnicodeDecodeError as error:
        raise RequestError(f"{path}: is not text in UTF-8", remedy) from error
    for number, line in enumerate(text.split("\n"), 1):
        if line.count(".") > MOST_DOTS:
            raise RequestError(
                f"{path}:{number}: more than {MOST_DOTS:,} dots in a line", "break it into several"
            )
    return text


def _require_shallow(content: Mapping[str, Any], lines: Lines, where: str = "") -> None:
    """Refuses what TOML can hold, and Python can neither go through nor print.

    Args:
        content: of a plan.
        lines: of it.
        where: it stands, for what is in no file.

    Raises:
        RequestError: tables or lists are in each other too deeply, or a number is too large.
    """
    # With the keys on the way there, and the row of a [[table]].
    left: list[tuple[Any, tuple[str, ...], int, int]] = [(content, (), 0, 0)]
    while left:
        value, keys, row, depth = left.pop()
        if isinstance(value, int) and value.bit_length() > _MOST_BITS:
            reason = f"a number of more than {_MOST_BITS} bits"
        elif depth > _MOST_DEPTH:
            reason = f"lists or tables in each other, more than {_MOST_DEPTH}"
        else:
            if isinstance(value, Mapping):
                left += ((one, (*keys, key), row, depth + 1) for key, one in value.items())
            elif isinstance(value, (list, tuple)):
                of_rows = len(keys) == 1
                left += (
                    (one, keys, at if of_rows else row, depth + 1) for at, one in enumerate(value)
                )
            continue
        place = where or lines.at(keys[0], ".".join(keys[1:]), row)
        raise RequestError(f"{place}{one_line('.'.join(keys[1:]), 80)}: {reason}", "leave it out")


def _no_toml(path: Path, error: ValueError) -> RequestError:
    told = one_line(str(error), 200)
    line = re.search(r"\(at line (\d+), column \d+\)", told)
    place = f"{path}:{line[1]}" if line else str(path)
    return RequestError(f"{place}: is not TOML: {told}", "see profiles/plans for examples")


class _Reader:
    """Checks what a plan says.

    Args:
        lines: of it.
        names: of the settings.
        folder: from which relative paths go.
    """

    def __init__(self, lines: Lines, names: Names, folder: Path) -> None:
        self._lines = lines
        self._names = names
        self._folder = folder

    def plan(
        self,
        content: Mapping[str, Any],
        given: Sequence[tuple[str, Sequence[Value]]],
        common: Mapping[str, Value],
    ) -> SweepPlan:
        """The plan in the file's content, with what the command line gives besides.

        Raises:
            RequestError: it makes no sense.
        """
        for name, value in content.items():
            if name not in _TABLES:
                where = self._lines.at("", name) if not isinstance(value, dict) else ""
                raise unknown(where or self._lines.at(name), name, "table", _TABLES)
            wanted = dict if name in ("sweep", "axes") else list
            if not isinstance(value, wanted):
                brackets = f"[{name}]" if wanted is dict else f"[[{name}]]"
                raise RequestError(f"{self._lines.at('', name)}{name}: write it as {brackets}")
        sweep = dict(content.get("sweep", {}))
        seed = self._whole(sweep.pop("seed", 0), "seed", 0, MOST_INT)
        rounds = sweep.pop("rounds", None)
        rounds = None if rounds is None else self._whole(rounds, "rounds", 1, MOST_PROCESSES)
        places: dict[Setting, str] = {}
        settings = self._common(sweep, places)
        for field, value in common.items():
            setting = self._setting(field, f"`{field}` ")
            places[setting] = option(setting)
            settings[setting] = self._value(setting, value, places[setting])
        axes = self._axes(content.get("axes", {}), given)
        if not axes:
            remedy = "give `axis` model=NAME" if not content else "write [axes] with model = [...]"
            raise RequestError(f"{self._lines.at('axes')}there are no axes", remedy)
        for what, found, most in (
            ("axes", len(axes), _MOST_AXES),
            ("settings for all cells", len(settings), _MOST_COMMON),
        ):
            if found > most:
                table = "axes" if what == "axes" else "sweep"
                raise RequestError(
                    f"{self._lines.at(table)}{found:,} {what}, {most} at most", "leave some out"
                )
        self._require_apart(axes, settings, places)
        self._require_few(axes, content)
        if not any(one.field == "model" for one in (*settings, *(a.setting for a in axes))):
            raise RequestError(
                f"{self._lines.at('axes')}no model is named", "add model = [...] to [axes]"
            )
        plan = SweepPlan(
            seed,
            rounds,
            settings,
            axes,
            skip=self._combinations("skip", content.get("skip", []), axes),
            only=self._combinations("only", content.get("only", []), axes),
        )
        self._require_values(plan, places | {axis.setting: axis.where for axis in axes})
        return plan

    def _whole(self, value: Value, name: str, least: int, most: int) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
            return value
        allowed = f"of at least {least}" if most == MOST_INT else f"between {least} and {most:,}"
        raise RequestError(
            f"{self._lines.at('sweep', name)}{name} = {shown(value)}: must be a whole number "
            f"{allowed}",
            f"write {name} = {least or 1}",
        )

    def _common(self, table: Mapping[str, Any], places: dict[Setting, str]) -> dict[Setting, Value]:
        settings: dict[Setting, Value] = {}
        for name, value in _leaves(table):
            where = self._lines.at("sweep", name)
            setting = self._setting(name, where, extra=("seed", "rounds"))
            if setting.field == PLACEMENT or setting in settings:
                twice = "is an axis: write it in [axes]"
                raise RequestError(
                    f"{where}{name}: {twice if setting.field == PLACEMENT else 'is set twice'}"
                )
            settings[setting] = self._value(setting, value, where)
            places[setting] = where
        return settings

    def _axes(
        self, table: Mapping[str, Any], given: Sequence[tuple[str, Sequence[Value]]]
    ) -> tuple[Axis, ...]:
        axes: dict[Setting, Axis] = {}
        for name, values in _leaves(table):
            where = self._lines.at("axes", name)
            setting = self._setting(name, where)
            if setting in axes:
                raise RequestError(f"{where}{name}: another axis sets the same", "drop one of them")
            if not isinstance(values, list) or not values:
                raise RequestError(
                    f"{where}{name} = {shown(values)}: an axis is a list of values",
                    f"write {name} = [...]",
                )
            axes[setting] = self._axis(setting, values, where)
        joined: dict[Setting, list[Value]] = {}
        for name, values in given:
            if not values:
                raise RequestError(f"`axis` {name}: no values", "give `axis` NAME=VALUE,VALUE")
            joined.setdefault(self._setting(name, "`axis` "), []).extend(values)
        for setting, values in joined.items():
            axes[setting] = self._axis(setting, values, "`axis` ")
        return tuple(axes.values())

    def _axis(self, setting: Setting, values: Sequence[Value], where: str) -> Axis:
        taken = tuple(self._value(setting, value, where) for value in values)
        seen: dict[str, Value] = {}
        for value, written in zip(taken, values, strict=True):
            if _key(value) in seen:
                raise RequestError(
                    f"{where}{setting.name}: {shown(written)} is there twice", "drop one of them"
                )
            seen[_key(value)] = value
        return Axis(setting, taken, where)

    def _setting(self, name: str, where: str, extra: Sequence[str] = ()) -> Setting:
        found = self._names.of(name)
        if found is None:
            known = (*self._names.all(), *extra)
            raise unknown(where, name, "setting", known)
        if not found.key and found.field in REFUSED and found.part == "":
            raise RequestError(f"{where}{name}: not in a plan: {REFUSED[found.field]}")
        return found

    def _value(self, setting: Setting, value: Value, where: str) -> Value:
        """The value as the field takes it, relative ones as they are; paths resolved.

        Raises:
            RequestError: there is no such value.
        """
        try:
            value = typed(setting, value)
        except RequestError as error:
            raise RequestError(f"{where}{setting.name}: {error.message}", error.remedy) from None
        if holds_paths(setting) and value != DEFAULT:
            value = self._resolved(setting, value, where)
        if setting.field == PLACEMENT and value != DEFAULT:
            if not isinstance(value, str) or not PLACEMENTS.fullmatch(value):
                raise RequestError(
                    f"{where}{setting.name}: {shown(value)}: no such placement",
                    f"per-UNIT puts an instance on each of the {_PLACES}, N-UNIT one on N of them; "
                    f"UNIT is {_UNITS}",
                )
        elif setting.field == VARIANT and value != DEFAULT:
            try:
                value = str(kinds.parse(str(value)))
            except RequestError as error:
                told = RequestError(error.message.removeprefix("`kind` "), error.remedy)
                raise of_value(told, where, setting, value) from None
        elif not is_relative(setting, value):
            try:
                possible.require_known(request({setting: value, **_needed(setting)}))
            except RequestError as error:
                texts = RELATIVE_THREADS if setting.field == "intra_threads" else ()
                raise of_value(error, where, setting, value, texts) from None
        return value

    def _resolved(self, setting: Setting, value: Value, where: str) -> Value:
        if isinstance(value, Mapping):
            return {name: self._resolved(setting, one, where) for name, one in value.items()}
        if isinstance(value, (list, tuple)):
            return tuple(self._resolved(setting, one, where) for one in value)
        if not isinstance(value, str):
            return value  # the field refuses it
        path = self._folder / value
        if setting.field != "model":
            return str(path)
        with contextlib.suppress(OSError, ValueError):  # a name that no file can have
            if path.is_file():
                # "mlp" means the file here, and to all that follow the reference model.
                plain = str(path) not in catalogue.REFERENCE_MODELS
                return str(path if plain else path.absolute())
        if value in catalogue.REFERENCE_MODELS:
            return catalogue.ReferenceName(value)
        near = difflib.get_close_matches(value, catalogue.REFERENCE_MODELS, 1)
        raise RequestError(
            f"{where}model: {shown(value)}: neither a file nor a reference model",
            f"did you mean {near[0]}?" if near else "see 'harness models'; paths go from the plan",
        )

    def _require_apart(
        self, axes: Sequence[Axis], settings: Mapping[Setting, Value], places: Mapping[Setting, str]
    ) -> None:
        """Refuses two settings of the same thing.

        Raises:
            RequestError: there are such.
        """
        every = [(axis.setting, axis.where) for axis in axes]
        every += [(setting, places[setting]) for setting in settings]
        for (one, _), (other, where) in itertools.combinations(every, 2):
            same = (one.part, one.field) == (other.part, other.field)
            same = same and (one.key == other.key or not one.key or not other.key)
            if same and one.name == other.name:
                raise RequestError(
                    f"{where}{other.name}: set for all cells, and an axis", "drop one of them"
                )
            if same or {one.field, other.field} == {PLACEMENT, "affinity"}:
                raise RequestError(
                    f"{where}{other.name} contradicts {one.name}: both set the same",
                    "drop one of them",
                )

    def _require_few(self, axes: Sequence[Axis], content: Mapping[str, Any]) -> None:
        """Refuses more combinations than can be gone through.

        Raises:
            RequestError: there are too many.
        """
        number = math.prod(len(axis.values) for axis in axes)
        where = self._lines.at("axes")
        if number > MOST_COMBINATIONS:
            raise RequestError(
                f"{where}{number:,} combinations of axes, {MOST_COMBINATIONS:,} at most",
                "make two plans of it",
            )
        rules = sum(len(content.get(table, ())) for table in ("skip", "only"))
        if number * rules > _MOST_COMPARED:
            raise RequestError(
                f"{where}{rules:,} [[skip]] and [[only]] for {number:,} combinations of axes, "
                f"{_MOST_COMPARED:,} at most when multiplied",
                "name several values in one: AXIS = [VALUE, VALUE]",
            )

    def _combinations(
        self, table: str, rows: Sequence[Any], axes: Sequence[Axis]
    ) -> tuple[Combination, ...]:
        found = []
        numbers = [{_key(value): at for at, value in enumerate(axis.values)} for axis in axes]
        for number, row in enumerate(rows):
            if not isinstance(row, Mapping) or not row:
                raise RequestError(
                    f"{self._lines.at(table, '', number)}[[{table}]] names no axis",
                    "write AXIS = VALUE below it",
                )
            combination: dict[int, frozenset[int]] = {}
            for name, wanted in _leaves(row):
                where = self._lines.at(table, name, number)
                setting = self._setting(name, where)
                at = next((at for at, axis in enumerate(axes) if axis.setting == setting), None)
                if at is None:
                    raise RequestError(
                        f"{where}{name}: is no axis of this plan",
                        f"the axes are {', '.join(axis.setting.name for axis in axes)}",
                    )
                if at in combination:
                    raise RequestError(
                        f"{where}{name}: {axes[at].setting.name} is set twice here",
                        "drop one of them: a list names several values",
                    )
                combination[at] = self._meant(axes[at], numbers[at], wanted, where)
            found.append(combination)
        return tuple(found)

    def _meant(
        self, axis: Axis, numbers: Mapping[str, int], wanted: Value, where: str
    ) -> frozenset[int]:
        """Numbers of the values of an axis that are meant.

        Args:
            axis: itself.
            numbers: of all its values, by their keys.
            wanted: a value, or a list of some.
            where: it stands.
        """
        meant = set()
        for value in wanted if isinstance(wanted, list) else [wanted]:
            key = _key(self._value(axis.setting, value, where))
            if key not in numbers:
                listed = ", ".join(shown(one) for one in axis.values[:12])
                raise RequestError(
                    f"{where}{axis.setting.name}: {shown(value)} is not among the axis' values",
                    f"they are {one_line(listed)}",
                )
            meant.add(numbers[key])
        return frozenset(meant)

    def _require_values(self, plan: SweepPlan, places: Mapping[Setting, str]) -> None:
        """Refuses a plan without cells or with too many, and values that contradict each other.

        Args:
            plan: itself.
            places: where each setting stands.
        """
        cells = list(itertools.islice(plan.combinations(), MOST_CELLS + 1))
        if len(cells) > MOST_CELLS:
            where = self._lines.at("axes")
            raise RequestError(f"{where}more than {MOST_CELLS:,} cells", "make two plans of it")
        if not cells:
            raise RequestError(
                f"{self._lines.at('only' if plan.only else 'skip')}no cell is left",
                "check [[skip]] and [[only]]",
            )
        for settings in cells:
            self._require_together(plan, settings, places)

    def _require_together(
        self, plan: SweepPlan, settings: Mapping[Setting, Value], places: Mapping[Setting, str]
    ) -> None:
        """Refuses a cell that no machine can measure.

        Raises:
            RequestError: it is one; the line is that of the setting which the error names first.
        """
        every = {**plan.common, **settings}
        try:
            possible.require_possible(request(every))
            _require_number_of_instances(every)
        except RequestError as error:
            given = [one for one, value in every.items() if value != DEFAULT]
            named = [one for field in fields_in(error) for one in given if _sets(one, field)]
            where = places[named[0]] if named else plan.axes[-1].where
            told = {**settings, **{one: every[one] for one in named}}
            values = ", ".join(f"{one.name} = {shown(value)}" for one, value in told.items())
            if any(len(axis.values) > 1 for axis in plan.axes if axis.setting in named):
                remedy = f"{error.remedy}; or leave such cells out with [[skip]]".lstrip("; ")
                error = type(error)(error.message, remedy)
            raise of_several(error, f"{where}{values}: ", self._word) from None

    def _word(self, field: str) -> str:
        """What a plan calls a field."""
        found = self._names.of(field)
        return found.name if found else field


def _sets(setting: Setting, field: str) -> bool:
    return setting.field == field or (setting.field == PLACEMENT and field == "instances")


def _require_number_of_instances(settings: Mapping[Setting, Value]) -> None:
    values = {one.field: value for one, value in settings.items() if value != DEFAULT}
    if str(values.get(PLACEMENT, "")).startswith("per-") and "instances" in values:
        raise RequestError(
            "`instances` contradicts placement: per-UNIT says how many there are",
            "drop one of them",
        )


def is_relative(setting: Setting, value: Value) -> bool:
    """Whether a value is no field's own: it depends on the machine, leaves the default, or names a
    variant, which is made first.
    """
    if not isinstance(value, str):
        return False
    if value == DEFAULT or setting.field in (PLACEMENT, VARIANT):
        return True
    return setting.field == "intra_threads" and value in RELATIVE_THREADS


def _needed(setting: Setting) -> dict[Setting, Value]:
    """What a setting makes sense with only."""
    return {Setting("instances", "", "instances"): 1} if setting.field == "memory" else {}


def request(settings: Mapping[Setting, Value]) -> ProfileConfig:
    """The request of these settings; what depends on the machine is left as it is by default.

    Raises:
        RequestError: a value makes no sense, or two contradict each other.
    """
    parts: dict[str, dict[str, Any]] = {part: {} for part in PARTS}
    parts[""]["model"] = next(iter(catalogue.REFERENCE_MODELS))
    for setting, value in settings.items():
        if setting.field == PLACEMENT and str(value).startswith("per-"):
            parts[""]["instances"] = value
        if is_relative(setting, value):
            continue
        fields = parts[setting.part]
        if setting.key:
            fields[setting.field] = {**fields.get(setting.field, {}), setting.key: value}
        else:
            fields[setting.field] = value
    whole = parts.pop("")
    return ProfileConfig(**whole, **{part: PARTS[part](**fields) for part, fields in parts.items()})


def _leaves(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Keys with their values; of tables in it, the dotted keys."""
    for name, value in table.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _key(value: Value) -> str:
    """Tells values apart: 1 is not True, and a tuple is a list."""
    return json.dumps(value, sort_keys=True, default=str)
