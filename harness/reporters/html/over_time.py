"""Latency, power, clocks, temperature and noise on one axis of time.

The processes follow one another; the unmonitored time between them is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from harness.analysis import energy
from harness.machine.devices.clock_reasons import THROTTLED
from harness.records import DeviceSeries, ProcessRecord
from harness.reporters.html import plots
from harness.reporters.html.answers import note
from harness.reporters.html.digest import Digest
from harness.reporters.html.markup import Content, Markup, element, tooltip
from harness.reporters.html.quantities import (
    axis_duration,
    axis_percent,
    counted,
    duration,
    metric,
    of_unit,
)

#: Gap between two processes, in percent of the axis.
_GAP = 1.0

#: Ratio of the slowest to the fastest latency above which the axis is logarithmic.
_LOGARITHMIC = 8

#: Up to this many series of one quantity are drawn separately; more of them as one band.
_SINGLE = 4

#: Most points of one process in a curve, even with few processes.
_COLUMNS = 300

#: Energy counters, drawn as power: joules by unit.
_JOULES = {"mJ": 1e-3, "uJ": 1e-6}

#: Of a counter that is too costly to be read at each tick, two readings must lie so many of its
#: updates apart: each of them may be up to an update old.
_UPDATES = energy.MIN_UPDATES


class _Drawn(NamedTuple):
    """What is drawn of a series in a process; of equal length, by time."""

    time_ns: npt.NDArray[np.int64]
    value: plots.Float64Array


class _Segment(NamedTuple):
    """The part of the axis that a process covers."""

    process: ProcessRecord
    touched: npt.NDArray[np.bool_]
    start_ns: int
    end_ns: int
    left: float
    width: float

    def place(self, time_ns: npt.NDArray[np.int64]) -> plots.Float64Array:
        """Positions of times within it, in percent of the axis."""
        share = (time_ns - self.start_ns) / max(self.end_ns - self.start_ns, 1)
        return np.asarray(self.left + np.clip(share, 0, 1) * self.width, np.float64)


def over_time(digest: Digest) -> Markup:
    """Strips below one another that share one axis of time."""
    segments = _segments(digest)
    if not segments:
        return note("No process has finished a timed pass.")
    quantities: dict[str, list[DeviceSeries]] = {}
    for series in digest.series:
        if not series.device.startswith("sampler") and len(series) > 1:
            quantities.setdefault(series.quantity, []).append(series)
    thread = {(each.device, each.quantity): each for each in digest.series}
    strips = [
        _latency(segments, digest.unit),
        *(_strip(quantity, series, segments, thread) for quantity, series in quantities.items()),
        _ruler(segments),
    ]
    refused: list[Content] = []
    if digest.doubles:
        names = ", ".join(f"{each.device} {each.quantity}" for each in digest.doubles)
        refused = [note(element("b", "Refused, from a test double, not a measurement: "), names)]
    seconds = duration(float(sum(one.end_ns - one.start_ns for one in segments)))
    return element(
        "figure",
        plots.legend(
            [
                ("warm", "warm-up, discarded"),
                ("steady", "timed pass: median and range of neighbouring samples"),
                ("touched", "samples that the machine disturbed"),
            ]
        ),
        element("div", strips, class_="strips"),
        element(
            "figcaption",
            f"{counted(len(segments), digest.unit, digest.units)} one after the other, {seconds} "
            "together; the time between them is left out. Extremes are kept even where many "
            "samples share a place.",
        ),
        refused,
    )


def _segments(digest: Digest) -> list[_Segment]:
    spans = []
    for process, touched in zip(digest.profile.processes, digest.touched, strict=True):
        steady, warmup = process.steady, process.warmup
        if not len(steady):
            continue
        starts = [int(steady.start_ns[0])]
        starts += [int(warmup.start_ns[0])] if len(warmup) else []
        for series in digest.series:
            mine = series.time_ns[series.process == process.index]
            starts += [int(mine[0])] if len(mine) else []
        end_ns = int(steady.start_ns[-1] + steady.duration_ns[-1])
        spans.append((process, touched, min(starts), end_ns))
    gap = min(_GAP, 20 / max(len(spans), 1))
    room = 100 - gap * (len(spans) - 1)
    whole = sum(end - start for _, _, start, end in spans) or 1
    segments, left = [], 0.0
    for process, touched, start_ns, end_ns in spans:
        width = (end_ns - start_ns) / whole * room
        segments.append(_Segment(process, touched, start_ns, end_ns, left, width))
        left += width + gap
    return segments


def _latency(segments: Sequence[_Segment], unit: str) -> Markup:
    samples = np.concatenate(
        [part.duration_ns for one in segments for part in (one.process.warmup, one.process.steady)]
    )
    low, high = float(samples.min()), float(samples.max())
    scale = (
        plots.Scale(max(low * 0.8, 1.0), high * 1.25, logarithmic=True)
        if high > _LOGARITHMIC * low
        else plots.Scale(max(low - (high - low) * 0.1, 0), high + (high - low) * 0.08 + 1)
    )
    columns = max(_COLUMNS * 2 // (len(segments) + 1), 40)
    drawn: list[Content] = []
    for one in segments:
        index = one.process.index
        for series, kind, what in (
            (one.process.warmup, "warm", "warm-up"),
            (one.process.steady, "steady", "timed pass"),
        ):
            if not len(series):
                continue
            tip = tooltip(
                f"{unit} {index}: {what}",
                counted(len(series), "sample"),
                f"median {duration(float(np.median(series.duration_ns)))}",
            )
            drawn += _envelope(one, series.start_ns, series.duration_ns, scale, kind, columns, tip)
    touched = [
        plots.rectangle(left, 96, width, 4, "touched", tooltip("disturbed by the machine"))
        for one in segments
        for left, width in _touched(one, columns)
    ]
    return plots.plot(
        _frames(segments, unit), plots.curves(drawn), touched,
        label="latency over time", y=scale, y_text=axis_duration, kind="strip tall",
    )  # fmt: skip


def _ruler(segments: Sequence[_Segment]) -> Markup:
    """A scale bar below the strips: the processes lack a common zero for an axis."""
    whole_ns = sum(one.end_ns - one.start_ns for one in segments)
    of_axis = sum(one.width for one in segments) / (whole_ns or 1)
    length_ns = plots.ticks(plots.Scale(0, whole_ns / 3), 2)[1] if whole_ns > 0 else 0.0
    end = length_ns * of_axis
    return plots.plot(
        plots.line(0, 50, end, 50, "ruler"),
        plots.text(end, 50, axis_duration(length_ns), "axis", dx=6, dy=4),
        label=f"a length of {axis_duration(length_ns)}", kind="strip ruled",
    )  # fmt: skip


def _touched(one: _Segment, columns: int) -> list[tuple[float, float]]:
    """Runs of columns with a disturbed sample, as (left, width)."""
    if not one.touched.any():
        return []
    places = one.place(one.process.steady.start_ns[one.touched])
    step = one.width / columns
    number = np.unique(((places - one.left) / (step or 1.0)).astype(int))
    runs = np.split(number, np.flatnonzero(np.diff(number) > 1) + 1)
    return [
        (one.left + float(run[0]) * step, max((float(run[-1] - run[0]) + 1) * step, 0.2))
        for run in runs
    ]


def _strip(
    quantity: str,
    series: Sequence[DeviceSeries],
    segments: Sequence[_Segment],
    thread: Mapping[tuple[str, str], DeviceSeries],
) -> Markup:
    drawn_as, form, values = _told(series, thread)
    every = [part.value for parts in values for part in parts.values()]
    known = np.concatenate(every or [np.zeros(1)])
    known = known if len(known) else np.zeros(1)
    low, high = float(known.min()), float(known.max())
    if low >= 0 and low < high * 0.7:
        low = 0.0
    margin = (high - low) * 0.1 or abs(high) * 0.1 or 1.0
    scale = plots.Scale(low, high + margin)
    columns = max(_COLUMNS * 2 // (len(segments) + 1), 40)
    drawn: list[Content] = []
    for one in segments:
        mine = [
            (each, *parts[one.process.index])
            for each, parts in zip(series, values, strict=True)
            if one.process.index in parts
        ]
        mine = [part for part in mine if len(part[2])]
        if len(mine) <= _SINGLE:
            for number, (each, time_ns, value) in enumerate(mine):
                tip = tooltip(
                    f"process {one.process.index}: {each.device} {quantity}",
                    f"{form(float(value.min()))} to {form(float(value.max()))}",
                )
                drawn += _envelope(one, time_ns, value, scale, f"d{number}", columns, tip)
        elif mine:
            time_ns = np.concatenate([part[1] for part in mine])
            value = np.concatenate([part[2] for part in mine])
            order = np.argsort(time_ns, kind="stable")
            tip = tooltip(
                f"process {one.process.index}: {quantity} of {counted(len(mine), 'device')}",
                f"{form(float(value.min()))} to {form(float(value.max()))}",
            )
            # Fewer columns than a device has readings: each column then holds one of every device.
            few = max(1, min(columns, len(mine[0][2]) // 2))
            drawn += _envelope(one, time_ns[order], value[order], scale, "d0", few, tip)
    devices = list(dict.fromkeys(each.device for each in series))
    named = ", ".join(devices) if len(devices) <= _SINGLE else counted(len(devices), "device")
    return plots.plot(
        _frames(segments), plots.curves(drawn),
        plots.text(0, 0, f"{drawn_as} · {named}", "axis", dy=-6),
        label=f"{drawn_as} over time", y=scale, y_text=form, kind="strip", y_ticks=3,
    )  # fmt: skip


def _told(
    series: Sequence[DeviceSeries], thread: Mapping[tuple[str, str], DeviceSeries]
) -> tuple[str, Callable[[float], str], list[dict[int, _Drawn]]]:
    """Name, format and values by process, as a quantity is drawn."""
    quantity, unit = series[0].quantity, series[0].unit
    name = quantity.rpartition("_")[0].replace("_", " ") or quantity
    if quantity == "clock_reasons_mask":
        values = [_by_process(each, (each.value & THROTTLED) != 0) for each in series]
        return "throttled", lambda value: {0.0: "no", 1.0: "yes"}.get(value, ""), values
    if unit == "ns":
        return f"{name}, share of the time", axis_percent, [_shares(each) for each in series]
    if unit in _JOULES:
        values = [_power(each, thread) for each in series]
        return f"power by the {name} counter", lambda value: metric(value, "W"), values
    if unit == "bytes":  # so that ticks are round in the unit shown
        values = [_by_process(each, each.value / 2**20) for each in series]
        return name, lambda value: f"{value:,.4g}\u00a0MiB", values
    values = [_by_process(each, each.value) for each in series]
    return (
        (quantity.replace("_", " ") if unit == "1" else name),
        (lambda value: of_unit(value, unit)),
        values,
    )


def _by_process(series: DeviceSeries, values: npt.ArrayLike) -> dict[int, _Drawn]:
    given = np.asarray(values, np.float64)
    found = {}
    for index in np.unique(series.process).tolist():
        mine = series.process == index
        found[index] = _Drawn(series.time_ns[mine], given[mine])
    return found


def _shares(series: DeviceSeries) -> dict[int, _Drawn]:
    """Growth per time from each reading to the next; nothing for a single reading."""
    return {index: _growth(*part, 1.0) for index, part in _by_process(series, series.value).items()}


def _growth(time_ns: npt.NDArray[np.int64], value: plots.Float64Array, scale: float) -> _Drawn:
    """From each time to the next; drawn as steps, it begins at the first of the two."""
    if len(time_ns) < 2:
        return _Drawn(time_ns[:0], value[:0])
    grown = np.diff(value) * scale / np.maximum(np.diff(time_ns), 1)
    return _Drawn(time_ns, np.append(grown, grown[-1:]))


def _power(
    series: DeviceSeries, thread: Mapping[tuple[str, str], DeviceSeries]
) -> dict[int, _Drawn]:
    """Watts of an energy counter: what it grew by belongs to the time since its last update.

    It is updated at its own pace, and read more often. So power is that from one update to the
    next; when the first that a process saw began is not known. A costly counter is read seldom:
    its readings are so far apart that it does not matter how old they are.
    """
    costly = (f"sampler_{series.device}", f"{series.quantity}_call_ns") in thread
    period = thread.get((f"sampler_{series.device}", f"{series.quantity}_period_ns"))
    found = {}
    for index in np.unique(series.process).tolist():
        mine = series.process == index
        time_ns, value = series.time_ns[mine], series.value[mine].astype(np.float64)
        if costly:
            told = np.empty(0) if period is None else period.value[period.process == index]
            kept = _apart(time_ns, _UPDATES * float(told.max(initial=0)))
        else:
            kept = np.flatnonzero(series.changed[mine][1:] == 1) + 1
        # A nanojoule in a nanosecond is a watt.
        found[index] = _growth(time_ns[kept], value[kept], _JOULES[series.unit] * 1e9)
    return found


def _apart(time_ns: npt.NDArray[np.int64], least_ns: float) -> npt.NDArray[np.intp]:
    """The first of some times, and each that is so much later than the one kept before."""
    kept: list[int] = []
    for row, now in enumerate(time_ns.tolist()):
        if not kept or now - int(time_ns[kept[-1]]) >= least_ns:
            kept.append(row)
    return np.array(kept, np.intp)


def _envelope(
    one: _Segment,
    time_ns: npt.NDArray[np.int64],
    values: npt.ArrayLike,
    scale: plots.Scale,
    kind: str,
    columns: int,
    tip: Content,
) -> list[Content]:
    """The median of neighbouring values, and their range where some share a place."""
    given = np.asarray(values, np.float64)
    if len(given) != len(time_ns):
        return []
    share = (time_ns - one.start_ns) / max(one.end_ns - one.start_ns, 1)
    seen = plots.envelope(share, given, 0.0, 1.0, max(1, columns))
    at = np.clip(one.left + seen.at * one.width, one.left, one.left + one.width)
    drawn: list[Content] = []
    if len(seen.at) < len(given):
        drawn.append(plots.band(at, scale.of(seen.low), scale.of(seen.high), f"range {kind}", tip))
    if len(at) == 1:
        at = np.array([at[0], at[0] + 0.3])
        return [*drawn, plots.curve(at, np.repeat(scale.of(seen.middle), 2), kind, tip)]
    # A device's reading holds until the next one; an inference does not.
    held = kind.startswith("d") and not drawn
    draw = plots.steps if held else plots.curve
    return [*drawn, draw(at, scale.of(seen.middle), kind, tip)]


def _frames(segments: Sequence[_Segment], unit: str = "") -> list[Content]:
    """The background of each process, with the warm-up in another shade; its name if ``unit``."""
    frames: list[Content] = []
    for one in segments:
        begin = float(one.place(one.process.steady.start_ns[:1])[0])
        index = one.process.index
        frames.append(plots.rectangle(one.left, 0, begin - one.left, 100, "before"))
        frames.append(plots.rectangle(begin, 0, one.left + one.width - begin, 100, "during"))
        if unit and (len(segments) <= 12 or index % 5 == 0):
            label = f"{unit} {index}" if len(segments) <= 6 else str(index)
            frames.append(plots.text(one.left, 0, label, "axis", dy=-5))
    return frames
