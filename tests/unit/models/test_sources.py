"""Executed nodes lead back to the nodes of the user's file, whatever ORT made of them."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from harness.models import executed_graph
from harness.models.sources import UserGraph, sources
from harness.native import ort
from tests.builders.text_models import model_of

Traced = Callable[..., dict[str, list[str]]]

CONVOLUTIONS = """
net (float[N, 16, 8, 8] x) => (float[N, 16, 8, 8] y) {
  [first_conv] a = Conv <pads = [1, 1, 1, 1]> (x, w1)
  [first_norm] b = BatchNormalization (a, scale, shift, mean, variance)
  [first_act] c = Relu (b)
  [second_conv] d = Conv <pads = [1, 1, 1, 1]> (c, w2)
  [second_sum] e = Add (d, c)
  [second_act] f = Relu (e)
  [last_pool] g = MaxPool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (f)
  [last_keep] h = Identity (g)
  [last_drop] i = Dropout (h)
  [last_act] y = Softmax (i)
}
"""


def convolutions() -> onnx.ModelProto:
    random = np.random.default_rng(0)
    ones = np.ones(16, np.float32)
    return model_of(
        CONVOLUTIONS,
        w1=random.random((16, 16, 3, 3), np.float32),
        w2=random.random((16, 16, 3, 3), np.float32),
        scale=ones, shift=ones, mean=ones, variance=ones,
    )  # fmt: skip


@pytest.fixture(scope="module")
def library() -> ort.Library:
    found = importlib.util.find_spec("onnxruntime")
    assert found is not None
    assert found.origin is not None
    return ort.Library(str(next((Path(found.origin).parent / "capi").glob("libonnxruntime.so.*"))))


@pytest.fixture
def traced(library: ort.Library, tmp_path: Path) -> Traced:
    """Sources of the executed nodes by op type, in the order of the executed graph."""

    def traced(model: onnx.ModelProto, **options: Any) -> dict[str, list[str]]:
        original, saved = tmp_path / "model.onnx", tmp_path / "saved.onnx"
        onnx.save(model, original)
        ort.Session(library, str(original), optimized_model_path=str(saved), **options).close()
        graph = executed_graph.prepare(saved, tmp_path / "renamed.onnx")
        found: dict[str, list[str]] = {}
        for op_type, text in zip(
            graph.nodes.op_type, sources(UserGraph(model.graph), graph), strict=True
        ):
            found.setdefault(op_type.removeprefix("Fused"), []).append(text)
        return found

    return traced


def test_fused_and_renamed_nodes_lead_back_to_all_that_they_do(traced: Traced) -> None:
    found = traced(convolutions())

    assert sorted(found["Conv"]) == [
        "first_conv; first_norm; first_act",
        # The sum is named nowhere in what ORT saves: it is an input of the convolution.
        "second_conv; second_sum; second_act",
    ]
    assert found["MaxPool"] == ["last_pool"]


def test_what_ort_puts_in_itself_has_no_source(traced: Traced) -> None:
    found = traced(convolutions())
    copies = [*found.get("ReorderInput", []), *found.get("ReorderOutput", [])]
    assert not any(copies)


def test_what_computes_nothing_is_no_source(traced: Traced) -> None:
    assert traced(convolutions())["Softmax"] == ["last_act"]


def test_without_optimisation_each_node_is_its_own_source(traced: Traced) -> None:
    model = convolutions()
    found = traced(model, optimization="disable")
    told = sorted(text for texts in found.values() for text in texts)
    assert told == sorted(node.name for node in model.graph.node)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("{op_type}_{number}", "Conv_0; BatchNormalization_1; Relu_2"),
        ("", "Conv(a); BatchNormalization(b); Relu(c)"),
    ],
)
def test_names_need_tell_nothing(traced: Traced, name: str, expected: str) -> None:
    model = convolutions()
    for number, node in enumerate(model.graph.node):
        node.name = name.format(op_type=node.op_type, number=number)
    assert expected in traced(model)["Conv"]


def test_a_composed_operator_lists_its_parts(traced: Traced) -> None:
    model = model_of(
        """
        gelu (float[N, 8] x) => (float[N, 8] y)
        <float root = {1.4142135}, float one = {1.0}, float half = {0.5}> {
          [mlp_fc] h = MatMul (x, w)
          [mlp_div] a = Div (h, root)
          [mlp_erf] b = Erf (a)
          [mlp_add] c = Add (b, one)
          [mlp_mul] d = Mul (h, c)
          [mlp_half] e = Mul (d, half)
          [mlp_out] y = MatMul (e, w)
        }""",
        w=np.eye(8, dtype=np.float32),
    )
    found = traced(model)
    assert found["Gelu"] == ["mlp_div; mlp_erf; mlp_add; mlp_mul; mlp_half"]
    assert found["MatMul"] == ["mlp_fc", "mlp_out"]


def test_what_is_folded_into_constants_is_no_source(traced: Traced) -> None:
    model = model_of(
        """
        folded (float[N, 8] x) => (float[N, 8] y) {
          [ahead] v = Exp (w)
          [matmul] y = MatMul (x, v)
        }""",
        w=np.eye(8, dtype=np.float32),
    )
    assert traced(model) == {"MatMul": ["matmul"]}


def test_bodies_lead_back_to_the_bodies_of_the_file(traced: Traced) -> None:
    body = "{inner} = Relu ({read}) [{branch}_neg] {out} = Neg ({inner})"
    branches = [
        body.format(inner="inner", read=read, branch=branch, out="out")
        for branch, read in (("yes", "x"), ("no", "h"))
    ]
    model = model_of(
        f"""
        choice (float[N, 8] x, bool flag) => (float[N, 8] y) {{
          [before] h = Exp (x)
          [choose] z = If (flag) <
            then_branch = yes () => (float[N, 8] out) {{ {branches[0]} }},
            else_branch = no () => (float[N, 8] out) {{ {branches[1]} }}>
          [after] y = Sigmoid (z)
        }}"""
    )
    found = traced(model)
    assert sorted(found["Neg"]) == ["no_neg", "yes_neg"]
    assert found["Relu"] == ["Relu(inner)"] * 2
    assert found["If"] == ["choose"]
    assert found["Sigmoid"] == ["after"]


def test_what_is_computed_twice_in_the_file_and_once_by_ort_has_both(traced: Traced) -> None:
    model = model_of(
        """
        twins (float[N, 8] x) => (float[N, 8] y) {
          [one] a = Exp (x)
          [two] b = Exp (x)
          [sin] c = Sin (a)
          [cos] d = Cos (b)
          [sum] y = Add (c, d)
        }"""
    )
    assert traced(model) == {"Exp": ["one; two"], "Sin": ["sin"], "Cos": ["cos"], "Add": ["sum"]}


def test_nodes_of_a_function_lead_back_to_its_call(traced: Traced) -> None:
    model = model_of(
        """
        called (float[N, 8] x) => (float[N, 8] y) {
          [call] h = local.curve (x)
          [end] y = Neg (h)
        }""",
        header='"": 18, "local": 1',
        functions='<domain: "local", opset_import: ["": 18]> curve (x) => (y) '
        "{ a = Erf (x) y = Tanh (a) }",
    )
    assert traced(model) == {"Erf": ["call"], "Tanh": ["call"], "Neg": ["end"]}


def test_a_cast_that_ort_puts_in_has_no_source(traced: Traced) -> None:
    half = "float16[N, 8]"
    model = model_of(
        f"""
        halves ({half} x, {half} z) => ({half} y) {{
          [first] a = Add (x, z)
          [second] b = Exp (a)
          [third] y = Add (b, a)
        }}"""
    )
    found = traced(model)
    assert not any(found.pop("Cast")), "the CPU computes in float32"
    assert found == {"Add": ["first", "third"], "Exp": ["second"]}
