"""Graphs that ONNX Runtime executes, for tests."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import Any

from harness.config.session import SessionConfig
from harness.models.executed_graph import ExecutedGraph
from harness.native import ort
from harness.ort.session import bind, open_session
from harness.records import NodeEvents
from harness.tracing.ort_profiler.recorder import OrtPass
from harness.tracing.sessions import open_saving, saved_graph


def save_graph(
    library: ort.Library, model: Path, config: SessionConfig, folder: Path
) -> ExecutedGraph:
    """The graph that ORT executes, saved in the folder with its nodes named after their rows."""
    open_saving(library, model, config, folder).close()
    return saved_graph(folder)


def executed(
    library: ort.Library, path: Path, inputs: dict[str, Any], config: SessionConfig, folder: Path
) -> tuple[ExecutedGraph, NodeEvents, list[Any]]:
    """The graph ORT executes, one profiled inference of it, and the model's outputs."""
    with (
        contextlib.closing(open_session(library, path, config)) as session,
        contextlib.closing(bind(session, inputs)) as binding,
    ):
        binding.run()
        outputs = binding.outputs()
    graph = save_graph(library, path, config, folder)
    with contextlib.closing(
        OrtPass(library, config, graph.path, graph.nodes, inputs, folder, optimization="disable")
    ) as ort_pass:
        trace = ort_pass.record(1, 0)
    return dataclasses.replace(graph, nodes=trace.nodes), trace.events, outputs
