"""``profile --runtime``: another runtime by the same discipline.

With a double of PyTorch everywhere; with the real ones where they are installed.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.commands.command_line import main
from harness.storage.profile_file import read_outline, read_profile
from tests.doubles import PYTORCH
from tests.integration.command import REPOSITORY, execute

if TYPE_CHECKING:
    from tests.integration.command import Harness, Recorded

pytest.importorskip("harness.native.ort", reason="the native module is not built")

SHORT = ("--quick", "--processes", "2", "--duration", "0.02", "--threads", "1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runtimes")


@pytest.fixture(scope="module")
def doubled(surroundings: dict[str, str]) -> dict[str, str]:
    """Environment in which PyTorch and onnx2torch are doubles."""
    return {**surroundings, "PYTHONPATH": os.pathsep.join((str(PYTORCH), str(REPOSITORY)))}


@pytest.fixture(scope="module")
def measured(folder: Path, doubled: dict[str, str]) -> subprocess.CompletedProcess[str]:
    arguments = ("profile", "mlp", *SHORT, "--runtime", "torch", "--output", "torch.h5", "--json")
    outcome = execute(*arguments, folder=folder, environment=doubled)
    assert outcome.returncode == 0, outcome.stderr
    return outcome


def test_the_runtime_and_how_far_its_outputs_are_is_told(
    measured: subprocess.CompletedProcess[str],
) -> None:
    told = json.loads(measured.stdout)
    used = told["runtime"]
    assert (used["name"], used["version"], used["threads"]) == ("torch", "2.99.0-double", 1)
    assert 0 <= used["output_relative_error"] < 1e-5
    assert used["output_cosine"] > 0.999999
    assert used["loop_ns"] > 0
    assert told["latency"]["processes"] == 2
    assert told["operators"] == []
    assert "PyTorch ran this model" in told["operators_reason"]


def test_a_file_says_what_ran_the_model(
    measured: subprocess.CompletedProcess[str], folder: Path
) -> None:
    profile = read_profile(folder / "torch.h5")
    assert (profile.asked.runtime, dict(profile.asked.runtime_options)) == ("torch", {})
    assert (profile.provider, profile.nodes, dict(profile.traces)) == ("cpu", None, {})
    for process in profile.processes:
        assert len(process.steady) > 0
        assert "call of the model in Python" in process.duration_holds
        assert min(process.library_ns, process.session_ns, process.first_inference_ns) > 0
        assert len(process.yardstick.start_ns) > 0
    assert read_outline(folder / "torch.h5").facts["runtime_version"] == "2.99.0-double"
    # What ONNX Runtime placed where is not what was timed.
    assert not [one for one in profile.environment if one.name.startswith("nodes_on")]


def test_it_is_compared_with_onnx_runtime_but_not_its_operators(
    measured: subprocess.CompletedProcess[str],
    folder: Path,
    recorded: Recorded,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["compare", str(recorded.file), str(folder / "torch.h5"), "--no-history"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "changed session --runtime: ort → torch" in told
    assert "beware different runtimes, ort and torch: ratios compare these" in told
    assert "different runtimes: their operators are not the same things" in told
    assert re.search("(SLOWER|FASTER|SAME|UNDECIDED): ", told)


def test_summaries_pages_and_lists_name_it(
    measured: subprocess.CompletedProcess[str],
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file, page = str(folder / "torch.h5"), tmp_path / "page.html"
    assert main(["show", file]) == 0
    shown = capsys.readouterr().out
    assert "mlp on cpu with torch, 1 thread" in shown
    assert re.search("outputs (agree with|equal) ONNX Runtime's", shown)
    assert main(["list", str(folder)]) == 0
    assert "runtime=torch" in capsys.readouterr().out
    assert main(["report", file, "--output", str(page)]) == 0
    assert "on cpu with torch" in page.read_text()


def test_a_model_that_it_computes_otherwise_is_refused(
    folder: Path, doubled: dict[str, str]
) -> None:
    outcome = execute(
        *("profile", "mlp", *SHORT, "--runtime", "torch", "--output", "no.h5"),
        folder=folder,
        environment={**doubled, "FAULT": "outputs"},
    )
    assert outcome.returncode == 2
    said = "mlp: PyTorch disagrees with ONNX Runtime: output 0 differs by up to"
    assert said in outcome.stderr
    assert not (folder / "no.h5").exists()


def test_a_runtime_that_is_not_there_ends_the_command_at_once(
    harness: Harness, tmp_path: Path
) -> None:
    missing = next(
        (
            name
            for name, package in (("torch", "onnx2torch"), ("openvino", "openvino"))
            if importlib.util.find_spec(package) is None
        ),
        None,
    )
    if missing is None:
        pytest.skip("all runtimes are installed")
    outcome = harness("profile", "mlp", "--runtime", missing)
    assert outcome.returncode == 3
    assert f"python -m pip install 'onnx-harness[{missing}]'" in outcome.stderr
    assert not (tmp_path / "profiles").exists()


@pytest.mark.parametrize(
    ("runtime", "package"), [("openvino", "openvino"), ("torch", "onnx2torch")]
)
def test_the_real_one_agrees_and_is_timed_on_the_same_clock(
    harness: Harness, tmp_path: Path, runtime: str, package: str
) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    outcome = harness(
        "profile", "mlp", *SHORT, "--runtime", runtime, "--output", "real.h5", "--json"
    )
    assert outcome.returncode == 0, outcome.stderr
    used: dict[str, Any] = json.loads(outcome.stdout)["runtime"]
    assert used["output_relative_error"] < 1e-5
    for process in read_profile(tmp_path / "real.h5").processes:
        start_ns, duration_ns = process.steady.start_ns, process.steady.duration_ns
        assert (duration_ns > 0).all()
        assert (start_ns[1:] >= (start_ns + duration_ns)[:-1]).all()
        # Between the two measurements of the yardstick, which stand around the timed pass.
        stamps = process.yardstick.start_ns
        assert stamps[0] < start_ns[0]
        assert start_ns[-1] < stamps[-1]
