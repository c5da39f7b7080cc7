"""Is a cell that Dask hands out measured as one that is measured here?

    python benchmarks/dask_cell.py [--pairs 24] [--model mobilenet-v2] [--margin 2]

Starts a scheduler and a worker with its nanny on loopback, as docs/SWEEPS.md says, and measures the
same cell alternately by a process that the worker starts and by one that this script starts: in
each pair, a coin draws who comes first. The test of `ab` on pairs decides whether the medians
differ. Beside it: what the worker's environment has that the cell's has not.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from distributed import Client

from harness.measuring import conduct
from harness.statistics.pairs import decide
from harness.storage.profile_file import read_profile
from harness.study.sweeps import cell_process
from harness.study.sweeps.cells import cells_of
from harness.study.sweeps.cluster_worker import measured, scrubbed
from harness.study.sweeps.plan import read_plan

#: As docs/SWEEPS.md has them set.
QUIET = {
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
    "DASK_DISTRIBUTED__DIAGNOSTICS__NVML": "False",
}


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[Client]:
    """A scheduler and a worker of one thread."""
    environment = {**os.environ, **QUIET, "PYTHONPATH": conduct.python_path()}
    found = folder / "scheduler.json"
    common = ("--scheduler-file", str(found), "--no-dashboard")
    worker = ("--nthreads", "1", "--memory-limit", "0", "--local-directory", str(folder))
    commands = (("scheduler", "--host", "127.0.0.1", "--port", "0", *common), ("worker", *worker))
    running = []
    try:
        for name, *more in (commands[0], (*commands[1], *common)):
            command = [sys.executable, "-m", "distributed.cli.dask_" + name, *more]
            running.append(
                subprocess.Popen(
                    command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
                )
            )
        with Client(scheduler_file=str(found), timeout="60s") as client:
            client.wait_for_workers(1, timeout=60)
            yield client
    finally:
        for process in reversed(running):
            process.terminate()
        for process in running:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()


def median_ns(path: Path) -> float:
    """Median of the one process of a profile."""
    (process,) = read_profile(path).processes
    return float(np.median(process.steady.duration_ns))


def identity(plan: str, folder: Path) -> str:
    """That of the one cell of a plan."""
    (folder / cell_process.PLAN).write_text(plan)
    (cell,) = cells_of(read_plan(folder / cell_process.PLAN, {}))
    return cell.id


def by_dask(client: Client, plan: str, folder: Path) -> float:
    """The cell as a sweep hands it out."""
    outcome = client.submit(measured, plan, identity(plan, folder), pure=False).result()
    if outcome["status"] != "done":
        sys.exit(f"under Dask: {outcome}")
    path = folder / "dask.h5"
    path.write_bytes(outcome["profile"])
    return median_ns(path)


def here(plan: str) -> float:
    """The same process, started by this one."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / cell_process.PLAN).write_text(plan)
        subprocess.run(
            conduct.python(
                "harness.study.sweeps.cell_process", str(os.getpid()), name, identity(plan, folder)
            ),
            env={**os.environ, "PYTHONPATH": conduct.python_path()},
            check=True,
        )
        return median_ns(next(folder.glob("cell-*.h5")))


def stripped() -> dict[str, str]:
    """What is in the worker's environment and not in the cell's."""
    kept = scrubbed(os.environ)
    return {name: value for name, value in os.environ.items() if name not in kept}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=24)
    parser.add_argument("--model", default="mobilenet-v2")
    parser.add_argument("--margin", type=float, default=2.0, help="percent")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    plan = (
        f"[axes]\nmodel = ['{options.model}']\nprocesses = [1]\nduration_s = [0.5]\n"
        "quick = [true]\ntrace = ['none']\nthreads = [1]\n"
    ).replace("threads", "session.intra_threads")
    coin = np.random.default_rng(options.seed)
    folder = Path(tempfile.mkdtemp(prefix="dask-cell-"))
    try:
        with cluster(folder) as client:
            print("taken from the environment:", client.run(stripped))
            differences: list[float] = []
            for _ in range(options.pairs):
                taken = {}
                for dask in (True, False) if coin.random() < 0.5 else (False, True):
                    taken[dask] = by_dask(client, plan, folder) if dask else here(plan)
                differences.append(math.log(taken[True] / taken[False]))
                decision = decide(
                    np.array(differences),
                    margin=options.margin / 100,
                    alpha=0.05,
                    budget=options.pairs,
                )
                if not decision.go_on:
                    break
        print(
            f"under Dask against here: {decision.verdict} after {decision.pairs} pairs, "
            f"ratio {decision.ratio}, interval {decision.interval}: {decision.reason}"
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
