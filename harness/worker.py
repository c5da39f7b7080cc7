"""What happens inside one worker process: preparing a model, and measuring it.

``python -m harness.worker JOB`` is the preparation process: it reads the model, finds inputs
that it accepts, and saves them with the graph that ORT will execute. ``Measurement`` is
what a measuring process does; ``harness.runner`` drives it with pyperf. Neither imports the
Python package onnxruntime: two ORT cores in one process break CUDA (ORT_FACTS section 1).
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from harness import ort_trace, shards
from harness._ort import Library, OrtError, Session, monotonic_ns
from harness.config import ProfileConfig, SessionConfig
from harness.devices.host_noise import HostNoise
from harness.errors import HarnessError, MachineError, ModelError
from harness.executed_graph import ExecutedGraph
from harness.records import (
    InputRecord,
    LatencySeries,
    ModelRecord,
    NodeEvents,
    NodeTable,
    ProcessRecord,
    Reading,
)

#: Names by which ORT's C API appends an execution provider.
PROVIDER_NAMES = {"cuda": "CUDA", "tensorrt": "TensorRT"}

#: Inferences before those that a traced pass records.
TRACE_WARMUP_INFERENCES = 2

_PR_SET_PDEATHSIG = 1  # prctl(2)


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
    """

    config: ProfileConfig
    library: Path
    model: Path
    model_name: str
    work_folder: Path
    partial_folder: Path

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
    latency_ns: int
    session_ns: int
    absent: tuple[tuple[str, str], ...]
    log: tuple[str, ...]


def open_session(library: Library, model: Path, config: SessionConfig, **overrides: Any) -> Session:
    """A session as the configuration says.

    Raises:
        MachineError: the execution provider cannot be used here.
        ModelError: ONNX Runtime refuses the model.
    """
    options: dict[str, Any] = {
        "intra_threads": config.intra_threads,
        "inter_threads": config.inter_threads,
        "optimization": config.optimization,
        "execution_mode": config.execution_mode,
        "entries": config.entries,
        "providers": (
            [(PROVIDER_NAMES[config.provider], config.provider_options)]
            if config.provider in PROVIDER_NAMES
            else []
        ),
    }
    try:
        return Session(library, str(model), **(options | overrides))
    except OrtError as error:
        reason = one_line(str(error))
        if config.provider in PROVIDER_NAMES and "provider" in reason.lower():
            raise MachineError(
                f"--provider {config.provider} cannot be used here: {reason}",
                "see 'harness doctor', or profile with --provider cpu",
            ) from error
        raise ModelError(
            f"{model}: ONNX Runtime {library.version} refuses the model: {reason}",
            "check the model, or try another version with --ort-library",
        ) from error


def one_line(text: str, limit: int = 400) -> str:
    """The text on one line, cut in the middle when it is very long."""
    line = " ".join(text.split())
    if len(line) <= limit:
        return line
    return f"{line[: limit // 2]} … {line[-limit // 2 :]}"


def prepare(job: Job) -> Preparation:
    """Reads the model, finds inputs that it accepts, saves both for the workers.

    Leaves ``inputs.pickle`` and, where it can be had, the executed graph in the work folder.

    Raises:
        RequestError: an input option does not fit the model.
        ModelError: the model cannot be read or no inputs were found that it accepts.
        MachineError: the execution provider cannot be used here.
    """
    # onnx takes a third of a second to import; the measuring workers do without it.
    from harness import executed_graph, inputs, model_file

    model = model_file.load(job.model)
    record = model_file.describe(job.model, model, job.model_name)
    library = Library(str(job.library))
    session = open_session(library, job.model, job.config.session)

    def attempt(candidate: inputs.InputSet) -> list[Any]:
        with contextlib.closing(session.bind(candidate.values)) as binding:
            binding.run()
            return binding.outputs()

    chosen, outputs = inputs.choose(model, job.config.inputs, attempt)
    (job.work_folder / "inputs.pickle").write_bytes(pickle.dumps(dict(chosen.values)))
    with contextlib.closing(session.bind(chosen.values)) as binding:
        latency_ns = min(binding.run() for _ in range(3))
    session_ns = session.create_ns
    session.close()

    absent: list[tuple[str, str]] = []
    graph: ExecutedGraph | None = None
    if job.config.trace:
        try:
            graph = _save_executed_graph(library, job, executed_graph.prepare)
        except (HarnessError, OrtError, OSError, ValueError) as error:
            absent.append(("nodes", f"the executed graph cannot be saved: {one_line(str(error))}"))
    return Preparation(
        model=record,
        inputs=chosen.records,
        output_check=inputs.output_error(outputs, chosen.expected),
        facts=_ort_facts(library),
        graph=graph,
        latency_ns=latency_ns,
        session_ns=session_ns,
        absent=tuple(absent),
        log=tuple(library.take_log()),
    )


def _save_executed_graph(library: Library, job: Job, name_nodes: Any) -> ExecutedGraph:
    saved = job.work_folder / "executed.onnx"
    weights = "executed.weights"
    open_session(
        library,
        job.model,
        job.config.session,
        optimized_model_path=str(saved),
        # Weights stay out of the file, so that naming its nodes is cheap at any size.
        entries=job.config.session.entries
        | {
            "session.optimized_model_external_initializers_file_name": weights,
            "session.optimized_model_external_initializers_min_size_in_bytes": "1024",
        },
    ).close()
    graph: ExecutedGraph = name_nodes(saved, job.work_folder / "executed-named.onnx")
    return graph


def _ort_facts(library: Library) -> tuple[Reading, ...]:
    return (
        Reading("ort_version", library.version, source="OrtApiBase::GetVersionString"),
        Reading("ort_library", library.path, source="dlopen"),
        Reading("ort_build", library.build_info, source="OrtApi::GetBuildInfoString"),
        Reading(
            "ort_providers",
            ", ".join(library.available_providers()),
            source="OrtApi::GetAvailableProviders (built in, not necessarily usable)",
        ),
    )


class Measurement:
    """One measuring process: session, first inference, then chunks of the timing loop.

    Args:
        job: what to measure; its preparation must have finished.
        warmup_values: calls of take() that are warm-up.
        steady_values: calls of take() after them that are the timed pass.
    """

    def __init__(self, job: Job, warmup_values: int, steady_values: int) -> None:
        self._job = job
        self._warmup_values = warmup_values
        self._steady_values = steady_values
        self._chunks: list[LatencySeries] = []
        self._noise = HostNoise()
        self._readings: tuple[Reading, ...] = ()
        # Own pickle of a moment ago, not a stranger's.
        self._inputs = pickle.loads((job.work_folder / "inputs.pickle").read_bytes())
        self._library = Library(str(job.library))
        self._session = open_session(self._library, job.model, job.config.session)
        self._binding = self._session.bind(self._inputs)
        self._first_inference_ns = self._binding.run()

    def take(self, inferences: int) -> float:
        """Takes the next chunk of samples; returns the seconds it took in the native loop.

        Raises:
            ModelError: an inference failed.
        """
        number = len(self._chunks)
        # Zeroed pages are not yet backed by memory; touching them now keeps their page
        # faults out of the timed region.
        start_ns = np.full(inferences, -1, dtype=np.int64)
        duration_ns = np.full(inferences, -1, dtype=np.int64)
        if number == self._warmup_values:
            self._noise.start()
        try:
            self._binding.time(start_ns, duration_ns)
        except OrtError as error:
            raise ModelError(
                f"inference failed after {error.completed} of {inferences} that succeeded: "
                f"{one_line(str(error))}",
                "fix the inputs with --input or --shape",
            ) from error
        if number == self._warmup_values + self._steady_values - 1:
            self._readings = self._noise.stop()
        self._chunks.append(LatencySeries(start_ns, duration_ns))
        return float(start_ns[-1] + duration_ns[-1] - start_ns[0]) * 1e-9

    def finish(
        self,
        index: int,
        loops: int,
        trace_inferences: int,
        metadata: Mapping[str, str | int | float],
    ) -> shards.Shard:
        """Closes the timed session, makes the traced passes, returns all that was measured.

        Args:
            index: number of this process.
            loops: inferences that pyperf's calibration put into a value.
            trace_inferences: inferences to record in a traced pass.
            metadata: pyperf's of this process.
        """
        self._binding.close()
        create_ns = self._session.create_ns
        self._session.close()
        absent: list[tuple[str, str]] = []
        traces: dict[str, NodeEvents] = {}
        nodes: NodeTable | None = None
        graph = read_preparation(self._job).graph
        if "ort" in self._job.config.trace and graph is not None:
            try:
                trace = self._trace_ort(graph, index, trace_inferences)
            except (HarnessError, OrtError, OSError, ValueError) as error:
                absent.append(("trace/ort", one_line(str(error))))
            else:
                traces["ort"], nodes = trace.events, trace.nodes
                absent += [("trace/ort", remark) for remark in trace.remarks]
        process = ProcessRecord(
            index=index,
            pid=os.getpid(),
            library_ns=self._library.open_ns,
            session_ns=create_ns,
            first_inference_ns=self._first_inference_ns,
            warmup=_join(self._chunks[: self._warmup_values]),
            steady=_join(self._chunks[self._warmup_values :]),
            loops=loops,
            noise=self._readings,
            metadata=metadata,
            log=tuple(self._library.take_log()),
        )
        return shards.Shard(process, traces, nodes, tuple(absent))

    def _trace_ort(self, graph: ExecutedGraph, index: int, inferences: int) -> ort_trace.OrtTrace:
        """Profiles a few inferences of the executed graph with ORT's built-in profiler."""
        prefix = str(self._job.work_folder / f"ort-{index:03d}")
        # Its nodes are what optimisation made of the model: nothing is left to optimise.
        session = open_session(
            self._library, graph.path, self._job.config.session, optimization="disable"
        )
        needed = {described.name for described in session.inputs}
        files: list[ort_trace.TraceFile] = []
        with (
            contextlib.closing(session),
            contextlib.closing(
                session.bind({name: v for name, v in self._inputs.items() if name in needed})
            ) as binding,
        ):
            for _ in range(TRACE_WARMUP_INFERENCES):
                binding.run()
            for number in range(inferences):
                zero_ns = monotonic_ns()
                binding.run(profile_prefix=f"{prefix}-{number:04d}")
                (path,) = self._job.work_folder.glob(f"ort-{index:03d}-{number:04d}_*.json")
                files.append(ort_trace.TraceFile(path, zero_ns))
        trace = ort_trace.read(files, graph.nodes, process=index)
        for file in files:
            file.path.unlink()
        return trace


def _join(chunks: list[LatencySeries]) -> LatencySeries:
    if not chunks:
        return LatencySeries(np.empty(0, np.int64), np.empty(0, np.int64))
    return LatencySeries(
        np.concatenate([chunk.start_ns for chunk in chunks]),
        np.concatenate([chunk.duration_ns for chunk in chunks]),
    )


@contextlib.contextmanager
def process(job: Job) -> Iterator[None]:
    """Conduct of a worker process: it dies with its parent, and leaves it Ctrl-C and errors."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    try:
        yield
    except HarnessError as error:
        _leave_error(job, error)
    except Exception as error:  # the parent shows it, whatever it is
        traceback.print_exc()
        _leave_error(
            job, HarnessError(f"{type(error).__name__} in a worker: {one_line(str(error))}")
        )


def _leave_error(job: Job, error: HarnessError) -> None:
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


if __name__ == "__main__":
    # Pickled classes must be found under the module's own name, not as __main__.
    from harness import worker

    given = worker.Job.read(Path(sys.argv[1]))
    with worker.process(given):
        worker.write_preparation(given, worker.prepare(given))
