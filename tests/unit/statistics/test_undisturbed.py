"""The undisturbed latency: what it estimates, and what is said of two occasions."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.statistics import undisturbed
from harness.statistics.hypotheses import fisher, p_above
from harness.statistics.occasions import REACH, Between, learned
from harness.statistics.verdicts import MARGIN, Side, Verdict


def occasion(
    shift: float = 0.0,
    *,
    seed: int = 0,
    count: int = 10,
    scatter: float = 0.002,
    slow: int = 0,
    machine: float = 0.0,
) -> Side:
    """Processes of one occasion, beside a yardstick that shows the machine's speed."""
    random = np.random.default_rng(seed)
    values = 10 + shift + machine + random.normal(0, scatter, count)
    values[:slow] += 0.5
    yardstick = 15 + machine + random.normal(0, 0.0005, (count, 2))
    return Side(values, yardstick)


def test_slow_processes_do_not_move_the_faster_half() -> None:
    for slow in range(5):
        found = undisturbed.compare(
            [occasion(seed=1)], [occasion(math.log(1.05), seed=2, slow=slow)]
        )
        assert found.verdict is Verdict.SLOWER, slow
        assert found.ratio == pytest.approx(1.05, abs=0.003)


def test_two_occasions_alone_are_never_same_within_one_percent_but_it_says_within_what() -> None:
    found = undisturbed.compare([occasion(seed=1)], [occasion(seed=2)])
    assert found.verdict is Verdict.UNDECIDED
    assert found.same_within is not None
    assert 0.02 < found.same_within < 0.03
    assert f"SAME within ±{found.same_within:.2%}" in found.reason
    wider = undisturbed.compare([occasion(seed=1)], [occasion(seed=2)], margin=0.03)
    assert wider.verdict is Verdict.SAME


def test_a_history_that_hardly_varies_finds_what_an_assumption_does_not() -> None:
    random = np.random.default_rng(0)
    history = [occasion(random.normal(0, 0.002), seed=100 + k) for k in range(10)]
    sides = [occasion(seed=1)], [occasion(math.log(1.02), seed=2)]
    assert undisturbed.compare(*sides).verdict is Verdict.UNDECIDED
    found = undisturbed.compare(*sides, history=history)
    assert found.verdict is Verdict.SLOWER
    assert "0.5% between 10 occasions of yours" in found.reason
    many = [occasion(random.normal(0, 0.001), seed=200 + k) for k in range(60)]
    same = undisturbed.compare([occasion(seed=3)], [occasion(seed=4)], history=many)
    assert same.verdict is Verdict.SAME, same.reason


def test_a_history_that_varies_takes_a_verdict_back() -> None:
    sides = [occasion(seed=1)], [occasion(math.log(1.05), seed=2)]
    assert undisturbed.compare(*sides).verdict is Verdict.SLOWER
    shifts = (0, 0.05, -0.04, 0.03, -0.02, 0.06)
    history = [occasion(shift, seed=10 + k) for k, shift in enumerate(shifts)]
    assert undisturbed.compare(*sides, history=history).verdict is Verdict.UNDECIDED


def test_what_the_yardstick_shares_is_not_the_models() -> None:
    found = undisturbed.compare([occasion(seed=1)], [occasion(seed=2, machine=0.05)])
    assert found.verdict is Verdict.UNDECIDED
    assert found.ratio == pytest.approx(math.exp(0.05), abs=0.003)


def test_a_history_tells_how_the_model_reacts_to_the_machine() -> None:
    """Where clocks vary, the yardstick's change counts as often as it did before, not up to 2.5."""
    random = np.random.default_rng(1)
    history = [occasion(seed=50 + k, machine=random.normal(0, 0.02)) for k in range(12)]
    sides = [occasion(seed=1)], [occasion(math.log(1.05), seed=2, machine=0.02)]
    assert undisturbed.compare(*sides).verdict is Verdict.UNDECIDED
    found = undisturbed.compare(*sides, history=history)
    assert found.verdict is Verdict.SLOWER
    assert found.ratio == pytest.approx(1.05, abs=0.01)
    assert "corrected for" in found.reason
    equal = undisturbed.compare([sides[0][0]], [occasion(seed=3, machine=0.02)], history=history)
    assert equal.verdict is Verdict.UNDECIDED
    assert equal.ratio == pytest.approx(1, abs=0.01)
    beyond = undisturbed.compare([sides[0][0]], [occasion(seed=4, machine=0.2)], history=history)
    assert beyond.ratio == pytest.approx(math.exp(0.2), abs=0.01), (
        "never seen before: not corrected"
    )


def test_what_was_learned_of_one_cause_is_not_used_for_another() -> None:
    """Clocks slowed both parts of the yardstick alike; now the cache part is slowed more."""
    random = np.random.default_rng(1)
    history = [occasion(seed=50 + k, machine=random.normal(0, 0.02)) for k in range(12)]
    base, slower = occasion(seed=1), occasion(seed=2, machine=0.02)
    assert slower.log_yardstick is not None
    alike = Side(slower.log_figure + 0.03, slower.log_yardstick)
    assert undisturbed.compare([base], [alike], history=history).verdict is Verdict.SLOWER
    other = Side(alike.log_figure, slower.log_yardstick + np.array([0.0, 0.01]))
    found = undisturbed.compare([base], [other], history=history)
    assert found.verdict is Verdict.UNDECIDED
    assert "widened by up to 2.5 times" in found.reason


def test_without_a_yardstick_the_whole_deviation_between_occasions_is_assumed() -> None:
    bare = [Side(one.log_figure) for one in (occasion(seed=1), occasion(0.1, seed=2))]
    found = undisturbed.compare([bare[0]], [bare[1]])
    assert found.occasion_sd == 0.07
    assert found.verdict is Verdict.UNDECIDED


def test_several_occasions_a_side_tell_their_own_deviation() -> None:
    base = [occasion(0.001 * k, seed=k) for k in range(3)]
    slower = [occasion(0.02 + 0.001 * k, seed=10 + k) for k in range(3)]
    found = undisturbed.compare(base, slower)
    assert found.verdict is Verdict.SLOWER
    assert "between 6 occasions of yours" in found.reason
    assert undisturbed.compare(base[:1], slower[:1]).verdict is Verdict.UNDECIDED


def test_few_processes_are_said() -> None:
    found = undisturbed.compare([occasion(seed=1, count=4)], [occasion(seed=2)])
    assert "a side of 4 processes has too few" in found.reason
    one = undisturbed.compare([occasion(seed=1, count=1)], [occasion(seed=2)])
    assert one.verdict is Verdict.NOT_COMPARABLE


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=40), st.sampled_from([0.25, 0.5]))
def test_the_faster_mean_is_that_of_the_smallest_values(
    values: Sequence[float], share: float
) -> None:
    found = undisturbed.faster(np.array(values), share)
    kept = sorted(values)[: max(2, math.ceil(share * len(values)))]
    assert found.mean == pytest.approx(np.mean(kept), abs=1e-9)
    assert list(found.values) == kept
    assert found.variance >= 0
    assert found.freedom == len(kept) - 1


@pytest.mark.parametrize("count", [6, 10, 20])
def test_the_variance_of_the_faster_mean_is_what_it_varies_by(count: int) -> None:
    random = np.random.default_rng(count)
    found = [undisturbed.faster(random.normal(0, 1, count)) for _ in range(4000)]
    true = np.var([one.mean for one in found])
    assert np.mean([one.variance for one in found]) == pytest.approx(true, rel=0.15)


def test_the_variance_between_occasions_is_learned_as_its_formula_says() -> None:
    values = [0.001, 0.003, -0.002, 0.0]
    squares = sum((one - np.mean(values)) ** 2 for one in values)
    found = learned([values], 0.01)
    assert found.variance == pytest.approx((3 * 0.01**2 + squares) / (3 + 4 - 1))
    assert (found.freedom, found.occasions) == (6, 4)
    beside = learned([values], 0.01, [values])
    assert beside.variance == pytest.approx(3 * 0.01**2 / 5), "all of it is the machine's"
    assert beside.freedom == 5, "one is spent on the reaction"
    few = learned([values[:3]], 0.01, [values[:3]])
    assert (few.variance, few.freedom) == (pytest.approx(3 * 0.01**2 / 5), 5), "none was fitted"
    other = learned([values[:3]], 0.01, [[3 * one for one in values[:3]]])
    assert other.variance > few.variance, "three occasions cannot tell a reaction of a third"
    blind = learned([values], 0.01, [[0.0] * 4])
    assert blind == found, "a yardstick that did not change explains nothing"
    assert learned([[0.1, 0.2], [5.0]], 0.01) == Between(0.01**2), "two occasions tell too little"
    wild = learned([[10 * one for one in values]], 0.01)
    assert wild.variance == pytest.approx(100 * squares / 3), "more than assumed is not made less"
    assert wild.freedom == 3
    shifted = learned([values[:2], [one + 7 for one in values[2:]]], 0.01)
    assert shifted.freedom == 5, "groups may differ from each other"


@pytest.mark.parametrize("parts", [1, 2, 3])
@pytest.mark.parametrize("occasions", [4, 5, 8])
def test_the_variance_beside_a_yardstick_is_learned_without_bias(
    occasions: int, parts: int
) -> None:
    """Neither the fitted reaction nor a choice among parts may make less of it."""
    random = np.random.default_rng(occasions)
    true, ratios = 0.05, []
    for _ in range(300):
        machine = random.normal(0, 0.05, occasions + 2)
        history = [
            Side(
                10 + one + random.normal(0, true) + random.normal(0, 1e-4, 6),
                15 + one + random.normal(0, 0.02, parts) + random.normal(0, 1e-4, (6, parts)),
            )
            for one in machine
        ]
        found = undisturbed.compare([history[0]], [history[1]], history=history[2:])
        ratios.append((found.occasion_sd / true) ** 2)
    assert 0.9 < np.mean(ratios) < 1.3  # the prior and the limits of the reaction add to it


@pytest.mark.parametrize("occasions", [3, 4])
@pytest.mark.parametrize("unseen", [0.02, 0.03])
def test_a_short_history_keeps_false_alarms_down(occasions: int, unseen: float) -> None:
    """Where the yardstick misses two or three times what would be assumed without a history."""
    random = np.random.default_rng(1)
    alarms = 0
    for _ in range(400):
        taken = []
        for machine in random.normal(0, 0.01, occasions + 2):
            values = 10 + machine + random.normal(0, unseen) + random.normal(0, 0.008, 10)
            taken.append(Side(values, 15 + machine + random.normal(0, 0.004, (10, 2))))
        found = undisturbed.compare([taken[0]], [taken[1]], history=taken[2:])
        alarms += found.verdict in (Verdict.FASTER, Verdict.SLOWER)
    assert alarms / 400 <= 0.05


def test_fishers_test_against_another_implementation() -> None:
    from scipy import stats

    random = np.random.default_rng(0)
    for _ in range(50):
        of, of_others = random.integers(2, 25, 2)
        some, others = random.integers(0, of + 1), random.integers(0, of_others + 1)
        table = [[some, of - some], [others, of_others - others]]
        expected = stats.fisher_exact(table).pvalue
        assert fisher(some, of, others, of_others) == pytest.approx(expected, rel=1e-6)


def test_probabilities_add_up_and_follow_the_ratio() -> None:
    chances = [
        undisturbed.compare([occasion(seed=1)], [occasion(math.log(r), seed=2)]).probability(MARGIN)
        for r in (0.9, 1.0, 1.05, 1.1)
    ]
    for one in chances:
        assert one is not None
        assert one.slower + one.same + one.faster == pytest.approx(1)
    slower = [one.slower for one in chances if one is not None]
    assert slower == sorted(slower)
    assert slower[0] < 0.001
    assert slower[-1] > 0.999


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_no_reaction_counts_once_however_many_parts_the_yardstick_has(parts: int) -> None:
    """Of the reactions from none to the strongest, none is one in six, not one more a part."""
    machine = np.array([0.04, 0.02, 0.03])[:parts]
    still = np.random.default_rng(0).normal(0, 0.0005, (10, parts))
    base, slower = occasion(seed=1), occasion(math.log(1.05), seed=2)
    found = undisturbed.compare(
        [Side(base.log_figure, 15 + still)], [Side(slower.log_figure, 15 + machine + still)]
    )
    free, *strongest = found.estimates
    assert len(strongest) == parts, (
        "one estimate without a reaction, and the strongest of each part"
    )
    expected = [free.difference - REACH * one for one in machine]
    assert [one.difference for one in strongest] == pytest.approx(expected, abs=1e-9)
    # Of sure differences, the probability is the share of reactions that leave more than the limit.
    sure = [
        dataclasses.replace(one, fixed=1e-12, variances=one.variances * 1e-9)
        for one in found.estimates
    ]
    assert p_above(sure, free.difference - 1e-4) == pytest.approx(1 / 6)


def test_of_statements_that_are_nine_in_ten_sure_at_least_85_percent_are_right() -> None:
    """On occasions that differ by what is assumed, true changes normal with 4 %."""
    random = np.random.default_rng(5)
    right = said = 0
    limit = math.log1p(MARGIN)
    for _ in range(400):
        change = random.normal(0, 0.04)
        sides = [
            Side(
                10 + shift + random.normal(0, 0.01) + random.normal(0, 0.008, 10),
                15 + random.normal(0, 0.0005, (10, 2)),
            )
            for shift in (0.0, change)
        ]
        told = undisturbed.compare([sides[0]], [sides[1]]).probability(MARGIN)
        assert told is not None
        for chance, truth in (
            (told.slower, change > limit),
            (told.same, abs(change) <= limit),
            (told.faster, change < -limit),
        ):
            if chance >= 0.9:
                right, said = right + truth, said + 1
    assert said > 100
    assert right / said >= 0.85


def test_a_probability_is_a_number_even_where_processes_do_not_scatter() -> None:
    """Then only what is assumed between occasions varies, with infinite degrees of freedom."""
    yardstick = 15 + np.random.default_rng(0).normal(0, 0.001, (10, 2))
    sides = [Side(np.append(np.full(9, 10 + shift), 11.0), yardstick) for shift in (0.0, 0.05)]
    told = undisturbed.compare([sides[0]], [sides[1]]).probability(MARGIN)
    assert told is not None
    assert 0.9 < told.slower <= 1


@pytest.mark.parametrize("level", [0.1, 1.1, 12.9157, -7.3])
def test_a_yardstick_that_stood_still_costs_no_freedom(level: float) -> None:
    figures = [0.001 * k for k in range(10)]
    still = learned([figures], 0.01, [[level] * 10])
    assert still == learned([figures], 0.01)
