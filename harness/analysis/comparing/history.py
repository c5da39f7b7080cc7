"""Occasions of the same thing, from which its variance between occasions is learned."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from harness.analysis.comparing import undisturbed
from harness.analysis.configuration import configuration, occasion
from harness.records import Profile
from harness.statistics import undisturbed as statistics
from harness.statistics.figures import Figure, Float64Array
from harness.statistics.occasions import FEWEST_FREEDOMS
from harness.statistics.verdicts import Verdict

#: More occasions than this hardly change what is learned.
MOST_OCCASIONS = 40


def others(base: Profile, sides: Sequence[Profile], found: Iterable[Profile]) -> Iterator[Profile]:
    """Those of the same configuration as the base, measured on other occasions than both sides.

    A file of which another one is a copy counts once, and so do the two sides of an ``ab``.

    Args:
        base: what the others must be like.
        sides: profiles that are compared, the base among them.
        found: candidates for the history, the most welcome first; read one by one until there are
            ``MOST_OCCASIONS``.
    """
    wanted = configuration(base)
    seen = {occasion(one) for one in sides}
    kept = 0
    for one in found:
        if occasion(one) in seen or not one.complete:
            continue
        if configuration(one) == wanted and not _times_else(base, one):
            seen.add(occasion(one))
            kept += 1
            yield one
            if kept == MOST_OCCASIONS:
                return


@dataclasses.dataclass(frozen=True, slots=True)
class Learned:
    """What ``compare`` learns from some occasions of the same thing.

    Attributes:
        profiles: those that it can use: of two processes or more, of not too busy a machine.
        undisturbed_ns: float64[profiles], the latency of each that it compares.
        occasion_sd: standard deviation of their logarithms between occasions, beyond what the
            yardstick explains; the reason if they are too few to show it.
    """

    profiles: tuple[Profile, ...]
    undisturbed_ns: Float64Array
    occasion_sd: Figure


def learned(profiles: Sequence[Profile]) -> Learned:
    """What ``compare`` would take for the variance between these occasions.

    One of them is compared with itself, beside the history that all of them are.

    Args:
        profiles: of the same configuration, one an occasion, at least one.
    """
    last = profiles[-1]
    look_ns, memory = undisturbed.look_ns([last]), undisturbed.uses_memory([last])
    usable = list(undisturbed.usable(profiles, look_ns, memory=memory))
    used, sides = tuple(one for one, _ in usable), [side for _, side in usable]
    values_ns = np.exp([statistics.faster(one.log_figure).mean for one in sides])
    few = f"it takes {FEWEST_FREEDOMS + 1} occasions that can be compared"
    if len(sides) <= FEWEST_FREEDOMS:
        return Learned(used, values_ns, Figure(None, few))
    # One whose processes do not agree to the nanosecond: two such sides are refused.
    base = [max(reversed(sides), key=lambda one: bool(np.ptp(one.log_figure)))]
    found = statistics.compare(base, base, history=sides)
    if found.verdict is Verdict.NOT_COMPARABLE:
        return Learned(used, values_ns, Figure(None, found.reason))
    if found.occasion_sd == statistics.compare(base, base).occasion_sd:  # that is assumed
        return Learned(used, values_ns, Figure(None, few))
    return Learned(used, values_ns, Figure(found.occasion_sd))


def _times_else(base: Profile, other: Profile) -> bool:
    """Whether its durations hold something else, copies for one, as by another harness."""
    one, two = ({p.duration_holds for p in each.processes} - {""} for each in (base, other))
    return bool(one and two and one != two)
