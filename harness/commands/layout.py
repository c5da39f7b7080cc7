"""Find how many instances of a model, of how many threads, on which CPUs do most on this machine.

MODEL is the path of an ONNX file, or the name of a built-in reference model (harness models).
Layouts that the machine's sockets, NUMA nodes, caches and cores suggest are measured in turns, the
promising ones more often, until one is told from the others or the budget is spent. The best one,
ORT's default and the frontier of latency and throughput are then measured afresh. Ctrl-C prints
what is known so far.
"""

from __future__ import annotations

import argparse
import shlex
from typing import TYPE_CHECKING

from harness.errors import Interrupted, MachineError, RequestError
from harness.options import LAYOUT_WINDOW_S, declare, flag, given

if TYPE_CHECKING:
    from harness.commands.progress import Progress
    from harness.config.profile import ProfileConfig
    from harness.study.layouts.candidates import Layout
    from harness.study.layouts.records import Measured

#: Options of ``profile`` that a layout sets, or that mean something else to ``layout``.
_SET = ("instances", "intra_threads", "memory", "concurrency", "budget_s", "json", "quiet")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of ``harness layout``."""
    parser.add_argument("model", metavar="MODEL")
    declare(parser, "layout")


def execute(options: argparse.Namespace) -> int:
    """Searches, and prints the frontier, the best layout and the command that uses it."""
    limit_ms = options.latency_limit
    if limit_ms is not None and not 0 < limit_ms < 86_400_000:
        raise RequestError(
            f"`latency_limit_ms` {limit_ms:g}: must be above 0 and under a day",
            "give `latency_limit_ms` MS",
        )
    config = _configuration(options)

    from harness.commands.progress import Progress
    from harness.study.layouts.groups import study_layouts

    with Progress(quiet=options.quiet or options.json) as progress:
        told = _Told(progress)
        study = study_layouts(
            config,
            budget_s=config.budget_s,
            limit_ns=None if limit_ms is None else limit_ms * 1e6,
            seed=options.seed,
            observer=progress,
            on_planned=told.planned,
            on_group=told.group,
        )

    def command(layout: Layout) -> str:
        return _command(options, layout)

    if options.json:
        from harness.reporters.scripts.layout import layout_text

        print(layout_text(study, command))
    elif options.quiet:
        if study.found.best is not None:
            print(command(study.found.told[study.found.best].layout))
    else:
        from harness.reporters.terminal.layout import print_layouts

        print_layouts(study, command)
    if study.found.ended_by == "interrupted":
        return Interrupted.exit_code
    return 0 if study.found.best is not None else MachineError.exit_code


class _Told:
    """Says on stderr how far the search has come."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._count = 0

    def planned(self, layouts: int) -> None:
        self._count = layouts
        self._progress.note(f"measuring {layouts} layouts in turns (Ctrl-C tells what is known)")

    def group(self, layout: Layout, measured: Measured | None, groups: int) -> None:
        from harness.reporters.numbers import rate

        threads = f" x {layout.threads} threads" if layout.threads else ""
        what = f"{layout.placement}, {layout.instances}{threads} {layout.memory}".rstrip()
        if measured is None:
            self._progress.note(f"{what}: does not work here")
        else:
            self._progress.note(f"group {groups}: {what}: {rate(measured.items_per_s)} items/s")


def _configuration(options: argparse.Namespace) -> ProfileConfig:
    """The request: what ``profile`` would be asked of one session."""
    from harness.commands import profile

    parser = argparse.ArgumentParser(allow_abbrev=False)
    profile.add_arguments(parser)
    defaults = vars(parser.parse_args(["--", options.model]))
    asked = argparse.Namespace(**defaults | vars(options))
    asked.duration = LAYOUT_WINDOW_S if options.duration is None else options.duration
    return profile.configuration(asked)


def _command(options: argparse.Namespace, layout: Layout) -> str:
    """The command that takes a profile of a layout, quoted for a shell."""
    words = ["harness", "profile", options.model, *given(options, "profile", _SET)]
    if layout.asked is not None:
        words += [flag("instances"), str(layout.asked), flag("intra_threads"), str(layout.threads)]
        words += [flag("memory"), layout.memory] if layout.memory else []
    return shlex.join(words)
