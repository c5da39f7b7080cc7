"""The preparation process: ``python -m harness.measuring.worker JOB``.

It reads the model, finds inputs that it accepts, and saves them with the graph that ORT will
execute. Like the measuring processes (``harness.measuring.spawning``), it does not import the
Python package onnxruntime: two ORT cores in one process break CUDA.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from harness.measuring import conduct
from harness.measuring.handover import Job, write_preparation
from harness.measuring.preparation import prepare


def _work(path: Path) -> None:
    """Body of the preparation process."""
    job = Job.read(path)
    os.sched_setaffinity(0, job.cpus)
    with conduct.process(job):
        write_preparation(job, prepare(job))


if __name__ == "__main__":
    _work(Path(sys.argv[1]))
