"""Measure a model and store everything in one HDF5 file.

MODEL is the path of an ONNX file, or the name of a built-in reference model
(harness models). Inputs are chosen from the model alone; the options below override them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from harness.config.inputs import InputRequest
from harness.config.profile import (
    COMPARISON_DURATION_S,
    COMPARISON_PROCESSES,
    DEFAULT_BUDGET_S,
    DEFAULT_PRECISION,
    DEFAULT_SAMPLE_HZ,
    QUICK_DURATION_S,
    QUICK_PROCESSES,
    TRACE_PASSES,
    ProfileConfig,
)
from harness.config.session import EXECUTION_MODES, OPTIMIZATION_LEVELS, SessionConfig
from harness.errors import RequestError
from harness.ort import providers


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of ``harness profile``."""
    add = parser.add_argument
    add("model", metavar="MODEL")

    what = parser.add_argument_group("inputs")
    what.add_argument(
        "--dim", action="append", default=[], metavar="NAME=N", help="size of a free dimension"
    )
    what.add_argument(
        "--shape", action="append", default=[], metavar="INPUT=1x3x224x224", help="whole shape"
    )
    what.add_argument("--batch", type=int, metavar="N", help="size of the batch")
    what.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="NAME=FILE.npy",
        help="values of an input; or FILE.npz, of several by their names",
    )
    what.add_argument(
        "--data-set",
        type=Path,
        metavar="FOLDER",
        help="ONNX test_data_set_N folder; its outputs, if there, are checked",
    )
    what.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of generated values (default: 0)"
    )

    how = parser.add_argument_group("session")
    how.add_argument(
        "--provider",
        default=providers.HOST,
        metavar="NAME",
        help=f"{', '.join(providers.names())} (default: {providers.HOST})",
    )
    how.add_argument(
        "--provider-option",
        action="append",
        default=[],
        metavar="K=V",
        help="by ORT's own names; enable_cuda_graph=1 times the graph as a whole",
    )
    how.add_argument(
        "--strict",
        action="store_true",
        help="fail where a node of the graph is not on the provider asked for",
    )
    how.add_argument(
        "--threads",
        type=int,
        default=0,
        metavar="N",
        help="threads inside an operator (default: 0, ORT's own choice)",
    )
    how.add_argument(
        "--inter-threads",
        type=int,
        default=0,
        metavar="N",
        help="threads between operators, in parallel mode (default: 0, ORT's own choice)",
    )
    how.add_argument(
        "--execution-mode",
        default="sequential",
        metavar="MODE",
        help=f"{', '.join(EXECUTION_MODES)} (default: sequential)",
    )
    how.add_argument(
        "--optimization",
        default="all",
        metavar="LEVEL",
        help=f"{', '.join(OPTIMIZATION_LEVELS)} (default: all)",
    )
    how.add_argument(
        "--session-config",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="ORT session config entry",
    )
    how.add_argument(
        "--custom-ops",
        action="append",
        default=[],
        type=Path,
        metavar="LIBRARY",
        help="shared library of custom operators (RegisterCustomOps); may be given again",
    )
    how.add_argument(
        "--no-arena", action="store_true", help="no memory arena on the CPU: ORT frees at once"
    )
    how.add_argument(
        "--no-mem-pattern",
        action="store_true",
        help="allocate each tensor by itself, not all of an inference by a plan",
    )
    how.add_argument(
        "--ort-library",
        type=Path,
        metavar="PATH",
        help="another libonnxruntime (default: the installed wheel's)",
    )

    much = parser.add_argument_group("measurement")
    much.add_argument(
        "--processes",
        type=int,
        metavar="N",
        help=f"worker processes (default: {COMPARISON_PROCESSES}; {QUICK_PROCESSES} with --quick)",
    )
    much.add_argument(
        "--duration",
        type=float,
        metavar="S",
        help="seconds of timed pass in each process "
        f"(default: {COMPARISON_DURATION_S:g}; {QUICK_DURATION_S:g} with --quick)",
    )
    much.add_argument(
        "--quick", action="store_true", help="a small measurement, not comparison-grade"
    )
    much.add_argument(
        "--precision",
        type=float,
        default=100 * DEFAULT_PRECISION,
        metavar="PERCENT",
        help="add processes until the interval of the median is this narrow, ± "
        f"(default: {100 * DEFAULT_PRECISION:g}; not with --processes or --quick)",
    )
    much.add_argument(
        "--budget",
        type=float,
        default=DEFAULT_BUDGET_S,
        metavar="S",
        help=f"seconds after which no process is added (default: {DEFAULT_BUDGET_S:g})",
    )
    much.add_argument(
        "--trace",
        default=",".join(TRACE_PASSES),
        metavar="PASSES",
        help=f"traced passes after the timed one: {','.join(TRACE_PASSES)} or none "
        f"(default: {','.join(TRACE_PASSES)})",
    )
    much.add_argument(
        "--trace-inferences",
        type=int,
        default=10,
        metavar="N",
        help="inferences a traced pass records in each process (default: 10)",
    )
    much.add_argument(
        "--sample-hz",
        type=float,
        default=DEFAULT_SAMPLE_HZ,
        metavar="N",
        help="readings of the devices a second meanwhile, 0 for none "
        f"(default: {DEFAULT_SAMPLE_HZ:g})",
    )
    much.add_argument(
        "--energy",
        action="store_true",
        help="measure idle power first, and long enough for energy meters",
    )
    much.add_argument(
        "--stacks",
        nargs="?",
        const="python",
        default="",
        choices=("python", "native"),
        help="sample the stacks of one more worker with py-spy; native: of libraries too",
    )
    much.add_argument(
        "--affinity",
        metavar="CPUS",
        help="CPUs of the workers, such as 0-3,8; without --threads one thread on each",
    )

    out = parser.add_argument_group("output")
    out.add_argument(
        "--output",
        "-o",
        type=Path,
        metavar="FILE",
        help="default: profiles/MODEL-PROVIDER-UTCTIME.h5",
    )
    out.add_argument("--force", action="store_true", help="overwrite an existing output")
    out.add_argument("--json", action="store_true", help="print one JSON object")
    out.add_argument("--quiet", "-q", action="store_true", help="print the file's name only")


def execute(options: argparse.Namespace) -> int:
    """Measures, stores, and prints the summary."""
    config = configuration(options)

    from harness.commands.progress import Progress
    from harness.measuring.profile import profile
    from harness.reporters.scripts.profile import summary_text
    from harness.reporters.terminal.summary import print_summary

    with Progress(quiet=options.quiet) as progress:
        measured = profile(config, progress)
    if options.json:
        print(summary_text(measured))
    elif options.quiet:
        print(measured.path)
    else:
        print_summary(measured)
    return 0


def configuration(options: argparse.Namespace) -> ProfileConfig:
    """What the parsed options ask for."""
    archives = [text for text in options.input if _is_archive(text)]
    files = [text for text in options.input if text not in archives]
    return ProfileConfig(
        model=options.model,
        session=SessionConfig(
            provider=options.provider,
            provider_options=dict(_pairs("--provider-option", options.provider_option)),
            intra_threads=options.threads,
            inter_threads=options.inter_threads,
            optimization=options.optimization,
            execution_mode=options.execution_mode,
            entries=dict(_pairs("--session-config", options.session_config)),
            custom_ops=tuple(options.custom_ops),
            no_arena=options.no_arena,
            no_mem_pattern=options.no_mem_pattern,
            library=options.ort_library,
            strict=options.strict,
        ),
        inputs=InputRequest(
            dims={name: _whole("--dim", name, size) for name, size in _pairs("--dim", options.dim)},
            shapes={
                name: tuple(_whole("--shape", name, size) for size in shape.split("x") if size)
                for name, shape in _pairs("--shape", options.shape)
            },
            batch=options.batch,
            files={name: Path(file) for name, file in _pairs("--input", files)},
            archives=tuple(map(Path, archives)),
            data_set=options.data_set,
            seed=options.seed,
        ),
        processes=options.processes,
        duration_s=options.duration,
        quick=options.quick,
        trace=() if options.trace == "none" else tuple(options.trace.split(",")),
        trace_inferences=options.trace_inferences,
        precision=options.precision / 100,
        budget_s=options.budget,
        sample_hz=options.sample_hz,
        energy=options.energy,
        stacks=options.stacks,
        affinity=options.affinity,
        output=options.output,
        force=options.force,
    )


def _is_archive(text: str) -> bool:
    """Whether --input names a .npz file; one whose path holds "=" is told by being there."""
    return text.lower().endswith(".npz") and ("=" not in text or Path(text).is_file())


def _pairs(option: str, given: list[str]) -> list[tuple[str, str]]:
    pairs = []
    for text in given:
        # A tensor's name may hold "=", a size or a file's suffix after the last one not.
        name, found, value = text.rpartition("=")
        if not (name and found and value):
            raise RequestError(f"{option} {text}: not NAME=VALUE", f"give {option} NAME=VALUE")
        pairs.append((name, value))
    return pairs


def _whole(option: str, name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise RequestError(
            f"{option} {name}: {text!r} is not a whole number", "see 'harness profile --help'"
        ) from None
