"""Reads an ONNX model file without its weights, and says which model it is."""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING

import onnx
from google.protobuf.message import DecodeError
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from harness.errors import ModelError
from harness.records import ModelRecord

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_CHUNK_BYTES = 1 << 20

#: ORT's locations of weights that are in memory begin so; they name no file.
_IN_MEMORY_LOCATION = "*/_ORT_"

#: Behind its first four bytes a file in ORT's own format holds this.
_ORT_FORMAT = b"ORTM"

#: What people hand over instead of a model, by the first bytes, and the way out.
_FOREIGN = (
    (b"version https://git-lfs", "a Git LFS pointer", "fetch the model itself: git lfs pull"),
    (b"PK\x03\x04", "a zip archive", "unpack it, or export the PyTorch model to ONNX"),
    (b"\x1f\x8b", "gzip-compressed", "gunzip it first"),
    (b"\x89HDF", "an HDF5 file", "export the model to ONNX first"),
    (b"<", "markup text", "download the file itself, not the web page about it"),
)
_NOT_ONNX_REMEDY = "give the path of an .onnx file"


def is_ort_format(path: Path) -> bool:
    """Whether a file holds ORT's own format, which ORT knows by the name: it ends in .ort."""
    if path.suffix != ".ort" or not path.is_file():
        return False
    return _read(path)[4:8] == _ORT_FORMAT


def load(path: Path) -> onnx.ModelProto:
    """Reads the model; external data is checked to be there but not read.

    The ONNX checker is not asked: ORT loads models that it rejects.

    Raises:
        ModelError: no such file, not ONNX, truncated, or external data missing or short.
    """
    content = _read(path)
    try:
        model: onnx.ModelProto = onnx.ModelProto.FromString(content)
    except DecodeError as error:
        raise _unreadable(path, content) from error
    # Operator sets are written behind the graph, and required since IR version 3.
    headless = model.ir_version >= 3 and not model.opset_import
    if not model.HasField("graph") or not model.ir_version or headless:
        raise _unreadable(path, content)
    for part, missing in (
        ("node", not model.graph.node),
        ("output", not model.graph.output),
    ):
        if missing:
            raise ModelError(
                f"{path}: its graph has no {part}, so there is nothing to measure",
                "the file may be truncated: export or copy it again",
            )
    _check_external_data(path, model)
    return model


def describe(path: Path, model: onnx.ModelProto, name: str) -> ModelRecord:
    """Identity and size of a model that ``load`` read from path.

    Args:
        path: the model file.
        model: what it holds.
        name: what the profile calls it.

    Raises:
        ModelError: a file can no longer be read.
    """
    folder = path.parent
    sha256, size_bytes = _digest(
        [path, *(folder / location for location in _external_locations(model))]
    )
    return ModelRecord(
        name=name,
        path=str(path),
        sha256=sha256,
        size_bytes=size_bytes,
        producer=f"{model.producer_name} {model.producer_version}".strip(),
        ir_version=model.ir_version,
        opsets=tuple(
            f"{opset.domain or 'ai.onnx'}:{opset.version}" for opset in model.opset_import
        ),
        node_count=len(model.graph.node),
        parameter_count=_parameter_count(model),
    )


def describe_ort_format(path: Path, name: str) -> ModelRecord:
    """Identity and size of a file in ORT's own format; what else it holds, ORT alone can read.

    Args:
        path: the model file.
        name: what the profile calls it.

    Raises:
        ModelError: the file cannot be read.
    """
    sha256, size_bytes = _digest([path])
    return ModelRecord(
        name=name,
        path=str(path),
        sha256=sha256,
        size_bytes=size_bytes,
        producer="",
        ir_version=-1,
        opsets=(),
        node_count=-1,
        parameter_count=-1,
    )


def _digest(files: list[Path]) -> tuple[str, int]:
    """(sha256 of the files behind one another, bytes of them together)."""
    digest = hashlib.sha256()
    size_bytes = 0
    for file in files:
        try:
            with file.open("rb") as stream:
                while chunk := stream.read(_CHUNK_BYTES):
                    digest.update(chunk)
                    size_bytes += len(chunk)
        except OSError as error:
            raise ModelError(
                f"{file}: cannot be read ({error.strerror})", "check the file and its rights"
            ) from error
    return digest.hexdigest(), size_bytes


def _read(path: Path) -> bytes:
    try:
        if path.is_char_device() or path.is_block_device() or path.is_fifo():
            raise ModelError(f"{path}: is a device, not a file", _NOT_ONNX_REMEDY)
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ModelError(
            f"{path}: no such file", "check the path, or name a model of `harness models`"
        ) from error
    except IsADirectoryError as error:
        raise ModelError(f"{path}: is a folder", _NOT_ONNX_REMEDY) from error
    except OSError as error:
        raise ModelError(
            f"{path}: cannot be read ({error.strerror})", "check the file and its rights"
        ) from error


def _unreadable(path: Path, content: bytes) -> ModelError:
    """Says what a file that is no ONNX model seems to be."""
    if not content:
        return ModelError(f"{path}: is empty", "export or copy the model again")
    if content[4:8] == _ORT_FORMAT:
        return ModelError(
            f"{path}: is in ORT's own format, which ORT knows by the name of the file",
            "give it a name that ends in .ort",
        )
    for start, what, remedy in _FOREIGN:
        if content.startswith(start):
            return ModelError(f"{path}: is {what}, not ONNX", remedy)
    # Field 1 of ModelProto, ir_version, is a small varint in front of all that is written.
    if content[0] == 0x08 and len(content) > 1 and 0 < content[1] < 0x20:
        return ModelError(
            f"{path}: begins like ONNX but cannot be read to its end: truncated or damaged",
            "export, copy or download it again",
        )
    return ModelError(f"{path}: is not an ONNX model", _NOT_ONNX_REMEDY)


def _check_external_data(path: Path, model: onnx.ModelProto) -> None:
    sizes: dict[str, int] = {}
    for tensor, info in _external(model):
        if info.location not in sizes:
            try:
                sizes[info.location] = (path.parent / info.location).stat().st_size
            except OSError as error:
                raise ModelError(
                    f"{path}: its external data file {info.location} is missing",
                    f"put {info.location} beside the model",
                ) from error
        end = (info.offset or 0) + (info.length or _data_bytes(tensor))
        if sizes[info.location] < end:
            raise ModelError(
                f"{path}: its external data file {info.location} has {sizes[info.location]} bytes "
                f"but '{tensor.name}' ends at {end}",
                f"copy {info.location} again, it is truncated or of another model",
            )


def _data_bytes(tensor: onnx.TensorProto) -> int:
    """Bytes of a tensor's values as ONNX stores them (sub-byte types are packed)."""
    name = onnx.TensorProto.DataType.Name(tensor.data_type)
    count: int = math.prod(tensor.dims)
    for suffix, bits in (("INT2", 2), ("INT4", 4), ("FLOAT4E2M1", 4)):
        if name.endswith(suffix):
            return (count * bits + 7) // 8
    itemsize: int = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    return count * itemsize


def _external_locations(model: onnx.ModelProto) -> list[str]:
    return sorted({info.location for _, info in _external(model)})


def _external(model: onnx.ModelProto) -> Iterator[tuple[onnx.TensorProto, ExternalDataInfo]]:
    tensors = list(_attribute_tensors(node for f in model.functions for node in f.node))
    for graph in graphs(model):
        tensors += graph.initializer
        for sparse in graph.sparse_initializer:
            tensors += (sparse.values, sparse.indices)
        tensors += _attribute_tensors(graph.node)
    for tensor in tensors:
        if uses_external_data(tensor):
            info = ExternalDataInfo(tensor)
            if not info.location.startswith(_IN_MEMORY_LOCATION):
                yield tensor, info


def _attribute_tensors(nodes: Iterator[onnx.NodeProto]) -> Iterator[onnx.TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def _parameter_count(model: onnx.ModelProto) -> int:
    """Elements of all initialisers; a sparse one counts the values it stores."""
    return sum(
        sum(math.prod(tensor.dims) for tensor in graph.initializer)
        + sum(math.prod(sparse.values.dims) for sparse in graph.sparse_initializer)
        for graph in graphs(model)
    )


def graphs(model: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    """The main graph and every subgraph, those of function bodies included."""
    yield model.graph
    yield from _subgraphs(model.graph.node)
    for function in model.functions:
        yield from _subgraphs(function.node)


def _subgraphs(nodes: Iterator[onnx.NodeProto]) -> Iterator[onnx.GraphProto]:
    for node in nodes:
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                if graph.node:
                    yield graph
                    yield from _subgraphs(graph.node)
