"""What settings do on one device: threads, sessions side by side, variants and runtimes."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Sequence

from harness.study import curves
from harness.study.curves import Knee, Scaling, Share
from harness.study.known_devices import known_device
from harness.study.measured import Case, Contender, Measured, by_case, fastest
from harness.study.ratios import LATENCY, RATE, Estimate, basis, busy, inverse, ratio, scaled
from harness.study.rows import BROKEN, CPU, RUNTIME, VARIANT, OperatorTypes, Row, Setting

#: Fewest numbers of threads that make a curve: of a machine with two CPUs there are no more.
FEWEST_THREADS = 2

#: Float32 arithmetic of a GPU goes through its tensor cores where this option says so.
_TF32 = "use_tf32=1"


@dataclasses.dataclass(frozen=True, slots=True)
class ThreadScaling:
    """Throughput over threads.

    Attributes:
        case: of what.
        contender: on what.
        points: (threads, what was measured), in rising order.
        shares: of the best throughput, in the same order.
        knee: where threads stop to pay.
        operators: by type, those that take most of the time first.
        operators_reason: why there are none; empty if there are.
        accounts: (threads, sum of the operator types in ns, framework in ns, timed pass in ns,
            residual, doubt) where known.
    """

    case: Case
    contender: Contender
    points: tuple[tuple[int, Measured], ...]
    shares: tuple[Estimate, ...]
    knee: Knee
    operators: tuple[Scaling, ...]
    operators_reason: str
    accounts: tuple[tuple[int, float, OperatorTypes], ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Instances:
    """Sessions side by side.

    Attributes:
        measured: the group.
        gain: items a second over the best single session on the same device.
        efficiency: items a second over so many times a single session with as many threads.
    """

    measured: Measured
    gain: Estimate
    efficiency: Estimate


@dataclasses.dataclass(frozen=True, slots=True)
class VariantGain:
    """What a variant gains, and what it costs in error.

    Attributes:
        measured: the variant.
        speed_up: latency of the model as it was made over that of the variant.
        errors: (name, value) of the facts that tell its error.
    """

    measured: Measured
    speed_up: Estimate
    errors: tuple[tuple[str, str], ...]


@dataclasses.dataclass(frozen=True, slots=True)
class RuntimeRatio:
    """Another runtime on the same device.

    Attributes:
        measured: with the other runtime.
        base: name of the runtime that it is held against.
        speed_up: latency with the base over that with the other.
    """

    measured: Measured
    base: str
    speed_up: Estimate


@dataclasses.dataclass(frozen=True, slots=True)
class PeakShare:
    """Share of a device's nominal peak.

    Attributes:
        measured: the setting of a case with most items a second.
        rate: operations a second.
        share: of the nominal peak.
        peak: what it is: ``494 TFLOP/s tf32``.
        source: of the peak.
    """

    measured: Measured
    rate: Estimate
    share: Estimate
    peak: str
    source: str


def _single(one: Measured) -> bool:
    return one.setting.instances == 1 and one.setting.concurrency == 1


def scalings(measured: Iterable[Measured]) -> tuple[ThreadScaling, ...]:
    """Throughput over the threads of one session, on CPUs."""
    groups: dict[tuple[object, ...], dict[int, Measured]] = {}
    for one in measured:
        of = one.setting
        if of.threads and _single(one) and one.rate.value is not None and of.kind == CPU:
            key = (one.case, one.contender, of.provider, of.runtime, of.options, of.configuration)
            groups.setdefault(key, {})[of.threads] = one
    return tuple(
        _scaling(sorted(group.items())) for group in groups.values() if len(group) >= FEWEST_THREADS
    )


def _scaling(points: Sequence[tuple[int, Measured]]) -> ThreadScaling:
    best = max((one for _, one in points), key=lambda one: one.rate.value or 0.0)
    shares, simple = [], []
    for threads, one in points:
        if one is best:
            share = Estimate(1.0, (1.0, 1.0), basis=basis(one.rows), rows=one.rows)
        else:
            share = ratio(best.rows, one.rows, RATE)
        shares.append(share)
        value = share.value or 0.0
        low, high = share.decisive or (0.0, math.inf)
        simple.append(Share(threads, value, low, high))
    accounts = []
    times: dict[str, dict[int, float]] = {}
    reasons = []
    for threads, one in points:
        told = one.rows[0].operators
        if not isinstance(told, OperatorTypes):
            reasons.append(f"with {threads} threads: {told.reason}")
            continue
        accounts.append((threads, sum(told.times_ns.values()), told))
        for name, value in told.times_ns.items():
            if value > 0:
                times.setdefault(name, {})[threads] = value
    operators = [curves.scaling(name, of) for name, of in times.items() if len(of) > 1]
    operators.sort(key=lambda one: (-max(one.times_ns.values()), one.name))
    return ThreadScaling(
        points[0][1].case, points[0][1].contender, tuple(points), tuple(shares),
        curves.knee(simple), tuple(operators), "; ".join(reasons[:1]) if not operators else "",
        tuple(accounts),
    )  # fmt: skip


def side_by_side(measured: Sequence[Measured]) -> tuple[Instances, ...]:
    """Groups of sessions against single ones on the same device."""
    found = []
    for devices in by_case(measured).values():
        for settings in devices.values():
            alone = [one for one in settings if one.setting.instances == 1]
            best = fastest(alone, RATE)
            for one in settings:
                count = one.setting.instances
                if count == 1:
                    continue
                like = [
                    each for each in alone
                    if _as_each(each.setting) == _as_each(one.setting)
                ]  # fmt: skip
                single = fastest(like, RATE)
                none = Estimate(None, reason="no single session was measured", rows=one.rows)
                missing = "no single session with as many threads was measured"
                linear = _efficiency(one.rows)
                if linear.value is None and single is not None:
                    linear = scaled(ratio(single.rows, one.rows, RATE), 1 / count)
                elif linear.value is None:
                    linear = dataclasses.replace(linear, reason=linear.reason or missing)
                gain = none if best is None else ratio(best.rows, one.rows, RATE)
                found.append(Instances(one, gain, linear))
    return tuple(found)


def _as_each(of: Setting) -> tuple[object, ...]:
    """What each of the sessions side by side was given."""
    return of.provider, of.threads, of.runtime, of.concurrency


def _efficiency(rows: tuple[Row, ...]) -> Estimate:
    """As the groups themselves tell, of which each measured one of its instances alone."""
    values = [row.efficiency.value for row in rows if row.efficiency.value is not None]
    ends = [row.efficiency_interval for row in rows if row.efficiency_interval is not None]
    if len(values) < len(rows):
        reason = next((row.efficiency.reason for row in rows if row.efficiency.value is None), "")
        return Estimate(None, reason=reason, rows=rows)
    value = math.exp(sum(map(math.log, values)) / len(values))
    if len(ends) < len(rows):
        return Estimate(value, reason="one group, which cannot show how much groups differ",
                        basis=basis(rows), rows=rows)  # fmt: skip
    # Of several occasions the interval covers those of all.
    interval = (min(low for low, _ in ends), max(high for _, high in ends))
    return Estimate(value, interval, doubt=busy(rows, RATE), basis=basis(rows), rows=rows)


def frontier(measured: Iterable[Measured]) -> tuple[tuple[Measured, bool], ...]:
    """Settings, and whether no other of the same model beats them in latency and throughput.

    Variants that are broken are not among them: fast and wrong beats nothing.
    """
    groups: dict[str, list[Measured]] = {}
    for one in measured:
        sound = not one.case.variant.endswith(BROKEN)
        if sound and one.latency.value is not None and one.rate.value is not None:
            groups.setdefault(one.case.model, []).append(one)
    return tuple(
        (one, kept)
        for group in groups.values()
        for one, kept in zip(
            group,
            curves.frontier([(m.latency.value or 0.0, m.rate.value or 0.0) for m in group]),
            strict=True,
        )
    )


def variants(measured: Sequence[Measured]) -> tuple[VariantGain, ...]:
    """Variants against their models, in the same settings."""
    found = []
    for one in measured:
        if not one.case.variant:
            continue
        plain = [
            other for other in measured
            if (other.case.model, other.case.batch, other.case.variant, other.contender)
            == (one.case.model, one.case.batch, "", one.contender)
            and other.setting.original == one.setting.original
            and dataclasses.replace(
                other.setting, sha256="", variant="", parameters=0, configuration=""
            ) == dataclasses.replace(
                one.setting, sha256="", variant="", parameters=0, configuration=""
            )
        ]  # fmt: skip
        base = fastest(plain)
        speed_up = (
            Estimate(None, reason="the model as it was made was not measured so", rows=one.rows)
            if base is None
            else inverse(ratio(base.rows, one.rows, LATENCY))
        )
        facts = one.rows[0].facts
        errors = tuple(
            (name.removeprefix(f"{VARIANT}_").replace("_", " "), f"{value:.3g}"
             if isinstance(value, float) else str(value))
            for name, value in sorted(facts.items())
            if name.startswith(f"{VARIANT}_")
        )  # fmt: skip
        found.append(VariantGain(one, speed_up, errors))
    return tuple(found)


def runtimes(measured: Sequence[Measured]) -> tuple[RuntimeRatio, ...]:
    """Runtimes against ONNX Runtime, or the first version of it, each in its best setting."""
    found = []
    for devices in by_case(measured).values():
        for settings in devices.values():
            alone = [one for one in settings if _single(one)]
            by_runtime: dict[str, list[Measured]] = {}
            for one in alone:
                by_runtime.setdefault(one.setting.runtime, []).append(one)
            # ONNX Runtime is the base where it is there; of several versions the first.
            names = sorted(by_runtime, key=_by_version)
            base = fastest(by_runtime[names[0]]) if len(names) > 1 else None
            for name in names[1:]:
                other = fastest(by_runtime[name])
                if base is not None and other is not None:
                    told = inverse(ratio(base.rows, other.rows, LATENCY))
                    found.append(RuntimeRatio(other, names[0], told))
    return tuple(found)


def _by_version(runtime: str) -> tuple[bool, list[tuple[int, str]]]:
    """ONNX Runtime first, 1.9 before 1.24."""
    parts = re.split(r"(\d+)", runtime)
    return not runtime.startswith(RUNTIME), [
        (int(part[:18]), "") if part.isdecimal() else (-1, part) for part in parts
    ]


def peaks(measured: Iterable[Measured]) -> tuple[PeakShare, ...]:
    """Shares of nominal peaks, where the device and the arithmetic are known."""
    found = []
    for devices in by_case(measured).values():
        for contender, settings in devices.items():
            known, best = known_device(contender.device), fastest(settings, RATE)
            row = None if best is None else best.rows[0]
            if known is None or best is None or row is None or row.flops is None:
                continue
            tensor = any(_TF32 in str(value) for value in row.facts.values())
            kind = "tf32" if row.arithmetic == "float32" and tensor else row.arithmetic
            kind = kind if kind in known.peaks else row.arithmetic
            peak = known.peaks.get(kind)
            if peak is None:
                continue
            each = row.flops / (row.setting.batch or 1)
            rate = scaled(best.rate, each)
            found.append(
                PeakShare(best, rate, scaled(rate, 1 / peak), f"{peak / 1e12:g} TFLOP/s {kind}",
                          known.source)
            )  # fmt: skip
    return tuple(found)
