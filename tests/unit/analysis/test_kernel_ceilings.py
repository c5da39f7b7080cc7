"""Shares of the device's ceilings by kernel: what was recorded on an H200, by ceilings of there."""

from __future__ import annotations

import csv
import dataclasses
import io
import json

import numpy as np
import pytest

from harness.analysis.gpu_work import Kernel, KernelTable
from harness.analysis.kernel_ceilings import OWN, PART, judged_kernels
from harness.analysis.operators.table import OperatorTable, operator_table
from harness.records import Profile
from harness.reporters.html import page
from harness.reporters.scripts.profile import kernels_text
from harness.reporters.scripts.tables import kernels_csv
from harness.reporters.terminal.operators import print_kernels
from harness.statistics.figures import Figure
from tests.builders.recordings import PROFILES, on_both_clocks, recorded
from tests.unit.analysis.test_device_replayed import CEILINGS


def with_ceilings(profile: Profile) -> Profile:
    return dataclasses.replace(profile, environment=(*profile.environment, *CEILINGS))


def judged(profile: Profile) -> KernelTable:
    found = judged_kernels(profile)
    assert isinstance(found, KernelTable)
    return found


def one(table: KernelTable, part: str) -> Kernel:
    return next(row for row in table.kernels if part in row.name)


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("of", [recorded, on_both_clocks])
def test_the_kernels_have_the_whole_work_of_the_nodes_and_no_more(name: str, of: object) -> None:
    assert callable(of)
    profile = with_ceilings(of(name))
    kernels = profile.kernels
    assert kernels is not None
    table, operators = judged(profile), operator_table(profile)
    assert isinstance(operators, OperatorTable)
    count = len(np.unique(np.column_stack([kernels.process, kernels.inference]), axis=0))
    known = {row.name: row for row in table.kernels if row.work}
    took_ns = dict.fromkeys(known, 0.0)
    for called, one_ns in zip(kernels.name, kernels.duration_ns.tolist(), strict=True):
        if called in took_ns:
            took_ns[called] += one_ns / count
    for share in ("peak_share", "bandwidth_share"):
        least_ns = sum((getattr(row, share) or 0.0) * took_ns[row.name] for row in known.values())
        rows = [row for row in operators.operators if getattr(row, share) is not None]
        whole_ns = sum(getattr(row, share) * row.work_ns for row in rows)
        assert 0 < least_ns <= whole_ns * 1.001
        every = {row.bandwidth_share is not None for row in known.values()}
        if share == "peak_share" or every == {True}:
            assert least_ns >= whole_ns * 0.5


@pytest.mark.parametrize("name", PROFILES)
def test_no_kernel_is_above_the_ceilings_of_its_device(name: str) -> None:
    for row in judged(with_ceilings(recorded(name))).kernels:
        assert row.peak_share is None or 0 <= row.peak_share <= 1
        assert row.bandwidth_share is None or 0 <= row.bandwidth_share <= 1
        assert bool(row.work) != bool(row.ceilings_reason) or row.kind != "kernel"


def test_the_only_kernel_of_a_node_does_its_work() -> None:
    profile = with_ceilings(recorded("resnet50"))
    relu = one(judged(profile), "OP_Relu")
    assert (relu.work, relu.bandwidth_share) == (OWN, pytest.approx(0.28, abs=0.02))
    operators = operator_table(profile)
    assert isinstance(operators, OperatorTable)
    rows = [row for row in operators.operators if row.op_type == "Relu"]
    least_ns = sum((row.bandwidth_share or 0) * (row.work_ns or 0) for row in rows)
    took_ns = sum(row.work_ns or 0 for row in rows)
    assert relu.bandwidth_share == pytest.approx(least_ns / took_ns, rel=1e-6)


def test_operations_are_those_of_the_kernels_in_the_nodes_type() -> None:
    table = judged(with_ceilings(recorded("resnet50")))
    tf32 = one(table, "tf32f32_tf32f32_f32_nhwckrsc")
    assert tf32.work == PART
    assert tf32.peak_share is not None
    assert tf32.peak_share > 0.01
    rearranged = one(table, "nchwToNhwcKernel")
    assert (rearranged.peak_share, rearranged.work) == (None, PART)
    assert rearranged.bandwidth_share is not None
    # Where no kernel tells a narrower type, they share the operations by time.
    plain = one(table, "implicit_convolve_sgemm")
    assert plain.peak_share == pytest.approx(0.21, abs=0.03)


def test_why_a_kernel_has_no_share() -> None:
    whole = recorded("mlp")
    reasons = {row.ceilings_reason for row in judged(whole).kernels if row.kind == "kernel"}
    assert reasons == {"the ceilings of the device were not measured"}
    assert whole.kernels is not None
    lost = dataclasses.replace(whole.kernels, dropped=3)
    rows = judged(with_ceilings(dataclasses.replace(whole, kernels=lost))).kernels
    assert "3 records of kernels were lost" in {row.ceilings_reason for row in rows}
    relu = [n for n, name in enumerate(whole.kernels.name) if "OP_Relu" in name]
    node = whole.kernels.node[:].copy()
    node[relu[0]] = -1
    strayed = dataclasses.replace(whole.kernels, node=node)
    row = one(judged(with_ceilings(dataclasses.replace(whole, kernels=strayed))), "OP_Relu")
    assert row.ceilings_reason == "some of it belongs to no node whose work is known"
    untraced = judged(with_ceilings(dataclasses.replace(whole, traces={}))).kernels
    reason = "probes time nodes on the CPU, and some run on CUDAExecutionProvider"
    assert {row.ceilings_reason for row in untraced if row.kind == "kernel"} == {reason}
    assert isinstance(judged_kernels(dataclasses.replace(whole, kernels=None)), Figure)
    assert {row.ceilings_reason for row in rows if row.kind != "kernel"} == {""}


def test_what_is_printed_and_written(capsys: pytest.CaptureFixture[str]) -> None:
    table = judged(with_ceilings(recorded("resnet50")))
    print_kernels(table, 0)
    out = " ".join(capsys.readouterr().out.split())
    assert "of peak" in out
    assert "~5%" in out
    assert "~: a part of its nodes' work" in out
    print_kernels(judged(recorded("resnet50")), 0)
    out = " ".join(capsys.readouterr().out.split())
    assert "of peak" not in out
    assert "no shares of ceilings: the ceilings of the device were not measured" in out
    told = json.loads(kernels_text(table))["kernels"]
    assert {row["work"] for row in told} == {"", OWN, PART}
    rows = list(csv.DictReader(io.StringIO(kernels_csv(table))))
    assert float(rows[0]["peak_share"]) == pytest.approx(told[0]["peak_share"])
    source = page([with_ceilings(recorded("resnet50"))])
    assert "by kernel (23)" in source
    assert "~: a part of its nodes&#x27; work" in source
