"""What the files in a sweep's folder say of its cells."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import pytest

from harness.errors import MachineError, RequestError
from harness.options import words
from harness.study.sweeps import state
from harness.study.sweeps.cells import Cell, cells_of
from harness.study.sweeps.fitting import Machine
from harness.study.sweeps.plan import read_plan

pytest.importorskip("harness.native.ort", reason="the native module is not built")

GOLDEN = Path(__file__).parents[3] / "golden" / "profile_v1.h5"


@pytest.fixture(scope="module")
def here() -> Machine:
    return Machine()


@pytest.fixture
def cell() -> Cell:
    return cells_of(read_plan(None, words(), [("model", ["mlp"])]))[0]


def test_a_profile_under_the_name_of_a_cell_is_that_cell_done(
    tmp_path: Path, cell: Cell, here: Machine
) -> None:
    assert state.state_of(tmp_path / "nowhere", cell, here).status == "pending"
    shutil.copy(GOLDEN, tmp_path / f"cell-912-whatever-{cell.id}.h5")
    found = state.state_of(tmp_path, cell, here)
    assert (found.status, found.file.name) == ("done", f"cell-912-whatever-{cell.id}.h5")


def test_a_profile_of_another_cell_is_not_this_one(
    tmp_path: Path, cell: Cell, here: Machine
) -> None:
    for told, status in ((cell.id, "done"), ("0123456789ab", "failed")):
        path = tmp_path / cell.file
        shutil.copy(GOLDEN, path)
        with h5py.File(path, "r+") as file:
            facts = file["environment"]
            at = facts["kind"].asstr()[:].tolist().index("str")
            facts["name"][at], facts["value"][at] = "sweep_cell", told
        found = state.state_of(tmp_path, cell, here)
        assert found.status == status
    assert found.reason == f"{path}: is of another cell; delete it and go on"


def test_a_damaged_profile_is_not_measured_over(tmp_path: Path, cell: Cell, here: Machine) -> None:
    (tmp_path / cell.file).write_bytes(GOLDEN.read_bytes()[:3000])
    found = state.state_of(tmp_path, cell, here)
    assert found.status == "failed"
    assert "delete it and go on" in found.reason


def test_a_failure_is_kept_until_it_is_forgotten(tmp_path: Path, cell: Cell, here: Machine) -> None:
    state.record_failure(tmp_path, cell, MachineError("out of\nmemory", "give less"))
    found = state.state_of(tmp_path, cell, here)
    assert (found.status, found.reason) == ("failed", "out of memory")
    assert found.failure is not None
    assert (found.failure.kind, found.failure.exit_code) == ("machine", 3)
    # It failed as a cell of another number of another plan, too.
    state.record_failure(tmp_path, dataclasses.replace(cell, number=7), MachineError("no", ""))
    state.forget_failure(tmp_path, cell)
    assert state.state_of(tmp_path, cell, here).status == "pending"


def test_files_of_one_content_are_one_cell(tmp_path: Path, here: Machine) -> None:
    for name in ("a.onnx", "b.onnx"):
        (tmp_path / name).write_bytes(b"the same")
    models = [str(tmp_path / name) for name in ("a.onnx", "b.onnx")]
    cells = cells_of(read_plan(None, words(), [("model", models), ("batch", ["1", "2"])]))
    for machine in (here, None):  # a cluster measures them
        found = state.states(tmp_path / "results", cells, machine)
        assert [(one.status, one.reason) for one in found] == [
            ("pending", ""),
            ("pending", ""),
            ("skipped", "the same as cell 1"),
            ("skipped", "the same as cell 2"),
        ]


def test_a_variant_that_is_done_is_not_the_model_itself(tmp_path: Path, here: Machine) -> None:
    axes = [("model", ["mlp"]), ("variant", ["fp16", "default"])]
    cells = cells_of(read_plan(None, words(), axes))
    shutil.copy(GOLDEN, tmp_path / cells[0].file)
    found = state.states(tmp_path, cells, here)
    assert [one.status for one in found] == ["done", "pending"]


def test_what_failed_or_is_done_is_not_measured_under_another_name(
    tmp_path: Path, here: Machine
) -> None:
    axes = [("model", ["mlp"]), ("threads", ["1", "per-core"])]
    cells = cells_of(read_plan(None, words(), axes))
    skipped = ("skipped", "the same as cell 1 on this machine")
    state.record_failure(tmp_path, cells[0], MachineError("no", ""))
    found = state.states(tmp_path, cells, here)
    assert [one.status for one in found] == ["failed", "skipped"]
    assert (found[1].status, found[1].reason) == skipped
    state.forget_failure(tmp_path, cells[0])
    # The plan was extended before it.
    profiled(tmp_path / cells[1].file, {"session": {"intra_threads": 1}})
    found = state.states(tmp_path, cells, here)
    assert [one.status for one in found] == ["skipped", "done"]
    assert found[0].reason == "the same as cell 2 on this machine"


def profiled(path: Path, asked: dict[str, Any]) -> None:
    """A profile for which that was asked."""
    shutil.copy(GOLDEN, path)
    with h5py.File(path, "r+") as file:
        file.attrs["config"] = json.dumps(asked)


def test_what_another_machine_made_of_a_cell_hides_no_cell_of_this_one(
    tmp_path: Path, here: Machine
) -> None:
    cores = here.fit(
        cells_of(read_plan(None, words(), [("model", ["mlp"]), ("threads", ["all"])]))[0]
    )
    number = cores.session.intra_threads
    axes = [("model", ["mlp"]), ("threads", ["all", str(number)])]
    cells = cells_of(read_plan(None, words(), axes))
    assert [one.status for one in state.states(tmp_path, cells, here)] == ["pending", "skipped"]
    # All of that machine were more threads, on some of its CPUs, or in several instances.
    for asked in (
        {"session": {"intra_threads": number + 14}},
        {"session": {"intra_threads": number}, "affinity": "0-15"},
        {"session": {"intra_threads": number}, "instances": 2},
        {"session": "?"},
    ):
        profiled(tmp_path / cells[0].file, asked)
        assert [one.status for one in state.states(tmp_path, cells, here)] == ["done", "pending"]
    (tmp_path / cells[0].file).unlink()
    state.record_failure(tmp_path, cells[0], MachineError("no", ""), host="another")
    assert [one.status for one in state.states(tmp_path, cells, here)] == ["failed", "pending"]


@pytest.mark.parametrize("content", [b"", b"[1]", b"{" * 70_000, b'{"message": 3, "exit_code": 0}'])
def test_a_strange_record_of_a_failure_is_one_without_a_reason(
    tmp_path: Path, cell: Cell, here: Machine, content: bytes
) -> None:
    (tmp_path / f"{Path(cell.file).stem}.failed.json").write_bytes(content)
    found = state.state_of(tmp_path, cell, here)
    assert found.status == "failed"
    assert "does not say why" in found.reason
    assert found.failure is not None
    assert found.failure.exit_code == 1


def test_the_holder_of_a_folder_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    look = "import sys, time; from pathlib import Path; from harness.study.sweeps import state\n"
    look += "with state.held(Path(sys.argv[1])): print(1, flush=True); time.sleep(60)"
    with subprocess.Popen(
        [sys.executable, "-c", look, str(folder)], stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.read(1)
        with pytest.raises(RequestError, match=f"process {other.pid} on .*, since 2"):
            state.held(folder).__enter__()
        # What somebody else wrote there is shown on one line, or not at all.
        (folder / ".harness-sweep.json").write_text(json.dumps({"process": 1, "host": 2}))
        with pytest.raises(RequestError, match="another command is measuring"):
            state.held(folder).__enter__()
        other.kill()
    with state.held(folder):
        assert (folder / ".harness-sweep.json").exists()
    assert not list(folder.iterdir())
