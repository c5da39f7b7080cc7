"""What sessions and bindings own, and that it is freed once, whatever happens in between."""

from __future__ import annotations

import copy
import gc
import pickle
import subprocess
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.native import ort

OpenSession = Callable[..., ort.Session]
Interpreter = Callable[..., subprocess.CompletedProcess[str]]

NEGATE = "(float[n] x) => (float[n] y) { y = Neg(x) }"
ONES = np.ones(4, "f4")


def test_a_session_may_be_closed_twice_and_is_of_no_use_then(session: OpenSession) -> None:
    opened = session(NEGATE)
    opened.close()
    opened.close()
    assert opened.inputs[0].name == "x"
    for use in (
        lambda: opened.bind({}),
        lambda: ort.Binding(opened, {}),
        opened.end_profiling,
        opened.arena,
        lambda: opened.profiling_start_ns,
    ):
        with pytest.raises(ValueError, match="the session is closed"):
            use()


def test_a_session_that_was_never_opened_is_closed() -> None:
    empty = ort.Session.__new__(ort.Session)
    empty.close()
    with pytest.raises(ValueError, match="the session is closed"):
        empty.bind({})


def test_a_session_is_opened_once(library: ort.Library, model: Callable[..., bytes]) -> None:
    opened = ort.Session(library, model(NEGATE))
    for _ in range(2):
        with pytest.raises(ValueError, match="created only once"):
            opened.__init__(library, model(NEGATE))  # type: ignore[misc]
        opened.close()


def test_a_binding_may_be_closed_twice_and_is_of_no_use_then(session: OpenSession) -> None:
    binding = session(NEGATE).bind({"x": ONES})
    binding.run()
    binding.close()
    binding.close()
    stamps = np.zeros(1, np.int64), np.zeros(1, np.int64)
    for use in (
        binding.run,
        binding.outputs,
        lambda: binding.repeat(1),
        lambda: binding.time(*stamps),
    ):
        with pytest.raises(ValueError, match="the binding is closed"):
            use()


def test_a_binding_keeps_a_closed_session_going(session: OpenSession) -> None:
    opened = session(NEGATE)
    first, second = opened.bind({"x": ONES}), opened.bind({"x": ONES})
    first.run()
    opened.close()
    del opened
    gc.collect()
    assert first.run() > 0
    first.close()
    assert second.repeat(3) > 0
    np.testing.assert_array_equal(second.outputs()[0], -ONES)


def test_the_arena_tells_what_an_inference_took(session: OpenSession) -> None:
    opened = session("(float[n] x) => (float[n] y) { a = Neg(x) b = Exp(a) y = Neg(b) }")
    before = opened.arena()
    binding = opened.bind({"x": np.zeros(1 << 20, "f4")})
    binding.run()
    after = opened.arena()
    assert after["TotalAllocated"] >= before["TotalAllocated"] + 4 * (1 << 20)
    assert after["MaxInUse"] <= after["TotalAllocated"]


def test_outputs_outlive_everything(session: OpenSession) -> None:
    opened = session(NEGATE)
    binding = opened.bind({"x": ONES})
    binding.run()
    outputs = binding.outputs()
    binding.close()
    opened.close()
    del binding, opened
    gc.collect()
    np.testing.assert_array_equal(outputs[0], -ONES)


def test_a_session_of_ort_format_keeps_the_bytes_it_reads(
    library: ort.Library, session: OpenSession, tmp_path: Path
) -> None:
    path = tmp_path / "model.ort"
    session(
        "(float[n] x) => (float[n] y) <float[4] w = {1, 2, 3, 4}> { y = Mul(x, w) }",
        optimized_model_path=str(path),
        entries={"session.save_model_format": "ORT"},
    )
    opened = ort.Session(
        library,
        path.read_bytes(),  # nothing but the session refers to them
        entries={
            "session.use_ort_model_bytes_directly": "1",
            "session.use_ort_model_bytes_for_initializers": "1",
        },
    )
    ballast = [bytes(path.stat().st_size) for _ in range(64)]
    binding = opened.bind({"x": ONES})
    binding.run()
    assert binding.outputs()[0].tolist() == [1, 2, 3, 4], len(ballast)


def test_a_cycle_of_references_is_collected(
    library: ort.Library, model: Callable[..., bytes]
) -> None:
    class Marked(np.ndarray):
        pass

    class OwnSession(ort.Session):
        pass

    class OwnBinding(ort.Binding):
        pass

    opened = OwnSession(library, model(NEGATE))
    array = ONES.copy().view(Marked)
    binding = OwnBinding(opened, {"x": array})
    binding.run()
    opened.binding, binding.session, array.binding = binding, opened, binding
    gone = weakref.ref(opened), weakref.ref(binding)
    del opened, binding, array
    gc.collect()
    assert [reference() for reference in gone] == [None, None]


def test_nothing_native_can_be_copied(session: OpenSession, library: ort.Library) -> None:
    opened = session(NEGATE)
    for native in (library, opened, opened.bind({"x": ONES})):
        with pytest.raises(TypeError):
            copy.copy(native)
        with pytest.raises(TypeError):
            pickle.dumps(native)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"intra_threads": "2"}, TypeError),
        ({"intra_threads": 2**40}, OverflowError),
        ({"optimization": "most"}, KeyError),
        ({"execution_mode": "quick"}, KeyError),
        ({"entries": {"session.x": 1}}, AttributeError),
        ({"entries": {"a\0b": "1"}}, ValueError),
        ({"entries": {"x" * 5000: "1"}}, ort.OrtError),
        ({"entries": 3}, TypeError),
        ({"optimized_model_path": 3}, TypeError),
        ({"optimized_model_path": "/nowhere/model.onnx"}, ort.OrtError),
        ({"profile_prefix": b"a\0b"}, ValueError),
        ({"providers": [("NoSuch", {})]}, ort.OrtError),
        ({"providers": [(1, {})]}, AttributeError),
        ({"providers": [("NoSuch", {"key": None})]}, AttributeError),
        ({"providers": ["NoSuch"]}, ValueError),
        ({"no_such_option": 1}, TypeError),
    ],
    ids=str,
)
def test_an_option_that_is_none_is_an_error(
    library: ort.Library,
    model: Callable[..., bytes],
    options: dict[str, Any],
    error: type[Exception],
) -> None:
    with pytest.raises(error):
        ort.Session(library, model(NEGATE), **options)


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (b"", "OrtError"),
        (b"no model" * 40, "OrtError"),
        ("/nowhere/model.onnx", "OrtError"),
        ("a\0b", "ValueError"),
        (None, "TypeError"),
        (bytearray(b"model"), "TypeError"),
    ],
)
def test_what_is_no_model_is_an_error(library: ort.Library, wrong: Any, error: str) -> None:
    with pytest.raises((ort.OrtError, ValueError, TypeError)) as caught:
        ort.Session(library, wrong)
    assert caught.type.__name__ == error


def test_an_error_names_ort_s_code(library: ort.Library) -> None:
    with pytest.raises(ort.OrtError, match=r"/nowhere/model\.onnx") as caught:
        ort.Session(library, "/nowhere/model.onnx")
    assert caught.value.code == "NO_SUCHFILE"
    with pytest.raises(ort.OrtError) as caught:
        ort.Session(library, b"no model" * 40)
    assert caught.value.code == "INVALID_PROTOBUF"


# Every allocation, Python's own too, is malloc's there, and so counted to the byte.
LEAKS = """
import ctypes, gc
import numpy as np

class Heap(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in (
        "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks",
        "fordblks", "keepcost")]

mallinfo2 = ctypes.CDLL(None).mallinfo2
mallinfo2.restype = Heap

def in_use_bytes():
    library.take_log()
    gc.collect()
    heap = mallinfo2()
    return heap.uordblks + heap.hblkhd

def leaks(call):
    # A leak shows in every round, a cache that fills up does not.
    for _ in range(3):
        before = in_use_bytes()
        for _ in range(1000):
            call()
        if in_use_bytes() - before < 1000 * 24:  # malloc's smallest piece is 32 bytes
            return False
    return True

library = ort.Library(LIBRARY)
session = ort.Session(library, MODEL, intra_threads=1)
stamps = np.zeros(2, np.int64), np.zeros(2, np.int64)
x, text = np.ones(2, "f4"), np.array(["long enough to be on the heap: " * 9], object)
idle = session.bind({"x": x, "text": text, "many": [x, x]})
idle.run()
wrong = session.bind({"x": x.astype("f8"), "text": text, "many": [x, x]})

def refused(call, *arguments, **options):
    def again():
        try:
            call(*arguments, **options)
        except (ort.OrtError, ValueError, TypeError, AttributeError, OSError):
            return
        raise SystemExit(f"{call} did not fail")
    return again

def used():
    binding = session.bind({"x": x, "text": text, "many": [x, x]})
    binding.run()
    binding.time(*stamps)
    assert len(binding.outputs()) == 3

recorded = ort.Session(
    library, MODEL, intra_threads=1, entries={"session.record_ep_graph_assignment_info": "1"}
)
# Stands in for waiting for a device: it takes nothing and returns 0.
wait = ctypes.cast(ctypes.CDLL(None).sched_yield, ctypes.c_void_p).value

def used_in(*place):
    def use():
        binding = session.bind({"x": x, "text": text, "many": [x, x]}, *place)
        binding.run()
        binding.time(*stamps)
        assert len(binding.outputs()) == 3
    return use

calls = {
    "a session": lambda: ort.Session(library, MODEL, intra_threads=1).close(),
    "use": used,
    "use, copied": used_in("copied"),
    "use, resident": used_in("resident", wait),
    "copied, unknown input": refused(session.bind, {"x": x, "y": x}, "copied"),
    "copied, a sequence that ends badly": refused(session.bind, {"many": [x, 3]}, "copied"),
    "copied, an input is missing": refused(session.bind({"x": x}, "copied").run),
    "an unknown place": refused(session.bind, {"x": x}, "elsewhere"),
    "waiting on the host": refused(session.bind, {"x": x}, "host", wait),
    "assignments": recorded.assignments,
    "assignments that were not recorded": refused(session.assignments),
    "unknown input after good ones": refused(session.bind, {"x": x, "text": text, "y": x}),
    "text and no text": refused(session.bind, {"text": np.array([*text, None], object)}),
    "a sequence that ends badly": refused(session.bind, {"many": [x, text, 3]}),
    "a mixed sequence": refused(session.bind, {"many": [x, text]}),
    "a dict": refused(session.bind, {"x": {1: 2}}),
    "a failing inference": refused(wrong.run),
    "a failing loop": refused(wrong.time, *stamps),
    "a failing repetition": refused(wrong.repeat, 2),
    "a loop without room": refused(idle.time, stamps[0], None),
    "profile prefix": refused(idle.run, 3),
    "missing model": refused(ort.Session, library, "/nowhere"),
    "damaged model": refused(ort.Session, library, b"no model" * 99),
    "wrong option": refused(ort.Session, library, MODEL, entries={"a": "b", "c": 3}),
    "wrong provider": refused(ort.Session, library, MODEL, providers=[("No", {"a": "b"})]),
    "wrong provider option": refused(ort.Session, library, MODEL, providers=[("No", {"a": 1})]),
    "wrong provider name": refused(ort.Session, library, MODEL, providers=[(1, {})]),
    "another library": refused(ort.Library, "/nowhere"),
    "library again": lambda: ort.Library(LIBRARY).available_providers(),
}
print([name for name, call in calls.items() if leaks(call)])
"""


@pytest.mark.slow
def test_no_call_leaks_whether_it_fails_or_not(interpreter: Interpreter) -> None:
    graph = """(float[n] x, string[m] text, seq(float[]) many)
        => (float[n] y, string[m] same, seq(float[]) both) {
        y = Neg(x)
        same = Identity(text)
        both = Identity(many)
    }"""
    done = interpreter(LEAKS, graph, PYTHONMALLOC="malloc")
    assert (done.stdout, done.stderr, done.returncode) == ("[]\n", "", 0)


SESSIONS = """
def rss_bytes():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * 4096

library = ort.Library(LIBRARY)
for made in range(220):
    if made == 20:
        before = rss_bytes()
    session = ort.Session(library, MODEL, intra_threads=1 + made % 2)
    binding = session.bind({})
    binding.run()
    if made % 2:
        binding.close()
    session.close()
print((rss_bytes() - before) // 1_000_000)
"""


def test_sessions_give_their_memory_back(interpreter: Interpreter) -> None:
    # Each holds a megabyte.
    graph = """() => (float[512,512] y) {
        s = Constant<value_ints = [512, 512]>()
        r = RandomNormal<shape = [512, 512], seed = 1.0>()
        z = ConstantOfShape(s)
        y = Add(r, z)
    }"""
    done = interpreter(SESSIONS, graph)
    assert (done.stderr, done.returncode) == ("", 0)
    assert int(done.stdout) < 50


@pytest.mark.parametrize(
    "order",
    [
        "a, b, c = library, session, binding",
        "c, b, a = library, session, binding",
        "session.close()",
        "binding.close()",
        "import builtins; builtins.kept = binding",
        "threading.Thread(target=binding.repeat, args=(10**7,), daemon=True).start()",
        "import os; os.fork() or os._exit(0); os.wait()",
    ],
)
def test_an_interpreter_may_end_at_any_time(interpreter: Interpreter, order: str) -> None:
    done = interpreter(
        f"""
import threading, numpy
library = ort.Library(LIBRARY)
session = ort.Session(library, MODEL, intra_threads=2)
binding = session.bind({{"x": numpy.ones(4, "f4")}})
binding.run()
{order}
""",
        NEGATE,
        # From 3.12 on Python warns of a fork beside threads, which is what is tried here.
        PYTHONWARNINGS="ignore::DeprecationWarning",
    )
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)
