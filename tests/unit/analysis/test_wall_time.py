"""Where the wall time went, of a stored profile."""

from __future__ import annotations

import dataclasses
import runpy
from pathlib import Path

import numpy as np

from harness.analysis.wall_time import NOT_RECORDED, OF_PAIRS, Part, Spent, spent
from harness.records import Profile, WallTime
from harness.statistics.figures import Figure

GOLDEN = runpy.run_path(str(Path(__file__).parents[2] / "golden" / "make_profile_v1.py"))
OLD: Profile = GOLDEN["golden_profile"]()


def test_parts_and_the_rest_are_the_wall_time() -> None:
    held = WallTime(
        part=("start of the command", "start", "timed pass", "timed pass", "start"),
        process=np.array([-1, 0, 0, 0, 1], np.int32),
        start_ns=np.array([0, 10, 20, 40, 70]),
        duration_ns=np.array([10, 9, 15, 20, 11]),
        cpu_ns=np.array([4, 3, 15, 20, 5]),
        began_ns=0,
        ended_ns=100,
    )
    told = spent(dataclasses.replace(OLD, wall_time=held))
    assert told == Spent(
        duration_ns=100,
        cpu_ns=47,
        parts=(
            Part("start of the command", 0, 10, 4),
            Part("start", 2, 20, 8),
            Part("timed pass", 1, 35, 35),
        ),
        unaccounted_ns=35,
    )
    assert sum(one.duration_ns for one in told.parts) + told.unaccounted_ns == told.duration_ns


def test_what_is_not_known_has_a_reason() -> None:
    assert spent(OLD) == Figure(None, NOT_RECORDED)
    pair = dataclasses.replace(OLD, config='{"interleaved_with": "abc"}')
    assert spent(pair) == Figure(None, OF_PAIRS)
