"""A study as JSON that scripts may rely on, and the same figures as CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from harness.options import worded
from harness.reporters.scripts.strict import json_text
from harness.reporters.study_words import answers, contenders, crossover_told
from harness.reporters.visible import cell
from harness.study.figures import Study
from harness.study.judging import Judged
from harness.study.measured import Case, Contender, Measured, contender_of
from harness.study.ratios import Estimate

#: Columns of the CSV, and keys of each figure.
COLUMNS = (
    "figure", "model", "variant", "batch", "machine", "device", "setting", "against", "value",
    "unit", "low", "high", "basis", "reason", "doubt", "told", "files",
    "provider", "runtime", "shapes",
)  # fmt: skip


def study_text(study: Study, judged: Sequence[Judged]) -> str:
    """What ``study --json`` prints."""
    joined = study.joined
    return json_text(
        {
            "answers": [
                {"sentence": one.sentence, "evidence": list(one.evidence)} for one in answers(study)
            ],
            "machines": [
                {
                    "name": one.name, "cpu": one.cpu, "cpu_threads": one.threads,
                    "gpus": list(one.gpus), "profiles": one.profiles,
                }
                for one in joined.machines
            ],
            "figures": list(figures(study)),
            "claims": [_claim(one) for one in judged],
            "absent": [{"what": what, "reason": worded(why)} for what, why in study.absent],
            "incomplete": [str(file) for file in joined.incomplete],
            "copies": [{"file": str(file), "of": str(of)} for file, of in joined.copies],
            "left_out": [
                {"file": str(file), "reason": worded(why)} for file, why in joined.left_out
            ],
        }
    )  # fmt: skip


def study_csv(study: Study) -> str:
    """The figures as CSV, one a row."""
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(COLUMNS)
    for one in figures(study):
        one |= {name: " ".join(one[name]) for name in ("files", "shapes")}
        rows.writerow(["" if one[name] is None else cell(one[name]) for name in COLUMNS])
    return out.getvalue()


def figures(study: Study) -> Iterator[dict[str, Any]]:
    """Every figure in one form, by the names of ``COLUMNS``."""
    for one in study.measured:
        yield _of(one, "latency", one.latency, "ns")
        yield _of(one, "throughput", one.rate,
                  "items/s" if one.setting.batch is not None else "inferences/s")  # fmt: skip
        yield _of(one, "energy", one.energy, "J/item")
    for speed in study.speed_ups:
        for name, estimate in (("speed-up", speed.latency), ("throughput ratio", speed.rate)):
            yield _figure(name, speed.case, speed.other, speed.other_setting, estimate, "times",
                          against=f"{speed.base.device}, {speed.base_setting}")  # fmt: skip
    for best in study.winners:
        told = "it wins" if best.winner is not None else "cannot tell"
        against = ", ".join(filter(None, ("the next best device", best.currency)))
        yield _figure(f"best by {best.which}", best.case, best.first, best.setting, best.leads[0],
                      "times", against=against, told=told)  # fmt: skip
    known = contenders(study)
    for crossover in study.crossovers:
        at = crossover.crossing
        of = crossover.speed_ups[0].case
        case = of._replace(sha256="", shapes=(), batch=None)
        rows = tuple(row for speed in crossover.speed_ups for row in speed.latency.rows)
        between = at.kind == "between"
        estimate = Estimate(
            at.at if between else None,
            (float(at.low or 0), float(at.high or 0)) if between else None,
            "" if between else crossover_told(crossover, known),
            rows=rows,
        )
        yield _figure(
            "crossover", case, crossover.other, "", estimate, "batch",
            against=crossover.base.device, told=crossover_told(crossover, known),
        )  # fmt: skip
    for scaling in study.scalings:
        knee = scaling.knee
        rows = tuple(row for _, measured in scaling.points for row in measured.rows)
        ends = (float(knee.earliest), float(knee.latest))
        estimate = Estimate(float(knee.threads), ends, rows=rows)
        yield _figure("knee", scaling.case, scaling.contender, "", estimate, "threads")
        for (threads, measured), share in zip(scaling.points, scaling.shares, strict=True):
            yield _of(measured, "share of the best throughput", share, "1",
                      told=f"{threads} threads")  # fmt: skip
        for operator in scaling.operators:
            stops = operator.stops_at
            reason = "it scales on" if stops is None else "one trace each"
            yield _figure("operator stops scaling", scaling.case, scaling.contender, operator.name,
                          Estimate(None if stops is None else float(stops), reason=reason,
                                   rows=rows),
                          "threads", told=f"speed-up {operator.speed_up:.3g}")  # fmt: skip
        traced = {threads: measured.rows[:1] for threads, measured in scaling.points}
        for threads, nodes_ns, types in scaling.accounts:
            for name, value in (("operators together", nodes_ns), ("framework", types.framework_ns),
                                ("timed pass", types.clean_ns)):  # fmt: skip
                estimate = Estimate(value, reason="one trace", doubt=types.doubt,
                                    rows=traced[threads])  # fmt: skip
                yield _figure(
                    name, scaling.case, scaling.contender, f"{threads} threads", estimate, "ns"
                )
    for group in study.instances:
        yield _of(group.measured, "instances: gain", group.gain, "times")
        yield _of(group.measured, "instances: efficiency", group.efficiency, "1")
    for measured, kept in study.frontier:
        estimate = Estimate(float(kept), reason="by the figures", rows=measured.rows)
        yield _of(measured, "on the frontier", estimate, "1")
    for variant in study.variants:
        told = ", ".join(f"{name} {value}" for name, value in variant.errors)
        yield _of(variant.measured, "variant: speed-up", variant.speed_up, "times", told=told)
    for runtime in study.runtimes:
        yield _of(runtime.measured, "runtime: speed-up", runtime.speed_up, "times",
                  against=runtime.base)  # fmt: skip
    for peak in study.peaks:
        yield _of(peak.measured, "share of the nominal peak", peak.share, "1",
                  told=f"{peak.peak}: {peak.source}")  # fmt: skip
    for one in study.measured:
        row = one.rows[0]
        if row.setting.kind == "gpu":
            idle = row.idle_share
            yield _of(one, "idle share of the GPU",
                      Estimate(idle.value, reason=idle.reason or "one profile",
                               doubt=row.idle_doubt, rows=(row,)), "1")  # fmt: skip
    for one, cost in study.costs:
        yield _of(one, f"cost by {cost.by}", cost.estimate, f"{cost.currency}/million items",
                  told=f"{cost.inputs}; {cost.source}")  # fmt: skip


def _of(one: Measured, name: str, estimate: Estimate, unit: str, **more: str) -> dict[str, Any]:
    return _figure(name, one.case, one.contender, one.setting.told, estimate, unit, **more)


def _figure(
    name: str,
    case: Case,
    contender: Contender,
    setting: str,
    estimate: Estimate,
    unit: str,
    *,
    against: str = "",
    told: str = "",
) -> dict[str, Any]:
    low, high = _ends(estimate) or (None, None)
    own = [row for row in estimate.rows if contender_of(row)[:3] == contender[:3]]
    return {
        "figure": name,
        "model": case.model,
        "variant": case.variant,
        "batch": case.batch,
        "machine": contender.machine,
        "device": contender.device,
        "setting": setting,
        "against": against,
        "value": estimate.value,
        "unit": unit,
        "low": low,
        "high": high,
        "basis": estimate.basis,
        "reason": worded(estimate.reason),
        "doubt": worded(estimate.doubt),
        "told": told,
        "files": _files(estimate),
        "provider": _common(row.setting.provider for row in own),
        "runtime": _common(row.setting.runtime for row in own),
        "shapes": list(case.shapes),
    }


def _common(values: Iterable[str]) -> str:
    """What all have in common; empty where they differ, as of a best setting or a curve."""
    several = set(values)
    return several.pop() if len(several) == 1 else ""


def _ends(estimate: Estimate) -> tuple[float, float] | None:
    """The interval; none of what has no ratio because it costs nothing, which is infinite."""
    ends = estimate.interval
    return None if ends is None or math.isinf(ends[1]) else ends


def _files(estimate: Estimate) -> list[str]:
    return sorted({str(row.file) for row in estimate.rows})


def _claim(one: Judged) -> dict[str, Any]:
    return {
        "text": one.claim.says,
        "of": one.text.title,
        "source": one.text.source,
        "condition": f"{one.claim.figure} {one.claim.bound}",
        "which": one.claim.which,
        "verdict": str(one.verdict),
        "why": worded(one.why),
        "note": one.claim.note,
        "figures": [
            {
                "of": each.of,
                "value": each.estimate.value,
                "interval": _ends(each.estimate),
                "unit": each.unit,
                "verdict": str(each.verdict),
                "basis": each.estimate.basis,
                "reason": worded(each.estimate.reason),
                "doubt": worded(each.estimate.doubt),
                "files": _files(each.estimate),
            }
            for each in one.evidence
        ],
    }
