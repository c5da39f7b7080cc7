"""How often the intervals that harness prints cover the truth, on simulated machines.

Every interval is a 95 % interval: in 95 of 100 profiles, it should cover what the printed figure
would be with infinitely many processes. "Beside": the printed value lies in its own interval.
Refused intervals are counted separately.

    python benchmarks/coverage.py [--profiles N]
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator

import numpy as np
from scipy.signal import lfilter

from harness.statistics import pairs, verdicts
from harness.statistics.intervals import t_interval, typical
from harness.statistics.latency import percentile_of_processes
from harness.statistics.verdicts import Side

Draw = Callable[[np.random.Generator, int], np.ndarray]

#: What one profile of a machine gives: (value, interval or None, truth).
Trial = tuple[float | None, tuple[float, float] | None, float]

PROCESSES = 10
SCATTER = 0.02


def normal(random: np.random.Generator, count: int) -> np.ndarray:
    return random.normal(0, SCATTER, count)


def heavy(random: np.random.Generator, count: int) -> np.ndarray:
    return SCATTER * random.standard_t(3, count)


def bimodal(random: np.random.Generator, count: int) -> np.ndarray:
    """One process in five is 10 % slower."""
    slower = math.log(1.1) * (random.random(count) < 0.2)
    return slower - 0.2 * math.log(1.1) + random.normal(0, 0.005, count)


def autoregressive(random: np.random.Generator, count: int, lag: float) -> np.ndarray:
    """Variance 1, started in the stationary state."""
    noise = random.normal(0, math.sqrt(1 - lag**2), count)
    first = random.normal()
    return np.asarray(lfilter([1], [1, -lag], noise, zi=[lag * first])[0])


def medians(draw: Draw, processes: int) -> Callable[[np.random.Generator], Trial]:
    """A figure of each process: the median (also of an operator) or the energy."""

    def trial(random: np.random.Generator) -> Trial:
        values = np.exp(draw(random, processes))
        return typical(values), t_interval(values), 1.0

    return trial


def drifting(lag: float, *, of_this_occasion: bool) -> Callable[[np.random.Generator], Trial]:
    """Processes on a machine that drifts: their mean level is the truth of this occasion."""

    def trial(random: np.random.Generator) -> Trial:
        level = SCATTER * autoregressive(random, PROCESSES, lag)
        values = np.exp(level + random.normal(0, SCATTER / 2, PROCESSES))
        truth = math.exp(float(level.mean())) if of_this_occasion else 1.0
        return typical(values), t_interval(values), truth

    return trial


def tail(percent: float, samples: int, shift: float, processes: int = PROCESSES) -> (
    Callable[[np.random.Generator], Trial]
):  # fmt: skip
    """A percentile of processes that are shifted relative to each other."""
    from scipy.stats import norm

    truth = math.exp(0.1 * norm.ppf(percent / 100))

    def trial(random: np.random.Generator) -> Trial:
        levels = random.normal(0, shift, processes)
        series = [
            np.round(1e6 * np.exp(level + random.normal(0, 0.1, samples))).astype(np.int64)
            for level in levels
        ]
        figure, interval = percentile_of_processes(series, percent)
        return figure.value, interval, 1e6 * truth

    return trial


def single(percent: float, lag: float, samples: int) -> Callable[[np.random.Generator], Trial]:
    """A percentile of a single process whose samples are autocorrelated."""
    from scipy.stats import norm

    truth = math.exp(0.1 * norm.ppf(percent / 100))

    def trial(random: np.random.Generator) -> Trial:
        series = np.round(1e6 * np.exp(0.1 * autoregressive(random, samples, lag)))
        figure, interval = percentile_of_processes([series.astype(np.int64)], percent)
        return figure.value, interval, 1e6 * truth

    return trial


def episodes(percent: float, samples: int) -> Callable[[np.random.Generator], Trial]:
    """A single process that is in one of two states for a thousand samples at a time."""
    values = np.random.default_rng(1).normal(0, 0.1, 1_000_000)
    values[::2] += 0.2
    truth = float(np.percentile(np.exp(values), percent))

    def trial(random: np.random.Generator) -> Trial:
        state = np.repeat(random.random(samples // 1000) < 0.5, 1000)
        series = np.round(1e6 * np.exp(0.2 * state + random.normal(0, 0.1, samples)))
        figure, interval = percentile_of_processes([series.astype(np.int64)], percent)
        return figure.value, interval, 1e6 * truth

    return trial


def interleaved(draw: Draw) -> Callable[[np.random.Generator], Trial]:
    """The ratio of two groups of processes of the same occasion, the truth +3 %."""

    def trial(random: np.random.Generator) -> Trial:
        sides = [Side(draw(random, PROCESSES) + shift) for shift in (0.0, math.log(1.03))]
        found = verdicts.compare(*sides, same_occasion=True)
        return found.ratio, found.interval, 1.03

    return trial


def apart(unseen: float) -> Callable[[np.random.Generator], Trial]:
    """Two occasions that differ by what the yardstick sees, and by what it does not."""

    def trial(random: np.random.Generator) -> Trial:
        sides = []
        for shift in (0.0, math.log(1.03)):
            machine = random.normal(0, 0.05)
            seen = machine + random.normal(0, 0.004, (PROCESSES, 1))
            figures = shift + machine + random.normal(0, unseen) + normal(random, PROCESSES)
            sides.append(Side(figures, seen))
        found = verdicts.compare(*sides, same_occasion=False)
        return found.ratio, found.interval, 1.03

    return trial


def ab(draw: Draw) -> Callable[[np.random.Generator], Trial]:
    """``ab``: evaluated after every pair until it decides or 60 are measured; the truth +1 %."""

    def trial(random: np.random.Generator) -> Trial:
        differences = math.log(1.01) + draw(random, 60)
        for count in range(1, 61):
            found = pairs.decide(differences[:count], margin=0.005, budget=60)
            if not found.go_on:
                break
        return found.ratio, found.interval, 1.01

    return trial


def machines() -> Iterator[tuple[str, str, Callable[[np.random.Generator], Trial]]]:
    """(interval, machine, trial)."""
    name = "median, operator, energy"
    for processes in (2, 4, 10, 20):
        yield name, f"{processes} processes, normal", medians(normal, processes)
    yield name, "10 processes, t(3)", medians(heavy, 10)
    for processes in (10, 20):
        yield name, f"{processes} processes, one in five +10 %", medians(bimodal, processes)
    for lag in (0.5, 0.8, 0.9):
        yield name, f"drift AR({lag}), of this occasion", drifting(lag, of_this_occasion=True)
    for lag in (0.5, 0.8, 0.9):
        yield name, f"drift AR({lag}), of all occasions", drifting(lag, of_this_occasion=False)
    for percent in (90, 99):
        yield f"p{percent}", "10 processes, shifted by 1 %", tail(percent, 2000, 0.01)
        yield f"p{percent}", "10 processes, shifted by 5 %", tail(percent, 2000, 0.05)
        yield f"p{percent}", "5 processes, shifted by 5 %", tail(percent, 2000, 0.05, 5)
    for percent in (90, 99):
        for lag in (0.0, 0.9, 0.99):
            told = f"AR({lag:g}), 10,000 samples"
            yield f"p{percent}, one process", told, single(percent, lag, 10_000)
        yield f"p{percent}, one process", "states of 1,000 samples", episodes(percent, 10_000)
    for told, draw in (("normal", normal), ("t(3)", heavy), ("one in five +10 %", bimodal)):
        yield "ratio, one occasion", told, interleaved(draw)
    for unseen in (0.0, 0.01, 0.03):
        yield "ratio, two occasions", f"unseen {unseen:.0%} between them", apart(unseen)
    for told, draw in (("normal", normal), ("t(3)", heavy)):
        yield "ratio of pairs (ab)", told, ab(draw)


def covered(
    trial: Callable[[np.random.Generator], Trial], profiles: int
) -> tuple[float, float, float]:
    """(share that covers the truth, share that contains its own value, share refused)."""
    random = np.random.default_rng(0)
    holds = beside = refused = 0
    for _ in range(profiles):
        value, interval, truth = trial(random)
        if interval is None or value is None:
            refused += 1
            continue
        holds += interval[0] <= truth <= interval[1]
        beside += interval[0] <= value <= interval[1]
    told = max(profiles - refused, 1)
    return holds / told, beside / told, refused / profiles


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--profiles", type=int, default=1000)
    profiles = parser.parse_args().profiles
    print(f"| {'interval of':<24} | {'machine':<34} | holds | beside | refused |")
    print(f"|{'-' * 26}|{'-' * 36}|------:|-------:|--------:|")
    for name, machine, trial in machines():
        # Pairs are evaluated at every look, which takes a second per trial.
        holds, beside, refused = covered(trial, profiles if "ab" not in name else profiles // 5)
        shown = [f"{100 * one:.1f}" for one in (holds, beside)] if refused < 1 else ["", ""]
        cells = f"{shown[0]:>5} | {shown[1]:>6} | {100 * refused:>7.1f}"
        print(f"| {name:<24} | {machine:<34} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
