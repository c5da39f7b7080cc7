"""libonnxruntime, and sessions of models written in ONNX's text form."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx.parser
import pytest

from harness.native import ort
from harness.ort.library import ort_library

CHECKOUT = Path(__file__).parents[2]


def model_bytes(graph: str, opset: int = 21) -> bytes:
    """A model of ``(inputs) => (outputs) {nodes}``."""
    imports = f'["" : {opset}, "ai.onnx.ml" : 1]'
    model = onnx.parser.parse_model(f"<ir_version: 10, opset_import: {imports}> g {graph}")
    serialized: bytes = model.SerializeToString()
    return serialized


@pytest.fixture(scope="session")
def library_path() -> str:
    return str(ort_library())


@pytest.fixture(scope="session")
def library(library_path: str) -> ort.Library:
    return ort.Library(library_path)


@pytest.fixture
def model() -> Callable[..., bytes]:
    return model_bytes


@pytest.fixture
def session(library: ort.Library) -> Iterator[Callable[..., ort.Session]]:
    """Opens sessions of such models; the test's end closes them."""
    with contextlib.ExitStack() as opened:

        def open_session(graph: str, opset: int = 21, **options: Any) -> ort.Session:
            made = ort.Session(library, model_bytes(graph, opset), intra_threads=1, **options)
            opened.callback(made.close)
            return made

        yield open_session


@pytest.fixture
def infer(session: Callable[..., ort.Session]) -> Callable[..., list[Any]]:
    """Outputs of such a model after three inferences of the same inputs."""

    def outputs(graph: str, inputs: dict[str, Any], opset: int = 21) -> list[Any]:
        with contextlib.closing(session(graph, opset).bind(inputs)) as binding:
            for _ in range(3):
                binding.run()
            return binding.outputs()

    return outputs


@pytest.fixture
def interpreter(
    library_path: str, tmp_path: Path
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs code in a Python of its own, with LIBRARY, MODEL (a path) and ort defined."""

    def execute(code: str, graph: str, **environ: str) -> subprocess.CompletedProcess[str]:
        path = tmp_path / "model.onnx"
        path.write_bytes(model_bytes(graph))
        given = (
            f"from harness.native import ort\nLIBRARY, MODEL = {library_path!r}, {str(path)!r}\n"
        )
        return subprocess.run(
            [sys.executable, "-c", given + code],
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "PYTHONPATH": str(CHECKOUT), **environ},
            check=False,
        )

    return execute
