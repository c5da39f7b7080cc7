"""Ctrl-C where Python cannot pass its exception on: in callbacks that nobody awaits."""

from __future__ import annotations

import subprocess
import sys

import pytest

#: A command during which Ctrl-C comes while Python runs the callback of a weak reference.
COMMAND = """
import contextlib, signal, sys, time, weakref
from harness.commands import command_line
from harness.measuring.profile import interruptible

signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever started us may ignore it

class Thing:
    pass

def callback(_):
    signal.raise_signal(signal.SIGINT)
    for _ in range(10):  # the handler runs here
        pass

def execute(given, began_ns):
    with interruptible() if sys.argv[1] == "measuring" else contextlib.nullcontext():
        for _ in range(LOST):
            thing = Thing()
            reference = weakref.ref(thing, callback)
            del thing
        end = time.monotonic() + 20
        while time.monotonic() < end:
            pass
    return 0

command_line._execute = execute
sys.exit(command_line.main([]))
"""


@pytest.mark.parametrize("lost", [1, 3])
@pytest.mark.parametrize("during", ["reading", "measuring"])
def test_an_interrupt_inside_a_callback_ends_the_command(during: str, lost: int) -> None:
    outcome = subprocess.run(
        [sys.executable, "-c", COMMAND.replace("LOST", str(lost)), during],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert outcome.stderr == "harness: interrupted\n"
    assert outcome.returncode == 130


def test_other_errors_inside_a_callback_are_still_told() -> None:
    failing = COMMAND.replace("signal.raise_signal(signal.SIGINT)", "raise ValueError('odd')")
    failing = failing.replace("LOST", "1").replace("+ 20", "+ 0.01")
    outcome = subprocess.run(
        [sys.executable, "-c", failing, "reading"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "ValueError: odd" in outcome.stderr
    assert outcome.returncode == 0
