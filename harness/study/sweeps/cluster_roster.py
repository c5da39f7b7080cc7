"""The workers of a Dask cluster: which there are, which may be used, which may come back."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Hashable, Mapping
from typing import TYPE_CHECKING, Any

from harness.errors import MachineError
from harness.errors import one_line as line
from harness.study.sweeps import cluster_worker
from harness.study.sweeps.sweep import SweepObserver
from harness.version import __version__

if TYPE_CHECKING:
    from distributed import Client

#: Seconds that a worker which is needed may be away: at the beginning, when the workers may be
#: starting as well, and when it is lost, as its nanny starts it again within seconds.
GRACE_S = 60.0

#: Seconds until the connection is looked at again while it is being made.
_LOOK_S = 0.1


@dataclasses.dataclass(frozen=True, slots=True)
class Worker:
    """A worker, as the scheduler knows it.

    Attributes:
        address: new each time that it is started.
        name: the one that it was given; otherwise the address, as the worker itself writes it.
        host: its IP address.
        resources: what it offers, and how much.
    """

    address: str
    name: Hashable
    host: str
    resources: Mapping[str, float]

    @property
    def place(self) -> str:
        """What stays when it is started again: its host, and the name that it was given."""
        name = str(self.name)
        return self.host if "://" in name else f"{name} on {self.host}"

    def offers(self, resource: str) -> bool:
        """Whether it may measure a cell that needs this: any, if the resource is empty."""
        return not resource or self.resources.get(resource, 0) >= 1


class Roster:
    """Keeps track of the workers.

    Args:
        client: of the cluster.
        observer: is told which workers get no cells, and what is waited for.
    """

    def __init__(self, client: Client, observer: SweepObserver) -> None:
        self._client = client
        self._observer = observer
        self._began_s = time.monotonic()
        # The workers there are, by address, and all that there have been, by name.
        self._there: dict[str, Worker] = {}
        self._seen: dict[Hashable, Worker] = {}
        # Those that could be used, were lost, and have not come back; and when they were lost.
        self._lost: list[tuple[Worker, float]] = []
        # What was said of waiting since a worker came.
        self._awaited: set[str] = set()
        self._offered: set[str] = set()  # resources, by any worker so far
        self._quarantined: set[str] = set()  # by place
        self._refused: set[str] = set()  # by address: started again, it may be mended

    def require_scheduler(self) -> None:
        """Waits while the connection is made again.

        Raises:
            MachineError: it was lost.
        """
        while self._client.status == "connecting":  # for as long as the first time
            time.sleep(_LOOK_S)
        if self._client.status != "running":
            raise MachineError(
                "the scheduler of the cluster is gone", "start dask scheduler and its workers again"
            )

    def look(self) -> None:
        """Sees which workers there are, and greets new ones."""
        before = self._there
        self._there = {
            address: Worker(address, one["name"], one["host"], one["resources"])
            for address, one in self._described().items()
        }
        for address, worker in before.items():
            if address not in self._there and self._is_usable(worker):
                self._lost.append((worker, time.monotonic()))
        for address in sorted(self._there.keys() - before.keys()):
            self._greet(self._there[address])
        for worker in self.usable():
            if worker.address not in before:
                self._has_come(worker)
        self._seen |= {one.name: one for one in self._there.values()}

    def _described(self) -> Mapping[str, Any]:
        workers: Mapping[str, Any] = self._client.scheduler_info(n_workers=-1)["workers"]
        return workers

    def _greet(self, worker: Worker) -> None:
        """Looks whether a worker measures what this harness would, undisturbed."""
        told: dict[str, Any] = {}
        refused = ""
        address = worker.address
        try:
            told = self._client.run(cluster_worker.conditions, workers=[address])[address]
        except Exception as error:  # an ImportError there comes as an Exception that quotes it
            if address not in self._described():
                del self._there[address]  # it has gone meanwhile
                return
            what = "does not answer" if isinstance(error, OSError) else "cannot run harness"
            refused = f"{what}: {line(str(error), 120)}"
        if told and told["harness"] != __version__:
            refused = f"has harness {told['harness']}, this is {__version__}"
        if refused:
            self._refused.add(address)
            self._observer.warning(f"worker {address} gets no cells: {refused}")
            return
        for what in told["disturbing"]:
            self._observer.warning(f"worker {address}: {what} is on and disturbs what is measured")

    def _has_come(self, worker: Worker) -> None:
        self._awaited.clear()
        self._offered |= {one for one in worker.resources if worker.offers(one)}
        for one in self._lost:
            if (one[0].place, one[0].resources) == (worker.place, worker.resources):
                self._lost.remove(one)
                return

    def _is_usable(self, worker: Worker) -> bool:
        return worker.address not in self._refused and worker.place not in self._quarantined

    def usable(self, resource: str = "") -> list[Worker]:
        """The workers that may be used for what needs this."""
        return [
            one for one in self._there.values() if self._is_usable(one) and one.offers(resource)
        ]

    def present(self, addresses: frozenset[str]) -> list[str]:
        """Those of these workers that are there."""
        return sorted(addresses & self._there.keys())

    def has_offered(self, resource: str) -> bool:
        """Whether any worker has offered this so far."""
        return resource in self._offered

    def named(self, name: Hashable) -> Worker:
        """The worker of this name, there or gone."""
        return self._seen[name]

    def places(self, addresses: frozenset[str]) -> str:
        """Where these workers are or were, as a text."""
        return ", ".join(
            sorted({one.place for one in self._seen.values() if one.address in addresses})
        )

    def quarantine(self, place: str, why: str) -> None:
        """Gives the workers of a place no more cells."""
        if place not in self._quarantined:
            self._quarantined.add(place)
            self._observer.warning(f"{place} gets no cells any more: {why}")

    def may_come(self, resource: str, suits: Callable[[Worker], bool] = lambda _: True) -> bool:
        """Whether a worker that offers what is needed may yet come; if so, the observer is told.

        Args:
            resource: that is needed; empty for none.
            suits: whether a worker that was lost would do.
        """
        now_s = time.monotonic()
        away = [
            one
            for one, since_s in self._lost
            if now_s - since_s < GRACE_S
            and one.offers(resource)
            and suits(one)
            and self._is_usable(one)
        ]
        starting = now_s - self._began_s < GRACE_S and not self.usable(resource)
        if not away and not starting:
            return False
        what = f" that offers {resource}" if resource else ""
        named = f": {away[0].place} was lost" if away else ""
        told = f"waiting up to {GRACE_S:.0f} s for a worker{what}{named}"
        if told not in self._awaited:
            self._awaited.add(told)
            self._observer.warning(told)
        return True

    def told_out(self) -> str:
        """How many get no cells, to be added to a sentence; empty if none."""
        number = len(self._quarantined) + len(self._refused & self._there.keys())
        return f", {number} get{'' if number > 1 else 's'} no cells" if number else ""
