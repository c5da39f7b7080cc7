"""Clocks and power of a GPU in a stretch of time, from the double of NVML."""

from __future__ import annotations

import time

import pytest

from harness.machine.devices.device_state import QUANTITIES, DeviceState
from harness.records import Reading
from tests import doubles
from tests.doubles import NvmlDouble

nvml_double = doubles.nvml_double


def read(state: DeviceState, start_ns: int) -> dict[str, Reading]:
    """What was read since then, once there is something."""
    for _ in range(200):
        found = state.during(start_ns, time.monotonic_ns())
        if all(one.reason != "it was not read then" for one in found):
            break
        time.sleep(0.01)
    return {one.name: one for one in found}


def test_the_state_is_that_of_the_stretch(nvml_double: NvmlDouble) -> None:
    with DeviceState(0, nvml_library=nvml_double.path) as state:
        found = read(state, time.monotonic_ns())
        before = state.during(0, 1)
    assert tuple(found) == QUANTITIES
    assert found["clock_sm_hz"].value == 1_905_000_000
    assert found["clock_memory_hz"].value == 6_251_000_000
    assert found["clock_reasons_mask"].value == 4
    power = found["power_instant_mw"]
    assert isinstance(power.value, int)
    assert 50_000 <= power.value < 50_100
    assert power.unit == "mW"
    assert power.source == "test double, no measurement: nvmlDeviceGetFieldValues(186)"
    assert {one.reason for one in before} == {"it was not read then"}


def test_what_nvml_refuses_is_absent_with_its_meaning(nvml_double: NvmlDouble) -> None:
    nvml_double.fault("no_permission")
    with DeviceState(0, nvml_library=nvml_double.path) as state:
        found = read(state, time.monotonic_ns())
    for one in found.values():
        assert one.value is None
        assert one.reason.startswith("no permission")


def test_what_takes_long_to_read_is_not_read_meanwhile(nvml_double: NvmlDouble) -> None:
    nvml_double.fault("slow")
    with DeviceState(0, nvml_library=nvml_double.path) as state:
        found = read(state, time.monotonic_ns())
    for one in found.values():
        assert one.reason == "a reading of it takes too long to be made meanwhile"


@pytest.mark.parametrize("missing", ["", "NVML lists no GPU that is CUDA device 0"])
def test_without_a_gpu_nothing_is_read(missing: str) -> None:
    with DeviceState(None, missing) as state:
        for one in state.during(0, time.monotonic_ns()):
            assert (one.value, one.reason) == (None, missing or "nothing was read")


def test_a_library_that_is_missing_is_the_reason() -> None:
    with DeviceState(0, nvml_library="libnone.so.1") as state:
        found = read(state, time.monotonic_ns())
    assert all("libnone.so.1" in one.reason for one in found.values()), found
