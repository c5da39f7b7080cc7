"""Whether the machine disturbed the timed passes, how, and which samples it affected.

Two sources are judged: host counters read before and after each timed pass, and the series
sampled during it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from harness.analysis import machine_speed
from harness.machine.cpu_lists import cpu_parts
from harness.machine.devices.clock_reasons import THROTTLED, clock_reasons
from harness.records import NOISE, DeviceSeries, LatencySeries, ProcessRecord, Profile, Reading

BoolArray = npt.NDArray[np.bool_]

#: Shares of the timed passes' wall time above which a disturbance is reported. A hundredth is
#: the precision that a comparison-grade profile aims at.
STEAL_LIMIT = 0.01
WAIT_LIMIT = 0.01
OTHER_LOAD_LIMIT = 0.10

#: Share of a CPU above which our own sampling is reported. At the default rate it takes 0.2 to
#: 0.5 % on a CPU; reading a GPU's energy counter at every tick took a third of a core.
SAMPLER_LIMIT = 0.02

#: The same as SPREAD_LIMIT, for the yardstick's memory part. Memory is shared with neighbours
#: even where a core is not: with nothing else running this part scattered by 3 to 17 %.
MEMORY_SPREAD_LIMIT = 0.25

#: Difference between the slowest and the fastest process that only a disturbance explains.
SPREAD_LIMIT = 0.10

#: Drop of a clock, as a share of its highest value, that shifts latencies beyond their scatter.
CLOCK_LIMIT = 0.05

#: At this many times its limit, a cause makes figures unusable: they show only a busy machine.
UNUSABLE = 10

#: At or above this share of throttled samples, the profile measures the throttling.
THROTTLED_LIMIT = 0.5

#: GPU utilisation in percent that, before the session exists, only another program explains.
IDLE_UTILIZATION = 5

#: Step of the kernel's CPU time counters (USER_HZ, 100 for every program), and about as much as a
#: thread may lose when preempted between reading a counter and the clock. A single step means
#: nothing unless the pass is much longer; of shorter passes the counters show nothing at all.
CPU_TIME_STEP_NS = 10_000_000

#: Up to this difference between the slowest and the fastest process their medians agree: whatever
#: disturbed some of the samples has then not reached the medians.
AGREEMENT = 0.05

#: Figures that waiting for a CPU and steal time affect before they affect the median.
BESIDE_THE_MEDIAN = ("mean", "p90", "p99", "throughput", "cold start")


@dataclasses.dataclass(frozen=True, slots=True)
class NoiseVerdict:
    """Whether the host or a device disturbed the timed passes.

    Attributes:
        verdict: ``quiet``, ``disturbed``, ``unusable`` if not even the median is usable, or
            ``unknown`` if the host does not report it.
        causes: one sentence each, with the figure, or with the reason why it is unknown; the
            last one names the unusable figures, if any.
        samples: number of samples in all timed passes.
        touched: samples during which the hypervisor took a CPU or a clock was throttled, as
            far as the sampled series show.
        throttled: samples during which a clock was throttled.
        waited: share of the timed passes in which the timing thread was ready to run but had
            no CPU, at most 1; None if the host does not report it or the passes were too short.
        sampler: share of a CPU that our own sampling took; None if nothing was sampled.
        yardstick: how fast the machine was according to each part of the yardstick; empty if
            it was not timed with every process.
        unusable: the unusable figures: those in BESIDE_THE_MEDIAN, perhaps "median" too; empty
            if all are usable.
    """

    verdict: str
    causes: tuple[str, ...]
    samples: int = 0
    touched: int = 0
    throttled: int = 0
    waited: float | None = None
    sampler: float | None = None
    yardstick: tuple[machine_speed.Speed, ...] = ()
    unusable: tuple[str, ...] = ()


@dataclasses.dataclass(slots=True)
class _Causes:
    """The disturbances found.

    Attributes:
        spread: the slowest process over the fastest by their medians, minus 1; None with one.
        units: what the processes are: ``processes``, or ``groups`` of callers side by side.
    """

    spread: float | None
    units: str
    causes: list[str] = dataclasses.field(default_factory=list)
    unusable: tuple[str, ...] = ()

    def add(self, text: str, excess: float, *, in_median: bool = True) -> None:
        """Adds a cause.

        Args:
            text: the sentence.
            excess: the cause as a multiple of its limit.
            in_median: it affects the median however well the processes agree.
        """
        self.causes.append(text)
        if excess < UNUSABLE:
            return
        agree = self.spread is not None and self.spread <= AGREEMENT
        if in_median or not agree:
            self.unusable = ("median", *BESIDE_THE_MEDIAN)
        elif not self.unusable:
            self.unusable = BESIDE_THE_MEDIAN

    def told(self) -> list[str]:
        """The causes, and what they make unusable."""
        if not self.unusable:
            return self.causes
        text = f"unusable: {', '.join(self.unusable)}"
        if "median" not in self.unusable and self.spread is not None:
            text += (
                f"; the {self.units}' medians agree to {self.spread:.1%}, so the median is usable"
            )
        return [*self.causes, text]


def judge(profile: Profile) -> NoiseVerdict:
    """The verdict on all processes together."""
    medians = [float(np.median(p.steady.duration_ns)) for p in profile.processes if len(p.steady)]
    spread = max(medians) / max(min(medians), 1.0) - 1 if len(medians) > 1 else None
    found = _Causes(spread, "processes" if profile.instances is None else "groups")
    unknown = _counters(profile, found)
    if spread is not None and spread > SPREAD_LIMIT:
        found.add(f"the {found.units}' medians differ by {spread:.0%}", spread / SPREAD_LIMIT)
    machine = machine_speed.summary(profile.processes)
    limits = {"memory": MEMORY_SPREAD_LIMIT}
    excess = {one: one.spread / limits.get(one.part, SPREAD_LIMIT) for one in machine}
    slowed = [one for one in machine if excess[one] > 1]
    if slowed:
        parts = ", ".join(f"{one.part} {one.spread:.0%}" for one in slowed)
        text = f"the machine itself was slower around some {found.units} (yardstick: {parts})"
        found.add(text, max(map(excess.__getitem__, slowed)), in_median=False)
    sampling = sampler_share(profile)
    if sampling is not None and sampling > SAMPLER_LIMIT:
        # Like other load: it takes no CPU away where there are some to spare.
        found.add(f"our own sampling of devices used {sampling:.1%} of a CPU", 1, in_median=False)
    _clocks(profile, found)
    _strangers(profile, found)
    throttled = _count(throttled_samples(profile))
    touched = _count(
        [a | b for a, b in zip(stolen_samples(profile), throttled_samples(profile), strict=True)]
    )
    samples = sum(len(process.steady) for process in profile.processes)
    if throttled:
        share = throttled / samples
        text = f"{share:.1%} of the samples were taken while the GPU was throttled"
        found.add(f"{text} ({_reasons(profile)})", UNUSABLE * share / THROTTLED_LIMIT)
    verdict, causes = "unknown" if unknown else "quiet", unknown
    if found.causes:
        verdict = "unusable" if "median" in found.unusable else "disturbed"
        causes = found.told()
    return NoiseVerdict(
        verdict,
        tuple(causes),
        samples,
        touched,
        throttled,
        _waited(profile.processes),
        sampling,
        machine,
        found.unusable,
    )


def facts(profile: Profile) -> tuple[Reading, ...]:
    """The verdict as a fact to store, for lists that do not read the samples."""
    verdict, source = judge(profile), "harness.analysis.noise, of the version that wrote it"
    if verdict.verdict == "unknown":
        return (Reading(NOISE, None, "", source, "; ".join(verdict.causes)),)
    return (Reading(NOISE, verdict.verdict, "", source),)


def sampler_share(profile: Profile) -> float | None:
    """CPU time of the sampling threads over the time that they sampled, of all processes together.

    Each thread stores its CPU time at its end, and when each of its ticks began.
    """
    threads: dict[str, dict[str, DeviceSeries]] = {}
    for series in profile.devices:
        if series.device == "sampler" or series.device.startswith("sampler_"):
            threads.setdefault(series.device, {})[series.quantity] = series
    shares = []
    for thread in threads.values():
        ticks, cpu = thread.get("lateness_ns"), thread.get("cpu_time_ns")
        if ticks is None or cpu is None:
            continue
        both = np.intersect1d(ticks.process, cpu.process)
        spans_ns = [int(np.ptp(ticks.time_ns[ticks.process == process])) for process in both]
        # As float: a file may hold numbers whose sum no integer holds.
        spent_ns = np.maximum(cpu.value[np.isin(cpu.process, both)].astype(np.float64), 0).sum()
        if sum(spans_ns) > 0:
            shares.append(float(spent_ns) / sum(spans_ns))
    return sum(shares) if shares else None


def _waited(processes: Sequence[ProcessRecord]) -> float | None:
    waited_ns, wall_ns = [], []
    for process in processes:
        known = {reading.name: reading.value for reading in process.noise}
        one, other = known.get("cpu_wait_ns"), known.get("wall_ns")
        if not isinstance(one, int) or not isinstance(other, int):
            return None
        waited_ns.append(one)
        wall_ns.append(other)
    if _too_short(wall_ns):
        return None
    # The counter is read just outside the span of the clock, so the ratio may exceed 1.
    return min(sum(waited_ns) / sum(wall_ns), 1.0)


def _too_short(wall_ns: Sequence[float]) -> bool:
    """Whether the passes are too short for counters that advance in steps."""
    return sum(wall_ns) < CPU_TIME_STEP_NS * max(len(wall_ns), 1)


def cpus(profile: Profile) -> float:
    """CPUs that the counters are summed over; infinite if that is unknown."""
    told = [one.value for one in profile.environment if one.name == "affinity_cpus"]
    try:
        if profile.asked.affinity is not None:
            return float(sum(map(len, cpu_parts(profile.asked.affinity))))
    except ValueError:  # not a CPU list: harness did not write the file
        return math.inf
    return float(told[0]) if told and isinstance(told[0], (int, float)) else math.inf


def throttled_samples(profile: Profile) -> list[BoolArray]:
    """bool[samples] of each process: a GPU clock was throttled during the sample."""
    series = [each for each in profile.devices if each.quantity == "clock_reasons_mask"]
    return _touched(profile, [(each, (each.value & THROTTLED) != 0) for each in series])


def stolen_samples(profile: Profile) -> list[BoolArray]:
    """bool[samples] of each process: steal time grew between the readings around the sample."""
    series = [each for each in profile.devices if each.quantity == "steal_ns"]
    grew = []
    for each in series:
        same = np.append(False, each.process[1:] == each.process[:-1])
        # Steal shows in the next reading: the time that it affected lies before that.
        grew.append(
            (each, np.append((np.append(0, np.diff(each.value)) > 0)[1:] & same[1:], False))
        )
    return _touched(profile, grew)


def without_throttled(profile: Profile) -> Profile:
    """The profile without the samples taken while a clock was throttled."""
    processes = []
    for process, touched in zip(profile.processes, throttled_samples(profile), strict=True):
        kept = LatencySeries(
            process.steady.start_ns[~touched], process.steady.duration_ns[~touched]
        )
        beside = {
            name: getattr(process, name)[~touched]
            for name in ("enqueue_ns", "caller")
            if len(getattr(process, name))
        }
        processes.append(dataclasses.replace(process, steady=kept, **beside))
    return dataclasses.replace(profile, processes=tuple(processes))


def _touched(profile: Profile, marked: Sequence[tuple[DeviceSeries, BoolArray]]) -> list[BoolArray]:
    """Samples that overlap the time from a marked reading to the next one of its process."""
    found = []
    for process in profile.processes:
        start_ns = process.steady.start_ns
        end_ns = start_ns + process.steady.duration_ns
        touched = np.zeros(len(start_ns), bool)
        for series, marks in marked:
            own = series.process == process.index
            time_ns, mark = series.time_ns[own], marks[own]
            if not mark.any():
                continue
            until_ns = np.append(time_ns[1:], np.iinfo(np.int64).max)
            begins, ends = time_ns[mark], until_ns[mark]
            # Intervals are disjoint and sorted: the first that ends after the sample begins
            # is the only one to compare it with.
            at = np.searchsorted(ends, start_ns, side="right")
            inside = at < len(begins)
            touched[inside] |= begins[at[inside]] < end_ns[inside]
        found.append(touched)
    return found


def _count(touched: Sequence[BoolArray]) -> int:
    return sum(int(np.count_nonzero(each)) for each in touched)


def _reasons(profile: Profile) -> str:
    masks = [each.value for each in profile.devices if each.quantity == "clock_reasons_mask"]
    mask = int(np.bitwise_or.reduce(np.concatenate(masks))) & THROTTLED
    return ", ".join(clock_reasons(mask))


def _counters(profile: Profile, found: _Causes) -> list[str]:
    """Judges the counters around the timed passes; returns what they leave unknown."""
    processes = profile.processes

    def read(name: str) -> list[Reading]:
        return [r for process in processes for r in process.noise if r.name == name]

    def total(readings: Sequence[Reading]) -> float:
        return float(sum(r.value for r in readings if isinstance(r.value, (int, float))))

    walls = [r.value for r in read("wall_ns") if isinstance(r.value, (int, float))]
    wall_ns = sum(walls)
    if not wall_ns:
        return ["no host counters were read around a timed pass"]
    unknown: list[str] = []
    if _too_short(walls):
        unknown.append(
            f"timed passes of {wall_ns / len(walls) * 1e-6:.2g} ms are shorter than the "
            f"{CPU_TIME_STEP_NS * 1e-6:.0f} ms steps of the counters of waiting and load"
        )
    # Each pass is read to within one step, too high as often as too low.
    slack_ns = CPU_TIME_STEP_NS * math.sqrt(len(walls))
    allowed = cpus(profile)
    callers = "the timing thread" if profile.instances is None else "the calling threads"
    for name, limit, says, most, possible in (
        (
            *("steal_ns", STEAL_LIMIT, "the hypervisor took {:.1%} of a CPU's time (steal)"),
            *(math.inf, allowed),
        ),
        (
            "cpu_wait_ns",
            WAIT_LIMIT,
            f"{callers} waited {{:.1%}} of the time for a CPU",
            math.inf,
            1.0,
        ),
        # On a machine with CPUs to spare, other load takes no CPU away, only caches and memory.
        (
            *("other_load_ns", OTHER_LOAD_LIMIT, "other processes used {:.0%} of a CPU meanwhile"),
            *(1, allowed),
        ),
    ):
        readings = read(name)
        spent_ns = total(readings)
        unknown += dict.fromkeys(f"{name}: {r.reason}" for r in readings if r.value is None)
        if not _too_short(walls) and spent_ns - slack_ns > limit * wall_ns:
            share = min(spent_ns / wall_ns, possible)
            found.add(says.format(share), min(share / limit, most), in_median=False)
    throttled = total(read("cgroup_throttled_periods"))
    if throttled:
        found.add(f"the cgroup's CPU limit throttled {throttled:.0f} periods", 1)
    return unknown


def _clocks(profile: Profile, found: _Causes) -> None:
    """Judges how much the clocks changed during the timed passes."""
    for quantity, what in (("frequency_hz", "CPU"), ("clock_sm_hz", "GPU")):
        seen = [
            (each.device, _during_passes(profile, each))
            for each in profile.devices
            if each.quantity == quantity
        ]
        changed = [
            (1 - float(values.min()) / float(values.max()), device, values)
            for device, values in seen
            if len(values) and values.max() > 0
        ]
        if not changed:
            continue
        change, device, values = max(changed, key=lambda one: one[0])
        if change > CLOCK_LIMIT:
            found.add(
                f"the {what} clock varied between {values.min() * 1e-9:.2f} and "
                f"{values.max() * 1e-9:.2f} GHz ({device})",
                1,
            )


def _strangers(profile: Profile, found: _Causes) -> None:
    """Reports use of a GPU before the first inference: it was not ours."""
    for series in profile.devices:
        if series.quantity != "utilization_gpu_percent":
            continue
        # Sampling begins before the session is created.
        _, first = np.unique(series.process, return_index=True)
        values = series.value[first]
        if len(values) and float(np.median(values)) > IDLE_UTILIZATION:
            found.add(
                f"another program used {series.device} ({np.median(values):.0f} % utilisation "
                "before the session was created)",
                1,
            )


def _during_passes(profile: Profile, series: DeviceSeries) -> npt.NDArray[np.int64]:
    """Values of a series read during the timed passes."""
    parts = [np.empty(0, np.int64)]
    for process in profile.processes:
        steady = process.steady
        if len(steady):
            inside = (series.process == process.index) & (series.time_ns >= steady.start_ns[0])
            inside &= series.time_ns <= steady.start_ns[-1] + steady.duration_ns[-1]
            parts.append(series.value[inside])
    return np.concatenate(parts)
