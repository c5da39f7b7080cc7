"""The traced passes of a measuring process, after the timed pass, each with its own session."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from harness.measuring.absences import Absences
from harness.measuring.handover import Job
from harness.measuring.plan import replays
from harness.measuring.prepared import Preparation
from harness.measuring.stopwatch import Stopwatch
from harness.models.executed_graph import ExecutedGraph
from harness.models.outputs import same_values
from harness.native import ort
from harness.ort import providers
from harness.records import GpuTimeline, KernelEvents, NodeEvents, NodeTable
from harness.tracing.kernels.recorder import KernelPass
from harness.tracing.kernels.replay import ReplayPass
from harness.tracing.ort_profiler.reader import OrtTrace
from harness.tracing.ort_profiler.recorder import OrtPass
from harness.tracing.probes.graphs import ProbedGraph
from harness.tracing.probes.recorder import ProbePass

NOT_REPEATABLE = (
    "two inferences with the same inputs differ even without probes (random or "
    "non-deterministic nodes), so outputs with probes were not compared"
)


@dataclasses.dataclass(slots=True)
class Traced:
    """What the traced passes of one process recorded.

    Attributes:
        nodes: the executed graph's nodes as this process completed them; None if not known.
        events: NodeEvents by the name of the pass, as in Profile.traces.
        kernels: work of the GPU; None if none was recorded.
        timeline: when the GPU worked, in a pass of its own; None likewise.
        replay: the same while a captured graph was replayed; None where none was.
        absent: what could not be recorded, with reasons.
    """

    nodes: NodeTable | None
    events: dict[str, NodeEvents] = dataclasses.field(default_factory=dict)
    kernels: KernelEvents | None = None
    timeline: GpuTimeline | None = None
    replay: GpuTimeline | None = None
    absent: Absences = dataclasses.field(default_factory=Absences)


@dataclasses.dataclass(frozen=True, slots=True)
class TracedPasses:
    """The traced passes of one process.

    Attributes:
        job: what is measured.
        preparation: what the preparation process found out.
        library: the opened ONNX Runtime.
        inputs: to feed, by name.
        process: ProcessRecord.index.
        watch: clocks the parts.
    """

    job: Job
    preparation: Preparation
    library: ort.Library
    inputs: Mapping[str, Any]
    process: int
    watch: Stopwatch

    def record(
        self,
        outputs: list[Any],
        trace_inferences: int,
        probe_inferences: int,
        *,
        profiled: bool = True,
    ) -> Traced:
        """Makes the requested passes, as far as they are possible.

        Args:
            outputs: of the model without probes, to compare those with probes against.
            trace_inferences: inferences to record in the other passes.
            probe_inferences: inferences to record with probes; 0 for no such pass.
            profiled: whether to make the other passes even if there are times from probes.
        """
        graph, probed = self.preparation.graph, self.preparation.probed
        traced = Traced(None if graph is None else graph.nodes)
        absent = traced.absent
        if graph is not None and probed is not None and probe_inferences:
            with absent.noting("trace/probe"):
                traced.events |= self._probes(graph, probed, outputs, probe_inferences, absent)
            if not self.preparation.repeatable:
                absent.append(("probe guard", NOT_REPEATABLE))
        asked = self.job.config.trace if profiled or not traced.events else ()
        if "ort" in asked:
            with absent.noting("trace/ort"):
                trace = self._ort(graph, trace_inferences)
                traced.events["ort"] = trace.events
                traced.nodes = trace.nodes if graph is None else _ordered(trace.nodes, graph.nodes)
                absent += [("trace/ort", remark) for remark in trace.remarks]
        if "kernels" in asked and providers.by_name(self.job.config.session.provider).on_device:
            with absent.noting("trace/kernels"):
                self._kernels(graph, trace_inferences, traced)
            if traced.kernels is not None and replays(self.job.config):
                with absent.noting("trace/replay"):
                    self._replay(trace_inferences, traced)
        return traced

    def _probes(
        self,
        graph: ExecutedGraph,
        probed: ProbedGraph,
        outputs: list[Any],
        inferences: int,
        absent: Absences,
    ) -> dict[str, NodeEvents]:
        """Records through probes; refuses if they change the model's outputs, or the order."""
        config = providers.uncaptured(self.job.config.session)
        half = self.process % len(probed.halves)
        with self.watch.on("probes: sessions"):
            opened = ProbePass(self.library, config, probed, graph.nodes, self.inputs, half)
        with contextlib.closing(opened) as probe_pass:
            if not self.job.ordered.exists():
                with self.watch.on("probes: order"):
                    probe_pass.require_order(self.job.work_folder)
                self.job.ordered.touch()
            if not self.job.ordered_half(half).exists():
                difference = probe_pass.half_order(self.job.work_folder)
                if difference:
                    absent.append(("trace/probe_split", f"with every second probe {difference}"))
                    probe_pass.leave_half_out()
                else:
                    self.job.ordered_half(half).touch()
            with self.watch.on("probes: inferences"):
                recorded = probe_pass.record(inferences, self.process)
            if self.preparation.repeatable and not same_values(outputs, probe_pass.outputs()):
                raise ValueError("outputs with probes differ from those without")
        events = {"probe": recorded.nodes, "probe_calibration": recorded.calibration}
        return events if recorded.split is None else events | {"probe_split": recorded.split}

    def _ort(self, graph: ExecutedGraph | None, inferences: int) -> OrtTrace:
        """Records with ORT's profiler."""
        with self.watch.on("profiler: session"):
            opened = self._ort_pass(graph)
        with contextlib.closing(opened) as ort_pass, self.watch.on("profiler: inferences"):
            return ort_pass.record(inferences, self.process)

    def _ort_pass(self, graph: ExecutedGraph | None) -> OrtPass:
        """ORT's profiler on the executed graph or, if that is not known, on the model."""
        config, folder = providers.uncaptured(self.job.config.session), self.job.work_folder
        if graph is None:
            return OrtPass(self.library, config, self.job.model, None, self.inputs, folder)
        return OrtPass(
            self.library,
            config,
            graph.path,
            graph.nodes,
            self.inputs,
            folder,
            optimization="disable",
        )

    def _kernels(self, graph: ExecutedGraph | None, inferences: int, traced: Traced) -> None:
        """Records what the GPU does: whose work it is, and then when it does it."""
        if graph is None:
            raise ValueError("neither the executed graph nor the names of its nodes are known")
        config = providers.uncaptured(self.job.config.session)
        with self.watch.on("kernels: session"):
            opened = KernelPass(self.library, config, graph, self.inputs, self.job.work_folder)
        with contextlib.closing(opened) as kernel_pass:
            with self.watch.on("kernels: inferences"):
                traced.kernels = kernel_pass.record(
                    inferences, self.preparation.executions, self.process
                )
            with self.watch.on("kernels: timeline"), traced.absent.noting("trace/timeline"):
                traced.timeline = kernel_pass.timeline(inferences)

    def _replay(self, inferences: int, traced: Traced) -> None:
        """Records what the GPU does when the model is captured as a graph and replayed."""
        config = providers.captured(self.job.config.session)
        with self.watch.on("replay: session"):
            opened = ReplayPass(self.library, config, self.job.model, self.inputs)
        launches = None if traced.timeline is None else traced.timeline.launches
        with contextlib.closing(opened) as replay_pass, self.watch.on("replay: inferences"):
            traced.replay, why = replay_pass.timeline(inferences, launches, self.process)
        if why:
            traced.absent.append(("trace/replay", f"kernels of the replayed graph: {why}"))


def _ordered(traced: NodeTable, prepared: NodeTable) -> NodeTable:
    """A table with the order of the model's own session, which the probes keep.

    The pass of ORT's profiler runs the saved graph, perhaps in another order.

    Args:
        traced: the prepared table, and perhaps more nodes behind it.
        prepared: with the order as the preparation saw it, -1 where it did not.
    """
    order = traced.order.copy()
    known = np.flatnonzero(prepared.order >= 0)
    order[known] = prepared.order[known]
    return dataclasses.replace(traced, order=order)
