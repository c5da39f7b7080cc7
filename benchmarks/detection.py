"""How often a real change is found, by ``compare`` and by ``ab``, and after how much.

The change is real work: a chain of 100 equal operators against one of 101, 102, 105 and 110.
``compare`` judges the profiles that ``false_alarms.py collect`` took on separate occasions,
each of the base against each of a longer chain. ``ab`` measures: how often it says SLOWER
within the budget, and after how many pairs. Wrong verdicts are reported too. Before that, each
chain is timed in turns with the base in one process, so that the true ratio is known.

    python benchmarks/detection.py compare FOLDER
    python benchmarks/detection.py ab [--trials N] [--changes 2 5] [--seconds S]
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
from pathlib import Path

import false_alarms
import numpy as np
import planted
from scipy import stats

from harness.commands.ab import DURATION_S
from harness.config.profile import ProfileConfig
from harness.config.session import SessionConfig
from harness.measuring.observer import Observer
from harness.measuring.pairs import ab as measured_in_pairs
from harness.native import ort
from harness.options import AB_BUDGET_S, MARGIN_PERCENT
from harness.ort.library import ort_library
from harness.ort.session import bind, open_session
from harness.statistics.verdicts import Verdict

OPENINGS, ROUNDS = 8, 30


def true_ratio(base: Path, slower: Path) -> float:
    """Median over sessions of the median ratio of neighbouring blocks of inferences of the two."""
    library = ort.Library(str(ort_library()))
    config = SessionConfig(intra_threads=1)
    values = {"t0": np.zeros((1, 1024), np.float32)}
    start, duration = np.zeros(100, np.int64), np.zeros(100, np.int64)

    def block(binding: ort.Binding) -> float:
        binding.time(start, duration)
        return float(np.median(duration))

    ratios = []
    for _ in range(OPENINGS):
        with contextlib.ExitStack() as stack:
            one, other = (
                stack.enter_context(
                    contextlib.closing(bind(open_session(library, path, config), values))
                )
                for path in (base, slower)
            )
            ratios.append(np.median([block(other) / block(one) for _ in range(ROUNDS)]))
    return float(np.median(ratios))


def compare(folder: Path) -> None:
    """Each profile of the base against each with a planted change, by each way."""
    found = false_alarms.read(folder)
    base = found[planted.name_of(0)]
    counts = ", ".join(f"{len(found[planted.name_of(c)])} of +{c} %" for c in planted.CHANGES)
    print(f"profiles: {counts}")
    heads = " ".join(f"{f'{c} %: found, wrong':>20}" for c in planted.CHANGES[1:])
    print(f"{'way':26} {heads}")
    for way, judged in false_alarms.WAYS.items():
        cells = []
        for change in planted.CHANGES[1:]:
            verdicts = [
                judged(one, other) for one in base for other in found[planted.name_of(change)]
            ]
            rates = [
                sum(v is wanted for v in verdicts) / max(len(verdicts), 1)
                for wanted in (Verdict.SLOWER, Verdict.FASTER)
            ]
            cells.append(f"{rates[0]:12.0%} {rates[1]:7.1%}")
        print(f"{way:26} {' '.join(cells)}")


def ab(trials: int, changes: list[int], seconds: float) -> None:
    """The given number of trials, each of pairs until it decides or the budget is spent."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        models = {change: planted.write(folder, change) for change in (0, *changes)}
        for change in changes:
            ratio = true_ratio(models[0], models[change])
            print(f"+{change} %: true ratio {ratio:.4f}", flush=True)
            found = []
            for trial in range(trials):
                outcome = measured_in_pairs(
                    config(models[0], folder / "a.h5"),
                    config(models[change], folder / "b.h5"),
                    margin=MARGIN_PERCENT / 100,
                    budget_s=seconds,
                    seed=trial,
                    observer=Observer(),
                    on_pair=lambda _: None,
                )
                decision = outcome.decision
                found.append(decision)
                told = f"{decision.verdict} after {decision.pairs} pairs ({outcome.ended_by})"
                low, high = decision.interval or (np.nan, np.nan)
                interval = f"ratio {decision.ratio:.4f}, {low:.4f} to {high:.4f}"
                print(f"  trial {trial}: {told}, {interval}", flush=True)
            report(f"ab, {change} %", [one.verdict for one in found])
            pairs = [one.pairs for one in found if one.verdict is Verdict.SLOWER]
            if pairs:
                print(f"  found after {np.median(pairs):.0f} pairs (median), at most {max(pairs)}")


def config(model: Path, output: Path) -> ProfileConfig:
    return ProfileConfig(
        model=str(model),
        session=SessionConfig(intra_threads=1),
        duration_s=DURATION_S,
        trace=(),
        output=output,
        force=True,
    )


def report(what: str, verdicts: list[Verdict]) -> None:
    found = verdicts.count(Verdict.SLOWER)
    exact = stats.binomtest(found, len(verdicts)).proportion_ci()
    counts = {str(name): verdicts.count(name) for name in dict.fromkeys(verdicts)}
    rate = f"{found} of {len(verdicts)} ({exact.low:.0%} to {exact.high:.0%})"
    print(f"{what}: found {rate} {counts}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    comparing = commands.add_parser("compare")
    comparing.add_argument("folder", type=Path)
    pairs = commands.add_parser("ab")
    pairs.add_argument("--trials", type=int, default=20)
    pairs.add_argument("--changes", type=int, nargs="+", default=list(planted.CHANGES[1:]))
    pairs.add_argument("--seconds", type=float, default=AB_BUDGET_S)
    options = parser.parse_args()
    if options.command == "compare":
        compare(options.folder)
    else:
        ab(options.trials, options.changes, options.seconds)


if __name__ == "__main__":
    main()
