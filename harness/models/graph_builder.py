"""ONNX graphs built by hand: named nodes and seeded weights."""

from __future__ import annotations

import collections
import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt
    import onnx

#: The first opset with LayerNormalization, and the IR version that came with it: the pair
#: that PyTorch's exporter wrote for years, so everything reads it.
OPSET = 17
IR_VERSION = 8

#: Scale of the last normalisation of a residual branch. The sum with the shortcut then
#: grows slowly over the blocks, as it does in trained networks, instead of doubling.
RESIDUAL_GAIN = 0.3
#: A layer not followed by an activation needs half the variance of one before a Relu.
LINEAR_GAIN = math.sqrt(0.5)


class GraphBuilder:
    """A model that grows node by node; values are passed around by name.

    A ``scope`` is the dotted name of the module that a node belongs to: it names the
    node (``layer1.0.2.conv/Conv``) and its weights (``layer1.0.2.conv.weight``).
    """

    def __init__(self, name: str, seed: int) -> None:
        import numpy as np
        import onnx

        self.model = onnx.ModelProto(ir_version=IR_VERSION, producer_name="harness")
        self.model.opset_import.add(version=OPSET)
        self.model.graph.name = name
        self._random = np.random.default_rng(seed)
        self._uses: collections.Counter[str] = collections.Counter()

    # Values

    def input(self, name: str, shape: Sequence[int | str], dtype: str = "float32") -> str:
        """Declares an input of the model; returns its name."""
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
        """A Constant node; returns its output."""
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

    # Layers. Weights have variance gain^2 * 2 / fan_in (He et al. 2015), which preserves the
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
            stride: in both directions.
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
        self, x: str, scope: str, widths: tuple[int, int], gain: float = LINEAR_GAIN
    ) -> str:
        """Linear layer on a matrix: Gemm."""
        width_in, width_out = widths
        weight = self.normal(
            f"{scope}.weight", (width_out, width_in), gain * math.sqrt(2 / width_in)
        )
        bias = self.normal(f"{scope}.bias", (width_out,), 0.02)
        return self.node("Gemm", scope, (x, weight, bias), transB=1)

    def dense(self, x: str, scope: str, widths: tuple[int, int], gain: float = LINEAR_GAIN) -> str:
        """Linear layer on the last of three dimensions: MatMul and Add."""
        width_in, width_out = widths
        weight = self.normal(f"{scope}.weight", widths, gain * math.sqrt(2 / width_in))
        bias = self.normal(f"{scope}.bias", (width_out,), 0.02)
        x = self.node("MatMul", scope, (x, weight))
        return self.node("Add", scope, (bias, x))

    def layer_norm(self, x: str, scope: str, width: int) -> str:
        """LayerNormalization over the last axis."""
        scale = self.normal(f"{scope}.weight", (width,), 0.1, mean=1.0)
        bias = self.normal(f"{scope}.bias", (width,), 0.1)
        return self.node("LayerNormalization", scope, (x, scale, bias), axis=-1, epsilon=1e-5)

    def global_average(self, x: str) -> str:
        """GlobalAveragePool, with the last two axes flattened away."""
        x = self.node("GlobalAveragePool", "pool", (x,))
        return self.node("Flatten", "flatten", (x,), axis=1)

    def relu(self, x: str, scope: str) -> str:
        """Relu."""
        return self.node("Relu", scope, (x,))

    def relu6(self, x: str, scope: str) -> str:
        """Clip to the range 0 to 6."""
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
            width: width of the model; a multiple of heads.
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
