"""Changes of level: found soon, seldom where there is none, the same every time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from harness.statistics.change_points import (
    CHANCE,
    FEWEST_BETWEEN,
    FEWEST_POINTS,
    WINDOW,
    change_points,
    depends,
    lag_correlation,
    levels,
)


def noise(seed: int, count: int) -> np.ndarray:
    """Independent occasions with a deviation of 1 %."""
    return np.random.default_rng(seed).normal(0, 0.01, count)


def places(values: np.ndarray) -> list[int]:
    return [one.at for one in change_points(values)]


def test_independent_profiles_have_hardly_ever_a_change() -> None:
    false = sum(len(change_points(noise(seed, 100))) for seed in range(100))
    # One is expected in a hundred series; the goal is one in each.
    assert false <= 6


@pytest.mark.parametrize("step", [0.05, -0.05])
def test_a_step_of_five_percent_is_found_within_five_profiles(step: float) -> None:
    found = 0
    for seed in range(25):
        values = noise(seed, 45)
        values[40:] += np.log1p(step)
        found += any(abs(at - 40) <= 2 for at in places(values))
    assert found >= 23


def test_twelve_profiles_are_enough_for_a_step_and_eleven_are_not() -> None:
    values = noise(1, FEWEST_POINTS)
    values[6:] += 0.05
    assert places(values) == [6]
    assert change_points(values[:-1]) == ()


def test_a_level_that_holds_for_a_while_has_two_ends() -> None:
    values = noise(2, 100)
    values[40:60] += 0.05
    assert places(values) == [40, 60]


def test_outliers_are_not_a_level() -> None:
    values = noise(3, 60)
    values[[7, 20, 21, 44]] += 0.3
    assert places(values) == []


def test_outliers_do_not_hide_a_level() -> None:
    found = 0
    for seed in range(25):
        values = noise(seed, 45)
        values[40:] += 0.05
        values[[5, 31]] += 0.1
        found += any(abs(at - 40) <= 2 for at in places(values))
    assert found >= 23


def test_a_level_among_equal_values_is_found() -> None:
    values = np.zeros(40)
    values[32:] = 1.0
    assert places(values) == [32]


def test_changes_are_found_in_every_window_of_a_long_series_and_only_once() -> None:
    true = [90, 101, 199, 200 + WINDOW // 2, 650]
    values = noise(4, 800)
    for number, at in enumerate(true):
        values[at:] += 0.08 * (-1) ** number
    assert places(values) == true


def test_the_same_series_has_the_same_changes_every_time() -> None:
    values = noise(5, 80)
    values[50:] += 0.02
    assert change_points(values) == change_points(values.copy())


def test_a_change_is_surer_the_more_profiles_show_it() -> None:
    values = noise(6, 60)
    values[30:] += 0.05
    (change,) = change_points(values)
    assert 0 < change.p_value <= CHANCE


def test_a_series_that_never_varies_has_no_change() -> None:
    assert change_points(np.full(50, 3.0)) == ()


@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_values_that_are_no_numbers_are_refused(odd: float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        change_points(np.array([*noise(7, 20), odd]))


@given(
    arrays(np.float64, st.integers(0, 40), elements=st.floats(-3, 3)),
    st.integers(0, 40),
    st.floats(-1, 1),
)
@settings(max_examples=60, deadline=None)
def test_changes_divide_a_series_into_stretches_of_some_length(
    values: np.ndarray, at: int, step: float
) -> None:
    values[at:] += step
    parts = levels(len(values), places(values))
    assert sum(part.stop - part.start for part in parts) == len(values)
    if len(parts) > 1:
        assert min(part.stop - part.start for part in parts) >= FEWEST_BETWEEN


@given(st.integers(0, 1000), st.floats(-5, 5), st.floats(0.5, 3))
@settings(max_examples=15, deadline=None)
def test_units_do_not_matter(seed: int, shift: float, factor: float) -> None:
    values = noise(seed, 30)
    values[18:] += 0.05
    assert places(values * factor + shift) == places(values)


def test_neighbours_that_depend_on_each_other_show() -> None:
    walk = np.cumsum(noise(8, 200))
    assert lag_correlation(walk, []) > 0.8
    assert depends(walk, places(walk))
    assert not depends(noise(9, 200), [])
    assert lag_correlation(np.zeros(5), []) == 0
    assert not depends(np.zeros(5), [])


def test_a_real_step_does_not_make_its_neighbours_dependent() -> None:
    values = noise(10, 60)
    values[30:] += 0.05
    assert depends(values, [])
    assert not depends(values, places(values))
