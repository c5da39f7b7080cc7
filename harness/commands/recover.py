"""Make a readable profile of the partial folder that an interrupted one left."""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of ``harness recover``."""
    parser.add_argument("partial", type=Path, metavar="PARTIAL", help=".NAME.h5.partial folder")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="file to write (default: NAME.h5 beside PARTIAL)",
    )
    parser.add_argument("--force", action="store_true", help="overwrite an existing output")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def execute(options: argparse.Namespace) -> int:
    """Recovers and says what was found."""
    from harness.reporters.visible import visible
    from harness.storage.profile_file import read_profile, recover

    target = recover(options.partial, options.output, options.force)
    profile = read_profile(target)
    if options.json:
        report = {
            "file": str(target),
            "complete": profile.complete,
            "processes": len(profile.processes),
            "absent": [{"what": what, "reason": reason} for what, reason in profile.absent],
        }
        print(json.dumps(report))
    else:
        state = "complete" if profile.complete else "incomplete"
        print(visible(f"{len(profile.processes)} finished processes in {target} ({state})"))
        for what, reason in profile.absent:
            print(visible(f"absent: {what}: {reason}"))
    return 0
