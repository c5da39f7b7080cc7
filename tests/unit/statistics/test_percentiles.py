"""Percentiles of a process: how much its samples are worth, and intervals that hold the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from harness.statistics import latency
from harness.statistics.intervals import effective_sample_size, percentile_interval
from tests.builders.process_records import process
from tests.builders.simulated import autoregressive, latencies


def spread(count: int) -> np.ndarray:
    """Distinct samples, the largest far apart from each other: none depends on its neighbours."""
    return np.arange(count) * 7 % count


def test_the_size_of_many_samples_is_told_at_once() -> None:
    # A method that is quadratic in the samples would not come back.
    assert effective_sample_size(latencies(np.random.default_rng(10), 1_000_000)) > 900_000


@pytest.mark.parametrize("period", [0, 100, 30_000])
def test_short_and_long_correlations_are_worth_what_all_lags_say(period: int) -> None:
    count = 60_000
    values = np.random.default_rng(3).normal(size=count)
    if period:  # states that last for as long
        values += 2 * (np.arange(count) // period % 2)
    ranks = stats.rankdata(values)
    centred = ranks - ranks.mean()
    spectrum = np.abs(np.fft.rfft(centred, 2 * count)) ** 2
    lags = np.fft.irfft(spectrum, 2 * count)[:count]
    pairs = lags.reshape(-1, 2).sum(axis=1) / lags[0]
    kept = np.minimum.accumulate(pairs[: np.flatnonzero(pairs <= 0)[0]])
    expected = count / max(2 * float(kept.sum()) - 1, 1.0)
    assert effective_sample_size(values) == pytest.approx(expected)


def test_a_process_alone_has_intervals_of_its_percentiles_between_its_samples() -> None:
    found = latency.latency([process(list(range(1, 1001)))])
    assert found.p90_interval_ns is None  # they rise: a thousand that are worth a few
    mixed = np.random.default_rng(15).permutation(np.arange(1, 1001)).tolist()
    found = latency.latency([process(mixed)])
    low, high = found.p90_interval_ns or (0, 0)
    assert 870 <= low < 901 < high <= 930
    assert found.p99_interval_ns is not None
    assert latency.latency([process(mixed[:400])]).p99_interval_ns is None


def test_several_processes_have_the_interval_of_a_process_s_percentile() -> None:
    random = np.random.default_rng(16)
    truth = 1e5 * math.exp(0.02 * stats.t.ppf(0.9, 3))
    trials, hits = 300, 0
    for _ in range(trials):
        speeds = np.exp(random.normal(0, 0.02, 5))
        found = latency.latency(
            [process(np.round(s * latencies(random, 400)).astype(int).tolist()) for s in speeds]
        )
        assert found.p90_interval_ns is not None
        hits += found.p90_interval_ns[0] <= truth <= found.p90_interval_ns[1]
    # Three standard errors around 95 %.
    assert 0.91 <= hits / trials <= 0.99
    assert found.p99_interval_ns is None  # 400 samples have no p99


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
        values = autoregressive(random, 12_000, 0.9)
        interval, reason = percentile_interval(values, 50)
        assert interval is not None, reason
        hits += interval[0] <= 0 <= interval[1]
        plain, _ = percentile_interval(random.permutation(values), 50)
        assert plain is not None
        plain_hits += plain[0] <= 0 <= plain[1]
    assert hits / trials >= 0.9
    assert plain_hits / trials < 0.6


def test_interval_of_a_median_is_the_one_in_the_tables() -> None:
    # n = 20: between the 6th and the 15th sample, 95.9 % (Conover, Practical Nonparametric
    # Statistics, table A3).
    in_turns = np.stack([np.arange(1, 11), np.arange(11, 21)], axis=1).ravel()
    assert percentile_interval(in_turns, 50) == ((6.0, 15.0), "")


def test_interval_needs_enough_independent_samples() -> None:
    interval, reason = percentile_interval(spread(499), 99)
    assert interval is None
    assert reason == "an interval of p99 needs 500 independent samples, the 499 are worth 499"
    assert "the 1000 are worth 1" in percentile_interval(np.arange(1000), 99)[1]
    assert percentile_interval(np.array([5, 6, 7]), 50)[0] is None
    assert percentile_interval(np.array([], np.int64), 50)[0] is None


def test_interval_is_absent_of_a_few_long_episodes() -> None:
    random = np.random.default_rng(16)
    states = np.repeat(random.integers(0, 2, 10), 1000)
    interval, reason = percentile_interval(random.normal(100 + 20 * states, 1), 90)
    assert interval is None
    assert "autocorrelated" in reason


def test_interval_is_absent_where_it_would_reach_beyond_the_samples() -> None:
    values = np.random.default_rng(15).permutation(500)
    interval, reason = percentile_interval(values, 99, 0.99)
    assert interval is None
    assert "beyond the samples" in reason


@pytest.mark.parametrize(("percent", "confidence"), [(0, 0.9), (100, 0.9), (50, 0), (50, 1)])
def test_a_percentile_without_sense_is_refused(percent: float, confidence: float) -> None:
    with pytest.raises(ValueError, match="percent"):
        percentile_interval(np.arange(10), percent, confidence)
