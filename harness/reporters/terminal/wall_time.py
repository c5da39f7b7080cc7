"""Where the wall time of a command went: what ``show`` adds when it says more."""

from __future__ import annotations

from harness.analysis.wall_time import Spent
from harness.options import worded
from harness.reporters.numbers import nanoseconds
from harness.reporters.terminal.lines import Column, Page
from harness.statistics.figures import Figure

#: What no process clocked, as the last row names it.
NOT_ACCOUNTED = "not accounted"


def print_wall_time(told: Spent | Figure) -> None:
    """Prints the parts of the wall time, the rest, and their sum."""
    page = Page()
    if isinstance(told, Figure):
        page.say("wall time", worded(told.reason))
        return
    page.say(
        "wall time",
        f"{nanoseconds(told.duration_ns)} from the start of the command until the contents of "
        f"the file were complete, {nanoseconds(told.cpu_ns)} of CPU time",
    )
    rows = [
        *(
            (one.name, one.duration_ns, nanoseconds(one.cpu_ns), one.processes)
            for one in told.parts
        ),
        (NOT_ACCOUNTED, told.unaccounted_ns, "–", 0),
        ("together", told.duration_ns, nanoseconds(told.cpu_ns), 0),
    ]
    page.table(
        [
            Column("wall", [nanoseconds(wall_ns) for _, wall_ns, _, _ in rows]),
            Column("share", [f"{wall_ns / told.duration_ns:.1%}" for _, wall_ns, _, _ in rows]),
            Column("CPU", [cpu for _, _, cpu, _ in rows]),
            Column("processes", [str(count) if count else "–" for *_, count in rows]),
        ],
        Column("part", [name for name, *_ in rows]),
        spared=("processes", "share"),
    )
