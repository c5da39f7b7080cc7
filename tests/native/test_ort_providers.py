"""What the native module tells of providers, and the bindings that a device is timed with.

On the CPU: nothing is copied there, so every binding gives the same outputs, and a function of
a small library stands in for waiting for a device.
"""

from __future__ import annotations

import contextlib
import ctypes
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.native import ort
from harness.ort import nvidia_libraries

OpenSession = Callable[..., ort.Session]

RECORD = {"session.record_ep_graph_assignment_info": "1"}
ABS_NEG = "(float[n] x) => (float[n] y) { h = Abs(x) y = Neg(h) }"
# z has as many elements as x has ones above zero: its size is not known before.
UNDETERMINED = """(float[n] x) => (float[n] y, float[m] z) {
    y = Neg(x)
    zero = Constant <value = float {0.0}> ()
    above = Greater(x, zero)
    z = Compress(x, above)
}"""

WAIT = """
#include <time.h>
int calls, fail_at = -1;
int wait_a_little(void) {
    struct timespec duration = {0, 200000};
    nanosleep(&duration, 0);
    return ++calls == fail_at ? 700 : 0;
}
"""


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    target = tmp_path_factory.mktemp("device") / "libwait.so"
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(target)],
        input=WAIT,
        text=True,
        check=True,
    )
    return ctypes.CDLL(str(target))


@pytest.fixture
def wait(device: ctypes.CDLL) -> int:
    """Address of the function that waits; it counts its calls from 0."""
    ctypes.c_int.in_dll(device, "calls").value = 0
    ctypes.c_int.in_dll(device, "fail_at").value = -1
    address = ctypes.cast(device.wait_a_little, ctypes.c_void_p).value
    assert address
    return address


@pytest.fixture
def bound(session: OpenSession) -> Iterator[Callable[..., ort.Binding]]:
    with contextlib.ExitStack() as opened:

        def bind(*arguments: Any, graph: str = ABS_NEG, size: int = 8) -> ort.Binding:
            inputs = {"x": np.arange(size, dtype="f4")}
            binding = session(graph).bind(inputs, *arguments)
            opened.callback(binding.close)
            return binding

        yield bind


def stamps(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return tuple(np.full(count, -1, np.int64) for _ in range(3))  # type: ignore[return-value]


# Which node runs where


def test_assignments_name_the_provider_of_each_node(session: OpenSession) -> None:
    graph = """(bool c, float[n] x) => (float[n] y) {
        h = Abs(x)
        y = If (c) <
            then_branch = t () => (float[n] a) { a = Neg(h) },
            else_branch = e () => (float[n] b) { b = Exp(h) }
        >
    }"""
    assigned = session(graph, entries=RECORD).assignments()
    assert {provider for provider, _ in assigned} == {"CPUExecutionProvider"}
    nodes = [node for _, part in assigned for node in part]
    assert sorted(op_type for _, op_type, _ in nodes) == ["Abs", "Exp", "If", "Neg"]
    assert {domain for _, _, domain in nodes} == {""}


def test_assignments_that_were_not_asked_for_are_an_error(session: OpenSession) -> None:
    opened = session(ABS_NEG)
    with pytest.raises(ort.OrtError, match="record_ep_graph_assignment_info"):
        opened.assignments()
    opened.close()
    with pytest.raises(ValueError, match="closed"):
        opened.assignments()


# Providers that cannot be had


def test_a_provider_that_cannot_be_loaded_is_an_error_of_its_own(
    library: ort.Library, model: Callable[..., bytes]
) -> None:
    missing = [
        name
        for name, provider in (("CUDA", "cuda"), ("TensorRT", "tensorrt"))
        if nvidia_libraries.needs(_plugin(library, provider)).missing
    ]
    for name in ("NoSuchProvider", "SNPE", *missing):
        with pytest.raises(ort.ProviderError) as caught:
            ort.Session(library, model(ABS_NEG), providers=[(name, {"a": "b"})])
        # Not for its options: they were never looked at.
        assert not isinstance(caught.value, ort.ProviderOptionError)
    library.take_log()


def _plugin(library: ort.Library, provider: str) -> Path:
    return Path(library.path).parent / f"libonnxruntime_providers_{provider}.so"


def test_without_providers_nothing_is_told_of_them(session: OpenSession) -> None:
    opened = session(ABS_NEG)
    assert opened.provider_options == {}
    assert 0 <= opened.provider_ns < opened.create_ns


# Bindings


@pytest.mark.parametrize("place", ["host", "resident", "copied"])
def test_every_place_gives_the_outputs_of_the_last_inference(
    bound: Callable[..., ort.Binding], place: str
) -> None:
    binding = bound(place, graph=UNDETERMINED)
    assert binding.outputs() == [None, None]
    for _ in range(3):
        assert binding.run() > 0
    start_ns, duration_ns, _ = stamps(20)
    assert binding.time(start_ns, duration_ns) == 20
    assert (start_ns[:-1] + duration_ns[:-1] <= start_ns[1:]).all()
    negative, above = binding.outputs()
    np.testing.assert_array_equal(negative, -np.arange(8, dtype="f4"))
    np.testing.assert_array_equal(above, np.arange(1, 8, dtype="f4"))


def test_copied_outputs_outlive_the_binding_and_text_is_copied_too(session: OpenSession) -> None:
    opened = session(
        "(string[2] s, float[n] x) => (string[2] t, float[n] y) { t = Identity(s) y = Neg(x) }"
    )
    inputs = {"s": np.array(["a", "µ"], dtype=object), "x": np.ones(3, "f4")}
    binding = opened.bind(inputs, "copied")
    opened.close()
    for _ in range(3):
        binding.run()
    text, negative = binding.outputs()
    binding.close()
    binding.close()
    assert text.tolist() == ["a", "µ"]
    assert negative.tolist() == [-1, -1, -1]
    with pytest.raises(ValueError, match="closed"):
        binding.run()


def test_a_failing_inference_ends_the_loop_of_copied_values(session: OpenSession) -> None:
    graph = """(float[3] x) => (float[1] y) {
        r = RandomUniform<shape = [1], high = 3.1, seed = 5.0>()
        i = Cast<to = 7>(r)
        y = Gather(x, i)
    }"""
    start_ns, duration_ns, _ = stamps(1000)
    with pytest.raises(ort.OrtError, match="Gather") as caught:
        session(graph).bind({"x": np.zeros(3, "f4")}, "copied").time(start_ns, duration_ns)
    assert 0 < caught.value.completed < 1000
    assert (duration_ns[: caught.value.completed] > 0).all()
    assert (duration_ns[caught.value.completed :] == -1).all()


def test_an_inference_ends_when_the_device_has_been_waited_for(
    bound: Callable[..., ort.Binding], wait: int, device: ctypes.CDLL
) -> None:
    binding = bound("resident", wait)
    start_ns, duration_ns, enqueue_ns = stamps(50)
    before = ort.monotonic_ns()
    assert binding.time(start_ns, duration_ns, enqueue_ns=enqueue_ns) == 50
    after = ort.monotonic_ns()
    assert before <= start_ns[0]
    assert start_ns[-1] + duration_ns[-1] <= after
    assert (enqueue_ns > 0).all()
    assert (duration_ns - enqueue_ns >= 200_000).all()  # what the wait takes at least
    assert (start_ns[:-1] + duration_ns[:-1] <= start_ns[1:]).all()
    # Once before the first, so that it starts on an idle device, and once after each.
    assert ctypes.c_int.in_dll(device, "calls").value == 51
    assert binding.run() >= 200_000
    np.testing.assert_array_equal(binding.outputs()[0], -np.arange(8, dtype="f4"))


def test_the_deadline_counts_the_wait(bound: Callable[..., ort.Binding], wait: int) -> None:
    start_ns, duration_ns, enqueue_ns = stamps(1000)
    deadline_ns = ort.monotonic_ns() + 2_000_000
    taken = bound("resident", wait).time(start_ns, duration_ns, deadline_ns, enqueue_ns)
    assert 0 < taken < 1000
    end_ns = start_ns[:taken] + duration_ns[:taken]
    assert end_ns[-1] >= deadline_ns
    assert (end_ns[:-1] < deadline_ns).all()
    assert (enqueue_ns[taken:] == -1).all()


def test_a_device_that_fails_ends_the_loop_and_says_how_far_it_came(
    bound: Callable[..., ort.Binding], wait: int, device: ctypes.CDLL
) -> None:
    binding = bound("resident", wait)
    start_ns, duration_ns, enqueue_ns = stamps(10)
    ctypes.c_int.in_dll(device, "fail_at").value = 4
    with pytest.raises(ort.OrtError, match="error 700") as caught:
        binding.time(start_ns, duration_ns, enqueue_ns=enqueue_ns)
    assert caught.value.completed == 2
    assert (start_ns[:2] > 0).all()
    for column in (start_ns, duration_ns, enqueue_ns):
        assert (column[2:] == -1).all()
    binding.run()

    ctypes.c_int.in_dll(device, "calls").value = 3
    with pytest.raises(ort.OrtError, match="error 700"):
        binding.run()


def test_what_cannot_be_timed_so_is_refused(bound: Callable[..., ort.Binding], wait: int) -> None:
    with pytest.raises(ValueError, match="host, resident, copied"):
        bound("elsewhere")
    for place in ("host", "copied"):
        with pytest.raises(ValueError, match="resident"):
            bound(place, wait)
    start_ns, duration_ns, enqueue_ns = stamps(4)
    for place in ("host", "resident", "copied"):
        with pytest.raises(ValueError, match="with synchronise"):
            bound(place).time(start_ns, duration_ns, enqueue_ns=enqueue_ns)
    with pytest.raises(ValueError, match="differ in length"):
        bound("resident", wait).time(start_ns, duration_ns, enqueue_ns=enqueue_ns[:3])
    for binding in (bound("copied"), bound("resident", wait)):
        with pytest.raises(ValueError, match="neither copies nor waits"):
            binding.repeat(3)
        with pytest.raises(ValueError, match="neither copies nor waits"):
            binding.stamp_cost(enqueue_ns)
    assert (start_ns == -1).all()


@pytest.mark.parametrize("place", ["resident", "copied"])
def test_wrong_inputs_are_refused_and_nothing_is_left_open(
    session: OpenSession, place: str
) -> None:
    opened = session(ABS_NEG)
    for wrong in ({"q": np.ones(3, "f4")}, {"x": "text"}, {"x": np.ones(3, "f4"), "q": None}):
        with pytest.raises((TypeError, ValueError)):
            opened.bind(wrong, place)
    with pytest.raises(ort.OrtError):
        opened.bind({}, place).run()
