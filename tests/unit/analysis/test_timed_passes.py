"""Whether the timed passes lasted as long as asked for."""

from __future__ import annotations

import json

import pytest

from harness.analysis import timed_passes
from harness.records import Profile
from tests.builders.process_records import process, profile


def passes(seconds: float, **options: object) -> Profile:
    """Two processes of ten samples."""
    each_ns = round(seconds * 1e8)
    records = [process([each_ns] * 10, index) for index in range(2)]
    return profile(*records, config=json.dumps(options))


@pytest.mark.parametrize(
    ("seconds", "options", "said"),
    [
        (0.2, {"duration_s": 0.2}, ""),
        (0.28, {"duration_s": 0.2}, ""),
        (0.024, {"duration_s": 0.2}, "lasted 24 ms instead of the 200 ms asked for"),
        (0.9, {"duration_s": 0.2}, "the machine became slower"),
        (2.0, {"duration_s": None}, ""),
        (0.01, {"duration_s": None, "quick": True}, "the machine became faster"),
        (0.01, {"duration_s": 0.2, "interleaved_with": "x"}, "the other side was asked for less"),
        (0.01, {}, ""),
    ],
)
def test_a_pass_that_is_not_as_long_as_asked_is_told(
    seconds: float, options: dict[str, object], said: str
) -> None:
    told = timed_passes.unlike_asked(passes(seconds, **options))
    assert said in told
    assert bool(told) is bool(said)


def test_looks_of_two_profiles_that_differ_are_told() -> None:
    assert timed_passes.unlike_each_other(passes(0.2), passes(0.25)) == ""
    told = timed_passes.unlike_each_other(passes(0.2), passes(0.4))
    assert told.startswith("timed passes of 200 ms and 400 ms")
    assert timed_passes.lasted_s(()) is None
