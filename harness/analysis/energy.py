"""Joules of one inference, from energy counters and power readings, and how far to trust them.

Over the timed pass of each process two estimates are made if the device allows: the mean power by
its energy counter, and the mean of its power readings. Either one, multiplied by the time of an
inference, gives its energy. A counter that is cheap to read is read at every tick, and its power is
that between its first and its last update in the pass. A costly one is read where the pass begins
and ends, and each of these two readings may be up to an update old.

The hardware averages and updates at its own pace, and some of it samples only part of the time
(Yang, Adamek & Armour, "Part-time Power Measurements", arXiv 2312.02741), so a figure needs many
updates, and the two estimates must agree in every process.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from harness.analysis.throughput import time_per_inference_ns
from harness.config.profile import ENERGY_IDLE_S
from harness.machine.devices.clock_reasons import THROTTLED, clock_reasons
from harness.records import DeviceSeries, ProcessRecord, Profile
from harness.statistics.figures import Figure
from harness.statistics.intervals import t_interval, typical

#: Fewest updates of a counter, and seconds of power readings, that give a figure.
MIN_UPDATES = 5
MIN_POWER_S = 0.5

#: Fewest update periods in the timed passes of all processes together; with fewer, the interval is
#: widened by EDGE_PERIODS of them, as each end of a pass may be metered a period late.
MIN_PERIODS = 50
EDGE_PERIODS = 2

#: Relative difference between counter and power, in any process, above which neither is trusted;
#: on top of what the ends of the pass may explain.
AGREEMENT_LIMIT = 0.10

#: A reading of a costly counter belongs to an end of a window if it lies this close to it: outside
#: of it, in seconds; within it, or where the device did the same outside, as a share of the window.
#: Between the reading and a timed pass, inferences are discarded for 0.02 s, but at least three
#: (`harness.measuring.timed_pass`).
EDGE_S = 0.05
EDGE_SHARE = 0.25
DISCARDED = 3

#: The longest time of a pass that readings of power may leave out.
MAX_GAP_S = 0.5

#: If the temperature rises by more than this during a timed pass, power is still drifting.
WARMING_LIMIT_C = 5

_JOULES = {"mJ": 1e-3, "uJ": 1e-6}
_WATTS = {"mW": 1e-3, "uW": 1e-6}

_LONGER = "use `energy` or a longer `duration_s`"


@dataclasses.dataclass(frozen=True, slots=True)
class Energy:
    """Energy that one inference costs on a device.

    Attributes:
        device: as in DeviceSeries.
        joules: of one inference, all that the device draws meanwhile; from its counter, else
            from its power readings; geometric mean over the processes.
        interval_j: confidence interval of exactly that, widened if the passes were short for the
            meter (a cause then says so); None with fewer than two processes.
        item_j: joules of one item of the batch.
        counter_j: from the counter.
        power_j: from the power readings: the driver's own record if there is one.
        above_idle_j: joules minus what the device draws when idle before the session.
        above_warm_idle_j: joules minus what it draws when idle after the timed pass.
        watts: mean power during the timed passes.
        idle_watts: power before the session was created.
        warm_idle_watts: power after the timed pass, with the session still open.
        period_s: spacing of the updates of what joules are from; None if unknown.
        verdict: ``trusted``, ``doubtful``, or ``none`` if there is no figure.
        causes: why it is not trusted; one sentence each.
    """

    device: str
    joules: Figure
    interval_j: tuple[float, float] | None
    item_j: Figure
    counter_j: Figure
    power_j: Figure
    above_idle_j: Figure
    above_warm_idle_j: Figure
    watts: Figure
    idle_watts: Figure
    warm_idle_watts: Figure
    period_s: float | None
    verdict: str
    causes: tuple[str, ...]


def energy(profile: Profile) -> tuple[Energy, ...]:
    """Energy of one inference on each device with an energy counter or power readings."""
    timed = [process for process in profile.processes if len(process.steady)]
    devices: dict[str, list[DeviceSeries]] = {}
    for series in profile.devices:
        devices.setdefault(series.device, []).append(series)
    return tuple(
        _of_device(
            series,
            _Meter(series, devices.get(f"sampler_{device}", ())),
            _idle_windows(profile, series, timed, devices.get("sampler", ())),
            timed,
            profile,
        )
        for device, series in devices.items()
        if timed and any(_is_counter(each) or _is_power(each) for each in series)
    )


def _of_device(
    series: Sequence[DeviceSeries],
    meter: _Meter,
    idle_windows: tuple[_Windows, _Windows],
    timed: Sequence[ProcessRecord],
    profile: Profile,
) -> Energy:
    device = series[0].device
    passes = [_timed_pass(process) for process in timed]
    counter, power = meter.counter(passes), meter.power(passes)
    used = counter if counter.watts is not None else power
    if any(each.double for each in series):
        used = _MeanPower(None, "the readings come from a test double: they are not measurements")
    elif used.watts is None:
        used = _MeanPower(None, _reasons(counter, power))
    if used.watts is None:
        return _nothing(device, used.reason)

    inference_s = np.array(
        [
            # Of a group, what callers had begun at an end of the window is no inference of it.
            time_per_inference_ns(process) * 1e-9
            if len(process.caller)
            else (one.end_ns - one.start_ns) * 1e-9 / len(process.steady)
            for one, process in zip(passes, timed, strict=True)
        ]
    )
    joules = used.watts * inference_s
    interval = t_interval(joules)
    widened, short = _short(used, "energy counter" if used is counter else "power readings", passes)
    if interval is not None:
        interval = (interval[0] * max(1 - widened, 0), interval[1] * (1 + widened))
    idle, warm = map(meter.idle, idle_windows)
    causes = (*short, *_agreement(counter, power, passes), *_doubts(series, passes))
    once = np.ones(len(passes))
    return Energy(
        device=device,
        joules=Figure(typical(joules)),
        interval_j=interval,
        item_j=_of_an_item(typical(joules), profile),
        counter_j=_times(counter, inference_s),
        power_j=_times(power, inference_s),
        above_idle_j=_above(joules, idle, inference_s),
        above_warm_idle_j=_above(joules, warm, inference_s),
        watts=Figure(typical(used.watts)),
        idle_watts=_times(idle, once),
        warm_idle_watts=_times(warm, once),
        period_s=used.period_s,
        verdict="doubtful" if causes else "trusted",
        causes=causes,
    )


def _reasons(counter: _MeanPower, power: _MeanPower) -> str:
    return "; ".join(dict.fromkeys([counter.reason, power.reason]))


def _nothing(device: str, reason: str) -> Energy:
    none = Figure(None, reason)
    return Energy(
        device=device,
        joules=none,
        interval_j=None,
        item_j=none,
        counter_j=none,
        power_j=none,
        above_idle_j=none,
        above_warm_idle_j=none,
        watts=none,
        idle_watts=none,
        warm_idle_watts=none,
        period_s=None,
        verdict="none",
        causes=(reason,),
    )


class _Window(NamedTuple):
    """A span of time in a process, on CLOCK_MONOTONIC.

    Attributes:
        process: ProcessRecord.index.
        start_ns, end_ns: of the span.
        before_s, after_s: how long before and after it the device did the same.
        idle: whether it is a time of idling, of which any part tells the power.
    """

    process: int
    start_ns: int
    end_ns: int
    before_s: float = 0.0
    after_s: float = 0.0
    idle: bool = False

    @property
    def name(self) -> str:
        return "idling" if self.idle else "a pass"

    @property
    def seconds(self) -> float:
        return (self.end_ns - self.start_ns) * 1e-9

    def of(self, series: DeviceSeries) -> npt.NDArray[np.bool_]:
        """Which readings lie in it."""
        inside: npt.NDArray[np.bool_] = (series.process == self.process) & (
            (series.time_ns >= self.start_ns) & (series.time_ns <= self.end_ns)
        )
        return inside


class _Estimate(NamedTuple):
    """Mean power in a window.

    Attributes:
        watts: the power.
        span_s: the time that it is the mean of.
        edges_s: how much of that time may differ from what was metered.
    """

    watts: float
    span_s: float
    edges_s: float


class _MeanPower(NamedTuple):
    """Mean power in each of several windows, or why it is unknown.

    Attributes:
        watts: float64[windows].
        reason: why there is none.
        span_s, edges_s: float64[windows], as in _Estimate.
        period_s: spacing of the meter's updates, the longest of any process; None if unknown.
    """

    watts: npt.NDArray[np.float64] | None
    reason: str = ""
    span_s: npt.NDArray[np.float64] = np.empty(0)
    edges_s: npt.NDArray[np.float64] = np.empty(0)
    period_s: float | None = None


def _timed_pass(process: ProcessRecord) -> _Window:
    steady = process.steady
    start_ns, end_ns = int(steady.start_ns[0]), int(steady.start_ns[-1] + steady.duration_ns[-1])
    discarded_s = DISCARDED * float(np.median(steady.duration_ns)) * 1e-9
    return _Window(process.index, start_ns, end_ns, before_s=discarded_s)


#: A window of each process, or why there are none.
_Windows = list[_Window] | str

_NOT_WARM = "it was not left idle after the timed pass, as is done with a GPU alone"


def _idle(process: int, start_ns: int, end_ns: int) -> _Window:
    # The session is not created before the counter was read; the last reading ends the sampling.
    near_s = EDGE_SHARE * (end_ns - start_ns) * 1e-9
    return _Window(process, start_ns, end_ns, near_s, near_s, idle=True)


def _idle_windows(
    profile: Profile,
    series: Sequence[DeviceSeries],
    timed: Sequence[ProcessRecord],
    thread: Sequence[DeviceSeries],
) -> tuple[_Windows, _Windows]:
    """When the device was idle before the session and after the timed pass; or why it was not.

    The series of the sampling thread say when. In files from before that was noted, sampling begins
    with the first of these times, and ends with the second.
    """
    if not profile.asked.energy:
        reason = "idle power is measured only with `energy`"
        return reason, reason
    noted = next((each for each in thread if each.quantity == "idle_ns"), None)
    if noted is not None:
        return _noted(noted, timed)
    idle_ns = round(ENERGY_IDLE_S * 1e9)
    cold, warm = [], []
    for process in timed:
        times = [each.time_ns[each.process == process.index] for each in series]
        first_ns = min((int(time[0]) for time in times if len(time)), default=0)
        last_ns = max((int(time[-1]) for time in times if len(time)), default=0)
        cold.append(_idle(process.index, first_ns, first_ns + idle_ns))
        warm.append(_idle(process.index, last_ns - idle_ns, last_ns))
    ended_ns = [_timed_pass(process).end_ns for process in timed]
    if any(one.start_ns < end_ns for one, end_ns in zip(warm, ended_ns, strict=True)):
        return cold, _NOT_WARM
    return cold, warm


def _noted(idle: DeviceSeries, timed: Sequence[ProcessRecord]) -> tuple[_Windows, _Windows]:
    """The times that the processes noted: the first one before their passes, and one after it."""
    cold: list[_Window] = []
    warm: list[_Window] = []
    for process in timed:
        mine = idle.process == process.index
        spans = [
            _idle(process.index, end_ns - length_ns, end_ns)
            for end_ns, length_ns in zip(
                idle.time_ns[mine].tolist(), idle.value[mine].tolist(), strict=True
            )
            if 0 < length_ns < end_ns
        ]
        span = _timed_pass(process)
        cold += [one for one in spans if one.end_ns <= span.start_ns][:1]
        warm += [one for one in spans if one.start_ns >= span.end_ns][:1]
    return (
        cold if len(cold) == len(timed) else "no process noted when it was left idle",
        warm if len(warm) == len(timed) else _NOT_WARM,
    )


class _Meter:
    """What a device tells about its power.

    Args:
        series: of the device.
        thread: of the thread that sampled it, which tells how costly its counter is to read.
    """

    def __init__(self, series: Sequence[DeviceSeries], thread: Sequence[DeviceSeries]) -> None:
        self._counter = next(filter(_is_counter, series), None)
        # The driver's own record is the finest.
        self._powers = sorted(filter(_is_power, series), key=lambda each: not _is_recorded(each))
        self._found = {each.quantity: each for each in thread}

    def counter(self, windows: Sequence[_Window]) -> _MeanPower:
        """Power by the energy counter."""
        series = self._counter
        if series is None:
            return _MeanPower(None, "the device exposes no readable energy counter")
        # Of one whose price is not known, only this is; of older files, only the price.
        if not {f"{series.quantity}_{what}_ns" for what in ("every", "call")} & set(self._found):
            estimates = [_between_updates(series, window) for window in windows]
            return _together(estimates, [_period_s(series, one.process) for one in windows])
        periods = [self._found_period_s(series, window.process) for window in windows]
        return _together(
            [
                _between_edges(series, window, period)
                for window, period in zip(windows, periods, strict=True)
            ],
            periods,
        )

    def power(self, windows: Sequence[_Window]) -> _MeanPower:
        """Power by the first readings that cover all windows."""
        reasons = []
        for series in self._powers:
            estimates = [_power_watts(series, window) for window in windows]
            mean = _together(estimates, [_period_s(series, one.process) for one in windows])
            if mean.watts is not None:
                return mean
            reasons.append(mean.reason)
        reason = "; ".join(dict.fromkeys(reasons))
        return _MeanPower(None, reason or "the device exposes no readable power reading")

    def idle(self, windows: _Windows) -> _MeanPower:
        """Power by the counter, as of the timed passes if it can be; else by the readings."""
        if isinstance(windows, str):
            return _MeanPower(None, windows)
        counter = self.counter(windows)
        if counter.watts is not None:
            return counter
        power = self.power(windows)
        if power.watts is not None:
            return power
        return _MeanPower(None, _reasons(counter, power))

    def _found_period_s(self, series: DeviceSeries, process: int) -> float | None:
        """Spacing of a costly counter's updates, as the thread found it at its start."""
        told = self._found.get(f"{series.quantity}_period_ns")
        if told is None:
            return None
        own = told.value[told.process == process]
        return float(own[0]) * 1e-9 if len(own) and own[0] > 0 else None


def _is_counter(series: DeviceSeries) -> bool:
    return series.quantity.startswith("energy_") and series.unit in _JOULES


def _is_power(series: DeviceSeries) -> bool:
    # The averaged power lags by up to a second: it is stored, but not integrated.
    return (
        series.quantity.startswith("power_")
        and not series.quantity.startswith("power_average")
        and series.unit in _WATTS
    )


def _is_recorded(series: DeviceSeries) -> bool:
    """Whether the driver recorded it by itself, at its own pace."""
    return series.quantity.startswith("power_samples")


def _together(estimates: Sequence[_Estimate | str], periods: Sequence[float | None]) -> _MeanPower:
    """Estimates of all windows; if one has none, its reason stands for all."""
    known = [one for one in estimates if not isinstance(one, str)]
    if len(known) < len(estimates):
        return _MeanPower(None, next(one for one in estimates if isinstance(one, str)))
    watts, span_s, edges_s = np.array(known, np.float64).T
    found = [one for one in periods if one is not None]
    return _MeanPower(watts, "", span_s, edges_s, max(found) if len(found) == len(known) else None)


def _period_s(series: DeviceSeries, process: int) -> float | None:
    """Median spacing of the changes of a series in a process; None for fewer than three.

    Of what changes more often than it is read, the spacing of the readings.
    """
    own = series.process == process
    changes = series.time_ns[own][1:][series.changed[own][1:] == 1]
    return float(np.median(np.diff(changes))) * 1e-9 if len(changes) >= 3 else None


def _between_updates(series: DeviceSeries, window: _Window) -> _Estimate | str:
    """Between the first and the last update of the counter: outside them it is unknown."""
    inside = window.of(series)
    changed = (series.changed == 1) & inside
    changed[np.flatnonzero(inside)[:1]] = False  # it may have been updated long before
    at = np.flatnonzero(changed)
    if len(at) < MIN_UPDATES:
        return (
            f"{window.name} of {window.seconds:.2g} s saw {len(at)} of the {MIN_UPDATES} energy "
            f"counter updates that it needs: {_LONGER}"
        )
    joules = float(series.value[at[-1]] - series.value[at[0]]) * _JOULES[series.unit]
    span_s = float(series.time_ns[at[-1]] - series.time_ns[at[0]]) * 1e-9
    # An update shows in the reading after it.
    reading_s = float(np.median(np.diff(series.time_ns[inside]))) * 1e-9
    return _Estimate(joules / span_s, span_s, 2 * reading_s)


def _between_edges(
    series: DeviceSeries, window: _Window, period_s: float | None
) -> _Estimate | str:
    """Between the readings where the window begins and ends."""
    own = series.process == window.process
    time_ns, value = series.time_ns[own], series.value[own]
    near_ns = round(max(EDGE_S, EDGE_SHARE * window.seconds) * 1e9)
    since_ns = window.start_ns - round((EDGE_S + window.before_s) * 1e9)
    until_ns = window.end_ns + round((EDGE_S + window.after_s) * 1e9)
    inside = (time_ns >= window.start_ns) & (time_ns <= window.end_ns)
    # Rather from just outside of the window than from just inside of it.
    before = np.flatnonzero((time_ns >= since_ns) & (time_ns <= window.start_ns))[-1:]
    begun = np.flatnonzero(inside & (time_ns <= window.start_ns + near_ns))
    first = np.append(before, begun)[:1]
    after = np.flatnonzero((time_ns >= window.end_ns) & (time_ns <= until_ns))[:1]
    ending = np.flatnonzero(inside & (time_ns >= window.end_ns - near_ns))
    last = np.append(after, ending[::-1])[:1]
    ends = [*first.tolist(), *last.tolist()]
    if len(ends) < 2 or time_ns[ends[0]] >= time_ns[ends[1]]:
        return f"the energy counter was not read where {window.name} began and ended"
    span_s = float(time_ns[ends[1]] - time_ns[ends[0]]) * 1e-9
    if period_s is not None and span_s < MIN_UPDATES * period_s:
        return (
            f"{window.name} of {window.seconds:.2g} s is shorter than {MIN_UPDATES} updates of the "
            f"energy counter, one every {period_s * 1e3:.3g} ms: {_LONGER}"
        )
    joules = float(value[ends[1]] - value[ends[0]]) * _JOULES[series.unit]
    if not joules:  # it is stuck, or it updates more slowly than it was found to
        return f"the energy counter did not change in {window.name}"
    return _Estimate(joules / span_s, span_s, EDGE_PERIODS * (period_s or 0.0))


def _power_watts(series: DeviceSeries, window: _Window) -> _Estimate | str:
    """Mean of the readings, each weighted by the time until the next."""
    inside = window.of(series)
    time_ns, value = series.time_ns[inside], series.value[inside]
    seconds = float(time_ns[-1] - time_ns[0]) * 1e-9 if len(time_ns) else 0.0
    if seconds < MIN_POWER_S:
        return (
            f"power was read over {seconds:.2g} s of {window.name}, {MIN_POWER_S} s are needed: "
            f"{_LONGER}"
        )
    weights = np.diff(time_ns)
    gaps = [int(weights.max())]
    if not window.idle:  # while idle any part tells as much as the whole
        gaps += [int(time_ns[0]) - window.start_ns, window.end_ns - int(time_ns[-1])]
    gap_s = max(gaps) * 1e-9
    if gap_s > MAX_GAP_S:
        which = "the driver's own record" if _is_recorded(series) else "our record"
        return f"{which} of power leaves out {gap_s:.2g} s of {window.name}"
    watts = float(np.average(value[:-1], weights=weights)) * _WATTS[series.unit]
    return _Estimate(watts, seconds, 2 * float(np.median(weights)) * 1e-9)


def _short(
    used: _MeanPower, meter: str, passes: Sequence[_Window]
) -> tuple[float, tuple[str, ...]]:
    """Whether the passes were short for the meter: by what share to widen, and what to say."""
    if used.period_s is None:
        if meter != "energy counter":  # readings that stand still: power that does not change
            return 0.0, ()
        return 0.0, (f"how often the {meter} is updated could not be found",)
    periods = float(used.span_s.sum()) / used.period_s
    if periods >= MIN_PERIODS:
        return 0.0, ()
    widened = EDGE_PERIODS * used.period_s / float(used.span_s.mean())
    text = (
        f"together the timed passes hold {periods:.0f} updates of the {meter}, not {MIN_PERIODS} "
        f"(one every {used.period_s * 1e3:.3g} ms): as {EDGE_PERIODS} a pass are uncertain, any "
        f"interval is widened by ±{widened:.1%}; {_longer(used.period_s, passes)}"
    )
    return widened, (text,)


def _longer(period_s: float, passes: Sequence[_Window]) -> str:
    """How long a timed pass has to be for enough updates, with as many processes as there are."""
    # Ends of a pass may lie within a period.
    needed_s = period_s * (MIN_PERIODS / len(passes) + EDGE_PERIODS)
    return f"a `duration_s` of {math.ceil(10 * needed_s) / 10:.1f} would do"


def _agreement(
    counter: _MeanPower, power: _MeanPower, passes: Sequence[_Window]
) -> tuple[str, ...]:
    """Whether both estimates agree in each process: opposite errors of two do not cancel."""
    if counter.watts is None or power.watts is None:
        lacking, estimate = ("counter", counter) if counter.watts is None else ("power", power)
        return (f"nothing to check it against: {lacking}: {estimate.reason}",)
    apart = power.watts / np.maximum(counter.watts, 1e-9) - 1
    bound = AGREEMENT_LIMIT + counter.edges_s / counter.span_s + power.edges_s / power.span_s
    worst = int(np.argmax(np.abs(apart) - bound))
    if abs(apart[worst]) <= bound[worst]:
        return ()
    text = (
        f"power readings differ from the counter by {apart[worst]:+.0%} in process "
        f"{passes[worst].process}, where {bound[worst]:.0%} are tolerated"
    )
    return (text,)


def _of_an_item(joules: float, profile: Profile) -> Figure:
    items = profile.items
    if not isinstance(items.value, int) or items.value < 1:
        return Figure(None, items.reason or "the file does not record the batch size")
    return Figure(joules / items.value)


def _above(
    joules: npt.NDArray[np.float64], idle: _MeanPower, inference_s: npt.NDArray[np.float64]
) -> Figure:
    if idle.watts is None:
        return Figure(None, idle.reason)
    return Figure(typical(joules - idle.watts * inference_s))


def _times(estimate: _MeanPower, seconds: npt.NDArray[np.float64]) -> Figure:
    if estimate.watts is None:
        return Figure(None, estimate.reason)
    return Figure(typical(estimate.watts * seconds))


def _doubts(series: Sequence[DeviceSeries], passes: Sequence[_Window]) -> tuple[str, ...]:
    """What the device did in the passes that makes its power untypical; one sentence each."""
    doubts = []
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
