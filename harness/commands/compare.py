"""Tell whether profiles really differ, what else changed, and which operators are the cause.

The first file is the baseline that the others are compared with; with --against, several files are
one side each, every file an occasion. FASTER and SLOWER are wrong in at most 5 % of cases; SAME
means within the margin; UNDECIDED says within which margin they would be the same. Profiles of
separate occasions also differ by what changed on the machine in between: how much that is for your
model is learned from other profiles of it beside the baseline. "harness ab" avoids it by measuring
two configurations side by side.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.commands.messages import say
from harness.errors import ProfileFileError, RequestError
from harness.options import declare, flag

if TYPE_CHECKING:
    from harness.analysis.comparing.history import History
    from harness.analysis.comparing.report import Compared, Report
    from harness.records import Profile

#: Exit codes of ``fail_on``, as in its help: it tripped; it is undecided or not comparable.
TRIPPED = 4
UNDECIDED = 5

#: Files that are read for a history at most: beside the baseline, and in a folder that is named.
MOST_BESIDE = 30
MOST_NAMED = 300


@dataclasses.dataclass(frozen=True, slots=True)
class Limit:
    """When ``fail_on`` trips.

    Attributes:
        ratio: above it.
        probability: that must be reached; None if a certain verdict is asked for.
    """

    ratio: float
    probability: float | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of ``harness compare``."""
    parser.add_argument(
        "files", type=Path, nargs="+", metavar="FILE", help="profiles; the first is the baseline"
    )
    declare(parser, "compare")


def execute(options: argparse.Namespace) -> int:
    """Reads the profiles and prints the comparison; the exit code is that of --fail-on."""
    if len(options.files) + len(options.against) < 2:
        raise RequestError(
            "a comparison needs at least two profiles", "harness compare BASE.h5 CANDIDATE.h5"
        )
    if not 0 < options.margin < 100:
        raise RequestError(
            f"`margin` {options.margin:g}: must be above 0 and under 100 percent",
            "give `margin` PERCENT",
        )
    if options.limit < 0:
        raise RequestError("`limit` must not be negative", "give `limit` N, 0 for all")
    limit = None if options.fail_on is None else _limit(options.fail_on)

    from harness.analysis.comparing.profiles import compare_profiles, compare_sides
    from harness.storage.profile_file import read_profile

    profiles = [read_profile(file) for file in options.files]
    against = [read_profile(file) for file in options.against]
    history = _history([*profiles, *against], options)
    margin = options.margin / 100
    if against:
        report = compare_sides(profiles, against, margin=margin, history=history.profiles)
    else:
        report = compare_profiles(
            profiles[0], profiles[1:], margin=margin, history=history.profiles
        )
    return _told(dataclasses.replace(report, history=history.told), options, limit)


def fail_on(options: argparse.Namespace) -> float | None:
    """Ratio above which --fail-on of ``ab`` trips; None without it. For before any work is done.

    Raises:
        RequestError: its value makes no sense.
    """
    if options.fail_on is None:
        return None
    limit = _limit(options.fail_on)
    if limit.probability is not None:
        raise RequestError(
            f"`fail_on` {options.fail_on}: the test of pairs gives no probability",
            "give slower or slower:PERCENT",
        )
    return limit.ratio


def conclude(profiles: Sequence[Profile], options: argparse.Namespace, **more: str) -> int:
    """Prints the comparison with the first profile; returns the exit code.

    Args:
        profiles: the first is the baseline.
        options: margin, limit, json and fail_on of the command line.
        more: what else the command knows, for --json.
    """
    from harness.analysis.comparing.profiles import compare_profiles

    base, *candidates = profiles
    report = compare_profiles(base, candidates, margin=options.margin / 100)
    limit = None if options.fail_on is None else _limit(options.fail_on)
    return _told(report, options, limit, **more)


def _told(report: Report, options: argparse.Namespace, limit: Limit | None, **more: str) -> int:
    """Prints the report; returns the exit code."""
    from harness.reporters.scripts.comparison import comparison_text
    from harness.reporters.terminal.comparison import print_comparison

    if options.json:
        print(comparison_text(report, more))
    else:
        print_comparison(report, options.limit)
    return 0 if limit is None else _judged(report, limit)


def _history(sides: Sequence[Profile], options: argparse.Namespace) -> History:
    """Other occasions of the first profile, from the folder that is named, or from beside it."""
    from harness.analysis.comparing import history

    base = sides[0]
    if options.no_history:
        return history.History((), "not asked for")
    folder = options.history or (base.path.parent if base.path is not None else None)
    if folder is None or base.asked.interleaved_with:
        return history.History()
    if not folder.is_dir():
        raise RequestError(f"`history` {folder}: no such folder", "give `history` FOLDER")
    files = _newest(folder, base, {one.path.resolve() for one in sides if one.path is not None})
    most = MOST_NAMED if options.history else MOST_BESIDE
    found = history.others(base, sides, _read(files[:most]))
    told = f"{len(found)} other profile{'s' * (len(found) != 1)} of the same thing"
    told += " in `history`" if options.history else " beside the base"
    if len(files) > most:
        told += f"; {len(files) - most} older files were not looked at"
    return history.History(tuple(found), told)


def _newest(folder: Path, base: Profile, sides: set[Path]) -> list[Path]:
    """Files that may be profiles, those named like the model first, then the newest first."""
    found = []
    for path in folder.glob("*.h5"):
        try:
            changed = path.stat().st_mtime
        except OSError:
            continue  # it went away
        if path.resolve() not in sides:
            found.append((not path.name.startswith(base.model.name), -changed, path))
    return [path for *_, path in sorted(found)]


def _read(files: Sequence[Path]) -> Iterator[Profile]:
    """Each one that is a profile."""
    from harness.storage.profile_file import read_profile

    for file in files:
        try:
            yield read_profile(file)
        except (ProfileFileError, OSError):
            continue


def _limit(given: str) -> Limit:
    """What ``slower``, ``slower:PERCENT`` and ``slower:PERCENT@PROBABILITY`` mean."""
    asked, at, sure = given.partition("@")
    what, colon, percent = asked.partition(":")
    try:
        value = float(percent.removesuffix("%")) if colon else 0.0
        probability = float(sure) if at else None
    except ValueError:
        value, probability = -1.0, None
    good = what == "slower" and 0 <= value < math.inf
    if not good or (probability is not None and not 0.5 < probability < 1):
        raise RequestError(
            f"`fail_on` {given}: not known",
            "give slower, slower:PERCENT or slower:PERCENT@PROBABILITY, as slower:2@0.99",
        )
    return Limit(1 + value / 100, probability)


def _judged(report: Report, limit: Limit) -> int:
    code = 0
    for compared in report.candidates:
        one, reason = _tripped(compared, limit)
        if one == UNDECIDED:
            say(f"{flag('fail_on')} cannot judge {compared.candidate.path}: {reason}")
        code = TRIPPED if TRIPPED in (code, one) else one or code
    return code


def _tripped(compared: Compared, limit: Limit) -> tuple[int, str]:
    """Exit code for one candidate, and why it is undecided.

    A slower median or tail trips as the latency does: a change may live there alone.
    """
    code, reason = _of_latency(compared, limit)
    if code == TRIPPED:
        return code, ""
    for one in compared.beside:
        found = one.comparison
        if found.verdict != "SLOWER":
            continue
        if found.interval is None:  # a share has no ratio to hold against the limit
            return UNDECIDED, reason or found.reason
        sure = found.slower_than(limit.ratio) or 0.0
        if found.interval[0] > limit.ratio and sure >= (limit.probability or 0.0):
            return TRIPPED, ""
    return code, reason


def _of_latency(compared: Compared, limit: Limit) -> tuple[int, str]:
    found = compared.latency.comparison
    if limit.probability is not None:
        chance = found.slower_than(limit.ratio)
        if chance is None:
            return UNDECIDED, found.doubt or found.reason
        if chance >= limit.probability:
            return TRIPPED, ""
        told = f"slower by more than {limit.ratio - 1:.2%} with a probability of {chance:.1%}"
        return (UNDECIDED, told) if chance > 1 - limit.probability else (0, "")
    if found.interval is not None and found.interval[1] <= limit.ratio:
        return 0, ""  # known not to be slower: no better resolution is needed
    if found.verdict in ("SAME", "FASTER"):
        return 0, ""
    if found.verdict == "SLOWER" and found.interval and found.interval[0] > limit.ratio:
        return TRIPPED, ""
    # A gate that cannot see must not let everything through.
    reason = found.doubt or found.reason
    if found.verdict == "SLOWER":
        reason = f"it is slower, but not certainly by more than {limit.ratio - 1:.2%}: {reason}"
    return UNDECIDED, reason
