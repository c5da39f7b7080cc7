"""Hands the cells of a sweep to the workers of a Dask cluster.

Dask chooses the worker, watches it, and starts a cell again whose worker was lost. What it must not
do is take part in the measurement: what a worker does with a cell is in ``cluster_worker``.
Profiles come back as bytes, and are checked by their hash. Which workers there are, and which may
be used, ``cluster_roster`` keeps. Only these modules import distributed.

How the workers are started, docs/SWEEPS.md says. Files that a plan names must be there on every
host, and be the same.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import logging
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.errors import HarnessError, MachineError, ProfileFileError, not_written
from harness.errors import one_line as line
from harness.measuring.profile import interruptible
from harness.storage import profile_file
from harness.storage.files import beside
from harness.study.sweeps import cluster_worker, state
from harness.study.sweeps.cells import Cell, CellState, cells_of
from harness.study.sweeps.cluster_roster import Roster, Worker
from harness.study.sweeps.fitting import on_device
from harness.study.sweeps.one_cell_plan import as_plan, files
from harness.study.sweeps.plan import SweepPlan
from harness.study.sweeps.sweep import SweepObserver, kept

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

#: Seconds that workers have to end what they measure when a sweep ends early.
_STOP_S = 10.0


@dataclasses.dataclass(frozen=True, slots=True)
class _Failed:
    """How a cell failed, and on which host."""

    error: HarnessError
    host: str


@dataclasses.dataclass(slots=True, eq=False)
class _Order:
    """A cell to be measured somewhere.

    Attributes:
        cell: itself.
        plan: as it is sent.
        identity: that the cell must have on a worker; empty where a file that it names is not on
            this host, so that nobody here knows what it holds.
        resource: what it needs.
        unfit: why it does not fit, by host.
        failed: how it failed, by a worker's place.
        lost: times that its profile did not come back as it was sent.
        sent: addresses of the workers that may measure it now.
    """

    cell: Cell
    plan: str = dataclasses.field(init=False)
    identity: str = dataclasses.field(init=False)
    resource: str = dataclasses.field(init=False)
    unfit: dict[str, str] = dataclasses.field(default_factory=dict)
    failed: dict[str, _Failed] = dataclasses.field(default_factory=dict)
    lost: int = 0
    sent: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        self.plan = as_plan(self.cell)
        self.identity = self.cell.id if all(path.exists() for path in files(self.cell)) else ""
        self.resource = "GPU" if on_device(self.cell) else "CPU"

    def is_for(self, worker: Worker) -> bool:
        """Whether it has neither failed there nor been found not to fit."""
        return worker.host not in self.unfit and worker.place not in self.failed


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
        MachineError: distributed is not installed, the cluster cannot be reached or is lost, or
            has no worker that can be used; there is no room left.
        RequestError: another sweep fills the folder, or a value of the plan cannot be sent.
        Interrupted: the user interrupted it; cells under way are stopped, and are lost.
    """
    cells = cells_of(plan)
    with interruptible(), state.held(folder), _connected(address) as client:
        if retry:
            for cell in cells:
                state.forget_failure(folder, cell)
        before = state.states(folder, cells, None)
        observer.planned(before, 1)
        orders = [_Order(one.cell) for one in before if one.status == "pending"]
        order = np.random.default_rng(plan.seed).permutation(len(orders))
        try:
            _Dispatch(client, folder, observer).measure([orders[at] for at in order])
        except HarnessError as error:
            raise kept(error, folder, cells, None) from error
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
    for name in ("distributed", "distributed.client"):  # each with a level of its own
        logging.getLogger(name).setLevel(logging.CRITICAL)
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
        self._roster = Roster(client, observer)
        # IDs of the cells that failed fast one after the other, by place.
        self._fast: dict[str, set[str]] = {}

    def measure(self, orders: Sequence[_Order]) -> None:
        """Measures all of these cells.

        Raises:
            MachineError: no worker is left, the scheduler is gone, or there is no room.
        """
        waiting = list(orders)
        under_way: dict[Future[Any], _Order] = {}
        try:
            while waiting or under_way:
                self._roster.require_scheduler()
                self._roster.look()
                self._begin(waiting, under_way)
                for future in self._ended(list(under_way)):
                    order = under_way.pop(future)
                    if self._taken(order, future):
                        waiting.append(order)
                for future in [one for one in under_way if not one.done()]:
                    # Dask would wait for one of these workers to come back.
                    if not self._roster.present(under_way[future].sent):
                        future.cancel()
                        order = under_way.pop(future)
                        if self._again(order, "its workers were lost", order.sent):
                            waiting.append(order)
        finally:
            self._stop(under_way)

    # Out

    def _begin(self, waiting: list[_Order], under_way: dict[Future[Any], _Order]) -> None:
        """Submits the cells for which workers are free, and decides on those that fit none.

        Raises:
            MachineError: no worker is left.
        """
        usable = {one.address for one in self._roster.usable()}
        if not usable and not under_way and not self._roster.may_come(""):
            raise MachineError(
                f"no worker of the cluster can be used{self._roster.told_out()}",
                "start dask worker on the hosts, see docs/SWEEPS.md",
            )
        needed = {self._needed(one) for one in waiting}
        offering = {one: self._roster.usable(one) for one in needed}
        suited = {
            order.cell.id: frozenset(
                one.address for one in offering[self._needed(order)] if order.is_for(one)
            )
            for order in waiting
        }
        # First those that can go to few workers: the others find one all the same.
        for order in sorted(waiting, key=lambda one: len(suited[one.cell.id])):
            addresses = suited[order.cell.id]
            if addresses:
                # No more than one cell a worker: those that wait can still go elsewhere.
                sent = [one.sent for one in under_way.values()]
                if (
                    sum(one <= addresses for one in sent) < len(addresses)
                    and sum(not one.isdisjoint(usable) for one in sent) < len(usable)
                ):  # fmt: skip
                    order.sent = addresses
                    under_way[self._submitted(order)] = order
                    waiting.remove(order)
            elif not self._roster.may_come(self._needed(order), order.is_for):
                if order.failed:
                    self._failed(order)
                elif not offering[self._needed(order)]:
                    lacks = f"no worker offers the resource {order.resource}"
                    order.unfit["the cluster"] = lacks + self._roster.told_out()
                waiting.remove(order)

    def _needed(self, order: _Order) -> str:
        """The resource that is asked for; empty for none."""
        if order.resource == "CPU" and not self._roster.has_offered("CPU"):
            return ""
        return order.resource

    def _submitted(self, order: _Order) -> Future[Any]:
        """The cell under way to the workers that it is sent to.

        Raises:
            MachineError: the scheduler is gone.
        """
        resource = self._needed(order)
        try:
            return self._client.submit(
                cluster_worker.measured,
                order.plan,
                order.identity,
                order.cell.id,
                key=f"harness-{order.cell.id}-{uuid.uuid4().hex[:8]}",
                workers=sorted(order.sent),
                allow_other_workers=False,
                resources={resource: 1} if resource else None,
                pure=False,
            )
        except Exception:  # whatever a closed client raises
            self._roster.require_scheduler()
            raise

    def _stop(self, under_way: Mapping[Future[Any], _Order]) -> None:
        """Ends what is under way."""
        keys = [future.key for future in under_way]
        for future in under_way:
            with contextlib.suppress(Exception):
                future.cancel()
        sent = self._roster.present(frozenset().union(*(one.sent for one in under_way.values())))

        def tell() -> None:
            with contextlib.suppress(Exception):  # the scheduler or a worker may be gone
                self._client.run(cluster_worker.stop, keys, workers=sent, on_error="ignore")

        if sent:
            # A worker that hangs would never answer.
            told = threading.Thread(target=tell, daemon=True)
            told.start()
            told.join(_STOP_S)

    # Back

    @staticmethod
    def _ended(futures: Sequence[Future[Any]]) -> list[Future[Any]]:
        """Those that have ended; waits a moment for the first."""
        from distributed import CancelledError, wait

        if not futures:
            time.sleep(_LOOK_S)
            return []
        # Cancelled are those that a lost scheduler knew.
        with contextlib.suppress(TimeoutError, CancelledError):
            wait(futures, timeout=_LOOK_S, return_when="FIRST_COMPLETED")
        return [one for one in futures if one.done()]

    def _taken(self, order: _Order, future: Future[Any]) -> bool:
        """Takes what a worker sent; returns whether the cell must be measured again."""
        from distributed import CancelledError, KilledWorker

        try:
            outcome = future.result(timeout=60)
        except CancelledError:
            return True  # the connection was lost; the roster says whether it is back
        except KilledWorker as error:
            # Dask has begun it again and again.
            order.lost = _AGAIN
            return self._again(
                order, "its workers were lost", frozenset((error.last_worker.address,))
            )
        except Exception as error:  # of Dask, or what cannot be sent
            why = f"nothing came back: {type(error).__name__}: {line(str(error), 200)}"
            return self._again(order, why, order.sent)
        worker = self._roster.named(outcome["worker"])
        for text in outcome.get("warnings", ()):
            self._observer.warning(f"cell {order.cell.number} on {worker.place}: {text}")
        if outcome["status"] == "failed":
            return self._failed_on(order, worker, outcome)
        if outcome["status"] == "skipped":
            order.unfit[worker.host] = outcome["reason"]
            return True
        self._fast.pop(worker.place, None)
        if not self._stored(order.cell, outcome):
            self._observer.warning(
                f"cell {order.cell.number}: its profile came back damaged from {worker.place}"
            )
            return self._again(order, "its profile came back damaged", frozenset((worker.address,)))
        return False

    def _again(self, order: _Order, why: str, addresses: frozenset[str]) -> bool:
        """Whether a cell that did not come back is begun again."""
        order.lost += 1
        if order.lost < _AGAIN:
            return True
        hosts = self._roster.places(addresses)
        order.failed[hosts] = _Failed(MachineError(why, "see the logs of dask worker"), hosts)
        self._failed(order)
        return False

    def _failed_on(self, order: _Order, worker: Worker, outcome: Mapping[str, Any]) -> bool:
        """Whether a cell that failed on a worker is tried on another one."""
        error = HarnessError(str(outcome["message"]), str(outcome["remedy"]))
        error.kind, error.exit_code = str(outcome["kind"]), int(outcome["exit_code"])
        order.failed[worker.place] = _Failed(error, str(outcome["host"]))
        if order.identity and outcome.get("id", order.identity) != order.identity:
            return True  # not this cell: the files there are others
        if error.kind not in _OF_THE_HOST:
            self._failed(order)
            return False
        if sum(one.error.kind in _OF_THE_HOST for one in order.failed.values()) > 1:
            # Rather the cell's fault: two such cells must not empty the cluster.
            for blamed in self._fast.values():
                blamed.discard(order.cell.id)
        elif outcome["seconds"] < _FAST_S:
            blamed = self._fast.setdefault(worker.place, set())
            blamed.add(order.cell.id)
            if len(blamed) >= _FAST_FAILURES:
                why = f"{_FAST_FAILURES} cells failed fast: {error.message}"
                self._roster.quarantine(worker.place, why)
        return True

    def _failed(self, order: _Order) -> None:
        failed = next(reversed(order.failed.values()))
        state.record_failure(self._folder, order.cell, failed.error, failed.host)
        self._observer.cell_failed(order.cell, failed.error)

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
