"""A profile as text for a terminal: 80 columns, colour only where the terminal has it."""

from __future__ import annotations

import csv
import io
import sys

from rich.console import Console
from rich.table import Table

from harness import statistics
from harness.records import InputRecord, Profile
from harness.statistics import Figure, OperatorTable

#: Operators that the summary names.
TOP_OPERATORS = 5

#: Slow-down by the ORT profiler above which its operator times are called upper bounds.
PROFILER_TAX_LIMIT = 0.05


def input_line(record: InputRecord) -> str:
    """One input, as it was fed and why."""
    shape = "x".join(map(str, record.shape)) or "scalar"
    return f"{record.name}: {record.dtype} {shape}; {record.chosen_because}"


def print_summary(profile: Profile) -> None:
    """What ``show`` and ``profile`` print."""
    console = _console()
    say = console.print
    model = profile.model
    threads = _threads_text(profile)
    say(f"{model.name} on {profile.provider}, {threads}", style="bold", markup=False)
    if not profile.complete:
        say("interrupted: only part of what was planned is here", style="yellow")
    if not profile.processes:
        say("no process has finished")
        return
    figures = statistics.latency(profile.processes)
    say(f"  latency    {nanoseconds(figures.median_ns)} median of {figures.processes} processes")
    if figures.interval_ns is None:
        say(f"             no confidence interval: {figures.interval_reason}")
    else:
        low, high = figures.interval_ns
        half = (high - low) / 2 / figures.median_ns
        say(
            f"             {nanoseconds(low)} to {nanoseconds(high)} with 95 % confidence"
            f" (±{half:.1%}, processes vary)"
        )
    tail = [f"fastest {nanoseconds(figures.min_ns)}", f"mean {nanoseconds(figures.mean_ns)}"]
    for name, figure in (("p90", figures.p90_ns), ("p99", figures.p99_ns)):
        if figure.value is not None:
            tail.append(f"{name} {nanoseconds(figure.value)}")
    say(f"             {', '.join(tail)}; {figures.samples:,} samples")
    for figure in (figures.p90_ns, figures.p99_ns):
        if figure.value is None:
            say(f"             {figure.reason}")
    cold = {
        name: figure.value or 0.0
        for name, figure in statistics.cold_start(profile.processes).items()
    }
    first = cold["first_inference_ns"]
    say(
        f"  cold start session {nanoseconds(cold['session_ns'])}, first inference "
        f"{nanoseconds(first)} ({first / figures.median_ns:.1f} times the median)"
    )
    noise = statistics.noise(profile.processes)
    say(f"  noise      {noise.verdict}{': ' if noise.causes else ''}{'; '.join(noise.causes)}")
    for record in profile.inputs:
        say(f"  input      {input_line(record)}", markup=False)
    check = profile.output_check
    if check.value is not None:
        say(f"  outputs    largest error {check.value:g} against the data set ({check.source})")
    _print_top(console, statistics.operator_table(profile))
    for what, reason in profile.absent:
        say(f"  absent     {what}: {reason}", markup=False)
    if profile.path is not None:
        say(f"  file       {profile.path}", markup=False)


def print_operators(profile: Profile, by: str, sort: str, limit: int) -> None:
    """What ``ops`` prints."""
    console = _console()
    table = statistics.operator_table(profile, by, sort)
    if isinstance(table, Figure):
        console.print(f"no operator times: {table.reason}", markup=False)
        return
    rows = table.operators[:limit] if limit > 0 else table.operators
    grid = Table(box=None, pad_edge=False, padding=(0, 1))
    for name in ("own time", "p10", "p90", "share", "sum", "calls"):
        grid.add_column(name, justify="right", no_wrap=True)
    grid.add_column("op type", no_wrap=True, overflow="ellipsis", max_width=16)
    grid.add_column("node", no_wrap=True)
    cumulative = 0.0
    for row in rows:
        cumulative += row.share
        grid.add_row(
            nanoseconds(row.median_ns),
            nanoseconds(row.p10_ns),
            nanoseconds(row.p90_ns),
            f"{row.share:.1%}",
            f"{cumulative:.0%}",
            f"{row.calls:g}",
            row.op_type,
            shorten(row.node, 18),
        )
    console.print(grid, markup=False)
    hidden = len(table.operators) - len(rows)
    if hidden:
        console.print(f"{hidden} more: --limit 0 shows all")
    _print_accounts(console, table)


def operators_csv(profile: Profile, by: str, sort: str) -> str:
    """What ``ops --csv`` prints, all rows; a header alone where there are no times."""
    table = statistics.operator_table(profile, by, sort)
    sink = io.StringIO()
    columns = (
        "node", "op_type", "provider", "median_ns", "total_ns", "p10_ns", "p90_ns", "share",
        "calls", "source",
    )  # fmt: skip
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(columns)
    if not isinstance(table, Figure):
        for row in table.operators:
            writer.writerow([getattr(row, column) for column in columns])
    return sink.getvalue()


def nanoseconds(value: float) -> str:
    """A duration with four digits and the unit that fits it."""
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if abs(value) >= size:
            scaled = value / size
            return f"{scaled:.{max(0, 3 - len(str(int(abs(scaled)))))}f} {unit}"
    return f"{value:.0f} ns"


def shorten(text: str, width: int) -> str:
    """The text, cut in the middle when it is wider."""
    if len(text) <= width:
        return text
    tail = (width - 1) // 2
    return f"{text[: width - 1 - tail]}…{text[len(text) - tail :]}"


def _console() -> Console:
    # Piped output is laid out like a terminal of 80 columns and never wrapped.
    terminal = sys.stdout.isatty()
    return Console(highlight=False, width=None if terminal else 10_000, soft_wrap=not terminal)


def _threads_text(profile: Profile) -> str:
    import json

    threads = json.loads(profile.config)["session"]["intra_threads"]
    return f"{threads} threads" if threads else "threads as ORT chooses"


def _print_top(console: Console, table: OperatorTable | Figure) -> None:
    if isinstance(table, Figure):
        console.print(f"  operators  none: {table.reason}", markup=False)
        return
    for number, row in enumerate(table.operators[:TOP_OPERATORS]):
        heading = "operators" if number == 0 else ""
        console.print(
            f"  {heading:10} {row.share:6.1%}  {nanoseconds(row.median_ns):>8}  "
            f"{row.op_type}  {shorten(row.node, 36)}",
            markup=False,
        )
    _print_accounts(console, table)


def _print_accounts(console: Console, table: OperatorTable) -> None:
    accounts = table.accounts
    console.print(
        f"  accounts   nodes {nanoseconds(accounts.nodes_ns)} + framework "
        f"{nanoseconds(accounts.framework_ns)} in a traced inference of "
        f"{nanoseconds(accounts.traced_ns)}"
    )
    console.print(
        f"             by ORT's profiler: {table.inferences} inferences, steps of "
        f"{nanoseconds(table.resolution_ns)}, {accounts.residual:+.0%} against the timed pass"
    )
    if accounts.residual > PROFILER_TAX_LIMIT:
        console.print(
            "             the profiler slows this model: operator times are upper bounds, "
            "their shares a guide"
        )
    if accounts.dropped:
        console.print(f"             {accounts.dropped:,} events were dropped by ORT's limit")
