"""Machines on which the throughput of every layout is known, and whose groups scatter and drift.

A model has work that threads divide and work that they do not, costs a synchronisation for every
operator, and moves bytes between memory and caches. What instances share slows them down: memory
bandwidth of a node, the room in an L3 cache, a core's second hardware thread, the clock when many
cores work. Where an instance spans L3 domains, nodes or sockets, synchronising costs more.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from harness.errors import Interrupted
from harness.machine.placement import Place
from harness.machine.topology import Topology
from harness.study.layouts.candidates import DEFAULT, Layout
from harness.study.layouts.records import Found, Measured
from harness.study.layouts.search import search

#: Nanoseconds of a millisecond.
MS = 1_000_000

#: Seconds that a group takes before its window: interpreters, sessions, warm-up; and a session.
_START_S = 1.5
_SESSION_S = 0.01

#: Fewest inferences of each instance in a window.
_FEWEST = 20


@dataclasses.dataclass(frozen=True, slots=True)
class Model:
    """What an inference costs on one core, and what the machine has to give.

    Attributes:
        work_s: seconds on one core.
        serial: share that threads do not divide.
        operators: synchronisations.
        weights_bytes: read by every inference; shared by the threads of an instance.
        activations_bytes: likewise, written too.
        l3_bytes: of each L3 domain.
        core_bytes_per_s: most that one core moves.
        node_bytes_per_s: most that a NUMA node's memory gives.
        sibling: what a core's second thread adds to its speed; may be negative.
        turbo: how much faster a core is while all others are idle.
        unpinned: throughput of ORT's default, relative to one pinned instance on all cores.
    """

    work_s: float
    serial: float
    operators: int
    weights_bytes: float
    activations_bytes: float
    l3_bytes: float
    core_bytes_per_s: float
    node_bytes_per_s: float
    sibling: float
    turbo: float
    unpinned: float


@dataclasses.dataclass(frozen=True, slots=True)
class Noise:
    """How groups of one layout differ; standard deviations of logarithms.

    Attributes:
        scatter: between groups, independent.
        drift: of the machine's state, which lasts for about ten groups.
        episode: how much slower everything is while another program runs; 0 for none.
        spoilt: share of groups that are up to a third slower, for no visible reason.
    """

    scatter: float
    drift: float
    episode: float
    spoilt: float


def some_model(random: np.random.Generator, topology: Topology) -> Model:
    """A model and a machine as they may be."""
    cores = len(topology.domains("core"))
    domains, nodes = len(topology.domains("l3")), len(topology.domains("numa"))
    of_core = random.uniform(8e9, 20e9)
    return Model(
        work_s=float(np.exp(random.uniform(math.log(2e-3), math.log(0.5)))),
        serial=float(np.exp(random.uniform(math.log(2e-3), math.log(0.2)))),
        operators=int(np.exp(random.uniform(math.log(50), math.log(2500)))),
        weights_bytes=float(np.exp(random.uniform(math.log(1e6), math.log(2e8)))),
        activations_bytes=float(np.exp(random.uniform(math.log(5e5), math.log(4e7)))),
        l3_bytes=random.uniform(1e6, 4e6) * cores / domains,
        core_bytes_per_s=of_core,
        node_bytes_per_s=of_core * cores / nodes * random.uniform(0.1, 0.5),
        sibling=random.uniform(-0.1, 0.35),
        turbo=random.uniform(0.0, 0.4),
        unpinned=random.uniform(0.6, 1.0),
    )


def some_noise(random: np.random.Generator) -> Noise:
    """Noise as it may be: groups scatter by 0.5 to 5 %."""
    return Noise(
        scatter=float(np.exp(random.uniform(math.log(0.005), math.log(0.05)))),
        drift=random.uniform(0, 0.03),
        episode=random.uniform(0.05, 0.2) if random.random() < 0.5 else 0.0,
        spoilt=0.02,
    )


class SimulatedMachine:
    """Measures layouts in a time of its own.

    Args:
        topology: of the machine.
        model: what it does.
        noise: of its groups.
        seed: of the noise.
    """

    def __init__(self, topology: Topology, model: Model, noise: Noise, seed: int) -> None:
        self._topology = topology
        self._model = model
        self._noise = noise
        self._random = np.random.default_rng(seed)
        self._by_number = {cpu.number: cpu for cpu in topology.cpus}
        self._now_s = 0.0
        self._state = self._random.normal(0, noise.drift)
        self._busy = False

    def now_s(self) -> float:
        """The time of the simulation."""
        return self._now_s

    def latency_s(self, layout: Layout) -> float:
        """The true latency of an instance."""
        model = self._model
        if layout.placement == DEFAULT:
            cpus = [core[0] for core in self._topology.domains("core")]
            nodes = {cpu.node for cpu in cpus}
        else:
            cpus = [self._by_number[number] for number in layout.places[0].cpus]
            nodes = set(layout.places[0].nodes)
        cores = len({cpu.core for cpu in cpus})
        all_cores = len(self._topology.domains("core"))
        busy = layout.instances * cores / all_cores
        speed = 1 + model.turbo * (1 - min(busy, 1.0))
        threads = len(cpus)
        strength = (cores + model.sibling * (threads - cores)) * speed
        domains = {(cpu.socket, cpu.node, cpu.l3) for cpu in cpus}
        sockets = {cpu.socket for cpu in cpus}
        sync_s = 0.0
        if threads > 1:
            far = 8.0 if len(sockets) > 1 else 3.0 if len(domains) > 1 else 1.0
            sync_s = model.operators * 0.4e-6 * far * math.log2(threads)
        computed_s = model.work_s * (model.serial / speed + (1 - model.serial) / strength) + sync_s
        moved_s = self._moved_bytes(layout, len(domains)) / self._bandwidth(
            layout, cores, nodes, len(sockets)
        )
        together_s = float((computed_s**3 + moved_s**3) ** (1 / 3))
        return together_s / (model.unpinned if layout.placement == DEFAULT else 1.0)

    def _moved_bytes(self, layout: Layout, domains: int) -> float:
        """Bytes that an inference takes from memory: none of what stays in the caches."""
        model = self._model
        here = max(layout.instances / len(self._topology.domains("l3")), 1.0)
        needed = here * (model.weights_bytes + model.activations_bytes / domains)
        spilt = max(0.0, 1 - model.l3_bytes / needed)
        return (0.02 + 0.98 * spilt) * (model.weights_bytes + model.activations_bytes)

    def _bandwidth(self, layout: Layout, cores: int, nodes: set[int], sockets: int) -> float:
        """Bytes per second for one instance."""
        model = self._model
        given = model.node_bytes_per_s
        if layout.memory == "interleave":
            given *= len(nodes) * (0.85 if sockets == 1 else 0.65)
        elif len(nodes) > 1:  # all in the node of the first touch
            given *= 0.8 if sockets == 1 else 0.6
        sharing = max(layout.instances / len(self._topology.domains("numa")), 1.0)
        if len(nodes) > 1 and layout.memory == "interleave":
            sharing = layout.instances * len(nodes) / len(self._topology.domains("numa"))
            sharing = max(sharing, 1.0)
        return min(given / sharing, cores * model.core_bytes_per_s)

    def rate(self, layout: Layout) -> float:
        """The true inferences per second of all instances."""
        return layout.instances / self.latency_s(layout)

    def cost_s(self, layout: Layout) -> float:
        """Seconds that a group takes."""
        window_s = max(1.0, _FEWEST * self.latency_s(layout))
        return _START_S + _SESSION_S * layout.instances + window_s

    def measure(self, layout: Layout) -> Measured:
        """One group, with the machine's state at this time."""
        noise, random = self._noise, self._random
        self._now_s += self.cost_s(layout)
        self._state = 0.9 * self._state + random.normal(0, noise.drift * math.sqrt(1 - 0.81))
        if random.random() < (1 / 5 if self._busy else 1 / 25):
            self._busy = not self._busy
        slower = self._state + random.normal(0, noise.scatter) + self._busy * noise.episode
        if random.random() < noise.spoilt:
            slower += random.uniform(0.05, 0.3)
        latency_ns = 1e9 * self.latency_s(layout) * math.exp(slower)
        inferences = layout.instances / self.latency_s(layout)
        return Measured(
            items_per_s=layout.instances * 1e9 / latency_ns,
            median_ns=latency_ns,
            p99_ns=1.1 * latency_ns * math.exp(random.normal(0, 0.05))
            if inferences > 500
            else None,
        )


def named_layout(name: str, instances: int, threads: int) -> Layout:
    """One that is not asked of any machine, in a family of its own."""
    asked = None if name == DEFAULT else instances
    places = () if asked is None else tuple(Place((n,), (0,)) for n in range(instances))
    return Layout(name, instances, threads, "", asked, places, (instances, name), "first")


def several_layouts(count: int) -> list[Layout]:
    """ORT's default and so many others."""
    return [named_layout(DEFAULT, 1, 0), *(named_layout(f"p{n}", n + 1, 1) for n in range(count))]


class KnownRates:
    """Layouts with known rates; every group takes a second."""

    def __init__(
        self,
        rates: dict[str, float],
        *,
        scatter: float = 0.01,
        latencies_ms: dict[str, float] | None = None,
        seed: int = 0,
    ) -> None:
        self.rates = rates
        self.latencies_ms = latencies_ms or {}
        self.scatter = scatter
        self.random = np.random.default_rng(seed)
        self.log: list[str] = []

    def now_s(self) -> float:
        return float(len(self.log))

    def measure(self, one: Layout) -> Measured:
        self.log.append(one.placement)
        slower = math.exp(self.random.normal(0, self.scatter))
        latency_ns = self.latencies_ms.get(one.placement, 10.0) * MS * slower
        return Measured(self.rates[one.placement] / slower, latency_ns, 2 * latency_ns)

    def search(
        self,
        layouts: list[Layout],
        *,
        budget_s: float = 1000,
        limit_ms: float | None = None,
        seed: int = 0,
        measure: Callable[[Layout], Measured] | None = None,
        interrupted_after: int | None = None,
    ) -> Found:
        def measured(one: Layout) -> Measured:
            if len(self.log) == interrupted_after:
                raise Interrupted("interrupted")
            return (measure or self.measure)(one)

        return search(
            layouts,
            measured,
            seed=seed,
            budget_s=budget_s,
            limit_ns=None if limit_ms is None else limit_ms * MS,
            now_s=self.now_s,
        )
