"""The calibrating process: ``python -m harness.measuring.calibration JOB``.

It finds out once how long an inference takes where it will be timed, and a session. From that the
parent plans how many inferences make up the timed pass, the same number in all processes: if each
process calibrated itself, some would by chance observe the machine for longer than others.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NamedTuple

from harness.measuring import conduct
from harness.measuring.handover import Job, leave_clocked
from harness.measuring.timed_pass import Measurement


class Calibration(NamedTuple):
    """What the calibrating process found, to plan with.

    Attributes:
        latency_ns: an inference that nothing disturbs.
        session_ns: creating the session, its providers loaded first.
    """

    latency_ns: int
    session_ns: int


def read(job: Job) -> Calibration:
    """What the calibrating process of a job found."""
    latency_ns, session_ns = map(int, _file(job).read_text().split())
    return Calibration(latency_ns, session_ns)


def _file(job: Job) -> Path:
    return job.work_folder / "calibration.txt"


def _work(path: Path) -> None:
    """Body of the calibrating process."""
    job = Job.read(path)
    os.sched_setaffinity(0, job.cpus)
    with conduct.process(job):
        measurement = Measurement(job, -1, 0, 0)
        with measurement.watch.on("inferences"):
            latency_ns = measurement.undisturbed_latency_ns()
        _file(job).write_text(f"{latency_ns} {measurement.session_ns}")
        leave_clocked(job, "calibration", measurement.watch)


if __name__ == "__main__":
    _work(Path(sys.argv[1]))
