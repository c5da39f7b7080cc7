"""Show profiles of the same thing over time, and where their latency changed.

Profiles of the same model, inputs and their values, options, provider, device and CPUs make a
series, however long they were measured; whatever is left out is named. In twelve or more, changes
are looked for (E-divisive with a permutation test), each with its size, its interval, the files on
both sides of it, and what else changed there.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import HarnessError, RequestError
from harness.options import declare
from harness.reporters.visible import visible

if TYPE_CHECKING:
    from harness.analysis.history import History, Point

#: Options that name an output, with what each holds: one of them, and several.
_OUTPUTS = {
    "output": ("profile", "profiles"),
    "otava": ("profile", "profiles"),
    "bencher": ("series", "series"),
    "pytest_benchmark": ("series", "series"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of ``harness history``."""
    parser.add_argument(
        "files", type=Path, nargs="+", metavar="FILE", help="profiles, or folders of them"
    )
    declare(parser, "history")


def execute(options: argparse.Namespace) -> int:
    """Reads the profiles, prints their series and writes the outputs asked for."""
    from harness.reporters.scripts.history import history_text
    from harness.reporters.terminal.history import print_history
    from harness.reporters.wording import counted
    from harness.storage.files import new_file

    asked = {name: path for name in _OUTPUTS if (path := getattr(options, name)) is not None}
    _refuse_twice(asked.values())
    found = _history(options.files)
    outputs = {name: list(_writers(name, path, found)) for name, path in asked.items()}
    _refuse_twice(target for files in outputs.values() for target, _ in files)
    for name, files in outputs.items():
        _refuse_derived(name, [target for target, _ in files])
    written = []
    # All are written before the first is put in place: a request that fails leaves no part of it.
    with contextlib.ExitStack() as unfinished:
        for name, files in outputs.items():
            for target, write in files:
                file = unfinished.enter_context(new_file(target, force=options.force))
                written.append((target, counted(write(file), *_OUTPUTS[name])))
    if options.json:
        print(history_text(found))
    else:
        print_history(found)
        for target, things in written:
            print(visible(f"{things} in {target}"))
    return 0


def _refuse_twice(targets: Iterable[Path]) -> None:
    """Makes sure that no output takes the place of another one, however their names are spelled.

    Raises:
        RequestError: two of them have the same name.
    """
    seen = set()
    for target in targets:
        # Of a link at the end, the link itself is replaced.
        place = Path(os.path.realpath(target.parent)) / target.name
        if place in seen:
            raise RequestError(
                f"{target}: two outputs have the same file name", "give each a name of its own"
            )
        seen.add(place)


def _refuse_derived(name: str, targets: Sequence[Path]) -> None:
    """Makes sure that names which nobody gave replace nothing but what an earlier call wrote.

    Args:
        name: of the option.
        targets: the file that was named, and those whose names follow from it.

    Raises:
        RequestError: there is something else, or the one that was named is not a file.
    """
    from harness.storage.files import is_special

    named, *derived = targets
    if derived and is_special(named):
        raise RequestError(
            f"{named}: is not a file, and each of the {len(targets)} series needs one",
            f"give `{name}` FILE",
        )
    for target in derived:
        if os.path.lexists(target) and not _holds_a_series(target):
            raise RequestError(
                f"{target}: the file exists, and was not named nor written by this command",
                f"move it, or give `{name}` another name",
            )


def _holds_a_series(path: Path) -> bool:
    """Whether a file is a table for Otava, as this command writes them."""
    from harness.reporters.exports.otava_file import HEAD

    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(HEAD)) == HEAD


def _history(given: Iterable[Path]) -> History:
    """The series of all profiles among these files, and in these folders.

    Raises:
        RequestError: there is none.
    """
    from harness.analysis.history import Point, history, longer

    points: list[Point] = []
    left_out = []
    for file in _files(given):
        # One at a time: the samples of thousands of profiles do not fit into memory.
        found = _point(file)
        if isinstance(found, Point):
            points.append(found)
        else:
            left_out.append((str(file), found))
    # So are those that were looked at for longer than others of their series, once more.
    for place, look_ns in list(longer(points)):
        path = points[place].profile.path
        again = None if path is None else _point(path, look_ns)
        if isinstance(again, Point):
            points[place] = again
    if not points:
        reasons = "; ".join(f"{file}: {reason}" for file, reason in left_out)
        raise RequestError(
            f"no profile to show{': ' if reasons else ''}{reasons}",
            "give profiles, or folders with files NAME.h5",
        )
    return history(points, left_out)


def _point(file: Path, look_ns: float = math.inf) -> Point | str:
    """The profile in a file, or why it is no point."""
    from harness.analysis.history import point_of
    from harness.statistics.figures import Figure
    from harness.storage.profile_file import read_profile

    try:
        found = point_of(read_profile(file), look_ns)
    except HarnessError as error:
        return error.message.removeprefix(f"{file}: ")
    return found.reason if isinstance(found, Figure) else found


def _files(given: Iterable[Path]) -> Iterator[Path]:
    """The files, and the profiles in the folders by name, each once."""
    seen = set()
    for path in given:
        partial = path.name.endswith(".partial")
        for file in _profiles_in(path) if path.is_dir() and not partial else [path]:
            place = file.absolute()
            if place not in seen:
                seen.add(place)
                yield file


def _profiles_in(folder: Path) -> list[Path]:
    """By name; unlike ``Path.glob``, it tells when a folder cannot be read."""
    try:
        return sorted(one for one in folder.iterdir() if one.name.endswith(".h5"))
    except OSError as error:
        reason = error.strerror or str(error)
        raise RequestError(f"{folder}: cannot be read: {reason}", "name another folder") from error


def _writers(name: str, path: Path, found: History) -> Iterator[tuple[Path, Callable[[Path], int]]]:
    """The files that an output consists of, with what writes each and returns its count."""
    from harness.reporters.exports import bencher_file, otava_file, pytest_benchmark_file
    from harness.reporters.html.history import write as write_page

    if name == "otava":  # a file holds one series
        for number, series in enumerate(found.series, 1):
            place = path if number == 1 else path.with_stem(f"{path.stem}-{number}")
            yield place, functools.partial(otava_file.write, series)
        return
    write = {
        "output": write_page,
        "bencher": bencher_file.write,
        "pytest_benchmark": pytest_benchmark_file.write,
    }[name]
    yield path, functools.partial(write, found)
