"""A profile of a device from its request to its summary, with the CPU's provider in its place."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import harness as package
from harness.analysis.ceilings import Ceilings

if TYPE_CHECKING:
    from tests.integration.command import Harness

#: CUDA's provider is the CPU's in every process; waiting for the device gives way to others. Small
#: work for the ceilings.
STAND_IN = """
import sys
if any(one.split(".")[0] == "harness" for one in sys.orig_argv):
    import ctypes, dataclasses
    from harness.ort.providers import cpu, cuda

    cuda.PROVIDER = dataclasses.replace(
        cpu.PROVIDER, name="cuda", title="stand-in", memory="device", tf32_option="use_tf32",
        precision_options=("use_tf32",),
        synchronise=lambda: ctypes.cast(ctypes.CDLL(None).sched_yield, ctypes.c_void_p).value,
    )
    if "harness.measuring.worker" in sys.orig_argv:
        from harness.measuring import device_ceilings

        device_ceilings.measure.__defaults__ = (64,), (2**14,)
"""


def test_a_profile_of_a_device_carries_ceilings_gpu_and_precision(
    surroundings: dict[str, str], harness: Harness, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(STAND_IN)
    path = os.pathsep.join((str(tmp_path), surroundings["PYTHONPATH"]))
    done = subprocess.run(
        [
            *(sys.executable, "-m", "harness", "profile", "mlp", "--provider", "cuda"),
            *("--processes", "1", "--duration", "0.05", "-o", "out.h5"),
        ],
        cwd=tmp_path,
        env={**surroundings, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = package.read_profile(tmp_path / "out.h5")
    facts = {one.name: one for one in found.environment}
    for name in ("add", "relu", "matmul_float32", "matmul_tf32", "matmul_int8"):
        one = facts[f"ceiling_device_{name}"]
        assert one.value is not None or "the machine was busy" in one.reason
    half = facts["ceiling_device_matmul_float16"].reason
    assert half == "stand-in has no such kernel: ONNX Runtime executes Cast, MatMul"
    assert facts["ceiling_device_l2_bytes"].value is None
    assert "ceiling_copy" in facts, "the host's, for nodes on the CPU"
    assert Ceilings.of(found).peaks.keys() <= {"float32"}
    # Without a driver nothing tells which GPU it was.
    assert facts["gpu_used"].value is None
    assert "libcuda" in facts["gpu_used"].reason
    assert dict(found.absent)["gpu"] == facts["gpu_used"].reason
    # Its nodes ran on the CPU, which computes in the model's types.
    assert facts["precision"].reason == "the operations of no node on the device are known"
    told = json.loads(harness("show", "out.h5", "--json").stdout)
    assert told["gpu"]["index"] is None
    assert told["precision"]["shares"] == {}
    assert "gpu        not known which" in harness("show", "out.h5").stdout
