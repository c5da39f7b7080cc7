"""What differs between two profiles besides their times."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.analysis.ceilings import is_ceiling
from harness.analysis.precision import FACT, Precision, of_model, precision
from harness.ort import providers
from harness.records import (
    GROUP_FACTS,
    ITEMS,
    NOISE,
    WEIGHTS,
    Asked,
    InputRecord,
    Profile,
    Reading,
)
from harness.statistics.figures import Figure

#: Readings that vary from one moment to the next.
_OF_THE_MOMENT = frozenset(
    {
        "boot_id",
        "uptime_s",
        "memory_available_bytes",
        "load_average_1m",
        "load_average_5m",
        "load_average_15m",
        "steal_since_boot_ns",
        "frequency_now_hz",
        "package_harness",  # covered by harness_version, as is the next
        "package_onnx-harness",
        "provider_options_asked",  # covered by the configuration
        FACT,  # covered by what it is made of
        *GROUP_FACTS,  # covered by the configuration
        NOISE,
    }
)
#: Parts of the configuration that change what is executed, or how it is timed.
_SESSION = (
    "provider",
    "provider_options",
    "intra_threads",
    "inter_threads",
    "optimization",
    "execution_mode",
    "entries",
    "custom_ops",
    "no_arena",
    "no_mem_pattern",
)
#: Those that make callers side by side, and what they are in files of older versions.
_GROUP = {"instances": None, "memory": "", "concurrency": None}
_MEASUREMENT = ("affinity", "duration_s", "quick", "energy", "sample_hz", "trace")

#: How the names of readings on a driver or a GPU begin; each provider adds its own.
_DRIVER = ("nvml", "driver", "gpu")


@dataclasses.dataclass(frozen=True, slots=True)
class Difference:
    """One fact that differs.

    Attributes:
        kind: ``model``, ``inputs``, ``session``, ``ort``, ``driver``, ``machine``,
            ``software`` or ``measurement``, in this order.
        what: name of the fact; a field of the configuration is in backticks.
        base, candidate: its values as text.
    """

    kind: str
    what: str
    base: str
    candidate: str


def differences(base: Profile, candidate: Profile) -> tuple[Difference, ...]:
    """All known differences, the most important first."""
    found = [
        *_model(base, candidate),
        *_inputs(base, candidate),
        *_config(base, candidate),
        *_precision(base, candidate),
        *_readings(base, candidate),
        *_timing(base, candidate),
    ]
    order = ("model", "inputs", "session", "ort", "driver", "machine", "software", "measurement")
    return tuple(sorted(found, key=lambda one: order.index(one.kind)))


def unlike_inputs(
    base: Sequence[InputRecord],
    candidate: Sequence[InputRecord],
    items: tuple[int, int] = (1, 1),
) -> str:
    """Why the two do not do the same amount of work, in one sentence; empty if they do.

    Args:
        base: inputs of the base.
        candidate: inputs of the candidate.
        items: items per inference on each side; one size may differ in that proportion.
    """
    if len(base) != len(candidate):
        return (
            f"the base was fed {len(base)} input{'s' if len(base) != 1 else ''} and the "
            f"candidate {len(candidate)}: not like with like"
        )
    for one, other in _paired(base, candidate):
        if not _alike(one.shape, other.shape, items):
            return (
                f"input '{one.name}' is {_shape(one)} in the base and {_shape(other)} in the "
                "candidate: not like with like"
            )
    return ""


def items_of(base: Profile, candidate: Profile) -> tuple[int, int]:
    """Items per inference on each side, if both are known and differ; else (1, 1)."""
    return items_apart(base.items, candidate.items)


def items_apart(base: Reading, candidate: Reading) -> tuple[int, int]:
    """The same, from the readings that hold them."""
    one, other = base.value, candidate.value
    if isinstance(one, int) and isinstance(other, int) and one != other:
        return one, other
    return 1, 1


def _alike(one: tuple[int, ...], other: tuple[int, ...], items: tuple[int, int]) -> bool:
    """Whether shapes differ only in the number of items."""
    if len(one) != len(other):
        return False
    unlike = [pair for pair in zip(one, other, strict=True) if pair[0] != pair[1]]
    return not unlike or (len(unlike) == 1 and unlike[0][0] * items[1] == unlike[0][1] * items[0])


def _model(base: Profile, candidate: Profile) -> Iterator[Difference]:
    one, other = base.model, candidate.model
    if one.sha256 != other.sha256:
        yield Difference(
            "model",
            "model",
            f"{one.name} ({one.sha256[:12]})",
            f"{other.name} ({other.sha256[:12]})",
        )


def _inputs(base: Profile, candidate: Profile) -> Iterator[Difference]:
    if len(base.inputs) != len(candidate.inputs):
        counts = (str(len(base.inputs)), str(len(candidate.inputs)))
        yield Difference("inputs", "number of inputs", *counts)
        return
    for one, other in _paired(base.inputs, candidate.inputs):
        if (one.dtype, one.shape) != (other.dtype, other.shape):
            yield Difference(
                "inputs",
                one.name,
                f"{one.dtype} {_shape(one)}",
                f"{other.dtype} {_shape(other)}",
            )
        elif one.sha256 != other.sha256:
            yield Difference(
                "inputs",
                f"values of {one.name}",
                f"sha256 {one.sha256[:12]}",
                f"sha256 {other.sha256[:12]}",
            )


def _paired(
    base: Sequence[InputRecord], candidate: Sequence[InputRecord]
) -> list[tuple[InputRecord, InputRecord]]:
    """Inputs paired by name, or by position if the models name them differently."""
    others = {record.name: record for record in candidate}
    if others.keys() == {record.name for record in base}:
        return [(record, others[record.name]) for record in base]
    return list(zip(base, candidate, strict=True))


def _shape(record: InputRecord) -> str:
    return "x".join(map(str, record.shape)) or "scalar"


def _config(base: Profile, candidate: Profile) -> Iterator[Difference]:
    one, other = base.asked, candidate.asked
    if (one.runtime, one.runtime_options) != (other.runtime, other.runtime_options):
        sides = [_runtime(each) for each in (one, other)]
        yield Difference("session", "`runtime`", *sides)
    yield from _fields("session", _SESSION, one.session, other.session)
    groups = [
        _GROUP | {name: side.options[name] for name in _GROUP if name in side.options}
        for side in (one, other)
    ]
    yield from _fields("session", tuple(_GROUP), *groups)
    yield from _fields("measurement", _MEASUREMENT, one.options, other.options)


def _runtime(asked: Asked) -> str:
    """A runtime with its options, as a user would give it."""
    options = _text(dict(asked.runtime_options))
    return f"{asked.runtime}, {options}" if asked.runtime_options else asked.runtime


def _precision(base: Profile, candidate: Profile) -> Iterator[Difference]:
    """The types that the operations run in, where a device may choose another than the model's."""
    sides = [precision(profile) for profile in (base, candidate)]
    if all(isinstance(side, Figure) for side in sides):
        return  # both in the model's types, and the model differs or not
    told = [
        ", ".join(_parts(side, profile))
        for side, profile in zip(sides, (base, candidate), strict=True)
    ]
    if all(told) and told[0] != told[1]:
        yield Difference("session", "precision", told[0], told[1])


def _parts(side: Precision | Figure, profile: Profile) -> tuple[str, ...]:
    """By name: what a device computed in, or of a host the types of the model."""
    if isinstance(side, Precision):
        return () if side.untold else side.parts
    return () if profile.nodes is None else of_model(profile.nodes)


def _fields(
    kind: str,
    fields: tuple[str, ...],
    base: Mapping[str, Any],
    candidate: Mapping[str, Any],
) -> Iterator[Difference]:
    for field in fields:
        # Without the field, an older harness behaved as its default says.
        if field in base and field in candidate and base[field] != candidate[field]:
            yield Difference(kind, f"`{field}`", _text(base[field]), _text(candidate[field]))


def _text(value: object) -> str:
    """A field's value as a user would give it."""
    if value is None or value == "":
        return "default"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{key}={each}" for key, each in sorted(value.items())) or "none"
    if isinstance(value, list):
        return ",".join(map(str, value)) or "none"
    return str(value)


def _readings(base: Profile, candidate: Profile) -> Iterator[Difference]:
    others = {reading.name: reading for reading in candidate.environment}
    for reading in base.environment:
        other = others.get(reading.name)
        if other is None or reading.name in _OF_THE_MOMENT or is_ceiling(reading.name):
            continue
        if reading.value != other.value:
            yield Difference(_kind(reading.name), reading.name, _reading(reading), _reading(other))
    if base.harness_version != candidate.harness_version:
        versions = (base.harness_version, candidate.harness_version)
        yield Difference("software", "harness", *versions)


def _kind(name: str) -> str:
    if name == ITEMS:
        return "inputs"
    if name == WEIGHTS:
        return "model"
    if name in ("placement", "custom_ops", "added_copies") or name.startswith(
        ("nodes_on_", "provider_options_")
    ):
        return "session"
    if name.startswith("ort_"):
        return "ort"
    if name.startswith("runtime_"):
        return "session"
    if name.startswith("package_onnxruntime"):
        return "ort"
    if name.startswith((*_DRIVER, *(start for one in providers.every() for start in one.drivers))):
        return "driver"
    return "software" if name.startswith(("package_", "python")) else "machine"


def _reading(reading: Reading) -> str:
    if reading.value is None:
        return f"not known ({reading.reason})" if reading.reason else "not known"
    unit = f" {reading.unit}" if reading.unit not in ("", "1") else ""
    return f"{reading.value}{unit}"


def _timing(base: Profile, candidate: Profile) -> Iterator[Difference]:
    """What the durations include: copies or not."""
    one, other = (
        ", ".join(dict.fromkeys(p.duration_holds for p in profile.processes if p.duration_holds))
        for profile in (base, candidate)
    )
    if one and other and one != other:
        yield Difference("measurement", "what durations hold", one, other)
