"""GPUs through NVML: nvidia-ml-py against the double, surveys, names and explanations."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from harness.machine.devices import clock_reasons, nvml
from tests import doubles
from tests.doubles import NvmlDouble, build_nvml

nvml_double = doubles.nvml_double

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


def test_gpus_by_name() -> None:
    code = f"from harness.machine.devices import nvml; print(nvml.gpus({build_nvml()!r}))"
    assert interpreter(code) == str(
        nvml.Gpus(
            (nvml.Gpu(0, "Test Double L4", "GPU-double", "00000000:01:00.0"),), "580.0.double"
        )
    )


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


def test_a_survey_finds_the_update_period(nvml_double: NvmlDouble) -> None:
    survey = nvml.survey(0, nvml_double.path, seconds=0.4)
    assert survey.test_double
    assert survey.absent == ()
    assert len(survey.working) == 11
    # The double updates every 20 ms; a busy machine sees some of the updates late.
    for period in (survey.update_period_ns["energy_mj"], survey.stamp_period_ns["energy_mj"]):
        assert period is not None
        assert 10_000_000 < period < 60_000_000
    assert survey.update_period_ns["power_average_mw"] is None
    assert "clock_sm_hz" not in survey.stamp_period_ns


def test_a_survey_leaves_out_what_the_gpu_does_not_support(nvml_double: NvmlDouble) -> None:
    nvml_double.fault("unsupported_fields")
    survey = nvml.survey(0, nvml_double.path, seconds=0.05)
    assert [what for what, _ in survey.absent] == [
        "gpu0 power_average_mw",
        "gpu0 temperature_memory_c",
    ]
    assert len(survey.working) == 9


def test_a_survey_of_a_gpu_that_is_not_there(nvml_double: NvmlDouble) -> None:
    survey = nvml.survey(3, nvml_double.path, seconds=0.01)
    assert survey.working == ()
    assert "nvidia-smi -L" in survey.absent[0][1]
    assert "nvmlDeviceGetHandleByIndex_v2(3)" in survey.absent[0][1]


def test_periods_need_three_changes() -> None:
    time_ns = np.arange(8) * 10
    assert nvml.period_ns(time_ns, np.array([1, 1, 2, 2, 3, 3, 4, 4])) == 20
    assert nvml.period_ns(time_ns, np.array([1, 1, 1, 2, 2, 3, 3, 3])) is None
    assert nvml.period_ns(time_ns[:0], np.array([])) is None


def test_reasons_have_names() -> None:
    assert clock_reasons.clock_reasons(0) == ()
    assert clock_reasons.clock_reasons(0x44) == ("sw_power_cap", "hw_thermal_slowdown")
    assert clock_reasons.clock_reasons(0x8001) == ("gpu_idle", "unknown_0x8000")
    assert not clock_reasons.THROTTLED & 0x103


def test_every_explanation_names_the_code() -> None:
    assert nvml.explain(9).endswith("(NVML 9)")
    assert nvml.explain(77) == "NVML failed (NVML 77)"
    assert nvml.explain(18, "nvmlInit_v2").endswith(": nvmlInit_v2")
