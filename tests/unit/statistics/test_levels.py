"""Samples at two levels: told from one, whatever its shape."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.statistics.levels import FEWEST, LEAST_PART, two_levels

COUNT = 1000
Draw = Callable[[np.random.Generator], np.ndarray]


def at_two(part: float, high: float = 1.3e6) -> Draw:
    return lambda random: (
        np.where(random.random(COUNT) < part, high, 1e6) + random.normal(0, 3e4, COUNT)
    )


@pytest.mark.parametrize(
    "draw",
    [
        lambda random: random.normal(1e6, 1e5, COUNT),
        lambda random: random.uniform(5e5, 1e6, COUNT),
        lambda random: 1e6 + random.exponential(2e5, COUNT),
        lambda random: 1e6 + 1e5 * random.lognormal(0, 1, COUNT),
        lambda random: 1e6 * (1 + random.pareto(2, COUNT)),
        lambda random: np.linspace(1e6, 1.3e6, COUNT) + random.normal(0, 1e4, COUNT),
        at_two(0.04),  # outliers
        at_two(0.5, 1.04e6),  # within their scatter
        lambda _: np.where(np.arange(COUNT) % 2, 1e6, 1.02e6),  # steps of a clock
        lambda _: np.full(COUNT, 1e6),
    ],
)
def test_one_level_is_not_taken_for_two(draw: Draw) -> None:
    for seed in range(20):
        assert two_levels(draw(np.random.default_rng(seed)).astype(np.int64)) is None


@pytest.mark.parametrize("part", [0.15, 0.3, 0.5, 0.8])
def test_two_levels_are_found(part: float) -> None:
    for seed in range(20):
        found = two_levels(at_two(part)(np.random.default_rng(seed)).astype(np.int64))
        assert found is not None
        assert found.low == pytest.approx(1e6, rel=0.02)
        assert found.high == pytest.approx(1.3e6, rel=0.02)
        assert found.low < found.threshold < found.high
        assert found.part == pytest.approx(part, abs=0.06)


def test_too_few_samples_say_nothing() -> None:
    samples = np.tile(np.array([10**6, 2 * 10**6]), FEWEST)
    assert two_levels(samples[:FEWEST]) is not None
    assert two_levels(samples[: FEWEST - 1]) is None


@given(st.lists(st.integers(1, 2**62), min_size=1, max_size=3 * FEWEST), st.randoms())
def test_the_order_does_not_matter_and_each_level_has_its_part(
    values: list[int], random: object
) -> None:
    samples = np.array(values * (1 + FEWEST // len(values)), np.int64)
    found = two_levels(samples)
    assert two_levels(samples[::-1].copy()) == found
    if found is not None:
        assert found.low < found.threshold < found.high
        assert LEAST_PART <= found.part <= 1 - LEAST_PART
