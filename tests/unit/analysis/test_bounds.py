"""What holds a node back, on either side of each limit."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from harness.analysis.bounds import classify, memory_share
from harness.analysis.ceilings import Level
from harness.analysis.working_set import Served

#: A machine of a cache of 100 GB/s and memory of 10 GB/s.
LEVELS = (
    Level("L1", 48_000, shared=True, bandwidth=100e9),
    Level("DRAM", math.inf, shared=True, bandwidth=10e9),
)


def served(near: Sequence[float], far: Sequence[float] | None = None) -> Served:
    """Bytes by level; the same as near and as far, unless they are given."""
    return Served(np.array(near, float), np.array(far if far is not None else near, float))


def from_memory(nbytes: int) -> Served | None:
    return None if nbytes < 0 else served([0, nbytes])


# 100 GFLOP/s, memory of 10 GB/s, a dispatch of 500 ns; times in ns.
@pytest.mark.parametrize(
    ("flops", "nbytes", "self_ns", "label"),
    [
        (60_000_000, 1_000_000, 1_000_000, "compute-bound"),  # 60 %, 10 %
        (1_000_000, 8_000_000, 1_000_000, "memory-bound"),  # 1 %, 80 %
        (1_000, 1_000, 800, "overhead-bound"),  # dispatch is 63 %, data would be 13 %
        (0, 0, 900, "overhead-bound"),
        (1_000, 1_000, 1_400, "overhead-bound"),  # dispatch is 36 %, data 7 %
        (1_000, 1_000, 1_600, "unknown"),  # dispatch is 31 %, data 6 %
        (1_000_000, 500_000, 1_000_000, "unknown"),  # 1 %, 5 %
        (105_000_000, 1_000, 1_000_000, "compute-bound"),  # 105 %: within what a ceiling is sure
        (1_000, 10_500_000, 1_000_000, "memory-bound"),
        (-1, 6_000_000, 1_000_000, "memory-bound"),  # 60 %: nothing unknown can be larger
        (-1, 4_000_000, 1_000_000, "unknown"),  # 40 %
        (60_000_000, -1, 1_000_000, "compute-bound"),
        (40_000_000, -1, 1_000_000, "unknown"),
        (-1, -1, 800, "overhead-bound"),
        (-1, -1, 8_000, "unknown"),
        (10, 10, 0, "unknown"),
    ],
)
def test_classes(flops: int, nbytes: int, self_ns: float, label: str) -> None:
    assert classify(flops, from_memory(nbytes), self_ns, 100e9, LEVELS, 500.0)[0] == label


@pytest.mark.parametrize(
    ("flops", "nbytes"),
    [(9_000_000, 90_000_000), (120_000_000, 1_000_000), (120_000_000, -1), (-1, 12_000_000)],
)
def test_more_than_a_ceiling_is_no_class(flops: int, nbytes: int) -> None:
    """315 % of a peak says that the peak, or the count, is wrong."""
    label, why = classify(flops, from_memory(nbytes), 1_000_000, 100e9, LEVELS, 500.0)
    assert label == "unknown"
    assert "above its ceiling" in why


def test_what_lives_in_a_cache_is_not_bound_by_memory() -> None:
    # 13 KB in 526 ns: 29 % of what memory does, 2 % of what the cache does.
    assert classify(6144, served([0, 13_000]), 4_480, 1e12, LEVELS, 100.0)[0] == "memory-bound"
    label, why = classify(6144, served([13_000, 0]), 4_480, 1e12, LEVELS, 100.0)
    assert label == "unknown"
    assert "memory 3% of L1 bandwidth (2.9 of 100 GB/s)" in why


def test_a_class_that_depends_on_where_data_came_from_is_unknown() -> None:
    either = served([8_000_000, 0], [0, 8_000_000])  # 8 % or 80 %
    label, why = classify(30_000_000, either, 1_000_000, 100e9, LEVELS, None)
    assert label == "unknown"
    assert "between 8% of L1 bandwidth" in why
    assert "and 80% of DRAM bandwidth" in why
    assert "depends on which cache" in why
    # Above both, or below both, it does not.
    assert classify(90_000_000, either, 1_000_000, 100e9, LEVELS, None)[0] == "compute-bound"
    assert classify(5_000_000, either, 1_000_000, 100e9, LEVELS, None)[0] == "unknown"
    both = served([20_000_000, 0], [0, 9_500_000])
    assert classify(5_000_000, both, 1_000_000, 100e9, LEVELS, None)[0] == "memory-bound"


def test_a_level_that_would_take_longer_did_not_serve_all_of_it() -> None:
    # 30 % of the cache's bandwidth; 300 % of memory's is not possible, 100 % at most.
    share = memory_share(served([30_000_000, 0], [0, 30_000_000]), 1_000_000, LEVELS)
    assert share is not None
    assert (share.least, share.most) == (pytest.approx(0.3), 1.0)
    either = served([30_000_000, 0], [0, 30_000_000])
    assert classify(1_000, either, 1_000_000, 100e9, LEVELS, None)[0] == "memory-bound"


def test_what_memory_serves_comes_through_the_cache() -> None:
    # 1 MB from memory (10 %), and with it 60 MB through the cache (60 %).
    share = memory_share(served([59_000_000, 1_000_000]), 1_000_000, LEVELS)
    assert share is not None
    assert share.least == share.most == pytest.approx(0.6)
    assert share.told == "60% of L1 bandwidth (60 of 100 GB/s)"


def test_bandwidths_that_were_not_measured_leave_the_share_open() -> None:
    cache, memory = LEVELS
    # Caches of an old file: anything may have come from one.
    unsized = (Level("caches", math.inf, shared=False, bandwidth=None), memory)
    share = memory_share(served([8_000_000, 0], [0, 8_000_000]), 1_000_000, unsized)
    assert share is not None
    assert (share.least, share.most, share.far) == (0, pytest.approx(0.8), share.most)
    assert share.told == "at most 80% of DRAM bandwidth (8 of 10 GB/s)"
    # Memory that was measured on a busy machine: it may have taken all the time.
    busy = (cache, Level("DRAM", math.inf, shared=True, bandwidth=None))
    share = memory_share(served([0, 8_000_000]), 1_000_000, busy)
    assert share is not None
    assert (share.least, share.most, share.far) == (pytest.approx(0.08), 1, None)
    assert share.told == "at least 8% of L1 bandwidth (8 of 100 GB/s)"
    # A level in between: its data takes at least as long as through the nearer one.
    between = (cache, Level("L2", 1e6, shared=True, bandwidth=None), memory)
    share = memory_share(served([0, 8_000_000, 0]), 1_000_000, between)
    assert share is not None
    assert (share.least, share.most) == (pytest.approx(0.08), pytest.approx(0.8))
    # Only the level in between was measured: what is in L1, or in memory, nobody knows.
    nearest = Level("L1", 48_000, shared=True, bandwidth=None)
    middle = (nearest, Level("L2", 1e6, shared=True, bandwidth=50e9), busy[1])
    either = served([8_000_000, 0, 0], [0, 0, 8_000_000])
    assert memory_share(either, 1_000_000, middle) is None
    _, why = classify(1_000, either, 1_000_000, 100e9, middle, None)
    assert "memory 8 GB/s (ceiling not measured)" in why
    # All is in L3, which was not measured, nor was memory: L2 tells the least alone.
    third = Level("L3", 32e6, shared=True, bandwidth=None)
    share = memory_share(served([0, 0, 8_000_000, 0]), 1_000_000, (*middle[:2], third, busy[1]))
    assert share is not None
    assert (share.least, share.most, share.far) == (pytest.approx(0.16), 1, None)
    assert share.told == "at least 16% of L2 bandwidth (8 of 50 GB/s)"


def test_class_comes_with_its_numbers() -> None:
    _, why = classify(60_000_000, from_memory(1_000_000), 1_000_000, 100e9, LEVELS, 10_000.0)
    assert why == (
        "compute 60% of peak (60 of 100 GFLOP/s), memory 10% of DRAM bandwidth (1 of 10 GB/s), "
        "dispatch 1% of the time"
    )


def test_ceiling_that_was_not_measured_bounds_nothing() -> None:
    nowhere = (Level("DRAM", math.inf, shared=True, bandwidth=None),)
    label, why = classify(60_000_000, served([1_000_000]), 1_000_000, None, nowhere, None)
    assert label == "unknown"
    assert "60 GFLOP/s (ceiling not measured)" in why
    assert "1 GB/s (ceiling not measured)" in why
    # Arithmetic that is not there needs no ceiling.
    assert classify(0, from_memory(2_000_000), 1_000_000, None, LEVELS, None)[0] == "memory-bound"
    assert classify(0, served([0, 0]), 1_000, None, LEVELS, 600.0)[0] == "overhead-bound"
