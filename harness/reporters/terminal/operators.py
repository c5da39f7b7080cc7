"""Tables of operators and of GPU kernels: what ``ops`` prints."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

from harness.analysis.device_time import DeviceAccounts
from harness.analysis.gpu_work import Kernel, KernelTable
from harness.analysis.kernel_ceilings import PART
from harness.analysis.operators.accounts import Accounts
from harness.analysis.operators.table import Operator, OperatorTable
from harness.options import flag, worded
from harness.reporters.names import shortened
from harness.reporters.numbers import counted_times, half_width, nanoseconds
from harness.reporters.terminal.lines import NARROW, Column, Page
from harness.reporters.wording import PARTS_TOLD, counted, processes, split_checks
from harness.statistics.figures import Figure

#: Columns of an op type on a terminal narrower than ``NARROW``; elsewhere twice as many.
_NARROW_TYPES = 14

#: Doubtful rows whose measured miss is printed; ``--json`` and ``--csv`` have all.
_DOUBTS_TOLD = 3

#: Rows for which the device waits longest, named below the table.
_WAITS_TOLD = 3

#: Columns that a narrow terminal leaves out, in this order, until the names have room.
_SPARED = ("sum", "calls", "±", "total", "share", "launches", "GPU idle", "bound", "op type")


def print_operators(
    table: OperatorTable | Figure, limit: int, *, passes: bool = False, work: bool = False
) -> None:
    """Prints what ``ops`` shows.

    Args:
        table: the operators, sorted.
        limit: rows to print, 0 for all.
        passes: add a column with the times of ORT's profiler.
        work: add operations and traffic per second, and their shares of the measured ceilings.
    """
    page = Page()
    if isinstance(table, Figure):
        page.print(f"no operator times: {worded(table.reason)}")
        return
    rows = table.operators[:limit] if limit > 0 else table.operators
    types = shortened(
        list(map(op_types, rows)), _NARROW_TYPES if page.width < NARROW else 2 * _NARROW_TYPES
    )
    columns = [
        Column("own time", own_times(rows)),
        Column("±", list(map(_half_width, rows))),
        *_optional(page, rows, passes=passes, work=work),
        Column("bound", [row.bound.removesuffix("-bound") for row in rows], "<"),
        Column("op type", types, "<"),
    ]
    asides = [row.name_in_ort for row in rows] if page.width >= NARROW else []
    names = Column("node", [row.label for row in rows])
    page.table(columns, names, asides=asides, spared=_SPARED)
    hidden = len(table.operators) - len(rows)
    if hidden:
        page.print(f"{hidden} more: {flag('limit')} 0 shows all")
    if work:
        page.say("roofline", f"operations are known for {table.known_work:.1%} of the nodes' time")
        if table.ceilings_absent:
            first, *others = table.ceilings_absent
            more = f" (and {counted(len(others), 'other reason')})" if others else ""
            page.say("roofline", f"without all ceilings: {worded(first)}{more}")
    print_accounts(page, table)


def own_times(rows: Sequence[Operator]) -> list[str]:
    """Own times, the doubtful ones marked."""
    if not any(row.doubt for row in rows):
        return [nanoseconds(row.median_ns) for row in rows]
    return [f"{nanoseconds(row.median_ns)}{'?' if row.doubt else ' '}" for row in rows]


def _optional(
    page: Page, rows: Sequence[Operator], *, passes: bool, work: bool
) -> Iterator[Column]:
    """The columns that depend on the options, the width and what was recorded."""
    if passes:
        yield Column("ORT prof.", [_or_dash(nanoseconds, row.profiled_ns) for row in rows])
    if any(row.kernel_ns is not None for row in rows):
        yield Column("GPU", [_or_dash(nanoseconds, row.kernel_ns) for row in rows])
        yield Column("GPU idle", _idle_times(rows))
        yield Column("launches", [_or_dash(counted_times, row.launches) for row in rows])
    if work:
        yield Column("GFLOP/s", [_or_dash(_giga, _rate(row.flops, row)) for row in rows])
        yield Column("of peak", [_or_dash("{:.0%}".format, row.peak_share) for row in rows])
        yield Column("GB/s", [_or_dash(_giga, _rate(row.traffic_bytes, row)) for row in rows])
        yield Column("of bw", [_or_dash("{:.0%}".format, row.bandwidth_share) for row in rows])
    if not passes and not work and page.width >= NARROW:
        yield Column("p90", [nanoseconds(row.p90_ns) for row in rows])
    if any(row.total_ns > row.median_ns for row in rows):
        yield Column("total", [nanoseconds(row.total_ns) for row in rows])
    yield Column("share", [f"{row.share:.1%}" for row in rows])
    if not work:
        sums = itertools.accumulate(row.share for row in rows)
        yield Column("sum", [f"{share:.0%}" for share in sums])
        yield Column("calls", [counted_times(row.calls) for row in rows])


def _idle_times(rows: Sequence[Operator]) -> list[str]:
    """How long the device waited, marked where its accounts are doubtful."""
    mark = "?" if any(row.idle_doubt for row in rows) else ""
    return [
        _or_dash(nanoseconds, row.idle_ns) + (mark if row.idle_ns is not None else "")
        for row in rows
    ]


def _half_width(row: Operator) -> str:
    if row.interval_ns is None or not row.median_ns:
        return "–"
    return half_width(row.interval_ns, row.median_ns).replace("±", "")


def _rate(amount: float | None, row: Operator) -> float | None:
    """Amount per second of the time that the row's work took."""
    return None if amount is None or not row.work_ns else amount / (row.work_ns * 1e-9)


def _giga(value: float) -> str:
    giga = value * 1e-9
    return f"{giga:.3g}" if giga < 1000 else f"{giga:,.0f}"


def _or_dash(form: Callable[[float], str], value: float | None) -> str:
    return "–" if value is None else form(value)


def op_types(row: Operator) -> str:
    """Its op type, and how many nodes of other types its time includes; its label names them."""
    return f"{row.op_type} +{len(row.spans)}" if row.spans else row.op_type


def of_ceiling(row: Kernel, share: float | None) -> str:
    """A kernel's share of a ceiling, with ~ where its nodes launch other kernels besides."""
    return "–" if share is None else f"{'~' if row.work == PART else ''}{share:.0%}"


def print_kernels(table: KernelTable | Figure, limit: int) -> None:
    """Prints what ``ops --by kernel`` shows."""
    page = Page()
    if isinstance(table, Figure):
        page.print(f"no kernels: {worded(table.reason)}")
        return
    rows = table.kernels[:limit] if limit > 0 else table.kernels
    columns = [
        Column("time", [nanoseconds(row.median_ns) for row in rows]),
        Column("share", [f"{row.share:.1%}" for row in rows]),
        Column("calls", [counted_times(row.calls) for row in rows]),
        Column("nodes", [str(len(row.nodes)) for row in rows]),
    ]
    judged = [row for row in rows if row.work]
    if judged:
        columns.append(Column("of peak", [of_ceiling(row, row.peak_share) for row in rows]))
        columns.append(Column("of bw", [of_ceiling(row, row.bandwidth_share) for row in rows]))
    columns.append(Column("kind", [row.kind for row in rows], "<"))
    names = Column("kernel", [row.name for row in rows])
    page.table(columns, names, spared=("kind", "nodes", "calls"))
    hidden = len(table.kernels) - len(rows)
    if hidden:
        page.print(f"{hidden} more: {flag('limit')} 0 shows all")
    if any(row.work == PART for row in judged):
        page.say("roofline", f"~: {PARTS_TOLD}")
    if not judged:
        reasons = dict.fromkeys(row.ceilings_reason for row in rows if row.ceilings_reason)
        page.say("roofline", f"no shares of ceilings: {worded(next(iter(reasons), 'no kernels'))}")
    idle = worded(f"idle between kernels not known: {table.idle_reason}")
    if table.idle_ns is not None:
        idle = f"idle between kernels {nanoseconds(table.idle_ns)}"
    page.say(
        "gpu",
        f"busy {nanoseconds(table.busy_ns)} per inference "
        f"({counted(table.inferences, 'inference')}), {idle}",
    )
    page.say("joined", f"{table.joined:.1%} of the GPU's time is attributed to a node")
    if table.unjoined_reason:
        page.say("joined", table.unjoined_reason)
    page.say(
        "joined",
        f"{counted(table.disagreements, 'launch', 'launches')} outside their node's interval",
    )
    if table.dropped:
        page.say("joined", f"{table.dropped} records were lost")


def _held_against(accounts: Accounts) -> str:
    """What of the timed pass nodes + framework are held against."""
    return "the enqueue time of its timed pass" if accounts.enqueued else "its timed pass"


def print_accounts(page: Page, table: OperatorTable) -> None:
    """Prints what an inference consists of, as measured, and reasons to doubt it."""
    accounts = table.accounts
    inferences = f"{counted(table.inferences, 'inference')} of {processes(table.processes)}"
    parts = f"nodes {nanoseconds(accounts.nodes_ns)} + framework "
    parts += nanoseconds(accounts.framework_ns)
    if accounts.tracer_cost_ns is not None:
        page.say(
            "accounts",
            f"{parts}, with {nanoseconds(accounts.tracer_cost_ns)} of probes taken out "
            f"({inferences})",
        )
        if accounts.told_ns and accounts.clean_ns and accounts.residual is not None:
            page.say(
                "accounts",
                f"residual {accounts.residual:+.1%}: nodes + framework of a process "
                f"{nanoseconds(accounts.told_ns)} against {_held_against(accounts)} of "
                f"{nanoseconds(accounts.clean_ns)} (geometric means)",
            )
        if accounts.split_miss is not None and accounts.split_apart is not None:
            page.say(
                "accounts",
                f"split between nodes: {accounts.split_miss:+.1%} against direct measurements of "
                f"{counted(accounts.split_nodes, 'node')}, two by two; they differ by "
                f"{accounts.split_apart:.1%} beyond noise",
            )
        if accounts.own_probe_share is not None and accounts.own_probe_share < 1:
            page.say(
                "accounts",
                f"{accounts.own_probe_share:.1%} of the nodes' time is in nodes with a probe "
                "of their own; the others are listed after +",
            )
    else:
        page.say(
            "accounts",
            f"{parts} = {nanoseconds(accounts.traced_ns)} by ORT's profiler "
            f"({inferences}, steps of {table.resolution_ns / 1000:g} µs)",
        )
    if accounts.doubt:
        page.say("accounts", f"do not trust the operator times: {accounts.doubt}")
    doubtful = [row for row in table.operators if row.doubt not in ("", accounts.doubt)]
    for row in doubtful[:_DOUBTS_TOLD]:
        page.say("accounts", f"doubtful (?): {row.called}: {row.doubt}")
    if len(doubtful) > _DOUBTS_TOLD:
        page.say("accounts", f"doubtful (?): {len(doubtful) - _DOUBTS_TOLD} more rows")
    if table.uncovered:
        page.say("accounts", f"counted as framework: {', '.join(table.uncovered)}")
    if table.profiler_tax is not None:
        page.say("accounts", f"profiler tax: ORT's profiler adds {table.profiler_tax:+.0%}")
    if any(row.kernel_ns is not None for row in table.operators):
        _print_device(page, table.device, table.operators)


def _print_device(page: Page, accounts: DeviceAccounts | Figure, rows: Sequence[Operator]) -> None:
    """Prints where the time of an inference goes on the device, and what it waits for."""
    if isinstance(accounts, Figure):
        page.say("device", f"idle times not known: {worded(accounts.reason)}")
        return
    of = f"{counted(accounts.inferences, 'inference')} of {processes(accounts.processes)}"
    graph = "replaying the graph: " if accounts.replayed else ""
    doubtful = "doubtful (?): " if accounts.doubt else ""
    if accounts.doubt:
        page.say("device", f"do not trust the device's accounts: {accounts.doubt}")
    page.say(
        "device",
        f"{doubtful}{graph}before its first work {nanoseconds(accounts.before_ns)} + busy "
        f"{nanoseconds(accounts.busy_ns)} + idle {nanoseconds(accounts.idle_ns)} + after its last "
        f"{nanoseconds(accounts.after_ns)}, with {nanoseconds(accounts.recorder_ns)} of CUPTI "
        f"taken out ({of})",
    )
    if accounts.clean_ns is not None and accounts.residual is not None:
        page.say(
            "device",
            f"residual {accounts.residual:+.1%}: their sum {nanoseconds(accounts.told_ns)} against "
            f"the timed pass of {nanoseconds(accounts.clean_ns)}, resident (geometric means)",
        )
    page.say("device", f"split: {split_checks(accounts.checks, nanoseconds)}")
    told = f"{counted_times(accounts.launches)} launches"
    if accounts.unjoined:
        work, idle = nanoseconds(accounts.unjoined_ns), nanoseconds(accounts.unjoined_idle_ns)
        told += f", {counted_times(accounts.unjoined)} of no node: {work} after {idle} idle"
        told += " (?)" if accounts.doubt else ""
    page.say("device", told)
    waits = [(row.idle_ns, row.called) for row in rows if row.idle_ns and row.idle_ns > 0]
    longest = sorted(waits, reverse=True)[:_WAITS_TOLD]
    if longest and not accounts.doubt:
        named = ", ".join(f"{called} ({nanoseconds(idle_ns)})" for idle_ns, called in longest)
        page.say("device", f"waits longest for the launches of {named}")
