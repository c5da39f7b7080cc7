"""The faster half of the processes: what is slow now and then does not move it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.statistics.faster_half import faster_half


def processes(*levels: int) -> list[np.ndarray]:
    """Twenty samples each, a fifth of which a disturbance has doubled."""
    return [np.array([level] * 16 + [2 * level] * 4) for level in levels]


@pytest.mark.parametrize(
    ("levels", "kept"),
    [
        ((7,), [7]),
        ((9, 8), [8, 9]),
        ((3, 1, 2), [1, 2]),
        ((130, 100, 900, 110), [100, 110]),
        ((5, 4, 3, 2, 1), [1, 2, 3]),
    ],
)
def test_lower_quartiles_of_the_faster_processes_count(
    levels: tuple[int, ...], kept: list[int]
) -> None:
    assert faster_half(processes(*levels)).tolist() == kept


@given(st.lists(st.integers(100, 10_000), min_size=3, max_size=9), st.data())
def test_slower_processes_of_the_slower_half_do_not_move_it(
    levels: list[int], data: st.DataObject
) -> None:
    order = np.argsort(levels, kind="stable")
    slow = data.draw(st.sampled_from(order[(len(levels) + 1) // 2 :].tolist()))
    disturbed = [10 * level if k == slow else level for k, level in enumerate(levels)]
    assert (faster_half(processes(*disturbed)) == faster_half(processes(*levels))).all()
