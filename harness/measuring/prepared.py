"""What the preparation process found out, and how it is handed over.

Apart from ``handover``, because it takes the graphs with probes to read: a measuring process
imports that only once its timed pass is over.
"""

from __future__ import annotations

import dataclasses

from harness.measuring import handover
from harness.measuring.handover import Job
from harness.models.executed_graph import ExecutedGraph
from harness.records import Absent, InputRecord, ModelRecord, Reading
from harness.tracing.probes.graphs import ProbedGraph

_FILE = "preparation.json"


@dataclasses.dataclass(frozen=True, slots=True)
class Preparation:
    """What the preparation process found out.

    Attributes:
        model: the model file.
        inputs: what is fed, and why.
        output_check: largest error against expected outputs, or why there is none.
        facts: about ORT: version, library, build, providers.
        graph: the graph ORT executes; None with the reason in absent.
        probed: the same graph with probes; None with the reason in absent.
        repeatable: whether two inferences with the same inputs gave the same outputs.
        executions: node executions in one inference, loop bodies counted per iteration; 0 if
            not traced.
        profiled_ns: one inference under ORT's profiler, to plan with; 0 if there was none.
        latency_ns: fastest of a few inferences, to plan with; not a result.
        executed_session_ns: time to create a session of the executed graph, to plan with; 0 if none
            was created.
        absent: what could not be determined, with reasons.
    """

    model: ModelRecord
    inputs: tuple[InputRecord, ...]
    output_check: Reading
    facts: tuple[Reading, ...]
    graph: ExecutedGraph | None
    probed: ProbedGraph | None
    repeatable: bool
    executions: int
    profiled_ns: int
    latency_ns: int
    executed_session_ns: int
    absent: tuple[Absent, ...]


def write(job: Job, preparation: Preparation) -> None:
    """Leaves the results of the preparation for the parent and the measuring processes."""
    handover.write(job.work_folder / _FILE, preparation)


def read(job: Job) -> Preparation:
    """What the preparation process of this job found out."""
    return handover.read(job.work_folder / _FILE, Preparation)
