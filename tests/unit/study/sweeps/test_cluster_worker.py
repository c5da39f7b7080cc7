"""What a worker of a cluster does with a cell: here with a double of Dask's worker."""

from __future__ import annotations

import fcntl
import os
import tempfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("harness.native.ort", reason="the native module is not built")
pytest.importorskip("distributed", reason="distributed is not installed")

from harness.models import catalogue
from harness.options import words
from harness.storage.profile_file import read_outline
from harness.study.sweeps.cells import Cell, cells_of
from harness.study.sweeps.cluster_worker import measured
from harness.study.sweeps.one_cell_plan import as_plan
from harness.study.sweeps.plan import read_plan

SHORT = {"processes": 2, "duration_s": 0.02, "trace": "none", "quick": True}


def lock_file(folder: Path) -> Path:
    """What is locked while a cell is measured."""
    return folder / f"temporary/harness-{os.geteuid()}.lock"


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    (tmp_path / "local").mkdir()
    (tmp_path / "temporary").mkdir()
    # No cell waits for those of others on this host.
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("HARNESS_LOCK", str(lock_file(tmp_path)))
    found = SimpleNamespace(
        address="tcp://10.0.0.1:1",
        name="one",
        local_directory=str(tmp_path / "local"),
        log_event=lambda _topic, _told: None,
        get_current_task=lambda: "harness-1",
    )
    monkeypatch.setattr("distributed.get_worker", lambda: found)
    return found


def cell_of(model: str) -> Cell:
    (cell,) = cells_of(read_plan(None, words(), [("model", [model])], SHORT))
    return cell


def sent(cell: Cell) -> dict[str, Any]:
    return measured(as_plan(cell), cell.id)


@pytest.mark.usefixtures("worker")
def test_a_file_that_is_another_one_there_is_not_measured(tmp_path: Path) -> None:
    model = tmp_path / "m.onnx"
    catalogue.write("mlp", model)
    cell = cell_of(str(model))
    assert sent(cell)["status"] == "done"
    model.write_bytes(b"another")
    outcome = sent(cell)
    assert outcome["status"] == "failed"
    assert outcome["message"] == f"{model}: the file there is another one"
    assert outcome["id"] not in ("", cell.id)
    # Whoever lacks the file cannot say which one it is.
    catalogue.write("mlp", model)
    # Its profile says what the cell is called there, where it has another identity.
    outcome = measured(as_plan(cell), "", "0123456789ab")
    assert outcome["status"] == "done"
    (tmp_path / "came.h5").write_bytes(outcome["profile"])
    assert read_outline(tmp_path / "came.h5").facts["sweep_cell"] == "0123456789ab"
    model.unlink()
    outcome = sent(cell)
    assert outcome["message"].startswith('model: "')
    assert outcome["message"].endswith('m.onnx": neither a file nor a reference model')
    assert outcome["id"] != cell.id  # so that it is tried elsewhere


def test_a_folder_that_cannot_be_written_to_is_the_machines_fault(worker: SimpleNamespace) -> None:
    worker.local_directory += "/gone"
    outcome = sent(cell_of("mlp"))
    assert (outcome["status"], outcome["kind"], outcome["exit_code"]) == ("failed", "machine", 3)
    assert outcome["message"] == (
        f"{worker.local_directory}: nothing can be measured there: No such file or directory"
    )


@pytest.mark.usefixtures("worker")
def test_time_that_others_were_measured_on_the_host_does_not_count(tmp_path: Path) -> None:
    held_s = 3.0
    lock = os.open(lock_file(tmp_path), os.O_CREAT | os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    began_s = time.monotonic()
    threading.Timer(held_s, os.close, (lock,)).start()
    outcome = sent(cell_of("mlp"))
    assert outcome["status"] == "done"
    assert 0 < outcome["seconds"] <= time.monotonic() - began_s - held_s
