"""GPU work during inferences, recorded by CUPTI, with the nodes that launched it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.config.session import SessionConfig
from harness.models.executed_graph import ExecutedGraph
from harness.native import cupti, marks, ort
from harness.ort.session import bind, open_session
from harness.records import KernelEvents
from harness.tracing.kernels import join
from harness.tracing.sessions import WARMUP_INFERENCES


class KernelPass:
    """Inferences under ORT's profiler while CUPTI records what the GPU does.

    Args:
        library: the opened ONNX Runtime, 1.25 or newer.
        config: session options.
        graph: the executed graph, whose node names contain their rows.
        inputs: to feed, by name.
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
        try:
            self._binding = bind(self._session, inputs)
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
        """The raw marks and CUPTI records from which ``record`` makes events.

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
