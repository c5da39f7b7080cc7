"""Removed channels and heads equal zeroed ones; what cannot be removed is named."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import onnxruntime
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.models.catalogue import build
from harness.models.variants import mending, pruning
from harness.models.variants.channels import kept
from harness.models.variants.pruning import Cut, Left
from harness.models.variants.view import View


class Net:
    """A graph that grows layer by layer; its weights keep the size of activations."""

    def __init__(self, seed: int, opset: int = 17) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self._opset = opset
        self.x = "x"
        self.channels = 3

    def weight(self, *shape: int, fan_in: int = 1) -> str:
        values = self.random.normal(size=shape).astype(np.float32) / math.sqrt(fan_in)
        return self.constant(values)

    def constant(self, values: Any) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(onnx.numpy_helper.from_array(np.asarray(values), name))
        return name

    def node(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(
            onnx.helper.make_node(op_type, inputs, [name], f"{op_type}_{name}", **attributes)
        )
        self.x = name
        return name

    def conv(self, out: int, size: int = 1, group: int = 1) -> str:
        each = self.channels // group
        weight = self.weight(out, each, size, size, fan_in=each * size * size)
        pads = [size // 2] * 4
        self.node("Conv", self.x, weight, self.weight(out), group=group, pads=pads)
        self.channels = out
        return self.x

    def depthwise(self, multiplier: int = 1) -> str:
        return self.conv(self.channels * multiplier, 3, self.channels)

    def norm(self) -> str:
        c = self.channels
        variance = self.constant(self.random.uniform(0.5, 2, c).astype(np.float32))
        own = (self.weight(c), self.weight(c), self.weight(c), variance)
        return self.node("BatchNormalization", self.x, *own)

    def model(self, shape: Sequence[int] = (2, 3, 6, 6)) -> onnx.ModelProto:
        graph = onnx.helper.make_graph(
            self.nodes,
            "net",
            [onnx.helper.make_tensor_value_info("x", 1, shape)],
            [onnx.helper.make_tensor_value_info(self.x, 1, None)],
            self.weights,
        )
        opset = [onnx.helper.make_opsetid("", self._opset)]
        return onnx.helper.make_model(graph, opset_imports=opset, ir_version=8)


def outputs(model: onnx.ModelProto, feeds: dict[str, Any]) -> list[Any]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return list(session.run(None, feeds))


def zeroed(model: onnx.ModelProto, cuts: Sequence[Cut]) -> onnx.ModelProto:
    """The model, with zeros where layers sum the removed channels up."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    view = View(result)
    for cut in cuts:
        for site in cut.chain.sites:
            if not site.sums:
                continue
            tensor = view.constants[view.nodes[site.node].input[site.input]]
            value = onnx.numpy_helper.to_array(tensor).copy()
            places = np.arange(value.size).reshape(value.shape)
            going = np.ones(value.size, bool)
            going[pruning.remaining(places, site, cut).ravel()] = False
            value.ravel()[going] = 0
            tensor.CopyFrom(onnx.numpy_helper.from_array(value, tensor.name))
    return result


def pruned(
    model: onnx.ModelProto, share: float, norm: str = "l2"
) -> tuple[onnx.ModelProto, list[Cut], list[Left]]:
    mending.lift_constants(model)
    cuts, left = pruning.plan(model, share, norm)
    result = onnx.ModelProto()
    result.CopyFrom(model)
    pruning.cut(result, cuts)
    return result, cuts, left


def assert_equals_zeroed(
    model: onnx.ModelProto, share: float, feeds: dict[str, Any]
) -> tuple[list[Cut], list[Left]]:
    smaller, cuts, left = pruned(model, share)
    for got, wanted in zip(
        outputs(smaller, feeds), outputs(zeroed(model, cuts), feeds), strict=True
    ):
        scale = np.abs(wanted).max(initial=1e-6)
        np.testing.assert_allclose(got / scale, wanted / scale, atol=2e-5)
    return cuts, left


def image(seed: int = 0) -> dict[str, Any]:
    return {"x": np.random.default_rng(seed).normal(size=(2, 3, 6, 6)).astype(np.float32)}


LAYERS = (
    "conv1", "conv3", "grouped", "depthwise", "multiplied", "norm", "relu", "clip", "swish",
    "scale", "pool", "pad", "residual", "gated", "prelu", "turned",
)  # fmt: skip


def add(net: Net, layer: str, width: int) -> None:
    match layer:
        case "conv1":
            net.conv(width)
        case "conv3":
            net.conv(width, 3)
        case "grouped":
            group = math.gcd(net.channels, 2)
            net.conv(width * group, 3, group)
        case "depthwise":
            net.depthwise()
        case "multiplied":
            net.depthwise(2)
        case "norm":
            net.norm()
        case "relu":
            net.node("Relu", net.x)
        case "clip":
            low, high = (net.constant(np.float32(limit)) for limit in (-1, 2))
            net.node("Clip", net.x, low, high)
        case "swish":
            before = net.x
            net.node("Mul", before, net.node("Sigmoid", before))
        case "scale":
            net.node("Mul", net.weight(net.channels, 1, 1), net.x)
        case "pool":
            net.node("MaxPool", net.x, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
        case "pad":
            pads = net.constant(np.array([0, 0, 1, 1, 0, 0, 1, 1]))
            net.node("Pad", net.x, pads)
            net.node("AveragePool", net.x, kernel_shape=[3, 3])
        case "residual":
            before = net.x
            net.node("Add", before, net.conv(net.channels, 3))
        case "gated":
            before, wide = net.x, net.channels
            net.node("ReduceMean", net.x, axes=[2, 3])
            net.conv(width)
            net.node("Relu", net.x)
            net.conv(wide)
            net.node("Mul", before, net.node("Sigmoid", net.x))
        case "prelu":
            net.node("PRelu", net.x, net.weight(net.channels, 1, 1))
        case "turned":
            net.node("Transpose", net.x, perm=[0, 2, 3, 1])
            net.node("Tanh", net.x)
            net.node("Transpose", net.x, perm=[0, 3, 1, 2])


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    seed=st.integers(0, 1000),
    layers=st.lists(st.tuples(st.sampled_from(LAYERS), st.integers(2, 9)), min_size=1, max_size=7),
    end=st.sampled_from(("pooled", "flat", "reshaped", "squeezed")),
    share=st.floats(0.05, 0.95),
)
def test_removed_channels_equal_zeroed_ones_in_any_graph(
    seed: int, layers: list[tuple[str, int]], end: str, share: float
) -> None:
    net = Net(seed)
    net.conv(6, 3)
    for layer, width in layers:
        add(net, layer, width)
    wide = net.channels
    if end == "pooled":
        net.node("Flatten", net.node("GlobalAveragePool", net.x))
        net.node("Gemm", net.x, net.weight(4, wide, fan_in=wide), net.weight(4), transB=1)
    elif end == "flat":
        net.node("Flatten", net.x)
        net.node("Gemm", net.x, net.weight(36 * wide, 4, fan_in=36 * wide))
    elif end == "reshaped":
        net.node("Reshape", net.x, net.constant(np.array([2, 36 * wide])))
        net.node("MatMul", net.x, net.weight(36 * wide, 4, fan_in=36 * wide))
    else:
        net.node("GlobalMaxPool", net.x)
        net.node("Squeeze", net.x, net.constant(np.array([2, 3])))
        net.node("MatMul", net.x, net.weight(wide, 4, fan_in=wide))
    assert_equals_zeroed(net.model(), share, image(seed))


def test_a_straight_chain_is_pruned_through_a_depthwise_convolution() -> None:
    net = Net(0)
    net.conv(12)
    net.norm()
    net.depthwise()
    net.conv(5)
    cuts, left = assert_equals_zeroed(net.model(), 0.5, image())
    assert [(cut.chain.label, cut.chain.channels, len(cut.kept)) for cut in cuts] == [
        ("Conv_t0", 12, 6)
    ]
    assert [(one.node, one.reason) for one in left] == [
        ("Conv_t3", "channels are those of an output")
    ]


def test_a_residual_join_is_named_and_left_alone() -> None:
    net = Net(0)
    before = net.conv(8)
    net.node("Add", net.conv(8, 3), before)
    net.conv(4)
    _, cuts, left = pruned(net.model(), 0.5)
    assert cuts == []
    assert [(one.reason, one.at) for one in left[:2]] == [
        ("channels are joined with another branch", "Add 'Add_t2'")
    ] * 2


def test_the_channels_of_the_smallest_magnitude_go() -> None:
    net = Net(0)
    net.conv(4)
    net.conv(2)
    model = net.model()
    weight = onnx.numpy_helper.to_array(model.graph.initializer[0]).copy()
    weight[[1, 3]] *= 1e-3
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(weight, "w0"))
    _, cuts, _ = pruned(model, 0.5)
    assert cuts[0].kept == [0, 2]


def test_norms_differ_in_what_they_keep() -> None:
    net = Net(0)
    net.conv(2)
    net.conv(2)
    model = net.model()
    spread, peak = [0.5, 0.5, 0.5], [1.0, 0.0, 0.0]  # sums 1.5 and 1; norms 0.87 and 1
    weight = np.array([spread, peak], np.float32).reshape(2, 3, 1, 1)
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(weight, "w0"))
    assert pruned(model, 0.5, "l2")[1][0].kept == [1]
    assert pruned(model, 0.5, "l1")[1][0].kept == [0]


@pytest.mark.parametrize("blocks", [1, 2, 4])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_each_block_keeps_equally_many_and_one_at_least(blocks: int, share: float) -> None:
    scores = np.random.default_rng(1).random(24)
    staying = kept(scores, share, blocks, even=False)
    counts = np.bincount(np.array(staying) * blocks // 24, minlength=blocks)
    assert set(counts) == {max(24 // blocks - math.floor(share * 24 / blocks), 1)}


def test_a_multiple_of_eight_channels_stays_one() -> None:
    scores = np.arange(64.0)
    assert len(kept(scores, 0.3, 1, even=True)) == 48  # not 45
    assert len(kept(np.arange(8.0), 0.3, 1, even=True)) == 6  # there is none below 8


def test_weights_that_two_layers_share_are_not_pruned_for_both() -> None:
    net = Net(0)
    net.conv(6)
    shared = net.weight(6, 6, 1, 1, fan_in=6)
    net.node("Conv", net.x, shared)
    net.node("Relu", net.x)
    net.node("Conv", net.x, shared)
    net.conv(2)
    assert_equals_zeroed_of_shared(net.model())


def assert_equals_zeroed_of_shared(model: onnx.ModelProto) -> None:
    """As assert_equals_zeroed, of a model whose readers of a weight are told apart before."""
    for place, node in enumerate(model.graph.node):
        if (
            node.op_type == "Conv"
            and place > 1
            and node.input[1]
            in {
                other.input[1]
                for other in list(model.graph.node)[:place]
                if other.op_type == "Conv"
            }
        ):
            tensor = next(t for t in model.graph.initializer if t.name == node.input[1])
            own = model.graph.initializer.add()
            own.CopyFrom(tensor)
            own.name = f"{tensor.name}_own"
            apart = onnx.ModelProto()
            apart.CopyFrom(model)
            apart.graph.node[place].input[1] = own.name
            smaller, cuts, _ = pruned(model, 0.5)
            assert len(cuts) == 3
            got, wanted = outputs(smaller, image()), outputs(zeroed(apart, cuts), image())
            np.testing.assert_allclose(got[0], wanted[0], atol=1e-5)
            return
    raise AssertionError("no weight is shared")


def sentences() -> dict[str, Any]:
    return {
        "input_ids": np.random.default_rng(3).integers(0, 30_000, (2, 7)),
        "attention_mask": np.array([[1] * 7, [1] * 4 + [0] * 3]),
        "token_type_ids": np.zeros((2, 7), np.int64),
    }


def test_heads_of_a_masked_encoder_equal_zeroed_ones() -> None:
    model = build("bert-small")
    cuts, left = assert_equals_zeroed(model, 0.5, sentences())
    heads = [cut for cut in cuts if cut.chain.heads]
    assert [(cut.chain.channels, len(cut.kept)) for cut in heads] == [(4, 2)] * 4
    assert {one.reason for one in left} == {
        "channels are joined with another branch",
        "channels are those of an output",
    }


def test_heads_that_a_mask_tells_apart_stay() -> None:
    model = build("bert-small")
    scores = next(node for node in model.graph.node if node.op_type == "Softmax").input[0]
    adding = next(node for node in model.graph.node if scores in node.output)
    by_head = np.zeros((1, 4, 1, 1), np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(by_head, "by_head"))
    adding.input[1] = "by_head"
    _, cuts, left = pruned(model, 0.5)
    assert sum(cut.chain.heads for cut in cuts) == 3
    assert [one.at for one in left if "between heads" in one.reason] == ["'by_head'"]


def test_the_smallest_weights_become_zero_and_no_others() -> None:
    model = build("mlp")
    before = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    zeroed_count, total = pruning.zero_weights(model, 0.25)
    assert total == 64 * 48 + 48 * 32 + 32 * 10
    assert zeroed_count == total // 4
    for tensor in model.graph.initializer:
        after, was = onnx.numpy_helper.to_array(tensor), before[tensor.name]
        gone = after != was
        if was.ndim == 2:
            assert gone.sum() == was.size // 4
            assert np.abs(was[gone]).max() <= np.abs(was[~gone]).min()
            assert not after[gone].any()
        else:
            assert not gone.any()
