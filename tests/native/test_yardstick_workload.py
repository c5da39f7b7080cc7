"""The yardstick's native part: the same work each time, and nothing left behind."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from harness.native import yardstick

#: What the work calculates, on every machine and with every compiler. It changes only with the
#: work itself, and then yardsticks of old profiles can no longer be compared with new ones.
DIGEST = 0x56C55201D11A9EF6
MIB = 1024 * 1024


def columns(count: int) -> list[np.ndarray]:
    return [np.zeros(count, np.int64) for _ in range(4)]


def mapped_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def test_every_repetition_does_the_same_known_work() -> None:
    workload = yardstick.Timer()
    assert [workload.run(*columns(count)) for count in (1, 3)] == [DIGEST, DIGEST]
    workload.close()
    assert yardstick.Timer().run(*columns(1)) == DIGEST


def test_every_part_of_every_repetition_is_timed_by_the_monotonic_clock() -> None:
    start_ns, *parts = columns(5)
    before_ns = time.monotonic_ns()
    yardstick.Timer().run(start_ns, *parts)
    end_ns = [*start_ns[1:], time.monotonic_ns()]
    assert start_ns[0] >= before_ns
    assert all((part > 0).all() for part in parts)
    assert (start_ns + sum(parts) <= end_ns).all()


def test_other_python_threads_go_on_and_cannot_disturb() -> None:
    workload = yardstick.Timer()
    digests: list[int] = []
    arrays = columns(100)
    thread = threading.Thread(target=lambda: digests.append(workload.run(*arrays)))
    thread.start()
    # With the GIL held by the call this loop would end only with it, all starts being set.
    while not arrays[0][0]:
        time.sleep(0.001)
    assert not arrays[0][-1]
    with pytest.raises(ValueError, match="another thread"):
        workload.run(*columns(1))
    with pytest.raises(ValueError, match="another thread"):
        workload.close()
    thread.join()
    assert digests == [DIGEST]
    workload.close()


def test_closing_frees_the_memory_and_may_be_repeated() -> None:
    yardstick.Timer().close()
    before = mapped_bytes()
    workload = yardstick.Timer()
    assert mapped_bytes() > before + 10 * MIB
    workload.close()
    assert mapped_bytes() < before + MIB
    workload.close()
    with pytest.raises(ValueError, match="closed"):
        workload.run(*columns(1))


def test_one_that_is_only_forgotten_frees_its_memory() -> None:
    yardstick.Timer()
    before = mapped_bytes()
    for _ in range(3):
        yardstick.Timer()
    assert mapped_bytes() < before + MIB


@pytest.mark.parametrize("lengths", [(0, 0, 0, 0), (2, 1, 2, 2), (2, 2, 3, 2), (2, 2, 2, 1)])
def test_arrays_that_do_not_fit_together(lengths: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="same length"):
        yardstick.Timer().run(*(np.zeros(length, np.int64) for length in lengths))
