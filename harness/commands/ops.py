"""Where the time goes: one row a node, or a row an op type, longest first."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of ``harness ops``."""
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument(
        "--by", choices=("node", "op"), default="node", help="row of the table (default: node)"
    )
    parser.add_argument(
        "--sort",
        choices=("time", "total", "calls", "order", "name"),
        default="time",
        help="time: own time; total: with subgraphs; order: of execution (default: time)",
    )
    parser.add_argument(
        "--limit", type=int, default=20, metavar="N", help="rows, 0 for all (default: 20)"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON object, all rows")
    form.add_argument("--csv", action="store_true", help="print CSV, all rows")


def execute(options: argparse.Namespace) -> int:
    """Reads the profile and prints its operators."""
    from harness.reporters import json, table
    from harness.storage import read_profile

    profile = read_profile(options.file)
    if options.json:
        print(json.operators_text(profile, options.by, options.sort))
    elif options.csv:
        print(table.operators_csv(profile, options.by, options.sort), end="")
    else:
        table.print_operators(profile, options.by, options.sort, options.limit)
    return 0
