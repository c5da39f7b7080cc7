"""One model clean, with probes, and under ORT's profiler, in one process, for benchmarks."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from harness.config.session import SessionConfig
from harness.native import ort, probe
from harness.ort.session import bind, open_session
from harness.tracing.ort_profiler.recorder import OrtPass
from harness.tracing.probes.recorder import ProbePass, prepare_probes
from harness.tracing.sessions import open_saving, saved_graph


@dataclasses.dataclass(frozen=True)
class Measured:
    """Medians over the inferences of one pass, in nanoseconds.

    Attributes:
        latency_ns: an inference under this tracer.
        node_ns: median over nodes of the median own time of each.
        nodes_ns: sum of the nodes' own times.
        accounted_ns: nodes and framework together, without the tracer's cost.
        own_share: share of the nodes' time in nodes with their own probe.
        cost_ns: calibrated cost of a probe, median over the places; 0 without probes.
    """

    latency_ns: float
    node_ns: float
    nodes_ns: float
    accounted_ns: float
    own_share: float
    cost_ns: float


class Contestants:
    """Opens the sessions of a model: clean, under ORT's profiler, with probes."""

    def __init__(
        self,
        library: ort.Library,
        model: Path,
        feeds: Mapping[str, Any],
        folder: Path,
        config: SessionConfig,
    ) -> None:
        self._config = config
        self._stack = contextlib.ExitStack()
        self.clean = self._stack.enter_context(
            contextlib.closing(bind(open_session(library, model, self._config), feeds))
        )
        self.clean.run()
        open_saving(library, model, self._config, folder).close()
        graph = saved_graph(folder)
        self._profiled = OrtPass(
            library, self._config, graph.path, graph.nodes, feeds, folder, optimization="disable"
        )
        graph = dataclasses.replace(graph, nodes=self._profiled.record(1, 0).nodes)
        self.probed_graph = prepare_probes(self._config, graph)
        self._probed = ProbePass(library, self._config, self.probed_graph, graph.nodes, feeds)
        self.nodes = graph.nodes

    def time(self, inferences: int) -> float:
        """Median clean latency."""
        return self._block(self.clean, inferences)

    def _block(self, binding: ort.Binding, inferences: int) -> float:
        """Median latency of a block of inferences; probes write into a buffer."""
        taken = inferences * 2 * self._probed.stamps_in_inference
        probe.start(np.zeros(taken, np.int32), np.zeros(taken, np.int64))
        start, duration = np.zeros(inferences, np.int64), np.zeros(inferences, np.int64)
        binding.time(start, duration)
        probe.stop()
        return float(np.median(duration))

    def added(self, pairs: int, block: int) -> tuple[float, float]:
        """What probes add to an inference: (median, twice its standard error).

        Short blocks of inferences without and with probes alternate, each first in turn, so that
        the machine's drift affects both alike.
        """
        difference = np.empty(pairs)
        for number in range(pairs):
            if number % 2:
                probed, clean = self._block(self._probed.binding, block), self.time(block)
            else:
                clean, probed = self.time(block), self._block(self._probed.binding, block)
            difference[number] = probed - clean
        median = float(np.median(difference))
        # For a normal distribution: sd = 1.4826 MAD, standard error of the median 1.2533 sd/√n.
        deviation = float(np.median(np.abs(difference - median)))
        return median, 2 * 1.2533 * 1.4826 * deviation / pairs**0.5

    def probe(self, inferences: int) -> Measured:
        """A pass with probes."""
        events, calibration, _ = self._probed.record(inferences, 0)
        own = np.zeros(len(self.nodes), bool)
        own[self.probed_graph.carriers == np.arange(len(self.nodes))] = True
        covering = np.setdiff1d(
            np.unique(self.probed_graph.carriers), self.probed_graph.carriers[~own]
        )
        alone = np.isin(events.node, covering)
        share = events.self_ns[alone].sum() / max(events.self_ns.sum(), 1)
        return _measured(events, share, float(np.median(calibration.self_ns)))

    def node_times(self, inferences: int) -> tuple[list[float], float]:
        """(median own time of each node in the order of execution, nodes + framework), ns."""
        recorded = self._probed.record(inferences, 0).nodes
        medians = [
            float(np.median(recorded.self_ns[recorded.node == row]))
            for row in np.argsort(self.nodes.order, kind="stable").tolist()
            if self.nodes.order[row] >= 0
        ]
        return medians, _measured(recorded, 1.0, 0.0).accounted_ns

    def profile(self, inferences: int) -> Measured:
        """A pass under ORT's profiler."""
        return _measured(self._profiled.record(inferences, 0).events, 1.0, 0.0)

    def close(self) -> None:
        """Releases the sessions."""
        self._probed.close()
        self._profiled.close()
        self._stack.close()


def _measured(events: Any, own_share: float, cost_ns: float) -> Measured:
    inferences = len(events.inference_number)
    nodes_ns = np.bincount(events.inference, events.self_ns, inferences)
    order = np.argsort(events.node, kind="stable")
    _, begins = np.unique(events.node[order], return_index=True)
    medians = [np.median(part) for part in np.split(events.self_ns[order], begins[1:])]
    return Measured(
        latency_ns=float(np.median(events.inference_duration_ns)),
        node_ns=float(np.median(medians)),
        nodes_ns=float(np.median(nodes_ns)),
        accounted_ns=float(np.median(nodes_ns + events.inference_framework_ns)),
        own_share=float(own_share),
        cost_ns=cost_ns,
    )
