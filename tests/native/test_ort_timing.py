"""The timing loop, and threads and signals meanwhile."""

from __future__ import annotations

import contextlib
import json
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.native import ort

OpenSession = Callable[..., ort.Session]

NEGATE = "(float[n] x) => (float[n] y) { y = Neg(x) }"
# The index is 3, past the end, in one inference of ten or so.
SOMETIMES_FAILS = """(float[3] x) => (float[1] y) {
    r = RandomUniform<shape = [1], high = 3.1, seed = 5.0>()
    i = Cast<to = 7>(r)
    y = Gather(x, i)
}"""


def stamps(count: int) -> tuple[np.ndarray, np.ndarray]:
    return np.full(count, -1, np.int64), np.full(count, -1, np.int64)


@pytest.fixture
def binding(session: OpenSession) -> ort.Binding:
    return session(NEGATE).bind({"x": np.ones(8, "f4")})


def test_stamps_are_of_inferences_one_after_the_other(binding: ort.Binding) -> None:
    start_ns, duration_ns = stamps(1000)
    before = ort.monotonic_ns()
    assert binding.time(start_ns, duration_ns) == 1000
    after = ort.monotonic_ns()
    assert before <= start_ns[0]
    assert start_ns[-1] + duration_ns[-1] <= after
    assert (duration_ns > 0).all()
    assert (start_ns[:-1] + duration_ns[:-1] <= start_ns[1:]).all()
    np.testing.assert_array_equal(binding.outputs()[0], -np.ones(8))


def test_the_deadline_ends_the_loop_at_the_first_inference_past_it(binding: ort.Binding) -> None:
    start_ns, duration_ns = stamps(1_000_000)
    deadline_ns = ort.monotonic_ns() + 2_000_000
    taken = binding.time(start_ns, duration_ns, deadline_ns)
    end_ns = start_ns[:taken] + duration_ns[:taken]
    assert 0 < taken < 1_000_000
    assert end_ns[-1] >= deadline_ns
    assert (end_ns[:-1] < deadline_ns).all()
    assert (start_ns[taken:] == -1).all()


@pytest.mark.parametrize("deadline_ns", [1, -1])
def test_a_deadline_that_has_passed_leaves_one_inference(
    binding: ort.Binding, deadline_ns: int
) -> None:
    assert binding.time(*stamps(10), deadline_ns) == 1


def test_the_first_inference_waits_for_the_beginning(binding: ort.Binding) -> None:
    start_ns, duration_ns = stamps(5)
    begin_ns = ort.monotonic_ns() + 5_000_000
    assert binding.time(start_ns, duration_ns, begin_ns=begin_ns) == 5
    assert start_ns[0] >= begin_ns
    assert (np.diff(start_ns) > 0).all()


@pytest.mark.parametrize("begin_ns", [-1, 1])
def test_a_beginning_that_has_passed_is_now(binding: ort.Binding, begin_ns: int) -> None:
    start_ns, duration_ns = stamps(5)
    before = ort.monotonic_ns()
    assert binding.time(start_ns, duration_ns, begin_ns=begin_ns) == 5
    assert start_ns[0] >= before


def test_a_window_holds_the_starts_of_its_inferences(binding: ort.Binding) -> None:
    start_ns, duration_ns = stamps(1_000_000)
    begin_ns = ort.monotonic_ns() + 2_000_000
    end_ns = begin_ns + 2_000_000
    taken = binding.time(start_ns, duration_ns, end_ns, begin_ns=begin_ns)
    assert begin_ns <= start_ns[0]
    assert (start_ns[1:taken] < end_ns).all()
    assert start_ns[taken - 1] + duration_ns[taken - 1] >= end_ns


def test_a_window_that_has_passed_leaves_one_inference(binding: ort.Binding) -> None:
    assert binding.time(*stamps(10), 2, begin_ns=1) == 1


def test_no_room_is_no_inference(binding: ort.Binding) -> None:
    assert binding.time(*stamps(0)) == 0
    assert binding.outputs() == [None]


def test_the_first_failure_ends_the_loop_and_says_how_far_it_came(session: OpenSession) -> None:
    def failing() -> ort.Binding:  # each session draws the same numbers
        return session(SOMETIMES_FAILS).bind({"x": np.zeros(3, "f4")})

    one_by_one, succeeded = failing(), 0
    with contextlib.suppress(ort.OrtError):
        while succeeded < 1000:
            one_by_one.run()
            succeeded += 1
    assert 0 < succeeded < 1000

    start_ns, duration_ns = stamps(1000)
    with pytest.raises(ort.OrtError, match="Gather") as caught:
        failing().time(start_ns, duration_ns)
    assert caught.value.completed == succeeded
    assert (duration_ns[:succeeded] > 0).all()
    assert (duration_ns[succeeded:] == -1).all()
    assert (start_ns[succeeded:] == -1).all()

    with pytest.raises(ort.OrtError, match="Gather") as caught:
        failing().repeat(1000)
    assert caught.value.completed == 0


def test_repeat_takes_as_long_as_its_inferences(binding: ort.Binding) -> None:
    before = ort.monotonic_ns()
    total_ns = binding.repeat(100)
    assert 0 < total_ns <= ort.monotonic_ns() - before
    np.testing.assert_array_equal(binding.outputs()[0], -np.ones(8))


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros(4, np.float64),
        np.zeros(4, np.int32),
        np.zeros(4, np.uint64),
        np.zeros(4, ">i8"),
        np.zeros(8, np.int64)[::2],
        np.zeros((2, 2), np.int64),
        np.zeros(3, np.int64),
        np.frombuffer(bytes(32), np.int64),
        [0, 0, 0, 0],
        None,
    ],
    ids=lambda wrong: f"{type(wrong).__name__} {getattr(wrong, 'dtype', '')}",
)
def test_arrays_that_cannot_take_the_stamps_are_refused(binding: ort.Binding, wrong: Any) -> None:
    good = np.zeros(4, np.int64)
    for arrays in ((wrong, good), (good, wrong)):
        with pytest.raises((TypeError, ValueError)):
            binding.time(*arrays)
    assert binding.outputs() == [None]
    assert not good.any()


def test_other_threads_go_on_during_the_loop(binding: ort.Binding) -> None:
    ticks_ns = []
    stop = threading.Event()

    def tick() -> None:
        while not stop.is_set():
            ticks_ns.append(ort.monotonic_ns())
            time.sleep(0.001)

    ticker = threading.Thread(target=tick)
    ticker.start()
    start_ns, duration_ns = stamps(2_000_000)
    taken = binding.time(start_ns, duration_ns, ort.monotonic_ns() + 200_000_000)
    stop.set()
    ticker.join()
    assert sum(bool(start_ns[0] < tick_ns < start_ns[taken - 1]) for tick_ns in ticks_ns) > 3


def test_a_signal_neither_ends_the_loop_nor_is_lost(binding: ort.Binding) -> None:
    start_ns, duration_ns = stamps(2_000_000)
    handled_ns = []

    def interrupt() -> None:
        while start_ns[0] == -1:
            time.sleep(0.001)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGALRM)

    interrupter = threading.Thread(target=interrupt)
    previous = signal.signal(signal.SIGALRM, lambda *_: handled_ns.append(ort.monotonic_ns()))
    try:
        interrupter.start()
        deadline_ns = ort.monotonic_ns() + 100_000_000
        taken = binding.time(start_ns, duration_ns, deadline_ns)
        interrupter.join()
    finally:
        signal.signal(signal.SIGALRM, previous)
    last_ns = start_ns[taken - 1] + duration_ns[taken - 1]
    assert last_ns >= deadline_ns
    assert len(handled_ns) == 1
    assert handled_ns[0] >= last_ns


def test_a_binding_serves_one_thread_at_a_time(binding: ort.Binding) -> None:
    deadline_ns = ort.monotonic_ns() + 200_000_000
    start_ns, duration_ns = stamps(2_000_000)
    taken = []
    loop = threading.Thread(
        target=lambda: taken.append(binding.time(start_ns, duration_ns, deadline_ns))
    )
    loop.start()
    while start_ns[0] == -1:
        time.sleep(0.001)
    for use in (binding.run, binding.outputs, binding.close, lambda: binding.repeat(1)):
        with pytest.raises(ValueError, match="in use by another thread"):
            use()
    with pytest.raises(ValueError, match="in use by another thread"):
        binding.time(*stamps(1))
    loop.join()
    assert len(taken) == 1
    assert binding.run() > 0


def test_bindings_of_one_session_run_beside_each_other(session: OpenSession) -> None:
    opened = session(NEGATE)
    bindings = [opened.bind({"x": np.full(4, i, "f4")}) for i in range(4)]
    loops = [threading.Thread(target=each.time, args=stamps(3000)) for each in bindings]
    for loop in loops:
        loop.start()
    for loop in loops:
        loop.join()
    assert [each.outputs()[0].tolist() for each in bindings] == [[-i] * 4 for i in range(4)]


def test_one_inference_can_be_profiled_alone(binding: ort.Binding, tmp_path: Path) -> None:
    binding.run()
    assert binding.run(str(tmp_path / "one")) > 0
    binding.run()
    (file,) = tmp_path.iterdir()
    assert file.name.startswith("one_")
    events = json.loads(file.read_text())
    assert sum(event["name"] == "model_run" for event in events) == 1
    with pytest.raises(TypeError):
        binding.run(1)
    with pytest.raises(ValueError, match="NUL"):
        binding.run("a\0b")


def test_a_session_is_profiled_from_its_start_until_told(
    session: OpenSession, tmp_path: Path
) -> None:
    before_ns = time.time_ns()
    opened = session(NEGATE, profile_prefix=str(tmp_path / "all"))
    binding = opened.bind({"x": np.ones(2, "f4")})
    for _ in range(3):
        binding.run()
    assert before_ns <= opened.profiling_start_ns <= time.time_ns()
    path = Path(opened.end_profiling())
    assert path.parent == tmp_path
    events = json.loads(path.read_text())
    assert sum(event["name"] == "model_run" for event in events) == 3
    with pytest.raises(ValueError, match="without profile_prefix"):
        opened.end_profiling()


def test_clocks_are_the_systems() -> None:
    before, ours, after = time.monotonic_ns(), ort.monotonic_ns(), time.monotonic_ns()
    assert before <= ours <= after
    offset_ns = ort.realtime_offset_ns()
    assert abs(time.time_ns() - time.monotonic_ns() - offset_ns) < 1_000_000_000


def test_what_the_loop_adds_is_seen_behind_each_inference(
    session: Callable[..., ort.Session],
) -> None:
    opened = session("(float[4] x) => (float[4] y) { y = Abs(x) }")
    with contextlib.closing(opened.bind({"x": np.ones(4, np.float32)})) as binding:
        added_ns = np.full(50, -1, np.int64)
        binding.stamp_cost(added_ns)
        assert (added_ns >= 0).all()
        binding.stamp_cost(np.empty(0, np.int64))
