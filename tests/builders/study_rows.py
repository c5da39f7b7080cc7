"""Rows of a study with planted figures: what tests of its parts start from."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from harness.analysis.noise import NoiseVerdict
from harness.statistics.figures import Figure
from harness.statistics.verdicts import Side
from harness.study.rows import CPU, GPU, Host, Row, Setting

#: Scatter of the processes of a planted row, as a standard deviation of logarithms.
SCATTER = 0.01

#: Processes of a planted row.
PROCESSES = 10

HOST = Host(("host", "Xeon", "1", "8", "16"), frozenset({"GPU-1"}), "Xeon", 16, ("NVIDIA L4",))

SETTING = Setting(
    model="m", sha256="00", parameters=1000, shapes=("1x8",), batch=1, variant="", provider="cpu",
    kind=CPU, device="Xeon", runtime="ort 1.31", threads=0, instances=1, concurrency=1, options=(),
)  # fmt: skip

_GIVEN = {field.name for field in dataclasses.fields(Setting)}


def row(latency_ms: float, *, name: str = "", rate: float | None = None, **given: Any) -> Row:
    """A profile whose latency has this geometric mean over its processes, with a known scatter.

    Args:
        latency_ms: of an inference.
        name: of the file; unique where left out.
        rate: items a second; what the latency says where left out.
        given: fields of the setting, or of the row.
    """
    setting = {key: value for key, value in given.items() if key in _GIVEN}
    if setting.get("kind") == GPU:
        setting = {"device": "NVIDIA L4", "provider": "cuda", **setting}
    fields = {key: value for key, value in given.items() if key not in _GIVEN}
    processes = fields.pop("processes", PROCESSES)
    of = dataclasses.replace(SETTING, **setting)
    spread = np.linspace(-1, 1, processes) if processes > 1 else np.zeros(1)
    spread = SCATTER * spread / (spread.std(ddof=1) if processes > 1 else 1)
    per_item = latency_ms * 1e6 / (of.batch or 1)
    text = f"{of} {latency_ms} {fields} {name}"
    values: dict[str, Any] = {
        "file": Path(name or f"{abs(hash(text)):x}.h5"),
        "created": "2026-11-28T00:00:00+00:00",
        "complete": True,
        "machine": "box",
        "make": fields.get("machine", "box"),
        "host": HOST,
        "setting": of,
        "processes": processes,
        "sides": {"latency_ns": Side(np.log(latency_ms * 1e6) + spread)},
        "log_rate": np.log(1e9 / per_item if rate is None else rate) - spread,
        "rate_reason": "",
        "efficiency": Figure(None),
        "efficiency_interval": None,
        "noise": NoiseVerdict("quiet", (), waited=0.0),
        "joules": Figure(None, "no meter"),
        "joules_interval": None,
        "joules_doubt": "",
        "idle_share": Figure(None, "no pass"),
        "idle_doubt": "",
        "operators": Figure(None, "no trace"),
        "flops": None,
        "arithmetic": "",
        "facts": {},
        "copy_of": (text,),
    }
    return Row(**(values | fields))
