"""Graphs that ONNX Runtime executes, for tests."""

from __future__ import annotations

from pathlib import Path

from harness.config.session import SessionConfig
from harness.models.executed_graph import ExecutedGraph
from harness.native import ort
from harness.tracing.sessions import open_saving, saved_graph


def save_graph(
    library: ort.Library, model: Path, config: SessionConfig, folder: Path
) -> ExecutedGraph:
    """The graph that ORT executes, saved in the folder with its nodes named after their rows."""
    open_saving(library, model, config, folder).close()
    return saved_graph(folder)
