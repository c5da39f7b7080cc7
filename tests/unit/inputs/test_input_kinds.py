"""Kinds of models that users bring, small: each must run on inputs that mean what they say."""

from __future__ import annotations

import argparse
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from harness.commands import profile
from harness.config.inputs import InputRequest
from harness.errors import RequestError
from harness.inputs.choice import candidates, choose
from tests.builders.text_models import model_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.inputs.choice import InputSet

Attempts = Any  # of conftest: real inferences of one model
MICROSOFT = '"": 18, "com.microsoft": 1'


@pytest.fixture
def run(attempts: Callable[[onnx.ModelProto], Attempts]) -> Callable[..., tuple[InputSet, int]]:
    """Chooses inputs and runs them; returns the set and the number of attempts."""

    def run(model: onnx.ModelProto, **request: Any) -> tuple[InputSet, int]:
        tried = attempts(model)
        made, _ = choose(model, InputRequest(**request), tried)
        return made, len(tried.sets)

    return run


Run = Any


def shapes(made: InputSet) -> dict[str, tuple[int, ...]]:
    return {record.name: record.shape for record in made.records}


def because(made: InputSet, name: str) -> str:
    return next(record.chosen_because for record in made.records if record.name == name)


# --- The batch -------------------------------------------------------------------------


def recurrent(op: str, signature: str, text: str = "", **weights: Any) -> Any:
    """A recurrent layer of 6 units over x of 4 features; text makes s and b, the steps."""
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[op]
    return model_of(
        f"g ({signature}) => (float[p, q, r, s] y) {{ {text} }}",
        w=np.ones((1, gates * 6, 4), np.float32) / 9,
        r=np.ones((1, gates * 6, 6), np.float32) / 9,
        **weights,
    )


@pytest.mark.parametrize("op", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize(
    ("steps", "batch"),
    [
        ("sequence_length", "batch_size"),
        ("seq_len", "N"),
        ("T", "B"),
        ("L", "N"),
        ("time", "bs"),
        ("num_frames", "num_batch"),
        ("tokens", "n_batch"),
        ("steps", "?"),
        ("?", "?"),
        ("unk__5", "unk__6"),
    ],
)
def test_steps_before_the_batch_are_fed_as_steps(op: str, steps: str, batch: str, run: Run) -> None:
    model = recurrent(op, f"float[{steps}, {batch}, 4] x", f"y = {op}<hidden_size = 6>(x, w, r)")
    assert shapes(run(model)[0]) == {"x": (128, 1, 4)}
    made, tries = run(model, batch=8)
    assert shapes(made) == {"x": (128, 8, 4)}
    assert tries == 1
    assert "set to 8 (`batch` 8)" in because(made, "x")


def test_ids_with_the_steps_first_are_known_by_the_layer_that_they_reach(run: Run) -> None:
    model = recurrent(
        "LSTM",
        "int64[?, ?] ids",
        "x = Gather(words, ids) y = LSTM<hidden_size = 6>(x, w, r)",
        words=np.ones((30, 4), np.float32),
    )
    made, _ = run(model, batch=3)
    assert shapes(made) == {"ids": (128, 3)}
    assert "batch" in because(run(model)[0], "ids")


def test_a_batch_that_is_first_and_turned_for_the_layer_stays_first(run: Run) -> None:
    model = recurrent(
        "GRU",
        "float[?, ?, 4] x",
        "t = Transpose<perm = [1, 0, 2]>(x) y = GRU<hidden_size = 6>(t, w, r)",
    )
    assert shapes(run(model, batch=3)[0]) == {"x": (3, 128, 4)}


def test_lengths_beside_steps_that_come_first_tell_the_steps(run: Run) -> None:
    model = recurrent(
        "LSTM",
        "float[seq, batch, 4] x, int32[batch] lengths",
        "y = LSTM<hidden_size = 6>(x, w, r, , lengths)",
    )
    made, tries = run(model, batch=2)
    assert made.values["lengths"].tolist() == [128, 128]
    assert tries == 1


@pytest.mark.parametrize("batch", ["batch", "N", "?"])
@pytest.mark.parametrize(("h", "c"), [("h0", "c0"), ("hidden", "cell"), ("in_1", "in_2")])
def test_the_free_axis_of_a_state_is_the_batch(batch: str, h: str, c: str, run: Run) -> None:
    model = recurrent(
        "LSTM",
        f"float[T, {batch}, 4] x, float[1, {batch}, 6] {h}, float[1, {batch}, 6] {c}",
        f"y = LSTM<hidden_size = 6>(x, w, r, , , {h}, {c})",
    )
    made, tries = run(model)
    assert shapes(made) == {"x": (128, 1, 4), h: (1, 1, 6), c: (1, 1, 6)}
    assert tries == 1
    assert shapes(run(model, batch=5)[0])[h] == (1, 5, 6)


def test_the_layers_of_a_state_are_those_of_the_weights(run: Run) -> None:
    model = recurrent(
        "LSTM",
        "float[T, batch, 4] x, float[num_layers, batch, 6] h0, float[L, batch, 6] c0",
        "y = LSTM<hidden_size = 6>(x, w, r, , , h0, c0)",
    )
    made, tries = run(model, batch=3)
    assert shapes(made) == {"x": (128, 3, 4), "h0": (1, 3, 6), "c0": (1, 3, 6)}
    assert tries == 1
    assert "as the weights need" in because(made, "h0")


def test_a_state_of_several_layers_in_one_tensor_follows_the_batch(run: Run) -> None:
    # As voice-activity models have it: samples cut into frames, h and c in one tensor.
    model = recurrent(
        "LSTM",
        "float[?, ?] input, float[2, ?, 6] state, int64 sr",
        "e = Cast<to = 1>(sr) z = Mul(input, e) f = Reshape(z, frames)"
        " t = Transpose<perm = [1, 0, 2]>(f) h2, c2 = Split<axis = 0, num_outputs = 2>(state)"
        " y = LSTM<hidden_size = 6>(t, w, r, , , h2, c2)",
        frames=np.array([0, -1, 4]),
    )
    made, _ = run(model)
    assert shapes(made) == {"input": (1, 16000), "state": (2, 1, 6), "sr": ()}
    assert shapes(run(model, batch=4)[0])["state"] == (2, 4, 6)


def test_a_state_that_no_layer_shows_follows_the_batch_of_another_input(run: Run) -> None:
    model = model_of(
        "g (float[?, ?] x, float[3, ?, 5] s) => (float[a, b, c] y)"
        " { n = Unsqueeze(x, two) m = ReduceMean(n, one) t = ReduceMean(s, zero) y = Add(m, t) }",
        two=np.array([2]),
        one=np.array([1]),
        zero=np.array([0]),
    )
    made, _ = run(model, batch=6)
    assert shapes(made) == {"x": (6, 128), "s": (3, 6, 5)}


def test_one_example_of_several_steps_is_no_state(run: Run) -> None:
    model = model_of("g (float[1, ?, 40] x) => (float[1, a, 40] y) { y = Relu(x) }")
    assert shapes(run(model)[0]) == {"x": (1, 128, 40)}


@pytest.mark.parametrize("name", ["bs", "N", "batch", "num_batch", "minibatch", "Batch_Size"])
def test_batch_leaves_axes_with_another_name_alone(name: str, run: Run) -> None:
    model = model_of(
        f"g (float[{name}, 5] x, float[anchors, 5] a, float[?, 5] u) => (float[b, 5] y)"
        " { s = ReduceSum(a, zero) t = Add(x, s) y = Add(t, u) }",
        zero=np.array([0]),
    )
    made, _ = run(model, batch=4)
    assert shapes(made) == {"x": (4, 5), "a": (1, 5), "u": (4, 5)}
    assert "leading axis" in because(made, "a")


def test_batch_is_the_leading_axis_where_none_is_named_so(run: Run) -> None:
    model = model_of("g (float[rows, cols] x) => (float[rows, cols] y) { y = Relu(x) }")
    assert shapes(run(model, batch=4)[0]) == {"x": (4, 128)}


def test_batch_is_refused_where_only_steps_are_free(run: Run) -> None:
    model = model_of("g (float[seq_len, 1, 4] x) => (float[seq_len, 1, 4] y) { y = Relu(x) }")
    with pytest.raises(RequestError, match="no input of the model has a free batch axis") as caught:
        run(model, batch=8)
    assert "`dims` sets seq_len" in caught.value.remedy


def test_a_composed_name_follows_its_parts(run: Run) -> None:
    model = model_of(
        "g (float[batch, seq, 8] x, float[both, past, 2] past_key)"
        " => (float[a, b, c] y) { r = Reshape(x, split) t = Transpose<perm = [0, 2, 1, 3]>(r)"
        " f = Reshape(t, fold) y = Concat<axis = 1>(past_key, f) }",
        split=np.array([0, 0, 4, 2]),
        fold=np.array([-1, 1, 2]),
    )
    model.graph.input[1].type.tensor_type.shape.dim[0].dim_param = "batch*heads"
    made, _ = run(model)
    assert shapes(made)["past_key"] == (4, 127, 2)
    made, _ = run(model, batch=3)
    assert shapes(made) == {"x": (3, 1, 8), "past_key": (12, 127, 2)}
    assert "calculated from batch and heads" in because(made, "past_key")
    assert shapes(run(model, dims={"heads": 4})[0])["past_key"] == (4, 127, 2)


def test_a_batch_that_only_composed_names_hold_is_set_through_them(run: Run) -> None:
    model = model_of("g (float[both, 4] sample) => (float[both, 4] y) { y = Relu(sample) }")
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "2*batch"
    assert shapes(run(model)[0]) == {"sample": (2, 4)}
    assert shapes(run(model, batch=3)[0]) == {"sample": (6, 4)}


def test_a_cache_without_names_has_the_batch_of_the_ids(run: Run) -> None:
    model = model_of(
        "g (int64[?, ?] ids, float[2, ?, 2, ?, 4] past_0) => (float[a, b, c, d, e] y)"
        " { x = Gather(words, ids) v = Reshape(x, heads) t = Transpose<perm = [0, 2, 1, 3]>(v)"
        " u = Unsqueeze(t, zero) c = Concat<axis = 0>(u, u) y = Concat<axis = 3>(past_0, c) }",
        words=np.ones((20, 8), np.float32),
        heads=np.array([0, 0, 2, 4]),
        zero=np.array([0]),
    )
    assert shapes(run(model)[0]) == {"ids": (1, 1), "past_0": (2, 1, 2, 127, 4)}
    assert shapes(run(model, batch=3)[0]) == {"ids": (3, 1), "past_0": (2, 3, 2, 127, 4)}


def test_the_sequence_of_an_encoder_is_no_state(run: Run) -> None:
    model = model_of(
        "g (int64[?, ?] ids, float[1, ?, 4] encoder_hidden_states) => (float[a, b, c] y)"
        " { x = Gather(words, ids) t = Transpose<perm = [0, 2, 1]>(encoder_hidden_states)"
        " y = MatMul(x, t) }",
        words=np.ones((20, 4), np.float32),
    )
    assert shapes(run(model)[0])["encoder_hidden_states"] == (1, 128, 4)


# --- Sizes that ONNX Runtime asks for --------------------------------------------------


@pytest.mark.parametrize(
    ("model", "fits"),
    [
        (
            model_of(
                "g (float[?, ?] x) => (float[a, b, c] y) { y = Reshape(x, s) }",
                s=np.array([-1, 7, 50]),
            ),
            lambda shape: shape[1] % 350 == 0,
        ),
        (
            model_of(
                "g (float[?, ?] x, float[?, ?] z) => (float[a, b] y) { y = Concat<axis = 0>(x, w)"
                " u = MatMul(z, v) }",
                w=np.ones((2, 77), np.float32),
                v=np.ones((3, 2), np.float32),
            ),
            lambda shape: shape[1] == 77,
        ),
        (
            model_of(
                "g (float[?, ?] x, float[?, ?] z) => (float[a, b] y) { r = Relu(x) s = Tanh(z)"
                " u = MatMul(r, w) v = MatMul(s, t) y = Add(u, v) }",
                w=np.ones((33, 2), np.float32),
                t=np.ones((44, 2), np.float32),
            ),
            lambda shape: shape == (1, 33),
        ),
        (
            model_of(
                "g (float[?, 1, ?] x) => (float[a, b, c] y) { y = Conv(x, k) }",
                k=np.ones((1, 1, 400), np.float32),
            ),
            lambda shape: shape[2] >= 400,
        ),
    ],
    ids=["reshape", "concatenation", "weight", "kernel"],
)
def test_a_size_that_an_operator_asks_for_is_found(
    model: Any, fits: Callable[[tuple[int, ...]], bool], run: Run
) -> None:
    made, tries = run(model)
    assert fits(shapes(made)["x"])
    assert tries <= 4


# --- Scalars ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sr", "sample_rate", "samplingRate", "fs", "input_sampling_rate"])
@pytest.mark.parametrize("kind", ["int64", "int64[1]", "float", "int32[?]"])
def test_a_sample_rate_stays_when_other_inputs_change(name: str, kind: str, run: Run) -> None:
    # The audio is only taken in lengths that have to be found out; a rate of 1 would do too.
    model = model_of(
        f"g ({kind} {name}, float[1, n] x) => (float[a] y, float[b, c] z)"
        f" {{ f = Cast<to = 1>({name}) y = Identity(f) z = Reshape(x, s) }}",
        s=np.array([-1, 7777]),
    )
    made, _ = run(model)
    assert np.all(made.values[name] == 16000)
    assert because(made, name).endswith("16000: sample rate of speech")


def test_a_scalar_known_by_its_name_survives_the_other_values(run: Run) -> None:
    # x must be 1 for the Reshape; the threshold goes another way.
    model = model_of(
        "g (float threshold, int64[1] x, float[1] d) => (float t, float[b] y)"
        " { t = Identity(threshold) m = Mul(x, x) y = Reshape(d, m) }"
    )
    made, tries = run(model)
    assert tries > 1
    assert made.values["threshold"].tolist() == 0.5
    assert made.values["x"].tolist() == [1]
    assert "as random values failed" in because(made, "x")
    assert because(made, "threshold") == "0.5: a mid-range threshold"


@pytest.mark.parametrize(
    ("signature", "value"),
    [
        ("float temperature", 1),
        ("float[1] repetition_penalty", 1),
        ("float[batch, 1] top_p", 0.9),
        ("float conf_threshold", 0.5),
        ("int64 fps", 30),
        ("float frameRate", 30),
        ("int64[1] num_steps", 4),
        ("int64 num_inference_steps", 4),
        ("int64[1] timestep", 500),
        ("float noise_scale", 0.667),
        ("float length_scale", 1),
        ("float speed", 1),
        ("float guidance_scale", 7.5),
        ("int64[1] num_beams", 4),
        ("bool is_training", 0),
        ("bool[1] use_cache_branch", 1),
    ],
)
def test_settings_have_the_values_that_their_names_tell(
    signature: str, value: float, run: Run
) -> None:
    kind, name = signature.rsplit(" ", 1)
    rank = f"[{kind.split('[')[1]}" if "[" in kind else ""
    element = kind.split("[")[0]
    model = model_of(f"g ({signature}) => ({element}{rank} y) {{ y = Identity({name}) }}")
    made, _ = run(model)
    np.testing.assert_allclose(made.values[name], value, rtol=1e-6)
    assert because(made, name)


def test_top_k_is_no_more_than_there_is(run: Run) -> None:
    model = model_of(
        "g (float[1, 20] x, int64[1] top_k) => (float[1, a] y, int64[1, a] i)"
        " { y, i = TopK(x, top_k) }"
    )
    made, tries = run(model)
    assert made.values["top_k"].tolist() == [20]
    assert tries == 1


def test_a_setting_that_the_model_does_not_take_is_replaced_in_the_end(run: Run) -> None:
    model = model_of(
        "g (float[1] x, int64[1] num_steps) => (float[a] y)"
        " { m = Mul(num_steps, num_steps) y = Reshape(x, m) }"
    )
    made, _ = run(model)
    assert made.values["num_steps"].tolist() == [1]
    assert "as random values failed" in because(made, "num_steps")


# --- Decoders --------------------------------------------------------------------------


def decoder(cache: str, axis: int) -> Any:
    """Words, positions and a mask over a cache whose steps lie on an axis."""
    return model_of(
        f"""g (int64[batch_size, sequence_length] input_ids,
        int64[batch_size, total_sequence_length] attention_mask,
        int64[batch_size, sequence_length] position_ids, {cache})
        => (float[a, b, c] y, float[d, e, f, h] present) {{
        x = Gather(words, input_ids) q = Cast<to = 1>(position_ids) o = Unsqueeze(q, two)
        s = Add(x, o) v = Reshape(s, heads) k = Transpose<perm = [0, 2, 1, 3]>(v)
        present = Concat<axis = {axis}>({cache.split()[-1]}, k)
        l = ReduceMean<keepdims = 0>(present, ends) m = Cast<to = 1>(attention_mask)
        n = Unsqueeze(m, one) y = Mul(l, n) }}""",
        words=np.ones((50, 8), np.float32),
        heads=np.array([0, 0, 2, 4]),
        one=np.array([1]),
        two=np.array([2]),
        ends=np.array([3]),
    )


@pytest.mark.parametrize("name", ["past_key_values_0_key", "past_key_self_0", "past_0", "cache_k"])
@pytest.mark.parametrize(("past", "new"), [(None, None), (0, None), (0, 6), (3, 2)])
def test_masks_and_positions_follow_the_cache_and_it_may_be_empty(
    name: str, past: int | None, new: int | None, run: Run
) -> None:
    model = decoder(f"float[batch_size, 2, past_sequence_length, 4] {name}", 2)
    given = {"past_sequence_length": past, "sequence_length": new}
    made, tries = run(model, dims={key: size for key, size in given.items() if size is not None})
    past = 127 if past is None else past
    new = new or 1
    assert tries == 1
    assert made.values[name].shape == (1, 2, past, 4)
    assert made.values["attention_mask"].tolist() == [[1] * (past + new)]
    assert made.values["position_ids"].tolist() == [list(range(past, past + new))]
    if not past:
        assert because(made, name).endswith("; empty")
        assert ("one token, as the cache is empty" in because(made, "input_ids")) == (new == 1)


def test_all_tokens_given_leave_the_rest_for_the_cache(run: Run) -> None:
    model = decoder("float[batch_size, 2, past_sequence_length, 4] past", 2)
    made, _ = run(model, dims={"total_sequence_length": 10})
    assert made.dims["past_sequence_length"] == 9


@pytest.mark.parametrize(("past", "used"), [(None, True), (0, False), (5, True)])
def test_a_decoder_of_two_branches_uses_its_cache_where_there_is_one(
    past: int | None, used: bool, run: Run
) -> None:
    model = model_of(
        """g (float[batch, 2, past_sequence_length, 4] past_key_values_0_key,
        float[batch, 2, sequence_length, 4] key, bool[1] use_cache_branch)
        => (float[a, b, c, d] y) { y = If (use_cache_branch) <
        then_branch = t () => (float[e, f, h, i] p)
        { p = Concat<axis = 2>(past_key_values_0_key, key) },
        else_branch = u () => (float[j, k, l, m] q) { q = Identity(key) } > }"""
    )
    made, _ = run(model, dims={} if past is None else {"past_sequence_length": past})
    assert made.values["use_cache_branch"].tolist() == [used]


def test_a_whole_shape_may_be_empty(run: Run) -> None:
    model = decoder("float[batch_size, 2, past_sequence_length, 4] past", 2)
    made, _ = run(model, shapes={"past": (1, 2, 0, 4)})
    assert made.values["attention_mask"].shape == (1, 1)


def test_negative_sizes_are_refused() -> None:
    with pytest.raises(RequestError, match=r"`dims` n=-1: a size must not be negative"):
        InputRequest(dims={"n": -1})
    with pytest.raises(RequestError, match=r"`shapes` x=-1x2: a size must not be negative"):
        InputRequest(shapes={"x": (-1, 2)})


# --- Generation in one operator --------------------------------------------------------


def generation(op: str, inputs: list[tuple[str, int, list[Any]]], **attributes: Any) -> Any:
    """A search over a decoder that looks words up and adds its positions."""
    words, layers = 40, 4
    ints, floats = TensorProto.INT32, TensorProto.FLOAT
    past = helper.make_tensor_value_info("past_0", floats, [2, "b", 2, "p", 2])
    body = helper.make_graph(
        [
            helper.make_node("Gather", ["words", "input_ids"], ["x"]),
            helper.make_node("Gather", ["places", "position_ids"], ["q"]),
            helper.make_node("Add", ["x", "q"], ["s"]),
            helper.make_node("Reshape", ["s", "heads"], ["v"]),
            helper.make_node("Transpose", ["v"], ["t"], perm=[0, 2, 1, 3]),
            helper.make_node("Unsqueeze", ["t", "zero"], ["u"]),
            helper.make_node("Concat", ["u", "u"], ["kv"], axis=0),
            helper.make_node("Concat", ["past_0", "kv"], ["present_0"], axis=3),
            helper.make_node("MatMul", ["s", "head"], ["logits"]),
        ],
        "decoder",
        [
            helper.make_tensor_value_info("input_ids", ints, ["b", "s"]),
            helper.make_tensor_value_info("position_ids", ints, ["b", "s"]),
            helper.make_tensor_value_info("attention_mask", ints, ["b", "t"]),
            past,
        ],
        [
            helper.make_tensor_value_info("logits", floats, ["b", "s", words]),
            helper.make_tensor_value_info("present_0", floats, [2, "b", 2, "t", 2]),
        ],
        [
            numpy_helper.from_array(np.ones((words, layers), np.float32), "words"),
            numpy_helper.from_array(np.ones((256, layers), np.float32), "places"),
            numpy_helper.from_array(np.ones((layers, words), np.float32), "head"),
            numpy_helper.from_array(np.array([0, 0, 2, 2]), "heads"),
            numpy_helper.from_array(np.array([0]), "zero"),
        ],
    )
    node = helper.make_node(
        op,
        [name for name, _, _ in inputs],
        ["sequences"],
        domain="com.microsoft",
        eos_token_id=words - 1,
        pad_token_id=words - 1,
        model_type=0,
        decoder=body,
        **attributes,
    )
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info(*item) for item in inputs if item[0]],
        [helper.make_tensor_value_info("sequences", ints, None)],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


PROMPT = [
    ("ids", TensorProto.INT32, ["batch_size", "sequence_length"]),
    ("longest", TensorProto.INT32, [1]),
    ("shortest", TensorProto.INT32, [1]),
]
PENALTY = ("strength", TensorProto.FLOAT, [1])


@pytest.mark.parametrize(
    ("op", "inputs"),
    [
        ("GreedySearch", [*PROMPT, PENALTY]),
        ("Sampling", [*PROMPT, PENALTY]),
        (
            "BeamSearch",
            [
                *PROMPT,
                ("width", TensorProto.INT32, [1]),
                ("results", TensorProto.INT32, [1]),
                ("of_length", TensorProto.FLOAT, [1]),
                PENALTY,
                ("vocab_mask", TensorProto.INT32, [40]),
            ],
        ),
    ],
)
def test_a_search_generates_more_tokens_than_its_prompt_has(
    op: str, inputs: list[Any], run: Run
) -> None:
    model = generation(op, inputs)
    made, tries = run(model)
    assert tries == 1
    assert made.values["longest"].item() > made.values["ids"].shape[1] == 128
    assert 0 <= made.values["shortest"].item() < made.values["longest"].item()
    assert made.values["ids"].max() < 40
    assert made.values["strength"].tolist() == [1]
    assert op in because(made, "longest")
    assert run(model, dims={"sequence_length": 200})[0].values["longest"].item() > 200


def test_a_longest_that_is_fixed_shortens_the_prompt(run: Run) -> None:
    model = generation("GreedySearch", PROMPT)
    del model.graph.input[1]
    model.graph.initializer.append(numpy_helper.from_array(np.array([20], np.int32), "longest"))
    made, tries = run(model)
    assert made.values["ids"].shape[1] < 20
    assert tries == 2


def test_a_longest_by_its_name_alone_exceeds_the_sequence(run: Run) -> None:
    model = model_of(
        "g (int64[1, seq] ids, int64 max_length, int64[1] min_length) => (int64[1, seq] y, int64 m)"
        " { y = Identity(ids) m = Identity(max_length) }"
    )
    made, _ = run(model)
    assert made.values["max_length"].item() > made.values["ids"].shape[1]
    assert made.values["min_length"].tolist() == [1]


# --- Archives --------------------------------------------------------------------------

PAIR = "g (float[n, 2] x, int64[n] ids) => (float[n, 2] y) { y = Identity(x) }"


def test_an_archive_feeds_each_array_to_the_input_of_its_name(tmp_path: Any, run: Run) -> None:
    path = tmp_path / "all.npz"
    np.savez(path, x=np.ones((3, 2), np.float32), ids=np.arange(3))
    made, _ = run(model_of(PAIR), archives=(path,))
    assert made.values["ids"].tolist() == [0, 1, 2]
    assert made.dims == {"n": 3}
    assert because(made, "x") == f"read from {path}"


def test_an_archive_of_some_inputs_leaves_the_others_to_be_chosen(tmp_path: Any, run: Run) -> None:
    path, other = tmp_path / "some.npz", tmp_path / "x.npy"
    np.savez(path, ids=np.arange(3))
    np.save(other, np.ones((3, 2), np.float32))
    assert run(model_of(PAIR), archives=(path,))[0].values["x"].shape == (3, 2)
    assert run(model_of(PAIR), archives=(path,), files={"x": other})[0].dims == {"n": 3}


def test_an_archive_may_hold_an_input_with_an_initialiser(tmp_path: Any) -> None:
    path = tmp_path / "w.npz"
    np.savez(path, w=np.zeros(2, np.float32))
    model = model_of(
        "g (float[2] x, float[2] w) => (float[2] y) { y = Add(x, w) }", w=np.ones(2, np.float32)
    )
    made = next(candidates(model, InputRequest(archives=(path,))))
    assert list(made.values) == ["x", "w"]


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"other": np.zeros(3)}, r"'other': the model has no such input"),
        ({"ids": np.zeros(3)}, r"'ids': the type is float64, but 'ids' takes int64"),
        ({"x": np.zeros((3, 5), np.float32)}, r"the shape is 3x5, but 'x' takes nx2"),
        ({"ids": np.array([{}])}, r"'ids' is not an array of plain numbers"),
    ],
)
def test_an_archive_that_does_not_fit_is_refused(
    tmp_path: Any, arrays: dict[str, Any], says: str, run: Run
) -> None:
    path = tmp_path / "some.npz"
    np.savez(path, **arrays)
    with pytest.raises(RequestError, match=says) as caught:
        run(model_of(PAIR), archives=(path,))
    assert "\n" not in caught.value.message
    if "other" in arrays:
        assert "its inputs: x, ids" in caught.value.remedy


def test_a_member_of_an_archive_that_is_not_an_array_is_refused(tmp_path: Any, run: Run) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", b"text that numpy did not write")
    with pytest.raises(RequestError, match=r"'x' is not an array of plain numbers or text"):
        run(model_of(PAIR), archives=(path,))


def test_archives_that_are_none_or_give_an_input_twice_are_refused(tmp_path: Any, run: Run) -> None:
    path, single = tmp_path / "a.npz", tmp_path / "b.npz"
    np.savez(path, ids=np.arange(3))
    with pytest.raises(RequestError, match=r"gives 'ids', which .*a\.npz gives too"):
        run(model_of(PAIR), archives=(path, path))
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(RequestError, match=r"is not a \.npz file"):
        run(model_of(PAIR), archives=(path,))
    with single.open("wb") as file:
        np.save(file, np.arange(3))
    with pytest.raises(RequestError, match="one array without a name"):
        run(model_of(PAIR), archives=(single,))


def test_the_command_line_tells_archives_from_named_files(tmp_path: Any) -> None:
    odd = tmp_path / "a=b.npz"
    np.savez(odd, x=np.zeros(1))
    parser = argparse.ArgumentParser()
    profile.add_arguments(parser)
    given = ["--input", "all.npz", "--input", "x=one.npy", "--input", str(odd)]
    request = profile.configuration(parser.parse_args(["model.onnx", *given])).inputs
    assert request.archives == (Path("all.npz"), odd)
    assert request.files == {"x": Path("one.npy")}


@pytest.mark.parametrize(
    ("graph", "request_", "items", "told_by"),
    [
        ("(float[batch, 3] x) => (float[batch, 3] y) {y = Relu(x)}", {"batch": 8}, 8, "'batch'"),
        ("(float[N, 3] x) => (float[N, 3] y) {y = Relu(x)}", {}, 1, "'N': "),
        ("(float[?, 3] x) => (float[?, 3] y) {y = Relu(x)}", {"batch": 4}, 4, "leading axis"),
        (
            "(float[steps, batch, 3] x) => (float[steps, batch, 3] y) {y = Relu(x)}",
            {"batch": 2},
            2,
            "'batch'",
        ),
        ("(float[batch, 3] x) => (float[batch, 3] y) {y = Relu(x)}", {"shapes": {"x": (5, 3)}},
         5, "'batch'"),
        ("(float[6, 3, 8, 8] x) => (float[6, 3, 8, 8] y) {y = Relu(x)}", {}, 6, "fixed in the"),
        ("(float[128, 64] x) => (float[128, 64] y) {y = Relu(x)}", {}, 1, "no input axis"),
    ],
)  # fmt: skip
def test_items_are_the_batch_that_is_fed(
    run: Run, graph: str, request_: dict[str, Any], items: int, told_by: str
) -> None:
    made, _ = run(model_of(f"g {graph}"), **request_)
    assert (made.items.name, made.items.value) == ("items_per_inference", items)
    assert told_by in made.items.source
