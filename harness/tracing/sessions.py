"""Sessions on the graph that ONNX Runtime executes, as it is."""

from __future__ import annotations

from pathlib import Path

from harness.config.session import SessionConfig
from harness.models import executed_graph
from harness.models.executed_graph import ExecutedGraph
from harness.native import ort
from harness.ort.session import open_session

#: Inferences before those that are recorded: memory patterns and caches settle.
WARMUP_INFERENCES = 3


def save_graph(
    library: ort.Library, model: Path, config: SessionConfig, folder: Path
) -> ExecutedGraph:
    """Saves the graph that ORT executes, with its nodes named after their rows.

    Raises:
        HarnessError, OSError: ORT cannot save it, or it cannot be read.
    """
    saved = folder / "executed.onnx"
    open_session(
        library,
        model,
        config,
        optimized_model_path=str(saved),
        # Weights stay out of the file, so that naming its nodes is cheap at any size.
        entries=config.entries
        | {
            "session.optimized_model_external_initializers_file_name": "executed.weights",
            "session.optimized_model_external_initializers_min_size_in_bytes": "1024",
        },
    ).close()
    return executed_graph.prepare(saved, folder / "executed-named.onnx")
