"""A whole profile as JSON lines: one object per line, whose ``type`` says what it is.

In this order: ``profile``, ``input``, ``environment``, ``absent``, ``node``, ``process``, and
for each process ``noise`` and ``sample``; ``instance`` of callers side by side; then ``inference``
and ``node_event`` of traced passes, ``device``, ``kernel``. Keys are the attribute names of the
records, units included. A number that is -1 in a record because it is not known becomes null.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from harness.options import worded
from harness.reporters.exports.compressed import opened
from harness.reporters.exports.samples import parts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from harness.records import InputRecord, NodeEvents, ProcessRecord, Profile, Reading

#: Objects per batch: as many as are held as text at a time.
_BATCH: Final = 8_192

#: Columns in which -1 is an ordinary number.
_NEVER_UNKNOWN: Final = frozenset(("value", "self_ns"))

_Object = dict[str, Any]


def write(profile: Profile, path: Path) -> int:
    """Writes every record.

    Args:
        profile: what to write.
        path: the file, compressed if its name ends in ``.gz``; replaced if it exists.

    Returns:
        Number of lines written.

    Raises:
        OSError: the file cannot be written.
    """
    encoder = msgspec.json.Encoder(enc_hook=str)
    count = 0
    with opened(path) as out:
        for objects in _batches(profile):
            try:
                lines = encoder.encode_lines(objects)
            except UnicodeEncodeError:  # options of a command line that is not UTF-8
                lines = encoder.encode_lines(_encodable(objects))
            out.write(lines)
            count += len(objects)
    return count


def _encodable(value: Any) -> Any:
    """The value with backslash escapes in its texts for what UTF-8 cannot hold."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, list | tuple):
        return [_encodable(each) for each in value]
    if isinstance(value, dict):
        return {_encodable(key): _encodable(each) for key, each in value.items()}
    return value


def _batches(profile: Profile) -> Iterator[Sequence[_Object]]:
    yield [
        {
            "type": "profile",
            "harness_version": profile.harness_version,
            "created": profile.created,
            "complete": profile.complete,
            "provider": profile.provider,
            "model": dataclasses.asdict(profile.model),
            "config": profile.asked.options,
            "output_check": dataclasses.asdict(profile.output_check),
        },
        *(_input(each) for each in profile.inputs),
        *(_fact(each) for each in profile.environment),
        *({"type": "absent", "what": what, "reason": worded(why)} for what, why in profile.absent),
    ]
    if profile.nodes is not None:
        yield from _rows("node", {}, _columns(profile.nodes))
    yield [one for process in profile.processes for one in _process(process)]
    for part in parts(profile):
        place = {"process": part.process, "pass": part.name}
        number = np.arange(part.first, part.first + len(part))
        columns: dict[str, Any] = {
            "inference": number,
            "start_ns": part.start_ns,
            "duration_ns": part.duration_ns,
        }
        if part.caller is not None:
            columns["caller"] = part.caller
        yield from _rows("sample", place, columns)
    if profile.instances is not None:
        yield from _rows("instance", {}, _columns(profile.instances))
    for name, events in profile.traces.items():
        yield from _trace(name, events)
    for series in profile.devices:
        place = {
            "device": series.device,
            "quantity": series.quantity,
            "unit": series.unit,
            "source": series.source,
            "double": series.double,
        }
        yield from _rows("device", place, _columns(series))
    if profile.kernels is not None:
        yield from _rows("kernel", {}, _columns(profile.kernels))
    if profile.wall_time is not None:
        yield from _rows("wall_time", {}, _columns(profile.wall_time))


def _input(record: InputRecord) -> _Object:
    chosen = {"chosen_because": worded(record.chosen_because)}
    return {"type": "input", **dataclasses.asdict(record), **chosen}


def _fact(reading: Reading) -> _Object:
    told = {"source": worded(reading.source), "reason": worded(reading.reason)}
    return {"type": "environment", **dataclasses.asdict(reading), **told}


def _process(process: ProcessRecord) -> Iterator[_Object]:
    names = ("index", "pid", "library_ns", "session_ns", "first_inference_ns", "loops", "log")
    yield {
        "type": "process",
        **{name: getattr(process, name) for name in names},
        "provider_ns": None if process.provider_ns < 0 else process.provider_ns,
        "metadata": dict(process.metadata),
    }
    for reading in process.noise:
        yield {"type": "noise", "process": process.index} | dataclasses.asdict(reading)


def _trace(name: str, events: NodeEvents) -> Iterator[Sequence[_Object]]:
    place = {"trace": name, "source": events.source}
    columns = _columns(events)
    of_inferences = {
        key.removeprefix("inference_"): columns.pop(key)
        for key in list(columns)
        if key.startswith("inference_")
    }
    yield from _rows("inference", place, of_inferences)
    yield from _rows("node_event", place, columns | dict(events.details))


def _columns(record: Any) -> dict[str, Any]:
    """Arrays and tuples of a record by name, with one value per row."""
    values = {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}
    return {name: value for name, value in values.items() if isinstance(value, np.ndarray | tuple)}


def _rows(
    kind: str, place: Mapping[str, Any], columns: Mapping[str, Any]
) -> Iterator[Sequence[_Object]]:
    keys = ("type", *place, *columns)
    constant = (kind, *place.values())
    count = len(next(iter(columns.values())))
    for first in range(0, count, _BATCH):
        rows = slice(first, first + _BATCH)
        values = [_values(name, column[rows]) for name, column in columns.items()]
        yield [dict(zip(keys, constant + row, strict=True)) for row in zip(*values, strict=True)]


def _values(name: str, column: Any) -> Sequence[Any]:
    if not isinstance(column, np.ndarray):
        texts: Sequence[Any] = column
        return texts
    numbers: list[Any] = column.tolist()
    if name in _NEVER_UNKNOWN:
        return numbers
    return [None if number == -1 else number for number in numbers]
