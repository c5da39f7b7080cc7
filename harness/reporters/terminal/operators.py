"""Tables of operators and of a GPU's kernels: what ``ops`` prints."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from rich.cells import cell_len

from harness.analysis.gpu_work import KernelTable
from harness.analysis.operators.table import Operator, OperatorTable
from harness.options import flag, worded
from harness.reporters.numbers import counted_times, half_width, nanoseconds
from harness.reporters.terminal.lines import LEAST_NAME, NARROW, Page, column, shorten
from harness.reporters.wording import counted
from harness.statistics.figures import Figure

#: Places for the op type on a terminal narrower than ``NARROW``.
_NARROW_TYPES = 14


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
        page.print(f"no operator times: {worded(table.reason)}")
        return
    rows = table.operators[:limit] if limit > 0 else table.operators
    sums = list(itertools.accumulate(row.share for row in rows))
    columns = [
        ("own time", _own_times(rows)),
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
            ("calls", [counted_times(row.calls) for row in rows]),
        ]
    types = _NARROW_TYPES if page.width < NARROW else 2 * _NARROW_TYPES
    texts = [
        ("bound", [row.bound.removesuffix("-bound") for row in rows]),
        ("op type", [shorten(op_types(row), types) for row in rows]),
    ]
    cells = {name: column(name, values, ">") for name, values in columns}
    cells |= {name: column(name, values, "<") for name, values in texts}
    left_out = _fit(cells, page.width - LEAST_NAME - 2)
    lines = ["  ".join(line) for line in zip(*cells.values(), strict=True)]
    page.names(lines, ["node", *(_called(row, page.width) for row in rows)])
    if left_out:
        page.print(f"no room for: {', '.join(left_out)}")
    hidden = len(table.operators) - len(rows)
    if hidden:
        page.print(f"{hidden} more: {flag('limit')} 0 shows all")
    if work:
        page.say("roofline", f"operations are known for {table.known_work:.1%} of the nodes' time")
        if all(row.peak_share is None and row.bandwidth_share is None for row in rows):
            page.say("roofline", f"no ceilings were measured: {flag('quick')} leaves them out")
    print_accounts(page, table)


#: Doubtful rows whose measured miss is told; ``--json`` and ``--csv`` have all.
_DOUBTS_TOLD = 3


def _own_times(rows: Sequence[Operator]) -> list[str]:
    """Own times, doubtful ones with a mark."""
    if not any(row.doubt for row in rows):
        return [nanoseconds(row.median_ns) for row in rows]
    return [f"{nanoseconds(row.median_ns)}{'?' if row.doubt else ' '}" for row in rows]


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
    return half_width(row.interval_ns, row.median_ns).replace("±", "")


def _rate(amount: float | None, row: Operator) -> float | None:
    """Amount of an inference for each second of the row's time."""
    return None if amount is None or not row.median_ns else amount / (row.median_ns * 1e-9)


def _giga(value: float) -> str:
    return f"{value * 1e-9:.3g}"


def _or_dash(form: Callable[[float], str], value: float | None) -> str:
    return "–" if value is None else form(value)


def _called(row: Operator, width: int) -> str:
    """A node's label, and as ONNX Runtime calls it where there is room for both."""
    if width >= NARROW and row.name_in_ort:
        return f"{row.label}  [{row.name_in_ort}]"
    return row.label


def op_types(row: Operator) -> str:
    """Its op type, and how many nodes of others, named in its label, are in its time."""
    return f"{row.op_type} +{len(row.spans)}" if row.spans else row.op_type


def print_kernels(table: KernelTable | Figure, limit: int) -> None:
    """What ``ops --by kernel`` prints."""
    page = Page()
    if isinstance(table, Figure):
        page.print(f"no kernels: {worded(table.reason)}")
        return
    rows = table.kernels[:limit] if limit > 0 else table.kernels
    cells = [
        column("time", [nanoseconds(row.median_ns) for row in rows], ">"),
        column("share", [f"{row.share:.1%}" for row in rows], ">"),
        column("calls", [counted_times(row.calls) for row in rows], ">"),
        column("nodes", [str(len(row.nodes)) for row in rows], ">"),
        column("kind", [row.kind for row in rows], "<"),
    ]
    lines = ["  ".join(line) for line in zip(*cells, strict=True)]
    page.names(lines, ["kernel", *(row.name for row in rows)])
    hidden = len(table.kernels) - len(rows)
    if hidden:
        page.print(f"{hidden} more: {flag('limit')} 0 shows all")
    page.say(
        "gpu",
        f"busy {nanoseconds(table.busy_ns)}, idle between kernels {nanoseconds(table.idle_ns)} "
        f"in an inference under ORT's profiler ({counted(table.inferences, 'inference')})",
    )
    page.say("joined", f"{table.joined:.1%} of the GPU's time to a node")
    if table.unjoined_reason:
        page.say("joined", table.unjoined_reason)
    page.say(
        "joined",
        f"{counted(table.disagreements, 'launch', 'launches')} outside of their node's interval",
    )
    if table.dropped:
        page.say("joined", f"{table.dropped} records were lost")


def print_accounts(page: Page, table: OperatorTable) -> None:
    """What an inference is made of, as measured, and what speaks against it."""
    accounts = table.accounts
    inferences = counted(table.inferences, "inference")
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
                f"{nanoseconds(accounts.told_ns)} against its timed pass of "
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
    doubtful = [row for row in table.operators if row.doubt]
    for row in doubtful[:_DOUBTS_TOLD]:
        page.say("accounts", f"doubtful (?): {row.called}: {row.doubt}")
    if len(doubtful) > _DOUBTS_TOLD:
        page.say("accounts", f"doubtful (?): {len(doubtful) - _DOUBTS_TOLD} more rows")
    if table.uncovered:
        page.say("accounts", f"in the framework's part: {', '.join(table.uncovered)}")
    if table.profiler_tax is not None:
        page.say("accounts", f"profiler tax: ORT's profiler adds {table.profiler_tax:+.0%}")
