"""PyTorch, fed with the model as onnx2torch converts it.

An inference is a call from Python, as PyTorch's users make it, in ``torch.inference_mode``. What
the loop itself takes of that is measured beside it.
"""

from __future__ import annotations

import functools
import gc
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from harness.errors import MachineError, ModelError, RequestError, one_line
from harness.measuring.runtime import InferenceFailed, Opened, Runtime, Task
from harness.measuring.runtimes import not_installed
from harness.records import RUNTIME_SETTINGS, RUNTIME_VERSION, Int64Array, Reading

_NAME = "torch"

#: The options, with what each value means.
_OPTIONS = {
    "compile": "1: torch.compile makes kernels of the model before they are timed",
    "cuda_graph": "1: the inference is captured as a CUDA graph, and its replays are timed",
}

_HOLDS = "from the call of the model in Python until it returned; inputs and outputs in host memory"
_HOLDS_DEVICE = (
    "from the call in Python until the device had done the work (torch.cuda.synchronize); inputs "
    "and outputs stay on the device"
)
_LOOP = "a loop in Python, garbage collection off; a time stamp before and one after each call"

#: Inferences before a CUDA graph is captured, on a stream of their own, as PyTorch's notes on CUDA
#: graphs ask for: https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
_BEFORE_CAPTURE = 3


class _OpenedModel:
    """A converted model with its inputs; see ``runtime.Opened``."""

    loop = _LOOP

    def __init__(self, task: Task) -> None:
        began_ns = time.monotonic_ns()
        # In this process, not in a pool of others that would still be there in the timed pass.
        os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
        try:
            import onnx2torch
            import torch
        except (ImportError, OSError) as error:  # OSError: of a library that it loads
            missing = getattr(error, "name", "")
            if missing in RUNTIME.packages:
                raise not_installed(_NAME, missing) from error
            raise MachineError(
                f"`runtime` {_NAME}: {one_line(str(error))}", "install PyTorch again"
            ) from error
        self._torch: Any = torch
        self._converter: str = getattr(onnx2torch, "__version__", "")
        torch.set_num_threads(task.threads)
        self.threads: int | None = torch.get_num_threads()
        torch.set_num_interop_threads(1)  # as in ONNX Runtime's sequential mode
        if task.on_device and not torch.cuda.is_available():
            raise MachineError(
                f"`runtime` {_NAME}: PyTorch {torch.__version__} finds no CUDA device",
                "install a build of PyTorch for this driver, or choose another `provider`",
            )
        opened_ns = time.monotonic_ns()
        self.open_ns = opened_ns - began_ns
        self._task = task
        self._device = torch.device("cuda" if task.on_device else "cpu")  # not a provider
        self.holds = _HOLDS_DEVICE if task.on_device else _HOLDS
        try:
            model = onnx2torch.convert(str(task.model)).eval().to(self._device)
        except Exception as error:  # whatever a converter runs into is why it cannot convert
            raise ModelError(
                f"{task.name}: onnx2torch cannot convert it: {_said(error)}",
                "profile it with `runtime` ort",
            ) from error
        if _is_on(task.options, "compile"):
            model = torch.compile(model)
        with self._failures():  # of the device's memory
            fed = [torch.from_numpy(value).to(self._device) for value in task.inputs.values()]
        self._infer: Callable[[], Any] = functools.partial(model, *fed)
        self._result: Any = None
        self._graph: Any = None
        if _is_on(task.options, "cuda_graph"):
            self._capture()
        self._synchronise: Callable[[], object] | None = (
            torch.cuda.synchronize if task.on_device else None
        )
        self.create_ns = time.monotonic_ns() - opened_ns

    def _capture(self) -> None:
        """Captures the inference as a CUDA graph: from now on it is replayed."""
        torch = self._torch
        with self._failures():
            beside = torch.cuda.Stream()
            beside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(beside), torch.inference_mode():
                for _ in range(_BEFORE_CAPTURE):
                    self._infer()
            torch.cuda.current_stream().wait_stream(beside)
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph), torch.inference_mode():
                self._result = self._infer()
        self._infer = self._graph.replay

    def take_log(self) -> list[str]:
        """Nothing: PyTorch keeps no log."""
        return []

    def run(self) -> int:
        """One inference, whose result is kept."""
        with self._failures(), self._torch.inference_mode():
            before_ns = time.monotonic_ns()
            result = self._infer()
            if self._synchronise is not None:
                self._synchronise()
            took_ns = time.monotonic_ns() - before_ns
        if self._graph is None:  # a graph writes into the result that it was captured with
            self._result = result
        return took_ns

    def time(
        self, start_ns: Int64Array, duration_ns: Int64Array, *, enqueue_ns: Int64Array | None = None
    ) -> None:
        """As many inferences as the arrays hold."""
        duration_ns.fill(-1)
        with self._failures(duration_ns), self._torch.inference_mode():
            if self._synchronise is None:
                _time(self._infer, start_ns, duration_ns)
            else:
                assert enqueue_ns is not None
                _time_device(self._infer, self._synchronise, start_ns, duration_ns, enqueue_ns)

    def loop_ns(self, count: int) -> Int64Array:
        """The same loop around a function that returns at once; on a device, also its waiting."""
        start_ns, duration_ns = np.zeros(count, np.int64), np.zeros(count, np.int64)
        nothing = functools.partial(_nothing, *self._task.inputs)
        if self._synchronise is None:
            _time(nothing, start_ns, duration_ns)
        else:
            enqueue_ns = np.zeros(count, np.int64)
            _time_device(nothing, self._synchronise, start_ns, duration_ns, enqueue_ns)
        return duration_ns

    def outputs(self) -> list[Any]:
        """The results of one more inference, as timed ones are not kept, on the host."""
        self.run()
        result = self._result
        several = result if isinstance(result, Sequence) else (result,)
        return [one.detach().cpu().numpy().copy() for one in several]

    @contextmanager
    def _failures(self, duration_ns: Int64Array | None = None) -> Iterator[None]:
        """Turns what the model raises into one error; -1 marks inferences that were not made."""
        try:
            yield
        except Exception as error:  # a converted model is somebody's Python, which raises anything
            completed = 0 if duration_ns is None else int(np.count_nonzero(duration_ns >= 0))
            raise InferenceFailed(_said(error), completed) from error

    def facts(self) -> tuple[Reading, ...]:
        """Versions, threads and the options in effect."""
        torch = self._torch
        settings = {
            "num_threads": torch.get_num_threads(),
            "num_interop_threads": torch.get_num_interop_threads(),
            "device": self._device.type,
            "grad": "inference_mode",
            **{name: int(_is_on(self._task.options, name)) for name in _OPTIONS},
        }
        if self._device.type != "cpu":
            settings["cudnn_tf32"] = int(torch.backends.cudnn.allow_tf32)
            settings["float32_matmul_precision"] = torch.get_float32_matmul_precision()
        told = ", ".join(f"{name}={value}" for name, value in settings.items())
        facts = (
            Reading(RUNTIME_VERSION, str(torch.__version__), source="torch.__version__"),
            Reading(RUNTIME_SETTINGS, told, source="as torch reports them"),
        )
        if not self._converter:
            return facts
        return (*facts, Reading("runtime_converter", f"onnx2torch {self._converter}"))

    def close(self) -> None:
        """Drops model and results."""
        self._infer, self._result, self._graph = _nothing, None, None


def _time(call: Callable[[], Any], start_ns: Int64Array, duration_ns: Int64Array) -> None:
    """Times calls that return when the work is done."""
    starts, durations = memoryview(start_ns.data), memoryview(duration_ns.data)
    clock = time.monotonic_ns
    with _no_collection():
        for index in range(len(starts)):
            before = clock()
            call()
            after = clock()
            starts[index] = before
            durations[index] = after - before


def _time_device(
    call: Callable[[], Any],
    synchronise: Callable[[], object],
    start_ns: Int64Array,
    duration_ns: Int64Array,
    enqueue_ns: Int64Array,
) -> None:
    """Times calls that return when the work is enqueued, each from an idle device until it is."""
    starts, durations = memoryview(start_ns.data), memoryview(duration_ns.data)
    enqueued = memoryview(enqueue_ns.data)
    clock = time.monotonic_ns
    synchronise()
    with _no_collection():
        for index in range(len(starts)):
            before = clock()
            call()
            returned = clock()
            synchronise()
            after = clock()
            starts[index] = before
            durations[index] = after - before
            enqueued[index] = returned - before


@contextmanager
def _no_collection() -> Iterator[None]:
    """Without Python's collector of cycles, which would stop inferences at random."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _nothing(*_inputs: object) -> None:
    """What the loop is measured with."""


def _said(error: Exception) -> str:
    """What an exception says; its type where it says nothing."""
    return one_line(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)


def _is_on(options: Mapping[str, str], name: str) -> bool:
    return options.get(name, "0") == "1"


def _takes(options: Mapping[str, str]) -> None:
    """The options of _OPTIONS, each 0 or 1."""
    for name, value in options.items():
        if name not in _OPTIONS:
            raise RequestError(
                f"`runtime_options` {name}={value}: {_NAME} has no such option",
                f"choose among {', '.join(_OPTIONS)}",
            )
        if value not in ("0", "1"):
            raise RequestError(
                f"`runtime_options` {name}={value}: neither 0 nor 1", f"give {_OPTIONS[name]}"
            )


def _open(task: Task) -> Opened:
    if _is_on(task.options, "cuda_graph") and not task.on_device:
        raise RequestError(
            "`runtime_options` cuda_graph=1: there are CUDA graphs on a GPU only",
            "choose a `provider` that is one, or leave it out",
        )
    compiler = os.environ.get("CXX", "g++")  # as torch.compile looks for one
    if _is_on(task.options, "compile") and not task.on_device and shutil.which(compiler) is None:
        raise MachineError(
            "`runtime_options` compile=1: torch.compile needs a C++ compiler, and there is no "
            f"{compiler}",
            "install g++, or leave the option out",
        )
    return _OpenedModel(task)


RUNTIME = Runtime(
    name=_NAME,
    title="PyTorch",
    packages=(_NAME, "onnx2torch"),
    places=("cpu", "cuda"),  # not a provider
    takes=_takes,
    open=_open,
)
