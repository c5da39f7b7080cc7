"""A profile as Chrome trace events: opens in Perfetto (ui.perfetto.dev).

The format is Google's "Trace Event Format": complete events (``ph`` X) with ``ts`` and
``dur`` in microseconds, counters (C), arrows (s to f), and metadata (M) that names processes
and tracks.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.reporters.traces.tracks import Intervals, Readings, Texts, Track, first_ns

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from harness.records import Int64Array, Profile
    from harness.reporters.traces.tracks import Column, Group, Indices


def encoded(profile: Profile, batches: Iterable[Intervals | Readings]) -> Iterator[bytes]:
    """The file's content, a batch at a time; its time axis begins at the first timestamp."""
    head = {"model": profile.model.name, "created": profile.created}
    yield f'{{"displayTimeUnit":"ns","otherData":{json.dumps(head)},"traceEvents":[\n'.encode()
    lines = _Lines(first_ns(profile))
    separator = ""
    for batch in batches:
        yield (separator + ",\n".join(lines.of(batch))).encode()
        separator = ",\n"
    yield b"\n]}\n"


class _Lines:
    """Batches as lines of JSON.

    Args:
        zero_ns: CLOCK_MONOTONIC at which the time axis begins.
    """

    def __init__(self, zero_ns: int) -> None:
        self._zero_ns = zero_ns
        self._groups: set[Group] = set()
        self._tracks: set[Track] = set()
        self._quoted: dict[tuple[str, ...], list[str]] = {}

    def of(self, batch: Intervals | Readings) -> list[str]:
        """The events of a batch, after the names of groups and tracks that are new in it."""
        lines = list(self._names(batch.track))
        if isinstance(batch, Readings):
            return lines + self._readings(batch)
        return lines + self._intervals(batch) + self._flows(batch)

    def _names(self, track: Track) -> Iterator[str]:
        group = track.group
        if group not in self._groups:
            self._groups.add(group)
            yield _metadata("process_name", group.pid, 0, {"name": group.name})
            yield _metadata("process_sort_index", group.pid, 0, {"sort_index": group.number})
        if group.is_process and track not in self._tracks:
            self._tracks.add(track)
            yield _metadata("thread_name", group.pid, track.number, {"name": track.name})
            sort = {"sort_index": track.number}
            yield _metadata("thread_sort_index", group.pid, track.number, sort)

    def _intervals(self, batch: Intervals) -> list[str]:
        lines = np.empty(len(batch), object)
        place = f'"pid":{batch.track.group.pid},"tid":{batch.track.number}'
        for rows, facts in batch.facts_present():
            columns = [
                self._column(batch.name, rows),
                self._column(batch.category, rows),
                self._microseconds(batch.start_ns[rows] - self._zero_ns),
                self._microseconds(batch.duration_ns[rows]),
            ]
            arguments = []
            for name in facts:
                column = batch.facts[name]
                kind = "%s" if isinstance(column, Texts) else "%d"
                arguments.append(json.dumps(name).replace("%", "%%") + f":{kind}")
                columns.append(self._column(column, rows))
            form = (
                f'{{"ph":"X",{place},"name":%s,"cat":%s,"ts":%.3f,"dur":%.3f,'
                f'"args":{{{",".join(arguments)}}}}}'
            )
            lines[rows] = [form % values for values in zip(*columns, strict=True)]
        return lines.tolist()

    def _flows(self, batch: Intervals) -> list[str]:
        flows = batch.flows
        if flows is None:
            return []
        row, end = flows.ends()
        last_ns = batch.start_ns[row] + batch.duration_ns[row]
        time_ns = np.clip(flows.time_ns[end], batch.start_ns[row], last_ns)
        # bp e: the arrow points to the interval that encloses its end, not to the next one.
        phase = '"ph":"f","bp":"e"' if flows.arrives else '"ph":"s"'
        form = (
            f'{{{phase},"pid":{batch.track.group.pid},"tid":{batch.track.number},'
            '"name":"launch","cat":"launch","id":%d,"ts":%.3f}'
        )
        ts = self._microseconds(time_ns - self._zero_ns)
        return [form % values for values in zip(flows.flow[end].tolist(), ts, strict=True)]

    def _readings(self, batch: Readings) -> list[str]:
        name = json.dumps(batch.track.name).replace("%", "%%")
        unit = json.dumps(batch.unit or "value").replace("%", "%%")
        form = (
            f'{{"ph":"C","pid":{batch.track.group.pid},"tid":0,"name":{name},'
            f'"ts":%.3f,"args":{{{unit}:%d}}}}'
        )
        ts = self._microseconds(batch.time_ns - self._zero_ns)
        return [form % values for values in zip(ts, batch.value.tolist(), strict=True)]

    def _column(self, column: Column, rows: Indices) -> list[Any]:
        if not isinstance(column, Texts):
            numbers: list[int] = column[rows].tolist()
            return numbers
        quoted = self._quoted.get(column.texts)
        if quoted is None:
            quoted = self._quoted[column.texts] = [json.dumps(text) for text in column.texts]
        return [quoted[index] for index in column.index[rows].tolist()]

    @staticmethod
    def _microseconds(values_ns: Int64Array) -> list[float]:
        microseconds: list[float] = (values_ns / 1000).tolist()
        return microseconds


def _metadata(name: str, pid: int, tid: int, arguments: Mapping[str, str | int]) -> str:
    return json.dumps({"ph": "M", "name": name, "pid": pid, "tid": tid, "args": arguments})
