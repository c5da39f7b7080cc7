"""The best cell, and curves with knees, from figures by hand."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from pathlib import Path

import pytest

from harness.options import words
from harness.records import Reading
from harness.reporters.scripts.sweep import sweep_csv, sweep_text
from harness.reporters.terminal.sweep import print_cells, print_sweep
from harness.storage.profile_file import read_profile
from harness.study.sweeps.cells import CellState, Failure, cells_of
from harness.study.sweeps.plan import read_plan
from harness.study.sweeps.results import Result, _figures, best, curves, hosts


def measured(rates: list[float | None], width: float = 0.02, **axes: list[str]) -> list[Result]:
    """A result for each cell; None for one that was not measured."""
    cells = cells_of(read_plan(None, words(), list({"model": ["mlp"], **axes}.items())))
    assert len(cells) == len(rates)
    found = []
    for cell, rate in zip(cells, rates, strict=True):
        settings = {one.field: value for one, value in cell.settings.items()}
        file = Path("results", cell.file)
        if rate is None:
            found.append(Result(CellState(cell, "skipped", "7 threads on 2 CPUs", file), "skipped"))
            continue
        found.append(
            Result(
                CellState(cell, "done", "", file),
                median_ns=1e9 / rate,
                interval_ns=(0.99e9 / rate, 1.01e9 / rate),
                items_per_s=rate,
                interval_items_per_s=(rate * (1 - width), rate * (1 + width)),
                inferences_per_s=rate,
                items=settings.get("batch", 1),
                threads=settings.get("intra_threads"),
                joules_per_item=None,
                energy_reason="no device here tells of its energy",
                noise="clean",
                host="here",
            )
        )
    return found


def test_the_best_of_each_model_names_those_it_is_not_told_apart_from() -> None:
    found = measured([10, 30, 29.5, 5, 7, 90], model=["mlp", "resnet50"], batch=["1", "8", "32"])
    one, other = best(found)
    assert (one.model, one.result.state.cell.number, one.of) == ("mlp", 2, 3)
    assert [each.state.cell.number for each in one.level] == [3]
    assert (other.model, other.result.state.cell.number, other.level) == ("resnet50", 6, ())


def test_a_throughput_without_an_interval_cannot_be_told_apart(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = [
        Result(one.state, items_per_s=one.items_per_s, interval_items_per_s=None)
        for one in measured([10, 30], batch=["1", "8"])
    ]
    assert [each.state.cell.number for each in best(found)[0].level] == [1]
    print_sweep(Path("results"), found)
    said = " ".join(capsys.readouterr().out.split())
    assert "items/s; not told apart from cell 1: one process has no interval" in said
    assert "overlap" not in said


def test_machines_are_not_ranked(capsys: pytest.CaptureFixture[str]) -> None:
    found = measured([10, 20, 30, 45, 70, 71], batch=["1", "2", "4"], threads=["1", "2"])
    found = [
        dataclasses.replace(one, host=host)
        for one, host in zip(found, ("a", "a", "b", "b", "a", "a"), strict=True)
    ]
    assert hosts(found) == ["a", "b"]
    assert [(one.result.host, one.result.state.cell.number, one.of) for one in best(found)] == [
        ("a", 6, 4),
        ("b", 4, 2),
    ]
    for curve in curves(found):
        assert len({one.host for one in curve.points}) == 1
    assert [one.values for one in curves(found) if one.axis == "batch"] == [(1, 4), (1, 4)]
    print_sweep(Path("results"), found)
    said = " ".join(capsys.readouterr().out.split())
    assert "cell model batch threads host median" in said
    assert "best mlp on b: cell 4 (batch 2, threads 2), 45 items/s, above the other" in said
    assert "curve threads (model mlp, batch 2, on b): 1: 30 2: 45 items/s" in said
    told = json.loads(sweep_text(Path("results"), found))
    assert [one["host"] for one in told["best"]] == ["a", "b"]
    found[5] = dataclasses.replace(found[5], host="")
    print_sweep(Path("results"), found)
    assert "mlp on a host without a name: cell 6" in " ".join(capsys.readouterr().out.split())


def test_a_broken_variant_is_marked_and_never_the_best(capsys: pytest.CaptureFixture[str]) -> None:
    found = measured([10, 90, 30], variant=["default", "int8-dynamic", "fp16"])
    found[1] = dataclasses.replace(found[1], broken=True)
    (one,) = best(found)
    assert (one.result.state.cell.number, one.of) == (3, 2)
    print_sweep(Path("results"), found)
    said = " ".join(capsys.readouterr().out.split())
    assert "done, broken" in said
    assert "broken cell 2: outputs too far from the model's" in said
    assert [row["broken"] for row in csv.DictReader(io.StringIO(sweep_csv(found)))] == [
        "false", "true", "false",
    ]  # fmt: skip


def test_what_a_profile_says_of_a_broken_variant_and_of_its_machine_is_read(
    tmp_path: Path,
) -> None:
    golden = read_profile(Path(__file__).parents[3] / "golden" / "profile_v1.h5")
    (cell,) = cells_of(read_plan(None, words(), [("model", ["mlp"])]))
    state = CellState(cell, "done", "", tmp_path / "x.h5")
    for told, broken in ((" (broken)", True), ("", False)):
        facts = {
            "variant": f"int8-dynamic of mlp 0123456789ab{told}",
            "host_name": "node7\nand more",
        }
        kept = [one for one in golden.environment if one.name not in facts]
        made = tuple(Reading(name, value, "", "") for name, value in facts.items())
        found = _figures(state, dataclasses.replace(golden, environment=(*kept, *made)))
        assert (found.broken, found.host) == (broken, "node7 and more")


def test_models_of_one_name_are_told_apart(tmp_path: Path) -> None:
    files = [tmp_path / folder / "net.onnx" for folder in ("a/deep", "b/deep")]
    for number, file in enumerate(files):
        file.parent.mkdir(parents=True)
        file.write_bytes(b"not a model" * (number + 1))
    models = [*map(str, files), "mlp"]
    one, other, third = best(measured([10, 20, 30], model=models))
    assert [one.model, other.model, third.model] == [
        "a/deep/net.onnx", "b/deep/net.onnx", "mlp",
    ]  # fmt: skip


def test_a_knee_is_the_first_value_with_nearly_the_best_throughput() -> None:
    found = measured([10, 19, 39, 38.5, None, 40], threads=["1", "2", "4", "8", "16", "3"])
    (curve,) = curves(found)
    assert (curve.axis, curve.values, curve.knee) == ("threads", (1, 2, 3, 4, 8), 3)


def test_a_curve_holds_all_other_axes_fixed() -> None:
    found = measured([10, 20, 60, 40], batch=["1", "8"], threads=["1", "2"])
    told = {
        (one.axis, *(str(value) for value in one.fixed.values())): (one.values, one.knee)
        for one in curves(found)
    }
    assert told == {
        ("threads", "mlp", "1"): ((1, 2), 2),
        ("threads", "mlp", "8"): ((1, 2), 1),
        ("batch", "mlp", "1"): ((1, 8), 8),
        ("batch", "mlp", "2"): ((1, 8), 8),
    }
    assert curves(measured([10], batch=["1"])) == []


def test_json_and_csv_hold_every_cell_and_the_reasons() -> None:
    found = measured([10, None], threads=["1", "7"])
    told = json.loads(sweep_text(Path("results"), found))
    one, other = told["cells"]
    assert one["settings"] == {"model": "mlp", "threads": 1}
    assert (one["status"], one["items_per_s"], one["median_ns"]) == ("done", 10, 1e8)
    assert one["joules_per_item"] is None
    assert one["joules_per_item_reason"] == "no device here tells of its energy"
    assert (other["status"], other["reason"]) == ("skipped", "7 threads on 2 CPUs")
    for name in ("file", "median_ns", "interval_ns", "items_per_s", "inferences_per_s", "noise"):
        assert other[name] is None
        assert other[f"{name}_reason"], name
    assert told["best"] == [{"model": "mlp", "host": "here", "cell": 1, "level": []}]
    assert (one["host"], one["broken"], other["host"], other["broken"]) == (
        "here", False, None, None,
    )  # fmt: skip
    assert other["host_reason"]
    assert other["broken_reason"]
    rows = list(csv.DictReader(io.StringIO(sweep_csv(found))))
    assert [row["threads"] for row in rows] == ["1", "7"]
    assert [row["items_per_s"] for row in rows] == ["10", ""]
    assert rows[1]["reason"] == "7 threads on 2 CPUs"


def test_the_table_tells_each_reason_once(capsys: pytest.CaptureFixture[str]) -> None:
    found = measured([10, 30, None, None], batch=["1", "8", "16", "32"])
    failure = Failure("machine", "`memory_limit_gb` is too small", "give more", 3, "host", "today")
    failed = CellState(found[3].state.cell, "failed", failure.message, Path("x.h5"), None, failure)
    print_sweep(Path("results"), [*found[:3], Result(failed, failure.message)])
    said = capsys.readouterr().out
    assert "failed     cell 4: --memory-limit is too small (give more)" in said
    assert "skipped    cell 3: 7 threads on 2 CPUs" in said
    assert "best       mlp: cell 2 (batch 8), 30 items/s, above the other by its interval" in said
    assert "curve      batch (model mlp): 1: 10  8: 30 items/s; knee at 8" in said
    assert "4 cells: 2 done, 1 failed, 1 skipped; profiles in results" in said


def test_a_dry_run_tells_what_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    found = measured([10, None], batch=["1", "8"])
    state = CellState(found[1].state.cell, "pending", "2 of 10 processes", Path("x.h5"))
    print_cells(Path("results"), [found[0], Result(state, state.reason)], 100, 10)
    said = capsys.readouterr().out
    assert "pending, 2 of 10 processes" in said
    assert "2 cells: 1 done, 1 pending in results" in said
    assert "roughly 2 min for 1 cell in 10 rounds" in said
    # What is done is told with its figures: nothing else prints those of copied files.
    assert "median" in said
    assert "best       mlp: cell 1 (batch 1), 10 items/s" in said


def test_a_dry_run_is_json_without_a_folder_as_well() -> None:
    found = measured([10, None], batch=["1", "8"])
    told = json.loads(sweep_text(None, found, 100.0))
    assert (told["folder"], told["folder_reason"]) == (None, "no --output was given")
    assert (told["expected_s"], told["cells"][0]["median_ns"]) == (100.0, 1e8)
    assert "median_ns_reason" not in told["cells"][0]
    assert [one["cell"] for one in told["best"]] == [1]
