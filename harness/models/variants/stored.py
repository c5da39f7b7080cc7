"""Model files as a whole: read with their weights, written with or without a file beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx
from onnx.external_data_helper import load_external_data_for_model, uses_external_data

from harness.models import file

if TYPE_CHECKING:
    from pathlib import Path

#: Largest model that is written as one file; protobuf ends at 2 GiB.
MOST_IN_ONE_FILE = 1_900_000_000

#: Weights from this size on go into the file beside the model.
_LEAST_BESIDE = 1024


def load(path: Path) -> onnx.ModelProto:
    """The model with all its weights in memory.

    Raises:
        ModelError: as ``models.file.load``, which also checks the external data.
    """
    model = file.load(path)
    load_external_data_for_model(model, str(path.parent))
    return model


def save(model: onnx.ModelProto, path: Path, most_bytes: int = MOST_IN_ONE_FILE) -> list[Path]:
    """Writes the model; above most_bytes of weights, these go into a file beside it.

    Returns:
        The files that were written, the model first.

    Raises:
        OSError: one cannot be written.
    """
    if file.weights_bytes(model) <= most_bytes:
        path.write_bytes(model.SerializeToString(deterministic=True))
        return [path]
    beside = path.with_name(f"{path.name}.data")
    onnx.save_model(
        model,
        path,
        save_as_external_data=True,
        all_tensors_to_one_file=True,
        location=beside.name,
        size_threshold=_LEAST_BESIDE,
    )
    return [path, beside]


def is_split(model: onnx.ModelProto) -> bool:
    """Whether some weights of a model that was read are in another file."""
    return any(uses_external_data(tensor) for tensor in model.graph.initializer)
