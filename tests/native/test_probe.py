"""The probe operators: what they pass on, what they stamp, and where they write."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import ml_dtypes
import numpy as np
import onnx.parser
import pytest
from onnx import TensorProto, helper

from harness.native import ort, probe
from harness.tracing.probes import graphs

DTYPES: dict[int, Any] = {
    TensorProto.FLOAT: np.float32,
    TensorProto.UINT8: np.uint8,
    TensorProto.INT8: np.int8,
    TensorProto.UINT16: np.uint16,
    TensorProto.INT16: np.int16,
    TensorProto.INT32: np.int32,
    TensorProto.INT64: np.int64,
    TensorProto.STRING: object,
    TensorProto.BOOL: np.bool_,
    TensorProto.FLOAT16: np.float16,
    TensorProto.DOUBLE: np.float64,
    TensorProto.UINT32: np.uint32,
    TensorProto.UINT64: np.uint64,
    TensorProto.BFLOAT16: ml_dtypes.bfloat16,
    TensorProto.FLOAT8E4M3FN: ml_dtypes.float8_e4m3fn,
    TensorProto.FLOAT8E4M3FNUZ: ml_dtypes.float8_e4m3fnuz,
    TensorProto.FLOAT8E5M2: ml_dtypes.float8_e5m2,
    TensorProto.FLOAT8E5M2FNUZ: ml_dtypes.float8_e5m2fnuz,
    TensorProto.UINT4: ml_dtypes.uint4,
    TensorProto.INT4: ml_dtypes.int4,
}

Open = Callable[..., ort.Binding]


@pytest.fixture
def bind(library: ort.Library, library_path: str) -> Iterator[Open]:
    """Binds inputs to a model of ``(inputs) => (outputs) {nodes}`` with probes in it."""
    domain = probe.domain(library_path)
    with contextlib.ExitStack() as opened:

        def open_binding(graph: str | bytes, inputs: dict[str, Any]) -> ort.Binding:
            if isinstance(graph, str):
                imports = f'["" : 21, "{probe.DOMAIN}" : 1]'
                head = f"<ir_version: 10, opset_import: {imports}> g "
                graph = onnx.parser.parse_model(head + graph).SerializeToString()
            session = ort.Session(
                library,
                graph,
                intra_threads=1,
                optimization="disable",
                custom_op_domains=(domain,),
            )
            opened.callback(session.close)
            return opened.enter_context(contextlib.closing(session.bind(inputs)))

        yield open_binding


def record(*bindings: ort.Binding, capacity: int = 100) -> tuple[list[int], list[int], int]:
    """One inference of each; (places, stamps that were stored, stamps that were taken)."""
    place, stamp_ns = np.full(capacity, -1, np.int32), np.full(capacity, -1, np.int64)
    probe.start(place, stamp_ns)
    for binding in bindings:
        binding.run()
    taken = probe.stop()
    stored = min(taken, capacity)
    assert (place[stored:] == -1).all()
    assert (stamp_ns[stored:] == -1).all()
    return place[:stored].tolist(), stamp_ns[:stored].tolist(), taken


def test_every_element_type_that_a_probe_can_read_is_tried_below() -> None:
    assert DTYPES.keys() == graphs.ELEMENT_TYPES


@pytest.mark.parametrize("element_type", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (5,), (1, 2, 1, 2, 1, 2, 1, 2, 1, 2)])
def test_waits_for_tensors_of_any_type_in_any_shape(
    bind: Open, element_type: int, shape: tuple[int, ...]
) -> None:
    values = np.arange(np.prod(shape, dtype=int)) % 5
    given = (
        np.array([f"text {one}" * 9 for one in values], object)
        if element_type == TensorProto.STRING
        else values.astype(DTYPES[element_type])
    ).reshape(shape)
    # ORT has no Identity of four bits.
    small = {TensorProto.UINT4: TensorProto.UINT8, TensorProto.INT4: TensorProto.INT8}
    to = small.get(element_type)
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["x"], ["y"], to=to)
            if to
            else helper.make_node("Identity", ["x"], ["y"]),
            helper.make_node("Probe", ["y", "x"], [], domain=probe.DOMAIN, place=8),
            helper.make_node("Probe", ["x"], [], domain=probe.DOMAIN, place=7),
        ],
        "g",
        [helper.make_tensor_value_info("x", element_type, shape)],
        [helper.make_tensor_value_info("y", to or element_type, shape)],
    )
    imports = [helper.make_opsetid("", 21), helper.make_opsetid(probe.DOMAIN, 1)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=10)
    binding = bind(model.SerializeToString(), {"x": given})
    assert record(binding)[0] == [7, 8]
    (found,) = binding.outputs()
    assert found.tolist() == given.tolist()


def test_loops_are_followed(bind: Open) -> None:
    graph = """(float[n, m] x, int64 count) => (float[n, m] y) {
        go = Constant <value = bool {1}> ()
        y = Loop (count, go, x) <body = body (int64 i, bool on, float[n, m] v) =>
            (bool still, float[n, m] w) {
            still = Identity (on)
            w = Add (v, x)
            = harness.probe.Probe <place = 4> (w, still)
            = harness.probe.Probe <place = 3> (v)
        }>
    }"""
    for count, shape in ((1, (2, 3)), (4, (5, 1)), (0, (2, 2)), (2, (0, 4))):
        x = np.random.default_rng(1).random(shape, np.float32)
        binding = bind(graph, {"x": x, "count": np.array(count)})
        places, stamps_ns, taken = record(binding)
        assert places == [3, 4] * count
        assert taken == len(stamps_ns) == 2 * count
        (y,) = binding.outputs()
        expected = x
        for _ in range(count):
            expected = expected + x
        assert y.tobytes() == expected.tobytes()


# From the last to the first: ORT starts from what stands last.
CHAIN = """(float[4] x) => (float[4] y) {
    b = Relu (x)
    y = Add (b, x)
    = harness.probe.Probe <place = 1> (y)
    = harness.probe.Probe <place = 0> (b)
    = harness.probe.Probe <place = 2> (x)
}"""


def test_stamps_follow_the_forced_order_on_the_monotonic_clock(bind: Open) -> None:
    x = np.array([-1, 0, 1, 2], np.float32)
    binding = bind(CHAIN, {"x": x})
    begin_ns = ort.monotonic_ns()
    places, stamps_ns, _ = record(binding, binding)
    assert places == [2, 0, 1, 2, 0, 1]
    moments = [begin_ns, *stamps_ns, ort.monotonic_ns()]
    assert all(a < b for a, b in itertools.pairwise(moments))
    assert binding.outputs()[0].tolist() == [-1, 0, 2, 4]


def test_what_does_not_fit_is_counted_and_nothing_is_written_past_the_end(bind: Open) -> None:
    binding = bind(CHAIN, {"x": np.zeros(4, np.float32)})
    place, stamp_ns = np.full(12, -1, np.int32), np.full(12, -1, np.int64)
    probe.start(place[4:8], stamp_ns[4:8])
    for _ in range(5):
        binding.run()
    assert probe.stop() == 15
    assert place.tolist() == [-1] * 4 + [2, 0, 1, 2] + [-1] * 4
    outside = np.r_[0:4, 8:12]
    assert (stamp_ns[outside] == -1).all()
    assert (stamp_ns[4:8] > 0).all()


def test_nothing_is_stored_before_and_after_a_recording(bind: Open) -> None:
    binding = bind(CHAIN, {"x": np.zeros(4, np.float32)})
    place, stamp_ns = np.full(9, -1, np.int32), np.full(9, -1, np.int64)
    binding.run()
    probe.start(place, stamp_ns)
    binding.run()
    assert probe.stop() == 3
    kept = stamp_ns.copy()
    binding.run()
    assert probe.stop() == 3, "ended already"
    assert (stamp_ns == kept).all()
    assert record()[2] == 0, "each recording counts from the start"


def test_sessions_side_by_side_share_a_recording(bind: Open) -> None:
    x = {"x": np.zeros(4, np.float32)}
    one, other = bind(CHAIN, x), bind(CHAIN.replace("place = 2", "place = 5"), x)
    places, stamps_ns, _ = record(one, other, one)
    assert places == [2, 0, 1, 5, 0, 1, 2, 0, 1]
    assert stamps_ns == sorted(stamps_ns)


@pytest.mark.parametrize(
    ("place", "stamp_ns"),
    [
        (np.zeros(3, np.int32), np.zeros(4, np.int64)),
        (np.zeros(0, np.int32), np.zeros(0, np.int64)),
        (np.zeros(3, np.int64), np.zeros(3, np.int64)),
        (np.zeros(3, np.int32), np.zeros(6, np.int64)[::2]),
    ],
    ids=["two lengths", "no room", "wrong type", "not contiguous"],
)
def test_buffers_that_do_not_fit_are_refused(place: Any, stamp_ns: Any) -> None:
    with pytest.raises(ValueError, match=r"length|mismatch|contiguous"):
        probe.start(place, stamp_ns)


DEVICE = "CUDAExecutionProvider"

MISSING = ["", "", "", "", "", "", "", ""]


def on_device() -> bytes:
    """A model with probes that wait for tensors of the host, of the device, and of both."""
    made = {
        3: ["s", "there", *MISSING[2:], "y", "b"],
        2: [*MISSING, "b"],
        1: ["there", *MISSING[1:]],
    }
    nodes = [
        helper.make_node("Relu", ["x"], ["b"]),
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Add", ["b", "x"], ["y"]),
        *(
            helper.make_node("DeviceProbe", reads, [], domain=probe.DOMAIN, place=place)
            for place, reads in made.items()
        ),
        helper.make_node("Probe", ["x"], [], domain=probe.DOMAIN, place=0),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])],
        [helper.make_tensor("there", TensorProto.INT64, [1], [0])],
    )
    imports = [helper.make_opsetid("", 21), helper.make_opsetid(probe.DOMAIN, 1)]
    serialized: bytes = helper.make_model(
        graph, opset_imports=imports, ir_version=10
    ).SerializeToString()
    return serialized


@pytest.mark.parametrize("provider", [DEVICE, "CPUExecutionProvider"])
def test_the_probes_of_a_device_are_registered_for_the_cpu_too(
    library: ort.Library, library_path: str, provider: str
) -> None:
    # Of CUDA's, ORT can only use the second registration here; of the CPU's, either.
    assert len(MISSING) == probe.HOST_TENSORS
    domain = probe.domain(library_path, provider)
    with contextlib.closing(
        ort.Session(
            library,
            on_device(),
            intra_threads=1,
            optimization="disable",
            custom_op_domains=(domain,),
        )
    ) as session:
        binding = session.bind({"x": np.array([-1, 0, 1, 2], np.float32)})
        assert record(binding, binding)[0] == [0, 1, 2, 3] * 2
        assert binding.outputs()[0].tolist() == [-1, 0, 2, 4]
        binding.close()


def test_each_provider_has_one_domain_for_the_whole_process(library_path: str) -> None:
    names = ("", DEVICE, "OtherExecutionProvider", "x" * 63)
    made = {name: probe.domain(library_path, name) for name in names}
    assert len(set(made.values())) == len(names)
    assert {name: probe.domain(library_path, name) for name in names} == made


def test_the_probes_of_a_device_are_unknown_without_one(bind: Open) -> None:
    with pytest.raises(RuntimeError, match="Probe"):
        bind(on_device(), {"x": np.zeros(4, np.float32)})


@pytest.mark.parametrize("name", ["x" * 64, "CUDA\0ExecutionProvider"])
def test_a_name_that_no_provider_has_is_refused(library_path: str, name: str) -> None:
    with pytest.raises(ValueError, match="name of an execution provider"):
        probe.domain(library_path, name)


@pytest.mark.parametrize("path", ["libc.so.6", "/nowhere/libonnxruntime.so", __file__])
def test_the_domain_of_what_is_not_onnx_runtime_is_refused(path: str) -> None:
    with pytest.raises(OSError, match=path):
        probe.domain(path)


def test_a_probe_without_a_place_is_refused(bind: Open) -> None:
    with pytest.raises(RuntimeError, match="place"):
        bind(CHAIN.replace("<place = 1>", ""), {"x": np.zeros(4, np.float32)})
