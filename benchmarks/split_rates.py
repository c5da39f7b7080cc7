"""How often the check of the split between nodes is wrong, and how often it finds an error.

Simulated profiles of a chain of 40 nodes (``tests.builders.divided``): sessions that differ in
their layout, inferences with a heavy tail that wait for a CPU now and then, probes that cost less
where there are fewer. In some of them time is moved from one node to the next.

    python benchmarks/split_rates.py [--profiles N]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from harness.analysis.operators.split import split_of
from tests.builders.divided import divided

#: Time that is moved, as a share of the shorter of the two stretches that it changes.
MOVED = (0.0, 0.06, 0.1, 0.2, 0.4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profiles", type=int, default=300)
    options = parser.parse_args()
    print(
        "profiles in which a stretch is doubtful: none moved (wrongly, anywhere), or moved (found)"
    )
    print(f"{'processes':>9} {'inferences':>10}  " + "".join(f"{share:>7.0%}" for share in MOVED))
    for processes, inferences in ((1, 100), (2, 100), (4, 12), (4, 100), (10, 12), (10, 100)):
        rates = [rate(options.profiles, processes, inferences, share) for share in MOVED]
        print(f"{processes:9} {inferences:10}  " + "".join(f"{one:7.1%}" for one in rates))


def rate(profiles: int, processes: int, inferences: int, moved: float) -> float:
    """Share of the profiles in which a stretch is doubtful, where moved one of those planted."""
    random = np.random.default_rng(0)
    found = 0
    for number in range(profiles):
        at = 20 + number % 2  # in one stretch of the even half, or at the end of one
        split = split_of(divided(random, 40, processes, inferences, moved, at))
        assert split is not None
        rows = {row for one in split.stretches if one.doubtful for row in one.rows}
        found += bool(rows & {at, at + 1} if moved else rows)
    return found / profiles


if __name__ == "__main__":
    main()
