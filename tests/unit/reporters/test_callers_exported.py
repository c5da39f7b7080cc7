"""Callers side by side in traces, exports and frames: each is told apart from the others."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from harness.records import Profile
from harness.reporters.exports import csv_file, json_lines, pyperf_file
from harness.reporters.traces import tracks
from tests.builders.process_records import process, profile
from tests.builders.side_by_side import side_by_side


@pytest.fixture(scope="module")
def two() -> Profile:
    return side_by_side((600.0, 500.0), (620.0, 480.0), alone=700.0)


def lanes(given: Profile) -> dict[tuple[str, str], list[tracks.Intervals]]:
    """Batches of intervals by group and track."""
    found: dict[tuple[str, str], list[tracks.Intervals]] = {}
    for batch in tracks.batches(given):
        if isinstance(batch, tracks.Intervals):
            found.setdefault((batch.track.group.name, batch.track.name), []).append(batch)
    return found


def test_each_caller_has_a_track_in_which_no_inference_lies_in_another(two: Profile) -> None:
    found = lanes(two)
    for group in (0, 1):
        for instance, count in ((0, (600, 620)[group]), (1, (500, 480)[group])):
            batches = found[f"group of callers {group}", f"timed pass: instance {instance}"]
            start_ns = np.concatenate([one.start_ns for one in batches])
            duration_ns = np.concatenate([one.duration_ns for one in batches])
            assert len(start_ns) == count
            assert (start_ns[1:] >= (start_ns + duration_ns)[:-1]).all()
            numbers = np.concatenate([np.asarray(one.facts["inference"]) for one in batches])
            assert numbers.tolist() == list(range(count))


def test_a_trace_tells_the_windows_and_begins_with_the_first_of_what_it_draws(two: Profile) -> None:
    (windows,) = lanes(two)["group of callers 0", "windows"]
    named = [windows.name.texts[one] for one in windows.name.index]
    assert named == ["common window", "window of one alone"]
    assert windows.start_ns.tolist() == [1_000_000_000, 3_000_000_000]
    (cold,) = lanes(two)["group of callers 0", "cold start"]
    assert tracks.first_ns(two) == cold.start_ns[0]
    assert cold.start_ns[-1] + cold.duration_ns[-1] == windows.start_ns[0]


@pytest.mark.parametrize(
    ("callers", "names"),
    [
        (1, ["instance 0", "instance 1", "instance 2", "instance 3"]),
        (2, [f"instance {n // 2}, caller {n}" for n in range(4)]),
        (4, ["caller 0", "caller 1", "caller 2", "caller 3"]),
    ],
)
def test_tracks_are_named_as_users_count(callers: int, names: list[str]) -> None:
    found = lanes(side_by_side((300.0,) * 4, callers=callers))
    assert [track for _, track in found if track.startswith("timed")] == [
        f"timed pass: {name}" for name in names
    ]


def test_rows_of_an_export_tell_their_caller_only_where_there_is_one(
    two: Profile, tmp_path: Path
) -> None:
    csv_file.write(two, tmp_path / "two.csv")
    with (tmp_path / "two.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [int(row["caller"]) for row in rows] == [
        one for each in two.processes for one in each.caller.tolist()
    ]
    csv_file.write(profile(process([1, 2])), tmp_path / "one.csv")
    assert (tmp_path / "one.csv").read_text().splitlines()[0].endswith("duration_ns")


def test_parquet_tells_the_caller(two: Profile, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    from harness.reporters.exports import parquet_file

    parquet_file.write(two, tmp_path / "two.parquet")
    told = parquet.read_table(tmp_path / "two.parquet")
    assert np.bincount(told["caller"].to_numpy()).tolist() == [1220, 980]


def test_json_lines_hold_the_callers_and_their_windows(two: Profile, tmp_path: Path) -> None:
    json_lines.write(two, tmp_path / "two.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "two.jsonl").read_text().splitlines()]
    instances = [one for one in lines if one["type"] == "instance"]
    assert [(one["process"], one["caller"], one["alone"]) for one in instances] == [
        (group, caller, alone) for group in (0, 1) for caller, alone in ((0, 0), (1, 0), (0, 1))
    ]
    assert {one["caller"] for one in lines if one["type"] == "sample"} == {0, 1}


def test_pyperf_is_told_the_time_per_inference_of_all_together(
    two: Profile, tmp_path: Path
) -> None:
    pyperf_file.write(two, tmp_path / "two.json")
    told = json.loads((tmp_path / "two.json").read_text())["benchmarks"][0]
    values = [value for run in told["runs"] for value in run["values"]]
    assert values == pytest.approx([1 / 1100, 1 / 1100], rel=0.01)
    assert "all callers together" in told["metadata"]["description"]


def test_frames_tell_callers_and_instances(two: Profile) -> None:
    pytest.importorskip("pandas")
    frames = two.to_pandas()
    assert frames["samples"].groupby("caller").size().tolist() == [1220, 980]
    rows = frames["instances"]
    assert rows["alone"].tolist() == [False, False, True] * 2
    assert rows["cpus"].tolist()[:2] == ["0-15", "16-31"]
    plain = profile(process([1, 2])).to_pandas()
    assert "caller" not in plain["samples"]
    assert "instances" not in plain
