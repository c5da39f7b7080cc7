"""Sampled stacks for flame graphs: collapsed text, and the JSON that speedscope opens."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from harness.records import Stacks

#: Formats of ``export --stacks``.
FORMATS = ("collapsed", "speedscope")

_SCHEMA = "https://www.speedscope.app/file-format-schema.json"
_PLACE = re.compile(r"^(?P<name>.*) \((?P<file>.*?)(?::(?P<line>\d+))?\)$")


def write(stacks: Stacks, path: Path, form: str, name: str) -> int:
    """Writes the stacks.

    Args:
        stacks: what to write.
        path: the file; replaced if it exists.
        form: one of FORMATS.
        name: title that speedscope shows.

    Returns:
        Number of distinct stacks written.

    Raises:
        OSError: the file cannot be written.
    """
    text = collapsed(stacks) if form == "collapsed" else json.dumps(speedscope(stacks, name))
    path.write_text(text, encoding="utf-8", errors="backslashreplace")
    return len(stacks)


def collapsed(stacks: Stacks) -> str:
    """A line per stack: its frames separated by ``;``, and how often it was seen."""
    pairs = zip(stacks.stack, stacks.samples.tolist(), strict=True)
    return "".join(f"{stack} {samples}\n" for stack, samples in pairs)


def speedscope(stacks: Stacks, name: str) -> dict[str, Any]:
    """The stacks in speedscope's file format, weighted by the seconds they stand for."""
    places: dict[str, int] = {}
    samples = [
        [places.setdefault(frame, len(places)) for frame in stack.split(";")]
        for stack in stacks.stack
    ]
    weights = [count / stacks.rate_hz for count in stacks.samples.tolist()]
    return {
        "$schema": _SCHEMA,
        "exporter": "harness",
        "name": name,
        "shared": {"frames": [_frame(frame) for frame in places]},
        "profiles": [
            {
                "type": "sampled",
                "name": name,
                "unit": "seconds",
                "startValue": 0,
                "endValue": sum(weights),
                "samples": samples,
                "weights": weights,
            }
        ],
    }


def _frame(text: str) -> dict[str, str | int]:
    parts = _PLACE.match(text)
    if parts is None:
        return {"name": text}
    frame: dict[str, str | int] = {"name": parts["name"], "file": parts["file"]}
    if parts["line"] is not None:
        frame["line"] = int(parts["line"])
    return frame
