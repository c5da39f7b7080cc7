"""The probe operators: what they pass on, what they stamp, and where they write."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import TensorProto, helper

from harness import _probe
from harness._ort import Binding, Library, Session, monotonic_ns

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

Open = Callable[..., Binding]


@pytest.fixture
def bind(library: Library, library_path: str) -> Iterator[Open]:
    """Binds inputs to a model of ``(inputs) => (outputs) {nodes}`` with probes in it."""
    domain = _probe.domain(library_path)
    with contextlib.ExitStack() as opened:

        def open_binding(graph: str | bytes, inputs: dict[str, Any]) -> Binding:
            if isinstance(graph, str):
                imports = f'["" : 21, "{_probe.DOMAIN}" : 1]'
                head = f"<ir_version: 10, opset_import: {imports}> g "
                graph = onnx.parser.parse_model(head + graph).SerializeToString()
            session = Session(
                library,
                graph,
                intra_threads=1,
                optimization="disable",
                custom_op_domains=(domain,),
            )
            opened.callback(session.close)
            return opened.enter_context(contextlib.closing(session.bind(inputs)))

        yield open_binding


def record(*bindings: Binding, capacity: int = 100) -> tuple[list[int], list[int], int]:
    """One inference of each; (places, stamps that were stored, stamps that were taken)."""
    place, stamp_ns = np.full(capacity, -1, np.int32), np.full(capacity, -1, np.int64)
    _probe.start(place, stamp_ns)
    for binding in bindings:
        binding.run()
    taken = _probe.stop()
    stored = min(taken, capacity)
    assert (place[stored:] == -1).all()
    assert (stamp_ns[stored:] == -1).all()
    return place[:stored].tolist(), stamp_ns[:stored].tolist(), taken


def test_every_element_type_that_has_a_probe_is_tried_below() -> None:
    assert DTYPES.keys() == _probe.ELEMENT_TYPES


@pytest.mark.parametrize("element_type", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (5,), (1, 2, 1, 2, 1, 2, 1, 2, 1, 2)])
def test_passes_on_any_type_in_any_shape_by_alias(
    bind: Open, element_type: int, shape: tuple[int, ...]
) -> None:
    # A probe writes nothing: where the values come out right, they are in the same memory.
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
            helper.make_node(f"Probe_{element_type}", ["x"], ["a"], domain=_probe.DOMAIN, place=7),
            helper.make_node("Cast", ["a"], ["y"], to=to)
            if to
            else helper.make_node("Identity", ["a"], ["y"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", element_type, shape)],
        [helper.make_tensor_value_info("y", to or element_type, shape)],
    )
    imports = [helper.make_opsetid("", 21), helper.make_opsetid(_probe.DOMAIN, 1)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=10)
    binding = bind(model.SerializeToString(), {"x": given})
    assert record(binding)[0] == [7]
    (found,) = binding.outputs()
    assert (found.dtype, found.shape) == (DTYPES[to or element_type], shape)
    assert found.tolist() == given.tolist()


def test_shapes_may_change_and_loops_are_followed(bind: Open) -> None:
    graph = """(float[n, m] x, int64 count) => (float[n, m] y) {
        go = Constant <value = bool {1}> ()
        y = Loop (count, go, x) <body = body (int64 i, bool on, float[n, m] v) =>
            (bool still, float[n, m] w) {
            u = harness.probe.Probe_1 <place = 3> (v)
            w = Add (u, x)
            d = harness.probe.Probe_9 <place = 4> (on, w)
            still = Identity (d)
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


CHAIN = """(float[4] x) => (float[4] y) {
    a = harness.probe.Probe_1 <place = 2> (x)
    b = Relu (a)
    c = harness.probe.Probe_1 <place = 0> (x, b)
    d = Add (b, c)
    y = harness.probe.Probe_1 <place = 1> (d, b, c, x)
}"""


def chain(output: str = "z = Identity (y)") -> str:
    return CHAIN.replace("(float[4] y)", "(float[4] z)").replace("\n}", f"\n    {output}\n}}")


def test_stamps_follow_the_forced_order_on_the_monotonic_clock(bind: Open) -> None:
    x = np.array([-1, 0, 1, 2], np.float32)
    binding = bind(chain(), {"x": x})
    begin_ns = monotonic_ns()
    places, stamps_ns, _ = record(binding, binding)
    assert places == [2, 0, 1, 2, 0, 1]
    moments = [begin_ns, *stamps_ns, monotonic_ns()]
    assert all(a < b for a, b in itertools.pairwise(moments))
    assert binding.outputs()[0].tolist() == [-1, 0, 2, 4]
    assert x.tolist() == [-1, 0, 1, 2], "an alias of an input must not be written to"


def test_what_does_not_fit_is_counted_and_nothing_is_written_past_the_end(bind: Open) -> None:
    binding = bind(chain(), {"x": np.zeros(4, np.float32)})
    place, stamp_ns = np.full(12, -1, np.int32), np.full(12, -1, np.int64)
    _probe.start(place[4:8], stamp_ns[4:8])
    for _ in range(5):
        binding.run()
    assert _probe.stop() == 15
    assert place.tolist() == [-1] * 4 + [2, 0, 1, 2] + [-1] * 4
    outside = np.r_[0:4, 8:12]
    assert (stamp_ns[outside] == -1).all()
    assert (stamp_ns[4:8] > 0).all()


def test_nothing_is_stored_before_and_after_a_recording(bind: Open) -> None:
    binding = bind(chain(), {"x": np.zeros(4, np.float32)})
    place, stamp_ns = np.full(9, -1, np.int32), np.full(9, -1, np.int64)
    binding.run()
    _probe.start(place, stamp_ns)
    binding.run()
    assert _probe.stop() == 3
    kept = stamp_ns.copy()
    binding.run()
    assert _probe.stop() == 3, "ended already"
    assert (stamp_ns == kept).all()
    assert record()[2] == 0, "each recording counts from the start"


def test_sessions_side_by_side_share_a_recording(bind: Open) -> None:
    x = {"x": np.zeros(4, np.float32)}
    one, other = bind(chain(), x), bind(chain().replace("place = 2", "place = 5"), x)
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
        _probe.start(place, stamp_ns)


@pytest.mark.parametrize("path", ["libc.so.6", "/nowhere/libonnxruntime.so", __file__])
def test_the_domain_of_what_is_not_onnx_runtime_is_refused(path: str) -> None:
    with pytest.raises(OSError, match=path):
        _probe.domain(path)


def test_a_model_with_a_probe_that_does_not_fit_is_refused(bind: Open) -> None:
    with pytest.raises(RuntimeError, match="Probe_1"):
        bind(
            "(double[4] x) => (double[4] y) { y = harness.probe.Probe_1 <place = 0> (x) }",
            {"x": np.zeros(4)},
        )
    with pytest.raises(RuntimeError, match="place"):
        bind(
            "(float[4] x) => (float[4] y) { y = harness.probe.Probe_1 (x) }",
            {"x": np.zeros(4, np.float32)},
        )


@pytest.mark.parametrize(
    ("given", "expected"),
    [("2, 3", (2, 3)), ("n, 3", ("n", 3)), ("n, m, 1", ("n", "m", 1))],
)
def test_a_known_shape_stays_known_behind_a_probe(
    library: Library, library_path: str, given: str, expected: tuple[int | str, ...]
) -> None:
    # Else ORT would plan the memory of all that follows differently.
    model = onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["" : 21, "{_probe.DOMAIN}" : 1]> '
        f"g (float[{given}] x) => (float y) {{ "
        "a = harness.probe.Probe_1 <place = 0> (x)\n y = Identity (a) }"
    )
    model.graph.output[0].type.tensor_type.ClearField("shape")
    domain = _probe.domain(library_path)
    session = Session(library, model.SerializeToString(), custom_op_domains=(domain,))
    assert session.outputs[0].shape == expected
    session.close()


def test_an_unknown_shape_stays_unknown_behind_a_probe(bind: Open) -> None:
    # Were unknown dimensions taken for sizes, or an unknown rank for none, ORT would find
    # that these shapes do not go together.
    graph = """(float[n] x, int64[r] shape) => (int64[one, k] y, float[p, q] z) {
        nonzero = NonZero (x)
        a = harness.probe.Probe_7 <place = 0> (nonzero)
        two = Constant <value = int64[1, 2] {1, 2}> ()
        y = Mul (a, two)
        reshaped = Reshape (x, shape)
        b = harness.probe.Probe_1 <place = 1> (reshaped)
        z = MatMul (b, b)
    }"""
    binding = bind(graph, {"x": np.float32([0, 3, 0, 4]), "shape": np.array([2, 2])})
    binding.run()
    y, z = binding.outputs()
    assert y.tolist() == [[1, 6]]
    assert z.tolist() == [[0, 12], [0, 16]]
