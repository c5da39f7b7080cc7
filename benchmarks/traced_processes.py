"""How many processes must time operators for ``compare`` to find one that changed.

Two profiles of a model of 60 operators from separate occasions, simulated: of each operator, every
traced process sees the true time with the scatter of the row, and every occasion adds 0.7 %
(``OPERATOR_OCCASION_SD`` says where that was measured). One operator of the second profile takes
longer. Printed: how often ``compare`` says so, with Holm over all 60, and how often it says so of
another one. Last, the half width of an operator's interval with that scatter.

    python benchmarks/traced_processes.py [--profiles N]
"""

from __future__ import annotations

import argparse
import math

import numpy as np

from harness.statistics import verdicts
from harness.statistics.intervals import t_interval
from harness.statistics.occasions import OPERATOR_OCCASION_SD
from harness.statistics.verdicts import DECIDED, Side, Verdict

OPERATORS = 60
OCCASION_SD = 0.007
SCATTERS = (0.005, 0.01, 0.02)
PROCESSES = (3, 4, 5, 10)
CHANGES = (0.05, 0.08, 0.12, 0.2)


def side(random: np.random.Generator, processes: int, scatter: float, change: float) -> Side:
    """One operator on one occasion, next to a yardstick that saw nothing."""
    logs = math.log1p(change) + random.normal(0, OCCASION_SD)
    yardstick = random.normal(0, 0.0005, (processes, 3))
    return Side(logs + random.normal(0, scatter, processes), yardstick)


def called(
    random: np.random.Generator, processes: int, scatter: float, change: float
) -> list[bool]:
    """Of each operator, whether the verdict is FASTER or SLOWER; only the first one changed."""
    found = {
        str(number): verdicts.compare(
            side(random, processes, scatter, 0.0),
            side(random, processes, scatter, 0.0 if number else change),
            same_occasion=False,
            occasion_sd=OPERATOR_OCCASION_SD,
        )
        for number in range(OPERATORS)
    }
    return [
        one.verdict in DECIDED and one.verdict is not Verdict.SAME
        for one in verdicts.with_holm(found).values()
    ]


def main() -> None:
    """Prints a row per scatter and number of processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profiles", type=int, default=50)
    profiles = parser.parse_args().profiles
    random = np.random.default_rng(0)
    changes = " | ".join(f"+{change:.0%} found" for change in CHANGES)
    print(f"| scatter | processes | {changes} | another called | half width |")
    for scatter in SCATTERS:
        for processes in PROCESSES:
            shares, others = [], 0
            for change in CHANGES:
                trials = [called(random, processes, scatter, change) for _ in range(profiles)]
                shares.append(f"{np.mean([trial[0] for trial in trials]):.0%}")
                others += sum(any(trial[1:]) for trial in trials)
            widths = []
            for _ in range(1000):
                interval = t_interval(np.exp(random.normal(0, scatter, processes)))
                assert interval is not None
                widths.append((interval[1] - interval[0]) / 2)
            print(
                f"| {scatter:.1%} | {processes} | {' | '.join(shares)} "
                f"| {others / (profiles * len(CHANGES)):.1%} | ±{np.median(widths):.1%} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
