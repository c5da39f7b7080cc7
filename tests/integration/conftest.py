"""The command in a folder of its own, a tiny model, and a profile to look at."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from tests.integration import fork_server
from tests.integration.command import REPOSITORY, Harness, Recorded, execute

#: Leaves what a Python process had imported, and its environment, when it ends.
WITNESS = """
import atexit, json, os, sys

def tell():
    seen = {"argv": sys.orig_argv, "modules": sorted(sys.modules), "environ": dict(os.environ)}
    with open(os.path.join(os.environ["WITNESS"], f"{os.getpid()}.json"), "w") as sink:
        json.dump(seen, sink)

atexit.register(tell)
"""


@pytest.fixture(scope="session")
def surroundings() -> dict[str, str]:
    """Environment of the commands: theirs is the width of a pipe, and they find harness."""
    inherited = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    return {**inherited, "PYTHONPATH": str(REPOSITORY)}


@pytest.fixture
def harness(tmp_path: Path, surroundings: dict[str, str]) -> Harness:
    """``harness ARGUMENTS`` in tmp_path."""

    def command(*arguments: object) -> subprocess.CompletedProcess[str]:
        return fork_server.execute(*arguments, folder=tmp_path, environment=surroundings)

    return command


@pytest.fixture
def python_m_harness(tmp_path: Path, surroundings: dict[str, str]) -> Harness:
    """``python -m harness ARGUMENTS`` in tmp_path, where the start of Python matters."""

    def command(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
        return execute(*arguments, folder=tmp_path, environment=surroundings, **options)

    return command


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sum of x (n x 4) and y (n x 4), both float32, without a weight."""

    def value(name: str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4])

    node = helper.make_node("Add", ["x", "y"], ["z"], name="sum")
    graph = helper.make_graph([node], "tiny", [value("x"), value("y")], [value("z")])
    path = tmp_path_factory.mktemp("models") / "tiny.onnx"
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory, surroundings: dict[str, str]) -> Recorded:
    """A profile to look at; nobody may change it."""
    folder, witness, told = (tmp_path_factory.mktemp(name) for name in ("rec", "witness", "told"))
    (witness / "sitecustomize.py").write_text(WITNESS)
    environment = {
        **surroundings,
        "PYTHONPATH": os.pathsep.join((str(witness), surroundings["PYTHONPATH"])),
        "WITNESS": str(told),
        "OMP_NUM_THREADS": "3",
        "LD_LIBRARY_PATH": str(witness),
    }
    outcome = execute(
        *("profile", "mlp", "--quick", "--processes", "2", "--duration", "0.1", "--json"),
        *("--output", "mlp.h5"),
        folder=folder,
        environment=environment,
    )
    assert outcome.returncode == 0, outcome.stderr
    seen = [json.loads(path.read_text()) for path in told.iterdir()]
    return Recorded(folder / "mlp.h5", outcome, seen)
