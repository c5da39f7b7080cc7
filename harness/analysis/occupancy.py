"""How many blocks of a kernel a device can run at once, and whether a launch has that many."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from harness.records import Int64Array, KernelEvents, Launches, Profile

#: Names of the facts: how many multiprocessors the device has, and what one of them holds.
MULTIPROCESSORS = "gpu_used_multiprocessors"
THREADS = "gpu_used_multiprocessor_threads"
REGISTERS = "gpu_used_multiprocessor_registers"
SHARED = "gpu_used_multiprocessor_shared_bytes"
BLOCKS = "gpu_used_multiprocessor_blocks"
RESERVED = "gpu_used_block_reserved_bytes"

#: How resources are given out, from cuda_occupancy.h of the CUDA toolkit: a multiprocessor has four
#: parts, each with its share of the registers; a warp of 32 threads gets these 256 at a time, a
#: block shared memory 128 bytes at a time (256 before compute capability 8.0, where a block more
#: may be counted than fits).
_WARP = 32
_PARTS = 4
_REGISTERS_AT_A_TIME = 256
_SHARED_AT_A_TIME = 128

#: No device has more of anything here; a file may say what it likes.
_MOST = 2**31 - 1


@dataclasses.dataclass(frozen=True, slots=True)
class Multiprocessor:
    """What one multiprocessor can hold at a time.

    Attributes:
        threads, registers, shared_bytes, blocks: at most.
        reserved_bytes: shared memory that the driver takes for each block.
    """

    threads: int
    registers: int
    shared_bytes: int
    blocks: int
    reserved_bytes: int


@dataclasses.dataclass(frozen=True, slots=True)
class Capacity:
    """Of the device that a profile used.

    Attributes:
        multiprocessors: how many.
        each: what each of them holds; None where the file does not say all of it.
    """

    multiprocessors: int
    each: Multiprocessor | None


def capacity(profile: Profile) -> Capacity | None:
    """Of the device that a profile used; None if the file does not say."""
    facts = {one.name: one.value for one in profile.environment}

    def known(name: str) -> int:
        value = facts.get(name)
        return value if isinstance(value, int) and 0 < value <= _MOST else 0

    if not known(MULTIPROCESSORS):
        return None
    each = Multiprocessor(*map(known, (THREADS, REGISTERS, SHARED, BLOCKS, RESERVED)))
    told = each.threads and each.registers and each.shared_bytes and each.blocks
    return Capacity(known(MULTIPROCESSORS), each if told else None)


def fitting(launches: KernelEvents | Launches, each: Multiprocessor) -> Int64Array:
    """How many blocks of each launch a multiprocessor can hold at once.

    The least of what its threads, registers, shared memory and number of blocks allow
    (cuda_occupancy.h; CUDA C++ Programming Guide, "Maximize Utilization"). It is the most that any
    split between cache and shared memory allows.

    Returns:
        int64[n], at least 1: what ran did fit. 1 where the block or what it takes is not known.
    """
    threads = launches.block.astype(np.float64).prod(axis=1)
    registers = launches.registers.astype(np.int64)
    known = (launches.block > 0).all(axis=1) & (registers >= 0) & (launches.shared_bytes >= 0)
    # What no multiprocessor holds did not run: a file may say anything.
    warps = np.ceil(np.clip(threads, 1, each.threads) / _WARP).astype(np.int64)
    of_warp = _up(np.clip(registers, 1, each.registers) * _WARP, _REGISTERS_AT_A_TIME)
    by_registers = each.registers // _PARTS // of_warp * _PARTS // warps
    shared = np.clip(launches.shared_bytes, 0, each.shared_bytes) + each.reserved_bytes
    by_shared = each.shared_bytes // np.maximum(_up(shared, _SHARED_AT_A_TIME), 1)
    by_threads = each.threads // _WARP // warps
    least = np.minimum.reduce([by_threads, by_registers, by_shared])
    return np.where(known, np.clip(least, 1, each.blocks), 1)


def too_few(launches: KernelEvents | Launches, device: Capacity) -> npt.NDArray[np.bool_]:
    """Which launches have fewer blocks than the device can run at once.

    Where it is not known how many fit on a multiprocessor: fewer than there are multiprocessors,
    some of which then have nothing to do. Copies have no blocks.
    """
    blocks = launches.grid.astype(np.float64).prod(axis=1)  # three of 2**31 - 1 exceed int64
    at_once = np.full(len(blocks), 1) if device.each is None else fitting(launches, device.each)
    fit = at_once.astype(np.float64) * device.multiprocessors
    return np.asarray((launches.grid > 0).all(axis=1) & (blocks < fit), np.bool_)


def _up(values: Int64Array, step: int) -> Int64Array:
    """The next multiple of step."""
    return -(-values // step) * step
