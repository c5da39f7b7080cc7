"""Which worker of a cluster gets a cell again, or none any more: with a double of Dask's client."""

from __future__ import annotations

import hashlib
import importlib.util
import itertools
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.errors import MachineError
from harness.options import words
from harness.study.sweeps import cluster, cluster_roster
from harness.study.sweeps.cells import Cell, cells_of
from harness.study.sweeps.plan import read_plan
from harness.study.sweeps.sweep import SweepObserver
from harness.version import __version__

GOOD, BAD = "tcp://10.0.0.1:1", "tcp://10.0.0.2:1"


@pytest.fixture(autouse=True)
def exceptions_of_dask(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names that results are asked for: the client is a double, so that nothing raises them."""
    if importlib.util.find_spec("distributed") is None:
        names = {name: type(name, (Exception,), {}) for name in ("CancelledError", "KilledWorker")}
        monkeypatch.setitem(sys.modules, "distributed", SimpleNamespace(**names))


#: What becomes of a cell, by the number it has and the worker.
Outcome = Callable[[int, str], dict[str, Any]]


class Told(SweepObserver):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warning(self, text: str) -> None:
        self.warnings.append(text)


class ClientDouble:
    """A cluster: by default two workers, which take turns as far as a cell may go to both."""

    def __init__(self, cells: tuple[Cell, ...], outcome: Outcome) -> None:
        self._ids = {one.id: one for one in cells}
        self._outcome = outcome
        self._turn = itertools.count()
        self.status = "running"
        self.workers = {BAD: described(BAD), GOOD: described(GOOD)}
        self.looks = 0
        self.sent: list[tuple[int, str]] = []
        self.at_once: list[set[str]] = []

    def scheduler_info(self, *, n_workers: int) -> dict[str, Any]:
        assert n_workers == -1
        self.looks += 1
        self.at_once.append(set())
        return {"workers": dict(self.workers)}

    def run(self, asked: object, *_: object, workers: list[str], **__: Any) -> dict[str, Any]:
        if asked is cluster.cluster_worker.stop:
            return {}
        return {workers[0]: {"harness": __version__, "disturbing": []}}

    def submit(
        self,
        _call: object,
        _plan: str,
        identity: str,
        called: str,
        *,
        key: str,
        workers: list[str],
        **_: Any,
    ) -> Any:
        assert identity == called
        assert identity in key
        number = self._ids[identity].number
        worker = workers[next(self._turn) % len(workers)]
        self.sent.append((number, worker))
        assert len(self.sent) < 200  # it does not end otherwise
        self.at_once[-1].add(worker)
        outcome = {"worker": self.workers[worker]["name"], "host": f"host-{worker[13]}"}
        return FutureDouble(outcome | {"id": identity} | self._outcome(number, worker), key)


def described(address: str, name: str | int = "", **resources: int) -> dict[str, Any]:
    """A worker, as a scheduler describes it."""
    host = address.partition("//")[2].rpartition(":")[0].strip("[]")
    return {"name": name or address, "host": host, "resources": resources or {"CPU": 1}}


class FutureDouble:
    def __init__(self, outcome: dict[str, Any], key: str) -> None:
        self._outcome = outcome
        self.key = key

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
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    outcome: Outcome,
    cells: int = 6,
    provider: str = "cpu",
    set_up: Callable[[ClientDouble], None] = lambda _: None,
    grace_s: float = 0.0,
) -> tuple[ClientDouble, list[str]]:
    """Measures so many cells; returns the client and the warnings."""
    axes = [("model", ["mlp"]), ("batch", [str(one + 1) for one in range(cells)])]
    axes.append(("provider", provider.split(",")))
    measured = cells_of(read_plan(None, words(), axes))
    client, told = ClientDouble(measured, outcome), Told()
    set_up(client)
    folder.mkdir(exist_ok=True)
    monkeypatch.setattr(cluster._Dispatch, "_ended", staticmethod(list))
    monkeypatch.setattr(cluster_roster, "GRACE_S", grace_s)
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
    assert warnings == [f"{BAD[6:14]} gets no cells any more: 2 cells failed fast: no memory"]


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
    with pytest.raises(MachineError, match="no worker of the cluster can be used, 2 get no"):
        dispatched(tmp_path, monkeypatch, lambda _n, _w: done())


def recorded(folder: Path) -> dict[int, dict[str, Any]]:
    """What was recorded of the cells that failed, by number."""
    return {
        int(one.name.split("-")[1]): json.loads(one.read_text())
        for one in folder.glob("cell-*.failed.json")
    }


def test_a_host_with_another_file_under_that_path_measures_nothing_and_is_not_blamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = {"kind": "model", "message": "m.onnx: the file there is another one", "id": "0" * 12}
    outcome = failed() | other

    def set_up(client: ClientDouble) -> None:
        del client.workers[GOOD]

    _, warnings = dispatched(
        tmp_path / "one", monkeypatch, lambda _n, worker: outcome if worker == BAD else done()
    )
    assert kept(tmp_path / "one", "h5") == list(range(1, 7))
    _, more = dispatched(tmp_path / "all", monkeypatch, lambda _n, _w: outcome, set_up=set_up)
    assert not warnings + more
    told = recorded(tmp_path / "all")
    assert {one["message"] for one in told.values()} == {other["message"]}
    assert len(told) == 6


def test_a_failure_is_recorded_with_the_host_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, _ = dispatched(tmp_path, monkeypatch, lambda _n, _w: failed(kind="request"), cells=2)
    sent = {number: f"host-{worker[13]}" for number, worker in client.sent}
    assert {number: one["host"] for number, one in recorded(tmp_path).items()} == sent


def test_a_workers_warnings_name_its_cell_and_those_of_a_worker_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, warnings = dispatched(
        tmp_path, monkeypatch, lambda number, _: done() | {"warnings": [f"of {number}"]}, cells=2
    )
    found = sorted(one.partition(": ")[::2] for one in warnings)
    assert [(one.split(" on ")[0], text) for one, text in found] == [
        ("cell 1", "of 1"),
        ("cell 2", "of 2"),
    ]


def test_cells_wait_for_the_worker_with_a_gpu_that_its_nanny_starts_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = "tcp://10.0.0.2:7"

    def set_up(client: ClientDouble) -> None:
        client.workers = {BAD: described(BAD, GPU=1), GOOD: described(GOOD)}
        look = client.scheduler_info

        def looked(*, n_workers: int) -> dict[str, Any]:
            if client.looks == 2:
                del client.workers[BAD]
            if client.looks == 9:
                client.workers[again] = described(again, GPU=1)
            return look(n_workers=n_workers)

        client.scheduler_info = looked  # type: ignore[method-assign]

    client, warnings = dispatched(
        tmp_path, monkeypatch, lambda _n, _w: done(), provider="cuda", set_up=set_up, grace_s=30.0
    )
    assert kept(tmp_path, "h5") == list(range(1, 7))
    assert {worker for _, worker in client.sent} == {BAD, again}
    assert warnings == ["waiting up to 30 s for a worker that offers GPU: 10.0.0.2 was lost"]


def test_a_sweep_may_begin_before_its_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def set_up(client: ClientDouble) -> None:
        there, client.workers = client.workers, {}
        look = client.scheduler_info

        def looked(*, n_workers: int) -> dict[str, Any]:
            if client.looks == 3:
                client.workers = there
            return look(n_workers=n_workers)

        client.scheduler_info = looked  # type: ignore[method-assign]

    _, warnings = dispatched(
        tmp_path, monkeypatch, lambda _n, _w: done(), set_up=set_up, grace_s=30.0
    )
    assert kept(tmp_path, "h5") == list(range(1, 7))
    assert warnings == ["waiting up to 30 s for a worker"]


def test_cells_that_need_what_nobody_offers_wait_no_longer_than_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began_s = time.monotonic()
    client, warnings = dispatched(
        tmp_path, monkeypatch, lambda _n, _w: done(), provider="cpu,cuda", grace_s=0.3
    )
    assert time.monotonic() - began_s >= 0.3
    assert len(client.sent) == len(kept(tmp_path, "h5")) == 6
    assert not kept(tmp_path, "failed.json")
    assert warnings == ["waiting up to 0 s for a worker that offers GPU"]


def test_a_faulty_worker_stays_quarantined_when_it_is_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports = itertools.count(2)

    def set_up(client: ClientDouble) -> None:
        look = client.scheduler_info

        def looked(*, n_workers: int) -> dict[str, Any]:
            # Its nanny starts it again, at another port, all the time.
            address = f"{BAD[:-1]}{next(ports)}"
            client.workers = {address: described(address), GOOD: described(GOOD)}
            return look(n_workers=n_workers)

        client.scheduler_info = looked  # type: ignore[method-assign]

    client, warnings = dispatched(
        tmp_path,
        monkeypatch,
        lambda _, worker: done() if worker == GOOD else failed(),
        cells=12,
        set_up=set_up,
    )
    assert kept(tmp_path, "h5") == list(range(1, 13))
    assert sum(worker != GOOD for _, worker in client.sent) == 2
    assert warnings == ["10.0.0.2 gets no cells any more: 2 cells failed fast: no memory"]


def test_workers_with_a_name_are_quarantined_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = "tcp://10.0.0.2:2"

    def set_up(client: ClientDouble) -> None:
        client.workers = {BAD: described(BAD, "gpu0"), good: described(good, 1)}

    _, warnings = dispatched(
        tmp_path,
        monkeypatch,
        lambda _, worker: done() if worker == good else failed(),
        set_up=set_up,
    )
    assert kept(tmp_path, "h5") == list(range(1, 7))
    assert warnings == ["gpu0 on 10.0.0.2 gets no cells any more: 2 cells failed fast: no memory"]


def test_a_cell_that_does_not_fit_a_host_of_ipv6_is_not_sent_there_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = "tcp://[::1]:4000"

    def set_up(client: ClientDouble) -> None:
        client.workers = {address: described(address)}

    client, _ = dispatched(
        tmp_path,
        monkeypatch,
        lambda _n, _w: {"status": "skipped", "reason": "9 threads"},
        cells=2,
        set_up=set_up,
    )
    assert sorted(client.sent) == [(1, address), (2, address)]


def test_cells_of_a_gpu_keep_no_worker_without_one_idle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = "tcp://10.0.0.3:1"

    def set_up(client: ClientDouble) -> None:
        client.workers[gpu] = described(gpu, GPU=1)

    client, _ = dispatched(
        tmp_path, monkeypatch, lambda _n, _w: done(), provider="cuda,cpu", set_up=set_up
    )
    assert len(kept(tmp_path, "h5")) == 12
    busy = [one for one in client.at_once if one]
    assert busy[:3] == [{gpu, BAD, GOOD}] * 3
    assert len(client.sent) == 12


def test_a_worker_that_left_before_it_was_greeted_is_not_said_to_lack_harness(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def left(client: ClientDouble, asked: object, *, workers: list[str], **_: Any) -> Any:
        if workers == [BAD]:
            client.workers.pop(BAD, None)
            raise OSError("Timed out trying to connect")
        return {workers[0]: {"harness": __version__, "disturbing": []}}

    monkeypatch.setattr(ClientDouble, "run", left)
    _, warnings = dispatched(tmp_path, monkeypatch, lambda _n, _w: done())
    assert not warnings
    assert kept(tmp_path, "h5") == list(range(1, 7))


def test_a_worker_without_harness_is_told_from_one_that_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def greeted(_client: ClientDouble, _asked: object, *, workers: list[str]) -> Any:
        raise Exception("ModuleNotFoundError()") if workers == [BAD] else OSError("timed out")

    warnings: list[str] = []
    monkeypatch.setattr(ClientDouble, "run", greeted)
    monkeypatch.setattr(Told, "warning", lambda _, text: warnings.append(text))
    with pytest.raises(MachineError):
        dispatched(tmp_path, monkeypatch, lambda _n, _w: done())
    assert warnings == [
        f"worker {GOOD} gets no cells: does not answer: timed out",
        f"worker {BAD} gets no cells: cannot run harness: ModuleNotFoundError()",
    ]


def test_when_the_scheduler_is_gone_the_sweep_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def set_up(client: ClientDouble) -> None:
        def outcome(number: int, _worker: str) -> dict[str, Any]:
            client.status = "closed" if number == 6 else "running"
            return done()

        client._outcome = outcome

    with pytest.raises(MachineError, match="the scheduler of the cluster is gone"):
        dispatched(tmp_path, monkeypatch, lambda _n, _w: done(), cells=40, set_up=set_up)
