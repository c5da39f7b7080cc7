"""Which CPUs and which memory each instance gets: ``per-l3``, or so many of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Sequence
from typing import Final, NamedTuple, TypeVar

from harness.errors import RequestError
from harness.machine.topology import Cpu, Domain, Topology

_T = TypeVar("_T")

#: What one instance may be asked for each of, by the name of that layout.
PER: Final[dict[str, Domain]] = {
    "per-socket": "socket",
    "per-numa": "numa",
    "per-l3": "l3",
    "per-core": "core",
}

#: What a share of the CPUs is not cut through where that can be helped, the largest first.
_DOMAINS: Final[tuple[Domain, ...]] = ("socket", "numa", "l3")


class Place(NamedTuple):
    """Where one instance runs.

    Attributes:
        cpus: by number; one hardware thread a core unless more were asked for.
        nodes: NUMA nodes of its memory.
    """

    cpus: tuple[int, ...]
    nodes: tuple[int, ...]


class Placement(NamedTuple):
    """Where all instances run.

    Attributes:
        places: one an instance.
        threads: of each instance.
        notes: what the user should know of it.
    """

    places: tuple[Place, ...]
    threads: int
    notes: tuple[str, ...]


def place(topology: Topology, instances: int | str, threads: int | None = None) -> Placement:
    """Places instances on the CPUs that this process may use.

    The shares of several instances are equal, and no core is in two of them while there are
    enough. Within its share an instance gets one hardware thread of each core, and further ones
    only if it has more threads than cores.

    Args:
        topology: of the machine.
        instances: how many, or one of ``PER``.
        threads: of each; None for one a core of its share, the same number in all.

    Raises:
        RequestError: there is no such layout, a domain has too few CPUs for the threads, or a
            number is below 1.
    """
    for what, number in (("instances", instances), ("intra_threads", threads)):
        if isinstance(number, int) and number < 1:
            raise RequestError(f"{what} {number}: there must be at least one", "a number from 1 up")
    notes: list[str] = []
    if isinstance(instances, str):
        shares = _of_domains(topology, instances, notes)
    else:
        shares = _divided(topology.usable, instances, _DOMAINS)
    least = min(_cores(share) for share in shares)
    if threads is None:
        threads = least
        idle = len(topology.domains("core")) - len(_taken(shares, threads))
        if idle > 0:
            notes.append(f"{idle} cores stay idle, as all instances get the same {threads}")
    fewest = min(map(len, shares))
    if threads > fewest and isinstance(instances, str):
        raise RequestError(
            f"instances {instances}: {threads} threads on {fewest} CPUs",
            f"`intra_threads` {fewest} at most, or give a number of instances",
        )
    notes += _sharing(topology, shares, threads)
    places = tuple(_placed(topology, share, threads) for share in shares)
    return Placement(places, threads, tuple(notes))


def _of_domains(topology: Topology, layout: str, notes: list[str]) -> list[tuple[Cpu, ...]]:
    """The usable CPUs of each domain of a layout."""
    if layout not in PER:
        raise RequestError(
            f"instances {layout!r}: no such layout", f"a number, or one of {', '.join(PER)}"
        )
    domain = PER[layout]
    absent = dict(topology.absent)
    if domain == "l3" and "L3 domains" in absent:
        notes.append(f"{layout} is taken as per-numa: {absent['L3 domains']}")
        domain = "numa"
    return topology.domains(domain)


def _divided(cpus: Sequence[Cpu], count: int, domains: Sequence[Domain]) -> list[tuple[Cpu, ...]]:
    """So many shares of these CPUs, cut between domains rather than through them."""
    if count == 1:
        return [tuple(cpus)]
    if not domains:
        cores = _grouped(cpus, lambda cpu: cpu.core)
        if count <= len(cores):
            return [tuple(itertools.chain(*share)) for share in _evenly(cores, count)]
        if count <= len(cpus):  # some share a core
            return [tuple(share) for share in _evenly(cpus, count)]
        return [(cpus[number * len(cpus) // count],) for number in range(count)]
    parts = _grouped(cpus, lambda cpu: cpu.member_of(domains[0]))
    if count < len(parts):
        return [tuple(itertools.chain(*share)) for share in _evenly(parts, count)]
    counts = _apportioned(count, [_cores(part) for part in parts])
    return [
        share
        for part, own in zip(parts, counts, strict=True)
        for share in _divided(part, own, domains[1:])
    ]


def _grouped(cpus: Sequence[Cpu], key: Callable[[Cpu], Hashable]) -> list[tuple[Cpu, ...]]:
    groups: dict[Hashable, list[Cpu]] = {}
    for cpu in cpus:
        groups.setdefault(key(cpu), []).append(cpu)
    return [tuple(group) for group in groups.values()]


def _evenly(things: Sequence[_T], count: int) -> list[Sequence[_T]]:
    """So many parts of a sequence, whose lengths differ by one at most."""
    ends = [number * len(things) // count for number in range(count + 1)]
    return [things[begin:end] for begin, end in itertools.pairwise(ends)]


def _apportioned(count: int, sizes: Sequence[int]) -> list[int]:
    """A number divided in proportion to sizes, at least one each (largest remainders)."""
    counts = [1] * len(sizes)
    for _ in range(count - len(sizes)):
        # The one whose instances would have the most cores each gets the next.
        fullest = max(range(len(sizes)), key=lambda one: sizes[one] / (counts[one] + 1))
        counts[fullest] += 1
    return counts


def _cores(cpus: Sequence[Cpu]) -> int:
    return len({cpu.core for cpu in cpus})


def _preferred(share: Sequence[Cpu], threads: int) -> list[Cpu]:
    """The CPUs for an instance's threads: fast cores first, one thread a core, L3 after L3."""
    first: dict[int, int] = {}
    for cpu in share:  # a sibling that is not allowed leaves the other one the first
        first.setdefault(cpu.core, cpu.number)
    ranked = sorted(
        share,
        key=lambda cpu: (
            cpu.number != first[cpu.core],
            -cpu.capacity,
            cpu.kind == "efficient",
            cpu.member_of("core"),
            cpu.number,
        ),
    )
    return ranked[:threads]


def _taken(shares: Sequence[Sequence[Cpu]], threads: int) -> set[int]:
    """Cores on which instances run."""
    return {cpu.core for share in shares for cpu in _preferred(share, threads)}


def _placed(topology: Topology, share: Sequence[Cpu], threads: int) -> Place:
    cpus = _preferred(share, threads)
    nodes = {_memory_of(topology, cpu.node) for cpu in cpus}
    return Place(tuple(sorted(cpu.number for cpu in cpus)), tuple(sorted(nodes)))


def _memory_of(topology: Topology, number: int) -> int:
    """The NUMA node nearest to this one that has memory which this process may take."""
    nodes = topology.nodes
    own = next((node for node in nodes if node.number == number), None)
    having = [
        (own.distances[at] if own and len(own.distances) == len(nodes) else 0, node.number)
        for at, node in enumerate(nodes)
        if node.allowed and node.memory_bytes != 0
    ]
    if own is None or (own.allowed and own.memory_bytes != 0) or not having:
        return number
    return min(having)[1]


def _sharing(topology: Topology, shares: Sequence[Sequence[Cpu]], threads: int) -> list[str]:
    """Notes on what instances have to share, and with whom."""
    notes = []
    chosen = [_preferred(share, threads) for share in shares]
    numbers = [cpu.number for cpus in chosen for cpu in cpus]
    usable = len(topology.usable)
    if len(set(numbers)) < len(numbers):
        notes.append(f"{len(shares)} instances share {usable} CPUs: each waits for others")
    elif threads > min(map(len, shares)):
        notes.append(f"{len(shares)} x {threads} threads share {usable} CPUs: they wait")
    else:
        cores = [core for cpus in chosen for core in {cpu.core for cpu in cpus}]
        if len(set(cores)) < len(cores):
            notes.append("instances share cores: each runs on one hardware thread of them")
    total = len(shares) * threads
    if topology.quota_cpus is not None and total > topology.quota_cpus:
        notes.append(
            f"control groups allow {topology.quota_cpus:g} CPUs, so {total} threads will stall"
        )
    kinds = {cpu.kind for cpus in chosen for cpu in cpus}
    if len(kinds) > 1:
        notes.append("performance and efficient cores are mixed: instances are not alike")
    return notes
