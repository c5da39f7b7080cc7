"""Stand-ins for what a machine may lack, built with gcc at the boundary of a C interface."""

from __future__ import annotations

import ctypes
import dataclasses
import functools
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

SOURCES = Path(__file__).parent
HEADERS = SOURCES.parents[1] / "ext"


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    """For the libraries; goes with the process."""
    return tempfile.TemporaryDirectory()


@functools.cache
def build_nvml(*without: str) -> str:
    """Builds the double of NVML and returns its path.

    Args:
        without: symbols it lacks: INIT, FIELD_VALUES, EVENT_REASONS, SAMPLES.
    """
    # nvidia-ml-py opens it by this name.
    flags = ("-Wl,-soname,libnvidia-ml.so.1", *(f"-DWITHOUT_{symbol}" for symbol in without))
    return _build("nvml.c", "-".join(["nvml", *without]), *flags)


@functools.cache
def build_cuda() -> str:
    """Builds the double of the CUDA driver, three GPUs, and returns its path."""
    return _build("cuda.c", "cuda", "-Wl,-soname,libcuda.so.1")


@functools.cache
def build_onnxruntime() -> str:
    """Builds the double of ONNX Runtime, a table of functions, and returns its path."""
    return _build("onnxruntime.c", "onnxruntime")


@functools.cache
def build_cupti() -> str:
    """Builds the double of CUPTI, which notes its calls, and returns its path."""
    return _build("cupti.c", "cupti")


@functools.cache
def build_custom_ops(*flags: str) -> str:
    """Builds a library of custom operators, listed in custom_ops.c, and returns its path.

    Args:
        flags: ``-DREFUSES`` for one that refuses to register them.
    """
    return _build("custom_ops.c", "custom_ops" + "".join(flags), *flags)


@functools.cache
def build_openvino() -> str:
    """Builds the double of OpenVINO's C API, whose model doubles its input; returns its path."""
    return _build("openvino_c.c", "openvino_c", "-Wno-unused-parameter")


#: Packages that stand for PyTorch and onnx2torch, to put on PYTHONPATH.
PYTORCH = SOURCES / "runtimes"


@functools.cache
def build_device() -> str:
    """Builds a device with memory and a stream of its own, see device.c; returns its path."""
    return _build("device.c", "device")


def _build(source: str, name: str, *flags: str) -> str:
    path = Path(_folder().name, f"{name}.so")
    command = [
        *("gcc", "-std=gnu11", "-O1", "-Wall", "-Werror", "-shared", "-fPIC", *flags),
        *("-I", str(HEADERS), "-o", str(path), str(SOURCES / source)),
    ]
    subprocess.run(command, check=True)
    return str(path)


class NvmlCalls(ctypes.Structure):
    """Readings that the double was asked for: `struct calls` of nvml.c."""

    energy: int
    samples: int
    other: int
    spent_ns: int
    _fields_: ClassVar = [
        (name, ctypes.c_longlong) for name in ("energy", "samples", "other", "spent_ns")
    ]


@dataclasses.dataclass(frozen=True)
class NvmlDouble:
    """The library under this path; the faults it can show are listed in nvml.c."""

    path: str

    def fault(self, name: str, after_readings: int = 0) -> None:
        """Has the library fail so from now on, or after some readings of values."""
        status = ctypes.CDLL(self.path).harness_test_double(
            name.encode(), ctypes.c_long(after_readings)
        )
        assert status == 0, f"the double knows no fault {name}"

    def price(self, *, on: bool) -> None:
        """Has each call take what it took on a real GPU, or nothing."""
        ctypes.CDLL(self.path).harness_test_double_price(int(on))

    def calls(self) -> NvmlCalls:
        """What it was asked for since it was loaded, and what that costs at the prices."""
        function = ctypes.CDLL(self.path).harness_test_double_calls
        function.restype = NvmlCalls
        calls: NvmlCalls = function()
        return calls

    def opened(self) -> int:
        """How often it was opened and not closed."""
        count: int = ctypes.CDLL(self.path).harness_test_double_open()
        return count


@pytest.fixture
def nvml_double() -> Iterator[NvmlDouble]:
    """A healthy double of NVML."""
    double = NvmlDouble(build_nvml())
    double.fault("")
    yield double
    double.fault("")
    double.price(on=False)
