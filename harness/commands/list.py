"""List the profiles of a folder: what was measured, where, when, and how long it took.

Only the folder itself is looked through, not the folders in it. Figures are those that were stored
with each profile; 'harness show' calculates them anew. What interrupted commands have left, and
files that are no profiles or are damaged, are named at the end; the exit code stays 0.
"""

from __future__ import annotations

import argparse
import datetime
import re
from pathlib import Path

from harness.commands.messages import reading
from harness.errors import RequestError
from harness.options import declare

#: Where ``profile`` writes unless told otherwise.
FOLDER = Path("profiles")

_AGO = re.compile(r"(\d{1,6})([mhdw])", re.ASCII)
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of ``harness list``."""
    parser.add_argument(
        "folder",
        type=Path,
        nargs="?",
        default=FOLDER,
        metavar="FOLDER",
        help=f"the folder (default: {FOLDER})",
    )
    declare(parser, "list")


def execute(options: argparse.Namespace) -> int:
    """Looks through the folder and prints what fits."""
    if options.limit is not None and options.limit < 0:
        raise RequestError("`limit` must not be negative", "give `limit` N, 0 for all")
    since = None if options.since is None else moment(options.since)

    from harness.analysis.outlines import Wanted, chosen
    from harness.reporters.scripts.listing import listing_csv, listing_text
    from harness.reporters.terminal.listing import print_listing
    from harness.storage.folder import contents

    wanted = Wanted(
        model=options.model or "",
        device=options.device or "",
        provider=options.provider or "",
        since=since,
    )
    if options.folder == FOLDER and not FOLDER.exists():
        raise RequestError(
            f"{FOLDER}: no such folder", "name one; harness profile MODEL writes into this one"
        )
    found = contents(options.folder, reading)
    profiles = chosen(found.profiles, wanted, options.sort)
    if options.json:
        print(listing_text(options.folder, found, profiles[: options.limit or None]))
    elif options.csv:
        print(listing_csv(profiles[: options.limit or None]), end="")
    else:
        print_listing(options.folder, found, profiles, options.limit)
    return 0


def moment(text: str) -> datetime.datetime:
    """The moment that ``since`` names: a date, with or without the time, or how long ago.

    Raises:
        RequestError: it names none.
    """
    ago = _AGO.fullmatch(text)
    try:
        if ago:
            past = datetime.timedelta(**{_UNITS[ago[2]]: int(ago[1])})
            return datetime.datetime.now(datetime.UTC) - past
        return _universal(datetime.datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        raise RequestError(
            f"`since` {text}: is no moment", "give `since` 2026-11-28, or 7d for a week ago"
        ) from None


def _universal(told: datetime.datetime) -> datetime.datetime:
    """That moment in UTC; a time without a zone is the user's own."""
    try:
        return told.astimezone(datetime.UTC)
    except (ValueError, OverflowError):
        if told.tzinfo is not None:
            raise
        # The first and last days of the calendar have no place in some zones.
        return told.replace(tzinfo=datetime.UTC)
