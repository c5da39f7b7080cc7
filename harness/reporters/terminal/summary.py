"""A profile as text: fits 80 columns, coloured only on a terminal with colours."""

from __future__ import annotations

from rich.cells import cell_len

from harness.analysis import (
    branches,
    captured_graph,
    energy,
    host_or_device,
    noise,
    stacks,
    timed_passes,
)
from harness.analysis.energy import Energy
from harness.analysis.findings.rules import findings
from harness.analysis.findings.seen import Finding
from harness.analysis.instances import Together, together
from harness.analysis.memory import memory
from harness.analysis.operators.table import OperatorTable, operator_table
from harness.analysis.precision import Precision, precision
from harness.analysis.runtime import runtime
from harness.analysis.throughput import throughput
from harness.analysis.used_gpu import used_gpu
from harness.options import flag, worded
from harness.records import Profile
from harness.reporters.names import shortened
from harness.reporters.numbers import half_width, joules, nanoseconds, rate, size
from harness.reporters.terminal.lines import Page, column
from harness.reporters.terminal.operators import op_types, own_times, print_accounts
from harness.reporters.visible import visible
from harness.reporters.wording import (
    apart,
    counted,
    evidence,
    input_line,
    place,
    processes,
    runtime_line,
    threads,
    units,
)
from harness.statistics import latency, steady_state
from harness.statistics.figures import Figure

#: How many operators the summary names.
TOP_OPERATORS = 5

#: For how many Ifs the summary says which branch ran.
_DECIDED = 5

#: How many nodes a finding names, and the columns of a name, so that it fits a line.
_FINDING_NODES = 3
_FINDING_NAME = 40

#: How many instances the summary tells of.
_INSTANCES = 8

#: How many tensors the summary names.
_LARGEST = 3

#: Columns of the op type.
_OP_TYPE = 14


def print_summary(profile: Profile) -> None:
    """Prints what ``show`` and ``profile`` show."""
    page = Page()
    heading = ", ".join(filter(None, (place(profile), threads(profile))))
    page.title(profile.model.name, f" on {heading}")
    if profile.asked.quick:
        page.print(f"{flag('quick')}: a look, not comparison-grade, without measured ceilings")
    if not profile.complete:
        page.print("interrupted: only part of what was planned is here", "yellow")
    if profile.processes:
        _print_latency(page, profile)
    else:
        page.say("latency", "none: no process has finished")
    for record in profile.inputs:
        page.say("inputs", input_line(record))
    check = profile.output_check
    if check.value is not None:
        page.say("outputs", f"largest error {check.value:g} against the data set ({check.source})")
    used = runtime(profile)
    if not used.is_ort:
        page.say("runtime", runtime_line(used))
        page.say("runtime", f"settings: {used.settings or 'not known'}")
    _print_device(page, profile)
    _print_memory(page, profile)
    _print_branches(page, profile)
    table = operator_table(profile)
    _print_top(page, table)
    if profile.stacks is not None:
        shares = [one for one in stacks.shares(profile.stacks) if one.value is not None]
        told = ", ".join(f"{one.name.removesuffix('_share')} {one.value:.2%}" for one in shares)
        source = f" ({shares[0].source})" if shares else ""
        page.say("stacks", f"{told}{source}".replace("native_loop", "timing loop"))
    for what, reason in profile.absent:
        page.say("absent", f"{what}: {worded(reason)}")
    if profile.path is not None:
        page.say("file", str(profile.path))
    for found in findings(profile, table):
        _print_finding(page, found)


def _print_finding(page: Page, found: Finding) -> None:
    """Prints a finding, its evidence, and what to try."""
    page.say("findings", found.sentence)
    told = evidence(found, nanoseconds, "{:.1%}".format)
    names = shortened(list(map(visible, found.nodes[:_FINDING_NODES])), _FINDING_NAME)
    if names:
        rest = len(found.nodes) - len(names)
        told += f": {', '.join(names)}{f' and {rest} more' if rest else ''}"
    page.say("findings", f"– {told}")
    page.say("findings", f"→ {worded(found.next_step)}")


def _print_latency(page: Page, profile: Profile) -> None:
    figures = latency.latency(profile.processes)
    count = units(profile, figures.processes)
    mean = " (their geometric mean)" if figures.processes > 1 else ""
    page.say(
        "latency",
        f"{nanoseconds(figures.median_ns)} median of {count}{mean}, "
        f"{counted(figures.samples, 'sample')}",
    )
    if figures.interval_ns is None:
        page.say("latency", f"no confidence interval: {figures.interval_reason}")
    else:
        low, high = map(nanoseconds, figures.interval_ns)
        varying = "processes" if profile.instances is None else "groups"
        half = half_width(figures.interval_ns, figures.median_ns, 1)
        page.say(
            "latency",
            f"{low} to {high} with 95 % confidence, of this occasion ({half}, {varying} vary)",
        )
    ended = {
        "precision": "the ±{precision:.2g} % asked for was reached after {count}",
        "budget": "the budget of {budget_s:g} s was spent before ±{precision:.2g} % was reached",
    }.get(latency.ended_by(profile))
    precision, budget_s = profile.asked.precision, profile.asked.budget_s
    if ended is not None and precision is not None and budget_s is not None:
        page.say("latency", ended.format(precision=100 * precision, budget_s=budget_s, count=count))
    page.say(
        "latency",
        f"fastest {nanoseconds(figures.min_ns)}, mean {nanoseconds(figures.mean_ns)}",
    )
    percentiles = (
        ("p90", figures.p90_ns, figures.p90_interval_ns),
        ("p99", figures.p99_ns, figures.p99_interval_ns),
    )
    tail = [
        f"{name} {nanoseconds(figure.value)}{_in_brackets(interval)}"
        for name, figure, interval in percentiles
        if figure.value is not None
    ]
    if tail:
        page.say("latency", ", ".join(tail))
    for _, figure, _ in percentiles:
        if figure.value is None:
            page.say("latency", figure.reason)
    unlike = timed_passes.unlike_asked(profile)
    if unlike:
        page.say("latency", unlike)
    gained = captured_graph.gain(profile)
    if isinstance(gained, captured_graph.Gain):
        page.say(
            "latency",
            f"with {gained.option} {nanoseconds(gained.typical_captured_ns)} instead of "
            f"{nanoseconds(gained.typical_plain_ns)} (medians of the same "
            f"{processes(len(gained.plain_ns))}, resident on the device)",
        )
    _print_throughput(page, profile)
    states = steady_state.states(profile.processes)
    told = ", ".join(f"{kind} in {count}" for kind, count in states.items())
    page.say("steady", f"{told} of {count}")
    cold = {
        name: figure.value or 0.0 for name, figure in latency.cold_start(profile.processes).items()
    }
    first = cold["first_inference_ns"]
    provider_ns = cold["provider_ns"]
    # Importing PyTorch takes longer than all the rest.
    loaded_ns = 0.0 if runtime(profile).is_ort else cold["library_ns"]
    page.say(
        "cold start",
        (f"library {nanoseconds(loaded_ns)}, " if loaded_ns > 0 else "")
        + (f"provider {nanoseconds(provider_ns)}, " if provider_ns > 0 else "")
        + f"session {nanoseconds(cold['session_ns'])}, first inference {nanoseconds(first)} "
        f"({first / figures.median_ns:.1f} times the median)",
    )
    verdict = noise.judge(profile)
    causes = f": {'; '.join(verdict.causes)}" if verdict.causes else ""
    page.say("noise", f"{verdict.verdict}{causes}")
    for found in host_or_device.differences(profile):
        page.say("noise", apart(found, nanoseconds, "{:.0%}".format))
    if verdict.touched:
        page.say(
            "noise",
            f"{verdict.touched:,} of {verdict.samples:,} samples overlap an interval with "
            "steal time or throttling",
        )
    if verdict.yardstick:
        parts = ", ".join(
            f"{one.part} {nanoseconds(one.time_ns)} (+{one.spread:.1%})"
            for one in verdict.yardstick
        )
        several = "processes" if profile.instances is None else "groups"
        page.say("noise", f"yardstick, mean over {several} (slowest against fastest): {parts}")
    if verdict.throttled and profile.instances is None:
        leave_out = flag("exclude_throttled")
        page.say("noise", f"show {leave_out} leaves the throttled ones out")
    for each in energy.energy(profile):
        page.say("energy", worded(_energy(each)))


def _print_device(page: Page, profile: Profile) -> None:
    """Prints which device was used, and in which types it computed: a host in the model's."""
    gpu = used_gpu(profile)
    if gpu is not None:
        page.say("gpu", gpu.told)
    found = precision(profile)
    if isinstance(found, Precision):
        page.say("precision", worded(found.told))


def _print_branches(page: Page, profile: Profile) -> None:
    found = branches.decided(profile)
    names = shortened([visible(one.node) for one in found[:_DECIDED]], _FINDING_NAME)
    for name, one in zip(names, found, strict=False):
        total = sum(one.executions.values())
        ran = [
            f"the {branch}" if count == total else f"the {branch} in {count:,} of {total:,}"
            for branch, count in one.executions.items()
            if count
        ]
        told = f"ran {', '.join(ran)}" if ran else "ran; no trace shows which branch"
        page.say("branches", f"If '{name}' {told}")
    if len(found) > _DECIDED:
        page.say("branches", f"and {len(found) - _DECIDED} more: {flag('json')} lists all")


def _print_throughput(page: Page, profile: Profile) -> None:
    found = throughput(profile)
    if isinstance(found, Figure):
        page.say("throughput", f"none: {found.reason}")
        return
    told = f"{rate(found.inferences_per_s)} inferences per second"
    several = found.items_per_inference > 1
    if several:
        told = f"{rate(found.items_per_s)} items per second, {told}"
    if found.interval_items_per_s is not None:
        low, high = found.interval_items_per_s
        of_them = "items, " if several else ""
        told += f" ({of_them}{rate(low)} to {rate(high)} with 95 % confidence)"
    page.say("throughput", told)
    if (side_by_side := together(profile)) is not None:
        _print_together(page, side_by_side)
    if several:
        page.say(
            "throughput",
            f"{found.items_per_inference} items per inference: {found.items_told_by}",
        )
    elif found.items_reason:
        page.say("throughput", f"items per inference {found.items_reason}")


def _print_together(page: Page, found: Together) -> None:
    """Prints how the callers of a group got on beside each other."""
    of_each = counted(found.threads, "thread") if found.threads else "threads that ORT chose"
    what = f"{counted(found.instances, 'instance')} of {of_each}"
    if found.callers > 1:
        what += f", {found.callers} callers each"
    page.say(
        "instances",
        f"{what}; {counted(found.groups, 'group')} of them, window {found.window_s:.3g} s",
    )
    if found.efficiency.value is None:
        page.say("instances", f"efficiency none: {found.efficiency.reason}")
    else:
        told = f"efficiency {found.efficiency.value:.1%}"
        if found.efficiency_interval is not None:
            low, high = found.efficiency_interval
            told += f" ({low:.1%} to {high:.1%})"
        alone = rate(found.alone_per_s.value or 0.0)
        page.say("instances", f"{told} of {alone} inferences per second of one alone")
    one = "instance" if found.instances > 1 else "caller"
    if len(found.each) > 1:
        page.say("instances", f"the fastest {one} is {found.spread:.2f} times the slowest one")
    for each in found.slow:
        low, high = each.of_others_interval or (0.0, 0.0)
        page.say(
            "instances",
            f"{one} {each.number} on CPUs {each.cpus} is slow: {each.of_others:.0%} of the others' "
            f"rate ({low:.0%} to {high:.0%})",
        )
    marked = f", above 1 ms in {counted(found.marked, 'group')}" if found.marked else ""
    page.say(
        "instances",
        f"began within {nanoseconds(found.skew_ns)}{marked}; all inferred in "
        f"{found.overlap:.1%} of the window at least",
    )
    known = {
        "memory in all": (found.pss_bytes, size),
        "local pages": (found.local_pages, "{:.1%}".format),
        "waiting for CPUs": (found.waiting, "{:.1%}".format),
    }
    told = ", ".join(
        f"{name} {form(figure.value)}"
        for name, (figure, form) in known.items()
        if figure.value is not None
    )
    page.say("instances", told)
    for name, (figure, _) in known.items():
        if figure.value is None:
            page.say("instances", f"no {name}: {figure.reason}")
    shown = found.each[:_INSTANCES]
    for each in shown:
        tail = "" if each.p99_ns.value is None else f", p99 {nanoseconds(each.p99_ns.value)}"
        page.say(
            "instances",
            f"{one} {each.number} on CPUs {each.cpus}: {rate(each.inferences_per_s)} inferences "
            f"per second, median {nanoseconds(each.median_ns)}{tail}"
            + (f", memory {each.memory}" if each.memory else ""),
        )
    if len(found.each) > len(shown):
        page.say("instances", f"and {len(found.each) - len(shown)} more: {flag('json')} lists all")


def _print_memory(page: Page, profile: Profile) -> None:
    found = memory(profile)
    named = (
        ("peak of the worker", found.peak_bytes),
        ("weights", found.weights_bytes),
        ("arena", found.arena_bytes),
    )
    known = [f"{name} {size(one.value)}" for name, one in named if one.value is not None]
    if known:
        page.say("memory", ", ".join(known))
    for reason in dict.fromkeys(one.reason for _, one in named if one.value is None):
        missing = [name for name, one in named if one.value is None and one.reason == reason]
        page.say("memory", f"no {', no '.join(missing)}: {reason}")
    if found.largest:
        shown = found.largest[:_LARGEST]
        names = shortened([visible(one.name) for one in shown], _FINDING_NAME)
        told = ", ".join(
            f"{name} {size(one.bytes)}" for name, one in zip(names, shown, strict=True)
        )
        page.say("memory", f"largest tensors {told}")


def _in_brackets(interval: tuple[float, float] | None) -> str:
    if interval is None:
        return ""
    return f" ({nanoseconds(interval[0])} to {nanoseconds(interval[1])})"


def _energy(found: Energy) -> str:
    """Energy per inference of one device, in one line."""
    if found.joules.value is None or found.watts.value is None:
        return f"{found.device}: none: {found.joules.reason}"
    text = f"{found.device}: {joules(found.joules.value)} per inference"
    if found.interval_j is not None:
        text += f" ({joules(found.interval_j[0])} to {joules(found.interval_j[1])})"
    if found.item_j.value is not None and found.item_j.value != found.joules.value:
        text += f", {joules(found.item_j.value)} per item"
    if found.above_idle_j.value is not None:
        text += f", {joules(found.above_idle_j.value)} above idle"
    text += f", {found.watts.value:.3g} W"
    if found.idle_watts.value is not None:
        text += f" (idle {found.idle_watts.value:.3g} W"
        if found.warm_idle_watts.value is not None:
            text += f", with the session open {found.warm_idle_watts.value:.3g} W"
        text += ")"
    return f"{text}, {found.verdict}{': ' if found.causes else ''}{'; '.join(found.causes)}"


def _print_top(page: Page, table: OperatorTable | Figure) -> None:
    if isinstance(table, Figure):
        page.say("operators", f"none: {worded(table.reason)}")
        return
    top = table.operators[:TOP_OPERATORS]
    types = column("", shortened(list(map(op_types, top)), _OP_TYPE), "<")[1:]
    bounds = ["" if row.bound == "unknown" else f"  {row.bound}" for row in top]
    heads = [
        f"{row.share:6.1%}  {time:>8}  {op_type}  "
        for row, time, op_type in zip(top, own_times(top), types, strict=True)
    ]
    taken = max(map(cell_len, map(str.__add__, heads, bounds)), default=0)
    names = page.fitted([row.label for row in top], taken)
    for head, name, bound in zip(heads, names, bounds, strict=True):
        page.say("operators", f"{head}{name}{bound}".rstrip())
    print_accounts(page, table)
