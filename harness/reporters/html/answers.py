"""The first screen: how long, how sure, where, on what, whether to trust it, and the cost."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from harness.analysis.instances import Together
from harness.analysis.operators.table import OperatorTable
from harness.analysis.precision import Precision, precision
from harness.analysis.runtime import runtime
from harness.analysis.used_gpu import used_gpu
from harness.options import flag, worded
from harness.records import Profile
from harness.reporters.html import plots
from harness.reporters.html.digest import Digest
from harness.reporters.html.markup import Content, Markup, element, foreign, tooltip
from harness.reporters.html.quantities import (
    axis_duration,
    counted,
    duration,
    energy,
    metric,
    percent,
    size,
)
from harness.reporters.numbers import rate
from harness.reporters.wording import runtime_line
from harness.statistics.figures import Figure

#: How many op types the first screen names.
_NAMED = 3

#: Characters of what is told about a runtime.
_RUNTIME = 300

_GOOD, _DOUBTFUL, _BAD = "good", "doubtful", "bad"


def answers(digest: Digest, *, together: bool | None = None) -> Markup:
    """A card for each question.

    Args:
        digest: of the profile.
        together: whether there is one for the throughput; None for where callers are side by side.
    """
    grouped = digest.together is not None if together is None else together
    return element(
        "div",
        card("How many together?", *how_many(digest)) if grouped else None,
        card("How long?", *how_long(digest)),
        card("How sure?", *how_sure(digest)),
        card("Where?", *where(digest)),
        card("On what?", *on_what(digest)),
        card("Trust it?", *trust(digest)),
        card("At what cost?", *cost(digest)),
        class_="cards",
    )


def card(question: str, *answer: Content) -> Markup:
    """One question with its answer."""
    return element("section", element("h3", question), answer, class_="card")


def how_long(digest: Digest) -> list[Content]:
    """The median, the fastest sample, the tail and the first inference."""
    figures = digest.latency
    if figures is None:
        return [_none("no process has finished a timed pass")]
    mean = " (geometric mean)" if figures.processes > 1 else ""
    first = digest.cold_start["first_inference_ns"].value
    facts: list[tuple[str, Content]] = [("fastest", duration(figures.min_ns))]
    for name, figure in (("p90", figures.p90_ns), ("p99", figures.p99_ns)):
        told = duration(figure.value) if figure.value is not None else _absent(figure.reason)
        facts.append((name, told))
    if first is not None:
        times = f"{first / figures.median_ns:.1f}\u00a0×"
        facts.append(("first inference", f"{duration(first)} ({times} the median)"))
    return [
        big(duration(figures.median_ns)),
        note(
            f"median of {counted(figures.processes, digest.unit, digest.units)}{mean}, "
            f"{counted(figures.samples, 'sample')}"
        ),
        listed(facts),
    ]


def how_many(digest: Digest) -> list[Content]:
    """What all callers reach together, and what being side by side costs them."""
    found, rates = digest.together, digest.throughput
    told: list[Content] = []
    if isinstance(rates, Figure):
        told.append(_none(rates.reason))
    else:
        several = rates.items_per_inference > 1
        noun = "items/s" if several else "inferences/s"
        told.append(big(f"{rate(rates.items_per_s)}\u00a0{noun}"))
        if rates.interval_items_per_s is not None:
            low, high = rates.interval_items_per_s
            told.append(note(f"{rate(low)} to {rate(high)} with 95 % confidence"))
        if several:
            told.append(note(f"{rate(rates.inferences_per_s)} inferences/s"))
    if found is None:
        return [*told, note("one session with one caller")]
    of_each = counted(found.threads, "thread") if found.threads else "threads that ORT chose"
    what = f"{counted(found.instances, 'instance')} of {of_each}"
    if found.callers > 1:
        what += f", {found.callers} callers each"
    told.append(
        note(f"{what}; {counted(found.groups, 'group')}, window {found.window_s:.3g}\u00a0s")
    )
    efficiency = _absent(found.efficiency.reason)
    if found.efficiency.value is not None:
        efficiency = element("b", percent(found.efficiency.value))
        if found.efficiency_interval is not None:
            low, high = found.efficiency_interval
            efficiency = Markup(f"{efficiency} ({percent(low)} to {percent(high)})")
    skew = duration(found.skew_ns)
    if found.marked:
        skew += f", above 1\u00a0ms in {counted(found.marked, 'group')}"
    alone = found.alone_per_s.value
    facts: list[tuple[str, Content]] = [
        ("efficiency", efficiency),
        ("one alone", None if alone is None else f"{rate(alone)}\u00a0inferences/s"),
        ("fastest over slowest", f"{found.spread:.2f}" if len(found.each) > 1 else None),
        ("slow", _slow(found) if found.slow else None),
        ("began within", skew if len(found.each) > 1 else None),
        ("memory in all", _told(found.pss_bytes, size)),
        ("local pages", _told(found.local_pages, percent)),
        ("waiting for CPUs", _told(found.waiting, percent)),
    ]
    return [*told, listed(facts)]


def _slow(found: Together) -> Markup:
    one = "instance" if found.instances > 1 else "caller"
    first = found.slow[0]
    told = f"{one} {first.number}" if len(found.slow) == 1 else counted(len(found.slow), one)
    return element("span", told, class_="bad")


def _told(figure: Figure, form: Callable[[float], str]) -> Content:
    return _absent(figure.reason) if figure.value is None else form(figure.value)


def how_sure(digest: Digest) -> list[Content]:
    """The interval, and the medians of the processes behind it."""
    figures = digest.latency
    if figures is None:
        return [_none("there is no latency")]
    if figures.interval_ns is None:
        return [big("unknown"), note(figures.interval_reason)]
    low, high = figures.interval_ns
    half = (high - low) / 2 / figures.median_ns
    return [
        big(f"± {percent(half)}" if half < 1 else "over ± 100 %"),
        note(
            f"{duration(low)} to {duration(high)} with 95 % confidence, "
            f"from the differences between {digest.units}"
        ),
        _dots(digest, low, high),
    ]


def where(digest: Digest) -> list[Content]:
    """The op types that take the most time."""
    table = digest.tables["op"]
    if isinstance(table, Figure):
        return [_none(table.reason)]
    rows = table.operators
    if not rows:
        return [_none("no node ran")]
    bars: list[Content] = []
    at = 0.0
    for row in rows:
        tip = tooltip(row.op_type, f"{percent(row.share)}, {duration(row.median_ns)}, {row.label}")
        kind = digest.colours.get(row.op_type, "cx")
        bars.append(plots.rectangle(at, 0, row.share * 100, 100, kind, tip))
        at += row.share * 100
    named = [
        element(
            "li",
            element("i", class_=f"key {digest.colours.get(row.op_type, 'cx')}"),
            foreign(row.op_type, 28),
            element("span", f"{duration(row.median_ns)}, {row.label}", class_="quiet"),
            element("b", percent(row.share)),
        )
        for row in rows[:_NAMED]
    ]
    accounts = table.accounts
    outside = accounts.framework_ns / (accounts.traced_ns or 1.0)
    return [
        big(foreign(rows[0].op_type, 18), " ", percent(rows[0].share)),
        element("svg", bars, class_="bar", role="img", aria_label="share of each op type"),
        element("ul", named, class_="shares"),
        note(f"outside of all nodes (framework): {percent(outside)}"),
    ]


def on_what(digest: Digest) -> list[Content]:
    """The machine, the provider and the runtime."""
    profile = digest.profile
    cores, memory = digest.fact("cpu_cores"), digest.fact("memory_total_bytes")
    machine = f"{cores} cores" if cores is not None else ""
    if isinstance(memory, int):
        machine += f", {size(memory)}"
    facts: list[tuple[str, Content]] = [
        ("provider", foreign(profile.provider)),
        ("threads", digest.threads.removeprefix("threads ") or None),
        ("machine", machine or None),
        ("system", _known(digest, "os")),
        ("virtual", _known(digest, "virtualisation")),
    ]
    gpu: list[tuple[str, Content]] = []
    used = used_gpu(profile)
    heading = str(digest.fact("cpu_model") or "unknown CPU")
    if used is not None:
        gpu = [("GPU", foreign(used.told, 160)), ("host", foreign(heading, 60))]
        heading = used.name or "GPU of unknown name"
    else:
        gpu = [
            ("GPU", foreign(str(fact.value), 48))
            for fact in profile.environment
            if fact.name.startswith("gpu")
            and fact.name.endswith("_name")
            and fact.value is not None
        ]
    computed = precision(profile)
    if isinstance(computed, Precision):
        facts.append(("precision", foreign(worded(computed.told), 160)))
    return [
        big(foreign(heading, 60), kind="long"),
        note(*_ran_by(profile)),
        listed([*facts, *gpu]),
    ]


def _ran_by(profile: Profile) -> list[Content]:
    """The runtime, with its version."""
    ran_by = runtime(profile)
    if not ran_by.is_ort:
        return [foreign(runtime_line(ran_by), _RUNTIME)]
    version = foreign(ran_by.version) if ran_by.version is not None else "of unknown version"
    return ["ONNX Runtime ", version]


def cost(digest: Digest) -> list[Content]:
    """Energy and memory."""
    told: list[Content] = []
    for device in digest.energy:
        if device.joules.value is None or device.watts.value is None:
            told.append(note(element("b", device.device), ": ", worded(device.joules.reason)))
            continue
        told.append(big(energy(device.joules.value)))
        told.append(note(f"an inference, {device.device}, {device.verdict}"))
        if device.item_j.value is not None and device.item_j.value != device.joules.value:
            told.append(note(f"{energy(device.item_j.value)} an item of its batch"))
        if device.interval_j is not None:
            low, high = device.interval_j
            told.append(note(f"{energy(low)} to {energy(high)} with 95 % confidence"))
        told.extend(note(worded(cause)) for cause in device.causes)
        told.append(note(f"{metric(device.watts.value, 'W')} during the timed passes"))
        for figure, when in (
            (device.idle_watts, "idle, before the session"),
            (device.warm_idle_watts, "idle, with the session open"),
        ):
            if figure.value is not None:
                told.append(note(f"{metric(figure.value, 'W')} {when}"))
    if not digest.energy:
        reasons = [reason for what, reason in digest.profile.absent if "energy" in what]
        told = [_none("; ".join(reasons) or "no device reports its energy", "energy unknown")]
    cold = digest.cold_start["session_ns"].value
    facts: list[tuple[str, Content]] = [("model file", size(digest.profile.model.size_bytes))]
    if cold is not None:
        facts.append(("creating the session", duration(cold)))
    return [told, listed(facts)]


def trust(digest: Digest) -> list[Content]:
    """The verdict on noise, and every other reason to doubt the figures."""
    verdict = digest.verdict
    against = doubts(digest)
    grade = {"quiet": _GOOD, "unusable": _BAD}.get(verdict.verdict, _DOUBTFUL)
    if against and grade == _GOOD:
        grade = _DOUBTFUL
    touched: list[Content] = []
    if verdict.touched:
        touched = [note(f"{verdict.touched:,} of {verdict.samples:,} samples were disturbed")]
    reasons = [element("li", text) for text in (*verdict.causes, *against)]
    return [
        element("p", _MARKS[grade], " ", verdict.verdict, class_=f"big verdict {grade}"),
        element("ul", reasons, class_="reasons")
        if reasons
        else note("no disturbance in anything that was monitored"),
        touched,
        listed(
            [
                (f"yardstick, {one.part}", f"{duration(one.time_ns)}, up to +{one.spread:.1%}")
                for one in verdict.yardstick
            ]
        ),
    ]


def doubts(digest: Digest) -> list[str]:
    """Reasons to doubt the figures other than noise; one sentence each."""
    against = []
    if digest.profile.asked.quick:
        against.append(f"{flag('quick')}: a look, not comparison-grade")
    if not digest.profile.complete:
        against.append("interrupted: only part of what was planned is here")
    if digest.doubles:
        names = ", ".join(dict.fromkeys(each.device for each in digest.doubles))
        against.append(f"readings of {names} come from a test double: refused, no measurement")
    table = digest.tables["node"]
    if isinstance(table, OperatorTable) and table.accounts.doubt:
        against.append(f"do not trust the operator times: {table.accounts.doubt}")
    return against


_MARKS = {_GOOD: "✓", _DOUBTFUL: "!", _BAD: "✕"}


def big(*content: Content, kind: str = "") -> Markup:
    """The answer itself."""
    return element("p", content, class_=f"big {kind}".strip())


def note(*content: Content) -> Markup:
    """A remark below the answer."""
    return element("p", content, class_="note")


def listed(facts: list[tuple[str, Content]]) -> Markup:
    """Names and values; a name without a value is left out."""
    return element(
        "dl",
        [
            element("div", element("dt", name), element("dd", value))
            for name, value in facts
            if value is not None
        ],
        class_="facts",
    )


def _none(reason: str, what: str = "none") -> Markup:
    return Markup(element("p", what, class_="big absent") + note(worded(reason)))


def _absent(reason: str) -> Markup:
    return element("span", reason, class_="absent")


def _known(digest: Digest, name: str) -> Markup | None:
    value = digest.fact(name)
    return None if value is None else foreign(str(value), 48)


def _dots(digest: Digest, low: float, high: float) -> Markup:
    """The median of each process, drawn over the interval."""
    medians = {
        process.index: float(np.median(process.steady.duration_ns))
        for process in digest.profile.processes
        if len(process.steady)
    }
    ends = [low, high, *medians.values()]
    margin = (max(ends) - min(ends)) * 0.06
    scale = plots.Scale(min(ends) - margin, max(ends) + margin)
    return plots.plot(
        plots.rectangle(
            scale(low), 20, scale(high) - scale(low), 60, "interval",
            tooltip(f"95 % interval: {duration(low)} to {duration(high)}"),
        ),
        [
            plots.point(
                scale(value), 50, 5, "dot", tooltip(f"{digest.unit} {index}: {duration(value)}")
            )
            for index, value in medians.items()
        ],
        label=f"median of each {digest.unit} and the confidence interval",
        x=scale,
        x_text=axis_duration,
        kind="dots",
    )  # fmt: skip
