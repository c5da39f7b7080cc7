"""The layouts of a model's instances: what ``layout --json`` prints.

A figure that could not be had is null, with a ``reason``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from harness.machine.cpu_lists import cpu_ranges
from harness.options import worded
from harness.reporters.scripts.strict import json_text
from harness.study.layouts.candidates import Layout
from harness.study.layouts.records import LayoutStudy, Told, gained

#: Why a layout has no CPUs and no number of threads.
_UNPLACED = "not placed: ONNX Runtime chooses the threads"


def layout_text(study: LayoutStudy, command: Callable[[Layout], str]) -> str:
    """What ``layout --json`` prints.

    Args:
        study: what was found.
        command: what to type to take a profile of a layout.
    """
    found = study.found

    def told(number: int | None) -> dict[str, Any] | None:
        return None if number is None else _told(found.told[number], command)

    gain = gained(found)
    report: dict[str, Any] = {
        "model": study.model,
        "complete": found.ended_by != "interrupted",
        "best": told(found.best),
        "default": told(found.default),
        "frontier": [told(number) for number in found.frontier],
        "gain": None
        if gain is None
        else {"ratio": gain.ratio, "interval": gain.interval, "verdict": gain.verdict},
        "ended_by": found.ended_by,
        "undecided": [told(number) for number in found.undecided],
        "layouts": [told(number) for number in range(len(found.told))]
        + [_unfit(one.layout, one.reason, command) for one in study.unfit],
        "margin": found.margin,
        "latency_limit_ms": None if study.limit_ns is None else study.limit_ns * 1e-6,
        "items_per_inference": study.items.value if study.items.value is not None else 1,
        "items_reason": worded(study.items.reason),
        "groups": found.groups,
        "spent_s": found.spent_s,
        "budget_s": study.budget_s,
        "seed": found.seed,
    }
    return json_text(report)


def _layout(layout: Layout, command: Callable[[Layout], str]) -> dict[str, Any]:
    return {
        "placement": layout.placement,
        "instances": layout.instances,
        "threads": layout.threads or None,
        "memory": layout.memory or None,
        "cpus": [cpu_ranges(cpus) for cpus in layout.cpus] or None,
        "command": command(layout),
    }


def _told(told: Told, command: Callable[[Layout], str]) -> dict[str, Any]:
    return {
        **_layout(told.layout, command),
        "items_per_s": told.items_per_s,
        "interval": told.interval,
        "median_ns": told.median_ns,
        "p99_ns": told.p99_ns,
        "over_best": told.over_best,
        "over_best_interval": told.over_best_interval,
        "groups": told.groups,
        "confirmed": told.confirmed,
        "reason": worded(told.reason) or ("" if told.layout.places else _UNPLACED),
    }


def _unfit(layout: Layout, reason: str, command: Callable[[Layout], str]) -> dict[str, Any]:
    nothing = dict.fromkeys(
        ("items_per_s", "interval", "median_ns", "p99_ns", "over_best", "over_best_interval")
    )
    return {
        **_layout(layout, command),
        **nothing,
        "groups": 0,
        "confirmed": False,
        "reason": f"not tried: {worded(reason)}",
    }
