"""A profile as text for a terminal: 80 columns, colour only where the terminal has it."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Callable

from rich.cells import cell_len

from harness.analysis import energy, noise
from harness.analysis.energy import Energy
from harness.analysis.findings.rules import findings
from harness.analysis.findings.seen import Finding
from harness.analysis.gpu_work import KernelTable
from harness.analysis.operators.table import Operator, OperatorTable, operator_table
from harness.records import InputRecord, Profile
from harness.reporters.terminal.lines import LEAST_NAME, Page, column, shorten
from harness.reporters.wording import evidence
from harness.statistics import latency, steady_state
from harness.statistics.figures import Figure

#: Operators that the summary names.
TOP_OPERATORS = 5

#: Nodes that a finding names, and columns of a name, so that a name fits a line.
_FINDING_NODES = 3
_FINDING_NAME = 40

#: Columns of a terminal below which the operator table leaves some of its own out.
NARROW = 100

#: Places for the op type there.
_NARROW_TYPES = 14


def input_line(record: InputRecord) -> str:
    """One input, as it was fed and why."""
    shape = "x".join(map(str, record.shape)) or "scalar"
    return f"{record.name}: {record.dtype} {shape}; {record.chosen_because}"


def print_summary(profile: Profile) -> None:
    """What ``show`` and ``profile`` print."""
    page = Page()
    page.title(profile.model.name, f" on {profile.provider}{_threads(profile)}")
    if profile.asked.quick:
        page.print("--quick: a look, not comparison-grade, without measured ceilings")
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
    table = operator_table(profile)
    _print_top(page, table)
    if profile.stacks is not None:
        from harness.analysis import stacks

        shares = [one for one in stacks.shares(profile.stacks) if one.value is not None]
        told = ", ".join(f"{one.name.removesuffix('_share')} {one.value:.2%}" for one in shares)
        source = f" ({shares[0].source})" if shares else ""
        page.say("stacks", f"{told}{source}".replace("native_loop", "timing loop"))
    for what, reason in profile.absent:
        page.say("absent", f"{what}: {reason}")
    if profile.path is not None:
        page.say("file", str(profile.path))
    for found in findings(profile, table):
        _print_finding(page, found)


def _print_finding(page: Page, found: Finding) -> None:
    """What was found, what says so, and what to try."""
    page.say("findings", found.sentence)
    told = evidence(found, nanoseconds, "{:.1%}".format)
    names = [shorten(name, _FINDING_NAME) for name in found.nodes[:_FINDING_NODES]]
    if names:
        rest = len(found.nodes) - len(names)
        told += f": {', '.join(names)}{f' and {rest} more' if rest else ''}"
    page.say("findings", f"– {told}")
    page.say("findings", f"→ {found.next_step}")


def print_operators(
    table: OperatorTable | Figure, limit: int, *, passes: bool = False, work: bool = False
) -> None:
    """What ``ops`` prints.

    Args:
        table: the operators, sorted.
        limit: rows to print, 0 for all.
        passes: put the times that ORT's profiler gives beside those of the probes.
        work: put operations, traffic and their parts of the measured ceilings beside them.
    """
    page = Page()
    if isinstance(table, Figure):
        page.print(f"no operator times: {table.reason}")
        return
    rows = table.operators[:limit] if limit > 0 else table.operators
    sums = list(itertools.accumulate(row.share for row in rows))
    columns = [
        ("own time", [nanoseconds(row.median_ns) for row in rows]),
        ("±", [_half_width(row) for row in rows]),
    ]
    if passes:
        columns.append(("ORT prof.", [_or_dash(nanoseconds, row.profiled_ns) for row in rows]))
    if any(row.kernel_ns is not None for row in rows):
        columns.append(("GPU", [_or_dash(nanoseconds, row.kernel_ns) for row in rows]))
        columns.append(("GPU idle", [_or_dash(nanoseconds, row.idle_ns) for row in rows]))
    if work:
        columns += [
            ("GFLOP/s", [_or_dash(_giga, _rate(row.flops, row)) for row in rows]),
            ("of peak", [_or_dash("{:.0%}".format, row.peak_share) for row in rows]),
            ("GB/s", [_or_dash(_giga, _rate(row.traffic_bytes, row)) for row in rows]),
            ("of bw", [_or_dash("{:.0%}".format, row.bandwidth_share) for row in rows]),
        ]
    if not passes and not work and page.width >= NARROW:
        columns.append(("p90", [nanoseconds(row.p90_ns) for row in rows]))
    if any(row.total_ns > row.median_ns for row in rows):
        columns.append(("total", [nanoseconds(row.total_ns) for row in rows]))
    columns.append(("share", [f"{row.share:.1%}" for row in rows]))
    if not work:
        columns += [
            ("sum", [f"{share:.0%}" for share in sums]),
            ("calls", [f"{row.calls:.3g}" for row in rows]),
        ]
    types = _NARROW_TYPES if page.width < NARROW else 2 * _NARROW_TYPES
    texts = [
        ("bound", [row.bound.removesuffix("-bound") for row in rows]),
        ("op type", [shorten(row.op_type, types) for row in rows]),
    ]
    cells = {name: column(name, values, ">") for name, values in columns}
    cells |= {name: column(name, values, "<") for name, values in texts}
    left_out = _fit(cells, page.width - LEAST_NAME - 2)
    lines = ["  ".join(line) for line in zip(*cells.values(), strict=True)]
    page.names(lines, ["node", *(row.node + _spanned(row) for row in rows)])
    if left_out:
        page.print(f"no room for: {', '.join(left_out)}")
    hidden = len(table.operators) - len(rows)
    if hidden:
        page.print(f"{hidden} more: --limit 0 shows all")
    if work:
        page.say("roofline", f"operations are known for {table.known_work:.1%} of the nodes' time")
        if all(row.peak_share is None and row.bandwidth_share is None for row in rows):
            page.say("roofline", "no ceilings were measured: --quick leaves them out")
    _print_accounts(page, table)


#: Columns that a narrow terminal leaves out, in this order, until names have room.
_SPARED = ("sum", "calls", "±", "total", "share", "GPU idle", "bound")


def _fit(cells: dict[str, list[str]], width: int) -> list[str]:
    """Takes columns away until the others fit; returns their names."""
    left_out = []
    for name in _SPARED:
        if sum(cell_len(texts[0]) for texts in cells.values()) + 2 * (len(cells) - 1) <= width:
            break
        if cells.pop(name, None) is not None:
            left_out.append(name)
    return left_out


def _half_width(row: Operator) -> str:
    if row.interval_ns is None or not row.median_ns:
        return "–"
    low, high = row.interval_ns
    return f"{(high - low) / 2 / row.median_ns:.0%}"


def _rate(amount: float | None, row: Operator) -> float | None:
    """Amount of an inference for each second of the row's time."""
    return None if amount is None or not row.median_ns else amount / (row.median_ns * 1e-9)


def _giga(value: float) -> str:
    return f"{value * 1e-9:.3g}"


def _or_dash(form: Callable[[float], str], value: float | None) -> str:
    return "–" if value is None else form(value)


def _spanned(row: Operator) -> str:
    return f" + {', '.join(row.spans)}" if row.spans else ""


def operators_csv(table: OperatorTable | Figure) -> str:
    """What ``ops --csv`` prints, all rows; a header alone where there are no times."""
    sink = io.StringIO()
    columns = (
        "node", "op_type", "provider", "median_ns", "total_ns", "p10_ns", "p90_ns", "share",
        "calls", "source", "kernel_ns", "launches", "idle_ns", "profiled_ns", "flops",
        "traffic_bytes", "peak_share",
        "bandwidth_share", "bound",
    )  # fmt: skip
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(columns)
    if not isinstance(table, Figure):
        for row in table.operators:
            writer.writerow([getattr(row, column) for column in columns])
    return sink.getvalue()


def print_kernels(table: KernelTable | Figure, limit: int) -> None:
    """What ``ops --by kernel`` prints."""
    page = Page()
    if isinstance(table, Figure):
        page.print(f"no kernels: {table.reason}")
        return
    rows = table.kernels[:limit] if limit > 0 else table.kernels
    cells = [
        column("time", [nanoseconds(row.median_ns) for row in rows], ">"),
        column("share", [f"{row.share:.1%}" for row in rows], ">"),
        column("calls", [f"{row.calls:.3g}" for row in rows], ">"),
        column("nodes", [str(len(row.nodes)) for row in rows], ">"),
        column("kind", [row.kind for row in rows], "<"),
    ]
    lines = ["  ".join(line) for line in zip(*cells, strict=True)]
    page.names(lines, ["kernel", *(row.name for row in rows)])
    hidden = len(table.kernels) - len(rows)
    if hidden:
        page.print(f"{hidden} more: --limit 0 shows all")
    page.say(
        "gpu",
        f"busy {nanoseconds(table.busy_ns)}, idle between kernels {nanoseconds(table.idle_ns)} "
        f"in an inference under ORT's profiler ({table.inferences} inferences)",
    )
    page.say("joined", f"{table.joined:.1%} of the GPU's time to a node")
    if table.unjoined_reason:
        page.say("joined", table.unjoined_reason)
    page.say("joined", f"{table.disagreements} launches outside of their node's interval")
    if table.dropped:
        page.say("joined", f"{table.dropped} records were lost")


def kernels_csv(table: KernelTable | Figure) -> str:
    """What ``ops --by kernel --csv`` prints; a header alone where there are none."""
    sink = io.StringIO()
    columns = ("name", "kind", "median_ns", "share", "calls", "nodes", "unjoined")
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(columns)
    if not isinstance(table, Figure):
        for row in table.kernels:
            cells = [getattr(row, column) for column in columns]
            writer.writerow([" ".join(c) if isinstance(c, tuple) else c for c in cells])
    return sink.getvalue()


def nanoseconds(value: float) -> str:
    """A duration with four digits and the unit that fits it."""
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if abs(value) >= size:
            scaled = value / size
            return f"{scaled:.{max(0, 3 - len(str(int(abs(scaled)))))}f} {unit}"
    return f"{value:.0f} ns"


def _threads(profile: Profile) -> str:
    threads = profile.asked.intra_threads
    if threads is None:
        return ""
    if threads == 0:
        return ", threads as ORT chooses"
    return f", {threads} thread{'s' if threads != 1 else ''}"


def _print_latency(page: Page, profile: Profile) -> None:
    figures = latency.latency(profile.processes)
    count = f"{figures.processes} process{'es' if figures.processes != 1 else ''}"
    page.say(
        "latency",
        f"{nanoseconds(figures.median_ns)} median of {count}, {figures.samples:,} samples",
    )
    if figures.interval_ns is None:
        page.say("latency", f"no confidence interval: {figures.interval_reason}")
    else:
        low, high = figures.interval_ns
        half = (high - low) / 2 / figures.median_ns
        page.say(
            "latency",
            f"{nanoseconds(low)} to {nanoseconds(high)} with 95 % confidence "
            f"(±{half:.1%}, processes vary)",
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
        f"{name} {nanoseconds(figure.value)}{_of_a_process(interval)}"
        for name, figure, interval in percentiles
        if figure.value is not None
    ]
    if tail:
        page.say("latency", ", ".join(tail))
    for _, figure, _ in percentiles:
        if figure.value is None:
            page.say("latency", figure.reason)
    states = steady_state.states(profile.processes)
    told = ", ".join(f"{kind} in {count}" for kind, count in states.items())
    page.say("steady", f"{told} of {figures.processes} processes")
    cold = {
        name: figure.value or 0.0 for name, figure in latency.cold_start(profile.processes).items()
    }
    first = cold["first_inference_ns"]
    page.say(
        "cold start",
        f"session {nanoseconds(cold['session_ns'])}, first inference {nanoseconds(first)} "
        f"({first / figures.median_ns:.1f} times the median)",
    )
    verdict = noise.judge(profile)
    causes = f": {'; '.join(verdict.causes)}" if verdict.causes else ""
    page.say("noise", f"{verdict.verdict}{causes}")
    if verdict.touched:
        page.say(
            "noise",
            f"{verdict.touched:,} of {verdict.samples:,} samples lie between two readings of steal "
            "or throttling",
        )
    if verdict.yardstick:
        parts = ", ".join(
            f"{one.part} {nanoseconds(one.time_ns)} (+{one.spread:.1%})"
            for one in verdict.yardstick
        )
        page.say("noise", f"yardstick {parts} beside the slowest process")
    if verdict.throttled:
        page.say("noise", "show --exclude-throttled leaves the throttled ones out")
    for each in energy.energy(profile):
        page.say("energy", _energy(each))


def _of_a_process(interval: tuple[float, float] | None) -> str:
    if interval is None:
        return ""
    return f" (of a process {nanoseconds(interval[0])} to {nanoseconds(interval[1])})"


def _energy(found: Energy) -> str:
    """One device's energy of an inference in a line."""
    if found.joules.value is None or found.watts.value is None:
        return f"{found.device}: none: {found.joules.reason}"
    text = f"{found.device}: {joules(found.joules.value)} an inference"
    if found.interval_j is not None:
        text += f" ({joules(found.interval_j[0])} to {joules(found.interval_j[1])})"
    if found.above_idle_j.value is not None:
        text += f", {joules(found.above_idle_j.value)} above idle"
    text += f", {found.watts.value:.3g} W"
    if found.idle_watts.value is not None:
        text += f" (idle {found.idle_watts.value:.3g} W)"
    return f"{text}, {found.verdict}{': ' if found.causes else ''}{'; '.join(found.causes)}"


def joules(value: float) -> str:
    """An energy with three digits and the unit that fits it."""
    for unit, size in (("J", 1.0), ("mJ", 1e-3), ("µJ", 1e-6)):
        if abs(value) >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value * 1e9:.3g} nJ"


def _print_top(page: Page, table: OperatorTable | Figure) -> None:
    if isinstance(table, Figure):
        page.say("operators", f"none: {table.reason}")
        return
    top = table.operators[:TOP_OPERATORS]
    types = column("", [shorten(row.op_type, _NARROW_TYPES) for row in top], "<")[1:]
    for row, op_type in zip(top, types, strict=True):
        bound = "" if row.bound == "unknown" else f"  {row.bound}"
        head = f"{row.share:6.1%}  {nanoseconds(row.median_ns):>8}  {op_type}  "
        room = max(page.width - 13 - cell_len(head + bound), LEAST_NAME)
        page.say("operators", f"{head}{shorten(row.node, room)}{bound}".rstrip())
    _print_accounts(page, table)


def _print_accounts(page: Page, table: OperatorTable) -> None:
    accounts = table.accounts
    inferences = f"{table.inferences} inference{'s' if table.inferences != 1 else ''}"
    parts = f"nodes {nanoseconds(accounts.nodes_ns)} + framework "
    parts += nanoseconds(accounts.framework_ns)
    if accounts.tracer_cost_ns is not None and accounts.unexplained_ns is not None:
        page.say(
            "accounts",
            f"{parts} + probes {nanoseconds(accounts.tracer_cost_ns)} + unexplained "
            f"{nanoseconds(accounts.unexplained_ns)} = {nanoseconds(accounts.traced_ns)} "
            f"({inferences})",
        )
        if accounts.residual is not None:
            page.say(
                "accounts", f"nodes + framework against the timed pass: {accounts.residual:+.1%}"
            )
        if accounts.own_probe_share is not None and accounts.own_probe_share < 1:
            page.say(
                "accounts",
                f"{accounts.own_probe_share:.1%} of the nodes' time is in nodes with a probe "
                "of their own; the others are named after +",
            )
    else:
        page.say(
            "accounts",
            f"{parts} = {nanoseconds(accounts.traced_ns)} by ORT's profiler "
            f"({inferences}, steps of {table.resolution_ns / 1000:g} µs)",
        )
    if accounts.doubt:
        page.say("accounts", f"do not trust the operator times: {accounts.doubt}")
    if table.uncovered:
        page.say("accounts", f"in the framework's part: {', '.join(table.uncovered)}")
    if table.profiler_tax is not None:
        page.say("accounts", f"profiler tax: ORT's profiler adds {table.profiler_tax:+.0%}")
