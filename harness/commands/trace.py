"""Write every pass of a profile as a Chrome trace, on one time axis; Perfetto opens it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from harness.errors import RequestError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of ``harness trace``."""
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="OUT",
        help="file to write; compressed when it ends in .gz",
    )
    parser.add_argument("--force", action="store_true", help="overwrite an existing output")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def execute(options: argparse.Namespace) -> int:
    """Reads the profile and writes its trace."""
    from harness.reporters import chrome_trace
    from harness.storage import read_profile

    if options.output.exists() and not options.force:
        raise RequestError(
            f"{options.output}: the file exists", "choose another, or overwrite it with --force"
        )
    profile = read_profile(options.file)
    try:
        events = chrome_trace.write(profile, options.output)
    except OSError as error:
        raise RequestError(
            f"{options.output}: cannot be written: {error.strerror}", "choose another --output"
        ) from error
    if options.json:
        print(json.dumps({"file": str(options.output), "events": events}))
    else:
        print(f"{events} events in {options.output}; open it in ui.perfetto.dev")
    return 0
