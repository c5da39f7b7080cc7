"""Inferences recorded through probes.

Each graph with probes has a session of its own, so that tracing never touches the session that
is timed.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from harness.config.session import SessionConfig
from harness.machine.running_threads import others_run
from harness.models.executed_graph import ExecutedGraph
from harness.native import ort, probe
from harness.ort import providers
from harness.ort.execution_provider import ExecutionProvider
from harness.ort.session import bind, open_session
from harness.records import NodeEvents, NodeTable
from harness.tracing.ort_profiler import reader
from harness.tracing.ort_profiler.recorder import profile_once
from harness.tracing.probes import graphs, times
from harness.tracing.probes.graphs import ProbedGraph
from harness.tracing.probes.times import Stamps
from harness.tracing.probes.turns import (
    LONGEST_SETTLING_S,
    ROUNDS,
    SPLIT_EVERY,
    THREADED_ROUNDS,
)
from harness.tracing.sessions import WARMUP_INFERENCES

#: Ratio of an inference's CPU time to its duration below which it counts as single-threaded.
SINGLE_THREADED = 1.2

#: Seconds between two looks at whether the threads of another session still spin.
LOOK_S = 0.002

#: How long a session is used before it is recorded again: the first inferences of a small model
#: take several times as long, until the caches hold its session again.
WARMING_S = 0.2e-3

#: Indices of the graphs of a ProbePass, and of their sessions.
_EACH, _PAIRS, _FRAME, _HALF = range(4)


class Recorded(NamedTuple):
    """What a ProbePass recorded.

    Attributes:
        nodes: executions of nodes.
        calibration: cost of the probes at each place.
        split: the stretches between every second place, as ``times.split_events`` returns them;
            None if they are not recorded.
    """

    nodes: NodeEvents
    calibration: NodeEvents
    split: NodeEvents | None


class ProbePass:
    """Inferences of the graph with probes, and of the graphs that measure what probes cost.

    On a device inputs and outputs stay there, as in the timed pass, and an inference lasts until
    Run has returned, with the work enqueued: probes tell when the host has launched a node.

    Args:
        library: the opened ONNX Runtime, 1.18 or newer.
        config: session options; execution must be sequential, and no graph be captured.
        probed: the graph with probes.
        nodes: table of the executed graph.
        inputs: to feed, by name.
        half: which of ProbedGraph.halves checks the split between nodes; None for neither.
    """

    def __init__(
        self,
        library: ort.Library,
        config: SessionConfig,
        probed: ProbedGraph,
        nodes: NodeTable,
        inputs: Mapping[str, Any],
        half: int | None = None,
    ) -> None:
        self._probed = probed
        self._nodes = nodes
        self._inputs = inputs
        device = _device(config)
        self._on_device = device is not None
        place: tuple[Any, ...] = ()
        if device is not None and device.synchronise is not None:
            place = ("resident", device.synchronise())
        self._files = [probed.each, probed.pairs, probed.frame]
        if half is not None:
            self._files.append(probed.halves[half])
        options = as_it_is(library, config)
        self._sessions = [open_session(library, file, config, **options) for file in self._files]
        self._bindings = [bind(session, inputs, *place) for session in self._sessions]
        self._stamps_in_inference = [
            self._count_stamps(number) for number in range(len(self._files))
        ]
        # If no operator splits its work between threads, the pool sleeps and does not spin.
        cpu_s, wall_s = time.process_time(), time.monotonic()
        for _ in range(WARMUP_INFERENCES):
            self._bindings[_EACH].run()
        cpu_s, wall_s = time.process_time() - cpu_s, time.monotonic() - wall_s
        self._single_threaded = config.intra_threads == 1 or cpu_s < SINGLE_THREADED * wall_s

    @property
    def stamps_in_inference(self) -> int:
        """Number of stamps in one inference."""
        return self._stamps_in_inference[_EACH]

    @property
    def binding(self) -> ort.Binding:
        """Binding of the graph with one probe at each place."""
        return self._bindings[_EACH]

    def outputs(self) -> list[Any]:
        """Outputs of the graph with one probe at each place, in host memory."""
        if not self._on_device:
            return self.binding.outputs()
        with contextlib.closing(bind(self._sessions[_EACH], self._inputs, "copied")) as binding:
            binding.run()
            return binding.outputs()

    def record(self, inferences: int, process: int) -> Recorded:
        """Records this many inferences of each graph, of the half fewer.

        The graphs take turns, so that drift of the machine affects all alike.
        """
        most = ROUNDS if self._single_threaded else THREADED_ROUNDS
        rounds = max(1, min(most, inferences // 2))
        recorded: list[list[Stamps]] = [[] for _ in self._files]
        for number in range(rounds):
            turns = [_PAIRS, _EACH, _FRAME]
            if len(self._files) > _HALF and number % SPLIT_EVERY == 0:
                turns.insert(turns.index(_EACH), _HALF)
            for graph in turns:
                self._settle(graph)
                recorded[graph].append(self._record(graph, -(-inferences // rounds)))
        each, pairs, frames, *halves = map(times.concatenate, recorded)

        in_place_ns, scatter_ns = times.in_place_cost(recorded[_EACH], recorded[_FRAME])
        level = times.cost_level(times.pair_cost_ns(pairs), in_place_ns, scatter_ns)
        places = len(self._nodes) + len(self._probed.end_parents)
        calibration = times.calibration_events(pairs, places, level, process)
        cost_ns = times.in_place(times.costs(calibration, places), each)
        frame = times.frame(
            each, frames, round(float(np.median(cost_ns))), self._probed, self._nodes
        )
        events = times.node_events(each, self._probed, self._nodes, cost_ns, frame, process)
        split = times.split_events(halves[0], cost_ns, process) if halves else None
        return Recorded(events, calibration, split)

    def require_order(self, folder: Path) -> None:
        """Makes sure that the graphs execute their nodes in the order of the one without probes.

        The half is left to ``half_order``.

        Args:
            folder: for what ORT's profiler writes of one inference of each.

        Raises:
            ValueError: they do not; the text says how.
            OrtError: an inference failed, or the library is older than 1.25.
        """
        for number in (_EACH, _PAIRS, _FRAME):
            difference = self._order(number, folder)
            if difference:
                raise ValueError(f"with probes, {difference}")

    def half_order(self, folder: Path) -> str:
        """Whether the half keeps the order, too; "" or how it differs.

        Args:
            folder: as for ``require_order``.
        """
        return self._order(_HALF, folder)

    def leave_half_out(self) -> None:
        """Records no half from now on."""
        self._files.pop()
        self._bindings.pop().close()
        self._sessions.pop().close()

    def _order(self, number: int, folder: Path) -> str:
        trace = profile_once(self._bindings[number], folder, self._files[number].stem)
        try:
            return graphs.same_order(self._probed, self._nodes, reader.ran(trace))
        finally:
            trace.unlink(missing_ok=True)

    def close(self) -> None:
        """Releases the sessions."""
        for binding in self._bindings:
            binding.close()
        for session in self._sessions:
            session.close()

    def _settle(self, number: int) -> None:
        """Keeps the previous session from affecting the first inferences of this one.

        The threads of its pool keep spinning after its last inference: with as many threads as
        CPUs, the next inference of ResNet-50 took twice as long.
        """
        until_s = time.monotonic() + LONGEST_SETTLING_S
        if not self._single_threaded:
            while others_run() and time.monotonic() < until_s:
                time.sleep(LOOK_S)
        until_s = time.monotonic() + WARMING_S
        while True:
            self._bindings[number].run()
            if time.monotonic() >= until_s:
                return

    def _count_stamps(self, number: int) -> int:
        """Warms a session up, and counts the stamps of one inference."""
        for _ in range(WARMUP_INFERENCES):
            self._bindings[number].run()
        return max(self._record(number, 1, capacity=1).taken, 1)

    def _record(self, number: int, inferences: int, capacity: int = 0) -> Stamps:
        # A loop may run more often in another inference: stamps that do not fit are counted.
        capacity = capacity or 2 * inferences * self._stamps_in_inference[number]
        place = np.full(capacity, -1, np.int32)
        stamp_ns = np.full(capacity, -1, np.int64)
        start_ns = np.full(inferences, -1, np.int64)
        duration_ns = np.full(inferences, -1, np.int64)
        enqueue_ns = np.full(inferences, -1, np.int64) if self._on_device else None
        probe.start(place, stamp_ns)
        try:
            self._bindings[number].time(start_ns, duration_ns, enqueue_ns=enqueue_ns)
        finally:
            taken = probe.stop()
        kept = min(taken, capacity)
        ran_ns = duration_ns if enqueue_ns is None else enqueue_ns
        return times.whole(Stamps(place[:kept], stamp_ns[:kept], taken, start_ns, ran_ns))


def prepare_probes(config: SessionConfig, graph: ExecutedGraph) -> ProbedGraph:
    """Inserts probes into a graph whose nodes they can time.

    Raises:
        ValueError: probes are not possible; the message says why.
        OrderError: as ``graphs.insert``.
    """
    if config.execution_mode != "sequential":
        raise ValueError("parallel execution has no fixed order, which probes need")
    device = _device(config)
    titles = {providers.by_name(providers.HOST).ort_name: "the CPU"}
    if device is not None:
        titles[device.ort_name] = device.title
    elsewhere = sorted(set(graph.nodes.provider) - {"", *titles})
    if elsewhere:
        where = " and ".join(titles.values())
        raise ValueError(f"probes can only time nodes on {where}, but some run on {elsewhere[0]}")
    return graphs.insert(graph, device)


def _device(config: SessionConfig) -> ExecutionProvider | None:
    """The provider of a device among whose nodes probes can stand; None if there is none."""
    return next((one for one, _ in providers.chain(config) if one.takes_probes), None)


def as_it_is(library: ort.Library, config: SessionConfig) -> dict[str, Any]:
    """Arguments of a Session that executes a graph with probes without changing it."""
    device = _device(config)
    return {
        "optimization": "disable",
        "custom_op_domains": (probe.domain(library.path, device.ort_name if device else ""),),
        # Otherwise, at any optimisation level, ORT duplicates a DequantizeLinear for each node
        # that reads its output, including probes.
        "entries": config.entries | {"session.disable_quant_qdq": "1"},
    }
