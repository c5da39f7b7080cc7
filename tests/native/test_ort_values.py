"""What goes into a model and comes out of it."""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from harness.native import ort

Infer = Callable[..., list[Any]]
OpenSession = Callable[..., ort.Session]

PLAIN_TYPES = {
    "float": "float32",
    "double": "float64",
    "float16": "float16",
    "bool": "bool",
    "int8": "int8",
    "int16": "int16",
    "int32": "int32",
    "int64": "int64",
    "uint8": "uint8",
    "uint16": "uint16",
    "uint32": "uint32",
    "uint64": "uint64",
}
SMALL_TYPES = {
    "bfloat16": "bfloat16",
    "float8e4m3fn": "float8_e4m3fn",
    "float8e4m3fnuz": "float8_e4m3fnuz",
    "float8e5m2": "float8_e5m2",
    "float8e5m2fnuz": "float8_e5m2fnuz",
    "float8e8m0": "float8_e8m0fnu",
    "float4e2m1": "float4_e2m1fn",
    "int4": "int4",
    "uint4": "uint4",
    "int2": "int2",
    "uint2": "uint2",
}


def numpy_type(name: str) -> np.dtype[Any]:
    return np.dtype(getattr(ml_dtypes, name, None) or name)


def samples(dtype: np.dtype[Any], count: int) -> np.ndarray:
    """Values from the type's whole range, the negative ones of a signed type too."""
    if dtype.name in ("int4", "uint4", "int2", "uint2"):
        info = ml_dtypes.iinfo(dtype)
        return np.resize(np.arange(int(info.min), int(info.max) + 1), count).astype(dtype)
    noise = np.random.default_rng(0).integers(0, 256, count * dtype.itemsize, np.uint8)
    if dtype.name == "bool":
        noise &= 1
    if dtype.name == "float4_e2m1fn":
        noise &= 0xF
    return noise.view(dtype)


@pytest.mark.parametrize(("onnx_name", "dtype"), (PLAIN_TYPES | SMALL_TYPES).items())
@pytest.mark.parametrize("shape", [(3, 5), (1, 1), (2, 0)])
def test_every_element_type_comes_back_bit_for_bit(
    session: OpenSession, onnx_name: str, dtype: str, shape: tuple[int, ...]
) -> None:
    opened = session(f"({onnx_name}[a,b] x) => ({onnx_name}[a,b] x) {{}}")
    assert opened.inputs == (ort.ValueType("x", "tensor", dtype, ("a", "b")),)
    given = samples(numpy_type(dtype), shape[0] * shape[1]).reshape(shape)
    binding = opened.bind({"x": given})
    binding.run()
    (result,) = binding.outputs()
    assert result.dtype == given.dtype
    assert result.shape == shape
    assert result.tobytes() == given.tobytes()


@pytest.mark.parametrize("onnx_name", sorted(SMALL_TYPES.keys() - {"float4e2m1"}))
def test_small_elements_mean_the_same_to_ort(infer: Infer, onnx_name: str) -> None:
    # ORT's own Cast reads them: a wrong order within a byte would not show in a round trip.
    given = samples(numpy_type(SMALL_TYPES[onnx_name]), 19)
    (result,) = infer(
        f"({onnx_name}[n] x) => (float[n] y) {{ y = Cast<to=1>(x) }}", {"x": given}, 25
    )
    if onnx_name != "float8e8m0":  # ORT 1.31 makes its lowest value a NaN
        np.testing.assert_array_equal(result, given.astype(np.float32))
    else:
        lowest = given.view(np.uint8) == 0
        np.testing.assert_array_equal(result[~lowest], given.astype(np.float32)[~lowest])


@pytest.mark.parametrize("onnx_name", ["int4", "uint4", "int2", "uint2"])
def test_small_elements_made_by_ort_are_read_rightly(infer: Infer, onnx_name: str) -> None:
    wanted = samples(numpy_type(onnx_name), 7)
    number = {"uint4": 21, "int4": 22, "uint2": 25, "int2": 26}[onnx_name]
    graph = f"(float[n] x) => ({onnx_name}[n] y) {{ y = Cast<to={number}>(x) }}"
    (result,) = infer(graph, {"x": wanted.astype(np.float32)}, 25)
    assert result.dtype == wanted.dtype
    np.testing.assert_array_equal(result.astype(int), wanted.astype(int))


def readonly(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(np.float32(2.5) + np.zeros(()), id="scalar"),
        pytest.param(np.zeros((0, 3)), id="empty"),
        pytest.param(np.arange(12.0).reshape(3, 4).T[::-2], id="strided"),
        pytest.param(np.asfortranarray(np.arange(6.0).reshape(2, 3)), id="fortran"),
        pytest.param(np.arange(5, dtype=">f8"), id="big-endian"),
        pytest.param(
            np.frombuffer(bytes(1) + np.arange(4.0).tobytes(), "f8", 4, 1), id="unaligned"
        ),
        pytest.param(readonly(np.arange(4.0)), id="read-only"),
        pytest.param(np.broadcast_to(np.float64(3), (2, 2)), id="broadcast"),
        pytest.param(np.arange(3.0).view(np.recarray), id="subclass"),
    ],
)
def test_an_array_may_lie_in_memory_in_any_way(infer: Infer, given: np.ndarray) -> None:
    (result,) = infer("(double[] x) => (double[] y) { y = Neg(x) }", {"x": np.asanyarray(given)})
    assert result.dtype == np.dtype("=f8")
    assert type(result) is np.ndarray
    np.testing.assert_array_equal(result, -np.asarray(given))


def test_an_input_keeps_its_memory(session: OpenSession) -> None:
    binding = session("(float[n] x) => (float[n] y) { y = Neg(x) }").bind(
        {"x": np.full(1 << 16, 7, "f4")}  # nothing but the binding refers to it
    )
    ballast = [np.zeros(1 << 16, "f4") for _ in range(8)]
    binding.run()
    np.testing.assert_array_equal(binding.outputs()[0], np.full(ballast[0].shape, -7))


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(np.array(["a", "", "Größe", "漢字😀"], object), id="object"),
        pytest.param(np.array(["a", "", "Größe", "漢字😀"]), id="numpy"),
        pytest.param(np.array(["a", "é"], np.dtypes.StringDType()), id="StringDType"),
        pytest.param(np.array(["a\0b", "\0", "c\0"], object), id="NUL"),
        pytest.param(np.array("é", object), id="scalar"),
        pytest.param(np.array([], object), id="none"),
        pytest.param(np.array([["a", "b"], ["c", "d"]]).T, id="strided"),
        pytest.param(np.array(["x" * 100_000], object), id="long"),
    ],
)
def test_text_comes_back_as_it_was(infer: Infer, given: np.ndarray) -> None:
    (result,) = infer("(string[] x) => (string[] y) { y = Identity(x) }", {"x": given})
    assert result.dtype == object
    assert result.shape == given.shape
    assert result.tolist() == given.tolist()


def test_bytes_are_text_and_what_is_no_text_is_replaced(infer: Infer) -> None:
    given = np.array(["é".encode(), b"\xff"], object)
    (result,) = infer("(string[n] x) => (string[n] y) { y = Identity(x) }", {"x": given})
    assert result.tolist() == ["é", "\N{REPLACEMENT CHARACTER}"]


def recursive() -> list[Any]:
    inner: list[Any] = []
    inner.append(inner)
    return inner


@pytest.mark.parametrize(
    ("given", "error"),
    [
        (np.array(["2026-01-01"], "M8[D]"), "datetime64.* has no ONNX counterpart"),
        (np.zeros(1, [("a", "i4")]), "has no ONNX counterpart"),
        (np.zeros(1, np.longdouble), "has no ONNX counterpart"),
        (np.array([1, None], object), "must be text, not int"),
        (np.float32(1), "not float32"),
        ("text", "not str"),
        (1.0, "not float"),
        ([1.0], "not float"),
        (recursive(), "sequence of sequences"),
        ({"a": 1.0}, "a dict was given for an input of type float32"),
    ],
)
def test_a_value_that_is_no_tensor_is_a_type_error(
    session: OpenSession, given: Any, error: str
) -> None:
    with pytest.raises(TypeError, match=error):
        session("(float[n] x) => (float[n] y) { y = Neg(x) }").bind({"x": given})


def test_an_unknown_input_and_unencodable_text_are_value_errors(session: OpenSession) -> None:
    opened = session("(string[n] x) => (string[n] y) { y = Identity(x) }")
    with pytest.raises(ValueError, match="the model has no input 'z'"):
        opened.bind({"z": np.array(["a"])})
    with pytest.raises(ValueError, match="surrogates not allowed"):
        opened.bind({"x": np.array(["\ud800"], object)})


@pytest.mark.parametrize("given", [np.zeros(3, "f8"), np.zeros((3, 1), "f4"), np.array(["a"])])
def test_a_tensor_of_another_type_or_rank_is_refused_by_ort(
    session: OpenSession, given: np.ndarray
) -> None:
    binding = session("(float[n] x) => (float[n] y) { y = Neg(x) }").bind({"x": given})
    with pytest.raises(ort.OrtError) as caught:
        binding.run()
    assert caught.value.code == "INVALID_ARGUMENT"
    assert caught.value.completed == 0


def test_many_inputs_and_outputs_keep_their_order(infer: Infer) -> None:
    count = 60
    inputs = ", ".join(f"float[n] x{i}" for i in range(count))
    outputs = ", ".join(f"float[n] y{i}" for i in reversed(range(count)))
    nodes = " ".join(f"y{i} = Neg(x{i})" for i in range(count))
    feeds = {f"x{i}": np.full(2, i, "f4") for i in range(count)}
    results = infer(f"({inputs}) => ({outputs}) {{ {nodes} }}", feeds)
    assert [result.tolist() for result in results] == [[-i, -i] for i in reversed(range(count))]


def test_an_output_of_data_dependent_shape_is_read(infer: Infer) -> None:
    graph = "(float[n] x) => (int64[1,?] y) { y = NonZero(x) }"
    assert infer(graph, {"x": np.array([0, 3, 0, 4], "f4")})[0].tolist() == [[1, 3]]
    assert infer(graph, {"x": np.zeros(4, "f4")})[0].shape == (1, 0)


def test_an_output_may_have_another_shape_in_each_inference(session: OpenSession) -> None:
    binding = session(
        """() => (int64[1,?] y) {
            r = RandomNormal<shape = [64], seed = 3.0>()
            p = Relu(r)
            y = NonZero(p)
        }"""
    ).bind({})
    shapes = set()
    for _ in range(20):
        binding.run()
        shapes.add(binding.outputs()[0].shape)
    assert len(shapes) > 1
    assert binding.time(np.zeros(50, np.int64), np.zeros(50, np.int64)) == 50


def test_before_the_first_inference_outputs_are_absent(session: OpenSession) -> None:
    assert session("(float[n] x) => (float[n] y) { y = Neg(x) }").bind({}).outputs() == [None]


def test_a_sequence_goes_in_and_comes_out(infer: Infer) -> None:
    parts = [np.ones((2, 2), "f4"), np.zeros(3, "f4"), np.array(5, "f4")]
    (result,) = infer("(seq(float[]) x) => (seq(float[]) y) { y = Identity(x) }", {"x": parts})
    assert len(result) == len(parts)  # and not more after each inference
    for part, wanted in zip(result, parts, strict=True):
        np.testing.assert_array_equal(part, wanted)


def test_a_sequence_may_hold_text(infer: Infer) -> None:
    graph = """(seq(string[]) x, int64 i) => (string[] one, seq(string[]) all) {
        one = SequenceAt(x, i)
        all = SequenceConstruct(one, one)
    }"""
    parts = [np.array(["a", "b"], object), np.array(["é"], object)]
    one, both = infer(graph, {"x": parts, "i": np.array(1)})
    assert one.tolist() == ["é"]
    assert [part.tolist() for part in both] == [["é"], ["é"]]


def test_a_sequence_may_come_out_empty_but_not_go_in_so(infer: Infer, session: OpenSession) -> None:
    assert infer("() => (seq(float[]) y) { y = SequenceEmpty() }", {}) == [[]]
    with pytest.raises(ValueError, match="empty sequence or map"):
        session("(seq(float[]) x) => (int64 y) { y = SequenceLength(x) }").bind({"x": []})


def test_a_sequence_has_one_element_type(session: OpenSession) -> None:
    opened = session("(seq(float[]) x) => (int64 y) { y = SequenceLength(x) }")
    with pytest.raises(ort.OrtError, match="same data type"):
        opened.bind({"x": [np.zeros(1, "f4"), np.zeros(1, "i4")]})


def test_a_sequence_of_maps_comes_out(library: ort.Library, infer: Infer) -> None:
    path = Path(library.path).parents[1] / "datasets" / "logreg_iris.onnx"
    opened = ort.Session(library, str(path), intra_threads=1)
    assert opened.outputs[1] == ort.ValueType(
        "probabilities", "sequence", "map(int64->float32)", None
    )
    with contextlib.closing(opened.bind({"float_input": np.ones((3, 2), "f4")})) as binding:
        binding.run()
        labels, rows = binding.outputs()
    assert labels.shape == (3,)
    assert [sorted(row) for row in rows] == [[0, 1, 2]] * 3
    np.testing.assert_allclose([sum(row.values()) for row in rows], 1, rtol=1e-6)

    graph = """(float[n,2] x) => (seq(map(string, float[])) y) {
        y = ai.onnx.ml.ZipMap<classlabels_strings = ["no", "ja, gern"]>(x)
    }"""
    (rows,) = infer(graph, {"x": np.array([[0.25, 0.75], [1, 0]], "f4")})
    assert rows == [{"no": 0.25, "ja, gern": 0.75}, {"no": 1.0, "ja, gern": 0.0}]


@pytest.mark.parametrize(
    ("key", "value", "given", "wanted"),
    [
        ("int64", "float", {0: 1.5, 2: 2.5}, [[1.5, 2.5]]),
        ("int64", "float", {0: 1, 1: 2}, [[1, 2]]),
        ("int64", "string", {0: "7", 5: "8"}, [[7, 8]]),
    ],
)
def test_a_map_goes_in_as_the_type_the_model_wants(
    infer: Infer, key: str, value: str, given: dict[Any, Any], wanted: list[Any]
) -> None:
    graph = f"""(map({key}, {value}) x) => (float[1,?] y) {{
        y = ai.onnx.ml.CastMap<cast_to = "TO_FLOAT", map_form = "DENSE">(x)
    }}"""
    assert infer(graph, {"x": given})[0].tolist() == wanted


def test_a_map_may_have_text_keys(infer: Infer) -> None:
    graph = """(map(string, double) x) => (double[1,?] y) {
        y = ai.onnx.ml.DictVectorizer<string_vocabulary = ["a", "b"]>(x)
    }"""
    assert infer(graph, {"x": {"b": 1.5}})[0].tolist() == [[0, 1.5]]


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({0.5: 1.0}, TypeError),
        ({0: "a"}, TypeError),
        ({0: None}, TypeError),
        ({"a": 1.0}, TypeError),
        ({0: [1.0], 1: []}, ValueError),
        ({}, ValueError),
        ({0: [1.0, 2.0]}, ort.OrtError),
        ({0: []}, ort.OrtError),
    ],
)
def test_a_map_of_another_type_is_refused(
    session: OpenSession, given: dict[Any, Any], error: type[Exception]
) -> None:
    opened = session(
        """(map(int64, float) x) => (float[1,?] y) {
            y = ai.onnx.ml.CastMap<cast_to = "TO_FLOAT", map_form = "DENSE">(x)
        }"""
    )
    with pytest.raises(error):
        opened.bind({"x": given})


def test_an_optional_input_may_be_absent(infer: Infer) -> None:
    graph = "(optional(float[n]) x) => (bool y) { y = OptionalHasElement(x) }"
    assert infer(graph, {"x": np.ones(2, "f4")}) == [True]
    assert infer(graph, {"x": None}) == [False]
    assert infer(graph, {}) == [False]


def test_an_optional_output_is_a_value_or_none(session: OpenSession, infer: Infer) -> None:
    some = "(float[n] x) => (optional(float[n]) y) { y = Optional(x) }"
    assert session(some).outputs == (ort.ValueType("y", "optional", "float32", None),)
    assert infer(some, {"x": np.ones(2, "f4")})[0].tolist() == [1, 1]
    assert infer("() => (optional(float[n]) y) { y = Optional<type = float[n]>() }", {}) == [None]

    many = "(seq(float[]) x) => (optional(seq(float[])) y) { y = Optional(x) }"
    assert session(many).outputs == (ort.ValueType("y", "optional", "sequence(float32)", None),)
    (result,) = infer(many, {"x": [np.ones(2, "f4")]})
    assert [part.tolist() for part in result] == [[1, 1]]


def test_types_say_which_dimensions_are_free(session: OpenSession) -> None:
    graph = "(float[2,n,?] a, float b, float[] c) => (float[] y) { y = Sum(a, b, c) }"
    named = session(graph).inputs
    assert [described.shape for described in named] == [(2, "n", None), (), None]
    assert pickle.loads(pickle.dumps(named)) == named


def test_texts_do_not_grow_from_inference_to_inference(infer: Callable[..., list[Any]]) -> None:
    (joined,) = infer(
        "(string[1] a) => (string[1] b) { b = StringConcat(a, a) }",
        {"a": np.array(["x"], dtype=object)},
    )
    assert joined.tolist() == ["xx"]
