"""Measure two configurations in turns until it is known whether they differ.

Each configuration is a command line of 'harness profile' in quotes:

    harness ab --a "resnet50 --threads 1" --b "resnet50 --threads 2"

Processes of the two are measured in pairs, the order within each pair drawn by a coin, until
the verdict is decided or the budget is spent. Both profiles are stored; 'harness compare' of
the two tells the rest.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import RequestError

if TYPE_CHECKING:
    from harness.config.profile import ProfileConfig
    from harness.statistics.pairs import Decision

DEFAULT_BUDGET_S = 120.0
DEFAULT_MARGIN = 1.0

#: Seconds of timed pass of each process: many short ones tell more than few long ones.
DURATION_S = 0.5


_UNTIL_DECIDED = "leave it out: pairs are measured until decided, at most for ab's own --budget"
_PRINTED_ONCE = "leave it out, or give it to ab itself"

#: Options of ``profile`` that say how many processes there are or what is printed in the end,
#: by field, and what to do instead.
_IGNORED = {
    "processes": _UNTIL_DECIDED,
    "quick": "leave it out: ab's processes are short ones, see --duration",
    "precision": _UNTIL_DECIDED,
    "budget": _UNTIL_DECIDED,
    "stacks": "leave it out: 'harness profile' samples stacks",
    "json": _PRINTED_ONCE,
    "quiet": _PRINTED_ONCE,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of ``harness ab``."""
    parser.add_argument(
        "--a", required=True, metavar="OPTIONS", help="the base: MODEL [OPTION ...]"
    )
    parser.add_argument("--b", required=True, metavar="OPTIONS", help="what is compared with it")
    parser.add_argument(
        "--budget",
        type=float,
        default=DEFAULT_BUDGET_S,
        metavar="S",
        help=f"seconds after which no pair is begun (default: {DEFAULT_BUDGET_S:g})",
    )
    parser.add_argument(
        "--margin",
        type=float,
        default=DEFAULT_MARGIN,
        metavar="PERCENT",
        help=f"differences within this count as none (default: {DEFAULT_MARGIN:g})",
    )
    parser.add_argument(
        "--seed",
        type=int,
        metavar="N",
        help="of the order within the pairs (default: a new one every time)",
    )
    parser.add_argument(
        "--fail-on",
        metavar="slower[:PERCENT]",
        help="exit with 4 if b is SLOWER, its whole interval by more than PERCENT; with 5 if that "
        "is undecided or cannot be compared",
    )
    parser.add_argument(
        "--limit", type=int, default=10, metavar="N", help="operators, 0 for all (default: 10)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quiet", "-q", action="store_true", help="say nothing meanwhile")


def execute(options: argparse.Namespace) -> int:
    """Measures pairs, stores both profiles, prints the comparison."""
    if not 0 < options.margin < 100:
        raise RequestError(
            f"--margin {options.margin:g}: must be above 0 and under 100", "give --margin PERCENT"
        )
    if not 0 < options.budget < 86_400:
        raise RequestError(
            f"--budget {options.budget:g}: must be above 0 and under a day", "give --budget SECONDS"
        )
    configs = [_config(name, getattr(options, name)) for name in ("a", "b")]

    from harness.commands.compare import conclude, fail_on

    threshold = fail_on(options)
    from harness.commands.progress import Progress
    from harness.measuring.pairs import ab

    with Progress(quiet=options.quiet or options.json) as progress:
        outcome = ab(
            _named(configs[0], "a"),
            _named(configs[1], "b"),
            margin=options.margin / 100,
            budget_s=options.budget,
            threshold=threshold,
            seed=options.seed,
            observer=progress,
            on_pair=lambda decision: progress.note(_known(decision)),
        )
        pairs = outcome.decision.pairs
        progress.note(
            {
                "decided": f"decided after {pairs} pairs",
                "budget": f"the budget of {options.budget:g} s was spent after {pairs} pairs",
            }.get(outcome.ended_by, f"given up after {pairs} pairs: {outcome.decision.reason}")
        )
        progress.note(f"stored {' and '.join(str(one.path) for one in outcome.profiles)}")
    return conclude(outcome.profiles, options, ended_by=outcome.ended_by)


def _config(name: str, text: str) -> ProfileConfig:
    """The configuration that a command line of ``profile`` means."""
    from harness.commands import profile

    parser = argparse.ArgumentParser(prog=f"--{name}", allow_abbrev=False, exit_on_error=False)
    profile.add_arguments(parser)
    # Defaults are set for what a namespace does not hold: what is still absent was not given.
    absent = object()
    namespace = argparse.Namespace(**dict.fromkeys(_IGNORED, absent))
    try:
        given, unknown = parser.parse_known_args(shlex.split(text), namespace)
    except (argparse.ArgumentError, ValueError) as error:
        raise RequestError(f"--{name} {text!r}: {error}", "see 'harness profile --help'") from error
    if unknown:
        raise RequestError(
            f"--{name} {text!r}: unknown: {' '.join(unknown)}", "see 'harness profile --help'"
        )
    for field in _IGNORED:
        if getattr(given, field) is not absent:
            option = f"--{field.replace('_', '-')}"
            raise RequestError(f"--{name} {text!r}: ab would ignore {option}", _IGNORED[field])
        setattr(given, field, parser.get_default(field))
    if given.duration is None:
        given.duration = DURATION_S
    return profile.configuration(given)


def _named(config: ProfileConfig, side: str) -> ProfileConfig:
    """With an output of its own."""
    if config.output is not None:
        return config
    time = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
    name = f"{Path(config.model).stem}-{config.session.provider}-{time}-{side}.h5"
    return dataclasses.replace(config, output=Path("profiles", name))


def _known(decision: Decision) -> str:
    ratio = f", ratio {decision.ratio:.4f}" if decision.ratio is not None else ""
    pairs = f"{decision.pairs} pair{'s' if decision.pairs != 1 else ''}"
    return f"{pairs}: {decision.verdict}{ratio}"
