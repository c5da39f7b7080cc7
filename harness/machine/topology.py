"""How the CPUs of this machine hang together: sockets, NUMA nodes, L3 domains, cores, threads.

Read from sysfs (Linux, Documentation/ABI/stable/sysfs-devices-system-cpu and
admin-guide/cputopology.rst). An *L3 domain* is the CPUs that share a last-level cache of level 3:
on EPYC a core complex, on most others a socket. It does not depend on the firmware's settings, as
NUMA nodes do.
"""

from __future__ import annotations

import collections
import dataclasses
import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from harness.machine.cpu_lists import cpu_list, cpu_parts, cpu_ranges
from harness.machine.facts.cpu import cgroup_cpu_limit
from harness.records import Absent

_CPUS = "sys/devices/system/cpu"
_NODES = "sys/devices/system/node"

#: Folders of sysfs that list the CPUs of each kind on a hybrid x86 machine.
_KINDS = {"performance": "cpu_core", "efficient": "cpu_atom"}

#: What CPUs can have in common, the largest first.
Domain = Literal["socket", "numa", "l3", "core"]


class Cpu(NamedTuple):
    """A hardware thread that is online.

    Attributes:
        number: as Linux counts it.
        socket: its package.
        node: its NUMA node.
        l3: the lowest CPU that it shares the L3 cache with; -1 where none is told.
        core: the lowest CPU of its core.
        sibling: how many CPUs of the same core have lower numbers.
        kind: ``performance`` or ``efficient`` on a hybrid machine; empty where all are alike.
        capacity: of the fastest CPU's 1024, as the scheduler rates it; 1024 where it does not.
    """

    number: int
    socket: int
    node: int
    l3: int
    core: int
    sibling: int
    kind: str
    capacity: int

    def member_of(self, domain: Domain) -> tuple[int, ...]:
        """Tells the domains of a kind apart; in the order of the machine."""
        socket, node = self.socket, self.node
        return {
            "socket": (socket,),
            "numa": (socket, node),
            "l3": (socket, node, self.l3),
            "core": (socket, node, self.l3, self.core),
        }[domain]


class Node(NamedTuple):
    """A NUMA node.

    Attributes:
        number: as Linux counts it.
        distances: to each node, in the order of their numbers, 10 to itself; empty if not told.
        memory_bytes: its memory; 0 for a node of CPUs alone, None if not told.
        allowed: whether this process may take memory there.
    """

    number: int
    distances: tuple[int, ...]
    memory_bytes: int | None
    allowed: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Topology:
    """The CPUs of a machine.

    Attributes:
        cpus: those online, by number.
        allowed: numbers of those that this process may use.
        offline: numbers of those that are there, but switched off.
        isolated: numbers of those that the scheduler leaves alone (``isolcpus``).
        nodes: NUMA nodes, by number.
        quota_cpus: CPU time that control groups allow, as a number of CPUs; None for no limit.
        absent: what is not told, with the reason.
    """

    cpus: tuple[Cpu, ...]
    allowed: frozenset[int]
    offline: tuple[int, ...]
    isolated: tuple[int, ...]
    nodes: tuple[Node, ...]
    quota_cpus: float | None
    absent: tuple[Absent, ...]

    @property
    def usable(self) -> tuple[Cpu, ...]:
        """CPUs that this process may use, by number."""
        return tuple(cpu for cpu in self.cpus if cpu.number in self.allowed)

    def domains(self, domain: Domain) -> list[tuple[Cpu, ...]]:
        """The usable CPUs by what they have in common, in the order of the machine."""
        members: dict[tuple[int, ...], list[Cpu]] = collections.defaultdict(list)
        for cpu in self.usable:
            members[cpu.member_of(domain)].append(cpu)
        return [tuple(members[key]) for key in sorted(members)]


def topology(root: Path = Path("/"), allowed: Collection[int] | None = None) -> Topology:
    """The topology of this machine.

    Args:
        root: where /proc and /sys are found (tests).
        allowed: CPUs that may be used; None for those of this process, which its affinity and its
            cpuset leave.
    """
    if allowed is None:
        allowed = os.sched_getaffinity(0)
    absent: dict[str, str] = {}
    online = _listed(root, f"{_CPUS}/online")
    if online is None:
        absent["topology"] = f"/{_CPUS}/online cannot be read"
        online = sorted(allowed)
    node_of, nodes = _nodes(root, online, absent)
    kinds = {
        cpu: kind
        for kind, folder in _KINDS.items()
        for cpu in _listed(root, f"sys/devices/{folder}/cpus") or ()
    }
    found: list[Cpu] = []
    on_core: collections.Counter[int] = collections.Counter()
    for cpu in online:
        folder = root / _CPUS / f"cpu{cpu}"
        core = min(_listed(folder, "topology/thread_siblings_list") or (cpu,))
        found.append(
            Cpu(
                number=cpu,
                socket=max(_number(folder, "topology/physical_package_id") or 0, 0),
                node=node_of.get(cpu, 0),
                l3=_l3(folder),
                core=core,
                sibling=on_core[core],
                kind=kinds.get(cpu, ""),
                capacity=_number(folder, "cpu_capacity") or 1024,
            )
        )
        on_core[core] += 1
    if any(cpu.l3 < 0 for cpu in found):
        absent["L3 domains"] = f"/{_CPUS}/cpu*/cache tells of no cache of level 3"
    present = _listed(root, f"{_CPUS}/present") or ()
    quota = cgroup_cpu_limit(root).value
    return Topology(
        cpus=tuple(found),
        allowed=frozenset(allowed).intersection(online),
        offline=tuple(sorted(set(present) - set(online))),
        isolated=tuple(_listed(root, f"{_CPUS}/isolated") or ()),
        nodes=nodes,
        quota_cpus=quota if isinstance(quota, float) else None,
        absent=tuple(absent.items()),
    )


def _nodes(
    root: Path, online: Iterable[int], absent: dict[str, str]
) -> tuple[dict[int, int], tuple[Node, ...]]:
    """(NUMA node of each CPU, the nodes); node 0 has all where the kernel tells of none."""
    numbers = _listed(root, f"{_NODES}/online")
    if not numbers:
        absent["NUMA nodes"] = f"/{_NODES}/online cannot be read: taken as one node"
        return dict.fromkeys(online, 0), (Node(0, (), None, allowed=True),)
    allowed = _allowed_nodes(root)
    node_of: dict[int, int] = {}
    nodes = []
    for number in numbers:
        folder = root / _NODES / f"node{number}"
        node_of |= dict.fromkeys(_listed(folder, "cpulist") or (), number)
        distances = tuple(map(int, (_text(folder, "distance") or "").split()))
        may = allowed is None or any(number in part for part in allowed)
        nodes.append(Node(number, distances, _memory_bytes(folder), may))
    return node_of, tuple(nodes)


def _allowed_nodes(root: Path) -> list[range] | None:
    """NUMA nodes that this process may take memory of; None if not told."""
    for line in (_text(root, "proc/self/status") or "").splitlines():
        name, _, value = line.partition(":")
        if name == "Mems_allowed_list":
            return list(cpu_parts(value))  # the kernel may name far more nodes than there are
    return None


def _memory_bytes(node: Path) -> int | None:
    for line in (_text(node, "meminfo") or "").splitlines():
        words = line.split()  # Node 0 MemTotal: 24643376 kB
        if len(words) > 3 and words[2] == "MemTotal:" and words[3].isdecimal():
            return int(words[3]) * 1024
    return None


def _l3(cpu: Path) -> int:
    """The lowest CPU that shares its L3 cache; -1 where none is told."""
    for index in sorted((cpu / "cache").glob("index*")):
        if _number(index, "level") == 3:
            return min(_listed(index, "shared_cpu_list") or (-1,))
    return -1


def _text(folder: Path, name: str) -> str | None:
    try:
        return (folder / name).read_text()
    except OSError:
        return None


def _number(folder: Path, name: str) -> int | None:
    text = (_text(folder, name) or "").strip()
    return int(text) if text.removeprefix("-").isdecimal() else None


def _listed(folder: Path, name: str) -> list[int] | None:
    """CPUs or nodes in a file of Linux's notation; None if there is no such file."""
    text = _text(folder, name)
    try:
        return None if text is None else cpu_list(text)
    except ValueError:
        return None


def described(topology: Topology) -> list[str]:
    """The topology in a few lines: the whole, then a line for each group of like NUMA nodes."""
    cpus = topology.usable
    counted = [_count(len(topology.domains("socket")), "socket")]
    counted.append(_count(len(topology.domains("numa")), "NUMA node"))
    if "L3 domains" not in dict(topology.absent):
        counted.append(_count(len(topology.domains("l3")), "L3 domain"))
    counted.append(_count(len(topology.domains("core")), "core"))
    counted.append(_count(len(cpus), "CPU"))
    lines = [", ".join(counted)]
    if len(cpus) < len(topology.cpus):
        lines[0] += f" allowed, of {len(topology.cpus)} online"
    nodes = topology.domains("numa")
    if len(nodes) > 1:
        shapes: dict[tuple[str, ...], list[int]] = {}
        for node in nodes:
            shapes.setdefault(_shape(node), []).append(node[0].node)
        for shape, numbers in shapes.items():
            named = "node" if len(numbers) == 1 else "nodes"
            each = "" if len(numbers) == 1 else " each"
            lines.append(f"{named} {cpu_ranges(numbers)}: {', '.join(shape)}{each}")
    elif len(topology.domains("l3")) > 1:
        lines.append(", ".join(_shape(nodes[0])))
    lines += [
        f"{what}: {cpu_ranges(numbers)}"
        for what, numbers in (("offline", topology.offline), ("isolated", topology.isolated))
        if numbers
    ]
    lines += [f"{what}: {reason}" for what, reason in topology.absent]
    return lines


def _shape(node: Iterable[Cpu]) -> tuple[str, ...]:
    """What a NUMA node is made of, in words; equal for nodes that are alike."""
    of_domain: dict[int, set[int]] = collections.defaultdict(set)
    threads: collections.Counter[int] = collections.Counter()
    kinds: Mapping[str, set[int]] = collections.defaultdict(set)
    for cpu in node:
        of_domain[cpu.l3].add(cpu.core)
        threads[cpu.core] += 1
        kinds[cpu.kind].add(cpu.core)
    told = []
    if -1 not in of_domain:
        sizes = collections.Counter(map(len, of_domain.values()))
        told += [
            f"{_count(count, 'L3 domain')} of {_count(size, 'core')}"
            for size, count in sorted(sizes.items(), reverse=True)
        ]
    else:
        told.append(_count(len(threads), "core"))
    told += [f"{len(cores)} {kind}" for kind, cores in sorted(kinds.items()) if kind]
    most = max(threads.values())
    if most > 1:
        told.append(f"{most} threads a core")
    return tuple(told)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
