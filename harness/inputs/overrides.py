"""What the user fixes about the inputs, checked against the model.

``dims``, ``batch`` and ``shapes`` fix sizes; ``files`` and ``data_set`` fix values, and thereby
sizes.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import zipfile
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx.numpy_helper
from google.protobuf.message import Message
from onnx.external_data_helper import uses_external_data

from harness.errors import RequestError
from harness.inputs.ports import (
    Dimension,
    Port,
    Shape,
    dtype_name,
    element_dtype,
    free_names,
    port,
    shape_text,
)
from harness.memory_budget import Budget
from harness.ordinary_files import open_ordinary, read_ordinary

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from harness.config.inputs import InputRequest
    from harness.inputs.axes import Axes

Array = np.ndarray[Any, Any]

#: What numpy adds to the name of an array in an .npz.
_SUFFIX = ".npy"

#: How a stored value is read, by kind of port: its protobuf message, and the conversion from it.
_STORED: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "tensor": (onnx.TensorProto, onnx.numpy_helper.to_array),
    "sequence": (onnx.SequenceProto, onnx.numpy_helper.to_list),
    "map": (onnx.MapProto, onnx.numpy_helper.to_dict),
    "optional": (onnx.OptionalProto, onnx.numpy_helper.to_optional),
}


class Overrides:
    """The request, checked against the model.

    Attributes:
        sizes: sizes of free dimensions.
        reasons: the option that fixed each.
        shapes: whole shapes of inputs.
        values: values of inputs, each with its origin.
        expected: outputs of the data set.

    Raises:
        RequestError: the request does not fit the model, or a file does not.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        ports: tuple[Port, ...],
        axes: Axes,
        archived: Mapping[str, Path],
        request: InputRequest,
    ) -> None:
        self._ports = {port.name: port for port in ports}
        self.sizes: dict[Dimension, int] = {}
        self.reasons: dict[Dimension, str] = {}
        self.shapes: dict[str, Shape] = {}
        self.values: dict[str, tuple[Any, str]] = {}
        self.expected: tuple[Any, ...] | None = None
        for name, size in request.dims.items():
            self._set_dim(name, size)
        if request.batch is not None:
            self._set_batch(request.batch, axes)
        for name, shape in request.shapes.items():
            option = f"`shapes` {name}={shape_text(shape)}"
            self._fit(self._tensor(name, option), shape, option)
        for name, path in request.files.items():
            option = f"`files` {name}={path}"
            tensor = self._tensor(name, option)
            value = _as_fed(_read_npy(path, option), tensor, option)
            self._take(tensor, value, option, f"read from {path}")
        for name, path in archived.items():  # all names, before any array is read
            self._tensor(name, f"`files` {path}: '{name}'")
        for path in request.archives:
            for name, array in _read_npz(path, f"`files` {path}"):
                option = f"`files` {path}: '{name}'"
                tensor = self._tensor(name, option)
                self._take(tensor, _as_fed(array, tensor, option), option, f"read from {path}")
        if request.data_set is not None:
            self._read_data_set(model, request.data_set)

    def _set_dim(self, name: str, size: int) -> None:
        known = free_names(self._ports.values())
        if name not in known:
            raise RequestError(
                f"`dims` {name}={size}: the model has no such free dimension",
                f"its free dimensions: {', '.join(known) or 'none with a name'}; "
                "`shapes` INPUT=AxB fixes any other",
            )
        self._fix(name, size, f"`dims` {name}={size}")

    def _set_batch(self, batch: int, axes: Axes) -> None:
        dimensions = axes.batch_option()
        if not dimensions:
            raise RequestError(
                f"`batch` {batch}: no input of the model has a free batch axis",
                f"leave out `batch`; `dims` sets {', '.join(names)}"
                if (names := free_names(self._ports.values()))
                else "leave out `batch`: the sizes are fixed in the model",
            )
        for dimension in dimensions:
            self._fix(dimension, batch, f"`batch` {batch}")

    def _tensor(self, name: str, option: str) -> Port:
        if name not in self._ports:
            raise RequestError(
                f"{option}: the model has no such input",
                f"its inputs: {', '.join(self._ports) or 'none'}",
            )
        port = self._ports[name]
        held = port.element if port.kind == "optional" and port.element else port
        if held.kind != "tensor":
            raise RequestError(
                f"{option}: the input is a {port.type_name}, not a tensor",
                "give it with `data_set` FOLDER",
            )
        return port

    def _fix(self, dimension: Dimension, size: int, option: str) -> None:
        if self.sizes.setdefault(dimension, size) != size:
            name = dimension if isinstance(dimension, str) else f"{dimension[0]}[{dimension[1]}]"
            raise RequestError(
                f"{option}: sets '{name}' to {size}, but {self.reasons[dimension]} "
                f"sets it to {self.sizes[dimension]}",
                "give only one of them, or the same size in both",
            )
        self.reasons.setdefault(dimension, option)

    def _fit(self, port: Port, shape: Shape, option: str) -> None:
        """Adopts the sizes of a whole shape once they are found to fit the model's input."""
        self.shapes[port.name] = shape
        if port.shape is None:
            return
        takes = [
            size if isinstance(size, int) else self.sizes.get(size, size) for size in port.shape
        ]
        if len(shape) != port.rank or any(
            isinstance(wanted, int) and wanted != size
            for size, wanted in zip(shape, takes, strict=True)
        ):
            raise RequestError(
                f"{option}: the shape is {shape_text(shape)}, "
                f"but '{port.name}' takes {shape_text(takes)}",
                "give it the shape that the model takes",
            )
        for size, wanted in zip(shape, port.shape, strict=True):
            if not isinstance(wanted, int):
                self._fix(wanted, size, option)

    def _take(self, port: Port, value: Any, option: str, source: str) -> None:
        """Adopts a value once its type and shape are found to fit the model's input."""
        if isinstance(value, np.ndarray):
            if value.dtype != port.dtype:
                wanted = dtype_name(port.dtype)
                raise RequestError(
                    f"{option}: the type is {dtype_name(value.dtype)}, "
                    f"but '{port.name}' takes {wanted}",
                    f"convert it with array.astype('{wanted}')",
                )
            self._fit(port, value.shape, option)
        self.values[port.name] = (value, source)

    def _read_data_set(self, model: onnx.ModelProto, folder: Path) -> None:
        option = f"`data_set` {folder}"
        files = _numbered(folder, "input")
        if not files and self._ports:
            raise RequestError(
                f"{option}: no folder with input_0.pb, input_1.pb, …",
                "give a folder in ONNX's test_data_set_N layout",
            )
        if len(files) != len(self._ports):
            raise RequestError(
                f"{option}: has {len(files)} inputs, but the model takes {len(self._ports)}",
                f"one input_N.pb for each of {', '.join(self._ports) or 'no input'}, in this order",
            )
        for file, fed in zip(files, self._ports.values(), strict=True):
            value = _read_pb(file, fed, option)
            self._take(fed, value, f"{option}: {file.name}", f"from data set {folder}")
        outputs = _numbered(folder, "output")
        if not outputs:
            return
        if len(outputs) != len(model.graph.output):
            raise RequestError(
                f"{option}: has {len(outputs)} outputs, "
                f"but the model has {len(model.graph.output)}",
                "remove its output_*.pb to profile without comparing",
            )
        self.expected = tuple(
            _read_pb(file, port(value.name, value.type), option)
            for file, value in zip(outputs, model.graph.output, strict=True)
        )


def archived_names(request: InputRequest) -> dict[str, Path]:
    """The names of the arrays in the request's .npz files, each with its file; no array is read.

    Raises:
        RequestError: a file cannot be read, or an input is given twice.
    """
    found: dict[str, Path] = {}
    for path in request.archives:
        option = f"`files` {path}"
        with _reading(path, option) as file:
            if not _is_archive(file):
                raise RequestError(
                    f"{option}: holds one array without a name", f"give `files` NAME={path}"
                )
            with zipfile.ZipFile(file) as archive:
                names = [name.removesuffix(_SUFFIX) for name in archive.namelist()]
        for name in names:
            if name in found or name in request.files:
                other = found[name] if name in found else request.files[name]
                raise RequestError(
                    f"{option}: gives '{name}', which {other} gives too", "give each input once"
                )
            found[name] = path
    return found


def _read_npy(path: Path, option: str) -> Array:
    with _reading(path, option) as file:
        if _is_archive(file):
            raise RequestError(
                f"{option}: holds several arrays (.npz)",
                f"give `files` {path}, which feeds each to the input of its name",
            )
        return _array(file, os.fstat(file.fileno()).st_size)


def _read_npz(path: Path, option: str) -> Iterator[tuple[str, Array]]:
    """The arrays of a .npz file, one after another, with their names.

    Raises:
        RequestError: it cannot be read, or its arrays take more memory than its size justifies.
    """
    with _reading(path, option) as file, zipfile.ZipFile(file) as archive:
        budget = Budget(os.fstat(file.fileno()).st_size)
        for member in archive.infolist():
            name = member.filename.removesuffix(_SUFFIX)
            try:
                budget.take(member.file_size, f"'{name}'")
            except ValueError as error:
                raise RequestError(
                    f"{option}: {error}", "write it with numpy.savez, which does not compress"
                ) from error
            try:
                with archive.open(member) as stored:
                    array = _array(stored, member.file_size)
            except Exception as error:  # zipfile and numpy raise many kinds on damaged data
                raise RequestError(
                    f"{option}: '{name}' is not an array of plain numbers or text",
                    "write it with numpy.savez, without objects",
                ) from error
            yield name, array


@contextlib.contextmanager
def _reading(path: Path, option: str) -> Iterator[IO[bytes]]:
    """Opens a .npy or .npz file; what goes wrong with it in the block becomes a RequestError."""
    try:
        with os.fdopen(open_ordinary(path), "rb") as file:
            yield file
    except RequestError:
        raise
    except FileNotFoundError as error:
        raise RequestError(f"{option}: no such file", "check the path") from error
    except OSError as error:
        raise RequestError(
            f"{option}: cannot be read ({error.strerror})", "check the file and its permissions"
        ) from error
    except Exception as error:  # numpy raises many kinds on a damaged header, MemoryError too
        kind, writer = (".npz", "savez") if path.suffix == ".npz" else (_SUFFIX, "save")
        raise RequestError(
            f"{option}: is not a {kind} file of plain numbers or text",
            f"write it with numpy.{writer}, without objects",
        ) from error


def _is_archive(file: IO[bytes]) -> bool:
    start = file.read(4)
    file.seek(0)
    return start in (b"PK\x03\x04", b"PK\x05\x06")  # the second begins an empty one


def _array(stream: IO[bytes], size_bytes: int) -> Array:
    """Reads an array in the .npy format from a stream of a known size.

    Raises:
        ValueError: the header claims more values than the stream holds, before room is made for
            them; or there is no array of plain values.
    """
    version = np.lib.format.read_magic(stream)
    # Later headers differ from 2.0 in the encoding of field names only.
    header = "read_array_header_1_0" if version == (1, 0) else "read_array_header_2_0"
    shape, _, dtype = getattr(np.lib.format, header)(stream)
    # Values of no bytes, which numpy does not write, would be made objects of some.
    if math.prod(shape) * max(dtype.itemsize, 1) > size_bytes - stream.tell():
        raise ValueError("the array is longer than the file")
    stream.seek(0)
    array: Array = np.lib.format.read_array(stream, allow_pickle=False)
    return array


def _as_fed(array: Array, port: Port, option: str) -> Array:
    """A stored array, converted to the form in which it is fed."""
    # numpy.save keeps only the width of an ml_dtypes type.
    if array.dtype.kind == "V" and array.dtype.itemsize == port.dtype.itemsize:
        array = array.view(port.dtype)
    if array.dtype.kind == "U" and port.dtype.kind == "O":
        try:
            array = array.astype(object)
        except Exception as error:  # SystemError on invalid characters
            raise RequestError(
                f"{option}: holds invalid text", "write it with numpy.save, without objects"
            ) from error
    return np.ascontiguousarray(array, array.dtype.newbyteorder("=")).reshape(array.shape)


def _numbered(folder: Path, prefix: str) -> list[Path]:
    found = (
        (int(match[1]), file)
        for file in folder.glob(f"{prefix}_*.pb")
        if (match := re.fullmatch(rf"{prefix}_(\d+)", file.stem))
    )
    return [file for _, file in sorted(found)]


def _read_pb(file: Path, port: Port, option: str) -> Any:
    message, value_of = _STORED[port.kind]
    proto = message()
    try:
        proto.ParseFromString(read_ordinary(file))
        # onnx would read the other file, wherever it is.
        if any(uses_external_data(tensor) for tensor in _tensors(proto)):
            raise RequestError(
                f"{option}: {file.name} stores its values in another file",
                "write it again with the values inside",
            )
        value = value_of(proto)
        if port.kind == "tensor":
            value = value.view(element_dtype(proto.data_type))  # onnx before 1.19 uses stand-ins
    except RequestError:
        raise
    except Exception as error:  # protobuf and numpy_helper raise many kinds on damaged data
        raise RequestError(
            f"{option}: {file.name} holds no {port.kind}", "write it again from the model's inputs"
        ) from error
    if isinstance(value, dict):
        return {
            key.decode() if isinstance(key, bytes) else key: item for key, item in value.items()
        }
    return value


def _tensors(message: Message) -> Iterator[onnx.TensorProto]:
    """Every tensor in a message: of a sequence, a map, an optional or a sparse tensor too."""
    if isinstance(message, onnx.TensorProto):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for each in (value,) if isinstance(value, Message) else value:
                yield from _tensors(each)
