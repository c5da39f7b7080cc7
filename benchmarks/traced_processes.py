"""How many processes must time operators for ``compare`` to find one that changed.

An operator of two profiles from separate occasions, simulated: every traced process sees the true
time with the scatter of the row, and every occasion adds 0.7 % (``OPERATOR_OCCASION_SD`` says where
that was measured). In the second profile it takes longer. Printed: how often ``compare`` says so if
59 other operators are judged with it; and the half width of an interval with that scatter.

    python benchmarks/traced_processes.py [--profiles N]
"""

from __future__ import annotations

import argparse
import math

import numpy as np

from harness.statistics import verdicts
from harness.statistics.figures import CONFIDENCE
from harness.statistics.intervals import t_interval
from harness.statistics.occasions import OPERATOR_OCCASION_SD
from harness.statistics.verdicts import DECIDED, Side

OPERATORS = 60
OCCASION_SD = 0.007
SCATTERS = (0.005, 0.01, 0.02)
PROCESSES = (3, 4, 5, 10)
CHANGES = (0.0, 0.05, 0.08, 0.12, 0.2)


def side(random: np.random.Generator, processes: int, scatter: float, change: float) -> Side:
    """One operator on one occasion, next to a yardstick that saw nothing."""
    logs = math.log1p(change) + random.normal(0, OCCASION_SD)
    yardstick = random.normal(0, 0.0005, (processes, 3))
    return Side(logs + random.normal(0, scatter, processes), yardstick)


def called(random: np.random.Generator, processes: int, scatter: float, change: float) -> bool:
    """Whether the verdict on an operator that changed is FASTER or SLOWER."""
    found = verdicts.compare(
        side(random, processes, scatter, 0.0),
        side(random, processes, scatter, change),
        same_occasion=False,
        occasion_sd=OPERATOR_OCCASION_SD,
    )
    assert found.p_value is not None
    # The smallest of so many p-values has to pass the first step of Holm.
    return found.verdict in DECIDED and found.p_value * OPERATORS < 1 - CONFIDENCE


def main() -> None:
    """Prints a row per scatter and number of processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profiles", type=int, default=300)
    profiles = parser.parse_args().profiles
    random = np.random.default_rng(0)
    changes = " | ".join(f"+{change:.0%} found" for change in CHANGES)
    print(f"| scatter | processes | {changes} | half width |")
    for scatter in SCATTERS:
        for processes in PROCESSES:
            shares = [
                f"{np.mean([called(random, processes, scatter, one) for _ in range(profiles)]):.0%}"
                for one in CHANGES
            ]
            widths = []
            for _ in range(1000):
                interval = t_interval(np.exp(random.normal(0, scatter, processes)))
                assert interval is not None
                widths.append((interval[1] - interval[0]) / 2)
            found = " | ".join(shares)
            print(
                f"| {scatter:.1%} | {processes} | {found} | ±{np.median(widths):.1%} |", flush=True
            )


if __name__ == "__main__":
    main()
