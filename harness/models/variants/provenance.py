"""What a variant says about itself, in the metadata of its file."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import onnx

from harness.errors import one_line
from harness.records import Reading

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PREFIX = "harness.variant."

#: Keys behind the prefix: the kind, name and SHA-256 of the original.
KIND, OF, OF_SHA256 = "kind", "of", "of_sha256"

#: Keys of the figures, and of why they are not known.
ERROR_MAX, ERROR_MEAN, COSINE, TOP1 = "error_max", "error_mean", "cosine", "top1"
ERROR_REASON, TOP1_REASON = "error_reason", "top1_reason"

#: By key of a figure, what it can be at least and at most.
_BOUNDS = {
    ERROR_MAX: (0.0, math.inf),
    ERROR_MEAN: (0.0, math.inf),
    COSINE: (-1.0, 1.0),
    TOP1: (0.0, 1.0),
}

_SOURCE = "metadata of the model file"

#: Longest text of a file that is believed.
_LONGEST = 100


def append(path: Path, told: Mapping[str, str]) -> None:
    """Adds to the metadata of a model file without reading it.

    Messages written one after the other are one message to protobuf, with the elements of both in
    its repeated fields (protobuf.dev, "Last One Wins" in its encoding guide).

    Raises:
        OSError: the file cannot be written.
    """
    more = onnx.ModelProto()
    for key, value in told.items():
        more.metadata_props.add(key=PREFIX + key, value=value)
    with path.open("ab") as stream:
        stream.write(more.SerializeToString())


def forget(model: onnx.ModelProto) -> None:
    """Removes what an earlier variant said: what is made of it is another one."""
    kept = [each for each in model.metadata_props if not each.key.startswith(PREFIX)]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)


def told(model: onnx.ModelProto) -> dict[str, str]:
    """What a model says about itself, by key; empty if it is no variant."""
    return {
        each.key.removeprefix(PREFIX): one_line(each.value, _LONGEST)
        for each in model.metadata_props
        if isinstance(each.key, str) and isinstance(each.value, str) and each.key.startswith(PREFIX)
    }


def facts(model: onnx.ModelProto) -> tuple[Reading, ...]:
    """What a variant says about itself, for a profile of it: ``variant`` and ``variant_FIGURE``.

    Errors are in the unit of the outputs; cosine and top-1 agreement are ratios. Empty for a model
    that is no variant.
    """
    said = told(model)
    if KIND not in said:
        return ()
    of = f"{said.get(OF, '')} {said.get(OF_SHA256, '')[:12]}".strip()
    text = f"{said[KIND]} of {of}" + (" (broken)" if said.get("broken") else "")
    source = f"{_SOURCE}; sha256 of the original"
    return (Reading("variant", text, source=source), *(_figure(said, key) for key in _BOUNDS))


def _figure(said: Mapping[str, str], key: str) -> Reading:
    name = f"variant_{key}"
    if key not in said:
        reason = said.get(ERROR_REASON) or (said.get(TOP1_REASON) if key == TOP1 else "")
        return Reading(name, None, reason=reason or "the model file does not say it")
    least, most = _BOUNDS[key]
    try:
        value = float(said[key])
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and least <= value <= most):
        return Reading(name, None, reason=f"the model file says {said[key]}, which it cannot be")
    return Reading(name, value, source=_SOURCE)
