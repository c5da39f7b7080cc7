"""Trees of sysfs and /proc as machines of a given topology have them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence, Set
from pathlib import Path

from harness.machine.cpu_lists import cpu_list, cpu_ranges


@dataclasses.dataclass(frozen=True, slots=True)
class Machine:
    """What a tree is made of. Cores are numbered over the sockets, siblings behind all of them.

    Attributes:
        sockets: packages.
        cores: of each socket.
        l3: cores that share an L3 cache; 0 for a machine that tells of none.
        node: cores of each NUMA node; 0 for a kernel without nodes.
        threads: of each core.
        offline: CPUs that are switched off.
        isolated: in Linux' notation.
        memories: nodes that this process may take memory of, in Linux' notation; all if empty.
        bare: nodes without memory.
        adjacent: whether siblings follow each other, as on Intel's desktops.
        efficient: cores at the end that have one thread, and are of the slower kind.
        quota: of version 2, such as ``200000 100000``.
    """

    sockets: int = 1
    cores: int = 4
    l3: int = 4
    node: int = 4
    threads: int = 1
    offline: tuple[int, ...] = ()
    isolated: str = ""
    memories: str = ""
    bare: tuple[int, ...] = ()
    adjacent: bool = False
    efficient: int = 0
    quota: str = ""


def plant(root: Path, machine: Machine, twin: Path | None = None) -> Path:
    """Writes the tree of a machine.

    Args:
        root: of the tree.
        machine: what it tells of.
        twin: the root of a tree of the same CPUs. Their files, thousands in a large machine, are
            then linked.

    Returns:
        The root.
    """
    total = machine.sockets * machine.cores
    cpus_of = _numbered(machine, total)
    present = [cpu for cpus in cpus_of for cpu in cpus]
    online = set(present) - set(machine.offline)
    cpus = root / "sys/devices/system/cpu"
    if twin is not None:
        cpus.parent.mkdir(parents=True)
        cpus.symlink_to(twin / "sys/devices/system/cpu")
    else:
        _write(cpus / "online", cpu_ranges(online))
        _write(cpus / "present", cpu_ranges(present))
        _write(cpus / "isolated", machine.isolated)
        for core, siblings in enumerate(cpus_of):
            domain = core // machine.l3 if machine.l3 else 0
            sharing = cpus_of[domain * machine.l3 : (domain + 1) * machine.l3]
            up_there = [one for cpus in sharing for one in cpus if one in online]
            up = [cpu for cpu in siblings if cpu in online]
            for cpu in up:
                folder = cpus / f"cpu{cpu}"
                _write(folder / "topology/physical_package_id", str(core // machine.cores))
                _write(folder / "topology/thread_siblings_list", cpu_ranges(up))
                _cache(folder / "cache/index0", 1, up)
                if machine.l3:
                    _cache(folder / "cache/index3", 3, up_there)
    if machine.node:
        _nodes(root / "sys/devices/system/node", machine, cpus_of, online)
    if machine.efficient:
        cut = total - machine.efficient
        for name, kind in (("cpu_core", cpus_of[:cut]), ("cpu_atom", cpus_of[cut:])):
            listed = cpu_ranges(one for cpus in kind for one in cpus)
            _write(root / "sys/devices" / name / "cpus", listed)
    _write(root / "proc/self/cgroup", "0::/job")
    _write(root / "sys/fs/cgroup/cgroup.controllers", "cpu")
    if machine.quota:
        _write(root / "sys/fs/cgroup/job/cpu.max", machine.quota)
    mems = machine.memories or "0-1023"
    _write(root / "proc/self/status", f"Name:\tpython\nMems_allowed_list:\t{mems}")
    return root


def _numbered(machine: Machine, total: int) -> list[list[int]]:
    """The CPUs of each core."""
    if machine.adjacent:
        counts = [
            1 if core >= total - machine.efficient else machine.threads for core in range(total)
        ]
        firsts = [sum(counts[:core]) for core in range(total)]
        return [
            list(range(first, first + count)) for first, count in zip(firsts, counts, strict=True)
        ]
    return [[core + total * thread for thread in range(machine.threads)] for core in range(total)]


def _nodes(
    folder: Path, machine: Machine, cpus_of: Sequence[Sequence[int]], online: Set[int]
) -> None:
    count = len(cpus_of) // machine.node
    _write(folder / "online", cpu_ranges(range(count)))
    for node in range(count):
        own = cpus_of[node * machine.node : (node + 1) * machine.node]
        up = [cpu for cpus in own for cpu in cpus if cpu in online]
        here = folder / f"node{node}"
        _write(here / "cpulist", cpu_ranges(up))
        socket = node * machine.node // machine.cores
        distances = [
            10 if other == node else 11 if other * machine.node // machine.cores == socket else 32
            for other in range(count)
        ]
        _write(here / "distance", " ".join(map(str, distances)))
        memory = 0 if node in machine.bare else 1024
        _write(here / "meminfo", f"Node {node} MemTotal:       {memory} kB")


def _cache(folder: Path, level: int, sharing: Sequence[int]) -> None:
    _write(folder / "level", str(level))
    _write(folder / "type", "Unified" if level == 3 else "Data")
    _write(folder / "shared_cpu_list", cpu_ranges(sharing))


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text + "\n")
    except FileNotFoundError:
        path.parent.mkdir(parents=True)
        path.write_text(text + "\n")


def numbers(text: str) -> frozenset[int]:
    """The set of CPUs in Linux' notation."""
    return frozenset(cpu_list(text))
