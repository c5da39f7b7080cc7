"""Numbers as they are written."""

from __future__ import annotations

import pytest

from harness.reporters.numbers import counted_times, half_width, nanoseconds


@pytest.mark.parametrize(
    ("value", "written"),
    [(-0.4, "0 ns"), (-2.2, "-2 ns"), (999.4, "999 ns"), (1234, "1.23 µs"), (52.6e6, "52.6 ms")],
)
def test_a_time_has_the_unit_that_fits_it(value: float, written: str) -> None:
    assert nanoseconds(value) == written


@pytest.mark.parametrize(
    ("calls", "written"), [(1, "1"), (0.333333, "0.333"), (20.25, "20.2"), (40_000, "40,000")]
)
def test_how_often_is_never_a_power_of_ten(calls: float, written: str) -> None:
    assert counted_times(calls) == written


def test_half_an_interval_that_says_nothing_is_no_number() -> None:
    assert half_width((95.0, 105.0), 100.0) == "±5%"
    assert half_width((99.5, 100.5), 100.0, 1) == "±0.5%"
    assert half_width((1e-3, 4.8e6), 100.0, 1) == ">±100%"
