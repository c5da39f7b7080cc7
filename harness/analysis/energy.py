"""Joules of one inference, from energy counters and power readings, and how far to trust them.

Over the timed pass of each process two estimates are made if the device allows: the mean
power between the first and the last update of its energy counter, and the mean of its power
readings. Either one, multiplied by the time of an inference, gives its energy. The hardware
averages and updates at its own pace, and some of it samples only part of the time (Yang,
Adamek & Armour, "Part-time Power Measurements", arXiv 2312.02741), so a figure needs several
updates and the two estimates must agree.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from harness.config.profile import ENERGY_IDLE_S
from harness.machine.devices.clock_reasons import THROTTLED, clock_reasons
from harness.records import DeviceSeries, ProcessRecord, Profile
from harness.statistics.figures import Figure
from harness.statistics.intervals import t_interval, typical

#: Fewest updates of a counter, and seconds of power readings, that give a figure.
MIN_UPDATES = 5
MIN_POWER_S = 0.5

#: Relative difference between counter and power above which neither is trusted.
AGREEMENT_LIMIT = 0.10

#: If the temperature rises by more than this during a timed pass, power is still drifting.
WARMING_LIMIT_C = 5

_JOULES = {"mJ": 1e-3, "uJ": 1e-6}
_WATTS = {"mW": 1e-3, "uW": 1e-6}


@dataclasses.dataclass(frozen=True, slots=True)
class Energy:
    """Energy that one inference costs on a device.

    Attributes:
        device: as in DeviceSeries.
        joules: of one inference, all that the device draws meanwhile; from its counter, else
            from its power readings; geometric mean over the processes.
        interval_j: confidence interval of exactly that; None with fewer than two processes.
        counter_j: from the counter.
        power_j: from the power readings.
        above_idle_j: joules minus what the device draws when idle.
        watts: mean power during the timed passes.
        idle_watts: power before the session was created.
        verdict: ``trusted``, ``doubtful``, or ``none`` if there is no figure.
        causes: why it is not trusted; one sentence each.
    """

    device: str
    joules: Figure
    interval_j: tuple[float, float] | None
    counter_j: Figure
    power_j: Figure
    above_idle_j: Figure
    watts: Figure
    idle_watts: Figure
    verdict: str
    causes: tuple[str, ...]


def energy(profile: Profile) -> tuple[Energy, ...]:
    """Energy of one inference on each device with an energy counter or power readings."""
    idle_s = ENERGY_IDLE_S if profile.asked.energy else 0.0
    timed = [process for process in profile.processes if len(process.steady)]
    devices: dict[str, list[DeviceSeries]] = {}
    for series in profile.devices:
        devices.setdefault(series.device, []).append(series)
    return tuple(
        _of_device(device, series, timed, idle_s)
        for device, series in devices.items()
        if timed and any(_is_counter(each) or _is_power(each) for each in series)
    )


def _of_device(
    device: str, series: Sequence[DeviceSeries], timed: Sequence[ProcessRecord], idle_s: float
) -> Energy:
    passes = [_Window(process.index, *_pass_ns(process)) for process in timed]
    counter = _mean_watts(_counter_watts, _only(_is_counter, series), passes)
    power = _mean_watts(_power_watts, _only(_is_power, series), passes)
    watts = counter if counter.watts is not None else power
    if any(each.double for each in series):
        watts = _MeanPower(None, "the readings come from a test double: they are not measurements")
    elif watts.watts is None:
        watts = _MeanPower(None, "; ".join(dict.fromkeys([counter.reason, power.reason])))
    if watts.watts is None:
        none = Figure(None, watts.reason)
        return Energy(device, none, None, none, none, none, none, none, "none", (watts.reason,))

    inference_s = np.array([(one.end_ns - one.start_ns) * 1e-9 for one in passes])
    inference_s /= [len(process.steady) for process in timed]
    joules = watts.watts * inference_s
    idle = _MeanPower(None, "idle power is measured only with `energy`")
    if idle_s:
        before = [_idle_window(series, one.process, idle_s) for one in passes]
        idle = _mean_watts(_counter_watts, _only(_is_counter, series), before)
        if idle.watts is None:
            idle = _mean_watts(_power_watts, _only(_is_power, series), before)
    causes = _doubts(series, passes, counter, power)
    return Energy(
        device=device,
        joules=Figure(typical(joules)),
        interval_j=t_interval(joules),
        counter_j=_times(counter, inference_s),
        power_j=_times(power, inference_s),
        above_idle_j=Figure(typical(joules - idle.watts * inference_s))
        if idle.watts is not None
        else Figure(None, idle.reason),
        watts=Figure(typical(watts.watts)),
        idle_watts=_times(idle, np.ones(len(passes))),
        verdict="doubtful" if causes else "trusted",
        causes=causes,
    )


class _Window(NamedTuple):
    """A span of time in a process, on CLOCK_MONOTONIC."""

    process: int
    start_ns: int
    end_ns: int

    def of(self, series: DeviceSeries) -> npt.NDArray[np.bool_]:
        """Which readings lie in it."""
        inside: npt.NDArray[np.bool_] = (series.process == self.process) & (
            (series.time_ns >= self.start_ns) & (series.time_ns <= self.end_ns)
        )
        return inside


class _MeanPower(NamedTuple):
    """Mean power in each of several windows, or why it is unknown."""

    watts: npt.NDArray[np.float64] | None
    reason: str = ""


def _pass_ns(process: ProcessRecord) -> tuple[int, int]:
    steady = process.steady
    return int(steady.start_ns[0]), int(steady.start_ns[-1] + steady.duration_ns[-1])


def _idle_window(series: Sequence[DeviceSeries], process: int, idle_s: float) -> _Window:
    """Begins at the first reading, as sampling begins with the idle time."""
    times = [each.time_ns[each.process == process] for each in series]
    start_ns = min((int(time[0]) for time in times if len(time)), default=0)
    return _Window(process, start_ns, start_ns + round(idle_s * 1e9))


def _is_counter(series: DeviceSeries) -> bool:
    return series.quantity.startswith("energy_") and series.unit in _JOULES


def _is_power(series: DeviceSeries) -> bool:
    # The averaged power lags by up to a second: it is stored, but not integrated.
    return (
        series.quantity.startswith("power_")
        and not series.quantity.startswith("power_average")
        and series.unit in _WATTS
    )


def _only(
    wanted: Callable[[DeviceSeries], bool], series: Sequence[DeviceSeries]
) -> DeviceSeries | None:
    return next(filter(wanted, series), None)


def _mean_watts(
    estimate: Callable[[DeviceSeries, _Window], float | str],
    series: DeviceSeries | None,
    windows: Sequence[_Window],
) -> _MeanPower:
    """An estimate for every window; if one has none, its reason stands for all."""
    if series is None:
        what = "energy counter" if estimate is _counter_watts else "power reading"
        return _MeanPower(None, f"the device exposes no readable {what}")
    found = [estimate(series, window) for window in windows]
    reason = next((one for one in found if isinstance(one, str)), None)
    if reason is not None:
        return _MeanPower(None, reason)
    return _MeanPower(np.array(found, np.float64))


def _counter_watts(series: DeviceSeries, window: _Window) -> float | str:
    """Between the first and the last update of the counter: outside them it is unknown."""
    inside = window.of(series)
    changed = (series.changed == 1) & inside
    changed[np.flatnonzero(inside)[:1]] = False  # it may have been updated long before
    at = np.flatnonzero(changed)
    if len(at) < MIN_UPDATES:
        return (
            f"a pass of {(window.end_ns - window.start_ns) * 1e-9:.2g} s saw {len(at)} of the "
            f"{MIN_UPDATES} energy counter updates that it needs: "
            "use `energy` or a longer `duration_s`"
        )
    joules = float(series.value[at[-1]] - series.value[at[0]]) * _JOULES[series.unit]
    return joules / (float(series.time_ns[at[-1]] - series.time_ns[at[0]]) * 1e-9)


def _power_watts(series: DeviceSeries, window: _Window) -> float | str:
    """Mean of the readings, each weighted by the time until the next."""
    inside = window.of(series)
    time_ns, value = series.time_ns[inside], series.value[inside]
    seconds = float(time_ns[-1] - time_ns[0]) * 1e-9 if len(time_ns) else 0.0
    if seconds < MIN_POWER_S:
        return (
            f"power was read over {seconds:.2g} s of a pass, {MIN_POWER_S} s are needed: "
            "use `energy` or a longer `duration_s`"
        )
    weights = np.diff(time_ns)
    return float(np.average(value[:-1], weights=weights)) * _WATTS[series.unit]


def _times(estimate: _MeanPower, seconds: npt.NDArray[np.float64]) -> Figure:
    if estimate.watts is None:
        return Figure(None, estimate.reason)
    return Figure(typical(estimate.watts * seconds))


def _doubts(
    series: Sequence[DeviceSeries],
    passes: Sequence[_Window],
    counter: _MeanPower,
    power: _MeanPower,
) -> tuple[str, ...]:
    """Why the figure should not be trusted; one sentence each."""
    doubts = []
    if counter.watts is None or power.watts is None:
        lacking, estimate = ("counter", counter) if counter.watts is None else ("power", power)
        doubts.append(f"nothing to check it against: {lacking}: {estimate.reason}")
    else:
        apart = float(np.mean(power.watts)) / max(float(np.mean(counter.watts)), 1e-9) - 1
        if abs(apart) > AGREEMENT_LIMIT:
            doubts.append(f"power readings differ from the counter by {apart:+.0%}")
    for each in series:
        parts = [each.value[window.of(each)] for window in passes]
        if each.quantity == "clock_reasons_mask":
            masks = np.concatenate(parts) & THROTTLED
            if masks.any():
                reasons = ", ".join(clock_reasons(int(np.bitwise_or.reduce(masks))))
                doubts.append(f"throttled in {np.mean(masks != 0):.0%} of the readings: {reasons}")
        if each.quantity == "temperature_c":
            rise = max((int(part[-1] - part[0]) for part in parts if len(part)), default=0)
            if rise > WARMING_LIMIT_C:
                doubts.append(f"it warmed up by {rise} °C during a pass: power was still rising")
    return tuple(doubts)
