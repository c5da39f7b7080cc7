"""What the preparation process does: read the model and find inputs that it accepts.

Only that process imports this module: onnx takes a third of a second to import, and the
measuring processes do not need it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

from harness.config.session import SessionConfig
from harness.errors import HarnessError, ModelError, one_line
from harness.inputs import choice, described
from harness.inputs.output_check import output_error
from harness.machine.devices import cuda_devices
from harness.measuring import ceilings, device_ceilings, foreign, handover
from harness.measuring.absences import Absences
from harness.measuring.handover import Job
from harness.measuring.prepared import Preparation
from harness.measuring.stopwatch import Stopwatch
from harness.models import file, sources
from harness.models.executed_graph import ExecutedGraph
from harness.models.outputs import same_values
from harness.models.variants import provenance
from harness.models.work.nodes import Definition, definitions
from harness.models.work.table import work_of
from harness.native import ort
from harness.ort import placement, providers
from harness.ort.session import device_failure, open_library, open_session
from harness.records import WEIGHTS, NodeEvents, Reading
from harness.tracing.ort_profiler.recorder import OrtPass, trace_as_opened
from harness.tracing.probes.graphs import OrderError, ProbedGraph
from harness.tracing.probes.recorder import prepare_probes
from harness.tracing.sessions import open_saving, saved_graph

#: Why a file in ORT's own format is not traced with probes.
NO_PROBES = (
    "a .ort file holds no ONNX graph to insert probes into: profile the .onnx file that it was "
    "made from"
)

#: Where no file was found that keeps the order of the model's own session.
ORDER_OF_THE_FILE = (
    "with probes, nodes run in the order of the saved graph, not in that of the model's own session"
)

#: Why the size of its weights is not known.
NO_WEIGHTS = "only ONNX Runtime can read a .ort file"


def prepare(job: Job, watch: Stopwatch | None = None) -> Preparation:
    """Reads the model, finds inputs that it accepts, and saves them for the workers.

    Leaves the inputs and, if it can be determined, the executed graph in the work folder.

    Args:
        job: whose model it is.
        watch: clocks the parts, if anybody asks. What ONNX Runtime does on another thread
            meanwhile takes time of its own only where this thread waits for it.

    Raises:
        RequestError: an input option does not fit the model.
        ModelError: the model cannot be read, or no inputs were found that it accepts.
        MachineError: the execution provider or the library cannot be used here, or the device
            failed.
    """
    watch = watch or Stopwatch()
    ort_format = file.is_ort_format(job.model)
    if ort_format and foreign.is_foreign(job.config):
        foreign.refuse_ort_format(job)
    with watch.on("model"):
        model = None if ort_format else file.load(job.model)
    with watch.on("library"):
        library = open_library(job.library, job.config.session)
    # No graph capture here: a session that holds a CUDA graph works with one binding only.
    config = providers.uncaptured(foreign.reference_session(job.config))
    # ONNX Runtime leaves Python free while it opens the session: what is read of the model
    # meanwhile costs no time of its own.
    with ThreadPoolExecutor(max_workers=2) as beside:
        saving = bool(job.config.trace) and not ort_format
        opening = beside.submit(_open, library, job, config, saving=saving)
        if model is not None and saving:
            read = beside.submit(sources.UserGraph, model.graph)
        with watch.on("description"):
            if model is None:
                record = file.describe_ort_format(job.model, job.model_name)
            else:
                record = file.describe(job.model, model, job.model_name)
        with watch.on("session"):
            opened = opening.result()
    session = opened.session
    # Only now: inputs are looked for in models that ONNX Runtime accepts, and in no others.
    if model is None:
        model = described.model_of(session.inputs)

    refused: list[ort.OrtError] = []

    def attempt(candidate: choice.InputSet) -> list[Any]:
        with contextlib.closing(session.bind(candidate.values)) as binding:
            try:
                binding.run()
            except ort.OrtError as error:
                refused.append(error)
                raise
            job.inferred.touch()
            return binding.outputs()

    with watch.on("inputs"):
        try:
            chosen, outputs = choice.choose(model, job.config.inputs, attempt)
        except ModelError as error:
            # No other inputs would have helped.
            if refused and (device := device_failure(refused[-1])):
                raise device from error
            raise
    handover.write_inputs(job, chosen.values)
    if foreign.is_foreign(job.config):
        named = tuple(one.name for one in session.inputs if one.name in chosen.values)
        foreign.leave_reference(job, named, outputs)
    with watch.on("inferences"), contextlib.closing(session.bind(chosen.values)) as binding:
        try:
            latency_ns = min(binding.run() for _ in range(3))
        except ort.OrtError as error:
            if device := device_failure(error):
                raise device from error
            raise ModelError(
                f"{job.model}: ran once, then failed: {one_line(str(error))}",
                "fix the inputs with `files` or `shapes`",
            ) from error
        repeatable = same_values(outputs, binding.outputs())
    try:
        assignments = session.assignments()
    except ort.OrtError:  # before 1.24
        assignments = None
    provider_options = session.provider_options

    absent = Absences()
    graph: ExecutedGraph | None = None
    probed: ProbedGraph | None = None
    executions = profiled_ns = executed_session_ns = 0
    facts = (*_ort_facts(library), *_custom_ops(job.config.session), chosen.items)
    if ort_format:
        facts += (Reading(WEIGHTS, None, reason=NO_WEIGHTS),)
        if "probe" in job.config.trace:
            absent.append(("trace/probe", NO_PROBES))
    else:
        facts += provenance.facts(model)
        told = "initialisers of the model file"
        facts += (Reading(WEIGHTS, file.weights_bytes(model), "bytes", told),)
    if opened.why_not_saved:
        absent.append(("nodes", f"no executed graph: {opened.why_not_saved}"))
    elif saving:
        with watch.on("executed graph"), absent.noting("nodes", because="no executed graph: "):
            executed = _executed_graph(library, job, read, session, chosen.values)
            graph, events = executed.graph, executed.events
            executions, profiled_ns = len(events), int(events.inference_duration_ns[0])
            executed_session_ns = executed.session_ns
    # With very many nodes it takes a while, during which ONNX Runtime leaves Python free.
    closing = threading.Thread(target=session.close)
    closing.start()
    if not foreign.is_foreign(job.config):  # what it places there is not what is timed
        facts += _placement(job.config.session, assignments, graph, opened.log, provider_options)
    if graph is not None:
        nodes = graph.nodes
        with absent.noting("node work"), watch.on("work"):
            work = work_of(nodes, executed.definitions.result())
            nodes = dataclasses.replace(
                nodes, flops=work.flops, traffic_bytes=work.bytes, arithmetic=work.dtype
            )
        if "probe" in job.config.trace:
            with watch.on("probed graphs"), absent.noting("trace/probe"):
                try:
                    probed = prepare_probes(config, graph)
                except OrderError:
                    absent.append(("node order", ORDER_OF_THE_FILE))
                    graph = _ordered_as_its_file(library, job, graph, chosen.values)
                    nodes = dataclasses.replace(nodes, order=graph.nodes.order)
                    probed = prepare_probes(config, graph)
                nodes = dataclasses.replace(nodes, carrier=probed.carriers)
        with watch.on("sources"), absent.noting("node sources"):
            nodes = dataclasses.replace(nodes, sources=executed.sources.result())
        graph = dataclasses.replace(graph, nodes=nodes)
        closing.join()  # nothing else may run while ceilings are measured
        with watch.on("ceilings"):
            facts += ceilings.facts(library, job.config, set(nodes.arithmetic))
            facts += device_ceilings.facts(library, job.config)
    return Preparation(
        model=record,
        inputs=chosen.records,
        output_check=output_error(outputs, chosen.expected),
        facts=facts,
        graph=graph,
        probed=probed,
        repeatable=repeatable,
        executions=executions,
        profiled_ns=profiled_ns,
        latency_ns=latency_ns,
        executed_session_ns=executed_session_ns,
        absent=tuple(absent),
    )


def _placement(
    config: SessionConfig,
    assignments: placement.Assignments | None,
    graph: ExecutedGraph | None,
    log: Sequence[str],
    options: Mapping[str, str | None],
) -> tuple[Reading, ...]:
    """Guards against silent fallback: where the nodes run, and with which options.

    Raises:
        MachineError: ``strict`` is set, and a node is not on the requested provider.
    """
    nodes = None if graph is None else graph.nodes
    if assignments is not None:
        placed = placement.from_assignments(config.provider, assignments, nodes, log)
    elif nodes is not None:
        placed = placement.from_nodes(config.provider, nodes)
    else:
        return (Reading("placement", None, reason="reported neither by ORT nor by a trace"),)
    if config.strict:
        placement.require_whole(placed)
    facts = placement.readings(placed, options, config.provider_options)
    provider = providers.by_name(config.provider)
    if provider.facts is not None:
        facts += provider.facts()
    if provider.on_device:
        facts += tuple(cuda_devices.readings(config.provider_options.get("device_id", "0")))
    return facts


class _Opened(NamedTuple):
    """The session of the model.

    Attributes:
        session: the opened session.
        log: lines that ORT logged while it made it.
        why_not_saved: why it left no executed graph in the work folder; empty where it did, or
            was not asked to.
    """

    session: ort.Session
    log: list[str]
    why_not_saved: str


def _open(library: ort.Library, job: Job, config: SessionConfig, *, saving: bool) -> _Opened:
    """Opens the session, which saves the graph that it executes where it can.

    Saving takes its time before the first inference, and is part of what ``timeout_s`` allows.

    Args:
        library: the opened ONNX Runtime.
        job: whose model it is, and where to save.
        config: session options.
        saving: whether the graph is asked for.

    Raises:
        HarnessError: as ``open_session`` does.
    """
    config = dataclasses.replace(config, entries=config.entries | placement.RECORD)
    why_not_saved = ""
    if saving:
        try:
            session = open_saving(library, job.model, config, job.work_folder)
            return _Opened(session, library.take_log(), "")
        except HarnessError as error:  # for the saving, or of what the model or the machine lacks
            why_not_saved = one_line(str(error))
            library.take_log()
    session = open_session(library, job.model, config)
    return _Opened(session, library.take_log(), why_not_saved)


class _Executed(NamedTuple):
    """The executed graph.

    Attributes:
        graph: the executed graph, its table completed by one profiled inference.
        events: the node events of that inference.
        session_ns: what creating a session of it took; 0 where none was needed.
        definitions: as ``models.work.nodes.definitions`` gives them.
        sources: as ``models.sources.sources`` gives them.
    """

    graph: ExecutedGraph
    events: NodeEvents
    session_ns: int
    definitions: Future[dict[int, Definition]]
    sources: Future[tuple[str, ...]]


def _executed_graph(
    library: ort.Library,
    job: Job,
    read: Future[sources.UserGraph],
    session: ort.Session,
    values: Mapping[str, Any],
) -> _Executed:
    """The graph ORT executes, of which the model's session has left a file.

    That session is profiled where the names in the file tell its nodes apart. Otherwise it is
    closed, and one of the file with its nodes renamed is opened: with many nodes that takes most
    of the time.

    Raises:
        HarnessError, OrtError, OSError, ValueError: it cannot be had.
    """
    folder = job.work_folder
    graph = saved_graph(folder)
    with ThreadPoolExecutor(max_workers=1) as beside:
        defined = beside.submit(definitions, graph.path)
        told = beside.submit(lambda: sources.sources(read.result(), graph))
        session_ns = 0
        trace = trace_as_opened(session, graph.nodes, values, folder)
        if trace is None:
            session.close()
            once = _pass_of_file(library, job, graph, values)
    if trace is None:
        session_ns = once.session_ns
        with contextlib.closing(once):
            trace = once.record(1, process=0)
    graph = dataclasses.replace(graph, nodes=trace.nodes)
    return _Executed(graph, trace.events, session_ns, defined, told)


def _pass_of_file(
    library: ort.Library, job: Job, graph: ExecutedGraph, values: Mapping[str, Any]
) -> OrtPass:
    """A pass over the graph as its file has it, with nodes named after their rows."""
    config = providers.uncaptured(job.config.session)
    return OrtPass(
        library, config, graph.path, graph.nodes, values, job.work_folder, optimization="disable"
    )


def _ordered_as_its_file(
    library: ort.Library, job: Job, graph: ExecutedGraph, values: Mapping[str, Any]
) -> ExecutedGraph:
    """The graph with its nodes in the order in which a session of its file executes them.

    Raises:
        HarnessError, OrtError, OSError, ValueError: it cannot be had.
    """
    with contextlib.closing(_pass_of_file(library, job, graph, values)) as once:
        order = once.record(1, process=0).nodes.order
    return dataclasses.replace(graph, nodes=dataclasses.replace(graph.nodes, order=order))


def _custom_ops(config: SessionConfig) -> tuple[Reading, ...]:
    """The custom-operator libraries, with digests: a rebuilt library keeps its path."""
    digests = (hashlib.sha256(path.read_bytes()).hexdigest()[:12] for path in config.custom_ops)
    told = ", ".join(
        f"{path.name} {digest}" for path, digest in zip(config.custom_ops, digests, strict=True)
    )
    return (Reading("custom_ops", told, source="name and sha256 of each file"),) if told else ()


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
