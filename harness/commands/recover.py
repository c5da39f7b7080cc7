"""Make a readable profile from the partial folder that an interrupted run left behind."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from harness.options import declare, worded


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of ``harness recover``."""
    parser.add_argument("partial", type=Path, metavar="PARTIAL", help=".NAME.h5.partial folder")
    declare(parser, "recover")


def execute(options: argparse.Namespace) -> int:
    """Recovers and says what was found."""
    from harness.reporters.terminal.lines import Page
    from harness.storage.profile_file import read_profile, recover

    target = recover(options.partial, options.output, options.force)
    profile = read_profile(target)
    if options.json:
        report = {
            "file": str(target),
            "complete": profile.complete,
            "processes": len(profile.processes),
            "absent": [{"what": what, "reason": worded(reason)} for what, reason in profile.absent],
        }
        print(json.dumps(report))
    else:
        state = "complete" if profile.complete else "incomplete"
        page = Page()
        page.print(f"{len(profile.processes)} finished processes in {target} ({state})")
        for what, reason in profile.absent:
            page.paragraph(f"absent: {what}: {worded(reason)}")
    return 0
