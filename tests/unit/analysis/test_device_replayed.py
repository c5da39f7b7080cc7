"""Precision, GPU and classes of what was recorded on an H200, by ceilings measured there."""

from __future__ import annotations

import dataclasses

import pytest

from harness.analysis.gpu_work import kernel_table
from harness.analysis.operators.table import OperatorTable, operator_table
from harness.analysis.precision import Precision, precision
from harness.analysis.used_gpu import used_gpu
from harness.records import Profile, Reading, RepeatedTexts
from tests.builders.recordings import PROFILES, recorded

#: What a trial reached there through ONNX Runtime (docs/GPU.md), and the L2 cache of an H200.
CEILINGS = tuple(
    Reading(f"ceiling_device_{name}", value)
    for name, value in {
        "matmul_tf32": 393e12,
        "matmul_float32": 50.8e12,
        "add": 4.32e12,
        "relu": 4.13e12,
        "l2_bytes": 50 * 2**20,
    }.items()
)


def table(profile: Profile) -> OperatorTable:
    found = operator_table(profile)
    assert isinstance(found, OperatorTable)
    return found


@pytest.mark.parametrize(("name", "tf32"), [("resnet50", 0.94), ("bert-small", 0.99), ("mlp", 0.0)])
def test_the_kernels_tell_how_much_ran_in_tf32(name: str, tf32: float) -> None:
    seen = precision(recorded(name))
    assert isinstance(seen, Precision)
    assert seen.shares.get("tf32", 0) == pytest.approx(tf32, abs=0.01)
    assert sum(seen.shares.values()) == pytest.approx(1)
    assert seen.options == {"use_tf32": "1"}


@pytest.mark.parametrize("name", PROFILES)
def test_names_that_were_stored_once_each_tell_the_same(name: str) -> None:
    profile = recorded(name)
    assert profile.kernels is not None
    columns = {
        column: RepeatedTexts.of(getattr(profile.kernels, column)) for column in ("kind", "name")
    }
    assert len(columns["name"].distinct) < len(profile.kernels) / 5
    once = dataclasses.replace(profile, kernels=dataclasses.replace(profile.kernels, **columns))
    assert precision(once) == precision(profile)
    assert kernel_table(once) == kernel_table(profile)
    assert operator_table(once) == operator_table(profile)


@pytest.mark.parametrize("name", PROFILES)
def test_the_only_gpu_of_these_files_is_the_one(name: str) -> None:
    gpu = used_gpu(recorded(name))
    assert gpu is not None
    assert (gpu.index, gpu.name, gpu.driver) == (0, "NVIDIA H200", "580.159.04")


@pytest.mark.parametrize("name", PROFILES)
def test_the_cpus_ceilings_class_no_node_on_the_gpu(name: str) -> None:
    profile = recorded(name)
    assert any(one.name == "ceiling_matmul_float32" for one in profile.environment)
    found = table(profile)
    rows = [row for row in found.operators if row.provider == "CUDAExecutionProvider"]
    assert rows
    assert not {"compute-bound", "memory-bound", "overhead-bound"} & {row.bound for row in rows}
    assert all(row.peak_share is None and row.bandwidth_share is None for row in rows)
    assert "the ceilings of the device were not measured" in found.ceilings_absent


@pytest.mark.parametrize("name", PROFILES)
def test_no_node_is_above_the_ceilings_of_its_device(name: str) -> None:
    profile = recorded(name)
    profile = dataclasses.replace(profile, environment=(*profile.environment, *CEILINGS))
    rows = [row for row in table(profile).operators if row.provider == "CUDAExecutionProvider"]
    assert all(row.peak_share is None or row.peak_share <= 1 for row in rows)
    assert not [row.why for row in rows if "above its ceiling" in row.why]
    classed = {row.bound for row in rows}
    assert name != "resnet50" or {"compute-bound", "memory-bound"} & classed
