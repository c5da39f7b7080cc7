"""Tell whether profiles really differ, what else changed, and which operators are the cause.

The first file is the baseline that the others are compared with; with --against, several files are
one side each, every file an occasion. FASTER and SLOWER are wrong in at most 5 % of cases, as long
as occasions differ by no more than the reason says; SAME means within the margin; UNDECIDED says
within which margin they would be the same. Profiles of separate occasions also differ by what
changed on the machine in between: how much that is for your model is learned from other profiles
of it beside the baseline. "harness ab" avoids it by measuring two configurations side by side.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.commands.messages import say
from harness.commands.occasions import NOT_ASKED, other_occasions
from harness.errors import RequestError
from harness.options import declare, flag

if TYPE_CHECKING:
    from harness.analysis.comparing.report import Compared, Report
    from harness.records import Profile
    from harness.statistics.verdicts import Comparison

#: Smallest margin, in percent: nothing that is timed is known better.
LEAST_MARGIN = 1e-6

#: Exit codes of ``fail_on``, as in its help: it tripped; it is undecided or not comparable.
TRIPPED = 4
UNDECIDED = 5


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
    require_margin(options.margin)
    if options.limit < 0:
        raise RequestError("`limit` must not be negative", "give `limit` N, 0 for all")
    limit = None if options.fail_on is None else _limit(options.fail_on)

    from harness.analysis.comparing.profiles import compare_profiles, compare_sides
    from harness.storage.profile_file import read_profile

    profiles = [read_profile(file) for file in options.files]
    against = [read_profile(file) for file in options.against]
    sides = [*profiles, *against]
    history = NOT_ASKED if options.no_history else other_occasions(sides, options.history)
    margin = options.margin / 100
    if against:
        report = compare_sides(profiles, against, margin=margin, history=history)
    else:
        report = compare_profiles(profiles[0], profiles[1:], margin=margin, history=history)
    return _told(dataclasses.replace(report, history=history.told(report)), options, limit)


def require_margin(percent: float) -> None:
    """Refuses a margin that makes no sense.

    Raises:
        RequestError: it is none.
    """
    if not LEAST_MARGIN <= percent < 100:
        raise RequestError(
            f"`margin` {percent:g}: must be at least {LEAST_MARGIN:g} and under 100 percent",
            "give `margin` PERCENT",
        )


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


def _limit(given: str) -> Limit:
    """What ``slower``, ``slower:PERCENT`` and ``slower:PERCENT@PROBABILITY`` mean."""
    asked, at, sure = given.replace("_", "?").partition("@")  # float() would take 1_0 for 10
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
        one, reason = tripped(compared, limit)
        if one == UNDECIDED:
            say(f"{flag('fail_on')} cannot judge {compared.candidate.path}: {reason}")
        code = TRIPPED if TRIPPED in (code, one) else one or code
    return code


def tripped(compared: Compared, limit: Limit) -> tuple[int, str]:
    """Exit code for one candidate, and why it is undecided.

    The latency must be known not to be slower by more. Of the median, the tails and the share of
    slow processes, where a change may live alone, only one that is SLOWER counts: tails are rarely
    known well enough to rule one out.
    """
    from harness.analysis.comparing.report import BESIDE

    codes = [_judged_figure(compared.latency.comparison, limit)]
    codes += [
        _judged_figure(one.comparison, limit, name=one.name)
        for one in compared.quantities
        if one.name in BESIDE and one.comparison.verdict == "SLOWER"
    ]
    return max(codes, key=lambda one: _SEVERITY.index(one[0]))


#: Exit codes from the least to the one that wins.
_SEVERITY = (0, UNDECIDED, TRIPPED)


def _judged_figure(found: Comparison, limit: Limit, name: str = "it") -> tuple[int, str]:
    """Exit code for one figure, and why it is undecided."""
    if found.doubt:  # a gate that cannot see must not let everything through
        return UNDECIDED, found.doubt
    if limit.probability is not None:
        chance = found.slower_than(limit.ratio)
        if chance is None:
            return UNDECIDED, found.reason
        if chance >= limit.probability:
            return TRIPPED, ""
        told = f"{name} is slower by more than {limit.ratio - 1:.2%} with a probability of "
        return (UNDECIDED, f"{told}{chance:.1%}") if chance > 1 - limit.probability else (0, "")
    if found.interval is not None and found.interval[1] <= limit.ratio:
        return 0, ""  # known not to be slower: no better resolution is needed
    if found.verdict in ("SAME", "FASTER"):
        return 0, ""
    if found.verdict == "SLOWER" and found.interval and found.interval[0] > limit.ratio:
        return TRIPPED, ""
    if found.verdict != "SLOWER":
        return UNDECIDED, found.reason
    told = f"{name} is slower, but not certainly by more than {limit.ratio - 1:.2%}"
    return UNDECIDED, f"{told}: {found.reason}"
