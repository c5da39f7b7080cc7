"""On which NUMA nodes the kernel puts this process's memory, and where it is.

set_mempolicy(2), get_mempolicy(2), numa_maps in proc(5).
"""

from __future__ import annotations

import ctypes
import os
import platform
import re
from collections.abc import Collection
from pathlib import Path
from typing import Final

from harness.machine.cpu_lists import cpu_ranges

#: Modes of linux/mempolicy.h by the names of the option ``memory``: from the node of the CPU that
#: touches a page first, or from all nodes in turn.
MODES: Final = {"local": 4, "interleave": 3}

#: Numbers of the system calls set and get, which the C library has no functions for.
_CALLS: Final = {"x86_64": (238, 239), "aarch64": (237, 236)}

#: Most NUMA nodes of a kernel (CONFIG_NODES_SHIFT is 10 at most).
_MOST_NODES: Final = 1024

_BITS: Final = 8 * ctypes.sizeof(ctypes.c_ulong)


def set_policy(mode: str, nodes: Collection[int]) -> None:
    """Sets where memory comes from that this process touches from now on.

    Args:
        mode: one of ``MODES``.
        nodes: that take turns, for ``interleave``.

    Raises:
        OSError: the kernel refused, as it does in some containers.
    """
    mask = (ctypes.c_ulong * (_MOST_NODES // _BITS))()
    if mode == "interleave":
        for node in nodes:
            mask[node // _BITS] |= 1 << node % _BITS
    given = mask if mode == "interleave" else None
    _call(0, ctypes.c_int(MODES[mode]), given, ctypes.c_ulong(_MOST_NODES if given else 0))


def policy() -> tuple[int, tuple[int, ...]]:
    """(mode, nodes) as the kernel has them for this thread.

    Raises:
        OSError: the kernel does not say.
    """
    mode, mask = ctypes.c_int(), (ctypes.c_ulong * (_MOST_NODES // _BITS))()
    arguments = (ctypes.byref(mode), mask, ctypes.c_ulong(_MOST_NODES), None, ctypes.c_ulong(0))
    _call(1, *arguments)
    nodes = [
        at * _BITS + bit for at, word in enumerate(mask) for bit in range(_BITS) if word >> bit & 1
    ]
    return mode.value, tuple(nodes)


def _call(which: int, *arguments: object) -> None:
    numbers = _CALLS.get(platform.machine())
    if numbers is None:
        raise OSError(0, f"set_mempolicy is not known on {platform.machine()}")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(ctypes.c_long(numbers[which]), *arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def described() -> str:
    """The policy in words: ``default``, ``local``, ``interleave 0-3``, or the mode's number.

    Raises:
        OSError: the kernel does not say.
    """
    mode, nodes = policy()
    names = {number: name for name, number in MODES.items()} | {0: "default"}
    return " ".join(filter(None, (names.get(mode, str(mode)), cpu_ranges(nodes))))


def pages_on(nodes: Collection[int], root: Path = Path("/")) -> tuple[int, int]:
    """Bytes of this process's pages on these NUMA nodes, and of all of its pages.

    Args:
        nodes: NUMA nodes.
        root: where /proc is found (tests).

    Raises:
        OSError, ValueError: the kernel does not say.
    """
    own = total = 0
    for line in (root / "proc/self/numa_maps").read_text().splitlines():
        page_kb = re.search(r"kernelpagesize_kB=(\d+)", line)
        for node, pages in re.findall(r" N(\d+)=(\d+)", line):
            size_bytes = 1024 * int(pages) * int(page_kb[1] if page_kb else 4)
            total += size_bytes
            own += size_bytes if int(node) in nodes else 0
    if not total:
        raise ValueError("/proc/self/numa_maps lists no pages")
    return own, total


def proportional_bytes(root: Path = Path("/")) -> int:
    """Resident memory of this process, of what it shares its part (PSS).

    Raises:
        OSError, ValueError: the kernel does not say.
    """
    return _rolled_up(root)["Pss"]


def private_bytes(root: Path = Path("/")) -> int:
    """Resident memory that this process shares with no other one: what a further one like it takes.

    Raises:
        OSError, ValueError: the kernel does not say.
    """
    told = _rolled_up(root)
    return told["Private_Clean"] + told["Private_Dirty"]


def _rolled_up(root: Path) -> dict[str, int]:
    """The lines of /proc/self/smaps_rollup, in bytes."""
    lines = (root / "proc/self/smaps_rollup").read_text().splitlines()
    told = re.findall(r"^(\w+):\s+(\d+) kB$", "\n".join(lines), re.MULTILINE)
    found = {name: 1024 * int(value) for name, value in told}
    missing = [name for name in ("Pss", "Private_Clean", "Private_Dirty") if name not in found]
    if missing:
        raise ValueError(f"/proc/self/smaps_rollup has no {missing[0]}")
    return found
