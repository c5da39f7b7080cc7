"""What the preparation process does: it reads the model and finds inputs that it accepts."""

from __future__ import annotations

import contextlib
import dataclasses
import pickle
from collections.abc import Mapping, Sequence
from typing import Any

from harness.config.profile import ProfileConfig
from harness.config.session import SessionConfig
from harness.errors import HarnessError, one_line
from harness.measuring.handover import INPUTS, Job, Preparation
from harness.models.executed_graph import ExecutedGraph
from harness.native import ort
from harness.ort import nvidia_libraries, placement
from harness.ort.session import open_library, open_session
from harness.records import NodeEvents, Reading
from harness.tracing import recorders
from harness.tracing.probes import graphs
from harness.tracing.probes.graphs import ProbedGraph

#: Share of the time that the threads of a ceiling must have had a CPU, and how often to try.
UNDISTURBED = 0.9
CEILING_TRIES = 3

QUICK_CEILINGS = "--quick measures no ceilings; leave it out"


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
    from harness.models import file, roofline

    model = file.load(job.model)
    record = file.describe(job.model, model, job.model_name)
    library = open_library(job.library, job.config.session)
    # Never captured here: a session that holds a CUDA graph serves one binding only.
    config = job.config.session.uncaptured
    session = open_session(library, job.model, config, entries=config.entries | placement.RECORD)
    log = library.take_log()

    def attempt(candidate: choice.InputSet) -> list[Any]:
        with contextlib.closing(session.bind(candidate.values)) as binding:
            binding.run()
            return binding.outputs()

    chosen, outputs = choice.choose(model, job.config.inputs, attempt)
    (job.work_folder / INPUTS).write_bytes(pickle.dumps(dict(chosen.values)))
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
        work = roofline.work(graph.nodes, roofline.definitions(graph.path))
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
