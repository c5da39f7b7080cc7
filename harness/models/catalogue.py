"""Reference models, built from code with a seed: real architectures, random weights.

They exist so that a profile can be taken and compared anywhere without a download. The
graphs are written the way exporters write them (batch normalisation as nodes, GELU spelt
out with Erf, the attention mask added to the scores), so that ONNX Runtime's optimiser has
the same work to do as in real files. Every initialiser is a weight; scalars, shapes and
tables are Constant nodes.

Nothing here imports numpy or onnx until a model is built: listing the models costs nothing.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from harness.errors import RequestError, not_written
from harness.models.architectures import (
    bert_base,
    bert_small,
    mlp,
    mobilenet_v2,
    resnet50,
    tessera,
)
from harness.models.graph_builder import GraphBuilder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import onnx


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
    graph = GraphBuilder(name, seed)
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
        MachineError: the disk is full; the partial file is not a model.
    """
    content = serialised(name, seed)
    try:
        path.write_bytes(content)
    except OSError as error:
        way_out = f"free {len(content):,} bytes or write it elsewhere"
        raise not_written(path, error, way_out=way_out) from error


# Architectures


_ARCHITECTURES: dict[str, tuple[Callable[[GraphBuilder], None], str]] = {
    "mlp": (
        mlp,
        "three linear layers 64-48-32-10; 5,018 parameters; input batch x 64",
    ),
    "mobilenet-v2": (
        mobilenet_v2,
        "MobileNetV2 of width 1.0; 3,538,984 parameters; input batch x 3 x 224 x 224",
    ),
    "resnet50": (
        resnet50,
        "ResNet-50 v1.5; 25,610,152 parameters; input batch x 3 x 224 x 224",
    ),
    "bert-small": (
        bert_small,
        "BERT, 4 layers of 256; 11,170,560 parameters; 3 inputs batch x sequence",
    ),
    "bert-base": (
        bert_base,
        "BERT, 12 layers of 768; 109,482,240 parameters; 3 inputs batch x sequence",
    ),
    "tessera": (
        tessera,
        "2 transformers of 4 layers of 512; 26,343,042 parameters; batch x 40 x 11 and 40 x 3",
    ),
}

REFERENCE_MODELS: Mapping[str, ReferenceModel] = MappingProxyType(
    {name: ReferenceModel(name, summary) for name, (_, summary) in _ARCHITECTURES.items()}
)


class ReferenceName(str):
    """The name of a reference model where that is meant, whatever files are called so."""

    __slots__ = ()


def is_reference(model: str) -> bool:
    """Whether a name means a reference model: a file of that name comes first.

    Args:
        model: path of a file from the current folder, or name of a reference model.
    """
    if isinstance(model, ReferenceName):
        return True
    return model in REFERENCE_MODELS and not Path(model).is_file()
