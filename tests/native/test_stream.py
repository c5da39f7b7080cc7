"""Streaming copy and triad: threads, memory and failures."""

from __future__ import annotations

import errno
import multiprocessing
import os
import threading
from multiprocessing.synchronize import Event
from pathlib import Path

import numpy as np
import pytest

from harness.native import bandwidth

CPUS = sorted(os.sched_getaffinity(0))
MIB = 1024 * 1024
#: A CPU number that no machine of this kind has.
NO_CPU = 100_000
TASKS = Path("/proc/self/task")


def mapped_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("cpus", [CPUS[:1], CPUS], ids=["one thread", "a thread on each CPU"])
def test_every_repetition_is_timed_and_the_caller_stays_where_it_was(cpus: list[int]) -> None:
    # A size that does not divide evenly. That each element is copied and summed is checked by
    # the native module itself, which raises RuntimeError otherwise.
    array_bytes = 64 * (len(cpus) * 1000 + 1)
    for parts, passes, past_caches in ((1, 1, True), (7, 1, True), (1, 3, False), (3, 2, False)):
        times = bandwidth.copy_and_triad(array_bytes, cpus, 5, parts, passes, past_caches)
        for measured in times:
            assert measured.dtype == np.int64
            assert measured.shape == (2, 5 * parts)
            assert (measured > 0).all()
    assert sorted(os.sched_getaffinity(0)) == CPUS


def test_time_grows_with_the_bytes() -> None:
    small = bandwidth.copy_and_triad(2 * MIB, CPUS[:1], 7)
    large = bandwidth.copy_and_triad(64 * MIB, CPUS[:1], 7)
    for few, many in zip(small, large, strict=True):
        assert many[0].min() > 8 * few[0].min()


def test_a_pass_takes_as_long_as_the_next() -> None:
    once = bandwidth.copy_and_triad(MIB, CPUS[:1], 7)
    often = bandwidth.copy_and_triad(MIB, CPUS[:1], 7, passes=32)
    for few, many in zip(once, often, strict=True):
        assert many[0].min() > 8 * few[0].min()


def test_threads_that_lost_their_cpu_have_less_cpu_time() -> None:
    def least_share() -> float:
        wall, cpu = bandwidth.copy_and_triad(64 * MIB, CPUS[:1], 8)[0]
        assert (cpu <= wall + 100_000).all(), "one thread has no more than the time that passed"
        return float((cpu / wall).min())

    # A thread that spins on the same CPU takes it for milliseconds at a time.
    stopped = multiprocessing.get_context("spawn").Event()
    rival = multiprocessing.get_context("spawn").Process(target=spin, args=(CPUS[0], stopped))
    rival.start()
    try:
        assert any(least_share() < 0.9 for _ in range(50))
    finally:
        stopped.set()
        rival.join()


def spin(cpu: int, stopped: Event) -> None:
    os.sched_setaffinity(0, {cpu})
    while not stopped.is_set():
        pass


def cpus_seen_meanwhile() -> list[str]:
    """CPU lists of the threads of a call, as another Python thread reads them meanwhile."""
    before = {task.name for task in TASKS.iterdir()}
    thread = threading.Thread(target=bandwidth.copy_and_triad, args=(32 * MIB, CPUS, 20))
    thread.start()
    allowed: dict[str, str] = {}
    while thread.is_alive():
        for task in TASKS.iterdir():
            if task.name not in before and int(task.name) != thread.native_id:
                try:
                    status = (task / "status").read_text()
                except (FileNotFoundError, ProcessLookupError):
                    continue
                allowed[task.name] = status.split("Cpus_allowed_list:")[1].split()[0]
    thread.join()
    return sorted(allowed.values())


def test_threads_are_pinned_while_other_python_threads_go_on() -> None:
    # On a busy machine this thread may get no CPU before the call is over: then once more.
    # With the GIL held by the call it would not see a single thread however often it looked.
    expected = sorted(map(str, CPUS))
    assert any(cpus_seen_meanwhile() == expected for _ in range(20))


def test_nothing_is_left_behind_by_success_or_failure() -> None:
    def attempt() -> None:
        bandwidth.copy_and_triad(64 * MIB, CPUS, 1)
        # The first thread is already at work when the second one cannot be started.
        with pytest.raises(OSError, match=f"pthread_create on CPU {NO_CPU}") as caught:
            bandwidth.copy_and_triad(64 * MIB, [CPUS[0], NO_CPU], 1)
        assert caught.value.errno == errno.EINVAL

    attempt()  # pthread keeps a few stacks for the next threads
    tasks, mapped = len(list(TASKS.iterdir())), mapped_bytes()
    attempt()
    assert len(list(TASKS.iterdir())) == tasks
    assert mapped_bytes() < mapped + 64 * MIB


@pytest.mark.parametrize("array_bytes", [1 << 46, 1 << 62], ids=["address space", "overflow"])
def test_arrays_that_cannot_be_had(array_bytes: int) -> None:
    with pytest.raises(MemoryError, match=str(array_bytes)):
        bandwidth.copy_and_triad(array_bytes, CPUS[:1], 1)


@pytest.mark.parametrize(
    ("array_bytes", "cpus", "repetitions", "named"),
    [
        (MIB, [], 1, "cpus"),
        (MIB, [CPUS[0], CPUS[0]], 1, "cpus"),
        (MIB, [-1], 1, "cpus"),
        (MIB, CPUS[:1], 0, "rounds"),
        (MIB + 8, CPUS[:1], 1, "bytes_per_array"),
        (0, CPUS[:1], 1, "bytes_per_array"),
        (-64, CPUS[:1], 1, "bytes_per_array"),
        (64, [0, 1], 1, "bytes_per_array"),
    ],
)
def test_arguments_that_cannot_be_meant(
    array_bytes: int, cpus: list[int], repetitions: int, named: str
) -> None:
    with pytest.raises(ValueError, match=named):
        bandwidth.copy_and_triad(array_bytes, cpus, repetitions)


@pytest.mark.parametrize(
    ("options", "named"),
    [({"parts": 0}, "parts"), ({"passes": 0}, "passes"), ({"parts": 17}, "bytes_per_array")],
)
def test_ways_over_the_arrays_that_cannot_be_meant(options: dict[str, int], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        bandwidth.copy_and_triad(16 * 64, CPUS[:1], 1, **options)
