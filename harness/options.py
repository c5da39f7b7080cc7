"""The options of the command line, once: which field of a request each one sets.

Every other room names a field in its sentences, in backticks: a script's author reads
`` `intra_threads` ``. Where a sentence is shown by a command, ``worded`` puts the option there
instead. Commands declare their options from here.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.config.profile import (
    COMPARISON_DURATION_S,
    COMPARISON_PROCESSES,
    DEFAULT_BUDGET_S,
    DEFAULT_PRECISION,
    DEFAULT_SAMPLE_HZ,
    DEFAULT_TIMEOUT_S,
    QUICK_DURATION_S,
    QUICK_PROCESSES,
    STACKS,
    TRACE_PASSES,
)
from harness.config.session import EXECUTION_MODES, OPTIMIZATION_LEVELS
from harness.ort import providers

#: ``ab`` gives up later than ``profile``: it has two to measure.
AB_BUDGET_S = 120.0

#: Differences up to here count as none.
MARGIN_PERCENT = 1.0

#: Rows of a table of operators.
TABLE_ROWS = 20


@dataclasses.dataclass(frozen=True, slots=True)
class Option:
    """One option of a command.

    Attributes:
        name: the field of ProfileConfig, SessionConfig or InputRequest that it sets; its own
            name, as Python writes it, where it sets none.
        flags: what is typed, such as ``--output`` and ``-o``.
        help: what ``--help`` says of it.
        group: heading in ``--help``; empty for the command's own.
        alternative: excludes the other alternatives of its command.
        metavar, type, default, action, choices, nargs, const, required: as argparse has them.
    """

    name: str
    flags: tuple[str, ...]
    help: str
    group: str = ""
    alternative: bool = False
    metavar: str | None = None
    type: Callable[[str], object] | None = None
    default: object = None
    action: str | None = None
    choices: tuple[str, ...] | None = None
    nargs: str | None = None
    const: str | None = None
    required: bool = False

    @property
    def flag(self) -> str:
        """The long one of its flags."""
        return next(flag for flag in self.flags if flag.startswith("--"))


_HELP = Option("help", ("--help", "-h"), "show this help message and exit")
_VERSION = Option("version", ("--version",), "print the version and exit", action="store_true")
_JSON = Option("json", ("--json",), "print one JSON object", action="store_true")
_FORCE = Option("force", ("--force",), "overwrite an existing output", action="store_true")
_OUTPUT = Option("output", ("-o", "--output"), "", metavar="FILE", type=Path)
_LIMIT = Option(
    "limit",
    ("--limit",),
    "operators, 0 for all (default: 10)",
    metavar="N",
    type=int,
    default=10,
)
_LIBRARY = Option("library", ("--ort-library",), "", metavar="PATH", type=Path)

_INPUTS = tuple(
    dataclasses.replace(option, group="inputs")
    for option in (
        Option("dims", ("--dim",), "size of a free dimension", metavar="NAME=N", action="append"),
        Option("shapes", ("--shape",), "whole shape", metavar="INPUT=1x3x224x224", action="append"),
        Option("batch", ("--batch",), "size of the batch", metavar="N", type=int),
        Option(
            "files",
            ("--input",),
            "values of an input; or FILE.npz, of several by their names",
            metavar="NAME=FILE.npy",
            action="append",
        ),
        Option(
            "data_set",
            ("--data-set",),
            "ONNX test_data_set_N folder; its outputs, if there, are checked",
            metavar="FOLDER",
            type=Path,
        ),
        Option(
            "seed",
            ("--seed",),
            "of generated values (default: 0)",
            metavar="N",
            type=int,
            default=0,
        ),
    )
)

_SESSION = tuple(
    dataclasses.replace(option, group="session")
    for option in (
        Option(
            "provider",
            ("--provider",),
            f"{', '.join(providers.names())} (default: {providers.HOST})",
            metavar="NAME",
            default=providers.HOST,
        ),
        Option(
            "provider_options",
            ("--provider-option",),
            "by ORT's own names; enable_cuda_graph=1 times the graph as a whole",
            metavar="K=V",
            action="append",
        ),
        Option(
            "strict",
            ("--strict",),
            "fail where a node of the graph is not on the provider asked for",
            action="store_true",
        ),
        Option(
            "intra_threads",
            ("--threads",),
            "threads inside an operator (default: 0, ORT's own choice)",
            metavar="N",
            type=int,
            default=0,
        ),
        Option(
            "inter_threads",
            ("--inter-threads",),
            "threads between operators, in parallel mode (default: 0, ORT's own choice)",
            metavar="N",
            type=int,
            default=0,
        ),
        Option(
            "execution_mode",
            ("--execution-mode",),
            f"{', '.join(EXECUTION_MODES)} (default: sequential)",
            metavar="MODE",
            default="sequential",
        ),
        Option(
            "optimization",
            ("--optimization",),
            f"{', '.join(OPTIMIZATION_LEVELS)} (default: all)",
            metavar="LEVEL",
            default="all",
        ),
        Option(
            "entries",
            ("--session-config",),
            "ORT session config entry",
            metavar="KEY=VALUE",
            action="append",
        ),
        Option(
            "custom_ops",
            ("--custom-ops",),
            "shared library of custom operators (RegisterCustomOps); may be given again",
            metavar="LIBRARY",
            type=Path,
            action="append",
        ),
        Option(
            "no_arena",
            ("--no-arena",),
            "no memory arena on the CPU: ORT frees at once",
            action="store_true",
        ),
        Option(
            "no_mem_pattern",
            ("--no-mem-pattern",),
            "allocate each tensor by itself, not all of an inference by a plan",
            action="store_true",
        ),
        dataclasses.replace(
            _LIBRARY, help="another libonnxruntime (default: the installed wheel's)"
        ),
    )
)

_MEASUREMENT = tuple(
    dataclasses.replace(option, group="measurement")
    for option in (
        Option(
            "processes",
            ("--processes",),
            f"worker processes (default: {COMPARISON_PROCESSES}; {QUICK_PROCESSES} with --quick)",
            metavar="N",
            type=int,
        ),
        Option(
            "duration_s",
            ("--duration",),
            "seconds of timed pass in each process "
            f"(default: {COMPARISON_DURATION_S:g}; {QUICK_DURATION_S:g} with --quick)",
            metavar="S",
            type=float,
        ),
        Option(
            "quick",
            ("--quick",),
            "a small measurement, not comparison-grade",
            action="store_true",
        ),
        Option(
            "precision",
            ("--precision",),
            "add processes until the interval of the median is this narrow, ± "
            f"(default: {100 * DEFAULT_PRECISION:g}; not with --processes or --quick)",
            metavar="PERCENT",
            type=float,
            default=100 * DEFAULT_PRECISION,
        ),
        Option(
            "budget_s",
            ("--budget",),
            f"seconds after which no process is added (default: {DEFAULT_BUDGET_S:g})",
            metavar="S",
            type=float,
            default=DEFAULT_BUDGET_S,
        ),
        Option(
            "trace",
            ("--trace",),
            f"traced passes after the timed one: {','.join(TRACE_PASSES)} or none "
            f"(default: {','.join(TRACE_PASSES)})",
            metavar="PASSES",
            default=",".join(TRACE_PASSES),
        ),
        Option(
            "trace_inferences",
            ("--trace-inferences",),
            "inferences a traced pass records in each process (default: 10)",
            metavar="N",
            type=int,
            default=10,
        ),
        Option(
            "sample_hz",
            ("--sample-hz",),
            "readings of the devices a second meanwhile, 0 for none "
            f"(default: {DEFAULT_SAMPLE_HZ:g})",
            metavar="N",
            type=float,
            default=DEFAULT_SAMPLE_HZ,
        ),
        Option(
            "energy",
            ("--energy",),
            "measure idle power first, and long enough for energy meters",
            action="store_true",
        ),
        Option(
            "stacks",
            ("--stacks",),
            "sample the stacks of one more worker with py-spy; native: of libraries too",
            nargs="?",
            const="python",
            default="",
            choices=STACKS,
        ),
        Option(
            "affinity",
            ("--affinity",),
            "CPUs of the workers, such as 0-3,8; without --threads one thread on each",
            metavar="CPUS",
        ),
        Option(
            "memory_limit_gb",
            ("--memory-limit",),
            "of memory that a worker may take (default: 90%% of what is available)",
            metavar="GB",
            type=float,
        ),
        Option(
            "timeout_s",
            ("--timeout",),
            f"that a worker may take until its first inference (default: {DEFAULT_TIMEOUT_S:g})",
            metavar="S",
            type=float,
            default=DEFAULT_TIMEOUT_S,
        ),
    )
)

_MADE = tuple(
    dataclasses.replace(option, group="output")
    for option in (
        dataclasses.replace(
            _OUTPUT,
            flags=("--output", "-o"),
            help="default: profiles/MODEL-PROVIDER-UTCTIME.h5",
        ),
        _FORCE,
        _JSON,
        Option("quiet", ("--quiet", "-q"), "print the file's name only", action="store_true"),
    )
)

#: Options of each command that has some, in the order of its --help.
COMMANDS: dict[str, tuple[Option, ...]] = {
    "profile": (*_INPUTS, *_SESSION, *_MEASUREMENT, *_MADE),
    "show": (
        Option(
            "exclude_throttled",
            ("--exclude-throttled",),
            "leave out the samples that were taken while a clock of the GPU was throttled",
            action="store_true",
        ),
        _JSON,
    ),
    "ops": (
        Option(
            "by",
            ("--by",),
            "row of the table; layer: what exporters put before a node's name; kernel: functions "
            "and copies of a GPU (default: node)",
            choices=("node", "op", "layer", "kernel"),
            default="node",
        ),
        Option(
            "depth",
            ("--depth",),
            "components of a layer's name to keep, 0 for all (default: 0)",
            metavar="N",
            type=int,
            default=0,
        ),
        Option(
            "source",
            ("--source",),
            "pass to take the times from (default: the truest there is)",
            choices=("probe", "ort"),
        ),
        Option(
            "passes",
            ("--passes",),
            "put the times of ORT's profiler beside the probes'",
            action="store_true",
        ),
        Option(
            "roofline",
            ("--roofline",),
            "put work and the part of the measured ceilings beside the times",
            action="store_true",
        ),
        Option(
            "sort",
            ("--sort",),
            "time: own time; total: with subgraphs; order: of execution (default: time)",
            choices=("time", "total", "calls", "order", "name"),
            default="time",
        ),
        dataclasses.replace(
            _LIMIT,
            help=f"rows, 0 for all (default: {TABLE_ROWS} of the table, all of JSON and CSV)",
            default=None,
        ),
        dataclasses.replace(_JSON, alternative=True),
        Option("csv", ("--csv",), "print CSV", alternative=True, action="store_true"),
    ),
    "ab": (
        Option("a", ("--a",), "the base: MODEL [OPTION ...]", metavar="OPTIONS", required=True),
        Option("b", ("--b",), "what is compared with it", metavar="OPTIONS", required=True),
        Option(
            "budget_s",
            ("--budget",),
            f"seconds after which no pair is begun (default: {AB_BUDGET_S:g})",
            metavar="S",
            type=float,
            default=AB_BUDGET_S,
        ),
        Option(
            "margin",
            ("--margin",),
            f"differences within this count as none (default: {MARGIN_PERCENT:g})",
            metavar="PERCENT",
            type=float,
            default=MARGIN_PERCENT,
        ),
        Option(
            "order_seed",
            ("--seed",),
            "of the order within the pairs (default: a new one every time)",
            metavar="N",
            type=int,
        ),
        Option(
            "fail_on",
            ("--fail-on",),
            "exit with 4 if b is SLOWER, its whole interval by more than PERCENT; with 5 if "
            "that is undecided or cannot be compared",
            metavar="slower[:PERCENT]",
        ),
        _LIMIT,
        _JSON,
        Option("quiet", ("--quiet", "-q"), "say nothing meanwhile", action="store_true"),
    ),
    "compare": (
        Option(
            "margin",
            ("--margin",),
            f"differences up to here count as the same (default: {MARGIN_PERCENT:g})",
            metavar="PERCENT",
            type=float,
            default=MARGIN_PERCENT,
        ),
        Option(
            "fail_on",
            ("--fail-on",),
            "exit with 4 if a candidate is SLOWER, its whole interval by more than "
            "PERCENT; with 5 if that is undecided or cannot be compared",
            metavar="slower[:PERCENT]",
        ),
        _LIMIT,
        dataclasses.replace(_JSON, help="print one JSON object, all operators"),
    ),
    "trace": (
        dataclasses.replace(
            _OUTPUT,
            help="file to write; compressed when it ends in .gz",
            metavar="OUT",
            required=True,
        ),
        Option(
            "format",
            ("--format",),
            "of OUT (default: perfetto where its name ends so, else chrome)",
            choices=("chrome", "perfetto"),
        ),
        _FORCE,
        _JSON,
    ),
    "export": (
        *(
            Option(name, (f"--{name}",), summary, metavar="OUT", type=Path)
            for name, summary in (
                (
                    "pyperf",
                    "timed passes for python -m pyperf stats, hist, compare_to, check, metadata",
                ),
                ("csv", "every inference, one a row"),
                ("jsonl", "all of the profile, one JSON object a line"),
                ("parquet", "every inference, one a row; needs pyarrow"),
                ("stacks", "stacks that profile --stacks sampled"),
            )
        ),
        Option(
            "format",
            ("--format",),
            "of --stacks (default: collapsed, for flame graphs)",
            choices=("collapsed", "speedscope"),
            default="collapsed",
        ),
        dataclasses.replace(_FORCE, help="overwrite existing outputs"),
        _JSON,
    ),
    "report": (
        dataclasses.replace(_OUTPUT, help="HTML file to write", metavar="OUT", required=True),
        _FORCE,
        _JSON,
    ),
    "recover": (
        dataclasses.replace(_OUTPUT, help="file to write (default: NAME.h5 beside PARTIAL)"),
        _FORCE,
        _JSON,
    ),
    "models": (
        dataclasses.replace(_OUTPUT, help="file to write (default: NAME.onnx)"),
        Option("seed", ("--seed",), "of the weights", metavar="N", type=int, default=0),
        _FORCE,
        _JSON,
    ),
    "doctor": (
        _JSON,
        dataclasses.replace(
            _LIBRARY, help="look at this libonnxruntime (default: the installed wheel's)"
        ),
    ),
}

_FLAGS = {
    option.name: option.flag
    for options in ((_HELP, _VERSION), *COMMANDS.values())
    for option in options
}

#: A name in backticks, or a command and a name. One letter is no name: operators'
#: documentation calls tensors so.
_NAMED = re.compile(r"`(?:(\w+) )?(\w{2,})`")


def declare(parser: argparse.ArgumentParser, command: str) -> None:
    """Adds the options of a command to its parser."""
    groups: dict[str, argparse._ArgumentGroup] = {}
    alternatives: argparse._MutuallyExclusiveGroup | None = None
    for option in COMMANDS[command]:
        place: argparse._ActionsContainer = parser
        if option.group:
            if option.group not in groups:
                groups[option.group] = parser.add_argument_group(option.group)
            place = groups[option.group]
        elif option.alternative:
            alternatives = alternatives or parser.add_mutually_exclusive_group()
            place = alternatives
        _add(place, option)


def declare_version(parser: argparse.ArgumentParser) -> None:
    """Adds the one option that stands before a command."""
    _add(parser, _VERSION)


def _add(place: argparse._ActionsContainer, option: Option) -> None:
    """Adds an option with those of argparse's arguments that it has: it refuses some together."""
    given: dict[str, Any] = {
        "metavar": option.metavar,
        "type": option.type,
        "default": [] if option.action == "append" else option.default,
        "action": option.action,
        "choices": option.choices,
        "nargs": option.nargs,
        "const": option.const,
        "required": option.required or None,
    }
    known = {name: value for name, value in given.items() if value is not None}
    place.add_argument(*option.flags, help=option.help, **known)


def flag(name: str) -> str:
    """What is typed for a field, or for an option that sets none: ``--limit`` for ``limit``."""
    return _FLAGS[name]


def worded(text: str) -> str:
    """A sentence for somebody who types options: fields in backticks become their options.

    `` `intra_threads` `` becomes ``--threads``, and `` `ops roofline` ``, which is typed as a
    whole, `` `ops --roofline` ``. Anything else in backticks stays.
    """
    return _NAMED.sub(_typed, text)


def _typed(found: re.Match[str]) -> str:
    command, name = found[1], found[2]
    if name not in _FLAGS or command not in (None, *COMMANDS):
        return found[0]
    return _FLAGS[name] if command is None else f"`{command} {_FLAGS[name]}`"
