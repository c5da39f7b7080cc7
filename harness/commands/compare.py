"""Tell whether profiles really differ, what else changed, and which operators are the cause.

The first file is the baseline that the others are compared with. FASTER and SLOWER are wrong in
at most 5 % of cases; SAME means within the margin; UNDECIDED comes with the number of processes
that would decide. Profiles of separate occasions also differ by what changed on the machine in
between; "harness ab" avoids this by measuring two configurations side by side.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.commands.messages import say
from harness.errors import RequestError
from harness.options import declare, flag

if TYPE_CHECKING:
    from harness.analysis.comparing.report import Report
    from harness.records import Profile

#: Exit codes of ``fail_on``, as in its help: it tripped; it is undecided or not comparable.
TRIPPED = 4
UNDECIDED = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of ``harness compare``."""
    parser.add_argument(
        "files", type=Path, nargs="+", metavar="FILE", help="profiles; the first is the baseline"
    )
    declare(parser, "compare")


def execute(options: argparse.Namespace) -> int:
    """Reads the profiles and prints the comparison; the exit code is that of --fail-on."""
    if len(options.files) < 2:
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
    fail_on(options)

    from harness.storage.profile_file import read_profile

    return conclude([read_profile(file) for file in options.files], options)


def fail_on(options: argparse.Namespace) -> float | None:
    """Ratio above which --fail-on trips; None without it. Call it before any work is done.

    Raises:
        RequestError: its value makes no sense.
    """
    return None if options.fail_on is None else _threshold(options.fail_on)


def conclude(profiles: Sequence[Profile], options: argparse.Namespace, **more: str) -> int:
    """Prints the comparison with the first profile; returns the exit code.

    Args:
        profiles: the first is the baseline.
        options: margin, limit, json and fail_on of the command line.
        more: what else the command knows, for --json.
    """
    from harness.analysis.comparing.profiles import compare_profiles
    from harness.reporters.scripts.comparison import comparison_text
    from harness.reporters.terminal.comparison import print_comparison

    base, *candidates = profiles
    report = compare_profiles(base, candidates, margin=options.margin / 100)
    if options.json:
        print(comparison_text(report, more))
    else:
        print_comparison(report, options.limit)
    threshold = fail_on(options)
    return 0 if threshold is None else _judged(report, threshold)


def _threshold(given: str) -> float:
    """Ratio above which ``slower`` or ``slower:PERCENT`` trips."""
    what, colon, percent = given.partition(":")
    try:
        value = float(percent.removesuffix("%")) if colon else 0.0
    except ValueError:
        value = -1.0
    if what != "slower" or not 0 <= value < float("inf"):
        raise RequestError(f"`fail_on` {given}: not known", "give slower or slower:PERCENT")
    return 1 + value / 100


def _judged(report: Report, threshold: float) -> int:
    code = 0
    for compared in report.candidates:
        found = compared.latency.comparison
        if found.interval is not None and found.interval[1] <= threshold:
            continue  # known not to be slower: no better resolution is needed
        if found.verdict in ("SAME", "FASTER"):
            continue
        if found.verdict == "SLOWER" and found.interval and found.interval[0] > threshold:
            code = TRIPPED
            continue
        # A gate that cannot see must not let everything through.
        reason = found.doubt or found.reason
        if found.verdict == "SLOWER":
            reason = f"it is slower, but not certainly by more than {threshold - 1:.2%}: {reason}"
        say(f"{flag('fail_on')} cannot judge {compared.candidate.path}: {reason}")
        code = code or UNDECIDED
    return code
