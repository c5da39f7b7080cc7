"""Marks of executed nodes, by a real ONNX Runtime on the CPU."""

from __future__ import annotations

import contextlib
import ctypes
import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from harness.models import executed_graph
from harness.native import marks, ort
from harness.tracing.kernels import join

CHAIN = "(float[4] x) => (float[4] y) { a = Relu(x)  b = Exp(a)  y = Neg(b) }"
CHAIN_NAMES = ["Relu", "Exp", "Neg"]
X = {"x": np.arange(4, dtype=np.float32)}
IF = """(float[4] x, bool c) => (float[4] y) {
    a = Neg(x)
    b = If(c) <
        then_branch = yes () => (float[4] t) { u = Exp(a)  t = Sqrt(u) },
        else_branch = no () => (float[4] e) { e = Abs(a) }
    >
    y = Floor(b)
}"""
LOOP = """(float[4] x, int64 n) => (float[4] y) {
    c = Constant <value = bool {1}> ()
    l = Loop(n, c, x) <body = g (int64 i, bool g_c, float[4] v) => (bool g_d, float[4] w) {
        g_d = Identity(g_c)
        w = Cos(v)
    }>
    y = Floor(l)
}"""


@pytest.fixture
def node_marks(library: ort.Library) -> Iterator[marks.NodeMarks]:
    with contextlib.closing(marks.NodeMarks(library.path)) as made:
        yield made


@pytest.fixture
def marked(
    library: ort.Library, model: Callable[..., bytes], node_marks: marks.NodeMarks
) -> Iterator[Callable[..., ort.Session]]:
    """Opens sessions that report their nodes; they are closed before the marks are."""
    with contextlib.ExitStack() as opened:

        def open_session(graph: str | bytes, **options: Any) -> ort.Session:
            made = ort.Session(
                library,
                model(graph) if isinstance(graph, str) else graph,
                session_options_hook=node_marks.append_to,
                **({"intra_threads": 1} | options),
            )
            opened.callback(made.close)
            return made

        yield open_session


def profile(
    node_marks: marks.NodeMarks,
    binding: ort.Binding,
    folder: Path,
    inferences: int = 1,
    capacity: int = 10_000,
) -> marks.Marks:
    """Marks of so many inferences, each profiled by itself."""
    node_marks.start(capacity)
    try:
        for number in range(inferences):
            binding.run(profile_prefix=str(folder / f"trace-{number}"))
    finally:
        recorded = node_marks.stop()
    return recorded


def node_names(recorded: marks.Marks) -> list[str]:
    """Op types of the unnamed nodes, in the order in which they began."""
    nodes = recorded.mark[recorded.mark["category"] == 1]
    return [name.decode().split("_")[0] for name in nodes["name"].tolist()]


def names(recorded: marks.Marks) -> list[str]:
    return [name.decode() for name in recorded.mark["name"].tolist()]


def assert_sound(recorded: marks.Marks) -> None:
    """Every event ended, and lies within the one around it, on the same thread."""
    mark = recorded.mark
    assert (recorded.lost, recorded.refused, recorded.strayed) == (0, 0, 0)
    assert (mark["start_ns"] > 0).all()
    assert (mark["stop_ns"] >= mark["start_ns"]).all()
    (inner,) = np.nonzero(mark["parent"] >= 0)
    outer = mark["parent"][inner]
    assert (outer < inner).all()
    assert (mark["start_ns"][outer] <= mark["start_ns"][inner]).all()
    assert (mark["stop_ns"][inner] <= mark["stop_ns"][outer]).all()
    assert (mark["thread"][inner] == mark["thread"][outer]).all()


class TestNodes:
    def test_every_node_leaves_a_mark(
        self, node_marks: marks.NodeMarks, marked: Callable[..., ort.Session], tmp_path: Path
    ) -> None:
        recorded = profile(node_marks, marked(CHAIN).bind(X), tmp_path)
        assert_sound(recorded)
        assert node_names(recorded) == CHAIN_NAMES
        assert len(set(recorded.mark["thread"].tolist())) == 1

    def test_marks_are_what_orts_own_profile_tells(
        self, node_marks: marks.NodeMarks, marked: Callable[..., ort.Session], tmp_path: Path
    ) -> None:
        recorded = profile(node_marks, marked(LOOP).bind(X | {"n": np.array(3)}), tmp_path)
        (file,) = tmp_path.glob("trace-0_*.json")
        events = json.loads(file.read_text())
        named = [event["name"] for event in events if event["cat"] in ("Node", "Session")]
        assert sorted(names(recorded)) == sorted(named)
        nodes = [event["name"] for event in events if event["cat"] == "Node"]
        own = recorded.mark[recorded.mark["category"] == 1]["name"].tolist()
        assert sorted(name.decode() for name in own) == sorted(nodes)

    def test_names_of_an_executed_graph_tell_the_rows(
        self,
        library: ort.Library,
        model: Callable[..., bytes],
        node_marks: marks.NodeMarks,
        marked: Callable[..., ort.Session],
        tmp_path: Path,
    ) -> None:
        saved = tmp_path / "saved.onnx"
        ort.Session(library, model(IF), optimized_model_path=str(saved)).close()
        graph = executed_graph.prepare(saved, tmp_path / "renamed.onnx")
        session = marked(graph.path.read_bytes(), optimization="disable")
        recorded = profile(node_marks, session.bind(X | {"c": np.array(True)}), tmp_path)
        told = recorded.mark[recorded.mark["category"] == 1]["name"].tolist()
        rows = [executed_graph.row_of(name.decode()) for name in told]
        assert min(rows) >= 0
        ran = [graph.nodes.op_type[row] for row in rows]
        assert [op for op in ran if op != "Abs"] == ["Neg", "If", "Exp", "Sqrt", "Floor"]

    def test_nothing_is_marked_without_a_profile(
        self, node_marks: marks.NodeMarks, marked: Callable[..., ort.Session]
    ) -> None:
        binding = marked(CHAIN).bind(X)
        node_marks.start(100)
        binding.run()
        assert len(node_marks.stop().mark) == 0

    def test_nothing_is_marked_between_recordings(
        self, node_marks: marks.NodeMarks, marked: Callable[..., ort.Session], tmp_path: Path
    ) -> None:
        binding = marked(CHAIN).bind(X)
        binding.run(profile_prefix=str(tmp_path / "before"))
        recorded = profile(node_marks, binding, tmp_path)
        assert node_names(recorded) == CHAIN_NAMES
        again = profile(node_marks, binding, tmp_path)
        assert node_names(again) == CHAIN_NAMES
        assert again.first_id > recorded.first_id + len(recorded.mark)

    def test_the_profile_of_a_session_is_marked_too(
        self, node_marks: marks.NodeMarks, marked: Callable[..., ort.Session], tmp_path: Path
    ) -> None:
        node_marks.start(100)
        session = marked(CHAIN, profile_prefix=str(tmp_path / "session"))
        binding = session.bind(X)
        binding.run()
        binding.run()
        session.end_profiling()
        recorded = node_marks.stop()
        assert_sound(recorded)
        assert node_names(recorded) == CHAIN_NAMES * 2
        assert len(set(recorded.mark["profiler"].tolist())) == 1

    def test_a_long_name_is_cut_and_its_length_told(
        self, node_marks: marks.NodeMarks, marked: Callable[..., ort.Session], tmp_path: Path
    ) -> None:
        node = onnx.helper.make_node("Exp", ["x"], ["y"], name="n" * 100)
        value = [
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [4]) for name in "xy"
        ]
        graph = onnx.helper.make_graph([node], "g", value[:1], value[1:])
        imports = [onnx.helper.make_opsetid("", 21)]
        long = onnx.helper.make_model(graph, opset_imports=imports, ir_version=10)
        recorded = profile(node_marks, marked(long.SerializeToString()).bind(X), tmp_path)
        (mark,) = recorded.mark[recorded.mark["category"] == 1]
        assert mark["name"] == b"n" * 64
        assert mark["name_bytes"] == 100 + len("_kernel_time")


class TestInferences:
    def test_each_inference_is_told_apart(
        self, node_marks: marks.NodeMarks, marked: Callable[..., ort.Session], tmp_path: Path
    ) -> None:
        recorded = profile(node_marks, marked(CHAIN).bind(X), tmp_path, inferences=3)
        assert node_names(recorded) == CHAIN_NAMES * 3
        profiler = recorded.mark["profiler"]
        assert len(set(profiler.tolist())) == 3
        start_ns, duration_ns = join.inferences(recorded)
        assert len(start_ns) == 3
        assert (start_ns[1:] >= start_ns[:-1] + duration_ns[:-1]).all()
        nodes = recorded.mark[recorded.mark["category"] == 1]
        number = np.searchsorted(start_ns, nodes["start_ns"], side="right") - 1
        assert number.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]

    def test_two_sessions(
        self, node_marks: marks.NodeMarks, marked: Callable[..., ort.Session], tmp_path: Path
    ) -> None:
        bindings = [marked(CHAIN).bind(X), marked(IF).bind(X | {"c": np.array(False)})]
        node_marks.start(1000)
        for number in range(4):
            bindings[number % 2].run(profile_prefix=str(tmp_path / f"trace-{number}"))
        recorded = node_marks.stop()
        assert_sound(recorded)
        of_if = ["Neg", "If", "Abs", "Floor"]
        assert node_names(recorded) == (CHAIN_NAMES + of_if) * 2

    def test_two_sessions_at_once(
        self, node_marks: marks.NodeMarks, marked: Callable[..., ort.Session], tmp_path: Path
    ) -> None:
        bindings = [marked(CHAIN).bind(X) for _ in range(2)]

        def infer(number: int) -> None:
            for inference in range(50):
                bindings[number].run(profile_prefix=str(tmp_path / f"{number}-{inference}"))

        threads = [threading.Thread(target=infer, args=(number,)) for number in range(2)]
        node_marks.start(10_000)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        recorded = node_marks.stop()
        assert_sound(recorded)
        for thread_number in set(recorded.mark["thread"].tolist()):
            own = recorded._replace(mark=recorded.mark[recorded.mark["thread"] == thread_number])
            assert node_names(own) == CHAIN_NAMES * 50

    def test_a_recording_may_end_while_nodes_execute(
        self, node_marks: marks.NodeMarks, marked: Callable[..., ort.Session], tmp_path: Path
    ) -> None:
        binding = marked(LOOP).bind(X | {"n": np.array(200)})
        done = threading.Event()

        def infer() -> None:
            while not done.is_set():
                binding.run(profile_prefix=str(tmp_path / "trace"))

        thread = threading.Thread(target=infer)
        thread.start()
        try:
            for _ in range(30):
                node_marks.start(5000)
                recorded = node_marks.stop()
                ended = recorded.mark[recorded.mark["stop_ns"] >= 0]
                assert (ended["stop_ns"] >= ended["start_ns"]).all()
        finally:
            done.set()
            thread.join()
        assert node_names(profile(node_marks, binding, tmp_path)).count("Cos") == 200


class TestNesting:
    @pytest.mark.parametrize(("chosen", "body"), [(True, ["Exp", "Sqrt"]), (False, ["Abs"])])
    def test_if(
        self,
        node_marks: marks.NodeMarks,
        marked: Callable[..., ort.Session],
        tmp_path: Path,
        chosen: bool,
        body: list[str],
    ) -> None:
        recorded = profile(node_marks, marked(IF).bind(X | {"c": np.array(chosen)}), tmp_path)
        assert_sound(recorded)
        assert node_names(recorded) == ["Neg", "If", *body, "Floor"]

    def test_a_body_lies_within_its_loop(
        self, node_marks: marks.NodeMarks, marked: Callable[..., ort.Session], tmp_path: Path
    ) -> None:
        recorded = profile(node_marks, marked(LOOP).bind(X | {"n": np.array(5)}), tmp_path)
        assert_sound(recorded)
        text = names(recorded)
        (loop,) = [i for i, name in enumerate(text) if name.startswith("Loop")]
        bodies = [i for i, name in enumerate(text) if name.startswith("Cos")]
        assert len(bodies) == 5
        for index in bodies:
            around = []
            while index >= 0:
                around.append(index)
                index = int(recorded.mark["parent"][index])
            assert loop in around
            assert text[around[-1]] == "model_run"


class TestThreads:
    WIDE = "(float[256,256] x) => (float[256,256] y) { a = MatMul(x, x)  y = Exp(a) }"

    def test_intra_op_threads_leave_no_marks_of_their_own(
        self, node_marks: marks.NodeMarks, marked: Callable[..., ort.Session], tmp_path: Path
    ) -> None:
        wide = {"x": np.ones((256, 256), np.float32)}
        recorded = profile(node_marks, marked(self.WIDE, intra_threads=4).bind(wide), tmp_path, 5)
        assert_sound(recorded)
        assert node_names(recorded) == ["MatMul", "Exp"] * 5
        assert len(set(recorded.mark["thread"].tolist())) == 1

    def test_parallel_execution_marks_each_node_on_its_thread(
        self, node_marks: marks.NodeMarks, marked: Callable[..., ort.Session], tmp_path: Path
    ) -> None:
        fork = """(float[4] x) => (float[4] y) {
            a = Exp(x)  b = Cos(x)  c = Abs(x)  d = Add(a, b)  y = Add(c, d)
        }"""
        session = marked(fork, execution_mode="parallel", inter_threads=3)
        recorded = profile(node_marks, session.bind(X), tmp_path, 20)
        assert_sound(recorded)
        assert sorted(node_names(recorded)) == sorted(["Exp", "Cos", "Abs", "Add", "Add"] * 20)


class Tracer:
    """Functions to be hooked, which note what they were called with."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, int]] = []
        self._functions = (
            ctypes.CFUNCTYPE(None, ctypes.c_uint64)(lambda number: self._note(number)),
            ctypes.CFUNCTYPE(None)(lambda: self._note(-1)),
        )

    def _note(self, number: int) -> None:
        self.calls.append((number, threading.get_native_id()))

    @property
    def addresses(self) -> tuple[int, int]:
        push, pop = (ctypes.cast(each, ctypes.c_void_p).value or 0 for each in self._functions)
        return push, pop


class TestHooks:
    def test_each_event_is_pushed_and_popped_on_its_thread(
        self, node_marks: marks.NodeMarks, marked: Callable[..., ort.Session], tmp_path: Path
    ) -> None:
        tracer = Tracer()
        node_marks.hook(*tracer.addresses)
        inputs = X | {"c": np.array(True)}
        recorded = profile(node_marks, marked(IF).bind(inputs), tmp_path)
        assert_sound(recorded)
        pushed = [number for number, _ in tracer.calls if number >= 0]
        assert pushed == [recorded.first_id + i for i in range(len(recorded.mark))]
        open_now: list[int] = []
        for number, thread in tracer.calls:
            if number >= 0:
                parent = recorded.mark["parent"][number - recorded.first_id]
                assert parent == (open_now[-1] - recorded.first_id if open_now else -1)
                open_now.append(number)
            else:
                open_now.pop()
            assert thread == recorded.mark["thread"][0]
        assert open_now == []

    def test_nothing_is_called_without_a_recording_or_once_unhooked(
        self, node_marks: marks.NodeMarks, marked: Callable[..., ort.Session], tmp_path: Path
    ) -> None:
        tracer = Tracer()
        binding = marked(CHAIN).bind(X)
        node_marks.hook(*tracer.addresses)
        binding.run(profile_prefix=str(tmp_path / "before"))
        assert tracer.calls == []
        profile(node_marks, binding, tmp_path)
        called = len(tracer.calls)
        assert called > 0
        node_marks.unhook()
        node_marks.unhook()
        profile(node_marks, binding, tmp_path)
        assert len(tracer.calls) == called

    def test_what_has_begun_is_popped_after_the_hooks_are_gone(
        self, node_marks: marks.NodeMarks, marked: Callable[..., ort.Session], tmp_path: Path
    ) -> None:
        tracer = Tracer()
        binding = marked(LOOP).bind(X | {"n": np.array(20_000)})
        node_marks.hook(*tracer.addresses)
        node_marks.start(100_000)
        inferring = threading.Thread(
            target=binding.run, kwargs={"profile_prefix": str(tmp_path / "trace")}
        )
        inferring.start()
        while not tracer.calls:
            time.sleep(0.001)
        node_marks.stop()
        node_marks.unhook()
        inferring.join()
        popped = [number for number, _ in tracer.calls if number < 0]
        assert len(tracer.calls) == 2 * len(popped)

    def test_hooks_are_not_set_while_a_recording_is_on(self, node_marks: marks.NodeMarks) -> None:
        tracer = Tracer()
        node_marks.start(10)
        with pytest.raises(ValueError, match="already on"):
            node_marks.hook(*tracer.addresses)
        node_marks.close()
        with pytest.raises(ValueError, match="closed"):
            node_marks.hook(*tracer.addresses)


class TestFaults:
    def test_a_failing_node_ends_its_mark(
        self, node_marks: marks.NodeMarks, marked: Callable[..., ort.Session], tmp_path: Path
    ) -> None:
        graph = "(float[4] x, int64[1] i) => (float[1] y) { a = Exp(x)  y = Gather(a, i) }"
        good, bad = np.array([1]), np.array([9])
        session = marked(graph)
        with contextlib.closing(session.bind(X | {"i": bad})) as binding:
            node_marks.start(100)
            with pytest.raises(ort.OrtError):
                binding.run(profile_prefix=str(tmp_path / "bad"))
            failed = node_marks.stop()
        assert_sound(failed)
        assert node_names(failed) == ["Exp", "Gather"]
        recorded = profile(node_marks, session.bind(X | {"i": good}), tmp_path)
        assert_sound(recorded)
        assert node_names(recorded) == ["Exp", "Gather"]

    def test_marks_that_find_no_room_are_counted(
        self, node_marks: marks.NodeMarks, marked: Callable[..., ort.Session], tmp_path: Path
    ) -> None:
        binding = marked(LOOP).bind(X | {"n": np.array(10)})
        whole = profile(node_marks, binding, tmp_path)
        cut = profile(node_marks, binding, tmp_path, capacity=7)
        assert len(cut.mark) == 7
        assert cut.lost == len(whole.mark) - 7
        assert names(cut) == names(whole)[:7]
        assert (cut.mark["stop_ns"] >= cut.mark["start_ns"]).all()

    def test_what_a_caller_must_not_do(
        self, library: ort.Library, node_marks: marks.NodeMarks
    ) -> None:
        with pytest.raises(ValueError, match="already"):
            marks.NodeMarks(library.path)
        with pytest.raises(ValueError, match="no recording"):
            node_marks.stop()
        with pytest.raises(ValueError, match="capacity"):
            node_marks.start(0)
        node_marks.start(10)
        with pytest.raises(ValueError, match="already on"):
            node_marks.start(10)
        node_marks.close()
        node_marks.close()
        with pytest.raises(ValueError, match="closed"):
            node_marks.start(10)
        with pytest.raises(ValueError, match="closed"):
            node_marks.append_to(0)

    def test_marks_may_be_made_again(
        self, library: ort.Library, model: Callable[..., bytes], tmp_path: Path
    ) -> None:
        for _ in range(3):
            with contextlib.ExitStack() as opened:
                made = opened.enter_context(contextlib.closing(marks.NodeMarks(library.path)))
                session = ort.Session(library, model(CHAIN), session_options_hook=made.append_to)
                opened.callback(session.close)
                binding = opened.enter_context(contextlib.closing(session.bind(X)))
                assert node_names(profile(made, binding, tmp_path)) == CHAIN_NAMES

    def test_a_process_may_end_with_marks_and_sessions_open(
        self, interpreter: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
    ) -> None:
        done = interpreter(
            f"""
import numpy as np
from harness.native import marks
library = ort.Library(LIBRARY)
node_marks = marks.NodeMarks(LIBRARY)
session = ort.Session(library, MODEL, session_options_hook=node_marks.append_to)
binding = session.bind({{"x": np.ones(4, np.float32)}})
node_marks.start(1000)
binding.run(profile_prefix={str(tmp_path / "trace")!r})
print("ran")
""",
            CHAIN,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "ran\n", "")

    def test_another_library_is_refused(self) -> None:
        with pytest.raises(OSError, match="not ONNX Runtime"):
            marks.NodeMarks("libc.so.6")

    @pytest.mark.parametrize("version", ["1.24.4", "1.9.0"])
    def test_an_older_library_is_refused_with_the_reason(
        self, tmp_path: Path, version: str
    ) -> None:
        source = tmp_path / "old.c"
        source.write_text(
            f'static const char *version(void) {{ return "{version}"; }}\n'
            "static const void *api(unsigned v) { return 0; }\n"
            "static const struct { const void *(*a)(unsigned); const char *(*v)(void); } base ="
            " {api, version};\n"
            "const void *OrtGetApiBase(void) { return &base; }\n"
        )
        old = tmp_path / "libold.so"
        subprocess.run(["gcc", "-shared", "-fPIC", "-o", old, source], check=True)
        with pytest.raises(OSError, match=rf"{version} cannot tell .* 1\.25 or newer"):
            marks.NodeMarks(str(old))


class TestDisturbance:
    @pytest.mark.parametrize(
        ("graph", "more"), [(CHAIN, {}), (IF, {"c": np.array(True)}), (LOOP, {"n": np.array(4)})]
    )
    def test_graph_and_outputs_are_the_same(
        self,
        library: ort.Library,
        model: Callable[..., bytes],
        marked: Callable[..., ort.Session],
        tmp_path: Path,
        graph: str,
        more: dict[str, Any],
    ) -> None:
        paths = [tmp_path / "plain.onnx", tmp_path / "marked.onnx"]
        plain = ort.Session(
            library, model(graph), intra_threads=1, optimized_model_path=str(paths[0])
        )
        sessions = [plain, marked(graph, optimized_model_path=str(paths[1]))]
        outputs = []
        for session in sessions:
            with contextlib.closing(session.bind(X | more)) as binding:
                binding.run()
                outputs.append(binding.outputs())
        plain.close()
        for one, other in zip(*outputs, strict=True):
            np.testing.assert_array_equal(one, other)
        assert paths[0].read_bytes() == paths[1].read_bytes()

    def test_a_real_model_is_optimised_alike(
        self, library: ort.Library, marked: Callable[..., ort.Session], tmp_path: Path
    ) -> None:
        light = Path(onnx.__file__).parent / "backend/test/data/light/light_squeezenet.onnx"
        content = light.read_bytes()
        paths = [tmp_path / "plain.onnx", tmp_path / "marked.onnx"]
        ort.Session(library, content, intra_threads=1, optimized_model_path=str(paths[0])).close()
        marked(content, optimized_model_path=str(paths[1]))
        graphs = [onnx.load(path).graph for path in paths]
        assert [str(node) for node in graphs[0].node] == [str(node) for node in graphs[1].node]
        assert len(graphs[0].node) > 20
