"""Probes in ONNX Runtime: whose time is measured, what is not, and when they are refused."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import TensorProto, helper, numpy_helper

import harness as package
from harness.analysis.operators.split import split_of
from harness.analysis.operators.table import OperatorTable, operator_table
from harness.config.session import SessionConfig
from harness.models.outputs import same_values
from harness.native import ort
from harness.native import probe as native_probe
from harness.ort.library import ort_library
from harness.records import NodeEvents, NodeTable, Profile
from harness.storage.assembly import merge_events
from harness.tracing.ort_profiler import recorder as ort_recorder
from harness.tracing.ort_profiler.recorder import OrtPass, profile_once
from harness.tracing.probes import recorder as probe_recorder
from harness.tracing.probes import times
from harness.tracing.probes.graphs import ProbedGraph
from harness.tracing.probes.recorder import ProbePass, as_it_is, prepare_probes
from tests.builders.executed import executed
from tests.builders.process_records import profile

if TYPE_CHECKING:
    from tests.integration.command import Harness

INFERENCES = 8
CONFIG = SessionConfig(intra_threads=1)
AS_WRITTEN = SessionConfig(intra_threads=1, optimization="disable")

X = np.linspace(-1, 1, 64, dtype=np.float32).reshape(8, 8)
HEAVY = np.linspace(-1, 1, 400 * 400, dtype=np.float32).reshape(400, 400)


def parse(graph: str, opset: int = 21) -> onnx.ModelProto:
    imports = f'["" : {opset}, "ai.onnx.ml" : 1]'
    return onnx.parser.parse_model(f"<ir_version: 10, opset_import: {imports}> g {graph}")


@pytest.fixture(scope="module")
def library() -> ort.Library:
    return ort.Library(str(ort_library()))


@dataclasses.dataclass(frozen=True)
class Probed:
    """A model that was recorded through probes.

    Attributes:
        nodes: its executed graph.
        graph: the same with probes.
        events: of the nodes.
        calibration: of the probes.
        once: one inference under ORT's profiler.
        spans_ns: of each inference, from the first stamp to the last.
        outputs: without probes and with them.
    """

    nodes: NodeTable
    graph: ProbedGraph
    events: NodeEvents
    calibration: NodeEvents
    once: NodeEvents
    spans_ns: Any
    outputs: tuple[list[Any], list[Any]]

    def rows(self, *op_types: str) -> list[int]:
        return [row for row, kind in enumerate(self.nodes.op_type) if kind in op_types]

    def self_ns(self, row: int) -> float:
        """Median over the inferences of a node's own time."""
        of_node = self.events.node == row
        own_ns = np.bincount(
            self.events.inference[of_node], self.events.self_ns[of_node], INFERENCES
        )
        return float(np.median(own_ns))

    def covered(self) -> set[tuple[str, str]]:
        """(op type without a probe of its own, that of the node that covers it or "")."""
        carriers = self.graph.carriers.tolist()
        kinds = (*self.nodes.op_type, "")
        return {
            (kinds[row], kinds[carriers[row]])
            for row in np.flatnonzero(self.nodes.order >= 0).tolist()
            if carriers[row] != row
        }


Probe = Callable[..., Probed]


@pytest.fixture
def probe(library: ort.Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Probe:
    """Records a model, or the file of one, through probes."""
    recorded = []
    node_events = times.node_events

    def spy(each: times.Stamps, *rest: Any) -> NodeEvents:
        recorded.append(each)
        return node_events(each, *rest)

    monkeypatch.setattr(times, "node_events", spy)

    def take(
        model: onnx.ModelProto | Path, inputs: dict[str, Any], config: SessionConfig = CONFIG
    ) -> Probed:
        path = model if isinstance(model, Path) else tmp_path / "model.onnx"
        if not isinstance(model, Path):
            onnx.save(model, path)
        graph, once, outputs = executed(library, path, inputs, config, tmp_path)
        probed = prepare_probes(config, graph)
        for half in (1, 0):
            with contextlib.closing(
                ProbePass(library, config, probed, graph.nodes, inputs, half)
            ) as probe_pass:
                probe_pass.require_order(tmp_path)
                assert probe_pass.half_order(tmp_path) == ""
                events, calibration, split = probe_pass.record(INFERENCES, 0)
                both = outputs, probe_pass.binding.outputs()
            assert split is not None
            check_stretches(split, probed, graph.nodes, half)
        spans_ns = times.spans_ns(recorded[-1])
        return Probed(graph.nodes, probed, events, calibration, once, spans_ns, both)

    return take


def check_stretches(split: NodeEvents, graph: ProbedGraph, nodes: NodeTable, half: int) -> None:
    """They begin at every second place of the main graph, at its first, and where none may lack."""
    outer = np.flatnonzero((graph.carriers == np.arange(len(nodes))) & (nodes.parent < 0))
    places = outer[np.argsort(nodes.order[outer])].tolist()
    kept = {place for n, place in enumerate(places) if n == 0 or n % 2 == half}
    for number in split.inference_number.tolist():
        begun = split.node[split.inference == number].tolist()
        assert kept <= set(begun)
        assert begun == [place for place in places if place in begun]
    assert len(split.inference_number) >= INFERENCES // 2


def check(probed: Probed, *, random: bool = False) -> None:
    """What holds for every model."""
    assert random or same_values(*probed.outputs)
    events, nodes, carriers = probed.events, probed.nodes, probed.graph.carriers
    # Each node that ran has a probe, or is covered by one that has, or nothing covers it.
    ran = np.flatnonzero(nodes.order >= 0)
    assert set(carriers[ran]) <= {-1, *carriers[carriers == np.arange(len(nodes))]}
    # Each with a probe is seen as often as ORT's profiler saw it, and no other is.
    calls = np.bincount(probed.once.node, minlength=len(nodes))
    calls[carriers != np.arange(len(nodes))] = 0
    for number in range(INFERENCES):
        seen = np.bincount(events.node[events.inference == number], minlength=len(nodes))
        assert seen.tolist() == calls.tolist()
    # Accounts close: between the first stamp and the last everything is counted once.
    own_ns = events.self_ns + events.details["probe_cost_ns"] - events.details["frame_ns"]
    assert np.bincount(events.inference, own_ns, INFERENCES).tolist() == probed.spans_ns.tolist()
    assert (events.self_ns >= 0).all()
    assert (events.inference_framework_ns >= 0).all()
    assert events.dropped == probed.calibration.dropped == 0
    # A node and what it runs take as long as their own times together.
    for row in np.flatnonzero(nodes.parent < 0):
        inside = {int(row)}
        for other in range(len(nodes)):
            if int(nodes.parent[other]) in inside:
                inside.add(other)
        if carriers[row] == row and not set(carriers[carriers != np.arange(len(nodes))]) & inside:
            of_node = events.node == row
            total_ns = events.duration_ns[of_node].sum()
            assert total_ns == events.self_ns[np.isin(events.node, list(inside))].sum()


CONTROL_FLOW = """(float[8, 8] x, float[n, n] big, bool flag, int64 count) =>
    (float[8, 8] y, float[8, 8] z, float[8, 8] f) {
    before = Sin (x)
    go = Constant <value = bool {1}> ()
    axis = Constant <value_ints = [0]> ()
    row = ReduceMax <keepdims = 0> (x, axis)
    z = Loop (count, go, before) <body = body (int64 i, bool on, float[8, 8] v) =>
        (bool still, float[8, 8] w) {
        still = Identity (on)
        w = If (flag) <then_branch = taken () => (float[8, 8] o) {
            unused = Constant <value_int = 1> ()
            c = Cos (v)
            lasting, each = Scan (row, c) <num_scan_inputs = 1, body = step
                (float[8] total, float[8] one) => (float[8] sum, float[8] result) {
                product = MatMul (big, big)
                largest = ReduceMax <keepdims = 0> (product)
                result = Sub (one, largest)
                sum = Add (total, result)
            }>
            o = Add (each, lasting)
        }, else_branch = never () => (float[8, 8] p) { p = Tan (v) }>
    }>
    f = Floor (x)
    y = Exp (before)
}"""


def test_nested_control_flow(probe: Probe) -> None:
    inputs = {"x": X, "big": HEAVY, "flag": np.array(True), "count": np.array(2)}
    probed = probe(parse(CONTROL_FLOW), inputs)
    check(probed)
    assert probed.covered() == set()
    (heavy,), (scan,), (loop,), (tan,) = map(probed.rows, ("MatMul", "Scan", "Loop", "Tan"))
    assert np.count_nonzero(probed.events.node == heavy) == 2 * 8 * INFERENCES
    assert np.count_nonzero(probed.events.node == tan) == 0
    # The time is that of the product deep inside, and with what it is in, in turn.
    others_ns = sum(probed.self_ns(row) for row in range(len(probed.nodes)) if row != heavy)
    assert probed.self_ns(heavy) > 3 * others_ns
    for outer in (scan, loop):
        total_ns = probed.events.duration_ns[probed.events.node == outer].sum()
        assert total_ns > probed.events.self_ns[probed.events.node == heavy].sum()


@pytest.mark.parametrize("heavy", range(5))
def test_the_time_is_that_of_the_node_that_takes_it(probe: Probe, heavy: int) -> None:
    # Five equal branches of which one is large; each gives an output, and ORT does not
    # execute them in the order of the file.
    names = [f"x{number}" for number in range(5)]
    graph = helper.make_graph(
        [helper.make_node("MatMul", [name, name], [f"y{name}"]) for name in names],
        "g",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names],
        [helper.make_tensor_value_info(f"y{name}", TensorProto.FLOAT, None) for name in names],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    inputs = {name: HEAVY if number == heavy else X for number, name in enumerate(names)}
    probed = probe(model, inputs)
    check(probed)
    assert probed.covered() == set()
    (row,) = (
        row
        for row, text in enumerate(probed.nodes.input_type_shape)
        if json.loads(text)[0] == {"float": [400, 400]}
    )
    others_ns = sum(probed.self_ns(other) for other in range(5) if other != row)
    assert probed.self_ns(row) > 3 * others_ns
    assert probed.self_ns(row) > 3 * probed.events.inference_framework_ns[0]


def test_nodes_of_one_name_are_told_apart(probe: Probe) -> None:
    model = parse(CONTROL_FLOW)

    def rename(graph: onnx.GraphProto) -> None:
        graph.node[0].name = "twin"
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.HasField("g"):
                    rename(attribute.g)

    rename(model.graph)
    small = {"x": X, "big": X, "flag": np.array(True), "count": np.array(2)}
    probed = probe(model, small)
    check(probed)
    assert probed.nodes.name.count("twin") >= 4
    assert probed.nodes.name.count("") >= 4


LSTM = f"""(float[5, 1, 4] x) => (float[1, 1, 3] h)
    <float[1, 12, 4] w = {{{",".join(["0.5"] * 48)}}},
     float[1, 12, 3] r = {{{",".join(["0.5"] * 36)}}}> {{
    a = Sin (x)
    , h = LSTM <hidden_size = 3> (a, w, r)
}}"""

QUANTIZED = f"""(float[5, 4] x) => (float[5, 4] y)
    <float scale = {{0.1}}, uint8 zero = {{128}},
     uint8[4, 4] w = {{{",".join(map(str, range(120, 136)))}}}> {{
    a = QuantizeLinear (x, scale, zero)
    b = DequantizeLinear (a, scale, zero)
    c = DequantizeLinear (w, scale, zero)
    d = MatMul (b, c)
    e = QuantizeLinear (d, scale, zero)
    y = DequantizeLinear (e, scale, zero)
}}"""


@pytest.mark.parametrize(
    ("graph", "inputs", "config", "covered"),
    [
        pytest.param("(float[8,8] x) => (float[8,8] y) { y = Sin (x) }", {"x": X}, CONFIG, set(),
                     id="a single node"),
        pytest.param("(float[8,8] x) => (float[8,8] y) { a = Sin (x)\n b = Cos (a)\n "
                     "y = Add (a, b) }", {"x": X}, CONFIG, set(), id="empty names"),
        pytest.param("(float[n,8] x) => (float[n,8] y) { a = Sin (x)\n y = Softmax (a) }",
                     {"x": X[:0]}, CONFIG, set(), id="nothing in a dimension"),
        pytest.param("(float[8,8] x) => (float[8,8] y, float[8,8] a) { a = Sin (x)\n "
                     "b = Cos (x)\n y = Add (a, b) }", {"x": X}, CONFIG, set(),
                     id="two outputs, one of them in between"),
        pytest.param("(float[8,8] x, float[8,8] u, float[8,8] v) => (float[8,8] y) { a = Sin (x)\n"
                     " b = Cos (u)\n c = Tan (v)\n d = Add (b, c)\n y = Mul (a, d) }",
                     {"x": X, "u": X, "v": X}, CONFIG, set(), id="three inputs"),
        pytest.param(LSTM, {"x": np.ones((5, 1, 4), np.float32)}, CONFIG, set(),
                     id="a missing output"),
        pytest.param("(float16[8,8] x) => (float16[8,8] y) { a = Sin (x)\n y = Add (a, x) }",
                     {"x": X.astype(np.float16)}, CONFIG, set(), id="fp16"),
        pytest.param(QUANTIZED, {"x": X[:5, :4]}, CONFIG, set(), id="int8, fused"),
        pytest.param(QUANTIZED, {"x": X[:5, :4]}, AS_WRITTEN, set(),
                     id="int8, not fused"),
        pytest.param("(string[n] x) => (string[m] y) { a = Identity (x)\n "
                     "y = Concat <axis = 0> (a, x) }",
                     {"x": np.array(["a", "é" * 40], object)}, AS_WRITTEN, set(), id="strings"),
        pytest.param("(float[8,8] x) => (float[8,8] y) { a = Sin (x)\n q = SequenceConstruct (a, x)"
                     "\n i = Constant <value_int = 0> ()\n b = SequenceAt (q, i)\n c = Cos (x)\n "
                     "y = Add (b, c) }", {"x": X}, CONFIG,
                     {("SequenceAt", "SequenceConstruct")}, id="a sequence"),
        pytest.param("(float[8,8] x) => (float[8,8] y) { a = Sin (x)\n o = Optional (a)\n "
                     "b = OptionalGetElement (o)\n y = Cos (b) }", {"x": X}, CONFIG,
                     {("OptionalGetElement", "Optional")}, id="an optional"),
        pytest.param("(float[8,8] x) => (float[8,8] y) { a = Sin (x)\n s = Constant <value_ints = "
                     "[8, 8]> ()\n b = ConstantOfShape <value = float[1] {2}> (s)\n "
                     "y = Mul (a, b) }", {"x": X}, AS_WRITTEN, set(),
                     id="a node that reads constants only"),
        pytest.param("(float[8,8] x) => (seq(map(int64, float)) y) { a = Softmax (x)\n y = "
                     "ai.onnx.ml.ZipMap <classlabels_int64s = [1,2,3,4,5,6,7,8]> (a) }",
                     {"x": X}, CONFIG, {("ZipMap", "")}, id="maps at the end"),
        pytest.param("(float[8,8] x) => (seq(float[8,8]) y, float[8,8] b) { a = Sin (x)\n "
                     "y = SequenceConstruct (a, x)\n b = Cos (a) }", {"x": X}, CONFIG,
                     {("SequenceConstruct", ""), ("Cos", "")}, id="a sequence at the end"),
        pytest.param("(float[8,8] x) => (float[3,8,8] y) { trips = Constant <value_int = 3> ()\n "
                     "go = Constant <value = bool {1}> ()\n y = Loop (trips, go) <body = body ("
                     "int64 i, bool on) => (bool still, float[8,8] o) { still = Identity (on)\n "
                     "o = Cos (x) }> }", {"x": X}, CONFIG, set(), id="a loop of constants"),
        pytest.param("(float[8,8] x) => (float[8,8] y) { a = Sin (x)\n q = SequenceConstruct (a)\n"
                     "trips = Constant <value_int = 3> ()\n go = Constant <value = bool {1}> ()\n "
                     "r = Loop (trips, go, q) <body = body (int64 i, bool on, seq(float[8,8]) v) "
                     "=> (bool still, seq(float[8,8]) w) { w = SequenceInsert (v, a)\n "
                     "b = Cos (a)\n c = ReduceMax <keepdims = 0> (b)\n d = Cast <to = 9> (c)\n "
                     "still = Or (on, d) }>\n i = Constant <value_int = 1> ()\n "
                     "e = SequenceAt (r, i)\n y = Tan (e) }", {"x": X}, CONFIG,
                     {("Loop", "SequenceConstruct"), ("SequenceInsert", "SequenceConstruct"),
                      ("SequenceAt", "SequenceConstruct")}, id="a loop over a sequence"),
        pytest.param("(float[8,8] x, bool k) => (seq(float[8,8]) y) { a = Sin (x)\n y = If (k) <"
                     "then_branch = t () => (seq(float[8,8]) q) { b = Cos (a)\n q = "
                     "SequenceConstruct (a, b) }, else_branch = e () => (seq(float[8,8]) r) { "
                     "r = SequenceConstruct (a, a) }> }", {"x": X, "k": np.array(True)}, CONFIG,
                     {("If", ""), ("Cos", ""), ("SequenceConstruct", "")},
                     id="a branch that gives a sequence, at the end"),
        pytest.param("(float[8,8] x, bool k) => (float[8,8] y) { a = Sin (x)\n q = If (k) <"
                     "then_branch = t () => (seq(float[8,8]) q1) { b = Cos (a)\n q1 = "
                     "SequenceConstruct (a, b) }, else_branch = e () => (seq(float[8,8]) r) { "
                     "r = SequenceConstruct (a, a) }>\n i = Constant <value_int = 1> ()\n c = "
                     "SequenceAt (q, i)\n y = Tan (c) }", {"x": X, "k": np.array(True)}, CONFIG,
                     {("SequenceConstruct", "If"), ("SequenceAt", "If")},
                     id="a branch that gives a sequence"),
    ],
)  # fmt: skip
def test_models_of_all_sorts(
    probe: Probe,
    graph: str,
    inputs: dict[str, Any],
    config: SessionConfig,
    covered: set[tuple[str, str]],
) -> None:
    probed = probe(parse(graph), inputs, config)
    check(probed)
    assert probed.covered() == covered


def test_weights_stay_outside(probe: Probe, tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["a"]), helper.make_node("Relu", ["a"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [8, 512])],
        [numpy_helper.from_array(np.ones((8, 512), np.float32), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    path = tmp_path / "outside.onnx"
    onnx.save(model, path, save_as_external_data=True, size_threshold=0, location="weights.bin")
    probed = probe(path, {"x": X})
    check(probed)
    for file in (probed.graph.each, probed.graph.pairs, probed.graph.frame):
        assert file.stat().st_size < 8 * 512 * 4


RANDOM = """(float[8, 8] x) => (float[8, 8] y) {
    first = RandomNormal <shape = [400, 400]> ()
    a = Sin (x)
    second = RandomNormal <shape = [400, 400]> ()
    b = Slice (first, zeros, eights)
    c = Slice (second, zeros, eights)
    d = Add (a, b)
    y = Add (c, d)
}""".replace(
    "=> (float[8, 8] y)",
    """=> (float[8, 8] y)
    <int64[2] zeros = {0, 0}, int64[2] eights = {8, 8}>""",
)


def test_nodes_without_an_input_are_timed_wherever_they_are(probe: Probe) -> None:
    probed = probe(parse(RANDOM), {"x": X})
    check(probed, random=True)
    assert not same_values(*probed.outputs)
    assert probed.covered() == set()
    randoms = probed.rows("RandomNormal")
    others = [row for row in range(len(probed.nodes)) if row not in randoms]
    assert len(randoms) == 2
    for row in randoms:
        assert probed.self_ns(row) > 3 * sum(map(probed.self_ns, others))


def test_memory_is_planned_as_without_probes(library: ort.Library, tmp_path: Path) -> None:
    # Each Relu may write over its input, since nobody reads that any more: a probe has by then.
    graph = """(float[n, n] big) => (float[n, n] y) {
        a = Sin (big)
        b = Relu (a)
        c = Relu (b)
        y = Cos (c)
    }"""
    onnx.save(parse(graph), tmp_path / "model.onnx")
    inputs = {"big": HEAVY}
    config = SessionConfig(intra_threads=1, entries={"session.enable_mem_pattern": "0"})
    found, once, _ = executed(library, tmp_path / "model.onnx", inputs, config, tmp_path)
    probed = prepare_probes(config, found)
    with contextlib.closing(
        OrtPass(
            library,
            config,
            probed.each,
            found.nodes,
            inputs,
            tmp_path,
            **as_it_is(library, config),
        )
    ) as ort_pass:
        seen = ort_pass.record(1, 0).events
    peak = [
        events.details["mem_in_use_peak_bytes"][events.node < len(found.nodes)]
        for events in (once, seen)
    ]
    assert peak[1].tolist() == peak[0].tolist()


def test_a_trace_that_cannot_be_read_is_not_left_for_the_next(
    library: ort.Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx.save(parse("(float[8, 8] x) => (float[8, 8] y) { y = Sin (x) }"), tmp_path / "model.onnx")
    inputs = {"x": X}
    found, *_ = executed(library, tmp_path / "model.onnx", inputs, CONFIG, tmp_path)
    probed = prepare_probes(CONFIG, found)
    before = set(tmp_path.iterdir())

    def spoiled(binding: ort.Binding, folder: Path, name: str) -> Path:
        path = profile_once(binding, folder, name)
        # Beyond any time, and the end is cut off.
        path.write_bytes(
            path.read_bytes().replace(b'"dur" :', b'"dur" :9' + b"0" * 19)[:-20] + b"}"
        )
        return path

    with (
        contextlib.closing(ProbePass(library, CONFIG, probed, found.nodes, inputs)) as probe_pass,
        contextlib.closing(
            OrtPass(library, CONFIG, found.path, found.nodes, inputs, tmp_path)
        ) as ort_pass,
    ):
        with monkeypatch.context() as patched:
            patched.setattr(probe_recorder, "profile_once", spoiled)
            patched.setattr(ort_recorder, "profile_once", spoiled)
            with pytest.raises(ValueError, match="cannot be read"):
                probe_pass.require_order(tmp_path)
            with pytest.raises(ValueError, match="beyond any time"):
                ort_pass.record(2, 0)
        assert set(tmp_path.iterdir()) == before
        probe_pass.require_order(tmp_path)
        assert len(ort_pass.record(2, 0).events.inference_number) == 2


def test_what_cannot_be_probed_is_refused_with_the_reason(
    library: ort.Library, tmp_path: Path
) -> None:
    def refusal(graph: str, inputs: dict[str, Any], config: SessionConfig = CONFIG) -> str:
        onnx.save(parse(graph), tmp_path / "model.onnx")
        found, *_ = executed(library, tmp_path / "model.onnx", inputs, config, tmp_path)
        with pytest.raises(ValueError, match=r"\w") as refused:
            prepare_probes(config, found)
        return str(refused.value)

    sine = "(float[8,8] x) => (float[8,8] y) { y = Sin (x) }"
    parallel = SessionConfig(intra_threads=1, execution_mode="parallel")
    assert "parallel execution has no fixed order" in refusal(sine, {"x": X}, parallel)
    sequence = "(float[8,8] x) => (seq(float[8,8]) y) { y = SequenceConstruct (x, x) }"
    assert "no node has an output that a probe can wait for" in refusal(sequence, {"x": X})

    onnx.save(parse(sine), tmp_path / "model.onnx")
    found, *_ = executed(library, tmp_path / "model.onnx", {"x": X}, CONFIG, tmp_path)
    on_gpu = dataclasses.replace(found.nodes, provider=("CUDAExecutionProvider",))
    with pytest.raises(ValueError, match="some run on CUDAExecutionProvider"):
        prepare_probes(CONFIG, dataclasses.replace(found, nodes=on_gpu))


def recorded_in_turns(
    library: ort.Library, probed: ProbedGraph, nodes: NodeTable, inputs: dict[str, Any]
) -> Profile:
    """A profile of four processes, of which each has one of both halves, recorded in this one."""
    passes = []
    for process in range(4):
        with contextlib.closing(
            ProbePass(library, CONFIG, probed, nodes, inputs, process % 2)
        ) as probe_pass:
            passes.append(probe_pass.record(100, process))
    splits = [one.split for one in passes if one.split is not None]
    return dataclasses.replace(
        profile(),
        nodes=dataclasses.replace(nodes, carrier=probed.carriers),
        traces={
            "probe": merge_events([one.nodes for one in passes]),
            "probe_split": merge_events(splits),
        },
    )


def test_a_probe_that_stands_before_another_node_is_found_by_the_split(
    library: ort.Library, tmp_path: Path
) -> None:
    # Eight nodes in a row. The probe of the fifth waits for the third and not for the fourth:
    # ORT executes it before the fourth, whose time then falls to the fifth.
    names = ["x", *"abcdefg", "y"]
    nodes = [
        helper.make_node("Sigmoid" if number % 2 else "Tanh", [one], [other])
        for number, (one, other) in enumerate(itertools.pairwise(names))
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4096])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4096])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.save(model, tmp_path / "model.onnx")
    inputs = {"x": np.linspace(-3, 3, 4096, dtype=np.float32)}
    found, *_ = executed(library, tmp_path / "model.onnx", inputs, CONFIG, tmp_path)
    probed = prepare_probes(CONFIG, found)
    places = np.argsort(found.nodes.order).tolist()

    split = split_of(recorded_in_turns(library, probed, found.nodes, inputs))
    assert split is not None
    assert split.halves == 2
    assert split.nodes == 8
    assert not split.doubtful
    assert not [one for one in split.stretches if one.doubtful]

    each = onnx.load(probed.each)
    by_place = {
        node.attribute[0].i: node for node in each.graph.node if node.domain == native_probe.DOMAIN
    }
    by_place[places[4]].input[:] = by_place[places[3]].input
    onnx.save(each, probed.each)
    spoilt = recorded_in_turns(library, probed, found.nodes, inputs)
    split = split_of(spoilt)
    assert split is not None
    around = {row for one in split.stretches if one.doubtful for row in one.rows}
    assert {places[3], places[4]} <= around
    assert around <= set(places[2:6])
    assert not split.doubtful, "of the whole nothing is missing"
    told = operator_table(spoilt)
    assert isinstance(told, OperatorTable)
    assert {row.order for row in told.operators if row.doubt} == around


def test_more_stamps_than_expected_are_counted_and_their_inferences_left_out(
    library: ort.Library, tmp_path: Path
) -> None:
    # A loop that runs once while its stamps are counted, and fifty times afterwards.
    graph = """(float[8, 8] x, int64 count) => (float[8, 8] y) {
        go = Constant <value = bool {1}> ()
        y = Loop (count, go, x) <body = body (int64 i, bool on, float[8, 8] v) =>
            (bool still, float[8, 8] w) { still = Identity (on)
            w = Sin (v) }>
    }"""
    count = np.array(1)
    inputs = {"x": X, "count": count}
    onnx.save(parse(graph), tmp_path / "model.onnx")
    found, *_ = executed(library, tmp_path / "model.onnx", inputs, CONFIG, tmp_path)
    probed = prepare_probes(CONFIG, found)
    with contextlib.closing(ProbePass(library, CONFIG, probed, found.nodes, inputs)) as probe_pass:
        expected = probe_pass.stamps_in_inference
        count[...] = 2  # a body more than what was counted
        events = probe_pass.record(INFERENCES, 0).nodes
        assert events.dropped == 0, "there is room for twice as many"
        count[...] = 5
        events = probe_pass.record(2 * INFERENCES, 0).nodes
    in_inference = np.bincount(events.inference)
    assert 0 < len(in_inference) < 2 * INFERENCES
    assert set(in_inference) == {1 + 5 * 2}, "no inference is there in part"
    assert events.dropped > 0
    assert expected < 1 + 5 * 2


SPOIL = """
import sys
if "harness.measuring.worker" in sys.orig_argv:
    import onnx
    import onnx.numpy_helper
    from harness.tracing.probes import graphs

    insert = graphs.insert

    def spoiled(*given):
        probed = insert(*given)
        model = onnx.load(probed.each, load_external_data=False)
{spoil}
        onnx.save(model, probed.each)
        return probed

    graphs.insert = spoiled
"""

OTHER_WEIGHT = """
tensor = next(one for one in model.graph.initializer if one.data_type == onnx.TensorProto.FLOAT)
values = onnx.numpy_helper.to_array(tensor).copy()
values.flat[0] += 0.5
tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
"""

OTHER_ORDER = """
first, second, end = (node for node in reversed(model.graph.node) if node.domain)
early, late = (
    next(node for node in model.graph.node if name in node.output)
    for name in (second.input[0], end.input[0])
)
second.input[0] = late.output[0]
end.input.append(early.output[0])
"""

LATE_PROBE = """
last = model.graph.node[-1]
second = model.graph.node[-2]
last.input[0], last.name, second.name = second.input[0], second.name, last.name
"""

ANOTHER_NODE = """
model.graph.node.append(onnx.helper.make_node("Neg", ["x"], ["spoiling"]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (OTHER_WEIGHT, "outputs with probes differ from those without"),
        (OTHER_ORDER, "with probes, nodes run in another order (2, from "),
        (ANOTHER_NODE, "with probes, additional nodes run (1, such as Neg"),
    ],
    ids=["weight", "order", "node"],
)
def test_a_probed_graph_that_is_not_the_same_is_refused(
    harness: Harness, surroundings: dict[str, str], tmp_path: Path, spoil: str, reason: str
) -> None:
    graph = """(float[8, 8] x) => (float[8, 8] y, float[8, 8] z) <float[1] w = {0.5}> {
        y = Mul (x, w)
        z = Cos (x)
    }"""
    onnx.save(parse(graph), tmp_path / "model.onnx")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(
        SPOIL.format(spoil=textwrap.indent(spoil, " " * 8))
    )
    path = f"{tmp_path / 'site'}:{surroundings['PYTHONPATH']}"
    profiled = subprocess.run(
        [sys.executable, "-m", "harness", *PROFILE, "model.onnx"],
        cwd=tmp_path,
        env={**surroundings, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert profiled.returncode == 0, profiled.stderr
    profile = package.read_profile(tmp_path / "out.h5")
    assert set(profile.traces) == {"ort"}
    (why,) = (why for what, why in profile.absent if what == "trace/probe")
    assert why.startswith(reason)

    told = json.loads(harness("ops", "out.h5", "--json").stdout)
    assert {row["source"] for row in told["operators"]} == {"ort"}
    assert {row["op_type"] for row in told["operators"]} == {"Mul", "Cos"}
    assert told["accounts"]["source"] == "ort"
    assert reason in harness("ops", "out.h5", "--source", "probe").stdout
    for command in ("ops", "show"):
        assert "by ORT's profiler" in harness(command, "out.h5").stdout
    assert reason in harness("show", "out.h5").stdout


PROFILE = (
    *("profile", "--quick", "--processes", "1", "--duration", "0.02", "--threads", "1"),
    *("--output", "out.h5"),
)


def test_a_model_that_is_random_is_probed_and_said_to_be_unchecked(
    harness: Harness, tmp_path: Path
) -> None:
    onnx.save(parse(RANDOM), tmp_path / "model.onnx")
    profiled = harness(*PROFILE, "model.onnx")
    assert profiled.returncode == 0, profiled.stderr
    profile = package.read_profile(tmp_path / "out.h5")
    assert set(profile.traces) == {"probe", "probe_calibration", "probe_split", "ort"}
    (why,) = (why for what, why in profile.absent if what == "probe guard")
    assert "differ even without probes" in why
    told = json.loads(harness("ops", "out.h5", "--json").stdout)
    assert told["accounts"]["uncovered"] == []
    assert {row["source"] for row in told["operators"]} == {"probe"}
    accounts = told["accounts"]
    assert accounts["residual"] == pytest.approx(accounts["told_ns"] / accounts["clean_ns"] - 1)
    assert "unexplained_ns" not in accounts, "it closed whatever was wrong"


def test_what_no_probe_covers_is_named(harness: Harness, tmp_path: Path) -> None:
    graph = """(float[8, 8] x) => (seq(float[8, 8]) y) {
        a = Sin (x)
        y = SequenceConstruct (a, x)
    }"""
    onnx.save(parse(graph), tmp_path / "model.onnx")
    profiled = harness(*PROFILE, "model.onnx")
    assert profiled.returncode == 0, profiled.stderr
    told = json.loads(harness("ops", "out.h5", "--json").stdout)
    assert told["accounts"]["uncovered"][0].startswith("SequenceConstruct")
    assert "SequenceConstruct" in harness("ops", "out.h5").stdout


def test_parallel_execution_is_profiled_without_probes_and_says_why(
    harness: Harness, tmp_path: Path
) -> None:
    onnx.save(parse("(float[8,8] x) => (float[8,8] y) { y = Sin (x) }"), tmp_path / "model.onnx")
    profiled = harness(*PROFILE, "--execution-mode", "parallel", "model.onnx")
    assert profiled.returncode == 0, profiled.stderr
    profile = package.read_profile(tmp_path / "out.h5")
    assert ("trace/probe", "parallel execution has no fixed order, which probes need") in (
        profile.absent
    )
    assert set(profile.traces) == {"ort"}
