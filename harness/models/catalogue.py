"""Reference models, built from code with a seed: real architectures, random weights.

They exist so that a profile can be taken and compared anywhere without a download. The
graphs are written the way exporters write them (batch normalisation as nodes, GELU spelt
out with Erf, the attention mask added to the scores), because ONNX Runtime's optimiser
is to find the work that it finds in real files. Every initialiser is a weight; scalars,
shapes and tables are Constant nodes.

Nothing here imports numpy or onnx until a model is built: listing them costs nothing.
"""

from __future__ import annotations

import collections
import dataclasses
import math
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from harness.errors import RequestError, not_written

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt
    import onnx

# The first opset with LayerNormalization, and the IR version that came with it: the pair
# that PyTorch's exporter wrote for years, so everything reads it.
_OPSET = 17
_IR_VERSION = 8

#: Scale of the last normalisation of a residual branch. The sum with the shortcut then
#: grows slowly over the blocks, as it does in trained networks, instead of doubling.
_RESIDUAL_GAIN = 0.3
#: A layer without an activation behind it needs half the variance of one before a Relu.
_LINEAR_GAIN = math.sqrt(0.5)


@dataclasses.dataclass(frozen=True, slots=True)
class ReferenceModel:
    """One built-in model.

    Attributes:
        name: what ``build`` and the command line call it.
        summary: architecture, parameters and inputs, one line.
    """

    name: str
    summary: str


def build(name: str, seed: int = 0) -> onnx.ModelProto:
    """Builds a reference model; the same seed gives the same model, bit for bit.

    The first dimension of every input and output is the free ``batch``.

    Raises:
        RequestError: there is no such model.
    """
    if name not in _ARCHITECTURES:
        raise RequestError(
            f"{name}: no such reference model", f"choose one of {', '.join(_ARCHITECTURES)}"
        )
    architecture, _ = _ARCHITECTURES[name]
    graph = _Graph(name, seed)
    architecture(graph)
    return graph.model


def serialised(name: str, seed: int = 0) -> bytes:
    """A reference model as one .onnx file, weights inside (at most 440 MB).

    The same seed gives the same bytes.

    Raises:
        RequestError: there is no such model.
    """
    content: bytes = build(name, seed).SerializeToString(deterministic=True)
    return content


def write(name: str, path: Path, seed: int = 0) -> None:
    """Writes ``serialised`` to a file; an existing one is overwritten.

    Raises:
        RequestError: there is no such model, or the file cannot be written.
        MachineError: the disk is full; what is left of the file is not a model.
    """
    content = serialised(name, seed)
    try:
        path.write_bytes(content)
    except OSError as error:
        way_out = f"free {len(content):,} bytes or write it elsewhere"
        raise not_written(path, error, way_out=way_out) from error


class _Graph:
    """A model that grows node by node; values are passed around by name.

    A ``scope`` is the dotted name of the module that a node belongs to: it names the
    node (``layer1.0.2.conv/Conv``) and its weights (``layer1.0.2.conv.weight``).
    """

    def __init__(self, name: str, seed: int) -> None:
        import numpy as np
        import onnx

        self.model = onnx.ModelProto(ir_version=_IR_VERSION, producer_name="harness")
        self.model.opset_import.add(version=_OPSET)
        self.model.graph.name = name
        self._random = np.random.default_rng(seed)
        self._uses: collections.Counter[str] = collections.Counter()

    # Values

    def input(self, name: str, shape: Sequence[int | str], dtype: str = "float32") -> str:
        self.model.graph.input.append(_value_info(name, shape, dtype))
        return name

    def output(self, value: str, name: str, shape: Sequence[int | str]) -> None:
        """Makes a float32 value an output of the model, under a name of its own."""
        for node in self.model.graph.node:
            for values in (node.input, node.output):
                values[:] = [name if each == value else each for each in values]
        self.model.graph.output.append(_value_info(name, shape, "float32"))

    def node(self, op_type: str, scope: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Adds a node and returns its one output; equal names are numbered as exporters do."""
        import onnx.helper

        name = f"{scope}/{op_type}"
        self._uses[name] += 1
        if self._uses[name] > 1:
            name = f"{name}_{self._uses[name] - 1}"
        output = f"{name}_output"
        self.model.graph.node.append(
            onnx.helper.make_node(op_type, inputs, [output], name=name, **attributes)
        )
        return output

    def constant(self, scope: str, value: npt.ArrayLike, dtype: str = "int64") -> str:
        import numpy as np
        import onnx.numpy_helper

        tensor = onnx.numpy_helper.from_array(np.asarray(value, dtype))
        return self.node("Constant", scope, (), value=tensor)

    def normal(self, name: str, shape: Sequence[int], std: float, mean: float = 0.0) -> str:
        """Float32 weights from a normal distribution."""
        import numpy as np

        values = self._random.standard_normal(shape, dtype=np.float32)
        values *= np.float32(std)
        values += np.float32(mean)
        return self._weight(name, values)

    def positive(self, name: str, count: int, scale: float = 1.0) -> str:
        """Float32 weights spread evenly over half to one and a half times the scale."""
        import numpy as np

        values = self._random.random(count, dtype=np.float32)
        values += np.float32(0.5)
        values *= np.float32(scale)
        return self._weight(name, values)

    def _weight(self, name: str, values: npt.NDArray[Any]) -> str:
        # Filled in place: a tensor made elsewhere would be copied on its way in, and
        # the largest of these is 94 MB.
        import onnx

        tensor = self.model.graph.initializer.add(
            name=name, data_type=onnx.TensorProto.FLOAT, dims=values.shape
        )
        tensor.raw_data = values.tobytes()
        return name

    # Layers. Weights have variance gain^2 * 2 / fan_in (He et al. 2015), which keeps the
    # mean square of activations from one Relu to the next.

    def conv_bn(
        self,
        x: str,
        scope: str,
        channels: tuple[int, int],
        kernel: int,
        *,
        stride: int = 1,
        group: int = 1,
        gain: float = 1.0,
    ) -> str:
        """Convolution without bias, "same" padding, and batch normalisation.

        Args:
            x: value, batch x channels[0] x height x width.
            scope: dotted name of the layer.
            channels: input and output channels.
            kernel: height and width of the kernel.
            stride: of both directions.
            group: groups of channels; channels[0] for a depthwise convolution.
            gain: scale of the normalised output.
        """
        channels_in, channels_out = channels
        fan_in = channels_in // group * kernel * kernel
        weight = self.normal(
            f"{scope}.conv.weight",
            (channels_out, channels_in // group, kernel, kernel),
            math.sqrt(2 / fan_in),
        )
        x = self.node(
            "Conv",
            f"{scope}.conv",
            (x, weight),
            dilations=[1, 1],
            group=group,
            kernel_shape=[kernel, kernel],
            pads=[kernel // 2] * 4,
            strides=[stride, stride],
        )
        normalisation = (
            self.positive(f"{scope}.bn.weight", channels_out, gain),
            self.normal(f"{scope}.bn.bias", (channels_out,), 0.1),
            self.normal(f"{scope}.bn.running_mean", (channels_out,), 0.1),
            self.positive(f"{scope}.bn.running_var", channels_out),
        )
        return self.node(
            "BatchNormalization", f"{scope}.bn", (x, *normalisation), epsilon=1e-5, momentum=0.9
        )

    def fully_connected(
        self, x: str, scope: str, widths: tuple[int, int], gain: float = _LINEAR_GAIN
    ) -> str:
        """Linear layer on a matrix: Gemm."""
        width_in, width_out = widths
        weight = self.normal(
            f"{scope}.weight", (width_out, width_in), gain * math.sqrt(2 / width_in)
        )
        bias = self.normal(f"{scope}.bias", (width_out,), 0.02)
        return self.node("Gemm", scope, (x, weight, bias), transB=1)

    def dense(self, x: str, scope: str, widths: tuple[int, int], gain: float = _LINEAR_GAIN) -> str:
        """Linear layer on the last of three dimensions: MatMul and Add."""
        width_in, width_out = widths
        weight = self.normal(f"{scope}.weight", widths, gain * math.sqrt(2 / width_in))
        bias = self.normal(f"{scope}.bias", (width_out,), 0.02)
        x = self.node("MatMul", scope, (x, weight))
        return self.node("Add", scope, (bias, x))

    def layer_norm(self, x: str, scope: str, width: int) -> str:
        scale = self.normal(f"{scope}.weight", (width,), 0.1, mean=1.0)
        bias = self.normal(f"{scope}.bias", (width,), 0.1)
        return self.node("LayerNormalization", scope, (x, scale, bias), axis=-1, epsilon=1e-5)

    def global_average(self, x: str) -> str:
        x = self.node("GlobalAveragePool", "pool", (x,))
        return self.node("Flatten", "flatten", (x,), axis=1)

    def relu(self, x: str, scope: str) -> str:
        return self.node("Relu", scope, (x,))

    def relu6(self, x: str, scope: str) -> str:
        low = self.constant(scope, 0, "float32")
        high = self.constant(scope, 6, "float32")
        return self.node("Clip", scope, (x, low, high))

    def gelu(self, x: str, scope: str) -> str:
        """x/2 * (1 + erf(x / sqrt(2))), Hendrycks and Gimpel 2016."""
        root = self.constant(scope, math.sqrt(2), "float32")
        one = self.constant(scope, 1, "float32")
        half = self.constant(scope, 0.5, "float32")
        erf = self.node("Erf", scope, (self.node("Div", scope, (x, root)),))
        gate = self.node("Add", scope, (erf, one))
        return self.node("Mul", scope, (self.node("Mul", scope, (x, gate)), half))

    def encoder_layer(
        self,
        x: str,
        scope: str,
        *,
        width: int,
        heads: int,
        feed_forward: int,
        activation: Callable[[str, str], str],
        mask: str | None = None,
    ) -> str:
        """Transformer encoder layer, normalised after each sum (Vaswani et al. 2017).

        Args:
            x: value, batch x sequence x width.
            scope: dotted name of the layer.
            width: of the model; a multiple of heads.
            heads: attention heads.
            feed_forward: width between the two dense layers.
            activation: self.relu or self.gelu.
            mask: value added to the scores, batch x 1 x 1 x sequence.
        """
        attended = self._attention(x, f"{scope}.attention", width, heads, mask)
        x = self.node("Add", f"{scope}.attention.output", (attended, x))
        x = self.layer_norm(x, f"{scope}.attention.norm", width)
        inner = self.dense(x, f"{scope}.intermediate", (width, feed_forward), gain=1.0)
        inner = activation(inner, f"{scope}.intermediate.activation")
        outer = self.dense(inner, f"{scope}.output.dense", (feed_forward, width))
        x = self.node("Add", f"{scope}.output", (outer, x))
        return self.layer_norm(x, f"{scope}.output.norm", width)

    def _attention(self, x: str, scope: str, width: int, heads: int, mask: str | None) -> str:
        size = width // heads

        def split(part: str, perm: list[int]) -> str:
            value = self.dense(x, f"{scope}.{part}", (width, width))
            shape = self.constant(f"{scope}.{part}", [0, 0, heads, size])
            value = self.node("Reshape", f"{scope}.{part}", (value, shape))
            return self.node("Transpose", f"{scope}.{part}", (value,), perm=perm)

        query = split("query", [0, 2, 1, 3])
        key = split("key", [0, 2, 3, 1])
        value = split("value", [0, 2, 1, 3])
        scores = self.node("MatMul", scope, (query, key))
        scores = self.node("Div", scope, (scores, self.constant(scope, math.sqrt(size), "float32")))
        if mask is not None:
            scores = self.node("Add", scope, (scores, mask))
        weights = self.node("Softmax", scope, (scores,), axis=-1)
        context = self.node("MatMul", scope, (weights, value))
        context = self.node("Transpose", scope, (context,), perm=[0, 2, 1, 3])
        context = self.node("Reshape", scope, (context, self.constant(scope, [0, 0, width])))
        return self.dense(context, f"{scope}.output.dense", (width, width))


def _value_info(name: str, shape: Sequence[int | str], dtype: str) -> onnx.ValueInfoProto:
    import numpy as np
    import onnx.helper

    element = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return onnx.helper.make_tensor_value_info(name, element, shape)


# Architectures


def _mlp(graph: _Graph) -> None:
    x = graph.input("input", ("batch", 64))
    x = graph.relu(graph.fully_connected(x, "fc1", (64, 48), gain=1.0), "fc1")
    x = graph.relu(graph.fully_connected(x, "fc2", (48, 32), gain=1.0), "fc2")
    x = graph.fully_connected(x, "fc3", (32, 10))
    graph.output(x, "logits", ("batch", 10))


def _resnet50(graph: _Graph) -> None:
    """Table 1 of He et al. 2016; v1.5: the stride is in the 3x3 convolution."""
    x = graph.input("input", ("batch", 3, 224, 224))
    x = graph.relu(graph.conv_bn(x, "stem", (3, 64), 7, stride=2), "stem")
    x = graph.node("MaxPool", "stem", (x,), kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    channels = 64
    for stage, (width, blocks, first_stride) in enumerate(
        ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)), start=1
    ):
        for block in range(blocks):
            stride = first_stride if block == 0 else 1
            x = _bottleneck(graph, x, f"layer{stage}.{block}", channels, width, stride)
            channels = 4 * width
    x = graph.fully_connected(graph.global_average(x), "fc", (channels, 1000))
    graph.output(x, "logits", ("batch", 1000))


def _bottleneck(graph: _Graph, x: str, scope: str, channels: int, width: int, stride: int) -> str:
    shortcut = x
    if channels != 4 * width:
        shortcut = graph.conv_bn(
            x,
            f"{scope}.downsample",
            (channels, 4 * width),
            1,
            stride=stride,
            gain=_LINEAR_GAIN,
        )
    x = graph.relu(graph.conv_bn(x, f"{scope}.1", (channels, width), 1), f"{scope}.1")
    x = graph.conv_bn(x, f"{scope}.2", (width, width), 3, stride=stride)
    x = graph.relu(x, f"{scope}.2")
    x = graph.conv_bn(x, f"{scope}.3", (width, 4 * width), 1, gain=_RESIDUAL_GAIN)
    return graph.relu(graph.node("Add", scope, (x, shortcut)), scope)


def _mobilenet_v2(graph: _Graph) -> None:
    """Table 2 of Sandler et al. 2018, width 1.0."""
    x = graph.input("input", ("batch", 3, 224, 224))
    x = graph.relu6(graph.conv_bn(x, "features.0", (3, 32), 3, stride=2), "features.0")
    channels = 32
    number = 1
    for expansion, width, blocks, first_stride in (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ):
        for block in range(blocks):
            stride = first_stride if block == 0 else 1
            x = _inverted_residual(
                graph, x, f"features.{number}", (channels, width), expansion, stride
            )
            channels = width
            number += 1
    scope = f"features.{number}"
    x = graph.relu6(graph.conv_bn(x, scope, (channels, 1280), 1), scope)
    x = graph.fully_connected(graph.global_average(x), "classifier", (1280, 1000))
    graph.output(x, "logits", ("batch", 1000))


def _inverted_residual(
    graph: _Graph, x: str, scope: str, channels: tuple[int, int], expansion: int, stride: int
) -> str:
    channels_in, channels_out = channels
    shortcut = x
    hidden = expansion * channels_in
    if expansion != 1:
        x = graph.conv_bn(x, f"{scope}.expand", (channels_in, hidden), 1)
        x = graph.relu6(x, f"{scope}.expand")
    x = graph.conv_bn(x, f"{scope}.depthwise", (hidden, hidden), 3, stride=stride, group=hidden)
    x = graph.relu6(x, f"{scope}.depthwise")
    residual = stride == 1 and channels_in == channels_out
    x = graph.conv_bn(
        x,
        f"{scope}.project",
        (hidden, channels_out),
        1,
        gain=_RESIDUAL_GAIN if residual else _LINEAR_GAIN,
    )
    return graph.node("Add", scope, (shortcut, x)) if residual else x


def _bert_base(graph: _Graph) -> None:
    _bert(graph, layers=12, width=768, heads=12)


def _bert_small(graph: _Graph) -> None:
    _bert(graph, layers=4, width=256, heads=4)


def _bert(graph: _Graph, *, layers: int, width: int, heads: int) -> None:
    """Encoder and pooler of Devlin et al. 2019: vocabulary 30,522, 512 positions."""
    tokens = ("batch", "sequence")
    input_ids = graph.input("input_ids", tokens, "int64")
    attention_mask = graph.input("attention_mask", tokens, "int64")
    token_type_ids = graph.input("token_type_ids", tokens, "int64")

    mask = attention_mask
    for axis in (1, 2):
        mask = graph.node("Unsqueeze", "mask", (mask, graph.constant("mask", [axis])))
    mask = graph.node("Cast", "mask", (mask,), to=1)  # TensorProto.FLOAT
    mask = graph.node("Sub", "mask", (graph.constant("mask", 1, "float32"), mask))
    mask = graph.node("Mul", "mask", (mask, graph.constant("mask", -10_000, "float32")))

    scope = "embeddings"
    shape = graph.node("Shape", scope, (input_ids,))
    length = graph.node("Gather", scope, (shape, graph.constant(scope, 1)), axis=0)
    ends = graph.node("Unsqueeze", scope, (length, graph.constant(scope, [0])))
    slice_inputs = (
        graph.constant(scope, [list(range(512))]),
        graph.constant(scope, [0]),
        ends,
        graph.constant(scope, [1]),
    )
    position_ids = graph.node("Slice", scope, slice_inputs)

    def embed(part: str, rows: int, ids: str) -> str:
        table = graph.normal(f"{scope}.{part}.weight", (rows, width), 0.02)
        return graph.node("Gather", f"{scope}.{part}", (table, ids), axis=0)

    words = embed("word", 30_522, input_ids)
    types = embed("token_type", 2, token_type_ids)
    positions = embed("position", 512, position_ids)
    x = graph.node("Add", scope, (words, types))
    x = graph.node("Add", scope, (x, positions))
    x = graph.layer_norm(x, f"{scope}.norm", width)

    for layer in range(layers):
        x = graph.encoder_layer(
            x,
            f"encoder.{layer}",
            width=width,
            heads=heads,
            feed_forward=4 * width,
            activation=graph.gelu,
            mask=mask,
        )
    first = graph.node("Gather", "pooler", (x, graph.constant("pooler", 0)), axis=1)
    pooled = graph.fully_connected(first, "pooler", (width, width))
    pooled = graph.node("Tanh", "pooler", (pooled,))
    graph.output(x, "last_hidden_state", (*tokens, width))
    graph.output(pooled, "pooler_output", ("batch", width))


def _tessera(graph: _Graph) -> None:
    """Shaped like Tessera (Feng et al. 2025): one pixel's year from two satellites."""
    width = 512
    s2 = _tessera_branch(graph, graph.input("s2", ("batch", 40, 11)), "s2", 10, width)
    s1 = _tessera_branch(graph, graph.input("s1", ("batch", 40, 3)), "s1", 2, width)
    x = graph.node("Concat", "fusion", (s2, s1), axis=-1)
    x = graph.relu(graph.fully_connected(x, "fusion.0", (2 * width, width), gain=1.0), "fusion.0")
    x = graph.fully_connected(x, "fusion.1", (width, 128))
    graph.output(x, "embedding", ("batch", 128))


def _tessera_branch(graph: _Graph, x: str, scope: str, bands: int, width: int) -> str:
    """Bands embedded, the day of the year (last column) as position, pooled over time."""

    def columns(scope: str, start: int, end: int) -> str:
        bounds = (graph.constant(scope, [bound]) for bound in (start, end, 2))
        return graph.node("Slice", scope, (x, *bounds))

    day = columns(f"{scope}.day", bands, bands + 1)
    position = _sinusoidal_encoding(graph, day, f"{scope}.day", width)
    embedded = columns(f"{scope}.embedding", 0, bands)
    embedded = graph.dense(embedded, f"{scope}.embedding.0", (bands, width), gain=1.0)
    embedded = graph.relu(embedded, f"{scope}.embedding.0")
    embedded = graph.dense(embedded, f"{scope}.embedding.1", (width, width))
    hidden = graph.node("Add", scope, (embedded, position))
    for layer in range(4):
        hidden = graph.encoder_layer(
            hidden,
            f"{scope}.encoder.{layer}",
            width=width,
            heads=8,
            feed_forward=4 * width,
            activation=graph.relu,
        )

    weights = graph.dense(hidden, f"{scope}.pool", (width, 1))
    weights = graph.node("Softmax", f"{scope}.pool", (weights,), axis=1)
    hidden = graph.node("Mul", f"{scope}.pool", (weights, hidden))
    time = graph.constant(f"{scope}.pool", [1])
    return graph.node("ReduceSum", f"{scope}.pool", (hidden, time), keepdims=0)


def _sinusoidal_encoding(graph: _Graph, position: str, scope: str, width: int) -> str:
    """Sine and cosine of each frequency side by side (Vaswani et al. 2017, section 3.5).

    Takes batch x sequence x 1 to batch x sequence x width.
    """
    frequencies = [10_000 ** (-i / width) for i in range(0, width, 2)]
    angle = graph.node("Mul", scope, (position, graph.constant(scope, frequencies, "float32")))
    waves = []
    for function in ("Sin", "Cos"):
        wave = graph.node(function, scope, (angle,))
        waves.append(graph.node("Unsqueeze", scope, (wave, graph.constant(scope, [-1]))))
    pairs = graph.node("Concat", scope, waves, axis=-1)
    return graph.node("Reshape", scope, (pairs, graph.constant(scope, [0, 0, width])))


_ARCHITECTURES: dict[str, tuple[Callable[[_Graph], None], str]] = {
    "mlp": (
        _mlp,
        "three linear layers 64-48-32-10; 5,018 parameters; input batch x 64",
    ),
    "mobilenet-v2": (
        _mobilenet_v2,
        "MobileNetV2 of width 1.0; 3,538,984 parameters; input batch x 3 x 224 x 224",
    ),
    "resnet50": (
        _resnet50,
        "ResNet-50 v1.5; 25,610,152 parameters; input batch x 3 x 224 x 224",
    ),
    "bert-small": (
        _bert_small,
        "BERT, 4 layers of 256; 11,170,560 parameters; 3 inputs batch x sequence",
    ),
    "bert-base": (
        _bert_base,
        "BERT, 12 layers of 768; 109,482,240 parameters; 3 inputs batch x sequence",
    ),
    "tessera": (
        _tessera,
        "2 transformers of 4 layers of 512; 26,343,042 parameters; batch x 40 x 11 and 40 x 3",
    ),
}

REFERENCE_MODELS: Mapping[str, ReferenceModel] = MappingProxyType(
    {name: ReferenceModel(name, summary) for name, (_, summary) in _ARCHITECTURES.items()}
)
