"""Values for one input: what the graph demands, else what its name and type suggest."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np

from harness.inputs.ports import Port, Shape, is_integer
from harness.inputs.scalars import Known, known_scalar
from harness.inputs.sizes import Lengths, is_image

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.inputs.axes import Axes
    from harness.inputs.demands import Demands

#: Kinds of values, in the order they are tried; the last three stand in for values that failed.
VALUE_KINDS = ("chosen", "positive", "ones", "zeros", "counting")

_SEQUENCE_LENGTH = 3  # elements of an input of type sequence
_WORD = "harness"

Array = np.ndarray[Any, Any]
_Made = tuple[Array, str]

_PLAIN: dict[str, tuple[str, Callable[[int], Array]]] = {
    "ones": ("all ones", lambda size: np.ones(size, np.int64)),
    "zeros": ("all zeros", lambda size: np.zeros(size, np.int64)),
    "counting": ("counting from 0 to 7", lambda size: np.arange(size) % 8),
}


@dataclasses.dataclass(frozen=True, slots=True)
class ValueMaker:
    """Makes the values of one input.

    Attributes:
        demands: what the graph demands.
        axes: which axes are the batch.
        lengths: sizes that values refer to.
        kind: one of VALUE_KINDS.
        replaced: whether the kind also replaces settings recognised by their names.
        index_limit: largest integer that ORT said it accepts, or None.
        rng: the only source of randomness.
    """

    demands: Demands
    axes: Axes
    lengths: Lengths
    kind: str
    replaced: bool
    index_limit: int | None
    rng: np.random.Generator

    def make(self, port: Port, shape: Shape) -> tuple[Any, str]:
        """A value for the port, and the reason for it."""
        if port.kind == "map":
            keys = [_WORD] if port.key_text else [0, 1, 2]
            values, reason = self._tensor(port, (len(keys),))
            return dict(zip(keys, values, strict=True)), f"{len(keys)} entries; {reason}"
        if port.element is None:
            return self._tensor(port, shape)
        if port.kind == "optional":
            return self.make(port.element, shape)
        made = [self.make(port.element, shape) for _ in range(_SEQUENCE_LENGTH)]
        return [value for value, _ in made], f"{len(made)} elements; {made[0][1]}"

    def _tensor(self, port: Port, shape: Shape) -> _Made:
        if not math.prod(shape):
            return np.empty(shape, port.dtype), "empty"
        if port.dtype.kind == "O":
            return np.full(shape, _WORD, dtype=object), f"the word '{_WORD}'"
        known = known_scalar(port, self.lengths)
        if self.kind in _PLAIN and (known is None or (self.replaced and not known.firm)):
            return self._plain(port, shape)
        values, reason = self._free(port, shape) if known is None else self._set(port, shape, known)
        exact = self.demands.exact.get(port.name)
        if not exact:
            return values, reason
        for index, value in exact.items():
            places = slice(None) if index is None else slice(index, index + 1)
            values.flat[places] = _fitting(value, port.dtype)
        chosen = f"values {self.demands.reasons[port.name]}"
        if values.size == 1:
            chosen = f"{values.item():g}, {self.demands.reasons[port.name]}"
        whole = None in exact or len(exact) >= values.size
        return values, chosen if whole else f"{chosen}, else {reason}"

    def _plain(self, port: Port, shape: Shape) -> _Made:
        """Ones, zeros, or small whole numbers, clipped to what they index."""
        name, values_of = _PLAIN[self.kind]
        values = values_of(math.prod(shape)).reshape(shape)
        if port.dtype.kind == "b":
            values = values % 2
        values = np.clip(values, *self._bounds(port))
        return _fitting(values, port.dtype), f"{name}, as random values failed"

    def _bounds(self, port: Port) -> tuple[float, float]:
        low, high = self.demands.bounds.get(port.name, (-math.inf, math.inf))
        if port.is_integer and self.index_limit is not None:
            high = min(high, self.index_limit)
        return min(low, high), high

    def _set(self, port: Port, shape: Shape, known: Known) -> _Made:
        """A value implied by the name, within the bounds if it is also an index."""
        low, high = self.demands.bounds.get(port.name, (-math.inf, math.inf))
        value = min(max(known.value, low), high)
        reason = f"{value:g}: {known.reason}"
        if value != known.value:
            asked = self.demands.reasons[port.name]
            reason = f"{value:g}, not {known.value:g} ({known.reason}), {asked}"
        return _fitting(np.full(shape, value), port.dtype), reason

    def _free(self, port: Port, shape: Shape) -> _Made:
        """Values for elements without an exact demand."""
        if port.dtype.kind == "b":
            return np.ones(shape, port.dtype), "all true"
        if port.named("mask") or (port.is_integer and port.name in self.demands.masks):
            return np.ones(shape, port.dtype), "all ones: a mask that hides nothing"
        if port.is_integer:
            return self._told(port, shape) or self._integers(port, shape)
        return self._floats(port, shape)

    def _told(self, port: Port, shape: Shape) -> _Made | None:
        """Integers whose name says what they mean, within the bounds if they are also indices."""
        if port.named(r"size|im(age)?_shape") and shape[-1:] == (2,):
            values = np.broadcast_to(self.lengths.image, shape)
            return _fitting(values, port.dtype), "height and width of the image"
        if port.named("position") and shape:
            low, high = self._bounds(port)
            first, axis = self.lengths.past, self._token_axis(port, shape)
            values = np.clip(np.arange(first, first + shape[axis]), low, high)
            reason = self._range_reason(port, values[0], values[-1])
            if port.name not in self.demands.bounds:
                reason += ": positions that follow those in the cache" if first else ": positions"
            if axis == 0:
                values = values.reshape(-1, *(1 for _ in shape[1:]))
            return _fitting(np.broadcast_to(values, shape), port.dtype), reason
        if port.dtype == np.uint8 and is_image(port):
            return self.rng.integers(0, 256, shape, np.uint8), "uniform values 0 to 255"
        return None

    def _token_axis(self, port: Port, shape: Shape) -> int:
        """The axis that positions run along: the last, unless that is the batch."""
        return 0 if len(shape) == 2 and self.axes.batch_axis(port) == 1 else len(shape) - 1

    def _integers(self, port: Port, shape: Shape) -> _Made:
        least, most = _limits(port.dtype)
        low, high = self._bounds(port)
        if low < 0 <= high:  # an index may count from the end, but no such index is fed
            low = 0 if math.isfinite(high) else 1
        if not math.isfinite(high):
            high = max(low, 9)
        high = math.floor(max(least, min(high, most)))
        low = min(math.ceil(max(least, low)), high)
        values = self.rng.integers(low, high, shape, endpoint=True)
        return np.asarray(values).astype(port.dtype), self._range_reason(port, low, high)

    def _range_reason(self, port: Port, low: float, high: float) -> str:
        because = "within what ORT accepts" if self.index_limit is not None else ""
        if port.name in self.demands.bounds:
            because = self.demands.reasons[port.name]
        return f"values {low:.0f} to {high:.0f}" + (f": {because}" if because else "")

    def _floats(self, port: Port, shape: Shape) -> _Made:
        low, high = self._bounds(port)
        if math.isfinite(low) and math.isfinite(high) and not is_image(port):
            most = math.floor(high)
            least = min(math.ceil(max(low, min(0, high))), most)
            values = np.asarray(self.rng.integers(least, most, shape, endpoint=True))
            return _fitting(values, port.dtype), self._range_reason(port, least, most)
        if low > 0 or self.kind == "positive" or "e8m0" in port.dtype.name:
            # At least 2**-6, which is above 0 even in an eight-bit type.
            drawn: Any = np.maximum(self.rng.random(shape, np.float32), np.float32(2**-6))
            reason = "uniform values in (0, 1)"
        elif is_image(port):
            drawn, reason = self.rng.random(shape, np.float32), "uniform values in [0, 1)"
        else:
            drawn, reason = self.rng.standard_normal(shape, np.float32), "standard normal values"
        return np.asarray(drawn, port.dtype), reason


def _limits(dtype: np.dtype[Any]) -> tuple[int, int]:
    info = ml_dtypes.iinfo(dtype)  # type: ignore[no-untyped-call]
    return int(info.min), int(info.max)


def _fitting(values: Any, dtype: np.dtype[Any]) -> Array:
    """Values clipped to the range of the type."""
    array = np.asarray(values)
    if is_integer(dtype):
        array = np.clip(np.trunc(array), *_limits(dtype))
    return np.asarray(array, dtype)
