"""Building and packing for a machine that reaches no package registry."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What building needs of the project, without anything that was built."""
    copy = tmp_path / "checkout"
    shutil.copytree(ROOT / "ext", copy / "ext")
    shutil.copytree(ROOT / "tests" / "gpu", copy / "tests" / "gpu")
    shutil.copy(ROOT / "setup.py", copy)
    (copy / "harness" / "native").mkdir(parents=True)
    return copy


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Python without Cython and setuptools."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=False)
    return str(folder / "bin" / "python")


def build(checkout: Path, python: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [checkout / "tests" / "gpu" / "build.sh", python],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_every_module_is_compiled_as_setup_py_says_by_a_python_without_cython(
    checkout: Path, bare_python: str
) -> None:
    asked = subprocess.run([bare_python, "-c", "import Cython"], capture_output=True)
    assert asked.returncode != 0
    modules = {path.stem: path for path in (ROOT / "ext").glob("*/*.pyx")}
    for path in modules.values():
        made = checkout / "build" / "cython" / path.relative_to(ROOT).with_suffix(".c")
        made.parent.mkdir(parents=True, exist_ok=True)
        made.touch()
    compiler = checkout / "compiler"
    compiler.write_text('#!/bin/sh\necho "$*" >> "$(dirname "$0")/calls-$$"\n')
    compiler.chmod(0o700)
    done = build(checkout, bare_python, CC=str(compiler))
    assert done.returncode == 0, done.stderr
    calls = [path.read_text() for path in checkout.glob("calls-*")]
    assert len(calls) == len(modules)
    for name, path in modules.items():
        (call,) = [one for one in calls if f"-o harness/native/{name}." in one]
        assert f"build/cython/ext/{name}/{name}.c" in call
        for source in path.parent.glob("*.c"):
            assert f" ext/{name}/{source.name}" in call
    assert "-O3" in next(one for one in calls if "bandwidth" in one)


def test_c_that_is_missing_and_c_that_does_not_compile_are_told(
    checkout: Path, bare_python: str
) -> None:
    done = build(checkout, bare_python)
    assert (done.returncode, done.stdout) == (1, "")
    assert "is missing: python -m pip install --editable ." in done.stderr
    for path in (ROOT / "ext").glob("*/*.pyx"):
        made = checkout / "build" / "cython" / path.relative_to(ROOT).with_suffix(".c")
        made.parent.mkdir(parents=True, exist_ok=True)
        made.touch()
    done = build(checkout, bare_python, CC="false")
    assert done.returncode == 1
    assert done.stderr.endswith("a native module did not compile\n")


def test_a_pack_without_c_is_refused(checkout: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [checkout / "tests" / "gpu" / "pack.sh", tmp_path / "packed"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "python -m pip install --editable ." in done.stderr


@pytest.mark.slow
def test_a_packed_checkout_is_built_and_loads(bare_python: str, tmp_path: Path) -> None:
    if not (ROOT / "build" / "cython").is_dir():
        pytest.skip("harness was not installed from this folder: build/cython holds no C")
    pack = [ROOT / "tests" / "gpu" / "pack.sh", tmp_path / "packed"]
    subprocess.run(pack, check=True, capture_output=True)
    code = f"""
set -e
PATH={Path(bare_python).parent}:$PATH
source {tmp_path}/packed/unpack.sh {tmp_path}/packed {tmp_path}/there
export PYTHONPATH=$PYTHONPATH:{":".join(sys.path)}
python3 -c 'from harness.native import cupti, marks, ort, probe, sampler; print(ort.__file__)'
"""
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert f"{tmp_path}/there/project/harness/native/ort." in done.stdout
