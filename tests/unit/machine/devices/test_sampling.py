"""Series of a pass: what each fault leaves of them, and what is said about the rest."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from harness.machine.devices.sampling import DeviceSampler
from harness.records import DeviceSeries
from tests import doubles
from tests.doubles import NvmlDouble, build_nvml

nvml_double = doubles.nvml_double

GPU_SERIES = 12
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
    later: Callable[[], None] = lambda: None,
) -> Result:
    """Series and absences; `later` is called once sampling has begun."""
    gpu = None if library is None else 0
    sampler = DeviceSampler(hz, gpu, [0], root, library, seconds=room_s)
    sampler.start()
    later()
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

    series, absent = sample(host, build_nvml("FIELD_VALUES"))
    assert len(gpu_series(series)) == GPU_SERIES - 4
    ((what, reason),) = absent.items()
    assert what == "gpu0 power_instant_mw, energy_mj, power_average_mw, temperature_memory_c"
    assert "too old" in reason


def test_fields_a_gpu_does_not_have(host: Path, nvml_double: NvmlDouble) -> None:
    nvml_double.fault("unsupported_fields")
    series, absent = sample(host, nvml_double.path)
    assert len(gpu_series(series)) == GPU_SERIES - 3
    ((what, reason),) = absent.items()
    assert what == "gpu0 power_average_mw, temperature_memory_c, power_samples_mw"
    assert "does not support" in reason
    assert len(series["gpu0 power_instant_mw"]) == len(series["gpu0 energy_mj"])


@pytest.mark.parametrize(("fault", "said"), [("gpu_lost", "Xid"), ("timeout", "in time")])
def test_a_gpu_that_fails_half_way(
    host: Path, nvml_double: NvmlDouble, fault: str, said: str
) -> None:
    series, absent = sample(
        host, nvml_double.path, later=lambda: nvml_double.fault(fault, after_readings=20)
    )
    assert 0 < len(series["gpu0 power_instant_mw"]) < len(series["sampler_gpu0 lateness_ns"])
    # Those that the driver records are fetched once a second, and not again after this.
    assert said in absent.pop("gpu0 power_samples_mw", said)
    assert absent
    for reason in absent.values():
        assert said in reason
        assert "readings, the first after" in reason


def test_a_counter_that_is_reset_ends_there(host: Path, nvml_double: NvmlDouble) -> None:
    series, absent = sample(
        host,
        nvml_double.path,
        later=lambda: nvml_double.fault("counter_reset", after_readings=30),
    )
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


def test_the_gpus_part_stays_below_half_a_percent_of_a_core_at_a_real_gpus_prices(
    host: Path, nvml_double: NvmlDouble
) -> None:
    nvml_double.price(on=True)
    sampler = DeviceSampler(100, 0, [0], host, nvml_double.path, seconds=5)
    sampler.start()
    sampler.edge()
    before, began_ns = nvml_double.calls(), time.monotonic_ns()
    time.sleep(1.5)
    between, ended_ns = nvml_double.calls(), time.monotonic_ns()
    sampler.edge()
    after = nvml_double.calls()
    series, absent = by_name(sampler)
    assert absent == {}
    assert after.energy - between.energy == 1, "read where a pass ends"
    assert between.energy == before.energy, "and not within it"
    # By the calls and what they cost, not by the clock of a busy machine: each tick that was
    # missed made none.
    ticks = len(series["sampler_gpu0 lateness_ns"])
    ticks += int(series["sampler_gpu0 missed_ticks"].value[0])
    late = series["sampler_gpu0 lateness_ns"]
    first_ns, last_ns = late.time_ns[[0, -1]]
    deadlines_ns = late.time_ns - late.value
    assert (deadlines_ns[-1] - deadlines_ns[0]) / 1e7 == ticks - 1
    spent_ns = between.spent_ns - before.spent_ns
    part = spent_ns / (ended_ns - began_ns)
    print(f"the calls of a GPU take {part:.2%} of a core")
    assert 0 < part < 0.005
    # What the thread says of itself: at least what its calls cost, a row for each reading.
    assert series["sampler_gpu0 cpu_time_ns"].value[0] >= spent_ns
    assert len(series["gpu0 energy_mj"]) == 4, "the first tick, two edges, the last tick"
    share = series["sampler_gpu0 cpu_time_ns"].value[0] / (last_ns - first_ns)
    assert series["sampler_gpu0 cpu_share_ppm"].value[0] == pytest.approx(1e6 * share, abs=1)


def test_what_a_costly_meter_is_like_is_stored(host: Path, nvml_double: NvmlDouble) -> None:
    nvml_double.price(on=True)
    series, _ = sample(host, nvml_double.path)
    assert series["sampler_gpu0 energy_mj_call_ns"].value[0] >= 3_200_000
    # Updated every 100 ms; each look may come up to 13 ms late, on a busy machine later.
    period = series["sampler_gpu0 energy_mj_period_ns"]
    assert period.value[0] == pytest.approx(1e8, rel=0.5)
    assert period.unit == "ns"
    assert series["sampler_gpu0 setup_cpu_time_ns"].value[0] > 0
    nvml_double.price(on=False)
    series, _ = sample(host, nvml_double.path)
    assert "sampler_gpu0 energy_mj_period_ns" not in series, "its series shows it"


def test_a_meter_whose_price_is_not_known_is_not_told_as_a_cheap_one(
    host: Path, nvml_double: NvmlDouble
) -> None:
    nvml_double.fault("timeout")
    series, absent = sample(host, nvml_double.path, later=lambda: nvml_double.fault(""))
    # It is read where the pass begins, in vain, and where it ends: not at every tick.
    assert len(series["gpu0 energy_mj"]) == 1
    assert series["sampler_gpu0 energy_mj_every_ns"].value[0] == 1_000_000_000
    assert "sampler_gpu0 energy_mj_call_ns" not in series, "absent, not 0"
    ((what, reason),) = [each for each in absent.items() if each[0].startswith("sampler_gpu0")]
    assert "energy_mj_call_ns" in what
    assert "what a call takes is not known, as it failed when it was tried: the driver" in reason


def test_an_edge_that_is_lost_is_counted_and_told(host: Path, nvml_double: NvmlDouble) -> None:
    nvml_double.price(on=True)
    sampler = DeviceSampler(100, 0, [0], host, nvml_double.path, seconds=5)
    sampler.start()
    sampler.edge()
    nvml_double.fault("hang")
    sampler.edge()
    nvml_double.fault("")
    series, absent = by_name(sampler)
    assert series["sampler_gpu0 missed_edges"].value[0] == 1
    assert series["sampler missed_edges"].value[0] == 0
    assert "at 1 of 2 ends of a pass or of idling" in absent["sampler_gpu0 missed_edges"]


def test_idle_times_are_noted_from_begin_to_end(host: Path) -> None:
    sampler = DeviceSampler(200, None, [0], host)
    sampler.start()
    since_ns = time.monotonic_ns()
    time.sleep(0.02)
    sampler.left_idle(since_ns)
    until_ns = time.monotonic_ns()
    series, _ = by_name(sampler, process=2)
    idle = series["sampler idle_ns"]
    assert idle.process.tolist() == [2]
    assert 2e7 <= idle.value[0] <= until_ns - since_ns
    assert idle.time_ns[0] - idle.value[0] == since_ns


def test_power_is_what_the_driver_recorded_between_the_first_and_the_last_tick(
    host: Path, nvml_double: NvmlDouble
) -> None:
    series, absent = sample(host, nvml_double.path, seconds=0.3)
    power = series["gpu0 power_samples_mw"]
    assert absent == {}
    assert len(power) >= 14
    assert np.diff(power.time_ns) == pytest.approx(2e7, abs=2e6)
    ticks = series["sampler_gpu0 lateness_ns"].time_ns
    assert ticks[0] - 1e6 <= power.time_ns[0] <= ticks[0] + 3e7
    assert power.time_ns[-1] <= ticks[-1] + 1e7
    assert set(np.diff(power.value)) <= {1, -99}, "none is left out, and none comes twice"


def test_samples_by_another_clock_are_absent_with_the_reason(
    host: Path, nvml_double: NvmlDouble
) -> None:
    nvml_double.fault("foreign_clock")
    series, absent = sample(host, nvml_double.path)
    assert "gpu0 power_samples_mw" not in series
    assert "CLOCK_REALTIME" in absent["gpu0 power_samples_mw"]
    series, absent = sample(host, build_nvml("SAMPLES"))
    assert list(absent) == ["gpu0 power_samples_mw"]
    assert "too old" in absent["gpu0 power_samples_mw"]


def test_slow_calls_cost_ticks_of_the_gpu_only(host: Path, nvml_double: NvmlDouble) -> None:
    series, absent = sample(
        host, nvml_double.path, seconds=0.5, hz=100, later=lambda: nvml_double.fault("slow")
    )
    assert absent == {}
    assert series["sampler_gpu0 missed_ticks"].value[0] > 20
    assert len(series["sampler lateness_ns"]) > 2 * len(series["sampler_gpu0 lateness_ns"])


def test_a_driver_that_hangs_half_way(host: Path, nvml_double: NvmlDouble) -> None:
    began = time.monotonic()
    series, absent = sample(
        host,
        nvml_double.path,
        seconds=0.3,
        later=lambda: nvml_double.fault("hang", after_readings=20),
    )
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
