"""GPU work during inferences, recorded by CUPTI, with the nodes that launched it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.config.session import SessionConfig
from harness.models.executed_graph import ExecutedGraph
from harness.native import cupti, marks, ort
from harness.ort import providers
from harness.ort.session import bind, open_session
from harness.records import GpuTimeline, KernelEvents, Launches
from harness.tracing.kernels import join, timeline
from harness.tracing.kernels.turn_taking import decoded, start, take_turns
from harness.tracing.kernels.turns import inferences_of_a_turn
from harness.tracing.sessions import WARMUP_INFERENCES


class KernelPass:
    """Inferences while CUPTI records what the GPU does, in one session.

    ``record`` learns whose work it is, which takes ORT's profiler; ``timeline`` takes the times
    without it. Both in one session, as another one may choose other kernels.

    Args:
        library: the opened ONNX Runtime, 1.25 or newer.
        config: session options.
        graph: the executed graph, whose node names contain their rows.
        inputs: to feed, by name. They and the outputs stay on the device.
        folder: for the profiler's files, which are not used.

    Raises:
        ValueError: CUPTI or node marks are not available; the message says why.
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
        self._learnt: tuple[cupti.CuptiColumns, KernelEvents] | None = None
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
        synchronise = providers.by_name(config.provider).synchronise
        self._synchronises = synchronise is not None
        try:
            place = () if synchronise is None else ("resident", synchronise())
            self._binding = bind(self._session, inputs, *place)
            for _ in range(WARMUP_INFERENCES):  # includes cuDNN's search for kernels
                self._binding.run()
        except BaseException:
            self._session.close()  # together with its bindings
            self._marks.close()
            raise

    def record(self, inferences: int, executions: int, process: int) -> KernelEvents:
        """Records this many inferences.

        Args:
            inferences: how many.
            executions: node executions in one inference, loop bodies counted per iteration.
            process: ProcessRecord.index.

        Raises:
            ValueError: CUPTI does not record here.
            OrtError: an inference failed.
        """
        marked, recording = self.capture(inferences, executions)
        columns = decoded(recording)
        start_ns, duration_ns = join.inferences(marked)
        events = join.join(
            columns,
            cupti.names_at(columns.work["name"].tolist()),
            marked,
            recording,
            inference_start_ns=start_ns,
            inference_duration_ns=duration_ns,
            process=process,
        )
        self._learnt = columns, events
        return events

    def launches(self) -> Launches:
        """What an inference launches, and for which nodes, as ``record`` saw it.

        Raises:
            ValueError: nothing was recorded before, or the inferences differ.
        """
        if self._learnt is None:
            raise ValueError("the nodes of the device's work are not known")
        return timeline.learn(*self._learnt)

    def timeline(self, inferences: int) -> GpuTimeline:
        """Takes the device's times of the same work, without ORT's profiler.

        Args:
            inferences: in each of the TURNS, fewer if they launch very much.

        Raises:
            ValueError: nothing was recorded before, the inferences differ, or the device cannot
                be waited for; the message says why.
            OrtError: an inference failed.
        """
        if not self._synchronises:
            raise ValueError("this provider's device cannot be waited for")
        launches = self.launches()
        timed = inferences_of_a_turn(inferences, len(launches))
        return timeline.place(launches, take_turns(self._cupti, self._binding, timed))

    def capture(self, inferences: int, executions: int) -> tuple[marks.Marks, cupti.CuptiRecording]:
        """The raw marks and CUPTI records from which ``record`` makes events.

        Raises:
            ValueError: CUPTI does not record here.
            OrtError: an inference failed.
        """
        start(self._cupti, launches=True)
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
            # Unhook first: CUPTI's functions may only be called while it records.
            self._marks.unhook()
            recording = self._cupti.stop()
            for path in self._folder.glob("kernels-*.json"):
                path.unlink()
        return marked, recording

    def close(self) -> None:
        """Releases the session, then the node marks that it reported to."""
        self._binding.close()
        self._session.close()
        self._marks.close()
