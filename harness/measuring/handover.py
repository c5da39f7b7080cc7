"""What the command and its workers hand over to each other: job, preparation, errors."""

from __future__ import annotations

import dataclasses
import os
import pickle
import sys
from pathlib import Path
from typing import NoReturn

import msgspec

from harness.config.profile import ProfileConfig
from harness.errors import HarnessError
from harness.models.executed_graph import ExecutedGraph
from harness.records import InputRecord, ModelRecord, Reading
from harness.tracing.probes.graphs import ProbedGraph

INPUTS = "inputs.pickle"


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """What a worker process is told.

    Attributes:
        config: what to measure.
        library: path of libonnxruntime.
        model: path of the model file.
        model_name: name to record it under.
        work_folder: where the preparation leaves its results.
        partial_folder: where a measuring process leaves its shard.
        cpus: CPUs that the workers may use.
        parent: process id of the command, without which no worker goes on.
    """

    config: ProfileConfig
    library: Path
    model: Path
    model_name: str
    work_folder: Path
    partial_folder: Path
    cpus: tuple[int, ...]
    parent: int = dataclasses.field(default_factory=os.getpid)

    @property
    def path(self) -> Path:
        """File that holds this job."""
        return self.work_folder / "job.json"

    def write(self) -> None:
        """Leaves the job where the workers find it."""
        self.path.write_bytes(msgspec.json.encode(self, enc_hook=str))

    @classmethod
    def read(cls, path: Path) -> Job:
        """The job in a file."""
        return msgspec.json.decode(
            path.read_bytes(), type=cls, dec_hook=lambda kind, value: kind(value)
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Preparation:
    """What the preparation process found out.

    Attributes:
        model: the model file.
        inputs: what is fed, and why.
        output_check: largest error against expected outputs, or why there is none.
        facts: of ORT: version, library, build, providers.
        graph: the graph ORT executes; None with the reason in absent.
        probed: the same with probes; None with the reason in absent.
        repeatable: whether two inferences of the same inputs gave the same outputs.
        executions: of nodes in one inference, bodies of loops as often as they ran; 0 where
            no trace told it.
        profiled_ns: one inference under ORT's profiler, to plan with; 0 where there is none.
        latency_ns: fastest of a few inferences, to plan with; not a result.
        session_ns: creating the session, to plan with.
        absent: (what, reason).
        log: lines ORT logged.
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
    session_ns: int
    absent: tuple[tuple[str, str], ...]
    log: tuple[str, ...]


def leave_error(job: Job, error: HarnessError) -> NoReturn:
    """Ends a worker, with its error where the command finds it."""
    _error_path(job).write_bytes(pickle.dumps(error))
    sys.exit(error.exit_code)


def take_error(job: Job) -> HarnessError | None:
    """The error that a worker of this job left, once."""
    path = _error_path(job)
    if not path.exists():
        return None
    error: HarnessError = pickle.loads(path.read_bytes())
    path.unlink()
    return error


def _error_path(job: Job) -> Path:
    return job.work_folder / "error.pickle"


def _preparation_path(job: Job) -> Path:
    return job.work_folder / "preparation.pickle"


def write_preparation(job: Job, preparation: Preparation) -> None:
    """Leaves what was found out for the parent and the measuring processes."""
    _preparation_path(job).write_bytes(pickle.dumps(preparation))


def read_preparation(job: Job) -> Preparation:
    """What the preparation process of this job found out."""
    found: Preparation = pickle.loads(_preparation_path(job).read_bytes())
    return found
