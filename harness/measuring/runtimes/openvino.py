"""OpenVINO, through the C API of its wheel.

Its Python package is only looked for, never imported: an inference is one call of C, so the loop
that times it is the same as ONNX Runtime's (``harness.native.calls``). Elements have no numbers
here, as OpenVINO renumbers its types from release to release: tensors are the request's own, and
are filled and read as bytes.

https://docs.openvino.ai/2026/api/c_cpp_api/group__ov__c__api.html
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.errors import MachineError, ModelError, RequestError, one_line
from harness.measuring.runtime import InferenceFailed, Opened, Runtime, Task
from harness.measuring.runtimes import not_installed
from harness.native import calls
from harness.records import RUNTIME_SETTINGS, RUNTIME_VERSION, Int64Array, Reading

_NAME = "openvino"  # not a provider

_THREADS = "INFERENCE_NUM_THREADS"

#: Properties that other options of harness set, by the field that does.
_OURS = {_THREADS: "intra_threads", "NUM_STREAMS": "instances"}

#: What is asked for unless the user asks for something else. One stream, as one inference runs at
#: a time. By default OpenVINO computes in bfloat16 where the CPU can: that is other work than ONNX
#: Runtime does, and the difference would be called speed.
_DEFAULTS = {
    "NUM_STREAMS": "1",
    "PERFORMANCE_HINT": "LATENCY",
    "INFERENCE_PRECISION_HINT": "f32",
}

#: Properties that are recorded as OpenVINO reports them, besides those that were asked for.
_TOLD = (
    _THREADS,
    "ENABLE_CPU_PINNING",
    "ENABLE_HYPER_THREADING",
    "SCHEDULING_CORE_TYPE",
    "EXECUTION_MODE_HINT",
)

_HOLDS = (
    "from the call of ov_infer_request_infer until it returned; inputs and outputs in host memory"
)
_LOOP = "a loop in C; each inference starts where the last one ended"


#: The status of a function that was given what it does not take.
_INVALID_C_PARAM = -14

#: What OpenVINO puts before a message, once for each place in its source that it passed.
_IN_SOURCE = re.compile(r"(Exception from |Check '.*' failed at )\S+:\d+:\s*")


class _Version(ctypes.Structure):
    _fields_ = (("build", ctypes.c_char_p), ("description", ctypes.c_char_p))


class _Shape(ctypes.Structure):
    _fields_ = (("rank", ctypes.c_int64), ("dims", ctypes.POINTER(ctypes.c_int64)))


class _Failed(Exception):
    """A function of OpenVINO returned an error status; the text is its reason."""


class _Library:
    """libopenvino_c, opened with dlopen."""

    def __init__(self, path: Path) -> None:
        self._functions = ctypes.CDLL(os.fspath(path))

    def _function(self, name: str) -> Any:
        """A function.

        Raises:
            MachineError: there is none of that name.
        """
        try:
            return getattr(self._functions, name)
        except AttributeError as error:
            raise MachineError(
                f"`runtime` {_NAME}: its library has no {name}", f"install {_NAME} of 2025 or later"
            ) from error

    def address(self, function: str) -> int:
        """Where a function is."""
        found = ctypes.cast(self._function(function), ctypes.c_void_p).value
        assert found
        return found

    def status(self, function: str, *arguments: Any) -> int:
        """Calls a function; returns its status, which is 0 if all is well."""
        status: int = self._function(function)(*arguments)
        return status

    def call(self, function: str, *arguments: Any) -> None:
        """Calls a function that returns a status.

        Raises:
            _Failed: it is an error.
        """
        status = self.status(function, *arguments)
        if status:
            raise _Failed(self.reason(status))

    def reason(self, status: int) -> str:
        """What OpenVINO says about the last error."""
        last = self._function("ov_get_last_err_msg")
        last.restype = ctypes.c_void_p
        text: int | None = last()
        if not text:
            return f"status {status}"
        try:
            said = ctypes.string_at(text).decode(errors="replace")
            return one_line(_IN_SOURCE.sub("", said))
        finally:
            self.free("ov_free", ctypes.c_void_p(text))

    def new(self, function: str, *arguments: Any) -> ctypes.c_void_p:
        """The object that a function makes, whose address is its last argument.

        Raises:
            _Failed: it makes none.
        """
        made = ctypes.c_void_p()
        self.call(function, *arguments, ctypes.byref(made))
        return made

    def text(self, function: str, *arguments: Any) -> str:
        """The text that a function hands over likewise.

        Raises:
            _Failed: there is none.
        """
        made = self.new(function, *arguments)
        try:
            return ctypes.string_at(made.value or 0).decode(errors="replace")
        finally:
            self.free("ov_free", made)

    def free(self, function: str, made: Any) -> None:
        """Frees an object that a function has made."""
        releasing = self._function(function)
        releasing.restype = None
        releasing(made)

    def version(self) -> str:
        """Its version and build.

        Raises:
            _Failed: it tells none.
        """
        told = _Version()
        self.call("ov_get_openvino_version", ctypes.byref(told))
        build = bytes(told.build or b"").decode(errors="replace")
        self.free("ov_version_free", ctypes.byref(told))
        return build


class _OpenedModel:
    """A compiled model and its request; see ``runtime.Opened``."""

    holds = _HOLDS
    loop = _LOOP

    def __init__(self, task: Task) -> None:
        self._task = task
        self._made: list[tuple[str, ctypes.c_void_p]] = []
        began_ns = time.monotonic_ns()
        path = _library_path()
        try:
            self._library = _Library(path)
        except OSError as error:
            raise MachineError(
                f"`runtime` {_NAME}: {one_line(str(error))}", f"install {_NAME} again"
            ) from error
        self._asked = _DEFAULTS | dict(task.options) | {_THREADS: str(task.threads)}
        self._infer = self._library.address("ov_infer_request_infer")
        try:
            core = self._new("ov_core_free", "ov_core_create")
            opened_ns = time.monotonic_ns()
            self._open(core)
        except _Failed as error:
            raise MachineError(
                f"`runtime` {_NAME}: OpenVINO does not start: {error}", f"install {_NAME} again"
            ) from error
        except BaseException:
            self.close()
            raise
        self.open_ns = opened_ns - began_ns
        self.create_ns = time.monotonic_ns() - opened_ns
        told = self._property(_THREADS) or ""
        self.threads = int(told) if told.isdecimal() else None

    def _open(self, core: ctypes.c_void_p) -> None:
        """Reads and compiles the model, and makes a request of it.

        Raises:
            ModelError: OpenVINO refuses it.
        """
        task = self._task
        try:
            file = os.fsencode(task.model)
            model = self._new("ov_model_free", "ov_core_read_model", core, file, None)
        except _Failed as error:
            raise ModelError(
                f"{task.name}: OpenVINO cannot read it: {error}", "profile it with `runtime` ort"
            ) from error
        try:
            self._compiled = self._compile(core, model)
            self._request = self._new(
                "ov_infer_request_free", "ov_compiled_model_create_infer_request", self._compiled
            )
            self._feed()
        except _Failed as error:
            raise ModelError(
                f"{task.name}: OpenVINO cannot run it: {error}",
                "check `runtime_options`, or profile it with `runtime` ort",
            ) from error

    def _new(self, free: str, function: str, *arguments: Any) -> ctypes.c_void_p:
        """An object that lives until close."""
        made = self._library.new(function, *arguments)
        self._made.append((free, made))
        return made

    def _compile(self, core: ctypes.c_void_p, model: ctypes.c_void_p) -> ctypes.c_void_p:
        """The model compiled for the CPU with the properties that were asked for."""
        made = ctypes.c_void_p()
        properties = [os.fsencode(text) for pair in self._asked.items() for text in pair]
        self._library.call(
            "ov_core_compile_model",
            core,
            model,
            b"CPU",
            ctypes.c_size_t(len(properties)),
            ctypes.byref(made),
            *properties,
        )
        self._made.append(("ov_compiled_model_free", made))
        return made

    def _feed(self) -> None:
        """Writes the inputs into the request's own tensors, once."""
        count = ctypes.c_size_t()
        self._library.call("ov_compiled_model_inputs_size", self._compiled, ctypes.byref(count))
        for index in map(ctypes.c_size_t, range(count.value)):
            port = self._library.new("ov_compiled_model_input_by_index", self._compiled, index)
            try:
                name = self._library.text("ov_port_get_any_name", port)
            finally:
                self._library.free("ov_output_const_port_free", port)
            if name not in self._task.inputs:
                raise _Failed(f"it has an input {name}, which ONNX Runtime was not fed")
            value = self._task.inputs[name]
            tensor = self._library.new(
                "ov_infer_request_get_input_tensor_by_index", self._request, index
            )
            try:
                if value.ndim:
                    dims = (ctypes.c_int64 * value.ndim)(*value.shape)
                    self._library.call("ov_tensor_set_shape", tensor, _Shape(value.ndim, dims))
                    self._write(tensor, name, value)
                else:
                    self._feed_scalar(index, tensor, name, value)
            finally:
                self._library.free("ov_tensor_free", tensor)

    def _feed_scalar(
        self, index: ctypes.c_size_t, like: ctypes.c_void_p, name: str, value: npt.NDArray[Any]
    ) -> None:
        """Gives the request a tensor of rank 0: its own has one element on one axis, which it
        then refuses.
        """
        kind = ctypes.c_int()
        self._library.call("ov_tensor_get_element_type", like, ctypes.byref(kind))
        nowhere = (ctypes.c_int64 * 1)()
        tensor = self._library.new("ov_tensor_create", kind, _Shape(0, nowhere))
        try:
            self._write(tensor, name, value)
            self._library.call(
                "ov_infer_request_set_input_tensor_by_index", self._request, index, tensor
            )
        finally:
            self._library.free("ov_tensor_free", tensor)  # the request keeps what it holds

    def _write(self, tensor: ctypes.c_void_p, name: str, value: npt.NDArray[Any]) -> None:
        """Copies an input into a tensor."""
        place, size = self._memory(tensor)
        if size != value.nbytes:
            raise _Failed(f"input {name} takes {size} bytes, and {value.dtype} has others")
        ctypes.memmove(place, value.ctypes.data, size)

    def _memory(self, tensor: ctypes.c_void_p) -> tuple[int, int]:
        """Address and bytes of a tensor's elements."""
        size = ctypes.c_size_t()
        self._library.call("ov_tensor_get_byte_size", tensor, ctypes.byref(size))
        return self._library.new("ov_tensor_data", tensor).value or 0, size.value

    def take_log(self) -> list[str]:
        """Nothing: OpenVINO keeps no log."""
        return []

    def run(self) -> int:
        """One inference, by the same loop."""
        start_ns, duration_ns = np.zeros(1, np.int64), np.zeros(1, np.int64)
        self.time(start_ns, duration_ns)
        return int(duration_ns[0])

    def time(
        self, start_ns: Int64Array, duration_ns: Int64Array, *, enqueue_ns: Int64Array | None = None
    ) -> None:
        """As many inferences as the arrays hold, without the GIL."""
        assert enqueue_ns is None  # it computes on the CPU
        request = self._request.value
        assert request
        try:
            calls.time(self._infer, request, start_ns, duration_ns)
        except calls.CallError as error:
            raise InferenceFailed(self._library.reason(error.code), error.completed) from error

    def loop_ns(self, count: int) -> Int64Array:
        """The same loop around a function that returns at once."""
        start_ns, duration_ns = np.zeros(count, np.int64), np.zeros(count, np.int64)
        calls.time(calls.empty(), 0, start_ns, duration_ns)
        return duration_ns

    def outputs(self) -> list[Any]:
        """The request's outputs, taken to be of the types that ONNX Runtime gives."""
        try:
            return [
                self._output(index, wanted.dtype)
                for index, wanted in enumerate(self._task.expected)
            ]
        except _Failed as error:
            raise InferenceFailed(f"its outputs cannot be read: {error}") from error

    def _output(self, index: int, dtype: np.dtype[Any]) -> Any:
        tensor = self._library.new(
            "ov_infer_request_get_output_tensor_by_index", self._request, ctypes.c_size_t(index)
        )
        try:
            sizes = self._shape(tensor)
            place, size = self._memory(tensor)
            if size != dtype.itemsize * int(np.prod(sizes, dtype=np.int64)):
                raise InferenceFailed(f"output {index}: its elements are not of type {dtype}")
            return np.frombuffer(ctypes.string_at(place, size), dtype).reshape(sizes)
        finally:
            self._library.free("ov_tensor_free", tensor)

    def _shape(self, tensor: ctypes.c_void_p) -> tuple[int, ...]:
        """A tensor's shape."""
        shape = _Shape()
        status = self._library.status("ov_tensor_get_shape", tensor, ctypes.byref(shape))
        if status == _INVALID_C_PARAM:  # of rank 0, which ov_shape_create refuses
            return ()
        if status:
            raise _Failed(self._library.reason(status))
        try:
            return tuple(shape.dims[axis] for axis in range(shape.rank))
        finally:
            self._library.call("ov_shape_free", ctypes.byref(shape))

    def _property(self, name: str) -> str | None:
        """A property of the compiled model; None if this version does not tell it."""
        try:
            return self._library.text(
                "ov_compiled_model_get_property", self._compiled, os.fsencode(name)
            )
        except _Failed:
            return None

    def facts(self) -> tuple[Reading, ...]:
        """Its version, and the properties of the compiled model."""
        settings = {}
        for name in sorted({*self._asked, *_TOLD}):
            value = self._property(name)
            if value is not None:
                settings[name] = value
        told = ", ".join(f"{name}={value}" for name, value in settings.items())
        return (
            Reading(RUNTIME_VERSION, self._library.version(), source="ov_get_openvino_version"),
            Reading(RUNTIME_SETTINGS, told, source="ov_compiled_model_get_property"),
        )

    def close(self) -> None:
        """Frees request, model and core, the last made first."""
        while self._made:
            free, made = self._made.pop()
            self._library.free(free, made)


def _library_path() -> Path:
    """libopenvino_c of the installed package.

    Raises:
        MachineError: there is none.
    """
    spec = importlib.util.find_spec(_NAME)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for path in sorted(Path(folder, "libs").glob("libopenvino_c.so*")):
            return path
    raise not_installed(_NAME, _NAME)


def _takes(options: Mapping[str, str]) -> None:
    """Any property, but none that another option sets."""
    for name, field in _OURS.items():
        if name in options:
            raise RequestError(
                f"`runtime_options` {name}={options[name]}: `{field}` sets it"
                if field == "intra_threads"
                else f"`runtime_options` {name}={options[name]}: one inference runs at a time",
                "leave it out",
            )


def _open(task: Task) -> Opened:
    return _OpenedModel(task)


RUNTIME = Runtime(
    name=_NAME,
    title="OpenVINO",
    packages=(_NAME,),
    places=("cpu",),
    takes=_takes,
    open=_open,
)
