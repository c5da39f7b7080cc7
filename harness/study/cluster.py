"""Hands the cells of a sweep to the workers of a Dask cluster. The only importer of distributed.

Dask chooses the worker, watches it, and starts a cell again whose worker was lost. What it must not
do is take part in the measurement: each cell is measured in a process of its own (``cell_process``)
whose environment lacks what Dask's nanny sets for its workers (one thread for OpenMP, another
threshold for malloc). One cell at a time is measured on a host: a lock there sees to that, however
many workers it has. Profiles come back as bytes, and are checked by their hash.

How the workers are started, docs/SWEEPS.md says. Paths in the plan must be there on every host.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
import os
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.errors import HarnessError, MachineError, ProfileFileError, RequestError, not_written
from harness.errors import one_line as line
from harness.measuring import conduct
from harness.measuring.profile import interruptible
from harness.models import catalogue
from harness.storage import profile_file
from harness.storage.files import beside
from harness.study import cell_process, state
from harness.study.cells import Cell, CellState, cells_of
from harness.study.fitting import on_device
from harness.study.plan import SweepPlan
from harness.study.settings import Setting, Value, holds_paths
from harness.study.sweep import SweepObserver
from harness.version import __version__

if TYPE_CHECKING:
    from distributed import Client, Future

#: A worker is quarantined that so many cells after each other have failed on, each within so many
#: seconds, by no fault of the request: a faulty GPU eats cells faster than others measure them.
#: A cell that fails on other workers as well does not count.
_FAST_FAILURES = 2
_FAST_S = 60.0

#: Kinds of errors that are the host's fault until another host fails as well.
_OF_THE_HOST = ("machine", "internal")

#: Times that a cell is begun again whose profile came back damaged or not at all.
_AGAIN = 3

#: Seconds until the cluster is looked at again.
_LOOK_S = 1.0

#: Topic of Dask's events in which workers say what they begin.
TOPIC = "harness-cells"


@dataclasses.dataclass(slots=True)
class _Order:
    """A cell to be measured somewhere.

    Attributes:
        cell: itself.
        unfit: why it does not fit, by host.
        failed: how it failed, by worker.
        lost: times that its profile did not come back as it was sent.
        sent: workers that may measure it now.
    """

    cell: Cell
    unfit: dict[str, str] = dataclasses.field(default_factory=dict)
    failed: dict[str, HarnessError] = dataclasses.field(default_factory=dict)
    lost: int = 0
    sent: frozenset[str] = frozenset()


def sweep(
    plan: SweepPlan,
    folder: Path,
    address: str,
    observer: SweepObserver,
    *,
    retry: bool = False,
) -> list[CellState]:
    """Measures all cells that are not done on the workers of a cluster.

    Each cell is measured whole: rounds would compare nothing across hosts.

    Args:
        plan: what to measure.
        folder: for the profiles, on this host.
        address: of Dask's scheduler.
        observer: receives the progress.
        retry: measure failed cells again.

    Returns:
        How far each cell is; what fits no host is skipped.

    Raises:
        MachineError: distributed is not installed, the cluster cannot be reached, or has no
            worker that can be used; there is no room left.
        RequestError: another sweep fills the folder.
        Interrupted: the user interrupted it; cells under way go on, and are lost.
    """
    cells = cells_of(plan)
    with interruptible(), state.held(folder), _connected(address) as client:
        if retry:
            for cell in cells:
                state.forget_failure(folder, cell)
        before = state.states(folder, cells, None)
        observer.planned(before, 1)
        orders = [_Order(one.cell) for one in before if one.status == "pending"]
        dispatch = _Dispatch(client, folder, observer)
        order = np.random.default_rng(plan.seed).permutation(len(orders))
        dispatch.measure([orders[at] for at in order])
        skipped = {
            one.cell.id: "; ".join(f"{host}: {why}" for host, why in one.unfit.items())
            for one in orders
        }
        return [
            dataclasses.replace(one, status="skipped", reason=skipped[one.cell.id])
            if one.status == "pending" and skipped.get(one.cell.id)
            else one
            for one in state.states(folder, cells, None)
        ]


@contextlib.contextmanager
def _connected(address: str) -> Iterator[Client]:
    try:
        from distributed import Client
    except ImportError as error:
        raise MachineError(
            f"`dask` {address}: the package distributed is not installed",
            "pip install 'onnx-harness[cluster]'",
        ) from error
    # What it logs of lost workers and connections, the sweep itself tells.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    try:
        client = Client(address, timeout="10s")
    except (OSError, ValueError, TimeoutError) as error:
        raise MachineError(
            f"`dask` {address}: no scheduler answers: {line(str(error), 120)}",
            "give `dask` tcp://HOST:8786, as dask scheduler says it",
        ) from error
    try:
        yield client
    finally:
        with contextlib.suppress(Exception):  # its scheduler may be gone
            client.close(timeout=5)


class _Dispatch:
    """Submits cells, a few at a time, and takes what comes back.

    Args:
        client: of the cluster.
        folder: for the profiles.
        observer: receives the progress.
    """

    def __init__(self, client: Client, folder: Path, observer: SweepObserver) -> None:
        self._client = client
        self._folder = folder
        self._observer = observer
        self._known: set[str] = set()
        self._there: frozenset[str] = frozenset()
        # IDs of the cells that failed fast one after the other, by worker.
        self._fast: dict[str, set[str]] = {}
        self._quarantined: set[str] = set()

    def measure(self, orders: Sequence[_Order]) -> None:
        """Measures all of these cells.

        Raises:
            MachineError: no worker is left, or there is no room.
        """
        waiting = list(orders)
        under_way: dict[Future[Any], _Order] = {}
        try:
            while waiting or under_way:
                workers = self._workers()
                # No more than one cell a worker: those that wait can still go elsewhere.
                while waiting and len(under_way) < len(workers):
                    order = waiting.pop(0)
                    future = self._submitted(order, workers)
                    if future is not None:
                        under_way[future] = order
                for future in self._ended(list(under_way)):
                    order = under_way.pop(future)
                    if self._taken(order, future):
                        waiting.append(order)
                for future in [one for one in under_way if not one.done()]:
                    # Dask would wait for one of these workers to come back.
                    if not under_way[future].sent & self._there:
                        future.cancel()
                        waiting.append(under_way.pop(future))
        finally:
            for future in under_way:
                with contextlib.suppress(Exception):
                    future.cancel()

    def _workers(self) -> dict[str, Mapping[str, Any]]:
        """The workers that may be used, by address.

        Raises:
            MachineError: there is none.
        """
        found = self._client.scheduler_info(n_workers=-1)["workers"]
        self._there = frozenset(found)
        for address in sorted(self._there - self._known):
            self._greet(address)
        usable = {name: one for name, one in found.items() if name not in self._quarantined}
        if not usable:
            quarantined = f", {len(self._quarantined)} are quarantined" if self._quarantined else ""
            raise MachineError(
                f"no worker of the cluster can be used{quarantined}",
                "start dask worker on the hosts, see docs/SWEEPS.md",
            )
        return usable

    def _greet(self, address: str) -> None:
        """Looks whether a worker measures what this harness would, undisturbed."""
        self._known.add(address)
        try:
            told = self._client.run(conditions, workers=[address])[address]
        except Exception as error:  # whatever the worker raises, most likely an ImportError
            self._quarantine(address, f"cannot import harness: {line(str(error), 120)}")
            return
        if told["harness"] != __version__:
            self._quarantine(address, f"has harness {told['harness']}, this is {__version__}")
            return
        for what in told["disturbing"]:
            self._observer.warning(f"worker {address}: {what} is on and disturbs what is measured")

    def _quarantine(self, address: str, why: str) -> None:
        self._quarantined.add(address)
        self._observer.warning(f"worker {address} gets no cells: {why}")

    def _submitted(self, order: _Order, workers: Mapping[str, Mapping[str, Any]]) -> Any:
        """The cell under way; None if no worker can measure it."""
        name = "GPU" if on_device(order.cell) else "CPU"
        offering = {
            address for address, one in workers.items() if one["resources"].get(name, 0) >= 1
        }
        if not offering and name == "GPU":
            order.unfit["the cluster"] = "no worker offers the resource GPU"
            return None
        suited = [
            address
            for address, one in workers.items()
            if (address in offering or not offering)
            and one["host"] not in order.unfit
            and address not in order.failed
        ]
        if not suited:
            if order.failed:
                self._failed(order)
            return None
        order.sent = frozenset(suited)
        self._observer.cell_begins(order.cell)
        return self._client.submit(
            measured,
            _as_plan(order.cell),
            key=f"harness-{order.cell.id}-{uuid.uuid4().hex[:8]}",
            workers=suited,
            allow_other_workers=False,
            resources={name: 1} if offering else None,
            pure=False,
        )

    @staticmethod
    def _ended(futures: Sequence[Future[Any]]) -> list[Future[Any]]:
        """Those that have ended; waits a moment for the first."""
        from distributed import wait

        if not futures:
            return []
        with contextlib.suppress(TimeoutError):
            wait(futures, timeout=_LOOK_S, return_when="FIRST_COMPLETED")
        return [one for one in futures if one.done()]

    def _taken(self, order: _Order, future: Future[Any]) -> bool:
        """Takes what a worker sent; returns whether the cell must be measured again."""
        try:
            outcome = future.result(timeout=60)
        except Exception as error:  # of Dask: the worker was lost again and again
            order.lost += 1
            if order.lost < _AGAIN:
                return True
            reason = f"its workers were lost: {line(str(error), 200)}"
            order.failed["the cluster"] = MachineError(reason, "see the logs of dask worker")
            self._failed(order)
            return False
        worker = outcome["worker"]
        for text in outcome.get("warnings", ()):
            self._observer.warning(f"{worker}: {text}")
        if outcome["status"] == "skipped":
            order.unfit[outcome["host"]] = outcome["reason"]
            return True
        if outcome["status"] == "failed":
            return self._failed_on(order, worker, outcome)
        self._fast.pop(worker, None)
        if not self._stored(order.cell, outcome):
            order.lost += 1
            self._observer.warning(
                f"cell {order.cell.number}: its profile came back damaged from {worker}"
            )
            if order.lost < _AGAIN:
                return True
            order.failed[worker] = MachineError("its profile came back damaged", "")
            self._failed(order)
            return False
        return False

    def _failed_on(self, order: _Order, worker: str, outcome: Mapping[str, Any]) -> bool:
        """Whether a cell that failed on a worker is tried on another one."""
        error = HarnessError(str(outcome["message"]), str(outcome["remedy"]))
        error.kind, error.exit_code = str(outcome["kind"]), int(outcome["exit_code"])
        order.failed[worker] = error
        if error.kind not in _OF_THE_HOST:
            self._failed(order)
            return False
        if len(order.failed) > 1:
            # Rather the cell's fault: two such cells must not empty the cluster.
            for blamed in self._fast.values():
                blamed.discard(order.cell.id)
        elif outcome["seconds"] < _FAST_S:
            blamed = self._fast.setdefault(worker, set())
            blamed.add(order.cell.id)
            if len(blamed) >= _FAST_FAILURES and worker not in self._quarantined:
                self._quarantine(worker, f"{_FAST_FAILURES} cells failed fast: {error.message}")
        return True

    def _failed(self, order: _Order) -> None:
        error = next(reversed(order.failed.values()))
        state.record_failure(self._folder, order.cell, error)
        self._observer.cell_failed(order.cell, error)

    def _stored(self, cell: Cell, outcome: Mapping[str, Any]) -> bool:
        """Stores a profile that came back as it was sent; whether it did.

        Raises:
            HarnessError: it cannot be written.
        """
        content = outcome["profile"]
        if hashlib.sha256(content).hexdigest() != outcome["sha256"]:
            return False
        target = self._folder / cell.file
        try:
            with beside(target) as unfinished:
                unfinished.write_bytes(content)
        except OSError as error:
            raise not_written(target, error) from error
        try:
            profile = profile_file.read_profile(target)
        except ProfileFileError:
            target.unlink(missing_ok=True)
            return False
        self._observer.cell_measured(cell, profile)
        return True


# On the worker


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


def measured(plan: str) -> dict[str, Any]:
    """Measures the one cell of a plan, in a process of its own.

    Args:
        plan: as TOML.

    Returns:
        ``status``; of a profile its bytes and their sha256, of a failure its kind and message.
    """
    from distributed import get_worker

    worker = get_worker()
    worker.log_event(TOPIC, {"plan": plan, "worker": worker.address})
    host = {"worker": worker.address, "host": worker.address.rpartition(":")[0].split("//")[-1]}
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory(dir=worker.local_directory) as name:
        folder = Path(name)
        (folder / cell_process.PLAN).write_text(plan, encoding="utf-8")
        ended = subprocess.run(
            conduct.python("harness.study.cell_process", str(os.getpid()), name),
            env=scrubbed(os.environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        outcome: dict[str, Any] = {}
        with contextlib.suppress(OSError, ValueError):
            outcome = json.loads((folder / cell_process.OUTCOME).read_bytes())
        if outcome.get("status") == "done":
            content = (folder / outcome["file"]).read_bytes()
            outcome |= {"profile": content, "sha256": hashlib.sha256(content).hexdigest()}
    if not outcome:
        printed = ended.stderr.decode(errors="replace").strip().splitlines()
        outcome = {
            "status": "failed",
            "kind": "internal",
            "message": f"the process of the cell ended with {ended.returncode}"
            + (f": {line(printed[-1], 200)}" if printed else ""),
            "remedy": "",
            "exit_code": 1,
        }
    elif outcome["status"] == "failed" and "kind" not in outcome:
        outcome |= {"kind": "internal", "message": outcome["reason"], "remedy": "", "exit_code": 1}
    return outcome | host | {"seconds": time.monotonic() - began_s}


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


# Between both


def _as_plan(cell: Cell) -> str:
    """A plan of this cell alone, as TOML: on every host, it has the same identity."""
    lines = ["[axes]"]
    for setting, value in cell.all.items():
        parts = [part for part in (setting.part, setting.field, setting.key) if part]
        name = ".".join(json.dumps(part) for part in parts)
        lines.append(f"{name} = [{_toml(_anywhere(setting, value))}]")
    return "\n".join(lines) + "\n"


def _anywhere(setting: Setting, value: Value) -> Value:
    """A value whose relative paths are absolute."""
    if not holds_paths(setting):
        return value
    if isinstance(value, Mapping):
        return {name: _anywhere(setting, one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_anywhere(setting, one) for one in value]
    if setting.field == "model" and value in catalogue.REFERENCE_MODELS:
        return value
    return str(Path(str(value)).absolute())


def _toml(value: Value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{json.dumps(key)} = {_toml(one)}' for key, one in value.items())}}}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, str):
        return json.dumps(value)
    raise RequestError(f"{value!r}: cannot be sent to a worker", "write it as text")
