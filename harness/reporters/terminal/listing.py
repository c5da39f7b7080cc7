"""The table of a folder's profiles: what ``list`` prints."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.analysis import outlines
from harness.analysis.configuration import created
from harness.options import TABLE_ROWS, flag, worded
from harness.records import NOISE, RUNTIME_THREADS, Outline
from harness.reporters.names import shortened
from harness.reporters.numbers import half_width, nanoseconds
from harness.reporters.terminal.lines import Column, Page
from harness.reporters.visible import visible
from harness.reporters.wording import counted, minute, processes
from harness.storage.folder import Contents, Partial

#: Columns of a name in the table, at most; ``--json`` has all of it.
_NAME = 24

#: Unreadable files and folders that are named; ``--json`` has all.
_TOLD = 20

#: Columns that a narrow terminal leaves out, in this order. Names of files are never shortened:
#: they are there to be copied, and say model, provider and time by default.
_SPARED = ("procs", "device", "threads", "provider", "model", "created", "noise", "±")


def print_listing(
    folder: Path, found: Contents, profiles: Sequence[Outline], limit: int | None
) -> None:
    """Prints what ``list`` shows.

    Args:
        folder: that was looked through.
        found: what it holds.
        profiles: the wanted ones, in order.
        limit: rows to print, 0 for all; None for the default.
    """
    page = Page()
    shown = profiles[: (TABLE_ROWS if limit is None else limit) or None]
    if shown:
        columns = [
            column
            for column in _columns(shown)
            if any(text not in ("", "–") for text in column.cells)
        ]
        page.table(columns, Column("fed, options", list(map(_fed, shown)), "<"), spared=_SPARED)
    else:
        page.print(
            f"{folder}: none of {counted(len(found.profiles), 'profile')} fits"
            if found.profiles
            else f"{folder}: no profiles"
        )
    if len(profiles) > len(shown):
        page.print(f"{len(profiles) - len(shown):,} more: {flag('limit')} 0 shows all")
    for partial in found.partial:
        page.say("unfinished", _partial(partial))
    for path, reason in found.unreadable[:_TOLD]:
        page.say("unreadable", f"{path.name}: {worded(reason)}")
    if len(found.unreadable) > _TOLD:
        page.say("unreadable", f"{len(found.unreadable) - _TOLD} more files")
    if found.folders:
        named = ", ".join(found.folders[:_TOLD]) + (" …" if len(found.folders) > _TOLD else "")
        page.say("folders", f"not looked into: {named}")


def _columns(shown: Sequence[Outline]) -> Iterator[Column]:
    yield Column("created", list(map(_created, shown)), "<")
    yield Column("model", _names([one.model for one in shown]), "<")
    yield Column("median", [_or_dash(one.median_ns) for one in shown])
    yield Column("±", list(map(_half_width, shown)))
    yield Column("noise", [str(one.facts.get(NOISE, "–")) for one in shown], "<")
    yield Column("state", ["" if one.complete else "incomplete" for one in shown], "<")
    yield Column("procs", [str(one.processes) for one in shown])
    yield Column("provider", [one.provider for one in shown], "<")
    yield Column("threads", list(map(_threads, shown)))
    yield Column("device", _names(list(map(outlines.device, shown))), "<")
    yield Column("file", [one.path.name for one in shown], "<")


def _fed(outline: Outline) -> str:
    """The first input, and what else tells this configuration from the default."""
    return "  ".join(
        filter(None, (outlines.inputs_line(outline, 1), outlines.options_line(outline)))
    )


def _names(texts: Sequence[str]) -> list[str]:
    return shortened(list(map(visible, texts)), _NAME)


def _created(outline: Outline) -> str:
    """In the reader's own time zone, to the minute."""
    when = created(outline)
    if when is None:
        return "–"
    with contextlib.suppress(ValueError, OverflowError):  # before the calendar begins there
        when = when.astimezone()
    return minute(when)


def _or_dash(value_ns: float | None) -> str:
    return "–" if value_ns is None else nanoseconds(value_ns)


def _half_width(outline: Outline) -> str:
    if outline.interval_ns is None or not outline.median_ns:
        return "–"
    return half_width(outline.interval_ns, outline.median_ns, 1).removeprefix("±")


def _threads(outline: Outline) -> str:
    asked = outline.facts.get(RUNTIME_THREADS, outline.asked.intra_threads)
    return "–" if asked is None else str(asked or "ORT's")


def _partial(partial: Partial) -> str:
    if partial.running:
        return f"{partial.path.name}: being measured, {processes(partial.processes)} finished"
    if partial.processes:
        return (
            f"{partial.path.name}: {processes(partial.processes)} finished; "
            f"harness recover {partial.path}"
        )
    return f"{partial.path.name}: no process had finished; it may be deleted"
