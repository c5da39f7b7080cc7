"""How many blocks fit on a device: by hand, by the CUDA toolkit's rules, and at random."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis import gpu_work, occupancy
from harness.analysis.occupancy import Capacity, Multiprocessor
from harness.records import KernelEvents, Reading
from tests.builders.device_records import kernels
from tests.builders.process_records import process, profile
from tests.builders.recordings import PROFILES, recorded

#: Of an H200 (compute capability 9.0; CUDA C++ Programming Guide, technical specifications).
H200 = Multiprocessor(2048, 65536, 228 * 1024, 32, 1024)
LIMITS = (
    Reading(occupancy.MULTIPROCESSORS, 132, "1"),
    Reading(occupancy.THREADS, H200.threads, "1"),
    Reading(occupancy.REGISTERS, H200.registers, "1"),
    Reading(occupancy.SHARED, H200.shared_bytes, "bytes"),
    Reading(occupancy.BLOCKS, H200.blocks, "1"),
    Reading(occupancy.RESERVED, H200.reserved_bytes, "bytes"),
)


def launch(
    blocks: int = 1, threads: int = 128, registers: int = 32, shared_bytes: int = 0
) -> KernelEvents:
    return dataclasses.replace(
        kernels(("k", 0, 0, 10)),
        grid=np.array([[blocks, 1, 1]], np.int32),
        block=np.array([[threads, 1, 1]], np.int32),
        registers=np.array([registers], np.int32),
        shared_bytes=np.array([shared_bytes], np.int64),
    )


@pytest.mark.parametrize(
    ("threads", "registers", "shared_bytes", "blocks"),
    [
        (256, 32, 0, 8),  # 2048 threads
        (32, 16, 0, 32),  # no more blocks than that
        (128, 40, 0, 12),  # 48 warps of 1280 registers
        (128, 255, 0, 2),  # 8192 registers a warp: two in each part
        (128, 32, 100_000, 2),
        (1024, 64, 0, 1),
        (1000, 16, 0, 2),  # as many as 1024
        (128, 32, 232_448, 1),  # all that a block may ask for
    ],
)
def test_blocks_that_fit(threads: int, registers: int, shared_bytes: int, blocks: int) -> None:
    one = launch(1, threads, registers, shared_bytes)
    assert occupancy.fitting(one, H200).tolist() == [blocks]


@pytest.mark.parametrize(
    ("blocks", "few"), [(1, True), (132, True), (1055, True), (1056, False), (5000, False)]
)
def test_a_launch_has_too_few_if_the_device_could_run_more_at_once(blocks: int, few: bool) -> None:
    told = occupancy.too_few(launch(blocks, 256), Capacity(132, H200))
    assert told.tolist() == [few]


def test_without_its_limits_it_has_too_few_if_multiprocessors_are_left_over() -> None:
    assert occupancy.too_few(launch(131), Capacity(132, None)).tolist() == [True]
    assert occupancy.too_few(launch(132), Capacity(132, None)).tolist() == [False]


def test_what_is_not_known_of_a_launch_is_not_assumed() -> None:
    for one in (launch(132, -1), launch(132, 256, -1), launch(132, 256, 32, -1)):
        assert occupancy.too_few(one, Capacity(132, H200)).tolist() == [False]
    copy = dataclasses.replace(launch(), grid=np.full((1, 3), -1, np.int32))
    assert occupancy.too_few(copy, Capacity(132, H200)).tolist() == [False]


def test_all_limits_are_needed() -> None:
    def told(*facts: Reading) -> Capacity | None:
        return occupancy.capacity(profile(process([10]), environment=facts))

    assert told() is None
    assert told(*LIMITS) == Capacity(132, H200)
    # Before compute capability 8.0 the driver takes nothing.
    assert told(*LIMITS[:-1]) == Capacity(132, dataclasses.replace(H200, reserved_bytes=0))
    for left_out in LIMITS[1:-1]:
        some = [fact for fact in LIMITS if fact is not left_out]
        assert told(*some) == Capacity(132, None)
    assert told(LIMITS[0], Reading(occupancy.THREADS, 2**62, "1")) == Capacity(132, None)


@given(
    st.integers(1, 2**31 - 1),
    st.integers(0, 2**31 - 1),
    st.integers(0, 2**63 - 1),
    st.builds(Multiprocessor, *[st.integers(1, 2**31 - 1)] * 4, st.integers(0, 2**31 - 1)),
)
def test_any_launch_fits_at_least_once_and_more_of_anything_fits_no_more(
    threads: int, registers: int, shared_bytes: int, each: Multiprocessor
) -> None:
    def fit(threads: int, registers: int, shared_bytes: int) -> int:
        return int(occupancy.fitting(launch(1, threads, registers, shared_bytes), each)[0])

    fits = fit(threads, registers, shared_bytes)
    assert 1 <= fits <= each.blocks
    assert fit(threads, registers // 2, shared_bytes) >= fits
    assert fit(threads, registers, shared_bytes // 2) >= fits
    assert fit(max(threads // 2, 1), registers, shared_bytes) >= fits


@pytest.mark.parametrize("name", PROFILES)
def test_of_a_recording_more_is_small_by_occupancy_than_by_multiprocessors(name: str) -> None:
    whole = recorded(name)

    def small_ns(*facts: Reading) -> float:
        told = dataclasses.replace(whole, environment=(*whole.environment, *facts))
        work = gpu_work.node_work(told)
        assert work is not None
        assert work.small_ns is not None
        assert (work.small_ns <= work.kernel_ns).all()
        return float(work.small_ns.sum())

    least, most = small_ns(LIMITS[0]), small_ns(*LIMITS)
    assert 0 < least <= most
    # The others' kernels have either fewer blocks than multiprocessors or enough of them.
    assert name != "resnet50" or least < most
