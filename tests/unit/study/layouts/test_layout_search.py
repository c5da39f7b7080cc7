from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

from harness.errors import MachineError
from harness.machine.topology import Topology, topology
from harness.statistics.verdicts import Verdict
from harness.study.layouts.candidates import DEFAULT, Layout, candidates
from harness.study.layouts.records import Found, Measured
from harness.study.layouts.search import CONFIRMED, search
from tests.builders.simulated_layouts import (
    KnownRates,
    SimulatedMachine,
    named_layout,
    several_layouts,
    some_model,
    some_noise,
)
from tests.builders.sysfs import Machine, numbers, plant


def best(found: Found) -> str:
    assert found.best is not None
    return found.told[found.best].layout.placement


def test_the_fastest_is_found_told_from_the_rest_and_compared_with_the_default() -> None:
    layouts = several_layouts(12)
    machine = KnownRates({one.placement: 50.0 + 5 * one.instances for one in layouts})

    found = machine.search(layouts)

    assert best(found) == "p11"
    assert found.ended_by == "told"
    assert found.undecided == ()
    assert found.gain is not None
    assert found.gain.verdict is Verdict.FASTER
    assert found.gain.interval is not None
    low, high = found.gain.interval
    assert low <= 55 / 110 <= high
    winner = found.told[12]
    assert winner.groups == CONFIRMED
    assert winner.interval is not None
    assert winner.interval[0] < 110 < winner.interval[1]
    assert found.groups < len(layouts) * CONFIRMED  # far fewer than all as often


def test_what_is_the_same_within_the_margin_ends_the_search_and_is_said() -> None:
    layouts = several_layouts(6)
    machine = KnownRates({one.placement: 100.0 for one in layouts} | {DEFAULT: 60.0}, scatter=0.004)

    found = machine.search(layouts)

    assert found.ended_by == "same"
    assert machine.now_s() < 1000
    others = [one.over_best_interval for one in found.told if one.layout.placement != DEFAULT]
    assert all(one is not None and one[0] < 1.03 for one in others)


def test_a_budget_is_kept_to_and_what_it_left_open_is_named() -> None:
    layouts = several_layouts(12)
    machine = KnownRates(
        {one.placement: 100.0 + 0.1 * one.instances for one in layouts}, scatter=0.05
    )

    found = machine.search(layouts, budget_s=40)

    assert machine.now_s() <= 40
    assert found.ended_by == "budget"
    assert found.undecided
    assert found.best is not None
    assert found.told[found.best].confirmed


def test_a_budget_for_a_part_of_the_first_round_tells_what_was_not_tried() -> None:
    layouts = several_layouts(12)
    machine = KnownRates({one.placement: 100.0 for one in layouts})

    found = machine.search(layouts, budget_s=9)

    assert found.ended_by == "budget"
    assert "not tried: the budget was spent before" in {one.reason for one in found.told}


def test_the_told_rate_of_the_winner_is_not_flattered_by_its_luck() -> None:
    """Of equal layouts the luckiest wins: what it won with is too high, what is told is not."""
    layouts = several_layouts(11)
    won_with, told = [], []
    for seed in range(40):
        machine = KnownRates({one.placement: 100.0 for one in layouts}, scatter=0.05, seed=seed)
        rates: list[tuple[str, float]] = []

        def measure(one: Layout, machine: KnownRates = machine, rates: list = rates) -> Measured:
            measured = machine.measure(one)
            rates.append((one.placement, measured.items_per_s))
            return measured

        found = machine.search(layouts, budget_s=45, seed=seed, measure=measure)
        assert found.best is not None
        winner = found.told[found.best]
        own = [math.log(rate / 100) for name, rate in rates if name == winner.layout.placement]
        won_with.append(np.mean(own[: -winner.groups]))
        assert winner.items_per_s is not None
        told.append(math.log(winner.items_per_s / 100))

    error = np.std(told) / math.sqrt(len(told))
    assert abs(np.mean(told)) < 3 * error
    assert np.mean(won_with) > 0.02


def test_a_latency_limit_excludes_what_is_over_it_by_its_p99() -> None:
    layouts = several_layouts(4)
    rates = {one.placement: 50.0 + 10 * one.instances for one in layouts}
    latencies_ms = {DEFAULT: 4.0, "p0": 1.0, "p1": 2.0, "p2": 4.0, "p3": 8.0}  # p99: twice as much
    machine = KnownRates(rates, latencies_ms=latencies_ms)

    found = machine.search(layouts, limit_ms=5)

    assert best(found) == "p1"
    assert found.told[4].reason == "its p99 is over the limit of 5 ms"
    assert not found.told[2].reason
    over = [found.told[number] for number in (0, 3, 4)]
    assert all(one.layout.placement not in names(found) for one in over)


def names(found: Found) -> list[str]:
    return [found.told[number].layout.placement for number in found.frontier]


def test_a_limit_that_nothing_meets_leaves_no_winner() -> None:
    layouts = several_layouts(3)
    machine = KnownRates({one.placement: 100.0 for one in layouts})

    found = machine.search(layouts, limit_ms=0.1)

    assert found.best is None
    assert found.ended_by == "nothing"
    assert all(one.reason for one in found.told)


def test_the_frontier_holds_what_nothing_beats_in_both_and_is_confirmed() -> None:
    layouts = several_layouts(5)
    rates = {DEFAULT: 40.0, "p0": 30.0, "p1": 60.0, "p2": 50.0, "p3": 90.0, "p4": 100.0}
    latencies_ms = {DEFAULT: 5.0, "p0": 1.0, "p1": 2.0, "p2": 3.0, "p3": 9.0, "p4": 8.0}
    machine = KnownRates(rates, latencies_ms=latencies_ms)

    found = machine.search(layouts)

    assert names(found) == ["p0", "p1", "p4"]
    assert all(found.told[number].confirmed for number in found.frontier)
    assert all(found.told[number].interval for number in found.frontier)


def test_a_layout_that_cannot_work_is_left_out_with_its_reason() -> None:
    layouts = several_layouts(4)
    machine = KnownRates({one.placement: 50.0 + 10 * one.instances for one in layouts})

    def measure(one: Layout) -> Measured:
        if one.placement == "p3":
            machine.log.append("p3")
            raise MachineError("4 instances need 9 GB, 2 GB are free", "fewer")
        return machine.measure(one)

    found = machine.search(layouts, measure=measure)

    assert best(found) == "p2"
    assert found.told[4].reason == "4 instances need 9 GB, 2 GB are free"
    assert machine.log.count("p3") == 1


def test_an_interrupted_search_tells_what_it_knows() -> None:
    layouts = several_layouts(4)
    machine = KnownRates({one.placement: 50.0 + 10 * one.instances for one in layouts})

    found = machine.search(layouts, interrupted_after=7)

    assert found.ended_by == "interrupted"
    assert found.groups == 7
    assert found.best is not None
    assert not found.told[found.best].confirmed


def test_the_order_within_rounds_is_random_and_told_by_the_seed() -> None:
    layouts = several_layouts(9)
    orders = []
    for seed in (1, 1, 2):
        machine = KnownRates({one.placement: 50.0 + 10 * one.instances for one in layouts})
        machine.search(layouts, seed=seed)
        orders.append(machine.log[:10])

    assert orders[0] == orders[1]
    assert orders[0] != orders[2]


def test_variants_are_tried_where_their_family_is_within_reach() -> None:
    slow, fast = named_layout("slow", 2, 4), named_layout("fast", 4, 2)
    layouts = [named_layout(DEFAULT, 1, 0), slow, fast]
    layouts += [dataclasses.replace(one, threads=8, role="variant") for one in (slow, fast)]

    machine = KnownRates({DEFAULT: 90.0, "slow": 50.0, "fast": 100.0})
    found = machine.search(layouts)

    assert found.told[4].groups > 0
    assert found.told[3].groups == 0
    assert "less than 1/1.5 of the best" in found.told[3].reason


@pytest.fixture(scope="module")
def two_sockets(tmp_path_factory: pytest.TempPathFactory) -> Topology:
    root = plant(
        tmp_path_factory.mktemp("machine"), Machine(sockets=2, cores=16, l3=4, node=8, threads=2)
    )
    return topology(root, numbers((root / "sys/devices/system/cpu/online").read_text()))


def test_on_simulated_machines_the_chosen_is_near_the_best_in_a_quarter_of_the_time(
    two_sockets: Topology, tmp_path: Path
) -> None:
    """A small version of benchmarks/layout_search.py, which has 200 machines."""
    layouts = candidates(two_sockets)[0]
    near = 0
    for seed in range(12):
        random = np.random.default_rng(seed)
        model, noise = some_model(random, two_sockets), some_noise(random)
        machine = SimulatedMachine(two_sockets, model, noise, seed)
        exhaustive_s = CONFIRMED * sum(machine.cost_s(one) for one in layouts)
        found = search(
            layouts, machine.measure, seed=seed, budget_s=exhaustive_s / 4, now_s=machine.now_s
        )
        assert found.spent_s <= exhaustive_s / 4
        assert found.best is not None
        near += machine.rate(layouts[found.best]) >= 0.97 * max(map(machine.rate, layouts))

    assert near >= 10
