"""Where the time of an inference goes: accounts, table and treemap."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from harness.analysis.gpu_work import Kernel, KernelTable, occupation
from harness.analysis.kernel_ceilings import PART
from harness.analysis.operators.labels import layer
from harness.analysis.operators.table import Operator, OperatorTable
from harness.options import flag, worded
from harness.ort import providers
from harness.reporters.html import plots
from harness.reporters.html.answers import note
from harness.reporters.html.digest import Digest
from harness.reporters.html.markup import (
    Content,
    Markup,
    element,
    foreign,
    foreign_names,
    join,
    tooltip,
)
from harness.reporters.html.quantities import count, counted, duration, metric, percent
from harness.reporters.html.tables import Cell, Column, table
from harness.reporters.names import clipped
from harness.reporters.wording import PARTS_TOLD, split_checks
from harness.statistics.figures import Figure

#: Most rows of a table: a page is for reading, ``ops --csv`` has them all.
ROWS = 1000

#: Most areas of the treemap, and most components of the layer names that group it.
_AREAS = 240
_DEPTH = 4

#: The tables, by what a row stands for.
_KINDS = (("node", "by node"), ("op", "by op type"), ("layer", "by layer"))


def accounts(digest: Digest) -> Markup:
    """What a traced inference consists of, and how far that can be trusted."""
    whole = digest.tables["node"]
    if isinstance(whole, Figure):
        return note(f"No operator times: {worded(whole.reason)}.")
    told = whole.accounts
    provider = providers.known(digest.profile.provider)
    on_device = provider is not None and provider.on_device
    parts = [
        ("nodes", told.nodes_ns, "c0"),
        ("framework: outside all nodes", told.framework_ns, "c1"),
    ]
    if told.tracer_cost_ns is not None and not on_device:
        parts.append(("probes, by their calibration", told.tracer_cost_ns, "c3"))
    how = "probes" if whole.source == "probe" else "ORT's own profiler"
    inferences = f"{counted(whole.inferences, 'inference')} of "
    inferences += counted(whole.processes, "process", "processes")
    says = [f"Timed by {how} in {inferences}, in steps of {duration(whole.resolution_ns)}."]
    if told.residual is not None:
        against = "the enqueue time of " if told.enqueued else ""
        says.append(f"Residual of nodes and framework against {against}the undisturbed timed "
                    f"pass: {told.residual * 100:+.1f} %.")  # fmt: skip
    if told.enqueued:
        says.append("These are times of the host, which launches the nodes' work and does not "
                    "wait for it.")  # fmt: skip
    if told.split_miss is not None and told.split_apart is not None:
        says.append(f"Split between nodes: {told.split_miss * 100:+.1f} % against direct "
                    f"measurements of {counted(told.split_nodes, 'node')}, two by two; they differ "
                    f"by {told.split_apart * 100:.1f} % beyond noise.")  # fmt: skip
    if told.own_probe_share is not None and told.own_probe_share < 1:
        says.append(f"{percent(told.own_probe_share)} of the time is in nodes with a probe of "
                    "their own.")  # fmt: skip
    if whole.profiler_tax is not None:
        says.append(f"ORT's profiler adds {whole.profiler_tax * 100:+.0f} % to an inference.")
    if whole.uncovered:
        named = ", ".join(map(clipped, whole.uncovered[:5])) + (
            " …" if len(whole.uncovered) > 5 else ""
        )
        says.append(f"In the framework's part: {named}.")
    drawn: Content
    if on_device:
        drawn, told_of_device = _both_clocks(digest, whole, parts)
        says += told_of_device
    else:
        drawn = _bar(parts, told.traced_ns, "accounts of an inference")
    return element(
        "figure",
        drawn,
        element("figcaption", " ".join(says)),
        element("p", f"Do not trust the operator times: {told.doubt}.", class_="warning")
        if told.doubt
        else None,
    )


def _both_clocks(
    digest: Digest, whole: OperatorTable, parts: list[_Part]
) -> tuple[list[Content], list[str]]:
    """The host's and the device's account of an inference on one scale, and what to say of them."""
    waits_ns = _waits_ns(digest) if whole.accounts.enqueued else None
    if waits_ns is not None:
        parts = [*parts, ("the call has returned, the device works on", waits_ns, "cx")]
    device = whole.device
    if isinstance(device, Figure):
        busy = occupation(digest.profile, device)
        drawn: list[Content] = [
            element("h4", "On the host"), _bar(parts, 0.0, "the host's account of an inference"),
        ]  # fmt: skip
        says = [f"The device's account is not known: {worded(device.reason)}"]
        if busy is not None:
            says.insert(0, f"The device is busy for {duration(busy.busy_ns)} of an inference, with "
                           f"{count(round(busy.launches, 1))} launches.")  # fmt: skip
        return drawn, says
    of_device = [
        ("before its first work", device.before_ns, "c4"),
        ("busy", device.busy_ns, "c2"),
        ("idle between", device.idle_ns, "c5"),
        ("after its last work, until the host has seen it", device.after_ns, "c3"),
    ]
    scale_ns = max(sum(max(value, 0) for _, value, _ in each) for each in (parts, of_device))
    of = f"{counted(device.inferences, 'inference')} of "
    of += counted(device.processes, "process", "processes")
    launches = count(round(device.launches, 1))
    says = [f"The device's account is that of {of}, with {launches} launches each."]
    if device.replayed:
        says[0] = (f"The device's account is that of {of}, which replay a captured graph as the "
                   f"timed pass does, {launches} launches each.")  # fmt: skip
    says.append(f"CUPTI's {duration(device.recorder_ns)} an inference are taken out.")
    if device.residual is not None:
        says.append(f"Its residual against the timed pass, resident on the device: "
                    f"{device.residual * 100:+.1f} %.")  # fmt: skip
    says.append(f"Its split between these parts: {split_checks(device.checks, duration)}.")
    if device.unjoined_ns or device.unjoined_idle_ns:
        says.append(f"Of no node: {duration(device.unjoined_ns)} of its work, and "
                    f"{duration(device.unjoined_idle_ns)} idle before it.")  # fmt: skip
    drawn = [
        element("h4", "On the host"),
        _bar(parts, scale_ns, "the host's account of an inference"),
        element("h4", "On the device"),
        _bar(of_device, scale_ns, "the device's account of an inference"),
    ]
    if device.doubt:
        drawn.append(
            element("p", f"Do not trust the device's account: {device.doubt}.", class_="warning")
        )
    return drawn, says


#: A part of an account: its name, ns and CSS class.
_Part = tuple[str, float, str]


def _bar(parts: Sequence[_Part], scale_ns: float, label: str) -> Markup:
    """The parts one after the other, and what they mean; scale_ns is the full width, if larger."""
    whole_ns = max(scale_ns, sum(max(value, 0) for _, value, _ in parts), 1.0)
    bars, at = [], 0.0
    for name, value, kind in parts:
        width = max(value, 0) / whole_ns * 100
        bars.append(plots.rectangle(at, 0, width, 100, kind, tooltip(name, duration(value))))
        at += width
    return join(
        [
            element("svg", bars, class_="bar", role="img", aria_label=label),
            plots.legend((kind, f"{name} {duration(value)}") for name, value, kind in parts),
        ]
    )


def _waits_ns(digest: Digest) -> float | None:
    """From the return of the call until the device is done: mean of the processes' medians."""
    waits = [
        float(np.median(one.steady.duration_ns - one.enqueue_ns))
        for one in digest.profile.processes
        if len(one.steady) and len(one.enqueue_ns) == len(one.steady)
    ]
    return float(np.mean(waits)) if waits else None


def tables(digest: Digest) -> Markup | None:
    """The same time by node, by op type and by layer; the reader sees one at a time."""
    if isinstance(digest.tables["node"], Figure):
        return None
    group = f"{digest.anchor}by"
    radios: list[Content] = []
    panels: list[Content] = []
    for number, (by, name) in enumerate(_KINDS):
        found = digest.tables[by]
        if isinstance(found, Figure):
            continue
        label = f"{name} ({len(found.operators):,})"
        chosen = element("input", type="radio", name=group, value=by, checked=number == 0)
        radios.append(element("label", chosen, element("span", label)))
        panels.append(element("div", _table(digest, found, by), class_=f"panel by-{by}"))
    if isinstance(digest.kernels, KernelTable):
        chosen = element("input", type="radio", name=group, value="kernel")
        label = f"by kernel ({len(digest.kernels.kernels):,})"
        radios.append(element("label", chosen, element("span", label)))
        panels.append(element("div", _kernels(digest.kernels), class_="panel by-kernel"))
    search = element(
        "label",
        element("span", "Search ", class_="quiet"),
        element(
            "input", type="search", placeholder="node, op type or layer", autocomplete="off",
            spellcheck="false", class_="search",
        ),
        class_="searching",
    )  # fmt: skip
    return element(
        "div",
        element(
            "div",
            element(
                "fieldset", element("legend", "rows", class_="hidden"), radios, class_="choice"
            ),
            search,
            element("output", class_="found", aria_live="polite"),
            class_="controls",
        ),
        panels,
        class_="operators",
    )


def _table(digest: Digest, found: OperatorTable, by: str) -> Markup:
    rows = found.operators[:ROWS]
    known = any(row.flops is not None for row in rows)
    ceilings = any(row.peak_share is not None or row.bandwidth_share is not None for row in rows)
    launched = any(row.kernel_ns is not None for row in rows)
    of_host = ", of the host, which launches and does not wait" if launched else ""
    columns = [
        Column({"node": "node", "op": "op type", "layer": "layer"}[by]),
        Column("share", "share of the sum of all rows' own times", number=True),
        Column("own time", f"median, excluding the nodes of its subgraphs{of_host}", number=True),
        Column("±", "half of the 95 % interval over the processes", number=True),
    ]
    if launched:
        columns += [
            Column("GPU", "time of its kernels, copies and memsets", number=True),
            Column("GPU idle", "how long the device waited for its launches", number=True),
            Column("launches", "kernels, copies and memsets of an inference", number=True),
        ]
    columns += [
        Column("op type" if by == "node" else "nodes"),
        Column("class", "what limits it; point at it for the numbers"),
    ]
    if known:
        columns.append(Column("work", "operations a second", number=True))
    if ceilings:
        columns.append(Column("of peak", "share of the measured peak arithmetic rate", number=True))
        columns.append(Column("of memory", "share of the measured bandwidth", number=True))
    if any(row.total_ns > row.median_ns * 1.0001 for row in rows):
        columns.append(Column("total", "including the nodes of its subgraphs", number=True))
    if any(abs(row.calls - 1) > 1e-9 for row in rows):
        columns.append(Column("calls", "executions per inference", number=True))
    if any(row.profiled_ns is not None for row in rows):
        columns.append(Column("ORT says", "time by ORT's own profiler", number=True))
    columns.append(Column("p10 – p90", "spread over the inferences", number=True))
    largest = max((row.share for row in rows), default=0.0) or 1.0
    shown = [column.name for column in columns]
    called = foreign_names([_called(row, by) for row in rows])
    cells = [
        _row(digest, row, by, name, largest, shown) for name, row in zip(called, rows, strict=True)
    ]
    hidden = len(found.operators) - len(rows)
    caption = f"Operators {dict(_KINDS)[by]}, longest first"
    whole: list[Content] = [table(columns, cells, caption=caption, sortable=True, kind="tall")]
    if hidden:
        share = sum(row.share for row in found.operators[ROWS:])
        whole.append(
            note(f"{hidden:,} more, {percent(share)} of the time: harness ops {flag('csv')}")
        )
    if not ceilings:
        reason = worded(next(iter(found.ceilings_absent), "none were measured"))
        whole.append(
            note(f"No ceilings of {'the device' if launched else 'this machine'}: {reason}.")
        )
    if launched and all(row.idle_ns is None for row in rows) and isinstance(found.device, Figure):
        whole.append(note(f"GPU idle: {worded(found.device.reason)}"))
    return Markup(join(whole))


def _kernels(found: KernelTable) -> Markup:
    """Kernels and copies, with the share of the device's ceilings that each reaches."""
    rows = found.kernels[:ROWS]
    judged = any(row.work for row in rows)
    columns = [
        Column("kernel"),
        Column("share", "share of the sum of all rows' times", number=True),
        Column("time", "of all its calls in an inference, median", number=True),
        Column("calls", "in an inference", number=True),
        Column("nodes", "that launch it", number=True),
        Column("kind"),
    ]
    if judged:
        columns.append(Column("of peak", "share of the device's arithmetic ceiling", number=True))
        columns.append(Column("of memory", "share of the device's bandwidth", number=True))
    names = foreign_names([row.name or "(no name)" for row in rows])
    cells: list[list[Content | Cell]] = []
    for name, row in zip(names, rows, strict=True):
        told: list[Content | Cell] = [
            name,
            Cell(percent(row.share), row.share),
            Cell(duration(row.median_ns), row.median_ns),
            Cell(count(round(row.calls, 2)), row.calls),
            Cell(count(len(row.nodes)), len(row.nodes)),
            row.kind,
        ]
        if judged:
            told += [_of_ceiling(row, row.peak_share), _of_ceiling(row, row.bandwidth_share)]
        cells.append(told)
    whole: list[Content] = [
        table(columns, cells, caption="Kernels and copies, longest first", sortable=True,
              kind="tall"),
    ]  # fmt: skip
    if any(row.work == PART for row in rows):
        whole.append(note(f"~: {PARTS_TOLD}."))
    if not judged:
        reasons = dict.fromkeys(row.ceilings_reason for row in rows if row.ceilings_reason)
        whole.append(note(f"No shares of ceilings: {worded(next(iter(reasons), 'no kernels'))}."))
    return join(whole)


def _of_ceiling(row: Kernel, share: float | None) -> Cell:
    mark = "~" if row.work == PART else ""
    return _optional(share, lambda value: f"{mark}{percent(value)}")


def _called(row: Operator, by: str) -> str:
    """The name in the first column of a row."""
    spans = f" + {', '.join(row.spans)}" if row.spans else ""
    return ((row.op_type if by == "op" else row.called) or "(no name)") + spans


def _row(
    digest: Digest, row: Operator, by: str, name: Markup, largest: float, shown: Sequence[str]
) -> list[Content | Cell]:
    colour = digest.colours.get(row.op_type, "cx") if by != "layer" else "c0"
    bar = element(
        "svg",
        plots.rectangle(0, 20, row.share / largest * 100, 60, colour),
        class_="share",
        aria_hidden="true",
    )
    half = None
    if row.interval_ns is not None and row.median_ns:
        half = (row.interval_ns[1] - row.interval_ns[0]) / 2 / row.median_ns
    speed = None if row.flops is None or not row.work_ns else row.flops / (row.work_ns * 1e-9)
    optional: dict[str, Cell] = {
        "GPU": _optional(row.kernel_ns, duration),
        "GPU idle": _idle_time(row),
        "launches": _optional(row.launches, lambda value: count(round(value, 2))),
        "work": _optional(speed, lambda value: metric(value, "FLOP/s")),
        "of peak": _optional(row.peak_share, percent),
        "of memory": _optional(row.bandwidth_share, percent),
        "total": Cell(duration(row.total_ns), row.total_ns),
        "calls": Cell(count(round(row.calls, 2)), row.calls),
        "ORT says": _optional(row.profiled_ns, duration),
    }
    bound = row.bound.removesuffix("-bound")
    on_device = ("GPU", "GPU idle", "launches")
    return [
        name,
        Cell([bar, element("span", percent(row.share))], row.share),
        Cell(_own_time(row), row.median_ns),
        _optional(half, lambda value: percent(value) if value < 1 else "> 100 %"),
        *(optional[name] for name in on_device if name in shown),
        foreign(row.node if by == "op" else row.op_type, 32),
        element("span", bound, class_=f"bound {row.bound}", title=row.why),
        *(cell for name, cell in optional.items() if name in shown and name not in on_device),
        Cell(f"{duration(row.p10_ns)} – {duration(row.p90_ns)}", row.p90_ns - row.p10_ns),
    ]


def _own_time(row: Operator) -> Content:
    """Its own time, with a mark where it is doubtful: point at it for what it misses."""
    if not row.doubt:
        return duration(row.median_ns)
    return element("span", f"{duration(row.median_ns)} ?", class_="doubtful", title=row.doubt)


def _idle_time(row: Operator) -> Cell:
    """How long the device waited for it, likewise marked where its accounts are doubtful."""
    if row.idle_ns is None or not row.idle_doubt:
        return _optional(row.idle_ns, duration)
    marked = element("span", f"{duration(row.idle_ns)} ?", class_="doubtful", title=row.idle_doubt)
    return Cell(marked, row.idle_ns)


def _optional(value: float | None, form: Callable[[float], str]) -> Cell:
    return Cell("–") if value is None else Cell(form(value), value)


def treemap(digest: Digest) -> Markup | None:
    """Time as area, grouped by layer if the names reveal layers, else by op type.

    Where the work of a device was recorded, its time there: what the host takes to launch it says
    little about it.
    """
    found = digest.tables["node"]
    if isinstance(found, Figure) or not found.operators:
        return None
    on_device = any((row.kernel_ns or 0) > 0 for row in found.operators)
    area = _on_device if on_device else _own
    drawn = [row for row in found.operators if area(row) > 0] if on_device else found.operators
    grouped, how = _grouped(drawn)
    order = sorted(grouped, key=lambda name: -sum(map(area, grouped[name])))
    sizes = [max(sum(map(area, grouped[name])), 1e-9) for name in order]
    whole = sum(sizes)
    areas: list[Content] = []
    for name, own, (x, y, width, height) in zip(
        order, sizes, plots.squarify(sizes, 200, 100), strict=True
    ):
        # The picture is about twice as wide as high.
        left, wide = x / 2, width / 2
        head = 5.0 if height > 14 and wide > 5 else 0.0
        tip = tooltip(name, f"{percent(own / whole)}, {duration(own)}",
                      counted(len(grouped[name]), "node"))  # fmt: skip
        title = f"{name} {percent(own / whole)}" if head else ""
        areas.append(plots.box(left, y, wide, height, "group", title, tip))
        areas += _leaves(
            digest, grouped[name], area, left, y + head, wide, height - head, own / whole, whole
        )
    entries: list[tuple[str, Content]] = [
        (kind, foreign(name)) for name, kind in digest.colours.items()
    ]
    if any(row.op_type not in digest.colours for row in drawn):
        entries.append(("cx", "other op types"))
    what = "time on the device" if on_device else "own time"
    says = f"Area is {what}; grouped by {how}, one area per node, coloured by op type. "
    left_out = len(found.operators) - len(drawn)
    if left_out:
        says += f"Without {counted(left_out, 'node')} that the device does nothing for. "
    return element(
        "figure",
        plots.legend(entries),
        element("svg", areas, class_="treemap", role="img", aria_label=f"{what} by {how}"),
        element("figcaption", f"{says}Point at an area or tap it for its numbers."),
    )


def _own(row: Operator) -> float:
    return row.median_ns


def _on_device(row: Operator) -> float:
    return row.kernel_ns or 0.0


def _grouped(rows: Sequence[Operator]) -> tuple[dict[str, list[Operator]], str]:
    """Rows by the outermost components of their layers' names that tell them apart."""
    for depth in range(1, _DEPTH + 1):
        grouped: dict[str, list[Operator]] = {}
        for row in rows:
            grouped.setdefault(layer(next(iter(row.sources), row.node), depth), []).append(row)
        if len(grouped) > 2:
            return grouped, "layer"
    by_type: dict[str, list[Operator]] = {}
    for row in rows:
        by_type.setdefault(row.op_type, []).append(row)
    return by_type, "op type, as the names reveal no layers"


def _leaves(
    digest: Digest,
    rows: Sequence[Operator],
    area: Callable[[Operator], float],
    left: float,
    top: float,
    width: float,
    height: float,
    share: float,
    whole: float,
) -> list[Content]:
    falling = sorted((row for row in rows if area(row) > 0), key=lambda row: -area(row))
    kept = falling[: max(1, round(_AREAS * share))]
    rest_ns = sum(map(area, falling[len(kept) :]))
    sizes = [area(row) for row in kept]
    names = [row.called for row in kept]
    kinds = [digest.colours.get(row.op_type, "cx") for row in kept]
    tips = [
        tooltip(row.label, *in_ort(row), row.op_type,
                f"{duration(area(row))}, {percent(area(row) / whole)}", row.bound)
        for row in kept
    ]  # fmt: skip
    if rest_ns > 0:
        what = f"{len(falling) - len(kept)} shorter ones"
        at = next((n for n, size in enumerate(sizes) if size < rest_ns), len(sizes))
        sizes.insert(at, rest_ns)
        names.insert(at, what)
        kinds.insert(at, "cx")
        tips.insert(at, tooltip(what, f"{duration(rest_ns)}, {percent(rest_ns / whole)}"))
    places = plots.squarify(sizes, width * 2, height)
    return [
        plots.box(
            left + x / 2, top + y, wide / 2, high, f"leaf {kind}",
            _short(name) if wide / 2 > 4 and high > 4 else "", tip,
        )
        for name, kind, tip, (x, y, wide, high) in zip(names, kinds, tips, places, strict=True)
    ]  # fmt: skip


def in_ort(row: Operator) -> list[str]:
    """A line with ONNX Runtime's name for a node, if its sources do not reveal it."""
    return [f"ORT: {row.name_in_ort}"] if row.name_in_ort else []


def _short(name: str) -> str:
    """The last part of a node's name, which tells it from its neighbours."""
    return name.rstrip("/").rpartition("/")[2][:40]
