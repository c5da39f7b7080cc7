"""Figures of pairs: what both members share cancels; sides that scatter differently are noticed."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from harness.statistics.paired import _signed_ranks, compare_paired, scatter_ratio
from harness.statistics.verdicts import Verdict


def drifting(seed: int, pairs: int, step: float) -> tuple[np.ndarray, np.ndarray]:
    """Both sides on a machine that changes by 10 % from pair to pair."""
    random = np.random.default_rng(seed)
    machine = np.cumsum(random.normal(0, 0.1, pairs))
    base, candidate = machine + random.normal(0, 0.01, (2, pairs))
    return base, candidate + step


def test_what_the_machine_does_to_both_members_cancels() -> None:
    base, candidate = drifting(0, 7, 0.08)
    found = compare_paired(candidate - base)
    assert found.verdict is Verdict.SLOWER
    assert found.interval is not None
    assert found.interval[0] < np.exp(0.08) < found.interval[1]
    assert found.p_value is not None
    assert found.p_value < 0.01 * stats.ttest_ind(base, candidate, equal_var=False).pvalue


@given(st.integers(0, 1000), st.integers(3, 12), st.floats(-0.1, 0.1))
def test_the_test_is_that_of_scipy(seed: int, pairs: int, step: float) -> None:
    base, candidate = drifting(seed, pairs, step)
    found = compare_paired(candidate - base)
    expected = stats.ttest_rel(candidate, base)
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-6)
    low, high = expected.confidence_interval(0.95)
    assert found.interval == pytest.approx((np.exp(low), np.exp(high)))


@given(
    st.lists(st.integers(-5, 5).filter(lambda one: one != 0), min_size=2, max_size=8),
)
def test_signed_ranks_count_every_choice_of_signs(values: list[int]) -> None:
    differences = np.array(values, np.float64)
    ranks = stats.rankdata(np.abs(differences))
    sums = [np.dot(signs, ranks) for signs in itertools.product((0, 1), repeat=len(values))]
    seen = abs(ranks[differences > 0].sum() - ranks.sum() / 2)
    expected = np.mean(np.abs(np.array(sums) - ranks.sum() / 2) >= seen)
    p_value, smallest = _signed_ranks(differences)
    assert p_value == pytest.approx(expected)
    assert smallest <= p_value


def test_equal_sides_are_the_same_if_the_pairs_show_it() -> None:
    random = np.random.default_rng(1)
    assert compare_paired(random.normal(0, 0.002, 7)).verdict is Verdict.SAME
    assert compare_paired(random.normal(0, 0.03, 7)).verdict is Verdict.UNDECIDED


@pytest.mark.parametrize(
    ("log_ratios", "reason"),
    [
        ([0.1], "1 pairs"),
        ([0.1, 0.1, 0.1], "exactly the same amount"),
        ([0.1, np.inf, 0.2], "no time above zero"),
    ],
)
def test_what_pairs_cannot_show_is_not_told(log_ratios: list[float], reason: str) -> None:
    found = compare_paired(np.array(log_ratios))
    assert found.verdict is Verdict.NOT_COMPARABLE
    assert reason in found.reason


def second_state(seed: int, pairs: int, share: float, step: float) -> np.ndarray:
    """Processes, some of which are in a slower state."""
    random = np.random.default_rng(seed)
    return random.normal(0, 0.008, pairs) + step * (random.random(pairs) < share)


def test_a_side_with_a_second_state_scatters_more() -> None:
    noticed = 0
    for seed in range(40):
        one = second_state(seed, 40, 0.0, 0.0)
        other = second_state(1000 + seed, 40, 0.3, 0.08)
        ratio, chance = scatter_ratio(one, other)
        noticed += ratio > 1 and chance <= 0.05
    assert noticed >= 36


@pytest.mark.parametrize("tails", ["normal", "cauchy", "shared drift"])
def test_sides_that_scatter_alike_are_seldom_told_apart(tails: str) -> None:
    random = np.random.default_rng(2)
    noticed = 0
    for _ in range(200):
        sides = (
            random.standard_cauchy((2, 12)) if tails == "cauchy" else random.normal(size=(2, 12))
        )
        if tails == "shared drift":
            sides = sides + np.cumsum(random.normal(0, 3, 12))
        noticed += scatter_ratio(*sides)[1] <= 0.05
    # Five percent are expected; 20 of 200 come about once in a thousand times.
    assert noticed < 20


def test_sides_without_scatter_are_alike() -> None:
    assert scatter_ratio(np.zeros(5), np.zeros(5)) == (1.0, 1.0)
    assert scatter_ratio(np.array([1.0]), np.array([2.0])) == (1.0, 1.0)
    assert scatter_ratio(np.zeros(12), np.arange(12.0))[0] == np.inf
