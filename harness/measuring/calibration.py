"""The calibrating process: ``python -m harness.measuring.calibration JOB``.

It finds out once how long an inference takes where it will be timed, and a session. From that the
parent plans how many inferences make up the timed pass, the same number in all processes: if each
process calibrated itself, some would by chance observe the machine for longer than others.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from harness.measuring import conduct, foreign
from harness.measuring.handover import Calibration, Job, leave_clocked, write_calibration
from harness.measuring.timed_pass import Measurement
from harness.records import Reading


def _work(path: Path) -> None:
    """Body of the calibrating process."""
    job = Job.read(path)
    os.sched_setaffinity(0, job.cpus)
    with conduct.process(job):
        measurement = Measurement(job, -1, 0, 0)
        with measurement.watch.on("inferences"):
            latency_ns = measurement.undisturbed_latency_ns()
        facts: tuple[Reading, ...] = ()
        if measurement.opened is not None:
            with measurement.watch.on("agreement"):
                facts = foreign.facts(job, measurement.opened)
        write_calibration(job, Calibration(latency_ns, measurement.session_ns, facts))
        leave_clocked(job, "calibration", measurement.watch)
    conduct.end()


if __name__ == "__main__":
    _work(Path(sys.argv[1]))
