"""What a GPU did, by kernel and by node: hand-made kernels of two inferences."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from harness.analysis import gpu_work as tables
from harness.analysis.gpu_work import KernelTable
from harness.records import Profile
from harness.reporters.scripts.profile import kernels_text
from harness.reporters.scripts.tables import kernels_csv
from harness.reporters.terminal.operators import print_kernels
from harness.statistics.figures import Figure
from tests.builders.device_records import kernels, timeline
from tests.builders.node_tables import table
from tests.builders.process_records import process, profile


@pytest.fixture
def measured() -> Profile:
    # Node 0 launches gemm twice and copies, node 1 relu; one gemm of no node; one outside.
    work = kernels(
        ("gemm", 0, 100, 30),
        ("gemm", 0, 140, 10),
        ("HtoD", 0, 145, 20),
        ("relu", 1, 200, 5),
        ("gemm", 0, 1000, 40),
        ("gemm", -1, 1060, 20),
        ("relu", 1, 1100, 5),
        ("late", -1, 5000, 9),
        kind=("kernel", "kernel", "memcpy", "kernel", "kernel", "kernel", "kernel", "kernel"),
        inference=np.array([0, 0, 0, 0, 1, 1, 1, -1], np.int32),
        unjoined_reason="2 of 8 belong to no node",
        disagreements=1,
    )
    nodes = table([-1, -1], name=("fc", ""), op_type=("Gemm", "Relu"))
    return dataclasses.replace(profile(process([100])), nodes=nodes, kernels=work, provider="cuda")


def found(measured: Profile) -> KernelTable:
    seen = tables.kernel_table(measured)
    assert isinstance(seen, KernelTable)
    return seen


def test_kernels_are_summed_by_inference(measured: Profile) -> None:
    seen = found(measured)
    assert [(row.name, row.kind, row.median_ns, row.calls) for row in seen.kernels] == [
        ("gemm", "kernel", 50, 2),
        ("HtoD", "memcpy", 10, 0.5),
        ("relu", "kernel", 5, 1),
    ]
    gemm, _, relu = seen.kernels
    assert (gemm.nodes, gemm.unjoined) == (("fc",), 1 / 4)
    assert relu.nodes == ("Relu #1",)
    assert sum(row.share for row in seen.kernels) == pytest.approx(1)
    assert seen.inferences == 2
    assert seen.joined == pytest.approx((30 + 10 + 20 + 5 + 40 + 5) / 130)


def test_overlapping_work_is_busy_once(measured: Profile) -> None:
    seen = found(measured)
    # 100-130, 140-150 and 145-165 overlap, 200-205: 30 + 25 + 5. 1000-1040, 1060-1080, 1100-1105.
    assert seen.busy_ns == (60 + 65) / 2


def test_gaps_under_the_profiler_are_no_idle_time(measured: Profile) -> None:
    seen = found(measured)
    assert seen.idle_ns is None
    assert seen.idle_reason.endswith("without a pass for the device's times alone: profile again")
    work = tables.node_work(measured)
    assert work is not None
    assert work.idle_ns is None


def test_a_pass_for_times_alone_tells_how_long_the_gpu_waits(measured: Profile) -> None:
    times = timeline([("gemm", 0), ("relu", 1)], [(0, 100, [(10, 20), (50, 5)])], [100])
    timed = dataclasses.replace(process([100]), enqueue_ns=np.array([50]))
    measured = dataclasses.replace(measured, timeline=times, processes=(timed,))
    seen = found(measured)
    assert (seen.busy_ns, seen.idle_ns, seen.idle_reason) == (25, 20, "")
    # Without a timed pass to hold them against they are doubtful, and then not told plainly.
    doubtful = found(dataclasses.replace(measured, processes=(process([100]),)))
    assert (doubtful.busy_ns, doubtful.idle_ns) == (25, None)
    assert "no timed pass, resident" in doubtful.idle_reason
    work = tables.node_work(measured)
    assert work is not None
    assert (work.kernel_ns.tolist(), work.launches.tolist()) == ([20, 5], [1, 1])
    assert tables.occupation(measured) == (2, 25)


def test_nodes_get_the_work_that_they_launched(measured: Profile) -> None:
    work = tables.node_work(measured)
    assert work is not None
    assert work.kernel_ns.tolist() == [(60 + 40) / 2, 5]
    assert work.launches.tolist() == [2, 1]
    assert tables.node_work(dataclasses.replace(measured, kernels=None)) is None


def test_why_there_are_none() -> None:
    none = profile(process([100]))
    assert tables.kernel_table(none) == Figure(None, "the provider is cpu, which uses no GPU")
    failed = profile(process([100]), absent=(("trace/kernels", "no CUPTI"),), provider="cuda")
    assert tables.kernel_table(failed) == Figure(None, "no CUPTI")


def test_what_is_printed(measured: Profile, capsys: pytest.CaptureFixture[str]) -> None:
    print_kernels(tables.kernel_table(measured), 2)
    out = capsys.readouterr().out
    assert "gemm" in out
    assert "1 more: --limit 0 shows all" in out
    assert "2 of 8 belong to no node" in out
    print_kernels(Figure(None, "no CUPTI"), 2)
    assert capsys.readouterr().out == "no kernels: no CUPTI\n"
    told = json.loads(kernels_text(found(measured)))
    assert told["kernels"][0]["name"] == "gemm"
    assert kernels_csv(found(measured)).splitlines()[1].startswith("gemm,kernel,50.0,")
