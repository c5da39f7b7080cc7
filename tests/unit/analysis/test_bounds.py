"""What holds a node back, on either side of each limit."""

from __future__ import annotations

import pytest

from harness.analysis.bounds import classify


# A machine of 100 GFLOP/s and 10 GB/s whose dispatch costs 500 ns; times in ns.
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
        (9_000_000, 90_000_000, 1_000_000, "memory-bound"),  # from caches: 9 %, 900 %
        (90_000_000, 20_000_000, 1_000_000, "compute-bound"),  # 90 %, caches give 200 %
        (1_000, 50_000, 800, "overhead-bound"),  # caches give 625 %: not what holds it back
        (-1, 6_000_000, 1_000_000, "memory-bound"),  # 60 %: nothing unknown can be larger
        (-1, 4_000_000, 1_000_000, "unknown"),  # 40 %
        (-1, 40_000_000, 1_000_000, "unknown"),  # a bandwidth that does not bound
        (60_000_000, -1, 1_000_000, "compute-bound"),
        (40_000_000, -1, 1_000_000, "unknown"),
        (-1, -1, 800, "overhead-bound"),
        (-1, -1, 8_000, "unknown"),
        (10, 10, 0, "unknown"),
    ],
)
def test_classes(flops: int, nbytes: int, self_ns: float, label: str) -> None:
    assert classify(flops, nbytes, self_ns, 100e9, 10e9, 500.0)[0] == label


def test_class_comes_with_its_numbers() -> None:
    _, why = classify(60_000_000, 1_000_000, 1_000_000, 100e9, 10e9, 10_000.0)
    assert why == (
        "compute 60% of peak (60 of 100 GFLOP/s), memory 10% of bandwidth (1 of 10 GB/s), "
        "dispatch 1% of the time"
    )


def test_ceiling_that_was_not_measured_bounds_nothing() -> None:
    label, why = classify(60_000_000, 1_000_000, 1_000_000, None, None, None)
    assert label == "unknown"
    assert "60 GFLOP/s (ceiling not measured)" in why
    # Arithmetic that is not there needs no ceiling.
    assert classify(0, 2_000_000, 1_000_000, None, 10e9, None)[0] == "memory-bound"
