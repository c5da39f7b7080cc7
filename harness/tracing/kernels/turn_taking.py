"""Timing inferences by turns, while CUPTI records the device's work and while it does not."""

from __future__ import annotations

import numpy as np

from harness.native import cupti, ort
from harness.tracing.kernels import join
from harness.tracing.kernels.timeline import Turn
from harness.tracing.kernels.turns import SETTLING, TURNS


def start(recorder: cupti.Cupti, *, launches: bool) -> None:
    """Starts recording.

    Args:
        recorder: CUPTI.
        launches: whether to record which call launched each piece of work, too.

    Raises:
        ValueError: CUPTI does not record here; the message says why.
    """
    try:
        recorder.start(launches=launches)
    except OSError as error:
        raise ValueError(join.why_absent(str(error))) from error


def decoded(recording: cupti.CuptiRecording) -> cupti.CuptiColumns:
    """All records of a recording."""
    return cupti.decode((buffer.data, buffer.offsets.tolist()) for buffer in recording.buffers)


def take_turns(recorder: cupti.Cupti, binding: ort.Binding, inferences: int) -> list[Turn]:
    """Times so many inferences in each of the TURNS.

    Raises:
        ValueError: CUPTI does not record here.
        OrtError: an inference failed.
    """
    return [_turn(recorder, binding, inferences, recorded) for recorded in TURNS]


def _turn(recorder: cupti.Cupti, binding: ort.Binding, inferences: int, recorded: bool) -> Turn:
    """Some inferences in a row, with CUPTI or without."""
    start_ns, enqueue_ns, duration_ns = (np.zeros(inferences, np.int64) for _ in range(3))
    if recorded:
        start(recorder, launches=False)
    try:
        for _ in range(min(SETTLING, inferences)):
            binding.run()
        binding.time(start_ns, duration_ns, enqueue_ns=enqueue_ns)
    finally:
        recording = recorder.stop() if recorded else None
    if recording is None:
        return Turn(start_ns, enqueue_ns, duration_ns)
    columns = decoded(recording)
    names = cupti.names_at(columns.work["name"].tolist())
    return Turn(start_ns, enqueue_ns, duration_ns, columns, recording, names)
