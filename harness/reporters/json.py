"""A profile as JSON that scripts may rely on (keys as in profiles/FORMAT.md).

A figure that could not be had is null, with a ``reason`` next to it.
"""

from __future__ import annotations

import json
from typing import Any

from harness import statistics
from harness.records import Profile
from harness.statistics import Figure

#: Operators in the summary.
TOP_OPERATORS = 10


def summary(profile: Profile) -> dict[str, Any]:
    """What ``profile --json`` and ``show --json`` print."""
    rows, _ = _operators(profile, "node", "time")
    noise = statistics.noise(profile.processes)
    return {
        "file": str(profile.path) if profile.path is not None else None,
        "complete": profile.complete,
        "model": {"name": profile.model.name, "sha256": profile.model.sha256},
        "provider": profile.provider,
        "latency": _latency(profile),
        "cold_start": {
            name: figure.value for name, figure in statistics.cold_start(profile.processes).items()
        },
        "inputs": [
            {
                "name": record.name,
                "shape": list(record.shape),
                "dtype": record.dtype,
                "chosen_because": record.chosen_because,
            }
            for record in profile.inputs
        ],
        "output_error": profile.output_check.value,
        "output_error_reason": profile.output_check.reason,
        "operators": rows[:TOP_OPERATORS],
        "noise": {"verdict": noise.verdict, "causes": list(noise.causes)},
        "energy": None,
        "energy_reason": "this version records no energy",
        "absent": [{"what": what, "reason": reason} for what, reason in profile.absent],
    }


def summary_text(profile: Profile) -> str:
    """The summary as one JSON object."""
    return json.dumps(summary(profile), ensure_ascii=False)


def operators_text(profile: Profile, by: str, sort: str) -> str:
    """What ``ops --json`` prints: every operator and the accounts."""
    rows, accounts = _operators(profile, by, sort)
    return json.dumps({"operators": rows, "accounts": accounts}, ensure_ascii=False)


def _latency(profile: Profile) -> dict[str, Any]:
    figures = statistics.latency(profile.processes)
    report: dict[str, Any] = {
        "median_ns": figures.median_ns,
        "mean_ns": figures.mean_ns,
        "min_ns": figures.min_ns,
        "samples": figures.samples,
        "processes": figures.processes,
    }
    for name, figure in (("p90_ns", figures.p90_ns), ("p99_ns", figures.p99_ns)):
        report[name] = figure.value
        if figure.value is None:
            report[f"{name}_reason"] = figure.reason
    report["interval_ns"] = figures.interval_ns and list(figures.interval_ns)
    if figures.interval_ns is None:
        report["interval_ns_reason"] = figures.interval_reason
    return report


def _operators(profile: Profile, by: str, sort: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    table = statistics.operator_table(profile, by, sort)
    if isinstance(table, Figure):
        return [], {"framework_ns": None, "residual": None, "reason": table.reason}
    rows = [
        {
            "node": row.node,
            "op_type": row.op_type,
            "provider": row.provider,
            "median_ns": row.median_ns,
            "total_ns": row.total_ns,
            "p10_ns": row.p10_ns,
            "p90_ns": row.p90_ns,
            "share": row.share,
            "calls": row.calls,
            "source": row.source,
        }
        for row in table.operators
    ]
    accounts = table.accounts
    return rows, {
        "nodes_ns": accounts.nodes_ns,
        "framework_ns": accounts.framework_ns,
        "traced_ns": accounts.traced_ns,
        "clean_ns": accounts.clean_ns,
        "residual": accounts.residual,
        "dropped_events": accounts.dropped,
        "source": table.source,
        "inferences": table.inferences,
    }
