"""What ``ab`` decides about simulated pairs whose truth is known.

Equal configurations must not be called different, however the differences scatter; a difference
of one standard deviation should be found within 20 or 30 pairs. The order within each pair is
random.

    python benchmarks/simulated_pairs.py [--series N]
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

import numpy as np

from harness.statistics.pairs import decide
from harness.statistics.verdicts import Verdict

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


if __name__ == "__main__":
    main()
