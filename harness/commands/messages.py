"""Messages on stderr: one line each, printable characters only, lost if nobody can read them."""

from __future__ import annotations

import os
import sys

from harness.errors import one_line
from harness.options import worded
from harness.reporters.visible import visible

#: Longest line, in characters: a name in a model may be megabytes long.
MOST_CHARACTERS = 1_200


#: Longest remedy beside a message, so that both together stay below 2,000.
MOST_OF_A_REMEDY = 700

#: Profiles whose headers take about a second to read.
MANY_PROFILES = 300


def message(text: str, most: int = MOST_CHARACTERS) -> str:
    """The text as one line that neither controls a terminal nor fills it."""
    # Cut before, for megabytes are slow to escape, and after, for escapes are longer.
    shown = visible(one_line(worded(text), most))
    return one_line(shown, most)


def say(text: str) -> None:
    """Prints ``harness: TEXT`` on stderr; if the write fails, only this message is lost."""
    try:
        print(f"harness: {message(text)}", file=sys.stderr, flush=True)
    except (OSError, ValueError):
        drop(2)


def reading(files: int) -> None:
    """Says that profiles are read which the index of their folder lacks, if it takes a while."""
    if files >= MANY_PROFILES:
        say(f"reading {files:,} profiles that the index does not hold yet")


def drop(descriptor: int) -> None:
    """Discards further output there; otherwise Python would fail again when it flushes at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


def open_standard_streams() -> None:
    """Opens /dev/null on any of descriptors 0 to 2 that the parent process has closed.

    Otherwise the next file to be opened would get that number, and prints would end up in it.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    for name, number in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w", closefd=False))
