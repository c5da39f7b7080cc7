"""How the latencies are distributed, what each process measured, and the cold start."""

from __future__ import annotations

import numpy as np

from harness.analysis import host_or_device
from harness.records import ProcessRecord
from harness.reporters import wording
from harness.reporters.html import plots
from harness.reporters.html.answers import note
from harness.reporters.html.digest import Digest
from harness.reporters.html.markup import Content, Markup, element, join, tooltip
from harness.reporters.html.quantities import (
    axis_duration,
    axis_percent,
    counted,
    duration,
    percent,
)
from harness.reporters.html.tables import Column, table
from harness.statistics import steady_state
from harness.statistics.figures import percentile

#: Most bars of the histogram.
_BARS = 60

#: Share of the samples that the axis covers; the caption counts the rest.
_SHOWN = 0.99

#: Points of a cumulative curve.
_CURVE = 200

#: Most processes drawn in the cold-start plot.
_PROCESSES = 12


def distribution(digest: Digest) -> Markup:
    """A histogram of all samples, and a cumulative curve for each process."""
    figures = digest.latency
    if figures is None:
        return note("No process has finished a timed pass.")
    processes = [process for process in digest.profile.processes if len(process.steady)]
    pooled = np.concatenate([process.steady.duration_ns for process in processes])
    medians = [float(np.median(process.steady.duration_ns)) for process in processes]
    # The medians must be visible even if one process is far from the others.
    end = max(float(np.quantile(pooled, _SHOWN)), *medians, *(figures.interval_ns or ())[:1])
    start = float(pooled.min())
    margin = max((end - start) * 0.03, 1.0)
    scale = plots.Scale(max(start - margin, 0.0), end + margin)
    beyond = int(np.count_nonzero(pooled > scale.high))
    rest = (
        f"{counted(beyond, 'sample')} above {duration(scale.high)}, "
        f"the slowest {duration(float(pooled.max()))}"
        if beyond
        else "all samples are shown"
    )
    return element(
        "div",
        element(
            "figure",
            _histogram(pooled, scale, figures.median_ns),
            element("figcaption", "Samples by latency; the line is the median. ", rest, "."),
        ),
        element(
            "figure",
            _cumulative(processes, scale, digest.unit),
            element(
                "figcaption",
                "Share of samples at or below each latency, one curve for each "
                f"{digest.unit}: where curves lie apart, the {digest.units} differ.",
            ),
        ),
        class_="pair",
    )


def _histogram(pooled: plots.Float64Array, scale: plots.Scale, median_ns: float) -> Markup:
    edges = np.histogram_bin_edges(pooled, "auto", (scale.low, scale.high))
    if len(edges) - 1 > _BARS:
        edges = np.linspace(scale.low, scale.high, _BARS + 1)
    counts, edges = np.histogram(pooled, edges)
    height = plots.Scale(0, float(max(counts.max(), 1)) * 1.05)
    bars = [
        plots.rectangle(
            scale(low), 100 - height(number), max(scale(high) - scale(low) - 0.15, 0.1),
            height(number), "bin",
            tooltip(f"{duration(low)} to {duration(high)}", counted(number, "sample")),
        )
        for number, low, high in zip(
            counts.tolist(), edges[:-1].tolist(), edges[1:].tolist(), strict=True
        )
        if number
    ]  # fmt: skip
    middle = plots.line(
        scale(median_ns), 0, scale(median_ns), 100, "median",
        tooltip(f"median {duration(median_ns)}"),
    )  # fmt: skip
    return plots.plot(
        bars, middle, label="histogram of latencies", x=scale, y=height, x_text=axis_duration,
        y_text=lambda value: f"{value:,.0f}" if float(value).is_integer() else "",
        x_title="latency", y_title="samples",
    )  # fmt: skip


def _cumulative(processes: list[ProcessRecord], scale: plots.Scale, unit: str) -> Markup:
    shares = np.linspace(0, 1, _CURVE)
    height = plots.Scale(0, 1)
    drawn = [
        plots.curve(
            scale.of(np.quantile(process.steady.duration_ns, shares)),
            height.of(shares),
            "process",
            tooltip(
                f"{unit} {process.index}",
                f"median {duration(float(np.median(process.steady.duration_ns)))}",
            ),
        )
        for process in processes
    ]
    return plots.plot(
        plots.curves(drawn), label=f"cumulative share of the samples of each {unit}", x=scale,
        y=height, x_text=axis_duration, y_text=axis_percent, x_title="latency", y_title="samples",
    )  # fmt: skip


def processes(digest: Digest) -> Markup:
    """One row for each process, and on a device why they differ, if they do."""
    columns = (
        Column(digest.unit), Column("pid", number=True), Column("median", number=True),
        Column("fastest", number=True), Column("p90", number=True),
        Column("samples", number=True), Column("warm-up", "discarded inferences", number=True),
        Column("touched", "samples that the machine disturbed", number=True),
        Column("state", "how the latency developed over the timed pass"),
    )  # fmt: skip
    rows = []
    for process, touched in zip(digest.profile.processes, digest.touched, strict=True):
        samples = process.steady.duration_ns
        if not len(samples):
            blank: list[Content] = ["–"] * 3
            rows.append([process.index, process.pid, *blank, 0, len(process.warmup), 0, "–"])
            continue
        state = steady_state.classify(samples)
        p90 = percentile(samples, 90)
        rows.append(
            [
                process.index,
                process.pid,
                duration(float(np.median(samples))),
                duration(float(samples.min())),
                "–" if p90.value is None else duration(p90.value),
                f"{len(samples):,}",
                f"{len(process.warmup):,}",
                f"{int(touched.sum()):,}",
                join([element("b", state.kind), f": {state.reason}"]),
            ]
        )
    whole = [table(columns, rows, caption=f"What each {digest.unit} measured")]
    for found in host_or_device.differences(digest.profile):
        told = wording.apart(found, duration, percent)
        whole.append(note(f"{told[0].upper()}{told[1:]}."))
    return join(whole)


_PARTS = (
    ("library_ns", "opening ONNX Runtime", "c1"),
    ("provider_ns", "loading the execution provider", "c3"),
    ("session_ns", "creating the session", "c0"),
    ("first_inference_ns", "first inference", "c2"),
)


def cold_start(digest: Digest) -> Markup:
    """What happens once: a bar for each process, and the medians of the parts."""
    processes = digest.profile.processes
    if not processes:
        return note("No process has finished.")
    # The CPU provider is built in, so it takes no time to load; older files lack the figure.
    parts = [part for part in _PARTS if any(getattr(process, part[0]) > 0 for process in processes)]
    medians = {name: digest.cold_start[name].value or 0.0 for name, _, _ in parts}
    whole = [sum(max(getattr(process, name), 0) for name, _, _ in parts) for process in processes]
    scale = plots.Scale(0, float(max(whole)) or 1.0)
    shown = processes[:_PROCESSES]
    each = 100 / len(shown)
    bars: list[Content] = []
    for number, process in enumerate(shown):
        at = 0.0
        top = number * each + each * 0.15
        bars.append(
            plots.text(0, top + each * 0.35, f"{process.index}", "tick", anchor="end", dx=-8, dy=4)
        )
        for name, what, kind in parts:
            value = max(getattr(process, name), 0)
            tip = tooltip(f"{digest.unit} {process.index}: {what}", duration(value))
            bars.append(plots.rectangle(at, top, scale(value), each * 0.7, kind, tip))
            at += scale(value)
    steady = digest.latency
    first_ns = medians.get("first_inference_ns", 0.0)
    then = (
        f" The first inference took {first_ns / steady.median_ns:.1f} times "
        "the median of the timed pass."
        if steady is not None
        else ""
    )
    left_out = len(processes) - len(shown)
    more = (
        f" {counted(left_out, digest.unit, digest.units)} more are not drawn." if left_out else ""
    )
    if digest.profile.instances is not None:
        more = f" Of each group, that of its slowest instance; others start beside it.{more}"
    return element(
        "figure",
        plots.legend(
            (kind, f"{what}, median {duration(medians[name])}") for name, what, kind in parts
        ),
        plots.plot(
            bars, label=f"cold start of each {digest.unit}", x=scale, x_text=axis_duration,
            x_title="time", y_title=digest.unit, kind=f"rows{min(len(shown), _PROCESSES)}",
        ),
        element("figcaption", f"Not part of the timed pass.{then}{more}"),
    )  # fmt: skip
