from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from harness.statistics.hypotheses import holm, rank_test
from harness.statistics.occasions import (
    MEDIAN_OCCASION_SD,
    MEDIAN_OCCASION_SD_BESIDE_YARDSTICK,
    drift_factor,
)
from harness.statistics.verdicts import (
    Comparison,
    Side,
    Verdict,
    compare,
    side,
    with_holm,
)

DECIDED = (Verdict.FASTER, Verdict.SLOWER)
SWAPPED = {Verdict.FASTER: Verdict.SLOWER, Verdict.SLOWER: Verdict.FASTER}


def processes(
    random: np.random.Generator, shift: float = 0, sd: float = 0.01, count: int = 10
) -> Side:
    return Side(math.log(1e6) + random.normal(shift, sd, count))


def on_machine(
    random: np.random.Generator, state: np.ndarray, reaction: float, shift: float = 0
) -> Side:
    """Processes that share the course of a machine, which the yardstick sees."""
    count = len(state)
    return Side(
        13 + shift + reaction * state + random.normal(0, 0.008, count),
        log_yardstick=15 + state + random.normal(0, 0.004, count),
    )


def without_yardstick(one: Side) -> Side:
    return Side(one.log_figure)


def wrong(comparisons: list[Comparison]) -> int:
    return sum(c.verdict in DECIDED for c in comparisons)


# One occasion: Welch's test, equivalence, ranks


def test_p_value_and_interval_are_welchs_on_the_logarithms() -> None:
    random = np.random.default_rng(1)
    base, candidate = processes(random, count=8), processes(random, 0.03, 0.02, 12)
    found = compare(base, candidate, same_occasion=True)
    expected = stats.ttest_ind(candidate.log_figure, base.log_figure, equal_var=False)
    assert found.p_value == pytest.approx(expected.pvalue)
    assert found.interval is not None
    assert np.log(found.interval) == pytest.approx(expected.confidence_interval(0.95))
    assert found.ratio == pytest.approx(
        math.exp(candidate.log_figure.mean() - base.log_figure.mean())
    )


def test_p_value_of_the_same_is_that_of_two_one_sided_tests() -> None:
    random = np.random.default_rng(2)
    base, candidate = processes(random, sd=0.004), processes(random, 0.001, 0.004)
    found = compare(base, candidate, same_occasion=True, margin=0.01)
    limit = math.log(1.01)
    one, other = candidate.log_figure, base.log_figure
    below = stats.ttest_ind(one + limit, other, equal_var=False, alternative="greater").pvalue
    above = stats.ttest_ind(one - limit, other, equal_var=False, alternative="less").pvalue
    assert found.p_value_same == pytest.approx(max(below, above))
    assert found.verdict is Verdict.SAME
    assert "within the margin of 1.00%" in found.reason


@pytest.mark.parametrize(("shift", "verdict"), [(0.1, Verdict.SLOWER), (-0.1, Verdict.FASTER)])
def test_a_plain_difference_has_its_direction(shift: float, verdict: Verdict) -> None:
    random = np.random.default_rng(3)
    found = compare(processes(random), processes(random, shift), same_occasion=True)
    assert found.verdict is verdict
    assert found.rank_agrees
    assert found.processes_needed is None


def test_a_difference_that_is_seen_but_within_the_margin_is_the_same() -> None:
    random = np.random.default_rng(4)
    base, candidate = processes(random, sd=0.0005), processes(random, 0.003, 0.0005)
    found = compare(base, candidate, same_occasion=True, margin=0.01)
    assert found.verdict is Verdict.SAME
    assert found.p_value is not None
    assert found.p_value < 0.05


@pytest.mark.parametrize("name", ["normal", "heavy", "skewed", "two modes", "three processes"])
def test_equal_sides_are_called_different_in_five_percent_at_most(name: str) -> None:
    random = np.random.default_rng(5)

    def draw() -> Side:
        return {
            "normal": lambda: Side(random.normal(0, 0.02, 10)),
            "heavy": lambda: Side(0.02 * random.standard_t(2, 10)),
            "skewed": lambda: Side(0.02 * random.exponential(size=10)),
            "two modes": lambda: Side(random.normal(0.1 * (random.random(10) < 0.3), 0.01)),
            "three processes": lambda: Side(random.normal(0, 0.02, 3)),
        }[name]()

    trials = 200
    found = [compare(draw(), draw(), same_occasion=True) for _ in range(trials)]
    # Three standard errors above 5 %.
    assert wrong(found) / trials <= 0.096


def test_two_percent_are_found_at_ten_processes_that_scatter_by_one() -> None:
    random = np.random.default_rng(6)
    found = [
        compare(processes(random), processes(random, 0.02), same_occasion=True) for _ in range(150)
    ]
    # The power of the t test is 98.9 %; the ranks take a little of it.
    assert wrong(found) >= 0.93 * 150


def test_interval_covers_the_truth_as_often_as_it_says() -> None:
    random = np.random.default_rng(7)
    trials, hits = 400, 0
    for _ in range(trials):
        found = compare(processes(random, count=6), processes(random, 0.05), same_occasion=True)
        assert found.interval is not None
        hits += found.interval[0] <= math.exp(0.05) <= found.interval[1]
    assert hits / trials == pytest.approx(0.95, abs=0.033)


def test_the_same_is_wrongly_said_in_five_percent_at_most() -> None:
    # Truth: just at the margin.
    random = np.random.default_rng(8)
    trials = 250
    found = [
        compare(
            processes(random, sd=0.005),
            processes(random, math.log(1.01), 0.005),
            same_occasion=True,
            margin=0.01,
        ).verdict
        for _ in range(trials)
    ]
    assert found.count(Verdict.SAME) / trials <= 0.091


def test_ranks_that_do_not_show_a_difference_leave_it_undecided() -> None:
    base = Side(np.array([0.0, 0.10, 0.20, 0.31]))
    candidate = Side(np.array([0.3, 0.70, 0.75, 0.80]))
    found = compare(base, candidate, same_occasion=True)
    assert found.p_value is not None
    assert found.p_value < 0.05
    # 0.0571 by the tables: one pair is the other way round.
    assert found.rank_agrees is False
    assert found.verdict is Verdict.UNDECIDED
    assert "a rank test over processes does not confirm it" in found.reason
    apart = compare(base, Side(candidate.log_figure + 0.1), same_occasion=True)
    assert apart.verdict is Verdict.SLOWER


@settings(derandomize=True, deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    shift=st.floats(-0.2, 0.2),
    offset=st.floats(-5, 5),
    counts=st.tuples(st.integers(2, 12), st.integers(2, 12)),
    yardstick=st.booleans(),
    same_occasion=st.booleans(),
)
def test_sides_swapped_swap_the_verdict_and_units_do_not_matter(
    seed: int,
    shift: float,
    offset: float,
    counts: tuple[int, int],
    yardstick: bool,
    same_occasion: bool,
) -> None:
    random = np.random.default_rng(seed)
    base = on_machine(random, random.normal(0, 0.02, counts[0]), 1)
    candidate = on_machine(random, random.normal(0, 0.02, counts[1]), 1, shift)
    if not yardstick:
        base, candidate = without_yardstick(base), without_yardstick(candidate)

    def shifted(one: Side) -> Side:
        return Side(one.log_figure + offset, log_yardstick=one.log_yardstick)

    one = compare(base, candidate, same_occasion=same_occasion)
    other = compare(candidate, base, same_occasion=same_occasion)
    moved = compare(shifted(base), shifted(candidate), same_occasion=same_occasion)
    assert other.verdict is SWAPPED.get(one.verdict, one.verdict)
    assert moved.verdict is one.verdict
    if one.verdict is Verdict.NOT_COMPARABLE:
        return
    assert one.ratio is not None
    assert other.ratio is not None
    assert one.interval is not None
    assert moved.interval is not None
    assert one.ratio * other.ratio == pytest.approx(1)
    assert one.interval[0] <= one.ratio <= one.interval[1]
    assert moved.interval == pytest.approx(one.interval)
    if one.verdict in DECIDED:
        assert not one.interval[0] <= 1 <= one.interval[1]


# How many processes would decide


def test_undecided_tells_the_processes_that_would_decide() -> None:
    base = Side(np.array([0, 0.02, 0.04, 0.02, 0.03]))
    candidate = Side(base.log_figure + 0.01)
    found = compare(base, candidate, same_occasion=True)
    assert found.verdict is Verdict.UNDECIDED
    # 2 (z(.975) + z(.8))^2 sd^2 / 0.01^2 = 34.5 from the textbook, a little more with t.
    assert found.processes_needed is not None
    assert 34 <= found.processes_needed <= 37


def test_so_many_processes_do_decide_four_times_out_of_five() -> None:
    random = np.random.default_rng(9)
    pair = Side(np.array([0, 0.02, 0.04, 0.02, 0.03]))
    sd = float(pair.log_figure.std(ddof=1))
    found = compare(pair, Side(pair.log_figure + 0.01), same_occasion=True)
    needed = found.processes_needed
    assert needed is not None
    trials = [
        compare(
            processes(random, 0, sd, needed),
            processes(random, 0.01, sd, needed),
            same_occasion=True,
        )
        for _ in range(150)
    ]
    assert wrong(trials) / 150 == pytest.approx(0.8, abs=0.12)


def test_where_occasions_differ_more_processes_are_not_promised_to_help() -> None:
    random = np.random.default_rng(10)
    found = compare(processes(random), processes(random, 0.03), same_occasion=False)
    assert found.verdict is Verdict.UNDECIDED
    assert found.processes_needed is None
    assert "`ab`" in found.reason


# Separate occasions and the yardstick


def test_another_occasion_carries_its_variance() -> None:
    random = np.random.default_rng(11)
    base, candidate = processes(random), processes(random, 0.1)
    apart = compare(base, candidate, same_occasion=False)
    assert compare(base, candidate, same_occasion=True).verdict is Verdict.SLOWER
    assert apart.verdict is Verdict.UNDECIDED
    assert apart.occasion_sd == MEDIAN_OCCASION_SD
    assert "includes a standard deviation of 7.0% between occasions" in apart.reason
    measured = compare(base, candidate, same_occasion=False, occasion_sd=0.005)
    assert measured.verdict is Verdict.SLOWER


@pytest.mark.parametrize("yardstick", [True, False])
@pytest.mark.parametrize("machine", ["quiet", "drift", "step", "episodes"])
def test_profiles_of_one_model_on_a_changing_machine(machine: str, yardstick: bool) -> None:
    # Rates of a longer simulation are in docs/METHODS.md.
    random = np.random.default_rng(12)
    time = np.arange(150)
    states = {
        "quiet": np.zeros(150),
        "drift": 0.1 * np.sin(time / 30) + 0.05 * np.sin(time / 7),
        "step": np.where(time > 74, 0.1, 0),
        "episodes": 0.15 * np.repeat(random.random(25) < 0.3, 6),
    }[machine]
    profiles = [on_machine(random, state, 0.7) for state in states.reshape(15, 10)]
    if not yardstick:
        profiles = [without_yardstick(one) for one in profiles]
    found = [
        compare(one, other, same_occasion=False)
        for k, one in enumerate(profiles)
        for other in profiles[k + 1 :]
    ]
    assert wrong(found) / len(found) <= 0.05


def test_the_yardstick_finds_what_the_machine_hides() -> None:
    random = np.random.default_rng(13)
    base = on_machine(random, random.normal(0, 0.01, 10), 1)
    candidate = on_machine(random, random.normal(0, 0.01, 10), 1, 0.08)
    blind = without_yardstick(base), without_yardstick(candidate)
    assert compare(*blind, same_occasion=False).verdict is Verdict.UNDECIDED
    found = compare(base, candidate, same_occasion=False)
    assert found.verdict is Verdict.SLOWER
    assert found.occasion_sd == MEDIAN_OCCASION_SD_BESIDE_YARDSTICK


@pytest.mark.parametrize("reaction", [0.5, 1, 1.4])
def test_a_difference_that_the_yardstick_shares_is_the_machines(reaction: float) -> None:
    random = np.random.default_rng(14)
    base = on_machine(random, np.zeros(10), reaction)
    candidate = on_machine(random, np.full(10, 0.2), reaction)
    found = compare(base, candidate, same_occasion=False)
    assert found.verdict is Verdict.UNDECIDED
    assert found.p_value is not None
    assert found.ratio == pytest.approx(math.exp(reaction * 0.2), rel=0.02)


def test_parts_of_the_yardstick_are_each_reckoned_with() -> None:
    random = np.random.default_rng(16)
    base = on_machine(random, np.zeros(10), 1)
    slow = on_machine(random, np.full(10, 0.15), 1)
    blind = random.normal(0, 0.004, (10, 1))

    def two_parts(one: Side) -> Side:
        assert one.log_yardstick is not None
        return Side(one.log_figure, log_yardstick=np.hstack([blind, one.log_yardstick[:, None]]))

    only_blind = compare(
        Side(base.log_figure, log_yardstick=blind),
        Side(slow.log_figure, log_yardstick=blind),
        same_occasion=False,
    )
    assert only_blind.verdict is Verdict.SLOWER
    assert compare(two_parts(base), two_parts(slow), same_occasion=False).verdict not in DECIDED


def test_drift_within_a_side_widens_the_interval() -> None:
    random = np.random.default_rng(17)
    noise = random.normal(0, 0.001, 10)
    climbing = Side(np.sort(random.normal(0, 0.02, 10)) + noise)
    shuffled = Side(random.permutation(climbing.log_figure))
    other = processes(random, -14)
    drifting = compare(other, climbing, same_occasion=False, occasion_sd=0)
    plain = compare(other, shuffled, same_occasion=False, occasion_sd=0)
    assert drifting.interval is not None
    assert plain.interval is not None
    assert np.ptp(np.log(drifting.interval)) > 1.3 * np.ptp(np.log(plain.interval))
    # Interleaved, both sides drift alike.
    assert compare(other, climbing, same_occasion=True).interval == pytest.approx(
        compare(other, shuffled, same_occasion=True).interval
    )


def test_drift_factor_is_one_without_drift_and_large_on_a_slope() -> None:
    alternating = np.array([0.0, 1.0] * 6)
    assert drift_factor(alternating) == (1.0, 11.0)
    factor, freedom = drift_factor(np.linspace(0, 1, 12))
    assert factor > 5
    assert freedom < 2
    assert drift_factor(np.zeros(5)) == (1.0, 4.0)


def test_drift_factor_makes_the_variance_of_a_mean_true() -> None:
    random = np.random.default_rng(18)
    lag, count, trials = 0.5, 30, 400
    means, variances = [], []
    for _ in range(trials):
        values = random.normal(size=count)
        for k in range(1, count):
            values[k] = lag * values[k - 1] + math.sqrt(1 - lag**2) * values[k]
        means.append(values.mean())
        variances.append(drift_factor(values)[0] * values.var(ddof=1) / count)
    assert np.mean(variances) == pytest.approx(np.var(means), rel=0.35)
    # Taken for independent, it would be a third.
    assert np.var(means) > 2.3 / count


# Tails, many operators


def test_tails_are_compared_where_enough_samples_stand_behind_them() -> None:
    random = np.random.default_rng(24)

    def tail(count: int, factor: float, percent: float) -> Side:
        body = 1e5 * np.exp(random.normal(0, 0.002, (8, count)))
        slow = np.where(random.random((8, count)) < 0.03, factor, 1)
        return side(list((body * slow).astype(np.int64)), percent=percent)

    same = compare(tail(1000, 1.5, 90), tail(1000, 3, 90), same_occasion=True)
    assert same.verdict is Verdict.SAME
    slower = compare(tail(1000, 1.5, 99), tail(1000, 3, 99), same_occasion=True)
    assert slower.verdict is Verdict.SLOWER
    assert slower.ratio == pytest.approx(2, rel=0.1)
    few = compare(tail(200, 1.5, 99), tail(1000, 3, 99), same_occasion=True)
    assert few.verdict is Verdict.NOT_COMPARABLE
    assert "p99 needs 500 samples, 200 were taken" in few.reason


def test_a_slow_model_is_compared_by_its_processes() -> None:
    random = np.random.default_rng(25)

    def slow(factor: float) -> Side:
        return side(list(np.round(factor * random.normal(1e9, 1e6, (10, 3))).astype(np.int64)))

    found = compare(slow(1), slow(1.05), same_occasion=True)
    assert found.verdict is Verdict.SLOWER
    assert found.ratio == pytest.approx(1.05, rel=0.002)


def test_holm_is_the_textbooks() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.7, 0.9]) == [1.0, 1.0]
    with pytest.raises(ValueError, match="probabilities"):
        holm([0.1, math.nan])


@settings(derandomize=True, deadline=None, max_examples=100)
@given(values=st.lists(st.floats(0, 1), max_size=20))
def test_holm_keeps_the_order_and_lies_between_none_and_bonferroni(values: list[float]) -> None:
    adjusted = holm(values)
    assert all(p <= a <= min(1, p * len(values)) for p, a in zip(values, adjusted, strict=True))
    pairs = sorted(zip(values, adjusted, strict=True))
    assert [a for _, a in pairs] == sorted(adjusted)


def test_many_operators_raise_no_more_false_alarms_than_one() -> None:
    random = np.random.default_rng(21)
    trials, alarms, plain_alarms = 30, 0, 0
    for _ in range(trials):
        found = {
            str(k): compare(
                processes(random, count=5), processes(random, count=5), same_occasion=True
            )
            for k in range(20)
        }
        plain_alarms += wrong(list(found.values())) > 0
        alarms += wrong(list(with_holm(found).values())) > 0
    assert plain_alarms > 8
    assert alarms <= 5


def test_an_operator_that_is_slower_stays_slower_among_many() -> None:
    random = np.random.default_rng(22)
    found = {
        str(k): compare(processes(random), processes(random), same_occasion=True) for k in range(20)
    }
    found["MatMul"] = compare(processes(random), processes(random, 0.2), same_occasion=True)
    found["gone"] = compare(Side(np.zeros(1)), Side(np.zeros(1)), same_occasion=True)
    together = with_holm(found)
    assert together["MatMul"].verdict is Verdict.SLOWER
    assert together["gone"].verdict is Verdict.NOT_COMPARABLE
    withheld = [n for n in found if together[n].verdict is not found[n].verdict]
    assert all("not as one of 21 (Holm)" in together[n].reason for n in withheld)


# Ranks


@pytest.mark.parametrize("counts", [(3, 4), (8, 8), (10, 10), (30, 30)])
def test_rank_test_is_that_of_mann_and_whitney(counts: tuple[int, int]) -> None:
    random = np.random.default_rng(23)
    one, other = random.normal(0, 1, counts[0]), random.normal(0.7, 1, counts[1])
    share, p_value, smallest = rank_test(one, other)
    method = "exact" if sum(counts) <= 40 else "asymptotic"
    expected = stats.mannwhitneyu(other, one, method=method, use_continuity=False)
    assert share == pytest.approx(expected.statistic / (counts[0] * counts[1]))
    assert p_value == pytest.approx(expected.pvalue)
    assert smallest == pytest.approx(2 / math.comb(sum(counts), counts[0]))


def test_rank_test_with_ties_counts_all_orders() -> None:
    one, other = np.array([1.0, 1.0, 2.0, 3.0]), np.array([2.0, 3.0, 3.0, 4.0])

    def statistic(x: np.ndarray, y: np.ndarray) -> float:
        return float(stats.rankdata(np.concatenate([x, y]))[len(x) :].sum())

    expected = stats.permutation_test((one, other), statistic, n_resamples=np.inf)
    assert rank_test(one, other)[1] == pytest.approx(expected.pvalue)
    assert rank_test(np.ones(4), np.ones(5)) == (0.5, 1.0, pytest.approx(2 / 126))
    assert rank_test(np.ones(40), np.ones(50))[:2] == (0.5, 1.0)


# Bad cases: a sentence each


@pytest.mark.parametrize(
    ("base", "candidate", "sentence"),
    [
        (Side(np.zeros(1)), Side(np.arange(5.0)), "the base has one process"),
        (Side(np.arange(5.0)), Side(np.zeros(0)), "the candidate has no process"),
        (Side(np.array([1, np.nan])), Side(np.arange(5.0)), "no latency above zero"),
        (Side(np.array([1, -np.inf])), Side(np.arange(5.0)), "no latency above zero"),
        (Side(np.full(5, 2.0)), Side(np.full(5, 3.0)), "the clock is too coarse"),
        (Side(np.full(5, 2.0)), Side(np.full(5, 2.0)), "the clock is too coarse"),
        (
            side([np.array([5, 6, 7])] * 3),
            Side(np.arange(5.0)),
            "the base cannot be compared: p50 needs 10 samples, 9 were taken",
        ),
    ],
)
def test_what_cannot_be_compared_gets_a_sentence_and_no_number(
    base: Side, candidate: Side, sentence: str
) -> None:
    found = compare(base, candidate, same_occasion=True)
    assert found.verdict is Verdict.NOT_COMPARABLE
    assert sentence in found.reason
    assert found.ratio is None
    assert found.interval is None
    assert found.p_value is None
    assert found.rank_agrees is None


@pytest.mark.parametrize(
    ("yardstick", "sentence"),
    [
        (np.zeros(3), "not timed with every process"),
        (np.zeros((4, 2)), "different yardsticks"),
        (np.full(4, np.nan), "no time above zero"),
    ],
)
def test_a_yardstick_of_no_use_gets_a_sentence(yardstick: np.ndarray, sentence: str) -> None:
    base = Side(np.array([1, 1.1, 1.2, 1.3]), log_yardstick=np.zeros(4))
    candidate = Side(base.log_figure + 1, log_yardstick=yardstick)
    found = compare(base, candidate, same_occasion=False)
    assert found.verdict is Verdict.NOT_COMPARABLE
    assert sentence in found.reason


def test_one_side_may_agree_to_the_nanosecond() -> None:
    found = compare(Side(np.full(5, 2.0)), Side(2 + np.arange(1, 6) / 100), same_occasion=True)
    assert found.verdict is Verdict.SLOWER


@pytest.mark.parametrize(
    "wrong_sense",
    [{"margin": 0}, {"confidence": 1}, {"occasion_sd": -1}],
)
def test_a_question_without_sense_is_refused(wrong_sense: dict[str, float]) -> None:
    one = Side(np.arange(4.0))
    with pytest.raises(ValueError, match=r"margin|between occasions"):
        compare(one, one, same_occasion=True, **wrong_sense)  # type: ignore[arg-type]
