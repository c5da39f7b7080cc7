"""Saving the graph that ONNX Runtime executes, for sessions that run it unchanged."""

from __future__ import annotations

from pathlib import Path

from harness.config.session import SessionConfig
from harness.models import executed_graph
from harness.models.executed_graph import ExecutedGraph
from harness.native import ort
from harness.ort.session import open_session

#: Warm-up inferences before the recorded ones, for memory patterns and caches to settle.
WARMUP_INFERENCES = 3


def save_graph(
    library: ort.Library, model: Path, config: SessionConfig, folder: Path
) -> ExecutedGraph:
    """Saves the graph that ORT executes, with its nodes named after their rows.

    Raises:
        HarnessError, OSError: ORT cannot save it, or the saved file cannot be read.
    """
    saved = folder / "executed.onnx"
    open_session(
        library,
        model,
        config,
        optimized_model_path=str(saved),
        # Weights go into a separate file, so that naming the nodes is cheap at any model size.
        entries=config.entries
        | {
            "session.optimized_model_external_initializers_file_name": "executed.weights",
            "session.optimized_model_external_initializers_min_size_in_bytes": "1024",
        },
    ).close()
    return executed_graph.prepare(saved, folder / "executed-named.onnx")
