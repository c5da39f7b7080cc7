"""One typical inference: its nodes over time, the work of the GPU, and the memory in use."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from harness.analysis.operators.labels import node_label
from harness.analysis.operators.table import SOURCES
from harness.options import worded
from harness.records import NodeEvents, NodeTable
from harness.reporters.html import plots
from harness.reporters.html.answers import note
from harness.reporters.html.digest import Digest
from harness.reporters.html.markup import Content, Markup, element, foreign, foreign_names, tooltip
from harness.reporters.html.quantities import axis_duration, counted, duration, size

#: Most marks of a timeline, and the least width of one, in percent of it.
_MARKS = 3000
_NARROW = 0.02

#: The memory curves: name of the event detail, legend, CSS class.
_MEMORY = (
    ("mem_arena_held_bytes", "held by the arena", "d0"),
    ("mem_in_use_bytes", "in use", "d1"),
    ("mem_requested_in_use_bytes", "asked for", "d2"),
)


class _Inference(NamedTuple):
    """A traced inference.

    Attributes:
        process: its process.
        number: its number there.
        start_ns: CLOCK_MONOTONIC.
        duration_ns: as the tracer reports it.
        events: all events from its first to its last one.
        rows: rows of ``events`` that belong to it, by start time.
    """

    process: int
    number: int
    start_ns: int
    duration_ns: int
    events: NodeEvents
    rows: npt.NDArray[np.intp]


def _typical(events: NodeEvents) -> _Inference | None:
    """The completely recorded inference with the median duration."""
    whole = np.flatnonzero(events.inference_duration_ns >= 0)
    if not len(whole):
        return None
    order = whole[np.argsort(events.inference_duration_ns[whole], kind="stable")]
    row = order[len(order) // 2]
    process, number = int(events.inference_process[row]), int(events.inference_number[row])
    mine = np.flatnonzero((events.process == process) & (events.inference == number))
    # An inference is a small part of the columns: read no more of them.
    first = int(mine.min(initial=len(events)))
    events, mine = events.part(slice(first, int(mine.max(initial=-1)) + 1)), mine - first
    return _Inference(
        process,
        number,
        int(events.inference_start_ns[row]),
        int(events.inference_duration_ns[row]),
        events,
        mine[np.argsort(events.start_ns[mine], kind="stable")],
    )


def timeline(digest: Digest) -> Markup:
    """Nodes in lanes by their nesting in control flow, and kernels in a lane per stream."""
    profile = digest.profile
    kernels = profile.kernels
    # Kernels were recorded in ORT's pass: only there do they lie below their nodes.
    wanted = SOURCES if kernels is None or not len(kernels) else tuple(reversed(SOURCES))
    events = next((profile.traces[name] for name in wanted if name in profile.traces), None)
    if events is None or profile.nodes is None:
        return note("No traced pass recorded when nodes were executed.")
    chosen = _typical(events)
    if chosen is None:
        return note("The trace does not hold a complete inference.")
    events = chosen.events
    end_ns = chosen.start_ns + chosen.duration_ns
    mine = np.empty(0, np.intp)
    if kernels is not None:
        mine = np.flatnonzero(
            (kernels.process == chosen.process) & (kernels.inference == chosen.number)
        )
        if len(mine):
            end_ns = max(end_ns, int((kernels.start_ns + kernels.duration_ns)[mine].max()))
    scale = plots.Scale(0, max(end_ns - chosen.start_ns, 1))
    depth = int(profile.nodes.depth[events.node[chosen.rows]].max(initial=0)) + 1
    streams = [] if kernels is None else np.unique(kernels.stream[mine]).tolist()
    each = 100 / (depth + len(streams))
    marks: list[Content] = []
    for level in range(depth):
        marks += _nodes(digest, profile.nodes, chosen, scale, level, each)
    for number, stream in enumerate(streams, depth):
        marks.append(plots.text(0, number * each, f"stream {stream}", "axis", dx=4, dy=12))
        marks += _kernels(digest, mine, chosen, scale, stream, number * each, each)
    how = "probes" if events.source == "probe" else "ORT's profiler, in whole microseconds"
    zooms = [
        element("button", f"{times}×", type="button", data_zoom=times, aria_pressed=str(
            times == 1).lower())
        for times in (1, 4, 16)
    ]  # fmt: skip
    picture = plots.plot(
        marks, label="nodes of one inference in time", x=scale, x_text=axis_duration,
        kind=f"lanes lanes{min(depth + len(streams), 8)}",
    )  # fmt: skip
    return element(
        "figure",
        element("div", element("span", "Zoom", class_="quiet"), zooms, class_="controls zoom"),
        element(
            "div", element("div", picture, class_="zoomed"), class_="scroll", tabindex=0,
            role="region", aria_label="timeline",
        ),
        element(
            "figcaption",
            f"Inference {chosen.number} of process {chosen.process}, the median of "
            f"{counted(len(events.inference_number), 'traced inference')}: "
            f"{duration(chosen.duration_ns)} by {how}. Colours are op types.",
        ),
    )  # fmt: skip


def _nodes(
    digest: Digest,
    nodes: NodeTable,
    chosen: _Inference,
    scale: plots.Scale,
    level: int,
    each: float,
) -> list[Content]:
    events = chosen.events
    rows = chosen.rows[nodes.depth[events.node[chosen.rows]] == level]
    begin = scale.of(events.start_ns[rows] - chosen.start_ns)
    end = scale.of(events.start_ns[rows] + events.duration_ns[rows] - chosen.start_ns)
    drawn: list[Content] = []
    for first, last in _runs(begin, end):
        width = max(end[last - 1] - begin[first], _NARROW)
        if last - first > 1:
            tip = tooltip(f"{last - first} short nodes", duration(width / 100 * scale.high))
            drawn.append(plots.box(begin[first], level * each, width, each, "leaf cx", "", tip))
            continue
        row = int(rows[first])
        node = int(events.node[row])
        op_type = nodes.op_type[node]
        tip = tooltip(
            _name(nodes, node), f"{op_type}, {nodes.provider[node]}",
            f"{duration(float(events.duration_ns[row]))}, own "
            f"{duration(float(events.self_ns[row]))}",
            f"at {duration(float(events.start_ns[row] - chosen.start_ns))}",
        )  # fmt: skip
        label = op_type if width > 0.3 else ""
        kind = f"leaf {digest.colours.get(op_type, 'cx')}"
        drawn.append(plots.box(begin[first], level * each, width, each, kind, label[:40], tip))
    return drawn


def _kernels(
    digest: Digest,
    mine: npt.NDArray[np.intp],
    chosen: _Inference,
    scale: plots.Scale,
    stream: int,
    top: float,
    each: float,
) -> list[Content]:
    kernels, nodes = digest.profile.kernels, digest.profile.nodes
    assert kernels is not None
    assert nodes is not None
    rows = mine[kernels.stream[mine] == stream]
    begin = scale.of(kernels.start_ns[rows] - chosen.start_ns)
    end = scale.of(kernels.start_ns[rows] + kernels.duration_ns[rows] - chosen.start_ns)
    drawn: list[Content] = []
    for first, last in _runs(begin, end):
        width = max(end[last - 1] - begin[first], _NARROW)
        if last - first > 1:
            tip = tooltip(f"{last - first} short pieces of work")
            drawn.append(plots.box(begin[first], top, width, each, "leaf cx", "", tip))
            continue
        row = int(rows[first])
        node = int(kernels.node[row])
        of_node = _name(nodes, node) if node >= 0 else "no node"
        kind = digest.colours.get(nodes.op_type[node], "cx") if node >= 0 else "cx"
        took = duration(float(kernels.duration_ns[row]))
        tip = tooltip(kernels.name[row], f"{kernels.kind[row]}, {took}", of_node)
        label = kernels.name[row][:40] if width > 0.3 else ""
        drawn.append(plots.box(begin[first], top, width, each, f"leaf {kind}", label, tip))
    return drawn


def _runs(begin: plots.Float64Array, end: plots.Float64Array) -> list[tuple[int, int]]:
    """Marks to draw, as [first, last); if there are too many, narrow neighbours are merged."""
    if len(begin) <= _MARKS:
        return [(row, row + 1) for row in range(len(begin))]
    narrow = 100 / _MARKS
    runs: list[tuple[int, int]] = []
    first = 0
    for row in range(1, len(begin) + 1):
        if row == len(begin) or end[row] - begin[first] > narrow:
            runs.append((first, row))
            first = row
    return runs


def memory(digest: Digest) -> Markup:
    """What ORT's allocators held during a typical inference."""
    profile = digest.profile
    events = profile.traces.get("ort")
    if events is None or profile.nodes is None:
        reasons = [worded(why) for what, why in profile.absent if what in {"trace/ort", "nodes"}]
        return note(f"Only ORT's profiler reports memory: {'; '.join(reasons) or 'not used'}.")
    chosen = _typical(events)
    known = [] if chosen is None else [
        (name, what, kind)
        for name, what, kind in _MEMORY
        if name in events.details and (chosen.events.details[name][chosen.rows] >= 0).any()
    ]  # fmt: skip
    if chosen is None or not known:
        return note("This ONNX Runtime does not report memory with its nodes (1.31 does).")
    events, rows = chosen.events, chosen.rows
    at_ns = events.start_ns[rows] + events.duration_ns[rows] - chosen.start_ns
    order = np.argsort(at_ns, kind="stable")
    rows, at_ns = rows[order], at_ns[order]
    scale = plots.Scale(0, max(chosen.duration_ns, 1))
    most = max(int(events.details[name][rows].max()) for name, *_ in known)
    # So that ticks are round in the unit shown.
    amount, unit = (2**20, "MiB") if most >= 2**20 else (2**10, "KiB")
    height = plots.Scale(0, most * 1.1 / amount or 1.0)
    drawn = []
    for name, what, kind in known:
        told = events.details[name][rows]
        has = told >= 0
        place = np.append(scale.of(at_ns[has]), 100.0)
        level = height.of(np.append(told[has], told[has][-1:]) / amount)
        tip = tooltip(what, f"{size(float(told[has].min()))} to {size(float(told[has].max()))}")
        drawn.append(plots.steps(place, level, kind, tip))
    told = events.details[known[-1][0]][rows]
    flat = bool((told[told >= 0] == told[told >= 0][:1]).all())
    why = (
        " It does not change: ORT planned the memory of all nodes in advance, as one block."
        if flat
        else ""
    )
    ticks = [
        plots.line(place, 98, place, 100, "tickmark", tooltip(_name(profile.nodes, node)))
        for place, node in zip(scale.of(at_ns).tolist(), events.node[rows].tolist(), strict=True)
    ][:_MARKS]
    largest = [
        node
        for node in np.argsort(-profile.nodes.output_bytes, kind="stable")[:5].tolist()
        if profile.nodes.output_bytes[node] > 0
    ]
    called = foreign_names([_name(profile.nodes, node) for node in largest], 40)
    named = [
        element(
            "li",
            name,
            element("span", foreign(profile.nodes.op_type[node], 32), class_="quiet"),
            element("b", size(float(profile.nodes.output_bytes[node]))),
        )
        for name, node in zip(called, largest, strict=True)
    ]
    return element(
        "figure",
        plots.legend((kind, what) for _, what, kind in known),
        plots.plot(
            plots.curves(drawn), ticks, label="memory during one inference", x=scale, y=height,
            x_text=axis_duration, y_text=lambda value: f"{value:g}\u00a0{unit}",
            x_title="time, with a tick at the end of each node",
        ),
        element(
            "figcaption",
            f"Inference {chosen.number} of process {chosen.process} under ORT's profiler, as its "
            f"allocators report.{why}",
        ),
        element("h4", "Largest outputs") if named else None,
        element("ul", named, class_="shares") if named else None,
    )  # fmt: skip


def _name(nodes: NodeTable, node: int) -> str:
    return node_label(nodes, node)
