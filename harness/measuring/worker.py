"""The preparation process: ``python -m harness.measuring.worker JOB``.

It reads the model, finds inputs that it accepts, and saves them with the graph that ORT will
execute. Like the measuring processes (``harness.measuring.spawning``), it does not import the
Python package onnxruntime: two ORT cores in one process break CUDA.
"""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

from harness.measuring import conduct, prepared
from harness.measuring.handover import Job, leave_clocked
from harness.measuring.preparation import prepare
from harness.measuring.stopwatch import Stopwatch

#: Objects that are made before the collector looks for cycles. A large model is hundreds of
#: thousands of small objects, none of them in a cycle; looking at them every 700 new ones took
#: a third of the time spent in Python.
COLLECTED_EVERY = 1_000_000


def _work(path: Path) -> None:
    """Body of the preparation process."""
    gc.set_threshold(COLLECTED_EVERY)
    job = Job.read(path)
    os.sched_setaffinity(0, job.cpus)
    with conduct.process(job):
        watch = Stopwatch()
        preparation = prepare(job, watch)
        with watch.on("handing over"):
            prepared.write(job, preparation)
        leave_clocked(job, "preparation", watch)
    conduct.end()


if __name__ == "__main__":
    _work(Path(sys.argv[1]))
