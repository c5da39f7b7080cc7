"""One inference on two clocks: nodes on the host, launches, streams and gaps of the device."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from harness.analysis.device_time import DeviceAccounts
from harness.analysis.one_inference import DeviceInference
from harness.analysis.operators.labels import node_label
from harness.analysis.operators.table import OperatorTable
from harness.options import worded
from harness.records import Int64Array
from harness.reporters.html import plots
from harness.reporters.html.answers import note
from harness.reporters.html.digest import Digest
from harness.reporters.html.lanes import Mark, lane, zoomed
from harness.reporters.html.markup import Content, Markup, element, foreign_names, join, tooltip
from harness.reporters.html.quantities import axis_duration, counted, duration, percent
from harness.statistics.figures import Figure

#: Most arrows that are drawn; where there are more, only those to the first work of a node are.
_ARROWS = 1500

#: Most streams that get a lane of their own, and nodes that are named as what the device waits for.
_STREAMS = 6
_WAITS = 5

#: Height of a lane's name, and of the space that the arrows cross, in lanes.
_NAME = 0.42
_CROSSED = 0.55


def device_timeline(digest: Digest, chosen: DeviceInference) -> Markup:
    """The call and its nodes on the host, arrows to the streams, and the gaps by their node."""
    work, host = chosen.work, chosen.host
    whole_ns = max(
        chosen.duration_ns,
        work.end_ns - chosen.start_ns,
        int((host.start_ns + host.duration_ns).max(initial=0)) - chosen.start_ns,
        1,
    )
    scale = plots.Scale(0, whole_ns)
    picture = _Picture(digest, chosen, scale)
    return join(
        [
            element(
                "figure",
                zoomed(
                    plots.plot(
                        picture.drawn(), label="one inference on the host and on the device",
                        x=scale, x_text=axis_duration,
                        kind=f"lanes tracks{min(picture.lanes, 9)}",
                    ),
                ),
                element("figcaption", " ".join(_says(chosen, digest.tables["node"]))),
            ),
            waits(digest),
        ]
    )  # fmt: skip


def waits(digest: Digest) -> Markup | None:
    """The nodes for whose launches the device waits longest; None where nothing is idle."""
    table = digest.tables["node"]
    if not isinstance(table, OperatorTable):
        return None
    accounts = table.device
    if isinstance(accounts, Figure):
        return note(f"Which nodes the device waits for is not known: {worded(accounts.reason)}")
    if accounts.doubt:
        return note(f"Which nodes the device waits for is not told: {accounts.doubt}.")
    rows = [row for row in table.operators if row.idle_ns is not None and row.idle_ns > 0]
    rows = sorted(rows, key=lambda row: -(row.idle_ns or 0.0))[:_WAITS]
    if not rows:
        return None
    names = foreign_names([row.label for row in rows], 48)
    named = [
        element(
            "li",
            name,
            element("span", row.op_type[:40], class_="quiet"),
            element(
                "b", f"{duration(row.idle_ns or 0)}, {percent(_of_idle(row.idle_ns, accounts))}"
            ),
        )
        for name, row in zip(names, rows, strict=True)
    ]
    return join(
        [
            element("h4", "The device waits longest for the launches of"),
            element("ul", named, class_="shares"),
            note(
                f"Means over {counted(accounts.inferences, 'inference')}, without CUPTI's part; "
                f"shares of the {duration(accounts.idle_ns)} that the device is idle between its "
                "first and its last work."
            ),
        ]
    )


def _of_idle(idle_ns: float | None, accounts: DeviceAccounts) -> float:
    return (idle_ns or 0.0) / max(accounts.idle_ns, 1e-9)


class _Picture:
    """The lanes from top to bottom.

    Attributes:
        lanes: how many there are, the space for the arrows among them.
    """

    def __init__(self, digest: Digest, chosen: DeviceInference, scale: plots.Scale) -> None:
        nodes = digest.profile.nodes
        self._digest, self._chosen, self._scale = digest, chosen, scale
        self._nodes = nodes
        host, work = chosen.host, chosen.work
        self._depth = np.zeros(len(host), np.int64)
        if nodes is not None and len(host):
            self._depth = np.where(host.node >= 0, nodes.depth[host.node], 0)
        streams = np.unique(work.stream).tolist()
        self._streams = streams[:_STREAMS]
        self._beyond = len(streams) - len(self._streams)
        levels = int(self._depth.max(initial=-1)) + 1
        self._levels = levels
        call, gaps = int(chosen.enqueue_ns is not None), int(chosen.alone)
        self.lanes = call + levels + len(self._streams) + gaps
        self._each = 100 / (self.lanes + _CROSSED)
        self._top = 0.0

    def drawn(self) -> list[Content]:
        """All marks."""
        chosen, marks = self._chosen, list[Content]()
        if chosen.enqueue_ns is not None:
            marks += self._call(chosen.enqueue_ns)
        bottom = self._top
        for level in range(self._levels):
            marks += self._host(level)
            # Arrows begin at the nodes of the graph itself.
            bottom = self._top if level == 0 else bottom
        self._top += _CROSSED * self._each
        streams: list[Content] = []
        tops: dict[int, float] = {}
        for stream in self._streams:
            tops[stream] = self._top + _NAME * self._each
            streams += self._stream(stream)
        # Below the lanes that they cross.
        marks = [*self._arrows(bottom, tops), *marks, *streams]
        if chosen.alone:
            marks += self._gaps()
        return marks

    def _lane(
        self,
        name: str,
        begin_ns: Int64Array,
        duration_ns: Int64Array,
        mark: Callable[[int], Mark],
        many: str,
    ) -> list[Content]:
        top, self._top = self._top, self._top + self._each
        at_ns = begin_ns - self._chosen.start_ns
        begin, end = self._scale.of(at_ns), self._scale.of(at_ns + duration_ns)
        head = _NAME * self._each
        return [
            plots.text(0, top, name, "axis", dx=1, dy=12),
            *lane(begin, end, top + head, self._each - head, mark, many),
        ]

    def _call(self, enqueue_ns: int) -> list[Content]:
        chosen = self._chosen
        waits_ns = max(chosen.duration_ns - enqueue_ns, 0)
        parts = (
            ("the call of the inference", enqueue_ns, "c0"),
            ("the host waits for the device", waits_ns, "cx"),
        )
        return self._lane(
            "host: call",
            np.array([chosen.start_ns, chosen.start_ns + enqueue_ns]),
            np.array([enqueue_ns, waits_ns]),
            lambda row: Mark(
                parts[row][0],
                f"leaf {parts[row][2]}",
                tooltip(parts[row][0], duration(parts[row][1])),
            ),
            "parts",
        )

    def _host(self, level: int) -> list[Content]:
        host = self._chosen.host
        rows = np.flatnonzero(self._depth == level)
        launches = host.source == "launches"

        def mark(at: int) -> Mark:
            row = int(rows[at])
            node, took = int(host.node[row]), float(host.duration_ns[row])
            told = (
                f"launches over {duration(took)}" if launches else f"{duration(took)} on the host"
            )
            tip = tooltip(*self._called(node), told, self._at(int(host.start_ns[row])))
            return Mark(self._op_type(node), f"leaf {self._kind(node)}", tip)

        name = "host: launches of each node" if launches else "host: nodes"
        return self._lane(
            name if level == 0 else f"host: bodies, {level} deep",
            host.start_ns[rows], host.duration_ns[rows], mark, "short nodes",
        )  # fmt: skip

    def _stream(self, stream: int) -> list[Content]:
        work = self._chosen.work
        rows = np.flatnonzero(work.stream == stream)
        more = f", {self._beyond} more streams not drawn" if self._beyond else ""

        def mark(at: int) -> Mark:
            row = int(rows[at])
            node, took = int(work.node[row]), duration(float(work.duration_ns[row]))
            tip = tooltip(
                work.name[row], f"{work.kind[row]}, {took}", *self._called(node),
                self._at(int(work.start_ns[row])),
            )  # fmt: skip
            return Mark(work.name[row], f"leaf {self._kind(node)}", tip)

        last = stream == self._streams[-1]
        return self._lane(
            f"device: stream {stream}{more if last else ''}",
            work.start_ns[rows], work.duration_ns[rows], mark, "short pieces of work",
        )  # fmt: skip

    def _gaps(self) -> list[Content]:
        """What the device waits for, before the first of its work, between, and after the last."""
        chosen, work = self._chosen, self._chosen.work
        rows = np.flatnonzero(work.idle_ns > 0)
        end_ns = chosen.start_ns + chosen.duration_ns
        first_ns, last_ns = int(work.start_ns[0]), work.end_ns
        begin_ns = np.concatenate(
            [[chosen.start_ns], work.start_ns[rows] - work.idle_ns[rows], [last_ns]]
        )
        took_ns = np.concatenate(
            [[max(first_ns - chosen.start_ns, 0)], work.idle_ns[rows], [max(end_ns - last_ns, 0)]]
        )

        def mark(at: int) -> Mark:
            took = duration(float(took_ns[at]))
            if at == len(rows) + 1:
                tip = tooltip(f"{took} until the host has seen the end of the last work")
                return Mark("after", "gap outer", tip)
            node = int(work.node[rows[at - 1] if at else 0])
            called = self._called(node)
            if at == 0:
                tip = tooltip(f"{took} from the call to the first work of", *called)
                return Mark("before", "gap outer", tip)
            tip = tooltip(f"idle {took}: waits for the launch of", *called)
            return Mark(called[0], "gap", tip)

        return self._lane("device: idle, by the node it waits for", begin_ns, took_ns, mark, "gaps")

    def _arrows(self, bottom: float, tops: dict[int, float]) -> list[Content]:
        chosen = self._chosen
        work, arrows = chosen.work, chosen.arrows
        rows = np.flatnonzero(np.isin(work.stream[arrows.work], self._streams))
        if len(rows) > _ARROWS:  # those to the first work of a node
            _, first = np.unique(arrows.host[rows], return_index=True)
            rows = rows[np.sort(first)][:_ARROWS]
        lines: list[Content] = []
        for row in rows.tolist():
            to = int(arrows.work[row])
            lines.append(
                plots.line(
                    self._scale(int(arrows.at_ns[row]) - chosen.start_ns), bottom,
                    self._scale(int(work.start_ns[to]) - chosen.start_ns),
                    tops[int(work.stream[to])], "launch",
                )
            )  # fmt: skip
        return lines

    def _called(self, node: int) -> list[str]:
        if node < 0 or self._nodes is None:
            return ["no node"]
        return [node_label(self._nodes, node), self._op_type(node)]

    def _op_type(self, node: int) -> str:
        return "no node" if node < 0 or self._nodes is None else self._nodes.op_type[node]

    def _kind(self, node: int) -> str:
        return self._digest.colours.get(self._op_type(node), "cx") if node >= 0 else "cx"

    def _at(self, time_ns: int) -> str:
        return f"at {duration(float(time_ns - self._chosen.start_ns))}"


def _says(chosen: DeviceInference, table: OperatorTable | Figure) -> list[str]:
    """What is drawn, and what of it is of another inference."""
    host = chosen.host
    of = f"inference {chosen.number} of process {chosen.process}, the median of "
    of += f"{chosen.among:,} recorded"
    if not chosen.alone:
        took = duration(chosen.duration_ns)
        says = [
            f"{of[0].upper()}{of[1:]}: {took} from its first launch to the end of its last work."
        ]
        says.append(
            "Recorded under ORT's profiler, which slows the host down: the kernels are true, the "
            "gaps between them longer than without it, so they are not named."
        )
        says.append(
            "On the host, from the first to the last launch of each node; lines are launches."
            if len(host)
            else "When they were launched was not recorded."
        )
        return [*says, "Colours are op types."]
    says = [f"Device: {of}: {duration(chosen.duration_ns)}, with nothing recorded but its work."]
    device = table.device if isinstance(table, OperatorTable) else None
    if isinstance(device, DeviceAccounts) and device.recorder_ns > 0:
        adds = duration(device.recorder_ns)
        says.append(f"CUPTI adds {adds} to an inference, which are in the gaps drawn here.")
    if len(host):
        says.append(
            f"Nodes on the host: inference {host.number} of process {host.process} under probes, "
            f"another one, whose call took {duration(host.taken_ns)}; both calls begin at 0. A "
            "line leads from where the host begins with a node to the first that the device does "
            "for it."
        )
    else:
        says.append("When the host dealt with which node is not known: no probes recorded it.")
    return [*says, "Colours are op types."]
