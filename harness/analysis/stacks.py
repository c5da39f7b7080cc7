"""Where sampled stacks spend their time: in Python, the timing loop or ONNX Runtime."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import numpy as np

from harness.errors import one_line
from harness.records import Reading, Stacks

if TYPE_CHECKING:
    from harness.records import Int64Array


#: Frames as py-spy writes them: ``function (file:line)``, ``function (library)``.
_FRAME = re.compile(r"^(?P<function>.*) \((?P<file>.*?)(?::(?P<line>\d+))?\)$")


_OUR_MODULE = re.compile(r"(?:^|/)(?:native/|_)\w+\.(?:cpython-|abi3|so)[^/]*$")


#: Our function, and its file, whose Python frame calls the native loop.
_CALLER: Final = ("Measurement.take", "worker.py")


NATIVE_NEEDED = "Python stacks alone cannot tell the two apart; see `stacks`=native"


def parse(text: str) -> tuple[tuple[str, ...], Int64Array]:
    """Stacks and how often each was sampled, from py-spy's ``raw`` format.

    Raises:
        ValueError: the text is not in that format.
    """
    stacks: dict[str, int] = {}
    for line in text.splitlines():
        stack, _, count = line.rpartition(" ")
        if not stack or not count.isdecimal():
            raise ValueError(f"not a collapsed stack: {one_line(line, 80)}")
        stacks[stack] = stacks.get(stack, 0) + int(count)
    return tuple(stacks), np.array(list(stacks.values()), np.int64)


def frames(stack: str) -> tuple[str, ...]:
    """Frames of a collapsed stack, from the outermost to the innermost."""
    return tuple(stack.split(";"))


def place(stack: str) -> str:
    """Where the time of a stack belongs: ``python``, ``native_loop``, ``ort`` or ``native``.

    The innermost frame with a known owner decides: what libc does for ONNX Runtime counts as
    ONNX Runtime's. ``native`` is either of the two: a stack of Python alone ends at the
    statement that calls the loop.
    """
    for depth, frame in enumerate(reversed(frames(stack))):
        parts = _FRAME.match(frame)
        if parts is None:
            continue
        function, file = parts["function"], parts["file"]
        name = file.rpartition("/")[2]
        if name.startswith("libonnxruntime"):
            return "ort"
        if _OUR_MODULE.search(file) and "harness" in file:
            return "native_loop"
        if parts["line"] is not None and (name.endswith(".py") or name.startswith("<")):
            # py-spy prefixes a method with its class if the interpreter exposes it.
            called = depth == 0 and name == _CALLER[1] and _CALLER[0].endswith(function)
            return "native" if called else "python"
    return "python"


def shares(stacks: Stacks) -> tuple[Reading, ...]:
    """Share of samples in Python, in our native loop, in ONNX Runtime, and in the last two.

    Without native frames, what ``worker.Measurement.take`` itself does in Python (a few
    microseconds around each call of the loop) counts as part of the call.
    """
    total = int(stacks.samples.sum())
    source = f"py-spy, {total} samples at {stacks.rate_hz} Hz" + (
        f", {stacks.failed} failed" if stacks.failed else ""
    )
    names = ("python_share", "native_loop_share", "ort_share", "native_share")
    if not total:
        reason = "no sample was taken"
        return tuple(Reading(name, None, "1", source, reason) for name in names)
    counts = dict.fromkeys(("python", "native_loop", "ort", "native"), 0)
    for stack, samples in zip(stacks.stack, stacks.samples.tolist(), strict=True):
        counts[place(stack)] += samples
    if stacks.native and counts["native"]:
        # The unwinder gave up below the statement that calls the loop: it is one of the two.
        source += f"; {counts['native']} without native frames count in native_share only"
    native = counts["native"] + counts["native_loop"] + counts["ort"]
    values: dict[str, float | None] = {
        "python_share": counts["python"] / total,
        "native_loop_share": counts["native_loop"] / total if stacks.native else None,
        "ort_share": counts["ort"] / total if stacks.native else None,
        "native_share": native / total,
    }
    return tuple(
        Reading(name, value, "1", source, "" if value is not None else NATIVE_NEEDED)
        for name, value in values.items()
    )
