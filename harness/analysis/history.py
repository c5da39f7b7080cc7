"""A series of profiles of the same thing over time, and where its level changed.

Profiles are of the same thing if they are of the same ``configuration``, but for versions of ONNX
Runtime and of drivers: what came with a change is told beside it.
"""

from __future__ import annotations

import dataclasses
import datetime
import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from harness.analysis import noise
from harness.analysis.comparing import undisturbed as comparing
from harness.analysis.comparing.differences import Difference, differences
from harness.analysis.configuration import (
    GROUP,
    SESSION_DEFAULTS,
    as_json,
    configuration,
    created,
    facts_of,
    occasion,
)
from harness.analysis.throughput import time_per_inference_ns
from harness.analysis.used_gpu import used_gpu
from harness.config.session import ORT
from harness.records import Profile
from harness.statistics import change_points, hypotheses, undisturbed
from harness.statistics.change_points import FEWEST_POINTS, ChangePoint
from harness.statistics.figures import CONFIDENCE, Figure, Float64Array
from harness.statistics.intervals import typical
from harness.statistics.verdicts import Verdict

#: A look that is no more than so many times as long as another counts as equally long.
EQUAL_LOOKS = 1.25


@dataclasses.dataclass(frozen=True, slots=True)
class Subject:
    """What the profiles of a series are of, as it is told.

    Attributes:
        model: name of the newest profile's model; the digest tells models apart.
        sha256: digest of the model.
        provider: execution provider.
        inputs: ``NAME: DTYPE SHAPE`` of each.
        options: (field, value as JSON) of each option that is not at its default.
        device: product name of the GPU that was used; empty on a host.
        cpu: model of the CPU; empty where not known.
        cpus: how many CPUs the workers might use; empty where not known.
    """

    model: str
    sha256: str
    provider: str
    inputs: tuple[str, ...]
    options: tuple[tuple[str, str], ...]
    device: str
    cpu: str
    cpus: str


@dataclasses.dataclass(frozen=True, slots=True, eq=False)  # arrays have no single truth
class Point:
    """One profile of a series.

    Attributes:
        profile: without what was measured: its facts.
        created: when, UTC.
        undisturbed_ns: latency of an inference, geometric mean of ``faster_ns``.
        faster_ns: float64[n], lower quartiles of the faster half of the processes; of groups of
            callers side by side, their wall time per inference, all callers together.
        median_ns: geometric mean of the medians of all processes.
        processes: how many there are.
        look_ns: how long each process is looked at.
        cut: its processes were looked at for longer.
        busy: why not even the undisturbed latency is one, as ``compare`` judges; empty if it is.
        occasion: what its copies share, and the other side of an ``ab``.
    """

    profile: Profile
    created: datetime.datetime
    undisturbed_ns: float
    faster_ns: Float64Array
    median_ns: float
    processes: int
    look_ns: float
    cut: bool
    busy: str
    occasion: tuple[object, ...]

    @property
    def subject(self) -> Subject:
        """What it is a profile of."""
        profile, session = self.profile, self.profile.asked.session
        facts, gpu = facts_of(profile), used_gpu(profile)
        options = [
            (name, as_json(session[name]))
            for name, default in SESSION_DEFAULTS.items()
            if name in session and name != "provider"
            if as_json(session[name]) != as_json(default)
        ]
        if profile.asked.runtime != ORT:
            options.insert(0, ("runtime", as_json(profile.asked.runtime)))
        if profile.asked.runtime_options:
            options.append(("runtime_options", as_json(dict(profile.asked.runtime_options))))
        if profile.asked.affinity is not None:
            options.append(("affinity", as_json(profile.asked.affinity)))
        options += [
            (name, as_json(value)) for name in GROUP if (value := profile.asked.options.get(name))
        ]
        return Subject(
            model=profile.model.name,
            sha256=profile.model.sha256,
            provider=profile.provider,
            inputs=tuple(
                f"{one.name}: {one.dtype} {'x'.join(map(str, one.shape)) or 'scalar'}"
                for one in profile.inputs
            ),
            options=tuple(options),
            device="" if gpu is None else gpu.name,
            cpu=str(facts.get("cpu_model", "")),
            cpus=str(facts.get("affinity_cpus", "")),
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """The level of a series changed.

    Attributes:
        at: index of the first point of the new level.
        before_ns, after_ns: both levels, geometric means of their points.
        interval: of the ratio after / before, (low, high), with 95 % confidence (Welch's t on
            logarithms), as if its place had been known beforehand.
        p_value: chance that the points in random order would divide as well.
        differences: what else differs between the last profile before and the first after.
        doubt: why the change may be the machine's alone: most profiles of a level were measured
            on one that was too busy; empty otherwise.
    """

    at: int
    before_ns: float
    after_ns: float
    interval: tuple[float, float]
    p_value: float
    differences: tuple[Difference, ...]
    doubt: str = ""

    @property
    def ratio(self) -> float:
        """Latency after over before."""
        return self.after_ns / self.before_ns

    @property
    def verdict(self) -> Verdict:
        """FASTER or SLOWER; UNDECIDED where there is a doubt."""
        if self.doubt:
            return Verdict.UNDECIDED
        return Verdict.SLOWER if self.ratio > 1 else Verdict.FASTER


@dataclasses.dataclass(frozen=True, slots=True)
class Series:
    """Profiles of the same thing, in the order of time.

    Attributes:
        subject: of what.
        points: one or more.
        changes: in order; empty if none was found, or looked for.
        reason: why none was looked for; empty otherwise.
        scatter: standard deviation of the points' logarithms about their levels; None with
            fewer than two points on a level.
        doubts: what to know before changes are believed, one sentence each.
    """

    subject: Subject
    points: tuple[Point, ...]
    changes: tuple[Change, ...]
    reason: str
    scatter: float | None
    doubts: tuple[str, ...]

    @property
    def levels(self) -> list[slice]:
        """Stretches between changes."""
        return change_points.levels(len(self.points), [one.at for one in self.changes])


@dataclasses.dataclass(frozen=True, slots=True)
class History:
    """Everything that some files show.

    Attributes:
        series: the longest first.
        left_out: (file, why it is in no series).
    """

    series: tuple[Series, ...]
    left_out: tuple[tuple[str, str], ...]


def point_of(profile: Profile, look_ns: float = math.inf) -> Point | Figure:
    """The profile as a point of a series, or why it cannot be one.

    Args:
        profile: with its samples.
        look_ns: how long each process is looked at, at most.
    """
    if not profile.complete:
        return Figure(None, "it was interrupted")
    passes = [one.steady for one in profile.processes if len(one.steady)]
    if not passes:
        return Figure(None, "it has no finished process")
    moment = created(profile)
    if moment is None:
        return Figure(None, "it does not tell when it was measured")
    whole_ns = comparing.look_ns([profile])
    look_ns = min(look_ns, whole_ns)
    if profile.instances is not None:
        look_ns = whole_ns  # a rate is of the whole window
        times = [time_per_inference_ns(one) for one in profile.processes if len(one.steady)]
    else:
        times = [
            float(np.percentile(comparing.cut(one, look_ns).duration_ns, undisturbed.PERCENT))
            for one in passes
        ]
    quartiles_ns = np.array(times)
    if not (quartiles_ns > 0).all():
        return Figure(None, "a process measured no time: the clock is too coarse for this model")
    faster_ns = np.exp(undisturbed.faster(np.log(quartiles_ns)).values)
    facts = dataclasses.replace(
        profile, processes=(), nodes=None, traces={}, devices=(), kernels=None, stacks=None,
        wall_time=None, timeline=None,
    )  # fmt: skip
    return Point(
        profile=facts,
        created=moment,
        undisturbed_ns=typical(faster_ns),
        faster_ns=faster_ns,
        median_ns=typical(np.array([np.median(one.duration_ns) for one in passes])),
        processes=len(passes),
        look_ns=look_ns,
        cut=look_ns < whole_ns,
        busy=comparing.busy(profile, noise.judge(profile), look_ns),
        occasion=occasion(profile),
    )


def longer(points: Sequence[Point]) -> Iterator[tuple[int, float]]:
    """(place, look in ns) of points to take anew, looked at for as long as their series' shortest.

    Levels rise and fall within a pass, so only equal looks are like with like, as in ``compare``.
    """
    things = [_thing(point) for point in points]
    shortest: dict[tuple[str, ...], float] = {}
    for thing, point in zip(things, points, strict=True):
        shortest[thing] = min(point.look_ns, shortest.get(thing, math.inf))
    for place, (thing, point) in enumerate(zip(things, points, strict=True)):
        if point.profile.instances is None and point.look_ns > EQUAL_LOOKS * shortest[thing]:
            yield place, shortest[thing]


def history(points: Iterable[Point], left_out: Iterable[tuple[str, str]] = ()) -> History:
    """The series that the points belong to, with their changes.

    Args:
        points: in any order, of equal looks (``longer``); of several files that hold the same
            measurement, and of both sides of an ``ab`` in one series, the first counts.
        left_out: (file, reason) of those that are no points.
    """
    refused = list(left_out)
    groups: dict[tuple[str, ...], dict[tuple[object, ...], Point]] = {}
    for point in points:
        group = groups.setdefault(_thing(point), {})
        first = group.setdefault(point.occasion, point)
        if first is not point:
            why = f"it holds the same measurement as {first.profile.path}"
            if point.profile.asked.interleaved_with:
                why = f"it is of the same occasion as {first.profile.path}, as ab measures two"
            refused.append((str(point.profile.path), why))
    found = [
        _series(sorted(group.values(), key=lambda one: (one.created, str(one.profile.path))))
        for group in groups.values()
    ]
    found.sort(key=lambda one: (-len(one.points), one.subject.model, one.points[0].created))
    return History(tuple(found), tuple(refused))


def _thing(point: Point) -> tuple[str, ...]:
    return configuration(point.profile, versions=False)


def _series(points: Sequence[Point]) -> Series:
    logs = np.log([point.undisturbed_ns for point in points])
    places = change_points.change_points(logs)
    parts = change_points.levels(len(points), [one.at for one in places])
    changes = [
        _change(points, logs, place, before, after)
        for place, before, after in zip(places, parts, parts[1:], strict=False)
    ]
    reason = ""
    if len(points) < FEWEST_POINTS:
        missing = FEWEST_POINTS - len(points)
        reason = (
            f"changes are looked for in {FEWEST_POINTS} profiles or more: {missing} more "
            f"{'are' if missing > 1 else 'is'} needed"
        )
    rest = np.concatenate([logs[part] - logs[part].mean() for part in parts])
    freedom = len(points) - len(parts)
    scatter = math.sqrt(float(rest @ rest) / freedom) if freedom > 0 else None
    return Series(
        subject=points[-1].subject,
        points=tuple(points),
        changes=tuple(changes),
        reason=reason,
        scatter=scatter,
        doubts=tuple(_doubts(points, logs, [one.at for one in places])),
    )


def _change(
    points: Sequence[Point], logs: Float64Array, place: ChangePoint, before: slice, after: slice
) -> Change:
    one, other = logs[before], logs[after]
    difference = float(other.mean() - one.mean())
    low = high = difference
    if np.ptp(one) > 0 or np.ptp(other) > 0:
        welch = hypotheses.estimate(
            one, other, np.zeros(len(one)), np.zeros(len(other)), 0.0,
            same_occasion=True, occasion_sd=0.0,
        )  # fmt: skip
        low, high = hypotheses.bounds([welch], (1 + CONFIDENCE) / 2)
    return Change(
        at=place.at,
        before_ns=math.exp(one.mean()),
        after_ns=math.exp(other.mean()),
        interval=(math.exp(low), math.exp(high)),
        p_value=place.p_value,
        differences=differences(points[place.at - 1].profile, points[place.at].profile),
        doubt=_too_busy(points, before, after),
    )


def _too_busy(points: Sequence[Point], before: slice, after: slice) -> str:
    """Says of which level most profiles come from too busy a machine; empty if of none."""
    told = []
    for name, part in (("before", before), ("after", after)):
        level = points[part]
        busy = sum(bool(point.busy) for point in level)
        if 2 * busy > len(level):
            told.append(f"in {busy} of {len(level)} profiles {name} it")
    return f"the machine was too busy {' and '.join(told)}" if told else ""


def _doubts(points: Sequence[Point], logs: Float64Array, places: Sequence[int]) -> list[str]:
    """What to know of a series, given its points' logarithms and where their level changed."""
    doubts = []
    if len(points) >= FEWEST_POINTS and change_points.depends(logs, places):
        lag = change_points.lag_correlation(logs, places)
        doubts.append(
            f"neighbouring profiles resemble each other (correlation {lag:.2f}): the machine "
            "drifts, and changes may be the drift's"
        )
    busy = [point for point in points if point.busy]
    if busy:
        doubts.append(
            f"{len(busy)} of {len(points)} profiles are not to be trusted, last "
            f"{_name(busy[-1])}: {busy[-1].busy}"
        )
    cut = [point for point in points if point.cut]
    if cut:
        shortest = min(points, key=lambda point: (point.look_ns, point.cut))
        doubts.append(
            f"{len(cut)} of {len(points)} profiles were measured for longer than "
            f"{_name(shortest)}: of each process, the first {shortest.look_ns * 1e-9:.2g} s count"
        )
    alone = [point for point in points if point.processes == 1]
    if alone:
        doubts.append(
            f"{len(alone)} of {len(points)} profiles have one process: of several, the faster "
            "half counts"
        )
    return doubts


def _name(point: Point) -> str:
    path = point.profile.path
    return "a profile that is not stored" if path is None else path.name
