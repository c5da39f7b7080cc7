"""Joules of an inference from readings whose energy is known by hand."""

from __future__ import annotations

import dataclasses

import pytest

from harness.analysis.energy import Energy, energy
from harness.records import DeviceSeries, Profile
from tests.builders.device_records import series
from tests.builders.process_records import process, profile

SECOND = 10**9
START = 100 * SECOND


def counter(
    watts: float, *, process: int = 0, period_s: float = 0.1, unit: str = "mJ", lag_s: float = 0.0
) -> DeviceSeries:
    """Read a hundred times a second from a second before START on, updated now and then."""
    factor = {"mJ": 1e3, "uJ": 1e6}[unit]
    times_s = [-1 + 0.01 * number for number in range(400)]
    updated_s = [period_s * ((time_s + lag_s) // period_s) for time_s in times_s]
    readings = [
        (START + round(time_s * SECOND), round(factor * watts * (one + 10)))
        for time_s, one in zip(times_s, updated_s, strict=True)
    ]
    return series("gpu0", f"energy_{unit.lower()}", readings, unit=unit, process=process)


def power(watts: float, *, process: int = 0, idle: float | None = None) -> DeviceSeries:
    readings = [
        (
            START + round((0.01 * number - 2) * SECOND),
            round(1000 * (watts if idle is None or number >= 200 else idle)),
        )
        for number in range(500)
    ]
    return series("gpu0", "power_instant_mw", readings, unit="mW", process=process)


def measured(*devices: DeviceSeries, config: str = "{}", processes: int = 1) -> Profile:
    """Timed passes of 2 s, 200 inferences in each."""
    passes = [process([SECOND // 100] * 200, index, start_ns=START) for index in range(processes)]
    return profile(*passes, devices=devices, config=config)


def only(found: tuple[Energy, ...]) -> Energy:
    (one,) = found
    return one


def test_counter_and_power_agree() -> None:
    found = only(energy(measured(counter(50), power(50))))
    # 50 W for 10 ms.
    assert found.joules.value == pytest.approx(0.5, rel=0.01)
    assert found.counter_j.value == pytest.approx(0.5, rel=0.01)
    assert found.power_j.value == pytest.approx(0.5)
    assert found.watts.value == pytest.approx(50, rel=0.01)
    assert (found.verdict, found.causes) == ("trusted", ())
    assert found.above_idle_j.value is None
    assert "`energy`" in found.above_idle_j.reason
    assert found.interval_j is None, "one process does not tell how much they differ"


def test_units_and_moments_of_updates_do_not_matter() -> None:
    for lag_s in (0.0, 0.03, 0.07):
        found = only(energy(measured(counter(80, unit="uJ", lag_s=lag_s))))
        assert found.joules.value == pytest.approx(0.8, rel=0.01)
        assert found.verdict == "doubtful"
        assert "nothing to check it against: power" in found.causes[0]


def test_idle_power_is_taken_from_before_the_session() -> None:
    idle = power(50, idle=20)
    found = only(energy(measured(idle, config='{"energy": true}')))
    assert found.idle_watts.value == pytest.approx(20)
    assert found.joules.value == pytest.approx(0.5, rel=0.01)
    assert found.above_idle_j.value == pytest.approx(0.3)


def test_processes_give_an_interval() -> None:
    found = only(
        energy(
            measured(
                _joined(counter(50), counter(54, process=1)),
                _joined(power(50), power(54, process=1)),
                processes=2,
            )
        )
    )
    assert found.joules.value == pytest.approx(0.52, rel=0.01)
    assert found.interval_j is not None
    low, high = found.interval_j
    assert low < 0.52 < high


def _joined(*parts: DeviceSeries) -> DeviceSeries:
    from harness.storage import assembly

    (whole,) = assembly.merge_devices(parts)
    return whole


@pytest.mark.parametrize(
    ("devices", "reason"),
    [
        ((counter(50, period_s=0.6),), "a pass of 2 s saw 3 of the 5 energy counter updates"),
        ((power(50),), None),
        (
            (series("gpu0", "power_instant_mw", [(START, 5), (START + 10, 5)], unit="mW"),),
            "power was read over 1e-08 s of a pass",
        ),
        ((series("gpu0", "energy_mj", [], unit="mJ"),), "saw 0 of the 5 energy counter updates"),
    ],
    ids=["few updates", "power alone", "two readings", "no reading"],
)
def test_too_little_gives_no_figure_but_the_reason(
    devices: tuple[DeviceSeries, ...], reason: str | None
) -> None:
    found = only(energy(measured(*devices)))
    if reason is None:
        assert found.joules.value == pytest.approx(0.5, rel=0.01)
        return
    assert found.joules.value is None
    assert reason in found.joules.reason
    assert (found.verdict, found.interval_j) == ("none", None)


@pytest.mark.parametrize(
    ("more", "doubt"),
    [
        ((power(40),), "power readings differ from the counter by -20%"),
        ((power(50), series("gpu0", "clock_reasons_mask", [(START, 4)])), "sw_power_cap"),
        (
            (power(50), series("gpu0", "temperature_c", [(START, 50), (START + SECOND, 60)])),
            "warmed up by 10 °C",
        ),
    ],
    ids=["they disagree", "throttled", "warming up"],
)
def test_doubts_are_named(more: tuple[DeviceSeries, ...], doubt: str) -> None:
    found = only(energy(measured(counter(50), *more)))
    assert found.joules.value == pytest.approx(0.5, rel=0.01)
    assert found.verdict == "doubtful"
    assert doubt in found.causes[0]


def test_a_test_double_is_no_measurement() -> None:
    found = only(energy(measured(dataclasses.replace(counter(50), double=True), power(50))))
    assert found.joules.value is None
    assert "test double" in found.joules.reason


def test_devices_without_energy_are_left_out() -> None:
    assert energy(measured(series("cpu0", "steal_ns", [(START, 1)]))) == ()
    assert energy(profile(devices=(counter(50),))) == ()
