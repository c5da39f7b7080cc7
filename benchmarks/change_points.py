"""How often ``harness history`` sees a change where there is none, and how soon a real one.

Simulated series of profiles whose truth is known, then recorded ones. A change is found if one is
reported within two points of where it is; all others are false. The step is looked for as it
would be by someone who runs ``history`` after every profile: when only the first three, four or
five points of the new level are there.

    python benchmarks/change_points.py [--series N] [FOLDER]

FOLDER holds occasions as JSON, one file each: ``rows``, a process each, with percentiles 0, 5,
10, 25, … of the durations of each model (``targets``, ``q``). Of each model the series is shown as
it is, and with the second half 5 % slower, by arithmetic.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from harness.statistics import hypotheses
from harness.statistics.change_points import change_points, depends, levels
from harness.statistics.intervals import typical

POINTS, DEVIATION = (30, 100), 0.01

#: How far from its place a change still counts as found.
NEAR = 2

#: Place of the lower quartile among the recorded percentiles.
QUARTILE = 3

Series = Callable[[np.random.Generator, int], np.ndarray]


def normal(random: np.random.Generator, count: int) -> np.ndarray:
    return random.normal(0, DEVIATION, count)


def heavy(random: np.random.Generator, count: int) -> np.ndarray:
    return DEVIATION * random.standard_t(2, count)


def outliers(random: np.random.Generator, count: int) -> np.ndarray:
    """One profile in twenty is a tenth slower."""
    return normal(random, count) + 0.1 * (random.random(count) < 0.05)


def states(random: np.random.Generator, count: int) -> np.ndarray:
    """One profile in five finds the machine in a state that is 5 % slower."""
    return normal(random, count) + 0.05 * (random.random(count) < 0.2)


def autoregression(lag: float) -> Series:
    def series(random: np.random.Generator, count: int) -> np.ndarray:
        values = random.normal(0, DEVIATION, count)
        for k in range(1, count):
            values[k] = lag * values[k - 1] + np.sqrt(1 - lag**2) * values[k]
        return values

    return series


def walk(random: np.random.Generator, count: int) -> np.ndarray:
    return np.cumsum(random.normal(0, DEVIATION, count))


#: Name, and a series without a change.
MACHINES: dict[str, Series] = {
    "independent, 1 %": normal,
    "independent, t(2)": heavy,
    "one in twenty +10 %": outliers,
    "one in five +5 %": states,
    "AR(.5)": autoregression(0.5),
    "AR(.9)": autoregression(0.9),
    "walk": walk,
}


def false_changes(made: Series, points: int, series: int) -> tuple[float, ...]:
    """(changes in a series, share of the series with any, share with a doubt) where there is none.

    The doubt is that of ``history``: neighbouring points resemble each other.
    """
    random = np.random.default_rng(0)
    counts, doubts = [], []
    for _ in range(series):
        values = made(random, points)
        places = [one.at for one in change_points(values)]
        counts.append(len(places))
        doubts.append(depends(values, places))
    return float(np.mean(counts)), float(np.mean(np.array(counts) > 0)), float(np.mean(doubts))


def found(made: Series, step: float, before: int, after: int, series: int) -> tuple[float, ...]:
    """(share of the series in which the step is found, false changes besides, coverage).

    The coverage is that of the interval of the step's size, among those found.
    """
    random = np.random.default_rng(1)
    hits = besides = covered = 0
    for _ in range(series):
        values = made(random, before + after)
        values[before:] += np.log1p(step)
        places = [one.at for one in change_points(values)]
        near = [number for number, at in enumerate(places) if abs(at - before) <= NEAR]
        hits += bool(near)
        besides += len(places) - bool(near)
        if near:
            parts = levels(len(values), places)
            low, high = interval(values[parts[near[0]]], values[parts[near[0] + 1]])
            covered += low <= np.log1p(step) <= high
    return hits / series, besides / series, covered / max(hits, 1)


def interval(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """As ``harness.analysis.history`` has it: Welch's."""
    blind = np.zeros(len(one)), np.zeros(len(other))
    welch = hypotheses.estimate(one, other, *blind, 0.0, same_occasion=True, occasion_sd=0.0)
    return hypotheses.bounds([welch], 0.975)


def simulated(series: int) -> None:
    print(f"without a change, {series} series each")
    print("| machine              | profiles | changes in a series | series with any | doubted |")
    for name, made in MACHINES.items():
        for points in POINTS:
            count, share, doubt = false_changes(made, points, series)
            print(
                f"| {name:20} | {points:8} | {count:19.2f} | {share:15.1%} | {doubt:7.0%} |",
                flush=True,
            )
    print(f"with a step, {series} series each")
    print("| machine              | step | before | after | found | false besides | covered |")
    for name, made in (("independent, 1 %", normal), ("one in twenty +10 %", outliers)):
        for step, before, after in (
            *((0.05, before, after) for before in (9, 40) for after in (3, 4, 5)),
            (0.02, 40, 5),
            (0.02, 40, 10),
            (0.02, 40, 20),
            (-0.05, 40, 5),
        ):
            hits, besides, covered = found(made, step, before, after, series)
            print(
                f"| {name:20} | {step:4.0%} | {before:6} | {after:5} | {hits:5.0%} "
                f"| {besides:13.2f} | {covered:7.0%} |",
                flush=True,
            )


def recorded(folder: Path) -> None:
    occasions = [json.loads(path.read_text())["rows"] for path in sorted(folder.glob("*.json"))]
    models = list(occasions[0][0]["targets"])
    print(f"recorded, {len(occasions)} occasions: changes at")
    logs = {}
    for model in models:
        figures = []
        for rows in occasions:
            quartiles = np.sort([row["targets"][model]["q"][QUARTILE] for row in rows])
            figures.append(typical(quartiles[: (len(quartiles) + 1) // 2].astype(float)))
        logs[model] = np.log(figures)
    for model, values in logs.items():
        told(model, values)
    half = len(occasions) // 2
    for model, values in logs.items():
        slower = values.copy()
        slower[half:] += np.log1p(0.05)
        told(f"{model}, second half 5 % slower", slower)
    if {"chain+0%", "chain+5%"} <= set(logs):
        real = np.concatenate([logs["chain+0%"][:half], logs["chain+5%"][half:]])
        told("chain, then really 5 % longer", real)


def told(name: str, values: np.ndarray) -> None:
    places = [one.at for one in change_points(values)]
    parts = levels(len(values), places)
    steps = [np.expm1(values[b].mean() - values[a].mean()) for a, b in itertools.pairwise(parts)]
    changes = ", ".join(f"{at} ({step:+.1%})" for at, step in zip(places, steps, strict=True))
    print(f"  {name:38} scatter {values.std():6.2%}: {changes or 'none'}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--series", type=int, default=300)
    parser.add_argument("folder", type=Path, nargs="?")
    options = parser.parse_args()
    simulated(options.series)
    if options.folder is not None:
        recorded(options.folder)


if __name__ == "__main__":
    main()
