"""Measure two configurations alternately until it is clear whether they differ.

Each configuration is a quoted command line of 'harness profile':

    harness ab --a "resnet50 --threads 1" --b "resnet50 --threads 2"

Processes of the two are measured in pairs, in random order within each pair, until the verdict
is decided or the budget is spent. Both profiles are stored; 'harness compare' shows the details.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from harness.errors import RequestError
from harness.options import declare, flag

if TYPE_CHECKING:
    from harness.config.profile import ProfileConfig
    from harness.statistics.pairs import Decision

#: Seconds of timed pass per process: many short ones tell more than a few long ones.
DURATION_S = 0.5

_UNTIL_DECIDED = "leave it out: pairs are measured until decided, within ab's own `budget_s`"
_PRINTED_ONCE = "leave it out, or give it to ab itself"

#: Options of ``profile`` that set the number of processes or what is printed at the end, by
#: field, with what to do instead.
_IGNORED = {
    "processes": _UNTIL_DECIDED,
    "quick": "leave it out: ab's processes are short anyway, see `duration_s`",
    "precision": _UNTIL_DECIDED,
    "budget_s": _UNTIL_DECIDED,
    "stacks": "leave it out: only 'harness profile' samples stacks",
    "json": _PRINTED_ONCE,
    "quiet": _PRINTED_ONCE,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of ``harness ab``."""
    declare(parser, "ab")


def execute(options: argparse.Namespace) -> int:
    """Measures pairs, stores both profiles, prints the comparison."""
    from harness.commands.compare import conclude, fail_on, require_margin

    require_margin(options.margin)
    if not 0 < options.budget < 86_400:
        raise RequestError(
            f"`budget_s` {options.budget:g}: must be above 0 and under a day",
            "give `budget_s` SECONDS",
        )
    configs = [_config(name, getattr(options, name)) for name in ("a", "b")]
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


class _Quoted(argparse.ArgumentParser):
    """Raises the errors of a quoted command line; argparse would print them and exit."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def _config(name: str, text: str) -> ProfileConfig:
    """The configuration that a command line of ``profile`` describes."""
    from harness.commands import profile
    from harness.commands.command_line import require_values

    typed, see = f"{flag(name)} {text!r}", "see 'harness profile `help`'"
    parser = _Quoted(prog=flag(name), allow_abbrev=False, exit_on_error=False)
    profile.add_arguments(parser)
    # argparse sets defaults only where the namespace has no value: what is still absent afterwards
    # was not given.
    absent = object()
    namespace = argparse.Namespace(**dict.fromkeys(map(_parsed, _IGNORED), absent))
    try:
        words = shlex.split(text)
        require_values(words, "harness profile")
        given, unknown = parser.parse_known_args(words, namespace)
    except (argparse.ArgumentError, ValueError) as error:
        raise RequestError(f"{typed}: {error}", see) from error
    if unknown:
        raise RequestError(f"{typed}: unknown: {' '.join(unknown)}", see)
    for field, way_out in _IGNORED.items():
        if getattr(given, _parsed(field)) is not absent:
            raise RequestError(f"{typed}: ab would ignore {flag(field)}", way_out)
        setattr(given, _parsed(field), parser.get_default(_parsed(field)))
    if given.duration is None:
        given.duration = DURATION_S
    return profile.configuration(given)


def _parsed(field: str) -> str:
    """Name under which argparse stores the value of a field."""
    return flag(field).removeprefix("--").replace("-", "_")


def _named(config: ProfileConfig, side: str) -> ProfileConfig:
    """The configuration with an output file of its own."""
    if config.output is not None:
        return config
    time = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
    from harness.measuring.request import runs_on

    name = f"{Path(config.model).stem}-{runs_on(config)}-{time}-{side}.h5"
    return dataclasses.replace(config, output=Path("profiles", name))


def _known(decision: Decision) -> str:
    ratio = f", ratio {decision.ratio:.4f}" if decision.ratio is not None else ""
    pairs = f"{decision.pairs} pair{'s' if decision.pairs != 1 else ''}"
    return f"{pairs}: {decision.verdict}{ratio}"
