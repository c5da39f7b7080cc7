from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from harness.steady_state import classify, effective_sample_size, percentile_interval


def latencies(random: np.random.Generator, count: int) -> np.ndarray:
    """Around 100 µs, with the tail that latencies have."""
    return 1e5 * np.exp(0.02 * random.standard_t(3, count))


def autoregressive(random: np.random.Generator, count: int, lag: float) -> np.ndarray:
    values = random.normal(size=count)
    for k in range(1, count):
        values[k] = lag * values[k - 1] + math.sqrt(1 - lag**2) * values[k]
    return values


@pytest.mark.parametrize("count", [100, 1000, 20_000])
def test_one_state_is_flat(count: int) -> None:
    random = np.random.default_rng(1)
    kinds = [classify(latencies(random, count)).kind for _ in range(50)]
    assert kinds.count("flat") >= 46


def test_two_modes_that_take_turns_are_one_state() -> None:
    random = np.random.default_rng(2)
    mixed = 1e5 * (1 + 0.005 * random.normal(size=1000) + 0.05 * (random.random(1000) < 0.4))
    assert classify(mixed).kind == "flat"


@settings(derandomize=True, deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(1000, 20_000),
    share=st.floats(0.1, 0.4),
    step=st.floats(0.05, 3),
    unit=st.sampled_from([1e-2, 1.0, 1e4]),
)
def test_a_slow_start_is_warm_up_and_its_end_is_found(
    seed: int, count: int, share: float, step: float, unit: float
) -> None:
    values = latencies(np.random.default_rng(seed), count) * unit
    end = round(share * count)
    values[:end] *= 1 + step
    found = classify(values)
    assert found.kind == "warm-up"
    assert found.start is not None
    # Two blocks of a sixty-fourth.
    assert abs(found.start - end) <= 2 * count / 64 + 1
    assert f"steady from sample {found.start} of {count}" in found.reason


def test_a_decaying_start_is_warm_up() -> None:
    values = latencies(np.random.default_rng(3), 10_000)
    found = classify(values * (1 + 0.5 * np.exp(-np.arange(10_000) / 500)))
    assert found.kind == "warm-up"
    assert found.start is not None
    assert 1000 < found.start < 4000


def test_a_few_slow_samples_at_the_start_are_warm_up() -> None:
    values = latencies(np.random.default_rng(4), 5000)
    values[:6] *= 5
    found = classify(values)
    assert (found.kind, found.start) == ("warm-up", 6)


def test_a_fast_start_is_drift_with_a_steady_rest() -> None:
    values = latencies(np.random.default_rng(5), 5000)
    values[:1000] *= 0.9
    found = classify(values)
    assert found.kind == "drift"
    assert found.start == pytest.approx(1000, abs=160)


@pytest.mark.parametrize(("slope", "way"), [(0.2, "slower"), (-0.2, "faster")])
def test_a_latency_that_moves_all_the_time_has_no_steady_state(slope: float, way: str) -> None:
    values = latencies(np.random.default_rng(6), 5000)
    found = classify(values * np.exp(slope * np.linspace(0, 1, 5000)))
    assert (found.kind, found.start) == ("drift", None)
    assert f"it got {way} all the time" in found.reason


def test_load_that_comes_and_goes_is_unstable() -> None:
    values = latencies(np.random.default_rng(7), 6000)
    values[np.arange(6000) % 2000 > 1200] *= 1.2
    found = classify(values)
    assert (found.kind, found.start) == ("unstable", None)
    assert "changes of state" in found.reason


def test_a_difference_below_the_precision_is_no_change() -> None:
    values = 1e5 * (1 + 0.001 * np.random.default_rng(8).normal(size=5000))
    values[:2000] *= 1.004
    assert classify(values).kind == "flat"


def test_spikes_are_no_change_of_state() -> None:
    random = np.random.default_rng(9)
    values = latencies(random, 5000)
    values[random.random(5000) < 0.03] *= 20
    assert classify(values).kind == "flat"


def test_a_constant_series_is_flat() -> None:
    assert classify(np.full(1000, 500, np.int64)).kind == "flat"


@pytest.mark.parametrize("count", [0, 1, 3, 79])
def test_too_few_samples_have_no_class(count: int) -> None:
    found = classify(np.arange(1, count + 1))
    assert (found.kind, found.start) == ("unknown", None)
    assert found.reason == f"states need 80 samples, {count} were taken"


def test_samples_that_took_no_time_have_no_class() -> None:
    assert classify(np.arange(1000)).kind == "unknown"


def test_many_samples_are_classed_at_once() -> None:
    # A method that is quadratic in the samples would not come back.
    values = latencies(np.random.default_rng(10), 1_000_000)
    assert classify(values).kind == "flat"
    assert effective_sample_size(values) > 900_000


@pytest.mark.parametrize("lag", [0.0, 0.5, 0.9])
def test_effective_size_is_that_of_an_autoregression(lag: float) -> None:
    random = np.random.default_rng(11)
    found = [effective_sample_size(autoregressive(random, 4000, lag)) for _ in range(10)]
    # Known for the mean of the values; that of the ranks differs by a few percent.
    assert np.mean(found) == pytest.approx(4000 * (1 - lag) / (1 + lag), rel=0.15)


def test_effective_size_does_not_depend_on_the_scale_or_the_tail() -> None:
    values = autoregressive(np.random.default_rng(12), 2000, 0.7)
    plain = effective_sample_size(values)
    assert effective_sample_size(np.exp(5 * values)) == pytest.approx(plain)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(values=st.lists(st.integers(1, 10**9), max_size=200), percent=st.sampled_from([None, 50]))
def test_effective_size_is_within_one_and_the_number_of_samples(
    values: list[int], percent: float | None
) -> None:
    found = effective_sample_size(np.array(values, np.int64), percent)
    assert min(1, len(values)) <= found <= len(values)


def test_a_constant_series_has_its_full_size() -> None:
    assert effective_sample_size(np.full(100, 7)) == 100


@pytest.mark.parametrize("percent", [50, 90, 99])
def test_interval_of_a_percentile_covers_it(percent: float) -> None:
    random = np.random.default_rng(13)
    trials, hits = 400, 0
    truth = 1e5 * math.exp(0.02 * stats.t.ppf(percent / 100, 3))
    for _ in range(trials):
        interval, reason = percentile_interval(latencies(random, 1500), percent)
        assert interval is not None, reason
        hits += interval[0] <= truth <= interval[1]
    # Three standard errors below 95 %.
    assert hits / trials >= 0.917


def test_interval_of_a_percentile_covers_it_when_samples_depend_on_each_other() -> None:
    random = np.random.default_rng(14)
    trials, hits, plain_hits = 200, 0, 0
    for _ in range(trials):
        values = autoregressive(random, 2000, 0.9)
        interval, reason = percentile_interval(values, 50)
        assert interval is not None, reason
        hits += interval[0] <= 0 <= interval[1]
        plain, _ = percentile_interval(values, 50, n_effective=2000)
        assert plain is not None
        plain_hits += plain[0] <= 0 <= plain[1]
    assert hits / trials >= 0.9
    assert plain_hits / trials < 0.6


def test_interval_of_a_median_is_the_one_in_the_tables() -> None:
    # n = 20: between the 6th and the 15th sample, 95.9 % (Conover, Practical Nonparametric
    # Statistics, table A3).
    assert percentile_interval(np.arange(1, 21), 50, n_effective=20) == ((6.0, 15.0), "")


def test_interval_needs_enough_independent_samples() -> None:
    interval, reason = percentile_interval(np.arange(1000), 99, n_effective=499.9)
    assert interval is None
    assert reason == "an interval of p99 needs 500 independent samples, the 1000 are worth 499"
    assert percentile_interval(np.array([5, 6, 7]), 50)[0] is None
    assert percentile_interval(np.array([], np.int64), 50)[0] is None


def test_interval_is_absent_where_it_would_reach_beyond_the_samples() -> None:
    interval, reason = percentile_interval(np.arange(500), 99, 0.99, n_effective=500)
    assert interval is None
    assert "beyond the samples" in reason


@pytest.mark.parametrize(("percent", "confidence"), [(0, 0.9), (100, 0.9), (50, 0), (50, 1)])
def test_a_percentile_without_sense_is_refused(percent: float, confidence: float) -> None:
    with pytest.raises(ValueError, match="percent"):
        percentile_interval(np.arange(10), percent, confidence)
