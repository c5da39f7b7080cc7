"""The device's times while a captured CUDA graph is replayed.

A replay is one call: no launch tells its node, and ORT executes none. But the graph holds what an
inference without it launches, in that order, and CUPTI tells of each kernel which node of the graph
it is. So the n-th kernel of a replay is the n-th launch that was learnt without the graph. Where
the records do not tell, or tell something else, only the whole inference has a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.config.session import SessionConfig
from harness.native import cupti, ort
from harness.ort import providers
from harness.ort.session import bind, open_session
from harness.records import GpuTimeline, Launches
from harness.tracing.kernels import join, timeline
from harness.tracing.kernels.timeline import Turn
from harness.tracing.kernels.turn_taking import take_turns
from harness.tracing.kernels.turns import inferences_of_a_turn
from harness.tracing.sessions import WARMUP_INFERENCES


class ReplayPass:
    """Inferences that replay a captured graph, in a session of their own.

    Args:
        library: the opened ONNX Runtime.
        config: session options, which ask for a captured graph.
        model: as it is timed.
        inputs: to feed, by name. They and the outputs stay on the device.

    Raises:
        ValueError: CUPTI is not available, or the device cannot be waited for.
        HarnessError: the session refuses the graph, or the model.
        OrtError: an inference failed.
    """

    def __init__(
        self, library: ort.Library, config: SessionConfig, model: Path, inputs: Mapping[str, Any]
    ) -> None:
        synchronise = providers.by_name(config.provider).synchronise
        if synchronise is None:
            raise ValueError("this provider's device cannot be waited for")
        try:
            self._cupti = cupti.Cupti(join.cupti_candidates())
        except OSError as error:
            raise ValueError(join.why_absent(str(error))) from error
        self._session = open_session(library, model, config)
        try:
            self._binding = bind(self._session, inputs, "resident", synchronise())
            for _ in range(WARMUP_INFERENCES):  # the first one captures
                self._binding.run()
        except BaseException:
            self._session.close()  # together with its bindings
            raise

    @property
    def binding(self) -> ort.Binding:
        """What the graph was captured with: each inference of it is a replay."""
        return self._binding

    def timeline(
        self, inferences: int, launches: Launches | None, process: int
    ) -> tuple[GpuTimeline, str]:
        """Times replays, with CUPTI and without, by turns.

        Args:
            inferences: in each turn, fewer if they launch very much.
            launches: what an inference without the graph launches; None where that is not known.
            process: ProcessRecord.index.

        Returns:
            The timeline, and why it has no times of launches; empty if it has them.

        Raises:
            ValueError: CUPTI does not record here.
            OrtError: an inference failed.
        """
        timed = inferences_of_a_turn(inferences, 0 if launches is None else len(launches))
        turns = take_turns(self._cupti, self._binding, timed)
        if launches is None:
            return timeline.whole(turns, process), "the nodes of the device's work are not known"
        try:
            _require_nodes(launches, turns)
            return timeline.place(launches, turns, replayed=True), ""
        except ValueError as error:
            return timeline.whole(turns, process), str(error)

    def close(self) -> None:
        """Releases the session."""
        self._binding.close()
        self._session.close()


def _require_nodes(launches: Launches, turns: Sequence[Turn]) -> None:
    """Checks that the records tell which node of the graph each kernel is, always the same.

    Raises:
        ValueError: they do not; the message says how.
    """
    streams = np.unique(launches.stream)
    if len(streams) > 1:
        raise ValueError(
            f"without the graph the work is on {len(streams)} streams, between which a graph keeps "
            "no order"
        )
    nodes: list[int] | None = None
    for turn in turns:
        if turn.columns is None or turn.recording is None:
            continue
        work = join.timed_work(turn.columns)
        if not len(work):
            others = turn.columns.skipped
            rest = f", but {others} records of other kinds" if others else ""
            raise ValueError(f"CUPTI recorded no kernels of the replayed graph{rest}")
        nodeless = (work["kind"] == 0) & (work["graph_node"] == 0)
        if nodeless.any():
            raise ValueError(
                f"{np.count_nonzero(nodeless)} of CUPTI's {len(work)} records of the replay do not "
                "tell which node of the graph they are"
            )
        start_ns = work["start_ns"] - turn.recording.offset_ns
        inference = join.inference_at(start_ns, turn.start_ns, turn.duration_ns)
        for number in range(len(turn.start_ns)):
            mine = work["graph_node"][inference == number].tolist()
            if nodes is None:
                nodes = mine
            if mine != nodes:
                raise ValueError("the nodes of the graph do not run in the same order each time")
