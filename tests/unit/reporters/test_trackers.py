"""What trackers get, held against the documents of their formats."""

from __future__ import annotations

import csv
import datetime
import json
import statistics
from pathlib import Path
from typing import Any

import pytest

from harness.analysis.history import History, Point, history, point_of
from harness.records import Profile
from harness.reporters.exports import bencher_file, otava_file, pytest_benchmark_file
from tests.builders.dated_profiles import levels, on_day


def found(*profiles: Profile) -> History:
    points = [point_of(one) for one in profiles]
    assert all(isinstance(one, Point) for one in points)
    return history(points)  # type: ignore[arg-type]


@pytest.fixture
def two() -> History:
    """Three days of one model, one day of another; the name of a file could be a formula."""
    days = [
        on_day(day, level, path=Path(f"folder/=day{day}.h5"))
        for day, level in enumerate(levels(3, step_at=3, step=0))
    ]
    return found(*days, on_day(1, 5e3, model="mlp", path=Path("mlp.h5")))


def test_otava_gets_a_row_a_profile_with_times_attributes_and_numbers(
    two: History, tmp_path: Path
) -> None:
    """apache/otava docs/CSV.md: a head, a time, attributes as they are, metrics as numbers."""
    assert otava_file.write(two.series[0], tmp_path / "o.csv") == 3
    assert (tmp_path / "o.csv").read_bytes().startswith(otava_file.HEAD)
    with (tmp_path / "o.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        *("time", "file", "harness", "onnxruntime", "undisturbed_ns", "median_ns")
    ]
    times = [datetime.datetime.fromisoformat(row["time"]) for row in rows]
    assert times == sorted(times)
    assert all(time.utcoffset() is not None for time in times)
    assert [row["file"] for row in rows] == ["'=day0.h5", "'=day1.h5", "'=day2.h5"]
    assert {row["onnxruntime"] for row in rows} == {"1.30.0"}
    for row, point in zip(rows, two.series[0].points, strict=True):
        assert float(row["undisturbed_ns"]) == pytest.approx(point.undisturbed_ns, abs=1e-3)
        assert float(row["median_ns"]) == pytest.approx(point.median_ns, abs=1e-3)


#: bencher.dev/docs/reference/bencher-metric-format, its JSON schema: benchmarks by name, measures
#: by name, of each a number and perhaps its limits.
_METRIC = {"value", "lower_value", "upper_value"}


def test_bencher_gets_the_newest_profile_of_each_series(two: History, tmp_path: Path) -> None:
    assert bencher_file.write(two, tmp_path / "b.json") == 2
    told = json.loads((tmp_path / "b.json").read_text())
    for name, measures in told.items():
        assert 0 < len(name) <= 1024
        for slug, metric in measures.items():
            assert 0 < len(slug) <= 64
            assert "value" in metric
            assert set(metric) <= _METRIC
            assert all(isinstance(value, float) for value in metric.values())
    (net,) = [one for name, one in told.items() if name.startswith("net on AMD EPYC")]
    newest = two.series[0].points[-1]
    assert net["latency"]["value"] == newest.undisturbed_ns
    assert net["latency"]["lower_value"] <= newest.undisturbed_ns <= net["latency"]["upper_value"]
    assert net["median-latency"]["value"] == newest.median_ns


def test_a_benchmark_keeps_its_name_when_the_model_file_changes(tmp_path: Path) -> None:
    before, after = on_day(0, 1e6), on_day(1, 2e6)
    changed = found(before, _with_digest(after, "ff"))
    assert len(changed.series) == 2
    assert bencher_file.write(changed, tmp_path / "b.json") == 1
    (measures,) = json.loads((tmp_path / "b.json").read_text()).values()
    assert measures["latency"]["value"] == pytest.approx(2e6)


def test_long_names_that_begin_alike_stay_two_benchmarks(tmp_path: Path) -> None:
    series = [on_day(day, 1e6, model="layer" * 300 + end) for day, end in enumerate("ab")]
    assert bencher_file.write(found(*series), tmp_path / "b.json") == 2
    names = list(json.loads((tmp_path / "b.json").read_text()))
    assert len(set(names)) == 2
    assert all(len(name) <= 1024 for name in names)
    bencher_file.write(found(series[1]), tmp_path / "again.json")
    assert list(json.loads((tmp_path / "again.json").read_text())) == names[1:]


def _with_digest(profile: Profile, sha256: str) -> Profile:
    import dataclasses

    return dataclasses.replace(profile, model=dataclasses.replace(profile.model, sha256=sha256))


#: ``Stats.fields`` of pytest-benchmark 5, and what ``as_dict`` adds.
_STATS = {
    *("min", "max", "mean", "stddev", "rounds", "median", "iqr", "q1", "q3", "iqr_outliers"),
    *("stddev_outliers", "outliers", "ld15iqr", "hd15iqr", "ops", "total", "data", "iterations"),
}


def test_pytest_benchmark_gets_seconds_and_all_of_its_fields(two: History, tmp_path: Path) -> None:
    assert pytest_benchmark_file.write(two, tmp_path / "p.json") == 2
    told = json.loads((tmp_path / "p.json").read_text())
    assert set(told) == {"machine_info", "commit_info", "benchmarks", "datetime", "version"}
    assert len({one["fullname"] for one in told["benchmarks"]}) == 2
    for one in told["benchmarks"]:
        assert set(one) == {
            *("group", "name", "fullname", "params", "param", "extra_info", "options", "stats")
        }
        assert set(one["stats"]) == _STATS
        _is_consistent(one["stats"])
    net = next(one for one in told["benchmarks"] if one["name"].startswith("net"))
    newest = two.series[0].points[-1]
    assert net["stats"]["mean"] == pytest.approx(newest.undisturbed_ns * 1e-9)
    assert net["extra_info"]["file"] == "=day2.h5"


def _is_consistent(stats: dict[str, Any]) -> None:
    data = stats["data"]
    assert stats["rounds"] == len(data)
    assert stats["mean"] == pytest.approx(statistics.mean(data))
    assert stats["median"] == pytest.approx(statistics.median(data))
    assert stats["min"] == min(data) <= stats["q1"] <= stats["q3"] <= stats["max"] == max(data)
    assert stats["iqr"] == pytest.approx(stats["q3"] - stats["q1"])
    assert stats["ops"] == pytest.approx(1 / stats["mean"])
    assert stats["total"] == pytest.approx(sum(data))
    assert stats["outliers"] == f"{stats['stddev_outliers']};{stats['iqr_outliers']}"


def test_the_rounds_of_many_processes_have_quartiles_and_outliers(tmp_path: Path) -> None:
    pytest_benchmark_file.write(found(on_day(0, 1e6, processes=20)), tmp_path / "p.json")
    (one,) = json.loads((tmp_path / "p.json").read_text())["benchmarks"]
    assert one["stats"]["rounds"] == 10
    _is_consistent(one["stats"])


def test_one_process_is_one_round(tmp_path: Path) -> None:
    pytest_benchmark_file.write(found(on_day(0, 1e6, processes=1)), tmp_path / "p.json")
    (one,) = json.loads((tmp_path / "p.json").read_text())["benchmarks"]
    assert one["stats"]["rounds"] == 1
    assert one["stats"]["stddev"] == 0
