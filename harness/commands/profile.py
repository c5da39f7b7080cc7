"""Measure a model and store everything in one HDF5 file.

MODEL is the path of an ONNX file, or the name of a built-in reference model
(harness models). Inputs are chosen from the model alone; the options below override them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from harness.config.inputs import InputRequest
from harness.config.profile import ProfileConfig
from harness.config.session import SessionConfig
from harness.errors import RequestError
from harness.options import declare
from harness.reporters.visible import visible


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of ``harness profile``."""
    parser.add_argument("model", metavar="MODEL")
    declare(parser, "profile")


def execute(options: argparse.Namespace) -> int:
    """Measures, stores, and prints the summary."""
    config = configuration(options)

    from harness.commands.progress import Progress
    from harness.measuring.profile import profile
    from harness.measuring.stopwatch import Stamp, Stopwatch
    from harness.reporters.scripts.profile import summary_text
    from harness.reporters.terminal.summary import print_summary

    clock = Stopwatch(options.began_ns)
    clock.since(Stamp(options.began_ns, 0), "start of the command")
    with Progress(quiet=options.quiet) as progress:
        measured = profile(config, progress, clock)
    if options.json:
        print(summary_text(measured))
    elif options.quiet:
        print(visible(str(measured.path)))
    else:
        print_summary(measured)
    return 0


def configuration(options: argparse.Namespace) -> ProfileConfig:
    """The request that the parsed options describe."""
    archives = [text for text in options.input if _is_archive(text)]
    files = [text for text in options.input if text not in archives]
    return ProfileConfig(
        model=options.model,
        session=SessionConfig(
            provider=options.provider,
            provider_options=dict(pairs("provider_options", options.provider_option)),
            intra_threads=options.threads,
            inter_threads=options.inter_threads,
            optimization=options.optimization,
            execution_mode=options.execution_mode,
            entries=dict(pairs("entries", options.session_config)),
            custom_ops=tuple(options.custom_ops),
            no_arena=options.no_arena,
            no_mem_pattern=options.no_mem_pattern,
            library=options.ort_library,
            strict=options.strict,
        ),
        inputs=InputRequest(
            dims={name: whole("dims", name, size) for name, size in pairs("dims", options.dim)},
            shapes={
                name: tuple(whole("shapes", name, size) for size in shape.split("x") if size)
                for name, shape in pairs("shapes", options.shape)
            },
            batch=options.batch,
            files={name: Path(file) for name, file in pairs("files", files)},
            archives=tuple(map(Path, archives)),
            data_set=options.data_set,
            seed=options.seed,
        ),
        runtime=options.runtime,
        runtime_options=dict(pairs("runtime_options", options.runtime_option)),
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
        instances=options.instances,
        memory=options.memory,
        concurrency=options.concurrency,
        memory_limit_gb=options.memory_limit,
        timeout_s=options.timeout,
        output=options.output,
        force=options.force,
    )


def _is_archive(text: str) -> bool:
    """Whether --input names a .npz file; if the path contains "=", only if that file exists."""
    return text.lower().endswith(".npz") and ("=" not in text or Path(text).is_file())


def pairs(field: str, given: list[str]) -> list[tuple[str, str]]:
    """What was typed as NAME=VALUE, as (name, value).

    Raises:
        RequestError: something is not of that form.
    """
    typed: list[tuple[str, str]] = []
    for text in given:
        # Split at the last "=": a tensor's name may contain one; a size or file suffix does not.
        name, found, value = text.rpartition("=")
        if not (name and found and value):
            raise RequestError(f"`{field}` {text}: not NAME=VALUE", f"give `{field}` NAME=VALUE")
        typed.append((name, value))
    return typed


def whole(field: str, name: str, text: str) -> int:
    """The whole number that was typed for a name of a field.

    Raises:
        RequestError: it is none.
    """
    try:
        return int(text)
    except ValueError:
        raise RequestError(
            f"`{field}` {name}: {text!r} is not a whole number", "see 'harness profile `help`'"
        ) from None
