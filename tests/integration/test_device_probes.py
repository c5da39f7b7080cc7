"""Probes among the nodes of a device and of the CPU, in a real ONNX Runtime.

The device is a double (``tests/doubles/device.c``): an execution provider whose memory and stream
are not the CPU's, so that ONNX Runtime adds copies and changes between streams as with a GPU.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import TensorProto, helper

from harness.config.session import SessionConfig
from harness.models.executed_graph import ExecutedGraph
from harness.models.outputs import same_values
from harness.native import ort
from harness.native import probe as native_probe
from harness.ort.library import ort_library
from harness.ort.providers import by_name
from harness.ort.session import bind, open_session
from harness.tracing import sessions
from harness.tracing.ort_profiler.recorder import OrtPass
from harness.tracing.probes import recorder, times
from harness.tracing.probes.graphs import FIRST_OF_PAIR, FURTHER_BEGIN, FURTHER_END, ProbedGraph
from harness.tracing.probes.recorder import ProbePass, prepare_probes
from tests.doubles import build_device

CONFIG = SessionConfig(intra_threads=1, optimization="disable")
INFERENCES = 16

DEVICE = "TestDevice"
ON_DEVICE = {"Sin", "Cos", "Tan", "Exp", "Shape", "Size", "MemcpyFromHost", "MemcpyToHost"}

X = np.linspace(-1, 1, 16, dtype=np.float32).reshape(4, 4)
GIVEN = {"count": np.array(3), "flag": np.array(True)}

Hook = Callable[[int], None]


@pytest.fixture(scope="module")
def library() -> ort.Library:
    return ort.Library(str(ort_library()))


@pytest.fixture(scope="module")
def append(library: ort.Library) -> Hook:
    """Appends the device to a session's options."""
    path = build_device()
    double = ctypes.CDLL(path)
    double.device_append.restype = ctypes.c_char_p
    double.device_append.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    base = ctypes.CDLL(library.path).OrtGetApiBase
    base.restype = ctypes.c_void_p

    def hook(options: int) -> None:
        why_not = double.device_append(base(), path.encode(), options)
        assert why_not is None, why_not.decode()

    return hook


@pytest.fixture(autouse=True)
def _on_device(append: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has sessions probed as those of the device, which is idle when Run returns."""
    idle = ctypes.cast(ctypes.CDLL(None).sched_yield, ctypes.c_void_p).value
    device = dataclasses.replace(by_name("cuda"), ort_name=DEVICE, synchronise=lambda: idle)
    monkeypatch.setattr(recorder, "_device", lambda config: device)
    as_it_is = recorder.as_it_is
    monkeypatch.setattr(
        recorder,
        "as_it_is",
        lambda library, config: as_it_is(library, config) | {"session_options_hook": append},
    )


@dataclasses.dataclass(frozen=True)
class Placed:
    """A graph with probes.

    Attributes:
        graph: the executed graph.
        probed: with probes.
        inputs: for it.
        outputs: without probes.
    """

    graph: ExecutedGraph
    probed: ProbedGraph
    inputs: dict[str, Any]
    outputs: list[Any]

    def ran(self) -> list[str]:
        """Op types in the order of execution."""
        nodes = self.graph.nodes
        return [nodes.op_type[row] for row in np.argsort(nodes.order) if nodes.order[row] >= 0]

    def probes(self, file: Path) -> dict[str, tuple[str, ...]]:
        """(operator, inputs in the host's memory, "|", others) by the node that it is before."""
        kinds = (*self.graph.nodes.op_type, "end")
        found = {}
        for node in onnx.load(file, load_external_data=False).graph.node:
            if node.domain == native_probe.DOMAIN:
                place = node.attribute[0].i
                reads = ["constant" if "constant" in one else one for one in node.input]
                told = [one for one in reads[: native_probe.HOST_TENSORS] if one]
                if node.op_type == "DeviceProbe":
                    told += ["|", *reads[native_probe.HOST_TENSORS :]]
                name = kinds[place] if place < len(kinds) else str(place)
                found[name] = (node.op_type, *told)
        return found

    def covered(self) -> dict[str, str]:
        """Nodes without a probe of their own, and whose time theirs is in, "" for none's."""
        kinds = (*self.graph.nodes.op_type, "")
        carriers = self.probed.carriers.tolist()
        return {kinds[row]: kinds[one] for row, one in enumerate(carriers) if one != row}


Place = Callable[..., Placed]


@pytest.fixture
def place(library: ort.Library, append: Hook, tmp_path: Path) -> Place:
    """Puts probes into a graph of float[4, 4] inputs, or those of GIVEN."""

    def put(model: str | onnx.ModelProto) -> Placed:
        if isinstance(model, str):
            head = '<ir_version: 10, opset_import: ["" : 21]> g '
            model = onnx.parser.parse_model(head + model)
        path = tmp_path / "model.onnx"
        onnx.save(model, path)
        inputs = {one.name: GIVEN.get(one.name, X) for one in model.graph.input}
        options: dict[str, Any] = {"session_options_hook": append}
        with (
            contextlib.closing(
                open_session(
                    library, path, CONFIG, optimized_model_path=str(tmp_path / "executed.onnx"),
                    **options,
                )
            ) as session,
            contextlib.closing(bind(session, inputs)) as binding,
        ):  # fmt: skip
            binding.run()
            outputs = binding.outputs()
        graph = sessions.saved_graph(tmp_path)
        options["optimization"] = "disable"
        with contextlib.closing(
            OrtPass(library, CONFIG, graph.path, graph.nodes, inputs, tmp_path, **options)
        ) as once:
            graph = dataclasses.replace(graph, nodes=once.record(1, 0).nodes)
        for kind, provider in zip(graph.nodes.op_type, graph.nodes.provider, strict=True):
            assert (provider == DEVICE) == (kind in ON_DEVICE)
        return Placed(graph, prepare_probes(CONFIG, graph), inputs, outputs)

    return put


MIXED = """(float[4, 4] x, float[4, 4] u) => (float[4, 4] y, float[2] n) {
    a = Sin (x)
    s = Shape (a)
    b = Cos (a)
    h = Floor (b)
    k = Exp (h)
    y = Tan (k)
    f = Cast <to = 1> (s)
    n = Neg (f)
}"""


def test_a_probe_reads_what_it_waits_for_where_that_is_and_stands_in_the_stream_of_its_node(
    place: Place,
) -> None:
    placed = place(MIXED)
    # CUDA's provider and this one leave shapes, and what MemcpyToHost copies, in the host's memory.
    assert placed.probes(placed.probed.each) == {
        "Sin": ("DeviceProbe", "constant", "|"),
        "Cos": ("DeviceProbe", "|", "a"),
        "MemcpyToHost": ("DeviceProbe", "|", "b_TestDevice"),
        "Floor": ("Probe", "b"),
        "MemcpyFromHost": ("DeviceProbe", "h", "|"),
        "Exp": ("DeviceProbe", "|", "h_TestDevice"),
        "Tan": ("DeviceProbe", "|", "k"),
        "Shape": ("DeviceProbe", "|", "y"),
        "Cast": ("Probe", "s"),
        "Neg": ("Probe", "f"),
        "end": ("Probe", "n"),
    }
    assert placed.covered() == {}


def test_all_graphs_have_the_same_probe_at_a_place(place: Place) -> None:
    placed = place(MIXED)
    probed, kinds = placed.probed, (*placed.graph.nodes.op_type, "end")
    each = placed.probes(probed.each)
    for half in probed.halves:
        assert placed.probes(half).items() < each.items()
    firsts = {str(FIRST_OF_PAIR + row): each[kind] for row, kind in enumerate(kinds)}
    assert placed.probes(probed.pairs) == each | firsts
    # The frame waits for all at its end, where it has a pair, and nothing that would be a launch.
    assert placed.probes(probed.frame) == {
        "Sin": each["Sin"],
        "end": ("DeviceProbe", "n", "|", "y"),
        str(FURTHER_BEGIN): ("DeviceProbe", "constant", "|"),
        str(FURTHER_END): ("DeviceProbe", "constant", "|"),
    }
    assert probed.further_nodes == 0
    listed = onnx.load(probed.frame, load_external_data=False).graph.node
    assert len(listed) == len(placed.graph.nodes) + 4


def test_mixed_placements_run_in_order_and_the_framework_is_measured_apart(
    library: ort.Library, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    placed = place(MIXED)
    nodes, framed = placed.graph.nodes, []
    frame = times.frame

    def spy(each: times.Stamps, frames: times.Stamps, *rest: Any) -> times.OutsideNodes:
        framed.append(frames)
        return frame(each, frames, *rest)

    monkeypatch.setattr(times, "frame", spy)
    for half in (0, 1):
        with contextlib.closing(
            ProbePass(library, CONFIG, placed.probed, nodes, placed.inputs, half)
        ) as probe_pass:
            probe_pass.require_order(tmp_path)
            assert probe_pass.half_order(tmp_path) == ""
            events, calibration, split = probe_pass.record(INFERENCES, 0)
            assert same_values(probe_pass.outputs(), placed.outputs)
        assert split is not None
        assert (np.bincount(events.node, minlength=len(nodes)) == INFERENCES).all()
        assert set(calibration.node.tolist()) == set(range(len(nodes) + 1))
        # Against the start and the end of Run, less what the pair at the end tells of two probes.
        stamps = framed.pop()
        first, last, begin, end = stamps.stamp_ns.reshape(-1, 4).T
        outside_ns = np.median(stamps.duration_ns - (last - first) - (end - begin))
        expected_ns = max(outside_ns - 2 * np.median(end - begin), 0)
        assert (events.inference_framework_ns == round(expected_ns)).all()
        assert (events.details["frame_ns"] == 0).all()


CONTROL_FLOW = """(float[4, 4] x, int64 count, bool flag) => (float[4, 4] y, float[4, 4] z) {
    a = Sin (x)
    go = Constant <value = bool {1}> ()
    b = Loop (count, go, a) <body = body (int64 i, bool on, float[4, 4] v) =>
        (bool still, float[4, 4] w) {
        still = Identity (on)
        p = Cos (v)
        q = Floor (p)
        w = Exp (q)
    }>
    c = If (flag) <
        then_branch = taken () => (float[4, 4] o) { d = Cos (b)  o = Tan (d) },
        else_branch = never () => (float[4, 4] r) { r = Floor (b) }
    >
    y = Cos (c)
    z = Tan (a)
}"""


def test_bodies_of_nodes_of_the_cpu_are_probed_in_both_streams_too(
    library: ort.Library, place: Place, tmp_path: Path
) -> None:
    placed = place(CONTROL_FLOW)
    nodes = placed.graph.nodes
    inside = [kind for kind, depth in zip(nodes.op_type, nodes.depth, strict=True) if depth]
    assert {"Cos", "Floor", "Exp", "MemcpyToHost", "MemcpyFromHost"} <= set(inside)
    with contextlib.closing(
        ProbePass(library, CONFIG, placed.probed, nodes, placed.inputs, 0)
    ) as probe_pass:
        probe_pass.require_order(tmp_path)
        assert probe_pass.half_order(tmp_path) == ""
        events = probe_pass.record(INFERENCES, 0).nodes
        assert same_values(probe_pass.outputs(), placed.outputs)
    calls = np.bincount(events.node, minlength=len(nodes))
    for row, kind in enumerate(nodes.op_type):
        if placed.probed.carriers[row] == row and nodes.order[row] >= 0:
            in_loop = kind != "Constant" and nodes.branch[row] == "body"
            assert calls[row] == INFERENCES * (3 if in_loop else 1)


def test_nothing_waits_for_the_device_that_did_not_without_probes(place: Place) -> None:
    # Sin, Size, Cos, Exp, Cast, Neg: ORT lets the reader of a size wait for all work before, and
    # that is Cast. A probe that waits for it before Cos would make launches wait.
    placed = place(
        """(float[4, 4] x) => (float[4, 4] y, float n) {
            a = Sin (x)
            z = Size (a)
            b = Cos (a)
            y = Exp (b)
            f = Cast <to = 1> (z)
            n = Neg (f)
        }"""
    )
    assert placed.covered() == {"Cos": "Size", "Exp": "Size"}
    # In front of the reader it may: with what is in the device's memory.
    assert placed.probes(placed.probed.each)["Cast"] == ("DeviceProbe", "z", "|", "y")


def test_the_timed_part_ends_before_a_last_node_that_would_have_to_be_waited_for(
    place: Place,
) -> None:
    placed = place("(float[4, 4] x) => (int64 z) { a = Sin (x)\n b = Cos (a)\n z = Size (b) }")
    assert placed.covered() == {"Size": ""}
    for file in (placed.probed.each, placed.probed.frame):
        assert placed.probes(file)["end"] == ("DeviceProbe", "|", "b")


def change(file: Path, before: str, **probe: Any) -> None:
    """Changes the probe in front of the node that writes a tensor."""
    model = onnx.load(file, load_external_data=False)
    (row,) = (one.name for one in model.graph.node if before in one.output)
    (found,) = (
        one
        for one in model.graph.node
        if one.domain == native_probe.DOMAIN and f"harness_node_{one.attribute[0].i}" == row
    )
    found.op_type = probe.get("op_type", found.op_type)
    found.input[:] = probe["reads"]
    onnx.save(model, file)


def order_of(library: ort.Library, placed: Placed, folder: Path) -> str:
    nodes = placed.graph.nodes
    with contextlib.closing(
        ProbePass(library, CONFIG, placed.probed, nodes, placed.inputs)
    ) as probe_pass:
        try:
            probe_pass.require_order(folder)
        except ValueError as error:
            return str(error)
    return ""


SHAPE = """(float[4, 4] x) => (float[4, 4] y, float[2] n) {
    a = Sin (x)
    s = Shape (a)
    b = Cos (a)
    y = Exp (b)
    f = Cast <to = 1> (s)
    n = Neg (f)
}"""


def test_a_probe_in_the_other_stream_would_run_late_and_is_noticed(
    library: ort.Library, place: Place, tmp_path: Path
) -> None:
    placed = place(SHAPE)
    assert placed.ran() == ["Sin", "Shape", "Cos", "Exp", "Cast", "Neg"]
    assert placed.probes(placed.probed.each)["Cos"] == ("DeviceProbe", "s", "|")
    assert order_of(library, placed, tmp_path) == ""
    change(placed.probed.each, "b", op_type="Probe", reads=["s"])
    assert "does not follow its probe" in order_of(library, placed, tmp_path)


def test_a_probe_that_reads_of_the_other_memory_would_add_a_copy_and_is_noticed(
    library: ort.Library, place: Place, tmp_path: Path
) -> None:
    placed = place(SHAPE)
    change(placed.probed.each, "y", reads=["b", *[""] * (native_probe.HOST_TENSORS - 1)])
    copied = "tensors are copied between host and device (1, by MemcpyToHost)"
    assert copied in order_of(library, placed, tmp_path)


def random_model(seed: int) -> onnx.ModelProto:
    """Some of its nodes run on the device, others on the CPU, with copies and sizes between."""
    choose = random.Random(seed)
    nodes, tensors, sizes = [], ["x", "u"], []
    for number in range(choose.randint(4, 14)):
        kind = choose.choice(["Sin", "Cos", "Exp", "Shape", "Size", "Floor", "Abs", "Add", "Cast"])
        name = f"t{number}"
        if kind == "Cast" and sizes:
            nodes.append(helper.make_node(kind, [choose.choice(sizes)], [f"{name}c"], to=1))
            nodes.append(helper.make_node("ReduceMax", [f"{name}c"], [name], keepdims=0))
        elif kind in ("Shape", "Size"):
            nodes.append(helper.make_node(kind, [choose.choice(tensors[-4:])], [name]))
            sizes.append(name)
            continue
        else:
            read = [choose.choice(tensors[-4:]) for _ in range(2 if kind == "Add" else 1)]
            nodes.append(helper.make_node("Neg" if kind == "Cast" else kind, read, [name]))
        tensors.append(name)
    read = {name for node in nodes for name in node.input}
    made = [name for node in nodes for name in node.output if name not in read]
    kinds = [TensorProto.INT64 if name in sizes else TensorProto.FLOAT for name in made]
    graph = helper.make_graph(
        nodes,
        "g",
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [4, 4])
            for name in ("x", "u")
            if name in read
        ],
        [helper.make_tensor_value_info(*one, None) for one in zip(made, kinds, strict=True)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def test_of_random_placements_few_are_refused_and_none_is_changed(
    library: ort.Library, place: Place, tmp_path: Path
) -> None:
    refused: list[str] = []
    for seed in range(30):
        try:
            placed = place(random_model(seed))
        except ValueError as error:
            refused.append(str(error))
            continue
        with contextlib.closing(
            ProbePass(library, CONFIG, placed.probed, placed.graph.nodes, placed.inputs, seed % 2)
        ) as probe_pass:
            try:
                probe_pass.require_order(tmp_path)
            except ValueError as error:
                refused.append(str(error))
                continue
            assert same_values(probe_pass.outputs(), placed.outputs)
            assert len(probe_pass.record(2, 0).nodes.inference_number) == 2
    expected = ("with probes, nodes run in another order", "no node has an output that a probe")
    assert all(why.startswith(expected) for why in refused), refused
    assert len(refused) <= 4, refused


def test_nodes_of_a_third_provider_are_refused(place: Place) -> None:
    placed = place(SHAPE)
    count = len(placed.graph.nodes)
    elsewhere = dataclasses.replace(
        placed.graph.nodes, provider=("TensorrtExecutionProvider",) * count
    )
    with pytest.raises(ValueError, match=r"on the CPU and CUDA, but some run on Tensorrt"):
        prepare_probes(CONFIG, dataclasses.replace(placed.graph, nodes=elsewhere))
