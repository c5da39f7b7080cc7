"""The loop that times a C function, with functions of this test."""

from __future__ import annotations

import ctypes
import threading
import time

import numpy as np
import pytest

calls = pytest.importorskip("harness.native.calls", reason="the native module is not built")

CALL = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)


def arrays(count: int) -> tuple[np.ndarray, np.ndarray]:
    return np.full(count, -1, np.int64), np.full(count, -1, np.int64)


def address(function: object) -> int:
    found = ctypes.cast(function, ctypes.c_void_p).value  # type: ignore[arg-type]
    assert found
    return found


def test_each_call_is_given_the_argument_and_timed() -> None:
    given = []

    @CALL
    def slow(argument: int) -> int:
        given.append(argument)
        time.sleep(0.001)
        return 0

    start_ns, duration_ns = arrays(3)
    calls.time(address(slow), 4711, start_ns, duration_ns)
    assert given == [4711] * 3
    assert (duration_ns >= 1_000_000).all()
    np.testing.assert_array_equal(start_ns[1:], (start_ns + duration_ns)[:-1])


def test_the_first_call_that_fails_is_the_last() -> None:
    left = iter([0, 0, -13, 0])

    @CALL
    def failing(argument: int) -> int:
        return next(left)

    start_ns, duration_ns = arrays(9)
    with pytest.raises(calls.CallError) as caught:
        calls.time(address(failing), 0, start_ns, duration_ns)
    assert (caught.value.code, caught.value.completed) == (-13, 2)
    assert list(left) == [0]
    assert (duration_ns >= 0).tolist() == [True] * 2 + [False] * 7
    np.testing.assert_array_equal(start_ns[2:], -1)


def test_other_threads_of_python_run_meanwhile() -> None:
    reached = threading.Event()
    wait = ctypes.PyDLL(None).usleep  # only for its address: it is called without the GIL
    thread = threading.Timer(0.01, reached.set)
    thread.start()
    calls.time(address(wait), 200_000, *arrays(1))
    assert reached.is_set()
    thread.join()


@pytest.mark.parametrize(("function", "counts"), [(0, (1, 1)), (1, (2, 1)), (1, (1, 2))])
def test_what_cannot_be_timed_is_not_called(function: int, counts: tuple[int, int]) -> None:
    start_ns, _ = arrays(counts[0])
    duration_ns, _ = arrays(counts[1])
    with pytest.raises(ValueError, match=r"address is 0|differ in length"):
        calls.time(function, 0, start_ns, duration_ns)


def test_arrays_must_be_ones_that_c_can_fill() -> None:
    start_ns, duration_ns = arrays(4)
    read_only = duration_ns.copy()
    read_only.flags.writeable = False
    for wrong in (duration_ns.astype(np.int32), duration_ns.astype(float), read_only):
        with pytest.raises(ValueError, match=r"mismatch|read-only"):
            calls.time(calls.empty(), 0, start_ns, wrong)
    with pytest.raises(ValueError, match=r"not contiguous|not C-contig"):
        calls.time(calls.empty(), 0, start_ns[::2], duration_ns[::2])
    with pytest.raises(TypeError):
        calls.time(calls.empty(), 0, start_ns, None)


def test_no_calls_are_none() -> None:
    calls.time(calls.empty(), 0, *arrays(0))
