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
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import HarnessError, RequestError
from harness.options import declare
from harness.reporters.visible import visible

if TYPE_CHECKING:
    from harness.analysis.history import History, Point

#: Options that name an output, with what each holds.
_OUTPUTS = {
    "output": "profiles",
    "otava": "profiles",
    "bencher": "series",
    "pytest_benchmark": "series",
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
    from harness.storage.files import new_file

    asked = {name: path for name in _OUTPUTS if (path := getattr(options, name)) is not None}
    if len(set(asked.values())) < len(asked):
        raise RequestError("two outputs have the same file name", "give each a name of its own")
    found = _history(options.files)
    written = []
    # All are written before the first is put in place: a request that fails leaves no part of it.
    with contextlib.ExitStack() as unfinished:
        for name, path in asked.items():
            for target, write in _writers(name, path, found):
                file = unfinished.enter_context(new_file(target, force=options.force))
                written.append((target, _OUTPUTS[name], write(file)))
    if options.json:
        print(history_text(found))
    else:
        print_history(found)
        for target, things, count in written:
            print(visible(f"{count} {things} in {target}"))
    return 0


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
        for file in sorted(path.glob("*.h5")) if path.is_dir() and not partial else [path]:
            place = file.absolute()
            if place not in seen:
                seen.add(place)
                yield file


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
