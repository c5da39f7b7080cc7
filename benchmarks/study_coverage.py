"""How often a study's interval holds the truth, and how often it names a winner of two equals.

    python benchmarks/study_coverage.py [--repeats N]

Latencies are drawn: of some occasions, which differ by a normal deviation of their logarithm, and
of five processes each, which scatter by 3 %. What is assumed between single occasions is 7 %
(``statistics/occasions.py``): where the machine differs by more, only several occasions tell.

Then the same of two cells of a sweep: among so many that are measured in rounds, on a machine that
drifts, and is slowed by a fifth half-way.
"""

from __future__ import annotations

import argparse
import dataclasses

import numpy as np

from harness.statistics.verdicts import Side
from harness.study.ratios import LATENCY, figure, ratio, winner
from harness.study.rows import Row, Turns
from tests.builders.study_rows import row

#: What occasions differ by, and how many there are of each side.
DEVIATIONS = (0.0, 0.02, 0.07, 0.14)
OCCASIONS = (1, 2, 3, 5, 10)

_PROCESSES = 5
_SCATTER = 0.03


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=400)
    repeats = parser.parse_args().repeats
    random = np.random.default_rng(1)
    for deviation in DEVIATIONS:
        for count in OCCASIONS:
            held, widths, false = 0, 0.0, 0
            for _ in range(repeats):
                low, high = figure(drawn(random, deviation, count), LATENCY).interval or (0, 0)
                held += low < 1e6 < high
                widths += np.log(high / low) / 2
                sides = [drawn(random, deviation, count) for _ in range(2)]
                false += winner(ratio(*sides, LATENCY)) != 0
            print(
                f"occasions differ by {deviation:.0%}, {count} of each side: "
                f"held {held / repeats:.1%}, half width {widths / repeats:.1%}, "
                f"false winners {false / repeats:.1%}"
            )
    for deviation in DEVIATIONS:
        for cells, rounds in ((2, 5), (96, 5), (96, 10)):
            held, widths, false = 0, 0.0, 0
            for _ in range(repeats):
                one, other = of_a_sweep(random, deviation, cells, rounds)
                found = ratio([one], [other], LATENCY)
                low, high = found.interval or (0, 0)
                held += low < 1 < high
                widths += np.log(high / low) / 2
                false += winner(found) != 0
            print(
                f"{cells} cells in {rounds} rounds, in each of which the machine wanders by "
                f"{deviation:.0%}: held {held / repeats:.1%}, half width {widths / repeats:.1%}, "
                f"false winners {false / repeats:.1%}"
            )


def drawn(random: np.random.Generator, deviation: float, count: int) -> list[Row]:
    """So many profiles of a setting whose latency is 1 ms."""
    base = row(1.0)
    found = []
    for number in range(count):
        logs = np.log(1e6) + random.normal(0, deviation)
        logs = logs + random.normal(0, _SCATTER, _PROCESSES)
        sides = {"latency_ns": Side(logs)}
        found.append(dataclasses.replace(base, sides=sides, copy_of=(number, float(logs[0]))))
    return found


def of_a_sweep(
    random: np.random.Generator, deviation: float, cells: int, rounds: int
) -> tuple[Row, Row]:
    """Two of the cells of a sweep whose latency is 1 ms, in rounds whose order is random.

    The machine wanders by the deviation in the course of a round, and is slower by a fifth from the
    middle on.
    """
    length = cells * rounds
    machine = np.cumsum(random.normal(0, deviation / np.sqrt(cells), length))
    machine[length // 2 :] += np.log(1.2)
    logs: tuple[list[float], list[float]] = ([], [])
    starts: tuple[list[int], list[int]] = ([], [])
    for current in range(rounds):
        for side, place in enumerate(random.permutation(cells)[:2]):
            at = current * cells + int(place)
            logs[side].append(np.log(1e6) + machine[at] + random.normal(0, _SCATTER))
            starts[side].append(at)
    one, other = (
        dataclasses.replace(
            row(1.0),
            sides={"latency_ns": Side(np.array(of))},
            copy_of=(of[0],),
            turns=Turns(clock="boot", start_ns=dict(enumerate(at))),
        )
        for of, at in zip(logs, starts, strict=True)
    )
    return one, other


if __name__ == "__main__":
    main()
