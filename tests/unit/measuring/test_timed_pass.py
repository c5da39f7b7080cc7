"""One measuring process, in this one: what it leaves behind of what it measured."""

from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("harness.native.ort", reason="the native module is not built")

from harness.config.profile import ProfileConfig
from harness.errors import MachineError
from harness.measuring import preparation, prepared, timed_pass
from harness.measuring.handover import Job
from harness.measuring.timed_pass import Measurement
from harness.models import catalogue
from harness.native import ort
from harness.ort import providers
from harness.ort.library import ort_library
from harness.storage.shards import Shard

WARMUP, STEADY, INFERENCES = 1, 2, 50


@pytest.fixture
def job(tmp_path: Path) -> Job:
    model = tmp_path / "mlp.onnx"
    catalogue.write("mlp", model)
    config = ProfileConfig("mlp", quick=True, trace=("ort",), sample_hz=0)
    job = Job(config, ort_library(), model, "mlp", tmp_path, tmp_path, (0,))
    prepared.write(job, preparation.prepare(job))
    return job


class Failing:
    """A session, or a binding of it, whose device fails after so many inferences."""

    def __init__(self, real: Any, after: list[int]) -> None:
        self._real = real
        self._after = after

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def bind(self, *arguments: Any) -> Failing:
        return Failing(self._real.bind(*arguments), self._after)

    def run(self) -> int:
        self._after[0] -= 1
        if self._after[0] < 0:
            raise ECC
        return int(self._real.run())

    def time(self, *_: Any, **__: Any) -> None:
        raise ECC


ECC = ort.OrtError("CUDA failure 214: uncorrectable ECC error encountered ; GPU=0 ; hostname=x")
ECC.completed = 0


def test_a_device_that_fails_in_the_timed_pass_is_no_fault_of_the_model(job: Job) -> None:
    measurement = Measurement(job, 7, WARMUP, STEADY)
    measurement._binding = Failing(measurement._binding, [0])  # type: ignore[assignment]
    with pytest.raises(MachineError, match="CUDA failure 214: uncorrectable ECC error"):
        measurement.take(INFERENCES)


@pytest.mark.parametrize("after", [0, 2])
def test_nor_is_one_that_fails_in_the_preparation(
    job: Job, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    opening = preparation._open

    def opened(*arguments: Any, **more: Any) -> Any:
        found = opening(*arguments, **more)
        return found._replace(session=Failing(found.session, [after]))

    monkeypatch.setattr(preparation, "_open", opened)
    with pytest.raises(MachineError, match="CUDA failure 214: uncorrectable ECC error"):
        preparation.prepare(job)


def measured(job: Job, trace_inferences: int) -> Shard:
    measurement = Measurement(job, 7, WARMUP, STEADY)
    for _ in range(WARMUP + STEADY):
        assert measurement.take(INFERENCES) > 0
    return measurement.finish(INFERENCES, trace_inferences, 0, {"cpu_count": 1})


def test_a_process_keeps_every_sample_and_what_happened_once(job: Job) -> None:
    shard = measured(job, trace_inferences=2)
    process = shard.process
    assert (process.index, process.pid, process.loops) == (7, os.getpid(), INFERENCES)
    assert (len(process.warmup), len(process.steady)) == (50, 100)
    assert min(process.library_ns, process.session_ns, process.first_inference_ns) > 0
    # Of the CPU's provider there is nothing to load, and that took what it took.
    assert 0 <= process.provider_ns < process.session_ns
    assert process.metadata == {"cpu_count": 1}
    assert set(shard.traces["ort"].inference_number.tolist()) == {0, 1}
    assert shard.absent == ()


def test_its_parts_are_clocked_in_order(job: Job) -> None:
    measurement = Measurement(job, 7, WARMUP, STEADY)
    for _ in range(WARMUP + STEADY):
        measurement.take(INFERENCES)
    measurement.finish(INFERENCES, 2, 0, {})
    assert [one.part for one in measurement.watch.stretches] == [
        "inputs",
        "library",
        "session",
        "first inference",
        "warm-up",
        "yardstick",
        "refilling caches",
        "timed pass",
        "timed pass",
        "yardstick",
        "outputs",
        "closing the session",
        "profiler: session",
        "profiler: inferences",
    ]


def test_the_profiler_runs_where_it_is_planned_or_probes_failed(job: Job) -> None:
    def recorded(probe_inferences: int) -> set[str]:
        measurement = Measurement(job, 7, WARMUP, STEADY)
        for _ in range(WARMUP + STEADY):
            measurement.take(INFERENCES)
        shard = measurement.finish(INFERENCES, 2, probe_inferences, {}, profiled=False)
        return set(shard.traces)

    job = dataclasses.replace(job, config=dataclasses.replace(job.config, trace=("probe", "ort")))
    prepared.write(job, preparation.prepare(job))
    assert recorded(probe_inferences=4) == {"probe", "probe_calibration", "probe_split"}
    assert recorded(probe_inferences=0) == {"ort"}


def test_calibration_finds_what_an_inference_takes(job: Job) -> None:
    found_ns = Measurement(job, -1, 0, 0).undisturbed_latency_ns()
    fastest_ns = int(measured(job, trace_inferences=0).process.steady.duration_ns.min())
    # Of a quarter of the inferences, none of which was faster than the machine can be.
    assert fastest_ns / 2 < found_ns


def test_what_a_provider_needs_counts_as_loading_it(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_s = 0.02
    host = providers.by_name(providers.HOST)
    monkeypatch.setattr(
        providers, "by_name", lambda _: dataclasses.replace(host, plugin="made-up.so")
    )
    monkeypatch.setattr(
        timed_pass, "load_provider_libraries", lambda _library, _config: time.sleep(slow_s)
    )
    assert measured(job, trace_inferences=0).process.provider_ns >= slow_s * 1e9


def test_a_provider_that_is_built_in_takes_nothing_to_load(job: Job) -> None:
    assert measured(job, trace_inferences=0).process.provider_ns == 0


def test_a_pass_that_fails_costs_no_sample(job: Job) -> None:
    (job.work_folder / "executed-named.onnx").write_bytes(b"no model")
    shard = measured(job, trace_inferences=2)
    assert len(shard.process.steady) == 100
    assert shard.traces == {}
    ((what, reason),) = shard.absent
    assert what == "trace/ort"
    assert "executed-named.onnx" in reason
