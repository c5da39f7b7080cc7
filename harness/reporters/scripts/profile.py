"""A profile as JSON that scripts may rely on (keys as in profiles/FORMAT.md).

A figure that could not be obtained is null, with a ``reason`` next to it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from harness.analysis import branches, captured_graph, energy, host_or_device, noise
from harness.analysis.findings.rules import findings
from harness.analysis.findings.seen import Finding
from harness.analysis.gpu_work import KernelTable
from harness.analysis.instances import Together, together
from harness.analysis.memory import memory
from harness.analysis.noise import NoiseVerdict
from harness.analysis.operators.table import OperatorTable, operator_table
from harness.analysis.precision import precision
from harness.analysis.runtime import runtime
from harness.analysis.throughput import throughput
from harness.analysis.used_gpu import used_gpu
from harness.analysis.wall_time import spent
from harness.options import worded
from harness.records import Profile
from harness.reporters.scripts.strict import json_text
from harness.statistics import latency, steady_state
from harness.statistics.figures import Figure

#: Operators in the summary.
TOP_OPERATORS = 10


def summary(profile: Profile, *, verbose: bool = False) -> dict[str, Any]:
    """What ``profile --json`` and ``show --json`` print.

    Args:
        profile: to summarise.
        verbose: add where the wall time of the command went that measured it.
    """
    table = operator_table(profile)
    rows, accounts = _operators(table)
    verdict = noise.judge(profile)
    report = {
        "file": str(profile.path) if profile.path is not None else None,
        "complete": profile.complete,
        "model": {"name": profile.model.name, "sha256": profile.model.sha256},
        "provider": profile.provider,
        "runtime": _runtime(profile),
        "latency": _latency(profile),
        "throughput": _throughput(profile),
        "memory": _memory(profile),
        "cold_start": _figures(latency.cold_start(profile.processes)),
        "inputs": [
            {
                "name": record.name,
                "shape": list(record.shape),
                "dtype": record.dtype,
                "chosen_because": worded(record.chosen_because),
            }
            for record in profile.inputs
        ],
        **_device(profile),
        **_captured_graph(profile),
        "output_error": profile.output_check.value,
        "output_error_reason": profile.output_check.reason,
        "branches": [dataclasses.asdict(one) for one in branches.decided(profile)],
        "operators": rows[:TOP_OPERATORS],
        "noise": _noise(verdict),
        "host_or_device": [
            {**dataclasses.asdict(one), "side": one.side}
            for one in host_or_device.differences(profile)
        ],
        **_energy(profile),
        "absent": [{"what": what, "reason": worded(reason)} for what, reason in profile.absent],
        "findings": [_finding(one) for one in findings(profile, table)],
    }
    if verbose:
        told = spent(profile)
        if isinstance(told, Figure):
            report |= {"wall_time": None, "wall_time_reason": worded(told.reason)}
        else:
            report["wall_time"] = dataclasses.asdict(told)
    if not rows:
        report["operators_reason"] = accounts.get("reason", "no node ran")
    return report


def _runtime(profile: Profile) -> dict[str, Any]:
    """Which runtime; of another one than ONNX Runtime also how far its outputs are from that's."""
    used = runtime(profile)
    if used.is_ort:
        return {"name": used.name, "version": used.version}
    return {
        "name": used.name,
        "version": used.version,
        "options": dict(used.options),
        "settings": used.settings,
        "threads": used.threads,
        "output_error": used.output_error,
        "output_relative_error": used.output_relative_error,
        "output_cosine": used.output_cosine,
        "loop_ns": used.loop_ns,
    }


def _device(profile: Profile) -> dict[str, Any]:
    """Which device was used, and in which types it computed; no keys of a host."""
    gpu, found = used_gpu(profile), precision(profile)
    if gpu is None or isinstance(found, Figure):
        return {}
    return {
        "gpu": dataclasses.asdict(gpu),
        "precision": {
            "shares": dict(found.shares),
            "untold": found.untold,
            "options": dict(found.options),
            "reason": worded(found.reason),
        },
    }


def _captured_graph(profile: Profile) -> dict[str, Any]:
    """What a captured graph gains; no keys of a host."""
    if used_gpu(profile) is None:
        return {}
    told = captured_graph.gain(profile)
    if isinstance(told, Figure):
        return {"captured_graph": None, "captured_graph_reason": worded(told.reason)}
    return {
        "captured_graph": {
            "option": told.option,
            "plain_ns": told.typical_plain_ns,
            "captured_ns": told.typical_captured_ns,
            "processes": len(told.plain_ns),
        }
    }


def _finding(found: Finding) -> dict[str, Any]:
    return {**dataclasses.asdict(found), "next_step": worded(found.next_step)}


def _noise(verdict: NoiseVerdict) -> dict[str, Any]:
    report = dataclasses.asdict(verdict)
    if verdict.waited is None:
        report["waited_reason"] = (
            "the host did not report it for every process, or the timed passes were too short"
        )
    if verdict.sampler is None:
        report["sampler_reason"] = "no device was sampled"
    return report


def summary_text(profile: Profile, *, verbose: bool = False) -> str:
    """The summary as one JSON object; arguments as for ``summary``."""
    return json_text(summary(profile, verbose=verbose))


def operators_text(table: OperatorTable | Figure, limit: int | None = None) -> str:
    """What ``ops --json`` prints: all operators or the first ``limit``, and the accounts of all."""
    rows, accounts = _operators(table)
    return json_text({"operators": rows[:limit], "accounts": accounts})


def kernels_text(table: KernelTable | Figure, limit: int | None = None) -> str:
    """What ``ops --by kernel --json`` prints: all functions, or the first ``limit``."""
    if isinstance(table, Figure):
        return json_text({"kernels": None, "kernels_reason": worded(table.reason)})
    shown = dataclasses.replace(table, kernels=table.kernels[:limit])
    return json_text(dataclasses.asdict(shown))


def _figures(figures: Mapping[str, Figure]) -> dict[str, Any]:
    report: dict[str, Any] = {}
    for name, figure in figures.items():
        report[name] = figure.value
        if figure.value is None:
            report[f"{name}_reason"] = worded(figure.reason)
    return report


def _latency(profile: Profile) -> dict[str, Any]:
    if not profile.processes:
        names = ("median_ns", "mean_ns", "min_ns", "p90_ns", "p99_ns", "interval_ns")
        none = Figure(None, "no process has finished")
        return {**_figures(dict.fromkeys(names, none)), "samples": 0, "processes": 0}
    figures = latency.latency(profile.processes)
    report: dict[str, Any] = {
        "median_ns": figures.median_ns,
        "mean_ns": figures.mean_ns,
        "min_ns": figures.min_ns,
        "samples": figures.samples,
        "processes": figures.processes,
        "ended_by": latency.ended_by(profile),
        **_figures({"p90_ns": figures.p90_ns, "p99_ns": figures.p99_ns}),
        "states": steady_state.states(profile.processes),
    }
    for name in ("p90", "p99"):
        interval = getattr(figures, f"{name}_interval_ns")
        report[f"{name}_interval_ns"] = interval and list(interval)
        if interval is None:
            report[f"{name}_interval_ns_reason"] = (
                f"a process has too few samples for its {name}, or there are 2 to 4 processes"
            )
    report["interval_ns"] = figures.interval_ns and list(figures.interval_ns)
    if figures.interval_ns is None:
        report["interval_ns_reason"] = figures.interval_reason
    return report


#: Keys for callers side by side; null where there is one session with one caller.
_OF_INSTANCES = (
    "instances", "threads", "callers", "groups", "window_s", "efficiency", "efficiency_interval",
    "alone_inferences_per_s", "per_instance", "spread", "skew_ns", "marked_groups", "overlap",
    "pss_bytes", "local_pages", "cpu_wait",
)  # fmt: skip


def _throughput(profile: Profile) -> dict[str, Any]:
    """Inferences and items per second; null with the reason where there are none."""
    found = throughput(profile)
    names = ("inferences_per_s", "items_per_s", "interval_items_per_s", "items_per_inference")
    if isinstance(found, Figure):
        report = _figures(dict.fromkeys(names, found))
    else:
        report = {name: getattr(found, name) for name in names}
        report["interval_items_per_s"] = found.interval_items_per_s and list(
            found.interval_items_per_s
        )
        if found.interval_items_per_s is None:
            report["interval_items_per_s_reason"] = "fewer than two processes"
        report["items_per_inference_reason"] = found.items_told_by or found.items_reason
    side_by_side = together(profile)
    if side_by_side is None:
        return {**report, **dict.fromkeys(_OF_INSTANCES)}
    return {**report, **_of_instances(side_by_side)}


def _of_instances(found: Together) -> dict[str, Any]:
    interval = found.efficiency_interval
    return {
        "instances": found.instances,
        "threads": found.threads or None,
        **({} if found.threads else {"threads_reason": "ONNX Runtime chose"}),
        "callers": found.callers,
        "groups": found.groups,
        "window_s": found.window_s,
        "efficiency_interval": interval and list(interval),
        **({} if interval else {"efficiency_interval_reason": "fewer than two groups with both"}),
        "per_instance": [
            {
                "number": one.number,
                "cpus": one.cpus,
                "memory": one.memory or None,
                **({} if one.memory else {"memory_reason": "the kernel does not tell it"}),
                "inferences_per_s": one.inferences_per_s,
                "median_ns": one.median_ns,
                **_figures({"p99_ns": one.p99_ns}),
                "of_others": one.of_others,
                "of_others_interval": one.of_others_interval and list(one.of_others_interval),
                "cpu_wait": one.waiting,
                **(
                    {}
                    if one.waiting is not None
                    else {"cpu_wait_reason": "the kernel does not count it"}
                ),
                "slow": one.is_slow,
            }
            for one in found.each
        ],
        "spread": found.spread,
        "skew_ns": found.skew_ns,
        "marked_groups": found.marked,
        "overlap": found.overlap,
        **_figures(
            {
                "efficiency": found.efficiency,
                "alone_inferences_per_s": found.alone_per_s,
                "pss_bytes": found.pss_bytes,
                "local_pages": found.local_pages,
                "cpu_wait": found.waiting,
            }
        ),
    }


def _memory(profile: Profile) -> dict[str, Any]:
    """Bytes, null with the reason where they are not known, and the largest tensors."""
    found = memory(profile)
    names = ("peak_bytes", "weights_bytes", "arena_bytes")
    report = _figures({name: getattr(found, name) for name in names})
    report = {name: int(v) if isinstance(v, float) else v for name, v in report.items()}
    report["largest"] = [dataclasses.asdict(one) for one in found.largest]
    if found.largest_reason:
        report["largest_reason"] = found.largest_reason
    return report


def _energy(profile: Profile) -> dict[str, Any]:
    """Energy of each device by name, or why there is none."""
    found = energy.energy(profile)
    if not found:
        reasons = [f"{what}: {worded(why)}" for what, why in profile.absent if "energy" in what]
        return {"energy": None, "energy_reason": "; ".join(reasons) or "no device reports it"}
    report: dict[str, Any] = {}
    for device in found:
        figures = {
            name: getattr(device, name)
            for name in (
                *("joules", "item_j", "counter_j", "power_j", "above_idle_j", "above_warm_idle_j"),
                *("watts", "idle_watts", "warm_idle_watts"),
            )
        }
        report[device.device] = {
            **_figures(figures),
            "interval_j": device.interval_j and list(device.interval_j),
            "period_s": device.period_s,
            **({} if device.period_s is not None else {"period_s_reason": "not found"}),
            "verdict": device.verdict,
            "causes": list(map(worded, device.causes)),
        }
    return {"energy": report}


def _operators(table: OperatorTable | Figure) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    if isinstance(table, Figure):
        return [], {"framework_ns": None, "residual": None, "reason": worded(table.reason)}
    rows = []
    for operator in table.operators:
        row = dataclasses.asdict(operator)
        del row["order"]
        row["label"] = operator.label
        if operator.kernel_ns is not None:
            row |= {
                "host_ns": operator.median_ns,
                "device_ns": operator.kernel_ns,
                "idle_caused_ns": operator.idle_ns,
            }
            if operator.idle_ns is None and isinstance(table.device, Figure):
                row["idle_caused_ns_reason"] = worded(table.device.reason)
            if operator.idle_doubt:
                row["idle_doubt"] = worded(operator.idle_doubt)
        if operator.interval_ns is None:
            row["interval_ns_reason"] = "fewer than two processes"
        rows.append(row)
    accounts = dataclasses.asdict(table.accounts) | {
        "source": table.source,
        "inferences": table.inferences,
        "resolution_ns": table.resolution_ns,
        "profiler_tax": table.profiler_tax,
        "uncovered": table.uncovered,
        "known_work": table.known_work,
    }
    if table.accounts.tracer_cost_ns is None:
        accounts["reason"] = "ORT's profiler hides its cost in the nodes and the framework"
    if not isinstance(table.device, Figure):
        accounts["device"] = dataclasses.asdict(table.device)
    elif any(row.kernel_ns is not None for row in table.operators):
        accounts |= {"device": None, "device_reason": worded(table.device.reason)}
    return rows, accounts
