"""The scripts of profiles/ as a user starts them, on the sample profile beside them."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from harness import read_profile
from harness.analysis.energy import energy
from harness.analysis.operators.table import OperatorTable, operator_table
from harness.records import DeviceSeries
from harness.statistics.latency import latency
from harness.storage.profile_file import write_profile
from tests.integration.command import REPOSITORY

if TYPE_CHECKING:
    from harness.records import Profile

SAMPLE = REPOSITORY / "profiles" / "sample.h5"


@pytest.fixture(scope="module")
def sample() -> Profile:
    return read_profile(SAMPLE)


def script(
    name: str, *arguments: object, surroundings: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", REPOSITORY / "profiles" / name, *map(str, arguments)],
        env=surroundings,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def printed(name: str, *arguments: object, surroundings: dict[str, str]) -> str:
    done = script(name, *arguments, surroundings=surroundings)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def slower(profile: Profile, factor: float) -> Profile:
    """Every inference of the timed pass lasts that much longer."""
    return dataclasses.replace(
        profile,
        processes=tuple(
            dataclasses.replace(
                process,
                steady=dataclasses.replace(
                    process.steady,
                    duration_ns=np.round(process.steady.duration_ns * factor).astype(np.int64),
                ),
            )
            for process in profile.processes
        ),
    )


def test_the_sample_is_what_its_command_makes(sample: Profile) -> None:
    """A small real profile with both traces."""
    assert SAMPLE.stat().st_size < 300_000
    assert sample.complete
    assert sample.model.name == "mlp"
    assert set(sample.traces) == {"probe", "probe_calibration", "ort"}
    told = (REPOSITORY / "profiles" / "FORMAT.md").read_text()
    assert f"harness profile mlp --processes {len(sample.processes)} " in told


def test_latency(sample: Profile, surroundings: dict[str, str]) -> None:
    shown = printed("latency.py", surroundings=surroundings)
    rows = re.findall(r"^ +(\d{3}) +(\d+) +([\d.]+) +([\d.]+)", shown, re.MULTILINE)
    assert rows == [
        (
            f"{process.index:03d}",
            str(len(process.steady)),
            f"{process.steady.duration_ns.min() / 1000:.2f}",
            f"{np.median(process.steady.duration_ns) / 1000:.2f}",
        )
        for process in sample.processes
    ]
    figures = latency(sample.processes)
    assert figures.interval_ns is not None
    median, low, high = map(
        float,
        re.findall(r"median of 4 processes .*: ([\d.]+) µs\n.*: ([\d.]+) to ([\d.]+) µs", shown)[0],
    )
    assert (median, low, high) == pytest.approx(
        [figures.median_ns / 1000, *(one / 1000 for one in figures.interval_ns)], abs=6e-4
    )


def test_top_operators(sample: Profile, surroundings: dict[str, str]) -> None:
    shown = printed("top_operators.py", surroundings=surroundings)
    table = operator_table(sample)
    assert isinstance(table, OperatorTable)
    assert f"{len(table.operators)} nodes, {table.inferences} traced inferences" in shown
    places = []
    for row in table.operators:
        figures = f"{row.node} {row.median_ns / 1000:.3f} +{100 * row.share:.3f} "
        found = re.search(figures, shown)
        assert found, figures
        places.append(found.start())
    assert places == sorted(places)
    by_type = operator_table(sample, "op")
    assert isinstance(by_type, OperatorTable)
    for row in by_type.operators:
        figures = rf"^{row.op_type} +{row.median_ns / 1000:.3f} +{100 * row.share:.3f} "
        assert re.search(figures, shown, re.MULTILINE), f"as `ops --by op` tells: {figures}"
    assert "do not trust" not in shown


def test_a_profile_without_operators_says_why(
    sample: Profile, surroundings: dict[str, str], tmp_path: Path
) -> None:
    bare = dataclasses.replace(sample, traces={}, absent=(("trace/probe", "nothing to probe"),))
    write_profile(bare, tmp_path / "bare.h5")
    done = script("top_operators.py", tmp_path / "bare.h5", surroundings=surroundings)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.endswith("operators: not in this profile: nothing to probe")


def test_energy_that_no_meter_told_is_absent_with_the_reason(
    sample: Profile, surroundings: dict[str, str]
) -> None:
    shown = printed("energy_and_comparison.py", surroundings=surroundings)
    reason = dict(sample.absent)["package energy_uj"]
    assert "virtual machine" in reason
    assert f"  package energy_uj: {reason}" in shown
    assert " J " not in shown
    ratio = re.search(r"ratio ([\d.]+), 95 % interval ([\d.]+) to ([\d.]+): (.*)", shown)
    assert ratio
    medians = np.log([np.median(one.steady.duration_ns) for one in sample.processes])
    assert float(ratio[1]) == pytest.approx(
        np.exp(medians[1::2].mean() - medians[::2].mean()), 1e-4
    )


def test_energy_of_a_counter_and_a_change_that_was_made(
    sample: Profile, surroundings: dict[str, str], tmp_path: Path
) -> None:
    """10 W by the counter; every inference half as long again."""
    candidate = slower(sample, 1.5)
    times = [
        np.linspace(one.steady.start_ns[0], one.steady.start_ns[-1], 50).astype(np.int64)
        for one in candidate.processes
    ]
    counter = DeviceSeries(
        device="package0",
        quantity="energy_uj",
        unit="uJ",
        source="by hand",
        process=np.repeat(np.array([one.index for one in candidate.processes], np.int32), 50),
        time_ns=np.concatenate(times),
        value=np.concatenate([10 * (time - time[0]) // 1000 for time in times]),
        changed=np.ones(200, np.int8),
    )
    metered = dataclasses.replace(candidate, devices=(counter,))
    write_profile(metered, tmp_path / "slower.h5")

    arguments = (SAMPLE, tmp_path / "slower.h5")
    shown = printed("energy_and_comparison.py", *arguments, surroundings=surroundings)
    joules = re.search(
        r"package0: ([\d.e-]+) J per inference, geometric mean of 4 processes", shown
    )
    assert joules
    (told,) = energy(metered)
    assert told.counter_j.value is not None
    assert float(joules[1]) == pytest.approx(told.counter_j.value, 5e-3)
    ratio = re.search(r"ratio ([\d.]+), 95 % interval ([\d.]+) to ([\d.]+): slower", shown)
    assert ratio
    assert float(ratio[1]) == pytest.approx(1.5, abs=2e-3)
    assert float(ratio[2]) < 1.5 < float(ratio[3])

    double = dataclasses.replace(metered, devices=(dataclasses.replace(counter, double=True),))
    write_profile(double, tmp_path / "slower.h5", force=True)
    shown = printed("energy_and_comparison.py", *arguments, surroundings=surroundings)
    assert "package0: a test double gave the readings: not a measurement" in shown


def test_the_example_of_readme(sample: Profile, surroundings: dict[str, str]) -> None:
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", example],
        cwd=REPOSITORY,
        env=surroundings,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    first = sample.processes[0].steady.duration_ns
    assert done.stdout.startswith(f"{sample.latency.median_ns} {sample.latency.interval_ns}\n")
    assert f"\n0 {first.min()}\n" in done.stdout
    assert "fused fc1/Gemm" in done.stdout
    assert re.search(rf"^ +timed +{np.median(first):.1f}$", done.stdout, re.MULTILINE)
    assert "<xarray.DataArray 'duration_ns' (sample: 640)>" in done.stdout


@pytest.mark.parametrize("name", ["latency.py", "top_operators.py", "energy_and_comparison.py"])
def test_a_file_that_is_none_is_one_line(
    name: str, surroundings: dict[str, str], tmp_path: Path
) -> None:
    done = script(name, tmp_path / "none.h5", surroundings=surroundings)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "none.h5" in done.stderr
