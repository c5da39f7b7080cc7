"""Callers side by side: a lane for each in the common window, and a table of their figures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from harness.analysis.instances import InstanceFigures, Together
from harness.analysis.throughput import time_per_inference_ns
from harness.records import Instances, ProcessRecord
from harness.reporters.html import plots
from harness.reporters.html.answers import note
from harness.reporters.html.digest import Digest
from harness.reporters.html.markup import Content, Markup, element, foreign, join, shorten, tooltip
from harness.reporters.html.quantities import axis_duration, counted, duration, percent
from harness.reporters.html.tables import Cell, Column, table
from harness.reporters.numbers import rate

#: Most lanes, and rows of the table: of more callers, the slowest ones.
_LANES = 400

#: Points of all lanes together, and the least and most of one.
_POINTS = 12_000
_FEWEST = 12
_MOST = 240

#: Up to so many lanes are tall and have an axis each.
_TALL = 8

#: Most characters of a list of CPUs beside a lane.
_CPUS = 18

#: The axis of latency ends so far above the highest level that a lane holds for a while.
_ABOVE = 1.25


def side_by_side(digest: Digest) -> Markup | None:
    """The section; None for one session with one caller."""
    found, rows = digest.together, digest.profile.instances
    if found is None or rows is None:
        return None
    shown = found.each
    if len(shown) > _LANES:
        slowest = sorted(shown, key=lambda one: one.inferences_per_s)[:_LANES]
        shown = tuple(sorted(slowest, key=lambda one: one.number))
    return join([_lanes(digest, found, rows, shown), _figures(found, shown)])


def _lanes(
    digest: Digest, found: Together, rows: Instances, shown: Sequence[InstanceFigures]
) -> Markup:
    """Latency over the common window of the median group, caller below caller."""
    timed = [one for one in digest.profile.processes if len(one.steady) and len(one.caller)]
    if not timed:
        return note("No sample tells its caller.")
    times = sorted(timed, key=time_per_inference_ns)
    process = times[len(times) // 2]
    window = rows.process == process.index
    window &= rows.alone == 0
    begin_ns, end_ns = int(rows.begin_ns[window][0]), int(rows.end_ns[window][0])
    samples = _by_unit(rows, process, by_instance=found.instances > 1)
    points = min(max(_POINTS // len(shown), _FEWEST), _MOST)
    drawn = []
    for one in shown:
        start_ns, duration_ns = samples.get(one.number, (np.empty(0, np.int64),) * 2)
        share = (start_ns - begin_ns) / max(end_ns - begin_ns, 1)
        drawn.append((one, plots.envelope(share, duration_ns, 0.0, 1.0, points)))
    levels = [float(seen.middle.max()) for _, seen in drawn if len(seen.middle)]
    scale = plots.Scale(0, _ABOVE * max(levels, default=1.0))
    tall = len(shown) <= _TALL
    noun = _noun(found)
    if not tall:
        drawn.sort(key=lambda one: not one[0].is_slow)
    lanes = [_lane(noun, one, seen, scale, tall=tall) for one, seen in drawn]
    length = plots.Scale(0, end_ns - begin_ns)
    axis = plots.plot(
        label="time since the window began", x=length, x_text=axis_duration,
        x_title="since the window began", kind="strip window",
    )  # fmt: skip
    chosen = f"Group {process.index}" + (
        f", the median of {found.groups} by throughput" if found.groups > 1 else ""
    )
    left_out = len(found.each) - len(shown)
    more = f" The {counted(left_out, f'faster {noun}')} are not drawn." if left_out else ""
    if found.slow and not tall:
        more = f" Slow ones come first.{more}"
    clipped = any((seen.high > scale.high).any() for _, seen in drawn)
    cut = f" Above {duration(scale.high)} they are cut off." if clipped else ""
    return element(
        "figure",
        plots.legend(
            [
                ("steady", "latency: median and range of neighbouring inferences"),
                *([("touched", f"the same of a slow {noun}")] if found.slow else ()),
            ]
        ),
        element(
            "div",
            lanes,
            element("div", axis, class_="foot"),
            class_="strips" if tall else "strips scroll tall",
            tabindex=None if tall else 0,
            role=None if tall else "region",
            aria_label=None if tall else "lanes",
        ),
        element(
            "figcaption",
            f"{chosen}: what lay wholly in the common window, one lane for each {noun}, all with "
            f"the same axis from 0 to {duration(scale.high)}.{cut}{more}",
        ),
    )


def _by_unit(
    rows: Instances, process: ProcessRecord, *, by_instance: bool
) -> dict[int, tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Start and duration of the samples of each instance, or caller, by start."""
    unit = process.caller
    if by_instance:
        of_caller = np.zeros(int(max(rows.caller.max(), unit.max())) + 1, np.int32)
        of_caller[rows.caller] = rows.instance
        unit = of_caller[unit]
    order = np.lexsort((process.steady.start_ns, unit))
    numbers, firsts = np.unique(unit[order], return_index=True)
    start_ns, duration_ns = process.steady.start_ns[order], process.steady.duration_ns[order]
    return dict(
        zip(
            numbers.tolist(),
            zip(np.split(start_ns, firsts[1:]), np.split(duration_ns, firsts[1:]), strict=True),
            strict=True,
        )
    )


def _lane(
    noun: str, one: InstanceFigures, seen: plots.Envelope, scale: plots.Scale, *, tall: bool
) -> Markup:
    told = f"{noun} {one.number} · CPUs {shorten(one.cpus, _CPUS)} · {rate(one.inferences_per_s)}/s"
    at = np.clip(seen.at * 100, 0, 100)
    drawn: list[Content] = []
    if len(at):
        kind = "touched" if one.is_slow else "steady"
        drawn = [
            plots.band(at, scale.of(seen.low), scale.of(seen.high), f"range {kind}"),
            plots.curve(at, scale.of(seen.middle), kind),
        ]
    tip = tooltip(
        f"{noun} {one.number} on CPUs {one.cpus}",
        f"{rate(one.inferences_per_s)} inferences a second, median {duration(one.median_ns)}",
        "" if one.of_others is None else f"{percent(one.of_others)} of the others' rate",
    )
    return plots.plot(
        plots.rectangle(0, 0, 100, 100, "during", tip),
        plots.curves(drawn),
        plots.text(0, 0, f"{told} · slow" if one.is_slow else told,
                   "axis slow" if one.is_slow else "axis", dy=-5),
        label=f"{noun} {one.number}", y=scale if tall else None, y_text=axis_duration, y_ticks=2,
        kind="strip lane" if tall else "strip lane low",
    )  # fmt: skip


def _figures(found: Together, shown: Sequence[InstanceFigures]) -> Markup:
    noun = _noun(found)
    columns = (
        Column(noun), Column("CPUs"),
        Column("inferences/s", "geometric mean over the groups", number=True),
        Column("of the others", "its rate over the mean of the others", number=True),
        Column("95 % interval", "of exactly that, over groups", number=True),
        Column("median", number=True), Column("p99", number=True),
        Column("waiting", "share of the window that its thread waited for a CPU", number=True),
        Column("memory policy"),
    )  # fmt: skip
    rows: list[list[Content | Cell]] = []
    for one in shown:
        number: Content = str(one.number)
        if one.is_slow:
            number = [number, " ", element("b", "slow", class_="bad")]
        interval = one.of_others_interval
        rows.append(
            [
                Cell(number, float(one.number)),
                foreign(one.cpus, 32),
                Cell(rate(one.inferences_per_s), one.inferences_per_s),
                Cell("–" if one.of_others is None else percent(one.of_others), one.of_others),
                "–" if interval is None else f"{percent(interval[0])} to {percent(interval[1])}",
                Cell(duration(one.median_ns), one.median_ns),
                Cell("–" if one.p99_ns.value is None else duration(one.p99_ns.value),
                     one.p99_ns.value),
                Cell("–" if one.waiting is None else percent(one.waiting), one.waiting),
                foreign(one.memory or "–", 32),
            ]
        )  # fmt: skip
    kind = "" if len(rows) <= _TALL else "tall"
    caption = f"What each {noun} reached in the common windows"
    return table(columns, rows, caption=caption, sortable=len(rows) > 1, kind=kind)


def _noun(found: Together) -> str:
    return "instance" if found.instances > 1 else "caller"
