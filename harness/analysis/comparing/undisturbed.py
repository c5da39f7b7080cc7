"""Undisturbed latencies of profiles, ready to be compared."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from harness.analysis import machine_speed, noise
from harness.analysis.throughput import time_per_inference_ns
from harness.errors import ProfileFileError
from harness.ort import providers
from harness.records import WEIGHTS, LatencySeries, ProcessRecord, Profile
from harness.statistics import undisturbed, verdicts
from harness.statistics.figures import Float64Array
from harness.statistics.occasions import REACH
from harness.statistics.verdicts import Side

#: Name of the figure.
NAME = "undisturbed_latency_ns"

#: An undisturbed inference takes no more than the CPU time of an average one. By how much it may
#: exceed that before it counts as waiting: over the recorded occasions, mlp and two chains were at
#: 0.8 to 0.97 of it (median over the processes) although they waited 70 to 90 % of the time,
#: mobilenet-v2, of which each inference was interrupted, at 1.8 and more
#: (``benchmarks/compare_designs.py``).
MOST_OF_CPU_TIME = 1.1

#: A process whose median is so much above that of the faster half, beyond what the machine
#: explains, is a slow one.
SLOW = 0.10


#: What to know where the model runs on a device.
HOST_ONLY = (
    "the yardstick was timed on the host: it refuses what slowed the CPU, but cannot see what "
    "slowed the device (its clocks, other programs on it)"
)


def look_ns(profiles: Sequence[Profile]) -> float:
    """How long a process of the shortest of the profiles was looked at; 0 without samples.

    Levels rise and fall within a pass, so only equal looks are like with like.
    """
    looks = []
    for profile in profiles:
        passes = [one.steady for one in profile.processes if len(one.steady)]
        spans = [float(p.start_ns[-1] + p.duration_ns[-1] - p.start_ns[0]) for p in passes]
        looks.append(float(np.median(spans)) if spans else 0.0)
    return min(looks)


def is_usable(one: Profile, look: float) -> bool:
    """Whether it has two processes or more, on a machine that was not too busy: for a history.

    Its look may be shorter than those of the sides: occasions of a history are held against each
    other only.
    """
    timed = sum(bool(len(process.steady)) for process in one.processes)
    return timed > 1 and not busy(one, noise.judge(one), look)


def cut(series: LatencySeries, look_ns: float) -> LatencySeries:
    """The samples that began within the look; the first one always does."""
    if not len(series):
        return series
    until = int(np.searchsorted(series.start_ns, float(series.start_ns[0]) + look_ns))
    until = max(until, 1)
    return LatencySeries(series.start_ns[:until], series.duration_ns[:until])


def occasion(profile: Profile, look: float, *, memory: bool, items: int = 1) -> Side:
    """The undisturbed latency of each process.

    Args:
        profile: of one occasion.
        look: how long each process is looked at, in ns.
        memory: the yardstick's memory part counts, too.
        items: of an inference; latencies are divided by them.
    """
    processes = [one for one in profile.processes if len(one.steady)]
    whole = verdicts.side([one.steady.duration_ns for one in processes])
    durations = [cut(one.steady, look).duration_ns for one in processes]
    with np.errstate(divide="ignore"):
        logs = np.log([np.percentile(one, undisturbed.PERCENT) for one in durations])
    speeds = machine_speed.undisturbed(processes)
    if speeds is not None and not memory:
        speeds = speeds[:, [part != "memory" for part in machine_speed.PARTS]]
    return Side(np.asarray(logs, np.float64) - math.log(items), speeds, whole.unusable)


def usable(
    found: Iterable[Profile], look: float, *, memory: bool, items: int = 1
) -> Iterator[tuple[Profile, Side]]:
    """Those that can be part of a history, each with its undisturbed latency.

    One after another, as all their samples together may be gigabytes. A file whose long columns
    turn out to be damaged is left out: nobody asked for it by name.

    Args:
        found: of the same thing on several occasions.
        look: as in ``occasion``, like what follows.
        memory: likewise.
        items: likewise.
    """
    for one in found:
        with contextlib.suppress(ProfileFileError):
            if is_usable(one, look):
                yield one, occasion(one, look, memory=memory, items=items)


def uses_memory(profiles: Sequence[Profile]) -> bool:
    """Whether the memory part tells of these models: weights beyond a core's own cache.

    The memory part is shared with neighbours and varies most, and a model whose weights stay in the
    cache hardly feels it. Where sizes are not recorded, it counts.
    """
    for profile in profiles:
        facts = {one.name: one.value for one in profile.environment}
        weights, cache = facts.get(WEIGHTS), facts.get("cache_l2_bytes")
        if not isinstance(weights, int) or not isinstance(cache, int) or weights > cache:
            return True
    return False


def busy(profile: Profile, verdict: noise.NoiseVerdict, look: float) -> str:
    """Why not even the undisturbed latency is one; empty if it is.

    An inference that was not interrupted takes no longer than the CPU time of an average one. So
    waiting that hit only some inferences leaves the others to tell; where the faster inferences
    exceed that time, each of them has waited.
    """
    if verdict.throttled and verdict.throttled >= noise.THROTTLED_LIMIT * verdict.samples:
        return "its GPU was throttled"
    passes = [one for one in profile.processes if len(one.steady)]
    excess = [_over_cpu_time(one, look, noise.cpus(profile)) for one in passes]
    known = [one for one in excess if one is not None]
    if len(known) < len(excess) or not known:
        return "its machine was too busy" if verdict.unusable else ""
    if np.median(known) > MOST_OF_CPU_TIME:
        return "its machine was too busy: even the faster inferences waited for a CPU"
    return ""


def _over_cpu_time(process: ProcessRecord, look: float, cpus: float) -> float | None:
    """Undisturbed latency over the CPU time of an average inference; None if not known."""
    known = {one.name: one.value for one in process.noise}
    wall, waited, stolen = (known.get(name) for name in ("wall_ns", "cpu_wait_ns", "steal_ns"))
    if not isinstance(wall, int) or not isinstance(waited, int) or wall < noise.CPU_TIME_STEP_NS:
        return None
    # Steal is counted over all CPUs that we may use.
    lost = waited + (stolen / max(cpus, 1) if isinstance(stolen, int) else 0)
    on_cpu = max(1 - lost / wall, 0.0) * time_per_inference_ns(process)
    figure = float(np.percentile(cut(process.steady, look).duration_ns, undisturbed.PERCENT))
    return figure / on_cpu if on_cpu else math.inf


def slow(medians: Float64Array, speeds: Float64Array | None) -> int:
    """How many processes were slow by themselves: neither chance nor the machine explains it.

    Args:
        medians: float64[processes], logarithms.
        speeds: float64[processes, parts] of the yardstick, if it was timed.
    """
    above = medians - undisturbed.faster(medians).mean
    if speeds is not None:
        fastest = np.array(
            [undisturbed.faster(part, undisturbed.FASTEST_QUARTER).mean for part in speeds.T]
        )
        above = above - REACH * np.maximum(speeds - fastest, 0).max(axis=1)
    return int((above > math.log1p(SLOW)).sum())


def of_host_only(profile: Profile) -> bool:
    """Whether the model runs on a device, of which the yardstick shows nothing."""
    provider = providers.known(profile.provider)
    return provider is not None and provider.on_device
