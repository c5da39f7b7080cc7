"""Profiles become series: what belongs together, where it changed, what is left out and why."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from harness.analysis.comparing import undisturbed
from harness.analysis.history import Point, Series, history, longer, point_of
from harness.records import InputRecord, Profile, Reading
from harness.reporters import wording
from harness.statistics.figures import Figure
from harness.statistics.verdicts import Verdict
from tests.builders.dated_profiles import levels, on_day
from tests.builders.process_records import process
from tests.builders.side_by_side import side_by_side


def point(profile: Profile) -> Point:
    found = point_of(profile)
    assert isinstance(found, Point), found
    return found


def series(profiles: list[Profile]) -> Series:
    (found,) = history(map(point, profiles)).series
    return found


def month(step: float, at: int = 20, count: int = 30) -> list[Profile]:
    """A profile a day; from one day on with another ONNX Runtime and another level."""
    return [
        on_day(day, level, ort="1.30.0" if day < at else "1.31.1", path=Path(f"day{day:02}.h5"))
        for day, level in enumerate(levels(count, step_at=at, step=step))
    ]


def test_a_step_is_told_with_its_size_interval_place_and_what_came_with_it() -> None:
    found = series(month(0.05))
    (change,) = found.changes
    assert change.at == 20
    assert change.verdict is Verdict.SLOWER
    assert change.interval[0] < 1.05 < change.interval[1]
    assert change.interval[0] < change.ratio < change.interval[1]
    assert change.after_ns / change.before_ns == pytest.approx(change.ratio)
    assert [(one.what, one.base, one.candidate) for one in change.differences] == [
        ("ort_version", "1.30.0", "1.31.1")
    ]
    assert found.scatter == pytest.approx(0.01, rel=0.4)
    assert [part.stop - part.start for part in found.levels] == [20, 10]


def test_a_step_down_is_faster() -> None:
    (change,) = series(month(-0.05)).changes
    assert change.verdict is Verdict.FASTER


def test_a_steady_series_has_no_change_and_no_reason() -> None:
    found = series(month(0.0))
    assert found.changes == ()
    assert found.reason == ""
    assert found.doubts == ()


def test_with_fewer_than_twelve_profiles_the_reason_says_how_many_are_missing() -> None:
    found = series(month(0.5, at=5, count=11))
    assert len(found.points) == 11
    assert found.changes == ()
    assert found.reason == "changes are looked for in 12 profiles or more: 1 more is needed"


def test_points_stand_in_the_order_of_time_whatever_the_order_of_files() -> None:
    days = [8, 2, 5]
    found = series([on_day(day, 1e6) for day in days])
    assert [one.created.day for one in found.points] == [3, 6, 9]


def test_the_figure_of_a_point_is_the_undisturbed_one() -> None:
    found = point(on_day(0, 1e6))
    assert found.undisturbed_ns == pytest.approx(1e6)
    assert found.median_ns > 1.05 * found.undisturbed_ns
    assert found.processes == 4


OTHERS: dict[str, Any] = {
    "model": {"model": "other"},
    "inputs": {"inputs": (InputRecord("x", "float32", (8, 3), "", "00"),)},
    "threads": {"session": '{"provider": "cpu", "intra_threads": 2}'},
    "options": {"session": '{"provider": "cpu", "intra_threads": 1, "optimization": "basic"}'},
    "values of inputs": {"inputs": (InputRecord("x", "float32", (1, 3), "", "11"),)},
    "affinity": {
        "config": '{"session": {"provider": "cpu", "intra_threads": 1}, "affinity": "0"}'
    },
    "provider": {"provider": "cuda"},
    "cpu": {
        "environment": (Reading("cpu_model", "Xeon"), Reading("affinity_cpus", 2, "1"))
    },
    "cpus": {
        "environment": (Reading("cpu_model", "AMD EPYC"), Reading("affinity_cpus", 8, "1"))
    },
}  # fmt: skip


@pytest.mark.parametrize("what", OTHERS)
def test_profiles_of_another_thing_make_another_series(what: str) -> None:
    mine = [on_day(day, 1e6) for day in range(3)]
    found = history(map(point, [*mine, on_day(9, 1e6, **OTHERS[what])]))
    assert [len(one.points) for one in found.series] == [3, 1]


def test_what_an_older_file_does_not_say_is_at_its_default() -> None:
    older = on_day(0, 1e6, session='{"intra_threads": 1}')
    newer = on_day(
        1,
        1e6,
        session='{"provider": "cpu", "intra_threads": 1, "no_arena": false, "custom_ops": [], '
        '"library": "/elsewhere/libonnxruntime.so"}',
    )
    assert len(series([older, newer]).points) == 2


QUICK = '{"session": {"provider": "cpu", "intra_threads": 1}, "quick": true, "duration_s": 0.1}'


def test_how_long_was_measured_makes_no_other_series() -> None:
    assert len(series([on_day(0, 1e6), on_day(1, 1e6, config=QUICK)]).points) == 2


def test_longer_looks_are_cut_to_the_shortest_of_their_series() -> None:
    """A level that rises after the shortest look must not make a difference."""
    short = on_day(5, 1e6, path=Path("short.h5"))
    looks = [process([1_000_000] * 17 + [2_000_000] * 60, k, start_ns=10**12 + k) for k in range(4)]
    long = dataclasses.replace(on_day(1, 1e6), processes=tuple(looks))
    points = [point(short), point(long), point(on_day(2, 1e6, model="other"))]
    ((place, look_ns),) = longer(points)
    assert (place, look_ns) == (1, points[0].look_ns)
    assert points[1].undisturbed_ns > 1.4e6
    cut = point_of(long, look_ns)
    assert isinstance(cut, Point)
    assert (cut.cut, cut.undisturbed_ns) == (True, pytest.approx(1e6))
    assert list(longer([points[0], cut])) == []
    (found,) = history([cut, points[0]]).series
    (doubt,) = found.doubts
    assert doubt.startswith("1 of 2 profiles were measured for longer than short.h5: of each")


def paired(config: str) -> str:
    return f'{config[:-1]}, "interleaved_with": "x"}}'


def test_of_both_sides_of_an_ab_one_counts_in_a_series() -> None:
    same = paired('{"session": {"provider": "cpu", "intra_threads": 1}}')
    other = paired('{"session": {"provider": "cpu", "intra_threads": 2}}')
    sides = [on_day(0, 1e6, config=same, path=Path("a.h5")), on_day(0, 1e6, config=other)]
    twin = on_day(0, 1.01e6, config=same, path=Path("b.h5"))
    found = history(map(point, [*sides, twin]))
    assert [len(one.points) for one in found.series] == [1, 1]
    assert found.left_out == (("b.h5", "it is of the same occasion as a.h5, as ab measures two"),)


@pytest.mark.parametrize(("waited", "busy"), [(0, False), (8 * 10**8, True)])
def test_a_profile_is_usable_where_compare_says_so(waited: int, busy: bool) -> None:
    """Processes that differ by half make no median, but the faster ones tell of the model."""
    noise: dict[str, int | None] = {"wall_ns": 10**9, "cpu_wait_ns": waited, "steal_ns": 0}
    records = [
        process([round(1e6 * factor)] * 20, k, noise)
        for k, factor in enumerate((1.0, 1.001, 1.6, 1.7))
    ]
    one = dataclasses.replace(on_day(0, 1e6), processes=tuple(records))
    assert bool(point(one).busy) is busy
    look_ns = undisturbed.look_ns([one])
    assert undisturbed.is_usable(one, look_ns) is not busy


def test_a_renamed_model_goes_on_under_its_new_name() -> None:
    first, second = on_day(0, 1e6), on_day(1, 1e6)
    renamed = dataclasses.replace(second.model, name="net-v2", path="net-v2.onnx")
    found = series([dataclasses.replace(second, model=renamed), first])
    assert found.subject.model == "net-v2"


def test_the_same_measurement_counts_once_and_the_copy_is_named() -> None:
    one = on_day(0, 1e6, path=Path("a.h5"))
    copy = dataclasses.replace(one, path=Path("b.h5"))
    found = history(map(point, [one, copy]), [("c.h5", "it is damaged")])
    assert len(found.series[0].points) == 1
    assert dict(found.left_out) == {
        "c.h5": "it is damaged",
        "b.h5": "it holds the same measurement as a.h5",
    }


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"complete": False}, "interrupted"),
        ({"processes": ()}, "no finished process"),
        ({"created": "some day"}, "when it was measured"),
        ({"created": "0001-01-01T00:00:00+23:00"}, "when it was measured"),
        ({"processes": (process([0, 0, 0]),)}, "measured no time"),
    ],
)
def test_what_cannot_be_a_point_says_why(columns: dict[str, Any], reason: str) -> None:
    found = point_of(dataclasses.replace(on_day(0, 1e6), **columns))
    assert isinstance(found, Figure)
    assert reason in found.reason


def test_a_time_without_its_zone_is_utc() -> None:
    found = point(dataclasses.replace(on_day(0, 1e6), created="2026-03-01T06:00:00"))
    assert found.created == point(on_day(0, 1e6)).created


def test_a_machine_that_drifts_is_told() -> None:
    drifting = [on_day(day, 1e6 * 1.002 ** (day % 10)) for day in range(40)]
    assert any("neighbouring profiles resemble" in doubt for doubt in series(drifting).doubts)


def test_a_machine_that_was_too_busy_is_told() -> None:
    busy = dataclasses.replace(
        on_day(1, 1e6, path=Path("busy.h5")),
        processes=tuple(
            process([round(1e6 * factor)] * 20, k, {"wall_ns": 10**9, "cpu_wait_ns": 8 * 10**8})
            for k, factor in enumerate((1.0, 1.3, 1.6))
        ),
    )
    found = series([on_day(0, 1e6), busy])
    assert [bool(one.busy) for one in found.points] == [False, True]
    (doubt,) = found.doubts
    assert doubt.startswith("1 of 2 profiles are not to be trusted, last busy.h5: its machine was")


def busy_day(day: int, level_ns: float) -> Profile:
    """A profile of a machine that the timing thread had to wait for."""
    noise: dict[str, int | None] = {"wall_ns": 10**9, "cpu_wait_ns": 8 * 10**8}
    records = (
        process([round(level_ns * factor)] * 20, k, noise)
        for k, factor in enumerate((1.0, 1.001, 1.6))
    )
    return dataclasses.replace(on_day(day, level_ns), processes=tuple(records))


@pytest.mark.parametrize(("busy", "verdict"), [(6, Verdict.UNDECIDED), (5, Verdict.SLOWER)])
def test_a_level_of_mostly_busy_profiles_decides_nothing(busy: int, verdict: Verdict) -> None:
    days = levels(30, step_at=20, step=0.05)
    profiles = [
        busy_day(day, level) if 20 <= day < 20 + busy else on_day(day, level)
        for day, level in enumerate(days)
    ]
    (change,) = series(profiles).changes
    assert change.at == 20
    assert change.verdict is verdict
    assert ("too busy in 6 of 10 profiles after it" in change.doubt) == (busy == 6)


def test_a_profile_of_one_process_is_told() -> None:
    found = series([on_day(0, 1e6), on_day(1, 1e6, processes=1)])
    assert any(doubt.startswith("1 of 2 profiles have one process") for doubt in found.doubts)


def test_groups_of_callers_are_followed_by_what_all_reach_together() -> None:
    """The latency of one inference may stay while fewer callers reach less together."""
    made = side_by_side((600.0, 500.0), (600.0, 500.0), config='{"instances": 2}')
    (found,) = history([point(made)]).series
    assert found.points[0].undisturbed_ns == pytest.approx(1e9 / 1100, rel=0.01)
    assert found.subject.options == (("instances", "2"),)
    assert "of all callers together" in wording.undisturbed(found.points[0].profile)


def test_groups_of_longer_windows_need_no_second_look() -> None:
    made = point(side_by_side((600.0, 500.0), (600.0, 500.0)))
    assert list(longer([made, dataclasses.replace(made, look_ns=made.look_ns / 10)])) == []
