from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.statistics.pairs import Decision, decide
from harness.statistics.verdicts import Verdict

DECIDED = (Verdict.FASTER, Verdict.SLOWER)


def coin_pairs(machine: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Differences of two equal configurations on a machine, each pair in random order."""
    order = random.choice([-1, 1], len(machine) // 2)
    return order * (machine[1::2] - machine[::2])


def machines(random: np.random.Generator, count: int) -> dict[str, np.ndarray]:
    """Courses of the logarithm of the speed of a machine that ruin comparisons."""
    noise = random.normal(0, 0.01, count)
    load = np.repeat(random.choice([0, 0.2], count // 8 + 1, p=[0.7, 0.3]), 8)[:count]
    return {
        "steady": noise,
        "random walk": np.cumsum(random.normal(0, 0.02, count)),
        "load episodes": load + noise,
        "trend": np.arange(count) * 0.01 + noise,
        "heavy tails": 0.01 * random.standard_t(1.5, count),
        "skewed": 0.05 * random.exponential(size=count) ** 2,
    }


@pytest.mark.parametrize("machine", list(machines(np.random.default_rng(0), 8)))
def test_equal_configurations_are_called_different_at_most_as_often_as_alpha(machine: str) -> None:
    # Whatever was refuted after any pair stays refuted, so the last look tells of all looks.
    # Simulated with 400 series of 60 pairs: RATES.
    random = np.random.default_rng(5)
    trials = 50
    wrong = sum(
        decide(coin_pairs(machines(random, 50)[machine], random), margin=0.01).verdict in DECIDED
        for _ in range(trials)
    )
    # 8 of 50 are wrong with a chance of a quarter in a hundred if the true rate is 5 %.
    assert wrong < 8


def test_a_two_percent_change_is_found_within_thirty_pairs() -> None:
    random = np.random.default_rng(6)
    found = [decide(random.normal(0.02, 0.02, 30), margin=0.01).verdict for _ in range(100)]
    # 99 % in a simulation of 2000.
    assert found.count(Verdict.SLOWER) >= 95
    assert found.count(Verdict.FASTER) == 0


def test_a_pair_that_was_disturbed_does_not_undo_the_others() -> None:
    random = np.random.default_rng(1)
    clean = random.normal(0.02, 0.005, 30)
    disturbed = clean.copy()
    disturbed[[4, 11]] = -0.7, -0.5
    assert decide(clean, margin=0.01).verdict is Verdict.SLOWER
    assert decide(disturbed, margin=0.01).verdict is Verdict.SLOWER


def test_the_same_is_said_of_small_differences() -> None:
    random = np.random.default_rng(2)
    decision = decide(random.normal(0.001, 0.01, 60), margin=0.01)
    assert decision.verdict is Verdict.SAME
    assert not decision.go_on
    assert decision.interval is not None
    assert 1 / 1.01 < decision.interval[0] < decision.interval[1] < 1.01
    assert "within the margin of 1.00%" in decision.reason


@settings(derandomize=True, deadline=None, max_examples=20)
@given(
    seed=st.integers(0, 2**32 - 1),
    effect=st.floats(-0.1, 0.1),
    scale=st.floats(1e-4, 0.1),
    count=st.integers(8, 25),
)
def test_names_swapped_swap_the_verdict_and_looking_again_never_widens(
    seed: int, effect: float, scale: float, count: int
) -> None:
    differences = np.random.default_rng(seed).normal(effect, scale, count)
    one, other = decide(differences, margin=0.01), decide(-differences, margin=0.01)
    swapped = {Verdict.FASTER: Verdict.SLOWER, Verdict.SLOWER: Verdict.FASTER}
    assert other.verdict is swapped.get(one.verdict, one.verdict)
    assert one.ratio is not None
    assert other.ratio is not None
    assert one.ratio * other.ratio == pytest.approx(1)
    before = decide(differences[:-1], margin=0.01)
    if before.interval and one.interval:
        assert one.interval[0] >= before.interval[0] - 2e-3 * scale
        assert one.interval[1] <= before.interval[1] + 2e-3 * scale


def test_interval_covers_the_truth() -> None:
    random = np.random.default_rng(9)
    intervals = [
        decide(0.03 + 0.02 * random.standard_t(3, 30), margin=0.01).interval for _ in range(60)
    ]
    missed = sum(not (i is None or i[0] <= math.exp(0.03) <= i[1]) for i in intervals)
    assert missed < 9


@pytest.mark.parametrize("count", [0, 1, 3, 7])
def test_few_pairs_decide_nothing_however_clear(count: int) -> None:
    decision = decide(np.linspace(0.5, 0.6, count), margin=0.01, budget=20)
    assert decision.verdict is Verdict.UNDECIDED
    assert decision.interval is None
    assert decision.go_on
    assert decision.pairs == count
    if count:
        assert decision.pairs_needed == 8
        assert decision.reason == f"{count} pairs cannot decide anything, at least 8 are needed"


def test_a_stricter_alpha_needs_more_pairs() -> None:
    assert decide(np.linspace(0.5, 0.6, 3), margin=0.01, alpha=0.001).pairs_needed == 14


def test_undecided_tells_how_many_pairs_would_decide_and_stops_at_the_budget() -> None:
    random = np.random.default_rng(4)
    differences = random.normal(0.005, 0.02, 30)
    open_end = decide(differences, margin=0.01)
    assert open_end.verdict is Verdict.UNDECIDED
    assert open_end.go_on
    assert open_end.pairs_needed is None or open_end.pairs_needed > 30
    spent = decide(differences, margin=0.01, budget=30)
    assert not spent.go_on
    assert spent.reason.endswith("the budget of 30 pairs is spent")


@pytest.mark.parametrize("value", [0.0, 0.01])
def test_pairs_that_agree_exactly_are_no_measurement(value: float) -> None:
    decision = decide(np.full(20, value), margin=0.01)
    assert decision.verdict is Verdict.NOT_COMPARABLE
    assert decision.ratio is None
    assert "clock is too coarse" in decision.reason


def test_differences_of_a_coarse_clock_are_no_fault() -> None:
    random = np.random.default_rng(8)
    coarse = np.round(random.normal(0, 0.004, 60) / 0.005) * 0.005
    assert decide(coarse, margin=0.01).verdict is Verdict.SAME


def test_a_process_without_latency_is_not_comparable() -> None:
    decision: Decision = decide(np.array([0.1, np.nan, 0.1]), margin=0.01)
    assert decision.verdict is Verdict.NOT_COMPARABLE
    assert not decision.go_on
    assert "no latency" in decision.reason


def test_a_difference_that_changes_sides_is_not_decided() -> None:
    random = np.random.default_rng(3)
    parts = random.normal(0.05, 0.005, 15), random.normal(-0.05, 0.005, 15)
    decision = decide(np.concatenate(parts), margin=0.01)
    assert decision.verdict is Verdict.UNDECIDED
    assert "changed while it was measured" in decision.reason


@pytest.mark.parametrize(("margin", "alpha"), [(0, 0.05), (-1, 0.05), (0.01, 0), (0.01, 1)])
def test_a_question_without_sense_is_refused(margin: float, alpha: float) -> None:
    with pytest.raises(ValueError, match="alpha"):
        decide(np.zeros(3), margin=margin, alpha=alpha)


def test_same_says_where_the_mean_is_if_it_lies_outside_of_the_margin() -> None:
    random = np.random.default_rng(3)
    pairs = random.normal(0, 0.002, 40)
    assert "mean ratio" not in decide(pairs, margin=0.01).reason
    pairs[::10] += np.log(1.5)  # one process in ten of the second configuration
    found = decide(pairs, margin=0.01)
    assert found.verdict is Verdict.SAME
    assert f"their mean ratio is {np.exp(pairs.mean()):.4f}" in found.reason
    assert "not symmetric" in found.reason
