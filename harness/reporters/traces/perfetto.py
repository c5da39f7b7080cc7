"""A profile as a Perfetto trace: protocol buffers, opens in ui.perfetto.dev.

The messages are those of Perfetto's ``protos/perfetto/trace``; the few fields that are
written here are encoded by hand, whole columns at a time. A number takes the same number of
bytes in every row of a batch, so that all rows are equally long: protobuf allows a varint more
bytes than it needs.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from harness.reporters.traces.tracks import Intervals, Readings, Texts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from harness.records import Int64Array
    from harness.reporters.traces.tracks import Group, Indices, Track

# Field numbers from Perfetto's .proto files.
_TRACE_PACKET: Final = 1
_TIMESTAMP, _SEQUENCE, _TRACK_EVENT, _INTERNED, _FLAGS, _DESCRIPTOR = 8, 10, 11, 12, 13, 60
_UUID, _TRACK_NAME, _PROCESS, _PARENT, _COUNTER, _ORDERING, _RANK = 1, 2, 3, 5, 8, 11, 12
_PID, _PROCESS_NAME, _UNIT_NAME = 1, 6, 6
_ANNOTATIONS, _TYPE, _NAME_IID, _TRACK, _CATEGORY_IID, _VALUE = 4, 9, 10, 11, 3, 30
_FLOW_BEGINS, _FLOW_ENDS = 47, 48
_KEY_IID, _INT, _TEXT_IID = 1, 4, 17
_CATEGORIES, _EVENT_NAMES, _KEYS, _TEXTS = 1, 2, 3, 29

_BEGIN, _END, _READING = 1, 2, 4
_EXPLICIT: Final = 3  # tracks are ordered by their rank
_CLEARED, _NEEDED = 1, 2  # flags of a sequence with interned texts

#: Bits of a UUID that hold the number of the track; that of its group is above them.
_TRACK_BITS: Final = 24


@dataclasses.dataclass(frozen=True, slots=True)
class _Varints:
    """A varint in every row, all of the same length."""

    values: Int64Array
    size: int

    @classmethod
    def of(cls, values: npt.NDArray[Any]) -> _Varints:
        unsigned = values.astype(np.int64).view(np.uint64)
        bits = max(int(unsigned.max(initial=0)).bit_length(), 1)
        return cls(unsigned.view(np.int64), -(-bits // 7))

    def write(self, out: npt.NDArray[np.uint8]) -> None:
        unsigned = self.values.view(np.uint64)
        for place in range(self.size):
            out[:, place] = unsigned >> np.uint64(7 * place) & np.uint64(0x7F)
        out[:, :-1] |= 0x80


@dataclasses.dataclass(frozen=True, slots=True)
class _Fixed64:
    """Eight bytes in every row."""

    values: Int64Array
    size: int = 8

    def write(self, out: npt.NDArray[np.uint8]) -> None:
        out[:] = np.ascontiguousarray(self.values, "<i8").view(np.uint8).reshape(-1, 8)


@dataclasses.dataclass(frozen=True, slots=True)
class _Same:
    """The same bytes in every row."""

    content: bytes

    @property
    def size(self) -> int:
        return len(self.content)

    def write(self, out: npt.NDArray[np.uint8]) -> None:
        out[:] = np.frombuffer(self.content, np.uint8)


_Part: TypeAlias = "_Varints | _Fixed64 | _Same"
_Rows: TypeAlias = "npt.NDArray[np.uint8]"


def encoded(batches: Iterable[Intervals | Readings]) -> Iterator[bytes]:
    """The file's content, a batch at a time; its time axis is the machine's CLOCK_MONOTONIC."""
    return map(_Packets().of, batches)


class _Packets:
    """Batches as packets of one sequence, with the texts that they refer to by number."""

    def __init__(self) -> None:
        self._declared: set[Group | Track] = set()
        self._numbers: dict[tuple[int, str], int] = {}
        self._tables: dict[tuple[int, tuple[str, ...]], Int64Array] = {}
        self._new: list[bytes] = []
        self._began = False

    def of(self, batch: Intervals | Readings) -> bytes:
        """The packets of a batch, after declarations of what is new in it."""
        if isinstance(batch, Readings):
            return self._declare(batch.track, batch.unit) + self._readings(batch)
        declared = self._declare(batch.track, None)
        events = self._intervals(batch)
        return declared + self._interned() + events

    def _declare(self, track: Track, unit: str | None) -> bytes:
        packets = b""
        group = track.group
        if group not in self._declared:
            self._declared.add(group)
            content = _number(_UUID, _group_uuid(group)) + _number(_ORDERING, _EXPLICIT)
            if group.is_process:
                process = _number(_PID, group.pid) + _bytes(_PROCESS_NAME, group.name.encode())
                content += _bytes(_PROCESS, process)
            else:
                content += _bytes(_TRACK_NAME, group.name.encode())
            packets += self._packet(_bytes(_DESCRIPTOR, content))
        if track not in self._declared:
            self._declared.add(track)
            content = (
                _number(_UUID, _uuid(track))
                + _number(_PARENT, _group_uuid(group))
                + _bytes(_TRACK_NAME, track.name.encode())
                + _number(_RANK, track.number)
            )
            if unit is not None:
                content += _bytes(_COUNTER, _bytes(_UNIT_NAME, unit.encode()))
            packets += self._packet(_bytes(_DESCRIPTOR, content))
        return packets

    def _packet(self, content: bytes) -> bytes:
        flags = b"" if self._began else _number(_FLAGS, _CLEARED)
        self._began = True
        return _bytes(_TRACE_PACKET, _number(_SEQUENCE, 1) + flags + content)

    def _interned(self) -> bytes:
        new, self._new = self._new, []
        return self._packet(_bytes(_INTERNED, b"".join(new))) if new else b""

    def _intervals(self, batch: Intervals) -> bytes:
        """One packet for each begin and each end.

        Readers sort packets by time and keep the order of those with the same time. So an end
        is written before the begins at its time, but never before its own begin.
        """
        count = len(batch)
        end_ns = batch.start_ns + batch.duration_ns
        brief = batch.duration_ns == 0
        time_ns = np.concatenate((batch.start_ns, end_ns))
        ends_first = np.concatenate((np.ones(count, bool), brief))
        row = np.concatenate((np.arange(count), np.arange(count)))
        order = np.lexsort((row, ends_first, time_ns))
        place = np.empty(2 * count, np.intp)
        place[order] = np.arange(2 * count)

        groups = [(place[count:], _event(batch.track, end_ns, [_key(_TYPE), _same(_END)]))]
        for rows, facts in batch.facts_present():
            for number in np.unique(batch.flows.count[rows]).tolist() if batch.flows else [0]:
                mine = rows[batch.flows.count[rows] == number] if batch.flows else rows
                parts = self._begin(batch, mine, facts, number)
                event = _event(batch.track, batch.start_ns[mine], parts, interned=True)
                groups.append((place[:count][mine], event))
        return _assembled(groups)

    def _begin(
        self, batch: Intervals, rows: Indices, facts: Sequence[str], flows: int
    ) -> list[_Part]:
        """The fields of track events that begin: their texts, facts and ``flows`` arrows each."""
        parts: list[_Part] = [
            _key(_TYPE),
            _same(_BEGIN),
            _key(_CATEGORY_IID),
            self._texts(_CATEGORIES, batch.category, rows),
            _key(_NAME_IID),
            self._texts(_EVENT_NAMES, batch.name, rows),
        ]
        for name in facts:
            column = batch.facts[name]
            fact: list[_Part] = [_key(_KEY_IID), _same(self._number(_KEYS, name))]
            if isinstance(column, Texts):
                fact += [_key(_TEXT_IID), self._texts(_TEXTS, column, rows)]
            else:
                fact += [_key(_INT), _Varints.of(column[rows])]
            parts += _message(_ANNOTATIONS, fact)
        if batch.flows is not None:
            field = _FLOW_ENDS if batch.flows.arrives else _FLOW_BEGINS
            for nth in range(flows):
                arrow = batch.flows.flow[batch.flows.first[rows] + nth]
                parts += [_Same(_varint(field << 3 | 1)), _Fixed64(arrow)]
        return parts

    def _readings(self, batch: Readings) -> bytes:
        parts: list[_Part] = [_key(_TYPE), _same(_READING)]
        parts += [_key(_VALUE), _Varints.of(batch.value)]
        return _event(batch.track, batch.time_ns, parts).tobytes()

    def _texts(self, field: int, column: Texts, rows: Indices) -> _Varints:
        table = self._tables.get((field, column.texts))
        if table is None:
            table = np.array([self._number(field, text) for text in column.texts], np.int64)
            self._tables[field, column.texts] = table
        return _Varints.of(table[column.index[rows]])

    def _number(self, field: int, text: str) -> int:
        """Number by which packets refer to a text; new text goes into the next interned data."""
        number = self._numbers.get((field, text))
        if number is None:
            number = self._numbers[field, text] = len(self._numbers) + 1
            # All four kinds of interned text have the number in field 1 and the text in field 2.
            entry = _number(1, number) + _bytes(2, text.encode("utf-8", "backslashreplace"))
            self._new.append(_bytes(field, entry))
        return number


def _uuid(track: Track) -> int:
    return _group_uuid(track.group) | track.number


def _group_uuid(group: Group) -> int:
    return (group.number + 1) << _TRACK_BITS


def _event(
    track: Track, time_ns: Int64Array, parts: Sequence[_Part], *, interned: bool = False
) -> _Rows:
    """Packets with one track event each, one per row."""
    event = [_key(_TRACK), _same(_uuid(track)), *parts]
    packet: list[_Part] = [_key(_TIMESTAMP), _Varints.of(time_ns), _key(_SEQUENCE), _same(1)]
    if interned:
        packet += [_key(_FLAGS), _same(_NEEDED)]
    packet += _message(_TRACK_EVENT, event)
    parts = _message(_TRACE_PACKET, packet)
    rows = np.empty((len(time_ns), sum(part.size for part in parts)), np.uint8)
    at = 0
    for part in parts:
        part.write(rows[:, at : at + part.size])
        at += part.size
    return rows


def _assembled(groups: Sequence[tuple[Indices, _Rows]]) -> bytes:
    """Rows of different lengths joined together, each at its place."""
    sizes = np.empty(sum(len(place) for place, _ in groups), np.intp)
    for place, rows in groups:
        sizes[place] = rows.shape[1]
    ends = np.cumsum(sizes)
    out = np.empty(int(ends[-1]), np.uint8)
    for place, rows in groups:
        first = (ends - sizes)[place]
        out[first[:, None] + np.arange(rows.shape[1])] = rows
    return out.tobytes()


def _message(field: int, parts: Sequence[_Part]) -> list[_Part]:
    size = sum(part.size for part in parts)
    return [_Same(_varint(field << 3 | 2) + _varint(size)), *parts]


def _key(field: int) -> _Same:
    """The key of a varint field."""
    return _Same(_varint(field << 3))


def _same(value: int) -> _Same:
    return _Same(_varint(value))


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """A number >= 0, in as few bytes as possible."""
    groups = []
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])
