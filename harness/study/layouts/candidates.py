"""The layouts that are worth trying on a machine: so many instances of so many threads, and where.

A layout is what `instances`, `intra_threads` and `memory` of a profile ask for. Its CPUs are those
that `harness.machine.placement` gives such a request, so that the command that uses it gets them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Literal

from harness.errors import RequestError
from harness.machine.placement import PER, Place, place
from harness.machine.topology import Domain, Topology

#: Placement of one session that ORT gives threads of its own choice, on whatever CPUs.
DEFAULT = "default"

Role = Literal["first", "variant", "single"]

#: What a domain is called in the name of a placement, the smallest first.
_NAMED: tuple[tuple[str, Domain], ...] = (("l3", "l3"), ("numa", "numa"), ("socket", "socket"))
_CORE: tuple[str, Domain] = ("core", "core")


@dataclasses.dataclass(frozen=True, slots=True)
class Layout:
    """Instances on a machine.

    Attributes:
        placement: its name: ``default``, ``whole`` (one instance on all cores), ``per-l3`` and
            its like, ``2-per-l3`` (halves), ``per-2-l3`` (pairs), ``one-l3`` and its like (the
            only instance has the cores of one domain), ``within-l3`` (of a part of one).
        instances: sessions, each a process of its own.
        threads: of each; 0 for ORT's own choice.
        memory: ``local`` or ``interleave``; empty where there is one NUMA node, or by default.
        asked: what a profile is asked for as `instances`; None for ORT's default.
        places: CPUs and nodes of each instance; empty for ORT's default, which is not pinned.
        family: layouts of one number of instances and kind of memory differ in threads alone.
        role: ``first`` if it speaks for its family; ``variant`` if it is tried where that one is
            good enough; ``single`` if it leaves most of the machine idle, so that it matters for
            its latency alone.
    """

    placement: str
    instances: int
    threads: int
    memory: str
    asked: int | str | None
    places: tuple[Place, ...]
    family: tuple[int, str]
    role: Role

    @property
    def cpus(self) -> tuple[tuple[int, ...], ...]:
        """CPUs of each instance; empty if not pinned."""
        return tuple(one.cpus for one in self.places)


@dataclasses.dataclass(frozen=True, slots=True)
class Unfit:
    """A layout that is not tried, and why."""

    layout: Layout
    reason: str


def candidates(topology: Topology) -> tuple[list[Layout], list[Unfit]]:
    """(layouts to try, ORT's default first; those that cannot work here, with the reason).

    Numbers of instances: one; one for each domain (`PER`), for each pair of them, two in each; in
    an L3 domain, halves of halves down to a core. Threads of each: one for every core that it
    gets, for half of them, for every hardware thread; of a single one also as many as a domain or
    the fast cores of a hybrid machine, and parts of an L3 domain. What would leave some instances
    with more cores than others is left out, except where the domains themselves differ. Where an
    instance spans several NUMA nodes, it is tried with its memory interleaved over them, too.

    Args:
        topology: of the machine.
    """
    default = Layout(DEFAULT, 1, 0, "", None, (), (0, ""), "first")
    fit, unfit = [default], []
    seen: set[tuple[tuple[Place, ...], int, str]] = set()
    for layout in _pinned(topology):
        key = (layout.places, layout.threads, layout.memory)
        if key in seen:
            continue
        seen.add(key)
        reason = _misfit(topology, layout)
        if reason:
            unfit.append(Unfit(layout, reason))
        else:
            fit.append(layout)
    return _with_first(fit), unfit


def _with_first(layouts: list[Layout]) -> list[Layout]:
    """The same; a family whose first is not among them is spoken for by its next."""
    spoken = {one.family for one in layouts if one.role == "first"}
    told = []
    for one in layouts:
        if one.family not in spoken and one.role == "variant":
            spoken.add(one.family)
            one = dataclasses.replace(one, role="first")
        told.append(one)
    return told


def _misfit(topology: Topology, layout: Layout) -> str:
    total = layout.instances * layout.threads
    quota = topology.quota_cpus
    if quota is not None and total > max(quota, 1):
        return f"{total} threads, and control groups allow {quota:g} CPUs"
    return ""


def _pinned(topology: Topology) -> Iterator[Layout]:
    """Every layout, possibly several times, those asked for by a domain's name before others."""
    cores = len(topology.domains("core"))
    most = _most_threads(topology)
    requests: list[int | str] = [*PER, *_counts(topology)]
    for asked in requests:
        whole = place(topology, asked)
        count = len(whole.places)
        full = min(whole.threads, most // count) or whole.threads
        even = count * whole.threads == cores or count * full == most
        if not even and isinstance(asked, int):
            continue
        sizes: list[tuple[int, Role]] = [(full, "first"), (full // 2, "variant")]
        sizes.append((_hardware_threads(topology, asked), "variant"))
        if count == 1:
            sizes += [(size, "single") for size in _sizes(topology)]
            asked = 1  # a domain's name would say no more
        for threads, role in sizes:
            if threads < 1:
                continue
            try:
                placed = place(topology, asked, threads)
            except RequestError:  # a domain has fewer CPUs
                continue
            if any(len(one.cpus) < threads for one in placed.places):
                continue
            name = _name(topology, placed.places, threads, whole.threads)
            for memory in _memories(topology, placed.places):
                family = (count, memory)
                yield Layout(name, count, threads, memory, asked, placed.places, family, role)


def _most_threads(topology: Topology) -> int:
    """One for each core, or as many as control groups give CPU time for."""
    cores = len(topology.domains("core"))
    quota = topology.quota_cpus
    return cores if quota is None else max(min(cores, int(quota)), 1)


def _counts(topology: Topology) -> list[int]:
    """Numbers of instances, the smallest first."""
    cores = len(topology.domains("core"))
    counts = {1, cores, cores // 2}
    for _, domain in _NAMED:
        domains = len(topology.domains(domain))
        counts |= {domains, domains // 2, 2 * domains}
    most = _most_threads(topology)
    counts |= {most, most // 2}
    domains = len(topology.domains("l3"))
    counts |= {domains * parts for parts in _halvings(topology)}
    return sorted(count for count in counts if 1 <= count <= len(topology.usable))


def _halvings(topology: Topology) -> list[int]:
    """Into how many equal parts an L3 domain can be halved: 1, 2, 4 …"""
    size = min(len({cpu.core for cpu in domain}) for domain in topology.domains("l3"))
    parts = [1]
    while size % (2 * parts[-1]) == 0:
        parts.append(2 * parts[-1])
    return parts


def _sizes(topology: Topology) -> list[int]:
    """Threads of a single instance."""
    cores = len(topology.domains("core"))
    sizes = {1, cores}
    for _, domain in _NAMED:
        sizes.add(min(len({cpu.core for cpu in one}) for one in topology.domains(domain)))
    smallest = min(len({cpu.core for cpu in one}) for one in topology.domains("l3"))
    sizes |= {smallest // parts for parts in _halvings(topology)}
    sizes.add(len({cpu.core for cpu in topology.usable if cpu.kind == "performance"}))
    sizes.add(_most_threads(topology))
    return sorted(size for size in sizes if 1 <= size <= cores)


def _hardware_threads(topology: Topology, asked: int | str) -> int:
    """Threads an instance with all CPUs of its share: those of the smallest; 0 if it has no more
    CPUs than cores.
    """
    count = len(place(topology, asked).places)
    usable, cores = len(topology.usable), len(topology.domains("core"))
    if usable == cores or usable % count:
        return 0
    return usable // count


def _memories(topology: Topology, places: tuple[Place, ...]) -> tuple[str, ...]:
    if len(topology.domains("numa")) == 1:
        return ("",)
    if any(len(one.nodes) > 1 for one in places):
        return ("local", "interleave")
    return ("local",)


def _name(topology: Topology, places: tuple[Place, ...], threads: int, share: int) -> str:
    """The name of a placement.

    Args:
        topology: of the machine.
        places: of its instances.
        threads: of each.
        share: cores that each could have.
    """
    count = len(places)
    if count == 1:
        return "whole" if threads >= share else _single(topology, places[0], threads)
    named = (*_NAMED, _CORE)
    if "L3 domains" in dict(topology.absent):
        named = named[1:]
    for name, domain in reversed(named[:-1]):
        if len(topology.domains(domain)) == count:
            return f"per-{name}"
    if len(topology.domains("core")) == count:
        return "per-core"
    for name, domain in named:
        domains = len(topology.domains(domain))
        if domains > count and domains % count == 0:
            return f"per-{domains // count}-{name}"
        if count % domains == 0:
            return f"{count // domains}-per-{name}"
    return f"{count}-equal"


def _single(topology: Topology, only: Place, threads: int) -> str:
    """Name of the smallest domain that holds the only instance."""
    taken = set(only.cpus)
    for name, domain in (_CORE, *_NAMED):
        for one in topology.domains(domain):
            if taken <= {cpu.number for cpu in one}:
                cores = len({cpu.core for cpu in one})
                return f"one-{name}" if threads >= cores else f"within-{name}"
    return "part"
