"""List the built-in reference models, or write one out as an ONNX file."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from harness.errors import RequestError
from harness.options import declare
from harness.reporters.visible import visible


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of ``harness models``."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="model to write; omit to list all")
    declare(parser, "models")


def execute(options: argparse.Namespace) -> int:
    """Lists or writes."""
    from harness.models.catalogue import REFERENCE_MODELS, serialised
    from harness.storage.files import new_file

    if options.name is None:
        if options.json:
            listed = [{"name": m.name, "summary": m.summary} for m in REFERENCE_MODELS.values()]
            print(json.dumps({"models": listed}))
        else:
            from harness.reporters.terminal.lines import Page

            Page().facts([(m.name, "", m.summary, "") for m in REFERENCE_MODELS.values()])
        return 0
    output = options.output or Path(f"{options.name}.onnx")
    if options.seed < 0:
        raise RequestError(f"`seed` {options.seed}: must not be negative", "give `seed` N, N >= 0")
    with new_file(output, force=options.force) as path:
        path.write_bytes(serialised(options.name, options.seed))
    if options.json:
        report = {"file": str(output), "size_bytes": output.stat().st_size}
        print(json.dumps(report))
    else:
        print(visible(str(output)))
    return 0
