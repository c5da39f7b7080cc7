"""Write profiles as one self-contained web page, which loads nothing from elsewhere.

Several profiles are shown side by side, each compared with the first one.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from harness.commands.occasions import other_occasions
from harness.options import declare
from harness.reporters.visible import visible


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of ``harness report``."""
    parser.add_argument(
        "files", type=Path, nargs="+", metavar="FILE", help="profiles; the first is the baseline"
    )
    declare(parser, "report")


def execute(options: argparse.Namespace) -> int:
    """Reads the profiles and writes the page."""
    from harness.analysis.comparing.profiles import compare_profiles
    from harness.reporters import html
    from harness.storage.files import new_file
    from harness.storage.profile_file import read_profile

    with new_file(options.output, force=options.force) as path:
        profiles = [read_profile(file) for file in options.files]
        history = other_occasions(profiles) if len(profiles) > 1 else ()
        compared = compare_profiles(profiles[0], profiles[1:], history=history).candidates
        size_bytes = html.write(profiles, path, compared)
    if options.json:
        print(json.dumps({"file": str(options.output), "bytes": size_bytes}))
    else:
        print(visible(f"{size_bytes / 1e3:,.0f} kB in {options.output}; open it in a browser"))
    return 0
