"""Versions of Python and of the relevant packages."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterator

from harness.records import Reading

#: Distributions that provide the ``onnxruntime`` package.
ORT_DISTRIBUTIONS = (
    "onnxruntime-gpu",
    "onnxruntime",
    "onnxruntime-openvino",
    "onnxruntime-rocm",
    "onnxruntime-migraphx",
    "onnxruntime-training",
    "onnxruntime-qnn",
    "ort-nightly-gpu",
    "ort-nightly",
)
PACKAGES = ("onnx-harness", "numpy", "onnx", "pyperf", "h5py")


def versions() -> Iterator[Reading]:
    """Versions of Python, the installed ONNX Runtime distributions and the other packages."""
    version = f"{platform.python_implementation()} {platform.python_version()}"
    yield Reading("python", version, "", "platform")
    providers = [_package(name) for name in ORT_DISTRIBUTIONS]
    found = [reading for reading in providers if reading.value is not None]
    yield from found or [
        Reading("package_onnxruntime", None, "", "importlib.metadata", "not installed")
    ]
    for name in PACKAGES:
        yield _package(name)


def _package(name: str) -> Reading:
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Reading(f"package_{name}", None, "", "importlib.metadata", "not installed")
    return Reading(f"package_{name}", version, "", "importlib.metadata")
