"""Outlines and whole profiles agree on what is the same thing, and what the same measurement."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from harness.analysis.configuration import (
    configuration,
    created,
    measurement,
    occasion,
    same_measurement,
)
from harness.analysis.history import Point, history, point_of
from harness.analysis.outlines import comparable_beside, outline_of
from harness.storage.profile_file import read_outline, read_profile, write_profile
from tests.builders.dated_profiles import on_day

SHORT = '{"session": {"provider": "cpu", "intra_threads": 1}, "quick": true, "duration_s": 0.5}'


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """A profile as of ``profile``, four as of ``calibrate``, a copy, both sides of an ``ab``."""
    days = [on_day(0, 1e6), *(on_day(day, 1e6, config=SHORT) for day in range(1, 5))]
    days += [days[-1], *(on_day(9, 1e6, config=f'{SHORT[:-1]}, "interleaved_with": "x"}}')
                         for _ in range(2))]  # fmt: skip
    paths = [tmp_path / f"{number}.h5" for number in range(len(days))]
    for day, path in zip(days, paths, strict=True):
        write_profile(day, path)
    return paths


def test_an_outline_says_what_the_whole_profile_says(files: list[Path]) -> None:
    sample = Path(__file__).parents[3] / "profiles/sample.h5"
    for file in (*files, sample):
        outline, whole = read_outline(file), read_profile(file)
        for versions in (True, False):
            assert configuration(outline, versions=versions) == configuration(
                whole, versions=versions
            )
        assert measurement(outline) == measurement(whole) == measurement(outline_of(whole))
        assert occasion(outline) == occasion(whole)
        assert created(outline) == created(whole)


def test_calibrate_and_history_count_the_same_occasions(files: list[Path]) -> None:
    base = read_outline(files[0])
    points = [point_of(read_profile(file)) for file in files]
    assert all(isinstance(one, Point) for one in points)
    found = history([one for one in points if isinstance(one, Point)])
    (series,) = found.series
    assert len(series.points) == 1 + len(comparable_beside(base)) == 6
    assert len(found.left_out) == 2


def test_versions_count_unless_they_are_left_out() -> None:
    one, other = on_day(0, 1e6), on_day(1, 1e6, ort="1.31.1")
    assert configuration(one) != configuration(other)
    assert configuration(one, versions=False) == configuration(other, versions=False)


def test_whole_profiles_are_copies_by_their_clocks() -> None:
    one = on_day(0, 1e6)
    assert same_measurement(one, dataclasses.replace(one, created=""))
    assert not same_measurement(one, dataclasses.replace(one, processes=()))
    assert not same_measurement(one, on_day(0, 2e6))
