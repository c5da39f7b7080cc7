"""Whether the search of ``harness layout`` finds the best layout, on machines where it is known.

Machines have topologies from a VM to two EPYC 9965, models from caches to memory-bound, and groups
that scatter by 0.5 to 5 %, drift, and meet other programs (``tests.builders.simulated_layouts``).
The exhaustive table measures every candidate so often that the difference of two of them is known
to ±3 % (95 %) as far as groups scatter (drift and episodes would take more), and five
times at least, as a profile does. The search gets a quarter of the seconds that this takes, its
confirming groups included. Told are how often the chosen layout has at least 97 % of the true
best's true rate, likewise the first of the exhaustive table; the least that one had; how many
layouts lie within 3 %; how often the interval of the gain over ORT's default holds the true one.

With --here, on this machine: every layout of MODEL is measured so many times, half of them before
the search and half after it, and the chosen layout is looked for in that table. Where other
programs come and go meanwhile, only ratios may be compared: that over ORT's default.

    python benchmarks/layout_search.py [--machines N] [--share S]
    python benchmarks/layout_search.py --here MODEL [--rounds N] [--seconds S]
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import math
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from harness.config.profile import ProfileConfig
from harness.machine.topology import Topology, topology
from harness.measuring.observer import Observer
from harness.measuring.profile import interruptible
from harness.options import LAYOUT_BUDGET_S, LAYOUT_WINDOW_S
from harness.statistics.rounds import effects
from harness.study.layouts.candidates import Layout, candidates
from harness.study.layouts.groups import groups
from harness.study.layouts.records import Found, gained
from harness.study.layouts.search import MARGIN, search
from tests.builders.simulated_layouts import Noise, SimulatedMachine, some_model, some_noise
from tests.builders.sysfs import Machine, numbers, plant

MACHINES = {
    "EPYC 9965 x2": Machine(sockets=2, cores=192, l3=16, node=192),
    "EPYC 9965 x2, NPS4, SMT": Machine(sockets=2, cores=192, l3=16, node=48, threads=2),
    "EPYC 9965 x2, L3 as NUMA": Machine(sockets=2, cores=192, l3=16, node=16),
    "EPYC 9654": Machine(sockets=1, cores=96, l3=8, node=96, threads=2),
    "Xeon 8480+ x2, SNC4": Machine(sockets=2, cores=56, l3=56, node=14, threads=2),
    "Xeon 6 x2": Machine(sockets=2, cores=32, l3=32, node=32, threads=2),
    "Ryzen 9950X": Machine(cores=16, l3=8, node=16, threads=2),
    "VM of 16 CPUs": Machine(cores=8, l3=8, node=8, threads=2),
}

#: Fewest groups of each layout in an exhaustive table: what a profile of instances has.
FEWEST_GROUPS = 5


@dataclasses.dataclass(frozen=True)
class Judged:
    """What became of one search."""

    candidates: int
    groups: int
    share: float
    of_best: float
    exhaustive_of_best: float
    gain_covered: bool | None
    ended_by: str
    near: int


def one(found_in: Topology, layouts: Sequence[Layout], seed: int, share: float) -> Judged:
    """A search on a machine of this topology."""
    random = np.random.default_rng(seed)
    model, noise = some_model(random, found_in), some_noise(random)
    machine = SimulatedMachine(found_in, model, noise, seed)
    truth = np.array([machine.rate(layout) for layout in layouts])
    groups = groups_needed(noise)
    exhaustive_s = groups * sum(machine.cost_s(layout) for layout in layouts)
    found = search(
        layouts, machine.measure, seed=seed, budget_s=share * exhaustive_s, now_s=machine.now_s
    )
    other = SimulatedMachine(found_in, model, noise, seed + 1_000_000)
    table = np.zeros(len(layouts))
    for _ in range(groups):
        for number in random.permutation(len(layouts)):
            table[number] += math.log(other.measure(layouts[number]).items_per_s)
    assert found.best is not None
    return Judged(
        candidates=len(layouts),
        groups=found.groups,
        share=found.spent_s / exhaustive_s,
        of_best=truth[found.best] / truth.max(),
        exhaustive_of_best=truth[int(table.argmax())] / truth.max(),
        gain_covered=gain_covered(found, truth),
        ended_by=found.ended_by,
        near=int((truth >= truth.max() * (1 - MARGIN)).sum()),
    )


def groups_needed(noise: Noise) -> int:
    """Groups of each layout with which the difference of two is known to ±3 %."""
    variance = noise.scatter**2
    return max(FEWEST_GROUPS, math.ceil(2 * variance * (1.96 / math.log1p(MARGIN)) ** 2))


def gain_covered(found: Found, truth: np.ndarray) -> bool | None:
    if found.gain is None or found.gain.interval is None:
        return None
    low, high = found.gain.interval
    assert found.best is not None
    assert found.default is not None
    return bool(low <= truth[found.default] / truth[found.best] <= high)


def here(model: str, rounds: int, seconds: float) -> None:
    """The search beside the exhaustive table of this machine."""
    config = ProfileConfig(model=model, duration_s=LAYOUT_WINDOW_S)
    random = np.random.default_rng(0)
    rows: list[tuple[int, int, float]] = []
    with interruptible(), groups(config, Observer()) as measuring:

        def measure(number: int) -> None:
            for at in random.permutation(len(measuring.layouts)):
                rate = measuring.measure(measuring.layouts[at]).items_per_s
                rows.append((int(at), number, math.log(rate)))

        for number in range(rounds // 2):
            measure(number)
        found = search(measuring.layouts, measuring.measure, seed=0, budget_s=seconds)
        for number in range(rounds // 2, rounds):
            measure(number)
    assert found.best is not None
    things, numbers_, logs = (np.array(column) for column in zip(*rows, strict=True))
    fit = effects(things, numbers_, logs, len(measuring.layouts))
    first = int(np.argmax(fit.values))
    print(f"{model}: {rounds} groups of each layout, and a search of {found.groups} groups")
    print(f"{'layout':24}{'items/s':>12}{'of the first':>14}  95 %")
    for number in np.argsort(-fit.values):
        layout = measuring.layouts[number]
        rate = math.exp(logs[things == number].mean())
        below = fit.values[number] - fit.values[first]
        reach = 0.0 if number == first else fit.reach(int(number), first, 0.025)
        low, high = math.exp(below - reach), math.exp(below + reach)
        print(
            f"{f'{layout.placement} {layout.instances}x{layout.threads}':24}{rate:12,.1f}"
            f"{math.exp(below):14.3f}  {low:.3f} to {high:.3f}"
            f"{'  <- chosen' if number == found.best else ''}"
        )
    best, default = found.told[found.best], found.default
    assert best.interval is not None
    assert default is not None
    rates = [math.exp(logs[things == number].mean()) for number in (first, default)]
    print(f"search ended by: {found.ended_by}; its interval, and the first of the table")
    print_held("items/s", best.interval, rates[0])
    gain = gained(found)
    if gain is not None:
        ratio = math.exp(fit.values[first] - fit.values[default])
        print_held("over ORT's default", gain.interval, ratio)


def print_held(what: str, interval: tuple[float, float], value: float) -> None:
    low, high = interval
    held = "held" if low <= value <= high else "not held"
    print(f"  {what:20}{low:12,.2f} to {high:12,.2f}{value:14,.2f}  {held}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--machines", type=int, default=200)
    parser.add_argument("--share", type=float, default=0.25, help="of the exhaustive time")
    parser.add_argument("--here", metavar="MODEL")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=LAYOUT_BUDGET_S)
    options = parser.parse_args()
    if options.here is not None:
        here(options.here, options.rounds, options.seconds)
        return
    judged: dict[str, list[Judged]] = collections.defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, machine) in enumerate(MACHINES.items()):
            root = plant(Path(folder, str(number)), machine)
            online = (root / "sys/devices/system/cpu/online").read_text()
            found_in = topology(root, numbers(online))
            layouts = candidates(found_in)[0]
            for seed in range(number, options.machines, len(MACHINES)):
                judged[name].append(one(found_in, layouts, seed, options.share))
    print(
        f"{'machine':26}{'layouts':>8}{'groups':>8}{'time':>7}{'within 3 %':>12}{'exhaustive':>12}"
        f"{'worst':>8}{'near':>6}{'gain held':>11}  ended by"
    )
    for name, some in [*judged.items(), ("all", [each for one in judged.values() for each in one])]:
        print_row(name, some)


def print_row(name: str, some: Sequence[Judged]) -> None:
    near = [each.of_best >= 1 - MARGIN for each in some]
    near_exhaustive = [each.exhaustive_of_best >= 1 - MARGIN for each in some]
    gains = [each.gain_covered for each in some if each.gain_covered is not None]
    ended = collections.Counter(each.ended_by for each in some)
    print(
        f"{name:26}{np.mean([each.candidates for each in some]):8.0f}"
        f"{np.mean([each.groups for each in some]):8.0f}{np.mean([e.share for e in some]):7.1%}"
        f"{np.mean(near):12.1%}{np.mean(near_exhaustive):12.1%}"
        f"{min(each.of_best for each in some):8.1%}"
        f"{np.mean([e.near for e in some]):6.1f}"
        f"{np.mean(gains) if gains else math.nan:11.1%}  "
        + ", ".join(f"{ending} {count}" for ending, count in ended.most_common()),
        flush=True,
    )


if __name__ == "__main__":
    main()
