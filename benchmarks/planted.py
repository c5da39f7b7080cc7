"""Models with a planted change: the same chain of operators, longer by some per cent.

The change is real work in the timed inference: a chain of 100 equal operators against one of
101, 102, 105 and 110.
"""

from __future__ import annotations

from pathlib import Path

import onnx
from operator_truth import chain, relu_like

BASE = 100

#: Per cent by which a model of the same name takes longer than the first.
CHANGES = (0, 1, 2, 5, 10)


def name_of(change: int) -> str:
    """Name of the model with such a change, and of its file."""
    return f"chain+{change}%"


def write(folder: Path, change: int) -> Path:
    """Writes the model with such a change; returns its path."""
    path = folder / f"{name_of(change)}.onnx"
    onnx.save(chain(relu_like("Sigmoid"), (1, 1024), BASE + change), path)
    return path
