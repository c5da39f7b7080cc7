"""What to know before the figures of a comparison are read."""

from __future__ import annotations

import math

import numpy as np

from harness.analysis import runtime, timed_passes
from harness.analysis.comparing.figures import Judge
from harness.analysis.comparing.report import SIDES
from harness.analysis.instances import together
from harness.records import Profile
from harness.statistics import paired, steady_state
from harness.statistics.figures import CONFIDENCE

#: Processes that a profile needs for a difference of 2 % to be found.
COMPARISON_GRADE = 10

#: The same of groups, which take longer and whose figures are of many callers.
GROUPS_GRADE = 5


def caveats(judge: Judge, base: Profile, candidate: Profile) -> tuple[str, ...]:
    """What to know before the figures are read."""
    caveats = []
    if base.model.sha256 != candidate.model.sha256:
        caveats.append("different models: ratios compare models, not ways to run one model")
    if runtime.differ(base, candidate):
        one, other = base.asked.runtime, candidate.asked.runtime
        caveats.append(f"different runtimes, {one} and {other}: ratios compare these")
    for name, profile in zip(SIDES, (base, candidate), strict=True):
        used = runtime.runtime(profile)
        if used.departs:
            caveats.append(f"the {name} computes something else: {used.agreement}")
    for name, profile, verdict, alone in zip(
        SIDES, (base, candidate), judge.noise, judge.alone, strict=True
    ):
        if alone:
            caveats.append(f"{_processes(alone)} of the {name} without a partner: left out")
        count = len(profile.processes)
        if not profile.complete:
            caveats.append(f"the {name} was interrupted: it has only {_processes(count)}")
        if profile.asked.quick:
            caveats.append(f"the {name} was measured with `quick`: not comparison-grade")
        grade = COMPARISON_GRADE if profile.instances is None else GROUPS_GRADE
        if not profile.asked.quick and 1 < count < grade and not judge.paired:
            caveats.append(f"the {name} has {_processes(count)}: comparison-grade takes {grade}")
        if verdict.verdict in ("disturbed", "unusable"):
            caveats.append(f"the {name} is {verdict.verdict}: {'; '.join(verdict.causes)}")
        caveats += _unsteady(name, profile)
    callers = [_callers(profile) for profile in (base, candidate)]
    if callers[0] != callers[1]:
        caveats.append(
            f"{callers[0]} against {callers[1]} side by side: latency is of one of them, "
            "throughput of all together"
        )
    if judge.paired:
        caveats += _scatters(base, candidate)
    unlike = timed_passes.unlike_each_other(base, candidate)
    return (*caveats, unlike) if unlike else tuple(caveats)


def _callers(profile: Profile) -> str:
    """How many callers each group has."""
    found = together(profile)
    count = 1 if found is None else found.instances * found.callers
    return f"{count} caller{'s' if count != 1 else ''}"


def _scatters(base: Profile, candidate: Profile) -> list[str]:
    """Says that the processes of one side scatter more, if they were measured in pairs."""
    medians = [
        {one.index: float(np.median(one.steady.duration_ns)) for one in each.processes
         if len(one.steady)}
        for each in (base, candidate)
    ]  # fmt: skip
    both = sorted(medians[0].keys() & medians[1].keys())
    values = np.array([[side[index] for index in both] for side in medians])
    if not (values > 0).all():
        return []
    ratio, chance = paired.scatter_ratio(*np.log(values))
    if chance > 1 - CONFIDENCE:
        return []
    more, less = (SIDES[1], SIDES[0]) if ratio > 1 else (SIDES[0], SIDES[1])
    times = max(ratio, 1 / ratio if ratio > 0 else math.inf)
    told = f"{times:.1f} times as much" if math.isfinite(times) else "while these do not scatter"
    caveat = (
        f"the processes of the {more} scatter more than those of the {less}, {told}: the noise is "
        "then not symmetric about the ratio, as its interval and SAME assume; look at each side's "
        "processes"
    )
    return [caveat]


def _processes(count: int) -> str:
    return f"{count} process{'es' if count != 1 else ''}"


def _unsteady(name: str, profile: Profile) -> list[str]:
    """Says in how many processes the samples are not from one steady state."""
    kinds = steady_state.states(profile.processes)
    moving = {kind: n for kind, n in kinds.items() if kind in ("warm-up", "drift", "unstable")}
    count = sum(kinds.values())
    if 2 * sum(moving.values()) <= count:
        return []
    told = ", ".join(f"{kind} in {n}" for kind, n in moving.items())
    return [f"most processes of the {name} were not in one steady state: {told} of {count}"]
