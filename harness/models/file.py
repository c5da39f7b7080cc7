"""Reads an ONNX model file without its weights, and identifies the model."""

from __future__ import annotations

import hashlib
import math
import os
import warnings
from typing import TYPE_CHECKING

import onnx
from google.protobuf.message import DecodeError
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from harness.errors import ModelError, one_line
from harness.models.work.tensors import Tensor, Unknown, nbytes, type_name
from harness.ordinary_files import open_ordinary, read_ordinary, require_ordinary
from harness.records import ModelRecord

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_CHUNK_BYTES = 1 << 20

#: Most dimensions that a numpy array can have.
_MOST_RANK = 64

#: Location by which ORT marks weights in its memory, where the offset is an address. In a file the
#: address is somebody's guess, and versions of ORT that do not refuse it read what is there.
_IN_MEMORY_LOCATION = "*/_ORT_MEM_ADDR_/"

#: Identifier in bytes 4 to 7 of a file in ORT's own format.
_ORT_FORMAT = b"ORTM"

#: Files often passed in place of a model: first bytes, what the file is, and the way out.
_FOREIGN = (
    (b"version https://git-lfs", "a Git LFS pointer", "fetch the model itself: git lfs pull"),
    (b"PK\x03\x04", "a zip archive", "unpack it, or export the PyTorch model to ONNX"),
    (b"\x1f\x8b", "gzip-compressed", "gunzip it first"),
    (b"\x89HDF", "an HDF5 file", "export the model to ONNX first"),
    (b"<", "markup text", "download the file itself, not the web page about it"),
)
_NOT_ONNX_REMEDY = "give the path of an .onnx file"


def is_ort_format(path: Path) -> bool:
    """Whether a file is in ORT's own format, which ORT recognises by the suffix .ort."""
    if path.suffix != ".ort" or not path.is_file():
        return False
    return _read(path)[4:8] == _ORT_FORMAT


def load(path: Path) -> onnx.ModelProto:
    """Reads the model; external data is checked to exist but not read.

    The ONNX checker is not run: ORT loads models that the checker rejects.

    Raises:
        ModelError: no such file, not ONNX, truncated, or external data missing or short.
    """
    content = _read(path)
    try:
        model: onnx.ModelProto = onnx.ModelProto.FromString(content)
    except DecodeError as error:
        raise _unreadable(path, content) from error
    # Operator sets are serialised after the graph, and required since IR version 3.
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
    _check_texts(path, model)
    _check_ranks(path, model)
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
    sha256, size_bytes = _digest([path, *external_files(path, model)])
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
    """Identity and size of a file in ORT's own format; only ORT can read the rest.

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
    """(SHA-256 of the concatenated files, their total size in bytes)."""
    digest = hashlib.sha256()
    size_bytes = 0
    for file in files:
        try:
            with os.fdopen(open_ordinary(file), "rb") as stream:
                while chunk := stream.read(_CHUNK_BYTES):
                    digest.update(chunk)
                    size_bytes += len(chunk)
        except OSError as error:
            raise ModelError(
                f"{file}: cannot be read ({error.strerror})", "check the file and its permissions"
            ) from error
    return digest.hexdigest(), size_bytes


def _read(path: Path) -> bytes:
    try:
        return read_ordinary(path)
    except FileNotFoundError as error:
        raise ModelError(
            f"{path}: no such file", "check the path, or name a model listed by `harness models`"
        ) from error
    except IsADirectoryError as error:
        raise ModelError(f"{path}: is a folder", _NOT_ONNX_REMEDY) from error
    except OSError as error:
        raise ModelError(
            f"{path}: cannot be read ({error.strerror})", "check the file and its permissions"
        ) from error


def _unreadable(path: Path, content: bytes) -> ModelError:
    """Says what a file that is not an ONNX model seems to be."""
    if not content:
        return ModelError(f"{path}: is empty", "export or copy the model again")
    if content[4:8] == _ORT_FORMAT:
        return ModelError(
            f"{path}: is in ORT's own format, which ORT recognises by the file name",
            "give it a name that ends in .ort",
        )
    for start, what, remedy in _FOREIGN:
        if content.startswith(start):
            return ModelError(f"{path}: is {what}, not ONNX", remedy)
    # ir_version, field 1 of ModelProto, is a small varint and is serialised first.
    if content[0] == 0x08 and len(content) > 1 and 0 < content[1] < 0x20:
        return ModelError(
            f"{path}: begins like ONNX but cannot be read to its end: truncated or damaged",
            "export, copy or download it again",
        )
    return ModelError(f"{path}: is not an ONNX model", _NOT_ONNX_REMEDY)


def _check_texts(path: Path, model: onnx.ModelProto) -> None:
    """Refuses names that are not UTF-8, which protobuf returns as bytes."""
    for what, text in _texts(model):
        if not isinstance(text, str):
            raise ModelError(
                f"{path}: the name of {what} is not UTF-8: {text!r}", "export the model again"
            )


def _texts(model: onnx.ModelProto) -> Iterator[tuple[str, object]]:
    yield "its producer", model.producer_name
    yield "its producer's version", model.producer_version
    for opset in model.opset_import:
        yield "an operator set", opset.domain
    for function in model.functions:
        yield from (("a function", function.name), ("a function's domain", function.domain))
        yield from (("a tensor", name) for name in (*function.input, *function.output))
        yield from _node_texts(function.node)
    for graph in graphs(model):
        yield "a graph", graph.name
        for value in (*graph.input, *graph.output, *graph.value_info):
            yield "a tensor", value.name
            for dimension in _dimensions(value.type):
                yield "a dimension", dimension.dim_param
            yield from (
                ("a dimension's meaning", each.denotation) for each in _dimensions(value.type)
            )
        yield from (("a tensor", tensor.name) for tensor in graph.initializer)
        yield from _node_texts(graph.node)


def _node_texts(nodes: Iterable[onnx.NodeProto]) -> Iterator[tuple[str, object]]:
    for node in nodes:
        texts = (node.name, node.op_type, node.domain, *node.input, *node.output)
        if set(map(type, texts)) == {str} and not node.attribute:
            continue  # so are most nodes, and a model may have very many
        yield "a node", node.name
        yield "an operator", node.op_type
        yield "an operator's domain", node.domain
        yield from (("a tensor", name) for name in node.input)
        yield from (("a tensor", name) for name in node.output)
        yield from (("an attribute", attribute.name) for attribute in node.attribute)


def _dimensions(of: onnx.TypeProto) -> Iterator[onnx.TensorShapeProto.Dimension]:
    """Dimensions of a tensor, or of the tensors in a sequence, an optional or a map."""
    held = of.WhichOneof("value")
    if held in ("sequence_type", "optional_type"):
        yield from _dimensions(getattr(of, held).elem_type)
    elif held == "map_type":
        yield from _dimensions(of.map_type.value_type)
    elif held in ("tensor_type", "sparse_tensor_type"):
        yield from getattr(of, held).shape.dim


def _check_ranks(path: Path, model: onnx.ModelProto) -> None:
    for graph in graphs(model):
        for value in (*graph.input, *graph.output):
            rank = sum(1 for _ in _dimensions(value.type))
            if rank > _MOST_RANK:
                raise ModelError(
                    f"{path}: {value.name!r} has {rank} dimensions, more than {_MOST_RANK}",
                    "give a model whose inputs and outputs numpy can hold",
                )


def _check_external_data(path: Path, model: onnx.ModelProto) -> None:
    sizes: dict[str, int] = {}
    for tensor, info in _external(path, model):
        if info.location not in sizes:
            sizes[info.location] = _external_size(path, info.location)
        end = (info.offset or 0) + (info.length or _data_bytes(path, tensor))
        if sizes[info.location] < end:
            raise ModelError(
                f"{path}: its external data file {info.location} has {sizes[info.location]} bytes "
                f"but '{tensor.name}' ends at {end}",
                f"copy {info.location} again: it is truncated or belongs to a different model",
            )


def _external_size(path: Path, location: str) -> int:
    """Size of an external data file, which is checked before it is opened.

    It must be an ordinary file in the model's folder: a model must not cause any other file to
    be read, hashed, or waited for.
    """
    remedy = f"put {location} next to the model"
    try:
        file = _external_file(path, location)
        state = file.stat()
        require_ordinary(file, state.st_mode)
        found = file.resolve()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ModelError(f"{path}: its external data file {location} is missing", remedy) from error
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ModelError(
            f"{path}: its external data file {location} cannot be read: {reason}", remedy
        ) from error
    # The folder may hold links into a store, where the data lies next to the real model.
    folders = (path.parent.resolve(), path.resolve().parent)
    if not any(found.is_relative_to(folder) for folder in folders):
        raise ModelError(
            f"{path}: its external data file {location} is outside the model's folder", remedy
        )
    return state.st_size


def _external_file(path: Path, location: str) -> Path:
    return path.parent / location


def _data_bytes(path: Path, tensor: onnx.TensorProto) -> int:
    """Bytes of a tensor's values as ONNX stores them (sub-byte types are packed)."""
    count: int = math.prod(tensor.dims)
    try:
        name = onnx.TensorProto.DataType.Name(tensor.data_type)
        for suffix, bits in (("INT2", 2), ("INT4", 4), ("FLOAT4E2M1", 4)):
            if name.endswith(suffix):
                return (count * bits + 7) // 8
        itemsize: int = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    except (KeyError, ValueError) as error:
        raise ModelError(
            f"{path}: '{tensor.name}' has the unknown element type {tensor.data_type}",
            "export the model again",
        ) from error
    return count * itemsize


def external_files(path: Path, model: onnx.ModelProto) -> list[Path]:
    """The files beside the model that hold its external data, in the order of their names."""
    locations = sorted({info.location for _, info in _external(path, model)})
    return [_external_file(path, location) for location in locations]


def _external(
    path: Path, model: onnx.ModelProto
) -> Iterator[tuple[onnx.TensorProto, ExternalDataInfo]]:
    """The tensors with external data, wherever they are in the model."""
    for tensor in _tensors(model):
        if uses_external_data(tensor):
            yield tensor, _external_info(path, tensor)


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every tensor that ORT may read: initialisers and attributes, and defaults of functions."""
    for graph in graphs(model):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
        yield from _attribute_tensors(_attributes(graph.node))
    for function in model.functions:
        yield from _attribute_tensors(_function_attributes(function))


def _external_info(path: Path, tensor: onnx.TensorProto) -> ExternalDataInfo:
    try:
        with warnings.catch_warnings():  # of unknown keys, which it and ONNX Runtime ignore
            warnings.simplefilter("ignore")
            info = ExternalDataInfo(tensor)
        if info.location == _IN_MEMORY_LOCATION:
            reason = "an address in memory means nothing in a file"
        elif isinstance(info.location, str) and min(info.offset or 0, info.length or 0) >= 0:
            return info
        else:
            reason = "its location is not valid"
    except (ValueError, TypeError, AttributeError) as error:
        reason = one_line(str(error), 100)
    raise ModelError(
        f"{path}: cannot tell where the values of '{tensor.name}' are stored: {reason}",
        "export the model again",
    )


def _attributes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.AttributeProto]:
    for node in nodes:
        if attributes := node.attribute:
            yield from attributes


def _function_attributes(function: onnx.FunctionProto) -> Iterator[onnx.AttributeProto]:
    """Attributes of the nodes in its body, and the defaults of its own."""
    yield from _attributes(function.node)
    yield from function.attribute_proto


def _attribute_tensors(attributes: Iterable[onnx.AttributeProto]) -> Iterator[onnx.TensorProto]:
    # What is set counts, not what the attribute's type says.
    for attribute in attributes:
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        if attribute.HasField("sparse_tensor"):
            yield from (attribute.sparse_tensor.values, attribute.sparse_tensor.indices)
        for sparse in attribute.sparse_tensors:
            yield from (sparse.values, sparse.indices)


def _parameter_count(model: onnx.ModelProto) -> int:
    """Elements of all initialisers; a sparse one counts the values it stores."""
    return sum(
        sum(math.prod(tensor.dims) for tensor in graph.initializer)
        + sum(math.prod(sparse.values.dims) for sparse in graph.sparse_initializer)
        for graph in graphs(model)
    )


def weights_bytes(model: onnx.ModelProto) -> int:
    """Bytes of all initialisers, wherever they are stored; text counts as 0."""
    stored = [
        tensor
        for graph in graphs(model)
        for tensor in (*graph.initializer, *(sparse.values for sparse in graph.sparse_initializer))
    ]
    return sum(_bytes(tensor) for tensor in stored)


def _bytes(tensor: onnx.TensorProto) -> int:
    name = onnx.TensorProto.DataType.Name(tensor.data_type)
    try:
        return nbytes(Tensor(type_name(name), tuple(tensor.dims)))
    except Unknown:
        return 0


def graphs(model: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    """The main graph and every subgraph, those of function bodies included."""
    yield model.graph
    yield from _subgraphs(_attributes(model.graph.node))
    for function in model.functions:
        yield from _subgraphs(_function_attributes(function))


def _subgraphs(attributes: Iterable[onnx.AttributeProto]) -> Iterator[onnx.GraphProto]:
    for attribute in attributes:
        held = (attribute.g, *attribute.graphs) if attribute.HasField("g") else attribute.graphs
        for graph in held:
            yield graph
            yield from _subgraphs(_attributes(graph.node))
