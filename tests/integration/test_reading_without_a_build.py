"""What shows a file needs no native module, no ONNX Runtime and no onnx."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.command import REPOSITORY

SAMPLE = REPOSITORY / "profiles" / "sample.h5"

#: As if neither were installed, whatever the interpreter that runs the tests has.
WITHOUT = """
import sys

class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("onnx", "onnxruntime"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Refused())
"""


@pytest.fixture(scope="module")
def unbuilt(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment in which ``harness`` is a copy of the sources, with nothing compiled."""
    folder = tmp_path_factory.mktemp("unbuilt")
    sources = shutil.ignore_patterns("*.so", "__pycache__")
    shutil.copytree(REPOSITORY / "harness", folder / "harness", ignore=sources)
    assert not list(folder.rglob("*.so"))
    (folder / "sitecustomize.py").write_text(WITHOUT)
    return {**os.environ, "PYTHONPATH": str(folder)}


def python(environment: dict[str, str], folder: Path, *arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "command",
    [
        ("show", SAMPLE),
        ("show", SAMPLE, "--json"),
        ("ops", SAMPLE, "--by", "layer"),
        ("ops", SAMPLE, "--json"),
        ("ops", SAMPLE, "--by", "kernel"),
        ("compare", SAMPLE, SAMPLE),
        ("compare", SAMPLE, SAMPLE, "--json"),
        ("report", SAMPLE, "-o", "page.html"),
        ("history", SAMPLE, "-o", "history.html", "--bencher", "bencher.json"),
        ("report", SAMPLE, SAMPLE, "-o", "pages.html"),
        ("study", SAMPLE, "-o", "study.html", "--csv", "study.csv"),
        ("trace", SAMPLE, "-o", "t.json"),
        ("trace", SAMPLE, "-o", "t.pftrace.gz"),
        ("export", SAMPLE, "--csv", "s.csv", "--jsonl", "s.jsonl", "--pyperf", "p.json"),
    ],
    ids=lambda command: " ".join(Path(word).name for word in command),
)
def test_commands_that_show_a_file(
    unbuilt: dict[str, str], tmp_path: Path, command: tuple[object, ...]
) -> None:
    shown = python(unbuilt, tmp_path, "-m", "harness", *command)
    assert shown or list(tmp_path.iterdir())


def test_a_list_of_profiles(unbuilt: dict[str, str], tmp_path: Path) -> None:
    shutil.copy(SAMPLE, tmp_path / "kept.h5")
    for _ in range(2):  # without an index, and with one
        assert "kept.h5" in python(unbuilt, tmp_path, "-m", "harness", "list", ".")


def test_a_script_that_reads_a_profile(unbuilt: dict[str, str], tmp_path: Path) -> None:
    script = (
        "import harness, sys; profile = harness.read_profile(sys.argv[1]);"
        "print(harness.__file__, len(profile.processes), len(profile.to_pandas()['operators']))"
    )
    file, processes, operators = python(unbuilt, tmp_path, "-c", script, SAMPLE).split()
    assert file == str(Path(unbuilt["PYTHONPATH"]) / "harness" / "__init__.py")
    assert int(processes) > 1
    assert int(operators) == 3


def test_measuring_says_in_one_line_that_it_is_not_built(
    unbuilt: dict[str, str], tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "harness", "profile", "mlp"],
        cwd=tmp_path,
        env=unbuilt,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 3
    assert done.stderr.splitlines()[-1].endswith("(python -m pip install -e .)"), done.stderr


def test_doctor_still_tells_of_the_machine(unbuilt: dict[str, str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "harness", "doctor", "--json"],
        cwd=tmp_path,
        env=unbuilt,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (3, "")
    told = {one["name"]: one for one in json.loads(done.stdout)["findings"]}
    for name in ("ONNX Runtime", "CPU energy", "GPU sampling (NVML)"):
        assert "native module does not load" in told[name]["detail"]
    assert told["Memory"]["detail"]
    assert "time.monotonic_ns" in told["Clock"]["detail"]
