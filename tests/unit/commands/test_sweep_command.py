"""What ``sweep`` takes from the command line besides its plan."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import pytest

from harness.commands.command_line import main
from harness.options import words
from harness.study.sweeps.cells import cells_of
from harness.study.sweeps.plan import read_plan


def asked(capsys: pytest.CaptureFixture[str], *given: str) -> tuple[int, str]:
    """(exit code, what was printed)."""
    code = main(["sweep", "--axis", "model=mlp", *given])
    printed = capsys.readouterr()
    return code, printed.out + printed.err


@pytest.mark.parametrize(
    ("given", "cells"),
    [
        (("--axis", "batch=1", "--axis", "batch=8"), 2),
        (("--axis", "batch=1,2", "--axis", "batch=8", "--axis", "threads=1,2"), 6),
        (("--axis", "affinity=0,1"), 2),
        (("--axis", "affinity=['0,1', '0']"), 2),
        (("--axis", "affinity=['0,1']"), 1),
    ],
)
def test_axes_that_are_given_again_have_more_values(
    capsys: pytest.CaptureFixture[str], given: tuple[str, ...], cells: int
) -> None:
    assert asked(capsys, *given, "--cells") == (0, f"{cells}\n")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--processes", "0"), "harness: --processes 0: must be between 1 and"),
        (("--duration", "0"), "harness: --duration 0.0: must be above 0"),
        (("--axis", "batch=[1,"), "--axis batch=[1,: not a list as in TOML"),
        (("--axis", "batch=[1]\nseed=2"), "more than a list"),
        (("--axis", "batch=[]"), "--axis batch: no values"),
        (("--axis", "batch=1", "--axis", "batch=1"), "is there twice"),
        (("--cell", "0"), "--cells and --cell exclude each other"),
    ],
)
def test_values_that_mean_nothing_are_refused(
    capsys: pytest.CaptureFixture[str], given: tuple[str, ...], said: str
) -> None:
    code, printed = asked(capsys, *given, "--cells")
    assert (code, said in printed) == (2, True), printed


def test_a_dry_run_tells_the_figures_of_what_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("harness.native.ort", reason="the native module is not built")
    (one,) = cells_of(read_plan(None, words(), [("model", ["mlp"]), ("batch", ["8"])]))
    golden = Path(__file__).parents[2] / "golden" / "profile_v1.h5"
    shutil.copy(golden, tmp_path / f"cell-912-copied-{one.id}.h5")
    told = ("--axis", "batch=1,8", "--dry-run", "-o", str(tmp_path))
    code, printed = asked(capsys, *told, "--json")
    pending, done = json.loads(printed)["cells"]
    assert (code, pending["status"], done["status"]) == (0, "pending", "done")
    assert (pending["median_ns"], pending["median_ns_reason"]) == (None, "not measured yet")
    assert done["median_ns"] > 0
    assert "median_ns_reason" not in done
    table = asked(capsys, *told)[1]
    assert "median" in table
    assert "best       mlp: cell 2 (batch 8)" in table
    _, rows = asked(capsys, *told, "--csv")
    assert [bool(row["median_ns"]) for row in csv.DictReader(io.StringIO(rows))] == [False, True]


def test_a_dry_run_without_a_folder_looks_into_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("harness.native.ort", reason="the native module is not built")
    monkeypatch.chdir(tmp_path)
    (one,) = cells_of(read_plan(None, words(), [("model", ["mlp"])]))
    (tmp_path / f".{one.file}.partial" / "process-000.shard").mkdir(parents=True)
    told = json.loads(asked(capsys, "--dry-run", "--json")[1])
    assert (told["folder"], told["folder_reason"]) == (None, "no --output was given")
    assert [each["reason"] for each in told["cells"]] == [""]


def test_options_that_are_not_given_leave_the_plan_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("harness.native.ort", reason="the native module is not built")
    plan = tmp_path / "plan.toml"
    plan.write_text("[sweep]\nquick = true\nenergy = true\n[axes]\nmodel = ['mlp']\n")
    (cell,) = cells_of(read_plan(plan, words()))
    assert main(["sweep", str(plan), "--dry-run", "--json"]) == 0
    assert [one["id"] for one in json.loads(capsys.readouterr().out)["cells"]] == [cell.id]
