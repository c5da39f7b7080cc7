"""A double of PyTorch, as far as harness/measuring/runtimes/torch.py calls it; on numpy.

CUDA is there if DEVICE is in the environment. ``calls`` notes what was called, in order.
"""

from __future__ import annotations

import contextlib
import os
import types
from collections.abc import Iterator
from typing import Any

import numpy as np

__version__ = "2.99.0-double"

calls: list[str] = []
grads_off = False
_threads = {"intra": 0, "inter": 0}


class device:  # noqa: N801
    def __init__(self, kind: str) -> None:
        self.type = kind


class Tensor:
    def __init__(self, values: Any, place: device) -> None:
        self._values, self.device = np.asarray(values), place

    def to(self, place: device) -> Tensor:
        return Tensor(self._values.copy(), place)

    def detach(self) -> Tensor:
        return self

    def cpu(self) -> Tensor:
        return self

    def numpy(self) -> Any:
        return self._values

    def overwrite(self, values: Any) -> None:
        self._values[...] = values


def from_numpy(values: Any) -> Tensor:
    return Tensor(values, device("cpu"))


def set_num_threads(count: int) -> None:
    _threads["intra"] = count


def set_num_interop_threads(count: int) -> None:
    _threads["inter"] = count


def get_num_threads() -> int:
    return _threads["intra"]


def get_num_interop_threads() -> int:
    return _threads["inter"]


def compile(model: Any) -> Any:  # noqa: A001
    calls.append("compile")
    return model


@contextlib.contextmanager
def inference_mode() -> Iterator[None]:
    global grads_off
    before, grads_off = grads_off, True
    try:
        yield
    finally:
        grads_off = before


class _Stream:
    def wait_stream(self, other: _Stream) -> None:
        calls.append("wait_stream")


class _Graph:
    """Makes the calls again that were made while it was captured, into the same results."""

    def __init__(self) -> None:
        self.made: list[tuple[Any, Any, Any]] = []

    def replay(self) -> None:
        calls.append("replay")
        for model, inputs, results in self.made:
            for old, new in zip(results, _each(model(*inputs)), strict=True):
                old.overwrite(new.numpy())


def _each(result: Any) -> Any:
    return result if isinstance(result, tuple) else (result,)


class _Cuda:
    Stream = _Stream
    CUDAGraph = _Graph

    def __init__(self) -> None:
        self._capturing: _Graph | None = None

    def is_available(self) -> bool:
        return "DEVICE" in os.environ

    def synchronize(self) -> None:
        calls.append("synchronize")

    def current_stream(self) -> _Stream:
        return _Stream()

    @contextlib.contextmanager
    def stream(self, which: _Stream) -> Iterator[None]:
        calls.append("stream")
        yield

    @contextlib.contextmanager
    def graph(self, which: _Graph) -> Iterator[None]:
        self._capturing = which
        yield
        self._capturing = None

    def noticed(self, model: Any, inputs: Any, results: Any) -> None:
        calls.append("infer")
        if self._capturing is not None:
            self._capturing.made.append((model, inputs, results))


cuda = _Cuda()
backends = types.SimpleNamespace(cudnn=types.SimpleNamespace(allow_tf32=True))


def get_float32_matmul_precision() -> str:
    return "highest"
