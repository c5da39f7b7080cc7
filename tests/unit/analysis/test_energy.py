"""Joules of an inference from readings whose energy is known by hand."""

from __future__ import annotations

import dataclasses

import pytest

from harness.analysis.energy import Energy, energy
from harness.records import ITEMS, DeviceSeries, Profile, Reading
from harness.storage import assembly
from tests.builders.device_records import series
from tests.builders.process_records import process, profile

SECOND = 10**9
START = 100 * SECOND


def counter(
    watts: float, *, process: int = 0, period_s: float = 0.02, unit: str = "mJ", lag_s: float = 0.0
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


def costly_counter(
    watts: float,
    *,
    process: int = 0,
    period_s: float | None = 0.02,
    at_s: tuple[float, ...] = (-2.0, -0.45, -0.01, 2.01, 3.6),
    idle: float = 0.0,
    lag_s: float = 0.0,
) -> tuple[DeviceSeries, ...]:
    """Read at edges only, with what the thread found out about it; idle outside of the pass."""
    readings = []
    for time_s in at_s:
        metered_s = time_s - lag_s
        joules = idle * (metered_s + 10) + (watts - idle) * min(max(metered_s, 0.0), 2.0)
        readings.append((START + round(time_s * SECOND), round(1e3 * joules)))
    found = {"energy_mj_call_ns": 3_200_000}
    if period_s is not None:
        found["energy_mj_period_ns"] = round(period_s * SECOND)
    return (
        series("gpu0", "energy_mj", readings, unit="mJ", process=process),
        *(
            series("sampler_gpu0", name, [(START, value)], unit="ns", process=process)
            for name, value in found.items()
        ),
    )


def recorded(watts: float, *, process: int = 0, without_s: float = 0.0) -> DeviceSeries:
    """What the driver kept every 20 ms; it left out some time from START + 1 s on."""
    times_s = [-2 + 0.02 * number for number in range(280)]
    readings = [
        (START + round(time_s * SECOND), round(1000 * watts))
        for time_s in times_s
        if not 1 <= time_s < 1 + without_s
    ]
    return series("gpu0", "power_samples_mw", readings, unit="mW", process=process)


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
    joined = assembly.merge_devices(devices)
    return profile(*passes, devices=joined, config=config)


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
                *(counter(50), counter(54, process=1)),
                *(power(50), power(54, process=1)),
                processes=2,
            )
        )
    )
    assert found.joules.value == pytest.approx(0.52, rel=0.01)
    assert found.interval_j is not None
    low, high = found.interval_j
    assert low < 0.52 < high


def test_passes_too_short_for_the_meter_widen_the_interval_and_say_so() -> None:
    def of(period_s: float) -> Energy:
        pair = (counter(50, period_s=period_s), counter(54, process=1, period_s=period_s))
        return only(energy(measured(*pair, power(50), power(54, process=1), processes=2)))

    # Two passes of 2 s hold 200 updates, or 36: from the first to the last in each.
    long, short = of(0.02), of(0.1)
    assert (long.verdict, long.causes) == ("trusted", ())
    assert long.period_s == pytest.approx(0.02)
    assert short.verdict == "doubtful"
    assert "hold 36 updates of the energy counter, not 50 (one every 100 ms)" in short.causes[0]
    assert "as 2 a pass are uncertain, any interval is widened by ±11.0%" in short.causes[0]
    # 50 updates in two passes, and those that may be missed at their ends.
    assert short.causes[0].endswith("a `duration_s` of 2.7 would do")
    assert long.interval_j is not None
    assert short.interval_j is not None
    assert short.interval_j[0] < 0.9 * long.interval_j[0]
    assert short.interval_j[1] > 1.1 * long.interval_j[1]
    # Fifty of them are needed in all processes together, not in each.
    six = [counter(50, process=index, period_s=0.1) for index in range(3)]
    found = only(energy(measured(*six, *(power(50, process=i) for i in range(3)), processes=3)))
    assert (found.verdict, found.causes) == ("trusted", ())


def test_a_costly_counter_is_read_where_the_pass_begins_and_ends() -> None:
    found = only(energy(measured(*costly_counter(50), recorded(50))))
    # 50 W for 2 s, by readings 2.02 s apart.
    assert found.joules.value == pytest.approx(0.495, rel=1e-3)
    assert (found.verdict, found.causes) == ("trusted", ())
    assert found.period_s == pytest.approx(0.02)
    # Each reading is up to a period old, which a short pass does not forgive.
    short = only(energy(measured(*costly_counter(50, period_s=0.1, lag_s=0.1), recorded(50))))
    assert short.verdict == "doubtful"
    assert "±9.9%" in short.causes[0]
    assert short.joules.value == pytest.approx(0.5, rel=0.099)


def unpriced(devices: tuple[DeviceSeries, ...]) -> tuple[DeviceSeries, ...]:
    """The same of a counter whose price could not be found: it is known to be read seldom."""
    every = series("sampler_gpu0", "energy_mj_every_ns", [(START, SECOND)], unit="ns")
    return (every, *(each for each in devices if each.quantity != "energy_mj_call_ns"))


def test_a_counter_whose_price_is_unknown_is_not_judged_as_one_read_at_every_tick() -> None:
    found = only(energy(measured(*unpriced(costly_counter(50)), recorded(50))))
    assert found.joules.value == pytest.approx(0.495, rel=1e-3)
    assert found.counter_j.value == found.joules.value


def test_a_reading_outside_of_the_pass_counts_only_next_to_it() -> None:
    """As between them the device does something else: here it idles."""
    for at_s in ((-2.0, -0.3, 2.01), (-2.0, -0.01, 2.3)):
        edges = costly_counter(50, at_s=at_s, idle=10)
        found = only(energy(measured(*edges, recorded(50))))
        assert "not read where a pass began and ended" in found.counter_j.reason
        assert found.joules.value == found.power_j.value
    # One that came late into the pass tells of what is left of it.
    found = only(energy(measured(*costly_counter(50, at_s=(-2.0, 0.1, 2.01), idle=10))))
    assert found.watts.value == pytest.approx(50, rel=0.01)


def test_power_that_was_not_read_to_the_end_of_a_pass_is_no_power_of_it() -> None:
    half = power(50)
    half = dataclasses.replace(
        half,
        **{name: getattr(half, name)[:300] for name in ("process", "time_ns", "value", "changed")},
    )
    found = only(energy(measured(half)))
    assert found.joules.value is None
    assert "our record of power leaves out 1 s of a pass" in found.joules.reason


def idle_noted(*spans_s: tuple[float, float]) -> DeviceSeries:
    return series(
        "sampler",
        "idle_ns",
        [(START + round(end * SECOND), round((end - start) * SECOND)) for start, end in spans_s],
        unit="ns",
    )


def test_idle_is_when_it_was_noted_wherever_the_readings_begin() -> None:
    told = '{"energy": true}'
    # NVML opened slowly: the readings begin half a second before the idling ends, at -0.5 s, and
    # from then on the session is created at 80 W.
    readings = [
        (START + round((0.01 * n - 1.1) * SECOND), 20_000 if n < 60 else 80_000) for n in range(320)
    ]
    late = series("gpu0", "power_instant_mw", readings, unit="mW")
    found = only(energy(measured(late, idle_noted((-2.0, -0.5)), config=told)))
    assert found.idle_watts.value == pytest.approx(20)
    assert "not left idle after the timed pass" in found.above_warm_idle_j.reason
    # Later still, there is nothing to tell it by.
    late = series("gpu0", "power_instant_mw", readings[50:], unit="mW")
    found = only(energy(measured(late, idle_noted((-2.0, -0.5)), config=told)))
    assert found.idle_watts.value is None
    assert "s of idling, 0.5 s are needed" in found.idle_watts.reason


def test_the_counter_tells_of_noted_idling_where_it_was_read_at_its_ends() -> None:
    told = '{"energy": true}'
    edges = costly_counter(50, idle=20)
    noted = idle_noted((-1.99, -0.46), (2.02, 3.59))
    found = only(energy(measured(*edges, noted, config=told)))
    assert found.idle_watts.value == pytest.approx(20)
    assert found.warm_idle_watts.value == pytest.approx(20)
    lost = costly_counter(50, idle=20, at_s=(-0.45, -0.01, 2.01, 3.6))
    found = only(energy(measured(*lost, noted, config=told)))
    assert found.idle_watts.value is None
    assert "not read where idling began and ended" in found.idle_watts.reason


def test_inferences_discarded_before_the_pass_lie_between_it_and_the_reading() -> None:
    # Two of a second are timed, after three that were discarded.
    slow = process([SECOND] * 2, start_ns=START)
    readings = [(START - round(3.02 * SECOND), 1_000), (START + 2 * SECOND, 252_000)]
    counted = series("gpu0", "energy_mj", readings, unit="mJ")
    found = only(energy(profile(slow, devices=(counted, *costly_counter(50)[1:]))))
    assert found.watts.value == pytest.approx(50, rel=0.01)


@pytest.mark.parametrize(
    ("devices", "reason"),
    [
        (costly_counter(50, at_s=(-2.0, -0.01)), "not read where a pass began and ended"),
        (costly_counter(50, at_s=(-0.9, 2.01)), "not read where a pass began and ended"),
        (costly_counter(50, period_s=0.5), "shorter than 5 updates of the energy counter, one"),
        (costly_counter(50, at_s=()), "not read where a pass began and ended"),
        (costly_counter(0), "the energy counter did not change in a pass"),
        (costly_counter(0, period_s=None), "the energy counter did not change in a pass"),
        ((recorded(50, without_s=0.6),), "record of power leaves out 0.62 s of a pass"),
    ],
    ids=["no end", "far away", "slow meter", "none", "stuck", "stuck, no period", "a gap"],
)
def test_edges_that_were_not_read_give_no_figure(
    devices: tuple[DeviceSeries, ...], reason: str
) -> None:
    found = only(energy(measured(*devices)))
    assert found.joules.value is None
    assert reason in found.joules.reason


def test_a_meter_whose_period_is_unknown_is_doubtful() -> None:
    found = only(energy(measured(*costly_counter(50, period_s=None), recorded(50))))
    assert found.period_s is None
    assert found.causes == ("how often the energy counter is updated could not be found",)


def test_power_is_the_drivers_own_record_before_ours() -> None:
    found = only(energy(measured(counter(50), power(30), recorded(50))))
    assert found.power_j.value == pytest.approx(0.5)
    assert found.verdict == "trusted"
    # Where the driver left out much of the pass, ours have to do.
    found = only(energy(measured(counter(50), power(51), recorded(50, without_s=0.6))))
    assert found.power_j.value == pytest.approx(0.51)


def test_opposite_errors_of_two_processes_do_not_cancel() -> None:
    devices = (counter(50), power(60), counter(50, process=1), power(40, process=1))
    found = only(energy(measured(*devices, processes=2)))
    assert found.verdict == "doubtful"
    assert "in process 0, where 12% are tolerated" in found.causes[0]


def test_idle_is_told_cold_and_warm() -> None:
    told = '{"energy": true}'
    # Before the session 20 W; after the pass, which ends at 2 s, 30 W.
    edges = costly_counter(50, idle=20)
    warm = series(
        "gpu0",
        "power_instant_mw",
        [
            (START + round((0.01 * n - 2) * SECOND), 20_000 if n < 200 else 50_000)
            for n in range(400)
        ]
        + [(START + round((0.01 * n + 2.01) * SECOND), 30_000) for n in range(160)],
        unit="mW",
    )
    found = only(energy(measured(warm, config=told)))
    assert found.idle_watts.value == pytest.approx(20)
    assert found.warm_idle_watts.value == pytest.approx(30)
    assert found.above_idle_j.value == pytest.approx(0.3)
    assert found.above_warm_idle_j.value == pytest.approx(0.2)
    found = only(energy(measured(*edges, config=told)))
    assert found.idle_watts.value == pytest.approx(20)
    assert found.warm_idle_watts.value == pytest.approx(20)
    # A device that was not left idle after the pass: a CPU, and all in older files.
    found = only(energy(measured(power(50, idle=20), config=told)))
    assert found.idle_watts.value == pytest.approx(20)
    assert found.warm_idle_watts.value is None
    assert "not left idle after the timed pass" in found.warm_idle_watts.reason


def test_energy_of_an_item_is_that_of_the_batch_divided() -> None:
    whole = measured(counter(50), power(50))
    assert "not recorded" in only(energy(whole)).item_j.reason
    batch = Reading(ITEMS, 32, "1", "dimension 0")
    found = only(energy(dataclasses.replace(whole, environment=(*whole.environment, batch))))
    assert found.joules.value is not None
    assert found.item_j.value == pytest.approx(found.joules.value / 32)


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
