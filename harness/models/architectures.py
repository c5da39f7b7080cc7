"""Layers of the reference models."""

from __future__ import annotations

from harness.models.graph_builder import LINEAR_GAIN, RESIDUAL_GAIN, GraphBuilder


def mlp(graph: GraphBuilder) -> None:
    """Three fully connected layers."""
    x = graph.input("input", ("batch", 64))
    x = graph.relu(graph.fully_connected(x, "fc1", (64, 48), gain=1.0), "fc1")
    x = graph.relu(graph.fully_connected(x, "fc2", (48, 32), gain=1.0), "fc2")
    x = graph.fully_connected(x, "fc3", (32, 10))
    graph.output(x, "logits", ("batch", 10))


def resnet50(graph: GraphBuilder) -> None:
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


def _bottleneck(
    graph: GraphBuilder, x: str, scope: str, channels: int, width: int, stride: int
) -> str:
    shortcut = x
    if channels != 4 * width:
        shortcut = graph.conv_bn(
            x,
            f"{scope}.downsample",
            (channels, 4 * width),
            1,
            stride=stride,
            gain=LINEAR_GAIN,
        )
    x = graph.relu(graph.conv_bn(x, f"{scope}.1", (channels, width), 1), f"{scope}.1")
    x = graph.conv_bn(x, f"{scope}.2", (width, width), 3, stride=stride)
    x = graph.relu(x, f"{scope}.2")
    x = graph.conv_bn(x, f"{scope}.3", (width, 4 * width), 1, gain=RESIDUAL_GAIN)
    return graph.relu(graph.node("Add", scope, (x, shortcut)), scope)


def mobilenet_v2(graph: GraphBuilder) -> None:
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
    graph: GraphBuilder, x: str, scope: str, channels: tuple[int, int], expansion: int, stride: int
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
        gain=RESIDUAL_GAIN if residual else LINEAR_GAIN,
    )
    return graph.node("Add", scope, (shortcut, x)) if residual else x


def bert_base(graph: GraphBuilder) -> None:
    """BERT base: 12 layers of 768."""
    _bert(graph, layers=12, width=768, heads=12)


def bert_small(graph: GraphBuilder) -> None:
    """BERT small: 4 layers of 256."""
    _bert(graph, layers=4, width=256, heads=4)


def _bert(graph: GraphBuilder, *, layers: int, width: int, heads: int) -> None:
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


def tessera(graph: GraphBuilder) -> None:
    """Shaped like Tessera (Feng et al. 2025): one pixel's year from two satellites."""
    width = 512
    s2 = _tessera_branch(graph, graph.input("s2", ("batch", 40, 11)), "s2", 10, width)
    s1 = _tessera_branch(graph, graph.input("s1", ("batch", 40, 3)), "s1", 2, width)
    x = graph.node("Concat", "fusion", (s2, s1), axis=-1)
    x = graph.relu(graph.fully_connected(x, "fusion.0", (2 * width, width), gain=1.0), "fusion.0")
    x = graph.fully_connected(x, "fusion.1", (width, 128))
    graph.output(x, "embedding", ("batch", 128))


def _tessera_branch(graph: GraphBuilder, x: str, scope: str, bands: int, width: int) -> str:
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


def _sinusoidal_encoding(graph: GraphBuilder, position: str, scope: str, width: int) -> str:
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
