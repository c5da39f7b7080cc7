"""Series of a pass: what each fault leaves of them, and what is said about the rest."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from harness.machine.devices.sampling import DeviceSampler
from harness.records import DeviceSeries
from tests import doubles
from tests.doubles import NvmlDouble, build_nvml

nvml_double = doubles.nvml_double

GPU_SERIES = 11
POWERCAP = "sys/class/powercap/intel-rapl:0"

Result = tuple[dict[str, DeviceSeries], dict[str, str]]


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A fake host with everything there is to sample."""
    for path, text in {
        "proc/loadavg": "0.10 0.20 0.30 5/600 1234\n",
        "proc/pressure/memory": "some avg10=0.00 avg60=0.00 avg300=0.00 total=70\n",
        "proc/stat": "cpu  1 1\ncpu0 1 1 1 1 1 1 1 8 0 0\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "2400000\n",
        f"{POWERCAP}/name": "package-0\n",
        f"{POWERCAP}/max_energy_range_uj": "1000\n",
        f"{POWERCAP}/energy_uj": "900\n",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    return tmp_path


def sample(
    root: Path,
    library: str | None = None,
    seconds: float = 0.15,
    hz: float = 200,
    room_s: float = 5,
) -> Result:
    gpu = None if library is None else 0
    sampler = DeviceSampler(hz, gpu, [0], root, library, seconds=room_s)
    sampler.start()
    time.sleep(seconds)
    return by_name(sampler, process=3)


def by_name(sampler: DeviceSampler, process: int = 0) -> Result:
    series, absent = sampler.stop(process)
    assert len({(each.device, each.quantity) for each in series}) == len(series)
    return {f"{each.device} {each.quantity}": each for each in series}, dict(absent)


def gpu_series(series: dict[str, DeviceSeries]) -> list[str]:
    return [name for name in series if name.startswith("gpu0")]


def test_a_machine_that_has_everything(host: Path, nvml_double: NvmlDouble) -> None:
    began_ns = time.monotonic_ns()
    series, absent = sample(host, nvml_double.path)
    ended_ns = time.monotonic_ns()
    assert absent == {}
    assert len(gpu_series(series)) == GPU_SERIES
    assert {"host runnable_threads", "cpu0 steal_ns", "package0 energy_uj"} < set(series)
    for each in series.values():
        assert each.double
        assert set(each.process) == {3}
        assert each.changed[0] == 1
        assert len(each.time_ns) == len(each.changed) == len(each) > 0
        assert (each.time_ns >= began_ns).all()
        assert (each.time_ns <= ended_ns).all()
        assert (np.diff(each.time_ns) > 0).all()
    power = series["gpu0 power_instant_mw"]
    assert ((power.value >= 50_000) & (power.value < 50_100)).all()
    # The double updates every 20 ms and is read every 5 ms.
    assert 2 <= power.changed.sum() < len(power)
    assert series["gpu0 clock_sm_hz"].value[0] == 1_905_000_000
    assert series["gpu0 memory_used_bytes"].value[0] == 1 << 30
    assert series["gpu0 clock_reasons_mask"].value[0] == 4
    for thread in ("sampler", "sampler_gpu0"):
        assert len(series[f"{thread} cpu_time_ns"]) == 1
        assert series[f"{thread} dropped_ticks"].value[0] == 0
        assert len(series[f"{thread} lateness_ns"]) > 3


def test_this_machine_gives_no_doubles() -> None:
    series, _ = sample(Path("/"))
    assert not series["host runnable_threads"].double
    assert not series["sampler lateness_ns"].double


def test_a_counter_that_wraps_around_goes_on(host: Path) -> None:
    sampler = DeviceSampler(200, None, [0], host)
    sampler.start()
    (host / POWERCAP / "energy_uj").write_text("50\n")
    series, absent = by_name(sampler)
    energy = series["package0 energy_uj"]
    assert absent == {}
    assert [energy.value[0], energy.value[-1]] == [900, 1050]


def test_a_file_that_goes_bad_half_way(host: Path) -> None:
    sampler = DeviceSampler(200, None, [0], host)
    sampler.start()
    (host / "proc/loadavg").write_text("nothing\n")
    series, absent = by_name(sampler)
    assert set(series["host runnable_threads"].value) == {5}
    assert "does not report" in absent["host runnable_threads"]
    assert "readings" in absent["host runnable_threads"]


def test_a_pass_that_is_longer_than_announced(host: Path) -> None:
    series, absent = sample(host, hz=1000, room_s=0.01)
    assert len(series["sampler lateness_ns"]) == 12
    assert series["sampler dropped_ticks"].value[0] > 0
    assert "longer than announced" in absent["sampler"]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("driver_not_loaded", "modprobe nvidia"),
        ("version_mismatch", "different versions"),
        ("no_permission", "no permission"),
        ("timeout", "did not answer in time"),
        ("gpu_lost", "Xid"),
    ],
)
def test_a_gpu_that_gives_nothing(
    host: Path, nvml_double: NvmlDouble, fault: str, said: str
) -> None:
    nvml_double.fault(fault)
    series, absent = sample(host, nvml_double.path, seconds=0.03)
    assert gpu_series(series) == []
    assert list(absent) == ["gpu0"]
    assert said in absent["gpu0"]
    assert "host runnable_threads" in series


def test_no_library_and_missing_symbols(host: Path) -> None:
    missing = str(host / "libnvidia-ml.so.1")
    series, absent = sample(host, missing, seconds=0.01)
    assert gpu_series(series) == []
    assert "install the NVIDIA driver" in absent["gpu0"]
    assert missing in absent["gpu0"]

    _, absent = sample(host, build_nvml("INIT"), seconds=0.01)
    assert "no nvmlInit_v2" in absent["gpu0"]

    series, absent = sample(host, build_nvml("FIELD_VALUES"), seconds=0.01)
    assert len(gpu_series(series)) == GPU_SERIES - 4
    ((what, reason),) = absent.items()
    assert what == "gpu0 power_instant_mw, power_average_mw, energy_mj, temperature_memory_c"
    assert "too old" in reason


def test_fields_a_gpu_does_not_have(host: Path, nvml_double: NvmlDouble) -> None:
    nvml_double.fault("unsupported_fields")
    series, absent = sample(host, nvml_double.path)
    assert len(gpu_series(series)) == GPU_SERIES - 2
    ((what, reason),) = absent.items()
    assert what == "gpu0 power_average_mw, temperature_memory_c"
    assert "does not support" in reason
    assert len(series["gpu0 power_instant_mw"]) == len(series["gpu0 energy_mj"])


@pytest.mark.parametrize(("fault", "said"), [("gpu_lost", "Xid"), ("timeout", "in time")])
def test_a_gpu_that_fails_half_way(
    host: Path, nvml_double: NvmlDouble, fault: str, said: str
) -> None:
    nvml_double.fault(fault, after_readings=20)
    series, absent = sample(host, nvml_double.path)
    assert 0 < len(series["gpu0 power_instant_mw"]) < len(series["sampler_gpu0 lateness_ns"])
    assert absent
    for reason in absent.values():
        assert said in reason
        assert "readings, the first after" in reason


def test_a_counter_that_is_reset_ends_there(host: Path, nvml_double: NvmlDouble) -> None:
    nvml_double.fault("counter_reset", after_readings=30)
    series, absent = sample(host, nvml_double.path)
    energy = series["gpu0 energy_mj"]
    assert 0 < len(energy) < len(series["gpu0 power_instant_mw"])
    assert (np.diff(energy.value) >= 0).all()
    assert list(absent) == ["gpu0 energy_mj"]
    assert "was reset" in absent["gpu0 energy_mj"]


def test_values_that_stand_still_are_called_stale(host: Path, nvml_double: NvmlDouble) -> None:
    nvml_double.fault("stale")
    series, absent = sample(host, nvml_double.path, seconds=1.1)
    assert series["gpu0 power_instant_mw"].changed.sum() == 1
    assert "gpu0" in " ".join(absent)
    assert any("stale" in reason for reason in absent.values())


def test_slow_calls_cost_ticks_of_the_gpu_only(host: Path, nvml_double: NvmlDouble) -> None:
    nvml_double.fault("slow")
    series, absent = sample(host, nvml_double.path, seconds=0.5, hz=100)
    assert absent == {}
    assert series["sampler_gpu0 missed_ticks"].value[0] > 20
    assert len(series["sampler lateness_ns"]) > 2 * len(series["sampler_gpu0 lateness_ns"])


def test_a_driver_that_hangs_half_way(host: Path, nvml_double: NvmlDouble) -> None:
    nvml_double.fault("hang", after_readings=20)
    began = time.monotonic()
    series, absent = sample(host, nvml_double.path, seconds=0.3)
    # Two seconds of patience and room for a busy machine.
    assert time.monotonic() - began < 5
    assert len(series["gpu0 power_instant_mw"]) > 0
    ((_, reason),) = absent.items()
    assert "did not return within 2 s" in reason
    assert len(series["sampler lateness_ns"]) > 10


def test_a_driver_that_hangs_when_it_is_opened(host: Path, nvml_double: NvmlDouble) -> None:
    nvml_double.fault("hang_init")
    began = time.monotonic()
    series, absent = sample(host, nvml_double.path, seconds=0)
    assert time.monotonic() - began < 5
    assert gpu_series(series) == []
    assert "did not open" in absent["gpu0"]
    assert "host runnable_threads" in series


def test_rates_that_cannot_be_meant(host: Path) -> None:
    with pytest.raises(ValueError, match="hz"):
        DeviceSampler(0, None, [0], host)


def test_a_gpu_that_is_not_known_is_absent_and_no_other_is_sampled(host: Path) -> None:
    sampler = DeviceSampler(100, None, [0], host, why_no_gpu="NVML lists no such GPU")
    sampler.start()
    series, absent = by_name(sampler)
    assert absent["gpu"] == "NVML lists no such GPU"
    assert not [name for name in series if "gpu" in name]
