"""Many profiles as one table: from files, folders and sweeps of several machines.

The result does not depend on the order in which they are given. Whatever is left out is named.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from harness.errors import HarnessError, RequestError, one_line
from harness.ordinary_files import open_ordinary
from harness.statistics.figures import Figure
from harness.storage.profile_file import read_profile
from harness.study.rows import Host, Row, Setting, row_of

#: An unfinished profile's folder.
_PARTIAL = re.compile(r"\..+\.partial")

#: What a sweep leaves in place of a cell's profile, and most bytes of it that are read.
_FAILED = ".failed.json"
_MOST_BYTES = 1 << 16

#: Seconds by which the clock of a machine may be set between two measurements.
_CLOCKS_DIFFER_S = 60.0

#: Parts of a CPU's name that say nothing to a reader.
_NOISE = re.compile(r"\((?:R|TM)\)|\bProcessor\b|\bCPU\b|@.*|\b\d+-Core\b", re.DOTALL)

#: Characters of a CPU's name that are read.
_LONGEST = 200


@dataclasses.dataclass(frozen=True, slots=True)
class Machine:
    """A machine of a study.

    Attributes:
        name: given, or made of its facts.
        make: the same without what tells it from others of its make.
        cpu: model of its CPU.
        threads: logical CPUs; 0 where not known.
        gpus: product names of its GPUs.
        profiles: how many of the study are its own.
    """

    name: str
    make: str
    cpu: str
    threads: int
    gpus: tuple[str, ...]
    profiles: int


@dataclasses.dataclass(frozen=True, slots=True)
class Joined:
    """The table.

    Attributes:
        rows: one a profile, in an order that the files themselves decide.
        machines: in order of their names.
        incomplete: files of interrupted profiles, which are among the rows.
        copies: files that hold the same measurement as another one, with that one.
        left_out: files that are not among the rows, with the reason.
    """

    rows: tuple[Row, ...]
    machines: tuple[Machine, ...]
    incomplete: tuple[Path, ...]
    copies: tuple[tuple[Path, Path], ...]
    left_out: tuple[tuple[Path, str], ...]


def join(given: Iterable[Path], names: Mapping[str, Path] | None = None) -> Joined:
    """Reads all profiles and tells their machines apart.

    Two profiles are of the same machine if they name a GPU in common (by UUID) or are of one boot,
    and have the same model of CPU; or if they agree on the host's name, the CPU's model and the
    numbers of sockets, cores and logical CPUs, do not name different GPUs, and were not up at the
    same time with different boots. Containers with a fresh host name each are joined by the boot
    of their host, by their GPU, or by a name.

    Args:
        given: files, and folders that are searched with all folders in them.
        names: folder or file of each machine that is given a name; its profiles are of this
            machine whatever their facts say, and so are others that it is recognised by.

    Raises:
        RequestError: a folder cannot be read or is named twice, or there is no profile at all.
    """
    _require_folders(names or {})
    rows: list[Row] = []
    left_out: list[tuple[Path, str]] = []
    folders = {name: _real(path) for name, path in (names or {}).items()}
    for file in _files([*given, *folders.values()], left_out):
        found = _read(file)
        if isinstance(found, str):
            left_out.append((file, found))
        else:
            rows.append(found)
    rows, copies = _once(rows, folders)
    rows = _models_apart(rows)
    if not rows:
        told = "; ".join(f"{file}: {reason}" for file, reason in left_out[:3])
        raise RequestError(
            f"no profile to study{': ' if told else ''}{told}", "give profiles, or folders of them"
        )
    rows.sort(key=lambda row: (row.setting.model, row.created, str(row.file)))
    named = _named(rows, folders)
    machines = tuple(
        _machine(name, [row for row in named if row.machine == name])
        for name in sorted({row.machine for row in named})
    )
    return Joined(
        rows=tuple(named),
        machines=machines,
        incomplete=tuple(row.file for row in named if not row.complete),
        copies=tuple(sorted(copies)),
        left_out=tuple(sorted(left_out)),
    )


def _require_folders(names: Mapping[str, Path]) -> None:
    """Refuses names of what is not there, and two names of one place.

    Raises:
        RequestError: there is such a name.
    """
    places: dict[Path, str] = {}
    for name, path in names.items():
        if not path.exists():
            raise RequestError(f"`machine` {name}={path}: no such folder", "name another one")
        first = places.setdefault(_real(path), name)
        if first != name:
            raise RequestError(
                f"`machine` {first} and {name}: both are {path}", "give a folder one name"
            )


def _read(file: Path) -> Row | str:
    if file.name.endswith(_FAILED):
        return f"a cell of a sweep that failed: {_failure(file)}"
    if _PARTIAL.fullmatch(file.name):
        return f"unfinished: harness recover {file} makes a profile of it"
    try:
        found = row_of(read_profile(file))
    except HarnessError as error:
        return error.message.removeprefix(f"{file}: ")
    return found.reason if isinstance(found, Figure) else found


def _failure(file: Path) -> str:
    """Why the cell failed, as the sweep left it."""
    try:
        with os.fdopen(open_ordinary(file), "rb") as opened:
            told = json.loads(opened.read(_MOST_BYTES))
    except (OSError, ValueError, RecursionError):
        return "why cannot be read"
    message = told.get("message") if isinstance(told, dict) else None
    return one_line(message) if isinstance(message, str) else "it does not say why"


def _files(given: Iterable[Path], left_out: list[tuple[Path, str]]) -> Iterator[Path]:
    """Every file once, whatever the order and the overlap of what is given."""
    found: dict[Path, Path] = {}
    for path in given:
        inside = path.is_dir() and not _PARTIAL.fullmatch(path.name)
        for file in _inside(path, left_out) if inside else [path]:
            found.setdefault(file.absolute(), file)
    yield from (found[place] for place in sorted(found))


def _inside(given: Path, left_out: list[tuple[Path, str]]) -> Iterator[Path]:
    """Profiles in a folder and in the folders in it; links to folders are not followed.

    Raises:
        RequestError: the folder itself cannot be read.
    """
    folders = [given]
    while folders:
        folder = folders.pop()
        try:
            entries = sorted(folder.iterdir())
        except OSError as error:
            reason = f"cannot be read: {error.strerror or error}"
            if folder is given:
                raise RequestError(f"{folder}: {reason}", "name another folder") from error
            left_out.append((folder, reason))
            continue
        for entry in entries:
            if _PARTIAL.fullmatch(entry.name):
                yield entry
            elif entry.name.startswith("."):
                continue
            elif entry.is_dir():
                if entry.is_symlink():
                    left_out.append((entry, "a link to a folder: name the folder itself"))
                else:
                    folders.append(entry)
            elif entry.name.endswith((".h5", _FAILED)):
                yield entry


def _real(path: Path) -> Path:
    """The place that a path leads to; of a loop of links, the path."""
    return Path(os.path.realpath(path))


def _once(
    rows: Sequence[Row], folders: Mapping[str, Path]
) -> tuple[list[Row], list[tuple[Path, Path]]]:
    """One row a measurement: of copies a complete one first, then one in a folder that is given a
    name, then by its own name.
    """
    kept: dict[tuple[object, ...], Row] = {}
    copies = []

    def order(row: Row) -> tuple[bool, bool, str]:
        return not row.complete, not _holding(row, folders), str(row.file)

    for row in sorted(rows, key=order):
        first = kept.setdefault(row.copy_of, row)
        if first is not row:
            copies.append((row.file, first.file))
    return list(kept.values()), copies


def _holding(row: Row, folders: Mapping[str, Path]) -> list[str]:
    """The names of the folders that hold a row's file, wherever links lead."""
    file = _real(row.file) if folders else row.file
    return [name for name, folder in folders.items() if file.is_relative_to(folder)]


def _models_apart(rows: Sequence[Row]) -> list[Row]:
    """The rows; different models of one name have the beginning of their digest behind it."""
    originals: dict[str, set[str]] = {}
    for row in rows:
        if row.setting.original:
            originals.setdefault(row.setting.model, set()).add(row.setting.original)
    return [
        row
        if len(originals.get(row.setting.model, ())) < 2
        else dataclasses.replace(
            row,
            setting=dataclasses.replace(
                row.setting,
                model=row.setting.model + _which(row.setting),
            ),
        )
        for row in rows
    ]


def _which(of: Setting) -> str:
    """What stands behind the name of a model that shares it with others."""
    return f" {of.original[:8] or 'of unknown origin'}"


def plain_model(of: Setting) -> str:
    """The name of a model as its file has it, whether or not another model shares it."""
    return of.model.removesuffix(_which(of))


def _named(rows: Sequence[Row], folders: Mapping[str, Path]) -> list[Row]:
    """The rows with the names of their machines."""
    given: dict[int, str] = {}
    for place, row in enumerate(rows):
        # Of several folders that hold it, the innermost names it.
        if holding := _holding(row, folders):
            given[place] = max(holding, key=lambda name: len(folders[name].parts))
    groups = _Groups(len(rows), given)
    by_name: dict[str, int] = {}
    for place, name in given.items():
        groups.join(place, by_name.setdefault(name, place))
    _recognise(rows, groups)
    members: dict[int, list[int]] = {}
    for place in range(len(rows)):
        members.setdefault(groups.first(place), []).append(place)
    makes = {
        first: groups.named(first) or description([rows[k].host for k in places])
        for first, places in members.items()
    }
    titles = _titles(rows, makes)
    return [
        dataclasses.replace(row, machine=titles[first], make=makes[first])
        for row, first in zip(rows, map(groups.first, range(len(rows))), strict=True)
    ]


def _recognise(rows: Sequence[Row], groups: _Groups) -> None:
    """Joins rows of one machine."""
    by_own: dict[tuple[str, str], int] = {}
    for place, row in enumerate(rows):
        for own in filter(None, (*sorted(row.host.gpus), row.host.boot)):
            groups.join(place, by_own.setdefault((own, row.host.cpu), place))
    by_facts: dict[tuple[str, ...], list[int]] = {}
    for place, row in enumerate(rows):
        if row.host.cpu:
            by_facts.setdefault(row.host.facts, []).append(place)
    for alike in by_facts.values():
        # Hosts that agree in all but their GPUs are several; one that names none is of a single.
        told = {k for k in alike if rows[k].host.gpus or groups.named(k)}
        if len({groups.first(k) for k in told}) > 1:
            alike = [k for k in alike if k not in told]
        if _up_at_once([rows[k].host for k in alike]):
            alike = [k for k in alike if not rows[k].host.boot]
        for place in alike[1:]:
            groups.join(place, alike[0])


def _up_at_once(hosts: Sequence[Host]) -> bool:
    """Whether two of these were up at the same time with different boots, as no machine is."""
    spans: dict[str, tuple[float, float]] = {}
    for host in hosts:
        if host.boot and host.up_s is not None:
            low, high = spans.get(host.boot, host.up_s)
            spans[host.boot] = (min(low, host.up_s[0]), max(high, host.up_s[1]))
    in_time = sorted(spans.values())
    ends = itertools.accumulate((high for _, high in in_time), max)
    return any(
        begins < ended - _CLOCKS_DIFFER_S
        for ended, (begins, _) in zip(ends, in_time[1:], strict=False)
    )


class _Groups:
    """Disjoint sets of places; the smallest place stands for a set. Names keep sets apart."""

    def __init__(self, count: int, names: Mapping[int, str]) -> None:
        self._above = list(range(count))
        self._names = dict(names)

    def first(self, place: int) -> int:
        while self._above[place] != place:
            self._above[place] = self._above[self._above[place]]
            place = self._above[place]
        return place

    def named(self, place: int) -> str:
        """The name that was given to its set; empty if none was."""
        return self._names.get(self.first(place), "")

    def join(self, one: int, other: int) -> None:
        """Makes one set of two, unless they were given different names."""
        name, second = self.named(one), self.named(other)
        if name and second and name != second:
            return
        low, high = sorted((self.first(one), self.first(other)))
        self._above[high] = low
        if name or second:
            self._names[low] = name or second


def _titles(rows: Sequence[Row], makes: Mapping[int, str]) -> dict[int, str]:
    """A name for each group of rows: the one given, or what the machine consists of."""
    made = dict(makes)
    # Equal machines are told apart by their hosts, and if these agree too, by numbers.
    for title in sorted(set(made.values())):
        alike = [first for first, one in made.items() if one == title]
        if len(alike) > 1:
            hosts = [rows[first].host.facts[0] for first in alike]
            different = len(set(hosts)) == len(hosts) and all(hosts)
            for number, first in enumerate(alike, 1):
                made[first] = f"{title} ({hosts[number - 1] if different else number})"
    return made


def description(hosts: Sequence[Host]) -> str:
    """What a machine consists of: ``Intel Xeon, 16 CPUs, NVIDIA H200``."""
    host = max(hosts, key=lambda one: (len(one.gpus), one.facts))
    gpus = [
        f"{count} x {name}" if (count := host.gpu_names.count(name)) > 1 else name
        for name in dict.fromkeys(host.gpu_names)
    ]
    cpus = f"{host.threads} CPUs" if host.threads else ""
    return ", ".join(filter(None, (short_cpu(host.cpu) or "unknown CPU", cpus, *gpus)))


def short_cpu(model: str) -> str:
    """The name of a CPU without its trade marks: ``AMD EPYC 9965``."""
    return " ".join(_NOISE.sub(" ", model[:_LONGEST]).split())


def _machine(name: str, rows: Sequence[Row]) -> Machine:
    host = max((row.host for row in rows), key=lambda one: (len(one.gpus), one.facts))
    return Machine(name, rows[0].make, host.cpu, host.threads, host.gpu_names, len(rows))
