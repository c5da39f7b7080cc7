from __future__ import annotations

import math

import numpy as np
import pytest

from harness.statistics.rounds import effects


def test_things_are_compared_although_each_round_had_others_and_the_machine_drifted() -> None:
    truth = np.array([0.0, 0.3, -0.2, 0.1])
    in_rounds = [(0, 1, 2, 3), (0, 1), (0, 3), (1, 3)]
    drift = [0.0, 0.5, -0.4, 1.0]
    rows = [(thing, number) for number, some in enumerate(in_rounds) for thing in some]
    things, rounds = (np.array(column) for column in zip(*rows, strict=True))
    logs = truth[things] + np.array(drift)[rounds]

    found = effects(things, rounds, logs, 4)

    assert found.values - found.values[0] == pytest.approx(truth)
    assert found.freedom == len(rows) - 4 - 4 + 1


def test_the_interval_of_a_difference_holds_it_as_often_as_it_says() -> None:
    random = np.random.default_rng(2)
    held = 0
    for _ in range(1000):
        things = np.array([0, 1, 2, 3, 4] * 3 + [0, 1] * 2)
        rounds = np.array([0] * 5 + [1] * 5 + [2] * 5 + [3] * 2 + [4] * 2)
        logs = random.normal(0, 0.02, len(things)) + random.normal(0, 0.1, 5)[rounds]
        found = effects(things, rounds, logs, 5)
        difference = found.values[1] - found.values[0]
        held += abs(difference) <= found.reach(1, 0, 0.025)

    assert 0.91 <= held / 1000 <= 0.98


def test_one_spoilt_measurement_moves_a_difference_less_than_its_share() -> None:
    random = np.random.default_rng(3)
    things, rounds = np.tile(np.arange(4), 6), np.repeat(np.arange(6), 4)
    logs = random.normal(0, 0.01, len(things))
    clean = effects(things, rounds, logs, 4)
    logs[5] -= 0.6
    spoilt = effects(things, rounds, logs, 4)

    moved = (spoilt.values[1] - spoilt.values[0]) - (clean.values[1] - clean.values[0])
    assert abs(moved) < 0.6 / 6 / 2


def test_without_a_repetition_the_scatter_is_unknown_and_nothing_is_out_of_reach() -> None:
    found = effects(np.array([0, 1]), np.array([0, 0]), np.array([1.0, 2.0]), 3)

    assert found.values[1] - found.values[0] == pytest.approx(1.0)
    assert math.isnan(found.values[2])
    assert math.isnan(found.sd)
    assert found.reach(1, 0, 0.05) == math.inf
