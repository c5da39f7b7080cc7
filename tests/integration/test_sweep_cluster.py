"""``harness sweep --dask``: cells on workers of a cluster on loopback."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.options import words
from harness.study.cells import cells_of
from harness.study.plan import read_plan

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
    pytest.importorskip("distributed", reason="distributed is not installed")
    from harness.study.cluster import _as_plan

    path = tmp_path / "plan.toml"
    path.write_text(
        "[sweep]\nquick = true\ntrace = 'none'\nprovider_options.'a b' = '1'\n"
        "[axes]\nmodel = ['mlp']\nthreads = ['all', 'default']\nplacement = ['1-core']\n"
        "shape.'in\"put' = ['1x64']\nentries.'x.y' = ['ü', 2]\n"
    )
    for cell in cells_of(read_plan(path, words())):
        sent = tmp_path / "sent.toml"
        sent.write_text(_as_plan(cell))
        (arrived,) = cells_of(read_plan(sent, {}))
        assert (arrived.id, arrived.model) == (cell.id, cell.model)


def test_what_dask_sets_for_its_workers_is_not_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed", reason="distributed is not installed")
    from harness.study.cluster import scrubbed

    given = {"OMP_NUM_THREADS": "1", "MALLOC_TRIM_THRESHOLD_": "65536", "DASK_X": "1", "HOME": "/"}
    assert scrubbed(given).keys() == {"HOME", "PYTHONPATH"}
    # What the user set otherwise is the user's.
    assert scrubbed({"OMP_NUM_THREADS": "4"})["OMP_NUM_THREADS"] == "4"


@pytest.fixture
def cluster(tmp_path: Path, surroundings: dict[str, str]) -> Iterator[dict[str, Any]]:
    """A scheduler and two workers without nannies: address, and the workers' processes."""
    pytest.importorskip("distributed", reason="distributed is not installed")
    environment = {
        **surroundings,
        "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
        "DASK_DISTRIBUTED__DIAGNOSTICS__NVML": "False",
        "TMPDIR": str(tmp_path),
    }

    def started(*arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", *arguments, "--scheduler-file", str(tmp_path / "at.json")],
            env=environment, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    running = [started("distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0")]
    try:
        worker = ("--nthreads", "1", "--no-nanny", "--no-dashboard", "--memory-limit", "0")
        running += [
            started("distributed.cli.dask_worker", *worker, "--resources", "CPU=1")
            for _ in range(2)
        ]
        deadline_s = time.monotonic() + 60
        while not (tmp_path / "at.json").exists():
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
        from distributed import Client

        address = json.loads((tmp_path / "at.json").read_text())["address"]
        with Client(address) as client:
            client.wait_for_workers(2, timeout=60)
            yield {"address": address, "workers": running[1:], "client": client}
    finally:
        for process in running:
            process.kill()
            process.wait()


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_lost_workers_cell_is_measured_again_and_none_is_lost(
    tmp_path: Path, surroundings: dict[str, str], cluster: dict[str, Any]
) -> None:
    from harness.study.cluster import TOPIC

    sweep = subprocess.Popen(
        [sys.executable, "-m", "harness", "sweep", *AXES, *SHORT, "-o", "results", "--json",
         "--dask", cluster["address"]],
        cwd=tmp_path, env=surroundings, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    deadline_s = time.monotonic() + 120
    while not list((tmp_path / "results").glob("cell-*.h5")) and sweep.poll() is None:
        assert time.monotonic() < deadline_s
        time.sleep(0.02)
    # Of the two, the one whose cell is being measured, and does not wait for the other.
    at_work = [one for one in cluster["workers"] if _measures(one.pid)]
    (at_work or cluster["workers"])[0].send_signal(signal.SIGKILL)
    out, said = sweep.communicate(timeout=180)
    assert sweep.returncode == 0, said
    cells = json.loads(out)["cells"]
    assert [one["status"] for one in cells] == ["done", "skipped"] * 4
    assert cells[1]["reason"] == (f"127.0.0.1: 9999 threads on {len(os.sched_getaffinity(0))} CPUs")
    assert len(list((tmp_path / "results").iterdir())) == 4
    events = [one for _, one in cluster["client"].get_events(TOPIC)]
    begun = [hashlib.sha256(one["plan"].encode()).hexdigest() for one in events]
    assert len(set(begun)) == 8
    if at_work:
        assert 9 <= len(begun) <= 10  # what it measured, and perhaps what it was to measure next


def _measures(process: int) -> bool:
    children = Path(f"/proc/{process}/task").glob("*/children")
    return any(path.read_text().strip() for path in children)
