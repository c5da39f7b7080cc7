"""Exports hold what the profile holds, in the units of their format."""

from __future__ import annotations

import csv as csv_module
import dataclasses
import gzip
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from harness.errors import MachineError, RequestError
from harness.records import LatencySeries, Profile, Reading
from harness.reporters.exports import csv_file, json_lines, parquet_file, pyperf_file
from tests.builders import device_records, process_records
from tests.doubles import build_nvml

CHECKOUT = Path(__file__).parents[3]


@pytest.fixture
def profile() -> Profile:
    """Two processes: a warm-up value of 2 inferences, then 3 values of 2 with gaps between."""
    processes = []
    for index in range(2):
        start_ns = 10**12 * (index + 1) + np.arange(6) * 2_000
        steady = LatencySeries(start_ns, np.full(6, 1_500 + index))
        warmup = LatencySeries(start_ns[:2] - 10**6, np.array([9_000, 1_000]))
        one = process_records.process([1], index)
        metadata = {"hostname": " a\nb ", "runnable_threads": 1, "nothing": ""}
        processes.append(
            dataclasses.replace(one, steady=steady, warmup=warmup, loops=2, metadata=metadata)
        )
    return process_records.profile(*processes)


def test_a_pyperf_value_is_the_mean_of_its_loops(profile: Profile, tmp_path: Path) -> None:
    assert pyperf_file.write(profile, tmp_path / "p.json") == 2
    (benchmark,) = json.loads((tmp_path / "p.json").read_text())["benchmarks"]
    first, second = benchmark["runs"]
    assert first["values"] == pytest.approx([1.75e-6] * 3)
    assert second["values"] == pytest.approx([1.7505e-6] * 3)
    assert first["warmups"] == [[2, pytest.approx(1.5e-6)]]
    assert first["metadata"]["loops"] == 2
    assert first["metadata"]["hostname"] == "a b"
    assert "nothing" not in first["metadata"]
    assert benchmark["metadata"]["unit"] == "second"


def test_pyperf_is_told_the_gpu_and_its_driver(profile: Profile, tmp_path: Path) -> None:
    """By the names that the collector of facts gives them, here on a machine with a GPU."""
    collect = f"""
import ctypes, json
ctypes.CDLL({build_nvml()!r})  # nvidia-ml-py finds it loaded
from harness.machine import facts
print(json.dumps([(one.name, one.value) for one in facts.collect()]))
"""
    told = subprocess.run(
        [sys.executable, "-c", collect], capture_output=True, text=True, check=True, cwd=CHECKOUT
    )
    environment = tuple(Reading(name, value) for name, value in json.loads(told.stdout))
    pyperf_file.write(dataclasses.replace(profile, environment=environment), tmp_path / "p.json")
    (benchmark,) = json.loads((tmp_path / "p.json").read_text())["benchmarks"]
    facts = {name for name in benchmark["metadata"] if name.startswith("harness_")}
    assert facts == {"harness_version", "harness_nvml_driver", "harness_gpu0_name"}
    assert benchmark["metadata"]["harness_gpu0_name"] == "Test Double L4"


def test_pyperf_takes_no_part_of_a_value(profile: Profile, tmp_path: Path) -> None:
    (process, _) = profile.processes
    short = dataclasses.replace(process, loops=7)
    with pytest.raises(RequestError, match="no process finished one full pyperf value"):
        pyperf_file.write(dataclasses.replace(profile, processes=(short,)), tmp_path / "p.json")


@pytest.mark.parametrize("name", ["s.csv", "s.csv.gz"])
def test_csv_has_every_inference(profile: Profile, tmp_path: Path, name: str) -> None:
    assert csv_file.write(profile, tmp_path / name) == 16
    content = (tmp_path / name).read_bytes()
    text = (gzip.decompress(content) if name.endswith(".gz") else content).decode()
    rows = list(csv_module.DictReader(text.splitlines()))
    assert len(rows) == 16
    timed = [row for row in rows if row["process"] == "1" and row["pass"] == "timed"]
    assert [int(row["inference"]) for row in timed] == list(range(6))
    assert [int(row["duration_ns"]) for row in timed] == [1_501] * 6
    assert [int(row["start_ns"]) for row in timed] == profile.processes[1].steady.start_ns.tolist()


def test_json_lines_hold_options_that_are_not_utf8(profile: Profile, tmp_path: Path) -> None:
    odd = dataclasses.replace(profile, config=json.dumps({"model": "m\udcff", "b\ud800": [1.5]}))
    json_lines.write(odd, tmp_path / "p.jsonl")
    head = json.loads((tmp_path / "p.jsonl").read_text().splitlines()[0])
    assert head["config"] == {"model": "m\\udcff", "b\\ud800": [1.5]}


def test_json_lines_have_every_record(profile: Profile, tmp_path: Path) -> None:
    whole = dataclasses.replace(
        profile,
        absent=(("energy", "no meter"),),
        devices=(device_records.series("gpu0", "power_mw", [(1, -1), (2, 5)], unit="mW"),),
        kernels=device_records.kernels(("conv", -1, 5, 3)),
    )
    count = json_lines.write(whole, tmp_path / "p.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    assert len(lines) == count
    of_type = {
        kind: [line for line in lines if line["type"] == kind]
        for kind in ("profile", "absent", "process", "sample", "device", "kernel")
    }
    assert [len(of_type[kind]) for kind in of_type] == [1, 1, 2, 16, 2, 1]
    assert of_type["sample"][-1]["duration_ns"] == 1_501
    assert [one["value"] for one in of_type["device"]] == [-1, 5]
    (kernel,) = of_type["kernel"]
    assert kernel["node"] is None
    assert kernel["grid"] == [8, 2, 1]


def test_parquet_has_every_inference(profile: Profile, tmp_path: Path) -> None:
    reader = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    assert parquet_file.write(profile, tmp_path / "s.parquet") == 16
    table = reader.read_table(tmp_path / "s.parquet")
    assert table.column_names == ["process", "pass", "inference", "start_ns", "duration_ns"]
    assert table["pass"].to_pylist().count("timed") == 12
    assert table["duration_ns"].to_pylist()[-1] == 1_501
    assert table.schema.metadata[b"model"] == b"m"


def test_parquet_without_pyarrow_says_what_to_install(
    profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MachineError) as caught:
        parquet_file.write(profile, tmp_path / "s.parquet")
    assert "needs pyarrow" in caught.value.message
    assert caught.value.remedy == "python -m pip install pyarrow"
