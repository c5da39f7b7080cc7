"""The tests that need a GPU, rehearsed without one: their own code must not fail there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def gpu_tests(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-o", "addopts=", "-p", "no:cacheprovider", "-qrs"),
            *("-m", "gpu", "tests/gpu", *map(str, arguments)),
        ],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "HARNESS_GPU_BUNDLE"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def test_a_rehearsal_holds_ends_with_a_line_of_figures_and_leaves_a_bundle(tmp_path: Path) -> None:
    done = gpu_tests("--rehearse", "--bundle", tmp_path, "-k", "not b32")
    assert done.returncode == 0, done.stdout
    assert "figures of a rehearsal, which measure no GPU" in done.stdout
    (line,) = [line for line in done.stdout.splitlines() if " held | at most: " in line]
    held = re.match(r"(\d+) of (\d+) held", line)
    assert held is not None
    assert held[1] == held[2]
    for part in (
        "a probe", "host residual", "device residual", "residual of replays", "not joined 0.00%",
        "sampler", "Test Double L4", "mlp batch 1", "→",
    ):  # fmt: skip
        assert part in line
    (bundle,) = tmp_path.glob("gpu-recordings-*.tar.gz")
    with tarfile.open(bundle) as archive:
        names = set(archive.getnames())
    # What cut.py reads, and what the figures were taken from.
    assert {"mlp.h5", "cupti-records.npz", "figures.txt", "mlp.html", "mlp-ops.txt"} <= names
    assert {"mlp-b1.h5", "mlp-b1-graph.h5", "mlp-b1.json", "mlp-graph.h5"} <= names


def test_without_a_gpu_they_are_skipped_with_the_reason() -> None:
    if any(Path("/dev").glob("nvidia[0-9]*")):
        pytest.skip("there is a GPU")
    done = gpu_tests("-k", "meters or captured_graph_has")
    assert done.returncode == 0, done.stdout
    assert "no usable GPU: " in done.stdout
    assert "passed" not in done.stdout
