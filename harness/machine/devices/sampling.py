"""What the devices did during a pass: starts the sampling threads, makes series of their rows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harness.machine.devices import nvml
from harness.machine.devices.channels import Channel, ChannelSource
from harness.machine.devices.cpu_energy import CpuEnergy
from harness.machine.devices.host_channels import HostSeries
from harness.native import sampler
from harness.records import Absent, DeviceSeries

#: Times a second that the slow channels are read.
_SLOW_HZ = 10
#: Longest time in which a driver's stamp may stand still before its values are called stale.
_STALE_NS = 1_000_000_000


#: READING[n]
_Rows = npt.NDArray[np.void]


class DeviceSampler:
    """Samples the host, its CPU packages and one GPU during a pass.

    Files and the GPU have a thread each, so that a slow driver does not hold the files up.
    The threads belong to the CPUs that the thread that calls start() may use.

    Args:
        hz: readings a second, 1 to 1000; costly ones are read ten times a second.
        gpu: NVML's index of the GPU, None for none.
        cpus: those that the inference may use.
        root: where /proc and /sys are looked for; any other than / makes doubles of the
            series of the host.
        nvml_library: another libnvidia-ml.so.1.
        seconds: how long the pass may be; memory for its readings is allocated before. Of a
            longer pass the rest is dropped and counted.

    Raises:
        ValueError: hz is out of its range.
    """

    def __init__(
        self,
        hz: float,
        gpu: int | None,
        cpus: Iterable[int],
        root: Path = Path("/"),
        nvml_library: str | None = None,
        seconds: float = 60.0,
    ) -> None:
        library = nvml_library or nvml.LIBRARY
        files = (HostSeries(cpus, root), CpuEnergy(root))
        self._threads = [_Thread("sampler", files, hz, seconds, double=root != Path("/"))]
        if gpu is not None:
            name = f"sampler_gpu{gpu}"
            self._threads.append(
                _Thread(name, (nvml.Nvml(gpu),), hz, seconds, gpu=gpu, library=library)
            )

    def start(self) -> None:
        """Starts sampling; returns after the first readings, at most 2 s a thread later.

        Other Python threads go on meanwhile. Called once.

        Raises:
            OSError: a thread cannot be started.
        """
        for thread in self._threads:
            thread.native.start()

    def stop(self, process: int) -> tuple[tuple[DeviceSeries, ...], tuple[Absent, ...]]:
        """Takes last readings and ends the threads, or gives up one that hangs after 2 s.

        Args:
            process: ProcessRecord.index of the series.

        Returns:
            The series, of successful readings only, and what is missing in them or altogether,
            with the reason. Counters that wrapped around are unwrapped. Of the threads
            themselves, as device ``sampler`` and ``sampler_gpuN``: ``lateness_ns`` of each
            tick, and at the end one value each of ``cpu_time_ns``, ``missed_ticks`` and
            ``dropped_ticks``.
        """
        for thread in self._threads:
            thread.native.stop()
        series: list[DeviceSeries] = []
        absent: list[Absent] = []
        for thread in self._threads:
            found, missing = thread.results(process)
            series += found
            absent += missing
        return tuple(series), tuple(absent)


class _Thread:
    """One native thread and whose channels it reads."""

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
        # The fast ones first; channels of one source stay together, for sorting is stable.
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

    def results(self, process: int) -> tuple[list[DeviceSeries], list[Absent]]:
        """Series of all channels, then those of the thread itself."""
        fast, slow = self.native.take()
        report = self.native.report()
        self.native.close()
        double = self._double or report.test_double
        series, absent = [], list(self._absent)
        columns = [*fast.T[1:], *slow.T]
        reasons: dict[str, list[str]] = {}
        for (channel, source), rows in zip(self._offered, columns, strict=True):
            good = rows[rows["status"] == 0]
            for reason in _missing(source, rows, report.detail):
                reasons.setdefault(reason, []).append(channel.name)
            good, reset = _before_reset(channel, good)
            if reset:
                absent.append((channel.name, reset))
            if len(good):
                series.append(_series(channel, process, good, double=double))
        absent += [(self._together(names), reason) for reason, names in reasons.items()]
        if report.hung is not None:
            absent.append(self._hung(report))
        if report.dropped:
            reason = f"{report.dropped} ticks found no room: the pass was longer than announced"
            absent.append((self._name, reason))
        if series:
            series += self._own(process, fast[:, 0], report, double=double)
        return series, absent

    def _together(self, names: list[str]) -> str:
        """One name for channels that are missing for the same reason."""
        devices = ", ".join(dict.fromkeys(name.split()[0] for name in names))
        if len(names) == len(self._offered):
            return devices
        return f"{devices} {', '.join(dict.fromkeys(name.split()[1] for name in names))}"

    def _hung(self, report: sampler.Report) -> Absent:
        if report.hung == len(self._offered):
            return self._name, "NVML did not close within 2 s and was given up; no reading is lost"
        channel = self._offered[report.hung or 0][0]
        if report.ticks == 0:
            return channel.device, "NVML did not open and answer within 2 s and was given up"
        reason = f"{channel.source} did not return for 2 s: sampling by this thread ended there"
        return channel.name, reason

    def _own(
        self, process: int, ticks: _Rows, report: sampler.Report, *, double: bool
    ) -> Iterator[DeviceSeries]:
        if not len(ticks):
            return
        counts = {
            "cpu_time_ns": ("ns", report.cpu_ns),
            "missed_ticks": ("1", report.missed),
            "dropped_ticks": ("1", report.dropped),
        }
        nothing = sampler.Channel(sampler.FILE, 1)
        lateness = Channel(self._name, "lateness_ns", "ns", "wake-up less its deadline", nothing)
        yield _series(lateness, process, ticks, double=double)
        for quantity, (unit, value) in counts.items():
            row = ticks[-1:].copy()
            row["value"] = value
            whole = Channel(self._name, quantity, unit, "the whole pass", nothing)
            yield _series(whole, process, row, double=double)


def _missing(source: ChannelSource, rows: _Rows, detail: str) -> Iterator[str]:
    """Why readings of a channel are missing; a thread that hung is told elsewhere."""
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
            yield f"stale: the driver did not update it in {still_ns / 1e9:.1f} s"


def _before_reset(channel: Channel, good: _Rows) -> tuple[_Rows, str]:
    """A counter unwrapped; one that was reset ends there, for what follows has another origin."""
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
