"""Reading ORT's profiles: real ones of a small nested model, and damaged ones."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest

from harness.models.executed_graph import ExecutedGraph, prepare
from harness.native import ort
from harness.tracing.ort_profiler import reader
from harness.tracing.ort_profiler.reader import OrtTrace, TraceFile, read

TRIPS = 4
NESTED = """
<ir_version: 8, opset_import: ["" : 17]>
nested (float[N, 64] x) => (float[N, 64] y) <int64 trips = {4}, int64 two = {2}> {
  [same] hidden = Abs (x)
  [loop] looped = Loop (trips, , hidden) <body = body (int64 i, bool go, float[N, 64] state)
      => (bool still, float[N, 64] next) {
    odd = Mod (i, two)
    [same] branch = Cast <to = 9> (odd)
    still = Identity (go)
    root = Sqrt (state)
    [choice] chosen = If (branch)
      <then_branch = then () => (float[N, 64] a) { [same] a = Mul (root, root) },
       else_branch = other () => (float[N, 64] b) { b = Neg (root) }>
    next = Exp (chosen)
  }>
  y = Sigmoid (looped)
}
"""
#: Executions of each op type in one inference.
RUNS = {"Abs": 1, "Loop": 1, "Sigmoid": 1, "Mod": 4, "Cast": 4, "Identity": 4, "Sqrt": 4}
RUNS |= {"If": 4, "Mul": 2, "Neg": 2, "Exp": 4}


@pytest.fixture(scope="module")
def library() -> ort.Library:
    found = importlib.util.find_spec("onnxruntime")
    assert found is not None
    assert found.origin is not None
    return ort.Library(str(next((Path(found.origin).parent / "capi").glob("libonnxruntime.so.*"))))


@pytest.fixture(scope="module")
def graph(library: ort.Library, tmp_path_factory: pytest.TempPathFactory) -> ExecutedGraph:
    folder = tmp_path_factory.mktemp("graph")
    model = onnx.parser.parse_model(NESTED)
    del model.graph.value_info[:]
    onnx.save(model, folder / "model.onnx")
    saved = folder / "saved.onnx"
    ort.Session(library, str(folder / "model.onnx"), optimized_model_path=str(saved)).close()
    return prepare(saved, folder / "renamed.onnx")


def session_profile(
    library: ort.Library, model: Path, prefix: Path, *, inferences: int, intra_threads: int = 1
) -> TraceFile:
    """Profile of a whole session, as older libraries have it."""
    session = ort.Session(
        library,
        str(model),
        optimization="disable",
        intra_threads=intra_threads,
        profile_prefix=str(prefix),
    )
    binding = session.bind({"x": np.ones((2_000, 64), np.float32)})
    for _ in range(inferences):
        binding.run()
    zero_ns = session.profiling_start_ns - ort.realtime_offset_ns()
    return TraceFile(Path(session.end_profiling()), zero_ns)


@pytest.fixture(scope="module")
def five(
    library: ort.Library, graph: ExecutedGraph, tmp_path_factory: pytest.TempPathFactory
) -> TraceFile:
    prefix = tmp_path_factory.mktemp("profile") / "five"
    return session_profile(library, graph.path, prefix, inferences=5)


def counts(trace: OrtTrace) -> dict[str, int]:
    ops = [trace.nodes.op_type[row] for row in trace.events.node]
    return {op_type: ops.count(op_type) for op_type in sorted(set(ops))}


def test_every_execution_names_its_node(graph: ExecutedGraph, five: TraceFile) -> None:
    trace = read([five], graph.nodes, process=3)

    assert counts(trace) == {op_type: 5 * runs for op_type, runs in sorted(RUNS.items())}
    assert trace.remarks == ()
    assert trace.events.inference_number.tolist() == [0, 1, 2, 3, 4]
    assert set(trace.events.process.tolist()) == {3}
    assert (np.diff(trace.events.start_ns) >= 0).all()
    assert len(trace.nodes) == len(graph.nodes)


def test_times_of_control_flow_are_counted_once(graph: ExecutedGraph, five: TraceFile) -> None:
    trace = read([five], graph.nodes, process=0)
    events, nodes = trace.events, trace.nodes
    for number, whole_ns in zip(events.inference_number, events.inference_duration_ns, strict=True):
        mine = events.inference == number
        outermost = mine & (nodes.depth[events.node] == 0)
        assert events.self_ns[mine].sum() == events.duration_ns[outermost].sum() <= whole_ns
        assert events.duration_ns[mine].sum() > events.duration_ns[outermost].sum()

    runs_others = np.isin(events.node, nodes.parent)
    assert (events.self_ns[~runs_others] == events.duration_ns[~runs_others]).all()
    one = events.inference == 0
    loop = one & (events.node == nodes.op_type.index("Loop"))
    inside = one & (nodes.parent[events.node] == nodes.op_type.index("Loop"))
    expected_ns = events.duration_ns[loop].sum() - events.duration_ns[inside].sum()
    assert events.self_ns[loop].tolist() == [expected_ns]


def test_nodes_learn_what_the_trace_tells(graph: ExecutedGraph, five: TraceFile) -> None:
    nodes = read([five], graph.nodes, process=0).nodes

    assert set(nodes.provider) == {"CPUExecutionProvider"}
    exp = nodes.op_type.index("Exp")
    assert nodes.input_type_shape[exp] == '[{"float":[2000,64]}]'
    assert nodes.output_type_shape[exp] == '[{"float":[2000,64]}]'
    assert nodes.output_bytes[exp] == nodes.activation_bytes[exp] == 2000 * 64 * 4
    by_order = {
        place: [nodes.op_type[row] for row in np.argsort(nodes.order) if places[row] == place]
        for places in [list(zip(nodes.parent.tolist(), nodes.branch, strict=True))]
        for place in set(places)
    }
    assert by_order[-1, ""] == ["Abs", "Loop", "Sigmoid"]
    in_body = by_order[nodes.op_type.index("Loop"), "body"]
    assert in_body.index("Sqrt") < in_body.index("If") < in_body.index("Exp")
    assert nodes.order[nodes.op_type.index("Mul")] == 0
    assert nodes.order[nodes.op_type.index("Neg")] == 0


def test_profiles_of_single_inferences(
    library: ort.Library, graph: ExecutedGraph, tmp_path: Path
) -> None:
    session = ort.Session(library, str(graph.path), optimization="disable")
    binding = session.bind({"x": np.ones((100, 64), np.float32)})
    binding.run()
    files, bounds = [], []
    for number in range(3):
        before_ns = ort.monotonic_ns()
        binding.run(profile_prefix=str(tmp_path / f"{number}"))
        bounds.append((before_ns, ort.monotonic_ns()))
        files.append(TraceFile(next(tmp_path.glob(f"{number}_*.json")), before_ns))

    trace = read(files, graph.nodes, process=0)

    assert counts(trace) == {op_type: 3 * runs for op_type, runs in sorted(RUNS.items())}
    assert trace.events.inference_number.tolist() == [0, 1, 2]
    for number, (before_ns, after_ns) in enumerate(bounds):
        mine = trace.events.inference == number
        assert trace.events.start_ns[mine].min() >= before_ns
        assert (trace.events.start_ns + trace.events.duration_ns)[mine].max() <= after_ns


def test_session_profile_is_on_the_monotonic_clock(
    library: ort.Library, graph: ExecutedGraph, tmp_path: Path
) -> None:
    before_ns = ort.monotonic_ns()
    file = session_profile(library, graph.path, tmp_path / "clock", inferences=1)
    after_ns = ort.monotonic_ns()

    events = read([file], graph.nodes, process=0).events

    assert before_ns < events.start_ns.min()
    assert (events.start_ns + events.duration_ns).max() < after_ns


def test_thread_statistics_where_there_is_a_pool(
    library: ort.Library, graph: ExecutedGraph, five: TraceFile, tmp_path: Path
) -> None:
    file = session_profile(library, graph.path, tmp_path / "two", inferences=20, intra_threads=2)
    events = read([file], graph.nodes, process=0).events

    # On a busy machine the other thread may come too late for every block.
    assert set(events.details["sub_threads_used"].tolist()) <= {0, 1}
    used = events.details["sub_threads_used"] > 0
    assert (events.details["sub_thread_blocks"][used] > 0).all()
    assert not events.details["sub_thread_blocks"][~used].any()
    assert events.details["parallel_loops"].max() >= 1
    assert (events.details["main_thread_run_ns"] <= events.duration_ns + 1000).all()
    assert events.details["main_thread_run_ns"].any()
    alone = read([five], graph.nodes, process=0).events
    assert "sub_threads_used" not in alone.details
    assert "mem_arena_held_bytes" in alone.details


def test_graph_that_is_not_known_is_made_of_the_trace(
    library: ort.Library, graph: ExecutedGraph, tmp_path: Path
) -> None:
    model = graph.path.with_name("model.onnx")
    trace = read([session_profile(library, model, tmp_path / "own", inferences=3)], None, process=0)

    nodes = trace.nodes
    assert counts(trace) == {op_type: 3 * runs for op_type, runs in sorted(RUNS.items())}
    above = {
        op_type: nodes.op_type[parent] if parent >= 0 else ""
        for op_type, parent in zip(nodes.op_type, nodes.parent.tolist(), strict=True)
    }
    assert above == {
        **dict.fromkeys(("Abs", "Loop", "Sigmoid"), ""),
        **dict.fromkeys(("Mod", "Cast", "Identity", "Sqrt", "If", "Exp"), "Loop"),
        **dict.fromkeys(("Mul", "Neg"), "If"),
    }
    assert nodes.depth[nodes.op_type.index("Neg")] == 2
    assert [nodes.name[nodes.op_type.index(op_type)] for op_type in ("Abs", "Cast")] == [
        "same",
        "same",
    ]
    assert len(trace.remarks) == 1


def rewritten(file: TraceFile, folder: Path, old: bytes, new: bytes) -> TraceFile:
    path = folder / "rewritten.json"
    path.write_bytes(file.path.read_bytes().replace(old, new))
    return TraceFile(path, file.zero_ns)


def test_node_that_the_saved_graph_lacks_gets_a_row(
    graph: ExecutedGraph, five: TraceFile, tmp_path: Path
) -> None:
    exp = graph.nodes.op_type.index("Exp")
    own_name = f'"harness_node_{exp}_kernel_time"'.encode()
    file = rewritten(five, tmp_path, own_name, b'"Inserted_1_kernel_time"')

    trace = read([file], graph.nodes, process=0)

    assert counts(trace) == counts(read([five], graph.nodes, process=0))
    added = len(graph.nodes)
    assert len(trace.nodes) == added + 1
    assert trace.nodes.name[added] == "Inserted_1"
    assert trace.nodes.parent[added] == graph.nodes.op_type.index("Loop")
    assert trace.nodes.order[exp] == -1
    assert "Exp" in trace.remarks[0]


@pytest.mark.parametrize("kept", [0.999, 0.7, 0.5])
def test_file_of_a_killed_writer(
    graph: ExecutedGraph, five: TraceFile, tmp_path: Path, kept: float
) -> None:
    content = five.path.read_bytes()
    path = tmp_path / "cut.json"
    path.write_bytes(content[: int(kept * len(content))])

    trace = read([TraceFile(path, five.zero_ns)], graph.nodes, process=0)

    finished = len(trace.events.inference_number)
    assert finished == path.read_bytes().count(b'"model_run"')
    assert counts(trace) == {op_type: finished * runs for op_type, runs in sorted(RUNS.items())}
    assert "cut off" in trace.remarks[0]


def test_single_inference_without_its_end_is_kept_in_part(
    graph: ExecutedGraph, five: TraceFile, tmp_path: Path
) -> None:
    lines = five.path.read_bytes().splitlines(keepends=True)
    path = tmp_path / "part.json"
    path.write_bytes(b"".join(lines[: len(lines) // 8]))

    trace = read([TraceFile(path, five.zero_ns)], graph.nodes, process=0)

    assert 0 < len(trace.events) < sum(RUNS.values())
    assert trace.events.inference_duration_ns.tolist() == [-1]
    assert trace.events.inference_start_ns[0] == trace.events.start_ns[0]


def test_limit_of_the_profiler_is_reported(
    graph: ExecutedGraph, five: TraceFile, tmp_path: Path
) -> None:
    # As ORT 1.31 writes it after a million events; the rest of the inference is missing.
    lines = five.path.read_bytes().splitlines(keepends=True)
    last = b"".join(
        (
            b'{"cat" : "Session","pid" :1,"tid" :1,"dur" :0,"ts" :13093361,"ph" : "X",',
            b'"name" :"profile_truncated","args" : {"max_num_events" : "1000000",',
            b'"dropped_event_count" : "9802"}}\n]\n',
        )
    )
    path = tmp_path / "limit.json"
    path.write_bytes(b"".join(lines[:-6]) + last)

    trace = read([TraceFile(path, five.zero_ns)], graph.nodes, process=0)

    assert trace.events.dropped == 9802
    assert trace.events.inference_number.tolist() == [0, 1, 2, 3]
    assert counts(trace) == {op_type: 4 * runs for op_type, runs in sorted(RUNS.items())}
    assert any("9802" in remark for remark in trace.remarks)


def test_line_that_is_no_json_costs_that_line(
    graph: ExecutedGraph, five: TraceFile, tmp_path: Path
) -> None:
    sigmoid = graph.nodes.op_type.index("Sigmoid")
    name = f'"harness_node_{sigmoid}_kernel_time"'.encode()
    file = rewritten(five, tmp_path, name, b'"a "quoted" name"')

    trace = read([file], graph.nodes, process=0)

    assert "Sigmoid" not in counts(trace)
    assert len(trace.events) == 5 * (sum(RUNS.values()) - 1)
    assert any("5 events" in remark for remark in trace.remarks)


@pytest.mark.parametrize("content", [b"", b"[\n", b"[\n]\n"])
def test_file_without_events(graph: ExecutedGraph, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "empty.json"
    path.write_bytes(content)
    trace = read([TraceFile(path, 0)], graph.nodes, process=0)
    assert len(trace.events) == 0
    assert len(trace.events.inference_number) == 0
    assert bool(trace.remarks) == (b"]" not in content)


def test_a_number_beyond_any_time_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "far.json"
    event = (
        '{"cat":"Node","pid":1,"tid":1,"dur":%d,"ts":5,"ph":"X","name":"a_kernel_time",'
        '"args":{"op_name":"Abs","provider":"CPUExecutionProvider"}}'
    )
    for duration_us in (2**63, 2**60, -(2**70)):
        path.write_text(f"[\n{event % duration_us}\n]\n")
        with pytest.raises(ValueError, match="beyond any time"):
            read([TraceFile(path, 0)], None, process=0)


def test_blocks_may_end_anywhere(
    graph: ExecutedGraph, five: TraceFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = read([five], graph.nodes, process=0)
    for block_bytes in (97, 1_000, 4_096):
        monkeypatch.setattr(reader, "_BLOCK_BYTES", block_bytes)
        pieces = read([five], graph.nodes, process=0)
        assert pieces.remarks == ()
        np.testing.assert_array_equal(pieces.events.node, whole.events.node)
        np.testing.assert_array_equal(pieces.events.inference, whole.events.inference)
        np.testing.assert_array_equal(pieces.events.self_ns, whole.events.self_ns)
