"""How often a real change is found, by ``ab`` and by ``compare``, and after how much.

The change is real work: a chain of 100 equal operators against one of 101, 102, 105 and 110,
which take 1, 2, 5 and 10 per cent longer. For ``ab``: how often SLOWER was said within the
default budget, and after how many pairs. For ``compare``: the same of two profiles of ten
processes each, taken one after the other. What is wrong is said too.

    python benchmarks/detection.py [--trials N] [--changes 2 5] [--seconds S]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import onnx
from operator_truth import chain, relu_like
from scipy import stats

import harness
from harness import comparison, interleaving, yardstick
from harness.comparison import Side, Verdict
from harness.config import ProfileConfig, SessionConfig
from harness.profiling import Observer

BASE = 100


def config(model: Path, output: Path, **more: object) -> ProfileConfig:
    return ProfileConfig(
        model=str(model),
        session=SessionConfig(intra_threads=1),
        trace=(),
        output=output,
        force=True,
        **more,
    )


def side(profile: harness.Profile) -> Side:
    return comparison.side(
        [process.steady.duration_ns for process in profile.processes],
        [np.exp(yardstick.speed(process.yardstick)) for process in profile.processes],
    )


def by_compare(base: Path, slower: Path, folder: Path) -> Verdict:
    """Two profiles of ten processes, one after the other."""
    sides = [
        side(harness.profile(config(model, folder / "one.h5", processes=10, duration_s=0.3)))
        for model in (base, slower)
    ]
    return comparison.compare(*sides, same_occasion=False).verdict


def by_ab(base: Path, slower: Path, folder: Path, seconds: float, seed: int):
    """Pairs until it is decided or the budget is spent."""
    return interleaving.ab(
        config(base, folder / "a.h5", duration_s=0.1),
        config(slower, folder / "b.h5", duration_s=0.1),
        margin=0.01,
        budget_s=seconds,
        seed=seed,
        observer=Observer(),
        on_pair=lambda _: None,
    ).decision


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--changes", type=int, nargs="+", default=[1, 2, 5, 10])
    parser.add_argument("--seconds", type=float, default=120)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        models = {}
        for change in (0, *options.changes):
            models[change] = folder / f"chain-{change}.onnx"
            onnx.save(chain(relu_like("Sigmoid"), (1, 1024), BASE + change), models[change])
        for change in options.changes:
            found = []
            for trial in range(options.trials):
                decision = by_ab(models[0], models[change], folder, options.seconds, trial)
                found.append(decision)
                told = f"{decision.verdict} after {decision.pairs} pairs"
                print(f"  {change} % trial {trial}: {told}, ratio {decision.ratio:.4f}", flush=True)
            report(f"ab, {change} %", [one.verdict for one in found])
            pairs = [one.pairs for one in found if one.verdict is Verdict.SLOWER]
            if pairs:
                print(f"  found after {np.median(pairs):.0f} pairs (median), at most {max(pairs)}")
            verdicts = [
                by_compare(models[0], models[change], folder)
                for _ in range(max(options.trials // 4, 1))
            ]
            report(f"compare, {change} %", verdicts)


def report(what: str, verdicts: list[Verdict]) -> None:
    found = verdicts.count(Verdict.SLOWER)
    exact = stats.binomtest(found, len(verdicts)).proportion_ci()
    counts = {str(name): verdicts.count(name) for name in dict.fromkeys(verdicts)}
    rate = f"{found} of {len(verdicts)} ({exact.low:.0%} to {exact.high:.0%})"
    print(f"{what}: found {rate} {counts}", flush=True)


if __name__ == "__main__":
    main()
