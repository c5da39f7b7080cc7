"""Arithmetic's ceiling: a matrix product by a constant, as weights are, run by ONNX Runtime."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.measuring.looks import Look
from harness.native import ort

#: Rows that each thread multiplies by a square constant of these widths; the better width
#: counts. On Zen 4, tried with float32, float64 and int8, one of the two came within 2 % of the
#: best of eight widths from 256 to 2048; 1024 lost 14 % and 2048 32 % in float32, to strides
#: that collide in the caches. Short products, so that some fit between two interruptions.
_ROWS = 512
_WIDTHS = (384, 768)
#: Time and repetitions of a look at a width.
_LOOK_NS = 40_000_000
_MOST_REPETITIONS = 500

#: Element types of the operands, by dtype asked for, and the operator that multiplies them.
#: int8 is what quantised models have: unsigned activations by signed weights, int32 sums.
_PRODUCTS = {
    "float32": ("float32", "float32", "float32", "MatMul"),
    "float64": ("float64", "float64", "float64", "MatMul"),
    "float16": ("float16", "float16", "float16", "MatMul"),
    "bfloat16": ("bfloat16", "bfloat16", "bfloat16", "MatMul"),
    "int8": ("uint8", "int8", "int32", "MatMulInteger"),
}

#: Element types whose product can be asked for.
DTYPES = frozenset(_PRODUCTS)


@dataclasses.dataclass(frozen=True, slots=True)
class Product:
    """A product of one element type.

    Attributes:
        library: the opened libonnxruntime.
        dtype: one of DTYPES.
        threads: intra-op threads as a session is asked for them; 0 for ORT's own choice.
        counted: how many these are.
    """

    library: ort.Library
    dtype: str
    threads: int
    counted: int

    @property
    def names(self) -> Sequence[str]:
        """Name of the ceiling that a look yields."""
        return (f"matmul_{self.dtype}",)

    @property
    def unit(self) -> str:
        """Unit of its speed."""
        return "flop/s" if self._operator == "MatMul" else "op/s"

    @property
    def source(self) -> str:
        """What is run."""
        return f"{self._operator}, ONNX Runtime {self.library.version}, CPU"

    @property
    def _operator(self) -> str:
        return _PRODUCTS[self.dtype][-1]

    def look(self) -> Mapping[str, Look]:
        """The faster width.

        Raises:
            LookupError: ORT refuses it, or executes something else; the message says so.
        """
        left, right, *_ = _PRODUCTS[self.dtype]
        rows = _ROWS * self.counted
        looks = []
        for width in _WIDTHS:
            try:
                executed, wall_ns, on_cpu = self._time(width)
            except ort.OrtError as error:
                raise LookupError(" ".join(str(error).split())) from error
            if executed != [self._operator]:
                instead = ", ".join(dict.fromkeys(executed))
                raise LookupError(f"ONNX Runtime has no such kernel, it executes {instead}")
            what = f"{self._operator} {rows}x{width}x{width} {left}, constant {right}"
            source = f"{what}, ONNX Runtime {self.library.version}, CPU"
            speed = 2 * rows * width * width * 1e9 / wall_ns
            looks.append(Look(speed, on_cpu, self.counted, self.unit, source))
        return {self.names[0]: max(looks, key=lambda look: (look.best, look.speed.max()))}

    def _time(
        self, width: int
    ) -> tuple[list[str], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """The operators that ORT executes, and of each repetition its ns and share on CPUs.

        ORT's threads spin where they wait, so that all of them use CPU time throughout an
        undisturbed repetition.
        """
        import onnx

        before = _tasks()
        with tempfile.TemporaryDirectory() as folder:
            executed = Path(folder) / "executed.onnx"
            # A higher level changes convolutions only, and warns that the file fits this machine.
            session = ort.Session(
                self.library,
                _product(self.dtype, width),
                intra_threads=self.threads,
                optimization="extended",
                optimized_model_path=str(executed),
            )
            operators = [node.op_type for node in onnx.load(executed).graph.node]
        workers = [_cpu_clock(task) for task in _tasks() - before]
        left = values(_PRODUCTS[self.dtype][0], (_ROWS * self.counted, width))
        # More threads than CPUs cannot all have one.
        threads = min(self.counted, len(os.sched_getaffinity(0)))
        times: list[tuple[float, float]] = []
        with (
            contextlib.closing(session),
            contextlib.closing(session.bind({"left": left})) as binding,
        ):
            binding.run()  # the first inference allocates
            now_ns = time.monotonic_ns()
            end_ns = now_ns + _LOOK_NS
            while not times or (now_ns < end_ns and len(times) < _MOST_REPETITIONS):
                start_ns, start_cpu_ns = now_ns, _cpu_ns(workers)
                wall_ns = binding.run()
                cpu_ns, now_ns = _cpu_ns(workers) - start_cpu_ns, time.monotonic_ns()
                times.append((wall_ns, cpu_ns / (threads * (now_ns - start_ns))))
        wall, on_cpu = np.array(times).T
        return operators, wall, on_cpu


def default_threads(library: ort.Library) -> int:
    """Threads of a session that leaves their number to ORT: those it starts, and the caller."""
    before = _tasks()
    session = ort.Session(library, _product("float32", 8))
    started = _tasks() - before
    session.close()
    return len(started) + 1


def _tasks() -> set[int]:
    """The threads of this process."""
    return {int(task.name) for task in Path("/proc/self/task").iterdir()}


def _cpu_clock(task: int) -> int:
    """The clock of a thread's CPU time, as Linux numbers them (``pthread_getcpuclockid``)."""
    return ~task << 3 | 6


def _cpu_ns(workers: Sequence[int]) -> int:
    """CPU time of this thread and of those with these clocks.

    The clock of the process would be up to a tick behind, for each thread that runs just then.
    """
    return time.thread_time_ns() + sum(map(time.clock_gettime_ns, workers))


def _product(dtype: str, width: int) -> bytes:
    """A model that multiplies its input, any rows by width, by a square constant."""
    import onnx.helper

    left, right, product, operator = _PRODUCTS[dtype]
    elements = {
        name: onnx.helper.np_dtype_to_tensor_dtype(values(name, (0,)).dtype)
        for name in (left, right, product)
    }
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(operator, ["left", "right"], ["product"])],
        "product",
        [onnx.helper.make_tensor_value_info("left", elements[left], ["rows", width])],
        [onnx.helper.make_tensor_value_info("product", elements[product], ["rows", width])],
        [
            onnx.TensorProto(
                name="right",
                data_type=elements[right],
                dims=[width, width],
                raw_data=values(right, (width, width)).tobytes(),
            )
        ],
    )
    opset = [onnx.helper.make_opsetid("", 17)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=8)
    return bytes(model.SerializeToString())


def values(dtype: str, shape: tuple[int, ...]) -> np.ndarray[Any, np.dtype[Any]]:
    """Random values of a type: [0, 1) for fractions, its whole range for whole numbers."""
    import ml_dtypes

    random = np.random.default_rng(0)
    if dtype == "bfloat16":
        return random.random(shape, np.float32).astype(ml_dtypes.bfloat16)
    if np.issubdtype(dtype, np.integer):
        limits = np.iinfo(dtype)
        return random.integers(limits.min, limits.max, shape, dtype, endpoint=True)
    return random.random(shape, np.float32).astype(dtype)
