"""Parts of plots, as inline SVG whose text keeps its size at every width.

Horizontal coordinates are percentages, so no plot needs to know its width. Curves are drawn in
a stretched box of their own, with strokes that do not stretch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from harness.reporters.html.markup import Content, Markup, element
from harness.reporters.names import clipped

Float64Array = npt.NDArray[np.float64]

#: Columns that a curve is reduced to: more than a wide screen resolves.
COLUMNS = 600

#: Side of the stretched box in which curves are drawn.
_BOX = 1000.0


class Scale(NamedTuple):
    """Maps values to percent: 0 at ``low``, 100 at ``high``."""

    low: float
    high: float
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        """Position of one value, clipped to the ends."""
        return float(self.of(np.array([value]))[0])

    def of(self, values: npt.ArrayLike) -> Float64Array:
        """Positions of many values, clipped to the ends."""
        given = np.asarray(values, np.float64)
        low, high = self.low, self.high
        if self.logarithmic:
            given, low, high = np.log(np.maximum(given, low)), math.log(low), math.log(high)
        return np.clip((given - low) / ((high - low) or 1.0) * 100, 0, 100)


def ticks(scale: Scale, count: int = 5) -> list[float]:
    """About ``count`` round values of a scale."""
    if scale.logarithmic:
        first, last = math.ceil(math.log10(scale.low)), math.floor(math.log10(scale.high))
        step = max(1, round((last - first + 1) / count))
        return [10.0**power for power in range(first, last + 1, step)]
    span = scale.high - scale.low
    if not span > 0:
        return [scale.low]
    rough = span / count
    size = 10.0 ** math.floor(math.log10(rough))
    step_size = next(size * m for m in (1, 2, 2.5, 5, 10) if size * m >= rough * 0.999)
    begin, end = math.ceil(scale.low / step_size - 1e-9), math.floor(scale.high / step_size + 1e-9)
    return [number * step_size for number in range(begin, end + 1)]


def plot(
    *content: Content,
    label: str,
    x: Scale | None = None,
    y: Scale | None = None,
    x_text: Callable[[float], str] = str,
    y_text: Callable[[float], str] = str,
    x_title: str = "",
    y_title: str = "",
    kind: str = "",
    y_ticks: int = 4,
) -> Markup:
    """A plot with its axes; page.css sets the margins that hold their text."""
    parts: list[Content] = []
    if y is not None:
        for value in ticks(y, y_ticks):
            at = 100 - y(value)
            parts.append(line(0, at, 100, at, "grid"))
            parts.append(text(0, at, y_text(value), "tick", anchor="end", dx=-8, dy=4))
    if x is not None:
        for value in ticks(x):
            at = x(value)
            parts.append(line(at, 0, at, 100, "grid"))
            parts.append(text(at, 100, x_text(value), "tick", anchor="middle", dy=18))
    if x_title:
        parts.append(text(100, 100, x_title, "axis", anchor="end", dy=36))
    if y_title:
        parts.append(text(0, 0, y_title, "axis", anchor="start", dx=-8, dy=-9))
    return element(
        "svg", parts, content, class_=f"plot {kind}".strip(), role="img", aria_label=label
    )


def line(x1: float, y1: float, x2: float, y2: float, kind: str, tip: Content = None) -> Markup:
    """A straight line between two positions in percent."""
    return element(
        "line", tip, x1=_percent(x1), y1=_percent(y1), x2=_percent(x2), y2=_percent(y2), class_=kind
    )


def text(
    x: float,
    y: float,
    content: str,
    kind: str = "",
    *,
    anchor: str | None = None,
    dx: float | None = None,
    dy: float | None = None,
) -> Markup:
    """Text at a position in percent, shifted by pixels."""
    return element(
        "text", clipped(content), x=_percent(x), y=_percent(y), dx=dx, dy=dy,
        text_anchor=anchor, class_=kind or None,
    )  # fmt: skip


def rectangle(
    x: float, y: float, width: float, height: float, kind: str, tip: Content = None
) -> Markup:
    """A rectangle in percent, given by its upper left corner."""
    return element(
        "rect", tip, x=_percent(x), y=_percent(y), width=_percent(width), height=_percent(height),
        class_=kind,
    )  # fmt: skip


def box(
    x: float, y: float, width: float, height: float, kind: str, label: str, tip: Content = None
) -> Markup:
    """A rectangle in percent with a label that is clipped to it."""
    inner: list[Content] = [tip, element("rect", width="100%", height="100%")]
    if label:
        inner.append(element("text", clipped(label), x=4, y=13))
    return element(
        "svg", inner, x=_percent(x), y=_percent(y), width=_percent(width),
        height=_percent(height), class_=f"box {kind}",
    )  # fmt: skip


def point(x: float, y: float, radius: float, kind: str, tip: Content = None) -> Markup:
    """A disc with a radius in pixels at a position in percent."""
    return element("circle", tip, cx=_percent(x), cy=_percent(y), r=radius, class_=kind)


def curves(*paths: Content) -> Markup:
    """The stretched box in which ``curve``, ``band`` and ``steps`` are drawn."""
    return element(
        "svg", paths, viewBox=f"0 0 {_BOX:g} {_BOX:g}", preserveAspectRatio="none",
        width="100%", height="100%", class_="curves",
    )  # fmt: skip


def curve(x: Float64Array, y: Float64Array, kind: str, tip: Content = None) -> Markup:
    """Straight lines from point to point, in percent, y upwards."""
    return element("path", tip, d=_path(x, y), class_=kind)


def steps(x: Float64Array, y: Float64Array, kind: str, tip: Content = None) -> Markup:
    """A step curve: each height holds until the next point."""
    return curve(np.repeat(x, 2)[1:], np.repeat(y, 2)[:-1], kind, tip)


def band(
    x: Float64Array, low: Float64Array, high: Float64Array, kind: str, tip: Content = None
) -> Markup:
    """The area between low and high."""
    path = f"{_path(np.append(x, x[::-1]), np.append(high, low[::-1]))}Z"
    return element("path", tip, d=path, class_=kind)


class Envelope(NamedTuple):
    """A series reduced to columns without losing an extreme.

    Attributes:
        at: centre of each column that holds a value.
        low, middle, high: smallest, median and largest value in it.
    """

    at: Float64Array
    low: Float64Array
    middle: Float64Array
    high: Float64Array


def envelope(
    at: npt.ArrayLike, values: npt.ArrayLike, low: float, high: float, columns: int = COLUMNS
) -> Envelope:
    """Minimum, median and maximum in equal columns between two places.

    Args:
        at: position of each value, in rising order.
        values: as many.
        low: where the first column begins.
        high: where the last one ends.
        columns: most columns.
    """
    place, value = np.asarray(at, np.float64), np.asarray(values, np.float64)
    if len(value) <= columns:
        return Envelope(place, value, value, value)
    number = np.clip((place - low) / ((high - low) or 1.0) * columns, 0, columns - 1).astype(int)
    starts = np.flatnonzero(np.append(True, np.diff(number) > 0))
    return Envelope(
        (number[starts] + 0.5) * (high - low) / columns + low,
        np.minimum.reduceat(value, starts),
        np.array([np.median(part) for part in np.split(value, starts[1:])]),
        np.maximum.reduceat(value, starts),
    )


def squarify(sizes: Sequence[float], width: float, height: float) -> list[tuple[float, ...]]:
    """Places (x, y, width, height) of areas in a rectangle, as close to squares as possible.

    Bruls, Huizing & van Wijk, Squarified Treemaps, Data Visualization 2000.

    Args:
        sizes: above 0, in falling order.
        width: of the rectangle.
        height: of the rectangle.
    """
    scale = width * height / (sum(sizes) or 1.0)
    rest = [size * scale for size in sizes]
    placed: list[tuple[float, ...]] = []
    x = y = 0.0
    while rest:
        side = min(width, height)
        count = 1
        while count < len(rest) and _worst(rest[: count + 1], side) <= _worst(rest[:count], side):
            count += 1
        row, rest = rest[:count], rest[count:]
        thick = sum(row) / side if side else 0.0
        along = 0.0
        for area in row:
            long = area / thick if thick else 0.0
            if width >= height:
                placed.append((x, y + along, thick, long))
            else:
                placed.append((x + along, y, long, thick))
            along += long
        if width >= height:
            x, width = x + thick, width - thick
        else:
            y, height = y + thick, height - thick
    return placed


def _worst(row: Sequence[float], side: float) -> float:
    total = sum(row)
    return max(side * side * max(row) / total**2, total**2 / (side * side * min(row) or 1e-300))


def legend(entries: Iterable[tuple[str, Content]]) -> Markup:
    """What the colours mean, as (class, meaning) pairs."""
    keys = (element("li", element("i", class_=f"key {kind}"), what) for kind, what in entries)
    return element("ul", keys, class_="legend")


def _path(x: Float64Array, y: Float64Array) -> str:
    places = zip(
        np.round(x * _BOX / 100, 1).tolist(),
        np.round(_BOX - y * _BOX / 100, 1).tolist(),
        strict=True,
    )
    return "M" + "L".join(f"{a:g} {b:g}" for a, b in places)


def _percent(value: float) -> str:
    return f"{round(value, 3):g}%"
