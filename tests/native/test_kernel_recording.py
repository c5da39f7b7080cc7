"""CUPTI and the marks of nodes together, with a double of CUPTI: it takes no GPU to join them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.doubles import build_cupti

CHAIN = "(float[4] x) => (float[4] y) { a = Relu(x)  b = Exp(a)  y = Neg(b) }"

# What the double notes of a recording that starts and of one that ends.
ON, OFF = "RREEEEEE", "FDDDDDDF"


def test_cupti_names_each_event_while_it_records_and_only_then(
    interpreter: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """In a process of its own: a libcupti that was opened stays."""
    done = interpreter(
        f"""
import contextlib, ctypes
from pathlib import Path
import numpy as np
from harness.config.session import SessionConfig
from harness.tracing.kernels.recorder import KernelPass
from tests.builders.executed import save_graph
from harness.tracing.kernels import join

join.cupti_candidates = lambda: ({build_cupti()!r},)
calls = (ctypes.c_char * (1 << 16)).in_dll(ctypes.CDLL({build_cupti()!r}), "calls")
folder, config = Path({str(tmp_path)!r}), SessionConfig(intra_threads=1)
library = ort.Library(LIBRARY)
graph = save_graph(library, Path(MODEL), config, folder)
recorder = KernelPass(library, config, graph, {{"x": np.ones(4, np.float32)}}, folder)
with contextlib.closing(recorder):
    try:
        recorder.capture(1, 1 << 60)
    except (MemoryError, ValueError):
        print("no room for marks")
    for inferences in (1, 2):
        marked, recording = recorder.capture(inferences, len(graph.nodes))
        print(len(marked.mark), recording.unnamed, len(recording.buffers))
print(calls.value.decode())
""",
        CHAIN,
    )
    assert (done.returncode, done.stderr) == (0, "")
    refused, *told, calls = done.stdout.splitlines()
    assert refused == "no room for marks"
    events = [int(line.split()[0]) for line in told]
    assert events[1] == 2 * events[0] > 6
    assert [line.split()[1:] for line in told] == [["0", "0"]] * 2

    nothing, *recordings = calls.removeprefix(ON).split(ON)
    assert nothing == OFF
    for recording, count in zip(recordings, events, strict=True):
        named = recording[: -len(OFF)]
        assert recording == named + OFF
        assert sorted(named) == sorted("+-" * count)
        assert (named[0], named[-1]) == ("+", "-")
