"""What the preparation process does: read the model and find inputs that it accepts.

Only that process imports this module: onnx takes a third of a second to import, and the
measuring processes do not need it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

from harness.config.session import SessionConfig
from harness.errors import ModelError, one_line
from harness.inputs import choice, described
from harness.inputs.output_check import output_error
from harness.measuring import ceilings, handover
from harness.measuring.absences import Absences
from harness.measuring.handover import Job, Preparation
from harness.models import file, sources
from harness.models.executed_graph import ExecutedGraph
from harness.models.outputs import same_values
from harness.models.work.nodes import definitions
from harness.models.work.table import work_of
from harness.native import ort
from harness.ort import placement, providers
from harness.ort.session import load_provider_libraries, open_library, open_session
from harness.records import WEIGHTS, NodeEvents, Reading
from harness.tracing.ort_profiler.recorder import OrtPass
from harness.tracing.probes.graphs import ProbedGraph
from harness.tracing.probes.recorder import prepare_probes
from harness.tracing.sessions import save_graph

#: Why a file in ORT's own format is not traced with probes.
NO_PROBES = (
    "a .ort file holds no ONNX graph to insert probes into: profile the .onnx file that it was "
    "made from"
)

#: Why the size of its weights is not known.
NO_WEIGHTS = "only ONNX Runtime can read a .ort file"


def prepare(job: Job) -> Preparation:
    """Reads the model, finds inputs that it accepts, and saves them for the workers.

    Leaves the inputs and, if it can be determined, the executed graph in the work folder.

    Raises:
        RequestError: an input option does not fit the model.
        ModelError: the model cannot be read, or no inputs were found that it accepts.
        MachineError: the execution provider or the library cannot be used here.
    """
    ort_format = file.is_ort_format(job.model)
    model = None if ort_format else file.load(job.model)
    library = open_library(job.library, job.config.session)
    # No graph capture here: a session that holds a CUDA graph works with one binding only.
    config = providers.uncaptured(job.config.session)
    began_ns = time.monotonic_ns()
    load_provider_libraries(library, config)
    load_ns = time.monotonic_ns() - began_ns
    session = open_session(library, job.model, config, entries=config.entries | placement.RECORD)
    log = library.take_log()
    if model is None:
        record = file.describe_ort_format(job.model, job.model_name)
        model = described.model_of(session.inputs)
    else:
        record = file.describe(job.model, model, job.model_name)

    def attempt(candidate: choice.InputSet) -> list[Any]:
        with contextlib.closing(session.bind(candidate.values)) as binding:
            binding.run()
            job.inferred.touch()
            return binding.outputs()

    chosen, outputs = choice.choose(model, job.config.inputs, attempt)
    handover.write_inputs(job, chosen.values)
    with contextlib.closing(session.bind(chosen.values)) as binding:
        try:
            latency_ns = min(binding.run() for _ in range(3))
        except ort.OrtError as error:
            raise ModelError(
                f"{job.model}: ran once, then failed: {one_line(str(error))}",
                "fix the inputs with `files` or `shapes`",
            ) from error
        repeatable = same_values(outputs, binding.outputs())
    session_ns = load_ns + session.provider_ns + session.create_ns
    try:
        assignments = session.assignments()
    except ort.OrtError:  # before 1.24
        assignments = None
    provider_options = session.provider_options
    session.close()

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
        told = "initialisers of the model file"
        facts += (Reading(WEIGHTS, file.weights_bytes(model), "bytes", told),)
    if job.config.trace and not ort_format:
        with absent.noting("nodes", because="no executed graph: "):
            graph, events, executed_session_ns = _executed_graph(library, job, chosen.values)
            executions, profiled_ns = len(events), int(events.inference_duration_ns[0])
    facts += _placement(job.config.session, assignments, graph, log, provider_options)
    if graph is not None:
        work = work_of(graph.nodes, definitions(graph.path))
        nodes = dataclasses.replace(
            graph.nodes, flops=work.flops, traffic_bytes=work.bytes, arithmetic=work.dtype
        )
        if "probe" in job.config.trace:
            with absent.noting("trace/probe"):
                probed = prepare_probes(library, config, graph, chosen.values, job.work_folder)
                nodes = dataclasses.replace(nodes, carrier=probed.carriers)
        with absent.noting("node sources"):
            nodes = dataclasses.replace(nodes, sources=sources.sources(model, graph))
        graph = dataclasses.replace(graph, nodes=nodes)
        facts += ceilings.facts(library, job.config, set(work.dtype))
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
        session_ns=session_ns,
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
    of_libraries = providers.by_name(config.provider).facts
    return facts if of_libraries is None else (*facts, *of_libraries())


def _executed_graph(
    library: ort.Library, job: Job, values: Mapping[str, Any]
) -> tuple[ExecutedGraph, NodeEvents, int]:
    """The graph ORT executes, its node table completed from one profiled inference.

    Returns:
        The graph, the events of that inference, and the time to create its session, in ns.
    """
    config, folder = providers.uncaptured(job.config.session), job.work_folder
    graph = save_graph(library, job.model, config, folder)
    once = OrtPass(library, config, graph.path, graph.nodes, values, folder, optimization="disable")
    with contextlib.closing(once):
        trace = once.record(1, process=0)
        session_ns = once.session_ns
    return dataclasses.replace(graph, nodes=trace.nodes), trace.events, session_ns


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
