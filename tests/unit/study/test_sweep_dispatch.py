"""Which worker of a cluster gets a cell again, or none any more: with a double of Dask's client."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.errors import MachineError
from harness.options import words
from harness.study import cluster
from harness.study.cells import Cell, cells_of
from harness.study.plan import read_plan
from harness.study.sweep import SweepObserver
from harness.version import __version__

GOOD, BAD = "tcp://10.0.0.1:1", "tcp://10.0.0.2:1"

#: What becomes of a cell, by the number it has and the worker.
Outcome = Callable[[int, str], dict[str, Any]]


class Told(SweepObserver):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warning(self, text: str) -> None:
        self.warnings.append(text)


class ClientDouble:
    """Two workers that take turns, as far as a cell may go to both."""

    def __init__(self, cells: tuple[Cell, ...], outcome: Outcome) -> None:
        self._numbers = {one.id: one.number for one in cells}
        self._outcome = outcome
        self._turn = itertools.count()
        self.sent: list[tuple[int, str]] = []

    def scheduler_info(self, *, n_workers: int) -> dict[str, Any]:
        assert n_workers == -1
        return {
            "workers": {one: {"resources": {"CPU": 1}, "host": one[6:14]} for one in (BAD, GOOD)}
        }

    def run(self, _asked: object, *, workers: list[str]) -> dict[str, Any]:
        return {workers[0]: {"harness": __version__, "disturbing": []}}

    def submit(self, _call: object, _plan: str, *, key: str, workers: list[str], **_: Any) -> Any:
        number = self._numbers[key.split("-")[1]]
        worker = workers[next(self._turn) % len(workers)]
        self.sent.append((number, worker))
        outcome = {"worker": worker, "host": worker[6:14]} | self._outcome(number, worker)
        return FutureDouble(outcome)


class FutureDouble:
    def __init__(self, outcome: dict[str, Any]) -> None:
        self._outcome = outcome

    def done(self) -> bool:
        return True

    def cancel(self) -> None:
        pass

    def result(self, timeout: float) -> dict[str, Any]:
        assert timeout
        return self._outcome


def failed(seconds: float = 1.0, kind: str = "machine") -> dict[str, Any]:
    told = {"kind": kind, "message": "no memory", "remedy": "", "exit_code": 3}
    return {"status": "failed", "seconds": seconds, **told}


def done(content: bytes = b"profile", sent: bytes = b"profile") -> dict[str, Any]:
    digest = hashlib.sha256(sent).hexdigest()
    return {"status": "done", "seconds": 1.0, "profile": content, "sha256": digest}


def dispatched(
    folder: Path, monkeypatch: pytest.MonkeyPatch, outcome: Outcome, cells: int = 6
) -> tuple[ClientDouble, list[str]]:
    """Measures so many cells; returns the client and the warnings."""
    axes = [("model", ["mlp"]), ("batch", [str(one + 1) for one in range(cells)])]
    measured = cells_of(read_plan(None, words(), axes))
    client, told = ClientDouble(measured, outcome), Told()
    monkeypatch.setattr(cluster._Dispatch, "_ended", staticmethod(list))
    monkeypatch.setattr(cluster, "profile_file", SimpleNamespace(read_profile=lambda path: path))
    dispatch = cluster._Dispatch(client, folder, told)  # type: ignore[arg-type]
    dispatch.measure([cluster._Order(one) for one in measured])
    return client, told.warnings


def kept(folder: Path, kind: str) -> list[int]:
    return sorted(int(one.name.split("-")[1]) for one in folder.glob(f"cell-*.{kind}"))


def test_a_faulty_worker_is_quarantined_and_its_cells_are_measured_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, warnings = dispatched(
        tmp_path, monkeypatch, lambda _, worker: failed() if worker == BAD else done(), cells=12
    )
    assert kept(tmp_path, "h5") == list(range(1, 13))
    assert not kept(tmp_path, "failed.json")
    assert sum(worker == BAD for _, worker in client.sent) in (2, 3)  # one was under way
    assert warnings == [f"worker {BAD} gets no cells: 2 cells failed fast: no memory"]


def test_cells_that_fail_everywhere_empty_no_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, warnings = dispatched(
        tmp_path, monkeypatch, lambda number, _: failed() if number <= 2 else done()
    )
    assert (kept(tmp_path, "failed.json"), kept(tmp_path, "h5")) == ([1, 2], [3, 4, 5, 6])
    assert not warnings


def test_slow_failures_and_those_of_the_request_quarantine_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "slow").mkdir()
    (tmp_path / "request").mkdir()
    _, warnings = dispatched(
        tmp_path / "slow", monkeypatch, lambda _, worker: failed(90.0) if worker == BAD else done()
    )
    assert len(kept(tmp_path / "slow", "h5")) == 6
    client, more = dispatched(
        tmp_path / "request", monkeypatch, lambda _n, _w: failed(kind="request")
    )
    assert len(client.sent) == len(kept(tmp_path / "request", "failed.json")) == 6
    assert not warnings + more


def test_a_profile_that_arrives_damaged_is_measured_again_and_fails_the_third_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def outcome(number: int, _worker: str) -> dict[str, Any]:
        seen.append(number)
        damaged = number == 1 or (number == 2 and seen.count(2) == 1)
        return done(content=b"prof") if damaged else done()

    _, warnings = dispatched(tmp_path, monkeypatch, outcome, cells=3)
    assert (seen.count(1), seen.count(2), seen.count(3)) == (3, 2, 1)
    assert (kept(tmp_path, "h5"), kept(tmp_path, "failed.json")) == ([2, 3], [1])
    assert sum("came back damaged" in one for one in warnings) == 4


def test_without_a_worker_that_can_be_used_the_sweep_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ClientDouble, "run", lambda *_, **__: {})  # each raises a KeyError
    with pytest.raises(MachineError, match="no worker of the cluster can be used, 2 are"):
        dispatched(tmp_path, monkeypatch, lambda _n, _w: done())
