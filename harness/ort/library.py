"""Finds libonnxruntime."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from pathlib import Path

from harness.errors import MachineError


def ort_library() -> Path:
    """Finds libonnxruntime of the installed wheel, without importing the package.

    Raises:
        MachineError: no onnxruntime distribution is installed, or it lacks the file.
    """
    remedy = "pip install onnxruntime-gpu, or name a libonnxruntime with `library`"
    spec = importlib.util.find_spec("onnxruntime")
    if spec is None or not spec.submodule_search_locations:
        raise MachineError("ONNX Runtime is not installed", remedy)
    folder = Path(spec.submodule_search_locations[0]) / "capi"
    libraries = sorted(folder.glob("libonnxruntime.so*"))
    if not libraries:
        raise MachineError(f"{folder}: no libonnxruntime.so there", remedy)
    return libraries[-1]
