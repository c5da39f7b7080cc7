"""Inferences recorded by ORT's built-in profiler."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from harness.config.session import SessionConfig
from harness.models.executed_graph import EVENT_SUFFIX, row_of
from harness.native import ort
from harness.ort.session import bind, open_session
from harness.records import NodeTable
from harness.tracing.ort_profiler import reader
from harness.tracing.ort_profiler.reader import OrtTrace
from harness.tracing.sessions import WARMUP_INFERENCES


def profile_once(binding: ort.Binding, folder: Path, name: str) -> Path:
    """The profile that ORT writes of one inference.

    Args:
        binding: to run.
        folder: where to write it.
        name: what the name of the file is to begin with; no other in the folder does.

    Raises:
        OrtError: the inference failed, or the library is too old.
    """
    binding.run(profile_prefix=str(folder / name))
    (path,) = folder.glob(f"{name}_*.json")
    return path


def trace_as_opened(
    session: ort.Session, nodes: NodeTable, inputs: Mapping[str, Any], folder: Path
) -> OrtTrace | None:
    """One inference of the model's own session, whose nodes have the names of the saved graph.

    Args:
        session: of the model as it is, or of the graph that it executes.
        nodes: table of the executed graph, with the names that ORT saved.
        inputs: to feed, by name.
        folder: for the profiler's files.

    Returns:
        None where names are empty or repeat, where the saved graph lacks a node that ran, and
        where there are bodies, whose nodes ORT may execute in another order from a file.

    Raises:
        OrtError: an inference failed, or the library is too old.
    """
    rows = {f"{name}{EVENT_SUFFIX}": row for row, name in enumerate(nodes.name)}
    if len(rows) < len(nodes) or "" in nodes.name or nodes.depth.any():
        return None
    with contextlib.closing(bind(session, inputs)) as binding:
        trace = _recorded(binding, 1, nodes, folder, 0, lambda event: rows.get(event, -1))
    return trace if len(trace.nodes) == len(nodes) else None


class OrtPass:
    """Inferences under ORT's built-in profiler, one file each, so that no warm-up is in them.

    Args:
        library: the opened ONNX Runtime, 1.25 or newer.
        config: session options.
        model: graph to execute, already optimised if its nodes are known.
        nodes: its node table; None if it is not known.
        inputs: to feed, by name.
        folder: for the profiler's files.
        overrides: further arguments of the Session.
    """

    def __init__(
        self,
        library: ort.Library,
        config: SessionConfig,
        model: Path,
        nodes: NodeTable | None,
        inputs: Mapping[str, Any],
        folder: Path,
        **overrides: Any,
    ) -> None:
        self._nodes = nodes
        self._folder = folder
        self._session = open_session(library, model, config, **overrides)
        self.binding = bind(self._session, inputs)
        for _ in range(WARMUP_INFERENCES):
            self.binding.run()

    @property
    def session_ns(self) -> int:
        """Time to create the session, in ns."""
        return self._session.create_ns

    def record(self, inferences: int, process: int) -> OrtTrace:
        """Profiles this many inferences.

        Raises:
            OrtError: an inference failed, or the library is too old.
        """
        return _recorded(self.binding, inferences, self._nodes, self._folder, process)

    def close(self) -> None:
        """Releases the session."""
        self.binding.close()
        self._session.close()


def _recorded(
    binding: ort.Binding,
    inferences: int,
    nodes: NodeTable | None,
    folder: Path,
    process: int,
    rows: Callable[[str], int] = row_of,
) -> OrtTrace:
    """Profiles this many inferences, and deletes the files; ``rows`` as in ``reader.read``."""
    files: list[reader.TraceFile] = []
    try:
        for number in range(inferences):
            zero_ns = ort.monotonic_ns()
            path = profile_once(binding, folder, f"ort-{process}-{number}")
            files.append(reader.TraceFile(path, zero_ns))
        return reader.read(files, nodes, process=process, rows=rows)
    finally:
        for file in files:
            file.path.unlink(missing_ok=True)
