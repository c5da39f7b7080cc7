"""Energy of what ran the model: all packages of the CPU, or the GPU that was used."""

from __future__ import annotations

import dataclasses

import pytest

from harness.analysis.energy import Energy
from harness.analysis.run_energy import run_energy
from harness.records import DeviceSeries, Reading
from harness.statistics.figures import Figure
from tests.unit.analysis.test_energy import counter, measured


def package(name: str, watts: float, *, process: int = 0) -> DeviceSeries:
    return dataclasses.replace(counter(watts, unit="uJ", process=process), device=name)


def test_a_cpu_of_two_packages_costs_what_both_draw() -> None:
    names = ("package0", "package1_die1")
    series = [package(one, 50 + 30 * k, process=p) for k, one in enumerate(names) for p in (0, 1)]
    found = run_energy(measured(*series, processes=2))
    assert isinstance(found, Energy)
    # 50 and 80 W for 10 ms.
    assert found.joules.value == pytest.approx(1.3, rel=0.01)
    assert found.watts.value == pytest.approx(130, rel=0.01)
    assert found.interval_j is not None
    assert found.interval_j[0] <= found.joules.value <= found.interval_j[1]
    assert found.device == "package0 + package1_die1"


def test_a_package_that_tells_nothing_makes_the_sum_unknown() -> None:
    one = package("package1", 50.0)
    silent = dataclasses.replace(one, process=one.process[:1], time_ns=one.time_ns[:1],
                                 value=one.value[:1])  # fmt: skip
    found = run_energy(measured(package("package0", 50.0), silent))
    assert isinstance(found, Figure)
    assert found.reason.startswith("package1: ")


def test_a_gpu_that_only_stood_by_is_not_counted_for_the_cpu() -> None:
    found = run_energy(measured(package("package0", 50.0), counter(300.0)))
    assert isinstance(found, Energy)
    assert found.device == "package0"
    alone = run_energy(measured(counter(300.0)))
    assert isinstance(alone, Figure)
    assert alone.reason


def test_the_gpu_that_was_used_counts_and_no_other() -> None:
    other = dataclasses.replace(counter(90.0), device="gpu1")
    both = measured(package("package0", 50.0), counter(300.0), other)
    facts = (
        Reading("gpu_count", 2, "", "NVML"),
        Reading("gpu0_uuid", "GPU-a", "", "NVML"),
        Reading("gpu1_uuid", "GPU-b", "", "NVML"),
        Reading("gpu_used", 1, "", "NVML"),
    )
    on_gpu = dataclasses.replace(both, provider="cuda", environment=facts)
    found = run_energy(on_gpu)
    assert isinstance(found, Energy)
    assert found.device == "gpu1"
    assert found.joules.value == pytest.approx(0.9, rel=0.01)
