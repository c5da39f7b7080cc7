"""Where curves bend: crossings, knees and frontiers, on curves whose truth is known."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.study.curves import At, Share, crossing, frontier, knee, scaling


def test_a_winner_that_changes_is_found_between_the_last_and_the_first_sure_batch() -> None:
    # The ratio is batch / 8: it crosses 1 at 8.
    points = [At(b, b / 8, -1 if b < 4 else 1 if b > 16 else 0) for b in (1, 2, 4, 8, 16, 32)]
    found = crossing(points)
    assert (found.kind, found.winner, found.low, found.high) == ("between", -1, 2, 32)
    assert found.at == pytest.approx(8)
    assert found.undecided == (4, 8, 16)


@pytest.mark.parametrize("winner", [-1, 1])
def test_a_winner_that_never_changes_is_not_within_the_range(winner: int) -> None:
    found = crossing([At(1, 2.0**winner, winner), At(32, 2.0**winner, winner)])
    assert (found.kind, found.winner, found.low, found.high) == ("never", winner, 1, 32)


def test_an_undecided_end_may_be_a_change() -> None:
    assert crossing([At(1, 2.0, 1), At(32, None, 0)]).kind == "unknown"
    assert crossing([At(1, 2.0, 1), At(8, 1.0, 0), At(32, 2.0, 1)]).kind == "never"
    assert crossing([At(1, 1.0, 0)]).kind == "unknown"


def test_several_changes_are_not_one() -> None:
    found = crossing([At(1, 2.0, 1), At(8, 0.5, -1), At(32, 2.0, 1)])
    assert found.kind == "several"


@settings(max_examples=60, deadline=None)
@given(st.floats(0.0, 0.5), st.lists(st.integers(1, 400), min_size=3, max_size=9, unique=True))
def test_the_knee_of_amdahls_law_is_where_its_formula_says(
    serial: float, counts: list[int]
) -> None:
    counts.sort()
    rates = [1 / (serial + (1 - serial) / count) for count in counts]
    found = knee([Share(c, r / rates[-1], r / rates[-1], r / rates[-1])
                  for c, r in zip(counts, rates, strict=True)])  # fmt: skip
    expected = next(c for c, r in zip(counts, rates, strict=True) if r / rates[-1] >= 0.9)
    assert (found.threads, found.earliest, found.latest) == (expected,) * 3


def test_the_interval_of_a_knee_widens_with_those_of_the_shares() -> None:
    shares = [Share(1, 0.5, 0.4, 0.6), Share(2, 0.88, 0.8, 0.95), Share(4, 0.93, 0.85, 0.99),
              Share(8, 1.0, 1.0, 1.0)]  # fmt: skip
    found = knee(shares)
    assert (found.earliest, found.threads, found.latest) == (2, 4, 8)


def test_what_may_not_be_the_best_is_no_sure_knee() -> None:
    found = knee([Share(1, 1.0, 1.0, 1.0), Share(2, 0.8, 0.4, 1.6)])
    assert (found.threads, found.earliest, found.latest) == (1, 1, 2)
    found = knee([Share(1, 1.0, 1.0, 1.0), Share(2, 0.8, 0.6, 1.05)])
    assert (found.threads, found.earliest, found.latest) == (1, 1, 1)


def test_throughput_that_falls_again_has_its_knee_before() -> None:
    found = knee([Share(1, 0.6, 0.6, 0.6), Share(4, 1.0, 1.0, 1.0), Share(32, 0.1, 0.1, 0.1)])
    assert found.threads == 4


@pytest.mark.parametrize(
    ("times", "stops"),
    [
        ({1: 80.0, 2: 40.0, 4: 20.0, 8: 10.0}, None),  # ideal: nothing says that it stops
        ({1: 10.0, 2: 10.0, 4: 10.0, 8: 10.0}, 1),  # serial
        ({1: 80.0, 2: 40.0, 4: 39.0, 8: 38.0}, 2),  # bandwidth
        ({1: 80.0, 2: 40.0, 4: 60.0, 8: 90.0}, 2),  # gets slower
    ],
)
def test_where_an_operator_stops_scaling(times: dict[int, float], stops: int | None) -> None:
    found = scaling("MatMul", times)
    assert found.stops_at == stops
    assert found.speed_up == times[1] / times[8]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=12))
def test_what_is_on_a_frontier_is_beaten_by_nothing_and_all_else_is(
    points: list[tuple[int, int]],
) -> None:
    floats = [(float(a), float(b)) for a, b in points]
    kept = [one for one, keep in zip(floats, frontier(floats), strict=True) if keep]
    assert kept
    for one in floats:
        beaten = any(o[0] <= one[0] and o[1] >= one[1] and o != one for o in floats)
        assert beaten == (one not in kept)
    assert math.isfinite(kept[0][0])
