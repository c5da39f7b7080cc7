"""How the pass that takes the device's times is divided."""

from __future__ import annotations

from harness.tracing.kernels import turns


def test_cupti_is_on_as_often_as_off_and_neither_comes_first_on_average() -> None:
    on = [turn for turn, recorded in enumerate(turns.TURNS) if recorded]
    off = [turn for turn, recorded in enumerate(turns.TURNS) if not recorded]
    assert len(on) == len(off)
    assert sum(on) == sum(off)


def test_what_launches_much_is_timed_less_often() -> None:
    assert turns.inferences_of_a_turn(10, 9) == 10
    assert turns.inferences_of_a_turn(10, 0) == 10
    assert turns.inferences_of_a_turn(10, 5000) == 2
    assert turns.inferences_of_a_turn(10, 10**6) == 1
    assert turns.inferences_of_all(10) == 8 * 15
    assert turns.inferences_of_all(1) == 8 * 2
