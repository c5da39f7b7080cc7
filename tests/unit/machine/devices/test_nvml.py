"""GPUs through NVML: nvidia-ml-py against the double, facts and explanations."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness.machine.devices import clock_reasons, nvml
from tests.doubles import build_nvml

CHECKOUT = Path(__file__).parents[4]


def interpreter(code: str) -> str:
    """Output of a Python of its own: nvidia-ml-py keeps the library it opened first."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        cwd=CHECKOUT,
    )
    return done.stdout.strip()


def test_the_real_nvidia_ml_py_drives_the_double() -> None:
    path = build_nvml()
    code = f"""
import ctypes
ctypes.CDLL({path!r})
import pynvml
pynvml.nvmlInit()
gpu = pynvml.nvmlDeviceGetHandleByIndex(0)
for field in pynvml.nvmlDeviceGetFieldValues(gpu, [186, 185, 83, 82, 9999]):
    print(field.fieldId, field.nvmlReturn, field.valueType, field.timestamp > 1e15, end=" ")
    print(field.value.ullVal > 0 if field.valueType == 3 else field.value.uiVal // 100)
print(pynvml.nvmlDeviceGetClockInfo(gpu, pynvml.NVML_CLOCK_SM))
print(pynvml.nvmlDeviceGetClockInfo(gpu, pynvml.NVML_CLOCK_MEM))
print(pynvml.nvmlDeviceGetTemperature(gpu, pynvml.NVML_TEMPERATURE_GPU))
rates = pynvml.nvmlDeviceGetUtilizationRates(gpu)
print(rates.gpu, rates.memory)
print(pynvml.nvmlDeviceGetCurrentClocksEventReasons(gpu))
print(pynvml.nvmlDeviceGetMemoryInfo(gpu).used)
try:
    pynvml.nvmlDeviceGetHandleByIndex(1)
except pynvml.NVMLError as error:
    print(error.value)
pynvml.nvmlShutdown()
"""
    assert interpreter(code).splitlines() == [
        "186 0 1 True 500",
        "185 0 1 True 500",
        "83 0 3 True True",
        "82 0 1 True 0",
        "9999 2 1 True 0",
        "1905",
        "6251",
        "47",
        "93 21",
        "4",
        str(1 << 30),
        "2",
    ]


def test_gpus_are_told_with_their_facts() -> None:
    code = f"""
from harness.machine.devices import nvml
told = nvml.gpus({build_nvml()!r})
print(told.driver, told.reason, [(gpu.index, gpu.bus_id) for gpu in told.found])
for fact in told.found[0].facts:
    print(fact.name, fact.value, fact.unit, fact.source, bool(fact.reason))
"""
    lines = interpreter(code).splitlines()
    assert lines[:3] == [
        "580.0.double  [(0, '00000000:01:00.0')]",
        "gpu0_name Test Double L4  nvmlDeviceGetName False",
        "gpu0_uuid GPU-double  nvmlDeviceGetUUID False",
    ]
    # What this driver lacks is absent by itself.
    assert "gpu0_persistence_mode None  nvmlDeviceGetPersistenceMode True" in lines


def test_a_profile_records_the_gpus_of_the_same_reader() -> None:
    code = f"""
import ctypes
ctypes.CDLL({build_nvml()!r})
from harness.machine.facts import collect
facts = {{fact.name: fact.value for fact in collect()}}
print(facts["nvml_driver"], facts["gpu_count"], facts["gpu0_name"])
"""
    assert interpreter(code) == "580.0.double 1 Test Double L4"


@pytest.mark.parametrize(
    ("fault", "said"),
    [("driver_not_loaded", "modprobe nvidia"), ("version_mismatch", "different versions")],
)
def test_why_no_gpu_can_be_named(fault: str, said: str) -> None:
    path = build_nvml()
    code = f"""
import ctypes
ctypes.CDLL({path!r}).harness_test_double({fault.encode()!r}, ctypes.c_long(0))
from harness.machine.devices import nvml
found = nvml.gpus({path!r})
assert not found.found
print(found.reason)
"""
    assert said in interpreter(code)


def test_no_library(tmp_path: Path) -> None:
    path = str(tmp_path / "libnvidia-ml.so.1")
    reason = nvml.gpus(path).reason
    assert path in reason
    assert "install the NVIDIA driver" in reason


def test_pynvml_is_not_imported_before_it_is_needed() -> None:
    code = "import sys, harness.machine.devices.sampling; print('pynvml' in sys.modules)"
    assert interpreter(code) == "False"


def test_reasons_have_names() -> None:
    assert clock_reasons.clock_reasons(0) == ()
    assert clock_reasons.clock_reasons(0x44) == ("sw_power_cap", "hw_thermal_slowdown")
    assert clock_reasons.clock_reasons(0x8001) == ("gpu_idle", "unknown_0x8000")
    assert not clock_reasons.THROTTLED & 0x103


def test_every_explanation_names_the_code() -> None:
    assert nvml.explain(9).endswith("(NVML 9)")
    assert nvml.explain(77) == "NVML failed (NVML 77)"
    assert nvml.explain(18, "nvmlInit_v2").endswith(": nvmlInit_v2")
