"""What a worker of a Dask cluster does for a sweep: it measures a cell in a process of its own.

That process's environment lacks what Dask's nanny sets for its workers (one thread for OpenMP,
another threshold for malloc), and one cell at a time is measured on a host: a lock there sees to
that, however many workers it has. The functions here are called by ``cluster``.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.errors import one_line as line
from harness.measuring import conduct
from harness.study.sweeps import cell_process
from harness.version import __version__

#: Topic of Dask's events in which workers say what they begin.
TOPIC = "harness-cells"

#: The processes that measure for this worker, by Dask's key.
_under_way: dict[str, subprocess.Popen[bytes]] = {}


def conditions() -> dict[str, Any]:
    """Which harness a worker has, and what of Dask disturbs a measurement on its host."""
    import dask
    import distributed  # noqa: F401  # fills in the defaults

    wanted = {
        "distributed.worker.profile.enabled": "the statistical profiler of Dask",
        "distributed.diagnostics.nvml": "Dask's look at NVML",
    }
    on = [what for name, what in wanted.items() if dask.config.get(name, False)]
    return {"harness": __version__, "disturbing": on}


def measured(plan: str, identity: str, called: str = "") -> dict[str, Any]:
    """Measures the one cell of a plan, in a process of its own.

    Args:
        plan: as TOML.
        identity: of the cell where the plan was made; empty where that host lacks its files.
        called: what that host calls the cell all the same; the profile says so.

    Returns:
        ``status``; of a profile its bytes and their sha256, of a failure its kind and message;
        the ``id`` of the cell here, the worker's name, its host's, and the seconds that it took
        since no other cell was being measured on the host.
    """
    from distributed import get_worker

    worker = get_worker()
    worker.log_event(TOPIC, {"plan": plan, "worker": worker.address})
    began_s = time.monotonic()
    try:
        outcome = _in_a_process(
            plan, (identity, called), worker.local_directory, worker.get_current_task()
        )
    except OSError as error:
        reason = error.strerror or str(error)
        outcome = _failed(f"{worker.local_directory}: nothing can be measured there: {reason}")
        outcome |= {
            "kind": "machine",
            "remedy": "make room there, or start dask worker with another local directory",
            "exit_code": 3,
        }
    taken_s = time.monotonic() - outcome.pop("begun_s", began_s)
    return outcome | {"worker": worker.name, "host": socket.gethostname(), "seconds": taken_s}


def stop(keys: Sequence[str]) -> None:
    """Ends the processes that measure cells.

    Args:
        keys: Dask's keys of these cells; those that are not being measured here are ignored.
    """
    for key in keys:
        process = _under_way.get(key)
        if process is not None:
            process.kill()  # those that it has started die with it


def _in_a_process(
    plan: str, identities: tuple[str, str], directory: str, key: str
) -> dict[str, Any]:
    """How the cell ended.

    Args:
        plan: as TOML.
        identities: that the cell must have, and is to be called by, as ``measured`` takes them.
        directory: for its files.
        key: Dask's, of the cell.

    Raises:
        OSError: nothing can be written to the directory, or no process started.
    """
    with tempfile.TemporaryDirectory(dir=directory, ignore_cleanup_errors=True) as name:
        folder = Path(name)
        (folder / cell_process.PLAN).write_text(plan, encoding="utf-8")
        process = _under_way[key] = subprocess.Popen(
            conduct.python(
                "harness.study.sweeps.cell_process", str(os.getpid()), name, *identities
            ),
            env=scrubbed(os.environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        try:
            _, said = process.communicate()
        finally:
            del _under_way[key]
        outcome: dict[str, Any] = {}
        with contextlib.suppress(OSError, ValueError):
            outcome = json.loads((folder / cell_process.OUTCOME).read_bytes())
        if not outcome:
            printed = said.decode(errors="replace").strip().splitlines()
            told = f": {line(printed[-1], 200)}" if printed else ""
            outcome = _failed(f"the process of the cell ended with {process.returncode}{told}")
        elif outcome["status"] == "done":
            content = (folder / outcome["file"]).read_bytes()
            outcome |= {"profile": content, "sha256": hashlib.sha256(content).hexdigest()}
        elif outcome["status"] == "failed" and "kind" not in outcome:
            outcome |= _failed(outcome["reason"])
        with contextlib.suppress(OSError, ValueError):
            outcome["begun_s"] = float((folder / cell_process.BEGUN).read_text(encoding="utf-8"))
        return outcome


def _failed(message: str) -> dict[str, Any]:
    told = {"kind": "internal", "message": message, "remedy": "", "exit_code": 1}
    return {"status": "failed", **told}


def scrubbed(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment without what Dask sets for its workers.

    Args:
        environment: of a worker.
    """
    import dask
    import distributed  # noqa: F401  # fills in the defaults

    set_by_dask: dict[str, str] = {}
    for name in ("distributed.nanny.pre-spawn-environ", "distributed.nanny.environ"):
        given = dask.config.get(name, None) or {}
        set_by_dask |= {key: str(value) for key, value in given.items()}
    kept = {
        name: value
        for name, value in environment.items()
        if set_by_dask.get(name) != value and not name.startswith("DASK_")
    }
    return kept | {"PYTHONPATH": conduct.python_path()}
