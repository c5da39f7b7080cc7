"""Print the summary of a profile: latency and its confidence interval, noise, where time goes."""

from __future__ import annotations

import argparse
from pathlib import Path

from harness.errors import RequestError
from harness.options import declare


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of ``harness show``."""
    parser.add_argument("file", type=Path, metavar="FILE")
    declare(parser, "show")


def execute(options: argparse.Namespace) -> int:
    """Reads the profile and prints its summary."""
    from harness.analysis import noise
    from harness.analysis.wall_time import spent
    from harness.reporters.scripts.profile import summary_text
    from harness.reporters.terminal.summary import print_summary
    from harness.reporters.terminal.wall_time import print_wall_time
    from harness.storage.profile_file import read_profile

    profile = read_profile(options.file)
    if options.exclude_throttled:
        if profile.instances is not None and any(map(any, noise.throttled_samples(profile))):
            raise RequestError(
                f"{options.file}: callers side by side are told by whole windows, of which no "
                "samples can be left out",
                "show it without `exclude_throttled`",
            )
        profile = noise.without_throttled(profile)
        if not any(len(process.steady) for process in profile.processes):
            raise RequestError(
                f"{options.file}: every sample was taken while the GPU was throttled",
                "show it without `exclude_throttled`",
            )
    if options.json:
        print(summary_text(profile, verbose=options.verbose))
    else:
        print_summary(profile)
        if options.verbose:
            print_wall_time(spent(profile))
    return 0
