"""What a command says on stderr: one line each, of harmless characters, whoever reads it or not."""

from __future__ import annotations

import os
import sys

from harness.errors import one_line
from harness.options import worded
from harness.reporters.visible import visible

#: Characters of a line at most: a name may have megabytes.
MOST_CHARACTERS = 1_200


def message(text: str) -> str:
    """The text as one line that cannot do anything to a terminal, nor fill it."""
    return visible(one_line(worded(text), MOST_CHARACTERS))


def say(text: str) -> None:
    """Prints ``harness: TEXT`` on stderr; where that cannot be written, only this is lost."""
    try:
        print(
            f"harness: {visible(one_line(worded(text), 2 * MOST_CHARACTERS))}",
            file=sys.stderr,
            flush=True,
        )
    except (OSError, ValueError):
        drop(2)


def drop(descriptor: int) -> None:
    """Sends what else is written there to nowhere, or Python fails once more when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


def open_standard_streams() -> None:
    """Opens to nowhere what whoever started us has closed of descriptors 0 to 2.

    Else the next file to be opened would get such a number, and be written to by what means to
    print.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    for name, number in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w", closefd=False))
