"""Models written in ONNX's own text form."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx.parser
from onnx import numpy_helper


def model_of(text: str, header: str = '"": 18', functions: str = "", **weights: Any) -> Any:
    """A model from ONNX's own text form; weights become initialisers."""
    model = onnx.parser.parse_model(f"<ir_version: 10, opset_import: [{header}]>{text}{functions}")
    for name, values in weights.items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(values), name))
    return model
