"""What happens inside one worker process: preparing a model, and measuring it.

``python -m harness.measuring.worker JOB`` is the preparation process: it reads the model, finds
inputs that it accepts, and saves them with the graph that ORT will execute. ``Measurement`` is
what a measuring process does; ``harness.measuring.spawning`` drives it with pyperf. Neither
imports the Python package onnxruntime: two ORT cores in one process break CUDA.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import os
import pickle
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import msgspec
import numpy as np

from harness.config.profile import ENERGY_IDLE_S, ProfileConfig
from harness.config.session import SessionConfig
from harness.errors import NO_ROOM, HarnessError, MachineError, ModelError, RequestError, one_line
from harness.machine.devices import nvml
from harness.machine.devices.sampling import DeviceSampler
from harness.machine.host_counters import HostNoise
from harness.machine.peak_memory import peak_memory
from harness.measuring import yardstick
from harness.models.executed_graph import ExecutedGraph
from harness.native import ort
from harness.ort import nvidia_libraries, placement
from harness.ort.session import DURATION_HOLDS, bind, open_session
from harness.records import (
    NOTHING,
    DeviceSeries,
    InputRecord,
    Int64Array,
    KernelEvents,
    LatencySeries,
    ModelRecord,
    NodeEvents,
    NodeTable,
    ProcessRecord,
    Reading,
    Yardstick,
)
from harness.storage import shards
from harness.tracing import recorders
from harness.tracing.probes import graphs
from harness.tracing.probes.graphs import ProbedGraph

NOT_REPEATABLE = (
    "two inferences of the same inputs differ without probes already (random or "
    "non-deterministic nodes), so outputs with probes were not compared"
)

#: Share of the time that the threads of a ceiling must have had a CPU, and how often to try.
UNDISTURBED = 0.9
CEILING_TRIES = 3

QUICK_CEILINGS = "--quick measures no ceilings; leave it out"

#: Repetitions of the yardstick just before the timed pass, and just after; some 4 ms each.
#: With fewer it follows latencies less (benchmarks/false_alarms.py).
YARDSTICK_REPETITIONS = 10

#: Inferences behind it are discarded for so long, and so many at least and at most: it leaves
#: the caches full of its own data.
YARDSTICK_DISCARDED_S = 0.02
YARDSTICK_DISCARDED = (3, 2000)

#: Inferences with copies between host and device, at least.
MIN_COPIED = 10

#: How long opening ORT and making a session may take while devices are sampled already.
SESSION_S = 30.0

_INPUTS = "inputs.pickle"

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


def open_library(job: Job) -> ort.Library:
    """libonnxruntime, opened.

    Raises:
        RequestError: --ort-library is not ONNX Runtime, or is too old.
        MachineError: the installed one cannot be opened.
    """
    try:
        return ort.Library(str(job.library))
    except OSError as error:
        reason = one_line(str(error))
        if job.config.session.library is not None:
            raise RequestError(
                f"--ort-library {reason}", "give the path of a libonnxruntime.so.1.x"
            ) from error
        raise MachineError(
            f"ONNX Runtime cannot be opened: {reason}", "install onnxruntime-gpu again"
        ) from error


def prepare(job: Job) -> Preparation:
    """Reads the model, finds inputs that it accepts, saves both for the workers.

    Leaves ``inputs.pickle`` and, where it can be had, the executed graph in the work folder.

    Raises:
        RequestError: an input option does not fit the model.
        ModelError: the model cannot be read or no inputs were found that it accepts.
        MachineError: the execution provider or the library cannot be used here.
    """
    # onnx takes a third of a second to import; the measuring workers do without it.
    from harness.inputs import choice
    from harness.models import file
    from harness.models.work.nodes import definitions
    from harness.models.work.table import work_of

    model = file.load(job.model)
    record = file.describe(job.model, model, job.model_name)
    library = open_library(job)
    # Never captured here: a session that holds a CUDA graph serves one binding only.
    config = job.config.session.uncaptured
    session = open_session(library, job.model, config, entries=config.entries | placement.RECORD)
    log = library.take_log()

    def attempt(candidate: choice.InputSet) -> list[Any]:
        with contextlib.closing(session.bind(candidate.values)) as binding:
            binding.run()
            return binding.outputs()

    chosen, outputs = choice.choose(model, job.config.inputs, attempt)
    (job.work_folder / _INPUTS).write_bytes(pickle.dumps(dict(chosen.values)))
    with contextlib.closing(session.bind(chosen.values)) as binding:
        latency_ns = min(binding.run() for _ in range(3))
        repeatable = graphs.same_values(outputs, binding.outputs())
    session_ns = session.create_ns
    try:
        assignments = session.assignments()
    except ort.OrtError:  # before 1.24
        assignments = None
    provider_options = session.provider_options
    session.close()

    absent: list[tuple[str, str]] = []
    graph: ExecutedGraph | None = None
    probed: ProbedGraph | None = None
    executions = profiled_ns = 0
    facts = _ort_facts(library)
    if job.config.trace:
        try:
            graph, events = _executed_graph(library, job, chosen.values)
            executions, profiled_ns = len(events), int(events.inference_duration_ns[0])
        except (HarnessError, ort.OrtError, OSError, ValueError) as error:
            absent.append(("nodes", f"the executed graph cannot be had: {one_line(str(error))}"))
    facts += _placement(job.config.session, assignments, graph, log, provider_options)
    if graph is not None:
        work = work_of(graph.nodes, definitions(graph.path))
        nodes = dataclasses.replace(
            graph.nodes, flops=work.flops, traffic_bytes=work.bytes, arithmetic=work.dtype
        )
        if "probe" in job.config.trace:
            try:
                probed = recorders.prepare_probes(
                    library, config, graph, chosen.values, job.work_folder
                )
                nodes = dataclasses.replace(nodes, carrier=probed.carriers)
            except (HarnessError, ort.OrtError, OSError, ValueError) as error:
                absent.append(("trace/probe", one_line(str(error))))
        graph = dataclasses.replace(graph, nodes=nodes)
        facts += _ceilings(library, job.config, set(work.dtype))
    return Preparation(
        model=record,
        inputs=chosen.records,
        output_check=choice.output_error(outputs, chosen.expected),
        facts=facts,
        graph=graph,
        probed=probed,
        repeatable=repeatable,
        executions=executions,
        profiled_ns=profiled_ns,
        latency_ns=latency_ns,
        session_ns=session_ns,
        absent=tuple(absent),
        log=(*log, *library.take_log()),
    )


def _placement(
    config: SessionConfig,
    assignments: placement.Assignments | None,
    graph: ExecutedGraph | None,
    log: Sequence[str],
    options: Mapping[str, str | None],
) -> tuple[Reading, ...]:
    """The gate against silent fallback: where the nodes run, and with which options.

    Raises:
        MachineError: --strict, and a node is not on the provider asked for.
    """
    nodes = None if graph is None else graph.nodes
    if assignments is not None:
        placed = placement.from_assignments(config.provider, assignments, nodes, log)
    elif nodes is not None:
        placed = placement.from_nodes(config.provider, nodes)
    else:
        return (Reading("placement", None, reason="neither ORT nor a trace tells it"),)
    if config.strict:
        placement.require_whole(placed)
    facts = placement.readings(placed, options, config.provider_options)
    return facts if config.provider == "cpu" else (*facts, *nvidia_libraries.readings())


def _executed_graph(
    library: ort.Library, job: Job, values: Mapping[str, Any]
) -> tuple[ExecutedGraph, NodeEvents]:
    """The graph ORT executes, its table completed by the events of one profiled inference."""
    config, folder = job.config.session.uncaptured, job.work_folder
    graph = recorders.save_graph(library, job.model, config, folder)
    once = recorders.OrtPass(
        library, config, graph.path, graph.nodes, values, folder, optimization="disable"
    )
    with contextlib.closing(once):
        trace = once.record(1, process=0)
    return dataclasses.replace(graph, nodes=trace.nodes), trace.events


def _ceilings(library: ort.Library, config: ProfileConfig, dtypes: set[str]) -> tuple[Reading, ...]:
    """What this machine reaches at most, with the threads that the model gets."""
    from harness.measuring import ceilings

    if config.quick:
        return (
            Reading("ceilings", None, source="harness.measuring.ceilings", reason=QUICK_CEILINGS),
        )
    # Where others took the CPUs the values are too low: another try may fall into a gap.
    for _ in range(CEILING_TRIES):
        measured = ceilings.measure(
            library, config.session.intra_threads, sorted(dtypes & ceilings.DTYPES)
        )
        if all(isinstance(one, Reading) or one.on_cpu >= UNDISTURBED for one in measured):
            break
    return tuple(
        Reading(
            f"ceiling_{one.name}",
            one.value,
            one.unit,
            f"{one.source}; {one.threads} thread(s), best of {one.samples}, median "
            f"{one.spread:.2f} times as long, {one.on_cpu:.0%} on a CPU",
        )
        if isinstance(one, ceilings.Ceiling)
        else dataclasses.replace(one, name=f"ceiling_{one.name}")
        for one in measured
    )


def _ort_facts(library: ort.Library) -> tuple[Reading, ...]:
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
        index: number of this process, -1 of one that is not kept.
        warmup_values: calls of take() that are warm-up.
        steady_values: calls of take() after them that are the timed pass.
    """

    def __init__(self, job: Job, index: int, warmup_values: int, steady_values: int) -> None:
        self._job = job
        self._index = index
        self._warmup_values = warmup_values
        self._steady_values = steady_values
        self._chunks: list[LatencySeries] = []
        self._noise = HostNoise()
        self._readings: tuple[Reading, ...] = ()
        self._devices: tuple[DeviceSeries, ...] = ()
        self._yardsticks: list[Yardstick] = []
        self._absent: list[tuple[str, str]] = []
        self._sampler: DeviceSampler | None = None
        if job.config.sample_hz and index >= 0:
            # Before there is a session: what the devices do now is not our doing.
            values = warmup_values + steady_values
            self._sampler = _device_sampler(job, read_preparation(job).latency_ns, values)
            self._sampler.start()
            if job.config.energy:
                time.sleep(ENERGY_IDLE_S)
        # Own pickle of a moment ago, not a stranger's.
        self._inputs = pickle.loads((job.work_folder / _INPUTS).read_bytes())
        self._library = open_library(job)
        self._session = open_session(self._library, job.model, job.config.session)
        self._on_device = job.config.session.provider != "cpu"
        self._enqueued: list[Int64Array] = []
        place = ("resident", nvidia_libraries.synchronise_address()) if self._on_device else ()
        self._binding = bind(self._session, self._inputs, *place)
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
            # Before the yardstick, whose memory is none of the model's.
            self._peak_memory = peak_memory()
            self._yardsticks.append(yardstick.measure(YARDSTICK_REPETITIONS))
            self._discard()
            self._noise.start()
        enqueue_ns = np.full(inferences, -1, dtype=np.int64) if self._on_device else None
        try:
            self._binding.time(start_ns, duration_ns, enqueue_ns=enqueue_ns)
        except ort.OrtError as error:
            raise ModelError(
                f"inference failed after {error.completed} of {inferences} that succeeded: "
                f"{one_line(str(error))}",
                "fix the inputs with --input or --shape",
            ) from error
        if number == self._warmup_values + self._steady_values - 1:
            self._readings = (*self._noise.stop(), self._peak_memory)
            if self._sampler is not None:
                self._devices, absent = self._sampler.stop(self._index)
                self._absent += absent
            self._yardsticks.append(yardstick.measure(YARDSTICK_REPETITIONS))
        self._chunks.append(LatencySeries(start_ns, duration_ns))
        if enqueue_ns is not None:
            self._enqueued.append(enqueue_ns)
        return float(start_ns[-1] + duration_ns[-1] - start_ns[0]) * 1e-9

    def _discard(self) -> None:
        """Inferences that fill the caches again."""
        least, most = YARDSTICK_DISCARDED
        end_s = time.monotonic() + YARDSTICK_DISCARDED_S
        for number in range(most):
            if number >= least and time.monotonic() > end_s:
                break
            self._binding.run()

    def finish(
        self,
        loops: int,
        trace_inferences: int,
        probe_inferences: int,
        metadata: Mapping[str, str | int | float],
    ) -> shards.Shard:
        """Closes the timed session, makes the traced passes, returns all that was measured.

        Args:
            loops: inferences that pyperf's calibration put into a value.
            trace_inferences: inferences to record with ORT's profiler; 0 for no such pass.
            probe_inferences: inferences to record with probes; 0 for no such pass.
            metadata: pyperf's of this process.
        """
        outputs, copied = self._outputs()
        self._binding.close()
        create_ns = self._session.create_ns
        self._session.close()
        preparation = read_preparation(self._job)
        graph = preparation.graph
        traces: dict[str, NodeEvents] = {}
        recorded: KernelEvents | None = None
        nodes = None if graph is None else graph.nodes
        absent = self._absent
        if graph is not None and preparation.probed is not None and probe_inferences:
            try:
                traces |= self._trace_probes(preparation, graph.nodes, outputs, probe_inferences)
            except (HarnessError, ort.OrtError, OSError, ValueError) as error:
                absent.append(("trace/probe", one_line(str(error))))
            if not preparation.repeatable:
                absent.append(("probe guard", NOT_REPEATABLE))
        if "ort" in self._job.config.trace and trace_inferences:
            try:
                with contextlib.closing(self._ort_pass(graph)) as ort_pass:
                    trace = ort_pass.record(trace_inferences, self._index)
            except (HarnessError, ort.OrtError, OSError, ValueError) as error:
                absent.append(("trace/ort", one_line(str(error))))
            else:
                traces["ort"], nodes = trace.events, trace.nodes
                absent += [("trace/ort", remark) for remark in trace.remarks]
        if self._on_device and "kernels" in self._job.config.trace and trace_inferences:
            try:
                recorded = self._trace_kernels(graph, preparation.executions, trace_inferences)
            except (HarnessError, ort.OrtError, OSError, ValueError) as error:
                absent.append(("trace/kernels", one_line(str(error))))
        process = ProcessRecord(
            index=self._index,
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
            yardstick=yardstick.concatenate(self._yardsticks),
            duration_holds=DURATION_HOLDS[self._holds],
            enqueue_ns=np.concatenate([NOTHING, *self._enqueued[self._warmup_values :]]),
            copied=copied,
        )
        return shards.Shard(process, traces, nodes, tuple(absent), self._devices, recorded)

    @property
    def _holds(self) -> str:
        """What the durations of the timed pass are: a key of DURATION_HOLDS."""
        if not self._on_device:
            return "host"
        return "captured" if self._job.config.session.captures_graph else "resident"

    def _outputs(self) -> tuple[list[Any], LatencySeries]:
        """What the model computed, and inferences with copies where it runs on a device."""
        if not self._on_device:
            return self._binding.outputs(), LatencySeries(NOTHING, NOTHING)
        session = self._session
        if self._holds == "captured":  # it serves the binding that captured it only
            config = self._job.config.session.uncaptured
            session = open_session(self._library, self._job.model, config)
        with contextlib.closing(bind(session, self._inputs, "copied")) as binding:
            binding.run()
            count = max(MIN_COPIED, len(self._chunks[-1]))
            start_ns, duration_ns = np.zeros(count, np.int64), np.zeros(count, np.int64)
            binding.time(start_ns, duration_ns)
            outputs = binding.outputs()
        if session is not self._session:
            session.close()
        return outputs, LatencySeries(start_ns, duration_ns)

    def _trace_kernels(
        self, graph: ExecutedGraph | None, executions: int, inferences: int
    ) -> KernelEvents:
        if graph is None:
            raise ValueError("the executed graph is not known, nor are the names of its nodes")
        with contextlib.closing(
            recorders.KernelPass(
                self._library,
                self._job.config.session.uncaptured,
                graph,
                self._inputs,
                self._job.work_folder,
            )
        ) as kernel_pass:
            return kernel_pass.record(inferences, executions, self._index)

    def _ort_pass(self, graph: ExecutedGraph | None) -> recorders.OrtPass:
        """ORT's profiler on the executed graph; where that is not known, on the model."""
        config, folder = self._job.config.session.uncaptured, self._job.work_folder
        if graph is None:
            return recorders.OrtPass(
                self._library, config, self._job.model, None, self._inputs, folder
            )
        return recorders.OrtPass(
            self._library,
            config,
            graph.path,
            graph.nodes,
            self._inputs,
            folder,
            optimization="disable",
        )

    def _trace_probes(
        self,
        preparation: Preparation,
        nodes: NodeTable,
        outputs: list[Any],
        inferences: int,
    ) -> dict[str, NodeEvents]:
        """Records through probes; refuses where they change what the model computes."""
        assert preparation.probed is not None
        with contextlib.closing(
            recorders.ProbePass(
                self._library, self._job.config.session, preparation.probed, nodes, self._inputs
            )
        ) as probe_pass:
            events, calibration = probe_pass.record(inferences, self._index)
            if preparation.repeatable and not graphs.same_values(
                outputs, probe_pass.binding.outputs()
            ):
                raise ValueError("outputs with probes differ from those without")
        return {"probe": events, "probe_calibration": calibration}


def _device_sampler(job: Job, latency_ns: int, values: int) -> DeviceSampler:
    """The sampler of a process, with room for twice as long as its passes should take."""
    config = job.config
    passes_s = config.timed_s + values * latency_ns * 1e-9
    seconds = SESSION_S + 2 * (passes_s + (ENERGY_IDLE_S if config.energy else 0.0))
    gpu = None
    if config.session.provider != "cpu":
        gpu = nvml.index_of(config.session.provider_options.get("device_id", "0"))
    return DeviceSampler(config.sample_hz, gpu, job.cpus, seconds=seconds)


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
    if os.getppid() != job.parent:  # it died before this one could ask to die with it
        sys.exit(1)
    try:
        yield
    except HarnessError as error:
        _leave_error(job, error)
    except OSError as error:
        if error.errno not in NO_ROOM:
            _leave_unexpected(job, error)
        # Else there may be no room to say so.
        (job.work_folder / _INPUTS).unlink(missing_ok=True)
        _leave_error(job, no_room(job.work_folder))
    except Exception as error:  # the parent shows it, whatever it is
        _leave_unexpected(job, error)


def no_room(folder: Path) -> MachineError:
    """The error of a full disk."""
    return MachineError(
        f"{folder}: no room to work in", "make room there, or choose another --output"
    )


def _leave_unexpected(job: Job, error: Exception) -> NoReturn:
    traceback.print_exc()
    _leave_error(job, HarnessError(f"{type(error).__name__} in a worker: {one_line(str(error))}"))


def _leave_error(job: Job, error: HarnessError) -> NoReturn:
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
    from harness.measuring import worker

    given = worker.Job.read(Path(sys.argv[1]))
    os.sched_setaffinity(0, given.cpus)
    with worker.process(given):
        worker.write_preparation(given, worker.prepare(given))
