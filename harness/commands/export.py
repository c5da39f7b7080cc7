"""Write a profile in the formats of other tools, several at once if you like."""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import RequestError
from harness.options import declare
from harness.reporters.visible import visible

if TYPE_CHECKING:
    from harness.records import Profile, Stacks

#: Options that name an output, in the order in which the outputs are written.
_OUTPUTS = ("pyperf", "csv", "jsonl", "parquet", "stacks")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of ``harness export``."""
    parser.add_argument("file", type=Path, metavar="FILE")
    declare(parser, "export")


def execute(options: argparse.Namespace) -> int:
    """Reads the profile and writes the outputs asked for."""
    from harness.reporters.exports import (
        csv_file,
        json_lines,
        parquet_file,
        pyperf_file,
        stacks_file,
    )
    from harness.storage.files import new_file
    from harness.storage.profile_file import read_profile

    asked = {name: path for name in _OUTPUTS if (path := getattr(options, name)) is not None}
    if not asked:
        names = ", ".join(f"`{name}`" for name in _OUTPUTS)
        raise RequestError("nothing to export", f"give one of {names}")
    if len(set(asked.values())) < len(asked):
        raise RequestError("two outputs have the same file name", "give each a name of its own")
    profile = read_profile(options.file)

    def stacks(profile: Profile, path: Path) -> int:
        return stacks_file.write(_stacks(profile), path, options.format, profile.model.name)

    writers: dict[str, Callable[[Profile, Path], int]] = {
        "pyperf": pyperf_file.write,
        "csv": csv_file.write,
        "jsonl": json_lines.write,
        "parquet": parquet_file.write,
        "stacks": stacks,
    }
    written = {}
    # All are written before the first is put in place: a request that fails leaves no part of it.
    with contextlib.ExitStack() as unfinished:
        for name, path in asked.items():
            file = unfinished.enter_context(new_file(path, force=options.force))
            written[name] = {"file": str(path), "count": writers[name](profile, file)}
    if options.json:
        print(json.dumps({"written": written}))
    else:
        things = {"pyperf": "processes", "jsonl": "lines", "stacks": "stacks"}
        for name, one in written.items():
            print(visible(f"{one['count']} {things.get(name, 'inferences')} in {one['file']}"))
    return 0


def _stacks(profile: Profile) -> Stacks:
    """The stacks of a profile.

    Raises:
        RequestError: it has none.
    """
    stacks: Stacks | None = profile.stacks
    if stacks is None:
        reason = dict(profile.absent).get("stacks", "it was measured without `stacks`")
        raise RequestError(
            f"`stacks`: this profile holds no stacks: {reason}", "harness profile MODEL `stacks`"
        )
    return stacks
