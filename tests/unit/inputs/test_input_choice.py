from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from harness.config.inputs import InputRequest
from harness.errors import ModelError, RequestError
from harness.inputs.choice import InputSet, candidates, choose
from harness.inputs.output_check import output_error
from tests.builders.text_models import model_of

if TYPE_CHECKING:
    from collections.abc import Callable


Attempts = Any  # of conftest: real inferences of one model


def first(model: onnx.ModelProto, **request: Any) -> InputSet:
    return next(candidates(model, InputRequest(**request)))


TABLE = np.ones((7, 2), np.float32)
IDS = "g (int64[1, 60] ids) => (float[a, b, c] y)"


@pytest.mark.parametrize(
    ("model", "greatest"),
    [
        pytest.param(model_of(f"{IDS} {{ y = Gather(table, ids) }}", table=TABLE), 6, id="direct"),
        pytest.param(
            model_of(
                f"{IDS} {{ i = Cast<to = 6>(ids) j = Add(i, two) k = Reshape(j, s)"
                " y = Gather(table, k) }",
                table=TABLE,
                two=np.int32(2),
                s=np.array([60, 1]),
            ),
            4,
            id="through a cast, a sum and a reshape",
        ),
        pytest.param(
            model_of(
                f"{IDS} {{ y = own.Lookup(table, ids) }}",
                '"": 18, "own": 1',
                '<domain: "own", opset_import: ["": 18]> Lookup (t, i) => (o) { o = Gather(t, i) }',
                table=TABLE,
            ),
            6,
            id="in a function body",
        ),
        pytest.param(
            model_of(
                f"{IDS} {{ y = If (yes) <"
                " then_branch = t () => (float[d, e, f] p) { p = Gather(table, ids) },"
                " else_branch = u () => (float[d, e, f] q) { q = Gather(table, ids) } > }",
                table=TABLE,
                yes=np.array(True),
            ),
            6,
            id="in the branches of an If",
        ),
        pytest.param(
            model_of(
                f"{IDS} {{ y, z = Loop (n, yes, zero, ids) <body = b (int64 k, bool c,"
                " float[d, e, f] old, int64[1, 60] same)"
                " => (bool go, float[d, e, f] new, int64[1, 60] still)"
                " { go = Identity(c) still = Identity(same) new = Gather(table, same) }> }",
                table=TABLE,
                n=np.array(2),
                yes=np.array(True),
                zero=np.zeros((1, 60, 2), np.float32),
            ),
            6,
            id="in the body of a Loop",
        ),
        pytest.param(
            model_of(
                f"{IDS} {{ i = Concat<axis = 1>(ids, ids) j = Slice(i, zero, eighty, one)"
                " y = Gather(table, j) }",
                table=TABLE,
                zero=np.array([0]),
                eighty=np.array([80]),
                one=np.array([1]),
            ),
            6,
            id="through a concatenation and a slice",
        ),
    ],
)
def test_indices_fill_but_stay_inside_what_they_gather(
    model: onnx.ModelProto,
    greatest: int,
    attempts: Callable[[onnx.ModelProto], Attempts],
) -> None:
    tried = attempts(model)
    made, _ = choose(model, InputRequest(), tried)
    assert len(tried.sets) == 1
    assert made.values["ids"].min() == 0
    assert made.values["ids"].max() == greatest
    assert made.records[0].chosen_because.startswith(f"values 0 to {greatest}: indexes Gather")
    assert made.records[0].chosen_because.endswith("of 7 rows")


@pytest.mark.parametrize(
    "model",
    [
        model_of("g (float[2, 6] x, int64[3] s) => (float[3, 2, 2] y) { y = Reshape(x, s) }"),
        model_of("g (float[2, 1] x, int64[3] s) => (float[5, 2, 4] y) { y = Expand(x, s) }"),
        model_of("g (float[2, 3] x, int64[2] r) => (float[4, 9] y) { y = Tile(x, r) }"),
        model_of(
            "g (float[2, 9] x, int64[1] k) => (float[2, 4] y, int64[2, 4] i) { y, i = TopK(x, k) }"
        ),
        model_of("g (int64 a, int64 b, int64 d) => (int64[7] y) { y = Range(a, b, d) }"),
        model_of(
            "g (float[5, 8] x, int64[2] b, int64[2] e) => (float[3, 4] y) { y = Slice(x, b, e) }"
        ),
        model_of("g (float[5, 8] x, int64[4] p) => (float[6, 11] y) { y = Pad(x, p) }"),
        model_of(
            "g (float[1, 1, 4, 4] x, float[4] s) => (float[1, 1, 8, 12] y) { y = Resize(x, , s) }"
        ),
        model_of("g (float[2, 5] x, int64[1] a) => (float[2, 1, 5] y) { y = Unsqueeze(x, a) }"),
        model_of("g (float[2, 5, 3] x, int64[1] a) => (float[2, 1, 3] y) { y = ReduceSum(x, a) }"),
        model_of("g (int64[2] s) => (float[3, 4] y) { y = ConstantOfShape(s) }"),
        # Only one place of the target comes from an input.
        model_of(
            "g (float[6, 4] x, int64[1] n) => (float[3, 8] y)"
            " { s = Concat<axis = 0>(n, eight) y = Reshape(x, s) }",
            eight=np.array([8]),
        ),
        model_of(
            "g (float[6, 4] x, int32 n) => (float[a, b] y)"
            " { l = Cast<to = 7>(n) o = Unsqueeze(l, zero) s = Concat<axis = 0>(o, eight)"
            " y = Reshape(x, s) }",
            eight=np.array([8]),
            zero=np.array([0]),
        ),
    ],
    ids=lambda model: model.graph.node[-1].op_type,
)
def test_inputs_that_act_as_shapes_give_the_output_that_the_model_declares(
    model: onnx.ModelProto, attempts: Callable[[onnx.ModelProto], Attempts]
) -> None:
    tried = attempts(model)
    _, outputs = choose(model, InputRequest(), tried)
    declared = [dim.dim_value for dim in model.graph.output[0].type.tensor_type.shape.dim]
    assert len(tried.sets) == 1
    assert outputs[0].ndim == len(declared)
    assert all(wanted in (0, size) for size, wanted in zip(outputs[0].shape, declared, strict=True))


DECODER = """g (int64[batch, sequence] input_ids,
 int64[batch, both] attention_mask,
 int64[batch, sequence] position_ids,
 float[batch, past_sequence, 4] past_key) => (float[batch, sequence, total] y) {
 x = Gather(words, input_ids) p = Gather(places, position_ids) h = Add(x, p)
 k = Concat<axis = 1>(past_key, h) t = Transpose<perm = [0, 2, 1]>(k) s = MatMul(h, t)
 f = Cast<to = 1>(attention_mask) o = Sub(one, f) m = Unsqueeze(o, axis) y = Sub(s, m) }"""


@pytest.mark.parametrize("mask_size", ["past_sequence + sequence", "total_sequence"])
@pytest.mark.parametrize("dims", [{}, {"past_sequence": 9}, {"sequence": 3}])
def test_a_decoder_with_a_cache_gets_one_token_and_a_mask_over_cache_and_token(
    mask_size: str, dims: dict[str, int], attempts: Callable[[onnx.ModelProto], Attempts]
) -> None:
    model = model_of(
        DECODER,
        words=np.ones((90, 4), np.float32),
        places=np.ones((256, 4), np.float32),
        one=np.float32(1),
        axis=np.array([1]),
    )
    both = model.graph.input[1].type.tensor_type.shape.dim[1]
    both.dim_param = mask_size
    tried = attempts(model)
    made, outputs = choose(model, InputRequest(dims=dims), tried)
    assert len(tried.sets) == 1
    assert made.dims["batch"] == 1
    new, past = made.dims["sequence"], made.dims["past_sequence"]
    assert new == dims.get("sequence", 1)
    assert made.values["attention_mask"].shape == (1, past + new)
    assert (made.values["attention_mask"] == 1).all()
    assert made.values["position_ids"].tolist() == [list(range(past, past + new))]
    assert outputs[0].shape == (1, new, past + new)


def test_integers_that_are_subtracted_from_one_are_a_mask_whatever_their_name() -> None:
    model = model_of(
        "g (int64[1, 8] b) => (float[1, 8] y) { f = Cast<to = 1>(b) y = Sub(one, f) }",
        one=np.float32(1),
    )
    assert first(model).values["b"].tolist() == [[1] * 8]


def test_attention_over_a_cache_is_told_how_many_tokens_there_are(
    attempts: Callable[[onnx.ModelProto], Attempts],
) -> None:
    model = model_of(
        """g (float[1, 1, 32] q, float[1, 1, 16] k, float[1, 1, 16] v, int32[1] last, int32 count,
         float[1, 2, past, 8] past_key, float[1, 2, past, 8] past_value)
        => (float[1, 1, 32] y, float[1, 2, all, 8] key, float[1, 2, all, 8] value)
        { y, key, value = com.microsoft.GroupQueryAttention <num_heads = 4, kv_num_heads = 2>
          (q, k, v, past_key, past_value, last, count) }""",
        '"": 18, "com.microsoft": 1',
    )
    tried = attempts(model)
    made, outputs = choose(model, InputRequest(), tried)
    assert len(tried.sets) == 1
    assert (made.values["last"].tolist(), made.values["count"].tolist()) == ([127], 128)
    assert outputs[1].shape == (1, 2, 128, 8)


@pytest.mark.parametrize(("kind", "greatest"), [("int64[1]", 12), ("int64[1, 8]", 19)])
def test_positions_stay_inside_the_table_of_a_rotary_embedding(
    kind: str, greatest: int, attempts: Callable[[onnx.ModelProto], Attempts]
) -> None:
    model = model_of(
        f"g (float[1, 8, 16] x, {kind} p) => (float[1, 8, 16] y)"
        " { y = com.microsoft.RotaryEmbedding <num_heads = 2, rotary_embedding_dim = 8>"
        " (x, p, cos, sin) }",
        '"": 18, "com.microsoft": 1',
        cos=np.ones((20, 4), np.float32),
        sin=np.ones((20, 4), np.float32),
    )
    tried = attempts(model)
    made, _ = choose(model, InputRequest(), tried)
    assert len(tried.sets) == 1
    assert f"values 0 to {greatest}" in made.records[1].chosen_because


def identity(signature: str) -> Any:
    elements, rest = signature.split("[", 1)
    return model_of(
        f"g ({signature}) => ({elements}[{rest.split(']')[0]}] y)"
        f" {{ y = Identity({rest.split()[-1]}) }}"
    )


@pytest.mark.parametrize(
    ("signature", "shape"),
    [
        ("float[N, 3, H, W] x", (1, 3, 224, 224)),
        ("float[batch, height, width, 3] x", (1, 224, 224, 3)),
        ("uint8[1, h, w, 3] frame", (1, 224, 224, 3)),
        ("float[?, 3, ?, ?] x", (1, 3, 224, 224)),
        ("float[b, 3, 48, w] x", (1, 3, 48, 320)),
        ("float[b, 3, 384, w] x", (1, 3, 384, 384)),
        ("float[b, 3, t, h, w] video", (1, 3, 16, 224, 224)),
        ("float[b, n] waveform", (1, 16000)),
        ("float[b, 1, n] audio", (1, 1, 16000)),
        ("float[b, 80, t] mel", (1, 80, 3000)),
        ("float[b, t, 128] features", (1, 3000, 128)),
        ("int64[batch_size, sequence_length] input_ids", (1, 128)),
        ("float[batch, seq, 768] x", (1, 128, 768)),
        ("float[batch, 10] x", (1, 10)),
        ("float[num_points, 2] x", (4, 2)),
        ("bool[2, 0, 4] x", (2, 0, 4)),
    ],
)
def test_free_dimensions_get_customary_sizes(signature: str, shape: tuple[int, ...]) -> None:
    made = first(identity(signature))
    (record,) = made.records
    assert record.shape == shape
    assert made.values[record.name].shape == shape
    assert ("set to" in record.chosen_because) == any(
        c in signature for c in ("batch", "b,", "?", "N,", "h,", "num")
    )


def test_a_cache_without_telling_names_is_known_by_the_name_of_its_input() -> None:
    model = model_of(
        "g (int64[b, s] ids, float[b, 2, p, 4] past_key, float[b, e, 4] encoder_states)"
        " => (int64[b, s] y) { y = Identity(ids) }"
    )
    assert first(model).dims == {"b": 1, "s": 1, "p": 127, "e": 128}


def test_images_of_free_size_are_also_tried_as_lines_of_text() -> None:
    sets = candidates(identity("float[n, 3, h, w] x"), InputRequest())
    assert (1, 3, 48, 320) in [made.records[0].shape for made in sets]


def test_a_detector_gets_the_image_size_of_detectors() -> None:
    model = model_of(
        "g (float[1, 3, h, w] images) => (float[1, 3, h, w] boxes) { boxes = Identity(images) }"
    )
    assert first(model).records[0].shape == (1, 3, 640, 640)


def test_weights_dictate_the_free_dimensions_that_they_meet(
    attempts: Callable[[onnx.ModelProto], Attempts],
) -> None:
    model = model_of(
        "g (float[n, c, h, w] x, float[m, f] z) => (float[p, q, r, s] y, float[m, o] v)"
        " { y = Conv(x, k) v = MatMul(z, d) }",
        k=np.ones((5, 6, 3, 3), np.float32),
        d=np.ones((11, 2), np.float32),
    )
    tried = attempts(model)
    made, _ = choose(model, InputRequest(), tried)
    assert len(tried.sets) == 1
    assert made.dims["c"] == 6
    assert made.dims["f"] == 11


def test_a_size_that_fails_is_replaced_by_what_ort_asks_for(
    attempts: Callable[[onnx.ModelProto], Attempts],
) -> None:
    model = model_of(
        "g (float[batch, sequence, 4] x) => (float[batch, sequence, 4] y) { y = Add(x, places) }",
        places=np.ones((1, 51, 4), np.float32),
    )
    tried = attempts(model)
    made, outputs = choose(model, InputRequest(), tried)
    assert made.dims == {"batch": 1, "sequence": 51}
    assert outputs[0].shape == (1, 51, 4)
    assert [len(made.values["x"][0]) for made in tried.sets] == [128, 51]


def test_values_that_fail_are_replaced(attempts: Callable[[onnx.ModelProto], Attempts]) -> None:
    # The walk does not follow products of an input with itself; ORT names the range.
    model = model_of(
        "g (int64[1, 40] ids) => (float[1, 40, 2] y) { i = Mul(ids, ids) y = Gather(table, i) }",
        table=TABLE,
    )
    tried = attempts(model)
    made, _ = choose(model, InputRequest(), tried)
    assert len(tried.sets) > 1
    assert made.values["ids"].max() <= 2


def test_values_of_a_scalar_that_fail_are_replaced(
    attempts: Callable[[onnx.ModelProto], Attempts],
) -> None:
    model = model_of(
        "g (float[1] x, int64 n) => (float[a] y)"
        " { m = Mul(n, n) s = Unsqueeze(m, zero) y = Reshape(x, s) }",
        zero=np.array([0]),
    )
    tried = attempts(model)
    made, _ = choose(model, InputRequest(), tried)
    assert len(tried.sets) > 1
    assert made.values["n"].tolist() == 1


def test_a_model_that_no_candidate_suits_is_refused_with_orts_reason_and_the_flag(
    attempts: Callable[[onnx.ModelProto], Attempts],
) -> None:
    model = model_of(
        "g (float[n, 3] x) => (float[31, b] y, float[a, b] z) { y, z = Split<axis = 0>(x, s) }",
        s=np.array([31, 1009]),
    )
    tried = attempts(model)
    with pytest.raises(ModelError, match=r"Split.*exceeds the remaining") as caught:
        choose(model, InputRequest(), tried)
    assert 2 < len(tried.sets) <= 32
    assert caught.value.exit_code == 2
    assert "\n" not in caught.value.message
    assert "`dims` n=N" in caught.value.remedy
    assert choose(model, InputRequest(dims={"n": 1040}), tried)[0].dims == {"n": 1040}


def test_the_same_seed_gives_the_same_values_and_another_seed_others() -> None:
    model = identity("float[2, 3] x")
    again, other = first(model), first(model, seed=1)
    assert first(model).records == again.records
    assert np.isfinite(again.values["x"]).all()
    assert other.records[0].sha256 != again.records[0].sha256


@pytest.mark.parametrize(
    "kind", ["float", "double", "float16", "bfloat16", "uint8", "int64", "uint64", "bool", "string"]
)
def test_values_of_every_element_type_are_made_and_run(
    kind: str, attempts: Callable[[onnx.ModelProto], Attempts]
) -> None:
    model = model_of(f"g ({kind}[2, 3] x) => ({kind}[2, 3] y) {{ y = Identity(x) }}", '"": 18')
    made, outputs = choose(model, InputRequest(), attempts(model))
    assert outputs[0].dtype == made.values["x"].dtype
    assert outputs[0].tolist() == made.values["x"].tolist()


@pytest.mark.parametrize("kind", ["float8e4m3fn", "float8e5m2", "int4", "uint4"])
def test_values_of_small_element_types_are_made_and_run(
    kind: str, attempts: Callable[[onnx.ModelProto], Attempts]
) -> None:
    model = model_of(f"g ({kind}[2, 3] x) => (float[2, 3] y) {{ y = Cast<to = 1>(x) }}", '"": 21')
    made, outputs = choose(model, InputRequest(), attempts(model))
    assert outputs[0].tolist() == made.values["x"].astype(np.float32).tolist()


MAP = """g (map(int64, float) x) => (float[1, 4] y)
 { y = ai.onnx.ml.CastMap<map_form = "SPARSE", max_map = 4>(x) }"""


@pytest.mark.parametrize(
    ("text", "header"),
    [
        ("g (seq(float[2, 3]) x) => (int64 y) { y = SequenceLength(x) }", '"": 18'),
        ("g (optional(float[2, 3]) x) => (bool y) { y = OptionalHasElement(x) }", '"": 18'),
        (MAP, '"": 18, "ai.onnx.ml": 1'),
        ("g (float x) => (float y) { y = Identity(x) }", '"": 18'),
    ],
    ids=["sequence", "optional", "map", "scalar"],
)
def test_inputs_other_than_plain_tensors_are_made(
    text: str, header: str, attempts: Callable[[onnx.ModelProto], Attempts]
) -> None:
    model = model_of(text, header)
    tried = attempts(model)
    choose(model, InputRequest(), tried)
    assert len(tried.sets) == 1


def test_an_input_without_a_rank_is_tried_with_several(
    attempts: Callable[[onnx.ModelProto], Attempts],
) -> None:
    model = model_of("g (float[2, 2] x) => (float[a, b] y) { y = Gemm(x, x) }")
    model.graph.input[0].type.tensor_type.ClearField("shape")
    made, _ = choose(model, InputRequest(), attempts(model))
    assert made.values["x"].ndim == 2


def test_inputs_with_an_initialiser_are_fed_only_when_named(tmp_path: Path) -> None:
    model = model_of(
        "g (float[2] x, float[2] w) => (float[2] y) { y = Add(x, w) }", w=np.ones(2, np.float32)
    )
    np.save(tmp_path / "w.npy", np.zeros(2, np.float32))
    assert list(first(model).values) == ["x"]
    assert list(first(model, files={"w": tmp_path / "w.npy"}).values) == ["x", "w"]


# --- Overrides -------------------------------------------------------------------------

PAIR = (
    "g (float[batch, seq, 8] x, int64[batch, seq] ids, float[?, 5] z) => (float[batch] y) {"
    " y = Identity(x) }"
)


def test_dim_binds_the_name_wherever_it_occurs() -> None:
    made = first(model_of(PAIR), dims={"seq": 17})
    assert made.values["x"].shape == (1, 17, 8)
    assert made.values["ids"].shape == (1, 17)
    assert made.dims == {"batch": 1, "seq": 17}
    assert "'seq' set to 17 (`dims` seq=17)" in made.records[0].chosen_because


def test_shape_binds_names_for_the_other_inputs() -> None:
    made = first(model_of(PAIR), shapes={"x": (3, 9, 8)})
    assert made.values["x"].shape == (3, 9, 8)
    assert made.values["ids"].shape == (3, 9)


def test_batch_sets_every_leading_free_dimension_named_or_not() -> None:
    made = first(model_of(PAIR), batch=6)
    assert [record.shape for record in made.records] == [(6, 128, 8), (6, 128), (6, 5)]


def test_fixed_sizes_hold_in_every_candidate() -> None:
    sets = list(candidates(model_of(PAIR), InputRequest(batch=2, dims={"seq": 5})))
    assert len(sets) > 3
    assert {made.values["x"].shape for made in sets} == {(2, 5, 8)}


def test_a_file_gives_values_and_sizes(tmp_path: Path) -> None:
    path = tmp_path / "ids.npy"
    ids = np.arange(8).reshape(2, 4)
    np.save(path, np.asfortranarray(ids).astype(">i8"))
    made = first(model_of(PAIR), files={"ids": path})
    assert made.values["ids"].tolist() == ids.tolist()
    assert made.values["ids"].dtype == np.int64
    assert made.values["x"].shape == (2, 4, 8)
    assert made.records[1].chosen_because == f"read from {path}"


def test_files_may_hold_text_and_types_that_numpy_saves_by_width(tmp_path: Path) -> None:
    model = model_of("g (string[2] s, bfloat16[2] b) => (string[2] y) { y = Identity(s) }")
    np.save(tmp_path / "s.npy", np.array(["one", "two"]))
    np.save(tmp_path / "b.npy", np.array([1.5, 2], ml_dtypes.bfloat16))
    made = first(model, files={"s": tmp_path / "s.npy", "b": tmp_path / "b.npy"})
    assert made.values["s"].tolist() == ["one", "two"]
    assert made.values["b"].dtype == ml_dtypes.bfloat16
    assert made.values["b"].tolist() == [1.5, 2]


def saved(array: Any, **options: Any) -> Callable[[Path], dict[str, Any]]:
    def save(folder: Path) -> dict[str, Any]:
        path = folder / "f.npy"
        np.save(path, array, **options)
        return {"files": {"ids": path}}

    return save


def written(content: bytes) -> Callable[[Path], dict[str, Any]]:
    def write(folder: Path) -> dict[str, Any]:
        path = folder / "f.npy"
        path.write_bytes(content)
        return {"files": {"ids": path}}

    return write


def archived(folder: Path) -> dict[str, Any]:
    np.savez(folder / "f.npz", np.zeros(3))
    return {"files": {"ids": folder / "f.npz"}}


@pytest.mark.parametrize(
    ("request_of", "message"),
    [
        (lambda _: {"dims": {"sequence": 3}}, r"`dims` sequence=3: .*no such free dimension"),
        (lambda _: {"shapes": {"w": (1,)}}, r"`shapes` w=1: .*no such input"),
        (lambda _: {"shapes": {"x": (1, 2)}}, r"`shapes` x=1x2: .*takes batchxseqx8"),
        (lambda _: {"shapes": {"x": (1, 2, 9)}}, r"shape is 1x2x9, but 'x' takes batchxseqx8"),
        (lambda _: {"shapes": {"x": (1, 2, 8)}, "dims": {"seq": 3}}, r"'x' takes batchx3x8"),
        (lambda _: {"batch": 2, "dims": {"batch": 3}}, r"`batch` 2: .*`dims` batch=3"),
        (lambda folder: {"files": {"ids": folder / "absent.npy"}}, r"no such file"),
        (lambda folder: {"files": {"w": folder / "absent.npy"}}, r"no such input"),
        (saved(np.zeros((2, 3), np.float32)), r"type is float32, but 'ids' takes int64"),
        (saved(np.zeros(3, np.int64)), r"shape is 3, but 'ids' takes batchxseq"),
        (saved(np.array([[{}]]), allow_pickle=True), r"is not a \.npy file of plain numbers"),
        (written(b"not numpy"), r"is not a \.npy file"),
        (written(b""), r"is not a \.npy file"),
        (archived, r"several arrays"),
        (lambda folder: {"data_set": folder / "absent"}, r"no folder with input_0\.pb"),
    ],
)
def test_a_request_that_does_not_fit_is_refused_in_one_line(
    tmp_path: Path, request_of: Callable[[Path], dict[str, Any]], message: str
) -> None:
    request = InputRequest(**request_of(tmp_path))
    with pytest.raises(RequestError, match=message) as caught:
        next(candidates(model_of(PAIR), request))
    assert caught.value.exit_code == 2
    assert "\n" not in caught.value.message
    assert caught.value.remedy


def test_an_unknown_dimension_lists_those_that_exist() -> None:
    with pytest.raises(RequestError) as caught:
        first(model_of(PAIR), dims={"nope": 1})
    assert "batch, seq" in caught.value.remedy


def test_batch_is_refused_where_all_is_fixed() -> None:
    with pytest.raises(RequestError, match="no input of the model has a free batch axis"):
        first(identity("float[2, 3] x"), batch=4)


# --- Data sets -------------------------------------------------------------------------

SUM = "g (float[n] a, float[n] b) => (float[n] y, int64[1] s) { y = Add(a, b) s = Shape(a) }"


def data_set(folder: Path, inputs: list[Any], outputs: list[Any]) -> Path:
    for prefix, arrays in (("input", inputs), ("output", outputs)):
        for number, array in enumerate(arrays):
            proto = numpy_helper.from_array(np.asarray(array))
            (folder / f"{prefix}_{number}.pb").write_bytes(proto.SerializeToString())
    return folder


def test_a_data_set_feeds_its_inputs_and_its_outputs_are_compared(
    tmp_path: Path, attempts: Callable[[onnx.ModelProto], Attempts]
) -> None:
    model = model_of(SUM)
    a, b = np.array([1, 2, 3], np.float32), np.array([4, 5, 6], np.float32)
    folder = data_set(tmp_path, [a, b], [a + b + np.float32([0, 0.5, 0]), np.array([3])])
    made, outputs = choose(model, InputRequest(data_set=folder), attempts(model))
    assert made.values["a"].tolist() == [1, 2, 3]
    assert made.dims == {"n": 3}
    assert made.records[0].chosen_because == f"from data set {folder}"
    reading = output_error(outputs, made.expected)
    assert (reading.name, reading.value, reading.unit) == ("output_error", 0.5, "1")
    assert "largest relative error 0.0667" in reading.source


def test_more_than_ten_inputs_of_a_data_set_keep_their_order(tmp_path: Path) -> None:
    names = [f"x{number}" for number in range(12)]
    model = model_of(
        f"g ({', '.join(f'float[1] {name}' for name in names)}) => (float[1] y)"
        " { y = Identity(x0) }"
    )
    folder = data_set(tmp_path, [np.float32([number]) for number in range(12)], [])
    made = first(model, data_set=folder)
    assert [made.values[name].item() for name in names] == list(range(12))
    assert made.expected is None


def test_sequences_and_optionals_of_a_data_set_are_read(tmp_path: Path) -> None:
    model = model_of(
        "g (seq(float[2]) s, optional(float[2]) o, optional(float[2]) none)"
        " => (int64 y) { y = SequenceLength(s) }"
    )
    value = np.array([1, 2], np.float32)
    protos = (
        numpy_helper.from_list([value, value]),
        numpy_helper.from_optional(value),
        numpy_helper.from_optional(None),
    )
    for number, proto in enumerate(protos):
        (tmp_path / f"input_{number}.pb").write_bytes(proto.SerializeToString())
    made = first(model, data_set=tmp_path)
    assert [item.tolist() for item in made.values["s"]] == [[1, 2], [1, 2]]
    assert made.values["o"].tolist() == [1, 2]
    assert made.values["none"] is None


def test_a_data_set_may_hold_types_that_older_onnx_has_stand_ins_for(tmp_path: Path) -> None:
    model = model_of("g (bfloat16[2] x) => (bfloat16[2] y) { y = Identity(x) }")
    proto = TensorProto(data_type=TensorProto.BFLOAT16, dims=[2])
    proto.raw_data = np.array([1.5, 2], ml_dtypes.bfloat16).tobytes()
    (tmp_path / "input_0.pb").write_bytes(proto.SerializeToString())
    assert first(model, data_set=tmp_path).values["x"].tolist() == [1.5, 2]


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        ([np.zeros(3, np.float32)], [], "has 1 inputs, but the model takes 2"),
        ([np.zeros(3, np.float32)] * 2, [np.zeros(3)], "has 1 outputs, but the model has 2"),
        ([np.zeros(3, np.float32), np.zeros(3)], [], r"input_1\.pb: the type is float64"),
        ([np.zeros(3, np.float32), np.zeros(4, np.float32)], [], r"'b' takes 3"),
    ],
)
def test_a_data_set_that_does_not_fit_is_refused(
    tmp_path: Path, inputs: list[Any], outputs: list[Any], message: str
) -> None:
    with pytest.raises(RequestError, match=message):
        first(model_of(SUM), data_set=data_set(tmp_path, inputs, outputs))


def test_a_damaged_data_set_is_refused(tmp_path: Path) -> None:
    folder = data_set(tmp_path, [np.zeros(3, np.float32)] * 2, [])
    (folder / "input_1.pb").write_bytes(b"\xff\xff\xff")
    with pytest.raises(RequestError, match=r"input_1\.pb holds no tensor"):
        first(model_of(SUM), data_set=folder)


@pytest.mark.parametrize(
    ("got", "wanted", "reason"),
    [
        ([np.zeros(2, np.float32)], [np.zeros(3, np.float32)], "float32 2, but float32 3"),
        ([np.zeros(2, np.float32)], [np.zeros(2)], "float32 2, but float64 2"),
        ([np.array([1, 2, 3])], [np.array([1, 5, 5])], "2 of 3 int64 values differ"),
        ([np.array(["a"], object)], [np.array(["b"], object)], "1 of 1 string values differ"),
        ([np.array([np.nan])], [np.array([1.0])], "1 of 1 values differ by NaN or infinity"),
        ([[np.zeros(1)]], [[]], "a list of 1, but a list of 0"),
        ([{"a": 1.0}], [{"b": 1.0}], "keys differ"),
        ([np.zeros(1)], [np.zeros(1), np.zeros(1)], "1 outputs, but the data set expects 2"),
        ([np.zeros(1)], None, "no expected outputs"),
    ],
)
def test_outputs_that_cannot_be_compared_give_a_reason_and_no_number(
    got: list[Any], wanted: list[Any] | None, reason: str
) -> None:
    reading = output_error(got, wanted)
    assert reading.value is None
    assert reason in reading.reason


def test_equal_nan_and_infinity_are_no_error_and_nested_outputs_count() -> None:
    got = [np.array([np.nan, np.inf, 1.0]), [{"a": 2.0}, {"a": 3.5}]]
    wanted = [np.array([np.nan, np.inf, 1.0]), [{"a": 2.0}, {"a": 3.0}]]
    assert output_error(got, wanted).value == 0.5


def test_an_absurd_size_is_left_out() -> None:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1 << 40])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [value], [value])
    with pytest.raises(ModelError, match="more than 512 MiB"):
        choose(helper.make_model(graph), InputRequest(), lambda made: [])
