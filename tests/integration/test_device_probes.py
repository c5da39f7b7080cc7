"""Probes among nodes of a device and of the CPU; here the CPU executes all of them.

What a trace says of the nodes' providers is made up: the operators that a probe of each place is,
what it waits for, and the accounts depend on nothing else. ONNX Runtime runs the device's probes
by their second registration, that for the CPU.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest

from harness.config.session import SessionConfig
from harness.models.executed_graph import ExecutedGraph
from harness.models.outputs import same_values
from harness.native import ort
from harness.native import probe as native_probe
from harness.ort.library import ort_library
from harness.ort.providers import by_name
from harness.tracing.probes import recorder, times
from harness.tracing.probes.graphs import FIRST_OF_PAIR, FURTHER_BEGIN, FURTHER_END, ProbedGraph
from harness.tracing.probes.recorder import ProbePass, prepare_probes
from tests.builders.executed import executed

CONFIG = SessionConfig(intra_threads=1, optimization="disable")
INFERENCES = 16

HOST = "CPUExecutionProvider"
DEVICE = "CUDAExecutionProvider"

X = np.linspace(-1, 1, 64, dtype=np.float32).reshape(8, 8)


@pytest.fixture(scope="module")
def library() -> ort.Library:
    return ort.Library(str(ort_library()))


@pytest.fixture(autouse=True)
def device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has sessions of the CPU probed as those of a device, which is always idle."""
    idle = ctypes.cast(ctypes.CDLL(None).sched_yield, ctypes.c_void_p).value
    stand_in = dataclasses.replace(by_name("cuda"), synchronise=lambda: idle)
    monkeypatch.setattr(recorder, "_device", lambda config: stand_in)


@dataclasses.dataclass(frozen=True)
class Placed:
    """A graph with probes, of which some nodes are said to run on a device.

    Attributes:
        graph: the executed graph.
        probed: with probes.
        outputs: without probes.
    """

    graph: ExecutedGraph
    probed: ProbedGraph
    outputs: list[Any]

    def probes(self, file: Path) -> dict[str, tuple[str, ...]]:
        """(operator, tensors that it waits for) of each probe, by the node that it is before."""
        kinds = (*self.graph.nodes.op_type, "end")
        found = {}
        for node in onnx.load(file, load_external_data=False).graph.node:
            if node.domain == native_probe.DOMAIN:
                place = node.attribute[0].i
                known = place < len(kinds)
                after = [one for one in node.input if "constant" not in one]
                found[kinds[place] if known else str(place)] = (node.op_type, *after)
        return found

    def covered(self) -> dict[str, str]:
        """Nodes without a probe of their own, and whose time theirs is in, "" for none's."""
        kinds = (*self.graph.nodes.op_type, "")
        carriers = self.probed.carriers.tolist()
        return {kinds[row]: kinds[one] for row, one in enumerate(carriers) if one != row}


Place = Callable[..., Placed]


@pytest.fixture
def place(library: ort.Library, tmp_path: Path) -> Place:
    """Puts probes into a graph of which nodes of these op types run on the CPU."""

    def put(text: str, on_cpu: set[str], inputs: dict[str, Any]) -> Placed:
        head = '<ir_version: 10, opset_import: ["" : 21]> g '
        onnx.save(onnx.parser.parse_model(head + text), tmp_path / "model.onnx")
        graph, _, outputs = executed(library, tmp_path / "model.onnx", inputs, CONFIG, tmp_path)
        providers = tuple(HOST if kind in on_cpu else DEVICE for kind in graph.nodes.op_type)
        nodes = dataclasses.replace(graph.nodes, provider=providers)
        graph = dataclasses.replace(graph, nodes=nodes)
        return Placed(graph, prepare_probes(CONFIG, graph), outputs)

    return put


# In the order in which ORT executes them, but for Shape and Size, which it puts before Mul.
MIXED = """(float[8, 8] x, float[8, 8] u) => (float[8, 8] y, int64[2] n) {
    a = Sin (x)
    b = Cos (a)
    c = Tan (b)
    h = Floor (u)
    g = Ceil (h)
    d = Add (c, g)
    y = Exp (d)
    s = Shape (y)
    k = Neg (s)
    z = Size (b)
    n = Mul (k, z)
}"""
ON_CPU = {"Floor", "Ceil", "Neg", "Mul"}


def test_a_probe_reads_what_it_waits_for_where_that_is_and_stands_where_it_is_waited_for(
    place: Place,
) -> None:
    placed = place(MIXED, ON_CPU, {"x": X, "u": X})
    probes = placed.probes(placed.probed.each)
    assert probes["Sin"] == ("HostTensorProbe",), "a constant in the host's memory"
    assert probes["Cos"] == ("DeviceProbe", "a")
    assert probes["Floor"] == ("DeviceProbe", "c"), "of the CPU, but waits for nothing there"
    assert probes["Ceil"] == ("Probe", "h")
    assert probes["Add"] == ("HostTensorProbe", "g")
    assert probes["Neg"] == ("Probe", "s"), "the device's kernel leaves a shape in the host's"
    assert probes["Size"] == ("HostTensorProbe", "k")
    assert probes["Mul"] == ("Probe", "z"), "which waits for it, too"
    assert probes["end"] == ("Probe", "n")
    assert placed.covered() == {}


def test_all_graphs_have_the_same_probe_at_a_place(place: Place) -> None:
    placed = place(MIXED, ON_CPU, {"x": X, "u": X})
    probed, count = placed.probed, len(placed.graph.nodes)
    each = placed.probes(probed.each)
    for half in probed.halves:
        assert placed.probes(half).items() < each.items()
    pairs = placed.probes(probed.pairs)
    kinds = (*placed.graph.nodes.op_type, "end")
    assert {str(FIRST_OF_PAIR + row): each[kinds[row]] for row in range(count + 1)} | each == pairs
    # The frame has a pair behind the last node, and nothing that would be a launch.
    assert placed.probes(probed.frame) == {
        "Sin": each["Sin"],
        "end": each["end"],
        str(FURTHER_BEGIN): ("Probe",),
        str(FURTHER_END): ("Probe",),
    }
    assert probed.further_nodes == 0
    listed = onnx.load(probed.frame, load_external_data=False).graph.node
    assert len(listed) == count + 4


def test_mixed_placements_run_in_order_and_the_framework_is_measured_apart(
    library: ort.Library, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = {"x": X, "u": X}
    placed = place(MIXED, ON_CPU, inputs)
    nodes, framed = placed.graph.nodes, []
    frame = times.frame

    def spy(each: times.Stamps, frames: times.Stamps, *rest: Any) -> times.OutsideNodes:
        framed.append(frames)
        return frame(each, frames, *rest)

    monkeypatch.setattr(times, "frame", spy)
    for half in (0, 1):
        with contextlib.closing(
            ProbePass(library, CONFIG, placed.probed, nodes, inputs, half)
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


SIZES = """(float[8, 8] x) => (int64 n) {
    a = Sin (x)
    one = Size (a)
    other = Size (a)
    n = Mul (one, other)
}"""


@pytest.mark.parametrize("on_cpu", [{"Mul"}, set()], ids=["reader on the CPU", "on the device"])
def test_nothing_waits_for_the_device_that_did_not_without_probes(
    place: Place, on_cpu: set[str]
) -> None:
    # ORT lets the reader of a size wait for all work before. Before the second one no node reads
    # the first, so a probe would make launches wait that do not otherwise.
    placed = place(SIZES, on_cpu, {"x": X})
    probes = placed.probes(placed.probed.each)
    assert placed.graph.nodes.op_type.count("Size") == 2
    if on_cpu:
        assert probes["Mul"] == ("Probe", "other", "one")
        assert placed.covered() == {"Size": "Size"}
    else:
        assert probes["end"] == ("DeviceProbe", "n")
        assert placed.covered() == {"Size": "Size", "Mul": "Size"}, "it can wait for one only"


def test_a_place_that_waits_for_both_memories_shares_its_time(place: Place) -> None:
    placed = place(
        """(float[8, 8] x) => (float[8, 8] y) {
            a = Sin (x)
            z = Size (a)
            b = Exp (a)
            y = Trilu (b, z)
        }""",
        set(),
        {"x": X},
    )
    # They run as Sin, Size, Exp, Trilu: nobody reads the size before Exp, and before Trilu there
    # are the size in the host's memory and the other one in the device's.
    assert placed.probes(placed.probed.each) == {
        "Sin": ("HostTensorProbe",),
        "Size": ("DeviceProbe", "a"),
        "end": ("DeviceProbe", "y"),
    }
    assert placed.covered() == {"Exp": "Size", "Trilu": "Size"}


def test_the_timed_part_ends_before_a_last_node_that_would_have_to_be_waited_for(
    place: Place,
) -> None:
    placed = place(
        "(float[8, 8] x) => (int64 z) { a = Sin (x)\n b = Cos (a)\n z = Size (b) }", set(), {"x": X}
    )
    assert placed.covered() == {"Size": ""}
    assert placed.probes(placed.probed.each)["end"] == ("DeviceProbe", "b")
    assert placed.probes(placed.probed.frame)["end"] == ("DeviceProbe", "b")
