"""What is known of layouts: one group of one, all groups of one, and what a search made of all."""

from __future__ import annotations

import dataclasses

from harness.records import Reading
from harness.statistics.verdicts import Comparison, Verdict
from harness.study.layouts.candidates import Layout, Unfit


@dataclasses.dataclass(frozen=True, slots=True)
class Measured:
    """One group of a layout.

    Attributes:
        items_per_s: of all instances together.
        median_ns: latency of an inference of one instance.
        p99_ns: likewise; None if too few inferences were made.
    """

    items_per_s: float
    median_ns: float
    p99_ns: float | None


@dataclasses.dataclass(frozen=True, slots=True)
class Told:
    """What is known of one layout.

    Attributes:
        layout: which one.
        groups: that its figures rest on: the confirming ones if it was confirmed.
        items_per_s: geometric mean of the groups; None if there are none.
        interval: 95 % interval of it over groups; None with fewer than two.
        median_ns: geometric mean of the groups' median latencies of an instance.
        p99_ns: likewise of the p99; None if a group had too few inferences.
        over_best: its rate over the winner's; None where there is none.
        over_best_interval: holds the true ratio, for all layouts together with 95 % confidence;
            None where the scatter is unknown.
        confirmed: measured afresh after the winner was chosen.
        reason: why it was not measured, or not considered; empty otherwise.
    """

    layout: Layout
    groups: int
    items_per_s: float | None
    interval: tuple[float, float] | None
    median_ns: float | None
    p99_ns: float | None
    over_best: float | None
    over_best_interval: tuple[float, float] | None
    confirmed: bool
    reason: str


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """The result of a search.

    Attributes:
        told: all layouts, in the order in which they were given.
        best: index of the winner; None if nothing was measured or nothing meets the limit.
        default: index of ORT's default; None if it is not among them.
        frontier: indices of layouts that no other one beats in both latency and throughput, by
            latency.
        gain: the winner against ORT's default, FASTER if the winner is; None if it is the default
            itself, or if one of them was not confirmed.
        ended_by: ``told``: every other layout is slower; ``same``: no other one can be more than
            the margin faster; ``budget``; ``interrupted``; ``nothing``: no layout works or meets
            the limit.
        undecided: indices of layouts that may be faster than the winner by more than the margin.
        margin: as given.
        seed: of the random orders.
        groups: measured in all.
        spent_s: seconds.
    """

    told: tuple[Told, ...]
    best: int | None
    default: int | None
    frontier: tuple[int, ...]
    gain: Comparison | None
    ended_by: str
    undecided: tuple[int, ...]
    margin: float
    seed: int
    groups: int
    spent_s: float


@dataclasses.dataclass(frozen=True, slots=True)
class LayoutStudy:
    """What a search on this machine found.

    Attributes:
        found: the result of the search.
        unfit: layouts that were not tried, and why.
        model: name of the model.
        items: fed to each inference: the batch size, or why it is not known.
        limit_ns: most latency that was allowed; None for any.
        budget_s: as given.
    """

    found: Found
    unfit: tuple[Unfit, ...]
    model: str
    items: Reading
    limit_ns: float | None
    budget_s: float


@dataclasses.dataclass(frozen=True, slots=True)
class Gain:
    """The winner over ORT's default.

    Attributes:
        ratio: of their rates.
        interval: 95 % interval of it.
        verdict: on the winner.
    """

    ratio: float
    interval: tuple[float, float]
    verdict: Verdict


def gained(found: Found) -> Gain | None:
    """How much more the winner does than ORT's default; None if that is not known."""
    gain = found.gain
    if gain is None or gain.ratio is None or gain.interval is None:
        return None
    low, high = gain.interval  # of times
    return Gain(1 / gain.ratio, (1 / high, 1 / low), gain.verdict)
