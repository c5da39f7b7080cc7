"""Show where the time goes: one row per node, op type, layer or GPU kernel, longest first.

Times come from the probes if recorded, otherwise from ORT's profiler.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from harness.errors import RequestError
from harness.options import TABLE_ROWS, declare


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of ``harness ops``."""
    parser.add_argument("file", type=Path, metavar="FILE")
    declare(parser, "ops")


def execute(options: argparse.Namespace) -> int:
    """Reads the profile and prints its operators."""
    from harness.analysis.kernel_ceilings import judged_kernels
    from harness.analysis.operators.table import operator_table
    from harness.reporters.scripts.profile import kernels_text, operators_text
    from harness.reporters.scripts.tables import kernels_csv, operators_csv
    from harness.reporters.terminal.operators import print_kernels, print_operators
    from harness.storage.profile_file import read_profile

    for name in ("limit", "depth"):
        if (getattr(options, name) or 0) < 0:
            raise RequestError(f"`{name}` must not be negative", f"give `{name}` N, 0 for all")
    profile = read_profile(options.file)
    # Scripts get all rows unless they ask for fewer.
    rows = options.limit or None
    shown = TABLE_ROWS if options.limit is None else options.limit
    if options.by == "kernel":
        kernels = judged_kernels(profile)
        if options.json:
            print(kernels_text(kernels, rows))
        elif options.csv:
            print(kernels_csv(kernels, rows), end="")
        else:
            print_kernels(kernels, shown)
        return 0
    operators = operator_table(
        profile, options.by, options.sort, source=options.source, depth=options.depth
    )
    if options.json:
        print(operators_text(operators, rows))
    elif options.csv:
        print(operators_csv(operators, rows), end="")
    else:
        print_operators(operators, shown, passes=options.passes, work=options.roofline)
    return 0
