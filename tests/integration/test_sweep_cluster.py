"""``harness sweep --dask``: cells on workers of a cluster on loopback."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.options import words
from harness.study.sweeps.cells import cells_of
from harness.study.sweeps.one_cell_plan import as_plan
from harness.study.sweeps.plan import read_plan

if TYPE_CHECKING:
    from tests.integration.command import Harness

pytest.importorskip("harness.native.ort", reason="the native module is not built")

AXES = ("--axis", "model=mlp", "--axis", "batch=1,2,4,8", "--axis", "threads=1,9999")
SHORT = ("--processes", "2", "--duration", "0.02", "--trace", "none", "--quick")


def test_without_distributed_the_sentence_says_what_to_install(harness: Harness) -> None:
    try:
        import distributed  # noqa: F401
    except ImportError:
        refused = harness("sweep", *AXES, "-o", "results", "--dask", "tcp://127.0.0.1:1")
        assert refused.returncode == 3
        assert "pip install 'onnx-harness[cluster]'" in refused.stderr
    else:
        pytest.skip("distributed is installed")


def test_a_cell_has_the_same_identity_in_the_plan_that_is_sent(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(
        "[sweep]\nquick = true\ntrace = 'none'\nprovider = 'cuda'\nprovider_options.'a b' = '1'\n"
        "[axes]\nmodel = ['mlp']\nthreads = ['all', 'default']\nplacement = ['1-core']\n"
        "shape.'in\"put' = ['1x64']\nentries.'x.y' = ['ü', 2]\n"
    )
    for cell in cells_of(read_plan(path, words())):
        sent = tmp_path / "sent.toml"
        sent.write_text(as_plan(cell))
        (arrived,) = cells_of(read_plan(sent, {}))
        assert (arrived.id, arrived.model) == (cell.id, cell.model)


def test_what_dask_sets_for_its_workers_is_not_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed", reason="distributed is not installed")
    from harness.study.sweeps.cluster_worker import scrubbed

    given = {"OMP_NUM_THREADS": "1", "MALLOC_TRIM_THRESHOLD_": "65536", "DASK_X": "1", "HOME": "/"}
    assert scrubbed(given).keys() == {"HOME", "PYTHONPATH"}
    # What the user set otherwise is the user's.
    assert scrubbed({"OMP_NUM_THREADS": "4"})["OMP_NUM_THREADS"] == "4"


class Cluster:
    """A scheduler and its workers, each of which is one process, or a nanny and its child.

    Attributes:
        address: of the scheduler.
        running: the processes; the first is the scheduler's.
        client: of it.
    """

    def __init__(self, folder: Path, environment: dict[str, str], host: str) -> None:
        self._folder = folder
        self._environment = environment | {
            "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
            "DASK_DISTRIBUTED__DIAGNOSTICS__NVML": "False",
            "TMPDIR": str(folder),
        }
        self.running: list[subprocess.Popen[bytes]] = []
        self._start("distributed.cli.dask_scheduler", "--host", host, "--port", "0")
        deadline_s = time.monotonic() + 60
        while not (folder / "at.json").exists():
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
        self.address = json.loads((folder / "at.json").read_text())["address"]

    def _start(self, *arguments: str) -> None:
        self.running.append(
            subprocess.Popen(
                [sys.executable, "-m", *arguments, "--no-dashboard",
                 "--scheduler-file", str(self._folder / "at.json")],
                env=self._environment, cwd=self._folder,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )
        )  # fmt: skip

    def work(self, resources: str, *more: str) -> None:
        """Starts a worker."""
        worker = ("--nthreads", "1", "--memory-limit", "0", "--resources", resources)
        self._start("distributed.cli.dask_worker", *worker, *more)

    def connect(self, workers: int) -> None:
        """Waits for the workers."""
        from distributed import Client

        self.client = Client(self.address, timeout=60)
        self.client.wait_for_workers(workers, timeout=60)

    def end(self) -> None:
        """Ends all of it."""
        if hasattr(self, "client"):
            self.client.close(timeout=5)
        for process in reversed(self.running):
            process.terminate()  # a nanny that is killed leaves its worker behind
        for process in self.running:
            try:
                process.wait(3)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture
def start(tmp_path: Path, surroundings: dict[str, str]) -> Iterator[Callable[[str], Cluster]]:
    """Starts a scheduler on a host."""
    pytest.importorskip("distributed", reason="distributed is not installed")
    started: list[Cluster] = []

    def at(host: str) -> Cluster:
        started.append(Cluster(tmp_path, surroundings, host))
        return started[-1]

    yield at
    for one in started:
        one.end()


@pytest.fixture
def cluster(start: Callable[[str], Cluster]) -> Cluster:
    """A scheduler and two workers without nannies."""
    found = start("127.0.0.1")
    for _ in range(2):
        found.work("CPU=1", "--no-nanny")
    found.connect(2)
    return found


def sweeping(
    folder: Path, environment: dict[str, str], address: str, *arguments: str
) -> subprocess.Popen[str]:
    """A sweep on a cluster, into the folder ``results``, under way."""
    return subprocess.Popen(
        [sys.executable, "-m", "harness", "sweep", *SHORT, *arguments, "-o", "results", "--json",
         "--dask", address],
        cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def until(condition: Callable[[], object], seconds: float = 120) -> None:
    deadline_s = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_lost_workers_cell_is_measured_again_and_none_is_lost(
    tmp_path: Path, surroundings: dict[str, str], cluster: Cluster
) -> None:
    from harness.study.sweeps.cluster_worker import TOPIC

    sweep = sweeping(tmp_path, surroundings, cluster.address, *AXES)
    until(lambda: list((tmp_path / "results").glob("cell-*.h5")) or sweep.poll() is not None)
    # Of the two, the one whose cell is being measured, and does not wait for the other.
    at_work = [one for one in cluster.running[1:] if _measures(one.pid)]
    (at_work or cluster.running[1:])[0].send_signal(signal.SIGKILL)
    out, said = sweep.communicate(timeout=180)
    assert sweep.returncode == 0, said
    cells = json.loads(out)["cells"]
    assert [one["status"] for one in cells] == ["done", "skipped"] * 4
    assert cells[1]["reason"] == (f"127.0.0.1: 9999 threads on {len(os.sched_getaffinity(0))} CPUs")
    assert len(list((tmp_path / "results").iterdir())) == 4
    events = [one for _, one in cluster.client.get_events(TOPIC)]
    begun = [hashlib.sha256(one["plan"].encode()).hexdigest() for one in events]
    assert len(set(begun)) == 8
    if at_work:
        assert 9 <= len(begun) <= 10  # what it measured, and perhaps what it was to measure next


def _measures(process: int) -> bool:
    children = Path(f"/proc/{process}/task").glob("*/children")
    return any(path.read_text().strip() for path in children)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_cells_wait_for_the_one_worker_that_its_nanny_starts_again(
    tmp_path: Path, surroundings: dict[str, str], start: Callable[[str], Cluster]
) -> None:
    cluster = start("127.0.0.1")
    cluster.work("CPU=1", "--nanny")
    cluster.connect(1)
    sweep = sweeping(
        tmp_path, surroundings, cluster.address, "--axis", "model=mlp", "--axis", "batch=1,2,4"
    )
    until(lambda: list((tmp_path / "results").glob("cell-*.h5")) or sweep.poll() is not None)
    (worker,) = cluster.client.run(os.getpid).values()
    os.kill(worker, signal.SIGKILL)
    out, said = sweep.communicate(timeout=180)
    assert sweep.returncode == 0, said
    assert [one["status"] for one in json.loads(out)["cells"]] == ["done"] * 3
    assert list(cluster.client.run(os.getpid).values()) != [worker]
    assert "waiting up to 60 s for a worker that offers CPU: 127.0.0.1 was lost" in said


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_cell_that_does_not_fit_a_host_of_ipv6_is_skipped(
    tmp_path: Path, surroundings: dict[str, str], start: Callable[[str], Cluster]
) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no ::1")
    cluster = start("[::1]")
    cluster.work("CPU=1", "--no-nanny", "--host", "[::1]")
    cluster.connect(1)
    sweep = sweeping(
        tmp_path, surroundings, cluster.address, "--axis", "model=mlp", "--axis", "threads=1,9999"
    )
    try:
        out, said = sweep.communicate(timeout=120)
    finally:
        sweep.kill()
    assert sweep.returncode == 0, said
    assert [one["status"] for one in json.loads(out)["cells"]] == ["done", "skipped"]
    assert json.loads(out)["cells"][1]["reason"].startswith("::1: 9999 threads")


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_when_the_scheduler_dies_the_sweep_says_what_is_kept(
    tmp_path: Path, surroundings: dict[str, str], cluster: Cluster
) -> None:
    axes = ("--axis", "model=mlp", "--axis", "batch=1,2,4,8")
    sweep = sweeping(tmp_path, surroundings, cluster.address, *axes)
    until(lambda: list((tmp_path / "results").glob("cell-*.h5")) or sweep.poll() is not None)
    cluster.running[0].kill()
    out, said = sweep.communicate(timeout=120)
    assert (sweep.returncode, said) == (3, "")
    error = json.loads(out)["error"]
    done = len(list((tmp_path / "results").glob("cell-*.h5")))
    gone = f"the scheduler of the cluster is gone; {done} of 4 cells done kept in results"
    assert (error["kind"], error["message"]) == ("machine", gone)
    assert error["remedy"].endswith("the same command goes on")
    assert not list((tmp_path / "results").glob("*.failed.json"))


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_cells_under_way_are_stopped_when_a_sweep_is_interrupted(
    tmp_path: Path, surroundings: dict[str, str], cluster: Cluster
) -> None:
    from harness.study.sweeps.cluster_worker import TOPIC

    axes = ("--axis", "model=mlp", "--axis", "batch=1,2", "--processes", "900")  # for minutes
    sweep = sweeping(tmp_path, surroundings, cluster.address, *axes)
    workers = [one.pid for one in cluster.running[1:]]
    until(lambda: all(_measures(one) for one in workers) or sweep.poll() is not None)
    until(lambda: len(cluster.client.get_events(TOPIC)) == 2)
    sweep.send_signal(signal.SIGINT)
    out, said = sweep.communicate(timeout=60)
    assert sweep.returncode == 130, said
    assert "0 of 2 cells done kept in results" in json.loads(out)["error"]["message"]
    until(lambda: not any(_measures(one) for one in workers), 20)
