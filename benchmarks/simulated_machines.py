"""False alarms of ``compare`` on simulated machines whose state is known.

A machine's state runs over the time of forty profiles, of which every second one is taken: ten
processes each, one after the other. The model's log latency is the state times its reaction,
plus the scatter of processes (0.8 %); the yardstick is the state plus its own scatter (0.4 %), or
blind to the state. All pairs of profiles of the same thing are compared: FASTER or SLOWER is wrong.

    python benchmarks/simulated_machines.py [--machines N]
"""

from __future__ import annotations

import argparse
import functools
import itertools
from collections.abc import Callable

import numpy as np
import yardsticks

from harness.statistics.verdicts import Side, Verdict

PROFILES, PROCESSES = 40, 10
COUNT = PROFILES * PROCESSES

Course = Callable[[np.random.Generator], np.ndarray]


def autoregression(lag: float, sd: float) -> Course:
    def course(random: np.random.Generator) -> np.ndarray:
        state = np.empty(COUNT)
        state[0] = random.normal(0, sd)
        for k in range(1, COUNT):
            state[k] = lag * state[k - 1] + random.normal(0, sd * np.sqrt(1 - lag**2))
        return state

    return course


def step(random: np.random.Generator) -> np.ndarray:
    return 0.1 * (np.arange(COUNT) >= random.integers(COUNT // 4, 3 * COUNT // 4))


def episodes(random: np.random.Generator) -> np.ndarray:
    """Load that comes and goes, for a fifth to four profiles at a time."""
    state, on, at = np.zeros(COUNT), False, 0
    while at < COUNT:
        length = int(random.integers(PROCESSES // 5, 4 * PROCESSES))
        state[at : at + length] = 0.15 * on
        on, at = not on, at + length
    return state


#: Name, course of what the yardstick sees, and standard deviation between profiles of what it
#: does not.
MACHINES: dict[str, tuple[Course, float]] = {
    "quiet": (lambda _: np.zeros(COUNT), 0.0),
    "AR(.9) 3%": (autoregression(0.9, 0.03), 0.0),
    "AR(.99) 7%": (autoregression(0.99, 0.07), 0.0),
    "walk 1%": (lambda random: np.cumsum(random.normal(0, 0.01, COUNT)), 0.0),
    "step 10%": (step, 0.0),
    "episodes 15%": (episodes, 0.0),
    "unseen 1%": (lambda _: np.zeros(COUNT), 0.01),
    "unseen 3%": (lambda _: np.zeros(COUNT), 0.03),
}

#: Name, use of the yardstick, reaction of the model.
WAYS: tuple[tuple[str, yardsticks.Way, float], ...] = (
    ("ignored", yardsticks.ignored, 1.0),
    ("divided, model reacts by 1", yardsticks.divided, 1.0),
    ("divided, by 0.5", yardsticks.divided, 0.5),
    ("covariate, by 1", yardsticks.covariate, 1.0),
    ("covariate, by 0.5", yardsticks.covariate, 0.5),
    ("bounded, by 0.5", yardsticks.bounded, 0.5),
    ("bounded, by 1", yardsticks.bounded, 1.0),
    ("bounded, by 2.4", yardsticks.bounded, 2.4),
    ("bounded, by 1, occasion_sd=0", functools.partial(yardsticks.bounded, occasion_sd=0.0), 1.0),
    ("bounded, yardstick blind", yardsticks.bounded, 1.0),
)


def rate(name: str, machine: str, compare: yardsticks.Way, reaction: float, machines: int) -> float:
    """Share of pairs called different."""
    course, unseen = MACHINES[machine]
    wrong, pairs = 0, 0
    for seed in range(machines):
        random = np.random.default_rng(seed)
        state = course(random)
        sides = []
        for first in range(0, COUNT, 2 * PROCESSES):
            seen = state[first : first + PROCESSES]
            shift = random.normal(0, unseen)
            latency = 13 + shift + reaction * seen + random.normal(0, 0.008, PROCESSES)
            told = np.zeros(PROCESSES) if "blind" in name else seen
            sides.append(Side(latency, 15 + told + random.normal(0, 0.004, PROCESSES)))
        for one, other in itertools.combinations(sides, 2):
            wrong += compare(one, other).verdict in (Verdict.FASTER, Verdict.SLOWER)
            pairs += 1
    return wrong / pairs


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--machines", type=int, default=4)
    options = parser.parse_args()
    print(f"{'called different in %':30}" + "".join(f"{name:>13}" for name in MACHINES))
    for name, way, reaction in WAYS:
        rates = [rate(name, one, way, reaction, options.machines) for one in MACHINES]
        print(f"{name:30}" + "".join(f"{100 * one:13.1f}" for one in rates), flush=True)


if __name__ == "__main__":
    main()
