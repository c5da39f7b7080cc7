"""Every command-line option, declared once, with the field of the request that it sets.

Messages from elsewhere name the field in backticks, as the author of a script knows it:
`` `intra_threads` ``. When a command prints such a message, ``worded`` replaces the field with
its option. Commands declare their options from here.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from harness.config.profile import (
    COMPARISON_DURATION_S,
    COMPARISON_PROCESSES,
    DEFAULT_BUDGET_S,
    DEFAULT_PRECISION,
    DEFAULT_SAMPLE_HZ,
    DEFAULT_TIMEOUT_S,
    GROUPS,
    LAYOUTS,
    QUICK_DURATION_S,
    QUICK_PROCESSES,
    STACKS,
    TRACE_PASSES,
)
from harness.config.session import EXECUTION_MODES, OPTIMIZATION_LEVELS, ORT
from harness.measuring import runtimes
from harness.ort import providers

#: Seconds after which ``ab`` gives up: later than ``profile``, as it measures two configurations.
AB_BUDGET_S = 120.0

#: Differences within this margin count as none.
MARGIN_PERCENT = 1.0

#: Occasions that ``calibrate`` measures in about an hour, and how.
OCCASIONS = 8
OCCASION_MINUTES = 8.0
OCCASION_PROCESSES = 8
OCCASION_DURATION_S = 0.5

#: Seconds that ``layout`` searches at most, and that the window of one of its groups lasts.
LAYOUT_BUDGET_S = 600.0
LAYOUT_WINDOW_S = 1.0

#: Input sets that a variant is compared on.
SEEDS = 5

#: Rows that a table of operators shows by default.
TABLE_ROWS = 20


@dataclasses.dataclass(frozen=True, slots=True)
class Option:
    """One option of a command.

    Attributes:
        name: the field of ProfileConfig, SessionConfig or InputRequest that it sets; if it sets
            none, its own name as a Python identifier.
        flags: what is typed, such as ``--output`` and ``-o``.
        help: what ``--help`` says about it.
        group: heading in ``--help``; empty for the command's own.
        alternative: mutually exclusive with the other alternatives of its command.
        metavar, type, default, action, choices, nargs, const, required: as in argparse.
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
        """Its long flag."""
        return next(flag for flag in self.flags if flag.startswith("--"))


_HELP = Option("help", ("--help", "-h"), "show this help message and exit")
_VERSION = Option("version", ("--version",), "print the version and exit", action="store_true")
_JSON = Option("json", ("--json",), "print one JSON object", action="store_true")
_FORCE = Option("force", ("--force",), "overwrite an existing output", action="store_true")
_OUTPUT = Option("output", ("-o", "--output"), "", metavar="FILE", type=Path)
_LIMIT = Option(
    "limit",
    ("--limit",),
    "operators to show, 0 for all (default: 10)",
    metavar="N",
    type=int,
    default=10,
)
_LIBRARY = Option("library", ("--ort-library",), "", metavar="PATH", type=Path)

_INPUTS = tuple(
    dataclasses.replace(option, group="inputs")
    for option in (
        Option("dims", ("--dim",), "size of a free dimension", metavar="NAME=N", action="append"),
        Option(
            "shapes",
            ("--shape",),
            "full shape of an input",
            metavar="INPUT=1x3x224x224",
            action="append",
        ),
        Option("batch", ("--batch",), "batch size", metavar="N", type=int),
        Option(
            "files",
            ("--input",),
            "values of an input; or FILE.npz, for several inputs by name",
            metavar="NAME=FILE.npy",
            action="append",
        ),
        Option(
            "data_set",
            ("--data-set",),
            "ONNX test_data_set_N folder; its outputs, if any, are checked",
            metavar="FOLDER",
            type=Path,
        ),
        Option(
            "seed",
            ("--seed",),
            "seed of the generated values (default: 0)",
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
            f"execution provider: {', '.join(providers.names())} (default: {providers.HOST})",
            metavar="NAME",
            default=providers.HOST,
        ),
        Option(
            "provider_options",
            ("--provider-option",),
            "provider option, by ORT's own name; enable_cuda_graph=1 times replays of a CUDA graph",
            metavar="K=V",
            action="append",
        ),
        Option(
            "strict",
            ("--strict",),
            "fail if any node of the graph is not on the requested provider",
            action="store_true",
        ),
        Option(
            "runtime",
            ("--runtime",),
            f"what runs the model: {', '.join(runtimes.names())} (default: {ORT})",
            metavar="NAME",
            default=ORT,
        ),
        Option(
            "runtime_options",
            ("--runtime-option",),
            "option of another runtime, by its own name",
            metavar="K=V",
            action="append",
        ),
        Option(
            "intra_threads",
            ("--threads",),
            "intra-op threads, within an operator (default: 0, ORT's own choice)",
            metavar="N",
            type=int,
            default=0,
        ),
        Option(
            "inter_threads",
            ("--inter-threads",),
            "inter-op threads, used in parallel mode (default: 0, ORT's own choice)",
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
            f"graph optimisation level: {', '.join(OPTIMIZATION_LEVELS)} (default: all)",
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
            "shared library of custom operators (RegisterCustomOps); may be repeated",
            metavar="LIBRARY",
            type=Path,
            action="append",
        ),
        Option(
            "no_arena",
            ("--no-arena",),
            "without ORT's memory arena on the CPU: memory is freed at once",
            action="store_true",
        ),
        Option(
            "no_mem_pattern",
            ("--no-mem-pattern",),
            "allocate each tensor separately, not in one planned block per inference",
            action="store_true",
        ),
        dataclasses.replace(
            _LIBRARY, help="libonnxruntime to use (default: the installed wheel's)"
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
            "seconds that the timed pass lasts in each process "
            f"(default: {COMPARISON_DURATION_S:g}; {QUICK_DURATION_S:g} with --quick)",
            metavar="S",
            type=float,
        ),
        Option(
            "quick",
            ("--quick",),
            "a short first look, not comparison-grade",
            action="store_true",
        ),
        Option(
            "precision",
            ("--precision",),
            "add processes until the median's confidence interval is within ±PERCENT "
            f"(default: {100 * DEFAULT_PRECISION:g}; not with --processes or --quick)",
            metavar="PERCENT",
            type=float,
            default=100 * DEFAULT_PRECISION,
        ),
        Option(
            "budget_s",
            ("--budget",),
            f"seconds after which no more processes are added (default: {DEFAULT_BUDGET_S:g})",
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
            "inferences that each traced pass records in each process (default: 10)",
            metavar="N",
            type=int,
            default=10,
        ),
        Option(
            "sample_hz",
            ("--sample-hz",),
            "device readings per second during the timed pass, 0 for none "
            f"(default: {DEFAULT_SAMPLE_HZ:g})",
            metavar="N",
            type=float,
            default=DEFAULT_SAMPLE_HZ,
        ),
        Option(
            "energy",
            ("--energy",),
            "measure idle power first, then long enough for energy meters",
            action="store_true",
        ),
        Option(
            "stacks",
            ("--stacks",),
            "sample the stacks of an extra worker with py-spy; native: with native frames",
            nargs="?",
            const="python",
            default="",
            choices=STACKS,
        ),
        Option(
            "affinity",
            ("--affinity",),
            "CPUs to pin workers to, such as 0-3,8; without --threads, one thread per CPU",
            metavar="CPUS",
        ),
        Option(
            "instances",
            ("--instances",),
            "sessions side by side, each a process on CPUs of its own: a number, "
            f"{', '.join(LAYOUTS)}; --threads is then of each (default: one a core), "
            f"--processes counts groups of them (default: {GROUPS}), --duration their window",
            metavar="N",
        ),
        Option(
            "memory",
            ("--memory",),
            "NUMA nodes of an instance's memory: local, or interleave over those of its CPUs "
            "(default: local)",
            metavar="POLICY",
            default="",
        ),
        Option(
            "concurrency",
            ("--concurrency",),
            "threads that call one shared session at once, or each instance (default: 1)",
            metavar="N",
            type=int,
        ),
        Option(
            "memory_limit_gb",
            ("--memory-limit",),
            "memory that a worker may use (default: 90%% of what is available)",
            metavar="GB",
            type=float,
        ),
        Option(
            "timeout_s",
            ("--timeout",),
            "seconds that a worker may take until its first inference "
            f"(default: {DEFAULT_TIMEOUT_S:g})",
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
            help="file to write (default: profiles/MODEL-PROVIDER-UTCTIME.h5)",
        ),
        _FORCE,
        _JSON,
        Option("quiet", ("--quiet", "-q"), "print only the name of the file", action="store_true"),
    )
)

#: Options of ``profile`` that choose what is executed and where.
_REPEATED = ("sample_hz", "affinity", "memory_limit_gb", "timeout_s")

#: Options of ``profile`` that ``sweep`` takes for all cells, besides those that a plan sets.
_OF_ALL_CELLS = ("processes", "duration_s", "quick", "trace", "energy")

#: Options of each command that has any, in the order of its --help.
COMMANDS: dict[str, tuple[Option, ...]] = {
    "profile": (*_INPUTS, *_SESSION, *_MEASUREMENT, *_MADE),
    "show": (
        Option(
            "exclude_throttled",
            ("--exclude-throttled",),
            "leave out samples taken while a GPU clock was throttled",
            action="store_true",
        ),
        Option(
            "verbose",
            ("--verbose",),
            "say also where the wall time of the command that measured it went",
            action="store_true",
        ),
        _JSON,
    ),
    "ops": (
        Option(
            "by",
            ("--by",),
            "what a row is; layer: the prefix that exporters give to node names; kernel: GPU "
            "kernels and copies (default: node)",
            choices=("node", "op", "layer", "kernel"),
            default="node",
        ),
        Option(
            "depth",
            ("--depth",),
            "components to keep of a layer's name, 0 for all (default: 0)",
            metavar="N",
            type=int,
            default=0,
        ),
        Option(
            "source",
            ("--source",),
            "pass to take the times from (default: the most accurate one recorded)",
            choices=("probe", "ort"),
        ),
        Option(
            "passes",
            ("--passes",),
            "show the times of ORT's profiler next to the probes'",
            action="store_true",
        ),
        Option(
            "roofline",
            ("--roofline",),
            "show work and the share of the measured ceilings next to the times",
            action="store_true",
        ),
        Option(
            "sort",
            ("--sort",),
            "time: own time; total: including subgraphs; gpu: of its kernels; idle: how long the "
            "GPU waited for it; order: as executed (default: time)",
            choices=("time", "total", "calls", "gpu", "idle", "order", "name"),
            default="time",
        ),
        dataclasses.replace(
            _LIMIT,
            help=f"rows, 0 for all (default: {TABLE_ROWS} in the table, all in JSON and CSV)",
            default=None,
        ),
        dataclasses.replace(_JSON, alternative=True),
        Option("csv", ("--csv",), "print CSV", alternative=True, action="store_true"),
    ),
    "ab": (
        Option("a", ("--a",), "the baseline: MODEL [OPTION ...]", metavar="OPTIONS", required=True),
        Option("b", ("--b",), "the candidate, likewise", metavar="OPTIONS", required=True),
        Option(
            "budget_s",
            ("--budget",),
            f"seconds after which no further pair is started (default: {AB_BUDGET_S:g})",
            metavar="S",
            type=float,
            default=AB_BUDGET_S,
        ),
        Option(
            "margin",
            ("--margin",),
            f"differences within this margin count as none (default: {MARGIN_PERCENT:g})",
            metavar="PERCENT",
            type=float,
            default=MARGIN_PERCENT,
        ),
        Option(
            "order_seed",
            ("--seed",),
            "seed of the order within pairs (default: a new one every time)",
            metavar="N",
            type=int,
        ),
        Option(
            "fail_on",
            ("--fail-on",),
            "exit with 4 if b's latency, or its p90 or p99 alone, is SLOWER and the whole interval "
            "is above PERCENT; with 5 if that is undecided or the two cannot be compared",
            metavar="slower[:PERCENT]",
        ),
        _LIMIT,
        _JSON,
        Option("quiet", ("--quiet", "-q"), "print nothing while measuring", action="store_true"),
    ),
    "layout": (
        Option(
            "latency_limit_ms",
            ("--latency-limit",),
            "leave out layouts in which an instance takes longer: its p99 where groups have enough "
            "inferences to tell it, else its median",
            metavar="MS",
            type=float,
        ),
        Option(
            "budget_s",
            ("--budget",),
            f"seconds after which no further group is begun (default: {LAYOUT_BUDGET_S:g})",
            metavar="S",
            type=float,
            default=LAYOUT_BUDGET_S,
        ),
        Option(
            "duration_s",
            ("--duration",),
            "seconds of the window in which a group of instances is measured (default: "
            f"{LAYOUT_WINDOW_S:g}; longer where they make too few inferences)",
            metavar="S",
            type=float,
        ),
        *(
            dataclasses.replace(
                one,
                help="seed of the generated values, and of the order in which layouts are measured "
                "(default: 0)",
            )
            if one.name == "seed"
            else one
            for one in _INPUTS
        ),
        *(one for one in _SESSION if one.name != "intra_threads"),
        *(
            dataclasses.replace(one, help="CPUs to lay instances out on, such as 0-3,8")
            if one.name == "affinity"
            else one
            for one in _MEASUREMENT
            if one.name in ("affinity", "memory_limit_gb", "timeout_s")
        ),
        dataclasses.replace(_JSON, group="output"),
        Option(
            "quiet",
            ("--quiet", "-q"),
            "print only the command that uses the best layout",
            group="output",
            action="store_true",
        ),
    ),
    "compare": (
        Option(
            "margin",
            ("--margin",),
            f"differences within this margin count as the same (default: {MARGIN_PERCENT:g})",
            metavar="PERCENT",
            type=float,
            default=MARGIN_PERCENT,
        ),
        Option(
            "fail_on",
            ("--fail-on",),
            "exit with 4 if a candidate's latency, or its median, p90 or p99 alone, is SLOWER and "
            "the whole interval is above PERCENT; with 5 if that is undecided, if more of its "
            "processes are slow, or if the two cannot be compared; with @P, such as slower:2@0.99, "
            "4 if it is slower by more with at least this probability, 0 if with at most 1 - P, "
            "else 5",
            metavar="slower[:PERCENT[@P]]",
        ),
        Option(
            "against",
            ("--against",),
            "profiles of the candidate, each of another occasion; all FILEs are then the baseline",
            metavar="FILE",
            type=Path,
            nargs="+",
            default=(),
        ),
        Option(
            "history",
            ("--history",),
            "folder of other profiles of the baseline, from which the variance between occasions "
            "is learned (default: the folder of the baseline)",
            metavar="FOLDER",
            type=Path,
            alternative=True,
        ),
        Option(
            "no_history",
            ("--no-history",),
            "assume a standard deviation of 1 %% between occasions",
            action="store_true",
            alternative=True,
        ),
        _LIMIT,
        dataclasses.replace(_JSON, help="print one JSON object with all operators"),
    ),
    "calibrate": (
        Option(
            "times",
            ("--times",),
            f"occasions to measure (default: {OCCASIONS})",
            metavar="N",
            type=int,
            default=OCCASIONS,
        ),
        Option(
            "every",
            ("--every",),
            f"minutes from one occasion to the next (default: {OCCASION_MINUTES:g})",
            metavar="MINUTES",
            type=float,
            default=OCCASION_MINUTES,
        ),
        Option(
            "processes",
            ("--processes",),
            f"worker processes of each occasion (default: {OCCASION_PROCESSES})",
            metavar="N",
            type=int,
            default=OCCASION_PROCESSES,
        ),
        Option(
            "duration_s",
            ("--duration",),
            f"seconds that the timed pass lasts in each process (default: {OCCASION_DURATION_S:g})",
            metavar="S",
            type=float,
            default=OCCASION_DURATION_S,
        ),
        *_INPUTS,
        *_SESSION,
        *(one for one in _MEASUREMENT if one.name in _REPEATED),
        dataclasses.replace(
            _OUTPUT,
            flags=("--output", "-o"),
            help="folder to write into (default: profiles)",
            metavar="FOLDER",
            group="output",
        ),
        dataclasses.replace(_JSON, group="output"),
        Option(
            "quiet",
            ("--quiet", "-q"),
            "print only the names of the files",
            group="output",
            action="store_true",
        ),
    ),
    "sweep": (
        Option(
            "axis",
            ("--axis",),
            "an axis and its values, instead of the plan's; may be repeated, also to add values",
            metavar="NAME=V,V",
            action="append",
        ),
        *(
            dataclasses.replace(one, group="all cells", default=None)
            for one in _MEASUREMENT
            if one.name in _OF_ALL_CELLS
        ),
        Option(
            "dry_run",
            ("--dry-run",),
            "measure nothing: print the cells, the figures of those done, and the expected time",
            action="store_true",
        ),
        Option("retry", ("--retry",), "measure failed cells again", action="store_true"),
        Option("cells", ("--cells",), "print the number of cells", action="store_true"),
        Option(
            "cell",
            ("--cell",),
            "measure this cell alone, counted from 1: for job arrays",
            metavar="N",
            type=int,
        ),
        Option(
            "dask",
            ("--dask",),
            "measure on the workers of this Dask scheduler; needs distributed",
            metavar="ADDRESS",
        ),
        dataclasses.replace(
            _OUTPUT,
            flags=("--output", "-o"),
            help="folder of the profiles; what is done there is not measured again",
            metavar="FOLDER",
            group="output",
        ),
        dataclasses.replace(_JSON, group="output"),
        Option("csv", ("--csv",), "print CSV", group="output", action="store_true"),
        Option(
            "quiet",
            ("--quiet", "-q"),
            "print nothing while measuring",
            group="output",
            action="store_true",
        ),
    ),
    "list": (
        Option(
            "of_model",
            ("--model",),
            "only profiles whose model's name contains this, or whose sha256 begins with it (6 "
            "characters or more)",
            metavar="TEXT",
        ),
        Option(
            "of_device",
            ("--device",),
            "only those measured on a CPU or GPU whose name contains this",
            metavar="TEXT",
        ),
        Option(
            "provider",
            ("--provider",),
            f"only those of this execution provider: {', '.join(providers.names())}",
            metavar="NAME",
        ),
        Option(
            "since",
            ("--since",),
            "only those created since then: 2026-11-28, 2026-11-28T14:30 (local time), or so long "
            "ago: 90m, 12h, 7d, 2w",
            metavar="WHEN",
        ),
        Option(
            "sort",
            ("--sort",),
            "created: newest first; median: fastest first; model and file: by name "
            "(default: created)",
            choices=("created", "median", "model", "file"),
            default="created",
        ),
        dataclasses.replace(
            _LIMIT,
            help=f"rows, 0 for all (default: {TABLE_ROWS} in the table, all in JSON and CSV)",
            default=None,
        ),
        dataclasses.replace(_JSON, alternative=True),
        Option("csv", ("--csv",), "print CSV", alternative=True, action="store_true"),
    ),
    "history": (
        dataclasses.replace(_OUTPUT, help="HTML file to write, with a plot of each series"),
        Option(
            "otava",
            ("--otava",),
            "CSV for Apache Otava, a row per profile; further series into OUT-2.csv …",
            metavar="OUT",
            type=Path,
        ),
        Option(
            "bencher",
            ("--bencher",),
            "JSON for Bencher (Bencher Metric Format): the newest profile of each series",
            metavar="OUT",
            type=Path,
        ),
        Option(
            "pytest_benchmark",
            ("--pytest-benchmark",),
            "pytest-benchmark's JSON: the newest profile of each series",
            metavar="OUT",
            type=Path,
        ),
        dataclasses.replace(_FORCE, help="overwrite existing outputs"),
        _JSON,
    ),
    "trace": (
        dataclasses.replace(
            _OUTPUT,
            help="file to write; compressed if it ends in .gz",
            metavar="OUT",
            required=True,
        ),
        Option(
            "format",
            ("--format",),
            "format of OUT (default: perfetto if its name says so, otherwise chrome)",
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
                ("csv", "every inference, one per row"),
                ("jsonl", "the whole profile, one JSON object per line"),
                ("parquet", "every inference, one per row; needs pyarrow"),
                ("stacks", "stacks sampled by profile --stacks"),
            )
        ),
        Option(
            "format",
            ("--format",),
            "format of --stacks (default: collapsed, for flame graphs)",
            choices=("collapsed", "speedscope"),
            default="collapsed",
        ),
        dataclasses.replace(_FORCE, help="overwrite existing outputs"),
        _JSON,
    ),
    "study": (
        dataclasses.replace(_OUTPUT, help="HTML file to write", metavar="OUT"),
        Option(
            "claims",
            ("--claims",),
            "file of claims to judge; may be repeated",
            metavar="FILE",
            type=Path,
            action="append",
        ),
        Option("prices", ("--prices",), "file of prices", metavar="FILE", type=Path),
        Option(
            "machine",
            ("--machine",),
            "name of the machine whose profiles are in this folder; may be repeated",
            metavar="NAME=FOLDER",
            action="append",
        ),
        Option("csv", ("--csv",), "CSV file to write, a figure a row", metavar="FILE", type=Path),
        _FORCE,
        _JSON,
    ),
    "report": (
        dataclasses.replace(_OUTPUT, help="HTML file to write", metavar="OUT", required=True),
        _FORCE,
        _JSON,
    ),
    "recover": (
        dataclasses.replace(_OUTPUT, help="file to write (default: NAME.h5 next to PARTIAL)"),
        _FORCE,
        _JSON,
    ),
    "variant": (
        Option(
            "kind",
            ("--kind",),
            "fp16, int8-dynamic, int8-static, prune-weights:P or prune-channels:P, of which the "
            "share P goes; prune-channels:P:l1 ranks channels by the sum of their magnitudes",
            metavar="KIND",
            required=True,
        ),
        dataclasses.replace(_OUTPUT, help="file to write (default: MODEL-KIND.onnx)"),
        Option(
            "calibrate",
            ("--calibrate",),
            "inputs by name to calibrate int8-static with: a FILE.npz, or a folder of such files "
            "or of ONNX's test_data_set_N (default: generated inputs)",
            metavar="FOLDER",
            type=Path,
        ),
        Option(
            "where",
            ("--where",),
            "look for the first node whose output departs",
            action="store_true",
        ),
        Option(
            "seeds",
            ("--seeds",),
            f"generated input sets to compare on (default: {SEEDS})",
            metavar="N",
            type=int,
            default=SEEDS,
        ),
        *(one for one in _INPUTS if one.name in ("dims", "shapes", "batch")),
        *(
            dataclasses.replace(one, group="")
            for one in _SESSION
            if one.name in ("custom_ops", "library")
        ),
        _FORCE,
        _JSON,
    ),
    "models": (
        dataclasses.replace(_OUTPUT, help="file to write (default: NAME.onnx)"),
        Option(
            "seed",
            ("--seed",),
            "seed of the weights (default: 0)",
            metavar="N",
            type=int,
            default=0,
        ),
        _FORCE,
        _JSON,
    ),
    "doctor": (
        _JSON,
        dataclasses.replace(
            _LIBRARY, help="libonnxruntime to examine (default: the installed wheel's)"
        ),
    ),
}

_FLAGS = {
    option.name: option.flag
    for options in ((_HELP, _VERSION), *COMMANDS.values())
    for option in options
}

#: A name in backticks, or a command and a name. A single letter is not a name: that is how the
#: documentation of operators refers to tensors.
_NAMED = re.compile(r"`(?:(\w+) )?(\w{2,})`")


def words() -> dict[str, str]:
    """What is typed for the fields of a request, as a Python identifier, where it differs.

    ``{"intra_threads": "threads"}``: plans name fields by either.
    """
    typed = {one.name: one.flag.removeprefix("--") for one in COMMANDS["profile"]}
    named = {name: word.replace("-", "_") for name, word in typed.items()}
    return {name: word for name, word in named.items() if word != name}


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
    """Adds the one option that is given before a command."""
    _add(parser, _VERSION)


def _add(place: argparse._ActionsContainer, option: Option) -> None:
    """Adds an option, passing only what is set: argparse refuses some arguments together."""
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
    """What to type for a field, or for an option that sets none: ``--limit`` for ``limit``."""
    return _FLAGS[name]


def given(parsed: argparse.Namespace, command: str, leave_out: Sequence[str] = ()) -> list[str]:
    """The words to type for what was parsed, of the options that a command has, too.

    Args:
        parsed: by the parser of any command.
        command: that the words are for.
        leave_out: fields.
    """
    words: list[str] = []
    for option in COMMANDS[command]:
        value: Any = getattr(parsed, option.flag[2:].replace("-", "_"), option.default)
        if option.name in leave_out or value is None or value == option.default:
            continue
        if option.action == "store_true":
            words += [option.flag] if value else []
            continue
        for each in value if option.action == "append" else [value]:
            text = str(each)
            words += [f"{option.flag}={text}"] if text.startswith("-") else [option.flag, text]
    return words


def worded(text: str) -> str:
    """The sentence for someone who types options: fields in backticks become their options.

    `` `intra_threads` `` becomes ``--threads``. `` `ops roofline` `` becomes
    `` `ops --roofline` `` and keeps its backticks, because it is typed as a whole. Anything
    else in backticks is left alone.
    """
    return _NAMED.sub(_typed, text)


def _typed(found: re.Match[str]) -> str:
    command, name = found[1], found[2]
    if name not in _FLAGS or command not in (None, *COMMANDS):
        return found[0]
    return _FLAGS[name] if command is None else f"`{command} {_FLAGS[name]}`"
