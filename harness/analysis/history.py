"""A series of profiles of the same thing over time, and where its level changed.

Profiles are of the same thing if model, inputs, options, provider, device and CPUs are the same.
Versions of ONNX Runtime, of drivers and of other software may differ: what came with a change is
told beside it.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import math
from collections.abc import Iterable, Sequence

import numpy as np

from harness.analysis import noise
from harness.analysis.comparing.differences import Difference, differences
from harness.analysis.used_gpu import used_gpu
from harness.config.profile import ProfileConfig
from harness.config.session import SessionConfig
from harness.records import Profile
from harness.statistics import change_points, hypotheses
from harness.statistics.change_points import FEWEST_POINTS, ChangePoint
from harness.statistics.faster_half import faster_half
from harness.statistics.figures import CONFIDENCE, Figure, Float64Array
from harness.statistics.intervals import typical
from harness.statistics.verdicts import Verdict

#: Fields of the session that do not make another thing of it: the provider is told apart by
#: itself, and a library of another version is what a series shall show.
_OTHER_SESSION = frozenset({"provider", "library", "strict"})

#: Fields of the request that change what the timed pass sees.
_TIMED = ("affinity", "duration_s", "quick", "energy")


@dataclasses.dataclass(frozen=True, slots=True)
class Subject:
    """What the profiles of a series are of.

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

    model: str = dataclasses.field(compare=False)
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
        faster_ns: float64[n], lower quartiles of the faster half of the processes.
        median_ns: geometric mean of the medians of all processes.
        processes: how many there are.
        busy: why even the median shows a busy machine only; empty otherwise.
    """

    profile: Profile
    created: datetime.datetime
    undisturbed_ns: float
    faster_ns: Float64Array
    median_ns: float
    processes: int
    busy: str

    @property
    def subject(self) -> Subject:
        """What it is a profile of."""
        profile, session = self.profile, self.profile.asked.session
        facts = {one.name: one.value for one in profile.environment if one.value is not None}
        gpu = used_gpu(profile)
        options = [
            *_unusual(session, SessionConfig, _OTHER_SESSION),
            *(
                one
                for one in _unusual(profile.asked.options, ProfileConfig, frozenset())
                if one[0] in _TIMED
            ),
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


def point_of(profile: Profile) -> Point | Figure:
    """The profile as a point of a series, or why it cannot be one."""
    if not profile.complete:
        return Figure(None, "it was interrupted")
    durations = [one.steady.duration_ns for one in profile.processes if len(one.steady)]
    if not durations:
        return Figure(None, "it has no finished process")
    try:
        created = datetime.datetime.fromisoformat(profile.created)
        created = (
            created.replace(tzinfo=datetime.UTC)
            if created.tzinfo is None
            else created.astimezone(datetime.UTC)
        )
    except (ValueError, OverflowError):
        return Figure(None, "it does not tell when it was measured")
    faster_ns = faster_half(durations)
    if not faster_ns[0] > 0:
        return Figure(None, "a process measured no time: the clock is too coarse for this model")
    machine = noise.judge(profile)
    facts = dataclasses.replace(
        profile, processes=(), nodes=None, traces={}, devices=(), kernels=None, stacks=None,
        wall_time=None, timeline=None,
    )  # fmt: skip
    return Point(
        profile=facts,
        created=created,
        undisturbed_ns=typical(faster_ns),
        faster_ns=faster_ns,
        median_ns=typical(np.array([np.median(one) for one in durations])),
        processes=len(durations),
        busy="; ".join(machine.causes) if "median" in machine.unusable else "",
    )


def history(points: Iterable[Point], left_out: Iterable[tuple[str, str]] = ()) -> History:
    """The series that the points belong to, with their changes.

    Args:
        points: in any order; of several files that hold the same measurement, the first counts.
        left_out: (file, reason) of those that are no points.
    """
    refused = list(left_out)
    groups: dict[Subject, list[Point]] = {}
    seen: dict[tuple[Subject, datetime.datetime, float, float], Point] = {}
    for point in points:
        subject = point.subject
        same = (subject, point.created, point.undisturbed_ns, point.median_ns)
        if same in seen:
            first = seen[same].profile.path
            refused.append((str(point.profile.path), f"it holds the same measurement as {first}"))
            continue
        seen[same] = point
        groups.setdefault(subject, []).append(point)
    found = [
        _series(sorted(group, key=lambda one: (one.created, str(one.profile.path))))
        for group in groups.values()
    ]
    found.sort(key=lambda one: (-len(one.points), one.subject.model, one.points[0].created))
    return History(tuple(found), tuple(refused))


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
            f"the machine was too busy for a median in {len(busy)} of {len(points)} profiles, "
            f"last in {_name(busy[-1])}: {busy[-1].busy}"
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


def _unusual(
    given: object, request: type[SessionConfig] | type[ProfileConfig], but: frozenset[str]
) -> list[tuple[str, str]]:
    """(field, value as JSON) of the fields that are not at their default.

    A file without a field is of an older version, which behaved as its default says.
    """
    told = given if isinstance(given, dict) else {}
    found = []
    for field in dataclasses.fields(request):
        if field.name in but or field.name not in told:
            continue
        usual = field.default
        if field.default_factory is not dataclasses.MISSING:
            usual = field.default_factory()
        value = json.dumps(told[field.name], sort_keys=True)
        if value != json.dumps(usual, sort_keys=True, default=str):
            found.append((field.name, value))
    return found
