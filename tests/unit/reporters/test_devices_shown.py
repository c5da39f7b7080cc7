"""What is said of a device's arithmetic: in the summary, in JSON and on the page."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

import numpy as np
import pytest

from harness.analysis.operators.table import OperatorTable, operator_table
from harness.records import Profile, Reading
from harness.reporters.html import page
from harness.reporters.scripts.profile import summary_text
from harness.reporters.terminal.operators import print_operators
from harness.reporters.terminal.summary import print_summary
from tests.builders.device_records import kernels, timeline
from tests.builders.node_events import events
from tests.builders.node_tables import table
from tests.builders.process_records import process, profile


def measured(provider: str = "cuda", **columns: Any) -> Profile:
    """A product of 4 TFLOP that the host launches in 5 µs and the device computes in 20 ms."""
    placed = {"cuda": "CUDAExecutionProvider", "cpu": "CPUExecutionProvider"}[provider]
    nodes = table(
        [-1],
        op_type=("MatMul",),
        provider=(placed,),
        flops=np.array([4_000_000_000_000]),
        traffic_bytes=np.array([40_000_000_000]),
        arithmetic=("float32",),
    )
    facts = (
        Reading("gpu_count", 2, "1"),
        Reading("gpu_used", 1, "1"),
        Reading("gpu0_name", "NVIDIA H200"),
        Reading("gpu1_name", "NVIDIA L4"),
        Reading("provider_options_CUDA", "use_tf32=1"),
        Reading("ceiling_matmul_float32", 1e12, "flop/s"),
        Reading("ceiling_copy", 1e11, "bytes/s"),
        Reading("ceiling_device_matmul_tf32", 400e12, "flop/s"),
        Reading("ceiling_device_add", 4e12, "bytes/s"),
        Reading("ceiling_device_relu", 4e12, "bytes/s"),
    )
    values: dict[str, Any] = {
        "provider": provider,
        "nodes": nodes,
        "environment": facts,
        "traces": {"ort": events([(0, 0, 0, 5_000, 5_000)], [(0, 0, 6_000)])},
    }
    if provider == "cuda":
        values["kernels"] = kernels(("s1688gemm", 0, 100, 20_000_000))
    return dataclasses.replace(profile(process([21_000_000] * 5)), **(values | columns))


def test_the_summary_says_in_which_precision_it_ran(capsys: pytest.CaptureFixture[str]) -> None:
    print_summary(measured())
    told = " ".join(capsys.readouterr().out.split())
    assert "precision tf32 for 100% of the operations" in told
    assert "use_tf32=1" in told
    print_summary(measured("cpu"))
    assert "precision" not in capsys.readouterr().out


def test_scripts_are_told_the_same() -> None:
    assert json.loads(summary_text(measured()))["precision"] == {
        "shares": {"tf32": 1.0},
        "untold": 0.0,
        "options": {"use_tf32": "1"},
        "reason": "",
    }
    assert "precision" not in json.loads(summary_text(measured("cpu")))


def test_what_a_cuda_graph_gains_is_told_or_why_that_is_not_known(
    capsys: pytest.CaptureFixture[str],
) -> None:
    gained = measured(replay=timeline([], [], [7_000_000] * 3))
    print_summary(gained)
    told = " ".join(capsys.readouterr().out.split())
    assert "with enable_cuda_graph=1 7.00 ms instead of 21.0 ms" in told
    assert json.loads(summary_text(gained))["captured_graph"] == {
        "option": "enable_cuda_graph=1",
        "plain_ns": pytest.approx(21e6),
        "captured_ns": pytest.approx(7e6),
        "processes": 1,
    }
    print_summary(measured())
    assert "enable_cuda_graph" not in capsys.readouterr().out
    without = json.loads(summary_text(measured()))
    assert without["captured_graph"] is None
    assert "no captured graph was tried" in without["captured_graph_reason"]
    assert "captured_graph" not in json.loads(summary_text(measured("cpu")))


def test_accounts_of_replays_are_called_so(capsys: pytest.CaptureFixture[str]) -> None:
    took_ns = 21_000_000
    replay = timeline([("s1688gemm", 0)], [(5, took_ns, [(1_000, 20_000_000)])], [took_ns])
    session = {"provider_options": {"enable_cuda_graph": "1"}}
    captured = measured(replay=replay, config=json.dumps({"session": session}))
    told = operator_table(captured)
    assert isinstance(told, OperatorTable)
    print_operators(told, 1)
    assert "replaying the graph: before its first work" in " ".join(capsys.readouterr().out.split())
    assert "which replay a captured graph as the timed pass does" in page([captured])
    assert "which replay a captured graph" not in page([measured()])


def test_the_page_says_it_next_to_the_machine() -> None:
    assert "tf32 for 100% of the operations" in page([measured()])
    assert "of the operations, " not in page([measured("cpu")])


def test_speeds_of_a_device_are_by_the_time_of_kernels(capsys: pytest.CaptureFixture[str]) -> None:
    found = operator_table(measured())
    assert isinstance(found, OperatorTable)
    print_operators(found, 0, work=True)
    told = capsys.readouterr().out
    assert "200,000" in told, "GFLOP/s: 4 TFLOP in 20 ms, not in 5 µs"
    assert "50%" in told


def test_the_roofline_of_a_device_has_its_lines_and_no_others() -> None:
    text = page([measured()]).replace("\u00a0", " ")
    assert "tf32 matrix product, measured: 400 TFLOP/s" in text
    assert "device memory, measured: 4 TB/s" in text
    assert "DRAM, measured" not in text, "the host's"
    assert "200 TFLOP/s at 100 operations per byte" in text
    assert "The lines are what the device reached" in text


def test_discs_of_a_device_are_as_large_as_their_kernels_are_long() -> None:
    one = measured()
    assert one.nodes is not None
    nodes = table(
        [-1, -1],
        op_type=("MatMul",) * 2,
        provider=one.nodes.provider * 2,
        flops=np.array([4_000_000_000_000] * 2),
        traffic_bytes=np.array([40_000_000_000] * 2),
        arithmetic=("float32",) * 2,
    )
    # The host takes as long to launch the one as the other.
    trace = events([(0, 0, 0, 5_000, 5_000), (1, 0, 5_000, 5_000, 5_000)], [(0, 0, 11_000)])
    work = kernels(("s1688gemm", 0, 100, 300_000_000), ("s1688gemm", 1, 300_000_200, 100_000_000))
    text = page([dataclasses.replace(one, nodes=nodes, traces={"ort": trace}, kernels=work)])
    radii = [float(found) for found in re.findall(r'r="([0-9.]+)" class="bound', text)]
    assert radii == pytest.approx([26 * 0.75**0.5, 13], abs=0.1)


def test_the_page_of_a_device_without_kernels_draws_no_disc() -> None:
    text = page([measured(kernels=None)])
    assert "or what they took on the device." in text
    assert "operations per byte" not in text


def test_the_roofline_of_the_host_ignores_what_a_file_tells_of_a_device() -> None:
    text = page([measured("cpu")])
    assert "float32 matrix product, measured" in text
    assert "tf32 matrix product" not in text


def test_of_several_gpus_the_one_that_was_used_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    print_summary(measured())
    assert "NVIDIA L4 (gpu1 of 2)" in capsys.readouterr().out
    assert json.loads(summary_text(measured()))["gpu"]["index"] == 1
    text = page([measured()])
    assert "NVIDIA L4 (gpu1 of 2)" in text
    assert re.search(r'class="big long">[^<]*(<[^>]*>)?[^<]*NVIDIA L4', text), "heads its card"
    print_summary(measured("cpu"))
    assert "gpu" not in capsys.readouterr().out
