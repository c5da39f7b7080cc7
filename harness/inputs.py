"""Valid input tensors from the model alone, seeded; or those that the user gave.

Three questions are answered in turn. Which size has each free dimension: from the weights
it meets, from its name, from what the input looks like. Which values are valid: a walk
through the graph finds what each input indexes, counts or masks. Does the model take
them: ``choose`` tries, and goes on to the next candidate when it does not.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import itertools
import math
import re
import zlib
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import onnx
import onnx.inliner
from onnx import TensorProto

from harness._ort import OrtError
from harness.errors import ModelError, RequestError
from harness.records import InputRecord, Reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from harness.config import InputRequest

#: Attempts before a model is given up.
MAX_ATTEMPTS = 24
#: A candidate whose tensors are larger than this together is left out.
MAX_BYTES = 512 << 20

_BATCH = 1
_TOKENS = 128
_IMAGE = 224  # ImageNet classifiers
_DETECTOR_IMAGE = 640  # YOLO, RT-DETR and their kin
_TEXT_LINE_WIDTH = 320  # PaddleOCR recognisers: 48x320
_TEXT_LINE_HEIGHTS = (32, 48, 64)
_VIDEO_FRAMES = 16
_SAMPLE_RATE = 16_000  # one second of speech
_MEL_BINS = (80, 128)
_MEL_FRAMES = 3000  # 30 s at 10 ms a frame, Whisper's window
_COUNT = 4  # boxes, points, …
_SEQUENCE_LENGTH = 3  # elements of a value of type sequence
_WORD = "harness"

#: Sizes given to all free dimensions at once when the customary ones fail: 1 and 2 for
#: plain tensors, multiples of 32 for networks that halve the image five times, 77 and 512
#: for fixed position tables (CLIP, BERT).
_FALLBACK_SIZES = (1, 2, 32, 64, 640, 320, 4, 8, 16, 77, 256, 512, 3, 5)

#: Kinds of values, in the order they are tried.
_VALUE_KINDS = ("chosen", "positive", "ones", "zeros", "counting")

# By number, as onnx before 1.19 knows no ml_dtypes; names of newer types may be missing.
_ML_DTYPES = {
    16: "bfloat16",
    17: "float8_e4m3fn",
    18: "float8_e4m3fnuz",
    19: "float8_e5m2",
    20: "float8_e5m2fnuz",
    21: "uint4",
    22: "int4",
    23: "float4_e2m1fn",
    24: "float8_e8m0fnu",
    25: "uint2",
    26: "int2",
}

#: Largest number of elements whose positions the walk keeps apart.
_MAX_ELEMENTS = 1024

Shape = tuple[int, ...]
#: A free dimension: its name, or the input and axis of one without a name.
Dimension = str | tuple[str, int]


@dataclasses.dataclass(frozen=True, slots=True)
class InputSet:
    """Values for every input of a model that must be fed.

    Attributes:
        values: by input name a numpy array (``ml_dtypes`` element types included, text as
            an object array of str), a list for a sequence, a dict for a map, None for an
            absent optional.
        records: the same inputs described, in the model's order.
        dims: sizes of the named free dimensions.
        expected: outputs that a data set says should come out, in the model's order.
    """

    values: Mapping[str, Any]
    records: tuple[InputRecord, ...]
    dims: Mapping[str, int]
    expected: tuple[Any, ...] | None


def candidates(model: onnx.ModelProto, request: InputRequest) -> Iterator[InputSet]:
    """Input sets in the order of plausibility; the same request gives the same sets.

    Raises:
        RequestError: the request does not fit the model, or a file does not.
        ModelError: an input has a type that cannot be made.
    """
    chooser = _Chooser(model, request)
    for plan in chooser.plans():
        if (made := chooser.make(plan)) is not None:
            yield made


def choose(
    model: onnx.ModelProto,
    request: InputRequest,
    attempt: Callable[[InputSet], list[Any]],
) -> tuple[InputSet, list[Any]]:
    """The first candidate that the model runs with, and its outputs.

    Args:
        model: the model.
        request: what the user fixed.
        attempt: one inference; returns its outputs or raises OrtError, ValueError or
            TypeError.

    Raises:
        RequestError: the request does not fit the model.
        ModelError: nothing worked; says ORT's reason and the flag that would help.
    """
    chooser = _Chooser(model, request)
    waiting = collections.deque(chooser.plans())
    seen: set[str] = set()
    reasons: list[str] = []
    while waiting and len(reasons) < MAX_ATTEMPTS:
        plan = waiting.popleft()
        made = chooser.make(plan)
        if made is None:
            continue
        fingerprint = " ".join(record.sha256 for record in made.records)
        if fingerprint in seen:
            continue
        seen.add(fingerprint)
        try:
            return made, attempt(made)
        except (OrtError, ValueError, TypeError) as error:
            reasons.append(str(error))
            if (better := chooser.learn(plan, str(error))) is not None:
                waiting.appendleft(better)
    raise chooser.failure(reasons)


def output_error(outputs: Sequence[Any], expected: Sequence[Any] | None) -> Reading:
    """Largest absolute error of floating outputs against a data set's; unit 1.

    The largest relative error, ``|got - wanted| / |wanted|`` where wanted is not 0, is told
    in the source. A different shape, type, integer, text or NaN makes the value None, with
    the difference as the reason.
    """
    name = "output_error"
    if expected is None:
        return Reading(name, None, reason="there are no expected outputs to compare with")
    if len(outputs) != len(expected):
        reason = f"{len(outputs)} outputs, but the data set expects {len(expected)}"
        return Reading(name, None, reason=reason)
    absolute = relative = 0.0
    problems = []
    for number, (got, wanted) in enumerate(zip(outputs, expected, strict=True)):
        try:
            errors = _difference(got, wanted)
        except ValueError as error:
            problems.append(f"output {number}: {error}")
            continue
        absolute = max(absolute, errors[0])
        relative = max(relative, errors[1])
    if problems:
        return Reading(name, None, reason="; ".join(problems))
    source = f"{len(expected)} outputs of the data set; largest relative error {relative:.3g}"
    return Reading(name, absolute, "1", source)


# --- Types and requests ----------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class _Port:
    """An input of the model. Shape: a free dimension is a Dimension, None is no rank."""

    name: str
    kind: str  # tensor, sequence, map, optional
    dtype: np.dtype[Any]  # object for text; of the elements; of a map's values
    shape: tuple[int | Dimension, ...] | None
    element: _Port | None = None  # of a sequence or an optional
    key_text: bool = False

    @property
    def rank(self) -> int:
        return len(self.shape or ())

    @property
    def is_integer(self) -> bool:
        return _is_integer(self.dtype)

    @property
    def is_float(self) -> bool:
        return _is_float(self.dtype)

    @property
    def type_name(self) -> str:
        if self.kind == "map":
            return f"map({'string' if self.key_text else 'int64'}->{_dtype_name(self.dtype)})"
        if self.element is not None:
            return f"{self.kind}({self.element.type_name})"
        return _dtype_name(self.dtype)

    def named(self, word: str) -> bool:
        """Whether a regular expression is found in the name, case aside."""
        return re.search(word, self.name, re.IGNORECASE) is not None


def _ports(model: onnx.ModelProto, request: InputRequest) -> tuple[_Port, ...]:
    """Inputs to feed: those that no initialiser stands for, and those the user names."""
    initialised = {tensor.name for tensor in model.graph.initializer}
    initialised |= {sparse.values.name for sparse in model.graph.sparse_initializer}
    initialised -= request.files.keys() | request.shapes.keys()
    return tuple(
        _port(value.name, value.type)
        for value in model.graph.input
        if value.name not in initialised
    )


def _port(name: str, proto: onnx.TypeProto) -> _Port:
    kind = proto.WhichOneof("value")
    if kind == "tensor_type":
        return _Port(name, "tensor", _dtype(proto.tensor_type.elem_type), _free_shape(name, proto))
    if kind in ("sequence_type", "optional_type"):
        element = _port(name, getattr(proto, kind).elem_type)
        return _Port(name, kind.removesuffix("_type"), element.dtype, element.shape, element)
    if kind == "map_type" and proto.map_type.value_type.HasField("tensor_type"):
        dtype = _dtype(proto.map_type.value_type.tensor_type.elem_type)
        return _Port(
            name, "map", dtype, None, key_text=proto.map_type.key_type == TensorProto.STRING
        )
    raise ModelError(
        f"input '{name}' has the type {kind or 'unknown'}, which cannot be fed",
        "export the model with tensor inputs",
    )


def _free_shape(name: str, proto: onnx.TypeProto) -> tuple[int | Dimension, ...] | None:
    if not proto.tensor_type.HasField("shape"):
        return None
    shape: list[int | Dimension] = []
    for axis, dim in enumerate(proto.tensor_type.shape.dim):
        if dim.HasField("dim_value") and dim.dim_value >= 0:
            shape.append(dim.dim_value)
        elif re.search(r"\w", dim.dim_param):
            shape.append(dim.dim_param)
        else:  # unnamed, or a placeholder such as "?" that promises no equality
            shape.append((name, axis))
    return tuple(shape)


def _dtype(elem_type: int) -> np.dtype[Any]:
    dtype: np.dtype[Any] = np.dtype(object)
    if elem_type == TensorProto.STRING:
        return dtype
    try:
        if elem_type in _ML_DTYPES:
            dtype = np.dtype(getattr(ml_dtypes, _ML_DTYPES[elem_type]))
        else:
            dtype = onnx.helper.tensor_dtype_to_np_dtype(elem_type)
    except (AttributeError, KeyError) as error:
        raise ModelError(
            f"an input has the unknown element type {elem_type}", "upgrade onnx and ml_dtypes"
        ) from error
    return dtype


def _dtype_name(dtype: np.dtype[Any]) -> str:
    return "string" if dtype.kind == "O" else dtype.name


def _is_integer(dtype: np.dtype[Any]) -> bool:
    return dtype.kind in "iu" or dtype.name.startswith(("int", "uint"))


def _is_float(dtype: np.dtype[Any]) -> bool:
    return dtype.kind == "f" or "float" in dtype.name


def _shape_text(shape: Iterable[int | Dimension]) -> str:
    text = "x".join("?" if isinstance(size, tuple) else str(size) for size in shape)
    return text or "scalar"


class _Given:
    """What the request fixes, checked against the model.

    Attributes:
        sizes: sizes of free dimensions.
        reasons: the option that fixed each.
        shapes: whole shapes of inputs without a rank of their own.
        arrays: values of inputs, with where they are from.
        expected: outputs of the data set.
    """

    def __init__(
        self, model: onnx.ModelProto, ports: tuple[_Port, ...], request: InputRequest
    ) -> None:
        self.ports = {port.name: port for port in ports}
        self.sizes: dict[Dimension, int] = {}
        self.reasons: dict[Dimension, str] = {}
        self.shapes: dict[str, Shape] = {}
        self.arrays: dict[str, tuple[Any, str]] = {}
        self.expected: tuple[Any, ...] | None = None

        known = _free_names(ports)
        for name, size in request.dims.items():
            if name not in known:
                listing = ", ".join(known) or "none with a name"
                raise RequestError(
                    f"--dim {name}={size}: the model has no such free dimension",
                    f"its free dimensions: {listing}; --shape INPUT=AxB fixes any other",
                )
            self._fix(name, size, f"--dim {name}={size}")
        if request.batch is not None:
            self._set_batch(request.batch)
        for name, shape in request.shapes.items():
            option = f"--shape {name}={_shape_text(shape)}"
            self._fit(self._port(name, option), shape, option)
        for name, path in request.files.items():
            option = f"--input {name}={path}"
            port = self._port(name, option)
            array = _read_npy(path, port, option)
            self._fit(port, array.shape, option)
            self.arrays[name] = (array, f"read from {path}")
        if request.data_set is not None:
            self._read_data_set(model, request.data_set)

    def _port(self, name: str, option: str) -> _Port:
        if name not in self.ports:
            raise RequestError(
                f"{option}: the model has no such input",
                f"its inputs: {', '.join(self.ports) or 'none'}",
            )
        port = self.ports[name]
        if port.kind not in ("tensor", "optional") or (port.element and port.element.element):
            raise RequestError(
                f"{option}: the input is a {port.type_name}, not a tensor",
                "give it by --data-set FOLDER",
            )
        return port

    def _set_batch(self, batch: int) -> None:
        leading = [port.shape[0] for port in self.ports.values() if port.shape]
        free = [dimension for dimension in leading if not isinstance(dimension, int)]
        if not free:
            raise RequestError(
                f"--batch {batch}: no input of the model has a free leading dimension",
                "leave out --batch: the sizes are fixed in the model",
            )
        for dimension in free:
            self._fix(dimension, batch, f"--batch {batch}")

    def _fix(self, dimension: Dimension, size: int, option: str) -> None:
        if self.sizes.setdefault(dimension, size) != size:
            name = dimension if isinstance(dimension, str) else _dimension_text(dimension)
            raise RequestError(
                f"{option}: sets '{name}' to {size}, but {self.reasons[dimension]} "
                f"sets it to {self.sizes[dimension]}",
                "give one of them only, or the same size in both",
            )
        self.reasons.setdefault(dimension, option)

    def _fit(self, port: _Port, shape: Shape, option: str) -> None:
        """Takes over the sizes of a whole shape, where they fit the model's input."""
        self.shapes[port.name] = shape
        if port.shape is None:
            return
        fits = len(shape) == port.rank and all(
            size in (wanted, self.sizes.get(wanted, size))
            if not isinstance(wanted, int)
            else size == wanted
            for size, wanted in zip(shape, port.shape, strict=True)
        )
        if not fits:
            wanted_sizes = [
                size if isinstance(size, int) else self.sizes.get(size, size) for size in port.shape
            ]
            raise RequestError(
                f"{option}: the shape is {_shape_text(shape)}, "
                f"but '{port.name}' takes {_shape_text(wanted_sizes)}",
                "make it of the shape that the model takes",
            )
        for size, wanted in zip(shape, port.shape, strict=True):
            if not isinstance(wanted, int):
                self._fix(wanted, size, option)

    def _read_data_set(self, model: onnx.ModelProto, folder: Path) -> None:
        option = f"--data-set {folder}"
        files = _numbered(folder, "input")
        if not files and self.ports:
            raise RequestError(
                f"{option}: no folder with input_0.pb, input_1.pb, …",
                "give a folder in ONNX's test_data_set_N layout",
            )
        # Old files list their weights among the inputs; a data set may or may not.
        names = list(self.ports)
        if len(files) != len(names) == len(self.ports):
            raise RequestError(
                f"{option}: has {len(files)} inputs, but the model takes {len(names)}",
                f"one input_N.pb for each of {', '.join(names) or 'no input'}, in this order",
            )
        for file, name in zip(files, names, strict=True):
            port = self.ports[name]
            value = _read_pb(file, port, option)
            what = f"{option}: {file.name}"
            if isinstance(value, np.ndarray):
                _check_dtype(value.dtype, port, what)
                self._fit(port, value.shape, what)
            self.arrays[name] = (value, f"from data set {folder}")
        outputs = _numbered(folder, "output")
        if outputs:
            if len(outputs) != len(model.graph.output):
                raise RequestError(
                    f"{option}: has {len(outputs)} outputs, "
                    f"but the model gives {len(model.graph.output)}",
                    "remove its output_*.pb to profile without comparing",
                )
            self.expected = tuple(
                _read_pb(file, _port(value.name, value.type), option)
                for file, value in zip(outputs, model.graph.output, strict=True)
            )


def _free_names(ports: Iterable[_Port]) -> list[str]:
    """Named free dimensions in the order they appear; a sum such as ``a + 1`` is not one."""
    named = (size for port in ports for size in port.shape or () if isinstance(size, str))
    return list(dict.fromkeys(named))


def _dimension_text(dimension: Dimension) -> str:
    return f"'{dimension}'" if isinstance(dimension, str) else f"{dimension[0]}[{dimension[1]}]"


def _read_npy(path: Path, port: _Port, option: str) -> np.ndarray[Any, Any]:
    try:
        array: Any = np.load(path, allow_pickle=False)
    except FileNotFoundError as error:
        raise RequestError(f"{option}: no such file", "check the path") from error
    except OSError as error:
        raise RequestError(f"{option}: cannot be read ({error.strerror})", "check it") from error
    except (ValueError, EOFError) as error:
        raise RequestError(
            f"{option}: is not a .npy file of plain numbers or text",
            "write it with numpy.save(path, array, allow_pickle=False)",
        ) from error
    if not isinstance(array, np.ndarray):
        array.close()
        raise RequestError(
            f"{option}: holds several arrays (.npz)", "write one array with numpy.save"
        )
    # numpy.save keeps only the width of an ml_dtypes type.
    if array.dtype.kind == "V" and array.dtype.itemsize == port.dtype.itemsize:
        array = array.view(port.dtype)
    if array.dtype.kind == "U" and port.dtype.kind == "O":
        array = array.astype(object)
    native: np.ndarray[Any, Any] = array.astype(
        array.dtype.newbyteorder("="), order="C", copy=False
    )
    _check_dtype(native.dtype, port, option)
    return native


def _check_dtype(got: np.dtype[Any], port: _Port, option: str) -> None:
    if got != port.dtype:
        raise RequestError(
            f"{option}: the type is {_dtype_name(got)}, "
            f"but '{port.name}' takes {_dtype_name(port.dtype)}",
            f"convert it with array.astype('{_dtype_name(port.dtype)}')",
        )


def _numbered(folder: Path, prefix: str) -> list[Path]:
    found = (
        (int(match[1]), file)
        for file in folder.glob(f"{prefix}_*.pb")
        if (match := re.fullmatch(rf"{prefix}_(\d+)", file.stem))
    )
    return [file for _, file in sorted(found)]


def _read_pb(file: Path, port: _Port, option: str) -> Any:
    protos = {
        "tensor": onnx.TensorProto,
        "sequence": onnx.SequenceProto,
        "map": onnx.MapProto,
        "optional": onnx.OptionalProto,
    }
    proto = protos[port.kind]()
    try:
        proto.ParseFromString(file.read_bytes())
        return _plain(proto)
    except Exception as error:  # protobuf and numpy_helper raise many kinds on damaged data
        raise RequestError(
            f"{option}: {file.name} holds no {port.kind}", "write it anew from the model's inputs"
        ) from error


def _plain(proto: Any) -> Any:
    """A stored value as numpy array, list, dict or None."""
    if isinstance(proto, onnx.TensorProto):
        array = onnx.numpy_helper.to_array(proto)
        if proto.data_type == TensorProto.STRING:
            return np.array(
                [item.decode() if isinstance(item, bytes) else item for item in array.flat],
                dtype=object,
            ).reshape(array.shape)
        return array
    if isinstance(proto, onnx.SequenceProto):
        kind = onnx.SequenceProto.DataType.Name(proto.elem_type).lower()
        return [_plain(item) for item in getattr(proto, f"{kind}_values")]
    if isinstance(proto, onnx.MapProto):
        keys = [key.decode() for key in proto.string_keys] or list(proto.keys)
        return dict(zip(keys, _plain(proto.values), strict=True))
    kind = onnx.OptionalProto.DataType.Name(proto.elem_type).lower()
    return None if kind == "undefined" else _plain(getattr(proto, f"{kind}_value"))


# --- Sizes -----------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class _Plan:
    """One way to choose: sizes of free dimensions, kind of values, rank where none is given."""

    sizes: Mapping[Dimension, int]
    reasons: Mapping[Dimension, str]
    values: str = "chosen"
    rank: int = 1
    index_limit: int | None = None


class _Sizes:
    """Customary sizes of the free dimensions.

    Attributes:
        sizes: size of each free dimension.
        reasons: why.
    """

    def __init__(self, model: onnx.ModelProto, ports: tuple[_Port, ...]) -> None:
        self.sizes: dict[Dimension, int] = {}
        self.reasons: dict[Dimension, str] = {}
        self.required = _required_sizes(model, ports)
        self._image = _DETECTOR_IMAGE if _is_detector(model) else _IMAGE
        self._has_past = any(port.is_float and _is_cache(port) for port in ports)
        for port in ports:
            for axis, dimension in enumerate(port.shape or ()):
                if not isinstance(dimension, int) and dimension not in self.sizes:
                    size, reason = self._size(port, axis, dimension)
                    self.sizes[dimension] = size
                    self.reasons[dimension] = reason
        for dimension, size in self.required.items():
            self.sizes[dimension] = size
            self.reasons[dimension] = "as the weights need"

    def _size(self, port: _Port, axis: int, dimension: Dimension) -> tuple[int, str]:
        name = dimension.lower() if isinstance(dimension, str) else ""
        by_name = self._size_by_name(port, name)
        if by_name is not None:
            return by_name
        if axis == 0 and not (port.rank == 1 and _SEQUENCE_NAME.search(name)):
            return _BATCH, "batch"
        if _is_image(port):
            return self._image_size(port, axis)
        if _is_cache(port):
            return _TOKENS - 1, "tokens in the cache"
        if port.named(_AUDIO_NAME) and port.rank <= 3:
            return (1, "one channel") if axis < port.rank - 1 else _samples()
        if port.is_float and port.rank == 3 and set(_fixed(port)) & set(_MEL_BINS):
            return _MEL_FRAMES, "customary for log-mel features"
        if _SEQUENCE_NAME.search(name) or port.rank in (1, 2, 3):
            return self._tokens(port)
        return (1, "the least")

    def _size_by_name(self, port: _Port, name: str) -> tuple[int, str] | None:
        if re.search(r"batch|^(n|b|bs|bsz)$", name) and not re.search(r"\+|\*", name):
            return _BATCH, "batch"
        if "past" in name and "+" not in name:
            return _TOKENS - 1, "tokens in the cache"
        if re.search(r"total|kv_len", name):
            return _TOKENS, "tokens in the cache and the new one"
        if re.search(r"channel", name):
            return 3, "customary for images"
        if re.search(r"height|width|^[hw]$", name):
            axis = (port.shape or ()).index(name) if name in (port.shape or ()) else -1
            return self._image_size(port, axis)
        if re.match(r"(num|n)_", name) and not _SEQUENCE_NAME.search(name):
            return _COUNT, "a small count"
        return None

    def _image_size(self, port: _Port, axis: int) -> tuple[int, str]:
        spatial, channel = _image_axes(port)
        if axis == channel:
            return 3, "customary for images"
        if spatial and axis not in spatial:
            return _VIDEO_FRAMES, "customary for video"
        fixed = [size for at in spatial if isinstance(size := (port.shape or ())[at], int)]
        if len(fixed) == 1 and fixed[0] in _TEXT_LINE_HEIGHTS:
            return _TEXT_LINE_WIDTH, "customary for lines of text"
        if fixed:
            return fixed[0], "square image"
        return self._image, "customary for images"

    def _tokens(self, port: _Port) -> tuple[int, str]:
        if self._has_past and not port.named("encoder"):
            if port.named("mask"):
                return _TOKENS, "tokens in the cache and the new one"
            return 1, "one new token after those in the cache"
        return _TOKENS, "customary for sequences"


_SEQUENCE_NAME = re.compile(r"seq|len|time|token|frame|step|position|sample")
_AUDIO_NAME = r"audio|wav|speech|input_values|sample|signal|pcm"
_IMAGE_NAME = r"image|pixel|img|frame|photo|picture|video"


def _samples() -> tuple[int, str]:
    return _SAMPLE_RATE, "one second of audio at 16 kHz"


def _is_cache(port: _Port) -> bool:
    return port.rank >= 3 and port.named("past|cache")


def _fixed(port: _Port) -> list[int]:
    return [size for size in port.shape or () if isinstance(size, int)]


def _image_axes(port: _Port) -> tuple[tuple[int, ...], int | None]:
    """Spatial axes and channel axis of an image-like input."""
    shape, rank = port.shape or (), port.rank
    if rank == 3:  # one image without a batch, or a batch of grey ones
        if shape[2] in (1, 3, 4):
            return (0, 1), 2
        return ((1, 2), 0)
    if rank < 4:
        return (), None
    places = (1, rank - 1) if rank == 4 else (1, rank - 1, 2)
    channel = next((at for at in places if shape[at] in (1, 3, 4)), 1)
    return ((rank - 3, rank - 2) if channel == rank - 1 else (rank - 2, rank - 1)), channel


def _is_image(port: _Port) -> bool:
    if not (port.is_float or port.dtype == np.uint8) or _is_cache(port):
        return False
    if port.rank in (4, 5):
        _, channel = _image_axes(port)
        size = (port.shape or ())[channel or 1]
        free = any(not isinstance(size, int) for size in (port.shape or ())[1:])
        return size in (1, 3, 4) or port.named(_IMAGE_NAME) or (free and not _fixed(port))
    return port.rank == 3 and port.named(_IMAGE_NAME)


def _is_detector(model: onnx.ModelProto) -> bool:
    return any(node.op_type == "NonMaxSuppression" for node in model.graph.node) or any(
        re.search(r"box|^dets?$|detect", output.name, re.IGNORECASE)
        for output in model.graph.output
    )


def _required_sizes(model: onnx.ModelProto, ports: tuple[_Port, ...]) -> dict[Dimension, int]:
    """Sizes that a weight dictates to the input that meets it directly."""
    by_name = {port.name: port for port in ports if port.kind == "tensor" and port.rank}
    weights = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    required: dict[Dimension, int] = {}
    for node in model.graph.node:
        if not node.input or len(node.input) < 2 or node.input[0] not in by_name:
            continue
        weight = weights.get(node.input[1])
        port = by_name[node.input[0]]
        attributes = {attribute.name: attribute for attribute in node.attribute}
        match node.op_type:
            case "Conv" | "ConvInteger" if weight and len(weight) == port.rank > 1:
                group = attributes["group"].i if "group" in attributes else 1
                axis, size = 1, weight[1] * group
            case "ConvTranspose" if weight and len(weight) == port.rank > 1:
                axis, size = 1, weight[0]
            case "MatMul" | "MatMulInteger" if weight and len(weight) > 1:
                axis, size = -1, weight[-2]
            case "Gemm" if weight:
                transposed = "transB" in attributes and attributes["transB"].i
                axis = 0 if "transA" in attributes and attributes["transA"].i else 1
                size = weight[1] if transposed else weight[0]
            case "LSTM" | "GRU" | "RNN" if weight and port.rank == 3:
                axis, size = 2, weight[2]
            case "BatchNormalization" if weight and port.rank > 1:
                axis, size = 1, weight[0]
            case "LayerNormalization" if weight:
                axis, size = -1, weight[-1]
            case _:
                continue
        dimension = (port.shape or ())[axis] if axis < port.rank else 0
        if not isinstance(dimension, int):
            required.setdefault(dimension, size)
    return required


def _evaluated(
    sizes: Mapping[Dimension, int], fixed: Mapping[Dimension, int]
) -> dict[Dimension, int]:
    """Sizes with those of composed names (``past + 1``) taken from their parts."""
    result = {**sizes, **fixed}
    for name in result:
        if not isinstance(name, str) or name in fixed:
            continue
        parts = re.split(r"\s*([+*-])\s*", name.strip())
        if len(parts) < 3:
            continue
        numbers = [int(part) if part.isdigit() else result.get(part) for part in parts[::2]]
        total = numbers[0]
        for operator, number in zip(parts[1::2], numbers[1:], strict=True):
            if total is None or number is None:
                total = None
                break
            total = {"+": total + number, "-": total - number, "*": total * number}[operator]
        if total is not None and total >= 0:
            result[name] = total
    return result


# --- What the graph does with the values -----------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class _Term:
    """``scale * input[index] + offset``; an empty input is a value that is not known.

    An index of None stands for any element of the input.
    """

    input: str
    index: int | None
    scale: float = 1
    offset: float = 0

    def __add__(self, other: Any) -> _Term:
        if isinstance(other, _Term):
            return _UNKNOWN
        return dataclasses.replace(self, offset=self.offset + other)

    def __mul__(self, other: Any) -> _Term:
        if isinstance(other, _Term) or other == 0:
            return _UNKNOWN
        return dataclasses.replace(self, scale=self.scale * other, offset=self.offset * other)

    def __sub__(self, other: Any) -> _Term:
        return _UNKNOWN if isinstance(other, _Term) else self + -other

    def __rsub__(self, other: Any) -> _Term:
        return dataclasses.replace(self, scale=-self.scale, offset=other - self.offset)

    def __truediv__(self, other: Any) -> _Term:
        if isinstance(other, _Term) or other == 0:
            return _UNKNOWN
        return self * (1 / float(other))

    def __rtruediv__(self, other: Any) -> _Term:
        return _UNKNOWN

    __radd__ = __add__
    __rmul__ = __mul__

    def solve(self, value: float) -> float:
        """The input's element for which the term is value."""
        return (value - self.offset) / self.scale


_UNKNOWN = _Term("", None)
_Elements = np.ndarray[Any, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class _Fact:
    """What is known of a tensor in the graph.

    Attributes:
        elements: object array of numbers and terms, for small tensors.
        sources: terms the values may be, for tensors of any size.
    """

    elements: _Elements | None = None
    sources: frozenset[_Term] = frozenset()

    def terms(self) -> set[_Term]:
        """Every term the tensor may hold."""
        held = set() if self.elements is None else set(self.elements.flat)
        return {term for term in held | self.sources if isinstance(term, _Term) and term.input}


_NOTHING = _Fact()


@dataclasses.dataclass(slots=True)
class _Demands:
    """What the graph asks of the values of its inputs, by input name."""

    exact: dict[str, dict[int | None, float]] = dataclasses.field(default_factory=dict)
    bounds: dict[str, tuple[float, float]] = dataclasses.field(default_factory=dict)
    masks: set[str] = dataclasses.field(default_factory=set)
    reasons: dict[str, str] = dataclasses.field(default_factory=dict)

    def ask_exact(self, fact: _Fact, values: Iterable[float | None], reason: str) -> None:
        """Asks that a tensor holds values (None: any), in C order."""
        if fact.elements is None:
            return
        for term, value in zip(fact.elements.flat, values, strict=False):
            if isinstance(term, _Term) and term.input and value is not None:
                self.exact.setdefault(term.input, {}).setdefault(term.index, term.solve(value))
                self.reasons.setdefault(term.input, reason)

    def ask_bounds(self, fact: _Fact, low: float, high: float, reason: str) -> None:
        """Asks that every value of a tensor is in [low, high]."""
        for term in fact.terms():
            ends = sorted((term.solve(low), term.solve(high)))
            old = self.bounds.get(term.input, (-math.inf, math.inf))
            new = (max(old[0], ends[0]), min(old[1], ends[1]))
            if new != old and new[0] <= new[1]:
                self.bounds[term.input] = new
                self.reasons[term.input] = reason

    def ask_mask(self, fact: _Fact) -> None:
        self.masks |= {term.input for term in fact.terms()}


class _Use:
    """A node as the walk meets it: what is known of its inputs and outputs."""

    def __init__(
        self,
        node: onnx.NodeProto,
        facts: Mapping[str, _Fact],
        shapes: Mapping[str, Shape],
        demands: _Demands,
    ) -> None:
        self.node = node
        self.op = node.op_type
        self.demands = demands
        self._facts = facts
        self._shapes = shapes
        self._attributes = {attribute.name: attribute for attribute in node.attribute}

    def attribute(self, name: str, default: Any = None) -> Any:
        found = self._attributes.get(name)
        return default if found is None else onnx.helper.get_attribute_value(found)

    def has(self, slot: int) -> bool:
        return slot < len(self.node.input) and self.node.input[slot] != ""

    def fact(self, slot: int) -> _Fact:
        return self._facts.get(self.node.input[slot], _NOTHING) if self.has(slot) else _NOTHING

    def shape(self, slot: int) -> Shape | None:
        return self._shapes.get(self.node.input[slot]) if self.has(slot) else None

    def out(self, number: int = 0) -> Shape | None:
        if number >= len(self.node.output):
            return None
        return self._shapes.get(self.node.output[number])

    def size(self, slot: int) -> int:
        """Number of elements of an input; 0 when it is not known."""
        shape = self.shape(slot)
        return 0 if shape is None else math.prod(shape)

    def constant(self, slot: int) -> list[Any] | None:
        """Elements of an input, when all of them are numbers."""
        elements = self.fact(slot).elements
        if elements is None or any(isinstance(item, _Term) for item in elements.flat):
            return None
        return list(elements.flat)

    def exact(self, slot: int, values: Iterable[float | None] | float | None) -> None:
        if values is None:
            return
        listed = itertools.repeat(values) if isinstance(values, (int, float)) else values
        reason = f"as {self.op} '{self.node.name or self.node.output[0]}' needs them"
        self.demands.ask_exact(self.fact(slot), listed, reason)

    def indexes(self, slot: int, data: int, rows: int, low: int = 0) -> None:
        name = self.node.input[data] if self.has(data) else self.node.name
        reason = f"indexes {self.op} '{name}' of {rows} rows"
        self.demands.ask_bounds(self.fact(slot), low, rows - 1, reason)

    def within(self, slot: int, low: float, high: float, reason: str = "") -> None:
        label = self.node.name or self.node.output[0]
        self.demands.ask_bounds(self.fact(slot), low, high, reason or f"for {self.op} '{label}'")


def _demands(
    model: onnx.ModelProto, ports: tuple[_Port, ...], shapes: Mapping[str, Shape]
) -> _Demands:
    """Walks through the model, whose inputs have the shapes given."""
    demands = _Demands()
    facts: dict[str, _Fact] = {}
    for port in ports:
        shape = shapes.get(port.name)
        if shape is None or port.dtype.kind == "O" or port.kind == "map":
            continue
        size = math.prod(shape)
        if size <= _MAX_ELEMENTS and port.kind != "sequence":
            elements = np.empty(size, dtype=object)
            elements[:] = [_Term(port.name, index) for index in range(size)]
            facts[port.name] = _Fact(elements.reshape(shape))
        else:
            facts[port.name] = _Fact(sources=frozenset({_Term(port.name, None)}))
    inferred = _inferred(model, shapes)
    _walk(inferred.graph, collections.ChainMap(facts), collections.ChainMap({}), demands)
    return demands


def _inferred(model: onnx.ModelProto, shapes: Mapping[str, Shape]) -> onnx.ModelProto:
    """The model's structure with inputs of fixed shapes and what follows from them.

    Large weights are left behind: shape inference wants their shapes only.
    """
    bare = onnx.ModelProto(ir_version=model.ir_version)
    bare.opset_import.extend(model.opset_import)
    bare.functions.extend(model.functions)
    graph, target = model.graph, bare.graph
    target.name = graph.name
    target.node.extend(graph.node)
    target.input.extend(graph.input)
    target.output.extend(graph.output)
    target.value_info.extend(graph.value_info)
    for tensor in graph.initializer:
        if math.prod(tensor.dims) <= _MAX_ELEMENTS:
            target.initializer.append(tensor)
        elif all(value.name != tensor.name for value in graph.input):
            target.input.append(
                onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
    for value in target.input:
        if value.name in shapes and value.type.HasField("tensor_type"):
            _set_shape(value.type, shapes[value.name])
        elif value.name in shapes and value.type.HasField("optional_type"):
            _set_shape(value.type.optional_type.elem_type, shapes[value.name])
    sizes = {
        size: shapes[value.name][axis]
        for value in graph.input
        if value.name in shapes and value.type.HasField("tensor_type")
        for axis, dim in enumerate(value.type.tensor_type.shape.dim)
        if (size := dim.dim_param)
    }
    for value in itertools.chain(target.output, target.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in sizes:
                dim.dim_value = sizes[dim.dim_param]
    try:
        if bare.functions:
            bare = onnx.inliner.inline_local_functions(bare)
        return onnx.shape_inference.infer_shapes(bare, data_prop=True)
    except Exception:  # inference is a bonus: it rejects some models that ORT takes
        return bare


def _set_shape(proto: onnx.TypeProto, shape: Shape) -> None:
    del proto.tensor_type.shape.dim[:]
    proto.tensor_type.shape.SetInParent()
    for size in shape:
        proto.tensor_type.shape.dim.add().dim_value = size


_Facts = collections.ChainMap[str, _Fact]
_Shapes = collections.ChainMap[str, Shape]


def _walk(graph: onnx.GraphProto, facts: _Facts, shapes: _Shapes, demands: _Demands) -> None:
    for tensor in graph.initializer:
        shapes[tensor.name] = tuple(tensor.dims)
        facts[tensor.name] = _constant(tensor)
    for value in itertools.chain(graph.input, graph.value_info, graph.output):
        proto = value.type
        if proto.HasField("optional_type"):
            proto = proto.optional_type.elem_type
        if proto.HasField("tensor_type") and proto.tensor_type.HasField("shape"):
            dims = proto.tensor_type.shape.dim
            if all(dim.HasField("dim_value") and dim.dim_value >= 0 for dim in dims):
                shapes[value.name] = tuple(dim.dim_value for dim in dims)
    for node in graph.node:
        use = _Use(node, facts, shapes, demands)
        _ask(use)
        if node.op_type in ("If", "Loop", "Scan"):
            _walk_bodies(use, facts, shapes, demands)
        else:
            fact = _flow(use)
            if fact is not None:
                for name in node.output:
                    facts[name] = fact
                if fact.elements is not None:
                    shapes.setdefault(node.output[0], fact.elements.shape)


def _walk_bodies(use: _Use, facts: _Facts, shapes: _Shapes, demands: _Demands) -> None:
    node = use.node
    outer = {"If": [], "Loop": list(node.input), "Scan": list(node.input)}[node.op_type]
    for attribute in node.attribute:
        if not attribute.HasField("g"):
            continue
        body = attribute.g
        inner_facts, inner_shapes = facts.new_child(), shapes.new_child()
        for formal, actual in zip(body.input, outer, strict=False):
            # What a body gets changes from turn to turn: only the sources are its own.
            inner_facts[formal.name] = _Fact(sources=frozenset(_terms_of(facts, actual)))
        _walk(body, inner_facts, inner_shapes, demands)
        # A loop gives back what it carries, without the condition; an If all of it.
        results = body.output[1:] if node.op_type == "Loop" else body.output
        for name, result in zip(node.output, results, strict=False):
            found = _terms_of(inner_facts, result.name) | _terms_of(facts, name)
            facts[name] = _Fact(sources=frozenset(found))


def _terms_of(facts: Mapping[str, _Fact], name: str) -> set[_Term]:
    return {dataclasses.replace(term, index=None) for term in facts.get(name, _NOTHING).terms()}


def _constant(tensor: onnx.TensorProto) -> _Fact:
    external = tensor.data_location == TensorProto.EXTERNAL
    if external or math.prod(tensor.dims) > _MAX_ELEMENTS or tensor.data_type == TensorProto.STRING:
        return _NOTHING
    try:
        array = onnx.numpy_helper.to_array(tensor)
    except (TypeError, ValueError, KeyError):
        return _NOTHING
    return _numbers(array)


def _numbers(values: Any) -> _Fact:
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        return _NOTHING
    return _Fact(array.astype(object))


def _flow(use: _Use) -> _Fact | None:
    """What is known of a node's outputs."""
    first = use.fact(0)
    match use.op:
        case "Constant":
            return _constant_node(use)
        case "Shape":
            shape = use.shape(0)
            if shape is None:
                return None
            return _numbers(shape[use.attribute("start", 0) : use.attribute("end", len(shape))])
        case "Size":
            return None if use.shape(0) is None else _numbers(use.size(0))
        case "ConstantOfShape" if (sizes := use.constant(0)) is not None:
            value = use.attribute("value")
            fill = 0 if value is None else onnx.numpy_helper.to_array(value).item()
            return (
                _numbers(np.full([int(size) for size in sizes], fill))
                if (math.prod(sizes) <= _MAX_ELEMENTS)
                else None
            )
        case "Clip" | "Mod" | "Equal" | "Less" | "Greater" | "Not":
            return None  # the result no longer follows the input
        case "Add" | "Sub" | "Mul" | "Div":
            return _arithmetic(use)
        case "Concat" | "Where" | "Max" | "Min" | "ScatterElements" | "ScatterND":
            return _joined(use)
        case "Gather" | "GatherElements" | "GatherND" if not first.terms():
            return _picked(use)
        case (
            "Identity"
            | "Cast"
            | "CastLike"
            | "Reshape"
            | "Flatten"
            | "Squeeze"
            | "Unsqueeze"
            | "Expand"
            | "Tile"
            | "Transpose"
            | "Slice"
            | "Gather"
            | "GatherElements"
            | "GatherND"
            | "Split"
            | "Pad"
            | "Dropout"
            | "Floor"
            | "Ceil"
            | "Round"
            | "Abs"
            | "Relu"
            | "ReduceMax"
            | "ReduceMin"
            | "TopK"
            | "MemcpyFromHost"
            | "MemcpyToHost"
            | "OptionalGetElement"
            | "Optional"
            | "SequenceConstruct"
            | "SequenceAt"
        ):
            return _moved(use)
    return None


def _constant_node(use: _Use) -> _Fact | None:
    for name in ("value_int", "value_float", "value_ints", "value_floats"):
        if (value := use.attribute(name)) is not None:
            return _numbers(value)
    tensor = use.attribute("value")
    return None if tensor is None else _constant(tensor)


def _moved(use: _Use) -> _Fact:
    """Values of the first input, at other places."""
    first = use.fact(0)
    out = use.out()
    elements = first.elements
    sources = frozenset(dataclasses.replace(term, index=None) for term in first.terms())
    if elements is None:
        return _Fact(sources=sources)
    match use.op:
        case "Identity" | "Cast" | "CastLike" | "Dropout" | "Floor" | "Ceil" | "Round" | "Relu":
            return _Fact(elements)
        case "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze":
            if out is not None and math.prod(out) == elements.size:
                return _Fact(elements.reshape(out))
            if use.op == "Squeeze" and elements.size == 1:
                return _Fact(elements.reshape(()))
            if use.op == "Unsqueeze" and elements.size == 1:
                return _Fact(elements.reshape(1))
        case "Transpose":
            return _Fact(elements.transpose(use.attribute("perm")))
        case "Slice":
            return _Fact(_sliced(use, elements), sources)
        case "Gather" if (index := use.constant(1)) is not None:
            places = np.asarray(index, dtype=np.int64).reshape(use.shape(1) or ())
            try:
                return _Fact(
                    np.asarray(
                        np.take(elements, places, axis=use.attribute("axis", 0)), dtype=object
                    )
                )
            except IndexError:
                return _Fact(sources=sources)
    return _Fact(sources=sources)


def _sliced(use: _Use, elements: _Elements) -> _Elements | None:
    starts = use.attribute("starts") or use.constant(1)
    ends = use.attribute("ends") or use.constant(2)
    if starts is None or ends is None:
        return None
    axes = use.attribute("axes") or use.constant(3) or range(len(starts))
    steps = use.constant(4) or [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=False):
        places = [slice(None)] * elements.ndim
        # An end before the first element says "down to it", which Python spells None.
        stop = None if step < 0 and end < -elements.shape[int(axis)] else int(end)
        places[int(axis)] = slice(int(start), stop, int(step))
        elements = elements[tuple(places)]
    return elements


def _joined(use: _Use) -> _Fact:
    facts = [use.fact(slot) for slot in range(len(use.node.input))]
    if use.op == "Where":
        facts = facts[1:]
    sources = frozenset(
        dataclasses.replace(term, index=None) for fact in facts for term in fact.terms()
    )
    if use.op == "Concat" and all(fact.elements is not None for fact in facts):
        try:
            return _Fact(np.concatenate([fact.elements for fact in facts], use.attribute("axis")))
        except ValueError:
            return _Fact(sources=sources)
    return _Fact(sources=sources)


def _picked(use: _Use) -> _Fact:
    """Elements of a constant at places that are not known, or known ones."""
    places = use.constant(1)
    elements = use.fact(0).elements
    if use.op != "Gather" or places is None or elements is None:
        return _NOTHING
    return _moved(use)


def _arithmetic(use: _Use) -> _Fact | None:
    left, right = use.fact(0), use.fact(1)

    def apply(a: Any, b: Any) -> Any:
        match use.op:
            case "Add":
                return a + b
            case "Sub":
                return a - b
            case "Mul":
                return a * b
        return a / b

    if left.elements is not None and right.elements is not None:
        try:
            elements = apply(left.elements, right.elements)
        except (ValueError, ZeroDivisionError):
            return None
        return _Fact(np.asarray(elements, dtype=object))
    sources = set()
    for term in left.sources:
        for number in _ends(right):
            sources.add(apply(term, number))
    for term in right.sources:
        for number in _ends(left):
            sources.add(apply(number, term))
    return _Fact(sources=frozenset(sources))


def _ends(fact: _Fact) -> set[float]:
    """Least and greatest of a tensor of numbers: the ends that bounds must hold for."""
    if fact.elements is None or fact.terms() or not fact.elements.size:
        return set()
    numbers = [item for item in fact.elements.flat if not isinstance(item, _Term)]
    return {min(numbers), max(numbers)} if len(numbers) == fact.elements.size else set()


def _ask(use: _Use) -> None:
    """What one node asks of its inputs' values."""
    shape, out = use.shape(0), use.out()
    contrib = use.node.domain not in ("", "ai.onnx", "ai.onnx.ml")
    match use.op:
        # Indices.
        case "Gather" | "GatherBlockQuantized" | "GatherElements" if shape:
            use.indexes(1, 0, shape[use.attribute("axis", use.attribute("gather_axis", 0))])
        case "ScatterElements" | "Scatter" if shape:
            use.indexes(1, 0, shape[use.attribute("axis", 0)])
        case "GatherND" | "ScatterND" if shape and (places := use.shape(1)):
            batch = use.attribute("batch_dims", 0)
            use.indexes(1, 0, min(shape[batch : batch + places[-1]], default=1))
        case "ArrayFeatureExtractor" if shape:
            use.indexes(1, 0, shape[-1])
        case "EmbedLayerNormalization" | "QEmbedLayerNormalization":
            for slot, table in ((0, 2), (1, 4), (8, 3)):
                if embedding := use.shape(table):
                    use.indexes(slot, table, embedding[0])
            use.demands.ask_mask(use.fact(7))
        case "RotaryEmbedding":
            place, table = (1, 2) if contrib else (3, 1)
            if cosines := use.shape(table):
                tokens = shape[-2] if shape and use.size(place) == 1 else 1
                use.indexes(place, table, cosines[0] - tokens + 1)
        case "NegativeLogLikelihoodLoss" | "SoftmaxCrossEntropyLoss" if shape:
            use.within(1, 0, shape[1] - 1, f"classes of {use.op}, {shape[1]} of them")
        case "RoiAlign" if shape:
            use.indexes(2, 0, shape[0])
        case "MaxUnpool" if shape:
            room = use.constant(2) or out or shape
            use.within(1, 0, math.prod(room) - 1, "places in the output of MaxUnpool")
            use.exact(2, out)
        case "OneHot":
            depth = use.constant(1)
            if depth is None:
                axis = use.attribute("axis", -1)
                depth = [out[axis] if out else 10]
                use.exact(1, depth)
            use.within(0, 0, int(depth[0]) - 1, f"classes of OneHot, {int(depth[0])} of them")
        case "TensorScatter" if shape and (update := use.shape(1)):
            axis = use.attribute("axis", -2)
            use.within(2, 0, shape[axis] - update[axis], "rows left in the cache")
        case "SequenceAt" | "SequenceErase":
            use.exact(1, 0)
        case "SequenceInsert":
            use.exact(2, 0)
        case "Equal":
            classes = set(use.constant(1) or ())
            if len(classes) > 2:  # a one-hot written by hand
                use.within(0, min(classes), max(classes), "classes that Equal compares with")
        case "Mod" | "Div":
            use.within(1, 1, 9, "divisors")
        case "BitShift":
            use.within(1, 0, 3, "bits to shift by")
        # Lengths and masks.
        case "LSTM" | "GRU" | "RNN" if shape:
            use.exact(4, shape[1 if use.attribute("layout", 0) else 0])
        case "ReverseSequence" if shape:
            use.exact(1, shape[use.attribute("time_axis", 0)])
        case "Attention" if contrib:
            use.demands.ask_mask(use.fact(3))
        case "Attention":
            past, keys = use.shape(4), use.shape(1)
            use.exact(6, keys[-2] + (past[-2] if past else 0) if keys else None)
        case "MultiHeadAttention" | "DecoderMaskedMultiHeadAttention":
            use.demands.ask_mask(use.fact(4))
        case "GroupQueryAttention":
            past = use.shape(3)
            total = (shape[1] if shape else 1) + (past[2] if past else 0)
            use.exact(5, total - 1)
            use.exact(6, total)
        case "Sub" if use.constant(0) and set(use.constant(0) or ()) == {1}:
            use.demands.ask_mask(use.fact(1))  # 1 - mask, times a large negative number
        # Shapes.
        case "Reshape":
            _ask_reshape(use)
        case "Expand":
            sizes = use.size(1)
            use.exact(1, out or (shape if shape and len(shape) == sizes else 1))
        case "Tile":
            if shape and out and len(shape) == len(out) == use.size(1):
                use.exact(1, [_ratio(o, i) for o, i in zip(out, shape, strict=True)])
            else:
                use.exact(1, 1)
        case "ConstantOfShape":
            use.exact(0, out or 2)
        case "CenterCropPad" if shape:
            use.exact(1, [(out or shape)[a] for a in use.attribute("axes", range(len(shape)))])
        case "AffineGrid":
            use.exact(1, (shape[0], 1, *out[1:-1]) if shape and out else 2)
        case "Col2Im":
            _ask_col2im(use)
        case "Resize" | "Upsample":
            _ask_resize(use)
        case "Slice" if use.has(1):
            _ask_slice(use)
        case "Pad":
            _ask_pad(use)
        case "Split" if use.has(1) and shape:
            _ask_split(use)
        case "SplitToSequence" if use.has(1) and shape:
            parts = use.size(1) if use.shape(1) else 0
            rows = shape[use.attribute("axis", 0)]
            use.exact(1, _parts(rows, parts) if parts else max(1, rows // 2))
        case "Unsqueeze" if use.has(1):
            use.exact(1, _unsqueezed(shape, out, use.size(1)))
        case "Squeeze" if use.has(1) and shape:
            ones = [axis for axis, size in enumerate(shape) if size == 1]
            use.exact(1, ones[: use.size(1)])
        case op if op.startswith("Reduce") and use.has(1) and shape:
            use.exact(1, _reduced(shape, out, use.size(1), bool(use.attribute("keepdims", 1))))
        # Counts, axes and factors.
        case "TopK" if shape:
            axis = use.attribute("axis", -1)
            use.exact(1, out[axis] if out else max(1, shape[axis] // 2))
        case "Range":
            _ask_range(use)
        case "Loop":
            scanned = use.out(len(use.node.input) - 2)
            use.exact(0, scanned[0] if scanned else 3)
        case "CumSum" | "CumProd" if shape:
            use.exact(1, len(shape) - 1)
        case "Trilu":
            use.exact(1, 0)
        case "DFT" if shape:
            _ask_dft(use, shape)
        case "STFT":
            _ask_stft(use)
        case "HannWindow" | "HammingWindow" | "BlackmanWindow":
            use.exact(0, out or 16)
        case "MelWeightMatrix":
            spectrum, mels = out or (17, 8)
            for slot, count in enumerate((mels, 2 * (spectrum - 1), 8192, 0, 4096)):
                use.exact(slot, count)
        case "NonMaxSuppression":
            for slot, threshold in ((2, 10), (3, 0.5), (4, 0.0)):
                use.exact(slot, threshold)
        case "Clip":
            use.exact(1, 0)
            use.exact(2, 10)
        case "Dropout":
            use.exact(1, 0.5)
        case "QuantizeLinear" | "DequantizeLinear":
            use.exact(2, 0)
            use.within(1, 1, math.inf)
        case "QLinearConv" | "QLinearMatMul":
            for slot in (1, 4, 6):
                use.within(slot, 1, math.inf)
        case "BatchNormalization":
            use.within(4, 1, math.inf)


def _ratio(out: int, size: int) -> int:
    return out // size if size else 1


def _parts(total: int, count: int) -> list[int]:
    """Total in count nearly equal parts."""
    return [total // count + (index < total % count) for index in range(count)]


def _ask_reshape(use: _Use) -> None:
    shape, out, rank = use.shape(0), use.out(), use.size(1)
    elements = use.fact(1).elements
    if out is not None and len(out) == rank:
        use.exact(1, out)
    elif shape is not None and elements is not None and rank:
        # What stands in the target already leaves the rest; the first open place takes it.
        known = [int(item) for item in elements.flat if not isinstance(item, _Term)]
        taken = math.prod(item for item in known if item > 0)
        open_places = [isinstance(item, _Term) for item in elements.flat]
        if len(shape) == rank and not known:
            use.exact(1, shape)
        elif -1 in known or not taken:
            use.exact(1, 1)
        else:
            first = open_places.index(True) if True in open_places else 0
            rest = math.prod(shape) // taken
            use.exact(1, [rest if place == first else 1 for place in range(rank)])


def _ask_col2im(use: _Use) -> None:
    shape, out = use.shape(0), use.out()
    if not shape or not out:
        return
    image = out[2:]
    use.exact(1, image)
    rank = len(image)
    dilations = use.attribute("dilations", [1] * rank)
    strides = use.attribute("strides", [1] * rank)
    pads = use.attribute("pads", [0] * 2 * rank)
    for block in itertools.product(*(range(1, size + 1) for size in image)):
        places = math.prod(
            (size + pads[axis] + pads[axis + rank] - dilations[axis] * (block[axis] - 1) - 1)
            // strides[axis]
            + 1
            for axis, size in enumerate(image)
        )
        if math.prod(block) * out[1] == shape[1] and places == shape[2]:
            use.exact(2, block)
            return


def _ask_resize(use: _Use) -> None:
    shape, out = use.shape(0), use.out()
    scales_slot = 1 if not use.has(2) and len(use.node.input) == 2 else 2
    if scales_slot == 2:
        half = use.size(1) // 2
        use.exact(1, [0.0] * half + [1.0] * half)
    if not shape:
        return
    axes = use.attribute("axes", range(len(shape)))
    target = out or shape
    use.exact(scales_slot, [target[axis] / shape[axis] if shape[axis] else 1 for axis in axes])
    use.exact(3, [target[axis] for axis in axes])


def _ask_slice(use: _Use) -> None:
    shape, out = use.shape(0), use.out()
    count = use.size(1) or use.size(2)
    if not shape or not count:
        return
    target = out if out and len(out) == len(shape) else shape
    axes = use.constant(3)
    if axes is None and use.has(3):
        cut = [axis for axis, size in enumerate(shape) if size != target[axis]]
        others = [axis for axis in range(len(shape)) if axis not in cut]
        axes = sorted((cut + others)[:count])
        use.exact(3, axes)
    axes = [int(axis) for axis in axes or range(count)]
    steps = use.constant(4) or [1] * count
    use.exact(4, 1)
    starts = use.constant(1)
    if starts is None:
        starts = [0 if step > 0 else shape[axis] - 1 for axis, step in zip(axes, steps)]  # noqa: B905
        use.exact(1, starts)
    ends = []
    for axis, start, step in zip(axes, starts, steps, strict=False):
        from_start = start + shape[axis] if start < 0 else start
        end = from_start + target[axis] * step
        ends.append(end if end >= 0 else -shape[axis] - 1)
    use.exact(2, ends)


def _ask_pad(use: _Use) -> None:
    shape, out = use.shape(0), use.out()
    axes = use.constant(3)
    if axes is None:
        axes = list(range(use.size(1) // 2))
        use.exact(3, axes)
    if shape and out and len(shape) == len(out):
        grown = [out[int(axis)] - shape[int(axis)] for axis in axes]
        use.exact(1, [size // 2 for size in grown] + [size - size // 2 for size in grown])
    else:
        use.exact(1, 0)


def _ask_split(use: _Use) -> None:
    axis = use.attribute("axis", 0)
    outs = [use.out(number) for number in range(len(use.node.output))]
    if all(out is not None for out in outs):
        use.exact(1, [out[axis] for out in outs if out is not None])
    else:
        use.exact(1, _parts((use.shape(0) or ())[axis], len(outs)))


def _unsqueezed(shape: Shape | None, out: Shape | None, count: int) -> list[int]:
    """Axes that were inserted: where dropping ones from out gives shape."""
    if shape is not None and out is not None:
        for axes in itertools.combinations(range(len(out)), count):
            kept = tuple(size for axis, size in enumerate(out) if axis not in axes)
            if kept == shape and all(out[axis] == 1 for axis in axes):
                return list(axes)
    return list(range(count))


def _reduced(shape: Shape, out: Shape | None, count: int, keep: bool) -> list[int]:
    """Axes whose reduction turns shape into out; the last ones when out is not known."""
    for axes in itertools.combinations(range(len(shape)), count):
        left = tuple(
            1 if axis in axes else size
            for axis, size in enumerate(shape)
            if keep or axis not in axes
        )
        if left == out:
            return list(axes)
    return list(range(max(0, len(shape) - count), len(shape)))


def _ask_range(use: _Use) -> None:
    out = use.out()
    start, delta = (use.constant(slot) for slot in (0, 2))
    first, step = (start or [0])[0], (delta or [1])[0]
    count = out[0] if out else 10
    limit = use.constant(1)
    if limit is not None and delta is None and start is not None:
        step = 1 if limit[0] >= first else -1
    use.exact(0, first)
    use.exact(2, step)
    use.exact(1, first + count * step)


def _ask_dft(use: _Use, shape: Shape) -> None:
    out = use.out()
    fixed_axis = use.attribute("axis") if use.attribute("axis") is not None else None
    known = use.constant(2)
    axis = fixed_axis if fixed_axis is not None else int(known[0]) if known else None
    if axis is None:
        changed = [at for at in range(1, len(shape) - 1) if out and out[at] != shape[at]]
        axis = changed[0] if changed else 1
        use.exact(2, axis)
    length = shape[axis]
    if out and out[axis] not in (length // 2 + 1, length):
        length = out[axis]
    use.exact(1, length)


def _ask_stft(use: _Use) -> None:
    signal, window, out = use.shape(0), use.shape(2), use.out()
    if not signal:
        return
    frames, bins = (out[1], out[2]) if out else (1, 0)
    length = window[0] if window else 2 * (bins - 1) if bins > 1 else min(16, signal[1])
    use.exact(3, length)
    use.exact(1, max(1, (signal[1] - length) // max(1, frames - 1)))


# --- Values ----------------------------------------------------------------------------


class _Chooser:
    """Plans and the input sets made from them, for one model and request."""

    def __init__(self, model: onnx.ModelProto, request: InputRequest) -> None:
        self._model = model
        self._request = request
        self._ports = _ports(model, request)
        self._given = _Given(model, self._ports, request)
        self._customary = _Sizes(model, self._ports)
        self._walked: dict[tuple[Shape | None, ...], _Demands] = {}

    def plans(self) -> Iterator[_Plan]:
        """Ways to choose, in the order of plausibility."""
        first = _Plan(self._customary.sizes, self._customary.reasons)
        sized = list(self._sized(first))
        rankless = any(
            port.kind != "map" and port.shape is None and port.name not in self._given.arrays
            for port in self._ports
        )
        ranked = (
            [dataclasses.replace(first, rank=rank) for rank in (4, 2, 3, 0)] if rankless else []
        )
        yield first
        yield from ranked
        yield from sized[:4]
        for values in _VALUE_KINDS[1:]:
            yield dataclasses.replace(first, values=values)
        yield from sized[4:]
        for values in _VALUE_KINDS[1:]:
            for plan in sized[:2]:
                yield dataclasses.replace(plan, values=values)

    def _sized(self, plan: _Plan) -> Iterator[_Plan]:
        """The plan with every free dimension that nothing dictates set to one size."""
        open_dimensions = [
            dimension
            for dimension in plan.sizes
            if dimension not in self._given.sizes and dimension not in self._customary.required
        ]
        inner = [dimension for dimension in open_dimensions if plan.reasons[dimension] != "batch"]
        if inner:
            yield self._with(plan, dict.fromkeys(inner, 1), "tried")
            yield self._with(plan, dict.fromkeys(inner, 2), "tried")
            text_line = self._text_line(inner)
            if text_line:
                yield self._with(plan, text_line, "customary for lines of text")
            for size in _FALLBACK_SIZES[2:]:
                yield self._with(plan, dict.fromkeys(inner, size), "tried")
        for size in (2, 3, 4, 8):
            if open_dimensions:
                yield self._with(plan, dict.fromkeys(open_dimensions, size), "tried")

    def _text_line(self, inner: list[Dimension]) -> dict[Dimension, int]:
        sizes: dict[Dimension, int] = {}
        for port in self._ports:
            if _is_image(port):
                spatial, _ = _image_axes(port)
                for axis, size in zip(spatial, (48, _TEXT_LINE_WIDTH), strict=False):
                    dimension = (port.shape or ())[axis]
                    if not isinstance(dimension, int) and dimension in inner:
                        sizes[dimension] = size
        return sizes

    def _with(self, plan: _Plan, sizes: Mapping[Dimension, int], reason: str) -> _Plan:
        return dataclasses.replace(
            plan,
            sizes={**plan.sizes, **sizes},
            reasons={**plan.reasons, **dict.fromkeys(sizes, reason)},
        )

    def make(self, plan: _Plan) -> InputSet | None:
        """The input set of a plan; None when it would be too large."""
        sizes = _evaluated(plan.sizes, self._given.sizes)
        shapes = {port.name: self._shape(port, sizes, plan) for port in self._ports}
        bytes_needed = sum(
            math.prod(shapes[port.name] or ()) * port.dtype.itemsize for port in self._ports
        )
        if bytes_needed > MAX_BYTES:
            return None
        demands = self._demands(shapes)
        values: dict[str, Any] = {}
        records = []
        for port in self._ports:
            if port.name in self._given.arrays:
                value, reason = self._given.arrays[port.name]
            else:
                seed = [self._request.seed, zlib.crc32(port.name.encode())]
                maker = _Maker(
                    demands,
                    plan,
                    self._tokens(shapes),
                    self._image(shapes),
                    np.random.default_rng(seed),
                )
                value, why = maker.make(port, shapes[port.name] or ())
                reason = "; ".join(filter(None, (self._size_reason(port, sizes, plan), why)))
            values[port.name] = value
            records.append(_record(port, value, reason))
        named = {name: size for name, size in sizes.items() if isinstance(name, str)}
        return InputSet(values, tuple(records), named, self._given.expected)

    def _shape(self, port: _Port, sizes: Mapping[Dimension, int], plan: _Plan) -> Shape | None:
        if port.name in self._given.shapes:
            return self._given.shapes[port.name]
        if port.kind == "map":
            return None
        if port.shape is None:
            return (1, 3, _IMAGE, _IMAGE) if plan.rank == 4 else (2,) * plan.rank
        return tuple(size if isinstance(size, int) else sizes[size] for size in port.shape)

    def _demands(self, shapes: Mapping[str, Shape | None]) -> _Demands:
        key = tuple(shapes.values())
        if key not in self._walked:
            known = {name: shape for name, shape in shapes.items() if shape is not None}
            self._walked[key] = _demands(self._model, self._ports, known)
        return self._walked[key]

    def _tokens(self, shapes: Mapping[str, Shape | None]) -> int:
        """Length of the main sequence: what an input called lengths should say."""
        for port in self._ports:
            shape = shapes[port.name] or ()
            if len(shape) >= 2 and not _is_cache(port):
                if port.is_float and len(shape) == 3 and shape[1] in _MEL_BINS:
                    return shape[2]
                return shape[2] if len(shape) == 3 and port.named(_AUDIO_NAME) else shape[1]
        return 1

    def _image(self, shapes: Mapping[str, Shape | None]) -> tuple[int, int]:
        """Height and width of the first image."""
        for port in self._ports:
            shape = shapes[port.name] or ()
            if _is_image(port):
                spatial, _ = _image_axes(port)
                return shape[spatial[0]], shape[spatial[1]]
        return self._customary._image, self._customary._image

    def _size_reason(self, port: _Port, sizes: Mapping[Dimension, int], plan: _Plan) -> str:
        if port.shape is None:
            given = port.name in self._given.shapes
            return "shape as given" if given else "shape tried, the model leaves it open"
        grouped: dict[str, list[str]] = {}
        for dimension in dict.fromkeys(port.shape):
            if isinstance(dimension, int):
                continue
            why = self._given.reasons.get(dimension) or plan.reasons[dimension]
            label = f"'{dimension}'" if isinstance(dimension, str) else f"axis {dimension[1]}"
            grouped.setdefault(why, []).append(f"{label} set to {sizes[dimension]}")
        parts = [f"{', '.join(listed)} ({why})" for why, listed in grouped.items()]
        return f"free dimension {', '.join(parts)}" if parts else ""

    def learn(self, plan: _Plan, reason: str) -> _Plan | None:
        """A better plan, where ORT's message says what it wanted."""
        if match := re.search(r"inclusive range \[-?\d+,\s*(\d+)\]", reason):
            limit = int(match[1])
            if plan.index_limit is None or limit < plan.index_limit:
                return dataclasses.replace(plan, index_limit=limit)
        if match := re.search(
            r"input: ['\"]?([^'\"\s]+)['\"]?.*?index: (\d+) Got: \d+ Expected: (\d+)",
            reason,
            re.DOTALL,
        ):
            return self._resized(plan, match[1], int(match[2]), int(match[3]))
        if match := re.search(r"dimension other than 1\. (\d+) by (\d+)", reason):
            got, wanted = int(match[1]), int(match[2])
            free = [
                dimension
                for dimension, size in plan.sizes.items()
                if size == got and dimension not in self._given.sizes
            ]
            if free and plan.reasons[free[0]] != "as ORT asked":
                return self._with(plan, dict.fromkeys(free, wanted), "as ORT asked")
        return None

    def _resized(self, plan: _Plan, name: str, axis: int, size: int) -> _Plan | None:
        port = next((port for port in self._ports if port.name == name), None)
        if port is None or axis >= port.rank:
            return None
        dimension = (port.shape or ())[axis]
        if isinstance(dimension, int) or plan.sizes[dimension] == size:
            return None
        return self._with(plan, {dimension: size}, "as ORT asked")

    def failure(self, reasons: Sequence[str]) -> ModelError:
        """Says why nothing worked: the most plausible candidate's reason, and the way out."""
        if not reasons:
            return ModelError(
                f"every input set that was tried needs more than {MAX_BYTES >> 20} MiB",
                "give smaller sizes by --dim, --batch or --shape",
            )
        listed = [
            *(f"--dim {name}=N" for name in _free_names(self._ports)[:3]),
            *(f"--shape {port.name}=AxB" for port in self._ports if _unnamed(port)),
        ]
        integers = [port.name for port in self._ports if port.is_integer]
        listed += [f"--input {name}=FILE.npy" for name in integers[:1]]
        if self._given.sizes or self._given.arrays:
            remedy = (
                "the sizes or values that were given may not fit: change them, or leave them out"
            )
        elif listed:
            remedy = f"fix what the model needs: {' or '.join(listed[:4])}"
        else:
            remedy = "feed inputs known to work: --input NAME=FILE.npy or --data-set FOLDER"
        return ModelError(
            f"no inputs were found that the model runs with ({len(reasons)} tried): "
            f"{_one_line(reasons[0])}",
            remedy,
        )


def _unnamed(port: _Port) -> bool:
    return port.shape is None or any(isinstance(size, tuple) for size in port.shape)


def _one_line(reason: str) -> str:
    text = " ".join(reason.split())
    text = re.sub(
        r"Non-zero status code returned while running (\w+) node\. Name:'([^']*)' Status Message: ",
        r"\1 '\2': ",
        text,
    )
    # Source file, C++ signature with its template arguments: what follows is the reason.
    text = re.sub(r"/\S*onnxruntime_src/\S+ .*?\)( const)?( \[with [^]]*\])? (?=\S)", "", text)
    return text if len(text) <= 300 else f"{text[:299]}…"


class _Maker:
    """Makes the values of one input."""

    def __init__(
        self,
        demands: _Demands,
        plan: _Plan,
        tokens: int,
        image: tuple[int, int],
        rng: np.random.Generator,
    ) -> None:
        self._demands = demands
        self._plan = plan
        self._tokens = tokens
        self._image = image
        self._rng = rng

    def make(self, port: _Port, shape: Shape) -> tuple[Any, str]:
        """A value for the port, and why it is so."""
        if port.kind == "map":
            keys = [_WORD] if port.key_text else [0, 1, 2]
            tensor, reason = self._tensor(port, (len(keys),))
            return dict(zip(keys, tensor.tolist(), strict=True)), f"{len(keys)} entries; {reason}"
        if port.element is None:
            return self._tensor(port, shape)
        if port.kind == "optional":
            return self.make(port.element, shape)
        made = [self.make(port.element, shape) for _ in range(_SEQUENCE_LENGTH)]
        return [value for value, _ in made], f"{len(made)} elements; {made[0][1]}"

    def _tensor(self, port: _Port, shape: Shape) -> tuple[np.ndarray[Any, Any], str]:
        dtype, kind = port.dtype, self._plan.values
        if dtype.kind == "O":
            return np.full(shape, _WORD, dtype=object), f"the word '{_WORD}'"
        if kind in ("ones", "zeros", "counting"):
            return self._plain(port, shape)
        exact = self._demands.exact.get(port.name, {})
        size = math.prod(shape)
        values, reason = self._free(port, shape)
        if exact:
            flat = values.reshape(-1)
            for index, value in exact.items():
                places = slice(None) if index is None else slice(index, index + 1)
                flat[places] = _fitting(np.full(1, value), dtype)[0]
            values = flat.reshape(shape)
            whole = None in exact or len(exact) >= size
            chosen = f"values {self._demands.reasons[port.name]}"
            reason = chosen if whole else f"{chosen}, else {reason}"
        return values, reason

    def _plain(self, port: _Port, shape: Shape) -> tuple[np.ndarray[Any, Any], str]:
        """Ones, zeros, or small whole numbers, kept inside what they index."""
        kind = self._plan.values
        size = math.prod(shape)
        if kind == "counting":
            values = np.arange(size).reshape(shape) % 8
        else:
            values = np.full(shape, 1 if kind == "ones" else 0)
        if port.dtype.kind == "b":
            values = values % 2
        low, high = self._bounds(port)
        values = np.clip(values, low, high)
        names = {"ones": "all ones", "zeros": "all zeros", "counting": "counting from 0 to 7"}
        return _fitting(values, port.dtype), f"{names[kind]}, as random values failed"

    def _bounds(self, port: _Port) -> tuple[float, float]:
        low, high = self._demands.bounds.get(port.name, (-math.inf, math.inf))
        if port.is_integer and self._plan.index_limit is not None:
            high = min(high, self._plan.index_limit)
            low = min(low, high)
        return low, high

    def _free(self, port: _Port, shape: Shape) -> tuple[np.ndarray[Any, Any], str]:
        dtype = port.dtype
        if dtype.kind == "b":
            return np.ones(shape, dtype), "all true"
        if port.named("mask") or (port.is_integer and port.name in self._demands.masks):
            return np.ones(shape).astype(dtype), "all ones: a mask that hides nothing"
        if port.is_integer:
            return self._integers(port, shape)
        if dtype.kind == "c":
            values = self._rng.standard_normal((2, *shape))
            return (values[0] + 1j * values[1]).astype(dtype), "standard normal, both parts"
        return self._floats(port, shape)

    def _integers(self, port: _Port, shape: Shape) -> tuple[np.ndarray[Any, Any], str]:
        low, high = self._bounds(port)
        low = math.ceil(low) if math.isfinite(low) else low
        high = math.floor(high) if math.isfinite(high) else high
        # Lengths are told by their name; where they also index, the bound is kept.
        constants = (
            (r"sample_?rate|^sr$", _SAMPLE_RATE, "sample rate of speech"),
            (r"total_seq", _TOKENS, "tokens in the cache and the new one"),
            (r"past_seq", _TOKENS - 1, "tokens in the cache"),
            (r"len(gth)?s?$|lens_|lengths?_", self._tokens, "length of the sequence"),
        )
        for pattern, value, what in constants:
            if len(shape) <= 1 and port.named(pattern):
                return _fitting(np.full(shape, np.clip(value, low, high)), port.dtype), what
        if port.named(r"size|im(age)?_shape") and shape[-1:] == (2,):
            values = np.broadcast_to(np.array(self._image), shape)
            return _fitting(values, port.dtype), "height and width of the image"
        if port.named("position") and shape and math.isfinite(high):
            first = self._tokens if shape[-1] == 1 else 0
            values = np.broadcast_to(np.arange(first, first + shape[-1]), shape)
            values = np.clip(values, low, high)
            return _fitting(values, port.dtype), self._reason(
                port, int(values.min()), int(values.max())
            )
        if port.dtype == np.uint8 and _is_image(port):
            return self._rng.integers(0, 256, shape, dtype=np.uint8), "uniform values 0 to 255"
        if not math.isfinite(low):
            low = 0 if math.isfinite(high) else 1
        if not math.isfinite(high):
            high = max(low, 9)
        least, most = _range_of(port.dtype)
        low, high = int(np.clip(low, least, most)), int(np.clip(high, least, most))
        values = self._rng.integers(low, high, shape, endpoint=True)
        return values.astype(port.dtype), self._reason(port, low, high)

    def _reason(self, port: _Port, low: int, high: int) -> str:
        because = self._demands.reasons.get(port.name, "")
        if port.name not in self._demands.bounds:
            because = "within what ORT accepts" if self._plan.index_limit is not None else ""
        return f"values {low} to {high}" + (f": {because}" if because else "")

    def _floats(self, port: _Port, shape: Shape) -> tuple[np.ndarray[Any, Any], str]:
        low, _ = self._bounds(port)
        positive = low > 0 or self._plan.values == "positive" or "e8m0" in port.dtype.name
        if _is_image(port) or positive:
            values = np.asarray(self._rng.random(shape, dtype=np.float32))
            if positive:
                values = np.maximum(values, np.float32(2**-6))  # also above 0 in eight bits
            text = "uniform values in (0, 1)" if positive else "uniform values in [0, 1)"
        else:
            values = np.asarray(self._rng.standard_normal(shape, dtype=np.float32))
            text = "standard normal values"
        return np.asarray(values.astype(port.dtype)), text


def _range_of(dtype: np.dtype[Any]) -> tuple[int, int]:
    info = ml_dtypes.iinfo(dtype)  # type: ignore[no-untyped-call]
    return int(info.min), int(info.max)


def _fitting(values: Any, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """Values clipped to what the type holds."""
    array = np.asarray(values)
    if _is_integer(dtype):
        least, most = _range_of(dtype)
        array = np.clip(np.trunc(array), least, most)
    return array.astype(dtype)


def _record(port: _Port, value: Any, reason: str) -> InputRecord:
    digest = hashlib.sha256()
    for leaf in _leaves(value):
        digest.update(f"{_dtype_name(leaf.dtype)} {leaf.shape} ".encode())
        if leaf.dtype.kind == "O":
            digest.update("\0".join(map(str, leaf.flat)).encode())
        else:
            digest.update(np.ascontiguousarray(leaf).tobytes())
    first = next(_leaves(value), None)
    shape = () if first is None else first.shape
    return InputRecord(port.name, port.type_name, shape, reason, digest.hexdigest())


def _leaves(value: Any) -> Iterator[np.ndarray[Any, Any]]:
    if isinstance(value, dict):
        yield np.array(list(value), dtype=object)
        yield np.array(list(value.values()))
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    elif value is not None:
        yield np.asarray(value)


def _difference(got: Any, wanted: Any) -> tuple[float, float]:
    """Largest absolute and relative error; ValueError says what else differs."""
    if isinstance(wanted, (list, dict)):
        keys: list[Any] = list(wanted if isinstance(wanted, dict) else range(len(wanted)))
        if type(got) is not type(wanted) or len(got) != len(wanted):
            raise ValueError(f"{_outline(got)}, but {_outline(wanted)} is expected")
        if isinstance(wanted, dict) and set(got) != set(keys):
            raise ValueError("its keys differ from those expected")
        errors = [_difference(got[key], wanted[key]) for key in keys]
        return max((e[0] for e in errors), default=0.0), max((e[1] for e in errors), default=0.0)
    if got is None or wanted is None:
        if got is not wanted:
            raise ValueError(f"{_outline(got)}, but {_outline(wanted)} is expected")
        return 0.0, 0.0
    got, wanted = np.asarray(got), np.asarray(wanted)
    if got.dtype != wanted.dtype or got.shape != wanted.shape:
        raise ValueError(f"{_outline(got)}, but {_outline(wanted)} is expected")
    if not (_is_float(wanted.dtype) or wanted.dtype.kind == "c"):
        if wrong := int(np.count_nonzero(got != wanted)):
            raise ValueError(f"{wrong} of {wanted.size} {_dtype_name(wanted.dtype)} values differ")
        return 0.0, 0.0
    wide = np.complex128 if wanted.dtype.kind == "c" else np.float64
    got, wanted = got.astype(wide), wanted.astype(wide)
    same = (got == wanted) | (np.isnan(got) & np.isnan(wanted))
    unlike = ~same & ~(np.isfinite(got) & np.isfinite(wanted))
    if unlike.any():
        raise ValueError(f"{int(unlike.sum())} of {wanted.size} values differ by NaN or infinity")
    error = np.abs(np.where(same, 0, got - np.where(same, 0, wanted)))
    error[same] = 0
    scale = np.abs(wanted)
    relative = np.divide(error, scale, out=np.zeros_like(error), where=(scale > 0) & ~same)
    return float(error.max(initial=0)), float(relative.max(initial=0))


def _outline(value: Any) -> str:
    if isinstance(value, (list, dict)):
        return f"a {type(value).__name__} of {len(value)}"
    if value is None:
        return "nothing"
    array = np.asarray(value)
    return f"{_dtype_name(array.dtype)} {_shape_text(array.shape)}"
