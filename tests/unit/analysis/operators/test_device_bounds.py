"""Classes of nodes on a device: by its own ceilings and the time of kernels, or not at all."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from harness.analysis.operators.table import Operator, OperatorTable, operator_table
from harness.records import Profile, Reading
from tests.builders.device_records import kernels
from tests.builders.node_events import events
from tests.builders.node_tables import table
from tests.builders.process_records import process, profile

#: What would class the same nodes on the host: a slow machine.
HOST = (
    Reading("ceiling_matmul_float32", 1e9, "flop/s"),
    Reading("ceiling_copy", 1e9, "bytes/s"),
)
DEVICE = (
    Reading("ceiling_device_matmul_float32", 50e12, "flop/s"),
    Reading("ceiling_device_matmul_tf32", 400e12, "flop/s"),
    Reading("ceiling_device_add", 4e12, "bytes/s"),
    Reading("ceiling_device_relu", 3e12, "bytes/s"),
    Reading("ceiling_device_l2_bytes", 50_000_000, "bytes"),
)
EXECUTIONS = [(0, 0, 0, 20_000_000, 20_000_000), (1, 0, 20_000_000, 5_000, 5_000)]
TF32_GEMM = "sm80_xmma_gemm_f32f32_tf32f32_f32_nn_n_tilesize32x32x64"


def measured(*facts: Reading, **columns: Any) -> Profile:
    """A product of 20 ms and a stream over 400 MB of 5 µs on the host, 1 ms of kernels each."""
    nodes = table(
        [-1, -1],
        op_type=("MatMul", "Relu"),
        provider=("CUDAExecutionProvider",) * 2,
        flops=np.array([200_000_000_000, 100_000_000]),
        traffic_bytes=np.array([300_000_000, 3_200_000_000]),
        activation_bytes=np.array([200_000_000, 1_600_000_000]),
        output_bytes=np.array([100_000_000, 1_600_000_000]),
        parameter_bytes=np.array([0, 0]),
        arithmetic=("float32",) * 2,
    )
    work = kernels((TF32_GEMM, 0, 1000, 1_000_000), ("relu<float>", 1, 2_000_000, 1_000_000))
    values = {
        "nodes": nodes,
        "kernels": work,
        "provider": "cuda",
        "environment": facts,
        "traces": {"ort": events(EXECUTIONS, [(0, 0, 21_000_000)])},
    }
    return dataclasses.replace(profile(process([30_000_000] * 5)), **(values | columns))


def rows(of: Profile) -> list[Operator]:
    found = operator_table(of, sort="order")
    assert isinstance(found, OperatorTable)
    return list(found.operators)


def test_kernel_times_stand_against_the_devices_ceilings() -> None:
    product, relu = rows(measured(*HOST, *DEVICE))
    assert (product.bound, relu.bound) == ("compute-bound", "memory-bound")
    assert product.peak_share == pytest.approx(0.5), "of TF32, in which its kernel multiplies"
    assert relu.bandwidth_share == pytest.approx(0.8), "of the faster stream"
    assert product.why.startswith("kernels of 1 ms: compute 50% of peak")
    assert "of device memory bandwidth" in relu.why
    assert "dispatch" not in relu.why, "the host's, which the kernels know nothing of"


def test_the_hosts_ceilings_say_nothing_about_a_device() -> None:
    for row in rows(measured(*HOST)):
        assert row.bound == "unknown"
        assert (row.peak_share, row.bandwidth_share) == (None, None)
        assert "(ceiling not measured)" in row.why
    found = operator_table(measured(*HOST))
    assert isinstance(found, OperatorTable)
    assert found.ceilings_absent == ("the ceilings of the device were not measured",)


def test_without_kernel_times_there_is_no_class() -> None:
    for row in rows(measured(*HOST, *DEVICE, kernels=None)):
        assert row.bound == "unknown"
        assert row.why == (
            "the times of its kernels were not recorded, and the host only launches them"
        )


def test_lost_records_leave_no_class() -> None:
    whole = measured(*DEVICE)
    assert whole.kernels is not None
    for row in rows(measured(*DEVICE, kernels=dataclasses.replace(whole.kernels, dropped=3))):
        assert (row.bound, row.why) == (
            "unknown",
            "3 records of kernels were lost, perhaps of its own",
        )


def test_a_node_that_launches_nothing_has_no_class() -> None:
    product, relu = rows(measured(*DEVICE, kernels=kernels((TF32_GEMM, 0, 1000, 1_000_000))))
    assert product.bound == "compute-bound"
    assert (relu.bound, relu.why) == ("unknown", "it launched no kernel")


def test_a_node_on_the_cpu_beside_a_device_is_judged_by_the_host() -> None:
    on_device = measured(*HOST, *DEVICE)
    assert on_device.nodes is not None
    placed = ("CUDAExecutionProvider", "CPUExecutionProvider")
    nodes = dataclasses.replace(on_device.nodes, provider=placed)
    product, relu = rows(dataclasses.replace(on_device, nodes=nodes))
    assert product.bound == "compute-bound"
    assert "of device memory" not in relu.why
    assert relu.work_ns == relu.median_ns == 5_000, "its own time"
    assert relu.peak_share == pytest.approx(1e8 / 5e-6 / 1e9), "of the host's float32"


def test_data_that_may_have_come_from_the_devices_cache_leaves_the_class_open() -> None:
    small = measured(*DEVICE)
    assert small.nodes is not None
    moved = np.array([300_000_000, 20_000_000])
    half = moved // 2
    nodes = dataclasses.replace(
        small.nodes, traffic_bytes=moved, activation_bytes=half, output_bytes=half
    )
    work = kernels((TF32_GEMM, 0, 1000, 1_000_000), ("relu<float>", 1, 2_000_000, 6_000))
    _, relu = rows(dataclasses.replace(small, nodes=nodes, kernels=work))
    assert relu.bound == "unknown"
    assert "the class depends on which cache served its data" in relu.why


def test_float32_that_may_be_tf32_has_no_peak_unless_its_kernel_tells() -> None:
    silent = kernels(("mystery", 0, 1000, 1_000_000), ("relu<float>", 1, 2_000_000, 1_000_000))
    product, _ = rows(measured(*DEVICE, kernels=silent))
    assert (product.bound, product.peak_share) == ("unknown", None)
    off = Reading("provider_options_CUDA", "device_id=0;use_tf32=0")
    product, _ = rows(measured(*DEVICE, off, kernels=silent))
    assert product.peak_share == pytest.approx(4), "float32 for certain"
