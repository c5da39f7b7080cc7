"""One typical inference: its nodes over time, the work of the GPU, and the memory in use."""

from __future__ import annotations

import numpy as np

from harness.analysis.one_inference import (
    DeviceInference,
    TracedInference,
    device_inference,
    typical,
)
from harness.analysis.operators.labels import node_label
from harness.analysis.operators.table import SOURCES
from harness.options import worded
from harness.ort import providers
from harness.records import NodeTable
from harness.reporters.html import plots
from harness.reporters.html.answers import note
from harness.reporters.html.device_timeline import device_timeline
from harness.reporters.html.digest import Digest
from harness.reporters.html.lanes import MARKS, Mark, lane, zoomed
from harness.reporters.html.markup import Content, Markup, element, foreign, foreign_names, tooltip
from harness.reporters.html.quantities import axis_duration, counted, duration, size

#: The memory curves: name of the event detail, legend, CSS class.
_MEMORY = (
    ("mem_arena_held_bytes", "held by the arena", "d0"),
    ("mem_in_use_bytes", "in use", "d1"),
    ("mem_requested_in_use_bytes", "asked for", "d2"),
)


def timeline(digest: Digest) -> Content:
    """Where a device does the work: host and device, with the launches between; else nodes only."""
    profile = digest.profile
    found = device_inference(profile)
    if isinstance(found, DeviceInference):
        return device_timeline(digest, found)
    nodes, provider = _node_timeline(digest), providers.known(profile.provider)
    if provider is None or not provider.on_device:
        return nodes
    return [nodes, note(f"What the device did is not known: {worded(found.reason)}")]


def _node_timeline(digest: Digest) -> Markup:
    """Nodes in lanes by their nesting in control flow."""
    profile = digest.profile
    events = next((profile.traces[name] for name in SOURCES if name in profile.traces), None)
    if events is None or profile.nodes is None:
        return note("No traced pass recorded when nodes were executed.")
    chosen = typical(events)
    if chosen is None:
        return note("The trace does not hold a complete inference.")
    events = chosen.events
    scale = plots.Scale(0, max(chosen.duration_ns, 1))
    depth = int(profile.nodes.depth[events.node[chosen.rows]].max(initial=0)) + 1
    each = 100 / depth
    marks = [_nodes(digest, profile.nodes, chosen, scale, level, each) for level in range(depth)]
    how = "probes" if events.source == "probe" else "ORT's profiler, in whole microseconds"
    picture = plots.plot(
        marks, label="nodes of one inference in time", x=scale, x_text=axis_duration,
        kind=f"lanes lanes{min(depth, 8)}",
    )  # fmt: skip
    return element(
        "figure",
        zoomed(picture),
        element(
            "figcaption",
            f"Inference {chosen.number} of process {chosen.process}, the median of "
            f"{counted(len(events.inference_number), 'traced inference')}: "
            f"{duration(chosen.duration_ns)} by {how}. Colours are op types.",
        ),
    )


def _nodes(
    digest: Digest,
    nodes: NodeTable,
    chosen: TracedInference,
    scale: plots.Scale,
    level: int,
    each: float,
) -> list[Content]:
    events = chosen.events
    rows = chosen.rows[nodes.depth[events.node[chosen.rows]] == level]
    begin = scale.of(events.start_ns[rows] - chosen.start_ns)
    end = scale.of(events.start_ns[rows] + events.duration_ns[rows] - chosen.start_ns)

    def mark(at: int) -> Mark:
        row = int(rows[at])
        node = int(events.node[row])
        op_type = nodes.op_type[node]
        tip = tooltip(
            _name(nodes, node), f"{op_type}, {nodes.provider[node]}",
            f"{duration(float(events.duration_ns[row]))}, own "
            f"{duration(float(events.self_ns[row]))}",
            f"at {duration(float(events.start_ns[row] - chosen.start_ns))}",
        )  # fmt: skip
        return Mark(op_type, f"leaf {digest.colours.get(op_type, 'cx')}", tip)

    return lane(begin, end, level * each, each, mark, "short nodes")


def memory(digest: Digest) -> Markup:
    """What ORT's allocators held during a typical inference."""
    profile = digest.profile
    events = profile.traces.get("ort")
    if events is None or profile.nodes is None:
        reasons = [worded(why) for what, why in profile.absent if what in {"trace/ort", "nodes"}]
        return note(f"Only ORT's profiler reports memory: {'; '.join(reasons) or 'not used'}.")
    chosen = typical(events)
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
    ][:MARKS]
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
