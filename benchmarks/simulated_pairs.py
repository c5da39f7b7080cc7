"""What ``ab`` decides about simulated pairs whose truth is known.

Equal configurations must not be called different, however the differences scatter; a difference
of one standard deviation should be found within 20 or 30 pairs. The order within each pair is
random.

Then operators, which a few of the pairs time: how often one of 60 that takes longer is found by
pairs, and as two groups of processes, on machines that walk from pair to pair and a third as much
within a pair. And states: what is said where some processes of one side alone are slower, and how
often it is said that the sides scatter differently.

    python benchmarks/simulated_pairs.py [--series N]
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

import numpy as np

from harness.statistics.paired import compare_paired, scatter_ratio
from harness.statistics.pairs import decide
from harness.statistics.verdicts import Side, Verdict, compare

PAIRS = 60

#: So narrow that nothing is called the same.
MARGIN = 1e-9

Series = Callable[[np.random.Generator, int], np.ndarray]


def normal(random: np.random.Generator, count: int) -> np.ndarray:
    return random.normal(0, 0.01, count)


def cauchy(random: np.random.Generator, count: int) -> np.ndarray:
    return 0.01 * random.standard_cauchy(count)


def walk(random: np.random.Generator, count: int) -> np.ndarray:
    """A machine that walks from process to process; the coin says which one came first."""
    machine = np.cumsum(random.normal(0, 0.01, 2 * count))
    return (machine[1::2] - machine[::2]) * random.choice([-1, 1], count)


def noisy(random: np.random.Generator, count: int) -> np.ndarray:
    """One pair in ten is eight times as noisy."""
    return random.normal(0, 0.01, count) * np.where(random.random(count) < 0.1, 8, 1)


def different(made: Series, shift: float, pairs: int, series: int) -> float:
    """Share of the series in which the configurations are called different."""
    random = np.random.default_rng(0)
    said = [decide(made(random, pairs) + shift, margin=MARGIN).verdict for _ in range(series)]
    return sum(verdict in (Verdict.FASTER, Verdict.SLOWER) for verdict in said) / series


OPERATORS, SCATTER = 60, 0.01


def of_operators(drift: float, pairs: int, change: float, series: int) -> tuple[float, float]:
    """Share of the series in which an operator is found, by pairs and as two groups.

    A change of zero is none: then the share of wrong verdicts without Holm's correction.
    """
    random = np.random.default_rng(2)
    level = 0.05 / (OPERATORS if change else 1)
    found = [0, 0]
    for _ in range(series):
        machine = np.cumsum(random.normal(0, drift, pairs)) + random.normal(
            0, drift / 3, (2, pairs)
        )
        sides = machine + random.normal(0, SCATTER, (2, pairs))
        sides[1] += np.log1p(change)
        for number, told in enumerate(
            (
                compare_paired(sides[1] - sides[0]),
                compare(Side(sides[0]), Side(sides[1]), same_occasion=True),
            )
        ):
            found[number] += told.p_value is not None and told.p_value <= level
    return found[0] / series, found[1] / series


def print_operators(series: int) -> None:
    changes = (0.0, 0.03, 0.05, 0.08, 0.12)
    heads = " | ".join("equal, wrong" if not one else f"+{one:.0%} found" for one in changes)
    print(f"| walk | pairs | {heads} |  (by pairs, as two groups)")
    for drift in (0.0, 0.01, 0.03, 0.1):
        for pairs in (4, 5, 7):
            cells = [of_operators(drift, pairs, one, series) for one in changes]
            told = " | ".join(f"{one:.0%}, {other:.0%}" for one, other in cells)
            print(f"| {drift:.0%} | {pairs} | {told} |", flush=True)


def print_states(series: int) -> None:
    """A state of the second side alone: verdicts after 40 pairs, and what stands beside them."""
    print("| state | SLOWER | SAME | SAME that names the mean | sides scatter differently |")
    for share, step in ((0.0, 0.0), (0.1, 0.5), (0.25, 0.08), (0.5, 0.08)):
        random = np.random.default_rng(3)
        slower = same = named = noticed = 0
        for _ in range(series):
            one, other = random.normal(0, 0.008, (2, 40))
            other += np.log1p(step) * (random.random(40) < share)
            pairs = 12
            while (told := decide((other - one)[:pairs], margin=0.01, budget=40)).go_on:
                pairs += 1
            slower += told.verdict is Verdict.SLOWER
            same += told.verdict is Verdict.SAME
            named += told.verdict is Verdict.SAME and "mean ratio" in told.reason
            noticed += scatter_ratio(one[:pairs], other[:pairs])[1] <= 0.05
        rates = " | ".join(f"{one / series:.0%}" for one in (slower, same, named, noticed))
        print(f"| {share:.0%} of the processes +{step:.0%} | {rates} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--series", type=int, default=500)
    series = parser.parse_args().series
    for made in (normal, cauchy, walk):
        rate = different(made, 0.0, PAIRS, series)
        error = math.sqrt(rate * (1 - rate) / series)
        print(f"equal, {made.__name__}: {rate:.1%} ± {error:.1%} called different", flush=True)
    for made in (normal, noisy):
        rates = [f"{different(made, 0.01, pairs, series):.0%} in {pairs}" for pairs in (20, 30)]
        print(f"one deviation apart, {made.__name__}: found {', '.join(rates)} pairs", flush=True)
    print_operators(series)
    print_states(max(series // 5, 1))


if __name__ == "__main__":
    main()
