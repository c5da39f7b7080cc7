"""Write all passes of a profile as one trace on a single time axis, for ui.perfetto.dev.

The name of OUT sets the format: Perfetto's own if it ends in .pftrace or .perfetto-trace,
otherwise Chrome's JSON; compressed if .gz follows.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from harness.options import declare
from harness.reporters.visible import visible

#: File name endings of Perfetto's own format, before .gz.
_PERFETTO = (".pftrace", ".perfetto-trace", ".perfetto")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of ``harness trace``."""
    parser.add_argument("file", type=Path, metavar="FILE")
    declare(parser, "trace")


def execute(options: argparse.Namespace) -> int:
    """Reads the profile and writes its trace."""
    from harness.reporters import traces
    from harness.storage.files import new_file
    from harness.storage.profile_file import read_profile

    form = options.format
    if form is None:
        stem = options.output.name.removesuffix(".gz")
        form = "perfetto" if stem.endswith(_PERFETTO) else "chrome"
    with new_file(options.output, force=options.force) as path:
        profile = read_profile(options.file)
        events = traces.write(profile, path, form)
    if options.json:
        print(json.dumps({"file": str(options.output), "format": form, "events": events}))
    else:
        print(visible(f"{events} events in {options.output}; open it in ui.perfetto.dev"))
    return 0
