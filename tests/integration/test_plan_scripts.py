"""The scripts in ``profiles/plans``: each cell of a plan is handed out once."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness.options import words
from harness.study.sweeps.cells import cells_of
from harness.study.sweeps.plan import read_plan
from tests.integration.command import REPOSITORY

PLANS = REPOSITORY / "profiles" / "plans"


def cells(plan: str) -> int:
    return len(cells_of(read_plan(PLANS / plan, words())))


@pytest.fixture
def surrounded(tmp_path: Path) -> dict[str, str]:
    """Environment with harness, and doubles of what reaches other machines: they note it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    noted = tmp_path / "noted"
    for name, text in {
        "harness": f'exec "{sys.executable}" -m harness "$@"',
        "sbatch": f'printf "%s\\n" "$*" >> "{noted}"',
        "ssh": f'printf "%s\\n" "$*" >> "{noted}"',
        "rsync": "exit 0",
    }.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    path = os.pathsep.join((str(folder), os.environ["PATH"]))
    return {**os.environ, "PATH": path, "PYTHONPATH": str(REPOSITORY)}


def noted(folder: Path, surrounded: dict[str, str], script: str, *arguments: str) -> str:
    done = subprocess.run(
        ["bash", PLANS / script, *arguments],
        cwd=folder, env=surrounded, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return (folder / "noted").read_text()


def test_the_job_of_kubernetes_has_an_index_for_each_cell() -> None:
    text = (PLANS / "kubernetes.yaml").read_text()
    (plan,) = set(re.findall(r"[\w-]+\.toml", text))
    for name in ("completions", "maxFailedIndexes"):
        assert re.findall(rf"^  {name}: (\d+)", text, re.MULTILINE) == [str(cells(plan))], name


def test_the_array_of_slurm_has_a_task_for_each_cell(
    tmp_path: Path, surrounded: dict[str, str]
) -> None:
    plan = PLANS / "cpu-scaling.toml"
    told = noted(tmp_path, surrounded, "slurm.sh", str(plan), "results", "--time=1")
    assert f"--array=1-{cells(plan.name)} --exclusive --time=1 --wrap harness sweep" in told


def test_hosts_of_ssh_share_the_cells(tmp_path: Path, surrounded: dict[str, str]) -> None:
    pytest.importorskip("harness.native.ort", reason="the native module is not built")
    plan = str(PLANS / "quick.toml")
    told = noted(tmp_path, surrounded, "ssh.sh", plan, "results", "one", "two")
    numbers = [int(one) for one in re.findall(r"--cell (\d+)", told)]
    assert sorted(numbers) == list(range(1, cells("quick.toml") + 1))
    on_one = re.findall(r"^-n one .*--cell (\d+)", told, re.MULTILINE)
    assert {int(number) % 2 for number in on_one} == {1}
