"""What the devices did during a pass: runs the sampling threads, and turns readings into series."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harness.machine.devices import nvml
from harness.machine.devices.channels import Channel, ChannelSource
from harness.machine.devices.cpu_energy import CpuEnergy
from harness.machine.devices.host_channels import HostSeries
from harness.native import sampler
from harness.records import Absent, DeviceSeries

#: How often the slow channels are read, in Hz.
_SLOW_HZ = 10
#: How long a driver's timestamp may stay unchanged before its values are called stale.
_STALE_NS = 1_000_000_000
#: How far the driver's clock may be ahead of ours.
_AHEAD_NS = 1_000_000_000

_NOTHING_RECORDED = (
    "the driver's own samples, if there are any, have no time within the pass by CLOCK_REALTIME"
)

_UNTRIED = (
    "what a call takes is not known, as it failed when it was tried: {}; so it is made where "
    "passes begin and end, and seldom in between"
)

#: Readings of one channel or one thread: READING[n].
_Rows = npt.NDArray[np.void]


class DeviceSampler:
    """Samples the host, its CPU packages and one GPU during a pass.

    Files and the GPU have a thread each, so that a slow driver does not delay the files. The
    threads inherit the CPU affinity of the thread that calls start().

    Args:
        hz: readings per second, 1 to 1000. What changes slowly is read ten times a second, and
            calls of NVML that cost more than 50 µs at edges, about once a second or less between.
        gpu: NVML's index of the GPU, None for none.
        cpus: the CPUs that the inference may use.
        root: where /proc and /sys are looked for; if it is not /, the host's series are marked
            as test doubles.
        nvml_library: another libnvidia-ml.so.1.
        seconds: longest expected pass; memory for its readings is allocated up front. Readings
            after that are dropped and counted.
        why_no_gpu: the reason, if a GPU is used and it is not known which; no other is sampled.

    Attributes:
        gpu: as given.

    Raises:
        ValueError: hz is out of range.
    """

    def __init__(
        self,
        hz: float,
        gpu: int | None,
        cpus: Iterable[int],
        root: Path = Path("/"),
        nvml_library: str | None = None,
        seconds: float = 60.0,
        why_no_gpu: str = "",
    ) -> None:
        self.gpu = gpu
        self._absent: list[Absent] = [("gpu", why_no_gpu)] if why_no_gpu else []
        self._idle: list[tuple[int, int]] = []
        library = nvml_library or nvml.LIBRARY
        files = (HostSeries(cpus, root), CpuEnergy(root))
        self._threads = [_Thread("sampler", files, hz, seconds, double=root != Path("/"))]
        if gpu is not None:
            name = f"sampler_gpu{gpu}"
            self._threads.append(
                _Thread(name, (nvml.Nvml(gpu),), hz, seconds, gpu=gpu, library=library)
            )

    def start(self) -> None:
        """Starts sampling; returns after the first readings, or after at most 2 s per thread.

        Other Python threads keep running meanwhile. Call it once, and not before a timed pass.

        Raises:
            OSError: a thread cannot be started.
        """
        for thread in self._threads:
            thread.native.start()

    def edge(self) -> None:
        """Has the costly channels read, as a pass or a time of idling begins or ends here.

        Takes a period, at most 0.1 s longer; nothing if no channel is costly, or if a thread that
        did not answer last time still has not. Edges that are lost so are counted and told.
        """
        for thread in self._threads:
            thread.edge()

    def left_idle(self, since_ns: int) -> None:
        """Notes that the devices were left idle from this time (CLOCK_MONOTONIC) until now."""
        self._idle.append((since_ns, time.monotonic_ns()))

    def stop(self, process: int) -> tuple[tuple[DeviceSeries, ...], tuple[Absent, ...]]:
        """Takes the last readings and ends the threads; a hanging one is abandoned after 2 s.

        Args:
            process: ProcessRecord.index of the series.

        Returns:
            The series, with successful readings only, and what is missing partly or entirely,
            with the reasons. Counters that wrapped around are unwrapped. The threads themselves
            have series too, as devices ``sampler`` and ``sampler_gpuN``: ``lateness_ns`` of each
            tick, and one value each, at the end, of ``cpu_time_ns`` (of all ticks),
            ``cpu_share_ppm`` (the same, of the time since the first), ``setup_cpu_time_ns`` (before
            it), ``missed_ticks``, ``dropped_ticks`` and ``missed_edges``; of a channel that is not
            read at every tick ``QUANTITY_every_ns``, the longest time between two readings, and
            ``QUANTITY_call_ns``, what a call took at the start; of such an energy counter
            ``QUANTITY_period_ns``, the spacing of its updates. ``sampler idle_ns`` has a value for
            each time that the devices were left idle, which ended at its time.
        """
        for thread in self._threads:
            thread.native.stop()
        series: list[DeviceSeries] = []
        absent = list(self._absent)
        for thread in self._threads:
            found, missing = thread.results(process)
            series += found
            absent += missing
        if self._idle:
            series.append(_idle(self._idle, process, double=any(each.double for each in series)))
        return tuple(series), tuple(absent)


class _Thread:
    """One native thread and the channels that it reads."""

    def __init__(
        self,
        name: str,
        sources: Iterable[ChannelSource],
        hz: float,
        seconds: float,
        *,
        double: bool = False,
        gpu: int = 0,
        library: str = nvml.LIBRARY,
    ) -> None:
        self._name = name
        self._double = double
        self._library = library
        self._absent: list[Absent] = []
        offered: list[tuple[Channel, ChannelSource]] = []
        for source in sources:
            offer = source.offer()
            self._absent += offer.absent
            offered += [(channel, source) for channel in offer.channels]
        # Fast channels first; the sort is stable, so channels of one source stay together.
        offered.sort(key=lambda pair: pair[0].reads.slow)
        self._offered = offered
        self.native = sampler.Sampler(
            [channel.reads for channel, _ in offered],
            hz=hz,
            slow_every=max(1, round(hz / _SLOW_HZ)),
            capacity=math.ceil(hz * seconds) + 2,
            gpu=gpu,
            nvml_library=library,
        )
        self._edges = self._missed_edges = 0

    def edge(self) -> None:
        self._edges += 1
        self._missed_edges += not self.native.edge()

    def results(self, process: int) -> tuple[list[DeviceSeries], list[Absent]]:
        """Series of all channels, followed by those of the thread itself."""
        fast, slow, seldom = self.native.take()
        report, costs = self.native.report(), self.native.costs()
        self.native.close()
        double = self._double or report.test_double
        series, absent = [], list(self._absent)
        columns = [*fast.T[1:], *slow.T]
        reasons: dict[str, list[str]] = {}
        untried: dict[str, list[str]] = {}
        for index, ((channel, source), rows) in enumerate(zip(self._offered, columns, strict=True)):
            if costs[index].seldom:
                rows = seldom[seldom["channel"] == index]
            if costs[index].seldom and channel.reads.kind == sampler.NVML_SAMPLES:
                rows = _of_the_pass(rows, fast[:, 0])
                if report.hung is None and len(fast) and not len(rows):
                    reasons.setdefault(_NOTHING_RECORDED, []).append(channel.name)
            good = rows[rows["status"] == 0]
            for reason in _missing(source, rows, report.detail):
                reasons.setdefault(reason, []).append(channel.name)
            good, reset = _before_reset(channel, good)
            if reset:
                absent.append((channel.name, reset))
            if len(good):
                series.append(_series(channel, process, good, double=double))
                if costs[index].untried:
                    why = _UNTRIED.format(source.explain(costs[index].untried))
                    untried.setdefault(why, []).append(f"{channel.quantity}_call_ns")
        absent += [(self._together(names), reason) for reason, names in reasons.items()]
        absent += [
            (f"{self._name} {', '.join(quantities)}", why) for why, quantities in untried.items()
        ]
        if report.hung is not None:
            absent.append(self._hung(report))
        if report.dropped:
            reason = f"{report.dropped} ticks did not fit: the pass was longer than announced"
            absent.append((self._name, reason))
        if self._missed_edges:
            absent.append((f"{self._name} missed_edges", self._lost_edges(report)))
        if series:
            series += self._own(process, fast[:, 0], report, costs, double=double)
        return series, absent

    def _together(self, names: list[str]) -> str:
        """One name for channels that are missing for the same reason."""
        devices = ", ".join(dict.fromkeys(name.split()[0] for name in names))
        if len(names) == len(self._offered):
            return devices
        return f"{devices} {', '.join(dict.fromkeys(name.split()[1] for name in names))}"

    def _hung(self, report: sampler.Report) -> Absent:
        if report.hung == len(self._offered):
            return self._name, "NVML did not close within 2 s and was abandoned; no reading is lost"
        channel = self._offered[report.hung or 0][0]
        if report.ticks == 0:
            return channel.device, "NVML did not open and answer within 2 s and was abandoned"
        reason = f"{channel.source} did not return within 2 s: this thread stopped sampling there"
        return channel.name, reason

    def _lost_edges(self, report: sampler.Report) -> str:
        reason = (
            f"at {self._missed_edges} of {self._edges} ends of a pass or of idling its costly "
            "channels were not read within 0.1 s: "
        )
        if report.ticks == 0 or report.hung is not None:
            return f"{reason}NVML did not answer"
        return f"{reason}NVML was still being opened, or took longer"

    def _own(
        self,
        process: int,
        ticks: _Rows,
        report: sampler.Report,
        costs: Iterable[sampler.Cost],
        *,
        double: bool,
    ) -> Iterator[DeviceSeries]:
        if not len(ticks):
            return
        span_ns = int(ticks["time_ns"][-1] - ticks["time_ns"][0])
        counts = {
            "cpu_time_ns": ("ns", report.cpu_ns),
            "setup_cpu_time_ns": ("ns", report.setup_ns),
            "missed_ticks": ("1", report.missed),
            "dropped_ticks": ("1", report.dropped),
            "missed_edges": ("1", self._missed_edges),
        }
        if span_ns:  # the last tick ends after it began: of a short pass this is too much
            counts["cpu_share_ppm"] = ("1e-6", round(1e6 * report.cpu_ns / span_ns))
        for (channel, _), cost in zip(self._offered, costs, strict=True):
            if cost.seldom:
                counts[f"{channel.quantity}_every_ns"] = ("ns", cost.every_ns)
            if cost.seldom and cost.cost_ns:
                counts[f"{channel.quantity}_call_ns"] = ("ns", cost.cost_ns)
            if cost.period_ns:
                counts[f"{channel.quantity}_period_ns"] = ("ns", cost.period_ns)
        nothing = sampler.Channel(sampler.FILE, 1)
        lateness = Channel(self._name, "lateness_ns", "ns", "wake-up minus its deadline", nothing)
        yield _series(lateness, process, ticks, double=double)
        for quantity, (unit, value) in counts.items():
            row = ticks[-1:].copy()
            row["value"] = value
            whole = Channel(self._name, quantity, unit, "the whole pass", nothing)
            yield _series(whole, process, row, double=double)


def _idle(spans: Sequence[tuple[int, int]], process: int, *, double: bool) -> DeviceSeries:
    """Times in which the devices were left idle; each value belongs to the end of it."""
    rows = np.zeros(len(spans), sampler.READING)
    rows["time_ns"] = [end_ns for _, end_ns in spans]
    rows["value"] = [end_ns - start_ns for start_ns, end_ns in spans]
    nothing = sampler.Channel(sampler.FILE, 1)
    named = Channel("sampler", "idle_ns", "ns", "idle until then, without inferences", nothing)
    return _series(named, process, rows, double=double)


def _of_the_pass(samples: _Rows, ticks: _Rows) -> _Rows:
    """Those of the driver's own samples whose time can be, in order; failures to fetch them too."""
    _, first = np.unique(samples["time_ns"], return_index=True)
    samples = samples[first]
    latest_ns = int(ticks["time_ns"][-1]) + _AHEAD_NS if len(ticks) else 0
    possible: _Rows = samples[samples["time_ns"] <= latest_ns]
    return possible


def _missing(source: ChannelSource, rows: _Rows, detail: str) -> Iterator[str]:
    """Why readings of a channel are missing; a hung thread is reported elsewhere."""
    failed = rows[rows["status"] != 0]
    for status in np.unique(failed["status"]):
        these = failed[failed["status"] == status]
        what = source.explain(int(status)) + (f": {detail}" if detail else "")
        if len(these) == len(rows):
            yield what
        else:
            after_s = (these["time_ns"][0] - rows["time_ns"][0]) / 1e9
            yield f"{len(these)} of {len(rows)} readings, the first after {after_s:.1f} s: {what}"
    stamps = rows[rows["updated_us"] != 0]
    if len(stamps) and len(np.unique(stamps["updated_us"])) == 1:
        still_ns = int(stamps["time_ns"][-1] - stamps["time_ns"][0])
        if still_ns > _STALE_NS:
            yield f"stale: the driver did not update it for {still_ns / 1e9:.1f} s"


def _before_reset(channel: Channel, good: _Rows) -> tuple[_Rows, str]:
    """Readings with wrap-arounds removed, cut at a counter reset, and the reason for a cut."""
    falls = np.flatnonzero(np.diff(good["value"]) < 0) if channel.counter else np.array([])
    if not len(falls):
        return good, ""
    if channel.largest is not None:
        unwrapped = good.copy()
        unwrapped["value"][1:] += np.cumsum(np.diff(good["value"]) < 0) * channel.largest
        return unwrapped, ""
    first = int(falls[0]) + 1
    after_s = (good["time_ns"][first] - good["time_ns"][0]) / 1e9
    reason = f"the counter was reset after {after_s:.1f} s: its series ends there"
    return good[:first], reason


def _series(channel: Channel, process: int, rows: _Rows, *, double: bool) -> DeviceSeries:
    changed = np.ones(len(rows), np.int8)
    changed[1:] = np.diff(rows["value"]) != 0
    return DeviceSeries(
        channel.device,
        channel.quantity,
        channel.unit,
        channel.source,
        process=np.full(len(rows), process, np.int32),
        time_ns=np.ascontiguousarray(rows["time_ns"]),
        value=np.ascontiguousarray(rows["value"]),
        changed=changed,
        double=double,
    )
