"""The calibrating process: ``python -m harness.measuring.calibration JOB``.

It finds out once how long an inference takes where it will be timed. From that the parent plans
how many inferences make up the timed pass, the same number in all processes: if each process
calibrated itself, some would by chance observe the machine for longer than others.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from harness.measuring import conduct
from harness.measuring.handover import Job
from harness.measuring.timed_pass import Measurement


def latency_file(job: Job) -> Path:
    """Where the calibrating process leaves the latency it found, in ns."""
    return job.work_folder / "latency_ns.txt"


def _work(path: Path) -> None:
    """Body of the calibrating process."""
    job = Job.read(path)
    os.sched_setaffinity(0, job.cpus)
    with conduct.process(job):
        latency_ns = Measurement(job, -1, 0, 0).undisturbed_latency_ns()
        latency_file(job).write_text(str(latency_ns))


if __name__ == "__main__":
    _work(Path(sys.argv[1]))
