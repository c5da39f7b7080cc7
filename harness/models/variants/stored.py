"""Model files as a whole: read with their weights, written with or without a file beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx
import onnx.external_data_helper
import onnx.numpy_helper
from onnx.external_data_helper import load_external_data_for_model, uses_external_data

from harness.models import file

if TYPE_CHECKING:
    from pathlib import Path

#: Largest model that is written as one file; protobuf ends at 2 GiB.
MOST_IN_ONE_FILE = 1_900_000_000

#: Weights from this size on go into the file beside the model.
_LEAST_BESIDE = 1024

#: Each begins at a multiple of this, so that it can be mapped into memory.
_ALIGNMENT = 4096


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
    _move_weights(model, beside)
    path.write_bytes(model.SerializeToString(deterministic=True))
    load_external_data_for_model(model, str(path.parent))  # the caller's is as it was
    return [path, beside]


def _move_weights(model: onnx.ModelProto, beside: Path) -> None:
    """Writes the weights into a file and leaves in the model where they are.

    onnx's own function refuses a name that the current folder holds, and appends to a file that
    is there.
    """
    with beside.open("wb") as stream:
        for tensor in model.graph.initializer:
            if tensor.data_type == onnx.TensorProto.STRING:
                continue
            if not tensor.HasField("raw_data"):
                value = onnx.numpy_helper.to_array(tensor)
                tensor.CopyFrom(onnx.numpy_helper.from_array(value, tensor.name))
            size = len(tensor.raw_data)
            if size < _LEAST_BESIDE:
                continue
            stream.write(b"\0" * (-stream.tell() % _ALIGNMENT))
            offset = stream.tell()
            stream.write(tensor.raw_data)
            onnx.external_data_helper.set_external_data(tensor, beside.name, offset, size)
            tensor.ClearField("raw_data")


def is_split(model: onnx.ModelProto) -> bool:
    """Whether some weights of a model that was read are in another file."""
    return any(uses_external_data(tensor) for tensor in model.graph.initializer)
