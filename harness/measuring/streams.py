"""Bandwidth of memory and of each cache level: STREAM's copy and triad over arrays of a size.

J. D. McCalpin, https://www.cs.virginia.edu/stream/; a ceiling for each level of the hierarchy:
Ilic, Pratas and Sousa, "Cache-aware Roofline Model", IEEE Computer Architecture Letters 2014.
"""

from __future__ import annotations

import collections
import dataclasses
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from harness.machine.available_memory import available_bytes, resident_bytes
from harness.measuring.looks import Look
from harness.native import bandwidth
from harness.records import Reading

#: STREAM's rule: each array at least four times the last-level caches together.
_TIMES_CACHE = 4
#: Virtual machines often report a part of the cache that they use, or none of the last level.
_LEAST_ARRAY_BYTES = 128 * 1024 * 1024
#: Arrays of a stream, and how many of them STREAM counts for each kernel.
_ARRAYS, _COUNTED = 3, {"copy": 2, "triad": 3}

#: Rounds over memory in a look, and parts that are timed one by one: 8 MiB of an array take less
#: than a millisecond, which often fits between two interruptions of a busy machine.
_MEMORY_ROUNDS, _MEMORY_PARTS = 2, 16
#: Repetitions in a cache in a look, and the bytes of arrays that each goes over: 30 to 300 µs.
_CACHE_REPETITIONS, _REPETITION_BYTES = 10, 32 * 1024 * 1024
#: How much more a level must hold than those before it together, for a size between them to be
#: twice the one and half of the other. Data of another size is in neither for certain.
_LEVELS_APART = 4

#: What arrays are divided in: a cache line.
_LINE_BYTES = 64

_CPUS = "sys/devices/system/cpu"
_KIB, _MIB = 1024, 1024 * 1024


@dataclasses.dataclass(frozen=True, slots=True)
class Caches:
    """The data caches of one level that some CPUs use.

    Attributes:
        level: 1 is the nearest to the cores.
        bytes: what they hold together.
        count: how many these are.
    """

    level: int
    bytes: int
    count: int


def streams(
    threads: int, root: Path, memory_bytes: int | None
) -> tuple[list[Stream], list[Reading]]:
    """The streams to measure (memory and each cache level), and the caches found.

    Streaming threads are pinned, to cores of their own while there are any, in turn over the
    last-level caches; there are never more of them than CPUs that this process may use.

    Args:
        threads: at most.
        root: where /proc and /sys are found (tests).
        memory_bytes: resident, that this process may take; None for half of what is available.

    Returns:
        The subjects, and facts: ``l1_bytes`` and ``l1_caches`` of each level, and ceilings that
        are absent, with the reason.
    """
    try:
        cpus, caches = placement(os.sched_getaffinity(0), threads, root)
    except (OSError, LookupError, ValueError) as error:
        return [], [_absent(name, str(error)) for name in _COUNTED]
    array_bytes = max(_TIMES_CACHE * caches[-1].bytes, _LEAST_ARRAY_BYTES)
    known: list[Reading] = []
    found: list[Stream] = []
    try:
        _check_memory(_ARRAYS * array_bytes, root, memory_bytes)
        found.append(_memory(cpus, array_bytes, caches[-1]))
    except LookupError as error:
        known += [_absent(name, str(error)) for name in _COUNTED]
    nearer_bytes = 0
    for cache in caches:
        name, told = f"l{cache.level}", f"sysfs: data caches of CPUs {_listed(cpus)}"
        known.append(Reading(f"{name}_bytes", cache.bytes, "bytes", told))
        known.append(Reading(f"{name}_caches", cache.count, "1", told))
        if cache.bytes < _LEVELS_APART * nearer_bytes:
            reason = (
                f"the L{cache.level} caches hold {_size(cache.bytes)}, less than {_LEVELS_APART} "
                f"times the {_size(nearer_bytes)} of the nearer levels, so no "
                "array size belongs to this level alone"
            )
            known += [_absent(f"{kernel}_{name}", reason) for kernel in _COUNTED]
        else:
            found.append(_cache(cpus, cache, nearer_bytes))
        nearer_bytes += cache.bytes
    return found, known


@dataclasses.dataclass(frozen=True, slots=True)
class Stream:
    """Copy and triad over arrays of one size, with a thread on each CPU.

    Attributes:
        suffix: of the names of the ceilings: empty for memory, ``_l1`` for the first level.
        array_bytes: of each of the three arrays.
        cpus: one for each thread.
        conditions: the caches that the size was chosen by.
        rounds, parts, passes, past_caches: how the arrays are gone over in a look, and stored
            to (``bandwidth.copy_and_triad``).
    """

    suffix: str
    array_bytes: int
    cpus: Sequence[int]
    conditions: str
    rounds: int
    parts: int
    passes: int
    past_caches: bool

    @property
    def names(self) -> Sequence[str]:
        """Names of the ceilings that a look yields: copy and triad."""
        return tuple(f"{kernel}{self.suffix}" for kernel in _COUNTED)

    @property
    def unit(self) -> str:
        """Unit of their speeds."""
        return "bytes/s"

    @property
    def source(self) -> str:
        """What is run."""
        past = self.past_caches and bandwidth.bypasses_caches()
        stores = "non-temporal stores" if past else "stores through the caches"
        return (
            f"STREAM, arrays of {_size(self.array_bytes)}, {self.conditions}, {stores}, pinned to "
            f"CPUs {_listed(self.cpus)}"
        )

    def look(self) -> Mapping[str, Look]:
        """Both kernels.

        Raises:
            LookupError: a thread cannot be started, or there is no memory; the message says so.
        """
        try:
            times = bandwidth.copy_and_triad(
                self.array_bytes,
                self.cpus,
                self.rounds,
                parts=self.parts,
                passes=self.passes,
                past_caches=self.past_caches,
            )
        except (OSError, MemoryError) as error:
            raise LookupError(str(error)) from error
        each = self.array_bytes * self.passes / self.parts
        return {
            name: Look(
                arrays * each * 1e9 / wall_ns,
                np.minimum(cpu_ns / (len(self.cpus) * wall_ns), 1.0),
                len(self.cpus),
                self.unit,
                f"{kernel}, {8 * arrays} bytes an element: {self.source}",
            )
            for name, (kernel, arrays), (wall_ns, cpu_ns) in zip(
                self.names, _COUNTED.items(), times, strict=True
            )
        }


def _memory(cpus: Sequence[int], array_bytes: int, caches: Caches) -> Stream:
    """A stream over arrays too large for any cache."""
    told = f"last-level cache {_size(caches.bytes)}"
    return Stream(
        "", array_bytes, cpus, told, _MEMORY_ROUNDS, _MEMORY_PARTS, passes=1, past_caches=True
    )


def _cache(cpus: Sequence[int], cache: Caches, nearer_bytes: int) -> Stream:
    """A stream over arrays that fit the caches of a level but not the nearer ones."""
    # As far from the one size as from the other; nothing is nearer than the first level.
    together = math.isqrt(nearer_bytes * cache.bytes) if nearer_bytes else cache.bytes // 2
    line = _LINE_BYTES * len(cpus)
    array_bytes = max(together // _ARRAYS // line, 1) * line
    passes = max(_REPETITION_BYTES // (_ARRAYS * array_bytes), 1)
    told = f"L{cache.level} cache {_size(cache.bytes)}"
    suffix = f"_l{cache.level}"
    return Stream(suffix, array_bytes, cpus, told, _CACHE_REPETITIONS, 1, passes, past_caches=False)


def _absent(name: str, reason: str) -> Reading:
    return Reading(name, None, "bytes/s", "STREAM", reason)


def _check_memory(needed: int, root: Path, memory_bytes: int | None) -> None:
    """Refuses arrays that would take more than half of the memory, or more than is allowed.

    Raises:
        LookupError: they would, or nobody tells how much memory there is.
    """
    what = f"{_ARRAYS} arrays of {needed // _ARRAYS // _MIB} MiB would take more than"
    available = available_bytes(root)
    if available is None:
        raise LookupError("/proc/meminfo does not report the available memory")
    if needed > available // 2:
        raise LookupError(f"{what} half of the {available // _MIB} MiB of memory available")
    if memory_bytes is not None and needed > memory_bytes - resident_bytes():
        raise LookupError(
            f"{what} the limit of {memory_bytes // _MIB} MiB (`memory_limit_gb`) leaves"
        )


def placement(allowed: Iterable[int], threads: int, root: Path) -> tuple[list[int], list[Caches]]:
    """The CPUs for so many threads, and the levels of their data caches, the nearest first.

    Raises:
        OSError, LookupError, ValueError: sysfs does not report the caches.
    """
    caches = {cpu: _data_caches(root, cpu) for cpu in sorted(allowed)}
    on_core: collections.Counter[str] = collections.Counter()
    in_cache: collections.Counter[tuple[int, str]] = collections.Counter()
    rank: dict[int, tuple[int, int]] = {}
    for cpu, levels in caches.items():
        shared, _ = levels[max(levels)]
        core = (root / _CPUS / f"cpu{cpu}/topology/thread_siblings_list").read_text()
        hardware_thread = on_core[core]
        rank[cpu] = hardware_thread, in_cache[hardware_thread, shared]
        on_core[core] += 1
        in_cache[hardware_thread, shared] += 1
    cpus = sorted(caches, key=lambda cpu: (rank[cpu], cpu))[:threads]
    return cpus, list(_together(caches[cpu] for cpu in cpus))


def _together(caches: Iterable[Mapping[int, tuple[str, int]]]) -> Iterator[Caches]:
    """The levels of several CPUs, each cache once."""
    levels: dict[int, dict[str, int]] = {}
    for of_cpu in caches:
        for level, (shared, size) in of_cpu.items():
            levels.setdefault(level, {})[shared] = size
    for level, sizes in sorted(levels.items()):
        yield Caches(level, sum(sizes.values()), len(sizes))


def _data_caches(root: Path, cpu: int) -> dict[int, tuple[str, int]]:
    """By level: which CPUs share the cache, in Linux' notation, and its bytes."""
    folder = root / _CPUS / f"cpu{cpu}/cache"
    found: dict[int, tuple[str, int]] = {}
    for index in sorted(folder.glob("index*")):
        if (index / "type").read_text().strip() != "Instruction":
            kibibytes = (index / "size").read_text().strip().removesuffix("K")
            shared = (index / "shared_cpu_list").read_text().strip()
            found[int((index / "level").read_text())] = shared, int(kibibytes) * _KIB
    if not found:
        raise LookupError(
            f"/{folder.relative_to(root)} lists no cache: cannot size arrays to exceed it"
        )
    return found


def _listed(cpus: Iterable[int]) -> str:
    return ",".join(map(str, sorted(cpus)))


def _size(count: int) -> str:
    return f"{count / _MIB:g} MiB" if count % _MIB == 0 else f"{count / _KIB:.4g} KiB"
