"""The reference models are the published architectures and work in ONNX Runtime."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from harness.errors import MachineError, RequestError
from harness.models.catalogue import REFERENCE_MODELS, build, write

# torchvision's and Hugging Face's numbers for these architectures; mlp and tessera are
# ours, counted by hand from the widths.
_TESSERA_LAYER = 4 * (512 * 512 + 512) + 2 * 512 * 2048 + 2048 + 512 + 4 * 512
PARAMETERS = {
    "mlp": 64 * 48 + 48 + 48 * 32 + 32 + 32 * 10 + 10,
    "mobilenet-v2": 3_504_872,
    "resnet50": 25_557_032,
    "bert-small": 11_170_560,
    "bert-base": 109_482_240,
    "tessera": sum(bands * 512 + 512 + 512 * 512 + 512 + 513 for bands in (10, 2))
    + 8 * _TESSERA_LAYER
    + 1024 * 512
    + 512
    + 512 * 128
    + 128,
}
OUTPUTS = {
    "mlp": {"logits": (10,)},
    "mobilenet-v2": {"logits": (1000,)},
    "resnet50": {"logits": (1000,)},
    "bert-small": {"last_hidden_state": (7, 256), "pooler_output": (256,)},
    "tessera": {"embedding": (128,)},
}
#: Multiply-accumulates, and how far they may be off.
WORK = {"resnet50": (4.1e9, 0.1e9), "mobilenet-v2": (0.3e9, 0.005e9)}


def session_of(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def feeds_of(session: onnxruntime.InferenceSession, batch: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(1)
    feeds = {}
    for value in session.get_inputs():
        shape = [{"batch": batch, "sequence": 7}.get(size, size) for size in value.shape]
        if value.name == "attention_mask":
            feeds[value.name] = np.ones(shape, np.int64)
        elif value.type == "tensor(int64)":
            high = 2 if value.name == "token_type_ids" else 30_522
            feeds[value.name] = random.integers(0, high, shape)
        else:
            feeds[value.name] = random.standard_normal(shape, dtype=np.float32)
    return feeds


def macs(model: onnx.ModelProto) -> int:
    """Multiply-accumulates of Conv and Gemm for a batch of one."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    weights = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    pixels = {
        value.name: math.prod(size.dim_value for size in value.type.tensor_type.shape.dim[2:])
        for value in (*graph.value_info, *graph.output)
    }
    return sum(
        math.prod(weights[node.input[1]]) * pixels[node.output[0]]
        for node in graph.node
        if node.op_type in ("Conv", "Gemm")
    )


@pytest.fixture(scope="module")
def model(name):
    """Built once for all tests of its name, which pytest puts next to each other."""
    return build(name)


def each(names):
    return pytest.mark.parametrize("name", names, scope="module")


@each(REFERENCE_MODELS)
def test_model_has_the_published_number_of_parameters(name, model):
    counts = {one.name: math.prod(one.dims) for one in model.graph.initializer}
    statistics = sum(
        n for one, n in counts.items() if one.endswith(("running_mean", "running_var"))
    )
    assert sum(counts.values()) - statistics == PARAMETERS[name]
    # Told is what the file holds, as a profile of it tells.
    assert f"{sum(counts.values()):,} parameters" in REFERENCE_MODELS[name].summary


@each(OUTPUTS)
def test_model_is_valid_and_answers_each_item_of_a_batch_by_itself(name, model):
    onnx.checker.check_model(model, full_check=True)
    session = session_of(model)
    both = feeds_of(session, 2)
    assert [value.shape[0] for value in session.get_inputs()] == ["batch"] * len(both)
    names = [value.name for value in session.get_outputs()]
    together = dict(zip(names, session.run(names, both), strict=True))
    first = session.run(names, {key: array[:1] for key, array in both.items()})
    assert {key: value.shape for key, value in together.items()} == {
        key: (2, *shape) for key, shape in OUTPUTS[name].items()
    }
    for value, alone in zip(together.values(), first, strict=True):
        np.testing.assert_allclose(value[:1], alone, rtol=1e-3, atol=1e-3)
        assert 0.1 < value.std() < 100
        assert np.abs(value[0] - value[1]).max() > 0.01


@each(WORK)
def test_network_does_the_published_work(name, model):
    published, tolerance = WORK[name]
    assert macs(model) == pytest.approx(published, abs=tolerance)


@each(["mobilenet-v2"])
def test_optimiser_folds_batch_normalisation_and_relu6_into_convolutions(model, tmp_path):
    assert {"BatchNormalization", "Clip"} <= {node.op_type for node in model.graph.node}
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    left = {node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node}
    assert not {"BatchNormalization", "Clip"} & left


@each(["bert-small"])
def test_bert_sees_order_and_words_but_nothing_behind_the_mask(model):
    session = session_of(model)
    feeds = feeds_of(session, 1)
    feeds["attention_mask"][0, 5:] = 0
    (expected,) = session.run(["pooler_output"], feeds)

    def pooled(ids):
        return session.run(["pooler_output"], {**feeds, "input_ids": ids})[0]

    ids = feeds["input_ids"]
    hidden = ids.copy()
    hidden[0, 5:] = 0
    np.testing.assert_allclose(pooled(hidden), expected, atol=1e-6)
    for order in ([0, 2, 1, 3, 4, 5, 6], [0, 3, 3, 3, 4, 5, 6]):
        assert np.abs(pooled(ids[:, order]) - expected).max() > 1e-3


@each(["tessera"])
def test_tessera_takes_time_from_the_day_column_not_from_the_place(model):
    session = session_of(model)
    feeds = feeds_of(session, 1)
    for series in feeds.values():
        series[0, :, -1] = np.arange(1, 365, 9.1)
    (expected,) = session.run(None, feeds)
    shuffled = {name: series[:, ::-1].copy() for name, series in feeds.items()}
    np.testing.assert_allclose(session.run(None, shuffled)[0], expected, atol=1e-4)
    for name in feeds:
        later = {key: series.copy() for key, series in feeds.items()}
        later[name][0, :, -1] += 60
        assert np.abs(session.run(None, later)[0] - expected).max() > 1e-2


@pytest.mark.parametrize("name", ["mlp", "mobilenet-v2", "bert-small"])
def test_same_seed_gives_the_same_bytes_and_another_seed_does_not(tmp_path, name):
    for file, seed in (("a", 3), ("b", 3), ("c", 4)):
        write(name, tmp_path / file, seed)
    a, b, c = ((tmp_path / file).read_bytes() for file in "abc")
    assert a == b
    assert a != c
    assert len(a) == len(c)


def test_listing_the_models_imports_neither_numpy_nor_onnx():
    program = (
        "import sys, harness.models.catalogue as models\n"
        "print(*(model.name for model in models.REFERENCE_MODELS.values()))\n"
        "sys.exit(' '.join({'numpy', 'onnx'} & set(sys.modules)))"
    )
    listed = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    assert listed.stderr.strip() == ""
    assert listed.stdout.split() == list(PARAMETERS)


def test_unknown_model_is_refused_with_the_names_there_are():
    with pytest.raises(RequestError, match="resnet51") as refusal:
        build("resnet51")
    assert all(name in refusal.value.remedy for name in REFERENCE_MODELS)


def test_file_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(RequestError, match=r"missing/m\.onnx: cannot be written: No such file"):
        write("mlp", tmp_path / "missing" / "m.onnx")
    with pytest.raises(MachineError, match="no room"):
        write("mlp", Path("/dev/full"))
