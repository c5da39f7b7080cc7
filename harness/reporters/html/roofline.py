"""The roofline: speed against arithmetic intensity, below the ceilings of this machine."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from harness.analysis.ceilings import Ceilings, Level
from harness.analysis.operators.table import Operator
from harness.options import worded
from harness.ort import providers
from harness.reporters.html import plots
from harness.reporters.html.answers import note
from harness.reporters.html.digest import Digest
from harness.reporters.html.markup import Content, Markup, element, tooltip
from harness.reporters.html.operators import in_ort
from harness.reporters.html.quantities import duration, metric, percent
from harness.statistics.figures import Figure

#: Most nodes drawn, the longest first, and the radius in pixels of one that took all the time.
_POINTS = 400
_RADIUS = 26

_BOUNDS = ("compute-bound", "memory-bound", "overhead-bound", "unknown")
_DEVICE_BOUNDS = ("compute-bound", "memory-bound", "launch-bound", "small", "copy", "unknown")


def roofline(digest: Digest) -> Markup:
    """One disc per node: further right, more work per byte; further up, faster."""
    table = digest.tables["node"]
    if isinstance(table, Figure):
        return note(f"No operator times: {worded(table.reason)}.")
    provider = providers.known(digest.profile.provider)
    on_device = provider is not None and provider.on_device
    rows = list(table.operators)
    shares = {row.order: row.share for row in rows}
    if on_device:
        # Nodes on the CPU beside it have ceilings of their own.
        rows = [row for row in rows if (row.work_ns or 0) > 0 and providers.on_device(row.provider)]
        rows.sort(key=lambda row: -(row.work_ns or 0.0))
        busy_ns = sum(row.work_ns or 0.0 for row in rows)
        shares = {row.order: (row.work_ns or 0.0) / busy_ns for row in rows}
    known = [
        (row, row.flops / row.traffic_bytes, row.flops / (row.work_ns * 1e-9))
        for row in rows
        if row.flops and row.traffic_bytes and row.work_ns is not None and row.work_ns > 0
    ][:_POINTS]
    if not known:
        without = ", or what they took on the device" if on_device else ""
        return note(f"The operations and bytes of no node are known{without}.")
    ceilings = (Ceilings.of_device if on_device else Ceilings.of)(digest.profile)
    bandwidths, arithmetic = ceilings.measured_levels, ceilings.peaks
    intensity = [one for _, one, _ in known]
    speeds = [speed for *_, speed in known] + list(arithmetic.values())
    x = plots.Scale(_below(min(intensity)), _above(max(intensity)), logarithmic=True)
    y = plots.Scale(_below(min(speeds)), _above(max(speeds)), logarithmic=True)
    points = [
        _point(x, y, *one, shares[one[0].order])
        for one in sorted(known, key=lambda one: -shares[one[0].order])
    ]
    return element(
        "figure",
        plots.legend(
            (f"bound {bound}", bound) for bound in (_DEVICE_BOUNDS if on_device else _BOUNDS)
        ),
        plots.plot(
            _ceilings(x, y, bandwidths, arithmetic), points,
            label="roofline of the nodes", x=x, y=y, x_text=lambda value: f"{value:g}",
            y_text=lambda value: metric(value, "FLOP/s"), x_title="operations per byte",
            y_title="operations per second", kind="large",
        ),
        element("figcaption", _says(table.known_work, ceilings, on_device=on_device)),
    )  # fmt: skip


def _point(
    x: plots.Scale, y: plots.Scale, row: Operator, intensity: float, speed: float, share: float
) -> Markup:
    tip = tooltip(
        row.label, *in_ort(row), row.op_type, f"{duration(row.work_ns or 0.0)}, {percent(share)}",
        f"{metric(speed, 'FLOP/s')} at {intensity:.3g} operations per byte", row.bound, row.why,
    )  # fmt: skip
    radius = max(2.5, _RADIUS * math.sqrt(share))
    return plots.point(x(intensity), 100 - y(speed), round(radius, 1), f"bound {row.bound}", tip)


def _ceilings(
    x: plots.Scale, y: plots.Scale, bandwidths: Sequence[Level], arithmetic: Mapping[str, float]
) -> list[Content]:
    lines: list[Content] = []
    top = max(arithmetic.values(), default=y.high)
    fastest = max((level.bandwidth or 0.0 for level in bandwidths), default=0.0)
    for number, (dtype, peak) in enumerate(arithmetic.items()):
        begin = x(peak / fastest) if fastest else 0.0
        tip = tooltip(f"{dtype} matrix product, measured: {metric(peak, 'FLOP/s')}")
        lines.append(plots.line(begin, 100 - y(peak), 100, 100 - y(peak), "ceiling", tip))
        name = f"{dtype} {metric(peak, 'FLOP/s')}"
        lines.append(
            plots.text(100, 100 - y(peak), name, "axis", anchor="end", dy=-5 if number % 2 else 14)
        )
    for level in bandwidths:
        bandwidth = level.bandwidth or 0.0
        # Stay between the edges of the picture: clipped ends would bend the line.
        first = max(x.low, y.low / bandwidth)
        last = min(x.high, top / bandwidth)
        if first < last:
            ends = (x(first), 100 - y(first * bandwidth), x(last), 100 - y(last * bandwidth))
            speed = metric(bandwidth, "B/s")
            tip = tooltip(f"{level.name}, measured: {speed}")
            lines.append(plots.line(*ends, "ceiling", tip))
            lines.append(
                plots.text(ends[0], ends[1], f"{level.name} {speed}", "axis", dx=18, dy=12)
            )
    return lines


def _says(known_work: float, ceilings: Ceilings, *, on_device: bool) -> str:
    text = (
        f"The area of a disc is its share of the time; operations are known for "
        f"{percent(known_work)} of it."
    )
    if on_device:
        text = "Area and height of a disc are by the time of its kernels on the device."
    if ceilings.measured_levels and ceilings.peaks:
        what = "the device" if on_device else "this machine"
        return f"{text} The lines are what {what} reached in a measurement of its own."
    why = worded("; ".join(ceilings.reasons)) or "they were not measured"
    some = "all " if ceilings.peaks or ceilings.measured_levels else ""
    return f"{text} Without {some}ceilings: {why}."


def _below(value: float) -> float:
    return 10.0 ** math.floor(math.log10(value) - 0.1)


def _above(value: float) -> float:
    return 10.0 ** math.ceil(math.log10(value) + 0.1)
