"""Take short profiles of a model over time: how much do they differ from occasion to occasion?

Each occasion is a profile of its own, without traces, next to the other profiles of the model.
The options that choose what is executed are those of 'harness profile'. From cron, with one
occasion each time; two configurations at different minutes:

    7 * * * * cd /srv/models && .venv/bin/harness calibrate net.onnx --times 1 --quiet >/dev/null
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import time
from pathlib import Path
from typing import TYPE_CHECKING

from harness.commands.messages import reading
from harness.errors import HarnessError, RequestError
from harness.options import declare
from harness.reporters.visible import visible

if TYPE_CHECKING:
    from harness.config.profile import ProfileConfig
    from harness.records import Profile

#: Shortest interval: one occasion takes seconds. Far below, a float cannot count the intervals.
_SHORTEST_MIN = 0.001
#: Longest interval and most occasions: a week of them, or one every week.
_LONGEST_MIN = 7 * 24 * 60
_MOST = 1000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of ``harness calibrate``."""
    parser.add_argument("model", metavar="MODEL")
    declare(parser, "calibrate")


def execute(options: argparse.Namespace) -> int:
    """Measures the occasions, and says how much all those seen so far differ."""
    if not 1 <= options.times <= _MOST:
        raise RequestError(
            f"`times` {options.times}: must be from 1 to {_MOST}", "give `times` N occasions"
        )
    if not _SHORTEST_MIN <= options.every <= _LONGEST_MIN:
        raise RequestError(
            f"`every` {options.every:g}: must be at least {_SHORTEST_MIN:g} and at most a week",
            "give `every` MINUTES",
        )
    folder = options.output or Path("profiles")
    if folder.exists() and not folder.is_dir():
        raise RequestError(f"{folder}: is a file", "give `output` FOLDER")
    config = _configuration(options)

    _tell(folder, _take(config, folder, options), options)
    return 0


def _configuration(options: argparse.Namespace) -> ProfileConfig:
    """The request: what ``profile`` would be asked, but without traces."""
    from harness.commands import profile

    parser = argparse.ArgumentParser(allow_abbrev=False)
    profile.add_arguments(parser)
    given = vars(parser.parse_args(["--", options.model])) | vars(options)
    # Ceilings belong to the executed graph, which is only looked for where something is traced.
    fixed = {"trace": "none", "output": None}
    return profile.configuration(argparse.Namespace(**given | fixed))


def _take(config: ProfileConfig, folder: Path, options: argparse.Namespace) -> list[Profile]:
    """Measures one occasion after the other; an error says what is kept and how to go on."""
    from harness.commands.progress import Progress
    from harness.measuring import occasions
    from harness.measuring.profile import interruptible, profile

    began_s = time.time()
    taken: list[Profile] = []
    try:
        with interruptible():
            while True:
                with Progress(quiet=options.quiet or options.json) as progress:
                    output = occasions.new_file(config, folder)
                    taken.append(profile(dataclasses.replace(config, output=output), progress))
                    left = options.times - len(taken)
                    if not left:
                        return taken
                    now_s = time.time()
                    due_s = occasions.next_due(began_s, 60 * options.every, now_s)
                    progress.note(_waiting(len(taken), options.times, due_s, now_s))
                occasions.wait_until(due_s)
    except HarnessError as error:
        if not taken:
            raise
        kept = f"{len(taken)} of {options.times} occasions kept in {folder}"
        remedy = f"go on with the same command and `times` {options.times - len(taken)}"
        raise type(error)(
            f"{error.message}; {kept}", "; ".join(filter(None, (error.remedy, remedy)))
        ) from error


def _waiting(taken: int, times: int, due_s: float, now_s: float) -> str:
    due = datetime.datetime.fromtimestamp(due_s)
    left_s = due_s - now_s
    left = f"{left_s / 60:.0f} min" if left_s >= 90 else f"{left_s:.0f} s"
    return (
        f"{taken} of {times} occasions taken; the next is due at {due:%H:%M:%S}, in {left} "
        "(Ctrl-C keeps those taken)"
    )


def _tell(folder: Path, taken: list[Profile], options: argparse.Namespace) -> None:
    """Prints the files, and how much all occasions of the configuration in the folder differ."""
    if options.quiet and not options.json:
        for one in taken:
            print(visible(str(one.path)))
        return
    from harness.analysis.comparing.history import learned, others
    from harness.analysis.outlines import comparable_beside, outline_of
    from harness.storage.profile_file import readable_profiles

    last = taken[-1]
    beside = comparable_beside(outline_of(last), announce=reading)
    newest = others(last, [last], readable_profiles(one.path for one in reversed(beside)))
    found = learned([*reversed(list(newest)), last])
    seen = [*beside, outline_of(last)]
    if options.json:
        from harness.reporters.scripts.occasions import occasions_text

        print(occasions_text(folder, taken, seen, found))
        return
    from harness.reporters.terminal.occasions import print_occasions

    print_occasions(folder, [one.path for one in taken if one.path], seen, found)
