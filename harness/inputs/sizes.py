"""Customary sizes of free dimensions, from what the weights need, what a name says and what an
input looks like.
"""

from __future__ import annotations

import dataclasses
import operator
import re
from typing import TYPE_CHECKING

import numpy as np

from harness.inputs.axes import BY_PLACE
from harness.inputs.origins import all_nodes, all_weights, axis_origins
from harness.inputs.ports import Dimension, Port, Shape, is_composed, parts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import onnx

    from harness.inputs.axes import Axes

#: Height and width of an image, as ImageNet classifiers take it.
IMAGE = 224
#: Height and width of a line of text, as PaddleOCR recognisers take it.
TEXT_LINE = (48, 320)
#: Sample rate of speech, Hz.
SAMPLE_RATE = 16_000
ONE_SECOND = "one second of audio at 16 kHz"
#: Samples that a streaming speech model takes at a time.
WINDOW = 512
#: Roles of the dimensions around a decoder's cache; also the reasons given for their sizes.
PAST = "tokens in the cache"
NEW = "one new token after those in the cache"
BOTH = "tokens in the cache and new ones"

_TOKENS = 128
_DETECTOR_IMAGE = 640  # YOLO, RT-DETR and similar
_TEXT_LINE_HEIGHTS = (32, 48, 64)
_MEL_BINS = (80, 128)
_MAX_PART = 256  # largest size tried for a part of a composed name

#: A size and the reason for it.
_Choice = tuple[int, str]
_CHANNELS: _Choice = (3, "customary for images")
_SEQUENCE: _Choice = (_TOKENS, "customary for sequences")
_SAMPLES: _Choice = (SAMPLE_RATE, ONE_SECOND)
_MEL_FRAMES: _Choice = (3000, "customary for log-mel features")  # 30 s, Whisper's window

_SEQUENCE_NAME = r"seq|len|time|token|frame|step|position|sample"
_AUDIO_NAME = r"audio|wav|speech|input_values|sample|signal|pcm"
_IMAGE_NAME = r"image|pixel|img|frame|photo|picture|video"
_HEIGHT_OR_WIDTH = r"height|width|^[hw]$"

#: Sizes by pattern in a dimension's name; the first match wins.
_BY_NAME: tuple[tuple[str, _Choice], ...] = (
    (r"past", (_TOKENS - 1, PAST)),
    (r"total|kv_len", (_TOKENS, BOTH)),
    (r"channel", _CHANNELS),
    (rf"^(num|n)_(?!.*({_SEQUENCE_NAME}))", (4, "a small count")),
)


class CustomarySizes:
    """Customary sizes of a model's free dimensions.

    Attributes:
        sizes: size of each free dimension.
        reasons: reason for each size.
        required: sizes that a weight dictates.
        image: height and width of an image.
    """

    def __init__(self, model: onnx.ModelProto, ports: Sequence[Port], axes: Axes) -> None:
        self._axes = axes
        self.sizes: dict[Dimension, int] = {}
        self.reasons: dict[Dimension, str] = {}
        self.required = _required_sizes(model, ports)
        self.image = _DETECTOR_IMAGE if _is_detector(model) else IMAGE
        self._has_cache = any(port.is_float and self._holds_tokens(port) for port in ports)
        self._is_audio = any(is_sample_rate(port) for port in ports)
        for port in ports:
            for axis, dimension in enumerate(port.dims):
                if not isinstance(dimension, int) and dimension not in self.sizes:
                    choice = self._choice(port, axis, dimension)
                    self.sizes[dimension], self.reasons[dimension] = choice
        for name in [name for name in self.sizes if isinstance(name, str)]:
            for part in parts(name):
                if part not in self.sizes:
                    known = (1, axes.batch[part]) if part in axes.batch else None
                    self.sizes[part], self.reasons[part] = known or _part_choice(part, model)
        for dimension, size in self.required.items():
            self.sizes[dimension], self.reasons[dimension] = size, "as the weights need"

    def _holds_tokens(self, port: Port) -> bool:
        """Whether the input looks like a cache of tokens, rather than a recurrent state."""
        free = any(dimension not in self._axes.batch for dimension in port.free)
        return is_cache(port) and (free or port.rank > 3)

    def size_of(self, role: str, sizes: Mapping[Dimension, int]) -> int | None:
        """Size of the first dimension with a role (PAST, NEW); None if there is none."""
        return next((sizes[name] for name in self._in_role(role)), None)

    def resolve(
        self, sizes: Mapping[Dimension, int], fixed: Mapping[Dimension, int]
    ) -> dict[Dimension, int]:
        """Sizes with the fixed ones applied, and those that depend on others recalculated."""
        resolved = _evaluated({**sizes, **fixed})
        new = self.size_of(NEW, resolved)
        new = 1 if new is None else new
        given = [fixed[name] for name, why in self.reasons.items() if why == BOTH and name in fixed]
        if given:  # all tokens but the new ones are in the cache
            followers = dict.fromkeys(self._in_role(PAST), max(given[0] - new, 0))
        else:
            both = (self.size_of(PAST, resolved) or 0) + new
            followers = dict.fromkeys(self._in_role(BOTH), both)
        return {**_evaluated({**resolved, **followers, **fixed}), **fixed}

    def parts_for(
        self, name: str, wanted: int, sizes: Mapping[Dimension, int]
    ) -> Iterator[tuple[Dimension, int]]:
        """Parts of a composed name, each with the size that brings the whole to ``wanted``."""
        for part in parts(name):
            if part not in self._axes.batch:
                for size in range(min(wanted, _MAX_PART) + 1):
                    if _evaluated({**sizes, part: size}).get(name) == wanted:
                        yield part, size
                        break

    def _in_role(self, role: str) -> list[Dimension]:
        return [name for name, why in self.reasons.items() if why == role]

    def _choice(self, port: Port, axis: int, dimension: Dimension) -> _Choice:
        name = dimension.lower() if isinstance(dimension, str) else ""
        batch = self._axes.batch.get(dimension)
        if batch is not None and batch != BY_PLACE:
            return 1, batch
        if isinstance(dimension, str) and is_composed(dimension):
            return 1, f"calculated from {' and '.join(parts(dimension))}"
        for pattern, choice in _BY_NAME:
            if re.search(pattern, name):
                return choice
        if re.search(_HEIGHT_OR_WIDTH, name):
            return self._image_choice(port, axis)
        if batch is not None:
            return 1, batch
        return self._choice_by_look(port, axis, name)

    def _choice_by_look(self, port: Port, axis: int, name: str) -> _Choice:
        if is_image(port):
            return self._image_choice(port, axis)
        if "encoder" in name or port.named("encoder"):
            return _SEQUENCE
        if is_cache(port):
            return _TOKENS - 1, PAST
        alone = all(size == 1 or size in self._axes.batch for size in port.dims[:-1])
        if port.rank <= 3 and (
            port.named(_AUDIO_NAME) or (self._is_audio and port.is_float and alone)
        ):
            return _SAMPLES if axis == port.rank - 1 else (1, "one channel")
        if port.is_float and port.rank == 3 and any(size in _MEL_BINS for size in port.dims):
            return _MEL_FRAMES
        if not re.search(_SEQUENCE_NAME, name) and port.rank > 3:
            return 1, "the minimum"
        if not self._has_cache:
            return _SEQUENCE
        return (_TOKENS, BOTH) if port.named("mask") else (1, NEW)

    def _image_choice(self, port: Port, axis: int) -> _Choice:
        spatial, channel = image_axes(port)
        if axis == channel:
            return _CHANNELS
        if spatial and axis not in spatial:
            return 16, "customary for video"
        fixed = [size for at in spatial if isinstance(size := port.dims[at], int)]
        if len(fixed) == 1 and fixed[0] in _TEXT_LINE_HEIGHTS:
            return TEXT_LINE[1], "customary for lines of text"
        if fixed:
            return fixed[0], "square image"
        return self.image, "customary for images"


@dataclasses.dataclass(frozen=True, slots=True)
class Lengths:
    """Sizes that the values of other inputs refer to.

    Attributes:
        tokens: length of the main sequence (frames, for audio).
        past: tokens in the cache.
        empty_cache: whether there is a cache and it is empty.
        image: height and width of the image.
    """

    tokens: int
    past: int
    empty_cache: bool
    image: tuple[int, int]


def lengths(
    ports: Sequence[Port],
    shapes: Mapping[str, Shape | None],
    axes: Axes,
    past: int | None,
    image: int,
) -> Lengths:
    """The lengths that the shapes imply; past (None without a cache) and image are given."""
    tokens, spatial_sizes = 1, (image, image)
    for port in reversed(ports):  # so that the first of its kind wins
        shape = shapes[port.name] or ()
        if is_image(port):
            (top, left), _ = image_axes(port)
            spatial_sizes = shape[top], shape[left]
        if len(shape) >= 2 and not is_cache(port) and not port.named("mask"):
            bins = port.rank == 3 and port.dims[1] in _MEL_BINS
            last = len(shape) == 3 and (port.named(_AUDIO_NAME) or bins)
            tokens = shape[2] if last else shape[0 if axes.batch_axis(port) == 1 else 1]
    return Lengths(tokens or 1, past or 0, past == 0, spatial_sizes)


def is_cache(port: Port) -> bool:
    """Whether the input looks like a decoder's cache."""
    return port.rank >= 3 and port.named("past|cache")


def is_sample_rate(port: Port) -> bool:
    """Whether the input is the sample rate of audio."""
    return port.rank <= 1 and port.named(r"sampl(e|ing)_?(rate|freq)|(^|[^a-z])(sr|fs)($|[^a-z])")


def is_image(port: Port) -> bool:
    """Whether the input looks like images or video."""
    if not (port.is_float or port.dtype == np.uint8) or is_cache(port):
        return False
    if port.rank == 3:
        return port.named(_IMAGE_NAME)
    if port.rank not in (4, 5):
        return False
    channels = port.dims[image_axes(port)[1]]
    nothing_fixed = not any(isinstance(size, int) for size in port.dims)
    return channels in (1, 3, 4) or port.named(_IMAGE_NAME) or nothing_fixed


def image_axes(port: Port) -> tuple[tuple[int, ...], int]:
    """Spatial axes of an image-like input (none below rank 3), and the channel axis."""
    rank = port.rank
    if rank < 3:
        return (), -1
    # Three axes are an image without a batch; in video the channel may come after the frames.
    places = {3: (2,), 4: (1, 3)}.get(rank, (1, rank - 1, 2))
    channel = next((at for at in places if port.dims[at] in (1, 3, 4)), 0 if rank == 3 else 1)
    last = rank - 2 if channel == rank - 1 else rank - 1
    return (last - 1, last), channel


def _is_detector(model: onnx.ModelProto) -> bool:
    return any(node.op_type == "NonMaxSuppression" for node in model.graph.node) or any(
        re.search(r"box|^dets?$|detect", output.name, re.IGNORECASE)
        for output in model.graph.output
    )


_RECURRENT = ("GRU", "LSTM", "RNN")
#: Axis of the first input and the size it must have, from the shape of the weight (the second
#: input) and the integer attributes.
_WEIGHED: dict[str, Callable[[Shape, Mapping[str, int]], tuple[int, int]]] = {
    "Conv": lambda weight, attributes: (1, weight[1] * attributes.get("group", 1)),
    "ConvInteger": lambda weight, attributes: (1, weight[1] * attributes.get("group", 1)),
    "ConvTranspose": lambda weight, _: (1, weight[0]),
    "MatMul": lambda weight, _: (-1, weight[-2]),
    "MatMulInteger": lambda weight, _: (-1, weight[-2]),
    "Gemm": lambda weight, attributes: (
        0 if attributes.get("transA") else 1,
        weight[1 if attributes.get("transB") else 0],
    ),
    **dict.fromkeys(_RECURRENT, lambda weight, _: (2, weight[2])),
    "BatchNormalization": lambda weight, _: (1, weight[0]),
    "LayerNormalization": lambda weight, _: (-1, weight[-1]),
}


def _required_sizes(model: onnx.ModelProto, ports: Sequence[Port]) -> dict[Dimension, int]:
    """Sizes that weights dictate to the input axes that reach them."""
    origins = axis_origins(model, ports)
    weights = {tensor.name: tuple(tensor.dims) for tensor in all_weights(model.graph)}
    required: dict[Dimension, int] = {}
    for node in all_nodes(model.graph):
        rule = _WEIGHED.get(node.op_type)
        if rule is None or len(node.input) < 2:
            continue
        weight = weights.get(node.input[1])
        if weight is None:
            continue
        attributes = {item.name: item.i for item in node.attribute}
        try:
            asked = [(0, *rule(weight, attributes))]
            if node.op_type in _RECURRENT:  # its states have a layer for each direction
                axis = 1 if attributes.get("layout") else 0
                asked += [(slot, axis, weight[0]) for slot in (5, 6)]
        except IndexError:  # a rank that the operator does not take
            continue
        for slot, axis, size in asked:
            origin = origins.get(node.input[slot]) if slot < len(node.input) else None
            dimension = None if origin is None else origin.size(axis)
            if dimension is not None and not isinstance(dimension, int):
                required.setdefault(dimension, size)
    return required


def _part_choice(name: str, model: onnx.ModelProto) -> _Choice:
    """A size for a name that occurs only within composed names."""
    for pattern, choice in _BY_NAME:
        if re.search(pattern, name):
            return choice
    if re.search(r"head", name):
        heads = [
            item.i
            for node in model.graph.node
            for item in node.attribute
            if item.name in ("num_heads", "q_num_heads")
        ]
        return (heads[0], "attention heads") if heads else (1, "the minimum")
    return _SEQUENCE if re.search(_SEQUENCE_NAME, name) else (1, "the minimum")


_OPERATORS = {"+": operator.add, "-": operator.sub, "*": operator.mul}


def _evaluated(sizes: Mapping[Dimension, int]) -> dict[Dimension, int]:
    """Sizes, with composed names (``past + 1``) calculated from left to right."""
    result = dict(sizes)
    for name in sizes:
        parts = re.split(r"\s*([+*-])\s*", name.strip()) if isinstance(name, str) else []
        try:
            numbers = [int(part) if part.isdigit() else result[part] for part in parts[::2]]
        except KeyError:
            continue
        for sign, number in zip(parts[1::2], numbers[1:], strict=True):
            numbers[0] = _OPERATORS[sign](numbers[0], number)
        if len(numbers) > 1 and numbers[0] >= 0:
            result[name] = numbers[0]
    return result
