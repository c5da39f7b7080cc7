"""The survey of a GPU, against the double of NVML."""

from __future__ import annotations

import numpy as np

from tests import doubles
from tests.doubles import NvmlDouble
from tests.gpu import survey as surveys

nvml_double = doubles.nvml_double


def test_a_survey_finds_the_update_period(nvml_double: NvmlDouble) -> None:
    survey = surveys.survey(0, nvml_double.path, seconds=0.4)
    assert survey.test_double
    assert survey.absent == ()
    assert len(survey.working) == 12
    assert survey.cost_ns.keys() == {channel.quantity for channel in survey.working}
    # The double updates every 20 ms; a busy machine sees some of the updates late.
    for period in (survey.update_period_ns["energy_mj"], survey.stamp_period_ns["energy_mj"]):
        assert period is not None
        assert 10_000_000 < period < 60_000_000
    assert survey.update_period_ns["power_average_mw"] is None
    assert "clock_sm_hz" not in survey.stamp_period_ns


def test_a_survey_leaves_out_what_the_gpu_does_not_support(nvml_double: NvmlDouble) -> None:
    nvml_double.fault("unsupported_fields")
    survey = surveys.survey(0, nvml_double.path, seconds=0.05)
    assert [what for what, _ in survey.absent] == [
        "gpu0 power_average_mw",
        "gpu0 temperature_memory_c",
        "gpu0 power_samples_mw",
    ]
    assert len(survey.working) == 9


def test_a_survey_of_a_gpu_that_is_not_there(nvml_double: NvmlDouble) -> None:
    survey = surveys.survey(3, nvml_double.path, seconds=0.01)
    assert survey.working == ()
    assert "nvidia-smi -L" in survey.absent[0][1]
    assert "nvmlDeviceGetHandleByIndex_v2(3)" in survey.absent[0][1]


def test_periods_need_three_changes() -> None:
    time_ns = np.arange(8) * 10
    assert surveys.period_ns(time_ns, np.array([1, 1, 2, 2, 3, 3, 4, 4])) == 20
    assert surveys.period_ns(time_ns, np.array([1, 1, 1, 2, 2, 3, 3, 3])) is None
    assert surveys.period_ns(time_ns[:0], np.array([])) is None
