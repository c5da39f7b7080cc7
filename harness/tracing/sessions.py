"""Saving the graph that ONNX Runtime executes, for sessions that run it unchanged."""

from __future__ import annotations

from pathlib import Path

from harness.config.session import SessionConfig
from harness.models import executed_graph
from harness.models.executed_graph import ExecutedGraph
from harness.native import ort
from harness.ort.session import open_session

_SAVED = "executed.onnx"

#: Warm-up inferences before the recorded ones, for memory patterns and caches to settle.
WARMUP_INFERENCES = 3


def open_saving(
    library: ort.Library, model: Path, config: SessionConfig, folder: Path
) -> ort.Session:
    """A session that leaves the graph that it executes in a folder, for ``saved_graph``.

    Raises:
        HarnessError: as ``open_session`` does, and where ORT cannot save the graph.
    """
    return open_session(
        library,
        model,
        config,
        optimized_model_path=str(folder / _SAVED),
        # Weights stay out of the file, so that naming its nodes is cheap at any size.
        entries=config.entries
        | {
            "session.optimized_model_external_initializers_file_name": "executed.weights",
            "session.optimized_model_external_initializers_min_size_in_bytes": "1024",
        },
    )


def saved_graph(folder: Path) -> ExecutedGraph:
    """The graph that such a session left, with its nodes named after their rows.

    Raises:
        HarnessError, OSError: it cannot be read.
    """
    return executed_graph.prepare(folder / _SAVED, folder / "executed-named.onnx")
