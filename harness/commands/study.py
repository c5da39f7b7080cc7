"""Join many profiles of several machines: which device for what, and which claims hold.

Takes files and folders, of sweeps too; a plan (TOML) is measured first, into a folder of its name,
as 'harness sweep' does, and goes on where it was cut off. Tells with intervals: speed-ups, the
batch at which the faster device changes, the knee over threads, instances, energy, cost, variants
and runtimes. Claims in TOML are judged: holds, fails, or cannot tell from these data.
docs/STUDY.md describes the files.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from harness.errors import RequestError
from harness.options import declare
from harness.reporters.visible import visible


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of ``harness study``."""
    parser.add_argument(
        "results",
        type=Path,
        nargs="+",
        metavar="RESULTS",
        help="profiles, folders of them, or a plan",
    )
    declare(parser, "study")


def execute(options: argparse.Namespace) -> int:
    """Reads the profiles, judges the claims, prints and writes what was asked for."""
    from harness.reporters.html import study as page
    from harness.reporters.scripts.study import study_csv, study_text
    from harness.reporters.terminal.study import print_study
    from harness.storage.files import new_file, refuse_existing
    from harness.study.claims import read_claims
    from harness.study.figures import study
    from harness.study.joining import join
    from harness.study.judging import judged
    from harness.study.prices import read_prices

    outputs = [path for path in (options.output, options.csv) if path is not None]
    if len({path.resolve() for path in outputs}) < len(outputs):
        raise RequestError(f"{outputs[0]}: two outputs have the same file name", "name another")
    for path in outputs:  # before the profiles are read, which may take long
        refuse_existing(path, force=options.force)
    texts = [read_claims(path) for path in options.claims]
    prices = None if options.prices is None else read_prices(options.prices)
    names = _names(options.machine)
    results, code = [], 0
    for one in options.results:
        if one.suffix == ".toml":
            folder, failed = _measured(one, quiet=options.json)
            results.append(folder)
            code = code or failed
        else:
            results.append(one)
    joined = join(results, names)
    found = study(joined, prices)
    verdicts = judged(texts, found)
    if options.csv is not None:
        with new_file(options.csv, force=options.force) as path:
            path.write_text(study_csv(found), encoding="utf-8")
    if options.output is not None:
        with new_file(options.output, force=options.force) as path:
            page.write(found, verdicts, path)
    if options.json:
        print(study_text(found, verdicts))
    else:
        print_study(found, verdicts)
        for path in outputs:
            print(visible(f"written: {path}"))
    return code


def _measured(plan: Path, *, quiet: bool) -> tuple[Path, int]:
    """Measures a plan; returns the folder of its profiles, and the exit code of its first failure.

    Raises:
        RequestError: its name makes no folder; or as a sweep.
    """
    if not plan.stem.strip("."):
        raise RequestError(f"{plan}: its name without .toml is no folder's", "give it another name")
    from harness.commands.sweep_progress import SweepProgress
    from harness.options import words
    from harness.study.sweeps.cells import cells_of
    from harness.study.sweeps.plan import read_plan
    from harness.study.sweeps.sweep import sweep

    found, folder = read_plan(plan, words(), [], {}), Path(plan.stem)
    with SweepProgress(len(cells_of(found)), quiet=quiet) as progress:
        states = sweep(found, folder, progress)
    codes = [1 if one.failure is None else one.failure.exit_code for one in states
             if one.status == "failed"]  # fmt: skip
    return folder, next(iter(codes), 0)


def _names(given: list[str]) -> dict[str, Path]:
    """Names of machines with their folders.

    Raises:
        RequestError: one has no folder, or a name is given twice.
    """
    found: dict[str, Path] = {}
    for one in given:
        name, equals, folder = one.partition("=")
        if not equals or not name.strip() or not folder:
            raise RequestError(f"`machine` {one}: is not NAME=FOLDER", "give a name and a folder")
        if name in found:
            raise RequestError(f"`machine` {name}: is given twice", "give one folder a name")
        found[name] = Path(folder)
    return found
