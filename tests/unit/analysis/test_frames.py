"""``Profile.to_pandas`` and ``Profile.to_xarray``."""

from __future__ import annotations

import dataclasses
import runpy
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from harness.errors import MachineError
from harness.records import Stacks, WallTime
from harness.storage import profile_file
from harness.storage.assembly import merge_timelines
from tests.builders.device_records import kernels, series, timeline
from tests.builders.process_records import latencies, process, profile

pandas = pytest.importorskip("pandas")
xarray = pytest.importorskip("xarray")

if TYPE_CHECKING:
    from harness.records import Profile

ROOT = Path(__file__).parents[3]
GOLDEN = runpy.run_path(str(ROOT / "tests" / "golden" / "make_profile_v1.py"))


@pytest.fixture
def golden() -> Profile:
    return GOLDEN["golden_profile"]()


@pytest.fixture
def with_gpu(golden: Profile) -> Profile:
    """With devices, kernels, stacks, and what only a GPU's processes have."""
    first = golden.processes[0]
    first = dataclasses.replace(
        first, enqueue_ns=first.steady.duration_ns // 2, copied=latencies([5000, 6000])
    )
    return dataclasses.replace(
        golden,
        processes=(first, *golden.processes[1:]),
        devices=(
            series("gpu0", "power_instant_mw", [(5, 72_000), (15, 71_000)], unit="mW"),
            series("gpu0", "energy_mj", [(5, 0)], unit="mJ", double=True),
        ),
        stacks=Stacks(("a;b", "c"), np.array([3, 1]), 100, native=True, failed=2),
        kernels=kernels(("gemm", 1, 10, 5), ("orphan", -1, 20, 7), unjoined_reason="no id"),
    )


def test_the_times_of_a_gpu_are_rows(golden: Profile) -> None:
    parts = [
        timeline([("gemm", 1), ("copy", -1)], [(5, 30, [(10, 5), (20, 7)])], [29], process=index)
        for index in (0, 1)
    ]
    frame = dataclasses.replace(golden, timeline=merge_timelines(parts)).to_pandas()["timeline"]
    assert frame.process.tolist() == [0, 0, 1, 1]
    assert frame.inference.tolist() == [0, 0, 2, 2]
    assert frame.launch.tolist() == [0, 1, 0, 1]
    assert frame.name.tolist() == ["gemm", "copy"] * 2
    assert frame.node.isna().tolist() == [False, True] * 2
    assert (frame.start_ns - frame.inference_start_ns).tolist() == [5, 15, 5, 15]
    assert frame.attrs["units"]["inference_duration_ns"] == "ns"
    with pytest.raises(KeyError, match="not in this profile"):
        golden.to_pandas()["timeline"]


def test_the_times_of_a_replayed_graph_are_rows_or_their_reason_is_told(golden: Profile) -> None:
    replay = timeline([("gemm", 1)], [(5, 30, [(10, 5)])], [29])
    frame = dataclasses.replace(golden, replay=replay).to_pandas()["replay"]
    assert (frame.name.tolist(), frame.start_ns.tolist()) == (["gemm"], [10])
    why = (("trace/replay", "kernels of the replayed graph: not told"),)
    total = dataclasses.replace(golden, replay=timeline([], [], [29]), absent=why)
    with pytest.raises(KeyError, match="kernels of the replayed graph: not told"):
        total.to_pandas()["replay"]


def test_stretches_of_the_wall_time_are_rows(golden: Profile) -> None:
    one = np.array([7])
    held = WallTime(("request",), np.array([-1], np.int32), one, one, one, 1, 20)
    frame = dataclasses.replace(golden, wall_time=held).to_pandas()["wall_time"]
    assert list(frame) == ["part", "process", "start_ns", "duration_ns", "cpu_ns"]
    assert frame.process.isna().all()
    assert (frame.attrs["began_ns"], frame.attrs["ended_ns"]) == (1, 20)


def test_every_sample_is_a_row(golden: Profile) -> None:
    samples = golden.to_pandas()["samples"]
    assert list(samples) == ["process", "pass", "inference", "start_ns", "duration_ns"]
    assert samples.attrs["units"] == {"start_ns": "ns", "duration_ns": "ns"}
    assert samples.duration_ns.dtype == np.int64
    counts = samples.groupby(["process", "pass"], observed=True).size().to_dict()
    assert counts == {(0, "timed"): 200, (1, "warm-up"): 2, (1, "timed"): 200}
    second = samples[(samples["process"] == 1) & (samples["pass"] == "timed")]
    np.testing.assert_array_equal(second.duration_ns, golden.processes[1].steady.duration_ns)
    np.testing.assert_array_equal(second.inference, np.arange(200))


def test_a_process_is_a_row_with_its_median(golden: Profile) -> None:
    processes = golden.to_pandas()["processes"]
    assert processes.index.name == "process"
    assert processes.session_ns.to_list() == [2_500_000, 2_500_001]
    medians = [np.median(one.steady.duration_ns) for one in golden.processes]
    assert processes.median_ns.to_list() == medians


def test_what_is_not_there_is_neither_zero_nor_minus_one(golden: Profile) -> None:
    frames = golden.to_pandas()
    nodes = frames["nodes"]
    assert nodes.loc[1, "flops"] is pandas.NA
    assert nodes.flops.sum() == 16 + 8
    assert nodes.parent.isna().to_list() == [True, True, True, False]
    assert nodes.depth.to_list() == [0, 0, 0, 1]
    environment = frames["environment"]
    lacking = environment[environment.value.isna()]
    assert set(lacking.index) == {one.name for one in golden.environment if one.value is None}
    assert (lacking.reason != "").all()
    values = dict(zip(environment.index, environment.value, strict=True))
    assert all(type(values[one.name]) is type(one.value) for one in golden.environment)


def test_events_of_all_traces_stand_together(golden: Profile) -> None:
    frames = golden.to_pandas()
    events, probe, ort = frames["events"], golden.traces["probe"], golden.traces["ort"]
    assert events.trace.value_counts().to_dict() == {"probe": len(probe), "ort": len(ort)}
    own = events[events.trace == "ort"]
    np.testing.assert_array_equal(own.self_ns, ort.self_ns)
    for name in {*ort.details, *probe.details}:
        known = np.concatenate(
            [each.details[name] for each in (probe, ort) if name in each.details]
        )
        assert events[name].count() == np.count_nonzero(known != -1)
    inferences = frames["inferences"]
    assert inferences.trace.value_counts().to_dict() == {
        name: len(each.inference_number) for name, each in golden.node_traces.items()
    }


def test_operators_are_those_of_the_table(golden: Profile) -> None:
    from harness.analysis.operators.table import OperatorTable, operator_table

    table = operator_table(golden)
    assert isinstance(table, OperatorTable)
    operators = golden.to_pandas()["operators"]
    assert operators.node.to_list() == [row.node for row in table.operators]
    assert operators.median_ns.to_list() == [row.median_ns for row in table.operators]
    assert operators.share.sum() == pytest.approx(1)
    assert operators.kernel_ns.isna().all()  # no GPU: not zero
    assert operators.attrs["doubt"] == table.accounts.doubt
    assert operators.attrs["source"] == table.source


def test_a_gpu_has_its_columns_and_frames(with_gpu: Profile) -> None:
    frames = with_gpu.to_pandas()
    samples = frames["samples"]
    timed = samples[(samples["pass"] == "timed") & (samples["process"] == 0)]
    np.testing.assert_array_equal(timed.enqueue_ns, with_gpu.processes[0].enqueue_ns)
    assert samples[samples["pass"] == "copied"].duration_ns.to_list() == [5000, 6000]
    assert samples[samples["pass"] == "copied"].enqueue_ns.isna().all()

    devices = frames["devices"]
    power = devices[devices.quantity == "power_instant_mw"]
    assert (power.value.to_list(), set(power.unit)) == ([72_000, 71_000], {"mW"})
    assert devices.groupby("quantity", observed=True)["double"].all().to_dict() == {
        "energy_mj": True,
        "power_instant_mw": False,
    }
    work = frames["kernels"]
    assert work.node.isna().to_list() == [False, True]
    assert work.grid_x.to_list() == [8, 8]
    assert work.attrs["unjoined_reason"] == "no id"
    assert frames["stacks"].attrs["failed"] == 2


def test_a_frame_without_data_is_missing_with_the_reason() -> None:
    bare = profile(
        process([5, 6, 7]), absent=(("trace/probe", "the model is a test"), ("nodes", "as well"))
    )
    frames = bare.to_pandas()
    assert set(frames) == {
        *("samples", "processes", "inputs", "environment", "noise", "absent"),
    }
    assert len(frames) == 6
    assert "operators" not in frames
    assert frames.get("devices") is None
    for name, reason in (
        ("operators", "the model is a test"),
        ("events", "the model is a test"),
        ("nodes", "as well"),
        ("kernels", "which uses no GPU"),
        ("stacks", "measured without `stacks`"),
        ("wall_time", "file of an older version"),
    ):
        with pytest.raises(KeyError, match=reason):
            frames[name]
    with pytest.raises(KeyError, match="no such frame, the frames are samples"):
        frames["latency"]


def test_a_profile_without_processes_has_empty_samples() -> None:
    frames = profile().to_pandas()
    assert (len(frames["samples"]), len(frames["processes"]), len(frames["noise"])) == (0, 0, 0)


def test_a_frame_is_made_once_and_only_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.analysis import frames as module

    made = []

    def spy(name: str) -> object:
        maker = module._MAKERS[name]
        return lambda profile: (made.append(name), maker(profile))[1]

    monkeypatch.setattr(module, "_MAKERS", {name: spy(name) for name in module._MAKERS})
    frames = profile(process([5, 6])).to_pandas()
    assert "samples" in repr(frames)
    assert made == []
    assert frames["samples"] is frames["samples"]
    assert made == ["samples"]


@pytest.mark.parametrize("which", ["golden", "with_gpu"])
def test_the_tree_is_the_file(which: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    kept = request.getfixturevalue(which)
    profile_file.write_profile(kept, tmp_path / "a.h5")
    tree = kept.to_xarray()
    with xarray.open_datatree(tmp_path / "a.h5", engine="h5netcdf") as opened:
        xarray.testing.assert_identical(tree, opened.load())
    steady = tree["processes/000/latency"]
    assert steady.duration_ns.dims == ("sample",)
    assert steady.duration_ns.attrs["units"] == "ns"
    assert steady.start_ns.attrs["long_name"] == "CLOCK_MONOTONIC before the inference"


def test_the_tree_is_of_the_records_and_not_of_the_file_they_came_from(golden: Profile) -> None:
    fewer = dataclasses.replace(
        profile_file.read_profile(GOLDEN["GOLDEN"]), processes=golden.processes[:1]
    )
    assert list(fewer.to_xarray()["processes"].children) == ["000"]


@pytest.mark.parametrize("package", ["pandas", "xarray"])
def test_a_missing_package_is_named_with_the_way_out(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MachineError, match=f"to_{package} needs {package}") as raised:
        getattr(profile(), f"to_{package}")()
    assert raised.value.remedy == f"python -m pip install {package}"


def test_importing_harness_costs_no_array_library_and_no_native_module() -> None:
    code = (
        "import sys, harness; "
        "print(*sorted({name.partition('.')[0] for name in sys.modules}), "
        "*sorted(name for name in sys.modules if name.startswith('harness.')))"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"numpy", "pandas", "xarray", "h5py", "onnx", "scipy"} & set(told)
    assert not [name for name in told if name.startswith("harness.")]
