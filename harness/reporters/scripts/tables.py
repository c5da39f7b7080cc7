"""Tables as CSV: what ``ops --csv`` prints."""

from __future__ import annotations

import csv
import io

from harness.analysis.gpu_work import KernelTable
from harness.analysis.operators.table import OperatorTable
from harness.records import BETWEEN_SOURCES
from harness.reporters.visible import cell
from harness.statistics.figures import Figure


def operators_csv(table: OperatorTable | Figure, limit: int | None = None) -> str:
    """What ``ops --csv`` prints, at most ``limit`` rows; only a header if there are no times."""
    sink = io.StringIO()
    columns = (
        "node", "op_type", "provider", "median_ns", "total_ns", "p10_ns", "p90_ns", "share",
        "calls", "source", "kernel_ns", "launches", "idle_ns", "profiled_ns", "flops",
        "traffic_bytes", "peak_share",
        "bandwidth_share", "bound", "label", "sources", "split_miss", "doubt", "idle_doubt",
    )  # fmt: skip
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(columns)
    if not isinstance(table, Figure):
        for row in table.operators[:limit]:
            cells = [getattr(row, column) for column in columns]
            writer.writerow(
                [cell(BETWEEN_SOURCES.join(c) if isinstance(c, tuple) else c) for c in cells]
            )
    return sink.getvalue()


def kernels_csv(table: KernelTable | Figure, limit: int | None = None) -> str:
    """What ``ops --by kernel --csv`` prints, at most ``limit`` rows; only a header without any."""
    sink = io.StringIO()
    columns = (
        "name", "kind", "median_ns", "share", "calls", "nodes", "unjoined", "peak_share",
        "bandwidth_share", "work", "ceilings_reason",
    )  # fmt: skip
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(columns)
    if not isinstance(table, Figure):
        for row in table.kernels[:limit]:
            cells = [getattr(row, column) for column in columns]
            writer.writerow([cell(" ".join(c) if isinstance(c, tuple) else c) for c in cells])
    return sink.getvalue()
