"""``python -m tests.fuzz READER ...``: tries inputs until time or count is used up.

Prints the inputs tried, how many passed the reader's first check ("depth"), and the failures by
kind; leaves a folder with the smallest input found for each. Exit 1 when there are failures.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from pathlib import Path

# Before numpy is imported: threads of its own would not survive the forks.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

READERS = {
    "hdf5": "profile_files",
    "shards": "partial_folders",
    "onnx": "model_files",
    "onnx-command": "model_command",
    "ort-json": "ort_profiles",
    "inputs": "input_files",
    "command-line": "command_lines",
}


#: Inputs of each in a run that the test suite has time for.
SHORT = {
    "hdf5": 10,
    "shards": 8,
    "onnx": 16,
    "onnx-command": 0,
    "ort-json": 16,
    "inputs": 40,
    "command-line": 16,
}


def main() -> int:
    """Fuzzes the readers that are named, one after the other."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("readers", nargs="+", choices=(*READERS, "all"), metavar="READER")
    parser.add_argument("--minutes", type=float, help="for each reader (default: no limit)")
    parser.add_argument("--count", type=int, help="inputs in each reader's whole run")
    parser.add_argument("--short", action="store_true", help="a few inputs, no reproducers")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--into", type=Path, default=Path("fuzz-found"), help="folder to make")
    where.add_argument("--resume", type=Path, help="folder of a run to go on with")
    options = parser.parse_args()
    if options.minutes is None and options.count is None and not options.short:
        parser.error("give --minutes, --count, or both; or --short")

    from tests.fuzz import engine

    failed = False
    for name in READERS if "all" in options.readers else options.readers:
        reader = importlib.import_module(f"tests.fuzz.{READERS[name]}")
        folder = (options.resume or options.into) / name
        tally = engine.Tally(options.seed)
        if (folder / "state.json").exists():
            if options.resume is None:
                parser.error(f"{folder} holds a run already: --resume {options.into}")
            tally = engine.load(folder)
        print(f"{name}: seed {tally.seed}, from input {tally.tried}", flush=True)
        tally = engine.run(
            reader,
            tally,
            folder,
            seconds=float("inf") if options.minutes is None else 60 * options.minutes,
            count=SHORT[name] if options.short else options.count,
            processes=options.processes,
            minimise=not options.short,
        )
        _report(name, tally)
        failed |= bool(tally.failures)
    return int(failed)


def _report(name: str, tally: object) -> None:
    from tests.fuzz.engine import Tally

    assert isinstance(tally, Tally)
    depth = tally.deep / tally.tried if tally.tried else 0.0
    failing = sum(each["count"] for each in tally.failures.values())
    print(
        f"{name}: {tally.tried} inputs in {tally.seconds:.0f} s, depth {depth:.0%}, "
        f"{failing} failing in {len(tally.failures)} kinds"
    )
    for each in sorted(tally.failures.values(), key=lambda one: (one["kind"], -one["count"])):
        print(f"  {each['count']:5} {each['kind']}: {each['where']}: {each['message']!r}")


if __name__ == "__main__":
    sys.exit(main())
