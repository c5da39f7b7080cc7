"""Traced passes: inferences recorded by ORT's profiler, or through probes.

Each has a session of its own on the graph that ORT executes, so that tracing never
touches the session that is timed.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from harness.config.session import SessionConfig
from harness.models import executed_graph
from harness.models.executed_graph import ExecutedGraph
from harness.native import cupti, marks, ort, probe
from harness.ort.session import bind, open_session
from harness.records import KernelEvents, NodeEvents, NodeTable
from harness.tracing.kernels import join
from harness.tracing.ort_profiler import reader
from harness.tracing.ort_profiler.reader import OrtTrace
from harness.tracing.probes import graphs, times
from harness.tracing.probes.graphs import ProbedGraph
from harness.tracing.probes.times import Stamps

#: Inferences before those that are recorded: memory patterns and caches settle.
WARMUP_INFERENCES = 3


def save_graph(
    library: ort.Library, model: Path, config: SessionConfig, folder: Path
) -> ExecutedGraph:
    """Saves the graph that ORT executes, with its nodes named after their rows.

    Raises:
        HarnessError, OSError: ORT cannot save it, or it cannot be read.
    """
    saved = folder / "executed.onnx"
    open_session(
        library,
        model,
        config,
        optimized_model_path=str(saved),
        # Weights stay out of the file, so that naming its nodes is cheap at any size.
        entries=config.entries
        | {
            "session.optimized_model_external_initializers_file_name": "executed.weights",
            "session.optimized_model_external_initializers_min_size_in_bytes": "1024",
        },
    ).close()
    return executed_graph.prepare(saved, folder / "executed-named.onnx")


class OrtPass:
    """Inferences under ORT's built-in profiler, one file each, so none of them is warm-up.

    Args:
        library: the opened ONNX Runtime, 1.25 or newer.
        config: session options.
        model: graph to execute: its nodes are what optimisation made of the model.
        nodes: its table; None where it is not known.
        inputs: what to feed.
        folder: for the profiler's files.
        overrides: further arguments of the Session.
    """

    def __init__(
        self,
        library: ort.Library,
        config: SessionConfig,
        model: Path,
        nodes: NodeTable | None,
        inputs: Mapping[str, Any],
        folder: Path,
        **overrides: Any,
    ) -> None:
        self._nodes = nodes
        self._folder = folder
        self._session = open_session(library, model, config, **overrides)
        self.binding = bind(self._session, inputs)
        for _ in range(WARMUP_INFERENCES):
            self.binding.run()

    def record(self, inferences: int, process: int) -> OrtTrace:
        """Profiles so many inferences.

        Raises:
            OrtError: one failed, or the library is too old.
        """
        files = []
        for number in range(inferences):
            name = f"ort-{process}-{number}"
            zero_ns = ort.monotonic_ns()
            self.binding.run(profile_prefix=str(self._folder / name))
            (path,) = self._folder.glob(f"{name}_*.json")
            files.append(reader.TraceFile(path, zero_ns))
        trace = reader.read(files, self._nodes, process=process)
        for file in files:
            file.path.unlink()
        return trace

    def close(self) -> None:
        """Releases the session."""
        self.binding.close()
        self._session.close()


class KernelPass:
    """Inferences under ORT's profiler while CUPTI records what the GPU does.

    Args:
        library: the opened ONNX Runtime, 1.25 or newer.
        config: session options.
        graph: the executed graph, whose node names tell the rows.
        inputs: what to feed.
        folder: for the profiler's files, which nobody reads.

    Raises:
        ValueError: CUPTI or the marks of nodes cannot be had; the text says why.
    """

    def __init__(
        self,
        library: ort.Library,
        config: SessionConfig,
        graph: ExecutedGraph,
        inputs: Mapping[str, Any],
        folder: Path,
    ) -> None:
        self._folder = folder
        self._executions = 2 * (len(graph.nodes) + 4)
        try:
            self._cupti = cupti.Cupti(join.cupti_candidates())
            self._marks = marks.NodeMarks(library.path)
        except OSError as error:
            raise ValueError(join.why_absent(str(error))) from error
        try:
            self._session = open_session(
                library,
                graph.path,
                config,
                optimization="disable",
                session_options_hook=self._marks.append_to,
            )
        except BaseException:
            self._marks.close()
            raise
        self._binding = bind(self._session, inputs)
        for _ in range(WARMUP_INFERENCES):  # cuDNN's search for kernels among them
            self._binding.run()

    def record(self, inferences: int, executions: int, process: int) -> KernelEvents:
        """Records so many inferences.

        Args:
            inferences: how many.
            executions: of nodes in one inference, bodies of loops as often as they run.
            process: ProcessRecord.index.

        Raises:
            ValueError: CUPTI does not record here.
            OrtError: an inference failed.
        """
        marked, recording = self.capture(inferences, executions)
        columns = cupti.decode(
            (buffer.data, buffer.offsets.tolist()) for buffer in recording.buffers
        )
        start_ns, duration_ns = join.inferences(marked)
        return join.join(
            columns,
            cupti.names_at(columns.work["name"].tolist()),
            marked,
            recording,
            inference_start_ns=start_ns,
            inference_duration_ns=duration_ns,
            process=process,
        )

    def capture(self, inferences: int, executions: int) -> tuple[marks.Marks, cupti.CuptiRecording]:
        """What ``record`` makes events of, as it came.

        Raises:
            ValueError: CUPTI does not record here.
            OrtError: an inference failed.
        """
        try:
            self._cupti.start()
        except OSError as error:
            raise ValueError(join.why_absent(str(error))) from error
        room = max(self._executions, 2 * executions + 8)
        try:
            self._marks.hook(*self._cupti.external_ids())
            self._marks.start(inferences * room)
            try:
                for number in range(inferences):
                    self._binding.run(profile_prefix=str(self._folder / f"kernels-{number}"))
            finally:
                marked = self._marks.stop()
        finally:
            # Nothing may be named by a CUPTI that does not record.
            self._marks.unhook()
            recording = self._cupti.stop()
            for path in self._folder.glob("kernels-*.json"):
                path.unlink()
        return marked, recording

    def close(self) -> None:
        """Releases the session, then what it reported to."""
        self._binding.close()
        self._session.close()
        self._marks.close()


#: Turns that the graphs of a ProbePass take.
ROUNDS = 8
THREADED_ROUNDS = 3

#: How long ORT's threads may spin after an inference (measured: up to 80 ms).
SPINNING_S = 0.1

#: CPU time of an inference over its duration below which one thread did it.
SINGLE_THREADED = 1.2

#: Sessions of a ProbePass.
_EACH, _PAIRS, _FRAME = range(3)


class ProbePass:
    """Inferences of the graph with probes, and of the one that tells what probes cost.

    Args:
        library: the opened ONNX Runtime, 1.18 or newer.
        config: session options; execution must be sequential.
        probed: the graph with probes.
        nodes: table of the executed graph.
        inputs: what to feed.
    """

    def __init__(
        self,
        library: ort.Library,
        config: SessionConfig,
        probed: ProbedGraph,
        nodes: NodeTable,
        inputs: Mapping[str, Any],
    ) -> None:
        self._probed = probed
        self._nodes = nodes
        options = as_it_is(library, config)
        self._sessions = [
            open_session(library, path, config, **options)
            for path in (probed.each.path, probed.pairs.path, probed.frame.path)
        ]
        self._bindings = [bind(session, inputs) for session in self._sessions]
        self._stamps_in_inference = [self._count_stamps(number) for number in range(3)]
        # Where no operator shares its work out, the pool sleeps and has nothing to spin for.
        cpu_s, wall_s = time.process_time(), time.monotonic()
        for _ in range(WARMUP_INFERENCES):
            self._bindings[_EACH].run()
        cpu_s, wall_s = time.process_time() - cpu_s, time.monotonic() - wall_s
        self._single_threaded = config.intra_threads == 1 or cpu_s < SINGLE_THREADED * wall_s

    @property
    def stamps_in_inference(self) -> int:
        """Stamps that one inference takes."""
        return self._stamps_in_inference[_EACH]

    @property
    def binding(self) -> ort.Binding:
        """Of the graph with a probe at each place."""
        return self._bindings[_EACH]

    def record(self, inferences: int, process: int) -> tuple[NodeEvents, NodeEvents]:
        """Records so many inferences; returns (node events, calibration).

        The three graphs take turns, so that a drift of the machine falls on all alike.
        """
        most = ROUNDS if self._single_threaded else THREADED_ROUNDS
        rounds = max(1, min(most, inferences // 2))
        recorded: list[list[Stamps]] = [[], [], []]
        for _ in range(rounds):
            for graph in (_PAIRS, _EACH, _FRAME):
                self._settle(graph)
                recorded[graph].append(self._record(graph, -(-inferences // rounds)))
        each, pairs, frames = map(times.concatenate, recorded)

        # Probes between the first and the last, which the frame has too.
        between = self._stamps_in_inference[_EACH] - 2
        differences_ns = [
            float(np.median(times.spans_ns(one)) - np.median(times.framed_spans_ns(framed)))
            / between
            for one, framed in zip(recorded[_EACH], recorded[_FRAME], strict=True)
            if between
        ]
        level = times.cost_level(times.pair_cost_ns(pairs), differences_ns)
        places = len(self._nodes) + len(self._probed.end_parents)
        calibration = times.calibration_events(pairs, places, level, process)
        cost_ns = times.costs(calibration, places)
        frame = times.frame(
            each, frames, round(float(np.median(cost_ns))), self._probed, self._nodes
        )
        events = times.node_events(each, self._probed, self._nodes, cost_ns, frame, process)
        return events, calibration

    def close(self) -> None:
        """Releases the sessions."""
        for binding in self._bindings:
            binding.close()
        for session in self._sessions:
            session.close()

    def _settle(self, number: int) -> None:
        """Leaves no trace of the session before in the first inferences of this one.

        Threads of its pool spin on for 40 to 80 ms after its last inference: on as many CPUs
        as threads ResNet-50's next inference took twice the time.
        """
        if not self._single_threaded:
            time.sleep(SPINNING_S)
        self._bindings[number].run()

    def _count_stamps(self, number: int) -> int:
        """Warms up, and counts the stamps of one inference."""
        for _ in range(WARMUP_INFERENCES):
            self._bindings[number].run()
        return max(self._record(number, 1, capacity=1).taken, 1)

    def _record(self, number: int, inferences: int, capacity: int = 0) -> Stamps:
        # A loop may run more often in another inference: what does not fit is counted.
        capacity = capacity or 2 * inferences * self._stamps_in_inference[number]
        place = np.full(capacity, -1, np.int32)
        stamp_ns = np.full(capacity, -1, np.int64)
        start_ns = np.full(inferences, -1, np.int64)
        duration_ns = np.full(inferences, -1, np.int64)
        probe.start(place, stamp_ns)
        try:
            self._bindings[number].time(start_ns, duration_ns)
        finally:
            taken = probe.stop()
        kept = min(taken, capacity)
        return times.whole(Stamps(place[:kept], stamp_ns[:kept], taken, start_ns, duration_ns))


def prepare_probes(
    library: ort.Library,
    config: SessionConfig,
    graph: ExecutedGraph,
    inputs: Mapping[str, Any],
    folder: Path,
) -> ProbedGraph:
    """Puts probes into a graph and makes sure that it still executes the same.

    Raises:
        ValueError: it does not; the text says how.
        OrtError, HarnessError: ONNX Runtime refuses it.
    """
    if config.execution_mode != "sequential":
        raise ValueError("parallel execution has no order that probes could keep")
    elsewhere = sorted(set(graph.nodes.provider) - {"", "CPUExecutionProvider"})
    if elsewhere:
        raise ValueError(f"probes time nodes on the CPU, and some run on {elsewhere[0]}")
    probed = graphs.insert(graph)
    for file in (probed.each, probed.pairs, probed.frame):
        check = OrtPass(
            library,
            config,
            file.path,
            file.nodes,
            inputs,
            folder,
            **as_it_is(library, config),
        )
        with contextlib.closing(check):
            difference = graphs.same_order(file, check.record(1, 0).nodes)
        if difference:
            raise ValueError(f"with probes {difference}")
    return probed


def as_it_is(library: ort.Library, config: SessionConfig) -> dict[str, Any]:
    """Arguments of a Session that executes a graph with probes just as it is."""
    return {
        "optimization": "disable",
        "custom_op_domains": (probe.domain(library.path),),
        # Else ORT makes a DequantizeLinear of its own for each node that reads the output of
        # one, probes included, at any level of optimisation.
        "entries": config.entries | {"session.disable_quant_qdq": "1"},
    }
