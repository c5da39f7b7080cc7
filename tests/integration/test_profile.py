"""``harness profile``: what it measures, prints and leaves, seen from outside."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import harness as package
from harness.config.inputs import InputRequest
from harness.config.profile import ProfileConfig
from harness.config.session import SessionConfig
from harness.storage import folder, index
from tests.integration.fork_server import execute

if TYPE_CHECKING:
    from tests.integration.command import Harness, Recorded

pytest.importorskip("harness.native.ort", reason="the native module is not built")

REPOSITORY = Path(__file__).parents[2]

#: Options of the shortest profile there is.
SHORT = ("--quick", "--processes", "1", "--duration", "0.02", "--trace", "none")


def test_one_file_is_left_and_named(recorded: Recorded) -> None:
    # Other tests compare it, which leaves an index.
    left = {path.name for path in recorded.file.parent.iterdir()} - {index.NAME, folder.NAMES}
    assert left == {"mlp.h5"}
    assert json.loads(recorded.outcome.stdout)["file"] == "mlp.h5"


def test_progress_goes_to_stderr_and_says_what_is_fed_and_how_long_it_takes(
    recorded: Recorded,
) -> None:
    lines = recorded.outcome.stderr.splitlines()
    assert lines[0] == "loading and trying out mlp"
    assert lines[1].startswith("feeding input: float32 1x64; ")
    assert lines[2].startswith("measuring 2 processes, about ")
    assert len(lines) == 3


@pytest.mark.slow
def test_processes_are_added_until_the_precision_is_reached(
    harness: Harness, tmp_path: Path
) -> None:
    common = ("profile", "mlp", "--duration", "0.02", "--trace", "none", "--quiet")
    done = harness(*common, "--precision", "99", "-o", "reached.h5")
    assert done.returncode == 0, done.stderr
    reached = package.read_profile(tmp_path / "reached.h5")
    assert (len(reached.processes), reached.complete) == (10, True)
    assert [process.index for process in reached.processes] == list(range(10))
    assert "±99 % asked for was reached after 10 processes" in harness("show", "reached.h5").stdout
    for wrong in ("--precision", "--budget"):
        refused = harness(*common, wrong, "0")
        assert (refused.returncode, wrong in refused.stderr) == (2, True)


def test_json_keeps_the_contract(recorded: Recorded) -> None:
    report = json.loads(recorded.outcome.stdout)
    assert report.keys() >= {
        "file", "complete", "model", "provider", "latency", "cold_start", "inputs", "operators",
        "noise", "energy",
    }  # fmt: skip
    assert report["complete"] is True
    assert report["provider"] == "cpu"
    assert report["model"]["name"] == "mlp"
    assert len(report["model"]["sha256"]) == 64

    latency = report["latency"]
    # On a busy machine the samples may be worth too few for a percentile.
    known = [latency[name] for name in ("min_ns", "median_ns", "p90_ns", "p99_ns")]
    known = [value for value in known if value is not None]
    assert known == sorted(known)
    low, high = latency["interval_ns"]
    assert 0 < low <= high  # two processes may agree to the nanosecond, or not at all
    assert latency["processes"] == 2
    assert report["cold_start"]["session_ns"] > report["cold_start"]["first_inference_ns"] > 0

    (fed,) = report["inputs"]
    assert (fed["name"], fed["shape"], fed["dtype"]) == ("input", [1, 64], "float32")
    assert "batch" in fed["chosen_because"]

    assert report["noise"].keys() == {
        "verdict", "causes", "samples", "touched", "throttled", "waited", "sampler", "yardstick",
        "unusable",
    }  # fmt: skip
    for row in report["operators"]:
        assert row.keys() >= {
            "node", "op_type", "provider", "median_ns", "share", "calls", "source",
        }  # fmt: skip
    assert {row["op_type"] for row in report["operators"]} >= {"Gemm"}
    assert sum(row["share"] for row in report["operators"]) == pytest.approx(1)
    assert report["energy"] is None
    assert report["energy_reason"]


def test_every_sample_is_in_the_file_in_the_order_it_was_taken(recorded: Recorded) -> None:
    profile = package.read_profile(recorded.file)
    assert [process.index for process in profile.processes] == [0, 1]
    assert len({process.pid for process in profile.processes}) == 2
    end_ns = 0
    for process in profile.processes:
        # --quick takes three values of so many loops, after one of warm-up.
        assert len(process.steady) == 3 * process.loops
        assert len(process.warmup) == process.loops
        for series in (process.warmup, process.steady):
            assert series.start_ns[0] >= end_ns, "processes and passes follow one another"
            assert (series.duration_ns > 0).all()
            ends_ns = series.start_ns + series.duration_ns
            assert (ends_ns[:-1] <= series.start_ns[1:]).all()
            end_ns = int(ends_ns[-1])
        assert process.library_ns > 0
        assert process.session_ns > 0
        assert process.first_inference_ns > int(np.median(process.steady.duration_ns))
        (wall,) = (reading.value for reading in process.noise if reading.name == "wall_ns")
        assert wall >= end_ns - process.steady.start_ns[0]
    samples = sum(len(process.steady) for process in profile.processes)
    assert json.loads(recorded.outcome.stdout)["latency"]["samples"] == samples


def test_the_trace_follows_the_timed_pass(recorded: Recorded) -> None:
    profile = package.read_profile(recorded.file)
    trace = profile.traces["ort"]
    for process in profile.processes:
        timed_end_ns = process.steady.start_ns[-1] + process.steady.duration_ns[-1]
        assert (trace.start_ns[trace.process == process.index] > timed_end_ns).all()
        assert (trace.inference_process == process.index).sum() == 10


@pytest.fixture(scope="module")
def five(
    tmp_path_factory: pytest.TempPathFactory, surroundings: dict[str, str], tiny_model: Path
) -> Path:
    """A profile of five processes, one of which makes no traced pass."""
    folder = tmp_path_factory.mktemp("five")
    outcome = execute(
        *("profile", "mlp", "--quick", "--processes", "5", "--duration", "0.02"),
        *("--trace-inferences", "2", "--quiet", "--output", "five.h5"),
        folder=folder,
        environment=surroundings,
    )
    assert outcome.returncode == 0, outcome.stderr
    return folder / "five.h5"


def test_only_as_many_processes_trace_as_the_operators_need(
    five: Path, recorded: Recorded, harness: Harness
) -> None:
    profile = package.read_profile(five)
    assert profile.complete
    assert [process.index for process in profile.processes] == list(range(5))
    assert set(profile.traces["probe"].process.tolist()) == {0, 1, 2, 3}
    assert set(profile.traces["probe_calibration"].process.tolist()) == {0, 1, 2, 3}
    assert set(profile.traces["ort"].process.tolist()) == {0, 2}
    assert profile.nodes is not None
    assert not [what for what, _ in profile.absent if what.startswith("trace")]

    report = json.loads(harness("ops", "--json", five).stdout)
    rows = report["operators"]
    assert all(row["interval_ns"] is not None and row["profiled_ns"] > 0 for row in rows)
    # The processes that traced are held against their own timed passes.
    medians = [np.median(profile.processes[k].steady.duration_ns) for k in range(4)]
    clean_ns = np.exp(np.mean(np.log(medians)))
    assert report["accounts"]["clean_ns"] == pytest.approx(clean_ns)
    assert " of 4 processes)" in harness("ops", five).stdout
    assert "median of 5 processes" in harness("show", five).stdout
    compared = json.loads(harness("compare", five, recorded.file, "--json").stdout)
    assert len(compared["operators"]) == len(rows)
    assert compared["accounts"]["base"]["latency_ns"] == pytest.approx(clean_ns)


def test_the_parts_of_the_wall_time_add_up_to_that_of_the_command(
    five: Path, harness: Harness
) -> None:
    held = package.read_profile(five).wall_time
    assert held is not None
    end_ns = held.start_ns + held.duration_ns
    assert held.began_ns <= held.start_ns[0]
    assert end_ns.max() <= held.ended_ns
    assert (held.start_ns[1:] >= end_ns[:-1]).all(), "stretches do not overlap"
    for number in range(5):
        mine = [part for part, one in zip(held.part, held.process, strict=True) if one == number]
        assert mine[0] == "start"
        assert mine[-2:] == ["shard", "exit"]
        assert {"session", "first inference", "warm-up", "timed pass", "yardstick"} < set(mine)
        assert ("probes: inferences" in mine) == (number < 4)
        assert ("profiler: inferences" in mine) == (number in {0, 2})
    # They are graphs of the same files: whether they execute in order was looked at once.
    assert held.part.count("probes: order") == 1

    told = json.loads(harness("show", "--verbose", "--json", five).stdout)["wall_time"]
    parts = {one["name"]: one for one in told["parts"]}
    assert {"preparation: start", "calibration: session", "assembly"} < set(parts)
    assert parts["timed pass"]["processes"] == 5
    assert parts["probes: sessions"]["processes"] == 4
    clocked_ns = sum(one["duration_ns"] for one in told["parts"])
    assert clocked_ns + told["unaccounted_ns"] == told["duration_ns"]
    assert 0 <= told["unaccounted_ns"] < told["duration_ns"]
    timed_ns = sum(
        int(one.steady.start_ns[-1] + one.steady.duration_ns[-1] - one.steady.start_ns[0])
        for one in package.read_profile(five).processes
    )
    assert timed_ns < parts["timed pass"]["duration_ns"] + told["unaccounted_ns"]

    lines = harness("show", "--verbose", five).stdout.splitlines()
    assert any(line.endswith("  not accounted") for line in lines)
    assert lines[-1].endswith("  together")
    assert "wall time" not in harness("show", five).stdout
    assert "wall_time" not in json.loads(harness("show", "--json", five).stdout)


def test_the_wall_time_of_an_old_profile_is_absent_with_the_reason(harness: Harness) -> None:
    old = REPOSITORY / "tests" / "golden" / "profile_v1.h5"
    assert "  wall time  not recorded: file of an older version" in (
        harness("show", "--verbose", old).stdout
    )
    told = json.loads(harness("show", "--verbose", "--json", old).stdout)
    assert told["wall_time"] is None
    assert told["wall_time_reason"].startswith("not recorded: ")


def test_workers_have_the_callers_environment_and_one_ort_core(recorded: Recorded) -> None:
    workers = [seen for seen in recorded.seen if seen["argv"][1:3] != ["-m", "harness"]]
    prepared = [seen for seen in workers if "harness.measuring.worker" in seen["argv"]]
    measured = [seen for seen in workers if "harness.measuring.spawning" in seen["argv"]]
    calibrated = [seen for seen in workers if "harness.measuring.calibration" in seen["argv"]]
    assert (len(prepared), len(calibrated), len(measured)) == (1, 1, 2)
    command = next(seen for seen in recorded.seen if seen not in workers)
    for seen in workers:
        for name in ("OMP_NUM_THREADS", "LD_LIBRARY_PATH"):
            assert seen["environ"][name] == command["environ"][name]
        # Not the package's own folder: its statistics would hide the standard library's.
        assert seen["environ"]["PYTHONPATH"].split(os.pathsep)[0] == str(REPOSITORY)
        # Two ORT cores in one process break CUDA sessions.
        assert "harness.native.ort" in seen["modules"]
        assert "onnxruntime" not in seen["modules"]
    for seen in measured:
        assert not {"h5py", "onnx", "rich"} & set(seen["modules"])


def test_summary_without_interval_and_operators_says_why(
    harness: Harness, tiny_model: Path, tmp_path: Path
) -> None:
    outcome = harness("profile", tiny_model, *SHORT)
    assert outcome.returncode == 0, outcome.stderr
    (file,) = (tmp_path / "profiles").iterdir()
    assert file.name.startswith("tiny-cpu-")
    lines = outcome.stdout.splitlines()
    assert lines[0] == "tiny on cpu, threads chosen by ORT"
    assert lines[1].startswith("--quick: ")
    assert "median of 1 process, " in lines[2]
    assert "no confidence interval: one process cannot show" in lines[3]
    assert "  operators  none: no traced pass was asked for" in lines
    assert lines[-1] == f"  file       profiles/{file.name}"

    report = json.loads(harness("show", "--json", file).stdout)
    assert report["latency"]["interval_ns"] is None
    assert report["latency"]["interval_ns_reason"]
    assert report["operators"] == []
    assert report["operators_reason"] == "no traced pass was asked for"
    accounts = json.loads(harness("ops", "--json", file).stdout)["accounts"]
    assert accounts == {"framework_ns": None, "residual": None, "reason": accounts["reason"]}


def test_options_reach_the_measurement_and_the_file(
    harness: Harness, tiny_model: Path, tmp_path: Path
) -> None:
    np.save(tmp_path / "x.npy", np.full((5, 4), 2, np.float32))
    (tmp_path / "out.h5").write_text("an older file")
    cpu = str(min(os.sched_getaffinity(0)))
    outcome = harness(
        *("profile", tiny_model, *SHORT, "--quiet", "--force", "--output", "out.h5"),
        *("--input", "x=x.npy", "--dim", "n=5", "--affinity", cpu, "--optimization", "basic"),
    )
    assert (outcome.returncode, outcome.stdout, outcome.stderr) == (0, "out.h5\n", "")
    profile = package.read_profile(tmp_path / "out.h5")
    x, y = profile.inputs
    assert (x.shape, y.shape) == ((5, 4), (5, 4))
    assert "x.npy" in x.chosen_because
    assert "`dims`" in y.chosen_because
    config = json.loads(profile.config)
    assert config["inputs"]["dims"] == {"n": 5}
    assert config["session"]["optimization"] == "basic"
    # Left to itself ORT pins a thread to each CPU of the machine, whatever the affinity.
    assert config["session"]["intra_threads"] == 1
    assert profile.processes[0].metadata.get("cpu_affinity", cpu) == cpu


def test_more_threads_than_cpus_is_a_warning(
    harness: Harness, tiny_model: Path, tmp_path: Path
) -> None:
    threads = len(os.sched_getaffinity(0)) + 1
    outcome = harness("profile", tiny_model, *SHORT, "--quiet", "--threads", threads, "-o", "a.h5")
    assert (outcome.returncode, outcome.stdout) == (0, "a.h5\n")
    (warning,) = outcome.stderr.splitlines()
    assert warning.startswith(f"harness: warning: --threads {threads} on {threads - 1} CPU")
    config = json.loads(package.read_profile(tmp_path / "a.h5").config)
    assert config["session"]["intra_threads"] == threads


def test_profile_is_a_function_that_can_be_called_twice(tiny_model: Path, tmp_path: Path) -> None:
    def config(name: str, inputs: InputRequest) -> ProfileConfig:
        return ProfileConfig(
            str(tiny_model),
            SessionConfig(intra_threads=1),
            inputs,
            processes=1,
            duration_s=0.02,
            trace=(),
            output=tmp_path / f"{name}.h5",
        )

    data_set = tmp_path / "test_data_set_0"
    data_set.mkdir()
    tensors = {"input_0": 1.0, "input_1": 2.0, "output_0": 3.5}
    for name, number in tensors.items():
        tensor = numpy_helper.from_array(np.full((2, 4), number, np.float32), name)
        onnx.save_tensor(tensor, data_set / f"{name}.pb")

    shaped = package.profile(config("a", InputRequest(shapes={"x": (7, 4)})))
    checked = package.profile(config("b", InputRequest(data_set=data_set)))
    assert shaped.path == tmp_path / "a.h5"
    assert {record.shape for record in shaped.inputs} == {(7, 4)}
    assert shaped.output_check.value is None
    assert shaped.output_check.reason
    assert checked.complete
    assert {record.shape for record in checked.inputs} == {(2, 4)}
    assert checked.output_check.value == pytest.approx(0.5)
    # What is returned is what was stored.
    stored = package.read_profile(tmp_path / "b.h5")
    assert stored.inputs == checked.inputs
    assert stored.output_check == checked.output_check
    np.testing.assert_array_equal(
        stored.processes[0].steady.duration_ns, checked.processes[0].steady.duration_ns
    )
