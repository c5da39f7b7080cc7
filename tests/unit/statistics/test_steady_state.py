from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.statistics.steady_state import classify
from tests.builders.simulated import latencies


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


@pytest.mark.parametrize(("slope", "way"), [(0.2, "rising"), (-0.2, "falling")])
def test_a_latency_that_moves_all_the_time_has_no_steady_state(slope: float, way: str) -> None:
    values = latencies(np.random.default_rng(6), 5000)
    found = classify(values * np.exp(slope * np.linspace(0, 1, 5000)))
    assert (found.kind, found.start) == ("drift", None)
    assert f"latency kept {way}" in found.reason


def test_load_that_comes_and_goes_is_unstable() -> None:
    values = latencies(np.random.default_rng(7), 6000)
    values[np.arange(6000) % 2000 > 1200] *= 1.2
    found = classify(values)
    assert (found.kind, found.start) == ("unstable", None)
    assert "of level; the levels before the last" in found.reason


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
    assert found.reason == f"too few samples to classify: {count} of 80"


def test_samples_that_took_no_time_have_no_class() -> None:
    assert classify(np.arange(1000)).kind == "unknown"


def test_many_samples_are_classed_at_once() -> None:
    # A method that is quadratic in the samples would not come back.
    values = latencies(np.random.default_rng(10), 1_000_000)
    assert classify(values).kind == "flat"
