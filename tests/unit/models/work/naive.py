"""Operators as loops over numbers that count what is done with them.

Written from the operators' definitions, without the code under test. Numbers count arithmetic,
arrays remember which of their elements were read.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np


class Tally:
    """How much arithmetic was done."""

    def __init__(self) -> None:
        self.operations = 0


class Number:
    """A number whose arithmetic is counted, 1 for every function."""

    def __init__(self, value: float, tally: Tally) -> None:
        self.value, self.tally = value, tally

    def _new(self, value: float) -> Number:
        self.tally.operations += 1
        return Number(value, self.tally)

    def __add__(self, other: Number | float) -> Number:
        return self._new(self.value + _plain(other))

    def __sub__(self, other: Number | float) -> Number:
        return self._new(self.value - _plain(other))

    def __mul__(self, other: Number | float) -> Number:
        return self._new(self.value * _plain(other))

    def __truediv__(self, other: Number | float) -> Number:
        return self._new(self.value / (_plain(other) or 1.0))

    def function(self) -> Number:
        """Any elementwise function: Exp, Erf, Tanh, Abs, …"""
        return self._new(math.tanh(self.value))

    def most(self, other: Number | float) -> Number:
        """The larger one; the smaller one costs as much."""
        return self._new(max(self.value, _plain(other)))


def _plain(other: Number | float) -> float:
    return other.value if isinstance(other, Number) else other


class Array:
    """Numbers by index; remembers which were read, and computes the rest for nothing."""

    def __init__(self, tally: Tally, *shape: int, dtype: str = "float") -> None:
        self.tally, self.shape, self.dtype = tally, shape, dtype
        self.values = np.random.default_rng(len(shape)).random(shape)
        self.read: set[tuple[int, ...]] = set()

    def __getitem__(self, index: tuple[int, ...]) -> Number:
        self.read.add(index)
        return Number(float(self.values[index]), self.tally)

    def indices(self) -> Iterator[tuple[int, ...]]:
        return indices(self.shape)

    def all(self) -> list[Number]:
        return [self[index] for index in self.indices()]


def indices(shape: Iterable[int]) -> Iterator[tuple[int, ...]]:
    return itertools.product(*map(range, shape))


def dot(tally: Tally, pairs: Iterable[tuple[Number, Any]]) -> Number:
    """Multiply-adds into an accumulator."""
    total = Number(0.0, tally)
    for left, right in pairs:
        total = total + left * right
    return total


def reduced(tally: Tally, values: Iterable[Number]) -> Number:
    """A sum (or a maximum): 1 an element."""
    total = Number(0.0, tally)
    for value in values:
        total = total + value
    return total


# Functions of one element


def softmax(tally: Tally, row: list[Number]) -> list[Number]:
    """Max, Sub, Exp, Sum, Div."""
    top = reduced(tally, row)
    powers = [(value - top).function() for value in row]
    total = reduced(tally, powers)
    return [power / total for power in powers]


def normalise(tally: Tally, row: list[Number], *after: bool) -> list[Number]:
    """Mean, Sub, square, Mean, Div; then a scale, and a shift if there is one."""
    mean = reduced(tally, row)
    centred = [value - mean for value in row]
    deviation = reduced(tally, [value * value for value in centred])
    scaled = [value / deviation * 1.1 for value in centred]
    return [value + 1.0 for value in scaled] if any(after) else scaled


def root_mean_square(tally: Tally, row: list[Number]) -> list[Number]:
    """Square, Mean, Div, Mul."""
    square = reduced(tally, [value * value for value in row])
    return [value / square * 1.1 for value in row]


def quantise(value: Number) -> Number:
    """Div, Add of the zero point; rounding is part of it."""
    return value / 0.1 + 3.0


def dequantise(value: Number) -> Number:
    return (value - 3.0) * 0.1


def quantise_dynamically(tally: Tally, values: list[Number]) -> list[Number]:
    """DynamicQuantizeLinear: Min, Max, then Div and Add."""
    least, most = reduced(tally, values), reduced(tally, values)
    return [value / (most.value - least.value) + 3.0 for value in values]


def sigmoid(value: Number) -> Number:
    return value.function()


def swish(value: Number) -> Number:
    return value * sigmoid(value)


def rotate(a: Number, b: Number) -> tuple[Number, Number]:
    return a * 0.5 - b * 0.5, b * 0.5 + a * 0.5


# Operators


def convolution(tally: Tally, x: Array, w: Array, y: tuple[int, ...], step: int, gap: int) -> None:
    """Conv without padding, in two dimensions."""
    group = x.shape[1] // w.shape[1]
    for n, m, row, column in indices(y):
        first = m // (w.shape[0] // group) * w.shape[1]
        dot(
            tally,
            (
                (x[n, first + c, row * step + i * gap, column * step + j * gap], w[m, c, i, j])
                for c, i, j in indices(w.shape[1:])
            ),
        )


def transposed_convolution(tally: Tally, x: Array, w: Array) -> None:
    """Each input element into each place that it meets."""
    places: dict[tuple[int, ...], Number] = {}
    for n, c, row, column in x.indices():
        for m, i, j in indices(w.shape[1:]):
            at = n, m, row + i, column + j
            before = places.get(at, Number(0.0, tally))
            places[at] = before + x[n, c, row, column] * w[c, m, i, j]


def product(tally: Tally, a: list[list[Number]], b: list[list[Number]]) -> list[list[Number]]:
    """Rows of a times columns of b, which are the rows of the second argument."""
    return [[dot(tally, zip(row, column, strict=True)) for column in b] for row in a]


def matrix(array: Array, *first: int) -> list[list[Number]]:
    rows, columns = array.shape[len(first) :]
    return [[array[(*first, i, j)] for j in range(columns)] for i in range(rows)]


def columns(array: Array, *first: int) -> list[list[Number]]:
    return [list(column) for column in zip(*matrix(array, *first), strict=True)]


def places(mode: str, before: int, after: int, at: int) -> list[int]:
    """Elements along an axis that an output is made of (half_pixel), the edge repeated."""
    where = (at + 0.5) * before / after - 0.5
    low = math.floor(where)
    taken = {"nearest": [round(where)], "linear": [low, low + 1]}.get(
        mode, [low - 1, low, low + 1, low + 2]
    )
    return [min(max(one, 0), before - 1) for one in taken]


def resize(tally: Tally, x: Array, y: tuple[int, ...], mode: str) -> None:
    for index in indices(y):
        taken = [
            [at] if before == after else places(mode, before, after, at)
            for at, before, after in zip(index, x.shape, y, strict=True)
        ]
        read = [x[place] for place in itertools.product(*taken)]
        if mode != "nearest":
            dot(tally, ((value, 0.25) for value in read))


def fourier(tally: Tally, values: list[tuple[Number, Number]]) -> list[tuple[Number, Number]]:
    """Radix 2: a complex product, a complex sum and a complex difference a butterfly."""
    if len(values) == 1:
        return values
    even, odd = fourier(tally, values[::2]), fourier(tally, values[1::2])
    low, high = [], []
    for (a, b), (c, d) in zip(even, odd, strict=True):
        real, imaginary = c * 0.5 - d * 0.5, c * 0.5 + d * 0.5
        low.append((a + real, b + imaginary))
        high.append((a - real, b - imaginary))
    return low + high


def attention(tally: Tally, q: list[Any], k: list[Any], v: list[Any]) -> None:
    """One head: scores, softmax of each row, weighted sum of the values."""
    for row in product(tally, q, k):
        weights = softmax(tally, row)
        for column in zip(*v, strict=True):
            dot(tally, zip(weights, column, strict=True))
